"""cebook.sigmoid_loss: edges, dtypes, gradients, identities, errors for bad input."""

import inspect
import itertools
import math
import warnings
from fractions import Fraction

import numpy as np
import pytest
import torch
from helpers import FLOATS, LAYOUTS, NOT_NUMBERS, REDUCTIONS, message
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.testing import assert_allclose, assert_array_equal

import cebook as ce
from cebook import sigmoid_loss

# The functions by what they take: one array; or two, and options.
SINGLE = ["sigmoid", "softplus", "log_sigmoid", "logit"]
LOSSES = ["sigmoid_cross_entropy", "binary_cross_entropy", "squared_error"]
ALL = SINGLE + LOSSES
OF_PROBABILITIES = ["logit", "binary_cross_entropy"]
FIRST = dict.fromkeys(SINGLE, "x") | {
    "logit": "p",
    "sigmoid_cross_entropy": "logits",
    "binary_cross_entropy": "probs",
    "squared_error": "outputs",
}
FACTORS = [(name, "weight") for name in LOSSES] + [("sigmoid_cross_entropy", "pos_weight")]

EPS = np.finfo(np.float64).eps
LOG2 = np.log(np.longdouble(2))
INF, NAN = math.inf, math.nan


def call(name, *inputs, **options):
    return getattr(ce, name)(*inputs, **options)


def each(name, *inputs, **options):
    """Return the loss and the gradient of every entry."""
    return call(name, *inputs, reduction="none", return_grad=True, **options)


def arguments(name, dtype=np.float64):
    """Return ordinary inputs of shape (3, 4), which every dtype holds exactly."""
    if name in OF_PROBABILITIES:
        first = [[0.5, 0.25, 0.875, 0.0625], [0.75, 0.125, 0.25, 0.5], [0.5, 0.375, 0.625, 0.9375]]
    else:
        first = [[-1.5, 0.25, 3, 0], [2, -4, 1, 0.5], [0, 0, -0.75, 1.25]]
    targets = [[0, 1, 1, 0.5], [1, 0, 0.25, 0], [0.75, 0, 1, 0.125]]
    arrays = np.array(first, dtype), np.array(targets, dtype)
    return arrays if name in LOSSES else arrays[:1]


def random_arguments(name, shape, seed=3):
    generator = np.random.default_rng(seed)
    first = generator.normal(scale=3, size=shape)
    targets = generator.random(shape)
    targets = np.where(targets < 0.25, 0, np.where(targets > 0.75, 1, targets))
    if name in OF_PROBABILITIES:
        first = generator.uniform(0.02, 0.98, shape)
    return (first, targets) if name in LOSSES else (first,)


def assert_no_negative_zero(*results):
    for result in results:
        assert not np.signbit(np.asarray(result)[np.asarray(result) == 0]).any()


# Edges --------------------------------------------------------------------------------------------

EDGES = {
    "sigmoid": [(-INF, 0), (INF, 1), (0, 0.5), (-0.0, 0.5), (NAN, NAN), ("max", 1), ("-max", 0)],
    "softplus": [
        (-INF, 0),
        (INF, INF),
        (0, LOG2),
        (-0.0, LOG2),
        (NAN, NAN),
        ("max", "max"),
        ("-max", 0),
    ],
    "log_sigmoid": [
        (INF, 0),
        (-INF, -INF),
        (0, -LOG2),
        (-0.0, -LOG2),
        (NAN, NAN),
        ("max", 0),
        ("-max", "-max"),
    ],
    "logit": [(0, -INF), (1, INF), (0.5, 0), (NAN, NAN), (0.25, -np.log(np.longdouble(3)))],
}
# Input and target, with the loss and its gradient.
LOSS_EDGES = {
    "sigmoid_cross_entropy": [
        (-INF, 0, 0, 0),
        (INF, 1, 0, 0),
        (INF, 0, INF, 1),
        (-INF, 1, INF, -1),
        (INF, 0.25, INF, 0.75),
        (-INF, 0.25, INF, -0.25),
        (0, 0.5, LOG2, 0),
        (-0.0, 0, LOG2, 0.5),
        ("max", 0, "max", 1),
        ("-max", 1, "max", -1),
        ("max", 1, 0, 0),
        ("-max", 0, 0, 0),
        ("-max", -0.0, 0, 0),
        (-INF, -0.0, 0, 0),
        (INF, -0.0, INF, 1),
        (NAN, 0, NAN, NAN),
        (NAN, 1, NAN, NAN),
        (0, NAN, NAN, NAN),
        (INF, NAN, NAN, NAN),
    ],
    "binary_cross_entropy": [
        (0, 0, 0, 1),
        (0, -0.0, 0, 1),
        (1, 1, 0, -1),
        (0, 1, INF, -INF),
        (1, 0, INF, INF),
        (0, 0.25, INF, -INF),
        (1, 0.25, INF, INF),
        (0.5, 0, LOG2, 2),
        (0.5, 1, LOG2, -2),
        (0.5, 0.5, LOG2, 0),
        (0.5, 0.25, LOG2, 1),
        (NAN, 0, NAN, NAN),
        (NAN, 1, NAN, NAN),
        (0, NAN, NAN, NAN),
        (1, NAN, NAN, NAN),
    ],
    "squared_error": [
        (3, 3, 0, 0),
        (0, -0.0, 0, 0),
        (3, 1, 2, 2),
        (INF, 0, INF, INF),
        (-INF, 1, INF, -INF),
        (-INF, INF, INF, -INF),
        (1, INF, INF, -INF),
        (INF, INF, NAN, NAN),
        (NAN, 0, NAN, NAN),
        (0, NAN, NAN, NAN),
        ("max", "max", 0, 0),
    ],
}
SINGLE_CASES = [(name, *case) for name, cases in EDGES.items() for case in cases]
LOSS_CASES = [(name, *case) for name, cases in LOSS_EDGES.items() for case in cases]


def number(entry, dtype):
    largest = np.finfo(dtype).max
    return dtype({"max": largest, "-max": -largest}.get(entry, entry))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("name", "x", "expected"), SINGLE_CASES)
def test_edges(name, x, expected, dtype):
    x, expected = number(x, dtype), number(expected, dtype)
    with np.errstate(all="raise"):
        alone = call(name, x)
        among_others = call(name, np.array([0.25, x, 0.75], dtype))
    assert_allclose(alone, expected, rtol=4 * np.finfo(dtype).eps)
    assert_array_equal(among_others[1], alone)
    assert np.isfinite(among_others[::2]).all()
    assert_no_negative_zero(alone)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("name", "x", "y", "loss", "gradient"), LOSS_CASES)
def test_edges_of_the_losses_and_their_gradients(name, x, y, loss, gradient, dtype):
    x, y, loss, gradient = (number(entry, dtype) for entry in (x, y, loss, gradient))
    eps = np.finfo(dtype).eps
    with np.errstate(all="raise"):
        alone = each(name, x, y)
        among_others = each(name, np.array([0.25, x, 0.75], dtype), np.array([1, y, 0.5], dtype))
    for result, others, expected in zip(alone, among_others, (loss, gradient), strict=True):
        assert_allclose(result, expected, rtol=4 * eps)
        assert_array_equal(others[1], result)
        assert np.isfinite(others[::2]).all()
    assert_no_negative_zero(*alone)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", LOSSES)
def test_nan_in_one_entry_makes_the_reduced_loss_nan_and_one_entry_of_the_gradient(name, reduction):
    for place, bad in itertools.product((0, 1), ((0, 1), (2, 3))):
        inputs = arguments(name)
        _, clean = call(name, *inputs, reduction=reduction, return_grad=True)
        inputs[place][bad] = NAN
        with np.errstate(all="raise"):
            loss, gradient = call(name, *inputs, reduction=reduction, return_grad=True)
        assert np.isnan(loss)
        assert np.argwhere(np.isnan(gradient)).tolist() == [list(bad)]
        clean[bad] = NAN
        assert_array_equal(gradient, clean)


