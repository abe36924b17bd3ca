"""cebook.softmax_loss beside PyTorch: the same wherever both have an answer; else, why it is not.

Gradients are those of the sum of what is returned, PyTorch's by autograd. The truth behind the
differences is ``oracle``'s; accuracy as such is the matter of ``test_softmax_loss``.
"""

import contextlib
import itertools
import math
import warnings

import numpy as np
import oracle
import pytest
import torch
from accuracy import DTYPES
from helpers import LAYOUTS, REDUCTIONS, message
from numpy.testing import assert_allclose, assert_array_equal

import cebook as ce

LOSSES = {
    "softmax_cross_entropy": torch.nn.functional.cross_entropy,
    "nll_loss": torch.nn.functional.nll_loss,
}
SOFTMAXES = {
    "softmax": torch.softmax,
    "log_softmax": torch.log_softmax,
    "logsumexp": torch.logsumexp,
}
INF, NAN = math.inf, math.nan

# Logits lie within 3 of 0 and at most 48 make a row, so that a cost is below 16: PyTorch rounds its
# steps by up to 4 eps each, and takes its gradient from the exponential of the result. Measured: at
# most 3 eps of the largest entry. The rest is for other processors.
TOLERANCE = 6


pytestmark = pytest.mark.usefixtures("one_thread")


def assert_equal_to_rounding(actual, expected, context="", least=0):
    """Compare in units of eps of the largest entry, or of ``least`` if that is larger.

    Infinities and nan must be in their places.
    """
    assert actual.dtype == expected.dtype, context
    largest = np.max(abs(expected), where=np.isfinite(expected), initial=least)
    allowed = TOLERANCE * float(np.finfo(expected.dtype).eps) * float(largest)
    assert_allclose(actual, expected, rtol=0, atol=allowed, strict=True, err_msg=str(context))


def torch_loss(name, scores, targets, *, axis=-1, weight=None, ignore_index=None, **options):
    """Return PyTorch's loss and gradient; it wants the classes on axis 1, or 0 if alone."""
    scores = torch.tensor(np.asarray(scores), requires_grad=True)
    targets = torch.tensor(np.asarray(targets))
    place = min(1, scores.ndim - 1)
    function = LOSSES[name]
    if targets.is_floating_point() and targets.ndim == scores.ndim:
        targets = targets.movedim(axis, place)
        function = {"nll_loss": nll_loss_of_distributions}.get(name, function)
    if weight is not None:
        options["weight"] = torch.tensor(np.asarray(weight), dtype=scores.dtype)
    if ignore_index is not None:
        options["ignore_index"] = ignore_index
    # The gradient of nll_loss refuses some arrays that are not contiguous.
    losses = function(scores.movedim(axis, place).contiguous(), targets, **options)
    (gradient,) = torch.autograd.grad(losses.sum(), scores)
    return losses.detach().numpy(), gradient.numpy()


def nll_loss_of_distributions(log_probs, targets, weight=None, reduction="mean"):
    """Return what PyTorch does not offer: the formula, for its autograd to differentiate."""
    place = min(1, log_probs.ndim - 1)
    terms = (targets * log_probs).movedim(place, -1)
    losses = -(terms if weight is None else weight * terms).sum(-1)
    return losses if reduction == "none" else getattr(losses, reduction)()


def mean_over_nothing(targets, *, reduction="mean", ignore_index=None, **options):
    """Expect the warning of cebook for the nan that PyTorch returns without one."""
    counted = targets.size and (targets.dtype.kind == "f" or (targets != ignore_index).any())
    if counted or reduction != "mean":
        return contextlib.nullcontext()
    return pytest.warns(RuntimeWarning, match="^The mean loss is nan: ")


def assert_same_loss(name, scores, targets, *, store=np.asarray, **options):
    """Compare loss and gradient with PyTorch's; cebook gets the arrays as ``store`` leaves them."""
    expected = torch_loss(name, scores, targets, **options)
    stored = {**options, "weight": store(options["weight"])} if "weight" in options else options
    with mean_over_nothing(targets, **options):
        results = getattr(ce, name)(store(scores), store(targets), return_grad=True, **stored)
    for actual, from_torch in zip(map(np.asarray, results), expected, strict=True):
        assert_equal_to_rounding(actual, from_torch, (name, options))


# Parity of the losses -----------------------------------------------------------------------------

