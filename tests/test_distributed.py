"""cebook.distributed on real processes: 2 and 4 of them on this machine, which talk by gloo.

Every case is written down when this module is imported. ``distributed_worker`` runs those of one
number of processes in one go, and the tests look at what came back. Errors of a single process are
tested in this one, as a group of its own.
"""

import contextlib
import itertools
import math
import os
import pickle
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import oracle
import pytest
import torch
import torch.distributed as dist
from accuracy import DTYPES
from helpers import LAYOUTS, NOT_NUMBERS, REDUCTIONS, message
from numpy.testing import assert_array_equal

import cebook as ce
from cebook.distributed import vocab_parallel_cross_entropy

ROOT = Path(__file__).parents[1]
INF, NAN = math.inf, math.nan
TIMEOUT = 4  # SHORT in distributed_worker

# How 11 classes are cut: unevenly, and into one slice without any.
CUTS = {2: (7, 4), 4: (5, 1, 0, 5)}
SIZES = tuple(CUTS)


# Cases, and the processes that run them -----------------------------------------------------------


class Outcome(NamedTuple):
    """What one process has to tell of a case."""

    result: object
    warnings: list
    seconds: float


CASES = {size: {} for size in SIZES}


def add(size, name, calls, ranks=None, outsiders=False, hangs=False):
    """Write down a case: for each process an action, its arguments and its options.

    With ``ranks`` it gets a group of its own, in which a process may die; without ``outsiders`` the
    others go on to the next case. If it ``hangs``, the group gives up after ``TIMEOUT``.
    """
    assert name not in CASES[size]
    case = {"name": name, "calls": calls, "ranks": ranks, "outsiders": outsiders, "hangs": hangs}
    CASES[size][name] = case


def cut(array, lengths):
    borders = np.cumsum(lengths)[:-1]
    if isinstance(array, torch.Tensor):
        return list(torch.tensor_split(array, borders.tolist(), dim=-1))
    return np.split(array, borders, axis=-1)


def calls(action, logits, targets, lengths, **options):
    """Return the calls of processes that each hold a slice of the logits and of the weights."""
    weights = [{}] * len(lengths)
    if "weight" in options:
        weights = [{"weight": part} for part in cut(np.asarray(options["weight"]), lengths)]
    return [
        (action, (part, targets), {**options, **weight})
        for part, weight in zip(cut(logits, lengths), weights, strict=True)
    ]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Return ``{size: {name: {rank: Outcome}}}``; all processes run at the same time."""
    folder = tmp_path_factory.mktemp("processes")
    (folder / "cases").write_bytes(pickle.dumps({n: list(CASES[n].values()) for n in SIZES}))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    if "lo" in [name for _, name in socket.if_nameindex()]:
        environment["GLOO_SOCKET_IFNAME"] = "lo"
    command = [sys.executable, ROOT / "tests" / "distributed_worker.py", folder]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env=environment, start_new_session=True
        )
        try:
            process.wait(timeout=240)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    results = {size: read(folder, size) for size in SIZES}
    assert all(all(of_size.values()) for of_size in results.values()), (folder / "log").read_text()
    return results


def read(folder, size):
    results = {name: {} for name in CASES[size]}
    for rank in range(size):
        with (folder / f"results-{size}-{rank}").open("rb") as file, contextlib.suppress(EOFError):
            while True:
                name, outcome = pickle.load(file)
                results[name][rank] = Outcome(*outcome)
    return results


@pytest.fixture
def alone():
    """Make this process a group of its own."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


# The same as in one process -----------------------------------------------------------------------


def batch(kind, dtype):
    """Return logits of 11 classes, and labels; the last class is the label of every third row."""
    generator = np.random.default_rng(20261203)
    logits = 3 * generator.standard_normal((14, 11))
    labels = generator.integers(10, size=14)
    labels[2::3] = 10
    gap = 700 if dtype == np.float64 else 80
    if kind == "hard":
        # The target far above all others, or far below the first or the last class.
        for row, size, at in [
            (0, 37, labels[0]),
            (1, gap, labels[1]),
            (2, 37, 0),
            (3, gap, 10),
            (4, gap, 0),
        ]:
            logits[row, at] += size
        logits[5] += 1e4
        logits[6] -= 1e4
        logits[7] = 0.25  # all of them tied
        logits[8, [0, 6, 10]] = 9.5  # on several processes
        logits[9, :10] = -200 * generator.uniform(1, 3, 10)
    elif kind == "masked":
        logits[np.arange(14), (labels + generator.integers(1, 11, 14)) % 11] = -INF
        logits[4, :8] = -INF
        labels[4] = 9
    elif kind == "target masked":
        logits[np.arange(4), labels[:4]] = -INF
    elif kind == "spoilt":
        logits[0, 3] = NAN
        logits[1, labels[1]] = NAN
        logits[2] = -INF
        logits[3, labels[3]] = INF
        logits[4, (labels[4] + 1) % 11] = INF
        logits[5, [1, 9]] = INF
        logits[6, [1, 9]] = NAN, INF
    return logits.astype(dtype), labels


