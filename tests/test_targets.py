"""cebook.targets: class indices spelt out, labels smoothed, errors for bad input."""

import inspect
import math

import numpy as np
import oracle
import pytest
import torch
from helpers import FLOATS, LAYOUTS, NOT_NUMBERS, message
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.testing import assert_allclose, assert_array_equal

import cebook as ce
from cebook import targets

LABELS = np.array([[2, 0, 1], [1, 1, 3]])
SMOOTHINGS = [0.0, 1e-9, 0.1, 0.3, 0.5, 0.9, 1.0]


def distributions(shape, dtype=np.float64):
    weights = np.random.default_rng(5).random(shape)
    weights *= weights > 0.2
    weights[..., 0] += 1e-3
    return (weights / weights.sum(axis=-1, keepdims=True)).astype(dtype)


def test_every_public_function_is_tested_here():
    assert sorted(targets.__all__) == ["one_hot", "smooth_labels"]


# One-hot ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (1,), (5,), (2, 3), (2, 1, 3), (0,), (2, 0)], ids=str)
@pytest.mark.parametrize("dtype", FLOATS)
def test_one_hot_by_brute_force(shape, dtype):
    labels = np.random.default_rng(1).integers(0, 4, shape)
    for axis in range(-labels.ndim - 1, labels.ndim + 1):
        result = ce.one_hot(labels, 4, axis=axis, dtype=dtype)
        assert isinstance(result, np.ndarray)
        assert result.dtype == dtype
        rows = np.moveaxis(result, axis, -1)
        assert rows.shape == (*shape, 4)
        for index in np.ndindex(shape):
            assert rows[index].tolist() == [float(k == labels[index]) for k in range(4)]


def test_one_hot_is_float64_unless_asked():
    assert ce.one_hot([1, 0], 2).dtype == np.float64
    assert ce.one_hot([1, 0], 2, dtype="float32").dtype == np.float32


