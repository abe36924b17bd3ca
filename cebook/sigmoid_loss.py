"""Part III in code: the sigmoid, its logarithm, and the losses of one yes or no an entry.

Logits are any real numbers; ``-inf`` and ``+inf`` are certainty, and nan stays where it is. The
functions work entry by entry. The dtype of a result is that of the first argument; integers, bools
and lists count as float64. The exponentials are those of ``-|z|``, which do not overflow, and the
terms of a loss have one sign: bounds are relative errors in units of eps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import _tiles
from ._rows import rounded, working_dtype
from ._validation import (
    Array,
    Reduction,
    as_floating,
    as_real,
    check_factor,
    check_probabilities,
    check_reduction,
    check_same_shape,
    warn_of_empty_mean,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = [
    "binary_cross_entropy",
    "log_sigmoid",
    "logit",
    "sigmoid",
    "sigmoid_cross_entropy",
    "softplus",
    "squared_error",
]


# Chapter 7: saturation ----------------------------------------------------------------------------


def sigmoid(x: ArrayLike) -> Any:
    r"""Return the probability that belongs to a logit.

    .. math:: \sigma(x) = \frac{1}{1 + e^{-x}} = \frac{e^x}{1 + e^x}.

    Parameters
    ----------
    x : array_like, any shape
        Logits: real numbers, ``-inf`` and ``+inf`` included.

    Returns
    -------
    ndarray or scalar, dtype and shape of ``x``
        In [0, 1].

    Raises
    ------
    TypeError
        If ``x`` does not hold real numbers.

    Notes
    -----
    The first form for x of at least 0, the second below: no exponential exceeds 1. At most 4 eps
    wherever the result is a normal number.
    The derivative is ``sigmoid(x) * sigmoid(-x)``; the textbook's ``s * (1 - s)`` cancels for
    large x.

    Examples
    --------
    >>> import numpy as np
    >>> import cebook as ce
    >>> with np.errstate(all="ignore"):
    ...     print(1 / (1 + np.exp(-np.float64(-740.0))))
    0.0
    >>> print(f"{ce.sigmoid(-740.0):.4g}")
    4.2e-322
    >>> print(f"{ce.sigmoid(40.0) * ce.sigmoid(-40.0):.4g}")  # where 1 - s is exactly 0
    4.248e-18
    """
    return _of_each_entry(x, _sigmoid)


def squared_error(
    outputs: ArrayLike,
    targets: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    return_grad: bool = False,
) -> Any:
    r"""Return the quadratic cost, half the squared difference of outputs and targets.

    .. math::

        \ell &= \tfrac12 w (a - y)^2, \\
        \frac{\partial \ell}{\partial a} &= w (a - y).

    Parameters
    ----------
    outputs : array_like, any shape
        What the model says: real numbers.
    targets : array_like, same shape
        What it should say.
    weight, reduction, return_grad
        As in :func:`sigmoid_cross_entropy`.

    Returns
    -------
    loss : scalar, or ndarray of the shape of ``outputs`` for "none"
        In the dtype of ``outputs``.
    grad : ndarray, dtype and shape of ``outputs``
        Only with ``return_grad``.

    Raises
    ------
    ValueError, TypeError
        As :func:`sigmoid_cross_entropy`; but targets may be any real numbers.

    Warns
    -----
    RuntimeWarning
        If the mean is over nothing; it is nan.

    Notes
    -----
    PyTorch's ``mse_loss`` is twice this. At most 4 eps. The gradient in the logit of a sigmoid has
    the factor ``a (1 - a)`` too, and vanishes where the sigmoid is flat, however wrong the output.

    Examples
    --------
    >>> import cebook as ce
    >>> loss, grad = ce.squared_error([0.9, 0.2], [0.0, 0.0], return_grad=True)
    >>> print(f"{loss:.4f}", grad)
    0.2125 [0.45 0.1 ]
    """
    a, y, w, dtype = _arguments("outputs", outputs, targets, weight, reduction)
    with np.errstate(under="ignore", invalid="ignore"):
        difference = a - y
        # The square alone might leave the range of floats.
        loss = _reduced(_times(_times(w, difference), 0.5 * difference), reduction, dtype)
        if not return_grad:
            return loss
        return loss, _gradient(_times(w, difference), reduction, dtype)


# Chapter 8: sigmoid cross-entropy -----------------------------------------------------------------


def softplus(x: ArrayLike) -> Any:
    r"""Return the logarithm of one plus an exponential: the loss of a logit whose target is 0.

    .. math:: \log(1 + e^x) = \max(x, 0) + \log(1 + e^{-|x|}).

    Parameters
    ----------
    x : array_like, any shape
        Real numbers, ``-inf`` and ``+inf`` included.

    Returns
    -------
    ndarray or scalar, dtype and shape of ``x``
        Never negative.

    Raises
    ------
    TypeError
        If ``x`` does not hold real numbers.

    Notes
    -----
    Both parts are non-negative, and ``log1p`` keeps an exponential that vanishes beside 1: at most
    4 eps wherever the result is a normal number. PyTorch's ``softplus`` returns x itself from 20
    on. The derivative is :func:`sigmoid`.

    Examples
    --------
    >>> import numpy as np
    >>> import cebook as ce
    >>> with np.errstate(all="ignore"):
    ...     print(np.log(1 + np.exp([-40.0, 800.0])))
    [ 0. inf]
    >>> print(ce.softplus([-40.0, 800.0]))
    [4.24835426e-18 8.00000000e+02]
    """
    return _of_each_entry(x, _softplus)


def log_sigmoid(x: ArrayLike) -> Any:
    r"""Return the logarithm of the probability that belongs to a logit.

    .. math:: \log \sigma(x) = -\log(1 + e^{-x}).

    Parameters
    ----------
    x : array_like, any shape
        Logits: real numbers, ``-inf`` and ``+inf`` included.

    Returns
    -------
    ndarray or scalar, dtype and shape of ``x``
        Never above 0.

    Raises
    ------
    TypeError
        If ``x`` does not hold real numbers.

    Notes
    -----
    It is ``-softplus(-x)``: at most 4 eps wherever the result is a normal number. The derivative is
    ``sigmoid(-x)``.

    Examples
    --------
    >>> import numpy as np
    >>> import cebook as ce
    >>> with np.errstate(all="ignore"):
    ...     print(np.log(1 / (1 + np.exp([-40.0, 800.0]))))
    [  0. -inf]
    >>> print(ce.log_sigmoid([40.0, -800.0]))
    [-4.24835426e-18 -8.00000000e+02]
    """
    # What is too small for the dtype rounds to -0.0.
    return _of_each_entry(x, lambda z: -_softplus(-z)) + 0.0


def logit(p: ArrayLike) -> Any:
    r"""Return the logit that belongs to a probability: the logarithm of its odds.

    .. math::

        \operatorname{logit}(p) = \log \frac{p}{1 - p}, \qquad
        \sigma(\operatorname{logit}(p)) = p.

    Parameters
    ----------
    p : array_like, any shape
        Probabilities in [0, 1].

    Returns
    -------
    ndarray or scalar, dtype and shape of ``p``
        ``-inf`` for 0 and ``+inf`` for 1.

    Raises
    ------
    ValueError
        If an entry lies outside [0, 1].
    TypeError
        If ``p`` does not hold real numbers.

    Notes
    -----
    Near 1/2 the odds are near 1, and the logarithm wants what they exceed 1 by, which
    ``log1p((1 - 2 r)/r)`` has, with r the smaller of p and 1 - p. At most 4 eps. A p next to 1
    holds few digits of 1 - p: no function can bring them back. The derivative is
    ``1 / (p (1 - p))``.

    Examples
    --------
    >>> import numpy as np
    >>> import cebook as ce
    >>> p = 0.5 + 1e-9
    >>> print(f"{np.log(p / (1 - p)):.15e} {ce.logit(p):.15e}")
    3.999999878872275e-09 3.999999886872274e-09
    """
    probabilities = as_floating("p", p)
    check_probabilities("p", probabilities)
    wide = probabilities.astype(working_dtype(probabilities.dtype))
    wide += 0.0  # -0.0 has the odds of 0.0
    rarer = np.minimum(wide, 1 - wide)
    with np.errstate(divide="ignore", over="ignore", under="ignore"):
        # One minus p is exact where it is the smaller, one minus twice that where it is near 1/2.
        near = np.log1p((1 - 2 * rarer) / rarer)
        size = np.where(rarer >= 0.25, near, np.log1p(-rarer) - np.log(rarer))
    return rounded(np.where(wide < 0.5, -size, size), probabilities.dtype)


def sigmoid_cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    return_grad: bool = False,
) -> Any:
    r"""Return the cross-entropy of targets and the sigmoid of logits, entry by entry.

    .. math::

        \ell &= -w \left(v\, y \log \sigma(z) + (1 - y) \log \sigma(-z)\right), \\
        \frac{\partial \ell}{\partial z} &= w \left((1 - y)\, \sigma(z) - v\, y\, \sigma(-z)\right),

    with w the ``weight`` and v the ``pos_weight``; without them the gradient is ``sigma(z) - y``.

    Parameters
    ----------
    logits : array_like, any shape
        Raw scores, as they leave the last layer, one for each question; ``-inf`` and ``+inf`` are
        certainty.
    targets : array_like, same shape
        Probabilities in [0, 1]: 0 or 1, bools, or anything between.
    weight : array_like, optional
        Finite, non-negative factors of the losses. Its shape must broadcast to that of ``logits``:
        (K,) is a factor for each label of logits (N, K), and (N, 1) one for each sample.
    pos_weight : array_like, optional
        Finite, non-negative factors of the part that belongs to the target 1, of such a shape too.
        With the ratio of noes to yeses, both count alike. The odds that a network learns are then
        too large by this factor v: ``sigmoid(z - log(v))`` undoes it.
    reduction : {"mean", "sum", "none"}
        "none" returns the loss of every entry, "sum" their sum, "mean" that divided by the number
        of entries, whatever the weights.
    return_grad : bool
        Whether to return the gradient of the (summed) result with respect to ``logits`` too.

    Returns
    -------
    loss : scalar, or ndarray of the shape of ``logits`` for "none"
        In the dtype of ``logits``. Never negative; without factors at least the
        :func:`binary_entropy` of the target, and 0 only where the model is certain or the loss too
        small for the dtype. A "sum" over nothing is 0.
    grad : ndarray, dtype and shape of ``logits``
        Only with ``return_grad``.

    Raises
    ------
    ValueError
        If the shapes differ, a target lies outside [0, 1], a factor is negative, not finite or does
        not broadcast, or ``reduction`` is none of the three.
    TypeError
        If an argument does not hold real numbers.

    Warns
    -----
    RuntimeWarning
        If the mean is over nothing (an empty batch); it is nan.

    Notes
    -----
    Without weights this is ``max(z, 0) - z y + log1p(exp(-|z|))``, where the first two terms cancel
    for a soft target. It is computed as a sum of two non-negative ones, ``y softplus(-z)`` and
    ``(1 - y) softplus(z)``, of which a target of 0 or 1 leaves one: at most 4 eps. A factor of 0
    times an infinite loss is 0. From 1024 entries on, without factors, it is
    ``log1p(exp(-|z|)) + z ([z > 0] - y)`` in the dtype of the input, which is the same sum, with
    what both terms have in common taken out. The rest is computed in float64 and rounded once.

    So is the gradient: where ``sigma(z) - 1`` would round to 0, ``-sigma(-z)`` does not. At most 4
    eps for targets of 0 and 1; for others, where the two terms may truly cancel, 4 eps of their
    sizes added.

    Results are those of PyTorch's ``BCEWithLogitsLoss``, except that infinite logits have their
    limits, and that targets are checked.

    Examples
    --------
    At a logit of 40 the probability has rounded to 1, and says nothing of how wrong or right it is.

    >>> import numpy as np
    >>> import cebook as ce
    >>> z, y = np.array([40.0, 40.0]), np.array([0.0, 1.0])
    >>> a = 1 / (1 + np.exp(-z))
    >>> with np.errstate(all="ignore"):
    ...     print(-(y * np.log(a) + (1 - y) * np.log(1 - a)))
    [inf nan]
    >>> loss, grad = ce.sigmoid_cross_entropy(z, y, reduction="none", return_grad=True)
    >>> print(loss, grad)
    [4.00000000e+01 4.24835426e-18] [ 1.00000000e+00 -4.24835426e-18]
    """
    z, y = as_floating("logits", logits), as_real("targets", targets)
    check_same_shape(targets=y, logits=z)
    check_reduction(reduction)
    factors = []
    if weight is not None or pos_weight is not None:
        factors = [_factor("weight", weight, z), _factor("pos_weight", pos_weight, z)]
    return _loss_of_logits(z, y, factors, reduction, return_grad)


# Chapter 9: the autoencoder -----------------------------------------------------------------------


def binary_cross_entropy(
    probs: ArrayLike,
    targets: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    return_grad: bool = False,
) -> Any:
    r"""Return the cross-entropy of targets and probabilities, entry by entry.

    .. math::

        \ell &= -w \left(y \log a + (1 - y) \log(1 - a)\right), \\
        \frac{\partial \ell}{\partial a} &= w\, \frac{a - y}{a (1 - a)}.

    Parameters
    ----------
    probs : array_like, any shape
        The model's probabilities, in [0, 1].
    targets : array_like, same shape
        Probabilities in [0, 1]: 0 or 1, bools, or anything between.
    weight, reduction, return_grad
        As in :func:`sigmoid_cross_entropy`.

    Returns
    -------
    loss : scalar, or ndarray of the shape of ``probs`` for "none"
        In the dtype of ``probs``. Never negative; inf where a certain probability is wrong.
    grad : ndarray, dtype and shape of ``probs``
        Only with ``return_grad``: with respect to the probabilities.

    Raises
    ------
    ValueError, TypeError
        As :func:`sigmoid_cross_entropy`; also if ``probs`` lie outside [0, 1].

    Warns
    -----
    RuntimeWarning
        If the mean is over nothing; it is nan.

    Notes
    -----
    At most 4 eps off the loss of the probabilities given, gradient included. But the digits that
    the sigmoid has rounded away are gone: in float32 every logit above 17.33 is a probability
    of exactly 1. From logits, use :func:`sigmoid_cross_entropy`.

    No epsilon is added and nothing is clipped. PyTorch's ``binary_cross_entropy`` bounds each
    logarithm by -100 from below, and ``a (1 - a)`` in the gradient by 1e-12: for a certain
    probability that is wrong it returns 100 where the answer is inf, and a finite gradient that the
    derivative of the sigmoid then turns into 0.

    Examples
    --------
    >>> import numpy as np
    >>> import cebook as ce
    >>> a, y = np.array([0.0, 0.25, 1.0]), np.array([0.0, 1.0, 0.0])
    >>> with np.errstate(all="ignore"):
    ...     print(-(y * np.log(a) + (1 - y) * np.log(1 - a)))
    [       nan 1.38629436        inf]
    >>> print(ce.binary_cross_entropy(a, y, reduction="none"))
    [0.         1.38629436        inf]
    """
    a, y, w, dtype = _arguments("probs", probs, targets, weight, reduction)
    check_probabilities("probs", a)
    check_probabilities("targets", y)
    a = a + 0.0  # of -0.0 the slope would have the wrong sign
    with np.errstate(divide="ignore", under="ignore"):
        losses = _times(w * y, 0.0 - np.log(a)) + _times(w * (1 - y), 0.0 - np.log1p(-a))
        loss = _reduced(losses, reduction, dtype)
    if not return_grad:
        return loss
    # A target of 0 or 1 leaves one of the two logarithms, whose slope is finite where the other's
    # is not.
    above = np.where(y == 0, 1, np.where(y == 1, -1, a - y))
    below = np.where(y == 0, 1 - a, np.where(y == 1, a, a * (1 - a)))
    with np.errstate(divide="ignore", under="ignore"):
        slope = _times(w, above / below)
    return loss, _gradient(slope, reduction, dtype)


# What all of them are made of ---------------------------------------------------------------------


def _sigmoid(z: Array) -> Array:
    return np.asarray(np.exp(np.minimum(z, 0)) / (1 + np.exp(-abs(z))))


def _softplus(z: Array) -> Array:
    return np.maximum(z, 0) + np.log1p(np.exp(-abs(z)))


def _of_each_entry(x: ArrayLike, function: Callable[[Array], Array]) -> Any:
    """Return an array of the shape and dtype of ``x``, computed wide."""
    logits = as_floating("x", x)
    result = np.empty(logits.shape, logits.dtype)

    def on_tile(z: Array, out: Array) -> None:
        # A result too small for its dtype rounds to 0 without a word.
        with np.errstate(under="ignore"):
            np.copyto(out, function(z), casting="same_kind")

    _tiles.over_entries(on_tile, [logits], [result], working_dtype(logits.dtype))
    return result[()]


class _OfTile(NamedTuple):
    """What comes of a tile of logits; losses and slopes may not have been asked for."""

    total: Any
    losses: Array | None
    slopes: Array | None


def _of_logits(z: Array, y: Array, *factors: Array, with_slopes: bool) -> _OfTile:
    """Return the losses ``v y w softplus(-z) + (1 - y) w softplus(z)`` and their slopes."""
    yes, no = y, 1 - y
    if factors:
        w, v = factors
        yes, no = w * v * y, w * no
    exponential = np.exp(-abs(z))
    logarithm = np.log1p(exponential)
    if_yes, if_no = np.maximum(-z, 0) + logarithm, np.maximum(z, 0) + logarithm
    losses = yes * if_yes + no * if_no
    total = _tiles.quiet_sum(losses)
    if not total < math.inf:
        losses = _times(yes, if_yes) + _times(no, if_no)
        total = _tiles.quiet_sum(losses)
    if not with_slopes:
        return _OfTile(total, losses, None)
    larger, smaller = 1 / (1 + exponential), exponential / (1 + exponential)
    negative = z < 0
    sigma, of_minus = np.where(negative, smaller, larger), np.where(negative, larger, smaller)
    return _OfTile(total, losses, no * sigma - yes * of_minus)


# A float with the sign bit set is negative. From 0 on, floats are ordered as their bits are.
_SIGN_BITS: dict[np.dtype[Any], np.signedinteger[Any]] = {
    np.dtype(np.float32): np.int32(-(2**31)),
    np.dtype(np.float64): np.int64(-(2**63)),
}
_BITS_OF_ONE = {one.dtype: one.view(f"u{one.itemsize}") for one in (np.float32(1), np.float64(1))}
# Between these exp is subnormal or nearly, which slows what is done with it up to a hundred times.
_LIMITS = {
    dtype: (
        float(np.log(np.finfo(dtype).smallest_normal)) + 1,
        float(np.log(np.finfo(dtype).smallest_subnormal)) - 1,
    )
    for dtype in _SIGN_BITS
}


def _of_many_logits(z: Array, y: Array, with_losses: bool, with_slopes: bool) -> _OfTile:
    """Return what :func:`_of_logits` does without factors, in less time."""
    of_tile = _of_finite_logits(z, y, with_losses, with_slopes)
    if of_tile.total < math.inf:
        return of_tile
    others = np.flatnonzero(~(np.isfinite(z) & np.isfinite(y)))
    if not 0 < len(others) < len(z) / 8:
        return _of_logits(z, y, with_slopes=with_slopes)
    z, y, few = z.copy(), y.copy(), _of_logits(z[others], y[others], with_slopes=with_slopes)
    z[others], y[others] = np.finfo(z.dtype).min, 0  # which costs exactly nothing
    of_tile = _of_finite_logits(z, y, with_losses, with_slopes)
    for array, of_others in zip(of_tile[1:], few[1:], strict=True):
        if array is not None:
            array[others] = of_others
    return of_tile._replace(total=of_tile.total + few.total)


def _of_finite_logits(z: Array, y: Array, with_losses: bool, with_slopes: bool) -> _OfTile:
    """Return ``log1p(exp(-|z|)) + z ([z > 0] - y)`` and its slopes; no product is negative.

    Where a logit is infinite, the total is not finite.
    """
    # What a step costs is the memory that it touches: each array serves for several. To give a
    # number a sign it is enough to write a bit.
    exponential, wrong, *others = _tiles.blanks(4 if with_slopes else 3, z)
    sign_bit = _SIGN_BITS[z.dtype]
    bits = sign_bit.dtype
    np.bitwise_or(z.view(bits), sign_bit, out=exponential.view(bits))
    tiny, few = _write_exponentials(exponential)
    logarithms = np.log1p(exponential, out=others[0] if with_slopes else exponential)
    positive = others[-1].view(np.bool_)[: len(z)]
    np.logical_not(np.signbit(z, out=positive), out=positive)
    np.copyto(wrong, positive)
    np.subtract(wrong, y, out=wrong)
    total = _tiles.sum_of_products(logarithms, z, wrong)
    losses = slopes = None
    if few is not None:  # log(1 + e) and e/(1 + e) are e
        total = total + few.sum(dtype=total.dtype)
        logarithms[tiny] = few
    if with_losses:
        losses = np.add(logarithms, np.multiply(z, wrong, out=others[-1]), out=logarithms)
    if with_slopes:
        # The smaller of the two probabilities is sigma(z) if z is negative, else 1 less sigma(z).
        other = others[-1] if with_losses else logarithms
        smaller = np.divide(exponential, np.add(exponential, 1, out=other), out=exponential)
        if few is not None:
            smaller[tiny] = few
        signs = np.bitwise_and(z.view(bits), sign_bit, out=other.view(bits))
        np.bitwise_xor(smaller.view(bits), signs, out=smaller.view(bits))
        slopes = np.subtract(wrong, smaller, out=wrong)
    return _OfTile(total, losses, slopes)


def _write_exponentials(exponents: Array) -> tuple[Any, Array | None]:
    """Exponentiate in place, but return what is subnormal, and where, and write 0 instead.

    Where a sample has nothing of that kind, the rest is not searched for it.
    """
    lowest, vanishing = _LIMITS[exponents.dtype]
    if not exponents[:: 1 + len(exponents) // 64].min() < lowest:
        np.exp(exponents, out=exponents)
        return None, None
    normal = exponents >= lowest
    at = np.flatnonzero(~normal & (exponents > vanishing))
    subnormal = np.exp(exponents[at])
    np.maximum(exponents, lowest, out=exponents)
    np.exp(exponents, out=exponents)
    np.multiply(exponents, normal, out=exponents)
    return at, subnormal


# Shorter arrays gain nothing from the fast form.
_SHORT = 1 << 10


def _loss_of_logits(
    scores: Array, targets: Array, factors: list[Array], reduction: str, return_grad: bool
) -> Any:
    """Check the targets; return losses, their sum or mean, and the gradient of that if wanted."""
    floats = [array for array in (scores, targets, *factors) if array.dtype.kind == "f"]
    dtype = np.result_type(*floats)
    short = scores.size < _SHORT
    if short or factors or scores.dtype == np.float16:
        dtype = _tiles.wide_dtype(dtype)  # and round but once
    fast = dtype in _SIGN_BITS and not short and not factors
    losses = np.empty(scores.shape, scores.dtype) if reduction == "none" else None
    gradient = np.empty(scores.shape, scores.dtype) if return_grad else None
    outputs = [array for array in (losses, gradient) if array is not None]
    count = scores.size if reduction == "mean" else 1

    def on_tile(z: Array, y: Array, *others: Array) -> Any:
        if not _are_probabilities(y):
            _check_all_targets(y, targets, scores)
        if fast:
            of_tile = _of_many_logits(z, y, losses is not None, return_grad)
        else:
            of_tile = _of_logits(z, y, *others[: len(factors)], with_slopes=return_grad)
        if of_tile.losses is not None and losses is not None:
            np.copyto(others[len(factors)], of_tile.losses, casting="same_kind")
        if of_tile.slopes is not None:
            slopes = of_tile.slopes
            if count > 1:  # a division rounds less, a product is faster
                by_count, factor = (np.divide, count) if short else (np.multiply, 1 / count)
                slopes = by_count(slopes, factor, out=slopes)
            np.copyto(others[-1], slopes, casting="same_kind")
        return of_tile.total

    # What is too small for its dtype rounds to 0 without a word. What is too large overflows aloud,
    # but without factors that can only be a sum.
    overflow = np.geterr()["over"] if factors else "ignore"
    with np.errstate(under="ignore", invalid="ignore", over=overflow):
        totals = _tiles.over_entries(on_tile, [scores, targets, *factors], outputs, dtype)
    total = totals[0] if len(totals) == 1 else _tiles.quiet_sum(np.array(totals))
    loss: Any
    if losses is not None:
        loss = losses[()]
    elif count == 0:
        warn_of_empty_mean("the batch is empty")
        loss = scores.dtype.type(math.nan)
    elif math.isinf(total):
        # A loss is infinite, or their sum overflows, which a mean has no reason to.
        every = _loss_of_logits(scores, targets, factors, "none", return_grad=False)
        with np.errstate(under="ignore"):
            loss = _reduced(np.asarray(every, dtype), reduction, scores.dtype)
    else:
        loss = rounded(total / count, scores.dtype)
    return loss if gradient is None else (loss, gradient[()])


def _are_probabilities(y: Array) -> bool:
    """Whether all of a tile lie in [0, 1]; it may be False also where some are nan or -0.0."""
    one = _BITS_OF_ONE.get(y.dtype)
    if one is not None:  # as unsigned numbers, the bits of negative ones come last
        return bool(y.view(one.dtype).max(initial=0) <= one)
    return bool(y.min(initial=0) >= 0 and y.max(initial=1) <= 1)


def _check_all_targets(of_tile: Array, targets: Array, scores: Array) -> None:
    """Raise for the first wrong target; a tile that made one look may hold but nan."""
    if ((of_tile < 0) | (of_tile > 1)).any():
        dtype = working_dtype(np.result_type(scores, targets))
        check_probabilities("targets", targets.astype(dtype))


def _arguments(
    name: str, scores: ArrayLike, targets: ArrayLike, weight: ArrayLike | None, reduction: str
) -> tuple[Array, Array, Array, np.dtype[Any]]:
    """Check them; return scores, targets and weights to compute with, and the result's dtype."""
    outputs, wanted = as_floating(name, scores), as_floating("targets", targets)
    check_same_shape(**{"targets": wanted, name: outputs})
    check_reduction(reduction)
    dtype = working_dtype(np.result_type(outputs, wanted))
    wide = outputs.astype(dtype)
    return wide, wanted.astype(dtype), _factor("weight", weight, wide), outputs.dtype