KINDS = ("plain", "hard", "masked", "target masked", "spoilt")
WEIGHT = np.array([0.5, 2.0, 0.0, 1.5, 3.0, 1e3, 0.25, 1.0, 1e-3, 4.0, 2.5])


def options_of(labels):
    """Yield labels and options: weights, ways to ignore rows, smoothing and reductions."""
    ways = itertools.product(
        ({}, {"weight": WEIGHT}), (None, -100, 10), (0.0, 0.1, 1.0), REDUCTIONS
    )
    for weight, ignored, smoothing, reduction in ways:
        options = {**weight, "label_smoothing": smoothing, "reduction": reduction}
        if ignored is not None:
            options["ignore_index"] = ignored
        targets = np.where(labels == 10, -100, labels) if ignored == -100 else labels
        yield targets, options


def as_text(options):
    return ", ".join(f"{name}={value!r}" for name, value in options.items() if name != "weight") + (
        ", weight" if "weight" in options else ""
    )


GRID = list(itertools.product(SIZES, KINDS, DTYPES))
for size, kind, dtype in GRID:
    logits, labels = batch(kind, dtype)
    for targets, options in options_of(labels):
        name = f"{kind}, {dtype.__name__}, {as_text(options)}"
        add(size, name, calls("loss", logits, targets, CUTS[size], **options))


def joined(outcomes):
    """Return the loss that all processes have, and the whole gradient."""
    losses, gradients = zip(
        *(outcome.result for _, outcome in sorted(outcomes.items())), strict=True
    )
    for loss in losses[1:]:
        assert_array_equal(loss, losses[0], strict=True)
    return losses[0], np.concatenate([np.asarray(part) for part in gradients], axis=-1)


def factors(logits, targets, *, weight=None, ignore_index=None, label_smoothing, reduction):
    """Return what multiplies the costs, in rows."""
    classes = logits.shape[-1]
    weight = np.ones(classes) if weight is None else weight
    counted = targets != ignore_index if ignore_index is not None else np.full(targets.shape, True)
    labels = np.where(counted, targets, 0)
    c = (1 - label_smoothing) * ce.one_hot(labels, classes) + label_smoothing / classes
    if reduction == "mean":
        weight = weight / weight.max()
    divisor = weight[labels[counted]].sum() if reduction == "mean" else 1
    return np.where(counted[..., np.newaxis], c * weight / divisor, 0)


def assert_close(actual, expected, size, eps, context):
    """Compare in units of eps of size; what is not finite must be the same."""
    assert actual.dtype == expected.dtype, context
    assert actual.shape == expected.shape, context
    finite = np.isfinite(expected)
    assert_array_equal(actual[~finite], expected[~finite], err_msg=context)
    allowed = eps * float(np.finfo(expected.dtype).eps) * np.broadcast_to(size, expected.shape)
    difference = np.abs(actual[finite].astype(float) - expected[finite])
    assert (difference <= allowed[finite]).all(), context


def assert_same_as_in_one_process(outcomes, logits, targets, context="", **options):
    """Both are within 4 eps of the truth, and the gradients within 6, or so they promise."""
    expected = ce.softmax_cross_entropy(logits, targets, return_grad=True, **options)
    loss, gradient = map(np.asarray, joined(outcomes))
    assert not any(outcome.warnings for outcome in outcomes.values()), context
    assert_close(loss, np.asarray(expected[0]), np.abs(expected[0]), 8, context)
    size = np.abs(expected[1])
    if options.get("label_smoothing"):  # then its two terms may truly cancel
        c = factors(logits, targets, **options)
        size = c.sum(-1, keepdims=True) * ce.softmax(logits) + c
        size = np.where(np.isnan(size), np.abs(expected[1]), size)  # as in a row that is ignored
    assert_close(gradient, expected[1], size, 12, context)


@pytest.mark.parametrize(("size", "kind", "dtype"), GRID)
def test_loss_and_gradient_are_those_of_one_process(outcomes, size, kind, dtype):
    logits, labels = batch(kind, dtype)
    for targets, options in options_of(labels):
        name = f"{kind}, {dtype.__name__}, {as_text(options)}"
        assert_same_as_in_one_process(outcomes[size][name], logits, targets, name, **options)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_errors_against_the_exact_answer(outcomes, size, dtype):
    worst = {"loss": 0.0, "true class": 0.0, "others": 0.0}
    for kind in ("plain", "hard"):
        logits, labels = batch(kind, dtype)
        rows = [oracle.softmax_row(row) for row in logits]
        for targets, options in options_of(labels):
            if options["reduction"] != "none":
                continue
            name = f"{kind}, {dtype.__name__}, {as_text(options)}"
            losses, gradient = joined(outcomes[size][name])
            terms = oracle.loss_factors(targets, 11, **options)
            for i, (row, factor) in enumerate(zip(rows, terms, strict=True)):
                if factor is None:
                    continue
                loss, exact = oracle.softmax_cross_entropy(row, factor)
                total = sum(factor)
                worst["loss"] = max(worst["loss"], oracle.error_in_eps(losses[i], loss))
                for k in range(11):
                    where = "true class" if k == targets[i] else "others"
                    # Below the normal numbers the distance of floats does not shrink any more.
                    normal = float(np.finfo(dtype).smallest_normal)
                    of = abs(exact[k])
                    if options["label_smoothing"]:
                        of = total * row.probabilities[k] + factor[k]
                    error = oracle.error_in_eps(gradient[i, k], exact[k], max(of, normal))
                    worst[where] = max(worst[where], error)
    assert worst["loss"] <= 4
    assert worst["true class"] <= 4
    assert worst["others"] <= 6


