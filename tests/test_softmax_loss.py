"""cebook.softmax_loss: accuracy, edges, dtypes, gradients, identities, errors for bad input."""

import inspect
import itertools
import math
import warnings
from fractions import Fraction
from typing import NamedTuple

import accuracy_softmax
import mpmath
import numpy as np
import oracle
import pytest
import torch
from accuracy import DTYPES
from helpers import BAD_AXES, FLOATS, LAYOUTS, NOT_NUMBERS, REDUCTIONS, message
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.testing import assert_allclose, assert_array_equal

import cebook as ce
from cebook import softmax_loss

# The functions by what they take: logits; logits or their log-probabilities, and targets.
SUMMING = ["softmax", "log_softmax", "logsumexp"]
LOGITS = [*SUMMING, "softmax_jacobian"]
LOSSES = ["nll_loss", "softmax_cross_entropy"]
ALL = LOGITS + LOSSES
FIRST = dict.fromkeys(LOGITS, "x") | {"nll_loss": "log_probs", "softmax_cross_entropy": "logits"}

EPS = np.finfo(np.float64).eps
LOG2 = np.log(np.longdouble(2))
INF, NAN = math.inf, math.nan


def call(name, *inputs, **options):
    return getattr(ce, name)(*inputs, **options)


def arguments(name, dtype=np.float64):
    """Return ordinary inputs, three rows of four classes, which every dtype holds exactly."""
    logits = np.array([[-1.5, 0.25, 3, 0], [2, -4, 1, 0.5], [0, 0, -0.75, 1.25]], dtype)
    if name == "nll_loss":
        logits -= 4
    return (logits, np.array([2, 1, 3])) if name in LOSSES else (logits,)


def distributions(shape, dtype=np.float64, seed=5):
    """Return rows that are zero here and there and sum to 1."""
    weights = np.random.default_rng(seed).random(shape)
    weights *= weights > 0.2
    weights[..., 0] += 1e-3
    return (weights / weights.sum(axis=-1, keepdims=True)).astype(dtype)


def random_logits(shape, seed=3):
    return np.random.default_rng(seed).normal(scale=3, size=shape)


def log_probs_or_logits(name, logits):
    return ce.log_softmax(logits) if name == "nll_loss" else logits


# Against the oracle -------------------------------------------------------------------------------


def assert_near(actual, truth, bound, size=None):
    """Assert that nan is nan, that inf is what the dtype cannot hold, and the error in eps."""
    limits = np.finfo(actual.dtype)
    if mpmath.isnan(truth) or mpmath.isinf(truth):
        assert actual == truth or (np.isnan(actual) and mpmath.isnan(truth))
        return
    assert not np.isnan(actual)
    if np.isinf(actual):
        assert overflows(truth, actual.dtype)
        return
    size = abs(truth) if size is None else size
    # Below the normal numbers every term of a sum is rounded to a multiple of the smallest.
    size = max(size, 8 * oracle.exact(limits.smallest_normal))
    assert oracle.error_in_eps(actual, truth, size) <= bound


def overflows(truth, dtype):
    """Whether a number is, or is within rounding of being, larger than any of the dtype."""
    limits = np.finfo(dtype)
    return abs(truth) > oracle.exact(limits.max) * (1 - 8 * oracle.exact(limits.eps))


def assert_functions_of_logits_are_right(x):
    """Compare all four functions of logits with the oracle, on rows."""
    results = {name: call(name, x) for name in LOGITS}
    for result in results.values():
        assert result.dtype == x.dtype
    for i, row in enumerate(map(oracle.softmax_row, x)):
        finite = x[i][np.isfinite(x[i])]
        size = max(abs(row.logsumexp), oracle.exact(abs(finite).max(initial=0)))
        assert_near(results["logsumexp"][i], row.logsumexp, 4, size)
        for k in range(x.shape[1]):
            assert_near(results["log_softmax"][i, k], -row.costs[k], 4)
            assert_near(results["softmax"][i, k], row.probabilities[k], 6)
            for j in range(x.shape[1]):
                factor = row.complements[k] if j == k else -row.probabilities[j]
                truth = row.probabilities[k] * factor
                assert_near(results["softmax_jacobian"][i, j, k], truth, 6)
    assert not (results["softmax"] > 1).any()
    assert not (results["log_softmax"] > 0).any()


class Problem(NamedTuple):
    """Scores, classes last, with everything that the losses take."""

    scores: np.ndarray
    targets: np.ndarray
    options: dict
    axis: int = -1

    def call(self, name, **more):
        def place(array):
            return np.moveaxis(array, -1, self.axis) if array.ndim == self.scores.ndim else array

        result = call(
            name, place(self.scores), place(self.targets), axis=self.axis, **self.options, **more
        )
        if more.get("return_grad"):
            return result[0], np.moveaxis(result[1], self.axis, -1)
        return result


def assert_loss_is_right(name, problem):
    """Compare loss and gradient of a batch of rows with the oracle."""
    scores, targets, options, _ = problem
    reduction = options["reduction"]
    rows = oracle.loss_factors(targets, scores.shape[-1], **options)
    with warnings.catch_warnings(record=True) as caught, np.errstate(all="warn"):
        warnings.simplefilter("always")
        loss, gradient = problem.call(name, return_grad=True)
        alone = problem.call(name)
    assert_array_equal(alone, loss)
    assert loss.dtype == gradient.dtype == scores.dtype
    assert gradient.shape == scores.shape
    complaints = {str(w.message) for w in caught if issubclass(w.category, RuntimeWarning)}
    left_out = [factors is None for factors in rows]
    if reduction == "mean" and all(left_out):
        assert np.isnan(loss)
        (complaint,) = complaints
        assert complaint.startswith("The mean loss is nan: ")
        return
    losses, by_index = [], targets.dtype.kind == "i"
    for i, factors in enumerate(rows):
        if factors is None:
            losses.append(mpmath.mpf(0))
            assert not gradient[i].any()
        elif name == "nll_loss":
            read = [targets[i]] if by_index else range(len(factors))
            losses.append(oracle.nll_loss([scores[i][k] for k in read], [factors[k] for k in read]))
            for g, factor in zip(gradient[i], factors, strict=True):
                assert_near(g, -factor, 4)
        else:
            row = oracle.softmax_row(scores[i])
            truth, gradients = oracle.softmax_cross_entropy(row, factors)
            losses.append(truth)
            total = mpmath.fsum(factors)
            for k, g in enumerate(gradient[i]):
                size = total * row.probabilities[k] + factors[k]
                if by_index and not options.get("label_smoothing"):
                    assert_near(g, gradients[k], 4 if k == targets[i] else 6)
                else:
                    assert_near(g, gradients[k], 6, size)
    if reduction == "none":
        for actual, truth in zip(loss, losses, strict=True):
            assert_near(actual, truth, 4)
    else:
        losses.append(mpmath.fsum(losses))
        assert_near(loss, losses[-1], 4)
    assert not np.signbit(np.asarray(loss)[~np.isnan(loss)]).any()
    # What is too large for the dtype, alone or on the way, may be said; nothing else.
    if complaints:
        assert any(overflows(truth, scores.dtype) for truth in losses) or np.isinf(gradient).any()
        assert all("overflow" in complaint for complaint in complaints)


# Accuracy -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("quantity", [*accuracy_softmax.BOUNDS, accuracy_softmax.SUM_OF_GRADIENT])
@pytest.mark.parametrize("dtype", DTYPES)
def test_error_on_the_grid_is_within_the_bound(dtype, quantity):
    table = accuracy_softmax.worst_errors(dtype, "classes", libraries=("cebook",))
    worst = {k: row["cebook"] for (of, k), row in table.items() if of == quantity}
    assert worst
    for classes, error in worst.items():
        assert error <= accuracy_softmax.bound(quantity, classes), (classes, error)


EXTREME_ROWS = [
    # What x - m rounds away is multiplied by exp's condition number, the difference.
    [0.1, 700.3],
    [700.3, 0.1, 0.3],
    [1e-3, 104.7, 88.1],
    [1 / 3, -640.7, -644.9],
    [0.1, 37.3, 36.9, 0.2],
    # Certain, and next to certain.
    [0, 36.7],
    [0, 745],
    [0, -708.4, -745.13],
    [1e4, 1e4 - 40, 1e4 - 700],
    # Ties, and next to ties.
    [1, 1 + EPS, 1 - EPS],
    [7, 7, 7, 7, 7, 7, 7],
    [-0.0, 0.0],
    # The logarithm of the sum is next to 0.
    [float(-LOG2), float(-LOG2)],
    [-36.5, 0],
    [-1.5, -0.252, -100],
    # Large and small numbers together.
    [1e300, -1e300, 1e299],
    [1e16, 1e16 + 2, 1e16 + 40],
    [5e-324, -5e-324, 2e-308],
    [1e-300, 1],
]


@pytest.mark.parametrize("dtype", FLOATS)
def test_extreme_rows_keep_the_bound(dtype):
    with np.errstate(over="ignore", under="ignore"):
        rows = [np.array(row, dtype) for row in EXTREME_ROWS]
    for row in rows:
        if np.isfinite(row).all():
            assert_functions_of_logits_are_right(row[np.newaxis])
            for target in range(len(row)):
                problem = Problem(row[np.newaxis], np.array([target]), {"reduction": "none"})
                assert_loss_is_right("softmax_cross_entropy", problem)


def test_longdouble_keeps_its_digits_where_float64_has_no_numbers():
    gaps = [0.1, 36.7, 44.3, 700.7, 5000.3, 11_000.9]
    rows = np.array([[0, np.longdouble(1) / 3, gap] for gap in gaps])
    assert_functions_of_logits_are_right(rows)
    for label in (0, 2):
        problem = Problem(rows, np.full(len(rows), label), {"reduction": "none"})
        assert_loss_is_right("softmax_cross_entropy", problem)


