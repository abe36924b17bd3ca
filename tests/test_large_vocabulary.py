"""cebook.large_vocabulary: parts that merge, against 150 digits; and a layer's loss by blocks.

The loss is held to that of ``softmax_cross_entropy`` on the logits in full, however they are cut,
and, where the logits are exact, to the same bounds. PyTorch has a file of its own.
"""

import functools
import itertools
import math
import tracemalloc

import accuracy_softmax
import mpmath
import numpy as np
import oracle
import pytest
from accuracy import DTYPES
from helpers import FLOATS, LAYOUTS, NOT_NUMBERS, REDUCTIONS, message
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.testing import assert_allclose, assert_array_equal

import cebook as ce
from cebook import large_vocabulary

INF, NAN = math.inf, math.nan
EPS = np.finfo(np.float64).eps

logits_of = {
    dtype: st.one_of(
        st.floats(-100, 100, width=np.finfo(dtype).bits),
        st.floats(-1, 1, width=np.finfo(dtype).bits),
        st.sampled_from([float(dtype(x)) for x in (-INF, -1e4, 0, 1e-8, 700.5, 1e4)]),
    )
    for dtype in DTYPES
}


def error_of_logarithm(actual, truth, largest):
    """Return the error in eps of the larger of result and largest logit; both may be next to 0."""
    smallest = oracle.exact(np.finfo(actual.dtype).smallest_normal)
    return oracle.error_in_eps(actual, truth, max(abs(truth), abs(oracle.exact(largest)), smallest))


# merge_logsumexp ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
def test_merged_logarithms_are_within_2_eps(dtype, data):
    a, b = dtype(data.draw(logits_of[dtype])), dtype(data.draw(logits_of[dtype]))
    merged = ce.merge_logsumexp(a, b)
    assert merged.dtype == dtype
    assert merged == ce.merge_logsumexp(b, a)
    truth = oracle.softmax_row([a, b]).logsumexp
    assert error_of_logarithm(merged, truth, max(a, b)) <= 2


@given(st.tuples(*[logits_of[np.float64]] * 3))
def test_merging_logarithms_is_associative(parts):
    a, b, c = parts
    left = ce.merge_logsumexp(ce.merge_logsumexp(a, b), c)
    right = ce.merge_logsumexp(a, ce.merge_logsumexp(b, c))
    if max(parts) == -INF:
        assert left == right == -INF
    else:
        assert abs(left - right) <= 4 * EPS * max(abs(max(parts)), abs(left))


def test_the_digits_of_a_small_part_are_kept():
    # log(1 + e^-40) is e^-40; the sum of the two exponentials rounds to 1.
    assert np.logaddexp(0, -40) > 0  # as NumPy does it
    assert ce.merge_logsumexp(0.0, -40.0) == np.log1p(np.exp(-40))
    # And where the difference is rounded, exp would make 8 eps of that.
    a, b = 1e-8, -17.3
    truth = oracle.softmax_row([a, b]).logsumexp
    assert oracle.error_in_eps(a + np.log1p(np.exp(np.float64(b) - a)), truth) > 2
    assert oracle.error_in_eps(ce.merge_logsumexp(a, b), truth) <= 1


@pytest.mark.parametrize(
    ("a", "b", "merged"),
    [
        (-INF, -INF, -INF),
        (-INF, 1.5, 1.5),
        (-1e308, 1e308, 1e308),
        (INF, 1.0, INF),
        (INF, INF, INF),
        (INF, -INF, INF),
        (NAN, 1.0, NAN),
        (NAN, -INF, NAN),
        (NAN, INF, NAN),
        (3.0, 3.0, 3 + math.log(2)),
        (-0.0, -INF, 0.0),
    ],
)
def test_merged_logarithms_at_the_edges(a, b, merged):
    assert_array_equal(ce.merge_logsumexp(a, b), merged)
    assert_array_equal(ce.merge_logsumexp(b, a), merged)
    assert_array_equal(ce.merge_logsumexp([a, 0.0], [b, -INF]), [merged, 0.0])


@pytest.mark.parametrize("dtype", FLOATS)
def test_dtype_and_shape_of_merged_logarithms(dtype):
    a, b = np.arange(6).reshape(2, 3).astype(dtype), np.zeros((2, 3), dtype)
    merged = ce.merge_logsumexp(a, b)
    assert (merged.dtype, merged.shape) == (dtype, (2, 3))
    assert_allclose(merged, np.logaddexp(a, b), rtol=4 * np.finfo(dtype).eps)
    assert ce.merge_logsumexp(np.zeros((0, 2), dtype), np.zeros((0, 2), dtype)).shape == (0, 2)
    assert ce.merge_logsumexp(dtype(0), np.float32(0)).dtype == np.result_type(dtype, np.float32)
    assert ce.merge_logsumexp(0, True).dtype == np.float64


def test_merged_logarithms_are_not_broadcast():
    text = message(ValueError, ce.merge_logsumexp, [0.0, 1.0], 0.0)
    assert "a and b must have the same shape, but a has shape (2,)" in text


@pytest.mark.parametrize("kind", NOT_NUMBERS)
def test_what_is_no_number_cannot_be_merged(kind):
    value, what, cure = NOT_NUMBERS[kind]
    for name, inputs in {"a": (value, 0.0), "b": (0.0, value), "logits": (value,)}.items():
        function = ce.OnlineSoftmax if name == "logits" else ce.merge_logsumexp
        text = message(TypeError, function, *inputs)
        assert text.startswith(name)
        assert what in text
        assert cure in text or kind == "text"