# Many rows and classes: the blocks of rows have borders, and sums are long.
LONG_CUTS = {2: (7000, 3000), 4: (1, 4999, 0, 5000)}


def long_batch(dtype):
    generator = np.random.default_rng(20261204)
    logits = 5 * generator.standard_normal((40, 10_000))
    labels = generator.integers(10_000, size=40)
    logits[::4, 0] += 30
    labels[::8] = 0
    return logits.astype(dtype), labels


LONG_OPTIONS = ({}, {"label_smoothing": 0.1, "weight": np.linspace(0, 3, 10_000)})
for size, dtype, (number, options) in itertools.product(SIZES, DTYPES, enumerate(LONG_OPTIONS)):
    name = f"long, {dtype.__name__}, {number}"
    add(size, name, calls("loss", *long_batch(dtype), LONG_CUTS[size], reduction="sum", **options))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_rows_in_several_blocks(outcomes, size, dtype):
    for number, options in enumerate(LONG_OPTIONS):
        result = outcomes[size][f"long, {dtype.__name__}, {number}"]
        every = {"label_smoothing": 0.0, **options, "reduction": "sum"}
        assert_same_as_in_one_process(result, *long_batch(dtype), **every)


SHAPES = {"one row": (), "two axes": (2, 7), "no rows": (0,), "no rows in three axes": (2, 0)}
for size, (name, shape), reduction in itertools.product(SIZES, SHAPES.items(), REDUCTIONS):
    logits, labels = batch("plain", np.float64)
    rows = math.prod(shape)
    logits, labels = logits[:rows].reshape(*shape, 11), labels[:rows].reshape(shape)
    options = {"reduction": reduction, "label_smoothing": 0.1}
    add(size, f"{name}, {reduction}", calls("loss", logits, labels, CUTS[size], **options))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("size", SIZES)
def test_shapes(outcomes, size, name, reduction):
    case = CASES[size][f"{name}, {reduction}"]
    logits = np.concatenate([arguments[0] for _, arguments, _ in case["calls"]], axis=-1)
    labels = case["calls"][0][1][1]
    result = outcomes[size][f"{name}, {reduction}"]
    if labels.size == 0 and reduction == "mean":
        for rank in range(size):
            (loss, gradient), said, _ = result[rank]
            assert np.isnan(loss)
            assert gradient.shape == (*labels.shape, CUTS[size][rank])
            ((category, text),) = said
            assert category == "RuntimeWarning"
            assert text.startswith("The mean loss is nan: the batch is empty")
    else:
        options = {"reduction": reduction, "label_smoothing": 0.1}
        assert_same_as_in_one_process(result, logits, labels, **options)


EMPTY_MEANS = {
    "every target is ignore_index=3": {"ignore_index": 3},
    "the weights of all labels are 0": {"weight": np.where(np.arange(11) == 3, 0.0, 1.0)},
}
for size, (why, options) in itertools.product(SIZES, EMPTY_MEANS.items()):
    logits, labels = batch("plain", np.float64)
    add(size, why, calls("loss", logits, np.full_like(labels, 3), CUTS[size], **options))


@pytest.mark.parametrize("why", EMPTY_MEANS)
@pytest.mark.parametrize("size", SIZES)
def test_the_mean_over_nothing(outcomes, size, why):
    logits, labels = batch("plain", np.float64)
    targets = np.full_like(labels, 3)
    with pytest.warns(RuntimeWarning, match=f"^The mean loss is nan: {why}"):
        expected = ce.softmax_cross_entropy(logits, targets, return_grad=True, **EMPTY_MEANS[why])
    for actual, wanted in zip(joined(outcomes[size][why]), expected, strict=True):
        assert_array_equal(actual, wanted)
    for outcome in outcomes[size][why].values():
        ((category, text),) = outcome.warnings
        assert category == "RuntimeWarning"
        assert text.startswith(f"The mean loss is nan: {why}")


PROBABILITIES = {
    "probabilities": (ce.softmax(batch("plain", np.float64)[0]), True),
    "probabilities in float32": (ce.softmax(batch("plain", np.float32)[0]), True),
    "one row sums to a half": (
        ce.softmax(batch("plain", np.float64)[0]) * np.repeat([1, 0.5], [13, 1])[:, np.newaxis],
        False,
    ),
    "halves and three halves": (np.full((14, 11), 1 / 11) * np.tile([[0.5], [1.5]], (7, 1)), False),
}
for size, (name, (probabilities, _)) in itertools.product(SIZES, PROBABILITIES.items()):
    labels = batch("plain", np.float64)[1]
    add(size, name, calls("loss", probabilities, labels, CUTS[size]))