@pytest.mark.parametrize(
    ("name", "x", "y"),
    [
        ("sigmoid_cross_entropy", [INF, -INF, INF, 1], [0, 1, 0.5, 1]),
        ("binary_cross_entropy", [1.0, 0, 0, 0.5], [0, 1, 0.5, 1]),
        ("squared_error", [INF, -INF, 1, 3], [0, 1, -INF, 1]),
    ],
)
def test_a_weight_of_zero_takes_an_infinite_loss_away(name, x, y):
    with np.errstate(all="raise"):
        for reduction in REDUCTIONS:
            assert np.isinf(call(name, x, y, reduction=reduction)).any()
            options = {"weight": [0, 0, 0.0, 2], "reduction": reduction, "return_grad": True}
            loss, gradient = call(name, x, y, **options)
            alone, gradient_alone = each(name, x[3], y[3], weight=2)
            count = 4 if reduction == "mean" else 1
            assert_array_equal(loss, [0, 0, 0, alone] if reduction == "none" else alone / count)
            assert_array_equal(gradient, [0, 0, 0, gradient_alone / count])
            assert_no_negative_zero(loss, gradient)
        for zero in (0, 0.0, -0.0, False):
            assert not np.any(call(name, x, y, weight=zero, reduction="none"))


def test_a_positive_weight_of_zero_takes_the_yeses_away():
    z, y = [-INF, INF, -INF, 2.0, 2.0], [1, 1, 0.5, 1, 0.25]
    with np.errstate(all="raise"):
        loss, gradient = each("sigmoid_cross_entropy", z, y, pos_weight=0)
    expected = 0.75 * ce.softplus(2.0), 0.75 * ce.sigmoid(2.0)
    assert_array_equal(loss, [0, 0, 0, 0, expected[0]])
    assert_array_equal(gradient, [0, 0, 0, 0, expected[1]])
    assert_no_negative_zero(loss, gradient)


@pytest.mark.parametrize("name", LOSSES)
def test_a_weight_of_zero_does_not_hide_nan(name):
    for x, y in ((NAN, 0.5), (0.5, NAN)):
        assert np.isnan(each(name, x, y, weight=0)).all()
        if name == "sigmoid_cross_entropy":
            assert np.isnan(each(name, x, y, pos_weight=0)).all()
    assert_array_equal(np.isnan(each(name, [NAN, 0.5], [1, 0], weight=0)[0]), [True, False])


@pytest.mark.parametrize(
    ("name", "x", "y"),
    [
        ("sigmoid_cross_entropy", [INF, -INF], [1, 0]),
        ("sigmoid_cross_entropy", [800.0, -800.0], [1, 0]),
        ("binary_cross_entropy", [1.0, 0.0], [1, 0]),
        ("squared_error", [1.0, -2.0], [1, -2]),
    ],
)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_certain_loss_is_a_positive_zero(name, x, y, reduction):
    for weight in (None, 0, 2, [0.5, 3]):
        loss = call(name, x, y, weight=weight, reduction=reduction)
        assert not np.any(loss)
        assert not np.signbit(loss).any()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ALL)
def test_an_empty_array_is_empty(name, dtype):
    for shape in ((0,), (0, 3), (3, 0), (2, 0, 3)):
        inputs = [np.zeros(shape, dtype)] * (2 if name in LOSSES else 1)
        results = each(name, *inputs) if name in LOSSES else [call(name, *inputs)]
        for result in results:
            assert result.shape == shape
            assert result.dtype == dtype


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", LOSSES)
def test_the_sum_over_nothing_is_zero_and_the_mean_is_nan_and_says_why(name, dtype):
    for shape, options in (((0,), {}), ((0, 3), {"weight": [1, 2, 3]}), ((3, 0), {"weight": 2})):
        inputs = [np.zeros(shape, dtype)] * 2
        loss, gradient = call(name, *inputs, reduction="sum", return_grad=True, **options)
        assert loss == 0
        assert not np.signbit(loss)
        for more in ({}, {"return_grad": True}):
            with np.errstate(all="raise"), pytest.warns(RuntimeWarning) as caught:
                result = call(name, *inputs, **options, **more)
            mean = result[0] if more else result
            assert np.isnan(mean)
            assert isinstance(mean, dtype)
            (warning,) = caught
            assert warning.filename == __file__
            text = str(warning.message)
            assert text.startswith("The mean loss is nan: the batch is empty, and there is nothing")
            assert "With reduction='sum' the loss is 0." in text
        for array in (gradient, result[1]):
            assert array.shape == shape
            assert array.dtype == dtype


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ALL)
def test_a_single_number_gives_scalars(name, dtype):
    inputs = [array[1, 2] for array in arguments(name, dtype)]
    for given_as in (lambda number: number, np.array):
        arrays = [given_as(number) for number in inputs]
        if name in SINGLE:
            assert isinstance(call(name, *arrays), dtype)
            continue
        expected = each(name, *arguments(name, dtype))
        for reduction in REDUCTIONS:
            results = call(name, *arrays, reduction=reduction, return_grad=True)
            for result, whole in zip(results, expected, strict=True):
                assert isinstance(result, dtype)
                assert result == whole[1, 2]
    assert isinstance(call(name, *(float(number) for number in inputs)), np.float64)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", LOSSES)
def test_a_reduced_loss_is_a_scalar(name, reduction):
    loss = call(name, *arguments(name, np.float32), reduction=reduction)
    assert isinstance(loss, np.float32)
    # Without a gradient to go with it, unless one is asked for.
    assert not isinstance(call(name, *arguments(name)), tuple)


def test_a_loss_lives_down_to_the_smallest_float():
    for one, function in (
        (1, ce.softplus),
        (1, ce.sigmoid),
        (-1, lambda z: ce.log_sigmoid(-z)),
        (1, lambda z: ce.sigmoid_cross_entropy(-z, 1)),
        (-1, lambda z: ce.sigmoid_cross_entropy(-z, 1, return_grad=True)[1]),
        (1, lambda z: ce.sigmoid_cross_entropy(z, 0, return_grad=True)[1]),
    ):
        with np.errstate(all="raise"):
            assert function(-745.0) == one * 5e-324
            assert function(np.float32(-103)) == one * np.float32(1e-45)
            assert function(np.float32(-103)).dtype == np.float32


def test_a_mean_of_the_smallest_floats_is_the_smallest_float():
    for count in (1, 3, 100):
        assert ce.sigmoid_cross_entropy(np.full(count, -745.0), np.zeros(count)) == 5e-324


# Floating-point warnings --------------------------------------------------------------------------


def nasty(dtype, largest):
    """Return finite numbers of every size up to some, of both signs."""
    limits = np.finfo(dtype)
    numbers = [
        limits.smallest_subnormal,
        limits.smallest_normal,
        limits.eps,
        1 - limits.epsneg,
        0,
        0.25,
        1,
        17,
        90,
        750,
        12_000,
        largest,
    ]
    numbers = np.array([entry for entry in numbers if entry <= largest], dtype)
    return np.concatenate([numbers, -numbers[numbers > 0]])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ALL)
def test_no_floating_point_error_is_raised(name, dtype):
    # A hundred of them, or of their squares, still have a sum.
    limit = min(float(np.finfo(dtype).max), 1e308)
    batch = nasty(dtype, math.sqrt(limit / 500) if name == "squared_error" else limit / 500)
    if name in OF_PROBABILITIES:
        batch = batch[(batch >= 0) & (batch <= 1)]
    with np.errstate(all="raise"):
        if name in SINGLE:
            call(name, batch)
            if name != "logit":
                call(name, np.array([np.finfo(dtype).max, -np.finfo(dtype).max]))
            return
        targets = [batch[(batch >= 0) & (batch <= 1)]] + [np.array([target]) for target in (0, 1)]
        if name == "binary_cross_entropy":
            # What is next to impossible has no finite slope: that is an overflow, if asked for.
            batch = batch[(batch == 0) | (batch > np.finfo(dtype).smallest_normal)]
        inputs = [
            [array.ravel() for array in np.broadcast_arrays(batch[:, np.newaxis], each_target)]
            for each_target in targets
        ]
        for (x, y), reduction, tiny in itertools.product(inputs, REDUCTIONS, (1, 1e-300)):
            call(name, x, y, weight=tiny, reduction=reduction, return_grad=True)
        if name == "sigmoid_cross_entropy":
            limit = np.finfo(dtype).max
            for y in (0, 1, 0.25):
                each(name, [limit, -limit], [y, y], pos_weight=0.5, weight=0.5)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_slope_overflows_only_where_it_is_the_answer(dtype):
    tiny = np.finfo(dtype).smallest_subnormal
    with np.errstate(all="raise"):
        loss, gradient = each("binary_cross_entropy", np.array([tiny]), [0])
    assert loss[0] == tiny
    assert gradient[0] == 1
    for target in (1, 0.5):
        with pytest.warns(RuntimeWarning, match="overflow") as caught:
            loss, gradient = each("binary_cross_entropy", np.array([tiny, 0.5], dtype), [target, 0])
        assert len(caught) == 1
        assert_array_equal(gradient, [-INF, 2])
        assert np.isfinite(loss).all()