@pytest.mark.parametrize("code", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", ">i4", ">u8"])
def test_one_hot_of_any_integer_type(code):
    assert_array_equal(ce.one_hot(LABELS.astype(code), 4), np.eye(4)[LABELS])
    # More classes than the type has numbers.
    assert ce.one_hot(np.array([100], code), 1000).argmax() == 100


@pytest.mark.parametrize("labels", [LABELS.tolist(), tuple(LABELS), torch.tensor(LABELS)])
def test_one_hot_of_lists_and_tensors(labels):
    assert_array_equal(ce.one_hot(labels, 4), np.eye(4)[LABELS])


def test_one_hot_of_one_class_of_one_label_and_of_none():
    assert_array_equal(ce.one_hot([0, 0], 1), [[1], [1]])
    assert_array_equal(ce.one_hot(2, 3), [0, 0, 1])
    assert ce.one_hot([], 3).shape == (0, 3)
    assert ce.one_hot([[], []], 3, axis=0).shape == (3, 2, 0)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_layout_of_labels_does_not_matter(layout):
    laid_out = LAYOUTS[layout](LABELS)
    for axis in (0, 1, 2):
        result = ce.one_hot(laid_out, 4, axis=axis)
        assert_array_equal(result, np.moveaxis(np.eye(4)[LABELS], -1, axis))
        assert result.flags.c_contiguous
        assert result.flags.writeable
    assert_array_equal(laid_out, [[2, 0, 1], [1, 1, 3]])


@given(npst.arrays(np.int64, npst.array_shapes(max_dims=3), elements=st.integers(0, 6)))
def test_one_hot_rows_are_certain_and_say_the_label(labels):
    rows = ce.one_hot(labels, 7)
    assert_array_equal(rows.argmax(axis=-1), labels)
    assert_array_equal(rows.sum(axis=-1), 1)
    assert_array_equal(ce.entropy(rows), 0)
    logits = np.random.default_rng(0).normal(size=rows.shape)
    for function in (ce.nll_loss, ce.softmax_cross_entropy):
        scores = -abs(logits)
        by_index = function(scores, labels, reduction="none", return_grad=True)
        by_rows = function(scores, rows, reduction="none", return_grad=True)
        for result, expected in zip(by_rows, by_index, strict=True):
            assert_allclose(result, expected, rtol=1e-14)


# Smoothing ----------------------------------------------------------------------------------------


def assert_smoothed(result, p, smoothing):
    """Compare with the formula; below the normal numbers an eps is that of the smallest of them."""
    eps, smallest = oracle.exact(smoothing), oracle.exact(np.finfo(p.dtype).smallest_normal)
    assert result.dtype == p.dtype
    assert result.shape == p.shape
    for actual, x in zip(result.ravel(), oracle.exact(p.ravel()), strict=True):
        truth = (1 - eps) * x + eps / p.shape[-1]
        assert oracle.error_in_eps(actual, truth, max(truth, smallest)) <= 4


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_smoothing_follows_the_formula(dtype, smoothing):
    p = distributions((3, 5), dtype)
    assert_smoothed(ce.smooth_labels(p, smoothing), p, smoothing)


def test_longdouble_smoothing_carries_longdouble_digits():
    p = distributions((3, 5), np.longdouble)
    assert_smoothed(ce.smooth_labels(p, 0.1), p, 0.1)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_smoothing_a_label_leaves_it_its_share_of_eps(smoothing):
    for classes in (1, 2, 10):
        smooth = ce.smooth_labels(ce.one_hot(0, classes), smoothing)
        assert_allclose(smooth[0], 1 - smoothing + smoothing / classes, rtol=1e-15)
        assert_allclose(smooth[1:], smoothing / classes, rtol=1e-15)
        assert_allclose(smooth.sum(), 1, rtol=1e-15)
        assert (smooth <= 1).all()


def test_no_smoothing_returns_the_same_numbers_in_a_new_array():
    p = distributions((3, 5))
    result = ce.smooth_labels(p, 0)
    assert_array_equal(result, p)
    assert not np.shares_memory(result, p)
    result[0, 0] = 7
    assert p[0, 0] != 7


def test_full_smoothing_is_uniform():
    assert_array_equal(ce.smooth_labels(distributions((3, 5)), 1), np.full((3, 5), 0.2))


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3, np.int64(1)], ids=str)
def test_axis_of_smoothing_equals_moving_it_by_hand(axis):
    p = np.moveaxis(distributions((2, 3, 4)), -1, axis)
    result = ce.smooth_labels(p, 0.1, axis=axis)
    assert result.shape == p.shape
    by_hand = np.moveaxis(ce.smooth_labels(np.moveaxis(p, axis, -1), 0.1), -1, axis)
    assert_array_equal(result, by_hand)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_layout_of_distributions_does_not_matter(layout):
    p = distributions((3, 5))
    laid_out = LAYOUTS[layout](p)
    result = ce.smooth_labels(laid_out, 0.1)
    assert_allclose(result, ce.smooth_labels(p, 0.1), rtol=1e-15)
    assert result.dtype.isnative
    assert_array_equal(laid_out, distributions((3, 5)))
    assert_array_equal(p, distributions((3, 5)))


def test_bools_and_lists_become_float64():
    for p in (
        [[False, True], [True, False]],
        [[0.0, 1.0], [1.0, 0.0]],
        np.eye(2, dtype=bool)[::-1],
    ):
        result = ce.smooth_labels(p, 0.5)
        assert result.dtype == np.float64
        assert_array_equal(result, [[0.25, 0.75], [0.75, 0.25]])


def test_an_empty_batch_stays_empty_and_nan_stays_in_its_row():
    assert ce.smooth_labels(np.zeros((0, 3), np.float32), 0.1).shape == (0, 3)
    result = ce.smooth_labels([[math.nan, 1.0], [0.0, 1.0]], 0.5)
    assert np.isnan(result[0, 0])
    assert_array_equal(result[1], [0.25, 0.75])


@settings(max_examples=300)
@given(
    st.sampled_from([np.float16, np.float32, np.float64]),
    npst.arrays(
        np.float64, st.tuples(st.integers(0, 4), st.integers(1, 6)), elements=st.floats(0, 1)
    ),
    st.floats(0, 1),
)
def test_any_smoothing_of_any_distribution_is_a_distribution(dtype, weights, smoothing):
    weights[:, :1] += 2.0**-10
    p = (weights / weights.sum(axis=-1, keepdims=True)).astype(dtype)
    before = p.copy()
    with np.errstate(all="raise", under="ignore"):
        result = ce.smooth_labels(p, smoothing)
    assert (result >= 0).all()
    assert_allclose(result.sum(axis=-1, dtype=float), 1, rtol=8 * np.finfo(dtype).eps)
    assert_array_equal(p, before)
    # The order of the classes stays; their distances shrink.
    highest = p.argmax(axis=-1, keepdims=True)
    assert (np.take_along_axis(result, highest, -1) == result.max(axis=-1, keepdims=True)).all()
    # Smoothing raises the entropy, which is the floor of the loss.
    assert (ce.entropy(result) >= ce.entropy(p) - 8 * np.finfo(dtype).eps).all()
    assert_smoothed(result, p, smoothing)


