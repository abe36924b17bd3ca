"""cebook.numerics: the yardsticks themselves, on cases whose answer is known."""

import math
from decimal import Decimal
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import cebook as ce

EPS = np.finfo(np.float64).eps
THIRD = Fraction(1, 3)
FLOATS = [np.float16, np.float32, np.float64, np.longdouble]
with mpmath.workdps(50):
    LONG_THIRD = mpmath.mpf(1) / 3
    NEGATIVE_THIRD = -LONG_THIRD  # negating rounds as well


# ulp_error ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("ulps", [0, 1, 5, 1000])
def test_neighbours_are_one_ulp_apart(dtype, ulps):
    exact = dtype(1.25)
    actual = exact - ulps * np.finfo(dtype).eps
    # Below 1 the numbers lie closer; the ulp is that of the exact value.
    assert ce.ulp_error(actual, exact) == ulps
    assert ce.ulp_error(-actual, -exact) == ulps


@pytest.mark.parametrize(
    "exact",
    [
        THIRD,
        Decimal(1) / Decimal(3),
        LONG_THIRD,
        pytest.param(np.longdouble(1) / 3, id="longdouble"),
    ],
    ids=lambda exact: type(exact).__name__,
)
def test_every_kind_of_exact_number_measures_the_same(exact):
    # The nearest float64 to 1/3 is 1/3 - 2**-54/3, and an ulp there is 2**-54.
    assert ce.ulp_error(1 / 3, exact) == pytest.approx(1 / 3, rel=1e-3)
    assert ce.ulp_error(np.nextafter(1 / 3, 1), exact) == pytest.approx(2 / 3, rel=1e-3)


@pytest.mark.parametrize("digits", [5, 15, 50])
def test_the_precision_of_mpmath_now_does_not_matter(digits):
    with mpmath.workdps(digits):
        assert ce.ulp_error(-1 / 3, NEGATIVE_THIRD) == pytest.approx(1 / 3, rel=1e-3)


def test_an_ulp_is_that_of_the_dtype():
    for dtype in FLOATS:
        # In binary 1/3 is 0.010101..., so rounding leaves a third of an ulp whatever the length.
        assert ce.ulp_error(dtype(1) / dtype(3), THIRD) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("exact", "ulps"),
    [(1, 0), (2, 2.0**51), (np.int64(1), 0), (True, 0), (1.0, 0), (np.float32(1), 0)],
)
def test_whole_numbers_and_floats_are_exact_numbers_too(exact, ulps):
    assert ce.ulp_error(1.0, exact) == ulps


def test_a_narrow_exact_number_is_not_rounded_to():
    # float32(0.1) is 2**-30 and a little away from float64(0.1), which must not be rounded to it.
    narrow = np.array([np.float32(0.1)], dtype=object)
    assert ce.ulp_error([0.1], narrow) == pytest.approx(1.07e8, rel=1e-2)


def test_longdouble_keeps_all_its_bits():
    one = np.longdouble(1)
    eps = np.finfo(np.longdouble).eps
    assert ce.ulp_error(one + eps, Fraction(1)) == 1
    assert ce.ulp_error(one + eps, mpmath.mpf(1)) == 1


@pytest.mark.parametrize("text", ["1e4000", "1e-4000"])
def test_longdouble_beyond_the_range_of_float(text):
    if np.finfo(np.longdouble).maxexp < 16384:
        pytest.skip("longdouble is no longer than float64 here")
    number = np.longdouble(text)
    assert ce.ulp_error(number, number) == 0
    assert ce.ulp_error(np.nextafter(number, np.longdouble(0)), number) == 1


def test_just_under_a_power_of_two_the_finer_spacing_counts():
    assert ce.ulp_error(1.0, 1 - Fraction(1, 2**54)) == 0.5
    assert ce.ulp_error(1.0, 1 + Fraction(1, 2**53)) == 0.5


@pytest.mark.parametrize("exact", [Fraction(3, 2**1075), 3 * mpmath.mpf(2) ** -1075])
def test_subnormal_numbers_have_the_smallest_ulp(exact):
    smallest = 5e-324
    assert ce.ulp_error(smallest, exact) == 0.5
    assert ce.ulp_error(0.0, exact) == 1.5
    assert ce.ulp_error(smallest, Fraction(0)) == 1