OVERFLOWS = {
    "float16, twice its loss": ("sigmoid_cross_entropy", np.float16(6e4), 0, {"weight": 2}),
    "float16, yes": ("sigmoid_cross_entropy", np.float16(-6e4), 1, {"pos_weight": 2}),
    "float16, square": ("squared_error", np.float16(1000), 0, {}),
    "float16, weight": ("binary_cross_entropy", np.float16(0.5), 0, {"weight": 1e5}),
    "float32, weight": ("binary_cross_entropy", np.float32(0.5), 0, {"weight": 1e39}),
    "float32, square": ("squared_error", np.float32(1e20), 0, {}),
    "weight": ("sigmoid_cross_entropy", 1e300, 0, {"weight": 1e300}),
    "yes": ("sigmoid_cross_entropy", -1e300, 1, {"pos_weight": 1e300}),
    "square": ("squared_error", 1e200, 0, {}),
    "difference": ("squared_error", 1e308, -1e308, {}),
}


@pytest.mark.parametrize("case", OVERFLOWS)
def test_a_loss_too_large_for_its_dtype_overflows_aloud(case):
    name, x, y, options = OVERFLOWS[case]
    for reduction in REDUCTIONS:
        with pytest.warns(RuntimeWarning) as caught:
            loss = call(name, x, y, reduction=reduction, **options)
        assert all("overflow encountered" in str(warning.message) for warning in caught)
        assert loss == INF
        assert type(loss) is type(np.asarray(x, dtype=np.result_type(x))[()])


@pytest.mark.parametrize("name", LOSSES)
def test_a_gradient_too_large_for_its_dtype_overflows_aloud(name):
    x, y = np.float16(0.5), 0
    with pytest.warns(RuntimeWarning, match="overflow"):
        _, gradient = call(name, x, y, weight=1e6, reduction="sum", return_grad=True)
    assert gradient == INF
    with pytest.warns(RuntimeWarning, match="overflow"):
        loss, gradient = call(name, x, y, weight=1e9, return_grad=True)
    assert loss == gradient == INF


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_sum_overflows_aloud_and_a_mean_of_the_same_does_not(dtype):
    large = dtype(np.finfo(dtype).max * 0.625)
    for count in (2, 5, 1000):
        z, y = np.full(count, large), np.zeros(count)
        with pytest.warns(RuntimeWarning, match="overflow"):
            assert ce.sigmoid_cross_entropy(z, y, reduction="sum") == INF
        with np.errstate(all="raise"):
            mean, gradient = ce.sigmoid_cross_entropy(z, y, return_grad=True)
            assert_allclose(mean, large, rtol=4 * np.finfo(dtype).eps)
            assert_array_equal(gradient, np.full(count, 1 / count, dtype))
            # The losses may also differ, and one be at the limit.
            z[1:] = -1000
            assert_allclose(ce.sigmoid_cross_entropy(z, y), large / count, rtol=1e-3)


def test_a_mean_of_the_largest_float_is_the_largest_float():
    largest = np.finfo(np.float64).max
    with np.errstate(all="raise"):
        for count in range(1, 40):
            mean = ce.sigmoid_cross_entropy(np.full(count, largest), np.zeros(count))
            assert_allclose(mean, largest, rtol=count * EPS)


def test_the_logit_of_minus_zero_is_that_of_zero():
    with np.errstate(all="raise"):
        for dtype in FLOATS:
            assert ce.logit(dtype(-0.0)) == -INF


@pytest.mark.parametrize("target", [1, 0.25])
def test_the_slope_at_minus_zero_is_that_at_zero(target):
    assert each("binary_cross_entropy", -0.0, target) == (INF, -INF)


def test_a_weight_saves_the_digits_of_small_squares():
    d, w = 1.234567e-160, 1e300
    expected = float(Fraction(d) ** 2 * Fraction(w) / 2)
    assert_allclose(ce.squared_error(d, 0, weight=w), expected, rtol=4 * EPS)


def test_a_weight_saves_large_squares():
    assert_allclose(ce.squared_error(1e200, 0, weight=1e-100), 5e299, rtol=4 * EPS)


@pytest.mark.parametrize("name", LOSSES)
def test_entries_do_not_see_each_other(name):
    x, y = random_arguments(name, 400)
    extremes = [0, 1] if name in OF_PROBABILITIES else [INF, -INF, 800, -800, 0, NAN, 1e150]
    x[::3] = np.resize(extremes, x[::3].shape)
    weight = np.random.default_rng(7).choice([0, 0.5, 1, 3], 400)
    whole = each(name, x, y, weight=weight)
    for i in range(400):
        for in_batch, alone in zip(whole, each(name, x[i], y[i], weight=weight[i]), strict=True):
            assert_allclose(in_batch[i], alone, rtol=8 * EPS)


# dtypes, memory -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ALL)
def test_dtype_in_is_dtype_out(name, dtype):
    def results(dtype):
        inputs = arguments(name, dtype)
        if name in SINGLE:
            return [call(name, *inputs)]
        calls = (call(name, *inputs, reduction=r, return_grad=True) for r in REDUCTIONS)
        return [result for loss_and_gradient in calls for result in loss_and_gradient]

    for result, truth in zip(results(dtype), results(np.longdouble), strict=True):
        assert result.dtype == dtype
        # float16 and float32 are computed wide and rounded once.
        bound = 0.51 if dtype in (np.float16, np.float32) else 4
        assert_allclose(result, truth, rtol=bound * float(np.finfo(dtype).eps), atol=EPS / 8)


@pytest.mark.parametrize("name", ALL)
def test_float16_is_rounded_once(name):
    inputs = [array.astype(np.float16) for array in random_arguments(name, 500)]
    wide = [array.astype(np.float64) for array in inputs]
    results, expected = (
        each(name, *arrays, weight=1 / 3) if name in LOSSES else [call(name, *arrays)]
        for arrays in (inputs, wide)
    )
    for result, truth in zip(results, expected, strict=True):
        assert_array_equal(result, truth.astype(np.float16))


def test_longdouble_carries_longdouble_digits():
    z = np.sqrt(np.arange(1, 40, dtype=np.longdouble)) - 3
    s = 1 / (1 + np.exp(-z))
    eps = float(np.finfo(np.longdouble).eps)
    y = np.resize(np.array([0, 1, 1 / np.longdouble(3)]), z.shape)
    costs = -(y * np.log(s) + (1 - y) * np.log1p(-s))
    for result, expected in (
        (ce.sigmoid(z), s),
        (ce.softplus(z), -np.log1p(-s)),
        (ce.log_sigmoid(z), np.log(s)),
        (ce.logit(s), z),
        (ce.sigmoid_cross_entropy(z, y, reduction="none"), costs),
        (ce.binary_cross_entropy(s, y, reduction="none"), costs),
        (each("sigmoid_cross_entropy", z, y)[1], s - y),
        (each("binary_cross_entropy", s, y)[1], (s - y) / (s * (1 - s))),
        (each("squared_error", z, y)[0], (z - y) ** 2 / 2),
        (each("squared_error", z, y)[1], z - y),
    ):
        assert result.dtype == np.longdouble
        assert_allclose(result, expected, rtol=200 * eps, atol=100 * eps)


