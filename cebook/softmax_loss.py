"""Part II in code: softmax, its logarithm, and the loss that is made of them.

Logits are any real numbers. A logit of ``-inf`` is a probability of zero, a single ``+inf`` is
certainty, and a row without an answer (nan in it, nothing but ``-inf``, two of ``+inf``) gives nan
for that row alone. The dtype of a result is that of the logits; integers, bools and lists count as
float64. No exponential overflows and no sum cancels: bounds are relative errors in units of eps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import _tiles
from ._rows import as_rows, as_table, from_rows, rounded, working_dtype
from ._validation import (
    Array,
    Axis,
    Reduction,
    as_floating,
    check_label_smoothing,
    check_reduction,
    check_some_classes,
    check_targets,
    check_weight,
    class_axis,
    reduced_axes,
    warn_if_positive,
    warn_if_probabilities,
    warn_of_empty_mean,
)
from .targets import _one_hot_rows, _smoothed_rows

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = [
    "log_softmax",
    "logsumexp",
    "nll_loss",
    "softmax",
    "softmax_cross_entropy",
    "softmax_jacobian",
]

Indices = np.ndarray[Any, np.dtype[np.intp]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]


# Chapter 4: softmax -------------------------------------------------------------------------------


def softmax(x: ArrayLike, *, axis: Axis = -1) -> Any:
    r"""Return the probabilities that belong to logits.

    .. math:: s_k = \frac{e^{x_k}}{\sum_j e^{x_j}}.

    Parameters
    ----------
    x : array_like, shape (..., K, ...)
        Logits: real numbers, ``-inf`` and ``+inf`` included.
    axis : int, tuple of ints or None
        The axis of the classes. A tuple or None (all axes) takes several as one.

    Returns
    -------
    ndarray, dtype and shape of ``x``
        Non-negative, summing to 1 over ``axis`` up to rounding.

    Raises
    ------
    ValueError
        If ``x`` has no axis, no class, or not the axis asked for.
    TypeError
        If ``x`` does not hold real numbers.

    Notes
    -----
    The largest logit is subtracted first, so that no exponential exceeds 1; what that subtraction
    rounds away is put back. At most 6 eps wherever the probability is a normal number. The
    gradient is :func:`softmax_jacobian`.

    References
    ----------
    Blanchard, Higham, Higham, *Accurately computing the log-sum-exp and softmax functions*, IMA J.
    Numer. Anal. 41(4), 2021, doi 10.1093/imanum/draa038.

    Examples
    --------
    >>> import numpy as np
    >>> import cebook as ce
    >>> z = np.array([1000.0, 1001.0, 1002.0])
    >>> with np.errstate(all="ignore"):
    ...     print(np.exp(z) / np.exp(z).sum())
    [nan nan nan]
    >>> print(ce.softmax(z).round(4))
    [0.09   0.2447 0.6652]
    """
    return _of_each_row(x, axis, _tiles.softmax, _Shifted.softmax)


def softmax_jacobian(x: ArrayLike, *, axis: int = -1) -> Any:
    r"""Return the derivative of every probability with respect to every logit.

    .. math:: \frac{\partial s_j}{\partial x_k} = s_j ([j = k] - s_k).

    Parameters
    ----------
    x : array_like, shape (..., K, ...)
        Logits.
    axis : int
        The axis of the classes.

    Returns
    -------
    ndarray, dtype of ``x``, shape of ``x`` without ``axis``, then (K, K)
        The matrix ``diag(s) - s s^T`` of each row: symmetric, its rows summing to 0.

    Raises
    ------
    ValueError
        If ``x`` has no axis, no class, or not the axis asked for.
    TypeError
        If ``x`` does not hold real numbers, or ``axis`` is not one int.

    Notes
    -----
    On the diagonal ``1 - s`` cancels when s is near 1. It is computed as the sum of the other
    probabilities: at most 6 eps. For one row, ``s * (v - s @ v)`` is the matrix times a vector v in
    K operations instead of K squared, but it cancels where s is near 1.

    Examples
    --------
    >>> import cebook as ce
    >>> print(ce.softmax_jacobian([0.0, 0.0]))
    [[ 0.25 -0.25]
     [-0.25  0.25]]
    >>> print(ce.softmax_jacobian([0.0, 40.0]))  # where 1 - s is exactly 0
    [[ 4.24835426e-18 -4.24835426e-18]
     [-4.24835426e-18  4.24835426e-18]]
    """
    scores = as_floating("x", x)
    classes = class_axis("x", scores, axis)
    shifted = _shifted(as_rows(scores, (classes,), working_dtype(scores.dtype)))
    s = shifted.softmax()
    with np.errstate(under="ignore"):
        jacobian = -s[..., :, np.newaxis] * s[..., np.newaxis, :]
        diagonal = np.arange(s.shape[-1])
        jacobian[..., diagonal, diagonal] = s * shifted.one_minus_softmax()
    return rounded(jacobian, scores.dtype)


# Chapter 5: floating point ------------------------------------------------------------------------


def logsumexp(x: ArrayLike, *, axis: Axis = -1, keepdims: bool = False) -> Any:
    r"""Return the logarithm of the sum of exponentials: the normaliser of softmax.

    .. math::

        \log \sum_k e^{x_k} &= m + \log \sum_k e^{x_k - m}, \\
        m &= \max_k x_k.

    Parameters
    ----------
    x : array_like, shape (..., K, ...)
        Real numbers, ``-inf`` and ``+inf`` included.
    axis : int, tuple of ints or None
        The axis to sum over. A tuple or None (all axes) takes several as one.
    keepdims : bool
        Whether to keep ``axis`` with length 1.

    Returns
    -------
    ndarray or scalar, dtype of ``x``, shape of ``x`` without ``axis``
        At least the largest entry, at most that plus log K. ``-inf`` if there is nothing to sum:
        no entry, or ``-inf`` alone.

    Raises
    ------
    ValueError
        If ``x`` has no axis, or not the axis asked for.
    TypeError
        If ``x`` does not hold real numbers.

    Notes
    -----
    The largest term of the last sum is 1, and ``log1p`` of the others keeps what they add when they
    are small. The error is at most 4 eps times the larger of \|m\| and the result; the two may have
    opposite signs, and then the result can be near 0. The gradient is :func:`softmax`.

    References
    ----------
    Blanchard, Higham, Higham, *Accurately computing the log-sum-exp and softmax functions*, IMA J.
    Numer. Anal. 41(4), 2021, doi 10.1093/imanum/draa038.

    Examples
    --------
    >>> import numpy as np
    >>> import cebook as ce
    >>> z = np.array([1000.0, 1001.0, 1002.0])
    >>> with np.errstate(all="ignore"):
    ...     print(np.log(np.exp(z).sum()))
    inf
    >>> print(f"{ce.logsumexp(z):.4f}")
    1002.4076
    """
    scores = as_floating("x", x)
    axes = reduced_axes("x", scores, axis)
    rows = as_table(scores, axes)
    result = np.full(len(rows), -math.inf, working_dtype(scores.dtype))
    if rows.size:
        _tiles.logsumexp(rows, result, _carefully(_Shifted.logsumexp))
    kept = [length for axis, length in enumerate(scores.shape) if axis not in axes]
    result = result.reshape(kept)
    if keepdims:
        result = np.expand_dims(result, axes)
    return rounded(result, scores.dtype)


def log_softmax(x: ArrayLike, *, axis: Axis = -1) -> Any:
    r"""Return the logarithms of the probabilities that belong to logits.

    .. math::

        \log s_k &= x_k - \log \sum_j e^{x_j} \\
                 &= (x_k - m) - \log \sum_j e^{x_j - m}, \\
               m &= \max_k x_k.

    Parameters
    ----------
    x : array_like, shape (..., K, ...)
        Logits: real numbers, ``-inf`` and ``+inf`` included.
    axis : int, tuple of ints or None
        The axis of the classes. A tuple or None (all axes) takes several as one.

    Returns
    -------
    ndarray, dtype and shape of ``x``
        Never above 0; ``-inf`` where the probability is zero.

    Raises
    ------
    ValueError
        If ``x`` has no axis, no class, or not the axis asked for.
    TypeError
        If ``x`` does not hold real numbers.

    Notes
    -----
    In the last form both parts are negative or 0, so nothing cancels; ``x - logsumexp(x)``
    subtracts two large numbers when the logits are far from 0. At most 4 eps. The derivative of
    ``log s_j`` with respect to ``x_k`` is ``[j = k] - s_k``.

    Examples
    --------
    The logarithm of a probability that rounds to 1 is not 0, and that of one too small for a float
    is not ``-inf``.

    >>> import numpy as np
    >>> import cebook as ce
    >>> z = np.array([0.0, 800.0, 840.0])
    >>> with np.errstate(all="ignore"):
    ...     print(np.log(ce.softmax(z)))
    [-inf -40.   0.]
    >>> print(*(f"{log_s:.4g}" for log_s in ce.log_softmax(z)))
    -840 -40 -4.248e-18
    """
    return _of_each_row(x, axis, _tiles.log_softmax, _Shifted.log_softmax)


# Chapter 6: softmax loss --------------------------------------------------------------------------


def nll_loss(
    log_probs: ArrayLike,
    targets: ArrayLike,
    *,
    axis: int = -1,
    weight: ArrayLike | None = None,
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
    return_grad: bool = False,
) -> Any:
    r"""Return the negative log-likelihood of targets under given log-probabilities.

    .. math:: \ell_i = -\sum_k w_k\, p_{ik} \log q_{ik},

    which for a class index, one-hot p, is ``-w[y] log q[y]``. See :func:`softmax_cross_entropy` for
    the mean and for every parameter but the first.

    Parameters
    ----------
    log_probs : array_like, shape (..., K, ...)
        Natural logarithms of probabilities, ``-inf`` included.
    targets : array_like
        Class indices if of integer dtype, shape of ``log_probs`` without ``axis``; distributions if
        of floating dtype, same shape as ``log_probs``.
    axis : int
        The axis of the classes.
    weight : array_like, shape (K,), optional
        A factor for each class.
    ignore_index : int, optional
        The class index that marks rows to leave out.
    reduction : {"mean", "sum", "none"}
        What to make of the losses of the rows.
    return_grad : bool
        Whether to return the gradient with respect to ``log_probs`` too.

    Returns
    -------
    loss : scalar, or ndarray of the shape of ``log_probs`` without ``axis`` for "none"
        In the dtype of ``log_probs``.
    grad : ndarray, dtype and shape of ``log_probs``
        Only with ``return_grad``: minus the weighted targets, divided by what the mean divides by.

    Raises
    ------
    ValueError, TypeError
        As :func:`softmax_cross_entropy`.

    Warns
    -----
    UserWarning
        If an entry is above 0: then ``log_probs`` are no log-probabilities.
    RuntimeWarning
        If the mean is over nothing; it is nan.

    Notes
    -----
    An outcome of target 0 costs nothing, also where its log-probability is ``-inf``; with class
    indices the other entries of a row are not looked at. The terms have one sign: at most 4 eps.
    What was lost before the logarithm was taken stays lost: from logits, use
    :func:`softmax_cross_entropy`.

    Examples
    --------
    >>> import numpy as np
    >>> import cebook as ce
    >>> log_probs = np.log([[0.1, 0.15, 0.05, 0.6, 0.1], [0.15, 0.2, 0.4, 0.1, 0.15]])
    >>> print(ce.nll_loss(log_probs, [3, 3], reduction="none").round(4))
    [0.5108 2.3026]
    """
    scores = as_floating("log_probs", log_probs)
    terms = _terms("log_probs", scores, targets, axis, weight, ignore_index, 0.0, reduction)
    warn_if_positive("log_probs", scores)

    return _loss(terms, scores, _write_nll_loss, reduction, return_grad)


def softmax_cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    axis: int = -1,
    weight: ArrayLike | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    return_grad: bool = False,
) -> Any:
    r"""Return the softmax loss: the cross-entropy of targets and the softmax of logits.

    .. math::

        s_i &= \operatorname{softmax}(z_i), \\
        \ell_i &= -\sum_k w_k\, p_{ik} \log s_{ik}, \\
        \frac{\partial \ell_i}{\partial z_{ik}} &= s_{ik} \sum_j w_j\, p_{ij} - w_k\, p_{ik},

    which for a class index, one-hot p, is ``-w[y] log s[y]``, and without weights has the gradient
    ``s - p``.

    Parameters
    ----------
    logits : array_like, shape (..., K, ...)
        Raw scores, as they leave the last layer; ``-inf`` rules a class out.
    targets : array_like
        Class indices from 0 to K-1 if of integer dtype, shape of ``logits`` without ``axis``.
        Distributions if of floating dtype, same shape as ``logits``, non-negative, each summing to
        1 over ``axis``; bools count as floats.
    axis : int
        The axis of the classes.
    weight : array_like, shape (K,), optional
        A finite, non-negative factor for each class, applied to every term of the sum. For a factor
        for each sample, multiply the losses of "none".
    ignore_index : int, optional
        The class index that marks rows to leave out: loss 0, gradient 0, not counted in the mean.
        It takes no class out of the softmax; a logit of ``-inf`` does.
    label_smoothing : float
        The share eps of every target that is spread evenly: p becomes ``(1 - eps) p + eps/K``. A
        class of logit ``-inf`` gets its part too, and the loss is then inf: to smooth over the
        allowed classes only, pass such distributions.
    reduction : {"mean", "sum", "none"}
        "none" returns the loss of every row, "sum" their sum. "mean" divides the sum: with class
        indices by the weights of the labels that count, ``sum_i w[y_i]``; with distributions by the
        number of rows. The two therefore differ when a weight is given, also for one-hot targets.
    return_grad : bool
        Whether to return the gradient of the (summed) result with respect to ``logits`` too.

    Returns
    -------
    loss : scalar, or ndarray of the shape of ``logits`` without ``axis`` for "none"
        In the dtype of ``logits``. Never negative; inf where a target gives probability to a class
        of logit ``-inf``; a "sum" over nothing is 0.
    grad : ndarray, dtype and shape of ``logits``
        Only with ``return_grad``. 0 in ignored rows, nan in the others if their weights sum to 0.

    Raises
    ------
    ValueError
        If shapes do not match, a label is out of range, a distribution is negative or does not sum
        to 1, ``weight`` is not K finite non-negative numbers, ``label_smoothing`` lies outside
        [0, 1], ``ignore_index`` comes with distributions, or ``reduction`` is none of the three.
    TypeError
        If ``logits`` or ``targets`` do not hold real numbers, or class indices come as floats.

    Warns
    -----
    UserWarning
        If every row of ``logits`` is non-negative and sums to 1: softmax was applied already.
    RuntimeWarning
        If the mean is over nothing (an empty batch, all rows ignored, weights of 0); it is nan.

    Notes
    -----
    With m the largest logit of a row, each ``-log s_k`` is ``(m - z_k) + log1p(rest)``, where the
    rest is the sum of ``exp(z_j - m)`` without the largest: two non-negative parts, which keep the
    loss of a model that is right and certain from rounding to 0. At most 4 eps.

    The gradient is computed as ``s_k (P - p_k) - p_k (1 - s_k)`` with P the sum of p (of ``w p``
    with weights), both differences without cancellation. At most 4 eps at the true class and 6
    elsewhere for class indices; for distributions, whose ``s - p`` may truly cancel, 6 eps of
    ``s_k P + p_k``.

    Where both have the option, results are those of PyTorch's ``cross_entropy``, with
    these exceptions. A target (or weight) of 0 costs nothing also where the logit is ``-inf``. A
    single logit of ``+inf`` is certainty. What stands in an ignored row does not matter, and no
    index is ignored unless asked. Distributions are checked.

    References
    ----------
    Blanchard, Higham, Higham, doi 10.1093/imanum/draa038; Szegedy et al., arXiv:1512.00567
    (label smoothing).

    Examples
    --------
    The textbook's three steps break on logits that one step handles.

    >>> import numpy as np
    >>> import cebook as ce
    >>> logits = np.array([[0.0, 0.0, 800.0], [0.0, 0.0, 40.0]])
    >>> labels = np.array([0, 2])
    >>> with np.errstate(all="ignore"):
    ...     s = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    ...     print(-np.log(s[[0, 1], labels]))
    [inf -0.]
    >>> losses = ce.softmax_cross_entropy(logits, labels, reduction="none")
    >>> print(*(f"{loss:.4g}" for loss in losses))
    800 8.497e-18
    >>> loss, grad = ce.softmax_cross_entropy(logits, labels, return_grad=True)
    >>> print(f"{loss:.4g}")
    400
    >>> print(np.round(grad, 4) + 0.0)
    [[-0.5  0.   0.5]
     [ 0.   0.   0. ]]
    """
    scores = as_floating("logits", logits)
    terms = _terms(
        "logits", scores, targets, axis, weight, ignore_index, label_smoothing, reduction
    )
    warn_if_probabilities("logits", scores, terms.axis)
    return _loss(terms, scores, _write_softmax_loss, reduction, return_grad)


# The shifted row, from which everything is made ---------------------------------------------------


class _Shifted(NamedTuple):
    """A row of logits after its largest has been subtracted."""

    maximum: Array
    largest_at: Indices
    halves: Array  # (x - m)/2, exactly 0 at the largest; x - m itself may overflow
    exponentials: Array  # exp(x - m), exactly 1 at the largest
    rest: Array  # their sum without the largest, so that log1p(rest) is the log of the sum

    def logsumexp(self) -> Array:
        with np.errstate(invalid="ignore"):
            result = self.maximum + np.log1p(self.rest)
        # One infinite term decides, and so do several; likewise a sum of nothing but zeros.
        return np.where(np.isinf(self.maximum), self.maximum, result)[..., 0]

    def softmax(self) -> Array:
        with np.errstate(under="ignore"):
            return self.exponentials / (1 + self.rest)

    def one_minus_softmax(self) -> Array:
        with np.errstate(under="ignore"):
            others = _sums_of_others(self.exponentials, self.largest_at, self.rest)
            return others / (1 + self.rest)

    def log_softmax(self, scale: int = 1) -> Array:
        """Return the logarithms, divided by ``scale``: 1, or 2 where they would overflow."""
        with np.errstate(under="ignore"):
            return (2 // scale) * self.halves - np.log1p(self.rest) / scale

    def overflows(self) -> bool:
        with np.errstate(over="ignore"):
            return bool((np.isinf(2 * self.halves) & np.isfinite(self.halves)).any())


def _of_each_row(
    x: ArrayLike, axis: Axis, fast: Callable[..., None], careful: Callable[[_Shifted], Array]
) -> Any:
    """Return an array of the shape and dtype of ``x``, computed row by row."""
    scores = as_floating("x", x)
    axes = reduced_axes("x", scores, axis)
    check_some_classes("x", scores, axes)
    rows = as_table(scores, axes)
    out = np.empty(rows.shape, scores.dtype)
    fast(rows, out, _carefully(careful))
    return from_rows(out, scores.shape, axes)[()]


def _carefully(function: Callable[[_Shifted], Array]) -> Callable[[Array, Array], None]:
    def careful(rows: Array, out: Array) -> None:
        out[...] = rounded(function(_shifted(rows.astype(working_dtype(rows.dtype)))), out.dtype)

    return careful


def _shifted(rows: Array) -> _Shifted:
    largest_at = np.expand_dims(rows.argmax(axis=-1), -1)
    maximum = np.take_along_axis(rows, largest_at, axis=-1)
    # Infinity minus infinity is nan, which is the answer for a second +inf, but not for the only
    # one. In a row of -inf, and in one with nan, there is no largest.
    at_largest = np.where(maximum > -math.inf, rows.dtype.type(0), rows.dtype.type(math.nan))
    with np.errstate(all="ignore"):
        half_rows, half_maximum = rows / 2, maximum / 2
        halves = half_rows - half_maximum
        np.put_along_axis(halves, largest_at, at_largest, axis=-1)
        exponentials = np.exp(2 * halves)
        # The subtraction rounds, by up to 2**-44 at a difference of 700, and exp turns that into
        # hundreds of eps. What was rounded away is known exactly, and is put back to first order.
        exponentials += exponentials * (2 * _tiles.rounded_away(half_rows, half_maximum, halves))
    rest = _rest(exponentials, largest_at)
    return _Shifted(maximum, largest_at, halves, exponentials, rest)


def _rest(values: Array, largest_at: Indices) -> Array:
    """Return the sum of every row without its largest entry."""
    others = values.copy()
    np.put_along_axis(others, largest_at, 0, axis=-1)
    return np.asarray(others.sum(axis=-1, keepdims=True))


def _sums_of_others(values: Array, largest_at: Indices, rest: Array) -> Array:
    """Return, for each entry of a row of non-negative numbers, the sum of all the others.

    Subtracting from the total cancels for an entry that is more than half of it, which can only be
    the largest: for that one it is the rest, where the others are added up.
    """
    sums = np.asarray((rest + np.take_along_axis(values, largest_at, axis=-1)) - values)
    np.put_along_axis(sums, largest_at, rest, axis=-1)
    return sums


# The sum over classes and rows --------------------------------------------------------------------


class _Terms(NamedTuple):
    """What multiplies ``-log s`` in the loss that is returned, for every row and class."""

    axis: int
    classes: int
    targets: np.ndarray[Any, Any]  # labels, one for each row, or rows of distributions
    ignored: Mask
    weights: Array | None  # of the classes
    divisor: Any  # what the mean divides by
    dtype: np.dtype[Any]
    label_smoothing: float
    empty_mean: bool

    @property
    def from_indices(self) -> bool:
        return self.targets.ndim == 1

    def scale(self) -> Array:
        """Return what multiplies the loss of every label."""
        if self.weights is None or not self.from_indices:
            scale = np.full(len(self.targets), self.dtype.type(1) / self.divisor)
        else:
            with np.errstate(under="ignore"):
                scale = self.weights[self.targets] / self.divisor
        if self.ignored.any():
            scale[self.ignored] = 0
        return scale

    def some(self, rows: slice) -> _Terms:
        """Return the terms of some rows, divided by the same number."""
        return self._replace(targets=self.targets[rows], ignored=self.ignored[rows])

    def of(self, targets: np.ndarray[Any, Any], ignored: Mask) -> tuple[Array, Array]:
        """Return smoothed distributions of some rows, and their coefficients."""
        if self.from_indices:
            rows = _one_hot_rows(targets, self.classes, self.dtype)
        else:
            rows = np.asarray(targets, self.dtype)
        distributions = _smoothed_rows(rows, self.label_smoothing)
        weights = self.dtype.type(1) if self.weights is None else self.weights
        with np.errstate(under="ignore"):
            coefficients = distributions * weights / self.divisor
        coefficients[ignored] = 0
        return distributions, coefficients


def _terms(
    name: str,
    scores: Array,
    targets: ArrayLike,
    axis: int,
    weight: ArrayLike | None,
    ignore_index: int | None,
    label_smoothing: float,
    reduction: str,
) -> _Terms:
    """Check everything but the scores."""
    axis = class_axis(name, scores, axis)
    classes = scores.shape[axis]
    check_reduction(reduction)
    smoothing = check_label_smoothing(label_smoothing)
    checked = check_targets(name, scores, axis, targets, ignore_index)
    weights = None if weight is None else check_weight(weight, classes)
    from_indices = checked.dtype.kind != "f"
    floats = [scores, *([] if weights is None else [weights]), *([] if from_indices else [checked])]
    dtype = working_dtype(np.result_type(*floats))
    rows = checked.reshape(-1) if from_indices else as_table(checked, (axis,))
    ignored = np.zeros(len(rows), bool)
    total = dtype.type(len(rows))
    if from_indices:
        if ignore_index is not None:
            ignored = rows == ignore_index
            rows = np.where(ignored, 0, rows)
            total = dtype.type(len(rows) - np.count_nonzero(ignored))
        rows = rows.astype(np.intp, copy=False)
        if weights is not None:
            counting = rows[~ignored]
            if reduction == "mean":
                # The scale of weights cancels. Large ones are divided by a power of 2, so that
                # their sum does not overflow.
                _, exponent = np.frexp(weights[counting].max(initial=0))
                with np.errstate(under="ignore"):
                    weights = np.ldexp(weights, -max(exponent, 0))
            total = weights[counting].sum(dtype=dtype)
    empty_mean = bool(reduction == "mean" and total == 0)
    if empty_mean:
        why = (
            "the batch is empty"
            if ignored.size == 0
            else f"every target is ignore_index={ignore_index}"
            if ignored.all()
            else "the weights of all labels are 0"
        )
        warn_of_empty_mean(why)
    divisor = (
        dtype.type(math.nan) if empty_mean else total if reduction == "mean" else dtype.type(1)
    )
    if weights is not None:
        weights = weights.astype(dtype)
    return _Terms(axis, classes, rows, ignored, weights, divisor, dtype, smoothing, empty_mean)


def _loss(
    terms: _Terms,
    scores: Array,
    write: Callable[[_Terms, Array, Array, Array | None], None],
    reduction: str,
    return_grad: bool,
) -> Any:
    """Return the losses of rows or their sum, and the gradient of that if it is wanted."""
    rows = as_table(scores, (terms.axis,))
    losses = np.empty(len(rows), terms.dtype)
    gradient = np.empty(rows.shape, scores.dtype) if return_grad else None
    write(terms, rows, losses, gradient)
    with np.errstate(invalid="ignore", under="ignore"):
        if reduction == "none":
            losses = losses.reshape(scores.shape[: terms.axis] + scores.shape[terms.axis + 1 :])
        else:
            losses = np.asarray(math.nan if terms.empty_mean else losses.sum())
        loss = rounded(losses, scores.dtype)
    if gradient is None:
        return loss
    return loss, from_rows(gradient, scores.shape, (terms.axis,))


def _write_softmax_loss(
    terms: _Terms, rows: Array, losses: Array, gradient: Array | None = None
) -> None:
    """Write what every row of logits adds to the loss, and the gradient of their sum."""

    def careful(
        rows: Array, targets: Array, ignored: Mask, _: Array, losses: Array, *gradient: Array
    ) -> None:
        c = terms.of(targets, ignored)[1]
        shifted = _shifted(rows.astype(c.dtype))
        # The loss of a row may be beyond the range of floats, and the mean of all within it.
        scale = 2 if shifted.overflows() else 1
        costs = 0.0 - shifted.log_softmax(scale)
        unread = (c == 0) & ~np.isnan(costs)
        losses[:] = scale * _weighted_sums(c, costs, unread, ignored)
        for out in gradient:
            with np.errstate(invalid="ignore", under="ignore"):
                largest_at = np.expand_dims(c.argmax(axis=-1), -1)
                pull = shifted.softmax() * _sums_of_others(c, largest_at, _rest(c, largest_at))
                push = shifted.one_minus_softmax() * c
                # Where weights differ too much for floats, both may be infinite.
                slope = np.where(ignored[:, np.newaxis], 0, pull - push)
            out[:] = rounded(slope, out.dtype)

    targets, ignored, scale = terms.targets, terms.ignored, terms.scale()
    if terms.from_indices and not terms.label_smoothing:
        _tiles.cross_entropy(rows, targets, ignored, scale, losses, gradient, careful)
    else:
        outputs = [losses] if gradient is None else [losses, gradient]
        _tiles.walk(None, careful, rows, [targets, ignored, scale], outputs)


def _write_nll_loss(
    terms: _Terms, rows: Array, losses: Array, gradient: Array | None = None
) -> None:
    """Write what every row of log-probabilities adds to the loss, and the gradient of their sum."""

    def careful(
        rows: Array, targets: Array, ignored: Mask, losses: Array, *gradient: Array
    ) -> None:
        distributions, c = terms.of(targets, ignored)
        costs = 0.0 - rows.astype(c.dtype)
        # A distribution reads all entries of its row, a class index but one.
        unread = (c == 0) & ~np.isnan(costs)
        if terms.from_indices:
            unread |= distributions == 0
        losses[:] = _weighted_sums(c, costs, unread, ignored)
        for out in gradient:
            out[:] = rounded(0.0 - c, out.dtype)

    outputs = [losses] if gradient is None else [losses, gradient]
    _tiles.walk(None, careful, rows, [terms.targets, terms.ignored], outputs)


def _weighted_sums(coefficients: Array, costs: Array, unread: Mask, ignored: Mask) -> Array:
    """Return the sum of every row of coefficients times costs."""
    undefined = (np.isnan(costs) & ~unread).any(axis=-1, keepdims=True)
    if undefined.any():
        costs = np.where(undefined, math.nan, costs)  # such a row does not overflow besides
    with np.errstate(invalid="ignore", under="ignore"):
        products = np.where(unread, 0, coefficients * costs)
        return np.where(ignored, 0, products.sum(axis=-1))