# OnlineSoftmax ------------------------------------------------------------------------------------


@st.composite
def split_rows(draw, dtype):
    """Return a row, its parts in any order, and how many neighbours to merge at a time."""
    row = np.array(draw(st.lists(logits_of[dtype], max_size=12)), dtype)
    cuts = sorted(draw(st.lists(st.integers(0, len(row)), max_size=6)))
    parts = np.split(draw(st.permutations(list(row))), cuts) if len(row) else [row] * 3
    return row, [np.asarray(part, dtype) for part in parts], draw(st.integers(2, 4))


def merge_in_groups(pairs, group):
    """Merge neighbours, and so on until one is left: the tree is as wide as the group."""
    while len(pairs) > 1:
        pairs = [
            functools.reduce(ce.OnlineSoftmax.merge, pairs[i : i + group])
            for i in range(0, len(pairs), group)
        ]
    return pairs[0]


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
def test_any_split_in_any_order_gives_the_logarithm_of_the_whole(dtype, data):
    row, parts, group = data.draw(split_rows(dtype))
    merged = merge_in_groups(list(map(ce.OnlineSoftmax, parts)), group)
    updated = ce.OnlineSoftmax(parts[0])
    for part in parts[1:]:
        updated.update(part)
    for seen in (merged, updated):
        assert seen.maximum == row.max(initial=-INF)
        assert seen.maximum.dtype == seen.logsumexp().dtype == dtype
        if seen.maximum == -INF:
            assert (seen.total, seen.logsumexp()) == (0, -INF)
            continue
        truth = oracle.softmax_row(row).logsumexp
        assert error_of_logarithm(seen.logsumexp(), truth, row.max()) <= 4
        assert error_of_logarithm(ce.logsumexp(row), truth, row.max()) <= 4
        exact_total = mpmath.exp(truth - oracle.exact(row.max()))
        assert oracle.error_in_eps(seen.total, exact_total) <= 6


def same(a, b, tolerance=0.0):
    assert_array_equal(a.maximum, b.maximum)
    assert_allclose(a.total, b.total, rtol=tolerance)
    for one, other in zip(a.logsumexp(), b.logsumexp(), strict=True):
        size = max(abs(one), np.max(abs(a.maximum), where=np.isfinite(a.maximum), initial=0))
        assert_allclose(one, other, rtol=0, atol=tolerance * size if np.isfinite(one) else 0)


blocks_of_three_rows = npst.arrays(
    np.float64,
    st.tuples(st.just(3), st.integers(0, 5)),
    elements=st.one_of(logits_of[np.float64], st.just(INF), st.just(NAN)),
)


@given(st.tuples(*[blocks_of_three_rows] * 3))
def test_pairs_are_a_commutative_monoid(blocks):
    a, b, c = map(ce.OnlineSoftmax, blocks)
    same(a.merge(b), b.merge(a))
    same(a.merge(b).merge(c), a.merge(b.merge(c)), tolerance=6 * EPS)
    for nothing in (np.zeros((3, 0)), np.full((3, 1), -INF), np.full((3, 4), -INF)):
        neutral = ce.OnlineSoftmax(nothing)
        same(neutral.merge(neutral), neutral)
        same(a.merge(neutral), a)
        same(neutral.merge(a), a)


@given(blocks_of_three_rows, blocks_of_three_rows)
def test_rows_do_not_meet(one, other):
    together = ce.OnlineSoftmax(one).merge(ce.OnlineSoftmax(other))
    for i in range(3):
        alone = ce.OnlineSoftmax(one[i]).merge(ce.OnlineSoftmax(other[i]))
        for name in ("maximum", "total"):
            assert_array_equal(getattr(together, name)[i], getattr(alone, name))
        assert_array_equal(together.logsumexp()[i], alone.logsumexp())


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
def test_probabilities_of_all_that_was_seen(dtype, data):
    row, parts, group = data.draw(split_rows(dtype))
    assume(row.max(initial=-INF) > -INF)
    seen = merge_in_groups(list(map(ce.OnlineSoftmax, parts)), group)
    truth = oracle.softmax_row(row).probabilities
    probabilities = seen.probabilities(row)
    assert probabilities.dtype == dtype
    smallest = float(np.finfo(dtype).smallest_normal)
    for actual, exact in zip(probabilities, truth, strict=True):
        assert oracle.error_in_eps(actual, exact, max(exact, smallest)) <= 6
    assert abs(math.fsum(probabilities) - 1) <= 12 * np.finfo(dtype).eps
    pieces = [seen.probabilities(part) for part in parts]
    assert_array_equal(np.sort(np.concatenate(pieces)), np.sort(probabilities))


def test_a_total_has_no_room_for_the_digits_of_a_small_rest():
    row = np.array([0.0, -40.0])
    seen = ce.OnlineSoftmax(row[1:]).merge(ce.OnlineSoftmax(row[:1]))
    assert seen.maximum + np.log(seen.total) == 0  # as printed
    assert seen.logsumexp() == np.exp(-40)