@pytest.mark.parametrize(
    "convert",
    [np.int8, np.uint64, np.bool_, np.ndarray.tolist, lambda array: tuple(array.tolist())],
    ids=["int8", "uint64", "bool", "list", "tuple"],
)
@pytest.mark.parametrize("name", ALL)
def test_integers_bools_and_lists_become_float64(name, convert):
    # Every pair of certain answers but the infinitely wrong ones, and ordinary logits.
    first, targets = np.array([0, 1, 1, 0]), np.array([0, 1, 1, 0])
    if name not in SINGLE:
        results = each(name, convert(first), convert(targets))
        expected = each(name, first.astype(float), targets.astype(float))
    else:
        results, expected = [call(name, convert(first))], [call(name, first.astype(float))]
    for result, truth in zip(results, expected, strict=True):
        assert result.dtype == np.float64
        assert_array_equal(result, truth)


@pytest.mark.parametrize("other", [*FLOATS, np.int8, np.uint64, np.bool_])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", LOSSES)
def test_the_result_has_the_dtype_of_the_first_argument_alone(name, dtype, other):
    x, y = arguments(name, dtype)
    hard = np.round(y)
    factor = np.array([1, 1, 0, 1])
    options = {"weight": factor.astype(other)}
    if name == "sigmoid_cross_entropy":
        options["pos_weight"] = factor[::-1].astype(other)
    expected = {key: value.astype(np.float64) for key, value in options.items()}
    for reduction in REDUCTIONS:
        more = {"reduction": reduction, "return_grad": True}
        results = call(name, x, hard.astype(other), **options, **more)
        for result, truth in zip(results, call(name, x, hard, **expected, **more), strict=True):
            assert result.dtype == dtype
            assert_allclose(result, truth, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("name", LOSSES)
def test_wide_targets_and_weights_keep_their_digits(name, dtype):
    # 0.1 in float16 is 2e-4 off.
    x, _ = arguments(name, dtype)
    targets = np.tile([0.1, 0.2, 0.3, 0.9], (3, 1))
    options = {"weight": np.array([0.1, 0.7, 1 / 3, 2])}
    if name == "sigmoid_cross_entropy":
        options["pos_weight"] = np.array([[1.1], [1 / 7], [0.3]])
    narrow, wide = (each(name, array, targets, **options) for array in (x, x.astype(np.float64)))
    for result, expected in zip(narrow, wide, strict=True):
        assert_allclose(result, expected, rtol=0.51 * float(np.finfo(dtype).eps))


@pytest.mark.skipif(np.finfo(np.longdouble).eps == EPS, reason="no wider float")
@pytest.mark.parametrize("name", LOSSES)
def test_targets_wider_than_the_scores_are_not_rounded_first(name):
    # What the target has more than a float64 is all that is left of the difference.
    tiny = np.longdouble(2) ** -60
    x, y = 0.5, np.longdouble(0.5) + tiny
    if name == "sigmoid_cross_entropy":
        x = 0.0
    _, gradient = each(name, x, y)
    assert gradient.dtype == np.float64
    assert_allclose(gradient, float(-tiny) * (4 if name == "binary_cross_entropy" else 1))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ALL)
def test_memory_layout_does_not_matter_and_inputs_stay_as_they_are(name, layout):
    inputs = arguments(name)
    before = [array.copy() for array in inputs]
    laid_out = [LAYOUTS[layout](array) for array in inputs]
    factors = {}
    if name in LOSSES:
        factor = np.arange(12.0).reshape(3, 4)
        factors = {"weight": LAYOUTS[layout](factor)}
        if name == "sigmoid_cross_entropy":
            factors["pos_weight"] = LAYOUTS[layout](factor / 4)
        kept = {key: array.copy() for key, array in factors.items()}
        results = each(name, *laid_out, **factors)
        expected = each(name, *before, **{k: np.ascontiguousarray(v) for k, v in kept.items()})
        for key, array in factors.items():
            assert_array_equal(array, kept[key])
    else:
        results, expected = [call(name, *laid_out)], [call(name, *before)]
    for result, truth in zip(results, expected, strict=True):
        assert_allclose(result, truth, rtol=8 * EPS)
        assert result.dtype.isnative
    for array, copy in zip([*inputs, *laid_out], before * 2, strict=True):
        assert_array_equal(array, copy)


@pytest.mark.parametrize("name", ALL)
def test_results_are_arrays_of_their_own(name):
    # Written to, they do not change what was passed in.
    inputs = [array.copy() for array in arguments(name)]
    results = each(name, *inputs, weight=1) if name in LOSSES else [call(name, *inputs)]
    for result in results:
        result[...] = 7
    for array, original in zip(inputs, arguments(name), strict=True):
        assert_array_equal(array, original)


@pytest.mark.parametrize("name", ALL)
def test_options_are_keyword_only(name):
    inputs = arguments(name)
    parameters = inspect.signature(getattr(ce, name)).parameters
    kinds = [parameter.kind for parameter in parameters.values()]
    assert kinds[len(inputs) :] == [inspect.Parameter.KEYWORD_ONLY] * (len(kinds) - len(inputs))
    assert next(iter(parameters)) == FIRST[name]
    for more in ([None], ["mean"]):
        assert "positional" in message(TypeError, getattr(ce, name), *inputs, *more)


def test_only_logits_have_a_weight_for_the_yeses():
    for name in ("binary_cross_entropy", "squared_error"):
        text = message(TypeError, getattr(ce, name), *arguments(name), pos_weight=2)
        assert "pos_weight" in text


# The formula, option by option --------------------------------------------------------------------


def formula(name, y, w, v):
    """Return the loss of every entry as printed, for complex numbers too."""

    def of_probabilities(a):
        return -w * (v * y * np.log(a) + (1 - y) * np.log(1 - a))

    return {
        "sigmoid_cross_entropy": lambda z: of_probabilities(1 / (1 + np.exp(-z))),
        "binary_cross_entropy": of_probabilities,
        "squared_error": lambda a: w * (a - y) ** 2 / 2,
    }[name]


SHAPED = {
    "none": None,
    "number": 1.75,
    "labels": np.array([2.0, 0.0, 0.5, 1.25]),
    "samples": np.array([[0.5], [3.0], [0.0]]),
    "entries": np.random.default_rng(8).random((3, 4)) * 3,
    "one": np.array([[0.25]]),
}


OPTIONS = [
    (name, w, v)
    for name, w, v in itertools.product(LOSSES, SHAPED, SHAPED)
    if v == "none" or (name, "pos_weight") in FACTORS
]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("name", "w", "v"), OPTIONS)
def test_loss_and_gradient_follow_the_formula(name, w, v, reduction):
    x, y = random_arguments(name, (3, 4))
    options = {"weight": SHAPED[w], "reduction": reduction}
    if name == "sigmoid_cross_entropy":
        options["pos_weight"] = SHAPED[v]
    factors = [1.0 if SHAPED[key] is None else SHAPED[key] for key in (w, v)]
    printed = formula(name, y, *factors)
    count = {"mean": 12}.get(reduction, 1)
    loss, gradient = call(name, x, y, return_grad=True, **options)
    assert_array_equal(call(name, x, y, **options), loss)
    expected = printed(x) if reduction == "none" else printed(x).sum() / count
    assert_allclose(loss, expected, rtol=1e-11)
    exact = ce.complex_step_gradient(lambda x: printed(x).sum() / count, x)
    assert_allclose(gradient, exact, rtol=1e-12, atol=1e-15)

    # And it is that of what is returned.
    def total(x):
        return np.sum(call(name, x, y, **options))

    assert ce.check_gradient(total, gradient, x) < 1e-8
    assert_allclose(gradient, ce.finite_difference_gradient(total, x), atol=1e-8)


@pytest.mark.parametrize("name", LOSSES)
def test_options_of_other_types(name):
    x, y = arguments(name)
    for factor in ("weight", "pos_weight"):
        if (name, factor) not in FACTORS:
            continue
        expected = call(name, x, y, **{factor: np.array([1.0, 2, 0, 3])})
        for value in ([1, 2, 0, 3], (1, 2, 0, 3), torch.tensor([1.0, 2, 0, 3])):
            assert call(name, x, y, **{factor: value}) == expected
        assert call(name, x, y, **{factor: np.uint8([1, 2, 0, 3])}) == expected
        assert call(name, x, y, **{factor: True}) == call(name, x, y)
    assert call(name, torch.tensor(x), torch.tensor(y)) == call(name, x, y)
    assert call(name, x, y, weight=None, return_grad=False) == call(name, x, y)


