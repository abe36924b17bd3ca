"""cebook.information: accuracy, edges, dtypes, axes, identities, errors for bad input."""

import inspect
import math
import warnings
from fractions import Fraction

import mpmath
import numpy as np
import oracle
import pytest
import scipy.special
import scipy.stats
import torch
from accuracy import DTYPES
from accuracy_information import BOUNDS, worst_errors
from helpers import BAD_AXES, FLOATS, LAYOUTS, NOT_NUMBERS, message
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial import distance

import cebook as ce
from cebook import information

# The functions by what they take: one distribution, two, a table, single probabilities.
ONE = ["entropy", "perplexity"]
TWO = ["cross_entropy", "kl_divergence", "js_divergence"]
TABLE = ["conditional_entropy", "mutual_information"]
COINS = ["binary_entropy", "binary_kl_divergence"]
ROWS = ONE + TWO
SUMMING = ROWS + TABLE
ALL = SUMMING + COINS
PAIRED = [*TWO, "binary_kl_divergence"]

EPS = np.finfo(np.float64).eps
TINY = 5e-324
LOG2 = math.log(2)


def normalised(weights, axis=-1):
    weights = np.asarray(weights, dtype=np.float64)
    return weights / weights.sum(axis=axis, keepdims=True)


def arguments(name, dtype=np.float64):
    """Return three ordinary inputs in a batch, in 64ths, which every dtype holds exactly."""
    generator = np.random.default_rng(7)

    def one():
        if name in COINS:
            return (generator.integers(1, 64, 3) / 64).astype(dtype)
        outcomes = 8 if name in TABLE else 4
        counts = 1 + generator.multinomial(64 - outcomes, [1 / outcomes] * outcomes, size=3)
        rows = (counts / 64).astype(dtype)
        return rows.reshape(3, 2, 4) if name in TABLE else rows

    return (one(), one()) if name in PAIRED else (one(),)


def call(name, *inputs, **options):
    return getattr(ce, name)(*inputs, **options)


# Accuracy -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BOUNDS)
def test_error_on_the_grid_is_within_the_bound(name, dtype):
    worst = {group: row["cebook"] for group, row in worst_errors(name, dtype).items()}
    assert max(worst.values()) <= BOUNDS[name], worst


def test_every_function_has_a_bound():
    assert sorted(BOUNDS) == sorted(information.__all__) == sorted(ALL)


def mirrored(ratio):
    p = normalised([1, ratio])
    return p, p[::-1].copy()


EXTREMES = [
    *(
        ("js_divergence", mirrored(ratio))
        for ratio in (1e-3, 1e-7, 1e-10, 1e-13, 1e-16, 3e-17, 1e-40)
    ),
    # Just beyond a factor of 2, where a closed form loses most.
    ("js_divergence", (np.array([0.351621, 1 - 0.351621]), np.array([0.175809, 1 - 0.175809]))),
    *(("kl_divergence", mirrored(ratio)) for ratio in (1e-16, 1e-200, 1e-308, TINY)),
    *(("cross_entropy", mirrored(ratio)) for ratio in (1e-16, 1e-308, TINY)),
    ("entropy", (np.array([1.0, TINY, 1e-300]),)),
    ("binary_entropy", (np.float64(1e-300),)),
    ("binary_kl_divergence", (np.float64(0.5), np.float64(TINY))),
    ("binary_kl_divergence", (np.float64(1e-200), np.float64(2e-200))),
    # The product of these marginals underflows, to nothing or to a few bits.
    ("mutual_information", (np.diag([1, 1e-200]),)),
    ("mutual_information", (np.diag([1, 1e-160]),)),
    ("mutual_information", (np.array([[1, 1e-160], [1e-170, 1e-155]]),)),
    ("conditional_entropy", (np.array([[1, TINY], [1e-300, 1e-290]]),)),
]


@pytest.mark.parametrize(("name", "inputs"), EXTREMES)
def test_extreme_entries_keep_the_bound(name, inputs):
    with mpmath.workdps(1000):  # 1 - 1e-300 takes 300 digits before the first that counts.
        error = oracle.error_in_eps(call(name, *inputs), getattr(oracle, name)(*inputs))
    assert error <= BOUNDS[name]


@pytest.mark.parametrize("name", SUMMING)
def test_long_sums_along_the_first_axis_keep_the_bound(name):
    # NumPy adds up the rows of a tall array one after the other, without pairing.
    generator = np.random.default_rng(11)
    shape = (10_000, 2) if name in TABLE else (20_000,)
    inputs = [normalised(generator.random(shape), None) for _ in range(2 if name in TWO else 1)]
    tall = [np.stack([array, array], axis=-1) for array in inputs]
    axis = (0, 1) if name in TABLE else 0
    truth = getattr(oracle, name)(*inputs)
    # An exponential turns the absolute error of the entropy into a relative one.
    bound = BOUNDS[name] + (math.log(20_000) if name == "perplexity" else 0)
    for result in call(name, *tall, axis=axis):
        assert oracle.error_in_eps(result, truth) <= bound