def test_many_blocks():
    rng = np.random.default_rng(0)
    x = 30 * rng.standard_normal((2, 5, 1000))
    seen = ce.OnlineSoftmax(x[..., :0])
    for i in range(0, 1000, 7):
        seen.update(x[..., i : i + 7])
    assert_allclose(seen.logsumexp(), ce.logsumexp(x), rtol=4 * EPS)
    assert_allclose(seen.probabilities(x), ce.softmax(x), rtol=1e-14)


@pytest.mark.parametrize(
    ("logits", "total", "logsumexp", "probabilities"),
    [
        ([INF, 1.0], 1, INF, [1, 0]),
        ([1.0, INF], 1, INF, [0, 1]),
        ([INF, INF], NAN, INF, [NAN, NAN]),
        ([INF, -INF], 1, INF, [1, 0]),
        ([NAN, 1.0], NAN, NAN, [NAN, NAN]),
        ([NAN, -INF], NAN, NAN, [NAN, NAN]),
        ([-INF, -INF], 0, -INF, [NAN, NAN]),
        ([-INF, 2.0], 1, 2, [0, 1]),
        ([-1e308, 1e308], 1, 1e308, [0, 1]),
    ],
)
def test_what_has_no_sum_or_no_end(logits, total, logsumexp, probabilities):
    logits = np.array(logits)
    halves = ce.OnlineSoftmax(logits[:1]).merge(ce.OnlineSoftmax(logits[1:]))
    for seen in (ce.OnlineSoftmax(logits), halves):
        assert_array_equal(seen.logsumexp(), logsumexp)
        assert_array_equal(seen.probabilities(logits), probabilities)
        if not np.isnan(seen.maximum):
            assert_array_equal(seen.total, total)
    assert_array_equal(ce.logsumexp(logits), logsumexp)
    assert_array_equal(ce.softmax(logits), probabilities)


@pytest.mark.parametrize("dtype", FLOATS)
def test_dtype_of_what_was_seen(dtype):
    x = np.array([[0.0, 1.0, 2.0]] * 2, dtype)
    seen = ce.OnlineSoftmax(x[:, :1])
    seen.update(x[:, 1:])
    results = [seen.maximum, seen.total, seen.logsumexp(), seen.probabilities(x)]
    assert [array.dtype for array in results] == [dtype] * 4
    assert [array.shape for array in results] == [(2,)] * 3 + [(2, 3)]
    assert_allclose(seen.probabilities(x), ce.softmax(x), rtol=2 * np.finfo(dtype).eps)
    seen.update(np.zeros((2, 1), np.float64))
    assert seen.logsumexp().dtype == np.result_type(dtype, np.float64)


def test_merging_changes_neither_part_and_updating_one():
    a, b = ce.OnlineSoftmax([1.0]), ce.OnlineSoftmax([3.0])
    merged = a.merge(b)
    assert (a.maximum, b.maximum, merged.maximum) == (1, 3, 3)
    assert repr(a) == "OnlineSoftmax(maximum=1.0, total=1.0)"
    assert a.update([3.0]) is None
    assert (a.maximum, a.total) == (merged.maximum, merged.total)


@pytest.mark.parametrize(
    ("error", "call", "fragment"),
    [
        (TypeError, lambda seen: seen.merge([1.0]), "[1.0]. Logits go to update"),
        (ValueError, lambda seen: seen.update([1.0]), "have shape (2,) and those to merge"),
        (ValueError, lambda seen: seen.probabilities([0.0, 0.0]), "but logits has shape (2,)"),
        (ValueError, lambda seen: seen.probabilities([[0.0], [9.0]]), "must have been seen before"),
        (ValueError, lambda seen: ce.OnlineSoftmax(1.0), "logits must have at least one axis"),
    ],
)
def test_parts_that_do_not_belong_together(error, call, fragment):
    seen = ce.OnlineSoftmax([[0.0, 1.0], [2.0, 3.0]])
    assert fragment in message(error, call, seen)


# linear_cross_entropy: how logits are cut ---------------------------------------------------------

# So many logits at a time; from so many on rows are left whole; gradients in slices of so many.
CUTS = {
    "all at once": (10**6, 1, 10**6),
    "one at a time": (1, 10**6, 1),
    "uneven blocks": (23, 10**6, 2),
    "blocks": (60, 10**6, 100),
    "whole rows": (31, 1, 4),
}


@pytest.fixture(params=CUTS)
def cut(request, monkeypatch):
    """Return ``linear_cross_entropy`` with its logits cut."""
    elements, lowest_whole, slice_ = CUTS[request.param]
    monkeypatch.setattr(large_vocabulary, "LOWEST_WHOLE", lowest_whole)
    monkeypatch.setattr(large_vocabulary, "SLICE", slice_)

    def loss(features, weight, targets, **options):
        dtype = np.result_type(*map(np.asarray, (features, weight)), np.float32)
        options = {"max_logits_bytes": elements * dtype.itemsize} | options
        return ce.linear_cross_entropy(features, weight, targets, **options)

    return loss


def layer(rows, features, classes, dtype=np.float64, seed=0):
    """Return features, weight, bias and labels."""
    rng = np.random.default_rng(seed)
    shapes = (rows, features), (classes, features), classes
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in shapes]
    return *arrays, rng.integers(classes, size=rows)