# Identities ---------------------------------------------------------------------------------------


def of_logits(size):
    elements = st.floats(-size, size) | st.sampled_from([0.0, 1.0, -1.0, size, -size])
    return npst.arrays(np.float64, st.integers(1, 8), elements=elements)


@st.composite
def problems(draw, size=700.0, targets=None):
    z = draw(of_logits(size))
    targets = st.sampled_from([0.0, 1.0]) | st.floats(0, 1) if targets is None else targets
    return z, draw(npst.arrays(np.float64, z.shape, elements=targets))


HARD = st.sampled_from([0.0, 1.0])


@given(of_logits(1000.0))
def test_the_functions_of_logits_belong_together(z):
    s, rest = ce.sigmoid(z), ce.sigmoid(-z)
    assert_allclose(s + rest, 1, rtol=4 * EPS)
    assert ((s >= 0) & (s <= 1)).all()
    plus, minus = ce.softplus(z), ce.softplus(-z)
    assert_allclose(plus - minus, z, rtol=4 * EPS, atol=4 * EPS)
    assert (plus >= np.maximum(z, 0)).all()
    assert (plus <= np.maximum(z, 0) + float(LOG2) * (1 + 2 * EPS)).all()
    assert_array_equal(ce.log_sigmoid(z), -minus)
    assert (ce.log_sigmoid(z) <= 0).all()
    normal = s > 1e-300
    assert_allclose(np.log(s[normal]), ce.log_sigmoid(z)[normal], rtol=1e-13, atol=4 * EPS)


@given(npst.arrays(np.float64, st.integers(2, 10), elements=st.floats(-800, 800)))
def test_sigmoid_and_softplus_rise(z):
    z = np.sort(z)
    for name in ("sigmoid", "softplus", "log_sigmoid"):
        values = call(name, z)
        assert (np.diff(values) >= -4 * EPS * abs(values[1:])).all()


@given(npst.arrays(np.float64, st.integers(1, 8), elements=st.floats(-700, 1)))
def test_logit_undoes_the_sigmoid_where_that_keeps_its_digits(z):
    assert_allclose(ce.logit(ce.sigmoid(z)), z, rtol=8 * EPS, atol=32 * EPS)


@given(npst.arrays(np.float64, st.integers(1, 8), elements=st.floats(0, 1)))
def test_the_sigmoid_undoes_logit(p):
    z = ce.logit(p)
    assert_allclose(ce.sigmoid(z), p, rtol=4000 * EPS, atol=1e-300)
    # 1 - p is exact for such p, and no other.
    p = np.round(p * 2**20) / 2**20
    assert_array_equal(ce.logit(1 - p), -ce.logit(p))
    rises = np.diff(ce.logit(np.unique(p)))
    assert (rises > 0).all()


@pytest.mark.parametrize("d", [1e-300, 1e-9, 2.0**-20, 0.1])
def test_logit_keeps_the_digits_of_what_differs_from_a_half(d):
    p = 0.5 + d
    exact = 2 * math.atanh(2 * (p - 0.5))
    assert_allclose([ce.logit(p), -ce.logit(1 - p)], exact, rtol=8 * EPS)


def test_where_the_sigmoid_rounds_to_one_logit_cannot_bring_digits_back():
    assert ce.logit(ce.sigmoid(38.0)) == INF
    assert ce.logit(ce.sigmoid(np.float32(18))) == INF
    assert ce.logit(ce.sigmoid(-37.0)) == pytest.approx(-37, rel=4 * EPS)


@given(problems())
def test_the_loss_is_at_least_the_entropy_of_the_target(problem):
    z, y = problem
    losses = ce.sigmoid_cross_entropy(z, y, reduction="none")
    assert (losses >= 0).all()
    assert (losses >= ce.binary_entropy(y) * (1 - 8 * EPS)).all()
    assert (ce.binary_cross_entropy(ce.sigmoid(z), y, reduction="none") >= 0).all()
    inside = (y > 0) & (y < 1)
    best = ce.sigmoid_cross_entropy(ce.logit(y[inside]), y[inside], reduction="none")
    assert_allclose(best, ce.binary_entropy(y[inside]), rtol=1e-13)
    at_target, gradient = each("binary_cross_entropy", y[inside], y[inside])
    assert_allclose(at_target, ce.binary_entropy(y[inside]), rtol=1e-13)
    assert not gradient.any()


@given(problems(targets=st.sampled_from([k / 1024 for k in range(1025)])))
def test_no_is_yes_to_the_opposite_question(problem):
    z, y = problem
    loss, gradient = each("sigmoid_cross_entropy", z, y)
    mirrored, gradient_mirrored = each("sigmoid_cross_entropy", -z, 1 - y)
    assert_allclose(mirrored, loss, rtol=4 * EPS)
    assert_allclose(gradient_mirrored, -gradient, rtol=4 * EPS)


@given(problems(1000.0), st.floats(-1000, 1000))
def test_the_loss_is_convex_in_the_logit(problem, other):
    z, y = problem

    def losses(z):
        return ce.sigmoid_cross_entropy(z, y, reduction="none")

    ends = (losses(z) + losses(np.full_like(z, other))) / 2
    assert (losses((z + other) / 2) <= ends * (1 + 8 * EPS) + 1e-320).all()


@given(problems())
def test_the_gradient_says_in_which_direction_the_model_errs(problem):
    z, y = problem
    _, gradient = each("sigmoid_cross_entropy", z, y)
    assert (abs(gradient) <= 1).all()
    assert (gradient[y == 0] > 0).all()
    assert (gradient[y == 1] < 0).all()
    size = (1 - y) * ce.sigmoid(z) + y * ce.sigmoid(-z)
    error = ce.sigmoid(z) - y
    assert_allclose(gradient, error, rtol=0, atol=4 * EPS)
    clear = abs(error) > 16 * EPS * np.maximum(size, 1)
    assert_array_equal(np.sign(gradient[clear]), np.sign(error[clear]))


@given(problems(30.0))
def test_the_loss_is_that_of_the_probabilities(problem):
    z, y = problem
    s = ce.sigmoid(z)
    of_logits, of_probs = (
        each(name, array, y)
        for name, array in (("sigmoid_cross_entropy", z), ("binary_cross_entropy", s))
    )
    # A probability next to 1 holds few digits of the other one.
    lost = 8 * EPS * (1 + np.exp(z))
    assert (abs(of_logits[0] - of_probs[0]) <= lost * np.maximum(of_logits[0], EPS)).all()
    # The chain rule.
    slope = s * ce.sigmoid(-z)
    assert (abs(of_logits[1] - of_probs[1] * slope) <= lost).all()


@given(problems())
def test_reductions_belong_together(problem):
    for name in LOSSES:
        x, y = problem if name != "binary_cross_entropy" else (abs(np.cos(problem[0])), problem[1])
        losses, gradients = each(name, x, y)
        total, of_total = call(name, x, y, reduction="sum", return_grad=True)
        mean, of_mean = call(name, x, y, return_grad=True)
        assert_allclose(total, losses.sum(), rtol=1e-14)
        assert_allclose(mean, losses.sum() / len(losses), rtol=1e-14)
        assert_array_equal(of_total, gradients)
        assert_allclose(of_mean, gradients / len(losses), rtol=4 * EPS, atol=1e-323)
        assert mean == call(name, x, y, reduction="mean")


@given(problems(), st.integers(-60, 60))
def test_the_loss_is_proportional_to_the_weight(problem, exponent):
    factor = 2.0**exponent
    for name in LOSSES:
        x, y = problem if name != "binary_cross_entropy" else (abs(np.cos(problem[0])), problem[1])
        for weighted, plain in zip(each(name, x, y, weight=factor), each(name, x, y), strict=True):
            # The smallest floats have few digits to multiply.
            lost = 1e-323 * max(factor, 1)
            assert_allclose(weighted, factor * plain, rtol=4 * EPS, atol=lost)