@pytest.mark.parametrize("name", PROBABILITIES)
@pytest.mark.parametrize("size", SIZES)
def test_logits_that_look_like_probabilities(outcomes, size, name):
    for outcome in outcomes[size][name].values():
        if PROBABILITIES[name][1]:
            ((category, text),) = outcome.warnings
            assert category == "UserWarning"
            assert text.startswith("local_logits looks like probabilities: ")
        else:
            assert outcome.warnings == []


# One class has all the weight and all the probability, or all but a little: what is left for the
# others must not be computed as 1 - 1.
LITTLE = {
    "no weight": (37, np.where(np.arange(11) == 2, 1.0, 0.0)),
    "little weight": (60, np.where(np.arange(11) == 2, 1.0, 1e-20)),
}
for size, (name, (gap, weight)) in itertools.product(SIZES, LITTLE.items()):
    logits = batch("plain", np.float64)[0][:2]
    logits[:, 2] += gap
    options = {"weight": weight, "label_smoothing": 0.1, "reduction": "none"}
    add(size, name, calls("loss", logits, [2, 8], CUTS[size], **options))


@pytest.mark.parametrize("name", LITTLE)
@pytest.mark.parametrize("size", SIZES)
def test_what_little_is_left_for_the_others(outcomes, size, name):
    gap, weight = LITTLE[name]
    logits = batch("plain", np.float64)[0][:2]
    logits[:, 2] += gap
    options = {"weight": weight, "label_smoothing": 0.1}
    losses, gradient = joined(outcomes[size][name])
    terms = oracle.loss_factors([2, 8], 11, **options)
    for i, factor in enumerate(terms):
        loss, exact = oracle.softmax_cross_entropy(oracle.softmax_row(logits[i]), factor)
        assert oracle.error_in_eps(losses[i], loss) <= 4
        for k in range(11):
            assert oracle.error_in_eps(gradient[i, k], exact[k]) <= 6


HUGE = np.array([[-1.7e308, 1.7e308], [1.7e308, -1.7e308], [0.0, 1.0]])
HUGE_CASES = {
    "huge logits": {},
    "huge logits, smoothed": {"label_smoothing": 0.5},
    "huge weights": {"weight": np.array([1e308, 1.5e308]), "label_smoothing": 0.5},
}
for name, options in HUGE_CASES.items():
    logits = HUGE if "logits" in name else HUGE / 1e308
    add(2, name, calls("loss", logits, np.array([0, 0, 1]), (1, 1), **options))


@pytest.mark.parametrize("name", HUGE_CASES)
def test_numbers_near_the_end_of_the_range(outcomes, name):
    options = {"label_smoothing": 0.0, "reduction": "mean", **HUGE_CASES[name]}
    logits = HUGE if "logits" in name else HUGE / 1e308
    assert_same_as_in_one_process(outcomes[2][name], logits, np.array([0, 0, 1]), **options)
    loss, _ = joined(outcomes[2][name])
    assert 0 < loss < INF


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_weights_of_different_size(alone, reduction):
    # What does not count does not matter, however large it is.
    logits, labels = batch("plain", np.float64)[0][:, :2], np.zeros(14, int)
    options = {"reduction": reduction, "return_grad": True}
    loss, gradient = vocab_parallel_cross_entropy(logits, labels, weight=[1e-300, 1e300], **options)
    unit = 1 if reduction == "mean" else 1e-300
    expected = vocab_parallel_cross_entropy(logits, labels, **options)
    assert_close(np.asarray(loss), expected[0] * unit, np.abs(expected[0] * unit), 4, "loss")
    assert_close(gradient, expected[1] * unit, np.abs(expected[1] * unit), 4, "gradient")


# Arrays and tensors -------------------------------------------------------------------------------

TENSORS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
for size, dtype in itertools.product(SIZES, TENSORS):
    logits, labels = batch("plain", np.float64)
    inputs = torch.tensor(logits).to(dtype), torch.tensor(labels)
    options = {"reduction": "none", "weight": WEIGHT}
    made = calls("loss", *inputs, CUTS[size], **options)
    for _, _, own in made:
        own["weight"] = torch.tensor(own["weight"]).to(dtype)
    add(size, f"tensors of {dtype}", made)
for size in SIZES:
    logits, labels = batch("plain", np.float16)
    add(size, "arrays of float16", calls("loss", logits, labels, CUTS[size], reduction="none"))
    add(size, "lists of integers", [("loss", ([[2, 0]], [1]), {"reduction": "sum"})] * size)