def in_full(x, weight, targets, *, bias=None, class_weight=None, **options):
    """Return the loss and the gradients by way of all logits."""
    with np.errstate(all="ignore"):
        logits = x @ weight.T if bias is None else x @ weight.T + bias
    loss, g = ce.softmax_cross_entropy(
        logits, targets, weight=class_weight, return_grad=True, **options
    )
    with np.errstate(all="ignore"):
        grads = [g @ weight, np.tensordot(g, x, [range(g.ndim - 1)] * 2)]
    return loss, *grads, *([] if bias is None else [g.reshape(-1, len(weight)).sum(axis=0)])


def assert_same(results, expected, eps_of_largest=40):
    """Compare loss and gradients; of a product with cancellation no entry is exact by itself."""
    loss, grads = results
    for actual, wanted in zip((loss, *grads), expected, strict=True):
        assert actual.dtype == wanted.dtype
        assert actual.shape == wanted.shape
        finite = np.isfinite(wanted)
        assert_array_equal(actual[~finite], wanted[~finite])
        largest = np.max(abs(wanted), where=finite, initial=0)
        tolerance = eps_of_largest * np.finfo(wanted.dtype).eps * largest
        assert_allclose(actual[finite], wanted[finite], rtol=0, atol=tolerance)


@pytest.mark.parametrize("shape", [(7, 3, 5), (13, 4, 11), (1, 6, 17), (9, 1, 6), (6, 2, 1)])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_loss_and_gradients_are_those_of_the_logits_in_full(cut, dtype, reduction, shape):
    x, weight, bias, labels = layer(*shape, dtype)
    class_weight = np.random.default_rng(1).uniform(0.5, 2, len(weight))
    targets = {"labels": labels, "distributions": np.roll(ce.one_hot(labels, len(weight)), 1, 0)}
    targets["distributions"] = ce.smooth_labels(targets["distributions"], 0.5).astype(dtype)
    for of, b, w, smoothing in itertools.product(
        targets, (None, bias), (None, class_weight), (0.0, 0.1, 1.0)
    ):
        options = {
            "bias": b,
            "class_weight": w,
            "label_smoothing": smoothing,
            "reduction": reduction,
        }
        if of == "labels":
            options["ignore_index"] = labels[0] if len(labels) > 1 and len(weight) > 1 else None
        results = cut(x, weight, targets[of], return_grad=True, **options)
        assert_same(results, in_full(x, weight, targets[of], **options))
        # Without a gradient blocks may be of another shape.
        loss = cut(x, weight, targets[of], **options)
        assert_allclose(loss, results[0], rtol=4 * np.finfo(dtype).eps, strict=True)


@pytest.mark.parametrize("dtype", FLOATS)
def test_dtype_of_loss_and_gradients(cut, dtype):
    x, weight, bias, labels = layer(5, 3, 7, dtype)
    loss, grads = cut(x, weight, labels, bias=bias, return_grad=True)
    assert [array.dtype for array in (loss, *grads)] == [dtype] * 4
    # float16 is computed in float32, logits included, and rounded at the end.
    wide = np.result_type(dtype, np.float32)
    expected = in_full(*(a.astype(wide) for a in (x, weight)), labels, bias=bias.astype(wide))
    for actual, wanted in zip((loss, *grads), expected, strict=True):
        tolerance = {"rtol": 0, "atol": 20 * np.finfo(dtype).eps * abs(wanted).max()}
        assert_allclose(actual, wanted.astype(dtype), **tolerance)


def test_dtypes_that_differ(cut):
    x, weight, bias, labels = layer(5, 3, 7)
    x, bias = x.astype(np.float32), bias.astype(np.float16)
    loss, grads = cut(x, weight, labels, bias=bias, return_grad=True)
    assert loss.dtype == np.float64
    assert [array.dtype for array in grads] == [np.float32, np.float64, np.float16]
    expected = in_full(x.astype(float), weight, labels, bias=bias.astype(float))
    assert_allclose(loss, expected[0], rtol=1e-14)
    assert_allclose(grads[1], expected[2], atol=1e-15)
    integers = np.arange(6).reshape(2, 3)
    loss, grads = cut(integers, integers.tolist(), [1, 0], return_grad=True)
    assert [array.dtype for array in (loss, *grads)] == [np.float64] * 3
    expected = in_full(integers.astype(float), integers.astype(float), [1, 0])
    assert_allclose(loss, expected[0], rtol=1e-14)


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (2, 1, 3), (0,), (2, 0)])
@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_any_batch_shape(cut, shape, reduction):
    rng = np.random.default_rng(2)
    x, weight = rng.standard_normal((*shape, 3)), rng.standard_normal((5, 3))
    labels = rng.integers(5, size=shape)
    for targets in (labels, ce.one_hot(labels, 5)):
        results = cut(x, weight, targets, reduction=reduction, return_grad=True)
        assert_same(results, in_full(x, weight, targets, reduction=reduction))


