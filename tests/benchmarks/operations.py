"""What is measured: the operations in cebook and in its peers, their inputs, and the limits.

A limit is a ratio, the time of cebook over that of the peer; None only records. Those of one thread
are the last column of the speed table that the package was written to.
"""

from __future__ import annotations

import inspect
import itertools
import os
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

Arrays = tuple[np.ndarray, ...]
Call = Callable[[], Any]
Limits = dict[str, float | None]

DTYPES = ("float32", "float64")
SHAPES = ((8192, 10), (4096, 1000), (256, 50257), (64, 128256), (1, 10**7))
SMALL = (32, 10)
FLOOR_SHAPE, NOTHING_BETWEEN = (4096, 1000), "nothing in between"
LINEAR = (2048, 512, 50257)  # rows, features, classes

# What linear_cross_entropy may hold at a time; with gradients, the more the faster.
BLOCKS = {"8 MiB of logits": 1 << 23, "64 MiB of logits": 1 << 26}

SOFTMAX: dict[str, Limits] = {
    "loss": {"PyTorch": 0.85, "SciPy": 0.45, "JAX": 1.0, "scikit-learn": None},
    "loss and gradient": {"PyTorch": 0.5, "JAX": 1.0, "scikit-learn": None},
    "logsumexp": {"PyTorch": 0.65, "SciPy": 0.25, "JAX": None},
    "softmax": {"PyTorch": 1.15, "SciPy": 0.55, "JAX": None},
    "log_softmax": {"PyTorch": 1.6, "SciPy": 0.8, "JAX": None},
}
SIGMOID: dict[str, Limits] = {
    "sigmoid loss": {"PyTorch": 0.75, "SciPy": None, "JAX": None, "scikit-learn": None},
    "sigmoid loss and gradient": {"PyTorch": 0.75, "JAX": None, "scikit-learn": None},
}
# For the first two the table names no peer: the limit holds for both.
LINEAR_LOSS: dict[tuple[str, str], Limits] = {
    ("linear loss", "8 MiB of logits"): {"PyTorch": 0.95, "JAX": 0.95},
    ("linear loss and gradients", "64 MiB of logits"): {
        "PyTorch": 1.1,
        "JAX": 1.1,
        "PyTorch chunked": None,
    },
    ("linear loss and gradients", "8 MiB of logits"): {"PyTorch": 1.6},
}
HOSTILE = ("offset +1000", "every other row +1000", "exp subnormal")
MEGABYTE, LOGITS_BYTES = 10**6, LINEAR[0] * LINEAR[2] * 4
MEMORY_LIMITS = {  # bytes beyond inputs and outputs
    ("loss", "", (256, 50257)): MEGABYTE,
    ("linear loss", "8 MiB of logits", LINEAR): LOGITS_BYTES // 20,
    ("linear loss and gradients", "8 MiB of logits", LINEAR): LOGITS_BYTES // 20,
    ("linear loss and gradients", "64 MiB of logits", LINEAR): LOGITS_BYTES // 5,
}


class NotThereError(Exception):
    """What a case needs does not exist here."""


class Case(NamedTuple):
    operation: str
    data: str  # what is special about the input or the setting, if anything
    shape: tuple[int, ...]
    dtype: str
    threads: int
    limits: Limits  # for every peer

    @property
    def is_alone(self) -> bool:
        return self.data == NOTHING_BETWEEN

    @classmethod
    def from_json(cls, fields: list[Any]) -> Case:
        operation, data, shape, *others = fields
        return cls(operation, data, tuple(shape), *others)

    def __str__(self) -> str:
        what = ", ".join(filter(None, [self.operation, self.data]))
        return f"{what} {self.shape} {self.dtype} x{self.threads}"


