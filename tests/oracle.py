"""The exact answers, by mpmath to at least 50 digits, on the very numbers that the code is given.

A float is an exact rational number. ``exact`` hands it to mpmath without rounding, so that what is
measured is the error of the code and not of the input.
"""

from __future__ import annotations

import mpmath
import numpy as np

# The divergence of two nearly equal coins of probability 1e-35 cancels 80 digits; 50 must remain.
mpmath.mp.dps = 150


def exact(array):
    """Return the numbers of a float array as a nested list of mpf, bit for bit."""
    array = np.asarray(array)
    if array.ndim == 0:
        high = float(array)
        return mpmath.mpf(high) + mpmath.mpf(float(array - array.dtype.type(high)))
    return [exact(row) for row in array]


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
    return -_xlogy(x, x) - _xlogy(1 - x, 1 - x)


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


def error_in_eps(actual, truth):
    """Return ``|actual - truth| / (eps |truth|)`` with the eps of the dtype of ``actual``."""
    actual = np.asarray(actual)
    if mpmath.isinf(truth) or truth == 0:
        return 0.0 if exact(actual) == truth else float("inf")
    eps = mpmath.mpf(float(np.finfo(actual.dtype).eps))
    return (
        float(abs(exact(actual) - truth) / abs(truth) / eps)
        if np.isfinite(actual)
        else float("inf")
    )