def test_gradients_are_the_slopes_of_the_loss(cut):
    x, weight, bias, labels = layer(4, 3, 5)
    options = {"ignore_index": int(labels[1]), "label_smoothing": 0.2}

    def loss(x, weight, bias):
        return cut(x, weight, labels, bias=bias, **options)

    _, grads = cut(x, weight, labels, bias=bias, return_grad=True, **options)
    for i, grad in enumerate(grads):
        arguments = [x, weight, bias]

        def of_one(value, i=i, arguments=arguments):
            return loss(*arguments[:i], value, *arguments[i + 1 :])

        slopes = ce.finite_difference_gradient(of_one, arguments[i])
        assert_allclose(grad, slopes, atol=1e-7)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_layout_does_not_matter_and_inputs_stay_as_they_are(cut, layout, dtype):
    x, weight, bias, labels = layer(7, 4, 9, dtype)
    inputs = [np.stack([x, x]), weight, np.stack([labels, labels[::-1]])]
    stored = [LAYOUTS[layout](array) for array in inputs]
    options = {"class_weight": np.arange(1.0, 10.0), "bias": bias}
    stored_options = {name: LAYOUTS[layout](array) for name, array in options.items()}
    copies = [array.copy() for array in (*stored, *stored_options.values())]
    loss, grads = cut(*stored, return_grad=True, ignore_index=2, **stored_options)
    wanted, grads_wanted = cut(*inputs, return_grad=True, ignore_index=2, **options)
    assert loss == wanted
    for grad, grad_wanted in zip(grads, grads_wanted, strict=True):
        assert_array_equal(grad, grad_wanted)
    for array, copy in zip((*stored, *stored_options.values()), copies, strict=True):
        assert_array_equal(array, copy)


# Accuracy, where the logits are exact -------------------------------------------------------------


def of_identity(case, max_logits_bytes):
    """Yield the loss, and the gradient of logits that are products with 0 and 1."""
    identity = np.eye(len(case.logits), dtype=case.logits.dtype)
    loss, (_, of_weight) = ce.linear_cross_entropy(
        identity,
        case.logits.T,
        case.targets,
        label_smoothing=case.label_smoothing,
        reduction="none",
        return_grad=True,
        max_logits_bytes=max_logits_bytes,
    )
    yield "loss", loss
    yield "gradient", of_weight.T


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("max_logits_bytes", [1 << 23, 1000])
def test_error_on_the_grid_is_within_the_bound(dtype, max_logits_bytes, monkeypatch):
    name = f"{max_logits_bytes} bytes"
    one_cut = functools.partial(of_identity, max_logits_bytes=max_logits_bytes)
    monkeypatch.setitem(accuracy_softmax.RESULTS, name, one_cut)
    table = accuracy_softmax.worst_errors(dtype, "classes", libraries=(name,))
    quantities = {quantity for quantity, _ in table}
    assert quantities > {"loss", "gradient, target", "gradient, others", "gradient, smoothed"}
    for (quantity, classes), row in table.items():
        bound = accuracy_softmax.bound(quantity, classes)
        # Label and other classes come from two walks, whose exponentials are rounded apart.
        bound += quantity == accuracy_softmax.SUM_OF_GRADIENT
        assert row[name] <= bound, (quantity, classes)


@pytest.mark.parametrize("offset", [0.0, 1000.0, -1000.0, 1e4])
@pytest.mark.parametrize("scale", [1.0, 40.0, 400.0, 1e5, 1e8])
def test_logits_far_from_0(cut, scale, offset):
    # With whole numbers the logits are exact, and the loss is that of the logits in full.
    rng = np.random.default_rng(3)
    x, weight = (rng.integers(-9, 9, size).astype(float) for size in [(8, 3), (13, 3)])
    x *= scale
    labels = rng.integers(13, size=8)
    for options in ({}, {"label_smoothing": 0.1}):
        options |= {"bias": np.full(13, offset), "reduction": "none"}
        results = cut(x, weight, labels, return_grad=True, **options)
        expected = in_full(x, weight, labels, **options)
        assert_same(results, expected)
        assert_allclose(results[0], expected[0], rtol=8 * EPS)


@pytest.mark.parametrize(
    ("logits", "weights", "smoothing"),
    [
        # Exponentials that are subnormal, of probabilities that are not.
        ([-38.0, -38.5, -88.0, -90.0, -101.0], [1, 1, 1, 1, 1], 0),
        ([-38.0, -38.5, -88.0, -90.0, -101.0], [1e4, 1, 1, 1, 1], 0),
        ([-100.0, -99.5, -104.0, -98.0, -101.0], [1, 1, 1, 1, 1], 0),
        # A sum so large that the gradient divided by it is subnormal.
        ([76.5, 77.0, 71.0, 40.0, 20.0], [1e-7, 1, 1, 1, 1], 0),
        # A label that is certain: all of the loss is in the digits of the others.
        ([40.0, 0.5, 0.0, 1.0, -1.0], [1, 0, 0, 0, 0], 0.1),
        ([80.3, 0.5, 0.0, 1.0, -1.0], [1, 1, 1, 1, 1], 0),
        ([0.5, 80.3, 0.0, 1.0, -1.0], [1, 1, 1, 1, 1], 0.1),
    ],
)
@pytest.mark.parametrize("others", [0, 200])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_and_factors_near_the_end_of_the_range(cut, dtype, others, logits, weights, smoothing):
    # Among many ordinary rows one is not expected, and not in the sample that is looked at.
    z, class_weight = np.array(logits, dtype), np.array(weights, dtype)
    if dtype == np.float64:
        z = z * 8.1  # whose range is as much larger
    options = {"label_smoothing": smoothing, "reduction": "none"}
    loss, (_, of_weight) = cut(
        np.eye(1 + others, dtype=dtype),
        np.pad(z[:, np.newaxis], [(0, 0), (others, 0)]),
        np.zeros(1 + others, int),
        class_weight=class_weight,
        return_grad=True,
        **options,
    )
    row = oracle.softmax_row(z)
    (factors,) = oracle.loss_factors([0], len(z), weight=class_weight, **options)
    truth, gradient = oracle.softmax_cross_entropy(row, factors)
    assert oracle.error_in_eps(loss[-1], truth) <= 4
    total, smallest = mpmath.fsum(factors), oracle.exact(np.finfo(dtype).smallest_normal)
    for k, exact in enumerate(gradient):
        size = total * row.probabilities[k] + factors[k] if smoothing else abs(exact)
        assert oracle.error_in_eps(of_weight[k, -1], exact, max(size, smallest)) <= 6, k