@pytest.mark.parametrize(
    ("actual", "exact", "expected"),
    [
        (math.nan, math.nan, 0),
        (math.nan, mpmath.nan, 0),
        (math.inf, math.inf, 0),
        (-math.inf, Decimal("-inf"), 0),
        (math.inf, -math.inf, math.inf),
        (math.inf, Fraction(1), math.inf),
        (1.0, math.inf, math.inf),
        (1.0, math.nan, math.inf),
        (math.nan, Fraction(1), math.inf),
        # Beyond the range of the dtype the nearest number is inf.
        (1.0, Fraction(10**400), math.inf),
        (math.inf, Fraction(10**400), 0),
        (-math.inf, -(10**400), 0),
        (np.float32(1), 1e300, math.inf),
        (np.float32(np.inf), 1e300, 0),
        # So many ulps that no float counts them.
        (1.0, Fraction(0), math.inf),
    ],
)
def test_not_finite(actual, exact, expected):
    assert ce.ulp_error(actual, exact) == expected


def test_ulp_errors_of_arrays_have_their_shape():
    actual = np.array([[1.0, 1 + EPS], [2.0, np.nan]], dtype=np.float64)
    exact = [[Fraction(1), Fraction(1)], [Fraction(2), math.nan]]
    assert_array_equal(ce.ulp_error(actual, exact), [[0, 1], [0, 0]])
    assert ce.ulp_error(np.empty((0, 3)), np.empty((0, 3))).shape == (0, 3)
    assert np.ndim(ce.ulp_error(1.0, 1.0)) == 0


@given(st.floats(1e-300, 1e300), st.floats(-1e-15, 1e-15))
def test_ulp_error_lies_between_the_relative_error_and_its_double(actual, bend):
    exact = Fraction(actual) * (1 + Fraction(bend))
    relative = float(abs(Fraction(actual) - exact) / exact) / EPS
    ulps = ce.ulp_error(actual, exact)
    assert relative * 0.999 <= ulps <= 2 * relative * 1.001


@pytest.mark.parametrize("exact", [None, "0.1", 0.1j, mpmath.mpc(0, 1)], ids=str)
def test_exact_numbers_must_be_real(exact):
    with pytest.raises(TypeError, match="exact must hold real numbers, but one of them is"):
        ce.ulp_error(0.1, exact)


