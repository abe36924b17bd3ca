"""The exact answers, by mpmath to at least 50 digits, on the very numbers that the code is given.

A float is an exact rational number. ``exact`` hands it to mpmath without rounding, so that what is
measured is the error of the code and not of the input.
"""

from __future__ import annotations

import functools
from itertools import accumulate
from typing import NamedTuple

import mpmath
import numpy as np

# The divergence of two nearly equal coins of probability 1e-35 cancels 80 digits; 50 must remain.
mpmath.mp.dps = 150


def exact(array):
    """Return the numbers of a float array as a nested list of mpf, bit for bit."""
    array = np.asarray(array)
    if array.ndim:
        return [exact(row) for row in array]
    if array.dtype == np.longdouble and np.isfinite(array):
        top, bottom = array[()].as_integer_ratio()
        return mpmath.mpf(top) / bottom
    return mpmath.mpf(float(array))


def _xlogy(x, y):
    if x == 0:
        return mpmath.mpf(0)
    return mpmath.inf if y == 0 and x < 0 else x * mpmath.log(y)


def entropy(p):
    return mpmath.fsum(-_xlogy(x, x) for x in exact(p))


def cross_entropy(p, q):
    return mpmath.fsum(_xlogy(-x, y) for x, y in zip(exact(p), exact(q), strict=True))


def perplexity(p):
    return mpmath.exp(entropy(p))


def _divergence(x, y):
    if x == 0:
        return y
    return mpmath.inf if y == 0 else x * mpmath.log(x / y) - x + y


def kl_divergence(p, q):
    return mpmath.fsum(_divergence(x, y) for x, y in zip(exact(p), exact(q), strict=True))


def js_divergence(p, q):
    pairs = list(zip(exact(p), exact(q), strict=True))
    return mpmath.fsum(_xlogy(x, 2 * x / (x + y)) for x, y in pairs if x) / 2 + (
        mpmath.fsum(_xlogy(y, 2 * y / (x + y)) for x, y in pairs if y) / 2
    )


def binary_entropy(p):
    (x,) = exact(np.atleast_1d(p))
    return -_xlogy(x, x) - _times(1 - x, mpmath.log1p(-x))


def binary_kl_divergence(p, q):
    (x,), (y,) = exact(np.atleast_1d(p)), exact(np.atleast_1d(q))
    return _divergence(x, y) + _divergence(1 - x, 1 - y)


def conditional_entropy(joint):
    rows = [(row, mpmath.fsum(row)) for row in exact(joint)]
    return mpmath.fsum(-_xlogy(x, x / total) for row, total in rows for x in row if x)


def mutual_information(joint):
    rows = exact(joint)
    total = mpmath.fsum(x for row in rows for x in row)
    of_rows = [mpmath.fsum(row) for row in rows]
    of_columns = [mpmath.fsum(column) for column in zip(*rows, strict=True)]
    return mpmath.fsum(
        _divergence(x, of_rows[i] * of_columns[j] / total)
        for i, row in enumerate(rows)
        for j, x in enumerate(row)
    )


# Part II ------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """What a row of logits stands for; every entry is a sum of terms of one sign."""

    logsumexp: mpmath.mpf
    costs: list[mpmath.mpf]  # -log s
    probabilities: list[mpmath.mpf]  # s
    complements: list[mpmath.mpf]  # 1 - s


def softmax_row(x):
    """Return the row of logits, with nan where it has no answer."""
    x = exact(x)
    nan = [mpmath.nan] * len(x)
    if any(map(mpmath.isnan, x)):
        return Row(mpmath.nan, nan, nan, nan)
    top = max(x)
    if mpmath.isinf(top) and (top < 0 or x.count(top) > 1):
        return Row(top, nan, nan, nan)
    at = x.index(top)
    below = [top - value if value < top else mpmath.mpf(0) for value in x]
    terms = [mpmath.exp(-difference) for difference in below]
    others, total = _sums_of_others(terms), mpmath.fsum(terms)
    logarithm = mpmath.log1p(others[at])
    return Row(
        top + logarithm,
        [difference + logarithm for difference in below],
        [term / total for term in terms],
        [other / total for other in others],
    )