def test_sums_over_the_batch_keep_the_bound():
    logits = np.tile(np.float32([[0, 3, 16]]), (100_000, 1))
    loss = ce.softmax_cross_entropy(logits, np.full(100_000, 2), reduction="sum")
    truth = 100_000 * oracle.softmax_row(logits[0]).costs[2]
    assert oracle.error_in_eps(loss, truth) <= 4


@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize("dtype", DTYPES)
def test_many_equal_terms_keep_the_bound(dtype, axis):
    # One after the other, all of these are rounded the same way. That is how NumPy adds up the
    # rows of a tall array.
    row = np.full(20_000, -0.7, dtype)
    row[3] = 0
    batch = np.stack([row, row, row], axis=1 + axis)
    term = mpmath.exp(oracle.exact(row[0]))
    total = 1 + 19_999 * term
    labels, options = [3, 0, 7], {"axis": axis, "reduction": "none", "return_grad": True}
    loss, gradient = ce.softmax_cross_entropy(batch, labels, **options)
    results = [np.moveaxis(call(name, batch, axis=axis), axis, -1) for name in SUMMING[:2]]
    logsumexp = ce.logsumexp(batch, axis=axis)
    for i, s, log_s, g in zip(range(3), *results, np.moveaxis(gradient, axis, -1), strict=True):
        of_label = 1 / total if i == 0 else term / total
        for actual, truth, bound in (
            (loss[i], -mpmath.log(of_label), 4),
            (logsumexp[i], mpmath.log(total), 4),
            (log_s[3], -mpmath.log(total), 4),
            (log_s[9], mpmath.log(term / total), 4),
            (s[3], 1 / total, 8),
            (s[9], term / total, 8),
            (g[labels[i]], of_label - 1, 8),
            (g[9], term / total, 8),
        ):
            assert oracle.error_in_eps(actual, truth) <= bound


# Edges --------------------------------------------------------------------------------------------

# Rows with their softmax, its logarithm, and the logarithm of the sum.
EDGES = [
    ([0, -INF, 0], [0.5, 0, 0.5], [-LOG2, -INF, -LOG2], LOG2),
    ([-INF, -INF, 5], [0, 0, 1], [-INF, -INF, 0], 5),
    ([INF, 0, 1], [1, 0, 0], [0, -INF, -INF], INF),
    ([-INF, INF, 1], [0, 1, 0], [-INF, 0, -INF], INF),
    ([INF, 0, INF], [NAN] * 3, [NAN] * 3, INF),
    ([INF] * 3, [NAN] * 3, [NAN] * 3, INF),
    ([-INF] * 3, [NAN] * 3, [NAN] * 3, -INF),
    ([NAN, 0, 1], [NAN] * 3, [NAN] * 3, NAN),
    ([0, INF, NAN], [NAN] * 3, [NAN] * 3, NAN),
    ([-INF, -INF, NAN], [NAN] * 3, [NAN] * 3, NAN),
    ([NAN] * 3, [NAN] * 3, [NAN] * 3, NAN),
    # The largest number of the dtype, which the logarithm of 2 does not change.
    (["max", "max", 0], [0.5, 0.5, 0], [-LOG2, -LOG2, "-max"], "max"),
    (["-max", -INF, "-max"], [0.5, 0, 0.5], [-LOG2, -INF, -LOG2], "-max"),
]

# Small inputs and large ones may be computed in different ways, which must not differ.
SURROUNDINGS = {
    "alone": lambda row: row[np.newaxis],
    "among others": lambda row: np.insert(
        np.full((4000, len(row)), 1, row.dtype), 2000, row, axis=0
    ),
    "with impossible classes": lambda row: np.pad(
        row[np.newaxis], ((0, 0), (0, 20_000)), constant_values=-INF
    ),
}


def numbers(entries, dtype):
    largest = np.finfo(dtype).max
    named = {"max": largest, "-max": -largest}
    return np.array([named.get(entry, entry) for entry in np.atleast_1d(entries)], dtype)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("surroundings", SURROUNDINGS)
@pytest.mark.parametrize("case", EDGES, ids=lambda case: str(case[0]))
def test_edges(case, surroundings, dtype):
    row, *expected = (numbers(entries, dtype) for entries in case)
    batch = SURROUNDINGS[surroundings](row)
    place = len(batch) // 2
    with np.errstate(all="raise"):
        results = [call(name, batch) for name in ("softmax", "log_softmax", "logsumexp")]
    for result, truth in zip(results, expected, strict=True):
        assert_allclose(np.atleast_1d(result[place])[:3], truth, rtol=4 * np.finfo(dtype).eps)
        assert np.isfinite(np.delete(result, place, axis=0)).all()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("surroundings", SURROUNDINGS)
@pytest.mark.parametrize("case", EDGES, ids=lambda case: str(case[0]))
def test_edges_of_the_loss_and_its_gradient(case, surroundings, dtype):
    row, s, logarithms, _ = (numbers(entries, dtype) for entries in case)
    batch = SURROUNDINGS[surroundings](row)
    place = len(batch) // 2
    options = {"reduction": "none", "return_grad": True}
    for label in range(3):
        labels = np.full(len(batch), label)
        with np.errstate(all="raise"):
            losses, gradient = ce.softmax_cross_entropy(batch, labels, **options)
        one_hot = np.arange(3) == label
        assert_allclose(losses[place], -logarithms[label], rtol=4 * np.finfo(dtype).eps)
        assert_allclose(gradient[place, :3], s - one_hot, rtol=4 * np.finfo(dtype).eps)
        assert np.isnan(losses[place]) or not np.signbit(losses[place])
        assert np.isfinite(np.delete(losses, place)).all()
        if surroundings == "alone":
            soft_losses, soft_gradient = ce.softmax_cross_entropy(
                batch, one_hot[np.newaxis].astype(float), **options
            )
            assert_array_equal(soft_losses, losses)
            assert_array_equal(soft_gradient, gradient)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(
    ("targets", "options", "expected"),
    [
        # What is impossible costs nothing unless it is asked for.
        ([[1.0, 0.0, 0.0]], {}, 0.0),
        ([[0.5, 0.0, 0.5]], {}, INF),
        ([0], {}, 0.0),
        ([1], {}, INF),
        ([1], {"weight": [1, 0, 1]}, 0.0),
        ([[0.5, 0.0, 0.5]], {"weight": [1, 0, 0]}, 0.0),
        ([[0.5, 0.5, 0.0]], {"weight": [1, 1e-30, 0]}, INF),
        ([1], {"ignore_index": 1}, 0.0),
    ],
)
def test_impossible_classes_in_the_loss(name, targets, options, expected):
    row = np.array([[0, -INF, -INF]])
    with np.errstate(all="raise"):
        loss, gradient = call(name, row, targets, reduction="sum", return_grad=True, **options)
    assert loss == expected
    assert not np.signbit(loss)
    assert np.isfinite(gradient).all()


def test_impossible_classes_under_smoothing():
    row = np.array([[0, -INF]])
    options = {"label_smoothing": 0.5, "reduction": "sum", "return_grad": True}
    with np.errstate(all="raise"):
        loss, gradient = ce.softmax_cross_entropy(row, [0], **options)
        assert loss == INF
        assert_array_equal(gradient, [[0.25, -0.25]])
        loss, gradient = ce.softmax_cross_entropy(row, [0], weight=[1, 0], **options)
    assert loss == 0
    assert_array_equal(gradient, [[0, 0]])


def test_a_label_reads_its_own_log_probability_and_a_distribution_all():
    log_probs = np.array([[-1, NAN], [-2, -3]])
    for targets, expected in (
        ([0, 1], [1, 3]),
        ([1, 0], [NAN, 2]),
        ([[1.0, 0.0], [0.5, 0.5]], [NAN, 2.5]),
    ):
        assert_array_equal(ce.nll_loss(log_probs, targets, reduction="none"), expected)