@pytest.mark.parametrize("dtype", TENSORS)
@pytest.mark.parametrize("size", SIZES)
def test_tensors_of_every_dtype(outcomes, size, dtype):
    logits, labels = batch("plain", np.float64)
    logits = torch.tensor(logits).to(dtype)
    weight = torch.tensor(WEIGHT).to(dtype).double().numpy()
    expected = ce.softmax_cross_entropy(
        logits.double().numpy(), labels, weight=weight, reduction="none", return_grad=True
    )
    result = outcomes[size][f"tensors of {dtype}"]
    for outcome in result.values():
        assert all(isinstance(part, torch.Tensor) for part in outcome.result)
        assert all(part.dtype == dtype for part in outcome.result)
        assert outcome.warnings == []
    gradient = torch.cat([outcome.result[1] for _, outcome in sorted(result.items())], dim=-1)
    for actual, exact in zip((result[0].result[0], gradient), expected, strict=True):
        rounded = torch.tensor(exact).to(dtype)
        if dtype in (torch.float16, torch.bfloat16):
            # Computed in float64, and rounded once.
            assert torch.equal(actual, rounded)
        else:
            eps = torch.finfo(dtype).eps
            assert ((actual - rounded).abs() <= 12 * eps * rounded.abs()).all()


@pytest.mark.parametrize("size", SIZES)
def test_arrays_of_float16_and_lists(outcomes, size):
    logits, labels = batch("plain", np.float16)
    options = {"label_smoothing": 0.0, "reduction": "none"}
    assert_same_as_in_one_process(outcomes[size]["arrays of float16"], logits, labels, **options)
    options["reduction"] = "sum"
    logits = np.array([[2.0, 0.0] * size])
    result = outcomes[size]["lists of integers"]
    assert_same_as_in_one_process(result, logits, np.array([1]), **options)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_layout_does_not_matter(alone, layout):
    logits, labels = batch("plain", np.float32)
    store = LAYOUTS[layout]
    expected = vocab_parallel_cross_entropy(logits, labels, weight=WEIGHT, return_grad=True)
    stored = store(logits)
    actual = vocab_parallel_cross_entropy(
        stored, store(labels), weight=store(WEIGHT[np.newaxis])[0], return_grad=True
    )
    for ours, wanted in zip(actual, expected, strict=True):
        assert_array_equal(ours, wanted, strict=True)
    assert_array_equal(stored, logits)


def test_strided_tensors_and_what_is_given_stay_as_they_are(alone):
    logits, labels = batch("masked", np.float64)
    given = torch.tensor(logits.T.copy()).T
    loss, gradient = vocab_parallel_cross_entropy(given, torch.tensor(labels), return_grad=True)
    expected = vocab_parallel_cross_entropy(logits, labels, return_grad=True)
    assert loss.item() == expected[0]
    assert_array_equal(gradient.numpy(), expected[1])
    assert_array_equal(given.numpy(), logits)
    assert isinstance(expected[0], np.float64)
    assert isinstance(expected[1], np.ndarray)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", ">i4"])
def test_labels_of_every_integer_dtype(alone, dtype):
    logits, labels = batch("plain", np.float64)
    expected = vocab_parallel_cross_entropy(logits, labels, ignore_index=-100)
    assert vocab_parallel_cross_entropy(logits, labels.astype(dtype), ignore_index=-100) == expected


def test_a_tensor_with_a_graph_is_fine_where_none_is_kept(alone):
    logits, labels = batch("plain", np.float64)
    with torch.no_grad():
        given = torch.tensor(logits, requires_grad=True)
        loss = vocab_parallel_cross_entropy(given, torch.tensor(labels))
    assert loss.item() == vocab_parallel_cross_entropy(logits, labels)


# PyTorch's own ------------------------------------------------------------------------------------

# DTensor cuts in its own way: 11 classes into 6 + 5, or 3 + 3 + 3 + 2. Of 9 it leaves none for the
# last of 4, whose loss_parallel then raises IndexError while those of the others wait for it.
PYTORCH_CUTS = {(2, 11): (6, 5), (4, 11): (3, 3, 3, 2), (2, 8): (4, 4), (4, 8): (2, 2, 2, 2)}


def options_of_pytorch(classes, dtype):
    """Yield what ``loss_parallel`` supports; it does not smooth."""
    for weight, ignored, reduction in itertools.product((False, True), (None, 2), REDUCTIONS):
        options = {"reduction": reduction}
        if weight:
            options["weight"] = np.linspace(0.5, 2, classes).astype(dtype)
        if ignored is not None:
            options["ignore_index"] = ignored
        yield options


def batch_of_pytorch(classes, dtype):
    generator = np.random.default_rng(20261205)
    logits = generator.uniform(-3, 3, (9, classes)).astype(dtype)
    labels = generator.integers(classes, size=9)
    labels[0], labels[1] = 2, classes - 1
    return logits, labels


for (size, classes), lengths in PYTORCH_CUTS.items():
    for dtype in DTYPES:
        logits, labels = batch_of_pytorch(classes, dtype)
        for options in options_of_pytorch(classes, dtype):
            name = f"{classes}, {dtype.__name__}, {as_text(options)}"
            add(size, f"ours, {name}", calls("loss", logits, labels, lengths, **options))
            theirs = dict(options)
            if "weight" in theirs:
                theirs["weight"] = torch.tensor(theirs["weight"])
            call = ("of_pytorch", (logits, labels), theirs)
            add(size, f"PyTorch, {name}", [call] * size)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("size", "classes"), PYTORCH_CUTS)
