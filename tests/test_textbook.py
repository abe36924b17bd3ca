"""cebook.textbook: right on friendly numbers, and broken exactly where the book says."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import cebook as ce


def each(name, *inputs):
    """Return our loss and gradient of every entry."""
    return getattr(ce, name)(*inputs, reduction="none", return_grad=True)


def sparsity(rho, rho_hat):
    """Return the divergences that a sparsity penalty means, and the entropies it adds to them."""
    rhos = np.broadcast_to(rho, rho_hat.shape)
    return ce.binary_kl_divergence(rhos, rho_hat).sum(), ce.binary_entropy(rhos).sum()


def softmax_loss(z, y):
    """Return our loss and gradient of one row, or of every row; y is a distribution or a label."""
    return ce.softmax_cross_entropy(z, y, reduction="none", return_grad=True)


# What the printed formulas compute, where that has no function of the same name.
OURS = {
    "softmax_loss": lambda z, y: softmax_loss(z, y)[0],
    "softmax_loss_gradient": lambda z, y: softmax_loss(z, y)[1],
    "caffe_separate_layers": softmax_loss,
    "caffe_fused_layer": softmax_loss,
    # The sources print it without its sign.
    "binary_cross_entropy": lambda a, y: -each("binary_cross_entropy", a, y)[0],
    "patched_binary_cross_entropy": lambda a, y: -each("binary_cross_entropy", a, y)[0],
    "clipped_binary_cross_entropy": lambda a, y: each("binary_cross_entropy", a, y),
    "pytorch_binary_cross_entropy": lambda a, y: each("binary_cross_entropy", a, y),
    "caffe_sigmoid_layer": lambda z, y: each("sigmoid_cross_entropy", z, y),
    "reconstruction_cross_entropy": lambda x, z: each("binary_cross_entropy", z, x)[0].sum(),
    "sparsity_penalty": lambda rho, rho_hat: sum(sparsity(rho, rho_hat)),
}
LOGITS = [0.5, -1.0, 2.0]
PROBABILITIES = [0.2, 0.3, 0.9, 0.5]
ANSWERS = [0.0, 1.0, 1.0, 0.25]
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
    "sigmoid": (LOGITS,),
    "binary_cross_entropy": (PROBABILITIES, ANSWERS),
    # It is right nowhere else.
    "patched_binary_cross_entropy": ([0.0, 1.0], [0.0, 1.0]),
    "clipped_binary_cross_entropy": (PROBABILITIES, ANSWERS),
    "pytorch_binary_cross_entropy": (PROBABILITIES, ANSWERS),
    "caffe_sigmoid_layer": (LOGITS, [0.0, 1.0, 0.25]),
    "reconstruction_cross_entropy": (ANSWERS, PROBABILITIES),
    "sparsity_penalty": (0.05, PROBABILITIES),
}
# Where an outcome is impossible the printed formula multiplies 0 by infinity, or divides 0 by 0.
NAN_AT_ZERO = {
    "entropy": ([0.5, 0.5, 0.0],),
    "cross_entropy": ([0.5, 0.5, 0.0], [0.9, 0.1, 0.0]),
    "kl_divergence": ([0.5, 0.5, 0.0], [0.9, 0.1, 0.0]),
    "binary_cross_entropy": (0.0, 0.0),
    "reconstruction_cross_entropy": ([0.0, 0.5], [0.0, 0.5]),
    "sparsity_penalty": (0.0, [0.0, 0.5]),
}


def both(name, inputs):
    arrays = [np.array(numbers) for numbers in inputs]
    with np.errstate(all="ignore"):
        return getattr(ce.textbook, name)(*arrays), OURS.get(name, getattr(ce, name, None))(*arrays)


@pytest.mark.parametrize("name", ce.textbook.__all__)
def test_right_on_friendly_numbers(name):
    printed, ours = both(name, FRIENDLY[name])
    if isinstance(printed, tuple):
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


# Part III -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "lost", "one"), [("f2", -11.2, 9), ("f4", -89, 18), ("f8", -710, 38)]
)
def test_where_the_printed_sigmoid_rounds(dtype, lost, one):
    z = np.array([lost, one - 2, one], dtype)
    printed, ours = both("sigmoid", [z])
    assert printed.dtype == dtype
    # Its exponential overflows where the sigmoid is no 0 yet.
    with pytest.warns(RuntimeWarning, match="overflow"):
        ce.textbook.sigmoid(z)
    assert printed[0] == 0
    assert ours[0] > 0
    # And next to 1 nothing is left, for ours neither: what it takes is the sigmoid of minus z.
    assert_array_equal(printed[1:] == 1, [False, True])
    assert ours[2] == 1
    assert ce.sigmoid(-z)[2] > 0


def test_printed_binary_cross_entropy_is_never_above_zero():
    a, y = np.meshgrid(np.linspace(0.01, 0.99, 99), np.linspace(0, 1, 21))
    printed, ours = both("binary_cross_entropy", (a, y))
    assert (printed < 0).all()
    assert_allclose(printed, ours, rtol=1e-13)


@pytest.mark.parametrize(
    ("a", "y", "printed", "ours"),
    [
        (0.0, 0.0, np.nan, 0.0),
        (1.0, 1.0, np.nan, 0.0),
        (0.0, 1.0, -np.inf, -np.inf),
        (1.0, 0.0, -np.inf, -np.inf),
        # What 1 - a rounds away.
        (1e-17, 0.0, 0.0, -1e-17),
    ],
)
def test_printed_binary_cross_entropy_breaks(a, y, printed, ours):
    for actual, expected in zip(both("binary_cross_entropy", (a, y)), (printed, ours), strict=True):
        assert_array_equal(actual, expected)


@pytest.mark.parametrize("y", [0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95])
def test_the_patched_loss_is_least_where_the_probability_is_not_the_target(y):
    a = np.linspace(0, 1, 100_001)
    best = a[np.argmin(-ce.textbook.patched_binary_cross_entropy(a, y))]
    assert best == pytest.approx(1.1 * y - 0.05, abs=2e-5)
    honest = a[np.argmin(ce.binary_cross_entropy(a, np.full_like(a, y), reduction="none"))]
    assert honest == pytest.approx(y, abs=2e-5)


@pytest.mark.parametrize("y", [0.0, 0.02, 0.98, 1.0])
def test_the_patched_loss_is_least_at_an_end_for_targets_next_to_it(y):
    a = np.linspace(0, 1, 1001)
    assert a[np.argmin(-ce.textbook.patched_binary_cross_entropy(a, y))] == round(y)


def test_the_patched_loss_is_finite_and_its_gradient_fades():
    assert -ce.textbook.patched_binary_cross_entropy(0.0, 1) == pytest.approx(math.log(21))
    assert -ce.textbook.patched_binary_cross_entropy(1.0, 0) == pytest.approx(math.log(21))
    z = np.array([-20.0, -8.0, -3.0, 0.0, 2.0, 8.0])
    a = ce.sigmoid(z)

    def total(z, y):
        return -ce.textbook.patched_binary_cross_entropy(ce.textbook.sigmoid(z), y).sum()

    of_yes = ce.complex_step_gradient(lambda z: total(z, 1), z)
    assert_allclose(of_yes, -a * (1 - a) / (a + 0.05), rtol=1e-12)
    of_no = ce.complex_step_gradient(lambda z: total(z, 0), z)
    assert_allclose(of_no, a * (1 - a) / (1.05 - a), rtol=1e-12)
    # The more wrong, the less: ours is next to -1.
    assert abs(of_yes[0]) < 5e-8
    _, ours = each("sigmoid_cross_entropy", z, np.ones(6))
    assert ours[0] == pytest.approx(-1)


def test_clipping_caps_the_loss_and_leaves_no_slope_outside():
    a, y = np.array([0.0, 1e-8, 1e-7, 2e-7, 0.5, 1 - 2e-7, 1 - 1e-8, 1.0]), np.ones(8)
    loss, gradient = ce.textbook.clipped_binary_cross_entropy(a, y)
    ours, slope = each("binary_cross_entropy", a, y)
    inside = slice(2, 6)  # the bounds themselves belong to it, as with torch.clamp
    assert_allclose(loss[inside], ours[inside], rtol=1e-9)
    assert_allclose(gradient[inside], slope[inside], rtol=1e-9)
    assert_allclose(loss[:3], 16.118, rtol=1e-4)
    assert_allclose(loss[6:], 1e-7, rtol=1e-6)
    assert_array_equal(np.delete(gradient, [2, 3, 4, 5]), 0)
    assert ours[0] == np.inf
    # Of noes, the same from the other end; and with another epsilon.
    other, of_other = ce.textbook.clipped_binary_cross_entropy(1 - a, 1 - y)
    assert_allclose(other, loss, rtol=1e-7)
    assert_allclose(of_other, -gradient, rtol=1e-7)
    loss, gradient = ce.textbook.clipped_binary_cross_entropy(a, y, 1e-3)
    assert_allclose(loss[:4], -math.log(1e-3))
    assert_array_equal(gradient, [0, 0, 0, 0, -2, 0, 0, 0])


def test_pytorch_caps_each_logarithm_and_the_slope():
    a, y = np.array([0.0, 1e-40, 1e-13, 1e-11, 1.0]), np.ones(5)
    loss, gradient = ce.textbook.pytorch_binary_cross_entropy(a, y)
    assert_allclose(loss, [100, *-np.log(a[1:4]), 0])
    assert_allclose(gradient, [-1e12, -1e12, -1e12, -1e11, 0], rtol=1e-9)
    loss, gradient = ce.textbook.pytorch_binary_cross_entropy(1 - y, 1 - y)
    assert loss.tolist() == gradient.tolist() == [0] * 5
    loss, gradient = ce.textbook.pytorch_binary_cross_entropy(y, 1 - y)
    assert_array_equal(loss, 100)
    assert_array_equal(gradient, 1e12)
    # Both ends at once.
    assert ce.textbook.pytorch_binary_cross_entropy(np.float64(0), 0.25)[0] == 25
    torch = pytest.importorskip("torch")
    a = torch.tensor([0.0, 1e-30, 1e-14, 0.3, 1 - 2**-24, 1.0], requires_grad=True)
    for y in (0.0, 0.25, 1.0):
        targets = torch.full((6,), y)
        theirs = torch.nn.functional.binary_cross_entropy(a, targets, reduction="none")
        (slope,) = torch.autograd.grad(theirs.sum(), a)
        printed = ce.textbook.pytorch_binary_cross_entropy(a.detach().numpy(), targets.numpy())
        for result, expected in zip(printed, (theirs.detach(), slope), strict=True):
            assert_allclose(result, expected.numpy(), rtol=1e-6)


@pytest.mark.parametrize(("dtype", "gap"), [("f4", 17), ("f8", 37)])
@pytest.mark.parametrize("sign", [-1, 1])
def test_caffe_sees_no_loss_of_a_right_answer_from_some_logit_on(sign, dtype, gap):
    y = np.array([(sign + 1) / 2] * 3, dtype)
    z = sign * np.array([gap - 2, gap, gap + 20], dtype)
    loss, gradient = ce.textbook.caffe_sigmoid_layer(z, y)
    assert loss.dtype == gradient.dtype == dtype
    ours, slope = each("sigmoid_cross_entropy", z, y)
    assert_array_equal(loss == 0, [False, True, True])
    assert (ours > 0).all()
    # The gradient cancels beside a target of 1, and not beside one of 0.
    assert_array_equal(gradient == 0, [False, sign == 1, sign == 1])
    assert (slope != 0).all()


def test_caffe_is_right_about_wrong_answers():
    z = np.array([-300, -20, -1, 0, 1, 20, 300], dtype=np.float32)
    for y in (np.ones(7, np.float32), np.zeros(7, np.float32)):
        wrong = (z > 0) != (y > 0)
        with np.errstate(over="ignore"):
            printed = ce.textbook.caffe_sigmoid_layer(z, y)
        for result, expected in zip(printed, each("sigmoid_cross_entropy", z, y), strict=True):
            assert_allclose(result[wrong], expected[wrong], rtol=1e-6)
            assert_allclose(result, expected, atol=1e-7)


def test_reconstruction_is_a_sum_of_binary_cross_entropies():
    x, z = np.array([0.0, 1.0, 0.25]), np.array([0.0, 1.0, 0.5])
    printed, ours = both("reconstruction_cross_entropy", (x, z))
    assert np.isnan(printed)
    assert ours == pytest.approx(math.log(2))
    printed, ours = both("reconstruction_cross_entropy", (x, 1 - z))
    assert np.isinf(printed) or np.isnan(printed)
    assert ours == np.inf


@pytest.mark.parametrize("rho", [0.01, 0.05, 0.3, 0.5])
def test_the_sparsity_penalty_exceeds_the_divergence_by_a_constant(rho):
    rho_hat = np.array([0.02, 0.05, 0.3, 0.5, 0.9])
    divergence, entropies = sparsity(rho, rho_hat)
    penalty = ce.textbook.sparsity_penalty(rho, rho_hat)
    assert penalty - divergence == pytest.approx(entropies)
    assert entropies == pytest.approx(5 * ce.binary_entropy(rho))
    # Its least value, which is no 0, is where each unit is as active as it is meant to be.
    at_best = ce.textbook.sparsity_penalty(rho, np.full(5, rho))
    assert at_best == pytest.approx(entropies)
    assert at_best < penalty

    def total(rho_hat):
        return sparsity(rho, rho_hat)[0]

    expected = (1 - rho) / (1 - rho_hat) - rho / rho_hat
    of_penalty = ce.complex_step_gradient(lambda r: ce.textbook.sparsity_penalty(rho, r), rho_hat)
    assert_allclose(of_penalty, expected, rtol=1e-12, atol=1e-13)
    assert ce.check_gradient(total, of_penalty, rho_hat) < 1e-7