@pytest.mark.parametrize("targets", [[0], [[1.0, 0.0]]], ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_a_weight_of_zero_does_not_hide_nan(name, targets):
    loss = call(name, [[NAN, -1.0]], targets, weight=[0, 1], reduction="none")
    assert np.isnan(loss[0])


@pytest.mark.parametrize("name", LOSSES)
def test_a_row_that_is_nan_does_not_overflow_besides(name):
    largest = np.finfo(np.float64).max
    assert np.isnan(call(name, [[NAN, -largest]], [[0.5, 0.5]], weight=[1, 3]))


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_in_an_ignored_row_does_not_matter(name):
    scores = np.array([[NAN, -1], [-1, -2], [-INF, -INF], [-INF, NAN]])
    options = {"ignore_index": -1, "return_grad": True}
    loss, gradient = call(name, scores, [-1, 0, -1, -1], **options)
    alone, gradient_alone = call(name, scores[1:2], [0], **options)
    assert loss == alone
    assert_array_equal(gradient, [[0, 0], gradient_alone[0], [0, 0], [0, 0]])


@pytest.mark.parametrize("name", LOSSES)
def test_nan_in_a_row_of_targets_stays_in_its_row(name):
    targets = [[NAN, 1.0], [0.0, 1.0]]
    loss, gradient = call(name, -np.ones((2, 2)), targets, reduction="none", return_grad=True)
    assert_array_equal(np.isnan(loss), [True, False])
    assert np.isnan(gradient[0]).any()
    assert np.isfinite(gradient[1]).all()


def test_one_class_is_certain():
    x = np.array([[3.0], [-INF], [INF], [NAN], [0.0]])
    zeros = [0, NAN, 0, NAN, 0]
    assert_array_equal(ce.softmax(x).ravel(), [1, NAN, 1, NAN, 1])
    assert_array_equal(ce.log_softmax(x).ravel(), zeros)
    assert_array_equal(ce.logsumexp(x), x[:, 0])
    assert_array_equal(ce.softmax_jacobian(x).ravel(), zeros)
    for targets in ([0] * 5, np.ones((5, 1))):
        loss, gradient = ce.softmax_cross_entropy(x, targets, reduction="none", return_grad=True)
        assert_array_equal(loss, zeros)
        assert not np.signbit(loss[~np.isnan(loss)]).any()
        assert_array_equal(gradient.ravel(), zeros)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", LOSSES)
def test_a_certain_loss_is_a_positive_zero(name, reduction):
    for scores, targets in (
        ([[0.0]], [0]),
        ([[-0.0]], [0]),
        ([[0.0]], [[1.0]]),
        ([[0.0, -INF]], [0]),
        ([[-INF, 0.0]] * 3, [[0.0, 1.0]] * 3),
    ):
        loss = call(name, scores, targets, reduction=reduction)
        assert not np.any(loss)
        assert not np.signbit(loss).any()


@pytest.mark.parametrize("name", ALL)
def test_empty_batch_is_empty(name):
    inputs = [array[:0] for array in arguments(name, np.float32)]
    result = call(name, *inputs, **({"reduction": "none"} if name in LOSSES else {}))
    shapes = {"softmax_jacobian": (0, 4, 4), "softmax": (0, 4), "log_softmax": (0, 4)}
    assert result.shape == shapes.get(name, (0,))
    assert result.dtype == np.float32


def test_the_logarithm_of_a_sum_of_no_terms():
    assert_array_equal(ce.logsumexp(np.zeros((2, 0), np.float32)), np.float32([-INF, -INF]))
    assert ce.logsumexp([]) == -INF
    assert ce.logsumexp(np.zeros((0, 3)), axis=None) == -INF
    assert_array_equal(ce.logsumexp(np.zeros((0, 3)), axis=0, keepdims=True), [[-INF] * 3])


NOTHING = {
    "the batch is empty": (np.zeros((0, 2)), [], {}),
    "the batch is empty, of distributions": (np.zeros((0, 2)), np.zeros((0, 2)), {}),
    "every target is ignore_index=7": (-np.ones((2, 2)), [7, 7], {"ignore_index": 7}),
    "the weights of all labels are 0": (-np.ones((2, 2)), [0, 0], {"weight": [0, 1]}),
}


@pytest.mark.parametrize("why", NOTHING)
@pytest.mark.parametrize("name", LOSSES)
def test_the_mean_of_nothing_is_nan_and_says_why(name, why):
    scores, targets, options = NOTHING[why]
    with pytest.warns(RuntimeWarning, match="mean loss is nan") as caught:
        loss, gradient = call(name, scores, targets, return_grad=True, **options)
    assert np.isnan(loss)
    assert gradient.shape == scores.shape
    (warning,) = caught
    assert warning.filename == __file__
    assert str(warning.message).startswith(f"The mean loss is nan: {why.split(', of')[0]}, and ")
    assert "With reduction='sum' the loss is 0." in str(warning.message)
    for reduction in ("sum", "none"):
        loss, gradient = call(
            name, scores, targets, reduction=reduction, return_grad=True, **options
        )
        assert not np.any(loss)
        assert not np.signbit(loss).any()
        assert not gradient.any()


def test_a_loss_lives_down_to_the_smallest_float():
    assert ce.softmax_cross_entropy([745.0, 0.0], 0) == 5e-324
    assert ce.softmax_cross_entropy(np.float32([103.9, 0]), 0) == np.float32(1e-45)


@pytest.mark.skipif(
    np.finfo(np.longdouble).max == np.finfo(np.float64).max, reason="no wider float"
)
def test_weights_may_be_wider_than_logits():
    weight = np.array([1, 2], np.longdouble)
    rows, labels = np.array([[0.0, 1.0], [3.0, -1.0]]), [0, 1]
    large = ce.softmax_cross_entropy(rows, labels, weight=weight * np.longdouble("1e400"))
    assert large == ce.softmax_cross_entropy(rows, labels, weight=weight)


def test_infinities_of_both_signs_add_up_without_a_complaint():
    with np.errstate(all="raise"), pytest.warns(UserWarning, match="above 0"):
        assert np.isnan(ce.nll_loss([[INF], [-INF]], [0, 0], reduction="sum"))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_log_probability_below_the_range_is_said(dtype):
    largest = np.finfo(dtype).max
    with pytest.warns(RuntimeWarning, match="overflow"):
        assert_array_equal(ce.log_softmax(np.array([largest, -largest])), [0, -INF])


@pytest.mark.parametrize(
    ("targets", "options", "error"),
    [
        ([], {"ignore_index": "x"}, "ignore_index must be"),
        (np.zeros(0, complex), {}, "targets must hold real numbers"),
        (np.zeros(0, str), {}, "targets must hold real numbers"),
    ],
)
def test_an_empty_batch_is_checked_too(targets, options, error):
    with pytest.raises(TypeError, match=error):
        ce.softmax_cross_entropy(np.zeros((0, 2)), targets, reduction="sum", **options)


def test_the_mean_of_nothing_warns_of_nothing_else():
    # Smoothing gives probability to a class that does have a weight.
    options = {"weight": [0, 1], "label_smoothing": 1.0, "return_grad": True}
    with np.errstate(all="raise"), pytest.warns(RuntimeWarning, match="mean loss is nan"):
        loss, _ = ce.softmax_cross_entropy([[0.0, 800.0]], [0], **options)
    assert np.isnan(loss)


def test_distributions_of_weight_zero_have_a_mean():
    # They are divided by the number of rows, which is not 0.
    assert ce.softmax_cross_entropy([[1.0, 2.0]], [[1.0, 0.0]], weight=[0, 1]) == 0


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ALL)
def test_no_floating_point_error_is_raised(name, dtype):
    limits = np.finfo(dtype)
    nasty = [
        [limits.smallest_subnormal, -limits.smallest_subnormal, 0],
        [limits.smallest_normal, 1, -limits.smallest_normal],
        [0, -1000, -12_000],
        [limits.max / 4, -limits.max / 4, 0],
        [-INF, 0, -limits.max / 4],
        [NAN, -INF, 0],
        [NAN, 1, -INF],
    ]
    batch = np.array(nasty, dtype)
    if name == "nll_loss":
        batch = -abs(batch)
    labels = np.array([0, 1, 2, 0, 1, 2, 0])
    with np.errstate(all="raise"):
        if name in LOGITS:
            call(name, batch)
        else:
            for targets in (labels, ce.one_hot(labels, 3), np.full(batch.shape, 1 / 3)):
                for reduction in REDUCTIONS:
                    call(
                        name,
                        batch,
                        targets,
                        weight=[1, 1e-5, 0],
                        reduction=reduction,
                        return_grad=True,
                    )


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_result_too_large_for_its_dtype_overflows_aloud(dtype):
    largest = np.finfo(dtype).max
    logits = np.array([largest, -largest])
    with pytest.warns(RuntimeWarning, match="overflow"):
        loss, gradient = ce.softmax_cross_entropy(logits, 1, return_grad=True)
    assert loss == INF
    assert_array_equal(gradient, [1, -1])


def test_a_loss_that_fits_does_not_overflow_on_the_way():
    # The exact losses are 2e308, too large for a float64, and 0. Their mean is 1e308.
    logits = [[1e308, -1e308], [-1e308, 1e308]]
    assert_allclose(ce.softmax_cross_entropy(logits, [1, 1]), 1e308)
    assert_allclose(ce.softmax_cross_entropy(logits[0], 1, weight=[0, 0.5], reduction="sum"), 1e308)


def test_a_loss_that_overflows_leaves_the_others_alone():
    logits = [[1e308, -1e308], [0.0, 1.0], [1e308, -1e308]]
    options = {"ignore_index": 7, "return_grad": True}
    expected = -ce.log_softmax([0.0, 1.0])[0]
    with pytest.warns(RuntimeWarning, match="overflow"):
        losses, gradient = ce.softmax_cross_entropy(logits, [1, 0, 0], reduction="none", **options)
    assert_allclose(losses, [INF, expected, 0], rtol=4 * EPS)
    assert_array_equal(gradient[::2], [[1, -1], [0, 0]])
    losses, _ = ce.softmax_cross_entropy(logits, [7, 0, 0], reduction="sum", **options)
    assert_allclose(losses, expected, rtol=4 * EPS)


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e30, 1e300, 1e308])
@pytest.mark.parametrize("name", LOSSES)
def test_the_scale_of_the_weights_cancels_in_the_mean(name, scale):
    scores, labels = arguments(name)
    weight = np.array([1, 1, 0.5, 1])
    loss, gradient = call(name, scores, labels, weight=weight, return_grad=True)
    scaled, scaled_gradient = call(name, scores, labels, weight=scale * weight, return_grad=True)
    assert_allclose(scaled, loss, rtol=8 * EPS)
    assert_allclose(scaled_gradient, gradient, rtol=8 * EPS)


def test_weights_too_far_apart_for_floats_overflow_and_do_nothing_else():
    # Smoothing asks for 1e300 times the class that only 1e-300 of the mean is divided by.
    options = {"weight": [1e-300, 1e300, 1e300], "label_smoothing": 0.5, "return_grad": True}
    with pytest.warns(RuntimeWarning) as caught:
        loss, gradient = ce.softmax_cross_entropy([[0.0, -1.0, 1.0]], [0], **options)
    assert all("overflow" in str(warning.message) for warning in caught)
    assert loss == INF
    assert not np.isfinite(gradient).any()


def test_rows_do_not_see_each_other():
    # Ordinary rows and rows that want care, in long runs and mixed.
    generator = np.random.default_rng(8)
    rows = generator.normal(size=(3000, 7))
    rows[500:1500] += 10.0 ** generator.integers(0, 300, (1000, 1))
    rows[::5] -= 1000 * generator.integers(0, 20, (600, 1))
    rows[::7, 2] = -INF
    rows[::11, 3] = generator.choice([NAN, INF, 800, -800], 273)
    labels = generator.integers(0, 7, 3000)
    for dtype in DTYPES:
        with np.errstate(over="ignore"):
            batch = rows.astype(dtype)

        def results(rows, labels):
            yield from (call(name, rows) for name in SUMMING)
            yield from ce.softmax_cross_entropy(rows, labels, reduction="none", return_grad=True)

        whole = list(results(batch, labels))
        for i in range(0, 3000, 13):
            for in_batch, alone in zip(whole, results(batch[i], labels[i]), strict=True):
                assert_allclose(in_batch[i], alone, rtol=8 * np.finfo(dtype).eps)