def test_same_as_loss_parallel_of_pytorch(outcomes, size, classes, dtype):
    for options in options_of_pytorch(classes, dtype):
        name = f"{classes}, {dtype.__name__}, {as_text(options)}"
        ours = joined(outcomes[size][f"ours, {name}"])
        theirs = joined(outcomes[size][f"PyTorch, {name}"])
        for actual, expected in zip(map(np.asarray, ours), theirs, strict=True):
            # PyTorch rounds its steps by some eps each.
            assert_close(actual, expected, np.abs(expected).max(), 8, name)


# What is sent -------------------------------------------------------------------------------------

# The numbers that a row needs in the last all-reduce.
SENT = {
    "plain": ({}, 2),
    "weight": ({"weight": WEIGHT}, 3),
    "smoothing": ({"label_smoothing": 0.1}, 4),
    "both": ({"weight": WEIGHT, "label_smoothing": 0.1}, 5),
    "in [0, 1]": ({}, 3),
}


def batch_to_send(name):
    logits, labels = batch("plain", np.float32)
    return (np.abs(logits) / 100 if name == "in [0, 1]" else logits), labels


for size, (name, (options, _)) in itertools.product(SIZES, SENT.items()):
    add(size, f"sent, {name}", calls("reduced", *batch_to_send(name), CUTS[size], **options))


@pytest.mark.parametrize("name", SENT)
@pytest.mark.parametrize("size", SIZES)
def test_three_all_reduces_and_no_other_collective(outcomes, size, name):
    rows, numbers = 14, SENT[name][1]
    for outcome in outcomes[size][f"sent, {name}"].values():
        assert outcome.result == (
            [
                ("MAX", 10 * size, 8),
                ("MAX", rows + 2 * size + 1, 8),
                ("SUM", numbers * rows, 8),
            ],
            {"c10d::allreduce_": 3},
        )


def test_the_sizes_are_those_of_the_docstring():
    text = " ".join(vocab_parallel_cross_entropy.__doc__.split())
    assert "a table of 10 integers for each process, 80 P bytes" in text
    assert "of N row maxima, and of 2 P + 1 numbers" in text
    assert "The sum of 2 numbers for each row" in text
    assert "That is 24 bytes a row" in text


# A group of some of the processes -----------------------------------------------------------------

logits, labels = batch("plain", np.float64)
first, second = cut(logits, (7, 4))
add(
    4,
    "a group of two",
    [("loss", (part, labels), {"reduction": "none"}) for part in (second, first, first, second)],
    ranks=[1, 3],
    outsiders=True,
)


def test_a_group_of_some(outcomes):
    result = outcomes[4]["a group of two"]
    logits, labels = batch("plain", np.float64)
    options = {"label_smoothing": 0.0, "reduction": "none"}
    members = {rank: result[rank] for rank in (1, 3)}
    assert_same_as_in_one_process(members, logits, labels, **options)
    for rank in (0, 2):
        error, text, _ = result[rank].result
        assert error == "ValueError"
        assert text.startswith("group must hold this process, but it is one of others")


# Processes that do not agree ----------------------------------------------------------------------


def disagreeing():
    """Yield what is not the same: the last process's call, and what all are told."""
    logits, labels = batch("plain", np.float64)
    other = labels.copy()
    other[3] = (other[3] + 1) % 11
    yield "targets.shape", (logits[:-1], labels[:-1]), {}, "Is one of them ahead by a batch?"
    two = logits.reshape(2, 7, 11), labels.reshape(2, 7)
    yield "targets.shape", two, {}, "Is one of them ahead by a batch?"
    yield "targets", (logits, other), {}, "torch.distributed.broadcast(targets, src=0)"
    yield "local_logits.dtype", (logits.astype(np.float32), labels), {}, ""
    yield "weight", (logits, labels), {"weight": WEIGHT}, "Each process passes the weights"
    yield "ignore_index", (logits, labels), {"ignore_index": 3}, ""
    yield "label_smoothing", (logits, labels), {"label_smoothing": 0.1}, ""
    yield "reduction", (logits, labels), {"reduction": "sum"}, ""


DISAGREEMENTS = list(disagreeing())
for size, (number, (_, arguments, options, _)) in itertools.product(
    SIZES, enumerate(DISAGREEMENTS)
):
    most = calls("loss", *batch("plain", np.float64), CUTS[size])
    last = calls("loss", *arguments, CUTS[size], **options)
    add(size, f"disagreement {number}", [*most[:-1], last[-1]])

HERE = {  # on the others, and on the last process
    "targets.shape": ("(14,)", ("(13,)", "(2, 7)")),
    "local_logits.dtype": ("torch.float64", ("torch.float32",)),
    "weight": ("None", ("given",)),
    "ignore_index": ("None", ("3",)),
    "label_smoothing": ("0.0", ("0.1",)),
    "reduction": ("mean", ("sum",)),
}


