"""What the loss is asked to predict: class indices spelt out as distributions, and smoothed.

The loss functions take class indices and distributions alike, and smooth by themselves
(``label_smoothing``). These functions make the distributions explicit, to look at, to mix, or to
hand to a function of Part I.
"""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from ._rows import as_rows, from_rows, rounded, working_dtype
from ._validation import (
    Array,
    as_array,
    as_floating,
    check_distribution,
    check_label_smoothing,
    check_labels,
    class_axis,
    one_axis,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

__all__ = ["one_hot", "smooth_labels"]


def one_hot(
    labels: ArrayLike, num_classes: int, *, axis: int = -1, dtype: DTypeLike = np.float64
) -> Any:
    r"""Return class indices as distributions: 1 at the label, 0 elsewhere.

    .. math:: p_{ik} = [k = y_i].

    Parameters
    ----------
    labels : array_like of int, any shape
        Class indices from 0 to K-1.
    num_classes : int
        The number K of classes.
    axis : int
        Where the axis of the classes goes in the result.
    dtype : dtype
        A floating dtype.

    Returns
    -------
    ndarray of ``dtype``, shape of ``labels`` with an axis of length K put in

    Raises
    ------
    ValueError
        If a label is out of range, ``num_classes`` is below 1, or ``axis`` is out of range.
    TypeError
        If the labels are not integers, or ``dtype`` is not floating.

    Examples
    --------
    >>> import cebook as ce
    >>> print(ce.one_hot([2, 0], 3))
    [[0. 0. 1.]
     [1. 0. 0.]]
    """
    indices = as_array("labels", labels)
    if indices.dtype.kind not in "iu" and indices.size:
        hint = "If they are whole numbers read as floats, use .astype(int)."
        if indices.dtype.kind in "US":
            hint = "If they are names, np.unique(labels, return_inverse=True) numbers them."
        raise TypeError(f"labels must be integers, but their dtype is {indices.dtype}. {hint}")
    if isinstance(num_classes, bool) or not isinstance(num_classes, Integral):
        raise TypeError(f"num_classes must be an integer, but it is {num_classes!r}.")
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, but it is {num_classes}.")
    try:
        floating = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"dtype must be a floating dtype, but it is {dtype!r}.") from None
    if floating.kind != "f":
        raise TypeError(
            f"dtype must be a floating dtype, but it is {floating}: the losses would read an array "
            f"of integers as class indices."
        )
    check_labels("labels", indices, int(num_classes))
    rows = _one_hot_rows(indices.astype(np.intp), int(num_classes), floating)
    return np.ascontiguousarray(np.moveaxis(rows, -1, one_axis("labels", rows, axis)))


def smooth_labels(targets: ArrayLike, label_smoothing: float, *, axis: int = -1) -> Any:
    r"""Return distributions mixed with the uniform one.

    .. math:: p'_k = (1 - \varepsilon)\, p_k + \frac{\varepsilon}{K}.

    Parameters
    ----------
    targets : array_like, shape (..., K, ...)
        Distributions, of floating dtype: non-negative, summing to 1 over ``axis``.
    label_smoothing : float
        The share eps that is spread evenly, from 0 to 1. The true class gets ``eps/K`` of it back:
        another convention spreads it over the others alone, ``eps/(K-1)`` each.
    axis : int
        The axis of the classes.

    Returns
    -------
    ndarray, dtype and shape of ``targets``

    Raises
    ------
    ValueError
        If a distribution is negative or does not sum to 1, or eps lies outside [0, 1].
    TypeError
        If ``targets`` are class indices: spell them out with :func:`one_hot` first.

    Notes
    -----
    The loss of smoothed targets cannot reach 0. Its floor is their entropy.

    References
    ----------
    Szegedy et al., *Rethinking the Inception Architecture for Computer Vision*, arXiv:1512.00567.

    Examples
    --------
    >>> import cebook as ce
    >>> smooth = ce.smooth_labels(ce.one_hot(1, 4), 0.1)
    >>> print(smooth)
    [0.025 0.925 0.025 0.025]
    >>> print(f"the loss is never below {ce.entropy(smooth):.4f}")
    the loss is never below 0.3488
    """
    array = as_array("targets", targets)
    if array.dtype.kind in "iu":
        raise TypeError(
            f"targets are integers ({array.dtype}), which are class indices: use "
            f"ce.one_hot(targets, num_classes) first, or .astype(float) if they are one-hot."
        )
    distributions = as_floating("targets", array)
    classes = class_axis("targets", distributions, axis)
    check_distribution("targets", distributions, (classes,))
    rows = as_rows(distributions, (classes,), working_dtype(distributions.dtype))
    mixed = _smoothed_rows(rows, check_label_smoothing(label_smoothing))
    return rounded(from_rows(mixed, distributions.shape, (classes,)), distributions.dtype)


def _one_hot_rows(labels: np.ndarray[Any, Any], num_classes: int, dtype: np.dtype[Any]) -> Array:
    """Return one-hot rows, the classes last, of labels that have been checked."""
    rows = np.zeros((*labels.shape, num_classes), dtype)
    np.put_along_axis(rows, np.expand_dims(labels, -1), 1, axis=-1)
    return rows


def _smoothed_rows(rows: Array, label_smoothing: float) -> Array:
    """Return the rows mixed with the uniform distribution; they themselves if there is none."""
    if label_smoothing == 0:
        return rows
    share = rows.dtype.type(label_smoothing)
    return np.asarray((1 - share) * rows + share / rows.shape[-1])
