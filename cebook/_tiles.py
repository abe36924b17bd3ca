"""Behind the formulas of Part II: rows of logits, walked in tiles that stay in the cache.

A public function checks its input and hands its rows to one of the four functions at the end of
this module. Each walks them in tiles, on several threads where that pays, and takes a tile through
all of its steps before the next is read: what crosses memory is the input, once, and the output.

A tile has two forms. The plain one exponentiates the logits as they are, which is what they cost
least and lose least: nothing is rounded before ``exp``. Where the sum of a row then leaves the
range in which it can be trusted, the row is done again in the shifted form. What neither can do
(nan, infinite logits, numbers so large that their differences leave the range) goes to the careful
form of the caller, which takes ten times as long and handles every row.

Where nothing but sums is wanted, both forms may add up exp(x) - 1, which NumPy computes nearly
twice as fast in float32, as long as the ones that are taken away do not make up most of a sum.
"""

from __future__ import annotations

import contextvars
import functools
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ._validation import Array

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

Labels = np.ndarray[Any, np.dtype[np.intp]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

# What a tile of exponentials may take, so that it stays in a cache of the second level. The smaller
# it is, the oftener two threads wait for each other to let go of the interpreter.
TILE_BYTES = 900_000
# Rows of up to the first length are faster in tiles of at most the second number of elements.
SHORT_ROW, OF_SHORT_ROWS = 1 << 13, 7 << 14
# A thread takes so many elements at a time; fewer in all are not shared out.
CHUNK_ELEMENTS = 1 << 20
PARALLEL_FROM = 1 << 20
# Shorter inputs are one tile, and are not looked at before they are exponentiated.
SAMPLE_FROM = 1 << 14
SAMPLES = 32  # along each axis


# Threads ------------------------------------------------------------------------------------------


_of_thread = threading.local()


@functools.cache
def num_threads() -> int:
    """Return ``CEBOOK_NUM_THREADS``, or the number of cores that this process may use."""
    setting = os.environ.get("CEBOOK_NUM_THREADS", "").strip()
    if not setting:
        affinity = getattr(os, "sched_getaffinity", None)
        return len(affinity(0)) if affinity else os.cpu_count() or 1
    if not setting.isascii() or not setting.isdigit() or int(setting) < 1:
        raise ValueError(
            f"CEBOOK_NUM_THREADS must be a whole number of at least 1, but it is {setting!r}. "
            f"Unset it to use all cores."
        )
    return int(setting)


@functools.cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    # A forked process has no threads but its own, and needs a pool of its own. Who never comes here
    # does not wait for the import.
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(threads, thread_name_prefix="cebook")


def run(work: Callable[[Any], object], pieces: list[Any], elements: int) -> None:
    """Call ``work`` with every piece, on several threads if there are many elements."""
    # A thread of the pool that waited for others might wait for ever.
    alone = elements < PARALLEL_FROM or len(pieces) < 2 or getattr(_of_thread, "shares", False)
    threads = 1 if alone else num_threads()
    if threads == 1:
        for piece in pieces:
            work(piece)
        return
    waiting = deque(pieces)

    def take() -> Any:
        try:
            return waiting.popleft()
        except IndexError:
            return None

    def share() -> None:
        _of_thread.shares = True
        try:
            while (piece := take()) is not None:
                work(piece)
        finally:
            _of_thread.shares = False
            waiting.clear()  # where one piece fails, the others are not begun

    # This thread takes its share too: it does not wait for those that wake up late. Each of them
    # would start with NumPy's own settings: np.errstate is handed on with the context.
    pool = _pool(threads - 1, os.getpid())
    context = contextvars.copy_context()
    others = [pool.submit(context.copy().run, share) for _ in range(threads - 1)]
    try:
        share()
    finally:
        failures = [other.exception() for other in others if not other.cancel()]
    for failure in filter(None, failures):
        raise failure


# Tiles --------------------------------------------------------------------------------------------


def scratch(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return an array of this thread, with anything in it; the next call may return the same."""
    size = math.prod(shape) * dtype.itemsize
    if size > 4 * TILE_BYTES:
        return np.empty(shape, dtype)
    buffer = getattr(_of_thread, name, None)
    if buffer is None or buffer.size < size:
        # Touching fresh memory costs more than the arithmetic that is done in it.
        buffer = np.empty(max(size, 4096), np.uint8)
        setattr(_of_thread, name, buffer)
    return buffer[:size].view(dtype).reshape(shape)


def spans(length: int, step: int) -> Iterator[slice]:
    """Cut a length into slices of ``step``."""
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))


class Grid(NamedTuple):
    """How an array of rows is cut: into tiles of whole rows or, if these are long, of parts."""

    rows: list[slice]
    columns: list[slice]

    @property
    def splits_rows(self) -> bool:
        return len(self.columns) > 1


@functools.lru_cache(maxsize=256)
def grid(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Grid:
    height, width = shape
    elements = max(1, TILE_BYTES // dtype.itemsize)
    if 1 < width <= SHORT_ROW:  # single entries are no rows
        elements = min(elements, OF_SHORT_ROWS)
    # A row of up to two tiles is left whole: a second walk over its parts would cost more.
    tile_width = width if width <= 2 * elements else elements
    columns = list(spans(width, tile_width))
    return Grid(list(spans(height, max(1, round(elements / tile_width)))), columns)


@functools.cache
def compute_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return what a tile is computed in: float32 for float16, else the dtype itself."""
    return np.result_type(dtype, np.float32)


@functools.cache
def wide_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return what the few numbers of a row are computed in: at least float64."""
    return np.result_type(dtype, np.float64)


def _load(rows: Array, dtype: np.dtype[Any], name: str = "logits") -> Array:
    """Return a tile as a contiguous array of ``dtype``, itself if it is one already.

    Several tiles at a time have names of their own.
    """
    if rows.dtype == dtype and rows.flags.c_contiguous:
        return rows
    tile = scratch(name, rows.shape, dtype)
    np.copyto(tile, rows)
    return tile


# Along rows ---------------------------------------------------------------------------------------

# A product with ones is the fastest sum, but where all addends are equal it rounds each of them the
# same way, and a long one is off by many eps: parts of so many keep that to about one. The BLAS
# adds up 32 at a time, and what is left over one by one (of float32, in float64).
_SHORT, _STEP, _LONG = 16, 32, {np.dtype(np.float32): 512}


@functools.cache
def _ones(length: int, dtype: np.dtype[Any]) -> Array:
    return np.ones(length, dtype)


@functools.lru_cache(maxsize=256)
def _parts(width: int, dtype: np.dtype[Any]) -> tuple[int, int, int]:
    """Return the length of the parts in which rows are added up, their number, and the rest."""
    if width <= _SHORT:
        return width, 1, 0
    longest = _LONG.get(dtype)
    if width < _STEP:
        length = _SHORT
    elif longest:
        length = width // -(-width // longest)
    else:
        length = min(128, width // _STEP * _STEP)
    return length, *divmod(width, length)


@functools.lru_cache(maxsize=256)
def _number_of_sums(width: int, dtype: np.dtype[Any]) -> int:
    _, parts, rest = _parts(width, dtype)
    return parts + (_number_of_sums(rest, dtype) if rest else 0)


def _write_sums(tile: Array, sums: Array) -> None:
    """Write the sums of the parts of every row."""
    height, width = tile.shape
    length, parts, rest = _parts(width, tile.dtype)
    whole, ones = tile[:, : width - rest] if rest else tile, _ones(length, tile.dtype)
    if length <= _SHORT:  # one product for all rows; else it is one for each part
        np.matmul(whole, ones, out=sums[:, 0])
    else:
        np.vecdot(whole.reshape(height, parts, length), ones, out=sums[:, :parts])
    if rest:
        _write_sums(tile[:, width - rest :], sums[:, parts:])


def _totals(sums: Array) -> Array:
    """Return the sums of the sums of parts, in the wide dtype."""
    wide, parts = wide_dtype(sums.dtype), sums.shape[1]
    sums = sums.astype(wide, copy=False)
    if parts > _SHORT:
        return np.asarray(sums.sum(axis=1))
    # Not by a product: there the last digit may depend on how many rows there are.
    totals = sums[:, 0]
    for column in sums.T[1:]:
        totals = totals + column
    return totals


def _row_sums(tile: Array) -> Array:
    """Return the sum of every row, in the wide dtype."""
    sums = np.empty((len(tile), _number_of_sums(tile.shape[1], tile.dtype)), tile.dtype)
    _write_sums(tile, sums)
    return _totals(sums)


def _by_row(ufunc: np.ufunc, table: Array, column: Array, out: Array) -> None:
    """Write ``ufunc(table, column)``, one number of the column for every row."""
    cut = grid(table.shape, table.dtype)
    if not cut.splits_rows:
        ufunc(table, column[:, np.newaxis], out=out)
        return

    def on_tile(r: slice, c: slice) -> None:
        ufunc(table[r, c], column[r, np.newaxis], out=out[r, c])

    _run_over(cut, on_tile)


def _run_over(cut: Grid, work: Callable[[slice, slice], object]) -> None:
    """Call ``work`` with every tile of rows that are split, on several threads."""
    pieces = [(r, c) for r in cut.rows for c in cut.columns]
    run(lambda piece: work(*piece), pieces, cut.rows[-1].stop * cut.columns[-1].stop)


def row_extremes(ufunc: np.ufunc, table: Array) -> Array:
    """Return the smallest number of every row, by ``np.minimum``, or the largest."""
    if table.shape[1] < 64:
        table = np.ascontiguousarray(table.T).T  # NumPy is slow along a short axis
    return np.asarray(ufunc.reduce(table, axis=1))


# Exponentials -------------------------------------------------------------------------------------


class _Range(NamedTuple):
    """How far from 0 the logits and the sums of exponentials of a dtype may lie."""

    lowest: float  # below it, exp is subnormal, or near that: up to a hundred times as slow
    margin: float  # what the logarithms of sums that can be trusted exceed from below
    smallest_sum: Any  # exp(-margin)
    largest_sum: Any  # exp(2 margin)


@functools.cache
def _range(dtype: np.dtype[Any]) -> _Range:
    lowest = math.ceil(np.log(np.finfo(dtype).smallest_normal)) + 1
    # What lies a margin and the lowest below the largest is less than the smallest float beside it.
    margin = wide_dtype(dtype).type(math.floor(0.45 * (1 - lowest)))
    return _Range(lowest, float(margin), np.exp(-margin), np.exp(2 * margin))


@functools.cache
def _smallest_normal(dtype: np.dtype[Any]) -> Any:
    return np.finfo(dtype).smallest_normal


class Way(NamedTuple):
    """How rows are exponentiated."""

    shift: bool = False  # after a number that is subtracted from each of them
    # Where the exponentials are only to be added up:
    raised: bool = False  # as if no logit were below the lowest
    less_one: bool = False  # exp(x) - 1


PLAIN, SHIFTED = Way(), Way(shift=True)
TO_ADD_UP = Way(raised=True, less_one=True)


def first_way(rows: Array, dtype: np.dtype[Any], may: Way) -> Way:
    """Return, by a sample, the fastest way that most of the rows can go."""
    # An odd step does not take every second row for all of them.
    height, width = (length // SAMPLES | 1 for length in rows.shape)
    sample = rows[::height, ::width]
    # Of short rows some always have small sums.
    less_one = may.less_one and rows.shape[1] >= SAMPLES and _expm1_is_fast(dtype)
    with np.errstate(all="ignore"):
        return _first_way(sample.astype(dtype, copy=False), may._replace(less_one=less_one))


def _first_way(sample: Array, may: Way) -> Way:
    lowest, margin, *_ = _range(sample.dtype)
    raised = False
    if not (sample.min() > -margin and sample.max() < margin):
        low, highest = sample < lowest, sample.max(axis=1)
        if sample.dtype == np.float32:
            low &= sample > 5 * lowest  # further down all of them are 0, which is no trouble
        raised = bool(low.mean() > 1 / 128)
        if ((highest > 1.5 * margin) | (highest < -margin)).mean() > 1 / 8:
            return Way(shift=True, raised=may.raised)
        if raised and not may.raised:
            return SHIFTED
    if not may.less_one:
        return Way(raised=raised)
    # The largest may be that of a label, which is left out.
    exponentials = np.expm1(np.maximum(sample, lowest))
    others = exponentials.sum(axis=1) - exponentials.max(axis=1)
    small = others < -0.3 * sample.shape[1]
    return Way(raised=raised, less_one=bool(small.mean() < 1 / 16))


@functools.cache
def _expm1_is_fast(dtype: np.dtype[Any]) -> bool:
    """Whether NumPy has an ``expm1`` for this processor that is not far slower than its ``exp``.

    Nothing in NumPy tells. Of float32 it takes half to all of the time in one build, and in another
    five times as long, which is told apart however busy the machine is.
    """
    if dtype != np.float32:
        return False
    logits = np.linspace(-4, 4, 2048, dtype=dtype)
    out = np.empty_like(logits)

    def seconds(ufunc: np.ufunc) -> float:
        start = time.perf_counter()
        ufunc(logits, out=out)
        return time.perf_counter() - start

    fastest = [min(seconds(ufunc) for _ in range(9)) for ufunc in (np.expm1, np.exp)]
    return fastest[0] < 2 * fastest[1]


class Shifts(NamedTuple):
    """The smallest and the largest logit of every row, and the number to subtract from the row."""

    low: Array
    high: Array
    shift: Array

    def some(self, rows: slice | Labels) -> Shifts:
        """Return those of some rows."""
        return Shifts(*(array[rows] for array in self))


def shifts_of(rows: Array, way: Way = SHIFTED) -> Shifts:
    """Return whole numbers after whose subtraction the largest exponential is near exp(margin).

    One is then subnormal only if it is nothing beside the largest. The shift is 0 where none is
    needed, and nan where there is none.
    """
    dtype = compute_dtype(rows.dtype)
    cut = grid(rows.shape, dtype)
    lows, highs = np.empty((2, len(rows), len(cut.columns)), dtype)

    def find(r: slice, c: slice) -> None:
        tile, j = _load(rows[r, c], dtype), c.start // cut.columns[0].stop
        highs[r, j] = row_extremes(np.maximum, tile)
        lows[r, j] = 0 if way.raised else row_extremes(np.minimum, tile)

    if cut.splits_rows:
        _run_over(cut, find)
    else:
        for r in cut.rows:
            find(r, cut.columns[0])
    low, high = lows.min(axis=1), highs.max(axis=1)
    lowest, margin, *_ = _range(dtype)
    shift = np.rint(high) - dtype.type(margin)
    # Up to here whole numbers, and their differences with the logits nearby, are exact.
    shift[~(abs(high) < 2.0 ** (np.finfo(dtype).nmant - 3))] = math.nan
    shift[(high >= -margin) & (high <= 1.5 * margin) & (low >= lowest)] = 0
    return Shifts(low, high, shift)


def write_exponentials(
    tile: Array, shifts: Shifts, out: Array, only_to_add_up: bool = False
) -> None:
    """Write the exponentials of shifted logits, corrected for what the shift has rounded away."""
    low, high, shift = shifts
    lowest = tile.dtype.type(_range(tile.dtype).lowest)
    floor = shift + lowest
    clipped = low < floor
    if clipped.any():
        raised = scratch("raised", tile.shape, tile.dtype)
        _by_row(np.maximum, tile, np.where(clipped, floor, tile.dtype.type(-math.inf)), raised)
        tile, low = raised, np.maximum(low, floor)
    _by_row(np.subtract, tile, shift, out)
    # A difference is exact if it is not larger than the logit itself: both are multiples of the
    # same unit. Elsewhere it rounds, and exp turns 2**-18 at a difference of 80 into 32 eps. What
    # was rounded away is known exactly (Fast2Sum), and is put back to first order.
    exact = np.where(shift > 0, low >= shift / 2, high <= shift / 2) | (shift == 0)
    if exact.all():
        np.exp(out, out=out)
    elif (few := _few_rounded(tile, np.where(exact, 0, shift))) is not None:
        lost_of_few = tile[few] - (out[few] + shift[few[0]])
        np.exp(out, out=out)
        out[few] += lost_of_few * out[few]
    else:
        lost = scratch("lost", tile.shape, tile.dtype)
        _by_row(np.add, out, shift, lost)
        np.subtract(tile, lost, out=lost)
        np.exp(out, out=out)
        np.multiply(lost, out, out=lost)
        np.add(out, lost, out=out)
    if clipped.any() and not only_to_add_up:
        # What was raised to the floor is nothing beside the largest, and becomes exactly that.
        of_floor = np.exp(np.full(16, lowest))[0]
        _by_row(np.subtract, out, np.where(clipped, of_floor, tile.dtype.type(0)), out)


def _few_rounded(tile: Array, shift: Array) -> tuple[Labels, Labels] | None:
    """Return where a logit is nearer to 0 than its difference from a shift, unless that is often.

    Elsewhere the difference is exact, as it is in all rows without a shift.
    """
    if not shift.max() <= 0:
        return None
    at = _find_larger(tile, np.where(shift == 0, math.inf, shift / 2))
    return at if len(at[0]) < tile.size / 16 else None


Finish = Callable[[slice, Any, Array, bool], None]


def exponentiate(
    rows: Array,
    out: Array | None,
    way: Way,
    shifts: Shifts | None = None,
    labels: Labels | None = None,
    finish: Finish | None = None,
) -> Array:
    """Return the sums of the exponentials of rows, without those of the labels.

    ``finish`` is given the exponentials of whole rows, while they are in the cache, their sums, and
    whether 1 was taken from each of them. Exponentials are kept in ``out`` where that has room for
    their digits. Rows that are too long for a tile are finished all at once, and their parts shared
    between threads. A sum that has lost digits on a way that is only for sums is nan.
    """
    dtype, classes = compute_dtype(rows.dtype), rows.shape[1]
    splits_rows = grid(rows.shape, dtype).splits_rows
    add_up = _exponentiate_parts if splits_rows else _exponentiate_rows
    sums, less_one = add_up(rows, out, way, shifts, labels, finish)
    if way.raised or way.less_one:
        least: Any = _range(dtype).smallest_sum
        if shifts is not None:
            # A smaller one may be made of logits so far below that the shift has rounded them.
            least = np.where(shifts.shift == 0, least, classes / 100)
        lost = ~(sums >= np.where(less_one, classes / 2, least))
        sums[lost] = math.nan
    return sums


def _exponentiate_rows(
    rows: Array, out: Array | None, way: Way, shifts: Shifts | None, labels: Labels | None,
    finish: Finish | None,
) -> tuple[Array, Any]:  # fmt: skip
    dtype = compute_dtype(rows.dtype)
    cut = grid(rows.shape, dtype)
    less_one: Any = way.less_one if shifts is None else np.zeros(len(rows), np.bool_)
    height, width = cut.rows[0].stop, rows.shape[1]
    ones = width - (labels is not None)
    # The sums of the parts of all rows are added up at the end, unless there are too many to keep.
    parts = _number_of_sums(width, dtype)
    at_the_end = finish is None and parts <= 256
    if not at_the_end:
        parts = 1
    sums = np.empty((len(rows), parts), dtype if at_the_end else wide_dtype(dtype))
    kept = out if out is not None and out.dtype == dtype else None
    room = scratch("exponentials", (height, width), dtype) if kept is None else kept
    starts = np.arange(0, height * width, width)
    for r in cut.rows:
        tile, of_rows, of_tile = _load(rows[r], dtype), None, way
        if shifts is not None:
            of_rows = shifts.some(r)
            of_tile = _way_of_tile(way, of_rows, width)
            less_one[r] = of_tile.less_one
        exponentials = room[: len(tile)] if kept is None else room[r]
        _write_by(of_tile, tile, of_rows, exponentials, finish is None)
        if labels is not None:
            exponentials.reshape(-1)[starts[: len(tile)] + labels[r]] = 0
        if at_the_end:
            _write_sums(exponentials, sums[r])
            continue
        sums[r, 0] = totals = _row_sums(exponentials) + ones * of_tile.less_one
        if finish is not None:
            finish(r, exponentials, totals, of_tile.less_one)
    totals = _totals(sums)
    if at_the_end and np.any(less_one):
        totals += np.where(less_one, ones, 0)
    return totals, less_one


def _exponentiate_parts(
    rows: Array, out: Array | None, way: Way, shifts: Shifts | None, labels: Labels | None,
    finish: Finish | None,
) -> tuple[Array, Any]:  # fmt: skip
    dtype = compute_dtype(rows.dtype)
    cut = grid(rows.shape, dtype)
    if shifts is not None:
        way = _way_of_tile(way, shifts, rows.shape[1])
    sums = np.empty((len(rows), len(cut.columns)), wide_dtype(dtype))
    kept = np.empty(rows.shape, dtype) if out is not None and out.dtype != dtype else out

    def add_up(r: slice, c: slice) -> None:
        tile = _load(rows[r, c], dtype)
        exponentials = scratch("exponentials", tile.shape, dtype) if kept is None else kept[r, c]
        _write_by(way, tile, shifts and shifts.some(r), exponentials)
        if labels is not None:
            columns = labels[r] - c.start
            here = np.flatnonzero((columns >= 0) & (columns < tile.shape[1]))
            exponentials[here, columns[here]] = 0
        sums[r, c.start // cut.columns[0].stop] = _row_sums(exponentials)

    _run_over(cut, add_up)
    ones = rows.shape[1] - (labels is not None)
    of_rows = np.asarray(sums.sum(axis=1)) + ones * way.less_one
    if finish is not None:
        finish(slice(None), kept, of_rows, way.less_one)
    return of_rows, way.less_one


def _way_of_tile(way: Way, shifts: Shifts, classes: int) -> Way:
    """Return a way on which 1 is taken from shifted rows too, if their sums will be large."""
    if not way.raised or not _expm1_is_fast(shifts.shift.dtype):
        return way
    large = (shifts.shift != 0) | (shifts.high > math.log(classes))
    return way._replace(less_one=bool(large.mean() > 7 / 8))


def _write_by(
    way: Way, tile: Array, shifts: Shifts | None, out: Array, only_to_add_up: bool = False
) -> None:
    """Write the exponentials of a tile, of which no row or every row has a shift."""
    if shifts is not None and not way.raised:
        write_exponentials(tile, shifts, out, only_to_add_up)
        return
    if shifts is not None and shifts.shift.any():
        _by_row(np.subtract, tile, shifts.shift, out)
        tile = out
    if way.raised:
        np.maximum(tile, tile.dtype.type(_range(tile.dtype).lowest), out=out)
        tile = out
    (np.expm1 if way.less_one else np.exp)(tile, out=out)


def _exponentials_at(logits: Array, shifts: Shifts | None) -> tuple[Array, Array]:
    """Return single shifted logits, one of each row, and their exponentials, in the wide dtype."""
    wide = logits.astype(wide_dtype(logits.dtype))
    if shifts is None:
        return wide, np.exp(wide)
    shift = shifts.shift.astype(wide.dtype)
    difference = wide - shift
    return difference, np.exp(difference) * (1 + rounded_away(wide, shift, difference))


def rounded_away(a: Array, b: Array, difference: Array) -> Array:
    """Return ``(a - b) - difference`` exactly: Knuth's TwoSum, for finite numbers."""
    virtual = difference - a
    error = (a - (difference - virtual)) - (b + virtual)
    return np.where(np.isfinite(error), error, 0)


# The walk -----------------------------------------------------------------------------------------

# A form takes rows, what belongs to each of them, and arrays to write to; the fast ones, called
# with a way to go, return which rows they could do.
Form = Callable[..., Any]


def walk(
    fast: Form | None,
    careful: Form,
    rows: Array,
    inputs: list[np.ndarray[Any, Any]],
    outputs: list[Array],
    may: Way = PLAIN,
) -> None:
    """Take all rows through the fast form, and through the careful one where that fails."""
    if rows.size == 0:
        return
    if rows.shape[1] == 1:
        fast = None  # a single class is certain, to the last digit
    dtype = compute_dtype(rows.dtype)
    if rows.size < SAMPLE_FROM:
        _try(fast, careful, PLAIN, rows, inputs, outputs, [slice(0, len(rows))], 0)
        return
    cut = grid(rows.shape, dtype)
    if cut.splits_rows:
        pieces, elements = [slice(0, len(rows))], 0
    else:
        # The careful form has many arrays of the size of what it is given.
        at_once = CHUNK_ELEMENTS if num_threads() > 1 else 4 * CHUNK_ELEMENTS
        at_once = TILE_BYTES // 32 if fast is None else at_once
        # Whole tiles, so that a row is in the same one whatever the number of threads.
        tile = 1 if fast is None else cut.rows[0].stop
        step = max(1, at_once // rows.shape[1] // tile) * tile
        pieces, elements = list(spans(len(rows), step)), rows.size
    way = PLAIN if fast is None else first_way(rows, dtype, may)
    _try(fast, careful, way, rows, inputs, outputs, pieces, elements)


def _try(
    fast: Form | None, careful: Form, way: Way, rows: Array, inputs: list[np.ndarray[Any, Any]],
    outputs: list[Array], pieces: list[slice], elements: int,
) -> None:  # fmt: skip
    if fast is None:
        run(lambda r: careful(rows[r], *(a[r] for a in inputs + outputs)), pieces, elements)
        return
    done = np.empty(len(rows), np.bool_)

    def work(r: slice) -> None:
        with np.errstate(all="ignore"):  # which takes back the size of the buffers too
            if rows.shape[1] >= 200:
                # To combine rows with a column NumPy fills its buffers with copies of the column,
                # which costs as much as the operation, unless the buffers are shorter than rows.
                np.setbufsize(16)
            done[r] = fast(way, rows[r], *(array[r] for array in inputs + outputs))

    run(work, pieces, elements)
    if done.all():
        return
    # Gathered from all pieces: the last digits of a row may depend on those beside it in its tile.
    left = np.flatnonzero(~done)
    at_once = CHUNK_ELEMENTS // 8 if way != SHIFTED else TILE_BYTES // 32

    def again(some: slice) -> None:
        at = left[some]
        results = [array[at] for array in outputs]
        arrays = (rows[at], [array[at] for array in inputs], results)
        next_form = None if way == SHIFTED else fast
        _try(next_form, careful, SHIFTED, *arrays, pieces=[slice(0, len(at))], elements=0)
        for array, result in zip(outputs, results, strict=True):
            array[at] = result

    pieces = list(spans(len(left), max(1, at_once // rows.shape[1])))
    run(again, pieces, len(left) * rows.shape[1])


# What it is made for ------------------------------------------------------------------------------


def softmax(rows: Array, out: Array, careful: Form) -> None:
    """Write the softmax of every row."""

    def fast(way: Way, rows: Array, out: Array) -> Mask:
        def finish(r: slice, exponentials: Array, sums: Array, _: bool) -> None:
            _write_scaled(exponentials, 1.0, sums, out[r], way.shift)

        shifts = shifts_of(rows) if way.shift else None
        sums = exponentiate(rows, out, way, shifts, finish=finish)
        return _trusted(rows, sums) & _digits_remain(rows, 1 / sums)

    walk(fast, careful, rows, [], [out])


def _write_scaled(
    exponentials: Array, scale: Any, sums: Array, out: Array, often_subnormal: bool
) -> None:
    """Write every row of exponentials times its scale, divided by its sum."""
    factors = (scale / sums).astype(exponentials.dtype)
    # With a larger scale the factors might overflow on the way.
    if often_subnormal and np.max(scale) <= 1 and _are_subnormal(exponentials, factors):
        cut = grid(exponentials.shape, exponentials.dtype)
        _run_over(cut, lambda r, c: _multiply_below_normal(exponentials[r, c], factors[r]))
    else:
        _by_row(np.multiply, exponentials, factors, exponentials)
    if out.dtype != exponentials.dtype:
        np.copyto(out, exponentials, casting="same_kind")


def _are_subnormal(exponentials: Array, factors: Array) -> bool:
    """Whether, by a sample, many products are subnormal."""
    dtype = exponentials.dtype
    if dtype.itemsize > 8:  # which has no integers
        return False
    height, width = exponentials.shape
    rows = slice(None, None, max(1, height // SAMPLES))
    sample = exponentials[rows, :: max(1, width // SAMPLES)]
    smallest = _smallest_normal(dtype) / factors[rows, np.newaxis]
    return bool(((sample > 0) & (sample < smallest)).mean() > 1 / 128)


def _multiply_below_normal(table: Array, factors: Array) -> None:
    """Multiply every row by its factor, sooner than the processor where products are subnormal.

    It takes up to a hundred times as long for these. Here the product is 2**up too large, and its
    exponent is taken down by that as an integer. Where none is left, its bits are those of the
    product plus the smallest normal number, less that number's.
    """
    limits = np.finfo(table.dtype)
    up = -limits.minexp // 2
    smallest, large = limits.smallest_normal, table.dtype.type(2.0**up)
    integer = np.dtype(f"i{table.itemsize}")
    _by_row(np.multiply, table, factors * large, table)
    sums = scratch("sums", table.shape, table.dtype)
    np.add(table, smallest * large, out=sums)
    bits, of_sums = table.view(integer), sums.view(integer)
    np.subtract(of_sums, 1 << limits.nmant, out=of_sums)
    np.maximum(bits, of_sums, out=bits)
    np.subtract(bits, up << limits.nmant, out=bits)


_ALL = np.ones(1, np.bool_)


def _trusted(rows: Array, sums: Array) -> Mask:
    range_ = _range(compute_dtype(rows.dtype))
    if sums.min() >= range_.smallest_sum and sums.max() <= range_.largest_sum:
        return _ALL
    return np.asarray((sums >= range_.smallest_sum) & (sums <= range_.largest_sum))


def _digits_remain(rows: Array, factors: Array) -> Mask:
    """Whether what is a normal number after scaling comes from exponentials that are normal too."""
    dtype = compute_dtype(rows.dtype)
    if factors.max() <= 1 and factors.min() >= _smallest_normal(dtype):
        return _ALL
    remain = (factors <= 1) & ((factors >= _smallest_normal(dtype)) | (factors == 0))
    doubtful = np.flatnonzero(factors > 1)
    if len(doubtful):
        range_, some = _range(dtype), rows[doubtful]
        not_shifted = row_extremes(np.maximum, some) <= 1.5 * range_.margin
        remain[doubtful] = not_shifted & (row_extremes(np.minimum, some) >= range_.lowest)
    return np.asarray(remain)


def logsumexp(rows: Array, out: Array, careful: Form) -> None:
    """Write the logarithm of the sum of exponentials of every row."""

    def fast(way: Way, rows: Array, out: Array) -> Mask:
        shifts = shifts_of(rows, way) if way.shift else None
        sums = exponentiate(rows, None, way, shifts)
        np.log(sums, out=out)
        if shifts is not None:
            logarithms, corrections = _logarithms(sums, shifts, out.dtype)
            out[:] = np.where(shifts.shift == 0, out, logarithms + corrections)
        done = _trusted(rows, sums)
        if not out.min() > 0.8:
            # The logarithm of a number near 1, which the sum does not have the digits of.
            near = np.flatnonzero(done & (abs(out) <= 0.8))
            for some in spans(len(near), max(1, TILE_BYTES // 32 // rows.shape[1])):
                out[near[some]] = _logarithms_near_0(rows[near[some]])
        return done

    walk(fast, careful, rows, [], [out], may=TO_ADD_UP)


def _logarithms_near_0(rows: Array) -> Array:
    """Return the logarithms of sums that are hardly more than their largest term."""
    rows = rows.astype(wide_dtype(rows.dtype), copy=False)
    lowest, margin, *_ = _range(rows.dtype)
    at = np.expand_dims(rows.argmax(axis=1), 1)
    largest = np.take_along_axis(rows, at, axis=1)
    gaps = rows - largest
    np.put_along_axis(gaps, at, -math.inf, axis=1)
    # Where all others lie far below, their exponentials are multiplied by exp(margin), so that they
    # are normal. The differences, which that makes smaller, stay exact; what is raised vanishes.
    lift = np.where(gaps.max(axis=1) < -margin, margin, 0).astype(rows.dtype)
    gaps += lift[:, np.newaxis]
    np.maximum(gaps, lowest, out=gaps)
    np.exp(gaps, out=gaps)
    return np.asarray(largest[:, 0] + np.log1p(gaps.sum(axis=1) * np.exp(-lift)))


def _logarithms(sums: Array, shifts: Shifts | None, dtype: np.dtype[Any]) -> tuple[Array, Array]:
    """Return the logarithms of shifted sums, rounded to ``dtype``, and what that leaves over."""
    shift = np.zeros_like(sums) if shifts is None else shifts.shift.astype(sums.dtype)
    logarithms = (shift + np.log(sums)).astype(dtype)
    near = logarithms.astype(sums.dtype)
    difference = shift - near
    # The sum divided by the exponential of its rounded logarithm is 1 and the relative error.
    ratio = sums * np.exp(difference)
    ratio += ratio * rounded_away(shift, near, difference)
    return logarithms, np.log1p(ratio - 1)


# Above it a logarithm is near enough to 0 to lose digits that its sum has not got.
_CERTAIN = 0.4


def log_softmax(rows: Array, out: Array, careful: Form) -> None:
    """Write the logarithm of the softmax of every row."""

    def fast(way: Way, rows: Array, out: Array) -> Mask:
        dtype = compute_dtype(rows.dtype)
        shifts = shifts_of(rows, way) if way.shift else None
        enough = np.ones(len(rows), np.bool_)

        def finish(r: slice, exponentials: Array, sums: Array, less_one: bool) -> None:
            logits = _load(rows[r], dtype)
            of_rows = shifts and shifts.some(r)
            logarithms, corrections = _logarithms(sums, of_rows, dtype)
            i, k = _find_certain(exponentials, sums - less_one, _CERTAIN * sums - less_one)
            if len(i):
                # The logarithm of a probability near 1 has its digits from all the others.
                others = exponentials[i]
                others[np.arange(len(i)), k] = 0
                rest = _row_sums(others) + (logits.shape[1] - 1) * less_one
                of_certain = of_rows and of_rows.some(i)
                _, own = _exponentials_at(logits[i, k], of_certain)
                exact = 0.0 - np.log1p(rest / own)
                least = logits.shape[1] / 2 if less_one else 0
                kept = _enough(rest, own, logits.shape[1], dtype) & (rest >= least)
                enough[r][i[~kept]] = False
            # In place of the exponentials, which nobody needs any more.
            _by_row(np.subtract, logits, logarithms, exponentials)
            _by_row(np.subtract, exponentials, corrections.astype(dtype), exponentials)
            if len(i):
                exponentials[i, k] = exact
            if out.dtype != dtype:
                np.copyto(out[r], exponentials, casting="same_kind")

        sums = exponentiate(rows, out, way, shifts, finish=finish)
        done = _trusted(rows, sums) & enough
        if out.dtype != dtype:  # float16 overflows, which the careful form says aloud
            done &= ~(np.isinf(out) & np.isfinite(rows)).any(axis=1)
        return done

    walk(fast, careful, rows, [], [out], may=Way(less_one=True))


def _find_certain(table: Array, sums: Array, thresholds: Array) -> tuple[Labels, Labels]:
    """Return rows and columns of the entries above the threshold of their row: two, or fewer."""
    first = table.argmax(axis=1)
    largest = table[np.arange(len(table)), first]
    rows = np.flatnonzero(largest > thresholds)
    columns = first[rows]
    # Where the largest is not too large, there is room for another one.
    both = np.flatnonzero(largest[rows] < (sums - thresholds)[rows])
    if len(both):
        others = table[rows[both]]
        others[np.arange(len(both)), columns[both]] = -math.inf
        second = others.argmax(axis=1)
        are = others[np.arange(len(both)), second] > thresholds[rows[both]]
        rows = np.concatenate([rows, rows[both[are]]])
        columns = np.concatenate([columns, second[are]])
    return rows, columns


def _find_larger(table: Array, thresholds: Array) -> tuple[Labels, Labels]:
    """Return rows and columns of the entries larger than the threshold of their row."""
    larger = scratch("larger", table.shape, np.dtype(np.bool_))
    _by_row(np.greater, table, thresholds.astype(table.dtype), larger)
    return np.divmod(np.flatnonzero(larger), table.shape[1])


def _enough(rest: Array, own: Array, classes: int, dtype: np.dtype[Any]) -> Mask:
    """Whether a sum has kept the terms that matter: a small one may, beside a far larger one."""
    if rest.min(initial=math.inf) >= _range(dtype).smallest_sum:
        return _ALL
    # A subnormal term is off by up to eps/2 of the smallest normal number. Either that is nothing
    # beside the sum, or with it the quotient would still be subnormal.
    tiny = _smallest_normal(dtype).astype(rest.dtype)
    lost = classes * np.finfo(dtype).eps * tiny
    kept = (rest >= 8 * classes * tiny) | (rest + lost < tiny * own)
    return np.asarray((rest >= _range(dtype).smallest_sum) | ((own >= 1) & kept))


def cross_entropy(
    rows: Array, labels: Labels, ignored: Mask, scale: Array, losses: Array,
    gradient: Array | None, careful: Form,
) -> None:  # fmt: skip
    """Write the losses of labels, each times its scale, and the gradient of their sum."""

    def fast(
        way: Way, rows: Array, labels: Labels, ignored: Mask, scale: Array, losses: Array,
        gradient: Any = None,
    ) -> Mask:  # fmt: skip
        dtype = compute_dtype(rows.dtype)
        shifts = shifts_of(rows, way) if way.shift else None
        at = np.arange(len(rows)), labels
        logits, own = _exponentials_at(rows[at].astype(dtype), shifts)

        def finish(r: slice, exponentials: Array, others: Array, _: bool) -> None:
            _write_scaled(exponentials, scale[r], others + own[r], gradient[r], way.shift)

        then = None if gradient is None else finish
        others = exponentiate(rows, gradient, way, shifts, labels, then)
        sums = others + own
        done = _enough(others, own, rows.shape[1], dtype)
        if not scale.max() <= 1:  # what was too small to matter may be large enough then
            done = done & ((scale <= 1) | (others >= _range(dtype).smallest_sum))
        if not sums.max() <= _range(dtype).largest_sum:
            done = done & (sums <= _range(dtype).largest_sum)
        losses[:] = _losses(others, own, logits)
        losses *= scale
        if not scale.min() > 0:
            losses[scale == 0] = 0
        if gradient is not None:
            gradient[at] = 0.0 - scale * (others / sums)
            done = done & _digits_remain(rows, scale / sums)
        return np.asarray(done)

    outputs = [losses] if gradient is None else [losses, gradient]
    may = TO_ADD_UP if gradient is None else PLAIN
    walk(fast, careful, rows, [labels, ignored, scale], outputs, may)


def _losses(others: Array, own: Array, logits: Array) -> Array:
    """Return ``log((others + own)/own)``, where own is the exponential of the logit."""
    ratios = others / own
    losses = np.log1p(ratios)
    # Where a target is so unlikely that the quotient leaves the range, the logarithms are apart.
    if not (own.min() >= _smallest_normal(own.dtype) and losses.max() < math.inf):
        far = ~((own >= _smallest_normal(own.dtype)) & (ratios < math.inf))
        losses[far] = np.log(others[far]) - logits[far]
    return losses


# Entries ------------------------------------------------------------------------------------------

# An elementwise form has several arrays at work at a time, and a quarter as many entries in a tile.
_ARRAYS = 4
_LINE = 64  # bytes of the cache


@functools.cache
def _of_entry(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype((dtype, _ARRAYS))


def over_entries(
    work: Callable[..., Any], inputs: list[Array], outputs: list[Array], dtype: np.dtype[Any]
) -> list[Any]:
    """Call ``work`` with flat tiles of all arrays, and return what it has returned.

    The inputs, which are broadcast to the shape of the first, come in ``dtype``. The outputs, which
    have that shape and are contiguous, are there to be written to.
    """
    shape, size = inputs[0].shape, inputs[0].size
    tiles = grid((size, 1), _of_entry(dtype)).rows
    if len(tiles) <= 1:
        whole = (np.broadcast_to(a, shape) if a.shape != shape else a for a in inputs)
        flat = (array.reshape(-1).astype(dtype, copy=False) for array in whole)
        return [work(*flat, *(array.reshape(-1) for array in outputs))]
    pieces = list(spans(size, CHUNK_ELEMENTS))
    results: list[list[Any]] = [[] for _ in pieces]
    access: list[Any] = [["readonly"]] * len(inputs) + [["writeonly"]] * len(outputs)

    def over_piece(number: int) -> None:
        with np.nditer(
            [*inputs, *outputs],
            flags=["external_loop", "buffered", "ranged"],
            op_flags=access,
            op_dtypes=[dtype] * len(inputs) + [array.dtype for array in outputs],
            order="C",
            casting="same_kind",
            buffersize=tiles[0].stop,
        ) as walk:
            # NumPy's own stubs take it for read-only.
            walk.iterrange = pieces[number].start, pieces[number].stop  # type: ignore[misc]
            results[number] = [work(*arrays) for arrays in walk]

    run(over_piece, list(range(len(pieces))), size)
    return [result for of_piece in results for result in of_piece]


def blanks(count: int, tile: Array) -> list[Array]:
    """Return so many arrays like a flat tile, with anything in them; the next call may return them.

    They begin where a line of the cache does, which makes a sum of two arrays twice as fast.
    """
    of_dtypes: dict[np.dtype[Any], list[Array]] = _of_thread.__dict__.setdefault("blanks", {})
    arrays = of_dtypes.get(tile.dtype, [])
    if len(arrays) < count or len(arrays[0]) < len(tile):
        step = tile.nbytes + -tile.nbytes % _LINE
        room = np.empty(count * step + _LINE, np.uint8)
        first = -room.ctypes.data % _LINE
        starts = range(first, first + count * step, step)
        arrays = [room[start : start + tile.nbytes].view(tile.dtype) for start in starts]
        of_dtypes[tile.dtype] = arrays
    return [array[: len(tile)] for array in arrays[:count]]


def quiet_sum(tile: Array) -> Any:
    """Return the sum of a tile in the wide dtype; an overflow is for the caller to notice."""
    with np.errstate(over="ignore"):
        return tile.sum(dtype=wide_dtype(tile.dtype))


def sum_of_products(alone: Array, a: Array, b: Array) -> Any:
    """Return the sum of a flat tile and of the products of two others, in the wide dtype."""
    length = _LONG.get(a.dtype, 256)
    whole = a.size - a.size % length
    total = wide_dtype(a.dtype).type(0)
    for part, width in ((slice(whole), length), (slice(whole, None), a.size - whole)):
        if width:
            parts = [array[part].reshape(-1, width) for array in (alone, a, b)]
            sums = np.vecdot(parts[1], parts[2])
            sums += np.vecdot(parts[0], _ones(width, a.dtype))
            total += np.add.reduce(sums, dtype=total.dtype)
    return total


# Takes flat tiles, and returns one of terms to add up, or three: one, and two to be multiplied.
Terms = Callable[..., tuple[Array, ...]]


class Step(NamedTuple):
    """A way to add up rows. Its sums can be trusted if they are finite and at least enough."""

    terms: Terms
    dtype: np.dtype[Any]
    enough: float


def sums_of_rows(steps: list[Step], tables: list[Array]) -> Array:
    """Return the sum over every row of tables, from the first step whose sum can be trusted."""
    height, width = tables[0].shape
    sums = np.empty(height, steps[-1].dtype)

    def on_rows(rows: slice) -> None:
        sums[rows] = _sums_from(steps, [table[rows] for table in tables])

    with np.errstate(all="ignore"):
        if any(grid((height, width), _of_entry(step.dtype)).splits_rows for step in steps):
            on_rows(slice(0, height))
        else:
            pieces = list(spans(height, max(1, CHUNK_ELEMENTS // max(1, width))))
            run(on_rows, pieces, height * width)
    return sums


def _sums_from(steps: list[Step], tables: list[Array]) -> Array:
    step, *others = steps
    sums = _sums_of_terms(step.terms, tables, step.dtype)
    if others:
        again = np.flatnonzero(~((sums >= step.enough) & (sums < math.inf)))
        if len(again) == len(sums):
            return _sums_from(others, tables)
        if len(again):
            sums[again] = _sums_from(others, [table[again] for table in tables])
    return sums


def _sums_of_terms(terms: Terms, tables: list[Array], dtype: np.dtype[Any]) -> Array:
    height, width = tables[0].shape
    cut = grid((height, width), _of_entry(dtype))
    sums = np.empty((height, len(cut.columns)), wide_dtype(dtype))

    def on_tile(r: slice, c: slice) -> None:
        tiles = [_load(table[r, c], dtype, f"table {i}") for i, table in enumerate(tables)]
        of_tile = terms(*(tile.reshape(-1) for tile in tiles))
        of_rows = sums[r, c.start // cut.columns[0].stop]
        if len(of_tile) == 3 and len(of_rows) == 1:
            of_rows[0] = sum_of_products(*of_tile)
            return
        if len(of_tile) == 3:
            alone, a, b = of_tile
            of_tile = (np.add(alone, np.multiply(a, b, out=b), out=b),)
        of_rows[:] = _row_sums(of_tile[0].reshape(tiles[0].shape))

    if cut.splits_rows:
        _run_over(cut, on_tile)
    else:
        for r in cut.rows:
            on_tile(r, cut.columns[0])
    return np.asarray(sums.sum(axis=1))