# dtypes, axes, memory -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ALL)
def test_dtype_in_is_dtype_out(name, dtype):
    more = {"return_grad": True} if name in LOSSES else {}
    results = call(name, *arguments(name, dtype), **more)
    exact = call(name, *arguments(name, np.longdouble), **more)
    eps = np.finfo(dtype).eps
    for result, truth in zip(*(r if more else [r] for r in (results, exact)), strict=True):
        assert result.dtype == dtype
        # float16 is computed wide and rounded once.
        assert_allclose(result, truth, rtol=(0.51 if dtype == np.float16 else 6) * float(eps))


def test_float16_is_rounded_once():
    generator = np.random.default_rng(2)
    logits = generator.normal(scale=4, size=(60, 8)) + generator.choice([0, 100], (60, 1))
    labels = generator.integers(0, 8, 60)

    def results(logits):
        yield from ce.softmax_cross_entropy(logits, labels, reduction="none", return_grad=True)
        yield from (call(name, logits) for name in LOGITS)

    logits = logits.astype(np.float16)
    eps = float(np.finfo(np.float16).eps)
    smallest = float(np.finfo(np.float16).smallest_subnormal)
    for result, truth in zip(results(logits), results(logits.astype(np.longdouble)), strict=True):
        assert result.dtype == np.float16
        assert_allclose(result, truth, rtol=0.51 * eps, atol=0.51 * smallest)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    "convert",
    [np.int8, np.uint64, np.bool_, np.ndarray.tolist, lambda array: tuple(array.tolist())],
    ids=["int8", "uint64", "bool", "list", "tuple"],
)
@pytest.mark.filterwarnings("ignore:log_probs must be:UserWarning")
def test_integers_bools_and_lists_become_float64(name, convert):
    scores = np.array([[0, 1, 1], [1, 1, 0]])
    targets = [[2, 0]] if name in LOSSES else []
    result = call(name, convert(scores), *targets)
    assert result.dtype == np.float64
    assert_array_equal(result, call(name, scores.astype(float), *targets))


@pytest.mark.parametrize("code", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", ">i4", ">u8"])
@pytest.mark.parametrize("name", LOSSES)
def test_labels_of_any_integer_type(name, code):
    scores, labels = arguments(name)
    expected = call(name, scores, labels)
    assert call(name, scores, labels.astype(code)) == expected
    assert call(name, scores, labels.tolist()) == expected


def test_labels_in_a_narrow_type_and_an_ignore_index_outside_it():
    logits = random_logits((2, 300))
    for label, code, ignored in (
        (127, np.int8, None),
        (127, np.int8, 128),
        (255, np.uint8, -100),
        (255, np.uint64, -1),
        (255, np.int64, 2**70),
    ):
        loss = ce.softmax_cross_entropy(logits, np.array([label, 0], code), ignore_index=ignored)
        assert loss == ce.softmax_cross_entropy(logits, [label, 0])
    largest = 2**64 - 1
    loss = ce.softmax_cross_entropy(logits, np.array([largest, 0], np.uint64), ignore_index=largest)
    assert loss == ce.softmax_cross_entropy(logits[1:], [0])


@pytest.mark.parametrize("other", [np.float16, np.float64, np.longdouble, np.bool_])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", LOSSES)
def test_the_result_has_the_dtype_of_the_scores_alone(name, dtype, other):
    scores, labels = arguments(name, dtype)
    targets, weight = ce.one_hot(labels, 4).astype(other), np.ones(4, other)
    loss, gradient = call(name, scores, targets, weight=weight, return_grad=True)
    expected, expected_gradient = call(name, scores, labels, return_grad=True)
    assert loss.dtype == gradient.dtype == dtype
    assert_allclose(loss, expected, rtol=4 * np.finfo(dtype).eps)
    assert_allclose(gradient, expected_gradient, rtol=6 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("name", LOSSES)
def test_wide_targets_and_weights_keep_their_digits(name, dtype):
    # 0.1 in float16 is 2e-4 off.
    scores, _ = arguments(name, dtype)
    targets = np.tile([0.1, 0.2, 0.3, 0.4], (3, 1))
    options = {"weight": np.array([0.1, 0.7, 1 / 3, 2]), "reduction": "sum"}
    narrow = call(name, scores, targets, **options)
    wide = call(name, scores.astype(np.float64), targets, **options)
    bound = 0.51 if dtype == np.float16 else 4
    assert_allclose(narrow, wide, rtol=bound * float(np.finfo(dtype).eps))


@pytest.mark.parametrize(
    "axis", [0, 1, -1, -3, (0, 1), (2, 0), (-1, 1), (0, 1, 2), None, np.int64(1)], ids=str
)
@pytest.mark.parametrize("name", SUMMING)
def test_axis_equals_moving_it_by_hand(name, axis):
    axes = {None: (0, 1, 2)}.get(axis, axis if isinstance(axis, tuple) else (axis,))
    x = random_logits((2, 3, 4))
    last = np.moveaxis(x, axes, range(-len(axes), 0))
    result = call(name, x, axis=axis)
    expected = call(name, last.reshape(*last.shape[: 3 - len(axes)], -1))
    if name == "logsumexp":
        kept = call(name, x, axis=axis, keepdims=True)
        assert kept.shape == np.sum(x, axis=axis, keepdims=True).shape
        assert_array_equal(kept.ravel(), result.ravel())
    else:
        assert result.shape == x.shape
        expected = np.moveaxis(expected.reshape(last.shape), range(-len(axes), 0), axes)
    assert_allclose(result, expected, rtol=8 * EPS)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3, np.int64(1)], ids=str)
def test_axis_of_the_losses_and_the_jacobian_equals_moving_it_by_hand(axis):
    x = -abs(random_logits((2, 3, 4)))
    last = np.moveaxis(x, axis, -1)
    jacobian = ce.softmax_jacobian(x, axis=axis)
    assert jacobian.shape == (*last.shape, last.shape[-1])
    assert_allclose(jacobian, ce.softmax_jacobian(last), rtol=8 * EPS)
    labels = np.random.default_rng(4).integers(0, last.shape[-1], last.shape[:-1])
    soft = distributions(last.shape)
    for name, reduction in itertools.product(LOSSES, REDUCTIONS):
        options = {"reduction": reduction, "return_grad": True}
        for targets, moved in ((labels, labels), (soft, np.moveaxis(soft, -1, axis))):
            loss, gradient = call(name, x, moved, axis=axis, **options)
            expected, expected_gradient = call(name, last, targets, **options)
            assert np.shape(loss) == (labels.shape if reduction == "none" else ())
            assert gradient.shape == x.shape
            assert_allclose(loss, expected, rtol=8 * EPS)
            assert_allclose(np.moveaxis(gradient, axis, -1), expected_gradient, rtol=8 * EPS)


def test_no_axis_at_all_leaves_single_certain_classes():
    x = random_logits((2, 3))
    assert_array_equal(ce.softmax(x, axis=()), np.ones((2, 3)))
    assert_array_equal(ce.log_softmax(x, axis=()), np.zeros((2, 3)))
    assert_array_equal(ce.logsumexp(x, axis=()), x)


@pytest.mark.parametrize("name", LOSSES)
def test_a_single_row_gives_scalars(name):
    scores, labels = arguments(name)
    expected = call(name, scores, labels, reduction="none")[0]
    for target, reduction in itertools.product((2, np.int64(2), ce.one_hot(2, 4)), REDUCTIONS):
        loss, gradient = call(name, scores[0], target, reduction=reduction, return_grad=True)
        assert isinstance(loss, np.float64)
        assert_allclose(loss, expected, rtol=4 * EPS)
        assert gradient.shape == (4,)


def test_the_logarithm_of_one_sum_is_a_scalar():
    for options in ({}, {"axis": None}, {"axis": (0,)}):
        assert isinstance(ce.logsumexp(np.float32([1, 2]), **options), np.float32)
    assert ce.logsumexp([1.0, 2.0], keepdims=True).shape == (1,)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("targets", ["indices", "distributions"])
@pytest.mark.parametrize("name", ALL)
def test_memory_layout_does_not_matter_and_inputs_stay_as_they_are(name, targets, layout):
    inputs = list(arguments(name))
    more = {"return_grad": True, "weight": np.arange(4.0)} if name in LOSSES else {}
    if targets == "distributions" and name in LOSSES:
        inputs[1] = distributions((3, 4))
    if targets == "indices":
        more |= {"ignore_index": 1} if name in LOSSES else {}
    before = [array.copy() for array in inputs]
    laid_out = [LAYOUTS[layout](array) for array in inputs]
    results, expected = call(name, *laid_out, **more), call(name, *before, **more)
    for result, truth in zip(*(r if more else [r] for r in (results, expected)), strict=True):
        assert_allclose(result, truth, rtol=8 * EPS)
        assert result.dtype.isnative
    for array, copy in zip([*inputs, *laid_out], before * 2, strict=True):
        assert_array_equal(array, copy)
    if more:
        assert_array_equal(more["weight"], np.arange(4.0))


@pytest.mark.parametrize("name", ALL)
def test_options_are_keyword_only(name):
    inputs = arguments(name)
    kinds = [p.kind for p in inspect.signature(getattr(ce, name)).parameters.values()]
    assert kinds[len(inputs) :] == [inspect.Parameter.KEYWORD_ONLY] * (len(kinds) - len(inputs))
    with pytest.raises(TypeError, match="positional"):
        call(name, *inputs, -1)


