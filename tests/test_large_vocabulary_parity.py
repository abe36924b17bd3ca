"""cebook.linear_cross_entropy beside PyTorch's, and beside ``cross_entropy(X @ W.T)``.

PyTorch's function has two routes: by way of all logits, and by chunks of rows when ``options`` are
given. Gradients are those of the sum of what is returned, PyTorch's by autograd.
"""

import itertools

import numpy as np
import pytest
import torch
from accuracy import DTYPES
from helpers import LAYOUTS, REDUCTIONS, message
from numpy.testing import assert_allclose

import cebook as ce

F = torch.nn.functional

# Products are summed in another order, of which each changes a logit by some eps; a gradient is a
# product more. Measured: at most 9 eps of the largest entry, and of 1. The rest is for other
# processors.
TOLERANCE = 40

pytestmark = pytest.mark.usefixtures("one_thread")


def by_all_logits(x, matrix, targets, *, linear_bias, **options):
    return F.cross_entropy(F.linear(x, matrix, linear_bias), targets, **options)


def by_chunks(x, matrix, targets, **options):
    chunks = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=3, chunking_method=None)
    return F.linear_cross_entropy(x, matrix, targets, options=chunks, **options)


ROUTES = {"all logits": by_all_logits, "by default": F.linear_cross_entropy, "by chunks": by_chunks}


def of_torch(route, x, weight, targets, *, bias=None, class_weight=None, **options):
    """Return the loss and the gradients of PyTorch."""
    arrays = [x, weight, *([] if bias is None else [bias])]
    leaves = [torch.tensor(array, requires_grad=True) for array in arrays]
    options["linear_bias"] = None if bias is None else leaves[2]
    if class_weight is not None:
        options["weight"] = torch.tensor(class_weight, dtype=leaves[0].dtype)
    loss = ROUTES[route](*leaves[:2], torch.tensor(targets), **options)
    grads = torch.autograd.grad(loss.sum(), leaves)
    return [tensor.detach().numpy() for tensor in (loss, *grads)]


def assert_same(results, expected):
    loss, grads = results
    for actual, from_torch in zip((loss, *grads), expected, strict=True):
        assert actual.dtype == from_torch.dtype
        largest = max(1, abs(from_torch).max(initial=0))
        tolerance = TOLERANCE * float(np.finfo(from_torch.dtype).eps) * largest
        assert_allclose(np.asarray(actual), from_torch, rtol=0, atol=tolerance, strict=True)


def batch(rows, features, classes, dtype, seed=20261130):
    generator = np.random.default_rng(seed)
    shapes = [(rows, features), (classes, features), (classes,)]
    x, weight, bias = (generator.uniform(-1, 1, shape).astype(dtype) for shape in shapes)
    distributions = generator.dirichlet(np.ones(classes), rows).astype(dtype)
    return (
        x,
        weight,
        bias,
        {
            "labels": generator.integers(classes, size=rows),
            "distributions": distributions,
        },
    )


SHAPES = [(8, 3, 7), (11, 4, 30), (1, 6, 5), (6, 1, 4), (5, 2, 1), (20, 16, 50)]


@pytest.mark.parametrize("max_logits_bytes", [40, 200, 1 << 23])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_loss_and_gradients_are_those_of_pytorch(dtype, route, reduction, max_logits_bytes):
    for (rows, features, classes), with_bias, weighted, smoothing, of in itertools.product(
        SHAPES, (False, True), (False, True), (0.0, 0.1), ("labels", "distributions")
    ):
        if route == "by chunks" and (smoothing or of == "distributions"):
            continue  # PyTorch warns, and takes the other route
        x, weight, bias, targets = batch(rows, features, classes, dtype)
        options = {"reduction": reduction, "label_smoothing": smoothing}
        if with_bias:
            options["bias"] = bias
        if weighted:
            options["class_weight"] = np.linspace(0.5, 2, classes).astype(dtype)
        if of == "labels" and rows > 1 and classes > 1:
            options["ignore_index"] = int(targets[of][0])
        # A single class is certain, and of nothing PyTorch makes nan without a word.
        if of == "labels" and (targets[of] == options.get("ignore_index")).all():
            continue
        results = ce.linear_cross_entropy(
            x, weight, targets[of], return_grad=True, max_logits_bytes=max_logits_bytes, **options
        )
        assert_same(results, of_torch(route, x, weight, targets[of], **options))


@pytest.mark.parametrize("route", ROUTES)
def test_a_vocabulary_of_many_blocks(route):
    x, weight, bias, targets = batch(300, 64, 9000, np.float32)
    x *= 8  # logits of some tens
    options = {"bias": bias, "ignore_index": int(targets["labels"][5])}
    expected = of_torch(route, x, weight, targets["labels"], **options)
    for max_logits_bytes in (1 << 16, 1 << 20, 1 << 23, 1 << 25):
        loss, grads = ce.linear_cross_entropy(
            x,
            weight,
            targets["labels"],
            return_grad=True,
            max_logits_bytes=max_logits_bytes,
            **options,
        )
        assert_allclose(loss, expected[0], rtol=1e-6)
        for actual, from_torch in zip(grads, expected[1:], strict=True):
            assert_allclose(actual, from_torch, rtol=0, atol=2e-5 * abs(from_torch).max())