def cases(cores: int) -> Iterator[Case]:
    """Yield what to measure on one thread, and on all cores if there are several."""
    for dtype, shape in itertools.product(DTYPES, SHAPES):
        for operation, limits in SOFTMAX.items():
            yield Case(operation, "", shape, dtype, 1, limits | _floor(operation, shape))
    # Where others come in between, the input has left the caches, and the block of np.exp has not;
    # and the threads of others, which wait for more by turning round and round, take a core.
    for dtype, limit in (("float32", 1.4), ("float64", None)):
        yield Case("loss", NOTHING_BETWEEN, FLOOR_SHAPE, dtype, 1, {"np.exp in cache": limit})
    for dtype, operation in itertools.product(DTYPES, SOFTMAX):
        yield Case(operation, "", SMALL, dtype, 1, {"PyTorch": 1.5})
    for dtype, size in itertools.product(DTYPES, (10**6, 10**7)):
        for labels, (operation, limits) in itertools.product(("hard", "soft"), SIGMOID.items()):
            yield Case(operation, f"{labels} labels", (size,), dtype, 1, limits)
    for dtype, data in itertools.product(DTYPES, ("", "nearby")):
        limit = None if data else 0.2
        peers = {"SciPy": limit, "PyTorch": None, "JAX": None}
        yield Case("KL divergence", data, (10**6,), dtype, 1, peers)
    for (operation, data), limits in LINEAR_LOSS.items():
        yield Case(operation, data, LINEAR, "float32", 1, limits)
    for shape, dtype in itertools.product([(4096, 1000), (256, 50257)], DTYPES):
        for operation in ("loss", "loss and gradient", "softmax", "logsumexp"):
            for data in HOSTILE:
                yield Case(operation, data, shape, dtype, 1, {"ordinary data": 2.5})
    if cores > 1:
        yield from _cases_on_all_cores(cores)


def _floor(operation: str, shape: tuple[int, ...]) -> Limits:
    return {"np.exp in cache": None} if (operation, shape) == ("loss", FLOOR_SHAPE) else {}


def _cases_on_all_cores(cores: int) -> Iterator[Case]:
    others: Limits = {"PyTorch": None, "JAX": None}
    shapes = SMALL, (900, 1000), *SHAPES
    for dtype, shape in itertools.product(DTYPES, shapes):
        # 5 % is what two runs of the same code may differ by.
        elements = shape[0] * shape[1]
        limit = 1.05 if elements < 10**6 else 1 / 1.3 if elements > 5 * 10**6 else None
        yield Case("loss", NOTHING_BETWEEN, shape, dtype, cores, {"one thread": limit})
    for dtype in DTYPES:
        for shape in shapes:
            yield Case("loss", "", shape, dtype, cores, others)
        for operation, shape in itertools.product(("loss and gradient", "softmax"), SHAPES):
            yield Case(operation, "", shape, dtype, cores, others | {"one thread": None})
        for operation in SIGMOID:
            peers = others | {"one thread": None}
            yield Case(operation, "hard labels", (10**7,), dtype, cores, peers)
    operation, data = "linear loss and gradients", "64 MiB of logits"
    yield Case(operation, data, LINEAR, "float32", cores, others)


# Inputs -------------------------------------------------------------------------------------------


def make_inputs(case: Case) -> Arrays:
    """Return the arrays that the operation takes, the same in every process."""
    rng = np.random.default_rng(0)
    operation, data, shape, dtype = case[:4]

    def normal(*size: int, scale: float = 1.0) -> np.ndarray:
        array = rng.standard_normal(size, dtype)
        array *= scale
        return array

    if operation.startswith("linear"):
        rows, features, classes = shape
        labels = rng.integers(classes, size=rows)
        return normal(rows, features), normal(classes, features, scale=features**-0.5), labels
    if operation.startswith("sigmoid"):
        targets = rng.random(*shape, dtype)
        return normal(*shape, scale=3.0), targets.round() if data == "hard labels" else targets
    if operation == "KL divergence":
        p, q = (_normalised(np.exp(normal(*shape))) for _ in range(2))
        if data == "nearby":
            q = _normalised(p * (1 + 2e-3 * (rng.random(*shape, dtype) - 0.5)))
        return p, q
    logits = _hostile(rng, case) if data in HOSTILE else normal(*shape, scale=3.0)
    labels = rng.integers(shape[1], size=shape[0])
    return (logits, labels) if operation.startswith("loss") else (logits,)