# The formula, option by option --------------------------------------------------------------------

WEIGHT = [2.0, 0.0, 0.5, 1.0, 1.25]
TARGETS = {
    "indices": np.array([0, 4, 1, 3, 2, 0]),
    "distributions": distributions((6, 5)),
    "one-hot": ce.one_hot([0, 4, 1, 3, 2, 0], 5),
}


def every_option():
    for name, kind, reduction in itertools.product(LOSSES, TARGETS, REDUCTIONS):
        smoothings = (0.0, 0.1, 1.0) if name == "softmax_cross_entropy" else (0.0,)
        ignored = (None, 0) if kind == "indices" else (None,)
        for weight, ignore_index, smoothing in itertools.product(
            (None, WEIGHT), ignored, smoothings
        ):
            options = {"reduction": reduction, "weight": weight, "ignore_index": ignore_index}
            options |= {"label_smoothing": smoothing} if smoothing else {}
            yield pytest.param(name, kind, options, id=f"{name}-{kind}-{options}")


@pytest.mark.parametrize(("name", "kind", "options"), [*every_option()])
def test_loss_and_gradient_follow_the_formula(name, kind, options):
    logits = random_logits((6, 5))
    scores = log_probs_or_logits(name, logits)
    for dtype in (np.float16, *DTYPES):
        assert_loss_is_right(name, Problem(scores.astype(dtype), TARGETS[kind], options))
    # The gradient is that of what is returned.
    loss, gradient = call(name, scores, TARGETS[kind], return_grad=True, **options)

    def total(scores):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return np.sum(call(name, scores, TARGETS[kind], **options))

    assert ce.check_gradient(total, gradient, scores) < 1e-8
    assert_allclose(np.sum(loss), total(scores))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", TARGETS)
def test_longdouble_loss_and_gradient_carry_longdouble_digits(kind, smoothing):
    logits = np.sqrt(abs(random_logits((6, 5)).astype(np.longdouble)))
    options = {"reduction": "mean", "weight": WEIGHT, "label_smoothing": smoothing}
    assert_loss_is_right("softmax_cross_entropy", Problem(logits, TARGETS[kind], options))
    if not smoothing:
        del options["label_smoothing"]
        assert_loss_is_right("nll_loss", Problem(-logits, TARGETS[kind], options))


@pytest.mark.parametrize("kind", TARGETS)
def test_gradient_equals_the_complex_step_to_its_last_digits(kind):
    logits = random_logits((6, 5))
    p = ce.one_hot(TARGETS[kind], 5) if kind == "indices" else TARGETS[kind]

    def textbook(z):
        s = np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True)
        return -(p * WEIGHT * np.log(s)).sum()

    options = {"weight": WEIGHT, "reduction": "sum", "return_grad": True}
    loss, gradient = ce.softmax_cross_entropy(logits, TARGETS[kind], **options)
    assert_allclose(loss, textbook(logits), rtol=1e-14)
    assert_allclose(gradient, ce.complex_step_gradient(textbook, logits), rtol=1e-12, atol=1e-15)


def test_jacobian_equals_the_complex_step():
    x = random_logits(5)
    for j, row in enumerate(ce.softmax_jacobian(x)):
        numeric = ce.complex_step_gradient(lambda z, j=j: np.exp(z[j]) / np.exp(z).sum(), x)
        assert_allclose(row, numeric, rtol=1e-13)


@given(
    npst.arrays(
        np.float64, st.tuples(st.integers(1, 3), st.integers(1, 6)), elements=st.floats(-50, 50)
    )
)
def test_jacobian_is_symmetric_and_its_rows_sum_to_nothing(x):
    jacobian = ce.softmax_jacobian(x)
    s = ce.softmax(x)
    assert_array_equal(jacobian, np.swapaxes(jacobian, -1, -2))
    largest = abs(jacobian).max(axis=-1)
    assert (abs(jacobian.sum(axis=-1)) <= 4 * EPS * largest).all()
    diagonal = np.einsum("ijj->ij", jacobian)
    assert (diagonal >= 0).all()
    # The derivative of the logarithm, times s.
    assert_allclose(jacobian, s[..., None] * (np.eye(x.shape[-1]) - s[:, None]), atol=4 * EPS)


# Identities ---------------------------------------------------------------------------------------


def close(actual, expected, rtol=1e-13, atol=0.0):
    assert_allclose(actual, expected, rtol=rtol, atol=atol)


rows_of_logits = npst.arrays(
    np.float64, st.tuples(st.integers(1, 4), st.integers(2, 6)), elements=st.floats(-60, 60)
)


@given(rows_of_logits)
def test_the_functions_of_logits_belong_together(x):
    s, logarithms, normaliser = ce.softmax(x), ce.log_softmax(x), ce.logsumexp(x, keepdims=True)
    close(s, np.exp(logarithms))
    close(s.sum(axis=-1), 1)
    close(logarithms, x - normaliser, atol=1e-13)
    assert (normaliser[:, 0] >= x.max(axis=-1)).all()
    assert (normaliser[:, 0] <= x.max(axis=-1) + np.log(x.shape[-1]) * (1 + EPS) + 60 * EPS).all()
    # A logarithm of probabilities is one already.
    close(ce.log_softmax(logarithms), logarithms, atol=1e-13)
    close(ce.logsumexp(logarithms), 0, atol=1e-13)


@pytest.mark.parametrize("classes", [1, 2, 10, 1000])
def test_equal_logits_cost_the_logarithm_of_the_number_of_classes(classes):
    logits = np.full((3, classes), -7.25)
    loss, gradient = ce.softmax_cross_entropy(logits, [0] * 3, reduction="none", return_grad=True)
    close(loss, math.log(classes), rtol=4 * EPS)
    close(gradient[:, 1:], 1 / classes, rtol=4 * EPS)
    close(gradient[:, 0], 1 / classes - 1, rtol=4 * EPS)


@pytest.mark.parametrize("constant", [1, -3, 100, -1024, 10_000, 2**20])
def test_adding_a_constant_to_a_row_changes_nothing(constant):
    # In 1024ths, which no such sum rounds.
    logits = np.round(1024 * random_logits((6, 5))) / 1024
    shifted = logits + constant
    close(ce.softmax(shifted), ce.softmax(logits), rtol=8 * EPS)
    close(ce.log_softmax(shifted), ce.log_softmax(logits), rtol=8 * EPS)
    close(ce.softmax_jacobian(shifted), ce.softmax_jacobian(logits), rtol=8 * EPS)
    close(ce.logsumexp(shifted), ce.logsumexp(logits) + constant, rtol=8 * EPS)
    options = {"weight": WEIGHT, "label_smoothing": 0.1, "return_grad": True}
    results = (
        ce.softmax_cross_entropy(z, [0, 1, 2, 3, 4, 0], **options) for z in (shifted, logits)
    )
    for result, expected in zip(*results, strict=True):
        close(result, expected, rtol=8 * EPS, atol=EPS)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("kind", TARGETS)
def test_the_order_of_classes_and_of_rows_does_not_matter(name, kind):
    generator = np.random.default_rng(6)
    scores = log_probs_or_logits(name, random_logits((6, 5)))
    targets, weight = TARGETS[kind], np.array(WEIGHT)
    loss, gradient = call(name, scores, targets, weight=weight, return_grad=True)
    for _ in range(5):
        classes, rows = generator.permutation(5), generator.permutation(6)
        renamed = np.argsort(classes)[targets] if kind == "indices" else targets[:, classes]
        again, gradient_again = call(
            name,
            scores[rows][:, classes],
            renamed[rows],
            weight=weight[classes],
            return_grad=True,
        )
        close(again, loss)
        close(gradient_again, gradient[rows][:, classes], atol=EPS)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_masked_classes_are_as_good_as_sliced_off(reduction):
    logits = random_logits((6, 5))
    allowed = np.array([True, False, True, True, False])
    masked = np.where(allowed, logits, -INF)
    labels = np.array([0, 2, 1, 1, 0, 2])
    options = {"reduction": reduction, "return_grad": True}
    loss, gradient = ce.softmax_cross_entropy(masked, np.flatnonzero(allowed)[labels], **options)
    sliced, sliced_gradient = ce.softmax_cross_entropy(logits[:, allowed], labels, **options)
    close(loss, sliced)
    close(gradient[:, allowed], sliced_gradient)
    assert not gradient[:, ~allowed].any()
    close(ce.softmax(masked)[:, allowed], ce.softmax(logits[:, allowed]))
    close(ce.logsumexp(masked), ce.logsumexp(logits[:, allowed]))


@pytest.mark.parametrize("name", LOSSES)
def test_a_label_is_a_one_hot_distribution(name):
    scores = log_probs_or_logits(name, random_logits((6, 5)))
    labels, one_hot = TARGETS["indices"], TARGETS["one-hot"]
    for weight, reduction in itertools.product((None, WEIGHT), REDUCTIONS):
        options = {"weight": weight, "reduction": reduction, "return_grad": True}
        results = [call(name, scores, targets, **options) for targets in (labels, one_hot)]
        # With weights the means are over different totals.
        ratio = np.sum(np.array(WEIGHT)[labels]) / 6 if weight and reduction == "mean" else 1
        for by_index, by_one_hot in zip(*results, strict=True):
            close(by_one_hot, by_index * ratio)


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("smoothing", [0.0, 1e-3, 0.1, 0.75, 1.0])
def test_smoothing_is_a_loss_of_smoothed_labels(kind, smoothing):
    logits = random_logits((6, 5))
    targets = TARGETS[kind]
    p = ce.one_hot(targets, 5) if kind == "indices" else targets
    options = {"reduction": "none", "return_grad": True}
    smoothed = ce.softmax_cross_entropy(logits, targets, label_smoothing=smoothing, **options)
    spelt_out = ce.softmax_cross_entropy(logits, ce.smooth_labels(p, smoothing), **options)
    for result, expected in zip(smoothed, spelt_out, strict=True):
        close(result, expected, atol=EPS)
    # A mixture of the loss and the mean cost of all classes.
    loss = ce.softmax_cross_entropy(logits, targets, reduction="none")
    uniform = -ce.log_softmax(logits).mean(axis=-1)
    close(smoothed[0], (1 - smoothing) * loss + smoothing * uniform)


