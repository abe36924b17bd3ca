"""The checks at the door: every public function asks here whether its input has an answer.

Nothing is clipped, dropped or broadcast. What cannot be computed raises ``ValueError`` (the values
or the shape are wrong) or ``TypeError`` (the kind of thing is wrong), and the message names the
argument, what came, what was expected and the likely mistake.
"""

from __future__ import annotations

import math
import warnings
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Array = np.ndarray[Any, np.dtype[np.floating[Any]]]
Axis = int | tuple[int, ...] | None
Reduction = Literal["mean", "sum", "none"]


def as_array(name: str, value: ArrayLike) -> np.ndarray[Any, Any]:
    """Return ``value`` as an array of its own dtype; nothing it carries besides is dropped."""
    if isinstance(value, np.ma.MaskedArray):
        cure = {
            "targets": "Fill it first: masked labels with an index of their own, as ignore_index; "
            "other targets with 0, and give them weight 0.",
            "labels": "Masked labels have no class: leave them out.",
        }.get(name, "Fill it first: probabilities with .filled(0), logits with .filled(-np.inf).")
        raise TypeError(
            f"{name} is a masked array, and its mask would be dropped without a word. {cure}"
        )
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must be a rectangular array of real numbers: {error}") from None
    except (RuntimeError, TypeError) as error:  # as from a tensor that is on a GPU or has a graph
        raise TypeError(f"{name} must be something NumPy can take as an array: {error}") from None


def as_floating(name: str, value: ArrayLike) -> Array:
    """Return ``value`` as an array of floats: its own dtype if floating, float64 for integers."""
    array = as_array(name, value)
    if array.dtype.kind == "f":
        # A foreign byte order is a storage detail; arithmetic wants the machine's own.
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.kind in "biu":
        return array.astype(np.float64)
    raise TypeError(
        f"{name} must hold real numbers (float16, float32, float64 or longdouble; integers and "
        f"bools become float64), but its dtype is {array.dtype}. {_dtype_hint(name, array.dtype)}"
    )


def as_real(name: str, value: ArrayLike) -> Array:
    """Return ``value`` as an array of floats, integers or bools, whichever it holds."""
    array = as_array(name, value)
    return array if array.dtype.kind in "biu" else as_floating(name, array)


def _dtype_hint(name: str, dtype: np.dtype[Any]) -> str:
    if dtype.kind == "c":
        return (
            "If its imaginary part is zero, pass its .real. For a complex step, use the formula of "
            "ce.textbook."
        )
    if name in ("weight", "pos_weight"):
        return "Numbers are wanted: one for each class, or one for each entry."
    if dtype.kind == "O":
        return "Look for an entry that is no number; for exact numbers use .astype(float)."
    if dtype.kind in "US" and name == "targets":
        return "Are these class names? np.unique(targets, return_inverse=True) numbers them."
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
    elif a.ndim > 0 and a.shape == b.shape[:-1]:
        hint = f"If {first} holds class labels, ce.one_hot({first}, {b.shape[-1]}) spells them out."
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
        hint = (
            "For the two-outcome case use binary_entropy or binary_kl_divergence."
            if name in ("p", "q")
            else f"Pass [{name}] if there is but one class."
        )
        raise ValueError(
            f"{name} must have at least one axis to sum over, but it is the single number "
            f"{array[()]}. {hint}"
        )
    if axis is None:
        return tuple(range(array.ndim))
    return normal_axes(array, axis)


def class_axis(name: str, array: Array, axis: int) -> int:
    """Return the axis of the classes as a number from 0: one axis, with at least one class."""
    classes = one_axis(name, array, axis)
    check_some_classes(name, array, (classes,))
    return classes


def one_axis(name: str, array: Array, axis: int) -> int:
    """Return the axis of the classes as a number from 0."""
    if not isinstance(axis, Integral) or isinstance(axis, bool):
        raise TypeError(f"axis must be one int, the axis of the classes, but it is {axis!r}.")
    return reduced_axes(name, array, int(axis))[0]


