"""The checks at the door: every public function asks here whether its input has an answer.

Nothing is clipped, dropped or broadcast. What cannot be computed raises ``ValueError`` (the values
or the shape are wrong) or ``TypeError`` (the kind of thing is wrong), and the message names the
argument, what came, what was expected and the likely mistake.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Array = np.ndarray[Any, np.dtype[np.floating[Any]]]
Axis = int | tuple[int, ...] | None


def as_floating(name: str, value: ArrayLike) -> Array:
    """Return ``value`` as an array of floats: its own dtype if floating, float64 for integers."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"{name} is a masked array, and its mask would be dropped without a word. "
            f"Fill it first: {name}.filled(0) if masked entries mean probability zero."
        )
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must be a rectangular array of real numbers: {error}") from None
    except (RuntimeError, TypeError) as error:  # as from a tensor that is on a GPU or has a graph
        raise TypeError(f"{name} must be something NumPy can take as an array: {error}") from None
    if array.dtype.kind == "f":
        # A foreign byte order is a storage detail; arithmetic wants the machine's own.
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.kind in "biu":
        return array.astype(np.float64)
    raise TypeError(
        f"{name} must hold real numbers (float16, float32, float64 or longdouble; integers and "
        f"bools become float64), but its dtype is {array.dtype}. {_dtype_hint(array.dtype)}"
    )


def _dtype_hint(dtype: np.dtype[Any]) -> str:
    if dtype.kind == "c":
        return "If its imaginary part is zero, pass its .real."
    if dtype.kind == "O":
        return "Look for an entry that is no number; for exact numbers use .astype(float)."
    if dtype.kind in "US":
        return "Are these labels? Count them, and divide by the total."
    return "Convert it with .astype(float) first."


def check_same_shape(**arrays: Array) -> None:
    """Raise unless the two named arrays have one shape."""
    (first, a), (second, b) = arrays.items()
    if a.shape == b.shape:
        return
    if a.size == b.size:
        hint = "They have as many entries: did you mean reshape, or a transpose?"
    elif a.shape == b.shape[:-1]:
        hint = f"If {first} holds class labels, np.eye({b.shape[-1]})[{first}] makes it one-hot."
    else:
        hint = (
            "Nothing is broadcast here, because a forgotten axis would go unnoticed: if you mean "
            "it, use np.broadcast_to first."
        )
    raise ValueError(
        f"{first} and {second} must have the same shape, but {first} has shape {a.shape} and "
        f"{second} has shape {b.shape}. {hint}"
    )


def check_base(base: float | None) -> np.longdouble:
    """Return the natural logarithm of ``base``: the number of nats in one unit of information."""
    if base is None:
        return np.longdouble(1)
    if isinstance(base, bool) or not isinstance(base, Real):
        raise TypeError(f"base must be a number or None (nats), but it is {base!r}.")
    if not 1 < base < math.inf:
        raise ValueError(
            f"base must be greater than 1 and finite, but it is {base!r}. "
            f"Use base=2 for bits, base=10 for decimal digits, None for nats."
        )
    # To the digits of the widest dtype; the result is rounded to its own at the end.
    return np.log(np.longdouble(base))


def reduced_axes(name: str, array: Array, axis: Axis) -> tuple[int, ...]:
    """Return the axes to reduce over, in range and non-negative; ``None`` means all of them."""
    if array.ndim == 0:
        raise ValueError(
            f"{name} must have at least one axis to sum over, but it is the single number "
            f"{array[()]}. For the two-outcome case use binary_entropy or binary_kl_divergence."
        )
    if axis is None:
        return tuple(range(array.ndim))
    return normal_axes(array, axis)


def normal_axes(array: Array, axis: int | tuple[int, ...]) -> tuple[int, ...]:
    """Return the axes as numbers from 0; NumPy's own errors name those out of range or repeated."""
    try:
        return normalize_axis_tuple(axis, array.ndim, "axis")
    except TypeError:
        raise TypeError(f"axis must be an int or a tuple of ints, but it is {axis!r}.") from None


def check_probabilities(name: str, array: Array) -> None:
    """Raise unless every entry is a number in [0, 1]; nan is let through, to stay where it is."""
    outside = (array < 0) | (array > 1)
    if outside.any():
        where = np.argwhere(outside)[0]
        raise ValueError(
            f"{name} must lie in [0, 1], but {_entry(name, array, where)}. "
            f"If {name} holds logits, apply a sigmoid first; if percentages, divide by 100."
        )