@pytest.mark.parametrize("base", [None, 2, 3, 10])
@pytest.mark.parametrize("name", sorted(set(ALL) - {"perplexity"}))
def test_longdouble_results_carry_longdouble_digits(name, base):
    weights = np.array([[1, 2], [4, 7]], dtype=np.longdouble)
    table = weights / weights.sum()
    inputs = {
        "conditional_entropy": (table,),
        "mutual_information": (table,),
        "binary_entropy": (table[0, 0],),
        "binary_kl_divergence": (table[0, 0], table[1, 1]),
        "entropy": (table.ravel(),),
    }.get(name, (table.ravel(), table.ravel()[::-1]))
    truth = getattr(oracle, name)(*inputs) / (mpmath.log(base) if base else 1)
    assert oracle.error_in_eps(call(name, *inputs, base=base), truth) <= BOUNDS[name]


# Edges --------------------------------------------------------------------------------------------

CERTAIN = [
    ("entropy", ([0.0, 1.0],), 0.0),
    ("entropy", ([1.0],), 0.0),
    ("entropy", ([1.0, -0.0],), 0.0),
    ("perplexity", ([0.0, 1.0],), 1.0),
    ("binary_entropy", (0.0,), 0.0),
    ("binary_entropy", (-0.0,), 0.0),
    ("binary_entropy", (1.0,), 0.0),
    ("cross_entropy", ([0.0, 1.0], [0.0, 1.0]), 0.0),
    ("kl_divergence", ([0.0, 1.0], [0.0, 1.0]), 0.0),
    ("kl_divergence", ([1.0, -0.0], [1.0, 0.0]), 0.0),
    ("kl_divergence", ([0.25, 0.75], [0.25, 0.75]), 0.0),
    ("js_divergence", ([0.0, 1.0], [0.0, 1.0]), 0.0),
    ("binary_kl_divergence", (0.0, 0.0), 0.0),
    ("binary_kl_divergence", (-0.0, 0.0), 0.0),
    ("binary_kl_divergence", (1.0, 1.0), 0.0),
    ("conditional_entropy", ([[0.5, 0.0], [0.0, 0.5]],), 0.0),
    ("conditional_entropy", ([[0.5], [0.5]],), 0.0),
    ("mutual_information", ([[0.5, 0.5]],), 0.0),
    ("mutual_information", ([[0.25, 0.25], [0.25, 0.25]],), 0.0),
]


@pytest.mark.parametrize(("name", "inputs", "expected"), CERTAIN)
def test_nothing_to_learn_is_a_positive_zero(name, inputs, expected):
    result = call(name, *inputs)
    assert result == expected
    assert not np.signbit(result)


@pytest.mark.parametrize(
    ("name", "inputs", "expected"),
    [
        # 0 log 0 = 0, where the printed formula has 0 * -inf.
        ("entropy", ([0.5, 0.5, 0.0],), LOG2),
        ("cross_entropy", ([0.5, 0.5, 0.0], [0.5, 0.5, 0.0]), LOG2),
        ("kl_divergence", ([1.0, 0.0, 0.0], [0.5, 0.5, 0.0]), LOG2),
        ("js_divergence", ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0]), LOG2),
        ("conditional_entropy", ([[0.5, 0.5], [0.0, 0.0]],), LOG2),
        ("mutual_information", ([[0.5, 0.0], [0.0, 0.5], [0.0, 0.0]],), LOG2),
        ("binary_kl_divergence", (1.0, 0.5), LOG2),
        # What q rules out and p allows costs infinitely much.
        ("cross_entropy", ([0.5, 0.5], [1.0, 0.0]), math.inf),
        ("kl_divergence", ([0.5, 0.5], [1.0, 0.0]), math.inf),
        ("kl_divergence", (np.array([1 - 1e-9, 1e-9]), np.float32([1, 1e-50])), math.inf),
        ("binary_kl_divergence", (0.5, 0.0), math.inf),
        ("binary_kl_divergence", (0.5, 1.0), math.inf),
        ("binary_kl_divergence", (0.0, 1.0), math.inf),
    ],
)
def test_impossible_outcomes(name, inputs, expected):
    assert_allclose(call(name, *inputs), expected, rtol=EPS)