def check_some_classes(name: str, array: Array, axes: tuple[int, ...]) -> None:
    """Raise if there are no classes: probabilities of nothing cannot sum to 1."""
    if math.prod(array.shape[axis] for axis in axes) == 0:
        raise ValueError(
            f"{name} must have at least one class along axis {_axes_text(axes)}, but its shape is "
            f"{array.shape}: an empty batch is fine, an empty distribution is not."
        )


def normal_axes(array: Array, axis: int | tuple[int, ...]) -> tuple[int, ...]:
    """Return the axes as numbers from 0; NumPy's own errors name those out of range or repeated."""
    if type(axis) is int and -array.ndim <= axis < array.ndim:
        return (axis % array.ndim,)
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
            f"{_outside_hint(name, array)}"
        )


def check_distribution(name: str, array: Array, axes: tuple[int, ...]) -> None:
    """Raise unless ``array`` is non-negative and sums to 1 over ``axes``; let rows with nan be."""
    if _is_plainly_distribution(array, axes):
        return
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


_BLOCK = 1 << 16  # numbers that stay in the cache from one look at them to the next


def _is_plainly_distribution(array: Array, axes: tuple[int, ...]) -> bool:
    """Whether sums in the dtype itself, along contiguous memory, leave no doubt that it is one."""
    if array.size == 0 or axes != (array.ndim - 1,) or not array.flags.c_contiguous:
        return False
    if array.dtype not in (np.float32, np.float64):
        return False
    outcomes = array.shape[-1]
    table = array.reshape(-1, outcomes)
    tolerance = sum_tolerance(array, axes) / 2
    step = max(1, _BLOCK // outcomes)
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, len(table), step):
            totals = np.zeros((), array.dtype)
            for first in range(0, outcomes, _BLOCK):
                block = table[start : start + step, first : first + _BLOCK]
                if not block.min() >= 0:
                    return False
                # NumPy is slow along a short axis.
                few = outcomes < 64
                totals = totals + (block @ np.ones_like(block[0]) if few else block.sum(axis=1))
            if not (abs(totals - 1) <= tolerance).all():
                return False
    return True


def sum_tolerance(array: Array, axes: tuple[int, ...]) -> float:
    """Return how far from 1 a sum may be: ``max(sqrt(eps), n eps)`` for n outcomes, at most 0.1.

    The square root is the slack that NumPy's own ``Generator.choice`` gives its probabilities; n
    eps covers distributions that were normalised by a sum carrying one rounding error for each
    outcome. Without the cap, a row of zeros in float16 would pass from 1024 outcomes on.
    """
    eps = float(np.finfo(array.dtype).eps)
    outcomes = int(math.prod(array.shape[axis] for axis in axes))
    return min(max(math.sqrt(eps), outcomes * eps), 0.1)


# Classification -----------------------------------------------------------------------------------


def warn_if_probabilities(name: str, array: Array, axis: int) -> None:
    """Warn when what should be logits has rows of non-negative numbers that all sum to 1."""
    if array.shape[axis] == 1 or array.size == 0:
        return  # The logit of a single class may be 1, and says nothing.
    # One row that is no distribution settles it, and the first nearly always does.
    first = array[(0,) * axis + (slice(None),) + (0,) * (array.ndim - axis - 1)]
    if not (first.min() >= 0 and first.max() < 1.2 and abs(first.sum() - 1) < 0.2):
        return
    if (array >= 0).all() and (
        abs(_totals(array, (axis,)) - 1) <= sum_tolerance(array, (axis,))
    ).all():
        warnings.warn(
            f"{name} looks like probabilities: every row is non-negative and sums to 1. Softmax "
            f"would be applied a second time, and the loss could not come near 0. Pass the raw "
            f"outputs of the last layer, or use nll_loss on log-probabilities.",
            UserWarning,
            stacklevel=3,
        )


