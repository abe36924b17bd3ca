"""In and out: every function computes on rows, and hands back the shape and dtype it was given.

A row holds the outcomes (or classes) of one distribution, contiguous in memory, in at least float64
so that float16 and float32 are rounded once, at the end.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ._validation import Array


def working_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype to compute in: at least float64, so that float16 and float32 round once."""
    return np.result_type(dtype, np.float64)


def as_rows(array: Array, axes: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return ``array`` with ``axes`` joined into one, the last; it may share memory with it."""
    outcomes_last = np.moveaxis(array, axes, range(-len(axes), 0))
    kept = outcomes_last.shape[: array.ndim - len(axes)]
    outcomes = math.prod(outcomes_last.shape[len(kept) :])
    # NumPy sums in pairs only along contiguous memory; else the error grows with the length.
    return np.ascontiguousarray(outcomes_last.reshape(*kept, outcomes), dtype=dtype)


def as_table(array: Array, axes: tuple[int, ...]) -> Array:
    """Return ``array`` as a table, ``axes`` joined to its columns; a view of it where it can be."""
    if axes == (array.ndim - 1,):
        outcomes_last = array
    else:
        outcomes_last = np.moveaxis(array, axes, range(-len(axes), 0))
    kept = array.ndim - len(axes)
    shape = math.prod(outcomes_last.shape[:kept]), math.prod(outcomes_last.shape[kept:])
    return outcomes_last.reshape(shape)


def from_rows(rows: Array, shape: tuple[int, ...], axes: tuple[int, ...]) -> Array:
    """Return rows, or a table, to the ``shape`` from which they were taken."""
    if axes == (len(shape) - 1,):
        return rows.reshape(shape)
    kept = [length for axis, length in enumerate(shape) if axis not in axes]
    outcomes = [shape[axis] for axis in axes]
    return np.moveaxis(rows.reshape(*kept, *outcomes), range(-len(axes), 0), axes)


def rounded(result: Array, dtype: np.dtype[Any]) -> Any:
    """Round once, to the dtype of the input."""
    # A result too small for its dtype rounds to 0 without a word; one too large overflows aloud.
    with np.errstate(under="ignore"):
        return np.asarray(result).astype(dtype)[()]
