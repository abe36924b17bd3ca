"""cebook._tiles: what is cut and shared out, which form does which rows, and how much memory."""

import math
import subprocess
import sys
import tracemalloc

import mpmath
import numpy as np
import oracle
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import cebook as ce
from cebook import _tiles, softmax_loss

DTYPES = [np.float16, np.float32, np.float64, np.longdouble]
LARGE = {"tall": (200_000, 10), "square": (1500, 1000), "long": (9, 200_000)}


def logits_of(shape, dtype, seed=7):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def results(x, labels):
    yield ce.softmax(x)
    yield ce.log_softmax(x)
    yield ce.logsumexp(x)
    yield ce.softmax_cross_entropy(x, labels)
    yield from ce.softmax_cross_entropy(x, labels, reduction="none", return_grad=True)


# Threads ------------------------------------------------------------------------------------------


@pytest.fixture
def threads(monkeypatch):
    def use(setting):
        if setting is None:
            monkeypatch.delenv("CEBOOK_NUM_THREADS", raising=False)
        else:
            monkeypatch.setenv("CEBOOK_NUM_THREADS", str(setting))
        _tiles.num_threads.cache_clear()

    yield use
    _tiles.num_threads.cache_clear()


def test_the_number_of_threads_is_that_of_the_setting(threads):
    for setting, expected in (("1", 1), (" 3 ", 3), ("16", 16)):
        threads(setting)
        assert _tiles.num_threads() == expected
    for unset in (None, "", " "):
        threads(unset)
        assert _tiles.num_threads() >= 1


@pytest.mark.parametrize("setting", ["0", "-1", "two", "1.5", "²"])
def test_a_number_of_threads_that_is_none_is_an_error(threads, setting):
    threads(setting)
    with pytest.raises(ValueError, match="CEBOOK_NUM_THREADS must be a whole number of at least 1"):
        ce.logsumexp(np.zeros((2000, 1000)))
    assert ce.logsumexp([0.0, 0.0]) == math.log(2)  # which one thread does, whatever it says


@pytest.mark.parametrize("shape", LARGE.values(), ids=LARGE)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_results_do_not_depend_on_the_number_of_threads(threads, dtype, shape):
    x = logits_of(shape, dtype)
    x[::5] += 300
    x[::7, 1] = -math.inf
    x[3, 2] = math.nan
    labels = np.arange(shape[0]) % shape[1]
    threads(1)
    alone = list(results(x, labels))
    for count in (2, 5):
        threads(count)
        for result, expected in zip(results(x, labels), alone, strict=True):
            assert_array_equal(result, expected)


def test_many_elements_are_shared_out_and_few_are_not(threads, monkeypatch):
    threads(2)
    asked = []
    pool = _tiles._pool
    monkeypatch.setattr(_tiles, "_pool", lambda *a: asked.append(a) or pool(*a))
    monkeypatch.setattr(_tiles, "PARALLEL_FROM", 1 << 20)
    ce.softmax_cross_entropy(np.zeros((900, 1000), np.float32), np.zeros(900, int))
    assert not asked
    for shape in LARGE.values():
        asked.clear()
        ce.softmax(np.zeros(shape, np.float32))
        assert asked


def test_what_a_thread_raises_is_raised(threads):
    threads(2)

    def work(piece):
        if piece == 3:
            raise RuntimeError("of piece 3")

    with pytest.raises(RuntimeError, match="of piece 3"):
        _tiles.run(work, list(range(5)), 1 << 30)


def test_a_thread_does_not_wait_for_its_own_pool(threads):
    threads(2)
    seen = []

    def outer(piece):
        _tiles.run(lambda inner: seen.append((piece, inner)), list(range(4)), 1 << 30)

    _tiles.run(outer, list(range(8)), 1 << 30)
    assert sorted(seen) == [(piece, inner) for piece in range(8) for inner in range(4)]


def test_a_thread_has_the_settings_of_its_caller(threads):
    threads(2)
    largest = np.finfo(np.float64).max
    x = np.zeros((2000, 1000))
    x[1234, :2] = [largest, -largest]
    with np.errstate(over="ignore"):
        assert ce.log_softmax(x)[1234, 1] == -math.inf
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        ce.log_softmax(x)


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_a_forked_process_has_threads_of_its_own():
    code = """
import os, numpy as np, cebook as ce
x = np.zeros((2000, 1000))
ce.logsumexp(x)
child = os.fork()
if child == 0:
    os._exit(not np.allclose(ce.logsumexp(x), np.log(1000)))
print(os.waitpid(child, 0)[1])
"""
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        check=True, capture_output=True, text=True, timeout=60, env={"CEBOOK_NUM_THREADS": "2"},
    )  # fmt: skip
    assert result.stdout.strip() == "0", result.stderr