@pytest.mark.parametrize("kind", TARGETS)
def test_the_loss_is_a_cross_entropy_with_the_softmax(kind):
    logits = random_logits((6, 5))
    p = ce.one_hot(TARGETS[kind], 5) if kind == "indices" else TARGETS[kind]
    losses = ce.softmax_cross_entropy(logits, TARGETS[kind], reduction="none")
    close(losses, ce.cross_entropy(p, ce.softmax(logits)), atol=4 * EPS)
    assert (losses >= ce.entropy(p)).all()
    # Its floor is the entropy of the targets.
    with np.errstate(divide="ignore"):
        best, gradient = ce.softmax_cross_entropy(np.log(p), p, reduction="none", return_grad=True)
    close(best, ce.entropy(p), atol=EPS)
    close(gradient, 0, atol=2 * EPS)


@pytest.mark.parametrize("kind", TARGETS)
def test_the_loss_is_the_nll_of_the_log_softmax(kind):
    logits = random_logits((6, 5))
    for weight, reduction in itertools.product((None, WEIGHT), REDUCTIONS):
        options = {"weight": weight, "reduction": reduction}
        fused = ce.softmax_cross_entropy(logits, TARGETS[kind], **options)
        close(fused, ce.nll_loss(ce.log_softmax(logits), TARGETS[kind], **options))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("kind", TARGETS)
def test_reductions_belong_together(name, kind):
    scores = log_probs_or_logits(name, random_logits((6, 5)))
    targets = TARGETS[kind]
    each, of_each = call(name, scores, targets, reduction="none", return_grad=True)
    total, of_total = call(name, scores, targets, reduction="sum", return_grad=True)
    mean, of_mean = call(name, scores, targets, return_grad=True)
    assert each.shape == (6,)
    close(total, each.sum())
    close(mean, each.mean())
    assert_array_equal(of_total, of_each)
    close(of_mean, of_total / 6)
    # Batches of unequal size: the mean is weighted by the rows, the sum is not.
    first, rest = (call(name, scores[part], targets[part]) for part in (slice(2), slice(2, 6)))
    close(mean, (2 * first + 4 * rest) / 6)


@pytest.mark.parametrize("name", LOSSES)
def test_the_weighted_mean_divides_by_the_weights_of_the_labels_that_count(name):
    scores = log_probs_or_logits(name, random_logits((6, 5)))
    labels, weight = TARGETS["indices"], np.array(WEIGHT)
    each = call(name, scores, labels, reduction="none")
    for ignored in (None, 0, 4):
        kept = labels != ignored
        mean = call(name, scores, labels, weight=weight, ignore_index=ignored)
        picked = weight[labels[kept]]
        close(mean, (picked * each[kept]).sum() / picked.sum())
        close(mean, call(name, scores, labels, weight=10 * weight, ignore_index=ignored))
    # A whole weight is a row that comes as often.
    often = np.repeat(np.arange(6), np.array([1, 2, 3, 1, 2])[labels])
    weighted = call(name, scores, labels, weight=[1, 2, 3, 1, 2])
    close(weighted, call(name, scores[often], labels[often]))


@pytest.mark.parametrize("name", LOSSES)
def test_ignored_rows_are_as_good_as_sliced_off(name):
    scores = log_probs_or_logits(name, random_logits((6, 5)))
    labels = TARGETS["indices"]
    kept = labels != 0
    for weight, reduction in itertools.product((None, WEIGHT), ("mean", "sum")):
        options = {"weight": weight, "reduction": reduction, "return_grad": True}
        loss, gradient = call(name, scores, labels, ignore_index=0, **options)
        sliced, sliced_gradient = call(name, scores[kept], labels[kept], **options)
        close(loss, sliced)
        close(gradient[kept], sliced_gradient)
        assert not gradient[~kept].any()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("kind", TARGETS)
def test_leaving_out_each_class_in_turn_counts_everything_but_once(name, kind):
    scores = log_probs_or_logits(name, random_logits((6, 5)))
    targets = TARGETS[kind]
    total, gradient = call(name, scores, targets, reduction="sum", return_grad=True)
    left_out = [{"weight": np.arange(5) != k} for k in range(5)]
    if kind == "indices":
        left_out += [{"ignore_index": k} for k in range(5)]
    for options in (left_out[:5], left_out[5:]):
        results = [
            call(name, scores, targets, reduction="sum", return_grad=True, **each)
            for each in options
        ]
        if results:
            close(sum(loss for loss, _ in results), 4 * total)
            close(sum(grad for _, grad in results), 4 * gradient, atol=4 * EPS)


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_is_linear_in_the_targets(name):
    scores = log_probs_or_logits(name, random_logits((6, 5)))
    p, q = TARGETS["distributions"], distributions((6, 5), seed=9)
    mixed = call(name, scores, 0.25 * p + 0.75 * q)
    close(mixed, 0.25 * call(name, scores, p) + 0.75 * call(name, scores, q))


def test_softmax_twice_keeps_the_loss_away_from_zero():
    # Pitfall 1: the best that probabilities as logits can do.
    for classes in (3, 1000):
        certain = np.eye(classes)
        with pytest.warns(UserWarning, match="looks like probabilities"):
            loss = ce.softmax_cross_entropy(certain, np.arange(classes))
        close(loss, math.log(math.e + classes - 1) - 1)
        close(
            ce.softmax_cross_entropy(np.log(certain + 1e-300), np.arange(classes)), 0, atol=1e-290
        )


# The whole range of the dtypes --------------------------------------------------------------------


def elements(dtype, top=None, infinite=True):
    """Draw ordinary numbers, numbers of any magnitude, and the limits of the dtype."""
    limits = np.finfo(dtype)
    width = limits.bits
    top = float(limits.max) if top is None else top
    special = [limits.max, limits.smallest_normal, limits.smallest_subnormal, limits.eps, 1]
    special = [float(sign * number) for number in special for sign in (-1, 1)]
    special = [number for number in (0.0, -0.0, *special) if number <= top]
    ordinary = st.floats(-50, min(50, top), width=width)
    anything = st.floats(-float(limits.max), top, width=width)
    drawn = [ordinary, ordinary, anything, st.sampled_from(special)]
    if infinite:
        values = [-INF, -INF, -INF, NAN] + [INF] * (top > 0)
        drawn.append(st.sampled_from(values))
    return st.one_of(drawn)


def shapes(least=0):
    return st.tuples(st.integers(least, 4), st.integers(1, 5))


@st.composite
def logits_of_any_size(draw, infinite=True):
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    return draw(npst.arrays(dtype, shapes(), elements=elements(dtype, infinite=infinite)))


@st.composite
def problems(draw, name):
    """Draw scores, targets, and every option."""
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    top = 0.0 if name == "nll_loss" else None
    scores = draw(npst.arrays(dtype, shapes(), elements=elements(dtype, top)))
    rows, classes = scores.shape
    factor = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(1e-6, 1e6))
    share = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(1e-6, 1))
    options = {"reduction": draw(st.sampled_from(REDUCTIONS))}
    if draw(st.booleans()):
        options["weight"] = draw(st.lists(factor, min_size=classes, max_size=classes))
    if name == "softmax_cross_entropy":
        options["label_smoothing"] = draw(share)
    if draw(st.booleans()):
        labels = st.integers(0, classes - 1)
        if draw(st.booleans()):
            options["ignore_index"] = draw(st.integers(-1, classes))
            labels = st.one_of(labels, st.just(options["ignore_index"]))
        targets = np.array(draw(st.lists(labels, min_size=rows, max_size=rows)), np.int64)
    else:
        weights = draw(npst.arrays(np.float64, scores.shape, elements=share))
        weights[:, :1] += 1e-3
        targets = weights / weights.sum(axis=-1, keepdims=True)
        targets = targets.astype(draw(st.sampled_from([dtype, np.float64])))
    # A weight of 0 and nan have a test of their own.
    assume(name != "nll_loss" or 0 not in options.get("weight", ()) or not np.isnan(scores).any())
    return Problem(scores, targets, options, draw(st.sampled_from([0, 1, -1, -2])))


@settings(max_examples=300)
@given(logits_of_any_size())
def test_functions_of_any_logits_are_right(x):
    before = x.tobytes()
    with warnings.catch_warnings(record=True) as caught, np.errstate(all="warn"):
        warnings.simplefilter("always")
        assert_functions_of_logits_are_right(x)
    # Only a difference of logits can be too large for a dtype that holds both.
    assert all("overflow" in str(warning.message) for warning in caught)
    if caught:
        with np.errstate(over="ignore", invalid="ignore"):
            assert np.isinf(np.ptp(np.where(np.isfinite(x), x, 0), axis=-1)).any()
    assert x.tobytes() == before


@settings(max_examples=300)
@given(problems("softmax_cross_entropy"))
def test_the_loss_of_any_logits_is_right(problem):
    before = problem.scores.tobytes(), problem.targets.tobytes()
    assert_loss_is_right("softmax_cross_entropy", problem)
    assert (problem.scores.tobytes(), problem.targets.tobytes()) == before


@settings(max_examples=300)
@given(problems("nll_loss"))
def test_the_loss_of_any_log_probabilities_is_right(problem):
    before = problem.scores.tobytes(), problem.targets.tobytes()
    assert_loss_is_right("nll_loss", problem)
    assert (problem.scores.tobytes(), problem.targets.tobytes()) == before


# Errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", NOT_NUMBERS)
@pytest.mark.parametrize("name", ALL)
def test_what_is_not_a_real_number_is_a_type_error(name, kind):
    bad, came, mistake = NOT_NUMBERS[kind]
    function = getattr(ce, name)
    calls = {FIRST[name]: lambda: function(bad, *([0] if name in LOSSES else []))}
    if name in LOSSES:
        calls["targets"] = lambda: function([-1.0, -2.0], bad)
        calls["weight"] = lambda: function([-1.0, -2.0], 0, weight=bad)
    for argument, run in calls.items():
        text = message(TypeError, run)
        assert text.startswith(f"{argument} ")
        assert came in text
        if argument == FIRST[name]:
            assert mistake in text


def test_advice_on_masked_labels_makes_no_labels_of_them():
    # Filled with 0, what is missing would count as class 0.
    masked = np.ma.masked_array([1, 0], [0, 1])
    text = message(TypeError, ce.softmax_cross_entropy, [[1.0, 2.0]] * 2, masked)
    assert ".filled(0)" not in text
    assert "ignore_index" in text


def test_advice_on_text_labels_is_not_to_count_them():
    # That would make one distribution of them all, where class indices are wanted.
    text = message(TypeError, ce.softmax_cross_entropy, [[1.0, 2.0]] * 2, ["cat", "dog"])
    assert "Count them" not in text


@pytest.mark.parametrize("name", ALL)
def test_ragged_lists_are_a_value_error(name):
    targets = [[0, 0]] if name in LOSSES else []
    text = message(ValueError, getattr(ce, name), [[1.0, 2.0], [1.0]], *targets)
    assert text.startswith(f"{FIRST[name]} must be a rectangular array of real numbers")


@pytest.mark.parametrize("name", ALL)
def test_a_single_number_has_no_classes(name):
    text = message(ValueError, getattr(ce, name), 3.5, *([0] if name in LOSSES else []))
    assert text.startswith(f"{FIRST[name]} must have at least one axis")
    assert f"the single number 3.5. Pass [{FIRST[name]}] if there is but one class." in text


@pytest.mark.parametrize("name", sorted(set(ALL) - {"logsumexp"}))
def test_no_classes_at_all(name):
    for shape, axis in (((3, 0), -1), ((0, 3), 0), ((0, 0), 1), ((0,), -1)):
        targets = [np.zeros(shape[1:] if axis == 0 else shape[:-1], int)] if name in LOSSES else []
        text = message(ValueError, getattr(ce, name), np.zeros(shape), *targets, axis=axis)
        assert text.startswith(f"{FIRST[name]} must have at least one class along axis ")
        assert f"its shape is {shape}: an empty batch is fine" in text


@pytest.mark.parametrize(("axis", "error", "fragment"), BAD_AXES, ids=str)
@pytest.mark.parametrize("name", SUMMING)
def test_axis_that_is_none(name, axis, error, fragment):
    assert fragment in message(error, getattr(ce, name), np.zeros((2, 3)), axis=axis)


@pytest.mark.parametrize("axis", [None, (0,), (0, 1), 1.0, "last", True], ids=repr)
@pytest.mark.parametrize("name", ["softmax_jacobian", *LOSSES])
def test_classes_lie_along_one_axis(name, axis):
    text = message(TypeError, getattr(ce, name), *arguments(name), axis=axis)
    assert text == f"axis must be one int, the axis of the classes, but it is {axis!r}."
    for outside in (2, -3):
        text = message(np.exceptions.AxisError, getattr(ce, name), *arguments(name), axis=outside)
        assert f"axis {outside} is out of bounds for array of dimension 2" in text


# What is passed as targets for scores of shape (3, 4): what came, what was expected, what to do.
SHAPE = (
    "targets are integers, so they are class indices and must have the shape of {first} without "
)
BAD_TARGETS = {
    "float labels": (
        [0.0, 2.0, 1.0],
        TypeError,
        [
            "targets are of dtype float64 and have the shape of class indices, (3,)",
            "Class indices must be integers: use .astype(int)",
            "Distributions would have the shape of {first}, (3, 4)",
        ],
    ),
    "bool labels": (
        [False, True, True],
        TypeError,
        ["targets are of dtype bool", "must be integers: use .astype(int)"],
    ),
    "integer one-hot": (
        np.eye(3, 4, dtype=int),
        ValueError,
        [
            SHAPE + "axis 1: {first} has shape (3, 4), so (3,) was expected, but targets has shape "
            "(3, 4). ",
            "one-hot ones too, must be floats: use .astype(float)",
        ],
    ),
    "column of labels": (
        [[0], [1], [2]],
        ValueError,
        [SHAPE, "has shape (3, 1)", "as many labels as rows: reshape targets to (3,)"],
    ),
    "labels for the other axis": (
        [0, 1, 2, 0],
        ValueError,
        [SHAPE, "has shape (4,)", "Are the classes along another axis? Then axis=0."],
    ),
    "too few labels": ([0, 1], ValueError, [SHAPE, "(2,)", "There must be one label for each row"]),
    "one label for all": (1, ValueError, [SHAPE, "has shape ()", "one label for each row"]),
    "label K": (
        [0, 4, 4],
        ValueError,
        [
            "targets must be class indices from 0 to 3, but targets[1] = 4 (2 of 3 are out of ",
            "Is the axis of the classes right, and are there enough of them?",
        ],
    ),
    "labels from 1 to K": ([1, 4, 2], ValueError, ["targets[1] = 4", "Then subtract 1."]),
    "label -1": (
        [0, 3, -1],
        ValueError,
        ["targets[2] = -1 (1 of 3", "does not count from the end", "see ignore_index"],
    ),
    "label -100": ([0, -100, 9], ValueError, ["targets[1] = -100", "pass ignore_index=-100"]),
    "label beyond int64": (
        np.array([2**63, 0, 0], np.uint64),
        ValueError,
        ["targets[0] = 9223372036854775808"],
    ),
    "transposed distributions": (
        np.full((4, 3), 0.25),
        ValueError,
        [
            "must have the shape of {first}, (3, 4), but targets has shape (4, 3)",
            "a transpose?",
        ],
    ),
    "arguments swapped": (
        np.zeros((3, 4, 2)),
        ValueError,
        ["but targets has shape (3, 4, 2)", "swapped? The {first} come first."],
    ),
    "float labels in a column": (
        np.zeros((3, 1)),
        ValueError,
        ["but targets has shape (3, 1)", "If these are class indices, use .astype(int)"],
    ),
    "float labels that are none": (
        [0.5, 1.0, 2.0],
        TypeError,
        ["the shape of class indices, (3,)", "not even whole numbers"],
    ),
    "padded with zeros": (
        [[1.0, 0, 0, 0], [0, 0.5, 0.5, 0], [0, 0, 0, 0]],
        ValueError,
        ["the row at index (2,) sums to 0", "A row of zeros says nothing"],
    ),
    "one distribution for all": (
        np.full(4, 0.25),
        ValueError,
        ["targets has shape (4,)", "Nothing is broadcast", "np.broadcast_to"],
    ),
    "several labels": (
        [[1.0, 1, 0, 0], [0, 1, 0, 0], [1, 1, 1, 0]],
        ValueError,
        ["the row at index (0,) sums to 2", "each class wants a sigmoid of its own"],
    ),
    "negative": (
        [[1, 0, 0, 0], [0.5, 0.5, 0.5, -0.5], [0, 0, 0, 1.0]],
        ValueError,
        ["targets must be a probability distribution, but targets[1, 3] = -0.5 is negative"],
    ),
    "logits as targets": (
        [[1.5, -2, 0, 0.5]] * 3,
        ValueError,
        ["targets[0, 1] = -2 is negative", "apply softmax first"],
    ),
    "log-probabilities as targets": (
        np.log(np.full((3, 4), 0.25)),
        ValueError,
        ["targets[0, 0] = -1.38629 is negative", "if log-probabilities, np.exp"],
    ),
    "sums to more": (
        [[1, 0, 0, 0.0], [0, 1, 0, 0], [0.5, 0.5, 0.25, 0]],
        ValueError,
        [
            "targets must sum to 1 over axis 1, but the row at index (2,) sums to 1.25 (tolerance "
            "1.5e-08 for float64, shape (3, 4))",
        ],
    ),
    "percentages": ([[25.0, 25, 50, 0]] * 3, ValueError, ["sums to 100", "Divide by 100"]),
    "counts": ([[3.0, 1, 0, 0]] * 3, ValueError, ["sums to 4", "Divide by targets.sum(axis=1,"]),
    "infinite": ([[INF, 0, 0, 0]] * 3, ValueError, ["sums to inf", "targets contains inf"]),
}


@pytest.mark.parametrize("case", BAD_TARGETS)
@pytest.mark.parametrize("name", LOSSES)
def test_targets_that_do_not_fit(name, case):
    bad, error, fragments = BAD_TARGETS[case]
    function = getattr(ce, name)
    scores, _ = arguments(name)
    text = message(error, function, scores, bad)
    assert text.startswith("targets ")
    for fragment in fragments:
        assert fragment.format(first=FIRST[name]) in text
    # The same for every option that has nothing to do with it.
    assert text == message(
        error, function, scores.astype(np.float16), bad, reduction="sum", return_grad=True
    )


@pytest.mark.parametrize("name", LOSSES)
def test_the_first_label_out_of_range_is_named_by_its_position(name):
    scores = -np.ones((2, 3, 4))
    labels = np.zeros((2, 4), int)
    labels[1, 2], labels[1, 3] = 3, 17
    text = message(ValueError, getattr(ce, name), scores, labels, axis=1)
    assert "indices from 0 to 2, but targets[1, 2] = 3 (2 of 8 are out of range)" in text
    text = message(ValueError, getattr(ce, name), scores[0, :, 0], 3)
    assert "indices from 0 to 2, but it is 3 (1 of 1 are out of range)" in text
    # Of labels that are left out none is out of range.
    text = message(ValueError, getattr(ce, name), scores, labels, axis=1, ignore_index=3)
    assert "but targets[1, 3] = 17 (1 of 8" in text


