"""cebook._tiles: what is cut and shared out, which form does which rows, and how much memory."""

import math
import subprocess
import sys
import time
import tracemalloc

import mpmath
import numpy as np
import oracle
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import cebook as ce
from cebook import _tiles, softmax_loss

DTYPES = [np.float16, np.float32, np.float64, np.longdouble]
LARGE = {
    "tall": (200_000, 10),
    "square": (1500, 1000),
    "of many heights": (4545, 1100),
    "long": (9, 200_000),
}


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
    x[: shape[0] // 2 : 5] += 300
    x[shape[0] // 3, ::2] -= 90
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
    low, high = x.min(axis=1), x.max(axis=1)
    some = _tiles.Shifts(low, high, np.rint(high) - 30)
    plain, shifted = np.empty_like(x), np.empty_like(x)
    sums = _tiles.exponentiate(x, plain, _tiles.PLAIN)
    sums_of_shifted = _tiles.exponentiate(x, shifted, _tiles.SHIFTED, some)
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


# Ways ---------------------------------------------------------------------------------------------

WAYS = {
    "plain": _tiles.PLAIN,
    "raised": _tiles.Way(raised=True),
    "less one": _tiles.Way(less_one=True),
    "raised, less one": _tiles.Way(raised=True, less_one=True),
    "shifted": _tiles.SHIFTED,
    "shifted, to add up": _tiles.Way(shift=True, raised=True),
}
# The rows of each, how often a way may find that a sum has lost digits, and which.
ROWS = {
    "ordinary": lambda x: x,
    "wide": lambda x: 3 * x,
    "near 0": lambda x: x / 100,
    "small": lambda x: x - 4,
    "one large": lambda x: np.where(np.arange(x.shape[1]) == 6, 20, x - 30),
    "subnormal": lambda x: np.where(np.arange(x.shape[1]) == 6, 0, x - 95),
    "far above": lambda x: x + 1000,
    "above": lambda x: x + 62,
    "a little above": lambda x: x / 10 + 60 * (np.arange(x.shape[1]) == 5),
    "a label above": lambda x: np.where(np.arange(x.shape[1]) == 5, 62, x + 5),
    "a label far above": lambda x: np.where(np.arange(x.shape[1]) == 5, 600, x + 100),
    "below": lambda x: x - 50,
    "far below": lambda x: x - 1000,
    "every second far above": lambda x: x + 1000 * (np.arange(len(x))[:, np.newaxis] % 2),
    "impossible classes": lambda x: np.where(x > 0.5, -math.inf, x),
}
ANSWERS = {  # of which the way must find the sum
    "plain": {"ordinary", "wide", "near 0", "small", "one large", "impossible classes"},
    "raised": {"ordinary", "wide", "near 0", "small", "one large", "subnormal"},
    "less one": {"ordinary", "wide", "near 0"},
    "raised, less one": {"ordinary", "wide", "near 0"},
    "shifted": set(ROWS) - {"a label far above"},
    "shifted, to add up": set(ROWS) - {"a little above", "a label above", "a label far above"},
}


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("classes", [40, 1000, 5000])
def test_every_way_finds_a_sum_or_says_that_it_has_lost_digits(classes, dtype, way, rows):
    x = ROWS[rows](logits_of((70, classes), np.float64, seed=classes)).astype(dtype)
    shifts = _tiles.shifts_of(x, WAYS[way]) if WAYS[way].shift else None
    labels = np.full(70, 5)
    with np.errstate(all="ignore"):
        sums = _tiles.exponentiate(x, None, WAYS[way], shifts, labels)
        exact = x.astype(np.longdouble) - (0 if shifts is None else shifts.shift[:, np.newaxis])
        exact[:, 5] = -math.inf
        exact = np.exp(exact).sum(axis=1)
        errors = abs(sums / exact - 1) / np.finfo(dtype).eps
    range_ = _tiles._range(np.dtype(dtype))
    trusted = (sums >= range_.smallest_sum) & (sums <= range_.largest_sum)
    if rows != "subnormal" or WAYS[way].raised:
        assert (errors[trusted] <= 4).all()
    if rows in ANSWERS[way]:
        assert trusted.all()


def test_a_large_sum_loses_no_digits_to_the_ones_that_are_taken_away():
    eps = np.finfo(np.float32).eps
    for classes in (17, 1000, 50_257):
        for mean in np.linspace(0.3, 3, 28):
            # As many as possible contribute nothing, and the rest is equal: no error averages out.
            for share in (0.05, 0.3, 0.5, 0.8, 1):
                x = np.full((1, classes), -50, np.float32)
                x[0, : math.ceil(share * classes)] = math.log(mean / share)
                total = _tiles.exponentiate(x, None, _tiles.Way(less_one=True))[0]
                exact = np.exp(x.astype(np.longdouble)).sum()
                assert math.isnan(total) or abs(total / exact - 1) <= 4 * eps
                if abs(exact / classes - 0.5) > 1e-4:
                    assert math.isnan(total) == (exact < classes / 2)


SAMPLES = {
    # Of rows, the first way of a gradient, and of sums in float32 and in float64.
    "ordinary": ("plain", "less one", "plain"),
    "near 0": ("plain", "less one", "plain"),
    "small": ("plain", "plain", "plain"),
    "far above": ("shifted", "shifted, to add up", "shifted, to add up"),
    "far below": ("shifted", "shifted, to add up", "shifted, to add up"),
    "every second far above": ("shifted", "shifted, to add up", "shifted, to add up"),
}


@pytest.mark.parametrize("rows", SAMPLES)
@pytest.mark.parametrize("fast", [False, True])
def test_a_sample_finds_the_way(monkeypatch, fast, rows):
    monkeypatch.setattr(_tiles, "_expm1_is_fast", lambda dtype: fast and dtype == np.float32)
    of_gradient, of_float32, of_float64 = SAMPLES[rows]
    for dtype, of_sums in (
        (np.float32, of_float32 if fast else of_float64),
        (np.float64, of_float64),
    ):
        x = ROWS[rows](logits_of((400, 300), np.float64)).astype(dtype)
        for may, expected in ((_tiles.PLAIN, of_gradient), (_tiles.TO_ADD_UP, of_sums)):
            assert _tiles.first_way(x, x.dtype, may) == WAYS[expected]


def test_a_slow_expm1_is_not_used(monkeypatch):
    is_fast, slow = _tiles._expm1_is_fast.__wrapped__, lambda x, out: time.sleep(1e-3)
    assert not is_fast(np.dtype(np.float64))
    with monkeypatch.context() as patch:
        patch.setattr(np, "expm1", slow)
        assert not is_fast(np.dtype(np.float32))
    with monkeypatch.context() as patch:
        patch.setattr(np, "exp", slow)
        assert is_fast(np.dtype(np.float32))


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("fast", [False, True])
def test_losses_are_right_whether_expm1_is_fast_or_not(monkeypatch, fast, rows):
    monkeypatch.setattr(_tiles, "_expm1_is_fast", lambda dtype: fast and dtype == np.float32)
    x = ROWS[rows](logits_of((300, 200), np.float64)).astype(np.float32)
    labels = np.full(300, 7)
    x[:, 7] = np.where(x[:, 7] == -math.inf, 0, x[:, 7])
    if rows == "ordinary":
        assert _tiles.first_way(x, x.dtype, _tiles.TO_ADD_UP).less_one == fast
    exact = ce.softmax_cross_entropy(x.astype(np.longdouble), labels, reduction="none")
    losses = ce.softmax_cross_entropy(x, labels, reduction="none")
    assert_allclose(losses, exact, rtol=4 * np.finfo(np.float32).eps)
    exact = ce.logsumexp(x.astype(np.longdouble))
    assert_allclose(ce.logsumexp(x), exact, rtol=4 * np.finfo(np.float32).eps)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products_are_those_of_the_processor_but_for_their_last_bit_below_the_normal_numbers(dtype):
    limits = np.finfo(dtype)
    rng = np.random.default_rng(3)
    table = rng.uniform(1, 2, (50, 400)) * 2.0 ** rng.integers(-20, 20, (50, 400))
    table = table.astype(dtype)
    table[:, ::9] = 0
    factors = np.ldexp(rng.uniform(1, 2, 50), limits.minexp + rng.integers(-20, 40, 50))
    factors = factors.astype(dtype)
    expected = table * factors[:, np.newaxis]
    assert ((expected > 0) & (expected < limits.smallest_normal)).any()
    _tiles._multiply_below_normal(table, factors)
    normal = expected >= limits.smallest_normal
    assert_array_equal(table[normal], expected[normal])
    assert (abs(table - expected) <= limits.smallest_subnormal).all()  # it is rounded twice


@pytest.mark.parametrize("offset", [0, -95, 1000])
def test_rows_of_many_parts_leave_out_the_label_wherever_it_is(offset):
    x = logits_of((2, 500_000), np.float32) + np.float32(offset)
    for label in (0, 250_000, 499_999):
        exact = ce.logsumexp(np.delete(x[0].astype(np.float64), label)) - x[0, label]
        loss = ce.softmax_cross_entropy(x, [label, 0], reduction="none")[0]
        assert loss == pytest.approx(np.log1p(np.exp(exact)), rel=2e-7)


def test_a_large_weight_does_not_enlarge_what_was_lost():
    x = np.random.default_rng(4).uniform(-110, -100, (200, 200)).astype(np.float32)
    x[:100, 0] = 0
    x[100:] = -38 + np.random.default_rng(5).uniform(0, 0.1, (100, 200))
    labels = np.zeros(200, int)
    for weight in (1, 300, 1e6, 1e20):
        options = {"weight": np.full(200, weight), "reduction": "sum", "return_grad": True}
        _, gradient = ce.softmax_cross_entropy(x, labels, **options)
        _, exact = ce.softmax_cross_entropy(x.astype(np.longdouble), labels, **options)
        normal = abs(exact) >= np.finfo(np.float32).smallest_normal
        assert_allclose(gradient[normal], exact[normal].astype(np.float32), rtol=1e-6)
    for gap, weight in ((100, 1e10), (130, 1e25)):
        loss = ce.softmax_cross_entropy(
            np.float32([[0, -gap]]), [0], weight=[weight] * 2, reduction="none"
        )
        assert loss[0] == pytest.approx(weight * math.exp(-gap), rel=1e-6)
    x = np.linspace(50, 60, 200, dtype=np.float32)[np.newaxis]
    x[0, 0] = 200
    _, gradient = ce.softmax_cross_entropy(
        x, [0], weight=np.full(200, 1e30), reduction="sum", return_grad=True
    )
    assert gradient[0, -1] == pytest.approx(1e30 * math.exp(-140), rel=1e-4)


def test_logsumexp_of_longdouble_near_0():
    gap = np.longdouble(6000)
    if np.exp(-gap) == 0:
        pytest.skip("longdouble is no wider than float64")
    exact = np.exp(-gap)
    assert abs(ce.logsumexp(np.array([0, -gap])) / exact - 1) <= 4 * np.finfo(gap.dtype).eps


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_subnormal_probabilities_are_rounded_like_others(dtype):
    lowest = np.log(np.finfo(dtype).smallest_normal)
    x = np.random.default_rng(5).uniform(lowest - 15, lowest + 5, (60, 500)).astype(dtype)
    x[:, 3] = 0
    exact = ce.softmax(x.astype(np.longdouble))
    # The smallest step below the normal numbers is that above them.
    step = np.spacing(np.maximum(exact, np.finfo(dtype).smallest_normal).astype(dtype))
    assert (abs(ce.softmax(x) - exact) <= 6 * step).all()
    _, gradient = ce.softmax_cross_entropy(x, np.full(60, 3), return_grad=True)
    exact[:, 3] -= 1
    exact = exact / 60
    step = np.spacing(np.maximum(abs(exact), np.finfo(dtype).smallest_normal).astype(dtype))
    others = np.arange(500) != 3
    assert (abs(gradient - exact)[:, others] <= (6 * step)[:, others]).all()


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