def check_distribution(name: str, array: Array, axes: tuple[int, ...]) -> None:
    """Raise unless ``array`` is non-negative and sums to 1 over ``axes``; let rows with nan be."""
    negative = array < 0
    if negative.any():
        where = np.argwhere(negative)[0]
        raise ValueError(
            f"{name} must be a probability distribution, but {_entry(name, array, where)} is "
            f"negative. {_negative_hint(name, array)}"
        )
    tolerance = sum_tolerance(array, axes)
    totals = _totals(array, axes)
    wrong = abs(totals - 1) > tolerance
    if wrong.any():
        where = np.argwhere(wrong)[0]
        row = f"the row at index {tuple(map(int, where))}" if totals.ndim else "it"
        raise ValueError(
            f"{name} must sum to 1 over axis {_axes_text(axes)}, but {row} sums to "
            f"{totals[tuple(where)]:.9g} (tolerance {tolerance:.2g} for {array.dtype}, shape "
            f"{array.shape}). {_sum_hint(name, array, axes)}"
        )


def sum_tolerance(array: Array, axes: tuple[int, ...]) -> float:
    """Return how far from 1 a sum may be: ``max(sqrt(eps), n eps)`` for n outcomes, at most 0.1.

    The square root is the slack that NumPy's own ``Generator.choice`` gives its probabilities; n
    eps covers distributions that were normalised by a sum carrying one rounding error for each
    outcome. Without the cap, a row of zeros in float16 would pass from 1024 outcomes on.
    """
    eps = float(np.finfo(array.dtype).eps)
    outcomes = int(math.prod(array.shape[axis] for axis in axes))
    return min(max(math.sqrt(eps), outcomes * eps), 0.1)


def working_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype to compute in: at least float64, so that float16 and float32 round once."""
    return np.result_type(dtype, np.float64)


def _totals(array: Array, axes: tuple[int, ...]) -> Array:
    # A sum that overflows is not 1 either, and that is all there is to say about it.
    with np.errstate(over="ignore"):
        return np.asarray(array.sum(axis=axes, dtype=working_dtype(array.dtype)))


def _entry(name: str, array: Array, where: np.ndarray[Any, Any]) -> str:
    index = ", ".join(str(int(i)) for i in where)
    return f"{name}[{index}] = {array[tuple(where)]:.6g}" if index else f"it is {array[()]:.6g}"


def _negative_hint(name: str, array: Array) -> str:
    if array.min() > -math.sqrt(np.finfo(array.dtype).eps):
        return f"Is it rounding? Then np.maximum({name}, 0), and divide by the sum."
    return (
        f"If {name} holds logits, apply softmax first; if log-probabilities, np.exp; if samples, "
        f"estimate their distribution."
    )


def _axes_text(axes: tuple[int, ...]) -> str:
    return str(axes[0] if len(axes) == 1 else axes)


def _sum_hint(name: str, array: Array, axes: tuple[int, ...]) -> str:
    def sums_to(total: int, over: tuple[int, ...]) -> bool:
        error = abs(_totals(array, over) / total - 1)
        return bool((error <= sum_tolerance(array, over)).all())

    if np.isinf(array).any():
        return f"{name} contains inf."
    if any(array.shape[axis] == 0 for axis in axes):
        return "There are no outcomes: an empty batch is fine, an empty distribution is not."
    for other in range(array.ndim):
        if (other,) != axes and sums_to(1, (other,)):
            if name == "joint":
                return f"It does sum to 1 over axis {other}: is it conditional on the other one?"
            return f"It does sum to 1 over axis {other}: did you mean axis={other}?"
    if array.ndim > len(axes) and sums_to(1, tuple(range(array.ndim))):
        if name == "joint":
            return "All of it together sums to 1: sum over the variables that you do not ask about."
        return "All of it together sums to 1: did you mean axis=None, for a joint distribution?"
    if sums_to(100, axes):
        return "Are these percentages? Divide by 100."
    if array.size and (array == np.floor(array)).all():
        return f"Are these counts? Divide by {name}.sum(axis={axes}, keepdims=True)."
    if abs(_totals(array, axes) - 1).max() < 1e-2:
        return f"Widened from float32? Divide again by {name}.sum(axis={axes}, keepdims=True)."
    if 0.5 < _totals(array, axes).max() < 2:
        return (
            f"Is an entry mistyped or missing? If only the scale is off, divide {name} by its sum."
        )
    return (
        "Are these logits (apply softmax), a probability for each label (binary_entropy), samples "
        "or a density? Only a vector that sums to 1 has an answer."
    )