def test_every_block_is_an_addition_and_many_do_not_add_up_errors():
    # Equal addends are rounded the same way each time.
    classes = 20_000
    loss = ce.linear_cross_entropy(
        np.ones((1, 1)), np.full((classes, 1), 0.1), [0], max_logits_bytes=16
    )
    assert_allclose(loss, np.log(classes), rtol=2 * EPS)


# Edges --------------------------------------------------------------------------------------------


def masked(classes, *ruled_out):
    bias = np.zeros(classes)
    bias[list(ruled_out)] = -INF
    return bias


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_classes_that_are_ruled_out(cut, smoothing):
    x, weight, _, _ = layer(6, 3, 17)
    allowed = np.arange(9, 17)
    bias = masked(17, *range(9))  # whole blocks of them
    labels = np.array([9, 10, 11, 12, 16, 9])
    options = {"reduction": "none", "return_grad": True}
    loss, grads = cut(x, weight, labels, bias=bias, **options)
    wanted, wanted_grads = cut(x, weight[allowed], labels - 9, bias=bias[allowed], **options)
    assert_allclose(loss, wanted, rtol=4 * EPS)
    assert_allclose(grads[0], wanted_grads[0], atol=1e-15)
    assert_allclose(grads[1][allowed], wanted_grads[1], atol=1e-15)
    assert not grads[1][:9].any()
    assert not grads[2][:9].any()
    # Smoothing gives them a part, whatever it costs, unless their weight is 0.
    class_weight = (bias == 0).astype(float)
    for w in (None, class_weight):
        results = cut(x, weight, labels, bias=bias, label_smoothing=smoothing, class_weight=w)
        assert np.isinf(results) == (smoothing > 0 and w is None)
        options = {"bias": bias, "label_smoothing": smoothing, "class_weight": w}
        for some in (labels, np.array([0, 10, 11, 8, 16, 9])):  # a label of weight 0 costs nothing
            results = cut(x, weight, some, return_grad=True, **options)
            assert_same(results, in_full(x, weight, some, **options))


@pytest.mark.parametrize("max_logits_bytes", [8, 200, 10**4])
def test_what_is_ruled_out_takes_no_detour(max_logits_bytes, monkeypatch):
    # A block of nothing but -inf is neutral, and so are logits far below 0. Taken whole, rows would
    # have the same loss, but not in the same time and memory.
    taken_whole = []
    monkeypatch.setattr(
        large_vocabulary, "_by_whole_rows", lambda *inputs: taken_whole.extend(inputs[2])
    )
    x, weight, _, _ = layer(6, 3, 17)
    for bias in (masked(17, *range(9)), np.repeat([-2000.0, 900.0], [9, 8])):
        options = {"bias": bias, "return_grad": True, "max_logits_bytes": max_logits_bytes}
        ce.linear_cross_entropy(x, weight, np.full(6, 12), **options)
    assert taken_whole == []


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(
    "bias",
    [
        masked(7, 2),
        masked(7, 0, 1, 3, 4, 5, 6),
        masked(7, *range(7)),
        -masked(7, 2),
        -masked(7, 2, 5),
        masked(7, 0) - masked(7, 2),
        np.full(7, NAN),
        np.array([0, NAN, 0, 0, 0, 0, 0]),
        np.full(7, 1e300),
        np.array([1e300, -1e300, 0, 0, 0, 0, 0]),
    ],
    ids=str,
)
def test_infinite_and_huge_logits(cut, bias, smoothing):
    x, weight, _, _ = layer(5, 2, 7)
    labels = np.array([2, 2, 1, 5, 0])
    for options in ({}, {"ignore_index": 1}):
        options |= {"bias": bias, "label_smoothing": smoothing, "reduction": "none"}
        results = cut(x, weight, labels, return_grad=True, **options)
        assert_same(results, in_full(x, weight, labels, **options))


def test_nan_stays_in_its_row(cut):
    x, weight, _, labels = layer(6, 3, 11)
    x[2, 0] = NAN
    loss, (of_x, of_weight) = cut(x, weight, labels, reduction="none", return_grad=True)
    others = np.arange(6) != 2
    assert_array_equal(np.isnan(loss), ~others)
    assert_array_equal(np.isnan(of_x).any(axis=1), ~others)
    # Every class has a part in every row.
    assert np.isnan(of_weight).any(axis=1).all()
    expected = in_full(x[others], weight, labels[others], reduction="none")
    assert_allclose(loss[others], expected[0], rtol=4 * EPS)
    assert_allclose(of_x[others], expected[1], atol=1e-14)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_ignored_rows_may_hold_anything(cut, smoothing):
    x, weight, bias, labels = layer(9, 3, 11)
    labels[[0, 4, 5, 8]] = -100
    x[0], x[4], x[8] = NAN, INF, 1e300
    kept = labels != -100
    options = {"bias": bias, "label_smoothing": smoothing, "return_grad": True}
    loss, grads = cut(x, weight, labels, ignore_index=-100, **options)
    wanted, wanted_grads = cut(x[kept], weight, labels[kept], **options)
    assert_allclose(loss, wanted, rtol=4 * EPS)
    assert not grads[0][~kept].any()
    for actual, expected in zip((grads[0][kept], *grads[1:]), wanted_grads, strict=True):
        assert_allclose(actual, expected, atol=1e-15)