def _factor(name: str, value: ArrayLike | None, scores: Array) -> Array:
    if value is None:
        return np.ones((), scores.dtype)
    factor = check_factor(name, value, scores.shape)
    return factor.astype(np.result_type(factor, scores))


def _times(factor: Array, cost: Array) -> Array:
    """Return the product; nothing times infinity is nothing."""
    with np.errstate(invalid="ignore"):
        return np.where((factor == 0) & ~np.isnan(cost), 0, factor * cost)


def _reduced(losses: Array, reduction: str, dtype: np.dtype[Any]) -> Any:
    if reduction == "none":
        return rounded(losses, dtype)
    if reduction == "mean" and losses.size == 0:
        warn_of_empty_mean("the batch is empty")
        return dtype.type(math.nan)
    if reduction == "sum":
        return rounded(losses.sum(), dtype)
    largest = np.fmax.reduce(losses, axis=None)
    if largest > np.finfo(losses.dtype).max / losses.size:
        # The sum might overflow, but no mean exceeds the largest.
        with np.errstate(over="ignore"):
            mean = np.minimum((losses / losses.size).sum(), losses.max())
        return rounded(mean, dtype)
    return rounded(losses.sum() / losses.size, dtype)


def _gradient(slope: Array, reduction: str, dtype: np.dtype[Any]) -> Any:
    if reduction == "mean" and slope.size:
        with np.errstate(under="ignore"):
            slope = slope / slope.size
    return rounded(slope, dtype)