@pytest.mark.parametrize("name", ALL)
def test_nan_stays_in_its_row(name):
    for spoilt in range(len(arguments(name))):
        inputs = arguments(name)
        inputs[spoilt].reshape(3, -1)[1, 0] = np.nan
        result = call(name, *inputs)
        assert_array_equal(np.isnan(result), [False, True, False])
        assert_array_equal(result[[0, 2]], call(name, *arguments(name))[[0, 2]])


@pytest.mark.parametrize("name", TWO)
def test_nan_meets_zero_and_inf_quietly(name):
    assert np.isnan(call(name, [0.0, 1.0], [np.nan, 1.0]))
    assert np.isnan(call(name, [np.nan, 1.0], [0.0, 1.0]))
    assert np.isnan(call(name, [np.nan, np.inf], [np.nan, np.inf]))


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("cell", [(0, 0), (0, 1), (1, 0)])
def test_nan_in_a_table_with_empty_rows(name, cell):
    joint = np.diag([0.0, 1.0])
    joint[cell] = np.nan
    assert np.isnan(call(name, joint))


@pytest.mark.parametrize("name", ALL)
def test_empty_batch_is_empty(name):
    inputs = [array[:0] for array in arguments(name, np.float32)]
    result = call(name, *inputs)
    assert result.shape == (0,)
    assert result.dtype == np.float32


@pytest.mark.parametrize("name", COINS)
def test_coins_take_any_shape(name):
    inputs = arguments(name)
    whole = call(name, *inputs)
    assert_array_equal([call(name, *row) for row in zip(*inputs, strict=True)], whole)
    assert_array_equal(call(name, *(array.reshape(1, 3, 1) for array in inputs)).ravel(), whole)
    assert np.ndim(call(name, *(array[0] for array in inputs))) == 0


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble])
def test_no_floating_point_error_is_raised(name, dtype):
    nasty = np.array(
        [
            [1, TINY, 1e-310, 0],
            [1e-20, 1, 0, 1e-300],
            [0.25, 0.25, 0.25, 0.25],
            [1e-30, 1e-155, 1, 1e-160],
            [1e-40, 2e-40, 0, 1],
            [np.nan, 0, 1, 0.5],
        ]
    ).astype(dtype)
    batch = nasty.reshape(-1, 2, 2) if name in TABLE else nasty
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        for shift in range(len(nasty) if name in PAIRED else 1):
            call(name, batch, *([np.roll(batch, shift, axis=0)] if name in PAIRED else []))


def test_a_result_too_large_for_its_dtype_overflows_aloud():
    # 100 000 equally likely outcomes: float16 ends at 65 504.
    with pytest.warns(RuntimeWarning, match="overflow"):
        assert ce.perplexity(np.full(100_000, 1e-5, dtype=np.float16)) == np.inf


# dtypes, axes, memory -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ALL)
def test_dtype_in_is_dtype_out(name, dtype):
    result = call(name, *arguments(name, dtype))
    assert result.dtype == dtype
    # Computed wide and rounded once: half an eps of the narrow ones, the bound in the wide ones.
    eps = max(np.finfo(dtype).eps * 0.501, BOUNDS[name] * EPS)
    assert_allclose(result, call(name, *arguments(name, np.longdouble)), rtol=eps)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    "convert",
    [np.int8, np.uint64, np.bool_, np.ndarray.tolist, lambda array: tuple(array.tolist())],
    ids=["int8", "uint64", "bool", "list", "tuple"],
)
def test_integers_bools_and_lists_become_float64(name, convert):
    certain = np.array([[0, 1], [0, 0]]) if name in TABLE else np.array([0, 1])
    inputs = [certain] * len(arguments(name))
    result = call(name, *map(convert, inputs))
    assert result.dtype == np.float64
    assert_array_equal(result, call(name, *(array.astype(float) for array in inputs)))


@pytest.mark.parametrize("name", PAIRED)
def test_the_wider_dtype_of_two_wins(name):
    p, q = arguments(name, np.float16)
    assert call(name, p, q.astype(np.float64)).dtype == np.float64
    assert_array_equal(
        call(name, p, q.astype(np.float64)), call(name, p.astype(np.float64), q.astype(np.float64))
    )


@pytest.mark.parametrize(
    "axis", [0, 1, -1, -3, (0, 1), (2, 0), (-1, 1), (0, 1, 2), None, np.int64(1)], ids=str
)
@pytest.mark.parametrize("name", ROWS)
def test_axis_equals_moving_it_by_hand(name, axis):
    axes = {None: (0, 1, 2)}.get(axis, axis if isinstance(axis, tuple) else (axis,))
    generator = np.random.default_rng(3)
    inputs = [normalised(generator.random((2, 3, 4)), axes) for _ in arguments(name)]
    by_hand = []
    for array in inputs:
        moved = np.moveaxis(array, axes, range(-len(axes), 0))
        by_hand.append(moved.reshape(*moved.shape[: 3 - len(axes)], -1))
    assert_array_equal(call(name, *inputs, axis=axis), call(name, *by_hand))