def loss_factors(
    targets, classes, *, weight=None, ignore_index=None, label_smoothing=0.0, reduction="none"
):
    """Return what multiplies ``-log q`` in the loss: ``w ((1 - eps) p + eps/K)`` for each row.

    It is None for a row that is left out, and for every row when the mean is over nothing.
    """
    targets = np.asarray(targets)
    by_index = targets.dtype.kind in "iu"
    weights = [mpmath.mpf(1)] * classes if weight is None else exact(weight)
    eps = exact(label_smoothing)
    rows, divisor = [], mpmath.mpf(0)
    for target in targets:
        if by_index and target == ignore_index:
            rows.append(None)
            continue
        divisor += weights[target] if by_index else 1
        p = [mpmath.mpf(int(k == target)) for k in range(classes)] if by_index else exact(target)
        rows.append([w * ((1 - eps) * q + eps / classes) for w, q in zip(weights, p, strict=True)])
    if reduction == "mean":
        rows = [row and divisor and [factor / divisor for factor in row] for row in rows]
    return [row or None for row in rows]


def softmax_cross_entropy(row, factors):
    """Return the loss and the gradient of what :func:`softmax_row` returns."""
    # P s - c, P the sum of the factors c, without the part that cancels.
    pulls = map(_times, _sums_of_others(factors), row.probabilities)
    pushes = map(_times, factors, row.complements)
    gradient = [pull - push for pull, push in zip(pulls, pushes, strict=True)]
    return mpmath.fsum(map(_times, factors, row.costs)), gradient


def nll_loss(log_probs, factors):
    """Return the loss of a row of log-probabilities."""
    return mpmath.fsum(_times(c, -q) for c, q in zip(factors, exact(log_probs), strict=True))


def _sums_of_others(terms):
    """Return, for every term, the sum of those before and those after it."""
    before = accumulate(terms[:-1], initial=mpmath.mpf(0))
    after = list(accumulate(reversed(terms[1:]), initial=mpmath.mpf(0)))
    return [a + b for a, b in zip(before, reversed(after), strict=True)]


# Part III -----------------------------------------------------------------------------------------


# One logit comes with many targets.
@functools.cache
def sigmoid(z):
    return 1 / (1 + mpmath.exp(-exact(z)))


@functools.cache
def softplus(z):
    # The logarithm of a number that has 1e308 digits would want as many of log 2.
    return max(exact(z), 0) + mpmath.log1p(mpmath.exp(-abs(exact(z))))


def log_sigmoid(z):
    return -softplus(-z)


def logit(p):
    return mpmath.log(exact(p)) - mpmath.log1p(-exact(p))


def sigmoid_cross_entropy(z, y, weight=1, pos_weight=1):
    """Return the loss and the gradient of one entry."""
    (no, yes), w = _no_and_yes(y, pos_weight), exact(weight)
    loss = _times(no, softplus(z)) + _times(yes, softplus(-z))
    return _times(w, loss), w * (no * sigmoid(z) - yes * sigmoid(-z))


def binary_cross_entropy(a, y, weight=1):
    """Return the loss and the gradient of one entry."""
    (no, yes), a, w = _no_and_yes(y), exact(a), exact(weight)
    loss = _times(no, -mpmath.log1p(-a)) + _times(yes, -mpmath.log(a))
    return _times(w, loss), _times(w, _over(no, 1 - a) - _over(yes, a))


def squared_error(a, y, weight=1):
    """Return the loss and the gradient of one entry."""
    difference, w = exact(a) - exact(y), exact(weight)
    return _times(w, difference**2 / 2), _times(w, difference)


def _no_and_yes(y, pos_weight=1):
    return 1 - exact(y), exact(pos_weight) * exact(y)


def _over(x, y):
    if x == 0:
        return mpmath.mpf(0)
    return mpmath.inf if y == 0 else x / y


# What the parts share -----------------------------------------------------------------------------


def _times(factor, cost):
    """Return the product; nothing times infinity is nothing."""
    return mpmath.mpf(0) if factor == 0 and mpmath.isinf(cost) else factor * cost


def error_in_eps(actual, truth, size=None):
    """Return ``|actual - truth| / (eps size)`` with the eps of the dtype of ``actual``.

    The size is that of the truth, unless the error is to be measured against another.
    """
    actual = np.asarray(actual)
    size = abs(truth) if size is None else size
    if mpmath.isnan(truth):
        return 0.0 if np.isnan(actual) else float("inf")
    if mpmath.isinf(truth) or size == 0:
        return 0.0 if exact(actual) == truth else float("inf")
    eps = mpmath.mpf(float(np.finfo(actual.dtype).eps))
    return float(abs(exact(actual) - truth) / size / eps) if np.isfinite(actual) else float("inf")