def test_smoothing_twice_keeps_the_product_of_what_is_kept():
    p = distributions((3, 5))
    once = ce.smooth_labels(p, 1 - 0.9 * 0.8)
    assert_allclose(ce.smooth_labels(ce.smooth_labels(p, 0.1), 0.2), once, rtol=1e-14)


def test_the_floor_of_the_smoothed_loss_is_the_entropy_of_the_smoothed_label():
    # Pitfall 11.
    for classes, floor in ((10, 0.500), (1000, 1.015)):
        smooth = ce.smooth_labels(ce.one_hot(0, classes), 0.1)
        assert round(float(ce.entropy(smooth)), 3) == floor
        best = ce.softmax_cross_entropy(np.log(smooth), 0, label_smoothing=0.1)
        assert_allclose(best, ce.entropy(smooth), rtol=1e-14)


# Errors -------------------------------------------------------------------------------------------


def test_second_arguments_are_positional_and_options_are_not():
    for function in (ce.one_hot, ce.smooth_labels):
        kinds = [p.kind for p in inspect.signature(function).parameters.values()]
        assert kinds[2:] == [inspect.Parameter.KEYWORD_ONLY] * (len(kinds) - 2)


@pytest.mark.parametrize("kind", NOT_NUMBERS)
def test_what_is_not_a_real_number_is_a_type_error(kind):
    bad, came, mistake = NOT_NUMBERS[kind]
    text = message(TypeError, ce.smooth_labels, bad, 0.1)
    assert text.startswith("targets ")
    assert came in text
    assert ("Are these class names?" if kind == "text" else mistake) in text
    text = message(TypeError, ce.one_hot, bad, 3)
    assert text.startswith("labels ")
    assert came.removeprefix("its ") in text


def test_masked_labels_cannot_be_filled():
    text = message(TypeError, ce.one_hot, np.ma.masked_array([1, 0], [0, 1]), 3)
    assert "leave them out" in text
    assert "Fill" not in text


@pytest.mark.parametrize(
    ("labels", "came"),
    [
        ([0.0, 1.0], "their dtype is float64"),
        (np.float32([0.5]), "their dtype is float32"),
        ([True, False], "their dtype is bool"),
        (["a", "b"], "their dtype is <U1"),
        ([None, 1], "their dtype is object"),
        (1.0, "their dtype is float64"),
    ],
)
def test_labels_that_are_no_integers(labels, came):
    text = message(TypeError, ce.one_hot, labels, 3)
    assert text.startswith("labels must be integers, but ")
    assert came in text
    assert ("np.unique(labels" if "U1" in came else "use .astype(int)") in text


@pytest.mark.parametrize(
    ("labels", "fragments"),
    [
        ([0, 3, 4], ["labels[1] = 3 (2 of 3 are out of range)", "are there enough of them?"]),
        ([[0, 2], [5, 9]], ["labels[1, 0] = 5 (2 of 4"]),
        (3, ["it is 3 (1 of 1"]),
        ([1, 2, 3], ["labels[2] = 3", "count from 1? Then subtract 1."]),
        ([0, -1], ["labels[1] = -1", "A negative label does not count from the end"]),
        ([0, -100], ["labels[1] = -100"]),
        (np.array([2**64 - 1], np.uint64), ["labels[0] = 18446744073709551615"]),
    ],
    ids=str,
)
def test_labels_out_of_range(labels, fragments):
    text = message(ValueError, ce.one_hot, labels, 3)
    assert text.startswith("labels must be class indices from 0 to 2, but ")
    for fragment in fragments:
        assert fragment in text


@pytest.mark.parametrize("label", [-1, -100])
def test_one_hot_gives_no_advice_that_it_cannot_take(label):
    # It has no ignore_index.
    assert "ignore_index" not in inspect.signature(ce.one_hot).parameters
    assert "ignore_index" not in message(ValueError, ce.one_hot, [0, label], 3)