@given(problems(targets=HARD), st.integers(0, 4))
def test_a_weight_of_the_yeses_is_as_good_as_their_repetition(problem, times):
    z, y = problem
    often = np.where(y == 1, times, 1)
    weighted = ce.sigmoid_cross_entropy(z, y, pos_weight=times, reduction="sum")
    repeated = ce.sigmoid_cross_entropy(np.repeat(z, often), np.repeat(y, often), reduction="sum")
    assert_allclose(weighted, repeated, rtol=1e-14)
    # For certain targets it is a weight of the entry.
    for result, expected in zip(
        each("sigmoid_cross_entropy", z, y, pos_weight=times),
        each("sigmoid_cross_entropy", z, y, weight=often),
        strict=True,
    ):
        assert_allclose(result, expected, rtol=4 * EPS)


@pytest.mark.parametrize("name", LOSSES)
def test_masked_entries_are_as_good_as_sliced_off(name):
    x, y = random_arguments(name, (6, 5))
    mask = np.random.default_rng(4).random((6, 5)) < 0.6
    x[~mask] = 1 if name in OF_PROBABILITIES else INF
    y[~mask] = 0
    loss, gradient = call(name, x, y, weight=mask, reduction="sum", return_grad=True)
    sliced, sliced_gradient = call(name, x[mask], y[mask], reduction="sum", return_grad=True)
    assert_allclose(loss, sliced, rtol=1e-14)
    assert_array_equal(gradient[mask], sliced_gradient)
    assert not gradient[~mask].any()
    # The mean still divides by all entries, as documented; the sum lets one choose.
    mean = call(name, x, y, weight=mask)
    assert_allclose(mean, sliced / 30, rtol=1e-14)


@pytest.mark.parametrize("name", LOSSES)
def test_whole_weights_are_entries_that_come_as_often(name):
    x, y = random_arguments(name, 6)
    often = np.array([1, 0, 3, 2, 1, 5])
    weighted = call(name, x, y, weight=often, reduction="sum")
    repeated = call(name, np.repeat(x, often), np.repeat(y, often), reduction="sum")
    assert_allclose(weighted, repeated, rtol=1e-14)


@pytest.mark.parametrize("name", LOSSES)
def test_a_factor_is_broadcast_as_numpy_does(name):
    x, y = random_arguments(name, (2, 3, 4))
    for shape in ((), (1,), (4,), (3, 1), (1, 4), (3, 4), (2, 1, 1), (1, 3, 4), (2, 3, 4)):
        factor = np.random.default_rng(6).random(shape)
        for option in ("weight", "pos_weight"):
            if (name, option) in FACTORS:
                results = each(name, x, y, **{option: factor})
                spelt_out = each(name, x, y, **{option: np.broadcast_to(factor, x.shape)})
                for result, expected in zip(results, spelt_out, strict=True):
                    assert_array_equal(result, expected)


def test_the_softmax_of_two_classes_is_a_sigmoid():
    z, y = random_arguments("sigmoid_cross_entropy", 50)
    rows = np.stack([np.zeros(50), z], axis=1)
    distributions = np.stack([1 - y, y], axis=1)
    assert_allclose(ce.softmax(rows)[:, 1], ce.sigmoid(z), rtol=8 * EPS)
    for reduction in REDUCTIONS:
        options = {"reduction": reduction, "return_grad": True}
        loss, gradient = ce.sigmoid_cross_entropy(z, y, **options)
        by_rows, gradient_by_rows = ce.softmax_cross_entropy(rows, distributions, **options)
        assert_allclose(by_rows, loss, rtol=8 * EPS)
        assert_allclose(gradient_by_rows[:, 1], gradient, rtol=1e-13, atol=EPS)


def test_the_loss_is_a_sum_of_softpluses():
    z = np.linspace(-50, 50, 101)
    for y, expected in ((1, ce.softplus(-z)), (0, ce.softplus(z)), (0, -ce.log_sigmoid(-z))):
        losses = ce.sigmoid_cross_entropy(z, np.full(101, y), reduction="none")
        assert_array_equal(losses, expected)


# The whole range of the dtypes --------------------------------------------------------------------


@st.composite
def anything(draw, name, targets=True):
    """Draw finite inputs of float32 or float64, of any magnitude, and targets."""
    dtype, width = draw(st.sampled_from([(np.float32, 32), (np.float64, 64)]))
    limits = np.finfo(dtype)
    special = [limits.max, limits.smallest_normal, limits.smallest_subnormal, limits.eps]
    special += [1, 1 - limits.epsneg, 17, 37]
    within_one = st.floats(0, 1, width=width, allow_subnormal=True)
    if name in OF_PROBABILITIES:
        chosen = st.sampled_from([float(s) for s in (0, *special) if s <= 1])
        elements = within_one | chosen
    else:
        signed = st.sampled_from([float(sign * s) for s in (0, *special) for sign in (-1, 1)])
        everything = st.floats(
            -float(limits.max), float(limits.max), width=width, allow_subnormal=True
        )
        elements = everything | signed | st.floats(-100, 100, width=width)
    x = draw(npst.arrays(dtype, st.integers(1, 5), elements=elements))
    y = within_one | st.sampled_from([0.0, 1.0])
    if name == "squared_error":
        y |= st.floats(-float(limits.max), float(limits.max), width=width)
    return x, draw(npst.arrays(dtype, x.shape, elements=y))


def overflows(exact, dtype):
    """Whether a fraction rounds to something beyond the dtype, or may."""
    limit = Fraction(float(np.finfo(dtype).max))
    return abs(exact) > limit * (1 - Fraction(1, 10**6))


@settings(max_examples=200)
@pytest.mark.parametrize("name", ["sigmoid", "softplus", "log_sigmoid"])
@given(data=st.data())
def test_functions_of_any_logits_are_finite_and_silent(name, data):
    x, _ = data.draw(anything(name))
    before = x.tobytes()
    with np.errstate(all="raise"):
        result = call(name, x)
    assert np.isfinite(result).all()
    assert x.tobytes() == before


@settings(max_examples=200)
@given(anything("logit"))
def test_the_logit_of_any_probability_is_silent(inputs):
    p, _ = inputs
    p = p + 0  # of minus zero there is a test above
    with np.errstate(all="raise"):
        result = ce.logit(p)
    assert_array_equal(np.isfinite(result), (p > 0) & (p < 1))
    assert_array_equal(np.sign(result), np.sign(p.astype(float) - 0.5))


@settings(max_examples=300)
@given(anything("sigmoid_cross_entropy"), st.sampled_from([None, 0.5, 1e-300]))
def test_the_loss_of_any_logits_is_finite_and_silent(inputs, weight):
    z, y = inputs
    before, half = (z.tobytes(), y.tobytes()), z / 2
    with np.errstate(all="raise"):
        loss, gradient = each("sigmoid_cross_entropy", z, y, weight=weight, pos_weight=weight)
        mean = ce.sigmoid_cross_entropy(half, y)
    assert np.isfinite(loss).all()
    assert np.isfinite(mean)
    assert (loss >= 0).all()
    assert_no_negative_zero(loss)
    assert (abs(gradient) <= 1).all()
    assert (z.tobytes(), y.tobytes()) == before


@settings(max_examples=300)
@given(anything("binary_cross_entropy"))
def test_the_loss_of_any_probabilities_is_infinite_only_where_it_must_be(inputs):
    a, y = inputs
    with np.errstate(all="raise", over="ignore"):
        loss, gradient = each("binary_cross_entropy", a, y)
    impossible = ((a == 0) & (y > 0)) | ((a == 1) & (y < 1))
    assert_array_equal(loss, np.where(impossible, INF, loss))
    assert np.isfinite(loss[~impossible]).all()
    assert (loss >= 0).all()
    assert_no_negative_zero(loss)
    assert not np.isnan(gradient).any()
    exact = [[Fraction(float(entry)) for entry in array] for array in (a, y)]
    for g, p, target in zip(gradient, *exact, strict=True):
        if not np.isfinite(g):
            below = p * (1 - p)
            assert below == 0 or overflows((p - target) / below, a.dtype)
        assert np.sign(g) in (0, np.sign(float(p - target))) or p == target


