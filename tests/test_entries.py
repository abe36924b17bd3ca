"""Long arrays take forms of their own: the loss of logits and the divergence against longdouble."""

import itertools

import numpy as np
import pytest
from helpers import REDUCTIONS
from numpy.testing import assert_allclose, assert_array_equal

import cebook as ce
from cebook import _tiles, information

INF, NAN = np.inf, np.nan
FAST = [np.float32, np.float64]
wide = np.finfo(np.longdouble).eps < 1e-18
needs_longdouble = pytest.mark.skipif(not wide, reason="longdouble is float64 here, or two of them")


def problem(data, dtype, size=200_003):
    generator = np.random.default_rng(5)
    z = generator.normal(scale=3, size=size)
    y = generator.random(size)
    y = np.where(y < 0.4, 0, np.where(y > 0.6, 1, y))
    if data == "hard":
        y = np.rint(y)
    elif data == "subnormal":
        z *= -np.log(np.finfo(dtype).smallest_normal) / 4
    elif data == "certain and right":
        y = np.rint(y)
        z = np.where(y == 1, 1, -1) * generator.uniform(5, 12, size)
    elif data == "tiny losses":
        y, z = np.zeros(size), np.full(size, np.log(np.finfo(dtype).smallest_normal) - 5)
    elif data == "zeros":
        z = np.where(z < 0, -0.0, 0.0)
    return z.astype(dtype), y.astype(dtype)


def size_of_slope(z, y):
    return (1 - y) * ce.sigmoid(z) + y * ce.sigmoid(-z)


@needs_longdouble
@pytest.mark.parametrize("dtype", FAST)
@pytest.mark.parametrize(
    "data", ["soft", "hard", "subnormal", "certain and right", "tiny losses", "zeros"]
)
def test_long_arrays_keep_the_bound(data, dtype):
    z, y = problem(data, dtype)
    exact = [array.astype(np.longdouble) for array in (z, y)]
    eps, tiny = float(np.finfo(dtype).eps), float(np.finfo(dtype).smallest_normal)
    for reduction in REDUCTIONS:
        results = ce.sigmoid_cross_entropy(z, y, reduction=reduction, return_grad=True)
        loss, gradient = ce.sigmoid_cross_entropy(*exact, reduction=reduction, return_grad=True)
        count = z.size if reduction == "mean" else 1
        lost = 4 * eps * tiny * (z.size if reduction == "sum" else 1)  # by subnormal losses
        assert_allclose(results[0].astype(np.longdouble), loss, rtol=4 * eps, atol=lost)
        error = abs(results[1].astype(np.longdouble) - gradient)
        assert (error <= 4 * eps * np.maximum(size_of_slope(*exact) / count, tiny)).all()
        assert_array_equal(ce.sigmoid_cross_entropy(z, y, reduction=reduction), results[0])