@pytest.mark.parametrize("axis", [(0, 1), (1, 0), (-1, 0), (1, 2), (2, 1)])
@pytest.mark.parametrize("name", TABLE)
def test_axis_of_a_table_equals_moving_it_by_hand(name, axis):
    joint = normalised(np.random.default_rng(3).random((2, 3, 4)), axis)
    assert_array_equal(call(name, joint, axis=axis), call(name, np.moveaxis(joint, axis, (-2, -1))))


def test_no_axis_at_all_leaves_single_certain_outcomes():
    assert_array_equal(ce.entropy(np.ones((2, 3)), axis=()), np.zeros((2, 3)))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ALL)
def test_memory_layout_does_not_matter_and_inputs_stay_as_they_are(name, layout):
    plain = arguments(name)
    laid_out = [LAYOUTS[layout](array) for array in plain]
    result = call(name, *laid_out)
    assert_array_equal(result, call(name, *arguments(name)))
    assert result.dtype.isnative
    for array, before in zip([*plain, *laid_out], [*arguments(name)] * 2, strict=True):
        assert_array_equal(array, before)


# base and keywords --------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [2, 10, 3, 1.5, np.float32(2), Fraction(5, 2), 10**30], ids=str)
@pytest.mark.parametrize("name", sorted(set(ALL) - {"perplexity"}))
def test_base_divides_by_its_logarithm(name, base):
    inputs = arguments(name)
    expected = call(name, *inputs) / math.log(base)
    assert_allclose(call(name, *inputs, base=base), expected, rtol=BOUNDS[name] * EPS)


def test_base_cancels_in_perplexity():
    (p,) = arguments("perplexity")
    assert_array_equal(ce.perplexity(p, base=2), ce.perplexity(p))
    with pytest.raises(ValueError, match="base must be greater than 1"):
        ce.perplexity(p, base=0)


@pytest.mark.parametrize("bits", range(11))
def test_whole_bits_are_exact(bits):
    uniform = np.full(2**bits, 2.0**-bits)
    first = np.eye(1, 2**bits)[0]
    assert ce.entropy(uniform, base=2) == bits
    assert ce.cross_entropy(first, uniform, base=2) == bits
    assert ce.kl_divergence(first, uniform, base=2) == bits
    assert ce.perplexity(uniform) == 2**bits
    assert ce.js_divergence(first, first[::-1], base=2) == (1 if bits else 0)


def test_whole_decimal_digits_are_exact():
    assert ce.cross_entropy([1, 0], [0.001, 0.999], base=10) == 3


@pytest.mark.parametrize("name", ALL)
def test_options_are_keyword_only(name):
    inputs = arguments(name)
    kinds = [p.kind for p in inspect.signature(getattr(ce, name)).parameters.values()]
    assert kinds[len(inputs) :] == [inspect.Parameter.KEYWORD_ONLY] * (len(kinds) - len(inputs))
    with pytest.raises(TypeError, match="positional"):
        call(name, *inputs, -1)


# Parity, where the others are right ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "peer"),
    [
        ("entropy", lambda p: scipy.stats.entropy(p, axis=-1)),
        ("entropy", lambda p: torch.distributions.Categorical(torch.tensor(p)).entropy()),
        ("perplexity", lambda p: torch.distributions.Categorical(torch.tensor(p)).perplexity()),
        ("cross_entropy", lambda p, q: -scipy.special.xlogy(p, q).sum(axis=-1)),
        (
            "cross_entropy",
            lambda p, q: torch.nn.functional.cross_entropy(
                torch.tensor(q).log(), torch.tensor(p), reduction="none"
            ),
        ),
        ("kl_divergence", lambda p, q: scipy.stats.entropy(p, q, axis=-1)),
        ("kl_divergence", lambda p, q: scipy.special.kl_div(p, q).sum(axis=-1)),
        (
            "kl_divergence",
            lambda p, q: torch.nn.functional.kl_div(
                torch.tensor(q).log(), torch.tensor(p), reduction="none"
            ).sum(-1),
        ),
        ("js_divergence", lambda p, q: distance.jensenshannon(p, q, axis=-1) ** 2),
        ("binary_entropy", lambda p: torch.distributions.Bernoulli(torch.tensor(p)).entropy()),
        (
            "binary_kl_divergence",
            lambda p, q: torch.distributions.kl_divergence(
                torch.distributions.Bernoulli(torch.tensor(p)),
                torch.distributions.Bernoulli(torch.tensor(q)),
            ),
        ),
    ],
)
def test_agrees_with_scipy_and_torch_on_friendly_numbers(name, peer):
    inputs = arguments(name)
    assert_allclose(call(name, *inputs), np.asarray(peer(*inputs)), rtol=1e-13)


