"""The exercises of Part IV: means and sums of exponentials that are made of parts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .._validation import Array, Reduction
from ..large_vocabulary import merge_logsumexp
from ..softmax_loss import logsumexp, softmax_cross_entropy
from ._checker import Arguments, Case, Exercise, Mistake, Section

PAGE = "practice/large-vocabulary"
PITFALLS = Section(PAGE, "large-vocabulary-pitfalls", "Pitfalls")
PARTS = Section(PAGE, "sum-made-of-parts", "A sum made of parts")
MACHINES = Section(PAGE, "vocabulary-on-machines", "A vocabulary on several machines")
TOGETHER = Section(PAGE, "last-layer-and-loss", "The last layer and its loss, together")

EPS = float(np.finfo(np.float64).eps)
INF = math.inf


def f64(*numbers: float) -> Array:
    """Return numbers as float64."""
    return np.array(numbers, np.float64)


# A mean of means ----------------------------------------------------------------------------------


def _combined(means: Array, counts: Array) -> Any:
    return np.where(counts > 0, means * counts, 0).sum() / counts.sum()


COMBINED_MEAN = Exercise(
    name="combined_mean",
    signature="combined_mean(means, counts)",
    title="the mean, from those of chunks",
    stars=1,
    section=PITFALLS,
    reference=_combined,
    cases=(
        Case("two chunks, of 4 tokens and of 1", (f64(9, 11), np.array([4, 1]))),
        Case("four chunks", (f64(2.5, 2, 3.25, 1), np.array([10, 3, 7, 12]))),
        Case("chunks of the same size", (f64(2, 3), np.array([5, 5]))),
        Case("a single chunk", (f64(1.5), np.array([8])), kind="edge"),
        Case("a chunk of nothing: nan, 0", (f64(2, math.nan, 5), np.array([3, 0, 1])), kind="edge"),
        Case("nothing in any chunk", (f64(math.nan, math.nan), np.array([0, 0])), kind="edge"),
        Case("one token against a million", (f64(2, 8), np.array([10**6, 1])), kind="adversarial"),
    ),
    mistakes=(
        Mistake(
            lambda means, counts: np.mean(means),
            "This is the mean of the means. A chunk with few tokens then counts as much as one "
            "with many, and the result depends on how the batch was cut: add up sums, means times "
            "counts, and divide once.",
        ),
        Mistake(
            lambda means, counts: np.nanmean(means),
            "This is the mean of the means that are not nan. Each has to count as often as it has "
            "tokens: add up means times counts, and divide once.",
        ),
        Mistake(
            lambda means, counts: np.sum(means * counts) / np.sum(counts),
            "A chunk without tokens has the mean nan, and nan times 0 is nan. Leave such chunks "
            "out of the sum: np.where(counts > 0, means * counts, 0).",
        ),
        Mistake(
            lambda means, counts: _combined(means, counts) * np.sum(counts),
            "This is the sum over all tokens. Divide by their number, counts.sum().",
        ),
        Mistake(
            lambda means, counts: _combined(means, counts) * np.sum(counts) / len(means),
            "This divides by the number of chunks. Divide by the number of tokens, counts.sum().",
        ),
        Mistake(
            lambda means, counts: np.average(means[counts > 0], weights=counts[counts > 0]),
            "np.average raises where there is nothing to average. The mean of nothing is nan: the "
            "sum of means times counts over the sum of counts is 0/0.",
        ),
        Mistake(
            lambda means, counts: _combined(means, counts) if (counts > 0).any() else 0.0,
            "The mean of nothing is not 0 but nan: a 0 would look like a perfect loss.",
        ),
    ),
)


# Two parts of a sum of exponentials ---------------------------------------------------------------


def _shifted(a: Array, b: Array) -> Any:
    m = np.maximum(a, b)
    return m + np.log(np.exp(a - m) + np.exp(b - m))


def _larger_or_merged(a: Array, b: Array) -> Any:
    m = np.maximum(a, b)
    return m if np.isinf(m).any() else merge_logsumexp(a, b)


_LOW_MINUS_BASE = (
    "Where m is -inf, subtract 0 instead: base = np.where(m > -np.inf, m, 0), and "
    "m + np.log1p(np.exp(low - base)) with low = np.minimum(a, b). "
)


MERGE_LOGSUMEXP = Exercise(
    name="merge_logsumexp",
    signature="merge_logsumexp(a, b)",
    title="log(e^a + e^b), entry by entry",
    stars=2,
    section=PARTS,
    reference=merge_logsumexp,
    cases=(
        Case("three rows", (f64(0, 1, -2), f64(1.5, 1, 0.5)), absolute=4 * EPS),
        Case("the larger part first", (f64(3, 0.5), f64(-1, -2)), absolute=4 * EPS),
        Case("equal parts differ by log 2", (f64(0.25), f64(0.25)), absolute=4 * EPS),
        Case(
            "float32 stays float32",
            (f64(0.5, 2).astype(np.float32), f64(1, -1).astype(np.float32)),
            kind="edge",
            absolute=5e-7,
        ),
        Case(
            "an empty part changes nothing, no warning",
            (f64(-INF, 2), f64(1, -INF)),
            kind="edge",
            quiet=True,
        ),
        Case(
            "two empty parts are one, no warning",
            (f64(-INF, 0), f64(-INF, 0)),
            kind="edge",
            quiet=True,
        ),
        Case("around 1000, no warning", (f64(1000), f64(1001)), kind="adversarial", quiet=True),
        Case("around -1000, no warning", (f64(-1000), f64(-1001)), kind="adversarial", quiet=True),
        Case(
            "800 apart, no warning",
            (f64(0, -400), f64(-800, 400)),
            kind="adversarial",
            absolute=4 * EPS,
            quiet=True,
        ),
    ),
    mistakes=(
        Mistake(
            lambda a, b: np.log(np.exp(a) + np.exp(b)),
            "The exponentials are taken as they are: np.exp(1000) is inf, np.exp(-1000) is 0. Take "
            "the larger of the two out of the logarithm, as in logsumexp.",
        ),
        Mistake(
            lambda a, b: a + np.log1p(np.exp(b - a)),
            "This takes out a, even where b is the larger, and then np.exp(b - a) overflows. Take "
            "out m = np.maximum(a, b).",
        ),
        Mistake(
            lambda a, b: b + np.log1p(np.exp(a - b)),
            "This takes out b, even where a is the larger, and then np.exp(a - b) overflows. Take "
            "out m = np.maximum(a, b).",
        ),
        Mistake(
            _shifted,
            "For two empty parts a - m is -inf - (-inf), which is nan, and one nan is enough for "
            "the row. " + _LOW_MINUS_BASE,
        ),
        Mistake(
            lambda a, b: np.where(np.maximum(a, b) == -INF, -INF, _shifted(a, b)),
            _LOW_MINUS_BASE + "Then np.log takes no 0, and np.where has nothing to hide.",
        ),
        Mistake(
            _larger_or_merged,
            "Some rows are empty, others are not: decide for each row, with np.where, not once "
            "for all.",
        ),
        Mistake(
            lambda a, b: np.log1p(np.exp(-abs(a - b))),
            "The larger part, which was taken out of the logarithm, has to be added again.",
        ),
        Mistake(
            np.maximum,
            "This is the larger part alone. The other one adds np.log1p(np.exp(-abs(a - b))).",
        ),
        Mistake(
            lambda a, b: a + b,
            "a + b is the logarithm of a product. Here the exponentials are added.",
        ),
        Mistake(
            lambda a, b: merge_logsumexp(a, b) - math.log(2),
            "This is the logarithm of the mean of the exponentials. Theirs is a sum.",
        ),
    ),
)


# Two pairs of maximum and scaled sum --------------------------------------------------------------

Pair = tuple[Any, Any]


def _scaled(m: Array, pair: Pair) -> Any:
    """Return a sum relative to a maximum of more logits; 0 if there are none at all."""
    return pair[1] * np.exp(pair[0] - _base(m))


def _base(m: Array) -> Array:
    return np.where(m > -INF, m, 0)


def _merge(one: Pair, other: Pair) -> Pair:
    m = np.maximum(one[0], other[0])
    return m, _scaled(m, one) + _scaled(m, other)


def _merge_if_not_empty(one: Pair, other: Pair) -> Pair:
    m = np.maximum(one[0], other[0])
    return m, one[1] * np.exp(one[0] - m) + other[1] * np.exp(other[0] - m)


def _merge_with_where(one: Pair, other: Pair) -> Pair:
    m, total = _merge_if_not_empty(one, other)
    return m, np.where(m == -INF, 0, total)


def _merge_or_nothing(one: Pair, other: Pair) -> Pair:
    m, total = _merge(one, other)
    return m, np.zeros_like(total) if np.isinf(m).any() else total


def _merge_unshifted(one: Pair, other: Pair) -> Pair:
    m = np.maximum(one[0], other[0])
    return m, (one[1] * np.exp(one[0]) + other[1] * np.exp(other[0])) / np.exp(m)


def _merge_upside_down(one: Pair, other: Pair) -> Pair:
    m = np.maximum(one[0], other[0])
    return m, one[1] * np.exp(m - one[0]) + other[1] * np.exp(m - other[0])


def _merge_second_unscaled(one: Pair, other: Pair) -> Pair:
    m = np.maximum(one[0], other[0])
    return m, _scaled(m, one) + other[1]


def _merge_first_unscaled(one: Pair, other: Pair) -> Pair:
    m = np.maximum(one[0], other[0])
    return m, one[1] + _scaled(m, other)


_NOTHING = f64(-INF), f64(0)
_SUBTRACT_BASE = (
    "Where m is -inf, subtract 0 instead: base = np.where(m > -np.inf, m, 0), and "
    "S1 * np.exp(m1 - base) + S2 * np.exp(m2 - base). The m that you return stays -inf."
)

MERGE_SOFTMAX = Exercise(
    name="merge_softmax",
    signature="merge_softmax(one, other)",
    title="(m, S) of two blocks, from theirs",
    stars=2,
    section=PARTS,
    reference=_merge,
    cases=(
        Case("three rows", ((f64(1, 2, 0), f64(1.5, 1, 2)), (f64(3, -1, 0.5), f64(2, 1.25, 1)))),
        Case("equal maxima", ((f64(2), f64(1.5)), (f64(2), f64(3)))),
        Case("a block of a thousand logits", ((f64(4), f64(250.5)), (f64(4.5), f64(1)))),
        Case(
            "nothing, and a block, no warning",
            (_NOTHING, (f64(3), f64(1.5))),
            kind="edge",
            quiet=True,
        ),
        Case(
            "a block, and nothing, no warning",
            ((f64(3), f64(1.5)), _NOTHING),
            kind="edge",
            quiet=True,
        ),
        Case(
            "nothing in one of three rows, no warning",
            ((f64(-INF, 1, -INF), f64(0, 1.5, 0)), (f64(-INF, 0, 2), f64(0, 1, 1.25))),
            kind="edge",
            quiet=True,
        ),
        Case(
            "logits around 1000, no warning",
            ((f64(1000), f64(1.5)), (f64(1002), f64(1))),
            kind="adversarial",
            quiet=True,
        ),
        Case(
            "maxima 2000 apart, no warning",
            ((f64(1000, -1000), f64(1, 3)), (f64(-1000, 1000), f64(2, 1))),
            kind="adversarial",
            quiet=True,
        ),
    ),
    mistakes=(
        Mistake(
            _merge_unshifted,
            "exp(m1) is not shifted: it overflows near 1000, and with nothing in either block it "
            "is 0/0. Take S1 * np.exp(m1 - m), which never overflows.",
        ),
        Mistake(
            _merge_if_not_empty,
            "With nothing in either block m1 - m is -inf - (-inf), and the sum is nan. "
            + _SUBTRACT_BASE,
        ),
        Mistake(_merge_with_where, _SUBTRACT_BASE),
        Mistake(
            _merge_or_nothing,
            "Some rows are empty, others are not: decide for each row, with np.where, not once "
            "for all.",
        ),
        Mistake(
            lambda one, other: (_base(_merge(one, other)[0]), _merge(one, other)[1]),
            "The stand-in is for the exponents only; the m that is returned stays -inf.",
        ),
        Mistake(
            lambda one, other: (np.maximum(one[0], other[0]), one[1] + other[1]),
            "The sums are relative to different maxima. Before they are added, each has to be made "
            "relative to the new one: S1 * np.exp(m1 - m) + S2 * np.exp(m2 - m).",
        ),
        Mistake(
            _merge_upside_down,
            "The sign in the exponents is wrong. A sum shrinks when its maximum is replaced by a "
            "larger one: the factor is np.exp(m1 - m), never more than 1.",
        ),
        Mistake(
            _merge_second_unscaled,
            "Only the first sum is scaled. The new maximum may belong to either block, so both "
            "want their factor, of which one is 1.",
        ),
        Mistake(
            _merge_first_unscaled,
            "Only the second sum is scaled. The new maximum may belong to either block, so both "
            "want their factor, of which one is 1.",
        ),
        Mistake(
            lambda one, other: (
                np.maximum(one[0], other[0]),
                one[1] * np.exp(one[0]) + other[1] * np.exp(other[0]),
            ),
            "These are sums of exponentials that are not relative to anything, and at 1000 they "
            "overflow. Keep them relative to the new maximum, with the factor np.exp(m1 - m).",
        ),
        Mistake(
            lambda one, other: (one[0] + other[0], one[1] * other[1]),
            "This is the product of the two sums of exponentials. They are to be added.",
        ),
    ),
)


# A loss from blocks of logits ---------------------------------------------------------------------


def _in_one_buffer(z: Array, width: int) -> Iterator[Array]:
    """Yield blocks of columns in one array, where the next block overwrites the last."""
    buffer = np.empty((len(z), width), z.dtype)
    for start in range(0, z.shape[1], width):
        columns = z[:, start : start + width]
        block = buffer[:, : columns.shape[1]]
        block[...] = columns
        yield block


def _blocks(z: Array, labels: Any, width: int) -> Callable[[], Arguments]:
    return lambda: (_in_one_buffer(z, width), np.array(labels))


def _case(title: str, made: str, z: Array, labels: Any, width: int, **options: Any) -> Case:
    rows, classes = z.shape
    labelled = f"{list(labels)}" if rows < 4 else "31 * np.arange(64)"
    shown = (
        f"{rows} x {classes} logits in blocks of {width} columns,\nz = {made}\nlabels = {labelled}"
    )
    return Case(title, _blocks(z, labels, width), shown=shown, eps=64, **options)


def _from_blocks(blocks: Any, labels: Array, reduction: Reduction = "mean") -> Any:
    z = np.concatenate([b.copy() for b in blocks], axis=1)
    return softmax_cross_entropy(z, labels, reduction=reduction)


def _online_loss(
    blocks: Any,
    labels: Array,
    first_maximum: float = -INF,
    rescale: bool = True,
    track: bool = True,
) -> Any:
    """Return the loss by the formula as it stands, with parts of it left out on demand."""
    rows = np.arange(len(labels))
    m, total, own, start = first_maximum, 0.0, np.zeros(len(labels)), 0
    for z in blocks:
        m_new = np.maximum(m, z.max(axis=1)) if track else m
        total = total * (np.exp(m - m_new) if rescale else 1) + np.exp(
            z - np.expand_dims(m_new, -1)
        ).sum(axis=1)
        here = (labels >= start) & (labels < start + z.shape[1])
        own[here] = z[rows[here], labels[here] - start]
        m, start = m_new, start + z.shape[1]
    return np.mean(m + np.log(total) - own)


def _walked_twice(blocks: Any, labels: Array) -> Any:
    m: Any = -INF
    for z in blocks:
        m = np.maximum(m, z.max(axis=1))
    total = np.zeros(len(labels))
    for z in blocks:
        total += np.exp(z - m[:, np.newaxis]).sum(axis=1)
    return np.mean(m + np.log(total))


def _with_logsumexps(combine: Callable[[Any], Any]) -> Callable[[Any, Array], Any]:
    """Return a loss that makes one number of the logsumexps of the blocks in a wrong way."""

    def loss(blocks: Any, labels: Array) -> Any:
        kept = [z.copy() for z in blocks]
        own = np.concatenate(kept, axis=1)[np.arange(len(labels)), labels]
        return np.mean(combine([logsumexp(z, axis=1) for z in kept]) - own)

    return loss


def _label_not_shifted(blocks: Any, labels: Array) -> Any:
    kept = [z.copy() for z in blocks]
    z = np.concatenate(kept, axis=1)
    own = 0
    for block in kept:
        own = block[np.arange(len(labels)), labels]
    return np.mean(logsumexp(z, axis=1) - own)


def _label_in_block(blocks: Any, labels: Array, lowest: float = 0, *, counts: bool = True) -> Any:
    """Return the loss with the logit of the label from the wrong block in some rows.

    Without a lowest column every later block answers as well, and without a count of the columns
    a block of number k is taken to begin at k times its own width.
    """
    kept = [z.copy() for z in blocks]
    rows, own, seen = np.arange(len(labels)), np.zeros(len(labels)), 0
    for number, z in enumerate(kept):
        column = labels - (seen if counts else number * z.shape[1])
        here = (column >= lowest) & (column < z.shape[1])
        own[here] = z[rows[here], column[here]]
        seen += z.shape[1]
    return np.mean(logsumexp(np.concatenate(kept, axis=1), axis=1) - own)


def _normalised_by_block(blocks: Any, labels: Array) -> Any:
    losses, start = np.zeros(len(labels)), 0
    for z in blocks:
        here = np.flatnonzero((labels >= start) & (labels < start + z.shape[1]))
        losses[here] = logsumexp(z, axis=1)[here] - z[here, labels[here] - start]
        start += z.shape[1]
    return losses.mean()


IN_ITS_BLOCK = (
    "The label numbers the columns of all blocks. In the block that has it, its column is the "
    "label minus the number of columns before."
)

# Whole formulas, which a reader can copy.
_MADE = "np.arange(30.0).reshape(3, 10) * 7 % 11 / 2"
_Z = np.arange(30.0).reshape(3, 10) * 7 % 11 / 2
_RISING = np.tile(np.arange(12.0) * 60, (2, 1))
_MASKED = np.where(np.arange(10) < 4, -INF, _Z)
_LARGE = 3 * np.sin(np.arange(64 * 2000.0).reshape(64, 2000) ** 1.1)

CHUNKED_LOSS = Exercise(
    name="chunked_loss",
    signature="chunked_loss(blocks, labels)",
    title="mean softmax loss, block by block",
    stars=3,
    section=TOGETHER,
    reference=_from_blocks,
    cases=(
        _case("labels in the first block", _MADE, _Z, [0, 2, 1], 5),
        _case("labels in later blocks, the last narrower", _MADE, _Z, [9, 6, 7], 4),
        _case("all columns in one block", _MADE, _Z, [9, 3, 6], 10, kind="edge"),
        _case("blocks of one column", _MADE, _Z, [9, 3, 6], 1, kind="edge"),
        _case(
            "one row", "np.arange(10.0).reshape(1, 10) * 7 % 11 / 2", _Z[:1], [7], 3, kind="edge"
        ),
        _case(
            "a first block of -inf, as masks make it",
            f"{_MADE},\nwith -inf in the columns 0 to 3",
            _MASKED,
            [9, 4, 6],
            4,
            kind="edge",
        ),
        _case(
            "logits around 1000, no warning",
            f"{_MADE} + 1000",
            _Z + 1000,
            [9, 3, 6],
            4,
            kind="adversarial",
            absolute=1e4 * EPS,
            quiet=True,
        ),
        _case(
            "logits around -1000, no warning",
            f"{_MADE} - 1000",
            _Z - 1000,
            [9, 3, 6],
            4,
            kind="adversarial",
            absolute=1e4 * EPS,
            quiet=True,
        ),
        _case(
            "maxima that rise by 180 a block, no warning",
            "np.tile(60 * np.arange(12.0), (2, 1))",
            _RISING,
            [2, 11],
            3,
            kind="adversarial",
            absolute=1e4 * EPS,
            quiet=True,
        ),
        _case(
            "maxima that fall by 180 a block, no warning",
            "np.tile(60 * np.arange(12.0)[::-1], (2, 1))",
            _RISING[:, ::-1].copy(),
            [2, 11],
            3,
            kind="adversarial",
            absolute=1e4 * EPS,
            quiet=True,
        ),
        _case(
            "64 x 2000 logits, a quarter of their memory",
            "3 * np.sin(np.arange(128e3).reshape(64, 2000)**1.1)",
            _LARGE,
            np.arange(64) * 31,
            50,
            kind="adversarial",
            max_bytes=_LARGE.nbytes // 4,
        ),
    ),
    mistakes=(
        Mistake(
            lambda blocks, labels: softmax_cross_entropy(np.concatenate([*blocks], axis=1), labels),
            "The blocks were collected, but the iterator reuses one array, and the next block "
            "overwrites the last: all that are kept show the last one. Keep what a block has to "
            "tell: its maximum, its sum, and the logit of the label if it is there.",
        ),
        Mistake(
            _from_blocks,
            "The blocks were copied, and that needs the memory of all logits. Keep what a block "
            "has to tell: its maximum, its sum, and the logit of the label if it is there.",
        ),
        Mistake(
            lambda blocks, labels: _online_loss(blocks, labels, first_maximum=0.0, track=False),
            "The exponentials are summed as they are, and overflow at 1000. Make the sum relative "
            "to the largest logit so far, and rescale it when that grows.",
            PARTS,
        ),
        Mistake(
            lambda blocks, labels: _online_loss(blocks, labels, rescale=False),
            "The sum is not rescaled when the maximum grows: what was summed before is relative to "
            "the old one, and wants the factor np.exp(old - new).",
            PARTS,
        ),
        Mistake(
            _online_loss,
            "A block of nothing but -inf makes -inf - (-inf), which is nan, and one nan is enough "
            "for the row. It has to change nothing: its maximum is -inf and its sum 0.",
            PARTS,
        ),
        Mistake(
            lambda blocks, labels: _online_loss(blocks, labels, first_maximum=0.0),
            "The maximum starts at 0, where no logit need be. Start with -inf, and a sum of 0.",
            PARTS,
        ),
        Mistake(
            _label_not_shifted,
            IN_ITS_BLOCK,
            MACHINES,
        ),
        Mistake(
            lambda blocks, labels: _label_in_block(blocks, labels, lowest=-INF),
            f"{IN_ITS_BLOCK[:-1]}, and a negative column belongs to an earlier block; NumPy counts "
            "it from the end.",
            MACHINES,
        ),
        Mistake(
            lambda blocks, labels: _label_in_block(blocks, labels, counts=False),
            "The last block is narrower. Keep a running count of the columns seen.",
            MACHINES,
        ),
        Mistake(
            _normalised_by_block,
            "Each block was normalised on its own; the sum must run over all blocks.",
            PARTS,
        ),
        Mistake(
            _walked_twice,
            "The blocks come once. A second loop over them finds nothing, and its sum stays 0: "
            "take maximum and sum in the same walk.",
            PARTS,
        ),
        Mistake(
            _with_logsumexps(sum),
            "The logsumexps of the blocks are added, which multiplies their sums. They merge as "
            "np.logaddexp(a, b).",
            PARTS,
        ),
        Mistake(
            _with_logsumexps(lambda parts: np.max(parts, axis=0)),
            "This takes the largest of the logsumexps of the blocks. They merge as "
            "np.logaddexp(a, b).",
            PARTS,
        ),
        Mistake(
            _with_logsumexps(lambda parts: parts[-1]),
            "This is the logsumexp of the last block alone. It has to be merged with those before.",
            PARTS,
        ),
        Mistake(
            lambda blocks, labels: _from_blocks(blocks, labels, reduction="none"),
            "These are the losses of the rows. Take the mean of these numbers.",
        ),
        Mistake(
            lambda blocks, labels: _from_blocks(blocks, labels) * len(labels),
            "This is the sum over the rows. The loss is their mean.",
        ),
    ),
)


EXERCISES: tuple[Exercise, ...] = (
    COMBINED_MEAN,
    MERGE_LOGSUMEXP,
    MERGE_SOFTMAX,
    CHUNKED_LOSS,
)
