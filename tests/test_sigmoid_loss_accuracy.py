"""cebook.sigmoid_loss on the grid of accuracy_sigmoid, where the textbook's formulas fail."""

import functools

import accuracy_sigmoid
import numpy as np
import pytest
from accuracy import DTYPES
from accuracy_sigmoid import BOUNDS
from helpers import FLOATS

from cebook import textbook


def bound(dtype, quantity):
    # Computed in float64, a float16 is the number next to the answer.
    return 0.5 + 1e-9 if dtype == np.float16 else BOUNDS[quantity]


@pytest.mark.parametrize("quantity", BOUNDS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_error_on_the_grid_is_within_the_bound(dtype, quantity):
    if dtype == np.longdouble and np.finfo(dtype).eps > 1e-18:
        pytest.skip("longdouble is float64 here, or two of them")
    worst = accuracy_sigmoid.worst_errors(dtype, libraries=("cebook",))
    assert worst[quantity]["cebook"] <= bound(dtype, quantity)


@pytest.mark.parametrize("dtype", DTYPES)
def test_everything_that_is_measured_has_a_bound(dtype):
    assert list(accuracy_sigmoid.worst_errors(dtype, libraries=("cebook",))) == list(BOUNDS)


# The measurement can fail -------------------------------------------------------------------------


def naive_of_logits(z, y, weight=1, pos_weight=1):
    a = textbook.sigmoid(z)
    loss = -weight * (pos_weight * y * np.log(a) + (1 - y) * np.log(1 - a))
    return loss, weight * ((1 - y + pos_weight * y) * a - pos_weight * y)


def naive_of_probabilities(a, y, weight=1):
    loss = -weight * textbook.binary_cross_entropy(a, y)
    return loss, weight * textbook.clipped_binary_cross_entropy(a, y)[1]


def naive_squared_error(a, y, weight=1):
    def cost(a):
        return weight * (a * a / 2 - a * y + y * y / 2)

    step = a.dtype.type(2**-10)
    return cost(a), (cost(a + step) - cost(a - step)) / (2 * step)


NAIVE = accuracy_sigmoid.by_case(
    {
        "sigmoid": textbook.sigmoid,
        "log_sigmoid": lambda z: np.log(textbook.sigmoid(z)),
        "softplus": lambda z: np.log(1 + np.exp(z)),
        "logit": lambda p: np.log(p / (1 - p)),
        "binary_entropy": lambda p: -textbook.binary_cross_entropy(p, p),
    },
    sigmoid_cross_entropy=naive_of_logits,
    binary_cross_entropy=naive_of_probabilities,
    squared_error=naive_squared_error,
)


@functools.cache
def naive_errors(dtype):
    with np.errstate(all="ignore"):
        return accuracy_sigmoid.measure(NAIVE, dtype)


@pytest.mark.parametrize("quantity", BOUNDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_formulas_of_the_textbook_exceed_the_bound(dtype, quantity):
    errors = [error for (of, _), error in naive_errors(dtype).items() if of == quantity]
    assert max(errors) > BOUNDS[quantity]