# Identities ---------------------------------------------------------------------------------------

WEIGHTS = st.one_of(
    st.just(0.0),
    st.floats(0.001, 1.0),
    st.floats(0, 100).map(lambda exponent: 10**-exponent),
)


def vectors(size):
    return st.lists(WEIGHTS, min_size=size, max_size=size).filter(any).map(normalised)


distributions = st.integers(1, 8).flatmap(vectors)
pairs = st.integers(1, 8).flatmap(lambda size: st.tuples(vectors(size), vectors(size)))
tables = st.tuples(st.integers(1, 4), st.integers(1, 4)).flatmap(
    lambda shape: vectors(math.prod(shape)).map(lambda p: p.reshape(shape))
)
fractions = st.floats(0, 1)


def close(actual, expected, atol=1e-14):
    assert_allclose(actual, expected, rtol=1e-12, atol=atol)


@given(pairs)
def test_gibbs_and_the_price_of_the_wrong_code(pair):
    p, q = pair
    close(ce.cross_entropy(p, q), ce.entropy(p) + ce.kl_divergence(p, q))
    # Up to the rounding of the two sums, which are not exactly 1.
    assert ce.cross_entropy(p, q) >= ce.entropy(p) - 8 * EPS
    assert ce.kl_divergence(p, q) >= 0
    assert ce.kl_divergence(p, p) == 0


@given(distributions, st.floats(1e-17, 0.5), st.randoms(use_true_random=False))
def test_divergence_of_nearly_equal_distributions_is_not_negative(p, gap, random):
    q = normalised(p * [1 + gap * random.uniform(-1, 1) for _ in p])
    for name in TWO[1:]:
        assert call(name, p, q) >= 0
    assert_allclose(
        float(ce.kl_divergence(p, q)), float(oracle.kl_divergence(p, q)), rtol=8 * EPS, atol=1e-307
    )


@given(pairs)
def test_jensen_shannon_is_symmetric_bounded_and_the_gain_of_mixing(pair):
    p, q = pair
    js = ce.js_divergence(p, q)
    assert js == ce.js_divergence(q, p)
    assert 0 <= js <= LOG2 * (1 + 8 * EPS)
    middle = (p + q) / 2
    close(js, ce.entropy(middle) - (ce.entropy(p) + ce.entropy(q)) / 2)
    close(js, (ce.kl_divergence(p, middle) + ce.kl_divergence(q, middle)) / 2)


@given(tables)
def test_chain_rule_in_both_directions(joint):
    whole = ce.entropy(joint, axis=None)
    close(whole, ce.entropy(joint.sum(axis=1)) + ce.conditional_entropy(joint))
    close(whole, ce.entropy(joint.sum(axis=0)) + ce.conditional_entropy(joint, axis=(-1, -2)))


@given(tables)
def test_mutual_information_is_what_the_variables_share(joint):
    shared = ce.mutual_information(joint)
    rows, columns = joint.sum(axis=1), joint.sum(axis=0)
    assert shared >= 0
    close(shared, ce.mutual_information(joint, axis=(-1, -2)))
    close(shared, ce.kl_divergence(joint, np.outer(rows, columns), axis=None))
    close(shared, ce.entropy(columns) - ce.conditional_entropy(joint))
    assert shared <= min(ce.entropy(rows), ce.entropy(columns)) + 16 * EPS


@given(pairs)
def test_independent_variables_share_nothing(pair):
    assert 0 <= ce.mutual_information(np.outer(*pair)) < 1e-30


def test_a_sum_within_the_tolerance_is_no_dependence():
    assert ce.mutual_information(np.full((2, 2), 0.25 * 1.0003, dtype=np.float32)) == 0


@given(pairs, st.randoms(use_true_random=False))
def test_the_names_of_the_outcomes_do_not_matter(pair, random):
    order = random.sample(range(len(pair[0])), len(pair[0]))
    for name in ROWS:
        inputs = pair if name in TWO else pair[:1]
        close(call(name, *inputs), call(name, *(array[order] for array in inputs)), atol=0)


@given(pairs, fractions)
def test_entropy_is_concave(pair, weight):
    p, q = pair
    mixture = weight * p + (1 - weight) * q
    mean = weight * ce.entropy(p) + (1 - weight) * ce.entropy(q)
    assert ce.entropy(mixture) >= mean - 1e-14