@settings(max_examples=300)
@given(anything("squared_error"))
def test_the_square_of_any_numbers_is_infinite_only_where_it_must_be(inputs):
    a, y = inputs
    with np.errstate(all="raise", over="ignore"):
        loss, gradient = each("squared_error", a, y)
    assert not np.isnan(loss).any()
    assert (loss >= 0).all()
    for value, g, p, target in zip(loss, gradient, a, y, strict=True):
        difference = Fraction(float(p)) - Fraction(float(target))
        assert np.isfinite(value) or overflows(difference**2 / 2, a.dtype)
        assert np.isfinite(g) or overflows(difference, a.dtype)


@pytest.mark.parametrize("name", LOSSES)
def test_a_finite_loss_says_nothing(name):
    # Not even what Python's own filter would show but once.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for reduction in REDUCTIONS:
            call(name, *arguments(name), weight=0.1, reduction=reduction, return_grad=True)
            call(name, *(np.ones((1, 1)),) * 2, reduction=reduction, return_grad=True)
    assert not caught


# What people really ask ---------------------------------------------------------------------------


def test_the_loss_of_logits_sees_what_the_loss_of_probabilities_has_lost():
    # Pitfall 17.
    z, y = np.float32(20), 0
    a = ce.sigmoid(z)
    assert a == 1
    loss, gradient = ce.sigmoid_cross_entropy(z, y, return_grad=True)
    assert loss == 20
    assert gradient == 1
    assert ce.binary_cross_entropy(a, y, return_grad=True) == (INF, INF)
    # What PyTorch says, and the chain rule makes of it; and what it says when the answer is right.
    of_torch, slope = ce.textbook.pytorch_binary_cross_entropy(a, y)
    assert of_torch == 100
    assert slope * a * (1 - a) == 0
    right, gradient = ce.sigmoid_cross_entropy(z, 1, return_grad=True)
    assert right == -gradient == pytest.approx(math.exp(-20), rel=1e-6)
    assert ce.binary_cross_entropy(a, 1) == 0


def test_targets_outside_the_unit_interval_are_refused():
    # Pitfall 18: with a target of 2 PyTorch's loss of a logit of 5 is negative.
    z, y = torch.tensor(5.0), torch.tensor(2.0)
    unchecked = torch.nn.functional.binary_cross_entropy_with_logits(z, y)
    assert unchecked == pytest.approx(-4.993, abs=1e-3)
    assert "targets must lie in [0, 1]" in message(ValueError, ce.sigmoid_cross_entropy, 5.0, 2.0)
    assert "targets must lie in [0, 1]" in message(ValueError, ce.binary_cross_entropy, 0.5, 2.0)
    assert ce.squared_error(5.0, 2.0) == 4.5


def test_no_epsilon_is_hidden():
    # Pitfall 19.
    loss, gradient = ce.sigmoid_cross_entropy(-150.0, 1, return_grad=True)
    assert loss == 150
    assert gradient == -1
    a = ce.sigmoid(-150.0)
    loss, gradient = ce.binary_cross_entropy(a, 1, return_grad=True)
    assert loss == pytest.approx(150, rel=4 * EPS)
    assert gradient == pytest.approx(-1 / a, rel=4 * EPS)
    clipped, gradient = ce.textbook.clipped_binary_cross_entropy(a, 1)
    assert clipped == pytest.approx(16.118, abs=1e-3)
    assert gradient == 0
    assert ce.binary_cross_entropy(0.0, 0) == ce.binary_cross_entropy(1.0, 1) == 0


# Errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", NOT_NUMBERS)
@pytest.mark.parametrize("name", ALL)
def test_what_is_not_a_real_number_is_a_type_error(name, kind):
    bad, came, _ = NOT_NUMBERS[kind]
    function = getattr(ce, name)
    calls = {FIRST[name]: lambda: function(bad, *([[0, 1]] if name in LOSSES else []))}
    if name in LOSSES:
        calls["targets"] = lambda: function([0.5, 0.5], bad)
        calls["weight"] = lambda: function([0.5, 0.5], [0, 1], weight=bad)
    if name == "sigmoid_cross_entropy":
        calls["pos_weight"] = lambda: function([0.5, 0.5], [0, 1], pos_weight=bad)
    for argument, run in calls.items():
        text = message(TypeError, run)
        assert text.startswith(f"{argument} ")
        assert came in text


@pytest.mark.parametrize("name", ALL)
def test_ragged_lists_are_a_value_error(name):
    ragged, function = [[0.5, 0.25], [0.5]], getattr(ce, name)
    calls = [(FIRST[name], lambda: function(ragged, *([[0, 1]] if name in LOSSES else [])))]
    if name in LOSSES:
        calls += [("targets", lambda: function([0.5, 0.5], ragged))]
        calls += [("weight", lambda: function([0.5, 0.5], [0, 1], weight=ragged))]
    for argument, run in calls:
        text = message(ValueError, run)
        assert text.startswith(f"{argument} must be a rectangular array of real numbers")


# Shapes of scores and targets, and what is said of them.
BAD_SHAPES = {
    "a column": ((3,), (3, 1), ["They have as many entries: did you mean reshape"]),
    "a column of scores": ((3, 1), (3,), ["They have as many entries: did you mean reshape"]),
    "transposed": ((3, 4), (4, 3), ["or a transpose?"]),
    "labels": ((3, 4), (3,), ["If targets holds class labels, ce.one_hot(targets, 4)"]),
    "labels of an image": ((2, 3, 4), (2, 3), ["ce.one_hot(targets, 4) spells them out"]),
    "one row for all": ((3, 4), (4,), ["Nothing is broadcast here", "np.broadcast_to first"]),
    "one target for all": ((3, 4), (), ["Nothing is broadcast here"]),
    "a row": ((3, 4), (1, 4), ["Nothing is broadcast here"]),
    "too long": ((3,), (4,), ["Nothing is broadcast here"]),
    "nothing": ((3,), (0,), ["Nothing is broadcast here"]),
}


@pytest.mark.parametrize("case", BAD_SHAPES)
@pytest.mark.parametrize("name", LOSSES)
def test_shapes_that_do_not_fit(name, case):
    of_scores, of_targets, fragments = BAD_SHAPES[case]
    scores, targets = np.full(of_scores, 0.5), np.ones(of_targets, int)
    for options in ({}, {"reduction": "sum", "return_grad": True}):
        text = message(ValueError, getattr(ce, name), scores, targets, **options)
        assert text.startswith(
            f"targets and {FIRST[name]} must have the same shape, but targets has shape "
            f"{of_targets} and {FIRST[name]} has shape {of_scores}. "
        )
        for fragment in fragments:
            assert fragment in text


BAD_TARGETS = {
    "class indices": ([0, 3, 2, 1], ["targets[1] = 3", "class indices", "softmax_cross_entropy"]),
    "labels -1 and 1": ([1, -1, -1, 1], ["[1] = -1", "labels -1 and 1", "(targets + 1) / 2"]),
    "all labels -1": ([-1.0] * 4, ["targets[0] = -1", "(targets + 1) / 2"]),
    "pixels": ([0, 17, 255, 128], ["targets[1] = 17", "pixels", "Divide by 255"]),
    "pixels, as float": ([0, 0.5, 200.5, 1], ["targets[2] = 200.5", "Divide by 255"]),
    "dim pixels": ([0, 0, 101, 1], ["targets[2] = 101", "Divide by 255"]),
    "percentages": ([0, 12.5, 99.5, 1], ["targets[1] = 12.5", "division by 100"]),
    "another scale": ([0, 300.5, 1000, 1], ["targets[1] = 300.5", "their largest value"]),
    "a little more": ([0, 1 + 1e-9, 1, 1], ["targets[1] = 1"]),
    "a little less": ([0, -1e-9, 1, 1], ["targets[1] = -1e-09"]),
    "infinite": ([0, 1, 1, INF], ["targets[3] = inf"]),
    "minus infinity": ([0, 1, -INF, 1], ["targets[2] = -inf"]),
    "beside nan": ([NAN, 1, 2.5, 1], ["targets[2] = 2.5"]),
}