def test_ulp_error_compares_equal_shapes_of_real_numbers():
    with pytest.raises(ValueError, match=r"actual has shape \(2,\) and exact has shape \(3,\)"):
        ce.ulp_error([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(TypeError, match="actual must hold real numbers"):
        ce.ulp_error(1j, 1.0)


# Gradients ----------------------------------------------------------------------------------------

# A function, its gradient, and where to compare them.
KNOWN = {
    "entropy": (lambda p: -(p * np.log(p)).sum(), lambda p: -np.log(p) - 1, [0.2, 0.3, 0.5]),
    "log-sum-exp": (
        lambda x: np.log(np.exp(x).sum()),
        lambda x: np.exp(x) / np.exp(x).sum(),
        [[1.0, -2.0], [0.5, 3.0]],
    ),
    "integers": (lambda x: (x**3).sum(), lambda x: 3 * x**2, [1, 2, 3]),
    "a number": (np.sin, np.cos, 0.7),
    "large x": (lambda x: (x**2).sum(), lambda x: 2 * x, [1e6, 3e5]),
    "constant": (lambda x: 0 * x.sum() + 1, lambda x: 0 * x, [1.0, 2.0]),
    "nothing": (lambda x: x.sum(), lambda x: x, []),
}


@pytest.fixture(params=KNOWN.values(), ids=KNOWN)
def known(request):
    function, gradient, x = request.param
    return function, gradient(np.asarray(x, dtype=np.float64)), x


def test_finite_differences_find_a_known_gradient(known):
    function, gradient, x = known
    found = ce.finite_difference_gradient(function, x)
    assert_allclose(found, gradient, rtol=1e-8)
    assert found.dtype == np.float64


def test_complex_step_finds_it_to_the_last_digits(known):
    function, gradient, x = known
    found = ce.complex_step_gradient(function, x)
    assert_allclose(found, gradient, rtol=4 * EPS)
    assert found.dtype == np.float64


def test_check_gradient_accepts_a_known_gradient(known):
    function, gradient, x = known
    assert 0 <= ce.check_gradient(function, gradient, x) < 1e-8


def test_step_sets_the_truncation_error():
    # The central difference of x^3 is 3 x^2 + h^2.
    found = ce.finite_difference_gradient(lambda x: x[0] ** 3, [0.5], step=0.25)
    assert_allclose(found, [0.75 + 0.25**2])


@pytest.mark.parametrize("find", [ce.finite_difference_gradient, ce.complex_step_gradient])
def test_the_point_is_not_modified_even_by_the_function(find):
    def spoils(x):
        total = (x**2).sum()
        x[:] = 0
        return total

    x = np.array([1.0, 2.0])
    assert_allclose(find(spoils, x), [2.0, 4.0], rtol=1e-8)
    assert_array_equal(x, [1.0, 2.0])


@pytest.mark.parametrize("find", [ce.finite_difference_gradient, ce.complex_step_gradient])
def test_a_function_of_many_numbers_has_no_gradient(find):
    with pytest.raises(ValueError, match=r"must return one number, but it returned shape \(2,\)"):
        find(lambda x: x**2, [1.0, 2.0])


@pytest.mark.parametrize("find", [ce.finite_difference_gradient, ce.complex_step_gradient])
def test_a_pair_of_loss_and_gradient_is_not_one_number(find):
    with pytest.raises(ValueError, match=r"it returned a tuple of 2.*leave out return_grad"):
        find(lambda x: ((x**2).sum(), 2 * x), [1.0, 2.0])


def test_an_infinite_entry_has_no_slope():
    logits = np.array([0.0, 1.0, -np.inf])
    _, gradient = ce.softmax_cross_entropy(logits, 0, return_grad=True)
    assert gradient[2] == 0
    assert ce.check_gradient(lambda z: ce.softmax_cross_entropy(z, 0), gradient, logits) < 1e-8


@pytest.mark.parametrize("lossy", [lambda x: np.abs(x).sum(), lambda x: float(x[0].real)])
def test_complex_step_notices_a_lost_imaginary_part(lossy):
    with pytest.raises(TypeError, match="the imaginary part was lost"):
        ce.complex_step_gradient(lossy, [1.0, 2.0])


def squares(x):
    return (x**2).sum()


@pytest.mark.parametrize(
    ("gradient", "problem"),
    [
        ([-2.0, -4.0], "is the right one with the wrong sign: gradient[1] = -4, but"),
        ([4.0, 8.0], "is wrong: gradient[1] = 8, but central differences give 4 (rel"),
        ([1.0, 2.0], "is wrong: gradient[1] = 2"),
        ([2.0, 4.00001], "is wrong: gradient[1] = 4.00001"),
        ([2.0, 0.0], "is wrong: gradient[1] = 0"),
        ([0.0, 0.0], "is wrong"),
        ([np.nan, 4.0], "is wrong: gradient[0] = nan"),
        ([np.inf, 4.0], "is wrong: gradient[0] = inf"),
    ],
)
def test_check_gradient_rejects_a_wrong_one(gradient, problem):
    with pytest.raises(AssertionError) as caught:
        ce.check_gradient(squares, gradient, [1.0, 2.0])
    assert f"gradient {problem}" in str(caught.value)
    assert "accepted 1e-07" in str(caught.value)


def test_check_gradient_does_not_take_nan_for_agreement():
    with pytest.raises(AssertionError, match="central differences give nan"):
        ce.check_gradient(lambda _: np.nan, [0.0, 0.0], [1.0, 2.0])


def test_tolerance_is_relative_to_the_largest_entry():
    assert ce.check_gradient(squares, [2.0, 4.04], [1.0, 2.0], tolerance=0.1) == pytest.approx(
        0.04 / 4.04, rel=1e-6
    )


def test_check_gradient_wants_one_entry_for_each_of_x():
    with pytest.raises(ValueError, match=r"gradient has shape \(1,\) and x has shape \(2,\)"):
        ce.check_gradient(squares, [2.0], [1.0, 2.0])
    with pytest.raises(TypeError, match="x must hold real numbers"):
        ce.check_gradient(squares, [2.0], [1j])


def test_check_gradient_forgives_what_central_differences_cannot_resolve():
    def loss(z):
        return (0.3 * np.logaddexp(0, -z) + 0.7 * np.logaddexp(0, z)).sum()

    def gradient(z):
        return 1 / (1 + np.exp(-z)) - 0.3

    minimum = np.array([np.log(0.3 / 0.7)])
    assert ce.check_gradient(loss, gradient(minimum), minimum) == 0
    point = np.array([0.5])
    assert ce.check_gradient(lambda z: loss(z) + 1e6, gradient(point), point, tolerance=1e-4) < 1e-4
    with pytest.raises(AssertionError, match="is wrong"):
        ce.check_gradient(loss, gradient(minimum) + 1e-6, minimum)


@pytest.mark.parametrize("step", [0, -1e-5, np.nan])
def test_a_step_that_goes_nowhere(step):
    with pytest.raises(ValueError, match="step must be above 0, but it is"):
        ce.finite_difference_gradient(np.sum, [1.0], step=step)
