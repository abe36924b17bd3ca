"""cebook.textbook: right on friendly numbers, and broken exactly where the book says."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import cebook as ce

FRIENDLY = {
    "entropy": ([0.2, 0.3, 0.5],),
    "cross_entropy": ([0.2, 0.3, 0.5], [0.1, 0.6, 0.3]),
    "kl_divergence": ([0.2, 0.3, 0.5], [0.1, 0.6, 0.3]),
}
# Where an outcome is impossible the printed formula multiplies 0 by infinity, or divides 0 by 0.
BREAKING = {
    "entropy": ([0.5, 0.5, 0.0],),
    "cross_entropy": ([0.5, 0.5, 0.0], [0.9, 0.1, 0.0]),
    "kl_divergence": ([0.5, 0.5, 0.0], [0.9, 0.1, 0.0]),
}


def both(name, inputs):
    arrays = [np.array(numbers) for numbers in inputs]
    with np.errstate(all="ignore"):
        return getattr(ce.textbook, name)(*arrays), getattr(ce, name)(*arrays)


@pytest.mark.parametrize("name", ce.textbook.__all__)
def test_right_on_friendly_numbers(name):
    printed, ours = both(name, FRIENDLY[name])
    assert_allclose(printed, ours, rtol=1e-14)


@pytest.mark.parametrize("name", ce.textbook.__all__)
def test_nan_at_zero(name):
    printed, ours = both(name, BREAKING[name])
    assert np.isnan(printed)
    assert np.isfinite(ours)


def test_printed_divergence_is_negative_next_to_equality():
    p = np.array([0.1, 0.2, 0.7])
    q = p * (1 + 1e-9 * np.array([1, -4, 1]))
    printed, ours = both("kl_divergence", (p, q / q.sum()))
    assert printed < 0 < ours