def warn_if_positive(name: str, log_probs: Array) -> None:
    """Warn when what should be log-probabilities holds a number above 0."""
    positive = log_probs > math.sqrt(np.finfo(log_probs.dtype).eps)
    if positive.any():
        where = np.argwhere(positive)[0]
        warnings.warn(
            f"{name} must be log-probabilities, which are never above 0, but "
            f"{_entry(name, log_probs, where)}. For logits use softmax_cross_entropy; for "
            f"probabilities take np.log first.",
            UserWarning,
            stacklevel=3,
        )


def check_targets(
    name: str, scores: Array, axis: int, targets: ArrayLike, ignore_index: int | None
) -> np.ndarray[Any, Any]:
    """Return the targets of ``scores``: class indices if of integer dtype, else distributions.

    Indices have the shape of ``scores`` without ``axis``, distributions the same shape.
    """
    array = as_array("targets", targets)
    without_axis = scores.shape[:axis] + scores.shape[axis + 1 :]
    if array.dtype.kind == "f" and array.size == 0 and array.shape == without_axis:
        array = array.astype(np.intp)  # [] is of dtype float, and holds no label.
    if array.dtype.kind in "iu":
        _check_label_shape(name, scores, axis, array)
        check_ignore_index(ignore_index)
        ignored = None if ignore_index is None else array == ignore_index
        check_labels("targets", array, scores.shape[axis], ignored)
        return array
    distributions = as_floating("targets", array)
    if distributions.shape != scores.shape:
        if distributions.shape == without_axis:
            whole = bool((distributions == np.floor(distributions)).all())
            hint = "use .astype(int)" if whole else "these are not even whole numbers"
            raise TypeError(
                f"targets are of dtype {array.dtype} and have the shape of class indices, "
                f"{array.shape}. Class indices must be integers: {hint}. Distributions would have "
                f"the shape of {name}, {scores.shape}."
            )
        raise ValueError(_distribution_shape_message(name, scores, distributions))
    if ignore_index is not None:
        raise ValueError(
            f"ignore_index must be None when targets are distributions, but it is "
            f"{ignore_index!r}: a distribution has no label to compare with it. Leave those rows "
            f"out, or drop them from the losses of reduction='none'."
        )
    check_distribution("targets", distributions, (axis,))
    return distributions


def _distribution_shape_message(name: str, scores: Array, targets: Array) -> str:
    if targets.ndim > scores.ndim:
        hint = f"Are the arguments swapped? The {name} come first."
    elif targets.size == scores.size:
        hint = "They have as many entries: did you mean reshape, or a transpose?"
    elif targets.ndim == scores.ndim and 1 in targets.shape:
        hint = "If these are class indices, use .astype(int) and drop the axis of length 1."
    else:
        hint = (
            f"Nothing is broadcast: if one distribution is meant for all rows, use "
            f"np.broadcast_to(targets, {name}.shape)."
        )
    return (
        f"targets are floats, so they are distributions and must have the shape of {name}, "
        f"{scores.shape}, but targets has shape {targets.shape}. {hint}"
    )


def _check_label_shape(name: str, scores: Array, axis: int, labels: np.ndarray[Any, Any]) -> None:
    without_axis = scores.shape[:axis] + scores.shape[axis + 1 :]
    if labels.shape == without_axis:
        return
    others = [
        other
        for other in range(scores.ndim)
        if scores.shape[:other] + scores.shape[other + 1 :] == labels.shape
    ]
    if labels.shape == scores.shape:
        hint = "Distributions, one-hot ones too, must be floats: use .astype(float)."
    elif others:
        hint = f"Are the classes along another axis? Then axis={others[0]}."
    elif labels.size == math.prod(without_axis):
        hint = f"There are as many labels as rows: reshape targets to {without_axis}."
    else:
        hint = "There must be one label for each row."
    raise ValueError(
        f"targets are integers, so they are class indices and must have the shape of {name} "
        f"without axis {axis}: {name} has shape {scores.shape}, so {without_axis} was expected, "
        f"but targets has shape {labels.shape}. {hint}"
    )