@pytest.mark.parametrize("number", range(len(DISAGREEMENTS)))
@pytest.mark.parametrize("size", SIZES)
def test_disagreement_is_an_error_on_every_process(outcomes, size, number):
    name, _, _, hint = DISAGREEMENTS[number]
    result = outcomes[size][f"disagreement {number}"]
    for rank in range(size):
        error, text, _ = result[rank].result
        assert error == "ValueError"
        assert text.startswith(
            f"{name} must be the same on every process, but on process {size - 1} it is not what "
            f"it is on process 0."
        )
        assert hint in text
        if name in HERE:
            usual, unusual = HERE[name]
            here = [usual] if rank < size - 1 else unusual
            assert any(f" On this process it is {value}." in text for value in here)
        assert result[rank].seconds < 60


# An error of one process is an error of all, in which nobody waits.
ONE_ERROR = {
    "dtype": (("a", [0]), {}, "TypeError", "local_logits must hold real numbers"),
    "shape": (([[0.0]], [0, 1]), {}, "ValueError", "targets must have the shape of local_logits"),
    "reduction": (([[0.0]], [0]), {"reduction": "avg"}, "ValueError", "reduction must be"),
}
for size, (name, (arguments, options, *_)) in itertools.product(SIZES, ONE_ERROR.items()):
    most = calls("loss", *batch("plain", np.float64), CUTS[size])
    add(size, f"error in {name}", [most[0], ("loss", arguments, options), *most[2:]])


@pytest.mark.parametrize("name", ONE_ERROR)
@pytest.mark.parametrize("size", SIZES)
def test_an_error_of_one_process_does_not_leave_the_others_waiting(outcomes, size, name):
    result = outcomes[size][f"error in {name}"]
    error, text, _ = result[1].result
    assert error == ONE_ERROR[name][2]
    assert text.startswith(ONE_ERROR[name][3])
    for rank in {*range(size)} - {1}:
        error, text, _ = result[rank].result
        assert error == "ValueError"
        assert text == (
            f"There is no loss, because process 1 could not use the arguments it was given: its "
            f"own error says why. Those of this process, {rank}, are in order."
        )
        assert result[rank].seconds < 60


OUT_OF_RANGE = {
    "a label beyond the last": ([0, 11], "but targets[1] = 11 (1 of 2 are out of range)"),
    "a negative label": ([-1, 10], "but targets[0] = -1 (1 of 2 are out of range)"),
}
for size, (name, (targets, _)) in itertools.product(SIZES, OUT_OF_RANGE.items()):
    add(size, name, calls("loss", np.zeros((2, 11)), targets, CUTS[size]))
    if name == "a negative label":
        add(size, "no class", [("loss", (np.zeros((2, 0)), [0, 0]), {})] * size)


@pytest.mark.parametrize("name", OUT_OF_RANGE)
@pytest.mark.parametrize("size", SIZES)
def test_labels_out_of_range(outcomes, size, name):
    for outcome in outcomes[size][name].values():
        error, text, _ = outcome.result
        assert error == "ValueError"
        assert text.startswith("targets must be class indices from 0 to 10, ")
        assert OUT_OF_RANGE[name][1] in text


@pytest.mark.parametrize("size", SIZES)
def test_no_class_on_any_process(outcomes, size):
    for outcome in outcomes[size]["no class"].values():
        error, text, _ = outcome.result
        assert error == "ValueError"
        assert text.startswith("local_logits must have at least one class on at least one process")


# Processes that die -------------------------------------------------------------------------------

STEPS = ("slice lengths and digests (1 of 3)", "row maxima (2 of 3)", "exponentials")

# Who is in the group, its last process does not live on, after how many all-reduces; in this order.
DEATHS = {
    2: [([0, 1], None), ([0, 1], 1)],
    4: [([0, 1, 2, 3], None), ([0, 1, 2, 3], 0), ([0, 2], 1), ([0, 1], 2)],
}
for size, deaths in DEATHS.items():
    arguments = batch("plain", np.float64)
    for number, (ranks, after) in enumerate(deaths):
        made = [("loss", arguments, {})] * size
        made[ranks[-1]] = (
            ("absent", (), {}) if after is None else ("dying", (after, *arguments), {})
        )
        # Of two, the other one notices at once; of more, only those that listen to the dead one.
        add(size, f"death {number}", made, ranks=ranks, hangs=after is None or len(ranks) > 2)


@pytest.mark.parametrize(
    ("size", "number"), [(size, number) for size in SIZES for number in range(len(DEATHS[size]))]
)
def test_a_process_that_dies_or_stays_away_is_an_error_for_the_others(outcomes, size, number):
    ranks, after = DEATHS[size][number]
    result = outcomes[size][f"death {number}"]
    # The absent one has an outcome, the dead one has not.
    assert set(result) == set(ranks if after is None else ranks[:-1])
    for here, rank in enumerate(ranks[:-1]):
        (error, text, cause), said, seconds = result[rank]
        assert (error, said) == ("RuntimeError", [])
        assert cause in ("RuntimeError", "DistBackendError")
        assert text.startswith(
            f"The all-reduce of {STEPS[after or 0]}",
        )
        assert f" failed on process {here} of {len(ranks)}. Most likely another process" in text
        assert "has died (see its own output), or has not made this call within" in text
        assert seconds < TIMEOUT + 10
        if after is None:
            assert seconds > TIMEOUT / 2
            assert "Timed out" in text


