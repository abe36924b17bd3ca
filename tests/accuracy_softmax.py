"""Measure the accuracy of ``cebook.softmax_loss`` against 150 digits, beside SciPy and PyTorch.

Run as ``python tests/accuracy_softmax.py`` to print the worst errors, in units of the eps of the
dtype, by function and by gap. ``tests/test_softmax_loss.py`` runs the same grid and holds every
quantity to its bound. The truth is that of the numbers as they are stored.

Every row is a background of logits and one more, the target, which lies a gap above or below the
largest of them. The background is shared between the gaps, and so are its exact exponentials: of
its classes three are watched, the largest, the smallest and the one in the middle.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from itertools import chain
from typing import NamedTuple

import mpmath
import numpy as np
import oracle
import scipy.special
import torch
from accuracy import DTYPES, print_table, quiet_peers

import cebook as ce

CLASSES = (2, 10, 1000)
MANY_CLASSES = 128_256
OFFSETS = (0.0, 100.0, 1e4, -1e4)
SPREADS = (0.0, 1.0, 30.0, 300.0)
# To where the loss of the right and certain model is the smallest subnormal number.
GAPS = (0.1, 0.3, 1, 3, 10, 17, 25, 37, 60, 87, 95, 103, 200, 400, 700, 740, 745)
LARGEST_GAP = {np.float32: 103, np.float64: 745}
GAPS_TO_PRINT = (0.1, 1, 10, 17, 37, 87, 700)
SMOOTHING = 0.1

# PACKAGE.md. Where probability and target of a gradient entry s P - p may truly cancel, its error
# is measured against s P + p. A logarithm of a sum may be 0 between two large numbers: its error is
# measured against the larger of result and largest logit. Sums of gradient rows, against the
# largest entry of the row.
BOUNDS = {
    "loss": 4,
    "log-probability, target": 4,
    "log-probability, others": 4,
    "probability": 6,
    "gradient, target": 4,
    "gradient, others": 6,
    "logsumexp": 4,
    "loss, soft targets": 4,
    "gradient, soft targets": 6,
    "loss, smoothed": 4,
    "gradient, smoothed": 6,
}
SUM_OF_GRADIENT = "gradient, sum of row"
GAP_MATTERS = ("loss", "log-probability, others", "gradient, target")


def bound(quantity, classes):
    if quantity == SUM_OF_GRADIENT:
        return 2 + classes / 50
    return BOUNDS[quantity] if classes <= 1000 else 8


class Check(NamedTuple):
    """One number to compare: which, where it is in the results, what it is, and how large."""

    quantity: str
    result: str
    index: tuple[int, ...]
    truth: mpmath.mpf
    size: mpmath.mpf | None = None


class Case(NamedTuple):
    """A batch of rows with their targets, gaps, and what is to be checked of each."""

    logits: np.ndarray
    targets: np.ndarray
    gaps: list[float]
    checks: list[list[Check]]
    label_smoothing: float = 0.0


# What the libraries say ---------------------------------------------------------------------------


def _cebook(case):
    loss, gradient = ce.softmax_cross_entropy(
        case.logits,
        case.targets,
        label_smoothing=case.label_smoothing,
        reduction="none",
        return_grad=True,
    )
    yield "loss", loss
    yield "gradient", gradient
    yield "softmax", ce.softmax(case.logits)
    yield "log_softmax", ce.log_softmax(case.logits)
    yield "logsumexp", ce.logsumexp(case.logits)


def _scipy(case):
    log_probabilities = scipy.special.log_softmax(case.logits, axis=-1)
    if case.targets.dtype.kind == "i" and not case.label_smoothing:
        yield "loss", -log_probabilities[np.arange(len(case.targets)), case.targets]
    yield "softmax", scipy.special.softmax(case.logits, axis=-1)
    yield "log_softmax", log_probabilities
    yield "logsumexp", scipy.special.logsumexp(case.logits, axis=-1)


def _torch(case):
    logits = torch.tensor(case.logits, requires_grad=True)
    losses = torch.nn.functional.cross_entropy(
        logits,
        torch.tensor(case.targets),
        label_smoothing=case.label_smoothing,
        reduction="none",
    )
    losses.sum().backward()
    logits, gradient = logits.detach(), logits.grad
    yield "loss", losses.detach().numpy()
    yield "gradient", gradient.numpy()
    yield "softmax", torch.softmax(logits, -1).numpy()
    yield "log_softmax", torch.log_softmax(logits, -1).numpy()
    yield "logsumexp", torch.logsumexp(logits, -1).numpy()


RESULTS = {"cebook": _cebook, "SciPy": _scipy, "PyTorch": _torch}


# What is true -------------------------------------------------------------------------------------


def backgrounds(classes, dtype):
    """Yield the logits of all classes but the target."""
    generator = np.random.default_rng(20261127)
    others = classes - 1
    if classes <= 1000:
        shapes = [spread * generator.random(others) for spread in SPREADS]
        offsets = OFFSETS
    else:
        # Few values, each of them often: as many roundings, and exact sums that do not take long.
        stairs = np.arange(others) // 64 / 64
        shapes = [np.zeros(others), stairs, np.floor(64 * generator.normal(size=others)) / 64]
        offsets = (0.0, 1e4)
    for offset in offsets:
        for shape in shapes[: 1 if others == 1 else None]:
            yield (offset + shape).astype(dtype)


def index_cases(classes, dtype):
    """Yield batches with a class index as the target: one background, every gap."""
    generator = np.random.default_rng(20261128)
    largest_gap = LARGEST_GAP[dtype]
    gaps = [gap for gap in GAPS if gap <= largest_gap]
    gaps = [*gaps, *(-gap for gap in gaps)] if classes <= 1000 else [0.1, 10, 37, 87, -10]
    for background in backgrounds(classes, dtype):
        highest = background.max()
        exponentials = {
            value: mpmath.exp(oracle.exact(value) - oracle.exact(highest))
            for value in set(background)
        }
        counts = Counter(background)
        watched = {background.argmax(), background.argmin(), len(background) // 2}
        one_less = {j: counts - Counter([background[j]]) for j in watched}
        sums = {j: _sum(exponentials, one_less[j]) for j in watched}
        rest = _sum(exponentials, counts)
        rows, targets, checks = [], [], []
        for gap in gaps:
            logit = dtype(highest + gap)
            target = int(generator.integers(classes))
            rows.append(np.insert(background, target, logit))
            targets.append(target)
            mine = mpmath.exp(oracle.exact(logit) - oracle.exact(highest))
            others = [(j + (j >= target), exponentials[background[j]], sums[j]) for j in watched]
            one, sum_ = (mine, rest) if gap > 0 else (1, sums[background.argmax()] + mine)
            largest = oracle.exact(max(logit, highest))
            logsumexp = largest + mpmath.log1p(sum_ / one)
            size = max(abs(largest), abs(logsumexp))
            at = len(rows) - 1
            checks.append(
                [
                    *_checks_of_target(at, target, mine, rest),
                    *(c for k, e, sum_ in others for c in _checks_of_other(at, k, e, sum_ + mine)),
                    Check("logsumexp", "logsumexp", (at,), logsumexp, size),
                ]
            )
        yield Case(np.array(rows), np.array(targets), gaps, checks)


def _sum(exponentials, counts):
    return mpmath.fsum(count * exponentials[value] for value, count in counts.items())


def _checks_of_target(row, k, mine, rest):
    loss = mpmath.log1p(rest / mine)
    return [
        Check("loss", "loss", (row,), loss),
        Check("log-probability, target", "log_softmax", (row, k), -loss),
        Check("probability", "softmax", (row, k), mine / (mine + rest)),
        Check("gradient, target", "gradient", (row, k), -rest / (mine + rest)),
    ]


def _checks_of_other(row, k, one, rest):
    probability = one / (one + rest)
    return [
        Check("log-probability, others", "log_softmax", (row, k), -mpmath.log1p(rest / one)),
        Check("probability", "softmax", (row, k), probability),
        Check("gradient, others", "gradient", (row, k), probability),
    ]


def mixed_cases(classes, dtype):
    """Yield batches whose targets give probability to several classes: soft, or smoothed."""
    generator = np.random.default_rng(20261129)
    gaps = [gap for gap in (0.1, 10, 87, 400) if gap <= LARGEST_GAP[dtype]]
    # Of many classes every fifth: each spread and each offset once.
    for background in list(backgrounds(classes, dtype))[:: 5 if classes == 1000 else 1]:
        target = int(generator.integers(classes))
        logits = np.array([np.insert(background, target, background.max() + gap) for gap in gaps])
        weights = generator.random(classes) * (generator.random(classes) < 0.7) + 1e-6
        anything = np.tile(weights / weights.sum(), (len(gaps), 1)).astype(dtype)
        # Where the gradient is the difference of nearly equal numbers.
        equal = ce.softmax(logits)
        exact_rows = list(map(oracle.softmax_row, logits))
        for quantity, targets in (
            ("soft targets", anything),
            ("soft targets", equal),
            ("smoothed", np.full(len(gaps), target)),
        ):
            smoothing = SMOOTHING if quantity == "smoothed" else 0.0
            factors = oracle.loss_factors(targets, classes, label_smoothing=smoothing)
            columns = {0, target, background.argmin(), background.argmax()}
            checks = [
                list(_checks_of_mixture(quantity, i, columns, exact_rows[i], factors[i]))
                for i in range(len(gaps))
            ]
            yield Case(logits, targets, gaps, checks, smoothing)


def _checks_of_mixture(quantity, i, columns, row, factors):
    loss, gradient = oracle.softmax_cross_entropy(row, factors)
    yield Check(f"loss, {quantity}", "loss", (i,), loss)
    total = mpmath.fsum(factors)
    for k in columns:
        size = total * row.probabilities[k] + factors[k]
        yield Check(f"gradient, {quantity}", "gradient", (i, k), gradient[k], size)


# How far apart they are ---------------------------------------------------------------------------


@functools.cache
def errors(dtype, libraries=tuple(RESULTS)):
    """Return ``{(quantity, classes, gap): {library: worst error in eps}}``."""
    worst = {}

    def add(quantity, classes, gap, library, error):
        row = worst.setdefault((quantity, classes, gap), {})
        row[library] = max(row.get(library, 0.0), error)

    limits = np.finfo(dtype)
    normal = oracle.exact(limits.smallest_normal)
    for classes in (*CLASSES, MANY_CLASSES):
        cases = [index_cases(classes, dtype)]
        cases += [mixed_cases(classes, dtype)] * (classes <= 1000)
        for case in chain.from_iterable(cases):
            for library in libraries:
                with quiet_peers(library):
                    results = dict(RESULTS[library](case))
                for gap, checks in zip(case.gaps, case.checks, strict=True):
                    for check in checks:
                        if check.result not in results:
                            continue
                        actual = results[check.result][check.index]
                        size = abs(check.truth) if check.size is None else check.size
                        # Below the normal numbers there are fewer digits, for each term of a sum.
                        size = size if size >= normal else classes * normal
                        error = oracle.error_in_eps(actual, check.truth, size)
                        add(check.quantity, classes, abs(gap), library, error)
                if "gradient" in results and case.targets.ndim == 1:
                    for gap, row in zip(case.gaps, results["gradient"], strict=True):
                        # So is every entry of a gradient that underflows.
                        lost = classes * float(limits.smallest_subnormal) / 2
                        largest = float(abs(row).max()) or 1.0
                        error = max(abs(math.fsum(row)) - lost, 0) / largest / limits.eps
                        add(SUM_OF_GRADIENT, classes, abs(gap), library, error)
    return worst


def worst_errors(dtype, by, **options):
    """Return ``{(quantity, group): {library: worst error}}``, grouped by "classes" or "gap"."""
    worst = {}
    for (quantity, classes, gap), row in errors(dtype, **options).items():
        group = worst.setdefault((quantity, classes if by == "classes" else gap), {})
        for library, error in row.items():
            group[library] = max(group.get(library, 0.0), error)
    return worst


def main():
    tables = {dtype: worst_errors(dtype, "classes") for dtype in DTYPES}
    print_table(
        ("worst error of", "dtype", "classes"),
        (
            ((quantity, np.dtype(dtype).name, str(k)), table[quantity, k], bound(quantity, k))
            for quantity in [*BOUNDS, SUM_OF_GRADIENT]
            for dtype, table in tables.items()
            for k in (*CLASSES, MANY_CLASSES)
            if (quantity, k) in table
        ),
    )
    tables = {dtype: worst_errors(dtype, "gap") for dtype in DTYPES}
    print_table(
        ("worst error of", "dtype", "gap"),
        (
            ((quantity, np.dtype(dtype).name, f"{gap:g}"), table[quantity, gap], BOUNDS[quantity])
            for quantity in GAP_MATTERS
            for dtype, table in tables.items()
            for gap in GAPS_TO_PRINT
            if (quantity, gap) in table
        ),
    )


if __name__ == "__main__":
    main()