@pytest.mark.parametrize("route", ["all logits", "by default"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_classes_that_are_ruled_out(route, smoothing):
    x, weight, bias, targets = batch(6, 3, 12, np.float64)
    bias[[0, 1, 2, 3, 9]] = -np.inf
    labels = np.where(np.isinf(bias[targets["labels"]]), 5, targets["labels"])
    options = {"bias": bias, "reduction": "none", "label_smoothing": smoothing}
    for max_logits_bytes in (8, 100, 1 << 23):
        loss, grads = ce.linear_cross_entropy(
            x, weight, labels, return_grad=True, max_logits_bytes=max_logits_bytes, **options
        )
        expected = of_torch(route, x, weight, labels, **options)
        if smoothing:
            assert np.isinf(loss).all()
            assert np.isinf(expected[0]).all()
        else:
            assert_same((loss, grads), expected)


@pytest.mark.parametrize("layout", ["transposed", "fortran", "every second"])
def test_layouts(layout):
    x, weight, bias, targets = batch(8, 4, 9, np.float32)
    stored = LAYOUTS[layout](x), LAYOUTS[layout](weight), targets["labels"]
    results = ce.linear_cross_entropy(*stored, bias=bias, return_grad=True, max_logits_bytes=100)
    expected = of_torch("by default", x, weight, targets["labels"], bias=bias)
    assert_same(results, expected)


def test_a_single_row_without_an_axis():
    x, weight, _, targets = batch(1, 4, 9, np.float64)
    for of in targets.values():
        results = ce.linear_cross_entropy(x[0], weight, of[0], return_grad=True)
        assert_same(results, of_torch("by default", x[0], weight, of[0]))


# Where the two differ -----------------------------------------------------------------------------


def test_the_label_that_pytorch_ignores_unasked():
    x, weight, _, _ = batch(2, 3, 4, np.float64)
    loss, *_ = of_torch("by default", x, weight, np.array([-100, 1]))
    assert_allclose(loss, ce.linear_cross_entropy(x[1:], weight, [1]), rtol=1e-14)
    text = message(ValueError, ce.linear_cross_entropy, x, weight, [-100, 1])
    assert "pass ignore_index=-100" in text


def test_an_ignored_row_may_hold_nan():
    # In a batch that is padded with whatever was in memory, PyTorch's gradients are all nan.
    x, weight, _, _ = batch(3, 3, 4, np.float64)
    x[1] = np.nan
    labels = np.array([0, -1, 2])
    for route in ROUTES:
        _, _, of_weight = of_torch(route, x, weight, labels, ignore_index=-1)
        assert np.isnan(of_weight).all()
    _, (of_x, of_weight) = ce.linear_cross_entropy(
        x, weight, labels, ignore_index=-1, return_grad=True
    )
    assert np.isfinite(of_weight).all()
    assert not of_x[1].any()


def test_more_axes_than_one_batch():
    # PyTorch takes rows of features; extra axes belong to the weight.
    x, weight, _, targets = batch(6, 3, 5, np.float64)
    cube, labels = x.reshape(2, 3, 3), targets["labels"].reshape(2, 3)
    with pytest.raises(RuntimeError, match="expected input with dimensionality 1 or 2"):
        of_torch("by default", cube, weight, labels)
    loss, (of_x, _) = ce.linear_cross_entropy(cube, weight, labels, return_grad=True)
    expected = of_torch("by default", x, weight, targets["labels"])
    assert_allclose(loss, expected[0], rtol=1e-14)
    assert_allclose(of_x.reshape(6, 3), expected[1], atol=1e-15)


def test_smoothing_and_distributions_by_blocks():
    # PyTorch has no chunks for them, and says so.
    x, weight, _, targets = batch(4, 3, 5, np.float64)
    for of, smoothing in (("labels", 0.1), ("distributions", 0.0)):
        with pytest.warns(UserWarning, match="``options`` ignored"):
            expected = of_torch("by chunks", x, weight, targets[of], label_smoothing=smoothing)
        results = ce.linear_cross_entropy(
            x,
            weight,
            targets[of],
            label_smoothing=smoothing,
            return_grad=True,
            max_logits_bytes=64,
        )
        assert_same(results, expected)


def test_a_right_and_certain_model_has_a_loss():
    # The logits are exact: 0 and 40. PyTorch's loss is 0, and so is its gradient at the label.
    x, weight, labels = np.array([[1.0]]), np.array([[0.0], [40.0]]), np.array([1])
    for route in ROUTES:
        loss, _, of_weight = of_torch(route, x, weight, labels)
        assert loss == 0
        assert of_weight[1] == 0
    loss, (_, of_weight) = ce.linear_cross_entropy(x, weight, labels, return_grad=True)
    assert_allclose(loss, np.exp(-40), rtol=1e-15)
    assert_allclose(of_weight[:, 0], [np.exp(-40), -np.exp(-40)], rtol=1e-15)