SHAPES_AND_AXES = [
    ((5,), 0),
    ((5,), -1),
    ((4, 5), 1),
    ((4, 5), -1),
    ((5, 4), 0),
    ((3, 5, 2), 1),  # (N, C, d1) and so on: where PyTorch wants the classes
    ((3, 5, 2), -2),
    ((2, 3, 5), 2),
    ((5, 2, 3), -3),
    ((2, 5, 3, 2), 1),
    ((2, 3, 2, 5), -1),
    ((2, 5, 2, 3, 2), 1),
    ((2, 2, 3, 2, 5), -1),
    ((2, 3, 5, 2, 2), 2),
    ((5, 5, 5), 1),  # where a mistaken axis does not show in the shapes
    ((4, 1), 1),
    ((1, 5), 1),
    ((0, 5), 1),
    ((2, 5, 0), 1),
]


def batch(shape, axis, dtype, kind):
    """Return logits, labels and distributions; every third label is the last class.

    Of the kinds that are not plain, "masked" has a logit of -inf in every row, never that of the
    label; "target masked" has it at some labels too; in "spoilt" one row holds nan, another
    nothing but -inf, and one distribution nan, none of them of the last class.
    """
    generator = np.random.default_rng(20261201)
    classes = shape[axis]
    rows = np.delete(shape, axis)
    logits = generator.uniform(-3, 3, (*rows, classes))
    labels = generator.integers(max(classes - 1, 1), size=rows)
    labels.reshape(-1)[1::3] = classes - 1
    distributions = generator.dirichlet(np.ones(classes), rows)
    flat = logits.reshape(-1, classes)
    if kind.endswith("masked"):
        masked = (labels.reshape(-1) + generator.integers(1, classes, len(flat))) % classes
        masked[::3] = labels.reshape(-1)[::3] if kind == "target masked" else masked[::3]
        np.put_along_axis(flat, masked[:, np.newaxis], -INF, axis=1)
    elif kind == "spoilt":
        flat[0, 1] = NAN
        flat[2] = -INF
        distributions.reshape(-1, classes)[-1, 0] = NAN
    logits, distributions = (
        np.moveaxis(a, -1, axis).astype(dtype) for a in (logits, distributions)
    )
    return logits, labels, distributions


def kinds(shape):
    several = len(shape) in (2, 3) and min(shape) > 1
    return ("plain", "masked", "target masked", "spoilt") if several else ("plain",)


GRID = [
    pytest.param(shape, axis, kind, id=f"{shape}-{axis}-{kind}")
    for shape, axis in SHAPES_AND_AXES
    for kind in kinds(shape)
]


def weights_of(classes, dtype):
    yield {}
    yield {"weight": np.array((0.5, 2.0, 0.25, 1.5, 3.0)[:classes], dtype)}


def ways_to_ignore(labels, classes):
    """Yield the labels as the ignored ones are written, and ignore_index.

    It is nothing, PyTorch's -100, a class, and what none of the labels is.
    """
    yield labels, {}
    yield np.where(labels == classes - 1, -100, labels), {"ignore_index": -100}
    yield labels, {"ignore_index": classes - 1}
    yield labels, {"ignore_index": 77}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "axis", "kind"), GRID)
def test_class_indices(shape, axis, kind, dtype):
    logits, labels, _ = batch(shape, axis, dtype, kind)
    log_probs = torch.tensor(logits).log_softmax(axis).numpy()
    ways = itertools.product(
        weights_of(shape[axis], dtype), ways_to_ignore(labels, shape[axis]), REDUCTIONS
    )
    for weight, (targets, ignored), reduction in ways:
        options = {**weight, **ignored, "axis": axis, "reduction": reduction}
        assert_same_loss("nll_loss", log_probs, targets, **options)
        for smoothing in (0.0, 0.1, 1.0):
            # With all of the target smoothed away PyTorch multiplies infinity by 0: see below.
            if kind != "target masked" or smoothing < 1:
                smoothed = {**options, "label_smoothing": smoothing}
                assert_same_loss("softmax_cross_entropy", logits, targets, **smoothed)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "axis", "kind"), GRID)
def test_distributions(shape, axis, kind, dtype):
    logits, _, targets = batch(shape, axis, dtype, kind)
    log_probs = torch.tensor(logits).log_softmax(axis).numpy()
    for weight, reduction in itertools.product(weights_of(shape[axis], dtype), REDUCTIONS):
        options = {**weight, "axis": axis, "reduction": reduction}
        assert_same_loss("nll_loss", log_probs, targets, **options)
        for smoothing in (0.0, 0.1, 1.0):
            smoothed = {**options, "label_smoothing": smoothing}
            assert_same_loss("softmax_cross_entropy", logits, targets, **smoothed)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("shape", "axis"), [((5,), 0), ((3, 5), 1), ((2, 3, 5), -1)])