# Tiles --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1), (1, 10**7), (7, 300_000), (4096, 1000), (10**6, 2)])
def test_tiles_cover_everything_once_and_fit(request, shape, dtype):
    cut = _tiles.grid(shape, np.dtype(dtype))
    for pieces, length in zip(cut, shape, strict=True):
        assert [p.start for p in pieces] == [0, *(p.stop for p in pieces[:-1])]
        assert pieces[-1].stop == length
    if not request.config.getoption("--tiny-tiles"):
        tile = cut.rows[0].stop * cut.columns[0].stop * np.dtype(dtype).itemsize
        assert tile <= 2 * _tiles.TILE_BYTES
        assert cut.splits_rows == (shape[1] * np.dtype(dtype).itemsize > 2 * _tiles.TILE_BYTES)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_of_equal_addends_keep_their_digits(dtype):
    dtype = _tiles.compute_dtype(np.dtype(dtype))
    for width in (1, 2, 16, 17, 31, 32, 33, 64, 100, 127, 255, 500, 1000, 1023, 1025, 5000, 50_257):
        for value in np.random.default_rng(width).uniform(0.5, 1, 20).astype(dtype):
            tile = np.full((3, width), value)
            (total, *_) = _tiles._row_sums(tile)
            error = oracle.error_in_eps(total.astype(dtype), width * oracle.exact(value))
            assert error <= 3.5, (width, value)


# Forms --------------------------------------------------------------------------------------------

# What is added to ordinary rows, and whether the careful form is needed then.
KINDS = {
    "ordinary": (lambda x: x, False),
    "far above": (lambda x: x + 1000, False),
    "far below": (lambda x: x - 1000, False),
    "every second far above": (lambda x: x + 1000 * (np.arange(len(x))[:, np.newaxis] % 2), False),
    "wide": (lambda x: 60 * x, False),
    "impossible classes": (lambda x: np.where(x > 1, -math.inf, x), False),
    "nan": (lambda x: np.where(x > 4, math.nan, x), True),
    "infinite": (lambda x: np.where(x > 3.9, math.inf, x), True),
    "huge": (lambda x: np.where(x > 3.9, 1e30, x), True),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("return_grad", [False, True])
def test_only_what_no_fast_form_can_do_is_done_carefully(monkeypatch, kind, dtype, return_grad):
    change, needed = KINDS[kind]
    x = change(logits_of((400, 300), np.float64)).astype(dtype)
    rows = []
    shifted = softmax_loss._shifted
    monkeypatch.setattr(
        softmax_loss, "_shifted", lambda some: rows.append(len(some)) or shifted(some)
    )
    ce.softmax_cross_entropy(x, np.argmin(x, axis=1) * 0, return_grad=return_grad)
    if not return_grad:
        ce.softmax(x)
    assert (sum(rows) > 0) == needed
    assert sum(rows) < 200


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_plain_and_the_shifted_form_agree(dtype):
    x = logits_of((300, 40), dtype)
    eps = np.finfo(dtype).eps
    # Ordinary rows have a shift of 0.
    some = _tiles._Shifts(x.min(axis=1), np.rint(x.max(axis=1)) - 30)
    plain, shifted = np.empty_like(x), np.empty_like(x)
    sums = _tiles._exponentiate(x, plain, None)
    sums_of_shifted = _tiles._exponentiate(x, shifted, some)
    assert (sums_of_shifted > 1e10 * sums).all()
    assert_allclose(
        shifted / sums_of_shifted[:, np.newaxis], plain / sums[:, np.newaxis], rtol=6 * eps
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("classes", [100, 10_000])
def test_subnormal_terms_that_add_up_to_a_normal_loss_keep_their_digits(dtype, classes):
    smallest = np.finfo(dtype).smallest_normal
    for share in np.linspace(0.1, 0.9, 9):
        x = np.full((1, classes), np.log(smallest) - share * math.log(classes), dtype)
        x[0, 0] = 0
        rest = (classes - 1) * mpmath.exp(oracle.exact(x[0, 1]))
        loss, gradient = ce.softmax_cross_entropy(x, [0], return_grad=True)
        assert loss >= smallest > np.exp(x[0, 1])
        assert oracle.error_in_eps(loss, mpmath.log1p(rest)) <= 4
        assert oracle.error_in_eps(-ce.log_softmax(x)[0, 0], mpmath.log1p(rest)) <= 4
        assert oracle.error_in_eps(gradient[0, 0], -rest / (1 + rest)) <= 4


# Memory -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0, 1000])
def test_the_loss_alone_takes_less_than_a_megabyte_a_thread(threads, dtype, offset):
    x, labels = logits_of((256, 50_257), dtype) + dtype(offset), np.arange(256)
    for count in (1, 2):
        threads(count)
        ce.softmax_cross_entropy(x[:2], labels[:2])
        tracemalloc.start()
        ce.softmax_cross_entropy(x, labels)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < count * 1e6