def _normalised(x: np.ndarray) -> np.ndarray:
    return x / x.sum()


def _hostile(rng: np.random.Generator, case: Case) -> np.ndarray:
    if case.data == "exp subnormal":
        low, high = (-103, -87) if case.dtype == "float32" else (-745, -708)
        logits = rng.uniform(low, high, case.shape).astype(case.dtype)
        logits[:, 3] = 0
        return logits
    logits = 3 * rng.standard_normal(case.shape, case.dtype)
    logits[:: 2 if case.data == "every other row +1000" else 1] += 1000
    return logits


# Calls --------------------------------------------------------------------------------------------


def make_calls(case: Case, peers: list[str]) -> dict[str, Call]:
    """Return calls without arguments: of cebook, and of those peers that are installed."""
    arrays = make_inputs(case)
    calls: dict[str, Call] = {}
    for peer in peers:
        if peer in PEERS:
            modules, bind = PEERS[peer]
            if all(map(find_spec, modules)):
                calls[peer] = bind(case, *arrays)
        elif peer == "np.exp in cache":
            calls[peer] = _exp_in_cache(*arrays)
        elif peer == "ordinary data":
            calls[peer] = _cebook(case, *make_inputs(case._replace(data="")))
        elif peer == "one thread":
            calls[peer] = partial(_on_threads, 1, calls["cebook"])
            calls["cebook"] = partial(_on_threads, case.threads, calls["cebook"])
        else:
            raise ValueError(f"unknown peer {peer!r}")
    return calls


def _on_threads(threads: int, call: Call) -> Any:
    from cebook import _tiles

    if _tiles.num_threads() != threads:
        os.environ["CEBOOK_NUM_THREADS"] = str(threads)
        _tiles.num_threads.cache_clear()
    return call()


