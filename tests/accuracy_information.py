"""Measure the accuracy of ``cebook.information`` against 50 digits, beside SciPy and PyTorch.

Run as ``python tests/accuracy_information.py`` to print the table of worst errors, in units of the
eps of the dtype. ``tests/test_information.py`` runs the same grid and holds every row to its bound.

The truth is that of the numbers as they are stored, whose sum is 1 only up to rounding. For the
divergences it is the generalised sum. SciPy's ``entropy`` divides by the sums first, and PyTorch's
plain sums do not notice them: part of what stands in their columns is that, not their arithmetic.
"""

from __future__ import annotations

import functools

import numpy as np
import oracle
import scipy.special
import scipy.stats
import torch
from accuracy import DTYPES, print_table, quiet_peers
from scipy.spatial import distance

import cebook as ce

OUTCOMES = (2, 3, 10, 100, 1000)
SPREADS = (0.0, 1.0, 30.0)
GAPS = (1.0, 1e-1, 1e-3, 1e-5, 1e-7)

# PACKAGE.md: at most 4 eps, and 8 for KL divergences at whatever distance of p and q. The mutual
# information is one, of a table from the product of its marginals.
BOUNDS = {
    "entropy": 4,
    "cross_entropy": 4,
    "perplexity": 4,
    "binary_entropy": 4,
    "conditional_entropy": 4,
    "mutual_information": 8,
    "kl_divergence": 8,
    "js_divergence": 4,
    "binary_kl_divergence": 8,
}


def distributions(dtype):
    """Yield distributions from uniform to nearly certain, each with a neighbour at every gap."""
    generator = np.random.default_rng(20261123)
    for k in OUTCOMES:
        for spread in SPREADS:
            scores = np.exp(-spread * generator.random(k))
            p = (scores / scores.sum()).astype(dtype)
            for gap in GAPS:
                bent = p * (1 + gap * generator.uniform(-1, 1, k))
                yield k, gap, p, (bent / bent.sum()).astype(dtype)


def tables(dtype):
    """Yield joint distributions: unrelated entries, and one variable nearly deciding the other."""
    generator = np.random.default_rng(20261124)
    for shape in ((2, 2), (3, 5), (10, 100), (30, 30)):
        yield _joint(generator.random(shape), dtype)
        yield _joint(np.exp(-30 * generator.random(shape)), dtype)
        for leak in (1e-3, 1e-10, 1e-18):
            yield _joint(np.eye(*shape) + leak * generator.random(shape), dtype)


def _joint(weights, dtype):
    return (weights / weights.sum()).astype(dtype)


def probabilities(dtype):
    """Yield single probabilities: tiny, middling, next to 1."""
    generator = np.random.default_rng(20261125)
    small = 10 ** -generator.uniform(0, 35, 100)
    yield from np.concatenate([small, generator.random(100), 1 - small]).astype(dtype)


def _torch_kl(p, q):
    return torch.nn.functional.kl_div(
        torch.tensor(q).log(), torch.tensor(p), reduction="sum"
    ).numpy()


def _scipy_js(p, q):
    return distance.jensenshannon(p, q) ** 2


def _torch_entropy(p):
    return (
        torch.distributions.Categorical(probs=torch.tensor(p), validate_args=False)
        .entropy()
        .numpy()
    )


PEERS = {
    "entropy": {"SciPy": scipy.stats.entropy, "PyTorch": _torch_entropy},
    "cross_entropy": {
        "SciPy": lambda p, q: -scipy.special.xlogy(p, q).sum(),
        "PyTorch": lambda p, q: -torch.xlogy(torch.tensor(p), torch.tensor(q)).sum().numpy(),
    },
    "kl_divergence": {"SciPy": scipy.stats.entropy, "PyTorch": _torch_kl},
    "js_divergence": {"SciPy": _scipy_js},
    "binary_entropy": {
        "SciPy": lambda p: scipy.special.entr(p) + scipy.special.entr(1 - p),
        "PyTorch": lambda p: (
            torch.distributions.Bernoulli(torch.tensor(p), validate_args=False).entropy().numpy()
        ),
    },
}


def cases(name, dtype):
    """Yield ``(group, arguments)`` for the function called ``name``."""
    if name == "binary_kl_divergence":
        generator = np.random.default_rng(20261126)
        for p in probabilities(dtype):
            for gap in GAPS:
                q = dtype(p * (1 + gap * generator.uniform(-1, 1)))
                if p < 1 and q < 1:
                    yield f"gap {gap:g}", (p, q)
    elif name == "binary_entropy":
        for p in probabilities(dtype):
            yield "all", (p,)
    elif name in ("conditional_entropy", "mutual_information"):
        for joint in tables(dtype):
            yield "all", (joint,)
    else:
        two = name in ("cross_entropy", "kl_divergence", "js_divergence")
        for k, gap, p, q in distributions(dtype):
            group = f"gap {gap:g}" if "divergence" in name else f"K = {k}"
            yield group, (p, q) if two else (p,)


@functools.cache
def worst_errors(name, dtype):
    """Return ``{group: {library: worst error in eps}}``."""
    functions = {"cebook": getattr(ce, name), **PEERS.get(name, {})}
    truth_of = getattr(oracle, name)
    worst: dict[str, dict[str, float]] = {}
    for group, arguments in cases(name, dtype):
        truth = truth_of(*arguments)
        if 0 < abs(truth) < np.finfo(dtype).smallest_normal:
            continue  # Below the normal numbers there are fewer digits to get right.
        row = worst.setdefault(group, dict.fromkeys(functions, 0.0))
        for library, function in functions.items():
            with quiet_peers(library):
                row[library] = max(row[library], oracle.error_in_eps(function(*arguments), truth))
    return worst


def main():
    print_table(
        ("function", "dtype", "inputs"),
        (
            ((name, np.dtype(dtype).name, group), row, bound)
            for name, bound in BOUNDS.items()
            for dtype in DTYPES
            for group, row in worst_errors(name, dtype).items()
        ),
    )


if __name__ == "__main__":
    main()