@pytest.mark.parametrize(
    ("labels", "options", "why"),
    [
        (np.zeros(0, int), {}, "the batch is empty"),
        (np.zeros((0, 5)), {}, "the batch is empty"),
        (np.full(3, -1), {"ignore_index": -1}, "every target is ignore_index=-1"),
        (np.ones(3, int), {"class_weight": [1, 0, 1, 1, 1]}, "the weights of all labels are 0"),
    ],
)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_mean_over_nothing_is_nan_and_the_sum_is_0(cut, labels, options, why, smoothing):
    x, weight, bias, _ = layer(len(labels), 2, 5)
    options |= {"label_smoothing": smoothing}
    with pytest.warns(RuntimeWarning, match=f"^The mean loss is nan: {why}") as caught:
        loss, grads = cut(x, weight, labels, bias=bias, return_grad=True, **options)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert np.isnan(loss)
    # The gradient is that of no row, or says as little as the loss.
    with pytest.warns(RuntimeWarning, match="^The mean loss is nan"):
        expected = in_full(x, weight, labels, bias=bias, **options)
    assert_same((loss, grads), expected)
    loss, grads = cut(x, weight, labels, bias=bias, reduction="sum", return_grad=True, **options)
    assert_same((loss, grads), in_full(x, weight, labels, bias=bias, reduction="sum", **options))


def test_a_single_class_is_certain(cut):
    x, weight, _, _ = layer(4, 3, 1)
    for smoothing in (0.0, 0.1):
        loss, grads = cut(x, weight, np.zeros(4, int), label_smoothing=smoothing, return_grad=True)
        assert loss == 0
        assert not np.signbit(loss)
        assert not any(grad.any() for grad in grads)


def test_no_features_leave_the_bias(cut):
    loss, grads = cut(
        np.zeros((2, 0)), np.zeros((3, 0)), [0, 2], bias=np.zeros(3), return_grad=True
    )
    assert_allclose(loss, np.log(3), rtol=EPS)
    assert [grad.shape for grad in grads] == [(2, 0), (3, 0), (3,)]
    assert_allclose(grads[2], [-1 / 6, 1 / 3, -1 / 6], rtol=4 * EPS)


def test_large_weights_of_classes_do_not_overflow(cut):
    x, weight, _, labels = layer(5, 2, 4)
    options = {"class_weight": np.array([1e308, 1e308, 1e300, 1.0])}
    results = cut(x, weight, labels, return_grad=True, **options)
    expected = in_full(x, weight, labels, **options)
    assert np.isfinite(expected[0])
    assert_same(results, expected)


def test_logits_that_look_like_probabilities_are_not_remarked_upon(cut):
    # By blocks nobody sees them all; rows taken whole, one at a time, are not looked at either.
    x = np.eye(3)
    cut(x, np.eye(3), [0, 1, 2])
    cut(x, np.eye(3), np.full((3, 3), 1 / 3))


# Threads ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_do_not_change_the_result(threads, monkeypatch):
    x, weight, bias, labels = layer(40, 3, 300)
    bias[7] = -INF
    labels[labels == 7] = 8
    x[::3] *= 1000  # of them the logits are shifted
    monkeypatch.setattr(large_vocabulary._tiles, "num_threads", lambda: threads)
    monkeypatch.setattr(large_vocabulary._tiles, "PARALLEL_FROM", 0)
    monkeypatch.setattr(large_vocabulary._tiles, "CHUNK_ELEMENTS", 100)
    monkeypatch.setattr(large_vocabulary._tiles, "TILE_BYTES", 500)
    for max_bytes in (3000, 8000, 1 << 20):
        for smoothing in (0.0, 0.1):
            options = {"bias": bias, "return_grad": True, "reduction": "sum"}
            options |= {"class_weight": (bias == bias.clip(-9)).astype(float)}
            results = ce.linear_cross_entropy(
                x, weight, labels, label_smoothing=smoothing, max_logits_bytes=max_bytes, **options
            )
            wanted = {**options, "label_smoothing": smoothing}
            wanted.pop("return_grad")
            assert_same(results, in_full(x, weight, labels, **wanted))


# Memory -------------------------------------------------------------------------------------------


def peak_of(function):
    """Return the memory that a call takes beyond its results, which are large arrays."""
    function()
    tracemalloc.start()
    try:
        results = function()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return peak - sum(array.nbytes for array in (results[1] if isinstance(results, tuple) else ()))