@given(distributions)
def test_perplexity_lies_between_one_and_the_number_of_outcomes(p):
    assert 1 <= ce.perplexity(p) <= len(p) * (1 + 8 * EPS)
    close(ce.perplexity(p), np.exp(ce.entropy(p)))


@given(st.integers(2, 8).flatmap(lambda size: st.tuples(vectors(size), vectors(size))))
def test_merging_outcomes_never_raises_a_divergence(pair):
    merged = [np.append(array[:-2], array[-2] + array[-1]) for array in pair]
    for name in TWO[1:]:
        assert call(name, *merged) <= call(name, *pair) * (1 + 16 * EPS) + 1e-15


@given(fractions, fractions)
def test_a_coin_is_a_distribution_of_two_outcomes(p, q):
    close(ce.binary_entropy(p), ce.entropy([p, 1 - p]))
    assert ce.binary_entropy(p) >= 0
    assert ce.binary_kl_divergence(p, q) >= 0
    if 1e-300 < q < 1:
        close(ce.binary_kl_divergence(p, q), ce.kl_divergence([p, 1 - p], [q, 1 - q]))


# Errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", NOT_NUMBERS)
@pytest.mark.parametrize("name", ALL)
def test_what_is_not_a_real_number_is_a_type_error(name, kind):
    bad, came, mistake = NOT_NUMBERS[kind]
    for position, argument in enumerate(inspect.getfullargspec(getattr(ce, name)).args):
        inputs = [np.array([0.5, 0.5])] * len(arguments(name))
        inputs[position] = bad
        text = message(TypeError, getattr(ce, name), *inputs)
        assert text.startswith(f"{argument} ")
        assert came in text
        assert mistake in text


@pytest.mark.parametrize("name", ALL)
def test_ragged_lists_are_a_value_error(name):
    inputs = [[[0.5, 0.5], [1.0]]] * len(arguments(name))
    assert "must be a rectangular array of real numbers" in message(
        ValueError, getattr(ce, name), *inputs
    )


@pytest.mark.parametrize("name", PAIRED)
@pytest.mark.parametrize("shape", [(4,), (1, 4), (3, 1), (3, 5)], ids=str)
def test_shapes_that_do_not_match(name, shape):
    text = message(ValueError, getattr(ce, name), np.full((3, 4), 0.25), np.full(shape, 0.25))
    assert "p and q must have the same shape" in text
    assert f"p has shape (3, 4) and q has shape {shape}" in text
    assert "np.broadcast_to" in text


@pytest.mark.parametrize("name", PAIRED)
def test_shapes_that_say_what_was_meant(name):
    function = getattr(ce, name)
    assert "ce.one_hot(p, 4) spells them out" in message(
        ValueError, function, [2, 0, 1], np.full((3, 4), 0.25)
    )
    assert "did you mean reshape, or a transpose?" in message(
        ValueError, function, np.full((4, 1), 0.25), np.full(4, 0.25)
    )


# Input that is no distribution: what comes, what is expected, and the likely mistake.
NO_DISTRIBUTION = {
    "negative": (
        [0.5, -0.5, 1.0],
        ["p[1] = -0.5 is negative", "a probability distribution", "apply softmax"],
    ),
    "log-probabilities": (
        np.log([0.5, 0.5]),
        ["p[0] = -0.693147 is negative", "if log-probabilities, np.exp"],
    ),
    "minus infinity": ([-np.inf, 1.0], ["p[0] = -inf is negative"]),
    "counts": (
        [3, 1],
        [
            "must sum to 1 over axis 0",
            "it sums to 4",
            "counts? Divide by p.sum(axis=0, keepdims=True)",
        ],
    ),
    "percentages": (
        [12.5, 87.5],
        ["must sum to 1", "it sums to 100", "percentages? Divide by 100"],
    ),
    "density": ([1.5, 2.5, 0.25], ["must sum to 1", "it sums to 4.25", "samples or a density?"]),
    "rounding": ([-1e-17, 0.5, 0.5], ["p[0] = -1e-17 is negative", "np.maximum(p, 0)"]),
    "widened": (np.float64(np.float32([1 / 3] * 3)), ["sums to 1.00000003", "Widened from"]),
    "mistyped": ([0.1, 0.5, 0.2, 0.3], ["it sums to 1.1 ", "Is an entry mistyped or missing?"]),
    "infinite": ([np.inf, 0.0], ["must sum to 1", "it sums to inf", "p contains inf"]),
    "overflow": ([1e308, 1e308, 0.1], ["must sum to 1", "it sums to inf"]),
    "slightly off": ([0.5, 0.5000001], ["it sums to 1.0000001", "(tolerance 1.5e-08 for float64"]),
    "all zero": ([0.0, 0.0], ["must sum to 1", "it sums to 0"]),
    "wrong axis": (
        [[0.1, 0.3], [0.9, 0.7]],
        ["must sum to 1 over axis 1", "the row at index (0,) sums to 0.4", "did you mean axis=0?"],
    ),
    "second row": ([[0.1, 0.9], [0.3, 0.6]], ["the row at index (1,) sums to 0.9"]),
    "joint": (np.full((2, 2), 0.25), ["over axis 1", "sums to 0.5", "did you mean axis=None"]),
    "no outcomes": (np.ones((2, 0)), ["sums to 0", "an empty distribution is not"]),
    "a number": (0.5, ["must have at least one axis", "single number 0.5", "use binary_entropy"]),
}


