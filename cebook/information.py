"""Part I in code: entropy, cross-entropy, divergence, and what a table of two variables shares.

A distribution is an array that is non-negative and sums to 1 over ``axis``. Results are in nats
unless ``base`` is given. The dtype of the result is that of the input (of the wider one of two);
integers, bools and lists count as float64. A row that holds nan gives nan, for that row alone. All
sums here have terms of one sign, so that nothing cancels.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _tiles
from ._rows import as_rows, as_table, rounded, working_dtype
from ._validation import (
    Array,
    Axis,
    as_floating,
    check_base,
    check_distribution,
    check_probabilities,
    check_same_shape,
    normal_axes,
    reduced_axes,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = [
    "binary_entropy",
    "binary_kl_divergence",
    "conditional_entropy",
    "cross_entropy",
    "entropy",
    "js_divergence",
    "kl_divergence",
    "mutual_information",
    "perplexity",
]


# Chapter 1: entropy -------------------------------------------------------------------------------


def entropy(p: ArrayLike, *, axis: Axis = -1, base: float | None = None) -> Any:
    r"""Return the entropy of a distribution: the average surprise of a draw from it.

    .. math:: H(p) = -\sum_k p_k \log p_k, \qquad 0 \log 0 = 0.

    Parameters
    ----------
    p : array_like, shape (..., K, ...)
        Probabilities: non-negative, summing to 1 over ``axis`` (to within the square root of the
        eps of their dtype, or K eps if that is more).
    axis : int, tuple of ints or None
        The axis of the outcomes. A tuple or None (all axes) makes one joint distribution of
        several.
    base : float, optional
        Base of the logarithm: 2 for bits, None for nats.

    Returns
    -------
    ndarray or scalar, dtype and shape of ``p`` without ``axis``
        Between 0 and log K, up to the rounding of a sum that is not exactly 1. A row that holds nan
        gives nan.

    Raises
    ------
    ValueError
        If ``p`` is negative somewhere, does not sum to 1, has no axis, or ``base`` is not above 1.
    TypeError
        If ``p`` does not hold real numbers.

    Notes
    -----
    Every term is non-negative, so the relative error of the sum is that of its terms: at most 4
    eps. The gradient with respect to p is ``-log p - 1``.

    References
    ----------
    Shannon, *A Mathematical Theory of Communication*, 1948, section 6.

    Examples
    --------
    The printed formula returns nan as soon as an outcome is impossible.

    >>> import numpy as np
    >>> import cebook as ce
    >>> p = np.array([0.5, 0.5, 0.0])
    >>> with np.errstate(all="ignore"):
    ...     print(-np.sum(p * np.log(p)))
    nan
    >>> print(ce.entropy(p, base=2))
    1.0
    """
    (rows,), dtype = _distributions(axis, p=p)
    log, unit = _logarithm(base)
    return _in_units(_surprise_terms(rows, rows, log).sum(axis=-1), dtype, unit)


def perplexity(p: ArrayLike, *, axis: Axis = -1, base: float | None = None) -> Any:
    r"""Return the perplexity of a distribution: the number of equally likely outcomes as uncertain.

    .. math:: \operatorname{PP}(p) = e^{H(p)} = b^{H_b(p)}.

    Parameters
    ----------
    p : array_like, shape (..., K, ...)
        Probabilities: non-negative, summing to 1 over ``axis``.
    axis : int, tuple of ints or None
        The axis of the outcomes.
    base : float, optional
        The base of the exponent and of the entropy in it. The two cancel: it does not change the
        result.

    Returns
    -------
    ndarray or scalar, dtype and shape of ``p`` without ``axis``
        Between 1 and K.

    Raises
    ------
    ValueError, TypeError
        As :func:`entropy`.

    Notes
    -----
    An exponential turns an absolute error into a relative one, so the bound grows with the entropy:
    in float64 at most 4 + H eps.

    References
    ----------
    Jelinek, Mercer, Bahl, Baker, *Perplexity, a measure of the difficulty of speech recognition
    tasks*, J. Acoust. Soc. Am. 62, 1977, doi 10.1121/1.2016299.

    Examples
    --------
    >>> import cebook as ce
    >>> print(f"{ce.perplexity([0.25, 0.25, 0.25, 0.25]):.4f}")
    4.0000
    >>> print(f"{ce.perplexity([0.97, 0.01, 0.01, 0.01]):.4f}")
    1.1826
    """
    check_base(base)
    (rows,), dtype = _distributions(axis, p=p)
    # Whole numbers of bits are exact, so that two equally likely outcomes count as two.
    return rounded(np.exp2(_surprise_terms(rows, rows, np.log2).sum(axis=-1)), dtype)


def binary_entropy(p: ArrayLike, *, base: float | None = None) -> Any:
    r"""Return the entropy of a coin that shows heads with probability ``p``, for each entry.

    .. math:: h(p) = -p \log p - (1 - p) \log(1 - p).

    Parameters
    ----------
    p : array_like, any shape
        Probabilities in [0, 1], each its own coin.
    base : float, optional
        Base of the logarithm: 2 for bits, None for nats.

    Returns
    -------
    ndarray or scalar, dtype and shape of ``p``
        Between 0 and log 2.

    Raises
    ------
    ValueError
        If an entry lies outside [0, 1].
    TypeError
        If ``p`` does not hold real numbers.

    Notes
    -----
    ``log1p(-p)`` keeps the second term when p is so small that ``1 - p`` rounds to 1. At most 4
    eps. The gradient is ``log(1 - p) - log(p)``.

    Examples
    --------
    For a small p the two-outcome array has lost its second term before ``entropy`` sees it.

    >>> import cebook as ce
    >>> print(f"{ce.binary_entropy(1e-20):.6e}")
    4.705170e-19
    >>> print(f"{ce.entropy([1e-20, 1 - 1e-20]):.6e}")
    4.605170e-19
    """
    array = as_floating("p", p)
    check_probabilities("p", array)
    heads = array.astype(working_dtype(array.dtype))
    with np.errstate(all="ignore"):
        of_tails = np.where(heads == 1, 0, (heads - 1) * np.log1p(-heads))
    return _in_units(_surprise_terms(heads, heads) + of_tails, array.dtype, check_base(base))


def conditional_entropy(
    joint: ArrayLike, *, axis: tuple[int, int] = (-2, -1), base: float | None = None
) -> Any:
    r"""Return H(Y|X): what is still uncertain about the column when the row is known.

    .. math::

        H(Y|X) &= -\sum_{x,y} p_{xy} \log \frac{p_{xy}}{p_x} \\
               &= H(X, Y) - H(X).

    Parameters
    ----------
    joint : array_like, shape (..., X, Y)
        The joint probabilities: non-negative, summing to 1 over both axes together.
    axis : pair of ints
        The axis of the variable that is known, then the axis of the other. ``(-1, -2)`` gives
        H(X|Y).
    base : float, optional
        Base of the logarithm: 2 for bits, None for nats.

    Returns
    -------
    ndarray or scalar, dtype and shape of ``joint`` without ``axis``

    Raises
    ------
    ValueError
        If ``joint`` is negative somewhere, does not sum to 1, or ``axis`` is not a pair.
    TypeError
        If ``joint`` does not hold real numbers.

    Notes
    -----
    The difference of two entropies cancels when X nearly decides Y. Here every term is
    non-negative, and the largest entry of a row, whose ratio to the row may round to 1, goes
    through ``log1p(others / largest)``. At most 4 eps.

    References
    ----------
    Shannon, *A Mathematical Theory of Communication*, 1948, section 6.

    Examples
    --------
    >>> import numpy as np
    >>> import cebook as ce
    >>> joint = np.array([[0.5, 1e-20], [1e-20, 0.5]])
    >>> print(f"{ce.conditional_entropy(joint):.6e}")
    9.271711e-19
    >>> print(ce.entropy(joint, axis=None) - ce.entropy(joint.sum(axis=1)))
    0.0
    """
    table, dtype = _joint(joint, axis)
    largest_at = np.expand_dims(table.argmax(axis=-1), -1)
    largest = np.take_along_axis(table, largest_at, axis=-1)
    others = table.copy()
    np.put_along_axis(others, largest_at, 0, axis=-1)
    rest = others.sum(axis=-1, keepdims=True)
    with np.errstate(all="ignore"):
        of_largest = np.where(largest == 0, 0, largest * np.log1p(rest / largest))
        of_others = _surprise_terms(others, others / (largest + rest))
    of_others = np.where(others == 0, 0, of_others)
    of_rows = of_largest[..., 0] + of_others.sum(axis=-1)
    return _in_units(of_rows.sum(axis=-1), dtype, check_base(base))


def mutual_information(
    joint: ArrayLike, *, axis: tuple[int, int] = (-2, -1), base: float | None = None
) -> Any:
    r"""Return I(X;Y): how much one variable of a joint distribution tells about the other.

    .. math::

        I(X;Y) &= \sum_{x,y} p_{xy} \log \frac{p_{xy}}{p_x p_y} \\
               &= H(Y) - H(Y|X).

    Parameters
    ----------
    joint : array_like, shape (..., X, Y)
        The joint probabilities: non-negative, summing to 1 over both axes together. The marginals
        are taken from it, so that they cannot contradict it.
    axis : pair of ints
        The axes of the two variables.
    base : float, optional
        Base of the logarithm: 2 for bits, None for nats.

    Returns
    -------
    ndarray or scalar, dtype and shape of ``joint`` without ``axis``
        Never negative; 0 when the variables are independent.

    Raises
    ------
    ValueError
        If ``joint`` is negative somewhere, does not sum to 1, or ``axis`` is not a pair.
    TypeError
        If ``joint`` does not hold real numbers.

    Notes
    -----
    The divergence of the table from the product of its marginals, summed as in
    :func:`kl_divergence`, with the probability of the row taken out of each term: the product
    itself would underflow. When every entry is within a fraction s of independence, the rounding of
    the marginals alone costs about eps/s.

    References
    ----------
    Shannon, *A Mathematical Theory of Communication*, 1948, section 12.

    Examples
    --------
    >>> import cebook as ce
    >>> print(f"{ce.mutual_information([[0.4, 0.1], [0.1, 0.4]]):.6f}")
    0.192745
    """
    table, dtype = _joint(joint, axis)
    of_rows = table.sum(axis=-1, keepdims=True)
    of_columns = np.ascontiguousarray(np.swapaxes(table, -1, -2)).sum(axis=-1)[..., np.newaxis, :]
    with np.errstate(all="ignore"):
        # Dividing by the sums gives both one sum, as the generalised divergence wants it.
        given_row = np.where(of_rows == 0, 0, table / of_rows)
        unconditional = of_columns / of_columns.sum(axis=-1, keepdims=True)
        terms = of_rows * _divergence_terms(given_row, unconditional)
    return _in_units(terms.sum(axis=(-2, -1)), dtype, check_base(base))


# Chapter 2: cross-entropy and divergence ----------------------------------------------------------


def cross_entropy(p: ArrayLike, q: ArrayLike, *, axis: Axis = -1, base: float | None = None) -> Any:
    r"""Return the average length of messages from ``p`` in the code that is best for ``q``.

    .. math:: H(p, q) = -\sum_k p_k \log q_k, \qquad 0 \log 0 = 0.

    Parameters
    ----------
    p : array_like, shape (..., K, ...)
        The true distribution: non-negative, summing to 1 over ``axis``.
    q : array_like, same shape
        The model's distribution.
    axis : int, tuple of ints or None
        The axis of the outcomes.
    base : float, optional
        Base of the logarithm: 2 for bits, None for nats.

    Returns
    -------
    ndarray or scalar, shape of ``p`` without ``axis``
        At least ``entropy(p)``; inf where q rules out what p allows.

    Raises
    ------
    ValueError
        If the shapes differ, or either is negative somewhere or does not sum to 1.
    TypeError
        If either does not hold real numbers.

    Notes
    -----
    Every term is non-negative: at most 4 eps. The gradient with respect to q is ``-p / q``. If q
    comes from a softmax, do not come here with it: the digits are lost by then.

    Examples
    --------
    >>> import numpy as np
    >>> import cebook as ce
    >>> p, q = np.array([0.5, 0.5, 0.0]), np.array([0.75, 0.25, 0.0])
    >>> with np.errstate(all="ignore"):
    ...     print(-np.sum(p * np.log(q)))
    nan
    >>> print(f"{ce.cross_entropy(p, q):.6f}")
    0.836988
    """
    (true, model), dtype = _distributions(axis, p=p, q=q)
    log, unit = _logarithm(base)
    return _in_units(_surprise_terms(true, model, log).sum(axis=-1), dtype, unit)


def kl_divergence(p: ArrayLike, q: ArrayLike, *, axis: Axis = -1, base: float | None = None) -> Any:
    r"""Return the Kullback-Leibler divergence: the price of using ``q`` when the truth is ``p``.

    .. math:: D_{\mathrm{KL}}(p \| q) = \sum_k \left(p_k \log \frac{p_k}{q_k} - p_k + q_k\right).

    For distributions the last two terms sum to 0, and this is the familiar sum of ``p log(p/q)``.

    Parameters
    ----------
    p : array_like, shape (..., K, ...)
        The true distribution: non-negative, summing to 1 over ``axis``.
    q : array_like, same shape
        The model's distribution.
    axis : int, tuple of ints or None
        The axis of the outcomes.
    base : float, optional
        Base of the logarithm: 2 for bits, None for nats.

    Returns
    -------
    ndarray or scalar, shape of ``p`` without ``axis``
        Never negative; 0 where the rows are equal; inf where q rules out what p allows.

    Raises
    ------
    ValueError
        If the shapes differ, or either is negative somewhere or does not sum to 1.
    TypeError
        If either does not hold real numbers.

    Notes
    -----
    The terms of the familiar sum have both signs and nearly cancel when q is close to p. Those of
    the generalised sum are non-negative, and where it is small, those with ``p/2 <= q <= 2p`` come
    from a series without cancellation. At most 8 eps off the generalised sum of the numbers given.
    With respect to q its gradient is ``1 - p/q``, that of the familiar sum ``-p/q``; along the
    simplex the two agree.

    The numbers are taken as they are. Sums that differ by d because of rounding add about d^2/2:
    some 1e-14 for distributions rounded to float32. To see smaller divergences, widen to float64
    and divide by the sums again.

    References
    ----------
    Kullback, Leibler, *On Information and Sufficiency*, Ann. Math. Statist. 22(1), 1951,
    doi 10.1214/aoms/1177729694.

    Examples
    --------
    >>> import numpy as np
    >>> import cebook as ce
    >>> p = np.array([0.1, 0.2, 0.7])
    >>> q = p * (1 + 1e-9 * np.array([1, -4, 1]))
    >>> print(ce.textbook.kl_divergence(p, q) < 0)
    True
    >>> print(f"{ce.kl_divergence(p, q):.4e}")
    2.0000e-18
    """
    true, model = as_floating("p", p), as_floating("q", q)
    check_same_shape(p=true, q=model)
    axes = reduced_axes("p", true, axis)
    check_distribution("p", true, axes)
    check_distribution("q", model, axes)
    dtype = np.result_type(true, model)
    rows = [as_table(true, axes), as_table(model, axes)]
    sums = _tiles.sums_of_rows(_steps(dtype, rows[0].shape[1]), rows)
    kept = [length for axis, length in enumerate(true.shape) if axis not in axes]
    return _in_units(sums.reshape(kept), dtype, check_base(base))


def binary_kl_divergence(p: ArrayLike, q: ArrayLike, *, base: float | None = None) -> Any:
    r"""Return the divergence between two coins with probabilities ``p`` and ``q``, for each entry.

    .. math:: d(p \| q) = p \log \frac{p}{q} + (1 - p) \log \frac{1 - p}{1 - q}.

    Parameters
    ----------
    p : array_like, any shape
        True probabilities in [0, 1].
    q : array_like, same shape
        The model's probabilities in [0, 1].
    base : float, optional
        Base of the logarithm: 2 for bits, None for nats.

    Returns
    -------
    ndarray or scalar, shape of ``p``
        Never negative; inf where q is 0 or 1 and p is not.

    Raises
    ------
    ValueError
        If the shapes differ or an entry lies outside [0, 1].
    TypeError
        If either does not hold real numbers.

    Notes
    -----
    The two halves are terms of the generalised divergence, as in :func:`kl_divergence`: at most 8
    eps. The gradient with respect to q is ``(q - p) / (q (1 - q))``.

    Examples
    --------
    >>> import cebook as ce
    >>> print(f"{ce.binary_kl_divergence(0.5, 0.25, base=2):.6f}")
    0.207519
    """
    first, second = as_floating("p", p), as_floating("q", q)
    check_same_shape(p=first, q=second)
    check_probabilities("p", first)
    check_probabilities("q", second)
    dtype = np.result_type(first, second)
    true, model = first.astype(working_dtype(dtype)), second.astype(working_dtype(dtype))
    heads = _divergence_terms(true, model)
    # 1 - p may round, the difference of the two coins does not: it is passed on, not recomputed.
    tails = _divergence_terms(1 - true, 1 - model, true - model)
    return _in_units(heads + tails, dtype, check_base(base))


def js_divergence(p: ArrayLike, q: ArrayLike, *, axis: Axis = -1, base: float | None = None) -> Any:
    r"""Return the Jensen-Shannon divergence: symmetric, finite, at most log 2.

    .. math::

        \operatorname{JS}(p, q) &= \tfrac12 D_{\mathrm{KL}}(p \| m)
            + \tfrac12 D_{\mathrm{KL}}(q \| m), \\
        m &= \tfrac12 (p + q).

    Parameters
    ----------
    p, q : array_like, shape (..., K, ...), both the same
        Distributions: non-negative, summing to 1 over ``axis``.
    axis : int, tuple of ints or None
        The axis of the outcomes.
    base : float, optional
        Base of the logarithm: 2 for bits, None for nats.

    Returns
    -------
    ndarray or scalar, shape of ``p`` without ``axis``
        Between 0 and log 2. Its square root is a metric.

    Raises
    ------
    ValueError
        If the shapes differ, or either is negative somewhere or does not sum to 1.
    TypeError
        If either does not hold real numbers.

    Notes
    -----
    With ``s = (q - p) / (q + p)`` a term is ``(p + q)/4`` times
    ``(1-s) log(1-s) + (1+s) log(1+s)``, an even function of s with a series of positive terms for
    small s. At most 4 eps.

    References
    ----------
    Lin, *Divergence measures based on the Shannon entropy*, IEEE Trans. Inf. Theory 37(1), 1991,
    doi 10.1109/18.61115.

    Examples
    --------
    Where the supports do not overlap, KL is infinite and Jensen-Shannon is one bit.

    >>> import cebook as ce
    >>> p, q = [1.0, 0.0], [0.0, 1.0]
    >>> print(ce.kl_divergence(p, q), ce.js_divergence(p, q, base=2))
    inf 1.0
    """
    (first, second), dtype = _distributions(axis, p=p, q=q)
    return _in_units(_js_terms(first, second).sum(axis=-1), dtype, check_base(base))


# The terms of the sums ----------------------------------------------------------------------------


def _logarithm(base: float | None) -> tuple[np.ufunc, np.longdouble]:
    """Return a logarithm, and what to divide it by to have it in this base."""
    unit = check_base(base)
    # log2 and log10 are exact at whole powers, so that eight equally likely outcomes have 3 bits.
    if base == 2:
        return np.log2, np.longdouble(1)
    if base == 10:
        return np.log10, np.longdouble(1)
    return np.log, unit


def _surprise_terms(p: Array, q: Array, log: np.ufunc = np.log) -> Array:
    """Return ``-p log q`` with ``0 log 0 = 0``."""
    with np.errstate(all="ignore"):
        # 0.0 - log(1) is 0.0; -log(1) would print as -0.0.
        terms = p * (0.0 - log(q))
    return np.where((p == 0) & ~np.isnan(q), 0, terms)


# The series below are in s = (q - p)/(q + p), and |s| <= 1/3 says that p and q are within a factor
# of 2: there q - p is exact. Outside, the closed forms lose under 3 bits; that of Jensen-Shannon,
# which rounds two logarithms, wants |s| > 1/2 for it. Twenty powers of s^2 up to 1/9, and 28 up to
# 1/4, go beyond the precision of an 80-bit longdouble.
_NEAR, _JS_NEAR = 1 / 3, 1 / 2
_DIVERGENCE_SERIES = 1 / (2 * np.arange(20, dtype=np.longdouble) + 3)
_JS_SERIES = 1 / ((np.arange(28, dtype=np.longdouble) + 1) * (2 * np.arange(28) + 1))


def _divergence_terms(p: Array, q: Array, difference: Array | None = None) -> Array:
    """Return ``p log(p/q) - p + q``: never negative, never cancelling; ``difference`` is q - p."""
    with np.errstate(all="ignore"):
        difference = q - p if difference is None else difference
        s = difference / (p + q)
        terms = np.asarray(p * _log_ratio(p, q) + difference)
        near = abs(s) <= _NEAR
        s, d = s[near], difference[near]
        # log(p/q) = -2 artanh(s) = -2 (s + s^3/3 + s^5/5 + ...), and the first power leaves s d.
        terms[near] = s * d - 2 * p[near] * s**3 * _polynomial(_DIVERGENCE_SERIES, s * s)
    return np.where(p == 0, q, terms)


_MANY = 1 << 10  # outcomes whose roundings do not all go the same way


def _steps(dtype: np.dtype[Any], outcomes: int) -> list[_tiles.Step]:
    """Return the ways to add up a divergence; the plain one is off by some eps of 1."""
    wide = working_dtype(dtype)
    enough = 0.5 if dtype == wide else 2.0**-24  # where it is to be rounded
    steps = [
        _tiles.Step(_plain_divergence_terms, wide, enough),
        _tiles.Step(_small_divergence_terms, wide, 0),
    ]
    if dtype == np.float32 and outcomes >= _MANY:
        return [_tiles.Step(_plain_divergence_terms, dtype, 0.75), *steps]
    return steps


def _plain_divergence_terms(p: Array, q: Array) -> tuple[Array, ...]:
    """Return ``q - p``, and the two factors of ``p log(p/q)``."""
    logarithms, differences = _tiles.blanks(2, p)
    np.divide(p, q, out=logarithms)
    np.log(logarithms, out=logarithms)
    np.subtract(q, p, out=differences)
    return differences, p, logarithms


def _small_divergence_terms(p: Array, q: Array) -> tuple[Array, ...]:
    """Return the terms of :func:`_divergence_terms`, in less time where p and q are close."""
    s, difference, square, total = _tiles.blanks(4, p)
    np.subtract(q, p, out=difference)
    np.divide(difference, np.add(p, q, out=s), out=s)
    far = np.flatnonzero(~(np.abs(s, out=square) <= _NEAR))
    s[far] = square[far] = 0
    # From some power on of the largest s, the series has no digits left to add.
    largest = max(float(square.max(initial=0)) ** 2, 1e-30)
    powers = 1 + int(math.log(np.finfo(s.dtype).eps / 8) / math.log(largest))
    np.square(s, out=square)
    total.fill(0)
    for coefficient in _DIVERGENCE_SERIES[:powers][::-1].astype(s.dtype):
        np.add(np.multiply(total, square, out=total), coefficient, out=total)
    # s d - 2 p s^3 (1/3 + s^2/5 + ...), with s taken out.
    np.multiply(total, square, out=total)
    np.multiply(total, p, out=total)
    np.subtract(difference, np.multiply(total, 2, out=total), out=total)
    np.multiply(total, s, out=total)
    total[far] = _divergence_terms(p[far], q[far])
    return (total,)


def _js_terms(p: Array, q: Array) -> Array:
    """Return ``p log(p/m)/2 + q log(q/m)/2`` for ``m = (p + q)/2``."""
    with np.errstate(all="ignore"):
        s = (q - p) / (p + q)
        # 1 - s and 1 + s, without the cancellation.
        less, more = 2 * p / (p + q), 2 * q / (p + q)
        shape = -_surprise_terms(less, less) - _surprise_terms(more, more)
        near = abs(s) <= _JS_NEAR
        square = s[near] ** 2
        shape[near] = square * _polynomial(_JS_SERIES, square)
        return np.where((p == 0) & (q == 0), 0, (p + q) / 4 * shape)


def _log_ratio(p: Array, q: Array) -> Array:
    """Return ``log(p/q)``, also where the quotient itself leaves the range of the dtype."""
    ratio = p / q
    limits = np.finfo(ratio.dtype)
    in_range = (ratio >= limits.smallest_normal) & (ratio <= limits.max)
    return np.where(in_range, np.log(ratio), np.log(p) - np.log(q))


def _polynomial(coefficients: Array, x: Array) -> Array:
    """Return the polynomial in ``x`` with these coefficients, lowest first, by Horner's rule."""
    total = np.zeros_like(x)
    for coefficient in coefficients[::-1].astype(x.dtype):
        total = total * x + coefficient
    return total