@pytest.mark.parametrize("name", LOSSES)
def test_all_ignored(name, shape, axis, reduction):
    scores, labels = np.full(shape, -math.log(5)), np.full(np.delete(shape, axis), 2)
    for weight in weights_of(5, np.float64):
        options = {**weight, "axis": axis, "ignore_index": 2, "reduction": reduction}
        assert_same_loss(name, scores, labels, **options)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(
    "targets", [[0, 1, 0], [[0.5, 0.25, 0.25], [1.0, 0.0, 0.0], [0.0, 0.5, 0.5]]]
)
def test_a_class_of_weight_zero(targets, reduction, smoothing):
    options = {"weight": [0.0, 2.0, 3.0], "reduction": reduction, "label_smoothing": smoothing}
    logits = np.array([[-0.5, 1.0, 0.25], [2.0, 1.0, -1.0], [0.0, 0.5, 0.25]])
    assert_same_loss("softmax_cross_entropy", logits, np.array(targets), **options)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(
    ("name", "scores", "targets", "options"),
    [
        # A weight of 0 does not save the row.
        ("softmax_cross_entropy", [[NAN, 1.0], [0.0, 2.0]], [1, 0], {"weight": [1.0, 0.0]}),
        ("softmax_cross_entropy", [[-INF, -INF], [0.0, 2.0]], [1, 0], {"weight": [1.0, 0.0]}),
        ("softmax_cross_entropy", [[NAN, 1.0]], [[0.0, 1.0]], {}),
        # One class alone is certain, unless it is impossible.
        ("softmax_cross_entropy", [[-INF], [NAN], [3.0]], [0, 0, 0], {}),
        # A label reads its own log-probability, a distribution all of them.
        ("nll_loss", [[NAN, -1.0], [-1.0, -2.0]], [1, 0], {}),
        ("nll_loss", [[NAN, -1.0], [-1.0, -2.0]], [0, 0], {}),
        ("nll_loss", [[NAN, -1.0], [-1.0, -2.0]], [[0.0, 1.0], [0.5, 0.5]], {}),
        ("nll_loss", [[-INF, -1.0], [-1.0, -2.0]], [1, 0], {}),
        ("nll_loss", [[-INF, -INF], [-1.0, -2.0]], [1, 0], {}),
        # What is ignored does not overflow either: cebook would do so aloud.
        (
            "softmax_cross_entropy",
            [[-1e308, 1e308], [0.0, 2.0]],
            [-100, 1],
            {"ignore_index": -100, "weight": [9.0, 1.0]},
        ),
    ],
)
def test_nan_and_infinity_spread_no_further(name, scores, targets, options, reduction):
    assert_same_loss(name, np.array(scores), np.array(targets), reduction=reduction, **options)


# Parity of what arrays may be ---------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", ">i4", ">u8"])
@pytest.mark.parametrize("name", LOSSES)
def test_labels_of_every_integer_dtype(name, dtype):
    # As many classes as there are numbers for, so that none of them may wrap around.
    classes = min(np.iinfo(dtype).max, 300)
    logits, labels, _ = batch((4, classes), 1, np.float64, "plain")
    labels[0] = classes - 2

    def store(array):
        return array.astype(dtype) if array.dtype.kind == "i" else array

    for targets, ignored in ways_to_ignore(labels, classes):
        if np.dtype(dtype).kind == "i" or targets.min() >= 0:
            assert_same_loss(name, -abs(logits), targets, store=store, **ignored)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", LOSSES)
def test_memory_layout_does_not_matter(name, layout, dtype):
    logits, labels, distributions = batch((4, 5, 3), 1, dtype, "plain")
    for targets, weight in itertools.product((labels, distributions), weights_of(5, dtype)):
        options = {"store": LAYOUTS[layout], "axis": 1, **weight}
        assert_same_loss(name, -abs(logits), targets, **options)


# Parity of the softmax functions ------------------------------------------------------------------


def axes_of(ndim):
    """Yield every axis from both ends, several of them in any order, and all."""
    yield from range(-ndim, ndim)
    for axes in [(0, 1), (1, 0), (-1, 1), (2, 0), (-2, -1), (2, 0, 1), (-1, 0, -3), (3, 1, 0, 2)]:
        if max(axes) < ndim and len({axis % ndim for axis in axes}) == len(axes):
            yield axes
    yield None


SHAPES = [(5,), (3, 4), (4, 1), (2, 3, 4), (2, 3, 2, 4), (2, 2, 3, 2, 2)]
SOFTMAX_GRID = [
    *(
        pytest.param(shape, axis, id=f"{shape}-{axis}")
        for shape in SHAPES
        for axis in axes_of(len(shape))
    ),
    ((0, 4), -1),
    ((2, 0, 3), -1),
    ((2, 0, 3), 0),
]


def in_three_states(shape, dtype):
    """Yield numbers, then some of them -inf and a whole row besides, then nan among them too."""
    x = np.random.default_rng(20261202).uniform(-3, 3, shape).astype(dtype)
    yield x
    if x.size:
        x = x.copy()
        x.reshape(-1)[1::3] = -INF
        x[0] = -INF
        yield x
        x = x.copy()
        x.reshape(-1)[-2] = NAN
        yield x


