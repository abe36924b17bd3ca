"""What tests of several modules share: bad input, memory layouts, the text of errors and pages."""

import json
from fractions import Fraction

import numpy as np
import pytest
import torch

REDUCTIONS = ("mean", "sum", "none")
FLOATS = [np.float16, np.float32, np.float64, np.longdouble]

# The same numbers, stored in other ways.
LAYOUTS = {
    "reversed": lambda a: a[::-1].copy()[::-1],
    "transposed": lambda a: a.T.copy().T,
    "fortran": np.asfortranarray,
    "every second": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "read-only": lambda a: np.broadcast_to(a, a.shape),
}

# What holds no real numbers: what came, and the likely mistake.
NOT_NUMBERS = {
    "complex": (np.array([0.5 + 0j, 0.5]), "its dtype is complex128", "pass its .real"),
    "object": (np.array([0.5, None]), "its dtype is object", ".astype(float)"),
    "exact": ([Fraction(1, 2)] * 2, "its dtype is object", ".astype(float)"),
    "text": (np.array(["0.5", "0.5"]), "its dtype is <U3", "Are these labels?"),
    "masked": (np.ma.masked_array([0.5, 0.5], [0, 1]), "masked array", "Fill it first: "),
    "dates": (np.array(["2026-01-01"], "M8[D]"), "datetime64[D]", "Convert it with .astype(float)"),
    "tensor with a graph": (torch.full((2,), 0.5, requires_grad=True), "requires grad", "detach"),
    "bfloat16 tensor": (torch.full((2,), 0.5).bfloat16(), "can take as an array", "BFloat16"),
}

# Axes that an array of two dimensions does not have, and what is said of them.
BAD_AXES = [
    (2, np.exceptions.AxisError, "axis 2 is out of bounds for array of dimension 2"),
    ((0, -3), np.exceptions.AxisError, "axis -3 is out of bounds for array of dimension 2"),
    ((1, -1), ValueError, "repeated axis in `axis`"),
    (1.0, TypeError, "axis must be an int or a tuple of ints, but it is 1.0"),
    ("x", TypeError, "axis must be an int or a tuple of ints, but it is 'x'"),
]


def message(error, function, *inputs, **options):
    with pytest.raises(error) as caught:
        function(*inputs, **options)
    assert type(caught.value) is error
    return str(caught.value)


def words_of(path):
    """Return the text of a page without its code and what that prints."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"]
    return "\n\n".join("".join(cell["source"]) for cell in cells)