# In and out ---------------------------------------------------------------------------------------


def _distributions(axis: Axis, **named: ArrayLike) -> tuple[list[Array], np.dtype[Any]]:
    """Check the named distributions; return each with its outcomes last, and the result's dtype."""
    arrays = {name: as_floating(name, value) for name, value in named.items()}
    if len(arrays) == 2:
        check_same_shape(**arrays)
    dtype = np.result_type(*arrays.values())
    rows = []
    for name, array in arrays.items():
        axes = reduced_axes(name, array, axis)
        check_distribution(name, array, axes)
        rows.append(as_rows(array, axes, working_dtype(dtype)))
    return rows, dtype


def _joint(joint: ArrayLike, axis: tuple[int, int]) -> tuple[Array, np.dtype[Any]]:
    """Check a joint distribution; return it with its two axes last, and the dtype of the result."""
    array = as_floating("joint", joint)
    if not isinstance(axis, tuple) or len(axis) != 2:
        raise ValueError(f"axis must be a pair, the two variables of joint, but it is {axis!r}.")
    if array.ndim < 2:
        raise ValueError(
            f"joint must be a table with an axis for each of the two variables, but its shape is "
            f"{array.shape}."
        )
    axes = normal_axes(array, axis)
    check_distribution("joint", array, axes)
    table = np.moveaxis(array, axes, (-2, -1))
    return np.ascontiguousarray(table, dtype=working_dtype(array.dtype)), array.dtype


def _in_units(result: Array, dtype: np.dtype[Any], unit: np.longdouble) -> Any:
    """Express in units of so many nats, in the dtype of the input."""
    with np.errstate(under="ignore"):
        return rounded(result / result.dtype.type(unit), dtype)