def check_labels(
    name: str,
    labels: np.ndarray[Any, Any],
    num_classes: int,
    ignored: np.ndarray[Any, Any] | None = None,
) -> None:
    """Raise unless every label that is not ignored lies in 0, ..., num_classes - 1."""
    if labels.size == 0 or (labels.min() >= 0 and labels.max() < num_classes):
        return
    outside = (labels < 0) | (labels >= num_classes)
    if ignored is not None:
        outside &= ~ignored
    if not outside.any():
        return
    where = np.argwhere(outside)[0]
    first = int(labels[tuple(where)])
    if first < 0 and name == "labels":
        hint = "A negative label does not count from the end; if it marks padding, leave it out."
    elif first == -100:
        hint = "If -100 marks what does not count, pass ignore_index=-100."
    elif first < 0:
        hint = (
            "A negative label does not count from the end; if it marks padding, see ignore_index."
        )
    elif labels.min() == 1 and labels.max() == num_classes:
        hint = "Do the labels count from 1? Then subtract 1."
    else:
        hint = "Is the axis of the classes right, and are there enough of them?"
    index = ", ".join(str(int(i)) for i in where)
    entry = f"{name}[{index}] = {first}" if index else f"it is {first}"
    raise ValueError(
        f"{name} must be class indices from 0 to {num_classes - 1}, but {entry} "
        f"({int(outside.sum())} of {labels.size} are out of range). {hint}"
    )


def check_ignore_index(ignore_index: int | None) -> None:
    """Raise unless ``ignore_index`` is one integer or None."""
    if ignore_index is None:
        return
    if isinstance(ignore_index, bool) or not isinstance(ignore_index, Integral):
        raise TypeError(
            f"ignore_index must be the one integer that marks targets to leave out, or None, but "
            f"it is {ignore_index!r}."
        )


def check_weight(weight: ArrayLike, num_classes: int) -> Array:
    """Return ``weight`` as an array of one finite, non-negative number for each class."""
    array = as_floating("weight", weight)
    if array.shape != (num_classes,):
        hint = (
            "To weight samples, multiply the losses of reduction='none'."
            if array.ndim
            else "A factor for all classes belongs on the loss."
        )
        raise ValueError(
            f"weight must have one entry for each class, shape ({num_classes},), but it has shape "
            f"{array.shape}. {hint}"
        )
    _check_factors("weight", array)
    return array


def check_factor(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Return finite, non-negative factors for entries of an array of ``shape``."""
    array = as_floating(name, value)
    try:
        fits = np.broadcast_shapes(array.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        hint = (
            f"For a factor a sample, give it shape ({shape[0]}, 1)."
            if len(shape) == 2 and array.shape == shape[:1]
            else "Its axes are matched from the last one on; each has the same length or 1, and "
            "there may be no more of them."
        )
        raise ValueError(
            f"{name} must broadcast to the shape of what it multiplies, {shape}, but it has shape "
            f"{array.shape}. {hint}"
        )
    _check_factors(name, array)
    return array


def _check_factors(name: str, array: Array) -> None:
    wrong = ~(np.isfinite(array) & (array >= 0))
    if wrong.any():
        where = np.argwhere(wrong)[0]
        hint = (
            "A negative weight would reward mistakes."
            if array[tuple(where)] < 0
            else "Is it 1/count of a class that never occurs? Give that class weight 0."
        )
        raise ValueError(
            f"{name} must be finite and non-negative, but {_entry(name, array, where)}. {hint}"
        )


def check_label_smoothing(label_smoothing: float) -> float:
    """Return ``label_smoothing`` if it is a number in [0, 1]."""
    if isinstance(label_smoothing, bool) or not isinstance(label_smoothing, Real):
        raise TypeError(f"label_smoothing must be a number in [0, 1], not {label_smoothing!r}.")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(
            f"label_smoothing must lie in [0, 1], but it is {label_smoothing!r}. It is the share "
            f"of the target that is spread over all classes: 0.1 is common, 10 for 10 % is not."
        )
    return float(label_smoothing)


def check_reduction(reduction: str) -> None:
    """Raise unless ``reduction`` is one of the three."""
    if isinstance(reduction, str) and reduction in ("mean", "sum", "none"):
        return
    hint = "None is written 'none', a string. " if reduction is None else ""
    if isinstance(reduction, str) and reduction == "batchmean":
        hint = "For 'batchmean' use 'sum', divided by the batch. "
    raise ValueError(
        f"reduction must be 'mean', 'sum' or 'none', but it is {reduction!r}. {hint}".rstrip()
    )


def check_count(name: str, count: int, *, at_least: int) -> None:
    """Raise unless ``count`` is an integer of at least so much."""
    if isinstance(count, bool) or not isinstance(count, Integral):
        raise TypeError(f"{name} must be an integer, but it is {count!r}.")
    if count < at_least:
        raise ValueError(f"{name} must be at least {at_least}, but it is {count}.")


def check_positive(name: str, value: float) -> None:
    """Raise unless ``value`` is a number above 0, and finite."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, but it is {value!r}.")
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be above 0 and finite, but it is {value!r}.")