@pytest.mark.parametrize("case", BAD_TARGETS)
@pytest.mark.parametrize("name", ["sigmoid_cross_entropy", "binary_cross_entropy"])
def test_targets_that_are_no_probabilities(name, case):
    bad, fragments = BAD_TARGETS[case]
    for dtype, options in (
        (np.float64, {}),
        (np.float64, {"reduction": "none", "weight": 0}),
        (np.longdouble, {"return_grad": True}),
    ):
        scores, targets = np.full(4, 0.5, np.float32), np.array(bad, dtype)
        text = message(ValueError, getattr(ce, name), scores, targets, **options)
        assert text.startswith("targets must lie in [0, 1], but ")
        for fragment in fragments:
            assert fragment in text
    # The position in more dimensions, and none in none.
    square = np.reshape(bad, (2, 2))
    where = np.argwhere((square < 0) | (square > 1))[0]
    text = message(ValueError, getattr(ce, name), np.full((2, 2), 0.5), square)
    assert f"targets[{where[0]}, {where[1]}] = " in text
    text = message(ValueError, getattr(ce, name), 0.5, square[tuple(where)])
    assert text.startswith(f"targets must lie in [0, 1], but it is {square[tuple(where)]:.6g}. ")


@pytest.mark.parametrize(
    ("targets", "wrong"), [([-1, 0, 1], "(targets + 1) / 2"), ([-3.5, 0, 200], "Divide by 255")]
)
def test_advice_that_would_not_help_is_not_given(targets, wrong):
    # Neither would bring all of these into the unit interval, or leave a 0 what it is.
    assert wrong not in message(ValueError, ce.sigmoid_cross_entropy, [0.5] * 3, targets)


@pytest.mark.parametrize("targets", [[-1, 1], [2, 3], [-2.5, 300]], ids=str)
def test_targets_of_the_squared_error_may_be_any_numbers(targets):
    outputs = np.array([0.5, -4.0])
    assert_allclose(ce.squared_error(outputs, targets), ((outputs - targets) ** 2).sum() / 4)


@pytest.mark.parametrize("name", ["probs", "targets"])
@pytest.mark.parametrize("bad", [-1e-300, -1e-17, 1 + EPS, 1 + 1e-9], ids=str)
def test_a_probability_that_is_off_by_rounding(name, bad):
    arguments = {"probs": [0.5, 0.5], "targets": [0.0, 1.0], name: [0.5, bad]}
    text = message(ValueError, ce.binary_cross_entropy, *arguments.values())
    assert text.startswith(f"{name} must lie in [0, 1], but {name}[1] = ")
    beyond = -bad if bad < 0 else bad - 1
    assert text.endswith(f"It is off by {beyond:.2g}: if that is rounding, np.clip({name}, 0, 1).")


@pytest.mark.parametrize("bad", [-1e-3, -2.5, 1 + 1e-3, 3, 100, INF, -INF], ids=str)
def test_probabilities_that_are_none(bad):
    p = [0.5, bad, bad / 2]
    text = message(ValueError, ce.binary_cross_entropy, p, [0, 1, 1])
    assert text.startswith(f"probs must lie in [0, 1], but probs[1] = {bad:.6g}. ")
    assert "ogits belong in sigmoid_cross_entropy" in text
    assert "percentages want a division by 100" in text
    text = message(ValueError, ce.logit, p)
    assert text.startswith(f"p must lie in [0, 1], but p[1] = {bad:.6g}. ")
    assert "percentages" in text
    assert "p must lie in [0, 1], but it is " in message(ValueError, ce.logit, bad)
    # A wrong probability comes before a wrong target.
    assert message(ValueError, ce.binary_cross_entropy, p, p).startswith("probs must")


BAD_FACTORS = {
    "negative": ([1, -2.5, -3, 1], ["finite and non-negative, but {0}[1] = -2.5", "reward"]),
    "nan": ([1, 1, NAN, 1], ["must be finite and non-negative, but {0}[2] = nan"]),
    "inf": ([1, 1, 1, INF], ["must be finite and non-negative, but {0}[3] = inf", "1/count"]),
    "minus inf": ([-INF, 1, 1, 1], ["{0}[0] = -inf", "reward mistakes"]),
    "negative number": (-1, ["must be finite and non-negative, but it is -1."]),
    "nan number": (NAN, ["must be finite and non-negative, but it is nan."]),
    "inf number": (INF, ["must be finite and non-negative, but it is inf.", "never occurs"]),
    "a column": ([[1], [-1], [1]], ["but {0}[1, 0] = -1"]),
    "one a sample": (
        [1, 1, 1],
        [
            "must broadcast to the shape of what it multiplies, (3, 4), but it has shape (3,)",
            "For a factor a sample, give it shape (3, 1).",
        ],
    ),
    "too few": ([1, 1], ["(3, 4), but it has shape (2,)", "matched from the last one on"]),
    "too many": (np.ones((4, 4)), ["(3, 4), but it has shape (4, 4)", "the same length or 1"]),
    "a transpose": (np.ones((4, 3)), ["(3, 4), but it has shape (4, 3)"]),
    "another axis": (np.ones((1, 3, 4)), ["(3, 4), but it has shape (1, 3, 4)"]),
    "enlarging": (np.ones((5, 3, 4)), ["(3, 4), but it has shape (5, 3, 4)"]),
    "nothing": ([], ["(3, 4), but it has shape (0,)"]),
}


@pytest.mark.parametrize("case", BAD_FACTORS)
@pytest.mark.parametrize(("name", "factor"), FACTORS)
def test_factors_that_do_not_fit(name, factor, case):
    bad, fragments = BAD_FACTORS[case]
    x, y = arguments(name, np.float32)
    for options in ({}, {"reduction": "none", "return_grad": True}):
        text = message(ValueError, getattr(ce, name), x, y, **{factor: bad}, **options)
        assert text.startswith(f"{factor} must ")
        for fragment in fragments:
            assert fragment.format(factor) in text


@pytest.mark.parametrize(("name", "factor"), FACTORS)
def test_a_factor_enlarges_nothing(name, factor):
    for shape, of_factor in (((3,), (3, 1)), ((3, 1), (3, 4)), ((1, 4), (3, 4)), ((), (1,))):
        inputs = [np.full(shape, 0.5)] * 2
        text = message(ValueError, getattr(ce, name), *inputs, **{factor: np.ones(of_factor)})
        assert f"{factor} must broadcast to the shape of what it multiplies, {shape}, but" in text
        assert f"it has shape {of_factor}. " in text
        assert "For a factor a sample" not in text


def test_the_hint_for_samples_is_for_batches_alone():
    x = np.full((3, 4, 5), 0.5)
    text = message(ValueError, ce.squared_error, x, x, weight=np.ones(3))
    assert "it has shape (3,). Its axes are matched from the last one on" in text


BAD_REDUCTIONS = {
    "None": (None, ["it is None.", "None is written 'none', a string"]),
    "batchmean": ("batchmean", ["it is 'batchmean'.", "use 'sum', divided by the batch"]),
    "avg": ("avg", ["'mean', 'sum' or 'none', but it is 'avg'."]),
    "Mean": ("Mean", ["but it is 'Mean'"]),
    "array": (np.array(["mean", "sum"]), ["reduction must be 'mean', 'sum' or 'none'"]),
    "bool": (True, ["but it is True"]),
}


@pytest.mark.parametrize("case", BAD_REDUCTIONS)
@pytest.mark.parametrize("name", LOSSES)
def test_reductions_that_do_not_exist(name, case):
    reduction, fragments = BAD_REDUCTIONS[case]
    for inputs in (arguments(name), ([], [])):
        text = message(ValueError, getattr(ce, name), *inputs, reduction=reduction)
        assert text.startswith("reduction must be 'mean', 'sum' or 'none', but it is ")
        for fragment in fragments:
            assert fragment in text


@pytest.mark.parametrize("name", LOSSES)
def test_an_empty_batch_is_checked_too(name):
    empty, function = np.zeros((0, 3)), getattr(ce, name)
    for options, argument in (({"weight": -1}, "weight"), ({"weight": [1, 1]}, "weight")):
        assert message(ValueError, function, empty, empty, **options).startswith(argument)
    assert message(ValueError, function, empty, np.zeros((0, 2))).startswith("targets and ")
    assert message(TypeError, function, empty, empty.astype(str)).startswith("targets must")


def test_every_public_function_is_tested_here():
    assert sorted(sigmoid_loss.__all__) == sorted(ALL)
