"""The softmax loss of a vocabulary that is split over processes: the way past one machine.

Each process holds the logits of some classes, for every row of the batch. A row's loss needs its
largest logit, the sum of its exponentials and the logit of its target: three numbers, to which
every process adds its part. The logits themselves stay where they are.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ._rows import rounded
from ._validation import (
    Array,
    Reduction,
    as_array,
    as_floating,
    check_ignore_index,
    check_label_smoothing,
    check_labels,
    check_reduction,
    check_weight,
    warn_of_empty_mean,
)

if TYPE_CHECKING:
    import torch
    from numpy.typing import ArrayLike

__all__ = ["vocab_parallel_cross_entropy"]


def vocab_parallel_cross_entropy(
    local_logits: ArrayLike | torch.Tensor,
    targets: ArrayLike | torch.Tensor,
    *,
    group: torch.distributed.ProcessGroup | None = None,
    weight: ArrayLike | torch.Tensor | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    return_grad: bool = False,
) -> Any:
    r"""Return the softmax loss of logits of which each process holds the classes of a slice.

    .. math::

        m_i &= \max_r \max_{k \in V_r} z_{ik}, \\
        S'_i &= \sum_r \sum_{k \in V_r,\, k \ne y_i} e^{z_{ik} - m_i}, \\
        t_i &= \sum_r \sum_{k \in V_r} [k = y_i] (z_{ik} - m_i), \\
        \ell_i &= \log(1 + S'_i / e^{t_i}),

    with :math:`V_r` the classes of process r. Every process of the group makes this call at once,
    and gets the loss that :func:`~cebook.softmax_cross_entropy` has for the logits of all of them.

    Parameters
    ----------
    local_logits : array_like or tensor, shape (..., V_local)
        The logits of the classes of this process, and not of all: those would count as often as
        there are processes. The slices follow each other in the order of the
        ranks; their lengths may differ, and be 0.
    targets : array_like or tensor of int, shape (...)
        Class indices from 0 to V-1, V the sum of all V_local, counted over the whole vocabulary and
        not over the slice; the same on every process.
    group : torch.distributed.ProcessGroup, optional
        The processes that share the vocabulary; by default all of them. Messages number them as
        their ranks in it.
    weight : array_like or tensor, shape (V_local,), optional
        A finite, non-negative factor for each class of this process.
    ignore_index : int, optional
        The class index that marks rows to leave out.
    label_smoothing : float
        The share of every target that is spread evenly over all V classes.
    reduction : {"mean", "sum", "none"}
        What to make of the losses of the rows. "mean" divides by the weights of the labels that
        count.
    return_grad : bool
        Whether to return the gradient with respect to ``local_logits`` too.

    Returns
    -------
    loss : scalar, or array of the shape of ``targets`` for "none"
        In the dtype of ``local_logits``: the same on every process. A tensor if ``local_logits`` is
        one, on its device.
    grad : array or tensor, dtype and shape of ``local_logits``
        Only with ``return_grad``: the slice of this process.

    Raises
    ------
    ValueError
        If arguments have no answer, as in :func:`~cebook.softmax_cross_entropy`; on every process,
        if they have none on one, or if dtype, targets or options are not the same on all.
    TypeError
        If ``local_logits`` do not hold real numbers, are of longdouble, are a DTensor or carry a
        graph; if ``targets`` are not integers; if ``group`` is no process group.
    RuntimeError
        If there is no process group, or an all-reduce fails: because a process has died, or has not
        made this call within the timeout of the group.
    ImportError
        If PyTorch is not installed.

    Warns
    -----
    UserWarning
        If every row is non-negative and sums to 1 over all processes: softmax was applied already.
    RuntimeWarning
        If the mean is over nothing; it is nan.

    Notes
    -----
    Three all-reduces make a batch of N rows on P processes, whatever V is.

    1. The maximum of a table of 10 integers for each process, 80 P bytes: each fills its own line,
       with the length of its slice, whether its arguments are in order, and digests of what has to
       be the same on all. Its size does not depend on the batch, so that processes whose batches
       differ find out here, where nothing can go wrong.
    2. The maximum of N row maxima, and of 2 P + 1 numbers on weights and signs.
    3. The sum of 2 numbers for each row, S' and t. With ``weight`` there is 1 more, the weight of
       the target; with ``label_smoothing`` there are 2 more, the sum of all costs and the number of
       ties for the maximum; and there is 1 more where every logit lies in [0, 1], to tell whether
       they are probabilities.

    That is 24 bytes a row with 8-byte numbers, where the logits of a vocabulary of 128,256 have
    513,024 in float32. Everything is computed in float64 (where the device has it), in blocks of
    rows: beyond the gradient, a process needs a few MB and some numbers for each row.

    The target is left out of the sum, so that nothing cancels when its probability is near 1; for
    the same reason the gradient at the target is ``-S' / (S' + exp(t))``. Errors are those of
    :func:`~cebook.softmax_cross_entropy`: 4 eps in the loss and at the true class, 6 eps elsewhere.

    There is no graph: pass ``local_logits.detach()``, and then call ``local_logits.backward(grad)``
    on the tensor that has one. What comes before the logits on every process, as the features of a
    last layer that is split, wants the sum of all its gradients: one more all-reduce.

    References
    ----------
    Shoeybi et al., *Megatron-LM: Training Multi-Billion Parameter Language Models Using Model
    Parallelism*, arXiv:1909.08053, section 3.

    Examples
    --------
    Here the group is one process, which holds all classes. Adding up exponentials over the
    processes, and then taking the logarithm, breaks as it does in one.

    >>> import numpy as np
    >>> import torch.distributed as dist
    >>> import cebook as ce
    >>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    >>> logits = np.array([[0.0, 0.0, 800.0], [0.0, 0.0, 40.0]])
    >>> labels = np.array([0, 2])
    >>> with np.errstate(all="ignore"):
    ...     s = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    ...     print(-np.log(s[[0, 1], labels]))
    [inf -0.]
    >>> losses = ce.distributed.vocab_parallel_cross_entropy(logits, labels, reduction="none")
    >>> print(*(f"{loss:.4g}" for loss in losses))
    800 8.497e-18
    >>> dist.destroy_process_group()
    """
    members = _members(group, local_logits)
    local, vocabulary = _agreed(
        members, local_logits, targets, weight, ignore_index, label_smoothing, reduction
    )
    batch = _batch(members, vocabulary, local, ignore_index)
    whole = _whole(members, batch)
    _warn_if_probabilities(batch, whole)
    terms = _terms(batch, whole, reduction, ignore_index)
    loss = _loss(batch, whole, terms, reduction)
    return (loss, _gradient(batch, whole, terms)) if return_grad else loss


# The processes, and how they speak ----------------------------------------------------------------


class _Members(NamedTuple):
    """The processes that share the vocabulary, as this one sees them."""

    group: Any
    rank: int
    size: int
    device: torch.device  # where its numbers have to be

    def largest(self, vector: torch.Tensor, step: str) -> None:
        self._reduce(vector, "MAX", step)

    def total(self, vector: torch.Tensor, step: str) -> None:
        self._reduce(vector, "SUM", step)

    def _reduce(self, vector: torch.Tensor, operation: str, step: str) -> None:
        import torch.distributed as dist

        try:
            dist.all_reduce(vector, op=getattr(dist.ReduceOp, operation), group=self.group)
        except RuntimeError as error:
            raise RuntimeError(
                f"The all-reduce of {step} failed on process {self.rank} of {self.size}. Most "
                f"likely another process of the group has died (see its own output), or has not "
                f"made this call within the timeout of the group. The group cannot be used any "
                f"more. PyTorch says: {error}"
            ) from error


def _members(group: Any, local_logits: Any) -> _Members:
    torch = _torch()
    dist = torch.distributed
    if not (dist.is_available() and dist.is_initialized()):
        raise RuntimeError(
            "There is no process group. Start the processes with torchrun, and call "
            "torch.distributed.init_process_group in each of them first."
        )
    outside = dist.GroupMember.NON_GROUP_MEMBER  # what new_group returns to who is not in it
    if not (group is None or isinstance(group, (dist.ProcessGroup, type(outside)))):
        raise TypeError(
            f"group must be a torch.distributed.ProcessGroup, or None for all processes, but it is "
            f"{group!r}. Of a DeviceMesh, pass mesh.get_group()."
        )
    if group == outside or dist.get_rank(group) < 0:
        raise ValueError("group must hold this process, but it is one of others: do not call here.")
    backend = dist.get_backend(group)
    device = local_logits.device if isinstance(local_logits, torch.Tensor) else torch.device("cpu")
    if device.type == "cpu" and backend == "nccl":
        device = torch.device("cuda", torch.cuda.current_device())
    return _Members(group, dist.get_rank(group), dist.get_world_size(group), device)


def _torch() -> Any:
    try:
        import torch
        import torch.distributed
    except ImportError:
        raise ImportError(
            "cebook.distributed needs PyTorch, which is not installed: pip install torch"
        ) from None
    return torch


# What each process checks by itself ---------------------------------------------------------------


class _Local(NamedTuple):
    """The arguments of one process, found to be in order as far as it can tell."""

    rows: Any  # (N, V_local): an array, or a tensor
    shape: tuple[int, ...]
    dtype: torch.dtype
    labels: np.ndarray[Any, Any]
    weight: Array
    smoothing: float
    agreed: dict[str, object]  # what has to be the same on every process


def _checked(
    local_logits: Any,
    targets: Any,
    weight: Any,
    ignore_index: int | None,
    label_smoothing: float,
    reduction: str,
) -> _Local:
    scores, dtype = _scores(local_logits)
    shape = tuple(scores.shape)
    if not shape:
        raise ValueError(
            "local_logits must have at least one axis, that of the classes, but it is a single "
            "number. Pass [local_logits] if this process has but one class."
        )
    labels = _labels(_on_host(targets), shape)
    check_reduction(reduction)
    check_ignore_index(ignore_index)
    smoothing = check_label_smoothing(label_smoothing)
    weights = np.ones(shape[-1]) if weight is None else _weights(_on_host(weight), shape[-1])
    agreed = {
        "local_logits.dtype": dtype,
        "targets.shape": labels.shape,
        "targets": labels.astype(np.int64).tobytes(),
        "weight": "None" if weight is None else "given",
        "ignore_index": None if ignore_index is None else int(ignore_index),
        "label_smoothing": smoothing,
        "reduction": reduction,
    }
    rows = scores.reshape(math.prod(shape[:-1]), shape[-1])
    return _Local(rows, shape, dtype, labels, weights, smoothing, agreed)


def _scores(local_logits: Any) -> tuple[Any, torch.dtype]:
    """Return the logits as an array or tensor of floats, and the dtype of the result."""
    import torch

    if not isinstance(local_logits, torch.Tensor):
        array = as_floating("local_logits", local_logits)
        if array.dtype.itemsize > 8:
            raise TypeError(
                "local_logits must be of float16, float32 or float64, but they are of longdouble, "
                "which PyTorch does not have. Use .astype(np.float64)."
            )
        return array, getattr(torch, array.dtype.name)
    if hasattr(local_logits, "to_local"):
        raise TypeError(
            "local_logits must be the slice of this process alone, but it is a DTensor, which "
            "stands for all of them. Pass local_logits.to_local()."
        )
    if local_logits.requires_grad and torch.is_grad_enabled():
        raise TypeError(
            "local_logits requires grad, but the loss would not carry a graph. Pass "
            "local_logits.detach() with return_grad=True, then call local_logits.backward(grad)."
        )
    scores = local_logits.detach()
    if scores.dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        return scores, scores.dtype
    if scores.is_floating_point() or scores.is_complex():
        raise TypeError(
            f"local_logits must be of float16, bfloat16, float32 or float64, but they are of "
            f"{scores.dtype}. {'Pass .real.' if scores.is_complex() else 'Use .float() first.'}"
        )
    return scores.double(), torch.float64


def _labels(targets: Any, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    labels = as_array("targets", targets)
    if labels.dtype.kind == "f" and labels.size == 0:
        labels = labels.astype(np.intp)  # [] is of dtype float, and holds no label.
    if labels.dtype.kind not in "iu":
        hint = (
            "Distributions are not for this function: what a process needs of them is its slice."
            if labels.ndim == len(shape)
            else "If they are whole numbers, use .astype(int)."
        )
        raise TypeError(
            f"targets must be class indices, of integer dtype, but they are of dtype "
            f"{labels.dtype}. {hint}"
        )
    if labels.shape != shape[:-1]:
        hint = (
            f"There are as many labels as rows: reshape targets to {shape[:-1]}."
            if labels.size == math.prod(shape[:-1])
            else "Every process sees all rows, and all of their labels; only classes are split."
        )
        raise ValueError(
            f"targets must have the shape of local_logits without the last axis: local_logits has "
            f"shape {shape}, so {shape[:-1]} was expected, but targets has shape {labels.shape}. "
            f"{hint}"
        )
    return labels


def _weights(weight: Any, classes: int) -> Array:
    array = as_floating("weight", weight)
    if array.shape != (classes,):
        raise ValueError(
            f"weight must have one entry for each class of this process, shape ({classes},), but "
            f"it has shape {array.shape}. Weights are split as the vocabulary is: pass the slice."
        )
    return check_weight(array, classes).astype(np.float64)


def _on_host(value: Any) -> Any:
    """Return what NumPy can take as an array, also of a tensor on a GPU or of bfloat16."""
    import torch

    if not isinstance(value, torch.Tensor):
        return value
    value = value.detach().cpu()
    return value.double() if value.is_floating_point() else value


# The first all-reduce: is everything in order? ----------------------------------------------------


class _Vocabulary(NamedTuple):
    """How the classes are split."""

    classes: int  # V, those of all processes
    first: int  # the first one of this process
    shift: int  # weights are divided by two to this power, so that no sum of them overflows


# The columns of the table: these three, then a digest for each of the 7 entries of _Local.agreed.
_FAILED, _LENGTH, _EXPONENT = range(3)
_COLUMNS = 10

_DISAGREEMENTS = {
    "targets.shape": "Is one of them ahead by a batch? Every process sees the whole batch; only "
    "the vocabulary is split.",
    "targets": "Every process sees the whole batch, in the same order; only the vocabulary is "
    "split. torch.distributed.broadcast(targets, src=0) hands round those of one process.",
    "weight": "Each process passes the weights of its own classes, or none of them does.",
}


def _agreed(members: _Members, *arguments: Any) -> tuple[_Local, _Vocabulary]:
    """Return the arguments, checked; raise on every process if they do not fit together."""
    local, problem = None, None
    try:
        local = _checked(*arguments)
    except Exception as error:
        problem = error  # The others wait for this process: it tells them first.
    table = _table(members, _line(local))
    if local is None:
        assert problem is not None
        raise problem
    _check_table(members, table, local)
    lengths = [line[_LENGTH] for line in table]
    if sum(lengths) == 0:
        raise ValueError(
            "local_logits must have at least one class on at least one process, but on all of "
            "them its last axis has length 0."
        )
    classes, first = sum(lengths), sum(lengths[: members.rank])
    # No sum of weights, over classes or rows, has more terms than this.
    terms = classes * max(local.labels.size, 1)
    exponent = max(line[_EXPONENT] for line in table)
    return local, _Vocabulary(classes, first, max(exponent + terms.bit_length() - 1023, 0))


def _line(local: _Local | None) -> list[int]:
    if local is None:
        return [1, *[0] * (_COLUMNS - 1)]
    _, exponent = math.frexp(local.weight.max(initial=0))
    digests = [_digest(value) for value in local.agreed.values()]
    return [0, local.shape[-1], exponent, *digests]


def _digest(value: object) -> int:
    data = value if isinstance(value, bytes) else repr(value).encode()
    return int.from_bytes(hashlib.blake2b(data, digest_size=7).digest(), "big")


def _table(members: _Members, line: list[int]) -> list[list[int]]:
    """Return the lines of all processes: where one has filled in its own, the others have less."""
    import torch

    lowest = torch.iinfo(torch.int64).min
    table = torch.full((members.size, _COLUMNS), lowest, device=members.device)
    table[members.rank] = torch.tensor(line, device=members.device)
    members.largest(table, "slice lengths and digests (1 of 3)")
    lines: list[list[int]] = table.tolist()
    return lines


def _check_table(members: _Members, table: list[list[int]], local: _Local) -> None:
    failed = [rank for rank, line in enumerate(table) if line[_FAILED]]
    if failed:
        raise ValueError(
            f"There is no loss, because process {failed[0]} could not use the arguments it was "
            f"given: its own error says why. Those of this process, {members.rank}, are in order."
        )
    for column, (name, value) in enumerate(local.agreed.items(), start=_EXPONENT + 1):
        others = [rank for rank, line in enumerate(table) if line[column] != table[0][column]]
        if others:
            here = "" if isinstance(value, bytes) else f" On this process it is {value}."
            raise ValueError(
                f"{name} must be the same on every process, but on process {others[0]} it is not "
                f"what it is on process 0.{here} {_DISAGREEMENTS.get(name, '')}".rstrip()
            )


# The second all-reduce: the largest logit of every row --------------------------------------------


class _Batch(NamedTuple):
    """What a process needs to compute with its slice, once the largest logits are known."""

    local: _Local
    vocabulary: _Vocabulary
    maximum: torch.Tensor  # (N,), nan for a row of nothing but -inf
    labels: torch.Tensor  # (N,), counted from the first class of this process
    ignored: torch.Tensor  # (N,), bool
    weights: _Weights
    any_infinite: bool  # whether the largest logit of a row is +inf
    may_be_probabilities: bool  # whether every logit lies in [0, 1]

    def target_here(self, where: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the column of each row's target, (n, 1), and whether it is one of these."""
        columns = self.labels[where, None]
        here = (columns >= 0) & (columns < self.local.shape[-1])
        return columns.where(here, 0), here

    def shifted(self, where: slice, part: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ``(z - m)/2``, as z - m itself may overflow, and ``exp(z - m)``."""
        maximum = self.maximum[where, None]
        half_part, half_maximum = part / 2, maximum / 2
        halves = half_part - half_maximum
        if self.any_infinite:  # Infinity minus infinity is nan, but the largest minus itself is 0.
            halves.masked_fill_(part == maximum, 0)
        exponentials = (2 * halves).exp_()
        if self.local.dtype.itemsize == 8:
            # The subtraction rounds, by up to 2**-44 at a difference of 700, and exp turns that
            # into hundreds of eps. It is put back to first order; a float32 would not show it.
            lost = _rounded_away(half_part, half_maximum, halves)
            exponentials.addcmul_(exponentials, lost, value=2)
        return halves, exponentials


class _Weights(NamedTuple):
    """The weights of the classes, each divided by ``2**shift``."""

    here: torch.Tensor  # (V_local,)
    of_others: torch.Tensor  # (V_local,), for each class the sum of the weights of all others
    total: torch.Tensor


def _batch(
    members: _Members, vocabulary: _Vocabulary, local: _Local, ignore_index: int | None
) -> _Batch:
    import torch

    ignored = np.zeros(local.labels.shape, bool)
    if ignore_index is not None:
        ignored = np.asarray(local.labels == ignore_index)
    check_labels("targets", local.labels, vocabulary.classes, ignored)
    labels = np.where(ignored, -1, local.labels).astype(np.int64).reshape(-1) - vocabulary.first

    # GPUs of Apple have no float64.
    dtype = torch.float32 if members.device.type == "mps" else torch.float64
    numbers = torch.zeros(0, dtype=dtype, device=members.device)
    with np.errstate(under="ignore"):
        weights = torch.from_numpy(np.ldexp(local.weight, -vocabulary.shift)).to(numbers)
    maximum, negative = _local_maximum(local.rows, numbers)
    tops, rests = numbers.new_full((2, members.size), -math.inf)
    tops[members.rank], rests[members.rank] = _largest_and_rest(weights)
    vector = torch.cat([maximum, tops, rests, numbers.new_tensor([negative])])
    members.largest(vector, "row maxima (2 of 3)")
    maximum, tops, rests, negatives = torch.split(
        vector, [len(maximum), members.size, members.size, 1]
    )
    return _Batch(
        local,
        vocabulary,
        maximum.masked_fill(maximum == -math.inf, math.nan),
        torch.from_numpy(labels).to(members.device),
        torch.from_numpy(ignored.reshape(-1)).to(members.device),
        _shared_weights(weights, tops, rests, members.rank),
        bool((maximum == math.inf).any()),
        len(maximum) > 0 and not bool(negatives > 0) and bool((maximum <= 1).all()),
    )


def _local_maximum(rows: Any, numbers: torch.Tensor) -> tuple[torch.Tensor, bool]:
    """Return the largest logit of every row of the slice, and whether any of them is negative."""
    maximum = numbers.new_full((len(rows),), -math.inf)
    negative = False
    for where, part in _parts(rows, numbers):
        maximum[where] = part.amax(1)
        negative = negative or bool((part < 0).any())
    # Whether nan is larger than a number depends on who asks; it will show in the sum.
    return maximum.masked_fill_(maximum.isnan(), -math.inf), negative


def _parts(rows: Any, numbers: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
    """Yield some rows at a time, in the dtype and on the device of ``numbers``."""
    import torch

    entries = 2**16 if numbers.device.type == "cpu" else 2**22
    step = max(entries // max(rows.shape[1], 1), 1)
    for start in range(0, len(rows) if rows.shape[1] else 0, step):
        where = slice(start, min(start + step, len(rows)))
        part = rows[where]
        if isinstance(part, np.ndarray):
            part = torch.from_numpy(part.astype(np.float64))
        # A sum is in one order, and exact to some eps, along contiguous memory.
        yield where, part.to(numbers).contiguous()


def _largest_and_rest(weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    if not len(weights):
        return weights.sum(), weights.sum()
    at = weights.argmax()
    return weights[at], weights.index_fill(0, at, 0).sum()


def _shared_weights(
    weights: torch.Tensor, tops: torch.Tensor, rests: torch.Tensor, rank: int
) -> _Weights:
    # Subtracting from the total cancels for a weight that is more than half of it, which can only
    # be the largest: for that one the others are added up.
    owner = tops.argmax()
    rest = rests.sum() + tops.index_fill(0, owner, 0).sum()
    total = tops[owner] + rest
    of_others = total - weights
    if owner == rank:
        of_others[weights.argmax()] = rest
    return _Weights(weights, of_others, total)


def _rounded_away(a: torch.Tensor, b: torch.Tensor, difference: torch.Tensor) -> torch.Tensor:
    """Return ``(a - b) - difference`` exactly: Knuth's TwoSum, for finite numbers."""
    virtual = difference - a
    # It is (a - (difference - virtual)) - (b + virtual), with no more memory than that takes.
    error = (difference - virtual).sub_(a).add_(virtual.add_(b)).neg_()
    return error.nan_to_num_(0.0, 0.0, 0.0)


# The third all-reduce: the sums over the vocabulary -----------------------------------------------


class _Whole(NamedTuple):
    """What a process knows of every row of the whole vocabulary; each of shape (N,)."""

    target: torch.Tensor  # half of t, the shifted logit of the target
    without_target: torch.Tensor  # S', the exponentials but that of the target
    without_largest: torch.Tensor  # the exponentials but one that is 1: log1p of it is their log
    weight: torch.Tensor  # that of the target
    spread: torch.Tensor  # the sum of eps/V w (m - z)/2
    totals: torch.Tensor | None  # the sum of the logits, if that is of interest


def _whole(members: _Members, batch: _Batch) -> _Whole:
    smoothing, weighted = batch.local.smoothing, batch.local.agreed["weight"] == "given"
    names = ["below", "target"]
    names += ["weight"] if weighted else []
    names += ["ties", "spread"] if smoothing else []
    names += ["totals"] if batch.may_be_probabilities else []
    numbers = batch.maximum.new_zeros(len(names), len(batch.maximum))
    sums = dict(zip(names, numbers, strict=True))
    for where, part in _parts(batch.local.rows, numbers):
        _add_up(batch, where, part, sums)
    members.total(numbers, "exponentials and target logits (3 of 3)")

    nothing = batch.maximum.new_zeros(len(batch.maximum))
    below, target, ties = sums["below"], sums["target"], sums.get("ties", nothing)
    without_target = below + ties
    # If it is not the target that is largest, then a tie is, and counts as the one.
    without_largest = without_target.where(target == 0, (ties - 1 + below) + (2 * target).exp())
    # Two of +inf have no answer.
    several = (batch.maximum == math.inf) & (without_largest > 0)
    return _Whole(
        target,
        without_target,
        without_largest.masked_fill(several, math.nan),
        sums.get("weight", nothing + 1),
        sums.get("spread", nothing),
        sums.get("totals"),
    )


def _add_up(batch: _Batch, where: slice, part: torch.Tensor, sums: dict[str, torch.Tensor]) -> None:
    """Fill in the sums over the classes of this process, for some rows."""
    columns, here = batch.target_here(where)
    halves, exponentials = batch.shifted(where, part)
    _replace(exponentials, columns, here, 0)
    sums["target"][where] = halves.gather(1, columns).where(here, 0).squeeze(1)
    if "weight" in sums:
        sums["weight"][where] = batch.weights.here[columns].where(here, 0).squeeze(1)
    if "totals" in sums:
        sums["totals"][where] = part.sum(1)
    if "ties" in sums:
        # Smoothing also needs the log of the sum when it is all but 0, apart from the target.
        ties = part == batch.maximum[where, None]
        _replace(ties, columns, here, False)
        sums["ties"][where] = ties.sum(1).to(part)
        exponentials.masked_fill_(ties, 0)
        shares = batch.local.smoothing / batch.vocabulary.classes * batch.weights.here
        sums["spread"][where] = _costs(shares, -halves).sum(1)
    sums["below"][where] = exponentials.sum(1)


def _replace(rows: torch.Tensor, columns: torch.Tensor, here: torch.Tensor, by: Any) -> None:
    """Put something in the place of the targets that are here."""
    old = rows.gather(1, columns)
    rows.scatter_(1, columns, old.masked_fill(here, by))


def _costs(factors: torch.Tensor, costs: torch.Tensor) -> torch.Tensor:
    """Return the product; what has no weight costs nothing, unless it is nan."""
    return (factors * costs).masked_fill_((factors == 0) & ~costs.isnan(), 0)


def _warn_if_probabilities(batch: _Batch, whole: _Whole) -> None:
    import torch

    if whole.totals is None or batch.vocabulary.classes == 1:
        return  # The logit of a single class may be 1, and says nothing.
    eps = torch.finfo(batch.local.dtype).eps
    tolerance = min(max(math.sqrt(eps), batch.vocabulary.classes * eps), 0.1)
    if bool(((whole.totals - 1).abs() <= tolerance).all()):
        warnings.warn(
            "local_logits looks like probabilities: over all processes every row is non-negative "
            "and sums to 1. Softmax would be applied a second time, and the loss could not come "
            "near 0. Pass the raw outputs of the last layer.",
            UserWarning,
            stacklevel=3,
        )


# From here on each process is by itself -----------------------------------------------------------


class _Terms(NamedTuple):
    """What multiplies the costs, as in :func:`~cebook.softmax_cross_entropy`."""

    of_target: torch.Tensor  # (N,), the target's own part: (1 - eps) w / divisor
    of_every: torch.Tensor  # (V_local,), the part of every class: eps/V w / divisor
    of_others: torch.Tensor  # (V_local,), the sum of those parts over all other classes
    divisor: float  # of the loss of every row; nan if the mean is over nothing


def _terms(batch: _Batch, whole: _Whole, reduction: str, ignore_index: int | None) -> _Terms:
    divisor = 2.0**-batch.vocabulary.shift
    if reduction == "mean":
        divisor = float(whole.weight.masked_fill(batch.ignored, 0).sum())
    if divisor == 0:
        why = (
            "the batch is empty"
            if len(batch.ignored) == 0
            else f"every target is ignore_index={ignore_index}"
            if bool(batch.ignored.all())
            else "the weights of all labels are 0"
        )
        warn_of_empty_mean(why)
        divisor = math.nan
    share = batch.local.smoothing / batch.vocabulary.classes / divisor
    return _Terms(
        (1 - batch.local.smoothing) * whole.weight / divisor,
        share * batch.weights.here,
        share * batch.weights.of_others,
        divisor,
    )


def _loss(batch: _Batch, whole: _Whole, terms: _Terms, reduction: str) -> Any:
    # The loss of a row may be beyond the range of floats, and the mean of all within it.
    parts = (whole.target, whole.spread)
    overflows = any(bool(((2 * x).isinf() & x.isfinite()).any()) for x in parts)
    scale = 2 if overflows else 1
    log_sum = whole.without_largest.log1p() / scale
    losses = _costs(terms.of_target, log_sum - 2 / scale * whole.target)
    if batch.local.smoothing:
        factor = batch.local.smoothing / batch.vocabulary.classes / terms.divisor
        losses += factor * batch.weights.total * log_sum
        losses += 2 / scale * whole.spread / terms.divisor
    losses.masked_fill_(batch.ignored, 0)
    if reduction == "none":
        losses = losses.reshape(batch.local.labels.shape)
    else:
        losses = losses.sum() if terms.divisor == terms.divisor else losses.new_tensor(math.nan)
    return _as_given(scale * losses, batch.local)


def _as_given(result: torch.Tensor, local: _Local) -> Any:
    """Round to the dtype of the logits: an array if they are one, a tensor on their device else."""
    if isinstance(local.rows, np.ndarray):
        return rounded(result.cpu().numpy(), local.rows.dtype)
    return result.to(local.rows.device, local.dtype)


def _gradient(batch: _Batch, whole: _Whole, terms: _Terms) -> Any:
    import torch

    local = batch.local
    as_array = isinstance(local.rows, np.ndarray)
    device = "cpu" if as_array else local.rows.device
    gradient = torch.empty(tuple(local.rows.shape), dtype=local.dtype, device=device)
    for where, part in _parts(local.rows, batch.maximum):
        gradient[where] = _gradient_part(batch, whole, terms, where, part)
    gradient = gradient.reshape(local.shape)
    return gradient.numpy() if as_array else gradient


def _gradient_part(
    batch: _Batch, whole: _Whole, terms: _Terms, where: slice, part: torch.Tensor
) -> torch.Tensor:
    """Return ``s (C - c) - c (1 - s)`` for some rows: c the factors of the costs, C their sum."""
    columns, here = batch.target_here(where)
    of_target = terms.of_target[where, None]
    rest = whole.without_largest[where, None]
    _, exponentials = batch.shifted(where, part)
    pull = exponentials.gather(1, columns) * terms.of_others[columns]
    push = whole.without_target[where, None] * (of_target + terms.of_every[columns])
    if batch.local.smoothing:
        # The largest is more than half of the sum, if any is: for it the others are added up.
        others = (1 + rest - exponentials).where(part != batch.maximum[where, None], rest)
        exponentials *= of_target + terms.of_others
        exponentials -= others.mul_(terms.of_every)
    else:
        exponentials *= of_target
    gradient = exponentials
    gradient.scatter_(1, columns, (pull - push).where(here, gradient.gather(1, columns)))
    gradient /= 1 + rest
    gradient[batch.ignored[where]] = 0
    return gradient