def torch_softmax(name, x, axis, along):
    """Return PyTorch's result, and the gradient of its sum when multiplied by ``along``.

    Its softmax knows one axis, so that several are flattened into one; its logsumexp knows many.
    """
    x = torch.tensor(x, requires_grad=True)
    axes = tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    if name == "logsumexp":
        result = torch.logsumexp(x, axes, keepdim=True)
    else:
        last = tuple(range(-len(axes), 0))
        moved = x.movedim(axes, last)
        flat = SOFTMAXES[name](moved.flatten(-len(axes)), -1)
        result = flat.reshape(moved.shape).movedim(last, axes)
    (gradient,) = torch.autograd.grad((result * torch.tensor(along)).sum(), x)
    return result.detach().numpy(), gradient.numpy()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "axis"), SOFTMAX_GRID)
def test_softmax_functions(shape, axis, dtype):
    for x in in_three_states(shape, dtype):
        s = ce.softmax(x, axis=axis)
        log_s = ce.log_softmax(x, axis=axis)
        log_sum = ce.logsumexp(x, axis=axis, keepdims=True)
        assert_array_equal(ce.logsumexp(x, axis=axis), log_sum.squeeze(axis), strict=True)
        along = np.cos(np.arange(x.size, dtype=dtype)).reshape(shape)
        along_sum = np.cos(np.arange(log_sum.size, dtype=dtype)).reshape(log_sum.shape)
        # The gradients by the formulas of the docstrings, all of them made of softmax.
        inner, total = (a.sum(axis=axis, keepdims=True) for a in (s * along, along))
        ours = {
            "softmax": (s, s * (along - inner), along),
            "log_softmax": (log_s, along - s * total, along),
            "logsumexp": (log_sum, s * along_sum, along_sum),
        }
        for name, (*results, weights) in ours.items():
            expected = torch_softmax(name, x, axis, weights)
            for actual, from_torch in zip(results, expected, strict=True):
                # The terms of a gradient are below 1, and may cancel.
                assert_equal_to_rounding(actual, from_torch, name, least=1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_softmax_jacobian(shape, dtype):
    jacobian = torch.func.jacrev(lambda row: torch.softmax(row, -1))
    for axis, x in itertools.product(range(-len(shape), len(shape)), in_three_states(shape, dtype)):
        rows = np.moveaxis(x, axis, -1)
        each = torch.func.vmap(jacobian)(torch.tensor(rows.reshape(-1, rows.shape[-1])))
        expected = each.numpy().reshape(*rows.shape, rows.shape[-1])
        # Its diagonal is s - s^2, which cancels.
        assert_equal_to_rounding(ce.softmax_jacobian(x, axis=axis), expected, axis, least=1)


# Where PyTorch returns nan, and there is an answer ------------------------------------------------


def both_losses(name, scores, targets, **options):
    """Return the loss and gradient of PyTorch, and those of cebook."""
    scores, targets = np.asarray(scores), np.asarray(targets)
    ours = getattr(ce, name)(scores, targets, return_grad=True, **options)
    return torch_loss(name, scores, targets, **options), ours


def all_nan(*arrays):
    return all(np.isnan(array).all() for array in arrays)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_infinite_logit_is_certainty(dtype):
    # It is the limit of a logit that grows. PyTorch subtracts infinity from infinity.
    x = np.array([0, INF, -INF, 1], dtype)
    for name in ("softmax", "log_softmax"):
        assert all_nan(SOFTMAXES[name](torch.tensor(x), -1).numpy())
    assert_array_equal(ce.softmax(x), [0, 1, 0, 0])
    assert_array_equal(ce.log_softmax(x), [-INF, 0, -INF, -INF])
    assert_array_equal(ce.softmax_jacobian(x), np.zeros((4, 4)))
    for target, loss, gradient in [(1, 0, [0, 0, 0, 0]), (0, INF, [-1, 1, 0, 0])]:
        from_torch, ours = both_losses("softmax_cross_entropy", x, target)
        assert all_nan(*from_torch)
        assert ours[0] == loss
        assert_array_equal(ours[1], gradient)
    # On logsumexp the two agree, though not on its gradient, softmax; and that two infinite logits
    # have no limit.
    log_sum, gradient = torch_softmax("logsumexp", x, -1, np.ones(1, dtype))
    assert ce.logsumexp(x) == log_sum == INF
    assert_array_equal(gradient, [0, NAN, 0, 0])
    from_torch, ours = both_losses("softmax_cross_entropy", [INF, INF, 0.0], 0)
    assert all_nan(*from_torch, *ours)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("spoilt", [[NAN, 1.0], [INF, 1.0], [INF, INF], [-INF, -INF]])
def test_an_ignored_row_has_gradient_zero_whatever_it_holds(spoilt, smoothing):
    # It does not enter the loss, so nothing in it changes the loss. PyTorch multiplies the nan of
    # its softmax by 0, and garbage in padding reaches the weights of the model.
    logits, options = [spoilt, [0.0, 2.0]], {"ignore_index": -100, "label_smoothing": smoothing}
    from_torch, ours = both_losses("softmax_cross_entropy", logits, [-100, 1], **options)
    assert_allclose(from_torch[0], ours[0], rtol=1e-14)
    assert_allclose(from_torch[1], [[NAN, NAN], ours[1][1]], rtol=1e-14)
    assert_array_equal(ours[1][0], [0, 0])


MASKED = np.array([[1.0, -INF, 0.0]])
(FIRST, _, LAST) = ce.log_softmax(MASKED)[0]
NO_SECOND = {"weight": [1.0, 0.0, 1.0]}


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(
    ("targets", "options", "expected"),
    [
        # A target of 0 where the probability is 0 costs 0 log 0 = 0.
        ([[0.5, 0.0, 0.5]], {}, -(FIRST + LAST) / 2),
        # So does a class of weight 0, which does not count.
        ([0, 1], NO_SECOND, [-FIRST, 0.0]),
        ([[0.5, 0.5, 0.0]], NO_SECOND, -FIRST / 2),
        ([0], {**NO_SECOND, "label_smoothing": 0.3}, -0.8 * FIRST - 0.1 * LAST),
        # With the target smoothed away what the logit rules out has a share of 1/3.
        ([1], {"label_smoothing": 1.0}, INF),
    ],
)
def test_nothing_times_infinity_is_nothing(targets, options, expected, reduction):
    logits = np.repeat(MASKED, len(targets), axis=0)
    options = {**options, "reduction": reduction}
    names = list(LOSSES) if "label_smoothing" not in options else ["softmax_cross_entropy"]
    for name in names:
        scores = logits if name == "softmax_cross_entropy" else ce.log_softmax(logits)
        from_torch, ours = both_losses(name, scores, targets, **options)
        assert np.isnan(from_torch[0]).any()
        # The label of weight 0 is not in the divisor of the mean either.
        assert_allclose(ours[0], expected if reduction == "none" else np.sum(expected), rtol=1e-15)
        # On the gradient they agree: there was an answer.
        assert_allclose(from_torch[1], ours[1], rtol=0, atol=1e-15)


def test_a_mean_is_not_the_sum_divided():
    # The mean of numbers that fit is a number that fits. PyTorch adds up first: in float64 beyond
    # 1.8e308, in float16 beyond 65504, where a batch of 100 000 already has no mean.
    for logits in ([[1e308, 0.0], [1e308, 0.0]], [[1e308, -1e308], [0.0, 800.0]]):
        from_torch, ours = both_losses("softmax_cross_entropy", logits, [1, 1])
        assert from_torch[0] == INF
        assert ours[0] == 1e308
    logits, labels = np.zeros((100_000, 10), np.float16), np.zeros(100_000, np.int64)
    from_torch, ours = both_losses("softmax_cross_entropy", logits, labels)
    assert np.isnan(from_torch[0])
    assert ours[0] == np.float16(math.log(10))
    assert from_torch[1].min() == 0
    assert ours[1].min() == np.float16(-0.9 / 100_000)


@pytest.mark.parametrize("weight", [1e-310, 1e308])
def test_the_scale_of_the_weights_does_not_matter_in_a_mean(weight):
    # PyTorch divides by the sum of the weights, or by its reciprocal, which overflows.
    logits, labels = np.array([[1.0, 2.0], [3.0, 2.0]]), [0, 1]
    from_torch, ours = both_losses("softmax_cross_entropy", logits, labels, weight=[weight] * 2)
    assert not np.isfinite(from_torch[1]).any() or not from_torch[1].any()
    expected = ce.softmax_cross_entropy(logits, labels, return_grad=True)
    for actual, unweighted in zip(ours, expected, strict=True):
        assert_allclose(actual, unweighted, rtol=1e-15)


# Where PyTorch rounds everything away -------------------------------------------------------------


def errors_in_eps(actual, truth):
    return [oracle.error_in_eps(a, t) for a, t in zip(np.ravel(actual), truth, strict=True)]


@pytest.mark.parametrize(
    ("dtype", "vanishes_at"), [(np.float16, 8), (np.float32, 17), (np.float64, 37)]
)
def test_a_loss_does_not_round_to_zero(dtype, vanishes_at):
    # PyTorch takes the logarithm of 1 + exp(-gap). Of a model that is right and certain nothing
    # remains: no loss, no gradient at the true class, and its row of gradients does not sum to 0.
    for gap in range(2, vanishes_at + 2):
        logits = np.array([[0, gap]], dtype)
        row = oracle.softmax_row(logits[0])
        from_torch, ours = both_losses("softmax_cross_entropy", logits, [1])
        vanished = gap >= vanishes_at
        assert (from_torch[0] == 0) == (from_torch[1][0, 1] == 0) == vanished
        assert (from_torch[1].sum() > from_torch[1][0, 0] / 2) >= vanished
        assert max(errors_in_eps(ours[0], [row.costs[1]])) <= 4
        assert max(errors_in_eps(ours[1], [row.complements[1], -row.complements[1]])) <= 4
        assert ours[1].sum() == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_digits_that_pytorch_loses_long_before(dtype):
    gap = {np.float32: 10, np.float64: 25}[dtype]
    x = np.array([0, gap], dtype)
    row = oracle.softmax_row(x)
    from_torch, ours = both_losses("softmax_cross_entropy", x, 1)
    for number, truth in enumerate([[row.costs[1]], [row.probabilities[0], -row.complements[1]]]):
        assert max(errors_in_eps(from_torch[number], truth)) > 1000
        assert max(errors_in_eps(ours[number], truth)) <= 4
    below = x - x[1]  # where the logarithm of the sum is not hidden by the largest logit
    jacobian = torch.func.jacrev(lambda row: torch.softmax(row, -1))(torch.tensor(x))
    for theirs, mine, truth in [
        (torch.log_softmax(torch.tensor(x), -1)[1], ce.log_softmax(x)[1], -row.costs[1]),
        (torch.logsumexp(torch.tensor(below), -1), ce.logsumexp(below), row.costs[1]),
        (jacobian[1, 1], ce.softmax_jacobian(x)[1, 1], row.probabilities[1] * row.complements[1]),
    ]:
        assert oracle.error_in_eps(theirs.numpy(), truth) > 1000
        assert oracle.error_in_eps(mine, truth) <= 4


@pytest.mark.parametrize(("dtype", "largest"), [(np.float32, 70.1), (np.float64, 700.1)])
def test_small_probabilities_of_logits_whose_difference_is_rounded(dtype, largest):
    # 70.1 - 0.3 takes more bits than float32 has, and the exponential makes 25 eps of the last one.
    x = np.array([0.3, largest], dtype)
    truth = oracle.softmax_row(x).probabilities[:1]
    assert max(errors_in_eps(torch.softmax(torch.tensor(x), -1)[0].numpy(), truth)) > 20
    assert max(errors_in_eps(ce.softmax(x)[0], truth)) < 2


def test_a_cost_of_nothing_is_a_positive_zero():
    from_torch, ours = both_losses("softmax_cross_entropy", [[3.0]], [0], reduction="none")
    assert from_torch[0] == ours[0] == 0
    assert np.signbit(from_torch[0])
    assert not np.signbit(ours[0])


# What PyTorch answers, and cebook questions -------------------------------------------------------


ROW = [[0.0, 2.0]]
COST = math.log1p(math.exp(-2))  # of label 1


@pytest.mark.parametrize(
    ("logits", "targets", "options", "from_torch", "fragment"),
    [
        # Counts, or logits, taken for probabilities: the loss is that of no distribution.
        ([[0.0] * 3], [[1.0, 2.0, 3.0]], {}, 6 * math.log(3), "sums to 6 "),
        ([[1.0, 2.0, 3.0]], [[-1.0, 1.0, 1.0]], {}, -0.5924, "targets[0, 0] = -1 is negative"),
        # A loss that pays has no minimum.
        (ROW, [1], {"weight": [1, -1], "reduction": "sum"}, -COST, "weight[1] = -1"),
        # What is no number is not noticed until its class occurs, or never.
        (ROW, [1], {"weight": [NAN, 1.0]}, COST, "weight[0] = nan"),
        (ROW, [1], {"weight": [INF, 1.0]}, COST, "weight[0] = inf"),
        (ROW, [1], {"label_smoothing": NAN}, COST, "but it is nan"),
        # Rows labelled -100 drop out without being asked to, also when it was a mistake.
        (ROW * 2, [-100, 1], {}, COST, "pass ignore_index=-100"),
        # A distribution has no index. PyTorch takes a negative ignore_index for none.
        (ROW, [[0.0, 1.0]], {"ignore_index": -1}, COST, "but it is -1: "),
        # Of no class there are no probabilities, though the batch be empty.
        (np.zeros((0, 0)), np.zeros(0, int), {"reduction": "sum"}, 0, "at least one class"),
    ],
)
def test_an_error_where_pytorch_returns_a_number(logits, targets, options, from_torch, fragment):
    loss, _ = torch_loss("softmax_cross_entropy", logits, targets, **options)
    assert loss == pytest.approx(from_torch, abs=5e-5)
    assert fragment in message(ValueError, ce.softmax_cross_entropy, logits, targets, **options)


@pytest.mark.parametrize(
    ("logits", "targets", "options", "torch_error", "error", "fragment"),
    [
        (ROW, [2], {}, IndexError, ValueError, "targets[0] = 2 (1 of 1"),
        (ROW, [-1], {}, IndexError, ValueError, "does not count from the end"),
        (np.zeros((2, 0)), [0, 0], {}, IndexError, ValueError, "at least one class"),
        (ROW, [1.0], {}, RuntimeError, TypeError, "use .astype(int)"),
        (ROW, [True], {}, RuntimeError, TypeError, "use .astype(int)"),
        (ROW, [[0, 1]], {}, RuntimeError, ValueError, "one-hot ones too, must be floats"),
        (ROW, [[0.0, 1.0]], {"ignore_index": 1}, RuntimeError, ValueError, "but it is 1: "),
        (ROW, [1], {"weight": [1.0]}, RuntimeError, ValueError, "one entry for each class"),
        (ROW, [1], {"label_smoothing": 1.5}, RuntimeError, ValueError, "in [0, 1]"),
        (ROW, [1], {"reduction": "batchmean"}, ValueError, ValueError, "'batchmean'"),
        (1.0, 0, {}, RuntimeError, ValueError, "at least one axis"),
    ],
)
def test_both_refuse_and_cebook_says_what_to_do(
    logits, targets, options, torch_error, error, fragment
):
    with pytest.raises(torch_error):
        torch_loss("softmax_cross_entropy", logits, targets, **options)
    assert fragment in message(error, ce.softmax_cross_entropy, logits, targets, **options)


@pytest.mark.parametrize(
    ("name", "of_one"), [("softmax", 1), ("log_softmax", 0), ("logsumexp", 1.5)]
)
def test_softmax_of_a_single_number_or_of_no_class(name, of_one):
    # A single number lacks an axis. No class has no softmax, but nothing adds up to 0.
    assert SOFTMAXES[name](torch.tensor(1.5), 0) == of_one
    assert "at least one axis" in message(ValueError, getattr(ce, name), 1.5)
    nothing = np.zeros((2, 0))
    from_torch = SOFTMAXES[name](torch.tensor(nothing), -1).numpy()
    if name == "logsumexp":
        assert_array_equal(from_torch, [-INF, -INF])
        assert_array_equal(ce.logsumexp(nothing), from_torch, strict=True)
    else:
        assert from_torch.shape == (2, 0)
        assert "at least one class along axis 1" in message(ValueError, getattr(ce, name), nothing)


@pytest.mark.parametrize(
    ("name", "scores", "targets", "options", "from_torch", "category", "match"),
    [
        # Softmax a second time: the loss cannot go below log(e + K - 1) - 1, here 0.5514.
        (
            "softmax_cross_entropy",
            [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]],
            [2, 0],
            {},
            0.5514,
            UserWarning,
            "logits looks like probabilities",
        ),
        # Probabilities where their logarithms belong: the loss is negative.
        ("nll_loss", [[0.1, 0.9]], [1], {}, -0.9, UserWarning, "np.log first"),
        # A mean over nothing: one batch like this, and every weight of the model is nan.
        *(
            (name, scores, targets, options, NAN, RuntimeWarning, match)
            for name in LOSSES
            for scores, targets, options, match in [
                (np.zeros((0, 2)), np.zeros(0, int), {}, "nan: the batch is empty"),
                ([[0.0, -2.0]], [1], {"ignore_index": 1}, "nan: every target is ignore_index=1"),
                ([[0.0, -2.0]], [1], {"weight": [1.0, 0.0]}, "the weights of all labels are 0"),
            ]
        ),
        # Here infinity times 0 must not add a second warning.
        (
            "softmax_cross_entropy",
            [[2.0, 0.0, -INF]],
            [2],
            {"weight": [1.0, 1.0, 0.0], "label_smoothing": 0.1},
            NAN,
            RuntimeWarning,
            "the weights of all labels are 0",
        ),
    ],
)
def test_a_warning_where_pytorch_says_nothing(
    name, scores, targets, options, from_torch, category, match
):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        said, _ = torch_loss(name, scores, targets, **options)
    assert said == pytest.approx(from_torch, abs=5e-5, nan_ok=True)
    with pytest.warns(category, match=match) as caught:
        loss, _ = getattr(ce, name)(scores, targets, return_grad=True, **options)
    assert len(caught) == 1
    assert_allclose(loss, said, rtol=1e-14)


