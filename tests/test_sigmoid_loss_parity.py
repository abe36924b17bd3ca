"""cebook.sigmoid_loss beside PyTorch: the same wherever both have an answer; else, why it is not.

Gradients are those of the sum of what is returned, PyTorch's by autograd. The truth behind the
differences is ``oracle``'s; accuracy as such is the matter of ``test_sigmoid_loss_accuracy``.
"""

import contextlib
import itertools
import math
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import oracle
import pytest
import scipy.special
import torch
from accuracy import DTYPES
from helpers import LAYOUTS, REDUCTIONS, message
from numpy.testing import assert_allclose, assert_array_equal
from torch.nn import functional

import cebook as ce

INF, NAN = math.inf, math.nan

# In eps of the sizes of the terms that PyTorch adds up. Measured: at most 2.2.
# The rest is for other processors.
TOLERANCE = 6


pytestmark = pytest.mark.usefixtures("one_thread")


# What is compared, and how ------------------------------------------------------------------------


def half_mse_loss(outputs, targets, weight=None, reduction="mean"):
    """Return half of PyTorch's loss, whose own weight must have the shape of the outputs."""
    if weight is None:
        return functional.mse_loss(outputs, targets, reduction=reduction) / 2
    losses = weight * functional.mse_loss(outputs, targets, reduction="none") / 2
    return losses if reduction == "none" else getattr(losses, reduction)()


def sizes_of_logits(z, y, weight, pos_weight):
    """Return the sizes of what PyTorch adds: it starts from ``(1 - y) z``, and from sigma - y."""
    yes, no = pos_weight * y, 1 - y
    with np.errstate(invalid="ignore"):  # SciPy's softplus of nan
        softplus = scipy.special.softplus(-z)
    loss = no * abs(z) + (1 + abs(pos_weight - 1) * y) * softplus
    return weight * loss, weight * ((yes + no) * scipy.special.expit(z) + yes)


def sizes_of_probabilities(a, y, weight, _):
    """Return the results themselves: their terms have one sign."""
    loss = -(scipy.special.xlogy(y, a) + scipy.special.xlog1py(1 - y, -a))
    return weight * loss, weight * abs(a - y) / (a * (1 - a))


def sizes_of_outputs(a, y, weight, _):
    return weight * (a - y) ** 2 / 2, weight * abs(a - y)


class Peer(NamedTuple):
    function: Callable
    sizes: Callable


PEERS = {
    "sigmoid_cross_entropy": Peer(functional.binary_cross_entropy_with_logits, sizes_of_logits),
    "binary_cross_entropy": Peer(functional.binary_cross_entropy, sizes_of_probabilities),
    "squared_error": Peer(half_mse_loss, sizes_of_outputs),
}


def torch_loss(name, scores, targets, *, weight=None, pos_weight=None, **options):
    """Return PyTorch's loss and gradient; it wants targets and weights of one dtype."""
    scores = torch.tensor(np.asarray(scores), requires_grad=True)
    factors = {"weight": weight, "pos_weight": pos_weight}
    targets, *factors = (
        torch.tensor(np.asarray(array), dtype=scores.dtype)
        for array in (targets, *(factor for factor in factors.values() if factor is not None))
    )
    names = [
        n for n, given in (("weight", weight), ("pos_weight", pos_weight)) if given is not None
    ]
    losses = PEERS[name].function(
        scores, targets, **dict(zip(names, factors, strict=True)), **options
    )
    (gradient,) = torch.autograd.grad(losses.sum(), scores)
    return losses.detach().numpy(), gradient.numpy()


def both_losses(name, scores, targets, **options):
    """Return the loss and gradient of PyTorch, and those of cebook."""
    ours = getattr(ce, name)(scores, targets, return_grad=True, **options)
    return torch_loss(name, scores, targets, **options), ours