@pytest.mark.parametrize("return_grad", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_memory_is_that_of_a_block(return_grad, smoothing):
    rows, classes = 512, 20_000
    x, weight, bias, labels = layer(rows, 32, classes, np.float32)
    logits = 4 * rows * classes
    options = {"bias": bias, "return_grad": return_grad, "label_smoothing": smoothing}
    call = functools.partial(ce.linear_cross_entropy, x, weight, labels, **options)
    assert peak_of(lambda: ce.softmax_cross_entropy(x @ weight.T, labels)) > logits
    for share in (5, 20):
        peak = peak_of(functools.partial(call, max_logits_bytes=logits // (2 * share)))
        assert peak < logits / share
    assert peak_of(call) < 2 * (8 << 20)


@pytest.mark.parametrize("x_is", ["ordinary", "nan"])
def test_the_memory_of_whole_rows(x_is):
    rows, classes = 512, 20_000
    x, weight, _, labels = layer(rows, 32, classes, np.float32)
    if x_is == "nan":  # then they are taken whole, a few at a time
        x[:] = NAN
    max_bytes = 4 * classes * large_vocabulary.LOWEST_WHOLE
    call = functools.partial(ce.linear_cross_entropy, x, weight, labels, return_grad=True)
    peak = peak_of(functools.partial(call, max_logits_bytes=max_bytes))
    # Less than a copy of the weight; and what the careful form makes of a few rows.
    more = weight.nbytes if x_is == "ordinary" else max_bytes
    assert max_bytes < peak < max_bytes + more


def test_memory_does_not_grow_with_the_rows():
    x, weight, _, labels = layer(4000, 8, 2000, np.float32)
    few, many = (
        peak_of(
            functools.partial(
                ce.linear_cross_entropy, x[:n], weight, labels[:n], max_logits_bytes=1 << 18
            )
        )
        for n in (1000, 4000)
    )
    assert many < few + 3000 * 8 * 8  # a few numbers for each row


def test_a_row_that_does_not_fit_is_cut():
    classes, max_bytes = 300_000, 4 * 30_000
    x, weight, _, labels = layer(3, 1, classes, np.float32)
    call = functools.partial(ce.linear_cross_entropy, x, weight, labels, return_grad=True)
    call = functools.partial(call, max_logits_bytes=max_bytes)
    assert peak_of(call) < 4 * classes
    assert_same(call(), in_full(x, weight, labels))


# Errors -------------------------------------------------------------------------------------------

X, W = np.zeros((4, 3)), np.zeros((5, 3))
LABELS = [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("error", "inputs", "options", "fragments"),
    [
        (ValueError, (X, W.T, LABELS), {}, ["(classes, 3)", "shape (3, 5)", "pass weight.T"]),
        (ValueError, (X, W[:, :2], LABELS), {}, ["shape (5, 2)", "one column for each feature"]),
        (ValueError, (X, W[0], LABELS), {}, ["weight must have two axes", "are class_weight"]),
        (ValueError, (X, W[:0], LABELS), {}, ["weight must have at least one class"]),
        (ValueError, (1.0, W, 0), {}, ["features must have a last axis", "number 1.0"]),
        (ValueError, (X, W, LABELS), {"bias": [0.0] * 3}, ["bias", "shape (5,)", "shape (3,)"]),
        (ValueError, (X, W, LABELS), {"bias": 0.0}, ["bias", "shape (5,)", "shape ()"]),
        (ValueError, (X, W, [0, 1, 2]), {}, ["shape of logits", "has shape (4, 5)", "(3,)"]),
        (ValueError, (X, W, [0, 1, 2, 5]), {}, ["targets[3] = 5", "from 0 to 4"]),
        (ValueError, (X, W, [0, 1, 2, -100]), {}, ["pass ignore_index=-100"]),
        (TypeError, (X, W, [0.0, 1.0, 2.0, 3.0]), {}, ["use .astype(int)"]),
        (ValueError, (X, W, np.full((4, 5), 0.3)), {}, ["targets must sum to 1"]),
        (ValueError, (X, W, np.full((4, 5), 0.2)), {"ignore_index": 1}, ["but it is 1: "]),
        (ValueError, (X, W, LABELS), {"class_weight": [1.0] * 4}, ["class_weight", "(5,)"]),
        (ValueError, (X, W, LABELS), {"class_weight": [1, 1, -1, 1, 1]}, ["class_weight[2] = -1"]),
        (TypeError, (X, W, LABELS), {"class_weight": ["a"] * 5}, ["class_weight must hold real"]),
        (ValueError, (X, W, LABELS), {"label_smoothing": 2}, ["label_smoothing must lie in"]),
        (ValueError, (X, W, LABELS), {"reduction": "avg"}, ["reduction must be", "'avg'"]),
        (ValueError, (X, W, LABELS), {"max_logits_bytes": 0}, ["max_logits_bytes", "at least 1"]),
        (TypeError, (X, W, LABELS), {"max_logits_bytes": 1e6}, ["max_logits_bytes", "1000000.0"]),
    ],
)
def test_errors_say_what_came_and_what_was_expected(error, inputs, options, fragments):
    text = message(error, ce.linear_cross_entropy, *inputs, **options)
    assert all(fragment in text for fragment in fragments), text


@pytest.mark.parametrize("kind", NOT_NUMBERS)
def test_what_is_no_number_makes_no_layer(kind):
    value, what, _ = NOT_NUMBERS[kind]
    for name in ("features", "weight", "bias"):
        arguments = {"features": X, "weight": W, "targets": LABELS, "bias": np.zeros(5)}
        text = message(TypeError, ce.linear_cross_entropy, **(arguments | {name: value}))
        assert text.startswith(name)
        assert what in text
