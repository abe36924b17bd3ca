"""cebook.softmax_loss beside PyTorch: equal wherever both have an answer, and where they differ, why.

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
from helpers import LAYOUTS, message
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
REDUCTIONS = ("mean", "sum", "none")
INF, NAN = math.inf, math.nan

# Logits lie within 3 of 0 and there are at most 5 classes, so a cost is at most 6 + log 5 < 8.
# PyTorch rounds it three or four times, by up to 4 eps each time, and takes its gradient from the
# exponential of that number. Measured: at most 9 eps of the largest entry of a result.
TOLERANCE = 16


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    # On arrays as small as these PyTorch's threads do nothing but wait for one another.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def assert_equal_to_rounding(actual, expected, context=""):
    """Compare in units of eps of the largest entry; infinities and nan must be in their places."""
    assert actual.dtype == expected.dtype, context
    largest = np.max(abs(expected), where=np.isfinite(expected), initial=0)
    allowed = TOLERANCE * float(np.finfo(expected.dtype).eps) * float(largest)
    assert_allclose(actual, expected, rtol=0, atol=allowed, strict=True, err_msg=str(context))


def torch_loss(name, scores, targets, *, axis=-1, weight=None, ignore_index=None, **options):
    """Return PyTorch's loss and gradient; it wants the classes on axis 1, or 0 if alone."""
    scores = torch.tensor(np.asarray(scores), requires_grad=True)
    place = min(1, scores.ndim - 1)
    targets = torch.tensor(np.asarray(targets))
    if targets.is_floating_point() and targets.ndim == scores.ndim:
        targets = targets.movedim(axis, place)
    if weight is not None:
        options["weight"] = torch.tensor(np.asarray(weight), dtype=scores.dtype)
    if ignore_index is not None:
        options["ignore_index"] = ignore_index
    # The gradient of nll_loss wants logits that are contiguous.
    moved = scores.movedim(axis, place).contiguous()
    losses = LOSSES[name](moved, targets, **options)
    (gradient,) = torch.autograd.grad(losses.sum(), scores)
    return losses.detach().numpy(), gradient.numpy()


def torch_nll_of_distributions(log_probs, targets, *, axis, weight, reduction):
    """Return what PyTorch's nll_loss does not offer, in PyTorch: the formula, and autograd."""
    x = torch.tensor(log_probs, requires_grad=True)
    weights = 1 if weight is None else torch.tensor(weight, dtype=x.dtype)
    terms = weights * torch.tensor(targets).movedim(axis, -1) * x.movedim(axis, -1)
    losses = -terms.sum(-1)
    losses = losses if reduction == "none" else getattr(losses, reduction)()
    (gradient,) = torch.autograd.grad(losses.sum(), x)
    return losses.detach().numpy(), gradient.numpy()


def our_loss(name, scores, targets, **options):
    loss, gradient = getattr(ce, name)(scores, targets, return_grad=True, **options)
    assert_array_equal(loss, getattr(ce, name)(scores, targets, **options))
    return np.asarray(loss), gradient


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
WEIGHTS = [None, (0.5, 2.0, 0.25, 1.5, 3.0)]
ABSENT = 77
# The classes of a row that is ignored; -100 is PyTorch's own, for which None stands in cebook.
IGNORED = [None, -100, "class", ABSENT]


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
    logits, distributions = (np.moveaxis(a, -1, axis).astype(dtype) for a in (logits, distributions))
    return logits, labels, distributions


def kinds(shape):
    several = len(shape) > 1 and min(shape) > 1
    return ("plain", "masked", "target masked", "spoilt") if several else ("plain",)


GRID = [
    pytest.param(shape, axis, kind, id=f"{shape}-{axis}-{kind}")
    for shape, axis in SHAPES_AND_AXES
    for kind in kinds(shape)
]


def index_options(labels, classes):
    """Yield weight, the labels as the ignored ones are written, and ignore_index."""
    for weight, ignored in itertools.product(WEIGHTS, IGNORED):
        weight = weight and weight[:classes]
        if ignored == "class":
            yield labels, {"weight": weight, "ignore_index": classes - 1}
        elif ignored == -100:
            last = labels == classes - 1
            yield np.where(last, -100, labels), {"weight": weight, "ignore_index": -100}
        else:
            yield labels, {"weight": weight, "ignore_index": ignored}


def mean_over_nothing(targets, options):
    """Expect the warning of cebook for the nan that PyTorch returns without one."""
    by_index = targets.dtype.kind == "i"
    counted = targets != options.get("ignore_index") if by_index else targets
    if options["reduction"] == "mean" and not (counted.any() if by_index else counted.size):
        return pytest.warns(RuntimeWarning, match="^The mean loss is nan: ")
    return contextlib.nullcontext()


def assert_same_loss(name, scores, targets, peer=None, **options):
    context = (name, options)
    expected = (peer or torch_loss)(*([] if peer else [name]), scores, targets, **options)
    with mean_over_nothing(targets, options):
        loss, gradient = getattr(ce, name)(scores, targets, return_grad=True, **options)
    for actual, from_torch in zip((np.asarray(loss), gradient), expected, strict=True):
        assert_equal_to_rounding(actual, from_torch, context)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "axis", "kind"), GRID)
def test_class_indices(shape, axis, kind, dtype):
    logits, labels, _ = batch(shape, axis, dtype, kind)
    log_probs = torch.tensor(logits).log_softmax(axis).numpy()
    for targets, options in index_options(labels, shape[axis]):
        for reduction in REDUCTIONS:
            options = {**options, "axis": axis, "reduction": reduction}
            assert_same_loss("nll_loss", log_probs, targets, **options)
            for smoothing in (0.0, 0.1, 1.0):
                if kind == "target masked" and smoothing == 1:
                    continue  # PyTorch multiplies infinity by 0: see below.
                smoothed = {**options, "label_smoothing": smoothing}
                assert_same_loss("softmax_cross_entropy", logits, targets, **smoothed)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "axis", "kind"), GRID)
def test_distributions(shape, axis, kind, dtype):
    logits, _, targets = batch(shape, axis, dtype, kind)
    log_probs = torch.tensor(logits).log_softmax(axis).numpy()
    for weight, reduction in itertools.product(WEIGHTS, REDUCTIONS):
        options = {"weight": weight and weight[: shape[axis]], "axis": axis, "reduction": reduction}
        assert_same_loss("nll_loss", log_probs, targets, torch_nll_of_distributions, **options)
        for smoothing in (0.0, 0.1, 1.0):
            smoothed = {**options, "label_smoothing": smoothing}
            assert_same_loss("softmax_cross_entropy", logits, targets, **smoothed)