@pytest.mark.parametrize("case", NO_DISTRIBUTION)
@pytest.mark.parametrize("name", ROWS)
def test_what_is_no_distribution_is_a_value_error(name, case):
    bad, fragments = NO_DISTRIBUTION[case]
    inputs = [bad] * len(arguments(name))
    text = message(ValueError, getattr(ce, name), *inputs)
    assert text.startswith("p")
    for fragment in fragments:
        assert fragment in text


@pytest.mark.parametrize("name", TWO)
def test_the_second_distribution_is_checked_by_its_own_name(name):
    function = getattr(ce, name)
    assert message(ValueError, function, [0.5, 0.5], [1.5, -0.5]).startswith(
        "q must be a probability"
    )
    assert message(ValueError, function, [0.5, 0.5], [2, 2]).startswith(
        "q must sum to 1 over axis 0"
    )


NO_TABLE = {
    "counts": (
        [[3, 1], [0, 2]],
        ["over axis (0, 1)", "it sums to 6", "counts? Divide by joint.sum("],
    ),
    "conditional": (
        [[0.2, 0.8], [0.4, 0.6]],
        ["it sums to 2", "is it conditional on the other one?"],
    ),
    "three variables": (np.full((2, 2, 2), 1 / 8), ["sums to 0.5", "sum over the variables"]),
    "negative": ([[0.5, 0.6], [-0.1, 0.0]], ["joint[1, 0] = -0.1 is negative"]),
    "no outcomes": (np.ones((2, 0)), ["an empty distribution is not"]),
    "one axis": ([0.5, 0.5], ["a table with an axis for each of the two variables", "(2,)"]),
    "a number": (1.0, ["a table with an axis for each of the two variables", "()"]),
}


@pytest.mark.parametrize("case", NO_TABLE)
@pytest.mark.parametrize("name", TABLE)
def test_what_is_no_joint_distribution_is_a_value_error(name, case):
    bad, fragments = NO_TABLE[case]
    text = message(ValueError, getattr(ce, name), bad)
    assert text.startswith("joint")
    for fragment in fragments:
        assert fragment in text


@pytest.mark.parametrize("dtype", FLOATS)
def test_tolerance_follows_the_dtype(dtype):
    slack = math.sqrt(np.finfo(dtype).eps)
    ce.entropy(np.array([0.5, 0.5 + 0.5 * slack], dtype=dtype))
    text = message(ValueError, ce.entropy, np.array([0.5, 0.5 + 3 * slack], dtype=dtype))
    assert f"(tolerance {slack:.2g} for {np.dtype(dtype)}, shape (2,))" in text


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_sum_off_by_a_thousandth_raises(dtype):
    p = np.full(1000, 1.001 / 1000, dtype=dtype)
    assert "p must sum to 1 over axis 0, but it sums to 1.001" in message(ValueError, ce.entropy, p)


@pytest.mark.parametrize("axis", [0, 1])
def test_softmax_computed_in_float32_passes_at_any_length(axis):
    # Along axis 0 NumPy adds one number after the other, and the rounding errors add up too.
    shape = (100_000, 3) if axis == 0 else (3, 100_000)
    scores = np.exp(np.random.default_rng(0).normal(size=shape).astype(np.float32))
    p = scores / scores.sum(axis=axis, keepdims=True)
    assert ce.entropy(p, axis=axis).shape == (3,)
    assert ce.entropy(torch.softmax(torch.tensor(scores), dim=axis).numpy(), axis=axis).shape == (
        3,
    )


def test_numbers_added_one_after_the_other_may_be_further_off():
    weights = np.full(1_000_000, 0.1, dtype=np.float32)
    p = weights / np.cumsum(weights)[-1]
    assert p.sum(dtype=np.float64) < 0.991
    ce.entropy(p)


@pytest.mark.parametrize("total", [0, 0.5, 2])
def test_no_length_makes_the_tolerance_meaningless(total):
    p = np.full(4096, total / 4096, dtype=np.float16)
    assert f"sums to {total} (tolerance 0.1 for float16" in message(ValueError, ce.entropy, p)