@pytest.mark.parametrize("name", LOSSES)
def test_distributions_along_another_axis(name):
    columns = np.array([[0.5, 1], [0.5, 0]])
    text = message(ValueError, getattr(ce, name), -np.ones((2, 2)), columns)
    assert "the row at index (0,) sums to 1.5" in text
    assert "It does sum to 1 over axis 0" in text
    call(name, -np.ones((2, 2)), columns, axis=0)


@pytest.mark.parametrize("dtype", FLOATS)
def test_tolerance_of_the_sum_follows_the_dtype_of_the_targets(dtype):
    slack = math.sqrt(np.finfo(dtype).eps)
    logits = np.array([1.0, 2.0])
    ce.softmax_cross_entropy(logits, np.array([0.5, 0.5 + 0.5 * slack], dtype))
    bad = np.array([0.5, 0.5 + 3 * slack], dtype)
    text = message(ValueError, ce.softmax_cross_entropy, logits, bad)
    assert f"(tolerance {slack:.2g} for {np.dtype(dtype)}, shape (2,))" in text


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_softmax_computed_elsewhere_is_a_target(dtype):
    teacher = torch.softmax(torch.tensor(random_logits((5, 50_000)), dtype=torch.float32), -1)
    ce.softmax_cross_entropy(np.zeros((5, 50_000), dtype), teacher.numpy())


BAD_OPTIONS = {
    "reduction None": ({"reduction": None}, ValueError, ["it is None", "None is written 'none'"]),
    "reduction batchmean": (
        {"reduction": "batchmean"},
        ValueError,
        ["it is 'batchmean'", "use 'sum', divided by the batch"],
    ),
    "reduction avg": (
        {"reduction": "avg"},
        ValueError,
        ["'mean', 'sum' or 'none', but it is 'avg'"],
    ),
    "reduction Mean": ({"reduction": "Mean"}, ValueError, ["but it is 'Mean'"]),
    "reduction array": (
        {"reduction": np.array(["mean", "sum"])},
        ValueError,
        ["reduction must be 'mean', 'sum' or 'none'"],
    ),
    "reduction bool": ({"reduction": True}, ValueError, ["but it is True"]),
    "weight too short": (
        {"weight": [1, 2, 3]},
        ValueError,
        ["one entry for each class, shape (4,), but it has shape (3,)", "To weight samples, "],
    ),
    "weight of rows": ({"weight": np.ones((3, 1))}, ValueError, ["but it has shape (3, 1)"]),
    "weight of two axes": ({"weight": np.ones((1, 4))}, ValueError, ["but it has shape (1, 4)"]),
    "weight a number": (
        {"weight": 2.0},
        ValueError,
        ["shape (4,), but it has shape ()", "A factor for all classes belongs on the loss"],
    ),
    "weight negative": (
        {"weight": [1, 1, -2.5, -3]},
        ValueError,
        ["must be finite and non-negative, but weight[2] = -2.5", "would reward mistakes"],
    ),
    "weight inf": (
        {"weight": [1, INF, 1, 1]},
        ValueError,
        ["weight[1] = inf", "1/count of a class that never occurs? Give that class weight 0"],
    ),
    "weight nan": ({"weight": [1, 1, 1, NAN]}, ValueError, ["weight[3] = nan"]),
    "weight by name": ({"weight": "balanced"}, TypeError, ["one for each class"]),
    "weight by class": ({"weight": {0: 1, 1: 2}}, TypeError, ["must hold real numbers"]),
    "ignore_index float": (
        {"ignore_index": -100.0},
        TypeError,
        ["the one integer that marks targets to leave out, or None, but it is -100.0"],
    ),
    "ignore_index list": ({"ignore_index": [0, 1]}, TypeError, ["but it is [0, 1]"]),
    "ignore_index bool": ({"ignore_index": True}, TypeError, ["but it is True"]),
    "ignore_index text": ({"ignore_index": "pad"}, TypeError, ["but it is 'pad'"]),
}
BAD_SMOOTHING = {
    "percent": (10, ValueError, ["but it is 10.", "0.1 is common, 10 for 10 % is not"]),
    "negative": (-0.1, ValueError, ["must lie in [0, 1], but it is -0.1"]),
    "above 1": (1 + 1e-15, ValueError, ["but it is 1.000000000000001"]),
    "nan": (NAN, ValueError, ["but it is nan"]),
    "bool": (True, TypeError, ["must be a number in [0, 1], not True"]),
    "text": ("0.1", TypeError, ["must be a number in [0, 1], not '0.1'"]),
    "None": (None, TypeError, ["not None"]),
    "one a class": ([0.1, 0.2], TypeError, ["not [0.1, 0.2]"]),
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
@pytest.mark.parametrize("name", LOSSES)
def test_options_that_do_not_fit(name, case):
    options, error, fragments = BAD_OPTIONS[case]
    ((argument, _),) = options.items()
    text = message(error, getattr(ce, name), *arguments(name), **options)
    assert text.startswith(f"{argument} must ")
    for fragment in fragments:
        assert fragment in text


@pytest.mark.parametrize("case", BAD_SMOOTHING)
def test_smoothing_that_does_not_fit(case):
    smoothing, error, fragments = BAD_SMOOTHING[case]
    for function, inputs in (
        (ce.softmax_cross_entropy, arguments("softmax_cross_entropy")),
        (ce.smooth_labels, ([0.5, 0.5],)),
    ):
        text = message(error, function, *inputs, label_smoothing=smoothing)
        assert text.startswith("label_smoothing must ")
        for fragment in fragments:
            assert fragment in text


@pytest.mark.parametrize("name", LOSSES)
def test_ignore_index_has_nothing_to_compare_with_in_distributions(name):
    scores, labels = arguments(name)
    for ignore_index in (-100, 0, "pad"):
        text = message(
            ValueError, getattr(ce, name), scores, ce.one_hot(labels, 4), ignore_index=ignore_index
        )
        assert text.startswith(
            "ignore_index must be None when targets are distributions, but it is "
        )
        assert "Leave those rows out" in text


@pytest.mark.parametrize("name", LOSSES)
def test_numbers_of_other_types_are_options_too(name):
    scores, labels = arguments(name)
    expected = call(name, scores, labels, weight=[1, 2, 1, 1], ignore_index=1)
    for weight in ((1, 2, 1, 1), np.array([1, 2, 1, 1], np.int8), torch.tensor([1.0, 2, 1, 1])):
        assert call(name, scores, labels, weight=weight, ignore_index=np.int16(1)) == expected
    if name == "softmax_cross_entropy":
        for half in (np.float16(0.5), Fraction(1, 2), np.longdouble(0.5)):
            assert call(name, scores, labels, label_smoothing=half) == call(
                name, scores, labels, label_smoothing=0.5
            )
        for whole in (0, 1, np.int64(1)):
            assert call(name, scores, labels, label_smoothing=whole) == call(
                name, scores, labels, label_smoothing=float(whole)
            )


# Warnings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("axis", [0, 1])
def test_probabilities_as_logits_warn(dtype, axis):
    p = np.array([[0.25, 0.75], [0.5, 0.5], [1, 0]], dtype)
    logits = p if axis == 1 else p.T
    for targets in ([0, 1, 1], ce.one_hot([0, 1, 1], 2, axis=axis)):
        with pytest.warns(UserWarning, match="logits looks like probabilities") as caught:
            ce.softmax_cross_entropy(logits, targets, axis=axis)
        (warning,) = caught
        assert warning.filename == __file__
        assert "every row is non-negative and sums to 1" in str(warning.message)
        assert "or use nll_loss on log-probabilities" in str(warning.message)


@pytest.mark.parametrize(
    "logits",
    [
        [[0.25, 0.75], [0.5, 0.6]],  # One row that is none.
        [[0.25, 0.75], [1.5, -0.5]],
        [[0.25, 0.75], [NAN, 1]],
        [[1.0], [1.0]],  # A single class may have any logit.
        np.zeros((0, 2)),
        [[-0.25, 1.25], [0.5, 0.5]],
        [[0.3, 0.699], [0.5, 0.5]],
    ],
    ids=str,
)
def test_logits_that_only_resemble_probabilities_do_not_warn(logits):
    ce.softmax_cross_entropy(logits, [0] * len(logits), reduction="sum")


def test_probabilities_are_welcome_where_they_belong():
    p = np.full((2, 2), 0.5)
    ce.nll_loss(np.log(p), [0, 1])
    ce.softmax_cross_entropy(np.log(p), p)
    for name in LOGITS:  # These may be applied to anything.
        call(name, p)


@pytest.mark.parametrize("dtype", FLOATS)
def test_positive_log_probabilities_warn(dtype):
    log_probs = np.array([[-1, -2], [-0.5, 0.25], [3, 0]], dtype)
    for targets in ([0, 0, 1], ce.one_hot([0, 0, 1], 2)):
        with pytest.warns(UserWarning, match="log_probs must be log-probabilities") as caught:
            loss = ce.nll_loss(log_probs, targets, reduction="sum")
        assert loss == 1.5
        (warning,) = caught
        assert warning.filename == __file__
        assert "never above 0, but log_probs[1, 1] = 0.25. " in str(warning.message)
        assert "For logits use softmax_cross_entropy" in str(warning.message)
        assert "for probabilities take np.log first" in str(warning.message)


@pytest.mark.parametrize("dtype", FLOATS)
def test_log_probabilities_that_rounding_lifted_above_zero_do_not_warn(dtype):
    eps = np.finfo(dtype).eps
    loss = ce.nll_loss(np.array([[eps, -40], [-0.0, -INF]], dtype), [0, 0], reduction="none")
    assert_array_equal(loss, [-eps, 0])


def test_every_public_function_is_tested_here():
    assert sorted(softmax_loss.__all__) == sorted(ALL)