def _exp_in_cache(logits: np.ndarray, *_: np.ndarray) -> Call:
    """Exponentiate as many numbers as there are logits, all from one block of 256 kB."""
    block = logits.ravel()[: 256_000 // logits.itemsize].copy()
    out = np.empty_like(block)

    def call() -> None:
        for _ in range(logits.size // block.size):
            np.exp(block, out=out)

    return call


def _cebook(case: Case, *arrays: np.ndarray) -> Call:
    import cebook as ce

    function = {
        "loss": "softmax_cross_entropy",
        "loss and gradient": "softmax_cross_entropy",
        "sigmoid loss": "sigmoid_cross_entropy",
        "sigmoid loss and gradient": "sigmoid_cross_entropy",
        "linear loss": "linear_cross_entropy",
        "linear loss and gradients": "linear_cross_entropy",
        "KL divergence": "kl_divergence",
    }.get(case.operation, case.operation)
    if not hasattr(ce, function):
        raise NotThereError(f"cebook has no {function}")
    options: dict[str, Any] = {"return_grad": True} if "gradient" in case.operation else {}
    if case.data in BLOCKS:
        if "max_logits_bytes" not in inspect.signature(getattr(ce, function)).parameters:
            raise NotThereError(f"{function} has no parameter max_logits_bytes")
        options["max_logits_bytes"] = BLOCKS[case.data]
    return partial(getattr(ce, function), *arrays, **options)


def _torch(case: Case, *arrays: np.ndarray, chunked: bool = False) -> Call:
    import torch
    from torch.nn import functional as F

    options = torch.nn.LinearCrossEntropyOptions() if chunked else None
    function = {
        "loss": F.cross_entropy,
        "logsumexp": partial(torch.logsumexp, dim=-1),
        "softmax": partial(F.softmax, dim=-1),
        "log_softmax": partial(F.log_softmax, dim=-1),
        "sigmoid loss": F.binary_cross_entropy_with_logits,
        "KL divergence": lambda p, q: F.kl_div(q.log(), p, reduction="sum"),
        "linear loss": partial(F.linear_cross_entropy, options=options)
        if chunked
        else lambda x, w, y: F.cross_entropy(x @ w.T, y),
    }[_without_gradient(case)]
    torch.set_num_threads(case.threads)
    tensors = [torch.from_numpy(array) for array in arrays]
    leaves = tensors[: _num_gradients(case)]
    torch.set_grad_enabled(bool(leaves))
    if not leaves:
        return partial(function, *tensors)
    for leaf in leaves:
        leaf.requires_grad_()

    def call() -> Any:
        loss = function(*tensors)
        loss.backward()
        gradients = [leaf.grad for leaf in leaves]
        for leaf in leaves:
            leaf.grad = None
        return loss.detach(), gradients

    return call


def _jax(case: Case, *arrays: np.ndarray) -> Call:
    import jax

    jax.config.update("jax_enable_x64", True)
    import optax

    softmax_loss = optax.softmax_cross_entropy_with_integer_labels
    function = {
        "loss": lambda x, y: softmax_loss(x, y).mean(),
        "logsumexp": partial(jax.nn.logsumexp, axis=-1),
        "softmax": jax.nn.softmax,
        "log_softmax": jax.nn.log_softmax,
        "sigmoid loss": lambda x, y: optax.sigmoid_binary_cross_entropy(x, y).mean(),
        "KL divergence": lambda p, q: optax.kl_divergence(jax.numpy.log(q), p),
        "linear loss": lambda x, w, y: softmax_loss(x @ w.T, y).mean(),
    }[_without_gradient(case)]
    leaves = tuple(range(_num_gradients(case)))
    compiled = jax.jit(jax.value_and_grad(function, leaves) if leaves else function)
    on_device = [jax.device_put(array) for array in arrays]
    return lambda: jax.block_until_ready(compiled(*on_device))


def _scipy(case: Case, *arrays: np.ndarray) -> Call:
    from scipy.special import log_expit, log_softmax, logsumexp, softmax
    from scipy.stats import entropy

    function = {
        "loss": lambda x, y: -log_softmax(x, axis=-1)[np.arange(len(y)), y].mean(),
        "logsumexp": partial(logsumexp, axis=-1),
        "softmax": partial(softmax, axis=-1),
        "log_softmax": partial(log_softmax, axis=-1),
        "sigmoid loss": lambda z, y: -(y * log_expit(z) + (1 - y) * log_expit(-z)).mean(),
        "KL divergence": entropy,
    }[case.operation]
    return partial(function, *arrays)


def _sklearn(case: Case, logits: np.ndarray, targets: np.ndarray) -> Call:
    from sklearn._loss.loss import HalfBinomialLoss, HalfMultinomialLoss

    binary = case.operation.startswith("sigmoid")
    loss = HalfBinomialLoss() if binary else HalfMultinomialLoss(n_classes=logits.shape[1])
    of_logits = (targets.astype(logits.dtype), logits)
    if not _num_gradients(case):
        return lambda: loss.loss(*of_logits, n_threads=case.threads).mean()
    weights = np.full(len(logits), 1 / len(logits), logits.dtype)

    def call() -> Any:
        losses, gradient = loss.loss_gradient(*of_logits, weights, n_threads=case.threads)
        return losses.sum(), gradient

    return call


def _without_gradient(case: Case) -> str:
    return case.operation.split(" and ")[0]


def _num_gradients(case: Case) -> int:
    if "gradient" not in case.operation:
        return 0
    return 2 if case.operation.startswith("linear") else 1


# The modules each needs, and what makes its call.
PEERS: dict[str, tuple[tuple[str, ...], Callable[..., Call]]] = {
    "cebook": (("cebook",), _cebook),
    "PyTorch": (("torch",), _torch),
    "PyTorch chunked": (("torch",), partial(_torch, chunked=True)),
    "SciPy": (("scipy",), _scipy),
    "scikit-learn": (("sklearn",), _sklearn),
    "JAX": (("jax", "optax"), _jax),
}


def missing_peers() -> list[str]:
    return [peer for peer, (modules, _) in PEERS.items() if not all(map(find_spec, modules))]