def test_a_result_too_large_for_float16_overflows_aloud():
    x = np.array([-6e4, 6e4], np.float16)
    assert torch.log_softmax(torch.tensor(x), -1)[0] == -INF  # without a word
    with pytest.warns(RuntimeWarning, match="overflow"):
        assert ce.log_softmax(x)[0] == -INF


# What PyTorch refuses, and cebook answers; and conventions ----------------------------------------


def test_classes_are_on_the_last_axis_by_default_and_not_on_the_second():
    # So they are in the rest of cebook and in most of NumPy; PyTorch follows its images. In a
    # square batch nothing tells the two apart but the numbers.
    logits, labels, _ = batch((3, 5, 5), 2, np.float64, "plain")
    from_torch = torch.nn.functional.cross_entropy(torch.tensor(logits), torch.tensor(labels))
    assert_allclose(ce.softmax_cross_entropy(logits, labels, axis=1), from_torch, rtol=1e-14)
    assert abs(ce.softmax_cross_entropy(logits, labels) - from_torch) > 0.1


@pytest.mark.parametrize("dtype", ["i1", "i2", "u2", "i4", "u4", "u8"])
def test_labels_of_any_integer_dtype(dtype):
    # PyTorch takes those of int64 and uint8 alone. The largest number of the dtype is what is left
    # of a -1 in unsigned labels; it is nothing special.
    largest = int(np.iinfo(dtype).max)
    labels = np.array([1, largest, 0], dtype)
    logits = [[0.0, 2.0]] * 3
    with pytest.raises(RuntimeError, match="Long or Byte"):
        torch_loss("softmax_cross_entropy", logits[::2], labels[::2])
    loss = ce.softmax_cross_entropy(logits, labels, ignore_index=largest)
    assert_allclose(loss, ce.softmax_cross_entropy(logits[::2], [1, 0]), rtol=1e-15)
    text = message(ValueError, ce.softmax_cross_entropy, logits, labels, ignore_index=-1)
    assert f"targets[1] = {largest} (1 of 3" in text