@pytest.mark.parametrize("name", COINS)
@pytest.mark.parametrize(
    ("bad", "came"),
    [
        ([0.5, 1.5], "[1] = 1.5"),
        ([[0.5], [-0.5]], "[1, 0] = -0.5"),
        (25.0, "it is 25"),
        ([np.inf], "[0] = inf"),
    ],
)
def test_probabilities_outside_the_unit_interval(name, bad, came):
    function = getattr(ce, name)
    for position, argument in enumerate(inspect.getfullargspec(function).args):
        inputs = [np.full(np.shape(bad), 0.5)] * len(arguments(name))
        inputs[position] = bad
        text = message(ValueError, function, *inputs)
        assert f"{argument} must lie in [0, 1], but " in text
        assert came in text
        assert "if percentages, divide by 100" in text


@pytest.mark.parametrize(
    ("base", "error", "fragment"),
    [
        *((base, ValueError, f"it is {base!r}. Use base=2 for bits") for base in (1, 0, -2, 0.5)),
        (math.inf, ValueError, "must be greater than 1 and finite, but it is inf"),
        (math.nan, ValueError, "must be greater than 1 and finite, but it is nan"),
        *(
            (base, TypeError, f"or None (nats), but it is {base!r}")
            for base in (True, "e", [2], 2j)
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ALL)
def test_base_that_is_none(name, base, error, fragment):
    text = message(error, getattr(ce, name), *arguments(name), base=base)
    assert text.startswith("base must be ")
    assert fragment in text


@pytest.mark.parametrize(("axis", "error", "fragment"), BAD_AXES, ids=str)
@pytest.mark.parametrize("name", ROWS)
def test_axis_that_is_none(name, axis, error, fragment):
    assert fragment in message(error, getattr(ce, name), *arguments(name), axis=axis)


@pytest.mark.parametrize(
    ("axis", "error", "fragment"),
    [
        (-1, ValueError, "axis must be a pair, the two variables of joint, but it is -1"),
        (None, ValueError, "axis must be a pair, the two variables of joint, but it is None"),
        (
            (0, 1, 2),
            ValueError,
            "axis must be a pair, the two variables of joint, but it is (0, 1, 2)",
        ),
        ((1, -2), ValueError, "repeated axis in `axis`"),
        ((0, 3), np.exceptions.AxisError, "axis 3 is out of bounds for array of dimension 3"),
        ((0, 1.5), TypeError, "axis must be an int or a tuple of ints, but it is (0, 1.5)"),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", TABLE)
def test_pair_of_axes_that_is_none(name, axis, error, fragment):
    assert fragment in message(error, getattr(ce, name), *arguments(name), axis=axis)


# The case for asking: numbers in print that these questions would have stopped --------------------
# Dive into Deep Learning, appendix "Information Theory", d2l-ai/d2l-en at commit 923e0746.


def test_sorted_samples_have_no_divergence():
    torch.manual_seed(1)
    p, q, _ = (torch.sort(torch.normal(mean, 1, (10_000,)))[0].numpy() for mean in (0, -1, 1))
    with np.errstate(invalid="ignore"):
        terms = p * np.log2(p / q)
    assert abs(np.nansum(terms)) == pytest.approx(8582, abs=1)
    assert np.isnan(terms).sum() > 3000
    text = message(ValueError, ce.kl_divergence, p, q, base=2)
    assert text.startswith("p must be a probability distribution, but p[0] = -4.18412 is negative.")
    # On a grid, normalised, the two Gaussians have the divergence that theory gives them.
    x = np.linspace(-12, 12, 2401)
    on_grid = [normalised(np.exp(-((x - mean) ** 2) / 2)) for mean in (0, -1)]
    assert_allclose(ce.kl_divergence(*on_grid, base=2), 0.5 / LOG2, rtol=1e-12)


def test_a_joint_that_sums_to_more_than_one_has_no_conditional_entropy():
    text = message(ValueError, ce.conditional_entropy, [[0.1, 0.5], [0.2, 0.3]], base=2)
    assert text.startswith("joint must sum to 1 over axis (0, 1), but it sums to 1.1 (")
    assert "Is an entry mistyped or missing?" in text


def test_marginals_come_from_the_joint():
    joint = np.array([[0.1, 0.5], [0.1, 0.3]])
    # Those in print belong to another table, and lie along the same axis.
    in_print = np.array([0.2, 0.8]) * np.array([[0.75, 0.25]])
    assert (joint * np.log2(joint / in_print)).sum() == pytest.approx(0.7195, abs=5e-5)
    assert ce.mutual_information(joint, base=2) == pytest.approx(0.0074, abs=5e-5)