@pytest.mark.parametrize("dtype", FAST)
@pytest.mark.parametrize("often", [2, 50, 50_000])
def test_what_is_infinite_or_nan_in_a_long_array_stays_where_it_is(often, dtype):
    z, y = problem("soft", dtype)
    clean = ce.sigmoid_cross_entropy(z, y, reduction="none", return_grad=True)
    z[::often] = np.resize([INF, -INF, NAN, 1, np.finfo(dtype).max], z[::often].shape)
    y[::often] = np.resize([1, 0, 0.5, NAN, 1, 0, 1, 1, 0.25, 0, 1], y[::often].shape)
    with np.errstate(all="raise"):
        results = ce.sigmoid_cross_entropy(z, y, reduction="none", return_grad=True)
    few = ce.sigmoid_cross_entropy(z[::often][:1000], y[::often][:1000], reduction="none",
                                   return_grad=True)  # fmt: skip
    kept = np.arange(len(z)) % often > 0
    for result, of_clean, of_few in zip(results, clean, few, strict=True):
        assert_allclose(result[::often][:1000], of_few, rtol=4 * np.finfo(dtype).eps)
        assert_allclose(result[kept], of_clean[kept], rtol=8 * np.finfo(dtype).eps, atol=1e-6)
        assert np.isfinite(result[kept]).all()
    # Entries without a loss do not change the sum of the others.
    z[::often] = np.resize([INF, -INF], z[::often].shape)
    y[::often] = z[::often] > 0
    result, others = (
        ce.sigmoid_cross_entropy(*arrays, reduction="sum")
        for arrays in ((z, y), (z[kept], y[kept]))
    )
    assert_allclose(result, others, rtol=8 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", FAST)
@pytest.mark.parametrize(
    ("z", "y", "loss"), [(INF, 0, INF), (-INF, 0.5, INF), (NAN, 0, NAN), (1, NAN, NAN)]
)
def test_one_entry_decides_over_a_long_array(z, y, loss, dtype):
    logits, targets = problem("soft", dtype)
    logits[70_000], targets[70_000] = z, y
    for reduction in ("mean", "sum"):
        with np.errstate(all="raise"):
            result = ce.sigmoid_cross_entropy(logits, targets, reduction=reduction)
        assert_array_equal(result, loss)


@pytest.mark.parametrize("dtype", FAST)
def test_a_certain_long_array_costs_nothing_and_one_that_is_wrong_everything(dtype):
    z = np.resize([INF, -INF], 5000).astype(dtype)
    for reduction, y in itertools.product(REDUCTIONS, (z > 0, z < 0)):
        loss = ce.sigmoid_cross_entropy(z, y, reduction=reduction)
        assert_array_equal(loss, np.where(y[0], 0, INF) + np.zeros(np.shape(loss)))
        assert not np.signbit(loss).any()
    right = ce.sigmoid_cross_entropy(np.r_[z, dtype(1)], np.r_[z > 0, True], reduction="sum")
    assert_allclose(right, ce.softplus(dtype(-1)), rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [*FAST, int])
@pytest.mark.parametrize(("bad", "came"), [(2, "= 2"), (-1, "= -1")])
def test_a_wrong_target_far_down_is_found_and_named(bad, came, dtype):
    y = np.zeros((400, 500), dtype)
    y[399, 7] = bad
    with pytest.raises(ValueError, match=rf"targets\[399, 7\] {came}"):
        ce.sigmoid_cross_entropy(np.zeros(y.shape, np.float32), y)


def test_layout_and_dtype_of_the_targets_do_not_matter():
    z, y = (array[:200_000].reshape(400, 500) for array in problem("hard", np.float32))
    expected = ce.sigmoid_cross_entropy(z, y, return_grad=True)
    variants = [(z, y.astype(kind)) for kind in (bool, int, np.uint8, np.float16)]
    variants += [(np.asfortranarray(z), y), (np.repeat(z, 2, axis=1)[:, ::2], y)]
    variants += [(np.broadcast_to(z, z.shape), np.asfortranarray(y))]
    for variant in variants:
        results = ce.sigmoid_cross_entropy(*variant, return_grad=True)
        for result, truth in zip(results, expected, strict=True):
            assert_array_equal(result, truth)


@needs_longdouble
@pytest.mark.parametrize("shape", [(1, 300_001), (3, 5000), (2000, 31)], ids=str)
@pytest.mark.parametrize("gap", [1, 0.3, 1e-2, 1e-4])
@pytest.mark.parametrize("dtype", FAST)
def test_divergences_of_long_rows_and_of_many(dtype, gap, shape):
    generator = np.random.default_rng(6)
    scores = generator.normal(size=shape)
    others = (1 - gap) * scores + gap * generator.normal(size=shape)
    p, q = (ce.softmax(array).astype(dtype) for array in (scores, others))
    p[0, :20] = 0
    p /= p.sum(axis=1, keepdims=True)
    # Their sums are 1 to the digits of the dtype, and would not pass for longdoubles.
    exact = information._divergence_terms(*(np.longdouble(array) for array in (p, q))).sum(axis=1)
    result = ce.kl_divergence(p, q)
    assert_allclose(result.astype(np.longdouble), exact, rtol=8 * float(np.finfo(dtype).eps))


@pytest.mark.parametrize("count", [2, 5])
def test_threads_do_not_matter(count, monkeypatch):
    z, y = problem("soft", np.float32, 3_000_017)
    p, q = (ce.softmax(array.astype(np.float64)) for array in (z, y))

    def results(threads):
        monkeypatch.setattr(_tiles, "num_threads", lambda: threads)
        yield from ce.sigmoid_cross_entropy(z, y, return_grad=True)
        yield ce.kl_divergence(p, q)

    for result, alone in zip(results(count), results(1), strict=True):
        assert_array_equal(result, alone)
