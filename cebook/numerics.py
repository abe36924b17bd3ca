"""How wrong is a number, and is this really the gradient: the tools behind every check in the book.

``ulp_error`` measures a result against the exact answer in units of its last place. The two
gradient functions find a derivative without being told a formula, and ``check_gradient`` compares.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from ._validation import Array, as_floating, check_same_shape

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["check_gradient", "complex_step_gradient", "finite_difference_gradient", "ulp_error"]

# The cube root of eps balances the truncation of a central difference against its rounding.
_STEP = float(np.cbrt(np.finfo(np.float64).eps))


def ulp_error(actual: ArrayLike, exact: Any) -> Any:
    r"""Return how many units in the last place ``actual`` is away from ``exact``.

    .. math:: \frac{|\text{actual} - \text{exact}|}{\mathrm{ulp}(\text{exact})},

    where an **ulp** is the gap between neighbouring numbers of the dtype of ``actual`` at
    ``exact``. A correctly rounded result is off by at most 0.5.

    Parameters
    ----------
    actual : array_like, any shape
        The computed numbers. Their dtype says how long an ulp is.
    exact : array_like, same shape
        The true values: floats of any width, or exact numbers such as ``fractions.Fraction``,
        ``decimal.Decimal`` or mpmath's ``mpf``. The difference is taken without rounding.

    Returns
    -------
    ndarray or float64
        The error in ulps, same shape: 0 where both are nan or the same infinity, inf where only one
        is.

    Raises
    ------
    TypeError
        If ``actual`` or ``exact`` does not hold real numbers.
    ValueError
        If the shapes differ.

    Notes
    -----
    An ulp is eps times the power of two below the number, so an error of u ulps is a relative error
    between u/2 and u times eps. Below the smallest normal number an ulp stays as long as it is
    there.

    References
    ----------
    Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed., SIAM, 2002, section 2.1.

    Examples
    --------
    No float is 0.1; the nearest one is less than half an ulp off, and so is eight times it. Adding
    it up eight times rounds seven times.

    >>> from fractions import Fraction
    >>> import numpy as np
    >>> import cebook as ce
    >>> round(float(ce.ulp_error(0.1, Fraction(1, 10))), 1)
    0.4
    >>> round(float(ce.ulp_error(np.float32(0.1), Fraction(1, 10))), 1)
    0.2
    >>> round(float(ce.ulp_error(0.1 * 8, Fraction(8, 10))), 1)
    0.4
    >>> round(float(ce.ulp_error(np.cumsum([0.1] * 8)[-1], Fraction(8, 10))), 1)
    0.6
    """
    computed = as_floating("actual", actual)
    truth = np.asarray(exact, dtype=object)
    if truth.shape != computed.shape:
        raise ValueError(
            f"actual and exact must have the same shape, but actual has shape {computed.shape} and "
            f"exact has shape {truth.shape}."
        )
    errors = [_one_ulp_error(a, e) for a, e in zip(computed.ravel(), truth.ravel(), strict=True)]
    return np.array(errors, dtype=np.float64).reshape(computed.shape)[()]


def _one_ulp_error(actual: np.floating[Any], exact: Any) -> float:
    from decimal import Decimal  # not worth a wait for all who import cebook

    if not isinstance(exact, (Real, Decimal)):
        raise TypeError(f"exact must hold real numbers, but one of them is {exact!r}.")
    nearest = _nearest(actual.dtype, exact)
    if not (np.isfinite(actual) and np.isfinite(nearest)):
        same = actual == nearest or (np.isnan(actual) and np.isnan(nearest))
        return 0.0 if same else math.inf
    exact = _unrounded(exact)
    # Whole numbers, however long, so that nothing is rounded on the way.
    top, bottom = actual.as_integer_ratio()
    ulp_top, ulp_bottom = _ulp(nearest, exact).as_integer_ratio()
    try:
        return float(abs(exact * bottom - top) * ulp_bottom / (bottom * ulp_top))
    except OverflowError:
        return math.inf


def _unrounded(exact: Any) -> Any:
    """Return an exact number as a fraction, where it has a way to say which."""
    from fractions import Fraction

    if hasattr(exact, "man_exp"):
        # An mpf keeps all its digits, but computes only with as many as its context has just now.
        mantissa, exponent = exact.man_exp
        size = int(mantissa) * Fraction(2) ** exponent
        return -size if exact < 0 else size
    if hasattr(exact, "as_integer_ratio"):
        return Fraction(*exact.as_integer_ratio())
    return exact


def _nearest(dtype: np.dtype[Any], exact: Any) -> Any:
    try:
        with np.errstate(all="ignore"):
            return dtype.type(exact)
    except OverflowError:
        return dtype.type(math.inf if exact > 0 else -math.inf)


def _ulp(nearest: Any, exact: Any) -> Any:
    """Return the gap at ``exact``, which just under a power of two is that of the numbers below."""
    size = abs(nearest)
    top, bottom = size.as_integer_ratio()
    if abs(exact) * bottom < top:
        return size - np.nextafter(size, size.dtype.type(0))
    return np.spacing(size)


def finite_difference_gradient(
    function: Callable[[Array], Any], x: ArrayLike, *, step: float | None = None
) -> Array:
    r"""Return the gradient of a scalar function by central differences.

    .. math:: \frac{\partial f}{\partial x_i} \approx \frac{f(x + h e_i) - f(x - h e_i)}{2h}.

    Parameters
    ----------
    function : callable
        Takes an array of the shape of ``x`` and returns one real number.
    x : array_like, any shape
        Where to take the gradient. It is not modified; the work is done in float64.
    step : float, optional
        The step h, in units of ``max(1, |x_i|)``. The default, the cube root of eps (6.1e-6),
        balances the truncation error h^2 against the rounding error eps/h.

    Returns
    -------
    ndarray of float64, shape of ``x``

    Raises
    ------
    ValueError
        If ``function`` returns something else than one number, or ``step`` is not above 0.

    Notes
    -----
    The error is about eps^(2/3) = 4e-11 times the size of f and its third derivative: good enough
    to tell a right formula from a wrong one, not to measure accuracy.

    An infinite entry stays where it is when it is moved, and its derivative counts as 0: that is
    what a logit of ``-inf`` has.

    Every entry is moved by itself. A function that accepts only distributions, such as
    ``ce.entropy``, refuses such a point: check its formula (``ce.textbook``), or go through logits.

    Examples
    --------
    >>> import numpy as np
    >>> import cebook as ce
    >>> p = np.array([0.2, 0.3, 0.5])
    >>> numeric = ce.finite_difference_gradient(lambda p: -(p * np.log(p)).sum(), p)
    >>> bool(np.allclose(numeric, -np.log(p) - 1, rtol=1e-9))
    True
    """
    point = as_floating("x", x).astype(np.float64)
    relative_step = _STEP if step is None else step
    if not relative_step > 0:
        raise ValueError(f"step must be above 0, but it is {step!r}.")
    gradient = np.empty_like(point)
    for index in np.ndindex(point.shape):
        if np.isinf(point[index]):
            gradient[index] = 0
            continue
        forward, backward = point.copy(), point.copy()
        h = relative_step * max(1.0, float(abs(point[index])))
        forward[index] += h
        backward[index] -= h
        # Divide by the step that was really taken: x + h is rounded.
        width = forward[index] - backward[index]
        gradient[index] = (_scalar(function(forward)) - _scalar(function(backward))) / width
    return gradient


def complex_step_gradient(function: Callable[[Any], Any], x: ArrayLike) -> Array:
    r"""Return the gradient of a scalar function, to the last digits, by an imaginary step.

    .. math:: \frac{\partial f}{\partial x_i} = \frac{\operatorname{Im} f(x + i h e_i)}{h} + O(h^2)

    with the step :math:`h = 10^{-100}`.

    Parameters
    ----------
    function : callable
        Takes a complex array of the shape of ``x`` and returns one complex number. It must be
        analytic: no ``abs``, ``max``, comparison, ``conj``, ``vdot`` or ``.real``, which drop or
        flip the imaginary part. Where only a part of it is lost, the result is silently wrong.
    x : array_like, any shape
        Where to take the gradient. It is not modified.

    Returns
    -------
    ndarray of float64, shape of ``x``

    Raises
    ------
    ValueError
        If ``function`` returns something else than one number.
    TypeError
        If the number is real: then the imaginary part was lost inside ``function``.

    Notes
    -----
    Nothing is subtracted, so the step can be as small as one likes, and the result carries only the
    rounding of ``function`` itself.

    References
    ----------
    Squire, Trapp, *Using Complex Variables to Estimate Derivatives of Real Functions*, SIAM Review
    40(1), 1998, doi 10.1137/S003614459631241X.

    Examples
    --------
    >>> import numpy as np
    >>> import cebook as ce
    >>> p = np.array([0.2, 0.3, 0.5])
    >>> exact = ce.complex_step_gradient(lambda p: -(p * np.log(p)).sum(), p)
    >>> bool(np.allclose(exact, -np.log(p) - 1, rtol=1e-15))
    True
    """
    point = as_floating("x", x).astype(np.complex128)
    step = 1e-100
    gradient = np.empty(point.shape)
    for index in np.ndindex(point.shape):
        shifted = point.copy()
        shifted[index] += 1j * step
        value = _scalar(function(shifted))
        if not np.iscomplexobj(value):
            raise TypeError(
                f"function must return a complex number for complex input, but it returned "
                f"{value!r}: the imaginary part was lost. Avoid abs, max and casts to float."
            )
        gradient[index] = value.imag / step
    return gradient


def check_gradient(
    function: Callable[[Array], Any], gradient: ArrayLike, x: ArrayLike, *, tolerance: float = 1e-7
) -> float:
    r"""Compare a gradient with central differences and return the largest relative difference.

    .. math:: \max_i \frac{|g_i - n_i|}{\max_j\left(|g_j|, |n_j|\right)},

    with g the gradient given and n the numerical one.

    Parameters
    ----------
    function : callable
        Takes an array of the shape of ``x`` and returns one real number.
    gradient : array_like, shape of ``x``
        The gradient to check, as your formula gives it at ``x``.
    x : array_like, any shape
        Where to compare.
    tolerance : float
        The largest relative difference to accept.

    Returns
    -------
    float
        The largest relative difference beyond what central differences can resolve.

    Raises
    ------
    AssertionError
        If the difference exceeds ``tolerance``: the message names the worst entry.
    ValueError
        If ``gradient`` and ``x`` differ in shape.

    Notes
    -----
    The differences are measured against the largest entry, because a central difference carries an
    absolute error of about eps^(2/3) max(1, \|f\|), which swamps a tiny entry even when the formula
    is right. What lies within that error is not counted; near a minimum, or where a wrong entry is
    tiny beside the others, use :func:`complex_step_gradient`, which resolves it (on a formula that
    takes complex numbers, as those of ``ce.textbook`` do). The function must compute in float64.

    References
    ----------
    Stanford CS231n, notes on gradient checks: double precision, central differences, below 1e-7.

    Examples
    --------
    >>> import numpy as np
    >>> import cebook as ce
    >>> p = np.array([0.2, 0.3, 0.5])
    >>> def entropy(p):
    ...     return -(p * np.log(p)).sum()
    >>> ce.check_gradient(entropy, -np.log(p) - 1, p) < 1e-9
    True
    >>> ce.check_gradient(entropy, np.log(p) + 1, p)
    Traceback (most recent call last):
        ...
    AssertionError: gradient is the right one with the wrong sign: gradient[0] = -0.6094379...
    """
    point = as_floating("x", x)
    claimed = as_floating("gradient", gradient)
    check_same_shape(gradient=claimed, x=point)
    numeric = finite_difference_gradient(function, point)
    # The maximum of NumPy, unlike Python's, does not lose a nan.
    largest = np.max(np.abs([claimed, numeric]), initial=0)
    if largest == 0:
        return 0.0
    unresolved = _STEP**2 * max(1.0, abs(float(_scalar(function(point.astype(np.float64))))))

    def difference_from(other: Array) -> Array:
        with np.errstate(invalid="ignore"):  # inf / inf is nan, which is no agreement either.
            return np.asarray(np.maximum(np.abs(claimed - other) - unresolved, 0) / largest)

    difference = difference_from(numeric)
    worst = np.unravel_index(np.argmax(difference), difference.shape)
    if not difference[worst] <= tolerance:
        flipped = (difference_from(-numeric) <= tolerance).all()
        problem = "is the right one with the wrong sign" if flipped else "is wrong"
        index = ", ".join(str(int(i)) for i in worst)
        raise AssertionError(
            f"gradient {problem}: gradient[{index}] = {claimed[worst]:.9g}, but central "
            f"differences give {numeric[worst]:.9g} (relative difference "
            f"{difference[worst]:.2g}, accepted {tolerance:.2g})."
        )
    return float(difference[worst])


def _scalar(value: Any) -> Any:
    if isinstance(value, tuple):
        raise ValueError(
            f"function must return one number, but it returned a tuple of {len(value)}. If it is a "
            f"loss and its gradient, leave out return_grad."
        )
    array = np.asarray(value)
    if array.size != 1:
        raise ValueError(
            f"function must return one number, but it returned shape {array.shape}. "
            f"Sum or average inside it."
        )
    return array.reshape(())[()]