# Errors of one process ----------------------------------------------------------------------------

LOGITS, LABELS = np.zeros((2, 3)), np.array([0, 2])


@pytest.mark.parametrize("kind", NOT_NUMBERS.keys() - {"bfloat16 tensor"})
def test_logits_that_are_not_numbers(alone, kind):
    logits, *parts = NOT_NUMBERS[kind]
    text = message(TypeError, vocab_parallel_cross_entropy, logits, 0)
    assert "local_logits" in text
    for part in parts if kind != "tensor with a graph" else parts[:1]:
        assert part in text


@pytest.mark.parametrize(
    ("logits", "error", "parts"),
    [
        (np.float64(1.0), ValueError, ["at least one axis", "Pass [local_logits]"]),
        (torch.tensor(1.0), ValueError, ["at least one axis", "Pass [local_logits]"]),
        (LOGITS.astype(np.longdouble), TypeError, ["longdouble", ".astype(np.float64)"]),
        (torch.zeros(2, 3).to(torch.float8_e5m2), TypeError, ["float8_e5m2", ".float()"]),
        (torch.zeros(2, 3).to(torch.complex64), TypeError, ["complex64", ".real"]),
        (torch.zeros(2, 3, requires_grad=True), TypeError, ["return_grad=True", ".backward(grad)"]),
    ],
)
def test_logits_of_the_wrong_kind(alone, logits, error, parts):
    text = message(error, vocab_parallel_cross_entropy, logits, LABELS)
    for part in ["local_logits", *parts]:
        assert part in text


def test_a_dtensor(alone):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    split = distribute_tensor(torch.zeros(2, 3), init_device_mesh("cpu", (1,)), [Shard(1)])
    text = message(TypeError, vocab_parallel_cross_entropy, split, LABELS)
    assert "is a DTensor" in text
    assert "Pass local_logits.to_local()" in text


@pytest.mark.parametrize(
    ("targets", "error", "parts"),
    [
        ([0.0, 2.0], TypeError, ["integer dtype", "dtype float64", ".astype(int)"]),
        (np.ones((2, 3)) / 3, TypeError, ["Distributions are not for this function"]),
        ([True, False], TypeError, ["dtype bool"]),
        (["a", "b"], TypeError, ["dtype <U1"]),
        ([0, 1, 2], ValueError, ["(2,) was expected", "shape (3,)", "only classes are split"]),
        ([[0], [1]], ValueError, ["shape (2, 1)", "reshape targets to (2,)"]),
        (np.ma.masked_array([0, 1], [0, 1]), TypeError, ["masked array", "ignore_index"]),
    ],
)
def test_targets_of_the_wrong_kind(alone, targets, error, parts):
    text = message(error, vocab_parallel_cross_entropy, LOGITS, targets)
    for part in ["targets", *parts]:
        assert part in text


@pytest.mark.parametrize(
    ("options", "error", "parts"),
    [
        ({"weight": np.ones(4)}, ValueError, ["shape (3,)", "shape (4,)", "pass the slice"]),
        ({"weight": [1, -1, 1]}, ValueError, ["weight must be finite", "weight[1] = -1"]),
        ({"weight": [1, NAN, 1]}, ValueError, ["weight must be finite", "weight[1] = nan"]),
        ({"weight": torch.tensor([1, INF, 1])}, ValueError, ["weight[1] = inf"]),
        ({"weight": ["a"] * 3}, TypeError, ["weight must hold real numbers"]),
        ({"ignore_index": 1.5}, TypeError, ["ignore_index must be the one integer"]),
        ({"label_smoothing": 1.5}, ValueError, ["label_smoothing must lie in [0, 1]"]),
        ({"label_smoothing": "x"}, TypeError, ["label_smoothing must be a number"]),
        ({"reduction": "avg"}, ValueError, ["reduction must be 'mean', 'sum' or 'none'"]),
        (
            {"group": "all"},
            TypeError,
            ["group must be a torch.distributed.Pro", "mesh.get_group()"],
        ),
        ({"group": dist.GroupMember.NON_GROUP_MEMBER}, ValueError, ["group must hold this proc"]),
    ],
)
def test_options_of_the_wrong_kind(alone, options, error, parts):
    text = message(error, vocab_parallel_cross_entropy, LOGITS, LABELS, **options)
    for part in parts:
        assert part in text


def test_without_a_process_group():
    text = message(RuntimeError, vocab_parallel_cross_entropy, LOGITS, LABELS)
    assert text.startswith("There is no process group. Start the processes with torchrun")


def test_without_pytorch():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from cebook.distributed import vocab_parallel_cross_entropy\n"
        "vocab_parallel_cross_entropy([[0.0]], [0])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    expected = "cebook.distributed needs PyTorch, which is not installed: pip install torch"
    assert result.stderr.strip().endswith(f"ImportError: {expected}")


def test_pytorch_is_imported_when_it_is_used():
    code = "import sys, cebook.distributed; print('torch' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert result.stdout.strip() == "False"
