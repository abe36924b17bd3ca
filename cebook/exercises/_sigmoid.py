"""The exercises of Part III: the sigmoid, its slope, softplus, the loss, and a sparsity penalty."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._validation import Array
from ..information import binary_kl_divergence
from ..sigmoid_loss import sigmoid, sigmoid_cross_entropy, softplus
from ._checker import Arguments, Case, Exercise, Mistake, Section

SLOPE = Section("sigmoid/saturation", "sigmoid-and-its-slope", "The sigmoid and its slope")
MACHINE = Section("sigmoid/saturation", "sigmoid-on-a-machine", "On a machine")
GRADIENT = Section("sigmoid/sigmoid-cross-entropy", "binary-gradient", "The gradient")
LOGITS = Section(
    "sigmoid/sigmoid-cross-entropy", "probabilities-to-logits", "From probabilities to logits"
)
HARD = Section("sigmoid/sigmoid-cross-entropy", "hard-inputs", "Hard inputs")
GUARDS = Section("sigmoid/sigmoid-cross-entropy", "two-other-guards", "Two other guards")
PENALTY = Section("sigmoid/autoencoder", "sparsity-penalty", "The sparsity penalty")
TWO_TERMS = Section("sigmoid/autoencoder", "two-terms", "Two terms")
BATCH = Section("sigmoid/sigmoid-cross-entropy", "many-inputs", "Many inputs, and a batch")
PER_BATCH = Section("sigmoid/autoencoder", "per-sample-or-per-batch", "Per sample or per batch")

SOFTPLUS_IN_CODE = "np.maximum(z, 0) + np.log1p(np.exp(-abs(z)))"

LOGITS_OF_EITHER_SIGN = np.array([-2.0, -0.5, 0.0, 1.0, 3.0])
EPS, EPS32 = (float(np.finfo(dtype).eps) for dtype in (np.float64, np.float32))


def f32(*numbers: float) -> Array:
    """Return numbers as float32."""
    return np.array(numbers, np.float32)


def f64(*numbers: float) -> Array:
    """Return numbers as float64."""
    return np.array(numbers, np.float64)


def is_right(_: Arguments, expected: Any, got: Any) -> bool:
    """Say of a result that fails whether its numbers are right; then it is the warning."""
    eps = np.finfo(np.asarray(got).dtype).eps
    return np.allclose(got, expected, rtol=100 * float(eps), atol=0)


# The sigmoid --------------------------------------------------------------------------------------

_OF_EACH_ENTRY = (
    Case("logits of either sign", (LOGITS_OF_EITHER_SIGN,)),
    Case("a table of 2 x 3", (np.array([[-1.0, 0.0, 1.0], [4.0, -4.0, 0.25]]),)),
    Case("an array without axes", (np.array(0.25),), kind="edge"),
    Case("an array without entries", (np.zeros((0, 3)),), kind="edge"),
    Case("float32 stays float32", (f32(-2, 0.5, 3),), kind="edge"),
    Case("minus and plus infinity", (f64(-math.inf, math.inf),), kind="edge"),
)


def _plain_sigmoid(z: Array) -> Any:
    return 1 / (1 + np.exp(-z))


def _is_zero_for_tiny(_: Arguments, expected: Any, got: Any) -> bool:
    return bool(((got == 0) & (expected > 0)).any())


def _was_clipped(arguments: Arguments, expected: Any, got: Any) -> bool:
    far = arguments[0] < -90
    return bool((got[far] > 2 * expected[far]).any())


SIGMOID = Exercise(
    name="sigmoid",
    signature="sigmoid(z)",
    title="the sigmoid, entry by entry",
    stars=1,
    section=SLOPE,
    reference=sigmoid,
    cases=(
        *_OF_EACH_ENTRY,
        Case("small probabilities keep their digits", (f64(-20, -36, -40),), kind="adversarial"),
        Case("-100 in float32, no warning", (f32(-100, 100),), kind="adversarial", quiet=True),
        Case("-740 in float64, no warning", (f64(-740, 740),), kind="adversarial", quiet=True),
    ),
    mistakes=(
        Mistake(
            _plain_sigmoid,
            "np.exp(-z) overflows for z below -88.7 in float32 (-709.8 in float64), and what is "
            "left of the probability is 0. For negative z write e / (1 + e) with e = np.exp(z): "
            "np.exp(-abs(z)) serves both forms.",
            predicate=_is_zero_for_tiny,
        ),
        Mistake(
            lambda z: np.where(z >= 0, 1 / (1 + np.exp(-z)), np.exp(z) / (1 + np.exp(z))),
            "np.where chooses after both sides were computed for every entry, also the side that "
            "overflows. Give both sides an exponential that cannot: e = np.exp(-abs(z)), then "
            "np.where(z >= 0, 1, e) / (1 + e).",
        ),
        Mistake(
            lambda z: np.exp(z) / (1 + np.exp(z)),
            "np.exp(z) overflows for z above 88.7 in float32 (709.8 in float64), and inf/inf is "
            "nan. For positive z write 1 / (1 + np.exp(-z)).",
        ),
        Mistake(
            lambda z: 1 / (1 + np.exp(z)),
            "This is the sigmoid of -z, the probability of the other outcome: the sign in the "
            "exponent is the wrong one.",
        ),
        Mistake(np.tanh, "This is np.tanh(z). The sigmoid is (1 + np.tanh(z / 2)) / 2 on paper."),
        Mistake(
            lambda z: (1 + np.tanh(z)) / 2,
            "np.tanh(z) is 2 * sigmoid(2 * z) - 1: the argument wants a division by 2.",
        ),
        Mistake(
            lambda z: (1 + np.tanh(z / 2)) / 2,
            "For negative z this takes from 1 what is nearly 1: at -20 half of the digits are "
            "gone, and at -40 all of them. Use np.exp(-abs(z)).",
            MACHINE,
        ),
        Mistake(
            None,
            "It seems that logits are clipped. A clip removes the warning and makes up the "
            "probability; nothing has to be clipped with np.exp(-abs(z)).",
            predicate=_was_clipped,
        ),
        Mistake(
            lambda z: sigmoid(z) * sigmoid(-z),
            "This is the slope of the sigmoid, a * (1 - a), and not the sigmoid a itself.",
        ),
    ),
)


# Its slope ----------------------------------------------------------------------------------------


def _slope(z: Array) -> Any:
    return sigmoid(z) * sigmoid(-z)


SIGMOID_DERIVATIVE = Exercise(
    name="sigmoid_derivative",
    signature="sigmoid_derivative(z)",
    title="slope of the sigmoid at a logit",
    stars=1,
    section=MACHINE,
    reference=_slope,
    cases=(
        *_OF_EACH_ENTRY,
        Case("20 and -20 in float32", (f32(20, -20),), kind="adversarial"),
        Case("40 and -40 in float64", (f64(40, -40),), kind="adversarial"),
        Case("-360 and 360, no warning", (f64(-360, 360),), kind="adversarial", quiet=True),
        Case("-720 and 720, no warning", (f64(-720, 720),), kind="adversarial", quiet=True),
    ),
    mistakes=(
        Mistake(
            lambda z: sigmoid(z) * (1 - sigmoid(z)),
            "1 - a loses its digits where a is nearly 1, and is 0 from z = 16.75 in float32 "
            "(36.75 in float64). It is the sigmoid of -z: write sigmoid(z) * sigmoid(-z).",
        ),
        Mistake(
            lambda z: np.exp(-z) / (1 + np.exp(-z)) ** 2,
            "The square of 1 + np.exp(-z) overflows for z below -354.9 in float64 (-44.4 in "
            "float32), where np.exp(-z) itself does not. The slope is even in z: use "
            "np.exp(-abs(z)).",
        ),
        Mistake(
            lambda z: _plain_sigmoid(z) * _plain_sigmoid(-z),
            "The product is right, but its sigmoid overflows on one side. Use one that takes "
            "np.exp(-abs(z)), as in the exercise on the sigmoid.",
            SLOPE,
        ),
        Mistake(
            lambda z: z * (1 - z),
            "z * (1 - z) takes the logit for the output. The slope is a * (1 - a) with "
            "a = sigmoid(z).",
            SLOPE,
        ),
        Mistake(sigmoid, "This is the sigmoid itself, not its slope.", SLOPE),
        Mistake(
            lambda z: np.exp(-abs(z)) / (1 + np.exp(-abs(z))),
            "The square is missing: with e = np.exp(-abs(z)) the slope is e / (1 + e)**2.",
            SLOPE,
        ),
        Mistake(
            lambda z: 1 - np.tanh(z) ** 2,
            "This is the slope of tanh. That of the sigmoid is a * (1 - a).",
            SLOPE,
        ),
    ),
)


# Softplus -----------------------------------------------------------------------------------------


def _was_clipped_above(arguments: Arguments, expected: Any, got: Any) -> bool:
    far = arguments[0] > 30
    return bool((got[far] < 0.95 * expected[far]).any() and (got[far] > 20).all())


SOFTPLUS = Exercise(
    name="softplus",
    signature="softplus(z)",
    title="log(1 + e^z), entry by entry",
    stars=2,
    section=LOGITS,
    reference=softplus,
    cases=(
        *_OF_EACH_ENTRY,
        Case("from 18 to 36, where z is not yet all", (f64(18, 25, 36),), kind="adversarial"),
        Case("from -20 to -700, where it is e^z", (f64(-20, -40, -700),), kind="adversarial"),
        Case("-20 in float32", (f32(-20),), kind="adversarial"),
        Case("100 in float32, no warning", (f32(100, -100),), kind="adversarial", quiet=True),
        Case("800 in float64, no warning", (f64(800, -800),), kind="adversarial", quiet=True),
    ),
    mistakes=(
        Mistake(
            lambda z: np.where(z > 0, z + np.log1p(np.exp(-z)), np.log1p(np.exp(z))),
            "np.where chooses after both sides were computed for every entry, also the side that "
            f"overflows. {SOFTPLUS_IN_CODE} is one form for both.",
        ),
        Mistake(
            lambda z: np.log1p(np.exp(z)),
            "np.exp(z) overflows above 88.7 in float32 (709.8 in float64). Take it out of the "
            f"logarithm: {SOFTPLUS_IN_CODE}.",
        ),
        Mistake(
            lambda z: np.log(1 + np.exp(z)),
            "np.exp(z) overflows above 709.8 in float64, and below -36.7 it vanishes beside 1, so "
            f"that the result is 0. Write {SOFTPLUS_IN_CODE}.",
        ),
        Mistake(
            lambda z: np.maximum(z, 0) + np.log(1 + np.exp(-abs(z))),
            "1 + np.exp(-abs(z)) has no room for the digits of a small exponential, and from -17 "
            "in float32 (-37 in float64) it is 1. np.log1p(x) is log(1 + x) without forming 1 + x.",
        ),
        Mistake(
            lambda z: np.where(z > 20, z, np.log1p(np.exp(np.minimum(z, 20)))),
            "Above a threshold of 20 this returns z itself and drops np.exp(-z), which float64 has "
            f"room for up to about 33. No threshold is needed: {SOFTPLUS_IN_CODE}.",
        ),
        Mistake(
            lambda z: np.maximum(z, 0),
            "This is the ReLU. The term np.log1p(np.exp(-abs(z))) is missing.",
        ),
        Mistake(
            lambda z: np.log1p(np.exp(-abs(z))),
            "The term np.maximum(z, 0) is missing, which was taken out of the logarithm.",
        ),
        Mistake(
            None,
            "It looks as if z were clipped. Beyond the clip the result no longer grows with z. "
            f"Nothing has to be clipped in {SOFTPLUS_IN_CODE}.",
            predicate=_was_clipped_above,
        ),
        Mistake(
            lambda z: softplus(-z),
            "This is softplus(-z), the loss of the target 1. Here z has no minus sign.",
        ),
        Mistake(
            lambda z: softplus(z) / math.log(2),
            "This logarithm has base 2. The book uses natural logarithms.",
        ),
    ),
)


# The loss -----------------------------------------------------------------------------------------

_FOUR = f64(2, -1, 0.5, -3), f64(1, 0, 0, 1)
_SOFT = f64(2, -1, 0.5, -3), f64(0.9, 0.25, 0.5, 0)
_TABLE = (
    np.array([[1.5, -2.0, 0.5], [-0.25, 3.0, -1.0]]),
    np.array([[1.0, 0.0, 0.25], [1.0, 1.0, 0.0]]),
)
_INTEGERS = f64(1, -2, 3), np.array([1, 0, 0])
_LOSS_CASES = (
    Case("four answers", _FOUR),
    Case("soft targets", _SOFT),
    Case("a table of 2 x 3: all its entries", _TABLE),
    Case("a single answer", (f64(0.5), f64(0)), kind="edge"),
    Case("labels that are integers", _INTEGERS, kind="edge"),
    Case("three answers in float32", (f32(2, -1, 0.5), f32(1, 0, 1)), kind="edge"),
)


def _plain_loss(z: Array, y: Array) -> Any:
    a = sigmoid(z)
    return -np.mean(y * np.log(a) + (1 - y) * np.log(1 - a))


def _losses(z: Array, y: Array) -> Any:
    return sigmoid_cross_entropy(z, y, reduction="none")


def _has_an_epsilon(_: Arguments, expected: Any, got: Any) -> bool:
    if expected.dtype == np.float32 and not np.isfinite(got):
        return True  # a clip to 1 - 1e-12, which is 1 in float32
    if expected > 60:
        return bool(5 < got < 60)
    difference = abs(got - expected)
    if expected < 1e-6:
        return bool(1e-16 < abs(got) < 1e-4 and difference > expected)
    return bool(difference < 1e-4)


def _rows(z: Array) -> int:
    return len(z) if z.ndim > 1 else 1


CROSS_ENTROPY = Exercise(
    name="sigmoid_cross_entropy",
    signature="sigmoid_cross_entropy(z, y)",
    title="mean loss of yes-or-no answers",
    stars=2,
    section=HARD,
    reference=sigmoid_cross_entropy,
    cases=(
        *_LOSS_CASES,
        Case(
            "very wrong by 100 in float32",
            (f32(100, -100), f32(0, 1)),
            kind="adversarial",
            quiet=True,
        ),
        Case(
            "very wrong by 800 in float64",
            (f64(800, -800), f64(0, 1)),
            kind="adversarial",
            quiet=True,
        ),
        Case("right and certain: 20 in float32", (f32(20), f32(1)), kind="adversarial"),
        Case("right and certain: 40 in float64", (f64(40), f64(1)), kind="adversarial"),
        Case("z = 700.3, and a target almost 1", (f64(700.3), f64(1 - 2**-40)), kind="adversarial"),
        Case("z = -60.7, and a target almost 0", (f64(-60.7), f64(2**-40)), kind="adversarial"),
    ),
    mistakes=(
        Mistake(
            _plain_loss,
            "The loss is computed from the probability, which has rounded to 0 or 1: its logarithm "
            "is -inf, and 0 times that is nan. Compute it from the logit: -np.log(a) is "
            "softplus(-z), -np.log(1 - a) is softplus(z).",
            LOGITS,
        ),
        Mistake(
            lambda z, y: np.mean(np.maximum(z, 0) - z * y + np.log(1 + np.exp(-abs(z)))),
            "np.log(1 + np.exp(-abs(z))) is exactly 0 for a right and certain answer, because the "
            "exponential vanishes beside 1; and in softplus(z) - z * y it vanishes beside z. Use "
            "np.log1p, in y * softplus(-z) + (1 - y) * softplus(z), where nothing cancels.",
        ),
        Mistake(
            lambda z, y: np.mean(np.maximum(z, 0) - z * y + np.log1p(np.exp(-abs(z)))),
            "np.maximum(z, 0) - z * y is a small difference of large numbers where y is almost 1 "
            "and z is large. y * softplus(-z) + (1 - y) * softplus(z) has nothing to cancel.",
        ),
        Mistake(
            lambda z, y: np.mean((1 - y) * z + softplus(-z)),
            "(1 - y) * z + softplus(-z) cancels where z is far below 0 and y almost 0, "
            "in PyTorch too. y * softplus(-z) + (1 - y) * softplus(z) has nothing to cancel.",
        ),
        Mistake(
            lambda z, y: np.mean(np.log1p(np.exp(z)) - z * y),
            "np.exp(z) overflows above 88.7 in float32 (709.8 in float64). Write softplus(z) as "
            f"{SOFTPLUS_IN_CODE}.",
            LOGITS,
        ),
        Mistake(
            lambda z, y: -np.mean(_losses(z, y)),
            "The minus sign is missing: a loss is never negative, and this one would be minimised "
            "by answers that are as wrong as can be.",
            LOGITS,
        ),
        Mistake(
            _losses, "These are the losses of the entries. Take the mean of these numbers.", BATCH
        ),
        Mistake(
            lambda z, y: np.sum(_losses(z, y)) / _rows(z),
            "This sums over the entries of a row. The mean here is over all entries, as in "
            "PyTorch.",
            BATCH,
        ),
        Mistake(
            lambda z, y: np.sum(_losses(z, y)),
            "This is the sum. Divide by the number of entries, z.size.",
            BATCH,
        ),
        Mistake(
            lambda z, y: np.mean(np.where(y == 1, softplus(-z), softplus(z))),
            "A target may lie between 0 and 1: weight the two terms by y and 1 - y.",
            LOGITS,
        ),
        Mistake(
            lambda z, y: np.mean(y * softplus(-z)),
            "The half for no, -(1 - y) * np.log(1 - a), is missing: a yes too many would cost "
            "nothing.",
            LOGITS,
        ),
        Mistake(
            lambda z, y: np.mean(y * softplus(z) + (1 - y) * softplus(-z)),
            "Yes and no are swapped: -np.log(a), which is softplus(-z), belongs to y, and "
            "softplus(z) to 1 - y.",
            LOGITS,
        ),
        Mistake(
            lambda z, y: np.mean(_losses(z, y)) / math.log(2),
            "This is in bits. The book uses natural logarithms, and so do the libraries.",
        ),
        Mistake(
            lambda z, y: np.mean((sigmoid(z) - y) ** 2) / 2,
            "This is the quadratic cost, not the cross-entropy.",
            LOGITS,
        ),
        Mistake(
            None,
            "It looks as if the probability were clipped, or an epsilon added. No loss then "
            "exceeds minus the logarithm of that, and the gradient there is 0; or, in float32, "
            "nothing is clipped, because 1 - 1e-12 is 1. Computed from the logit the loss needs "
            "neither.",
            GUARDS,
            predicate=_has_an_epsilon,
            decisive=("very wrong by 800 in float64",),
        ),
    ),
)


# Its gradient -------------------------------------------------------------------------------------


def _gradient(z: Array, y: Array) -> Any:
    return sigmoid_cross_entropy(z, y, return_grad=True)[1]


def _error(z: Array, y: Array) -> Any:
    return sigmoid(z) - y


def _factor_by_factor(a: Array, y: Array) -> Any:
    return (a - y) / (a * (1 - a)) * (a * (1 - a)) / a.size


_ZERO_BY_ZERO = (
    "a is rounded to 1, 1 - a is 0, and a factor that cancels on paper is 0/0 in floats. Cancel it "
    "on paper: a - y."
)

GRADIENT_OF_CROSS_ENTROPY = Exercise(
    name="sigmoid_cross_entropy_gradient",
    signature="sigmoid_cross_entropy_gradient(z, y)",
    title="its gradient in the logits",
    stars=1,
    section=GRADIENT,
    reference=_gradient,
    cases=(
        Case("four answers", _FOUR, absolute=4 * EPS),
        Case("soft targets", _SOFT, absolute=4 * EPS),
        Case("a table of 2 x 3: all its entries", _TABLE, absolute=4 * EPS),
        Case("a single answer", (f64(0.5), f64(0)), kind="edge", absolute=4 * EPS),
        Case("labels that are integers", _INTEGERS, kind="edge", absolute=4 * EPS),
        Case(
            "float32 stays float32",
            (f32(2, -1, 0.5), f32(1, 0, 1)),
            kind="edge",
            absolute=4 * EPS32,
        ),
        Case("targets that are met", (f64(0, 0), f64(0.5, 0.5)), kind="edge", absolute=4 * EPS),
        Case("very wrong: 15", (f64(15, -15), f64(0, 1)), kind="adversarial", absolute=4 * EPS),
        Case(
            "100 in float32, no warning",
            (f32(100, -100), f32(0, 1)),
            kind="adversarial",
            absolute=4 * EPS32,
            quiet=True,
        ),
        Case(
            "800 in float64, no warning",
            (f64(800, -800, 800), f64(0, 1, 1)),
            kind="adversarial",
            absolute=4 * EPS,
            quiet=True,
        ),
    ),
    mistakes=(
        Mistake(
            lambda z, y: (_plain_sigmoid(z) - y) / z.size,
            "np.exp(-z) overflows on the way. Take a sigmoid that uses np.exp(-abs(z)), as in the "
            "exercise on the sigmoid.",
            SLOPE,
        ),
        Mistake(
            lambda z, y: _factor_by_factor(sigmoid(z), y),
            _ZERO_BY_ZERO,
        ),
        Mistake(
            lambda z, y: _factor_by_factor(_plain_sigmoid(z), y),
            _ZERO_BY_ZERO,
        ),
        Mistake(
            lambda z, y: (np.exp(z) / (1 + np.exp(z)) - y) / z.size,
            "np.exp(z) overflows above 88.7 in float32 (709.8 in float64), and inf/inf is nan. "
            "Take a sigmoid that uses np.exp(-abs(z)).",
            SLOPE,
        ),
        Mistake(
            lambda z, y: -_error(z, y) / z.size,
            "The sign is wrong: the gradient is a - y, and descent steps against it. With y - a "
            "every step makes the loss larger.",
        ),
        Mistake(
            lambda z, y: -_error(z, y),
            "The sign is wrong, the gradient is a - y; and that of the mean is divided by the "
            "number of entries, z.size.",
        ),
        Mistake(
            _error,
            "This is the gradient of the sum. That of the mean is divided by the number of "
            "entries, z.size.",
        ),
        Mistake(
            lambda z, y: _error(z, y) / len(z),
            "This divides by the number of rows. The mean is over all entries: divide by z.size.",
        ),
        Mistake(
            lambda z, y: _error(z, y) * _slope(z) / z.size,
            "There is a factor a * (1 - a) too many. That is the gradient of the quadratic cost; "
            "in the gradient of the cross-entropy it cancels, which is what this loss is for.",
        ),
        Mistake(
            lambda z, y: _error(z, y) * _slope(z),
            "There is a factor a * (1 - a) too many, which belongs to the quadratic cost, and the "
            "mean wants a division by z.size.",
        ),
        Mistake(
            lambda z, y: _error(z, y) / _slope(z) / z.size,
            "This is the gradient in the probability a. The one in the logit z has the factor "
            "a * (1 - a) of the sigmoid too, which cancels the denominator.",
        ),
        Mistake(
            lambda z, y: (z - y) / z.size,
            "The error is a - y with a = sigmoid(z), not the logit minus the target.",
        ),
        Mistake(
            lambda z, y: np.mean(_error(z, y)),
            "The gradient has an entry for every logit. This is the derivative in a bias that all "
            "of them share.",
        ),
    ),
)


# The penalty of the autoencoder -------------------------------------------------------------------

_CODE = np.array([[0.1, 0.6, 0.02], [0.3, 0.2, 0.01], [0.05, 0.7, 0.04], [0.2, 0.4, 0.03]])
_ONCE_IN_TWENTY = np.where(np.arange(20) == 7, 0.9962, 0.0002)[:, np.newaxis]


def _coins(rho: float, rho_hat: Array) -> Any:
    """Return the divergence of a coin for each unit."""
    return binary_kl_divergence(np.full_like(rho_hat, rho), rho_hat)


def _penalty(activations: Array, rho: float) -> Any:
    return _coins(rho, activations.mean(axis=0)).sum()


def _half(p: Any, q: Any) -> Any:
    return p * np.log(p / q)


def _mean_was_clipped(arguments: Arguments, expected: Any, got: Any) -> bool:
    if arguments[0].mean(axis=0).min() < 1e-6:
        return bool(0 < got < 0.95 * expected)
    return bool(abs(got - expected) < 1e-4)


AUTOENCODER_PENALTY = Exercise(
    name="autoencoder_penalty",
    signature="autoencoder_penalty(activations, rho)",
    title="sparsity penalty of hidden units",
    stars=2,
    section=PENALTY,
    reference=_penalty,
    cases=(
        Case("four images, three units", (_CODE, 0.05), absolute=16 * EPS),
        Case("another rho: 0.2", (_CODE, 0.2), absolute=16 * EPS),
        Case("a single image", (_CODE[:1], 0.05), kind="edge", absolute=16 * EPS),
        Case("a single unit", (_CODE[:, :1], 0.05), kind="edge", absolute=16 * EPS),
        Case(
            "units that are as rare as wanted",
            (np.full((4, 2), 0.05), 0.05),
            kind="edge",
            absolute=16 * EPS,
        ),
        Case(
            "four images in float32",
            (_CODE.astype(np.float32), 0.05),
            kind="edge",
            absolute=16 * EPS32,
        ),
        Case(
            "on once in twenty images, else off",
            (_ONCE_IN_TWENTY, 0.05),
            kind="adversarial",
            absolute=16 * EPS,
        ),
        Case("hardly ever on: 1e-30", (np.full((3, 2), 1e-30), 0.05), kind="adversarial"),
        Case("never on, which costs inf", (np.zeros((3, 1)), 0.05), kind="adversarial"),
    ),
    mistakes=(
        Mistake(
            lambda c, rho: -np.sum(rho * np.log(c.mean(0)) + (1 - rho) * np.log(1 - c.mean(0))),
            "This is the cross-entropy of rho and the mean activation, not their divergence: it is "
            "larger by h(rho) for every unit, and not 0 where the activation is as wanted.",
        ),
        Mistake(
            lambda c, rho: np.sum(_half(rho, c.mean(axis=0))),
            "The second term, (1 - rho) * np.log((1 - rho) / (1 - rho_hat)), is missing. The first "
            "one alone drives the units on, not off.",
            TWO_TERMS,
        ),
        Mistake(
            lambda c, rho: _coins(rho, c).mean(axis=0).sum(),
            "This takes the divergence of every activation and averages afterwards. Average the "
            "activations of a unit over the images first: a unit may be on now and then.",
            PER_BATCH,
        ),
        Mistake(
            lambda c, rho: _coins(rho, c).sum(),
            "This sums the divergences of all single activations. Average the activations of a "
            "unit over the images first.",
            PER_BATCH,
        ),
        Mistake(
            lambda c, rho: _coins(rho, c.mean(keepdims=True)).sum(),
            "This is the mean over images and units together. Each unit has its own mean: "
            "mean(axis=0).",
        ),
        Mistake(
            lambda c, rho: _coins(rho, c.mean(axis=1)).sum(),
            "This averages over the units of an image. The mean activation of a unit is over the "
            "images: axis 0.",
        ),
        Mistake(
            lambda c, rho: _coins(rho, c.mean(axis=0)).mean(),
            "This is the mean over the units. The penalty is their sum.",
        ),
        Mistake(
            lambda c, rho: _coins(rho, c.mean(axis=0)),
            "These are the penalties of the single units. The penalty is their sum.",
        ),
        Mistake(
            lambda c, rho: np.sum(_half(c.mean(0), rho) + _half(1 - c.mean(0), 1 - rho)),
            "The arguments of the divergence are swapped: it is rho * np.log(rho / rho_hat), with "
            "the wanted activation first.",
        ),
        Mistake(
            lambda c, rho: -_penalty(c, rho),
            "The sign is wrong: a divergence is never negative.",
        ),
        Mistake(
            lambda c, rho: _penalty(c, rho) / math.log(2),
            "This is in bits. The book uses natural logarithms.",
        ),
        Mistake(
            None,
            "It looks as if the mean activation were clipped, or an epsilon added. The penalty "
            "then does not exceed a bound, and beyond it the gradient is 0. A unit that is never "
            "on costs inf, and that is the right answer.",
            GUARDS,
            predicate=_mean_was_clipped,
            decisive=("never on, which costs inf",),
        ),
    ),
)


EXERCISES: tuple[Exercise, ...] = (
    SIGMOID,
    SIGMOID_DERIVATIVE,
    SOFTPLUS,
    CROSS_ENTROPY,
    GRADIENT_OF_CROSS_ENTROPY,
    AUTOENCODER_PENALTY,
)
