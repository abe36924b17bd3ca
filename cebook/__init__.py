"""cebook: the book *From Entropy to Softmax Loss* in code.

Everything public is here, flat: ``import cebook as ce``. Four names are modules of their own:
``ce.textbook`` (the formulas that break), ``ce.exercises`` (checkers for the book's exercises),
``ce.figures`` (its plots, which need matplotlib) and ``ce.distributed`` (the loss over several
processes, which needs PyTorch).

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
    "exercises",
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
    # Who draws needs matplotlib, who splits a vocabulary PyTorch; nobody else pays for these.
    if name in ("distributed", "exercises", "figures"):
        import importlib

        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