def warn_of_empty_mean(why: str) -> None:
    """Warn that the mean of nothing is nan, and why there is nothing."""
    warnings.warn(
        f"The mean loss is nan: {why}, and there is nothing to divide by. Its gradient says "
        f"nothing. With reduction='sum' the loss is 0.",
        RuntimeWarning,
        stacklevel=4,
    )


# Messages -----------------------------------------------------------------------------------------


def _totals(array: Array, axes: tuple[int, ...]) -> Array:
    # A sum that overflows is not 1 either, and that is all there is to say about it.
    with np.errstate(over="ignore"):
        return np.asarray(array.sum(axis=axes, dtype=np.result_type(array, np.float64)))


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


def _outside_hint(name: str, array: Array) -> str:
    beyond = max(-np.nanmin(array), np.nanmax(array) - 1)
    if beyond <= math.sqrt(np.finfo(array.dtype).eps):
        return f"It is off by {beyond:.2g}: if that is rounding, np.clip({name}, 0, 1)."
    if name == "targets":
        whole = bool((array == np.floor(array)).all())
        if set(np.unique(array)) <= {-1, 1}:
            return "Are these labels -1 and 1? Then (targets + 1) / 2."
        if set(np.unique(array)) <= {-1, 0, 1}:
            return "Does -1 mark what does not count? Fill it with 0, and give it weight 0."
        if np.nanmin(array) < 0:
            return "Are these logits, and the arguments swapped?"
        if 100 < np.nanmax(array) <= 255:
            return "Are these pixels? Divide by 255."
        if whole:
            return (
                "Are these class indices? Then use softmax_cross_entropy. Percentages and pixels "
                "want a division by their largest possible value."
            )
        return "Percentages want a division by 100, other scales one by their largest value."
    if name == "probs":
        return "Logits belong in sigmoid_cross_entropy; percentages want a division by 100."
    return f"If {name} holds logits, apply a sigmoid first; if percentages, divide by 100."


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
    whole = array.size > 0 and bool((array == np.floor(array)).all())
    if whole and name == "targets" and array.max() <= 1 and (_totals(array, axes) > 1).any():
        return "Several labels for one row? Then each class wants a sigmoid of its own, no softmax."
    if whole:
        return f"Are these counts? Divide by {name}.sum(axis={_axes_text(axes)}, keepdims=True)."
    if abs(_totals(array, axes) - 1).max() < 1e-2:
        total = f"{name}.sum(axis={_axes_text(axes)}, keepdims=True)"
        return f"Widened from float32, or rounded? Divide again by {total}."
    if (_totals(array, axes) == 0).any():
        return "A row of zeros says nothing about its outcomes: leave it out."
    if 0.5 < _totals(array, axes).max() < 2:
        return (
            f"Is an entry mistyped or missing? If only the scale is off, divide {name} by its sum."
        )
    return (
        "Are these logits (apply softmax), a probability for each label (binary_entropy), samples "
        "or a density? Only a vector that sums to 1 has an answer."
    )