def assert_equal_to_rounding(actual, expected, sizes, context=""):
    """Compare each entry in units of eps of its own size. Infinities and nan must be in place."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape), context
    limits = np.finfo(actual.dtype)
    with np.errstate(invalid="ignore", under="ignore"):
        allowed = TOLERANCE * float(limits.eps) * sizes + float(limits.smallest_subnormal)
        close = abs(actual.astype(float) - expected) <= allowed
    close |= (actual == expected) | (np.isnan(actual) & np.isnan(expected))
    assert close.all(), f"{actual} is not {expected}: {context}"


def mean_over_nothing(targets, reduction):
    """Expect the warning of cebook for the nan that PyTorch returns without one."""
    if targets.size or reduction != "mean":
        return contextlib.nullcontext()
    return pytest.warns(RuntimeWarning, match="^The mean loss is nan: the batch is empty")


def assert_same_loss(name, scores, targets, *, reduction="mean", store=np.asarray, **factors):
    """Compare loss and gradient with PyTorch's; cebook gets the arrays as ``store`` leaves them.

    The kernels of PyTorch for float16 round at every step: there the truth is its float64.
    """
    wide = scores.astype(np.float64) if scores.dtype == np.float16 else scores
    expected = torch_loss(name, wide, targets, reduction=reduction, **factors)
    stored = {key: store(value) for key, value in factors.items()}
    with mean_over_nothing(targets, reduction):
        function = getattr(ce, name)
        inputs, options = (store(scores), store(targets)), {**stored, "reduction": reduction}
        results = function(*inputs, return_grad=True, **options)
    with mean_over_nothing(targets, reduction):
        assert_array_equal(function(*inputs, **options), results[0], strict=True)
    weights = (np.asarray(factors.get(key, 1), float) for key in ("weight", "pos_weight"))
    sizes = PEERS[name].sizes(scores.astype(float), targets.astype(float), *weights)
    loss_size, gradient_size = np.broadcast_to(sizes[0], scores.shape), sizes[1]
    if reduction != "none":
        loss_size = loss_size.sum()
    if reduction == "mean":
        loss_size, gradient_size = (size / max(scores.size, 1) for size in (loss_size, sizes[1]))
    for actual, from_torch, size in zip(results, expected, (loss_size, gradient_size), strict=True):
        rounded = from_torch.astype(scores.dtype)
        assert_equal_to_rounding(actual, rounded, size, (name, reduction, factors))


# Parity of the losses -----------------------------------------------------------------------------

FLOATS = (np.float16, *DTYPES)
SHAPES = [(), (5,), (4, 3), (1, 1), (2, 3, 4), (0,), (0, 3), (3, 0)]
KINDS = ("bool", "int", "hard", "soft", "equal")


def batch(name, shape, dtype, kind):
    """Return scores and targets, away from where PyTorch bounds the logarithms of probabilities.

    Targets are hard, of three dtypes, or soft, or equal to the model's probabilities.
    """
    generator = np.random.default_rng(20261211)
    if name == "binary_cross_entropy":
        limits = np.finfo(dtype)
        exponents = generator.uniform(max(-11, np.log10(limits.smallest_normal)), -0.3, shape)
        scores = np.where(generator.random(shape) < 0.5, 10**exponents, 1 - 10**exponents)
        scores = np.clip(scores, limits.smallest_normal, 1 - limits.eps)
    else:
        scores = 6 * generator.normal(size=shape)
    scores = np.asarray(scores).astype(dtype)
    if kind == "equal":
        logits = name == "sigmoid_cross_entropy"
        return scores, (scipy.special.expit(scores) if logits else scores).astype(dtype)
    targets = generator.random(shape)
    if kind != "soft":
        targets = np.asarray(targets < 0.4)
    return scores, np.asarray(targets).astype({"bool": bool, "int": int}.get(kind, dtype))


def shapes_within(shape):
    """Yield every shape that broadcasts to ``shape``, the empty one first."""
    for axes in range(len(shape) + 1):
        lengths = [sorted({1, length}) for length in shape[len(shape) - axes :]]
        yield from itertools.product(*lengths)


def factors_of(name, shape, dtype):
    """Yield no weights, and weights of all shapes; also a pos_weight for all, where there is one.

    One in five is 0.
    """
    generator = np.random.default_rng(20261212)
    some = [
        np.asarray(generator.uniform(0.25, 4, small) * (generator.random(small) < 0.8), dtype)
        for small in shapes_within(shape)
    ]
    with_pos_weight = name == "sigmoid_cross_entropy"
    for weight, pos_weight in itertools.product([None, *some], [None, *some[::-1]]):
        if with_pos_weight or pos_weight is None:
            both = {"weight": weight, "pos_weight": pos_weight}
            yield {key: factor for key, factor in both.items() if factor is not None}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", PEERS)
def test_losses_and_gradients(name, shape, kind, dtype):
    scores, targets = batch(name, shape, dtype, kind)
    # Targets of all kinds are met by some of the weights, soft and hard ones by all of them.
    step = 1 if kind in ("soft", "hard") else 7
    some = itertools.islice(factors_of(name, shape, dtype), 0, None, step)
    for factors, reduction in itertools.product(some, REDUCTIONS):
        assert_same_loss(name, scores, targets, reduction=reduction, **factors)


def test_every_broadcast_shape_is_among_the_weights():
    shapes = [factors.get("weight", NAN) for factors in factors_of("", (2, 3, 4), np.float64)]
    assert len(shapes) == 16
    shapes = {np.shape(weight) for weight in shapes[1:]}
    assert len(shapes) == 15
    assert shapes > {(), (4,), (1, 4), (3, 1), (2, 1, 4), (2, 1, 1), (2, 3, 4)}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", PEERS)
def test_memory_layout_does_not_matter(name, layout):
    def store(array):
        return LAYOUTS[layout](array) if array.ndim else array

    for dtype, kind in zip(DTYPES, ("int", "soft"), strict=True):
        scores, targets = batch(name, (2, 3, 4), dtype, kind)
        before = scores.copy(), targets.copy()
        for factors, reduction in itertools.product(
            itertools.islice(factors_of(name, scores.shape, dtype), 0, None, 7), REDUCTIONS
        ):
            assert_same_loss(name, scores, targets, reduction=reduction, store=store, **factors)
        assert_array_equal((scores, targets), before)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", PEERS)
def test_nan_spreads_no_further(name, reduction):
    # A weight of 0 does not save the entry.
    scores, targets = batch(name, (4, 3), np.float64, "hard")
    scores[1, 1] = NAN
    for weight in (np.ones(3), np.array([1.0, 0.0, 2.0])):
        if name == "binary_cross_entropy":
            with pytest.raises(RuntimeError, match="between 0 and 1"):
                torch_loss(name, scores, targets)
        else:
            assert_same_loss(name, scores, targets, weight=weight, reduction=reduction)
        loss, gradient = getattr(ce, name)(
            scores, targets, weight=weight, reduction=reduction, return_grad=True
        )
        assert np.isnan(loss).sum() == np.isnan(gradient).sum() == 1
        assert np.isnan(gradient[1, 1])


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("layout", ["transposed", "every second"])
def test_pytorch_agrees_on_its_own_strides(name, layout):
    # What it computes does not depend on how its tensors lie in memory either.
    scores, targets = (LAYOUTS[layout](array) for array in batch(name, (4, 3), np.float64, "soft"))
    tensors = torch.from_numpy(scores), torch.from_numpy(targets)
    assert not tensors[0].is_contiguous()
    from_torch = PEERS[name].function(*tensors, reduction="none").numpy()
    assert_equal_to_rounding(
        getattr(ce, name)(scores, targets, reduction="none"),
        from_torch,
        PEERS[name].sizes(scores, targets, 1, 1)[0],
    )


def test_numbers_and_lists_are_weights_too():
    # PyTorch wants tensors.
    z, y = batch("sigmoid_cross_entropy", (4, 3), np.float64, "soft")
    for weight, pos_weight in [(2, 0.5), ([1, 0, 3], [[2], [1], [0.5], [4]]), (True, np.uint8(3))]:
        with pytest.raises(TypeError, match="must be Tensor"):
            functional.binary_cross_entropy_with_logits(*map(torch.tensor, (z, y)), weight=weight)
        actual = ce.sigmoid_cross_entropy(z, y, weight=weight, pos_weight=pos_weight)
        arrays = {"weight": np.array(weight, float), "pos_weight": np.array(pos_weight, float)}
        assert actual == ce.sigmoid_cross_entropy(z, y, **arrays)
        assert_same_loss("sigmoid_cross_entropy", z, y, **arrays)


# Parity of the functions --------------------------------------------------------------------------


class Function(NamedTuple):
    torch: Callable
    scipy: Callable
    derivative: Callable  # by the formula of the docstring
    size: Callable  # of what is added up in PyTorch and SciPy, or the result itself


FUNCTIONS = {
    "sigmoid": Function(
        torch.sigmoid, scipy.special.expit, lambda x: ce.sigmoid(x) * ce.sigmoid(-x), abs
    ),
    "softplus": Function(functional.softplus, scipy.special.softplus, ce.sigmoid, abs),
    "log_sigmoid": Function(
        functional.logsigmoid, scipy.special.log_expit, lambda x: ce.sigmoid(-x), abs
    ),
    # PyTorch takes the logarithm of odds that it has rounded.
    "logit": Function(
        torch.logit, scipy.special.logit, lambda p: 1 / (p * (1 - p)), lambda x: np.maximum(x, 1)
    ),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(), (1,), (200,), (3, 4), (2, 3, 4), (0,), (2, 0, 3)])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_and_their_derivatives(name, shape, dtype):
    function = FUNCTIONS[name]
    generator = np.random.default_rng(20261213)
    x = generator.uniform(-15, 15, shape)  # below PyTorch's threshold: see there
    if name == "logit":
        x = generator.uniform(0.001, 0.999, shape)
    x = np.asarray(x).astype(dtype)
    wide = torch.tensor(x.astype(np.float64 if dtype == np.float16 else dtype), requires_grad=True)
    from_torch = function.torch(wide)
    (derivative,) = torch.autograd.grad(from_torch.sum(), wide)
    expected = from_torch.detach().numpy().astype(dtype)
    sizes = function.size(abs(expected.astype(float)))
    actual = getattr(ce, name)(x)
    assert_equal_to_rounding(actual, expected, sizes, name)
    assert_equal_to_rounding(actual, function.scipy(x.astype(float)).astype(dtype), sizes, name)
    if dtype == np.float16:
        assert_array_equal(actual, expected)  # rounded once
    elif name != "logit":
        assert_equal_to_rounding(actual, function.scipy(x), sizes, name)
    # PyTorch's derivative of sigma is s (1 - s), which cancels.
    size = expected if name == "sigmoid" else derivative.numpy()
    assert_equal_to_rounding(
        np.asarray(function.derivative(x.astype(wide.detach().numpy().dtype))),
        derivative.numpy(),
        size.astype(float),
        name,
    )


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_any_layout(name, layout):
    p = np.random.default_rng(20261214).random((2, 3, 4))
    expected = FUNCTIONS[name].torch(torch.tensor(p)).numpy()
    sizes = FUNCTIONS[name].size(abs(expected))
    assert_equal_to_rounding(getattr(ce, name)(LAYOUTS[layout](p)), expected, sizes)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_agree_at_the_ends(name, dtype):
    largest = np.finfo(dtype).max
    ends = [INF, -INF, NAN, largest, -largest, 800, -800, 0]
    if name == "logit":
        ends = [0, np.finfo(dtype).smallest_subnormal, 0.5, 1, NAN]
    for x in map(dtype, ends):
        actual = getattr(ce, name)(x)
        with np.errstate(invalid="ignore"):  # SciPy's softplus of nan
            from_scipy = FUNCTIONS[name].scipy(x)
        from_torch = FUNCTIONS[name].torch(torch.tensor(x)).numpy()
        for expected in (from_torch, from_scipy):
            assert_equal_to_rounding(actual, np.asarray(expected, dtype), abs(expected), x)
        # SciPy's logarithm of 1 is -0.
        assert np.signbit(actual) == np.signbit(from_torch) or np.isnan(x)


# Two classes are one logit, many labels are many logits -------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_softmax_of_two_classes_is_the_sigmoid_of_their_difference(kind, dtype):
    z, y = batch("sigmoid_cross_entropy", (40,), np.float64, kind)
    z[:6] = [INF, -INF, 0, 1000, -1000, 1e-9]
    z, y = z.astype(dtype), y.astype(dtype if y.dtype.kind == "f" else y.dtype)
    logits = np.stack([np.zeros_like(z), z], axis=-1)
    both = y.astype(int) if kind in ("bool", "int") else np.stack([1 - y, y], axis=-1)
    # The weights of its classes are the pos_weight; in a mean of indices they are in the divisor.
    for weight, reduction in itertools.product((1.0, 3.0), ("sum", "none")):
        options = {"reduction": reduction, "return_grad": True}
        loss, gradient = ce.sigmoid_cross_entropy(z, y, pos_weight=weight, **options)
        other, other_gradient = ce.softmax_cross_entropy(
            logits, both, weight=[1.0, weight], **options
        )
        rtol = 8 * np.finfo(dtype).eps
        assert_allclose(loss, other, rtol)
        # Where the two terms cancel their sizes remain, which are below the weight.
        atol = 8 * np.finfo(dtype).eps * weight * (kind in ("soft", "equal"))
        assert_allclose(gradient, other_gradient[:, 1], rtol, atol)
        assert_allclose(-gradient, other_gradient[:, 0], rtol, atol)
    assert_allclose(ce.sigmoid(z), ce.softmax(logits)[:, 1], rtol)
    assert_allclose(ce.log_sigmoid(z), ce.log_softmax(logits)[:, 1], rtol)
    assert_allclose(ce.softplus(z), ce.logsumexp(logits), rtol)
    with_mean = ce.sigmoid_cross_entropy(z[2:], y[2:], return_grad=True)
    of_softmax = ce.softmax_cross_entropy(logits[2:], both[2:], return_grad=True)
    assert_allclose(with_mean[0], of_softmax[0], rtol)
    assert_allclose(with_mean[1], of_softmax[1][:, 1], rtol, atol / 38)


def test_several_labels_are_as_many_questions():
    z, y = batch("sigmoid_cross_entropy", (6, 4), np.float64, "hard")
    weight = np.array([0.5, 1.0, 2.0, 3.0])
    # PyTorch has a loss for them: the mean over the labels of a sample.
    losses = ce.sigmoid_cross_entropy(z, y, weight=weight, reduction="none")
    for reduction, ours in [("none", losses.mean(-1)), ("mean", losses.mean())]:
        from_torch = functional.multilabel_soft_margin_loss(
            *map(torch.tensor, (z, y)), torch.tensor(weight), reduction=reduction
        )
        assert_allclose(ours, from_torch, rtol=1e-14)
    # The sum is that of the labels asked about one by one, each as a softmax of two classes.
    total, gradient = ce.sigmoid_cross_entropy(z, y, reduction="sum", return_grad=True)
    parts = [
        ce.softmax_cross_entropy(
            np.stack([0 * z[:, k], z[:, k]], axis=-1),
            y[:, k].astype(int),
            reduction="sum",
            return_grad=True,
        )
        for k in range(4)
    ]
    assert_allclose(total, sum(loss for loss, _ in parts), rtol=1e-14)
    assert_allclose(gradient.T, [part[:, 1] for _, part in parts], rtol=1e-14)


# Where PyTorch returns nan, infinity or 0, and there is an answer ---------------------------------


@pytest.mark.parametrize(
    ("z", "y", "from_torch", "ours"),
    [
        # The limits of a logit that grows. PyTorch multiplies infinity by 0, or subtracts it from
        # itself; its gradient has the limits as well.
        (INF, 1.0, (NAN, 0.0), (0.0, 0.0)),
        (INF, 0.0, (INF, 1.0), (INF, 1.0)),
        (INF, 0.5, (INF, 0.5), (INF, 0.5)),
        (-INF, 0.0, (NAN, 0.0), (0.0, 0.0)),
        (-INF, 1.0, (NAN, -1.0), (INF, -1.0)),
        (-INF, 0.5, (NAN, -0.5), (INF, -0.5)),
    ],
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_infinite_logit_is_certainty(z, y, from_torch, ours, dtype):
    results = both_losses("sigmoid_cross_entropy", dtype(z), dtype(y))
    for result, expected in zip(results, (from_torch, ours), strict=True):
        assert_array_equal(result, expected)


@pytest.mark.parametrize(
    ("name", "score"), [("sigmoid_cross_entropy", -INF), ("binary_cross_entropy", 0.0)]
)
def test_nothing_times_infinity_is_nothing(name, score):
    # What has no weight costs nothing, though it be impossible.
    factors = [{"weight": 0.0}]
    if name == "sigmoid_cross_entropy":
        factors += [{"pos_weight": 0.0}, {"weight": 0.0, "pos_weight": 2.0}]
    for options in factors:
        from_torch, ours = both_losses(name, score, 1.0, **options)
        # Of probabilities it has clamped the logarithm before.
        assert np.isnan(from_torch[0]) == (name == "sigmoid_cross_entropy")
        assert_array_equal(ours, [0, 0])


@pytest.mark.parametrize(
    ("name", "scores"), [("sigmoid_cross_entropy", [1e308] * 3), ("squared_error", [1e154] * 3)]
)
def test_a_mean_is_not_the_sum_divided(name, scores):
    # The mean of numbers that fit is a number that fits.
    from_torch, ours = both_losses(name, scores, [0.0] * 3)
    assert from_torch[0] == INF
    assert_allclose(ours[0], 1e308 if name != "squared_error" else 5e307, rtol=1e-15)
    assert_allclose(ours[1], from_torch[1], rtol=1e-15)


@pytest.mark.parametrize("name", ["sigmoid_cross_entropy", "binary_cross_entropy"])
def test_results_in_float16_are_rounded_once(name):
    # PyTorch rounds at every step: where z (1 - y) and the rest cancel, it is 40 numbers off.
    scores, targets = batch(name, (1000,), np.float16, "soft")
    truths = torch_loss(name, scores.astype(float), targets, reduction="none")
    from_torch, ours = both_losses(name, scores, targets, reduction="none")
    for theirs, mine, truth in zip(from_torch, ours, truths, strict=True):
        assert_array_equal(mine, truth.astype(np.float16))
        assert (theirs != mine).any()


# Where PyTorch bounds what has no bound -----------------------------------------------------------


def tensor_with_gradient(*numbers, dtype=torch.float64):
    return torch.tensor(numbers, dtype=dtype, requires_grad=True)


@pytest.mark.parametrize(
    ("a", "y", "from_torch", "ours"),
    [
        # A certain probability that is wrong; and that is right. The slope of -log a at 1 is -1.
        (0.0, 1.0, (100, -1e12), (INF, -INF)),
        (1.0, 0.0, (100, 1e12), (INF, INF)),
        (0.0, 0.0, (0, 0), (0, 1)),
        (1.0, 1.0, (0, 0), (0, -1)),
        (0.0, 0.5, (50, -5e11), (INF, -INF)),
        (1.0, 0.5, (50, 5e11), (INF, INF)),
        # The logarithm is at least -100, but a (1 - a) at least 1e-12, which binds long before.
        (1e-13, 1.0, (-math.log(1e-13), -1e12), (-math.log(1e-13), -1e13)),
        (1e-13, 0.0, (1e-13, 0.1), (1e-13, 1)),
        (1e-13, 0.5, (-math.log(1e-13) / 2, -5e11), (-math.log(1e-13) / 2, -5e12)),
        (1e-43, 1.0, (-math.log(1e-43), -1e12), (-math.log(1e-43), -1e43)),
        (1e-44, 1.0, (100, -1e12), (-math.log(1e-44), -1e44)),
        (1e-44, 0.25, (25, -2.5e11), (-math.log(1e-44) / 4, -2.5e43)),
        (1e-300, 1.0, (100, -1e12), (-math.log(1e-300), -1e300)),
        (1e-300, 0.0, (1e-300, 1e-288), (1e-300, 1)),
        (1 - 2**-53, 0.0, (53 * math.log(2), 1e12), (53 * math.log(2), 2.0**53)),
        (1 - 2**-53, 1.0, (2**-53, -1e12 * 2**-53), (2**-53, -1)),
        # Inside of all bounds they agree, up to the last digits of 1 - a.
        (1.01e-12, 1.0, (-math.log(1.01e-12), -1 / 1.01e-12), (-math.log(1.01e-12), -1 / 1.01e-12)),
    ],
)
def test_at_the_bounds_of_binary_cross_entropy(a, y, from_torch, ours):
    results = both_losses("binary_cross_entropy", a, y)
    # PyTorch's 1e-12 is a float32.
    assert_allclose(results[0], from_torch, rtol=5e-9)
    assert_allclose(results[1], ours, rtol=1e-12)
    assert_allclose(ce.textbook.pytorch_binary_cross_entropy(a, y), from_torch, rtol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_textbook_keeps_the_bounds_of_pytorch_over_the_whole_range(dtype):
    limits = np.finfo(dtype)
    small = np.geomspace(float(limits.smallest_normal), 0.5, 400)
    subnormal = float(limits.smallest_subnormal) * 2.0 ** np.arange(0, -limits.machep, 3)
    a = np.concatenate([[0, 0.5, 1 - limits.epsneg, 1], subnormal, small, 1 - small]).astype(dtype)
    a = np.unique(np.concatenate([a, np.linspace(0, 1, 101, dtype=dtype)]))
    y = np.array([0, 1e-9, 0.25, 0.5, 0.75, 1], dtype)
    a, y = map(np.ravel, np.meshgrid(a, y))
    expected = torch_loss("binary_cross_entropy", a, y, reduction="none")
    assert expected[0].max() == 100
    # The bound of the gradient is a float32 in float64 too, 4e-9 below 1e-12.
    assert expected[1].max() == -expected[1].min() == 1 / dtype(np.float32(1e-12))
    loss, gradient = ce.textbook.pytorch_binary_cross_entropy(a, y)
    assert_equal_to_rounding(loss, expected[0], abs(expected[0].astype(float)))
    rtol = max(TOLERANCE * limits.eps, 4e-9)
    assert_allclose(gradient, expected[1], rtol, limits.smallest_subnormal, strict=True)
    # What cebook returns is that, wherever no bound is met.
    free = (a > max(limits.smallest_normal, 1e-43)) & (a < 1)
    losses, gradients = ce.binary_cross_entropy(
        a[free], y[free], reduction="none", return_grad=True
    )
    assert_equal_to_rounding(losses, expected[0][free], abs(losses.astype(float)))
    within = (a * (1 - a))[free] >= 1.001e-12
    assert_equal_to_rounding(
        gradients[within], expected[1][free][within], abs(gradients[within].astype(float))
    )
    assert 0.1 < within.mean() < 0.9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_sigmoid_that_has_rounded_teaches_nothing(dtype):
    # Through the probability PyTorch's loss is its bound, and the gradient 1e12 times 0.
    z0 = 20.0 if dtype == torch.float32 else 40.0
    z = tensor_with_gradient(z0, dtype=dtype)
    a = torch.sigmoid(z)
    loss = functional.binary_cross_entropy(a, torch.zeros_like(z))
    (gradient,) = torch.autograd.grad(loss, z)
    assert (a.item(), loss.item(), gradient.item()) == (1, 100, 0)
    loss, gradient = ce.sigmoid_cross_entropy(z.detach(), [0.0], return_grad=True)
    assert_allclose([loss, *gradient], [z0, 1], rtol=1e-8)


@pytest.mark.parametrize("epsilon", [1e-7, 1e-3, 0.1])
def test_clipped_cross_entropy_is_that_of_a_clamp(epsilon):
    # Where nothing is clipped exactly at the bound.
    a = np.concatenate([[0, 1, epsilon / 2, 1 - epsilon / 2], np.linspace(0.01, 0.99, 43)])
    a, y = map(np.ravel, np.meshgrid(a, [0.0, 0.25, 1.0]))
    probs = torch.tensor(a, requires_grad=True)
    clamped, targets = probs.clamp(epsilon, 1 - epsilon), torch.tensor(y)
    expected = -(targets * clamped.log() + (1 - targets) * (1 - clamped).log())
    (gradient,) = torch.autograd.grad(expected.sum(), probs)
    loss, ours = ce.textbook.clipped_binary_cross_entropy(a, y, epsilon)
    assert_allclose(loss, expected.detach(), rtol=1e-13)
    assert_allclose(ours, gradient, rtol=1e-12, atol=1e-14)
    assert not ours[(a < epsilon) | (a > 1 - epsilon)].any()
    assert_allclose(loss.max(), -math.log(epsilon), rtol=1e-9)
    if epsilon == 1e-7:
        assert_array_equal(ce.textbook.clipped_binary_cross_entropy(a, y), (loss, ours))
        assert round(loss.max(), 2) == 16.12
    # Inside, it is what cebook and PyTorch say, too.
    inside = (a > epsilon) & (a < 1 - epsilon)
    assert_allclose(
        (loss[inside], ours[inside]),
        ce.binary_cross_entropy(a[inside], y[inside], reduction="none", return_grad=True),
        rtol=1e-12,
        atol=1e-14,
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_layer_of_caffe_is_right_until_its_logarithm_rounds(dtype):
    z, y = batch("sigmoid_cross_entropy", (200,), dtype, "hard")
    expected = torch_loss("sigmoid_cross_entropy", z, y, reduction="none")
    sizes = sizes_of_logits(z.astype(float), y, 1, 1)
    for actual, from_torch, size in zip(
        ce.textbook.caffe_sigmoid_layer(z, y), expected, sizes, strict=True
    ):
        # The logarithm of a number next to 1 is off by an eps of that.
        assert_equal_to_rounding(actual, from_torch, np.maximum(size, 1))


@pytest.mark.parametrize(("dtype", "vanishes_at"), [(np.float32, 17), (np.float64, 37)])
def test_a_right_answer_costs_nothing_in_caffe_and_still_something_in_pytorch(dtype, vanishes_at):
    for z in range(vanishes_at - 2, vanishes_at + 3):
        loss, gradient = ce.textbook.caffe_sigmoid_layer(dtype(z), dtype(1))
        from_torch, ours = both_losses("sigmoid_cross_entropy", dtype(z), dtype(1))
        assert (loss == 0) == (gradient == 0) == (z >= vanishes_at)
        assert_equal_to_rounding(ours[0], from_torch[0], float(ours[0]))
        # The gradient of PyTorch is sigma - y, as that of Caffe.
        assert (from_torch[1] == 0) == (z >= vanishes_at)
        assert_allclose(ours[1], -ours[0], rtol=1e-6)
    # A wrong one costs its logit, and teaches.
    assert_array_equal(ce.textbook.caffe_sigmoid_layer(dtype(-z), dtype(1)), [z, -1])


# Where PyTorch rounds everything away -------------------------------------------------------------


def errors_in_eps(results, truths, sizes):
    """Return the errors of losses and gradients, an array for each."""
    dtype = results[0].dtype
    least = oracle.exact(np.finfo(dtype).smallest_normal)
    return [
        np.array([oracle.error_in_eps(x, t, max(s, least)) for x, t, s in zip(*three, strict=True)])
        for three in zip(results, truths, sizes, strict=True)
    ]


EXTREMES = {
    "sigmoid_cross_entropy": (
        0,
        1e-30,
        1e-9,
        0.1,
        1,
        10,
        17,
        20,
        25,
        37,
        40,
        88,
        104,
        700,
        745,
        1e4,
    ),
    "binary_cross_entropy": (1e-30, 1e-11, 1e-9, 1e-6, 1e-3, 0.25, 0.4999, 0.5),
    "squared_error": (0, 1e-9, 0.25, 1, 1 + 1e-6, 1e4),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("factors", [{}, {"weight": 0.3, "pos_weight": 2.7}])
@pytest.mark.parametrize("name", EXTREMES)
def test_nowhere_further_from_the_truth_than_pytorch(name, factors, dtype):
    scores = np.array(EXTREMES[name], dtype)
    probabilities = name == "binary_cross_entropy"
    scores = np.concatenate([scores, 1 - scores if probabilities else -scores])
    scores = scores[scores < 1] if probabilities else scores
    targets = np.array([0, 1e-9, 0.25, 0.5, 1 - np.finfo(dtype).eps, 1], dtype)
    scores, targets = map(np.ravel, np.meshgrid(scores, targets))
    if name != "sigmoid_cross_entropy":
        factors = {key: factor for key, factor in factors.items() if key == "weight"}
    factors = {key: dtype(factor) for key, factor in factors.items()}
    truths = [
        getattr(oracle, name)(*entry, *factors.values())
        for entry in zip(scores, targets, strict=True)
    ]
    losses, gradients = zip(*truths, strict=True)
    # The gradient by logits has two terms that may cancel; the other results have terms of one
    # sign. Sizes to a few digits.
    sizes = list(map(abs, losses)), list(map(abs, gradients))
    if name == "sigmoid_cross_entropy":
        sizes[1][:] = size_of_gradient_by_logits(scores, targets, **factors)
    from_torch, ours = both_losses(name, scores, targets, reduction="none", **factors)
    theirs = errors_in_eps(from_torch, (losses, gradients), sizes)
    for error, theirs_of_it in zip(
        errors_in_eps(ours, (losses, gradients), sizes), theirs, strict=True
    ):
        assert (error <= theirs_of_it + 4).all()
        assert error.max() <= 4
    assert all((errors > 1000).any() for errors in theirs) == (name == "sigmoid_cross_entropy")


def size_of_gradient_by_logits(z, y, weight=1.0, pos_weight=1.0):
    z, y = z.astype(float), y.astype(float)
    size = (1 - y) * scipy.special.expit(z) + pos_weight * y * scipy.special.expit(-z)
    return list(map(oracle.exact, float(weight) * size))


@pytest.mark.parametrize(("dtype", "vanishes_at"), [(np.float32, 17), (np.float64, 37)])
def test_a_gradient_does_not_round_to_zero(dtype, vanishes_at):
    # PyTorch subtracts the target from the sigmoid; the other sign has kept its digits.
    for z in range(2, vanishes_at + 2):
        from_torch, ours = both_losses("sigmoid_cross_entropy", dtype([z, -z]), dtype([1, 0]))
        assert (from_torch[1][0] == 0) == (z >= vanishes_at)
        assert_equal_to_rounding(from_torch[1][1], ours[1][1], float(ours[1][1]))
        assert ours[1][0] == -ours[1][1]


def test_soft_targets_that_agree_with_a_certain_model():
    # PyTorch adds z (1 - y) and -z: of a logit of -10000 the answer keeps 12 digits fewer.
    z, y = np.float64(-1e4), np.float64(1e-12)
    truth, _ = oracle.sigmoid_cross_entropy(z, y)
    from_torch, ours = both_losses("sigmoid_cross_entropy", z, y)
    assert oracle.error_in_eps(from_torch[0], truth) > 1e6
    assert oracle.error_in_eps(ours[0], truth) <= 4


def test_the_softplus_of_pytorch_has_a_threshold():
    # Above 20 it returns its argument; what is missing shows in float64 up to 37, and in the
    # derivative, which is 1. Its logsigmoid has no threshold, nor has SciPy's softplus.
    x = tensor_with_gradient(19.5, 20.0, 20.5, 30.0, 36.0)
    from_torch = functional.softplus(x)
    (derivative,) = torch.autograd.grad(from_torch.sum(), x)
    x = x.detach().numpy()
    at_most_20 = x <= 20
    for theirs, ours in [(from_torch.detach(), ce.softplus(x)), (derivative, ce.sigmoid(x))]:
        same = abs(theirs.numpy() - ours) <= TOLERANCE * np.finfo(float).eps * ours
        assert_array_equal(same[:-1], at_most_20[:-1])
    assert_array_equal(from_torch.detach()[2:], x[2:])
    assert_array_equal(derivative[2:], 1)
    assert (ce.softplus(x) > x)[:-1].all()
    assert (ce.sigmoid(x) < 1).all()
    for theirs in (-functional.logsigmoid(-torch.tensor(x)).numpy(), scipy.special.softplus(x)):
        assert_equal_to_rounding(ce.softplus(x), theirs, x)
        assert_equal_to_rounding(ce.log_sigmoid(-x), -theirs, x)
    # With the threshold out of the way it overflows no more than the others.
    without = functional.softplus(torch.tensor(x), threshold=50).numpy()
    assert_equal_to_rounding(ce.softplus(x), without, x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_logit_of_pytorch_loses_digits_near_one_half(dtype):
    p = dtype(0.5) + np.geomspace(8 * np.finfo(dtype).eps, 0.2, 100, dtype=dtype)
    p = np.concatenate([p, 1 - p])
    truths = list(map(oracle.logit, p))
    from_torch = torch.logit(torch.tensor(p)).numpy()
    assert max(map(oracle.error_in_eps, from_torch, truths)) > 1000
    assert max(map(oracle.error_in_eps, ce.logit(p), truths)) <= 4


def test_a_cost_of_nothing_is_a_positive_zero():
    from_torch, ours = both_losses("binary_cross_entropy", [1.0, 0.0], [1.0, 0.0], reduction="none")
    assert_array_equal(from_torch[0], ours[0])
    assert_array_equal(np.signbit(from_torch[0]), [True, False])
    assert_array_equal(np.signbit(ours[0]), [False, False])


# What PyTorch answers, and cebook questions -------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "scores", "targets", "options", "from_torch", "fragment"),
    [
        # Labels -1 and 1, pixels, classes: the loss is negative, and falls for ever.
        ("sigmoid_cross_entropy", [5.0], [2.0], {}, -4.9933, "targets[0] = 2. Are these class"),
        ("sigmoid_cross_entropy", [-5.0], [-1.0], {}, -4.9933, "targets[0] = -1. Are these labels"),
        ("sigmoid_cross_entropy", [0.5], [-0.5], {}, 1.2241, "targets[0] = -0.5"),
        ("sigmoid_cross_entropy", [5.0], [255.0], {}, -1269.9933, "Divide by 255"),
        # A loss that pays has no minimum.
        ("sigmoid_cross_entropy", [0.5], [1.0], {"weight": -1.0}, -0.4741, "weight must be finite"),
        ("sigmoid_cross_entropy", [0.5], [1.0], {"pos_weight": [-1.0]}, -0.4741, "weight[0] = -1"),
        ("binary_cross_entropy", [0.5], [1.0], {"weight": [-1.0]}, -0.6931, "weight[0] = -1"),
        ("squared_error", [2.0], [0.0], {"weight": [-1.0]}, -2, "weight[0] = -1"),
        ("sigmoid_cross_entropy", [0.5], [1.0], {"weight": [INF]}, INF, "weight[0] = inf"),
        ("binary_cross_entropy", [0.5], [1.0], {"weight": [NAN]}, NAN, "weight[0] = nan"),
        ("sigmoid_cross_entropy", [0.5], [0.0], {"pos_weight": [NAN]}, NAN, "pos_weight[0] = nan"),
    ],
)
def test_an_error_where_pytorch_returns_a_number(
    name, scores, targets, options, from_torch, fragment
):
    loss, _ = torch_loss(name, scores, targets, **options)
    assert loss == pytest.approx(from_torch, abs=5e-5, nan_ok=True)
    assert fragment in message(ValueError, getattr(ce, name), scores, targets, **options)


def test_logit_outside_of_its_range_is_an_error_and_not_nan():
    for p in (-0.5, 1.5):
        assert torch.logit(torch.tensor(p)).isnan()
        assert np.isnan(scipy.special.logit(p))
        assert "must lie in [0, 1]" in message(ValueError, ce.logit, p)


@pytest.mark.parametrize(
    ("name", "scores", "targets", "options", "torch_error", "fragment"),
    [
        # Weights never enlarge a loss.
        *(
            (name, np.full(shape, 0.5), np.zeros(shape), {key: np.ones(large)}, RuntimeError, text)
            for name in PEERS
            for key in ("weight", "pos_weight")
            for shape, large, text in [
                ((), (3,), "must broadcast to the shape of what it multiplies, ()"),
                ((1,), (3,), "has shape (3,)"),
                ((2, 1), (1, 3), "has shape (1, 3)"),
                ((2, 3), (4, 1, 1), "has shape (4, 1, 1)"),
                ((2, 3), (2,), "give it shape (2, 1)"),
                ((2, 3), (2, 2), "has shape (2, 2)"),
            ]
            if name == "sigmoid_cross_entropy" or (key, name) == ("weight", "binary_cross_entropy")
        ),
        *(
            (name, [[0.5], [0.5]], [0.0, 1.0], {}, ValueError, "must have the same shape")
            for name in PEERS
            if name != "squared_error"  # there PyTorch broadcasts, with a warning
        ),
        ("binary_cross_entropy", [1.5], [1.0], {}, RuntimeError, "probs must lie in [0, 1]"),
        ("binary_cross_entropy", [-0.5], [1.0], {}, RuntimeError, "probs must lie in [0, 1]"),
        ("binary_cross_entropy", [0.5], [2.0], {}, RuntimeError, "targets must lie in [0, 1]"),
        *(
            (name, [0.5], [1.0], {"reduction": "batchmean"}, ValueError, "'batchmean'")
            for name in PEERS
        ),
    ],
)
def test_both_refuse_and_cebook_says_what_to_do(
    name, scores, targets, options, torch_error, fragment
):
    with pytest.raises(torch_error):
        torch_loss(name, scores, targets, **options)
    assert fragment in message(ValueError, getattr(ce, name), scores, targets, **options)


def test_outputs_and_targets_of_a_squared_error_are_not_broadcast():
    # A forgotten axis: two numbers are compared with both others.
    outputs, targets = np.array([[1.0], [2.0]]), np.array([1.0, 2.0])
    with pytest.warns(UserWarning, match="incorrect results due to broadcasting"):
        loss = functional.mse_loss(*map(torch.tensor, (outputs, targets)))
    assert loss == 0.5
    assert "must have the same shape" in message(ValueError, ce.squared_error, outputs, targets)


@pytest.mark.parametrize("name", PEERS)
def test_a_warning_for_a_mean_over_nothing_where_pytorch_says_nothing(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from_torch, _ = torch_loss(name, np.zeros(0), np.zeros(0))
    assert np.isnan(from_torch)
    with pytest.warns(RuntimeWarning, match="the batch is empty") as caught:
        loss, gradient = getattr(ce, name)(np.zeros(0), np.zeros(0), return_grad=True)
    assert len(caught) == 1
    assert np.isnan(loss)
    assert gradient.shape == (0,)


# What PyTorch refuses, and cebook answers ---------------------------------------------------------


@pytest.mark.parametrize("name", PEERS)
def test_dtypes_that_differ(name):
    # The result is of the dtype of the scores, whatever that of the rest, and computed with all
    # digits. PyTorch follows the targets in one loss, the wider in another, and refuses in a third.
    narrow, _ = batch(name, (4, 3), np.float32, "soft")
    _, wide = batch(name, (4, 3), np.float64, "soft")
    for own, other in [(np.float32, np.float64), (np.float64, np.float32)]:
        scores, targets = narrow.astype(own), wide.astype(other)
        tensors = torch.tensor(scores), torch.tensor(targets)
        if name == "binary_cross_entropy":
            with pytest.raises(RuntimeError, match="expected"):
                functional.binary_cross_entropy(*tensors)
        else:
            wanted = other if name == "sigmoid_cross_entropy" else np.float64
            assert PEERS[name].function(*tensors).numpy().dtype == wanted
        expected = torch_loss(name, scores.astype(float), targets)
        results = getattr(ce, name)(scores, targets, weight=np.ones(3, other), return_grad=True)
        for actual, from_torch in zip(results, expected, strict=True):
            assert actual.dtype == own
            assert_allclose(actual, from_torch, rtol=2 * np.finfo(own).eps, atol=1e-16)


def test_targets_of_ints_and_bools():
    # Others are floats first: PyTorch cannot subtract bools, nor put a float in an int.
    z, y = np.array([1.0, -2.0]), np.array([1.0, 0.0])
    expected, _ = torch_loss("sigmoid_cross_entropy", z, y)
    for dtype, text in [(bool, "with two bool tensors"), (int, "can't be cast")]:
        with pytest.raises(RuntimeError, match=text):
            functional.binary_cross_entropy_with_logits(*map(torch.tensor, (z, y.astype(dtype))))
        assert_allclose(ce.sigmoid_cross_entropy(z, y.astype(dtype)), expected, rtol=1e-15)
        assert_allclose(ce.binary_cross_entropy(ce.sigmoid(z), y.astype(dtype)), expected, 1e-15)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_integers_count_as_float64(name):
    # PyTorch makes float32 of them, or refuses.
    integers = np.array([0, 1])
    try:
        assert FUNCTIONS[name].torch(torch.tensor(integers)).dtype == torch.float32
    except NotImplementedError:
        assert name in ("softplus", "log_sigmoid")
    expected = FUNCTIONS[name].torch(torch.tensor(integers, dtype=torch.float64)).numpy()
    for same in (integers, integers.tolist(), integers.astype(bool), integers.astype(np.uint8)):
        assert_equal_to_rounding(getattr(ce, name)(same), expected, abs(expected))
