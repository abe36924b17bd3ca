"""cebook.textbook: right on friendly numbers, and broken exactly where the book says."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import cebook as ce


def softmax_loss(z, y):
    """Return our loss and gradient of one row, or of every row; y is a distribution or a label."""
    return ce.softmax_cross_entropy(z, y, reduction="none", return_grad=True)


# What the printed formulas compute, where that has no function of the same name.
OURS = {
    "softmax_loss": lambda z, y: softmax_loss(z, y)[0],
    "softmax_loss_gradient": lambda z, y: softmax_loss(z, y)[1],
    "caffe_separate_layers": softmax_loss,
    "caffe_fused_layer": softmax_loss,
}
LOGITS = [0.5, -1.0, 2.0]
FRIENDLY = {
    "entropy": ([0.2, 0.3, 0.5],),
    "cross_entropy": ([0.2, 0.3, 0.5], [0.1, 0.6, 0.3]),
    "kl_divergence": ([0.2, 0.3, 0.5], [0.1, 0.6, 0.3]),
    "softmax": ([LOGITS, LOGITS[::-1]],),
    "logsumexp": ([LOGITS, LOGITS[::-1]],),
    "log_softmax": ([LOGITS, LOGITS[::-1]],),
    "softmax_loss": ([LOGITS, LOGITS[::-1]], [[0.0, 1.0, 0.0], [0.2, 0.3, 0.5]]),
    "softmax_loss_gradient": (LOGITS, [0.0, 1.0, 0.0]),
    "caffe_separate_layers": (LOGITS, 1),
    "caffe_fused_layer": (LOGITS, 1),
}
# Where an outcome is impossible the printed formula multiplies 0 by infinity, or divides 0 by 0.
NAN_AT_ZERO = {
    "entropy": ([0.5, 0.5, 0.0],),
    "cross_entropy": ([0.5, 0.5, 0.0], [0.9, 0.1, 0.0]),
    "kl_divergence": ([0.5, 0.5, 0.0], [0.9, 0.1, 0.0]),
}


def both(name, inputs):
    arrays = [np.array(numbers) for numbers in inputs]
    with np.errstate(all="ignore"):
        return getattr(ce.textbook, name)(*arrays), OURS.get(name, getattr(ce, name, None))(*arrays)


@pytest.mark.parametrize("name", ce.textbook.__all__)
def test_right_on_friendly_numbers(name):
    printed, ours = both(name, FRIENDLY[name])
    if name.startswith("caffe"):
        for ours_and_printed in zip(ours, printed, strict=True):
            assert_allclose(*ours_and_printed, rtol=1e-14)
    else:
        assert_allclose(printed, ours, rtol=1e-14)


@pytest.mark.parametrize("name", NAN_AT_ZERO)
def test_nan_at_zero(name):
    printed, ours = both(name, NAN_AT_ZERO[name])
    assert np.isnan(printed)
    assert np.isfinite(ours)


def test_printed_divergence_is_negative_next_to_equality():
    p = np.array([0.1, 0.2, 0.7])
    q = p * (1 + 1e-9 * np.array([1, -4, 1]))
    printed, ours = both("kl_divergence", (p, q / q.sum()))
    assert printed < 0 < ours


# Part II ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "largest", "too_large"),
    [("f2", 11.08, 11.1), ("f4", 88.72, 88.73), ("f8", 709.78, 709.79)],
)
def test_where_the_exponential_overflows(dtype, largest, too_large):
    for name, broken in [("softmax", np.nan), ("log_softmax", np.nan), ("logsumexp", np.inf)]:
        fine, _ = both(name, [np.array([0, largest], dtype)])
        printed, ours = both(name, [np.array([0, too_large], dtype)])
        assert fine.dtype == printed.dtype == dtype
        assert_allclose(
            np.ravel(fine)[-1], {"softmax": 1, "log_softmax": 0}.get(name, largest), 1e-3
        )
        assert_array_equal(np.ravel(printed)[-1], broken)
        assert np.isfinite(ours).all()


@pytest.mark.parametrize(
    ("name", "inputs", "printed"),
    [
        # Exponentials that are all 0: 0/0, and the logarithm of 0.
        ("softmax", ([-800.0, -801.0],), [np.nan, np.nan]),
        ("logsumexp", ([-800.0, -801.0],), -np.inf),
        # A probability that is 0 as a float has no logarithm, and that of one next to 1 is 0.
        ("log_softmax", ([0.0, -40.0, -800.0],), [0.0, -40.0, -np.inf]),
        ("softmax_loss", ([0.0, -800.0], [0, 1]), np.inf),
        ("softmax_loss", ([0.0, 40.0], [0, 1]), 0.0),
        # The class with the probability of 0 need not be the true one: 0 * -inf.
        ("softmax_loss", ([0.0, -800.0], [1, 0]), np.nan),
        ("softmax_loss", ([0.0, 800.0, 0.0], [0, 1, 0]), np.nan),
        # 1/s overflows before s is 0.
        ("softmax_loss_gradient", ([0.0, -720.0], [0, 1]), [np.inf, -np.inf]),
        ("softmax_loss_gradient", ([0.0, -800.0], [0, 1]), [np.nan, np.nan]),
        ("softmax_loss_gradient", ([0.0, -800.0], [1, 0]), [np.nan, np.nan]),
        # s - s^2 is 0 at the true class, whose gradient should be that of the other, negated.
        ("softmax_loss_gradient", ([0.0, 40.0], [0, 1]), [math.exp(-40), 0.0]),
    ],
)
def test_printed_softmax_breaks(name, inputs, printed):
    inputs = [np.array(numbers, dtype=float) for numbers in inputs]
    broken, ours = both(name, inputs)
    assert_allclose(broken, printed, rtol=1e-15)
    assert np.isfinite(ours).all()
    assert not np.allclose(broken, ours, rtol=1e-9, atol=0)


def caffe(layers, gap):
    """Return loss and gradient of a label that lies ``gap`` below the other class, in float32."""
    loss, gradient = layers(np.array([0, -gap], dtype=np.float32), 1)
    assert loss.dtype == gradient.dtype == np.float32
    assert gradient[1] == pytest.approx(-gradient[0], rel=1e-6)
    return loss, gradient[0]


@pytest.mark.parametrize(
    ("gap", "separate"), [(20, 1), (46, 1), (47, 0.387), (60, 9e-7), (100, 4e-24), (110, 0)]
)
def test_the_gradient_of_separate_layers_fades_and_that_of_the_fused_one_does_not(gap, separate):
    # Between 1e-20, the floor, and the probability lies what is missing.
    assert caffe(ce.textbook.caffe_separate_layers, gap)[1] == pytest.approx(separate, rel=0.06)
    assert caffe(ce.textbook.caffe_fused_layer, gap)[1] == pytest.approx(1, rel=1e-6)
    assert softmax_loss(np.array([0, -gap], dtype=np.float32), 1)[1][0] == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "cap", "floor"),
    [
        ("caffe_separate_layers", 46.05, 1e-20),
        ("caffe_fused_layer", 87.34, float(np.finfo(np.float32).smallest_normal)),
    ],
)
def test_the_loss_of_both_layers_is_capped(name, cap, floor):
    layers = getattr(ce.textbook, name)
    assert cap == pytest.approx(-math.log(floor), abs=5e-3)
    for gap in (10, 46, 47, 60, 87, 88, 200, 1000):
        expected = min(math.log1p(math.exp(-gap)) + gap, -math.log(floor))
        assert caffe(layers, gap)[0] == pytest.approx(expected, rel=1e-6)
        assert softmax_loss(np.array([0, -gap], dtype=np.float32), 1)[0] >= gap


@pytest.mark.parametrize("name", ["caffe_separate_layers", "caffe_fused_layer"])
def test_neither_layer_sees_a_gap_of_17_in_its_favour(name):
    loss, gradient = getattr(ce.textbook, name)(np.array([0, 17], dtype=np.float32), 1)
    assert loss == gradient[1] == 0 < gradient[0]
    loss, gradient = softmax_loss(np.array([0, 17], dtype=np.float32), 1)
    assert 0 < loss == pytest.approx(-gradient[1]) == pytest.approx(gradient[0])


def test_large_logits_do_not_break_the_layers():
    # Both subtract the largest.
    for layers in (ce.textbook.caffe_separate_layers, ce.textbook.caffe_fused_layer):
        shifted = layers(np.array([1000, 1001], dtype=np.float32), 0)
        for actual, expected in zip(shifted, softmax_loss(np.array([0, 1.0]) + 5, 0), strict=True):
            assert_allclose(actual, expected, rtol=1e-6)
