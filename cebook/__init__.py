"""cebook: the book *From Entropy to Softmax Loss* in code.

Everything public is here, flat: ``import cebook as ce``. Three names are modules of their own:
``ce.textbook`` (the formulas that break), ``ce.figures`` (the book's plots, which need matplotlib)
and ``ce.distributed`` (the loss over several processes, which needs PyTorch).

Arrays of more than a million elements are shared out over all cores that the process may use, or
over as many threads as ``CEBOOK_NUM_THREADS`` says when the first of them comes.
"""

from . import (
    information,
    large_vocabulary,
    numerics,
    sigmoid_loss,
    softmax_loss,
    targets,
    textbook,
    training,
)
from .information import *
from .large_vocabulary import *
from .numerics import *
from .sigmoid_loss import *
from .softmax_loss import *
from .targets import *
from .training import *

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "distributed",
    "figures",
    "textbook",
    *information.__all__,
    *softmax_loss.__all__,
    *sigmoid_loss.__all__,
    *targets.__all__,
    *large_vocabulary.__all__,
    *training.__all__,
    *numerics.__all__,
]


def __getattr__(name: str) -> object:
    # Only who draws pays for, and needs, matplotlib; only who splits a vocabulary needs PyTorch.
    if name in ("distributed", "figures"):
        import importlib

        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