@pytest.mark.parametrize(
    ("num_classes", "error", "fragment"),
    [
        (0, ValueError, "num_classes must be at least 1, but it is 0."),
        (-2, ValueError, "num_classes must be at least 1, but it is -2."),
        (3.0, TypeError, "num_classes must be an integer, but it is 3.0."),
        (True, TypeError, "num_classes must be an integer, but it is True."),
        (None, TypeError, "num_classes must be an integer, but it is None."),
        ("3", TypeError, "num_classes must be an integer, but it is '3'."),
        ([0, 1, 2], TypeError, "num_classes must be an integer, but it is [0, 1, 2]."),
    ],
    ids=str,
)
@pytest.mark.parametrize("labels", [[0], []], ids=str)
def test_number_of_classes_that_is_none(labels, num_classes, error, fragment):
    assert message(error, ce.one_hot, labels, num_classes) == fragment


def test_number_of_classes_of_any_integer_type():
    for num_classes in (np.int64(3), np.uint8(3)):
        assert_array_equal(ce.one_hot([2], num_classes), [[0, 0, 1]])


@pytest.mark.parametrize("dtype", [int, np.int64, bool, complex, object, str, "u1"], ids=str)
def test_one_hot_is_of_a_floating_dtype(dtype):
    text = message(TypeError, ce.one_hot, [0], 3, dtype=dtype)
    assert text.startswith("dtype must be a floating dtype, but it is ")
    assert "the losses would read an array of integers as class indices" in text


def test_dtype_that_numpy_does_not_know_is_named():
    text = message(TypeError, ce.one_hot, [0], 3, dtype="float23")
    assert text.startswith("dtype must be a floating dtype, but it is ")


@pytest.mark.parametrize("axis", [None, 1.0, "last", (0,), True], ids=repr)
def test_axis_of_one_hot_that_is_none(axis):
    text = message(TypeError, ce.one_hot, [0, 1], 3, axis=axis)
    assert text.startswith("axis must be ")
    assert f"but it is {axis!r}" in text


@pytest.mark.parametrize("axis", [2, -3])
def test_axis_of_one_hot_out_of_range(axis):
    # The result has one axis more than the labels.
    text = message(np.exceptions.AxisError, ce.one_hot, [0, 1], 3, axis=axis)
    assert text == f"axis: axis {axis} is out of bounds for array of dimension 2"


@pytest.mark.parametrize("axis", [None, (0,), 1.0, "last", False], ids=repr)
def test_axis_of_smoothing_that_is_none(axis):
    text = message(TypeError, ce.smooth_labels, np.eye(2), 0.1, axis=axis)
    assert text == f"axis must be one int, the axis of the classes, but it is {axis!r}."


@pytest.mark.parametrize("axis", [2, -3])
def test_axis_of_smoothing_out_of_range(axis):
    text = message(np.exceptions.AxisError, ce.smooth_labels, np.eye(2), 0.1, axis=axis)
    assert f"axis {axis} is out of bounds for array of dimension 2" in text


@pytest.mark.parametrize(
    ("bad", "error", "fragments"),
    [
        (
            [0, 2, 1],
            TypeError,
            [
                "targets are integers (int64), which are class indices",
                "use ce.one_hot(targets, num_classes) first, or .astype(float) if they are one-hot",
            ],
        ),
        (np.eye(3, dtype=np.uint8), TypeError, ["targets are integers (uint8)"]),
        (
            [[1.0, 0], [1.5, -0.5]],
            ValueError,
            ["targets must be a probability distribution, but targets[1, 1] = -0.5 is negative"],
        ),
        (
            [[1.0, 0], [0.5, 0.25]],
            ValueError,
            ["targets must sum to 1 over axis 1, but the row at index (1,) sums to 0.75"],
        ),
        ([[0.5, 1], [0.5, 0]], ValueError, ["did you mean axis=0?"]),
        ([25.0, 75], ValueError, ["sums to 100", "Divide by 100"]),
        (0.5, ValueError, ["targets must have at least one axis", "the single number 0.5"]),
        (np.zeros((3, 0)), ValueError, ["targets must have at least one class along axis 1"]),
        ([[1.0], [0.5, 0.5]], ValueError, ["targets must be a rectangular array of real numbers"]),
    ],
    ids=str,
)
def test_targets_that_are_no_distributions(bad, error, fragments):
    text = message(error, ce.smooth_labels, bad, 0.1)
    assert text.startswith("targets ")
    for fragment in fragments:
        assert fragment in text


def test_ragged_labels():
    text = message(ValueError, ce.one_hot, [[0, 1], [1]], 2)
    assert text.startswith("labels must be a rectangular array")