def test_dtypes_that_differ():
    # The result is of the dtype of the logits, whatever that of the rest. PyTorch follows the
    # distributions, and insists on that of the weights.
    logits, distributions = np.float32([[0, 2]]), np.array([[0.25, 0.75]])
    from_torch, ours = both_losses("softmax_cross_entropy", logits, distributions)
    assert from_torch[0].dtype == np.float64
    assert [array.dtype for array in ours] == [np.float32] * 2
    assert_allclose(ours[0], from_torch[0], rtol=1e-6)
    weight = np.array([1.0, 3.0])
    with pytest.raises(RuntimeError, match="expected scalar type Float but found Double"):
        torch.nn.functional.cross_entropy(
            torch.tensor(logits), torch.tensor([1]), weight=torch.tensor(weight)
        )
    loss = ce.softmax_cross_entropy(logits, [1], weight=weight, reduction="sum")
    assert loss == np.float32(3 * math.log1p(math.exp(-2)))


def test_integers_count_as_float64():
    # PyTorch has an answer for logsumexp alone, and of integers makes float32.
    integers = np.array([[0, 2]])
    assert torch.logsumexp(torch.tensor(integers), -1).dtype == torch.float32
    for name in ("softmax", "log_softmax"):
        with pytest.raises(NotImplementedError, match="not implemented for 'Long'"):
            SOFTMAXES[name](torch.tensor(integers), -1)
    for name in SOFTMAXES:
        expected = SOFTMAXES[name](torch.tensor(integers, dtype=torch.float64), -1).numpy()
        assert_equal_to_rounding(np.asarray(getattr(ce, name)(integers)), expected)
    # A one-hot row may be of bools, too.
    with pytest.raises(RuntimeError, match="got Bool"):
        torch_loss("softmax_cross_entropy", ROW, [[False, True]])
    for targets in ([1], [[False, True]]):
        assert_allclose(ce.softmax_cross_entropy(integers, targets), COST, rtol=1e-15)


@pytest.mark.parametrize("layout", ["reversed", "big-endian"])
def test_arrays_that_pytorch_does_not_take(layout):
    array = LAYOUTS[layout](np.array([[0.0, 2.0], [1.0, 0.0]]))
    with pytest.raises(ValueError, match=r"strides|byte order"):
        torch.tensor(array)
    assert_array_equal(ce.softmax(array), ce.softmax(array.tolist()))


def test_nll_loss_takes_distributions():
    # As the loss from logits does; PyTorch's wants labels.
    log_probs, targets = np.log([[0.5, 0.25, 0.25]]), np.array([[0.5, 0.5, 0.0]])
    with pytest.raises(RuntimeError, match="multi-target not supported"):
        torch.nn.functional.nll_loss(torch.tensor(log_probs), torch.tensor(targets))
    assert_allclose(ce.nll_loss(log_probs, targets), 1.5 * math.log(2), rtol=1e-15)
