"""Measure the accuracy of ``cebook.sigmoid_loss`` against 150 digits, beside its peers.

Run as ``python tests/accuracy_sigmoid.py`` to print the worst errors, in units of the eps of the
dtype, by quantity and by size of the logit. ``tests/test_sigmoid_loss_accuracy.py`` runs the same
grid and holds every quantity to its bound. The truth is that of the numbers as they are stored:
logits from the smallest subnormal to the largest float, all of [0, 1] for probabilities. An input
whose exact answer no float can hold is left out.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import accuracy_information
import mpmath
import numpy as np
import oracle
import scipy.special
import sklearn.metrics
import torch
from accuracy import DTYPES, print_table, quiet_peers
from sklearn._loss import loss

import cebook as ce

# Where 1 + e^-z rounds to 1, PyTorch's softplus returns z, e^z overflows, e^-z vanishes.
LANDMARKS = (1, 10, 17, 20, 37, 40, 88, 104, 700, 710, 745)
LANDMARKS_TO_PRINT = {np.float32: LANDMARKS[:8], np.float64: LANDMARKS[:9]}
SOFT_TARGETS = (1e-30, 1e-9, 1e-3, 0.25, 0.5, 0.999)
SMALLEST_WEIGHT = 1e-2  # the largest is its inverse

# PACKAGE.md. Where the two terms of the gradient in a logit may truly cancel, its error is measured
# against their sizes added. A target of 0 or 1 leaves one of them: that is the value itself.
FUNCTIONS = ("sigmoid", "log_sigmoid", "softplus", "logit", "binary_entropy")
LOSSES = {
    "sigmoid_cross_entropy": ("hard targets", "soft targets", "weighted"),
    "binary_cross_entropy": ("hard targets", "soft targets", "weighted"),
    "squared_error": ("plain", "weighted"),
}
BOUNDS = dict.fromkeys(
    (
        *FUNCTIONS,
        *(
            f"{loss}, {kind}{result}"
            for loss, kinds in LOSSES.items()
            for kind in kinds
            for result in ("", ", gradient")
        ),
    ),
    4,
)
SIZE_MATTERS = (
    "sigmoid_cross_entropy, hard targets",
    "sigmoid_cross_entropy, hard targets, gradient",
)


class Case(NamedTuple):
    """Inputs entry by entry, and for every result the exact values and what they are held to."""

    name: str
    inputs: list[np.ndarray]
    truths: list[tuple[mpmath.mpf, ...]]
    sizes: list[tuple[mpmath.mpf, ...]]


# What the libraries say ---------------------------------------------------------------------------


def _cebook_loss(function):
    def of_entries(scores, targets, *weights):
        options = dict(zip(("weight", "pos_weight"), weights, strict=False))
        return function(scores, targets, **options, reduction="none", return_grad=True)

    return of_entries


def _torch(function):
    return lambda x: function(torch.tensor(x)).numpy()


def _torch_loss(function):
    def of_entries(scores, targets, *weights):
        scores = torch.tensor(scores, requires_grad=True)
        weights = dict(zip(("weight", "pos_weight"), map(torch.tensor, weights), strict=False))
        losses = function(scores, torch.tensor(targets), **weights, reduction="none")
        losses.sum().backward()
        return losses.detach().numpy(), scores.grad.numpy()

    return of_entries


def _torch_squared_error(*inputs, **options):
    return torch.nn.functional.mse_loss(*inputs, **options) / 2


def _scipy_of_logits(z, y, weight=1, pos_weight=1):
    a = scipy.special.expit(z)
    # xlogy and xlog1py: a target of 0 or 1 leaves one term, whatever the other logarithm is.
    yes, no = scipy.special.xlogy(pos_weight * y, a), scipy.special.xlog1py(1 - y, -a)
    return -weight * (yes + no), weight * ((1 - y) * a - pos_weight * y * (1 - a))


def _scipy_of_probabilities(a, y, weight=1):
    loss = -weight * (scipy.special.xlogy(y, a) + scipy.special.xlog1py(1 - y, -a))
    return loss, weight * (a - y) / (a * (1 - a))


def _scikit_learn_loss(loss):
    return lambda scores, targets, weight=None: loss.loss_gradient(targets, scores, weight)


def _scikit_learn_of_probabilities(a, y):
    # It returns the mean alone.
    pairs = zip(a, y, strict=True)
    return np.array([sklearn.metrics.log_loss([q], [p], labels=[0, 1]) for p, q in pairs], a.dtype)


def by_case(functions, **losses):
    """Return the functions by the name of the case that they are measured on."""
    of_kinds = {f"{name}, {kind}": losses.get(name) for name in LOSSES for kind in LOSSES[name]}
    return functions | {name: function for name, function in of_kinds.items() if function}


RESULTS = {
    "cebook": by_case(
        {name: getattr(ce, name) for name in FUNCTIONS},
        **{name: _cebook_loss(getattr(ce, name)) for name in LOSSES},
    ),
    "SciPy": by_case(
        {
            "sigmoid": scipy.special.expit,
            "log_sigmoid": scipy.special.log_expit,
            "softplus": scipy.special.softplus,
            "logit": scipy.special.logit,
            "binary_entropy": accuracy_information.PEERS["binary_entropy"]["SciPy"],
        },
        sigmoid_cross_entropy=_scipy_of_logits,
        binary_cross_entropy=_scipy_of_probabilities,
    ),
    "PyTorch": by_case(
        {
            "sigmoid": _torch(torch.sigmoid),
            "log_sigmoid": _torch(torch.nn.functional.logsigmoid),
            "softplus": _torch(torch.nn.functional.softplus),
            "logit": _torch(torch.logit),
            "binary_entropy": accuracy_information.PEERS["binary_entropy"]["PyTorch"],
        },
        sigmoid_cross_entropy=_torch_loss(torch.nn.functional.binary_cross_entropy_with_logits),
        binary_cross_entropy=_torch_loss(torch.nn.functional.binary_cross_entropy),
        squared_error=_torch_loss(_torch_squared_error),
    ),
    # It has no pos_weight, and takes probabilities with hard targets only.
    "scikit-learn": {
        "sigmoid_cross_entropy, hard targets": _scikit_learn_loss(loss.HalfBinomialLoss()),
        "sigmoid_cross_entropy, soft targets": _scikit_learn_loss(loss.HalfBinomialLoss()),
        "binary_cross_entropy, hard targets": _scikit_learn_of_probabilities,
        "squared_error, plain": _scikit_learn_loss(loss.HalfSquaredError()),
        "squared_error, weighted": _scikit_learn_loss(loss.HalfSquaredError()),
    },
}


# What is true -------------------------------------------------------------------------------------


def logits(dtype, count):
    """Return logits of every size and both signs, most of them where something happens."""
    generator = np.random.default_rng(20261201)
    limits = np.finfo(dtype)
    decades = np.log10([limits.smallest_normal, limits.max])
    sizes = [
        [0, limits.smallest_subnormal, limits.smallest_normal, 20, limits.max],
        dtype(10) ** generator.uniform(*decades, 2 * count),
        10 ** generator.uniform(-9, 2, 3 * count),
        generator.uniform(0, 2, 2 * count),
        # To where the smaller of the two probabilities is 0.
        generator.uniform(0, -1.1 * np.log(limits.smallest_subnormal), 3 * count),
        *(generator.uniform(n - 0.5, n + 0.5, count) for n in LANDMARKS),
    ]
    sizes = np.concatenate(sizes).astype(dtype)
    return np.concatenate([sizes, -sizes])


def probabilities(dtype, count):
    """Return probabilities of every size, many of them next to 0, 1/4, 1/2, 3/4 and 1."""
    generator = np.random.default_rng(20261202)
    limits = np.finfo(dtype)
    small = dtype(10) ** generator.uniform(np.log10(limits.smallest_normal), 0, count)
    less_small = 10 ** generator.uniform(np.log10(limits.eps), -0.5, count)
    steps = np.concatenate([limits.eps * np.arange(9) / 8, less_small[:20]])
    near = np.add.outer([0, 0.25, 0.5, 0.75, 1], [*steps, *-steps]).ravel()
    values = [
        [limits.smallest_subnormal, limits.smallest_normal],
        *(small, less_small, 1 - less_small),
        near[(near >= 0) & (near <= 1)],
        *(generator.uniform(0, 1, count), generator.uniform(0.2, 0.8, count)),
    ]
    return np.unique(np.concatenate(values).astype(dtype))


def soft_targets(equal, generator):
    """Yield targets equal to these probabilities, one step off, anywhere, near 0 or 1, fixed."""
    dtype, count = equal.dtype.type, len(equal)
    near = 10 ** generator.uniform(-7, -0.3, count)
    fixed = [*SOFT_TARGETS, 1 - np.finfo(dtype).eps]
    yield equal
    yield np.nextafter(equal, dtype(0.5))
    yield generator.random(count).astype(dtype)
    yield np.where(generator.random(count) < 0.5, near, 1 - near).astype(dtype)
    yield generator.choice(fixed, count).astype(dtype)


def problems(dtype):
    """Yield the names of cases with their inputs, arrays of one length."""
    generator = np.random.default_rng(20261203)
    count = 24 if dtype in DTYPES else 8
    z, p = logits(dtype, count), probabilities(dtype, 2 * count)
    for name in FUNCTIONS:
        yield name, [p if name in ("logit", "binary_entropy") else z]
    rounded = np.array([float(oracle.sigmoid(x)) for x in z], dtype)
    for name, scores, equal in (
        ("sigmoid_cross_entropy", z, rounded),
        ("binary_cross_entropy", p, p),
    ):
        hard = [np.zeros_like(scores), np.ones_like(scores)]
        soft = list(soft_targets(equal, generator))
        yield f"{name}, hard targets", _every(scores, hard)
        yield f"{name}, soft targets", _every(scores, soft)
        inputs = [scores, generator.permuted([*hard, *soft], axis=0)[0]]
        factors = 2 if name == "sigmoid_cross_entropy" else 1
        yield f"{name}, weighted", _weighted(inputs, factors, generator)
    near = [np.nextafter(z, dtype(0)), z * dtype(0.9)]
    far = [generator.random(len(z)).astype(dtype), generator.permutation(z)]
    yield "squared_error, plain", _every(z, near + far)
    inputs = [z, generator.permuted(near + far, axis=0)[0]]
    yield "squared_error, weighted", _weighted(inputs, 1, generator)


def _every(scores, targets):
    """Return all scores with each of the arrays of targets."""
    return [np.tile(scores, len(targets)), np.concatenate(targets)]


def _weighted(inputs, factors, generator):
    """Return them with weights, but for what overflows or loses its digits before one is applied.

    Those are numbers whose square overflows, and targets whose product with a weight is subnormal.
    """
    scores, targets = inputs
    limits = np.finfo(scores.dtype)
    kept = np.maximum(abs(scores), abs(targets)) < np.sqrt(limits.max) / 2
    kept &= (targets == 0) | (abs(targets) > limits.smallest_normal / SMALLEST_WEIGHT)
    shape = factors, kept.sum()
    weights = SMALLEST_WEIGHT ** generator.uniform(-1, 1, shape) * (generator.random(shape) < 0.95)
    return [scores[kept], targets[kept], *weights.astype(scores.dtype)]


@functools.cache
def cases(dtype):
    """Return the problems with their exact answers, without the entries that no float answers."""
    limits = np.finfo(dtype)
    largest, normal = oracle.exact(limits.max), oracle.exact(limits.smallest_normal)
    result = []
    for name, inputs in problems(dtype):
        function = getattr(oracle, name.partition(",")[0])
        kept, truths, sizes = [], [], []
        for i, entry in enumerate(zip(*inputs, strict=True)):
            truth = function(*entry)
            truth = truth if isinstance(truth, tuple) else (truth,)
            # An infinite answer to a finite question is one, a number beyond the largest is not.
            if any(largest < abs(x) < mpmath.inf for x in truth):
                continue
            size = [abs(x) for x in truth]
            if function is oracle.sigmoid_cross_entropy:
                size[1] = _size_of_gradient(*entry)
            # Below the normal numbers there are fewer digits, and weights do not bring them back.
            floor = normal * math.prod(max(1, oracle.exact(weight)) for weight in entry[2:])
            kept.append(i)
            truths.append(truth)
            sizes.append(tuple(max(x, floor) for x in size))
        result.append(Case(name, [array[kept] for array in inputs], truths, sizes))
    return result


def _size_of_gradient(z, y, weight=1, pos_weight=1):
    y, w, v = map(oracle.exact, (y, weight, pos_weight))
    return w * ((1 - y) * oracle.sigmoid(z) + v * y * oracle.sigmoid(-z))


# How far apart they are ---------------------------------------------------------------------------


def measure(functions, dtype):
    """Return ``{(quantity, landmark): worst error in eps}`` of functions by the name of a case."""
    worst = {}
    for case in cases(dtype):
        if case.name not in functions:
            continue
        landmarks = [_landmark(score) for score in case.inputs[0]]
        results = functions[case.name](*case.inputs)
        # The losses of some have no gradient.
        results = results if isinstance(results, tuple) else (results,)
        for k, (result, of) in enumerate(zip(results, ("", ", gradient"), strict=False)):
            assert result.dtype == dtype
            for i, landmark in enumerate(landmarks):
                error = oracle.error_in_eps(result[i], case.truths[i][k], case.sizes[i][k])
                key = case.name + of, landmark
                worst[key] = max(worst.get(key, 0.0), error)
    return worst


def _landmark(score):
    return next((n for n in LANDMARKS if abs(abs(score) - n) <= 0.5), None)


@functools.cache
def errors(dtype, libraries=tuple(RESULTS)):
    """Return ``{(quantity, landmark): {library: worst error in eps}}``."""
    worst = {}
    for library in libraries:
        with quiet_peers(library):
            for key, error in measure(RESULTS[library], dtype).items():
                worst.setdefault(key, {})[library] = error
    return worst


def worst_errors(dtype, **options):
    """Return ``{quantity: {library: worst error in eps}}``."""
    worst = {}
    for (quantity, _), row in errors(dtype, **options).items():
        of_quantity = worst.setdefault(quantity, {})
        for library, error in row.items():
            of_quantity[library] = max(of_quantity.get(library, 0.0), error)
    return worst


def main():
    print_table(
        ("worst error of", "dtype"),
        (
            ((quantity, np.dtype(dtype).name), worst_errors(dtype)[quantity], bound)
            for quantity, bound in BOUNDS.items()
            for dtype in DTYPES
        ),
    )
    print_table(
        ("worst error of", "dtype", "logit"),
        (
            (
                (quantity, np.dtype(dtype).name, f"{landmark}"),
                errors(dtype)[quantity, landmark],
                BOUNDS[quantity],
            )
            for quantity in SIZE_MATTERS
            for dtype in DTYPES
            for landmark in LANDMARKS_TO_PRINT[dtype]
        ),
    )


if __name__ == "__main__":
    main()
