"""The exercises of Part II: softmax, its logarithm and Jacobian, the loss and its gradient."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from .. import numerics, softmax_loss
from ._checker import Case, Exercise, Mistake, Section, has_an_epsilon

_PROBABILITIES = Section(
    "softmax/softmax", "logits-to-probabilities", "From logits to probabilities"
)
_TEMPERATURE = Section("softmax/softmax", "temperature", "Temperature")
_JACOBIAN = Section("softmax/softmax", "jacobian", "The Jacobian")
_AXIS = Section("softmax/softmax", "softmax-pitfalls", "Pitfalls")
_LARGEST = Section("softmax/floating-point", "subtract-the-largest", "Subtract the largest")
_LOGARITHM = Section("softmax/floating-point", "log-of-softmax", "The logarithm of a softmax")
_LOSS_OF_ZERO = Section("softmax/floating-point", "loss-of-zero", "A loss of exactly 0")
_MINUS_INFINITY = Section(
    "softmax/floating-point",
    "minus-infinity",
    "Minus infinity, and numbers that stand for it",
)
_LOSS = Section(
    "softmax/softmax-loss", "likelihood-to-softmax-loss", "From likelihood to softmax loss"
)
_GRADIENT = Section("softmax/softmax-loss", "gradient-three-ways", "The gradient, three ways")
_REPAIRED = Section("softmax/softmax-loss", "code-repaired", "The code repaired, step by step")
_TWICE = Section("softmax/softmax-loss", "softmax-loss-pitfalls", "Pitfalls")
_ALL_IGNORED = Section("reference/pitfalls", "pitfall-05", "5. Every target is ignored")
_TARGET_VALUE = Section(
    "reference/pitfalls",
    "pitfall-06",
    "6. ignore_index is a target value, not a class to leave out",
)
_SHARES = Section("reference/pitfalls", "pitfall-10", "10. Two conventions of label smoothing")

_OVERFLOW = (
    "exp overflows above 88.7 in float32 (709.8 in float64), and inf/inf is nan. Subtract the "
    "largest logit of each row first."
)
_OF_EACH_ROW = (
    "Subtract the largest logit of each row, z.max(axis=-1, keepdims=True). With the largest of "
    "the whole batch all exponentials of a low row underflow to 0, and 0/0 is nan."
)
_WANTS_ITS_OWN = (
    "z.max() is the largest of the whole batch. Every row wants its own: "
    "z.max(axis=1, keepdims=True)."
)
_MINIMUM_OR_MEAN = (
    "The minimum (or the mean) of a row with a -inf is -inf, and -inf - (-inf) is nan. Subtract "
    "the largest."
)
_NOTHING_ADDED = (
    "The sum of the shifted exponentials is at least 1, so that nothing has to be added to it; "
    "what is added makes the probabilities sum to less than 1."
)
_ON_PAPER = (
    "Take the logarithm on paper: with d = z - z.max(axis=-1, keepdims=True) it is "
    "d - np.log(np.exp(d).sum(axis=-1, keepdims=True))."
)
_LOSS_ON_PAPER = (
    "Take the logarithm on paper: with m the largest logit of a row the loss is (m - z_y) + "
    "np.log(np.exp(z - m).sum())."
)
_WITHOUT_ONE_LARGEST = (
    "Subtract the largest, m, first: (m - z_y) + np.log1p(r), where r is the sum of np.exp(z - m) "
    "without one largest term."
)
_KEEPDIMS = "Every row is a distribution of its own: sum over axis=-1 with keepdims=True."

_INF = np.inf
_ROW = np.array([1.0, 2.0, 3.0])
_BATCH = np.array([[1.0, 2.0, 3.0], [0.5, -1.0, 0.0], [2.0, 2.0, -3.0], [0.0, 0.0, 0.0]])
_CUBE = np.linspace(-2, 2, 24).reshape(2, 3, 4) ** 3
_FAR_ROWS = np.array([[1000.0, 1001.0, 1002.0], [-1000.0, -1001.0, -1002.0]])


def _sums_to_less(_: Any, expected: Any, got: Any) -> bool:
    """Say whether all probabilities are too small by nearly the same factor."""
    if not np.isfinite(got).all():
        return False
    lacks = 1 - got[expected > 0] / expected[expected > 0]
    return bool(lacks.min() > 0 and np.ptp(lacks) < lacks.max() / 2)


def _powers(z: Any, axis: Any = -1) -> Any:
    return np.exp(z - z.max(axis=axis, keepdims=True))


def _stable(z: Any, axis: Any = -1) -> Any:
    powers = _powers(z, axis)
    return powers / powers.sum(axis=axis, keepdims=True)


def _naive(z: Any) -> Any:
    return np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True)


def _naive_of_all(z: Any) -> Any:
    return np.exp(z) / np.exp(z).sum()


def _below_batch_maximum(z: Any) -> Any:
    powers = np.exp(z - z.max())
    return powers / powers.sum(axis=-1, keepdims=True)


def _below(z: Any, shift: Any) -> Any:
    return z - getattr(z, shift)(axis=-1, keepdims=True)


def _log_of_sum(z: Any) -> Any:
    return np.log(np.exp(z).sum(axis=-1))


def _plain_logsumexp(z: Any) -> Any:
    m = z.max(axis=-1, keepdims=True)
    return np.log(np.exp(z - m).sum(axis=-1)) + m[..., 0]


def _plain_log_softmax(z: Any) -> Any:
    d = z - z.max(axis=-1, keepdims=True)
    return d - np.log(np.exp(d).sum(axis=-1, keepdims=True))


# softmax ------------------------------------------------------------------------------------------


_softmax = Exercise(
    name="softmax",
    signature="softmax(z)",
    title="probabilities of rows of logits",
    stars=1,
    section=_PROBABILITIES,
    reference=softmax_loss.softmax,
    cases=(
        Case("three logits", (_ROW,)),
        Case("a batch: every row for itself", (_BATCH,)),
        Case("three dimensions: along the last axis", (_CUBE,)),
        Case("a batch of one", (_ROW[np.newaxis],), kind="edge"),
        Case("ties", (np.array([2.0, 2.0, 2.0, -3.0]),), kind="edge"),
        Case("float32 in, float32 out", (np.float32(_BATCH),), kind="edge"),
        Case("a logit of -inf: probability 0", (np.array([0.0, -_INF, 1.0]),), kind="edge"),
        Case(
            "a logit of 1000",
            (np.array([1000.0, 1001.0, 1002.0]),),
            kind="adversarial",
            section=_LARGEST,
        ),
        Case(
            "a logit of 100 in float32",
            (np.array([100, 0, 99], np.float32),),
            kind="adversarial",
            section=_LARGEST,
        ),
        Case(
            "all logits near -1000",
            (np.array([-1000.0, -1001.0]),),
            kind="adversarial",
            section=_LARGEST,
        ),
        Case("rows near 1000 and -1000", (_FAR_ROWS,), kind="adversarial", section=_LARGEST),
        Case(
            "a gap of 700: 13 digits",
            (np.array([0.1, -700.3]),),
            kind="adversarial",
            section=_LARGEST,
            eps=1000,  # half an ulp of 700 is 256 eps
        ),
        Case(
            "an offset of 10,000 in float32",
            (np.float32(_BATCH) + np.float32(10_000),),
            kind="adversarial",
            section=_LARGEST,
        ),
    ),
    mistakes=(
        Mistake(
            lambda z: _stable(z, None),
            "The whole batch became one distribution. " + _KEEPDIMS,
            _AXIS,
        ),
        Mistake(_naive_of_all, "The whole batch became one distribution. " + _KEEPDIMS, _AXIS),
        Mistake(
            lambda z: _stable(z, 0),
            "That is over axis 0: the columns sum to 1. " + _KEEPDIMS,
            _AXIS,
        ),
        Mistake(
            lambda z: np.exp(z) / np.exp(z).sum(axis=0),
            "That is over axis 0: the columns sum to 1. " + _KEEPDIMS,
            _AXIS,
        ),
        Mistake(
            lambda z: _powers(z) / np.exp(z).sum(axis=-1, keepdims=True),
            "The largest logit was subtracted above the fraction line and not below it. The same "
            "exponentials belong in both places.",
            _LARGEST,
        ),
        Mistake(_powers, "The exponentials are not yet divided by their sum."),
        Mistake(
            _plain_log_softmax,
            "That is the logarithm of the softmax.",
            _LOGARITHM,
        ),
        Mistake(
            lambda z: 2.0**z / (2.0**z).sum(axis=-1, keepdims=True),
            "The base of the exponential is e: np.exp.",
        ),
        Mistake(
            None,
            _NOTHING_ADDED,
            _LARGEST,
            predicate=_sums_to_less,
            decisive=("three logits", "ties"),
        ),
        Mistake(
            lambda z: (
                np.exp(np.clip(z, -500, 500))
                / np.exp(np.clip(z, -500, 500)).sum(axis=-1, keepdims=True)
            ),
            "Clipping the logits makes all large ones equal. Subtract the largest of each row: "
            "that changes nothing but the overflow.",
            _LARGEST,
        ),
        Mistake(_below_batch_maximum, _OF_EACH_ROW, _LARGEST),
        Mistake(
            lambda z: _naive(z - z.mean(axis=-1, keepdims=True)),
            "With the mean subtracted, exp still overflows where a logit is far above it. Subtract "
            "the largest logit of each row: then no exponent is above 0.",
            _LARGEST,
        ),
        Mistake(
            lambda z: np.exp(z - _plain_logsumexp(z)[..., np.newaxis]),
            "z minus its log-sum-exp is rounded to a multiple of an ulp of the log-sum-exp, and "
            "the exponential turns that into a relative error. Divide the exponentials by their "
            "sum.",
            _LOGARITHM,
        ),
        Mistake(_naive, _OVERFLOW, _LARGEST),
        Mistake(
            lambda z: np.nan_to_num(_naive(z)),
            "nan_to_num hides the nan and leaves a wrong number, which is worse. " + _OVERFLOW,
            _LARGEST,
        ),
    ),
)


# jacobian_vector_product --------------------------------------------------------------------------


def _product(z: Any, v: Any) -> Any:
    s = softmax_loss.softmax(z)
    return s * (v - (s * v).sum(axis=-1, keepdims=True))


def _with_matrix(z: Any, v: Any) -> Any:
    s = _stable(z)
    matrix = s[..., np.newaxis] * (np.eye(z.shape[-1], dtype=z.dtype) - s[..., np.newaxis, :])
    return (matrix @ v[..., np.newaxis])[..., 0]


def _naive_product(z: Any, v: Any) -> Any:
    s = _naive(z)
    return s * (v - (s * v).sum(axis=-1, keepdims=True))


_MEAN_OF_V = "The mean of v under s is (s * v).sum(axis=-1, keepdims=True)."
_V = np.array([1.0, -1.0, 0.5])
_CLASSES = 1000

_jacobian_vector_product = Exercise(
    name="jacobian_vector_product",
    signature="jacobian_vector_product(z, v)",
    title="Jacobian of softmax times v",
    stars=2,
    section=_JACOBIAN,
    reference=_product,
    cases=(
        Case("three logits", (_ROW, _V), absolute=1e-15),
        Case("v = (1, 0, 0): the first column", (_ROW, np.eye(3)[0]), absolute=1e-15),
        Case("a batch: every row for itself", (_BATCH, np.tile(_V, (4, 1)) ** 3), absolute=1e-15),
        Case("v with equal entries: 0", (_ROW, np.full(3, 2.0)), kind="edge", absolute=1e-14),
        Case("one class: 0", (np.array([3.0]), np.array([2.0])), kind="edge", absolute=1e-14),
        Case(
            "float32 in, float32 out",
            (np.float32(_BATCH), np.float32(np.tile(_V, (4, 1)))),
            kind="edge",
            absolute=1e-6,
        ),
        Case(
            "a logit of -inf",
            (np.array([0.0, -_INF, 1.0]), _V),
            kind="edge",
            absolute=1e-15,
        ),
        Case(
            "logits near 1000",
            (np.array([1000.0, 1001.0, 1002.0]), _V),
            kind="adversarial",
            absolute=1e-15,
        ),
        Case(
            f"{_CLASSES} classes, at most 1 MB",
            (np.linspace(-3, 3, _CLASSES), np.cos(np.arange(_CLASSES))),
            kind="adversarial",
            absolute=1e-15,
            max_bytes=1_000_000,
        ),
    ),
    mistakes=(
        Mistake(
            lambda z, v: _stable(z) * (1 - _stable(z)) * v,
            "That is the diagonal alone. Off it the Jacobian has -s[j] * s[k]: every probability "
            "answers to every logit.",
        ),
        Mistake(
            lambda z, v: _stable(z) * v,
            "The second part of s * v - s * mean is missing. " + _MEAN_OF_V,
        ),
        Mistake(
            lambda z, v: v - (_stable(z) * v).sum(axis=-1, keepdims=True),
            "The factor s before the bracket is missing: s * (v - mean).",
        ),
        Mistake(
            lambda z, v: _stable(z) * (v - v.mean(axis=-1, keepdims=True)),
            "What is subtracted is not the plain mean of v. " + _MEAN_OF_V,
        ),
        Mistake(
            lambda z, v: _stable(z) * ((_stable(z) * v).sum(axis=-1, keepdims=True) - v),
            "The sign is wrong: a logit that rises lifts its own class. J is np.diag(s) minus "
            "np.outer(s, s).",
        ),
        Mistake(
            lambda z, v: _stable(z) * (v - (_stable(z) * v).sum()),
            "Each row has its own mean of v. " + _MEAN_OF_V,
        ),
        Mistake(
            lambda z, v: _stable(z, None) * (v - (_stable(z, None) * v).sum()),
            "The whole batch became one distribution. " + _KEEPDIMS,
            _AXIS,
        ),
        Mistake(_naive_product, _OVERFLOW, _LARGEST),
        Mistake(
            _with_matrix,
            f"The Jacobian of {_CLASSES} classes has a million entries, that of a vocabulary of "
            "50,257 two and a half billion. Multiply on paper first: s * (v - mean). " + _MEAN_OF_V,
        ),
        Mistake(
            lambda z, v: (np.diag(_stable(z)) - np.outer(_stable(z), _stable(z))) @ v,
            "The matrix of one row is right, but rows come in batches, and the matrix is not "
            "needed at all: multiply on paper, s * (v - mean). " + _MEAN_OF_V,
        ),
    ),
)


# tempered_softmax ---------------------------------------------------------------------------------


def _tempered(z: Any, temperature: Any) -> Any:
    return softmax_loss.softmax((z - z.max(axis=-1, keepdims=True)) / temperature)


_tempered_softmax = Exercise(
    name="tempered_softmax",
    signature="tempered_softmax(z, temperature)",
    title="softmax at a temperature",
    stars=1,
    section=_LARGEST,
    reference=_tempered,
    cases=(
        Case("temperature 1: softmax", (_ROW, 1.0), section=_TEMPERATURE),
        Case("warm: 3", (_ROW, 3.0), section=_TEMPERATURE),
        Case("cold: 1/3", (_ROW, 1 / 3), section=_TEMPERATURE),
        Case("a batch: every row for itself", (_BATCH, 2.0), section=_TEMPERATURE),
        Case("hot: nearly uniform", (_ROW, 1e6), kind="edge", section=_TEMPERATURE),
        Case(
            "cold, with a tie: a half each",
            (np.array([2.0, 2.0, 1.0, -3.0]), 0.01),
            kind="edge",
            eps=200,
            section=_TEMPERATURE,
        ),
        Case("a logit of -inf", (np.array([0.0, -_INF, 1.0]), 2.0), kind="edge"),
        Case("float32 in, float32 out", (np.float32(_BATCH), 0.5), kind="edge"),
        Case("logits near 1000", (np.array([1000.0, 1001.0, 1002.0]), 0.5), kind="adversarial"),
        Case("temperature 0.001", (np.array([1.0, 0.5, 0.0]), 0.001), kind="adversarial", eps=2000),
        Case(
            "logits of 100 in float16, temperature 0.001",
            (np.array([-100, 0, 100], np.float16), 0.001),
            kind="adversarial",
        ),
        Case(
            "rows near 1000 and -1000",
            (_FAR_ROWS, 0.5),
            kind="adversarial",
        ),
    ),
    mistakes=(
        Mistake(
            lambda z, t: _stable(z * t),
            "The logits are divided by the temperature, not multiplied: cold means certain.",
            _TEMPERATURE,
        ),
        Mistake(
            lambda z, t: _stable(z) / t,
            "The logits are divided by the temperature, before the softmax; probabilities divided "
            "by it do not sum to 1.",
            _TEMPERATURE,
        ),
        Mistake(
            lambda z, t: _stable(_stable(z) / t),
            "The softmax was taken twice. The temperature divides the logits, not the "
            "probabilities.",
            _TEMPERATURE,
        ),
        Mistake(lambda z, t: _stable(z), "The temperature was not used.", _TEMPERATURE),
        Mistake(
            lambda z, t: _stable(z / t, None),
            "The whole batch became one distribution. " + _KEEPDIMS,
            _AXIS,
        ),
        Mistake(lambda z, t: _stable(z / t, 0), "The columns sum to 1. " + _KEEPDIMS, _AXIS),
        Mistake(
            lambda z, t: _stable(z) ** (1 / t) / (_stable(z) ** (1 / t)).sum(-1, keepdims=True),
            "In real numbers this is right, but a high power of a probability underflows to 0, and "
            "0/0 is nan. Divide the logits by the temperature.",
            _TEMPERATURE,
        ),
        Mistake(lambda z, t: _naive(z / t), _OVERFLOW),
        Mistake(lambda z, t: _below_batch_maximum(z / t), _OF_EACH_ROW),
        Mistake(
            lambda z, t: _stable(z / t),
            "z / temperature overflows before the largest is subtracted: float16 ends at 65504, "
            "and inf - inf is nan. Subtract first, then divide; what overflows now is -inf.",
        ),
    ),
)


# logsumexp ----------------------------------------------------------------------------------------

_logsumexp = Exercise(
    name="logsumexp",
    signature="logsumexp(z)",
    title="log of the sum of exponentials",
    stars=2,
    section=_LARGEST,
    reference=softmax_loss.logsumexp,
    cases=(
        Case("three numbers", (_ROW,)),
        Case("a batch: one number for every row", (_BATCH,)),
        Case("three dimensions: along the last axis", (_CUBE,)),
        Case("one number: itself", (np.array([-3.5]),), kind="edge"),
        Case("ties: log K above the largest", (np.full(8, 2.0),), kind="edge"),
        Case("float32 in, float32 out", (np.float32(_BATCH),), kind="edge"),
        Case("-inf adds nothing", (np.array([0.0, -_INF, 1.0]),), kind="edge"),
        Case("only -inf: the sum of nothing", (np.array([[-_INF, -_INF], [0, 1]]),), kind="edge"),
        Case("+inf is inf", (np.array([0.0, _INF]),), kind="edge"),
        Case("1000, 1001, 1002", (np.array([1000.0, 1001.0, 1002.0]),), kind="adversarial"),
        Case("-1000, -1001", (np.array([-1000.0, -1001.0]),), kind="adversarial"),
        Case("100 in float32", (np.array([100, 0, 99], np.float32),), kind="adversarial"),
        Case("rows near 1000 and -1000", (_FAR_ROWS,), kind="adversarial"),
        Case(
            "two of -log 2: 0, up to the last digit",
            (np.full(2, -np.log(2)),),
            kind="adversarial",
            absolute=1e-15,
        ),
    ),
    mistakes=(
        Mistake(
            lambda z: np.log(_powers(z).sum(axis=-1)),
            "The largest was subtracted and not added again: with m = z.max(axis=-1), add m to the "
            "logarithm.",
        ),
        Mistake(
            lambda z: np.log(_powers(z).sum(axis=-1, keepdims=True)) + z.max(-1, keepdims=True),
            "Take the axis of length 1 away at the end, with m[..., 0] or np.squeeze(m, axis=-1).",
        ),
        Mistake(
            lambda z: np.log(np.exp(z).sum()),
            "There is one number for every row: sum over axis=-1.",
            _AXIS,
        ),
        Mistake(
            lambda z: np.log(_powers(z, None).sum()) + z.max(),
            "There is one number for every row: take maximum and sum over axis=-1.",
            _AXIS,
        ),
        Mistake(
            lambda z: np.log(_powers(z, 0).sum(axis=0)) + z.max(axis=0),
            "That is over axis 0. The classes lie along the last axis: axis=-1.",
            _AXIS,
        ),
        Mistake(
            lambda z: np.log1p(_powers(z).sum(axis=-1)) + z.max(axis=-1),
            "np.log1p(x) is log(1 + x), so that one term too many is in the sum. The exponential "
            "of the largest is 1 already: np.log, or np.log1p of the sum without it.",
        ),
        Mistake(
            lambda z: np.log(_powers(z).sum(axis=-1) + 1e-12) + z.max(axis=-1),
            "The shifted sum is at least 1: nothing needs to be added to it.",
            decisive=("one number: itself",),
        ),
        Mistake(
            lambda z: z.max(axis=-1),
            "That is the largest. A log-sum-exp lies above it, by up to np.log(K).",
        ),
        Mistake(
            lambda z: np.log(np.exp(z).mean(axis=-1)),
            "The exponentials are added up, not averaged.",
        ),
        Mistake(
            lambda z: np.log(np.exp(z - z.max()).sum(axis=-1)) + z.max(),
            "Subtract the largest of each row, not of the batch: all exponentials of a low row "
            "underflow to 0, and log 0 is -inf.",
        ),
        Mistake(
            lambda z: np.log(np.exp(z).sum(axis=-1)),
            "exp overflows above 88.7 in float32 (709.8 in float64), and below it underflows to 0, "
            "so that the result is inf or -inf. Subtract the largest of each row and add it again.",
        ),
        Mistake(
            _plain_logsumexp,
            "-inf - (-inf) and inf - inf are nan. Where the largest is infinite, subtract 0 "
            "instead: m = np.where(np.isfinite(m), m, 0).",
            _MINUS_INFINITY,
        ),
    ),
)


# log_softmax --------------------------------------------------------------------------------------

_log_softmax = Exercise(
    name="log_softmax",
    signature="log_softmax(z)",
    title="logarithms of the probabilities",
    stars=2,
    section=_LOGARITHM,
    reference=softmax_loss.log_softmax,
    cases=(
        Case("three logits", (_ROW,)),
        Case("a batch: every row for itself", (_BATCH,)),
        Case("three dimensions: along the last axis", (_CUBE,), absolute=1e-15),
        Case("one class: log 1", (np.array([5.0]),), kind="edge", absolute=1e-15),
        Case("ties: -log K", (np.full((1, 4), 2.0),), kind="edge"),
        Case("float32 in, float32 out", (np.float32(_BATCH),), kind="edge"),
        Case("a logit of -inf stays -inf", (np.array([0.0, -_INF, 1.0]),), kind="edge"),
        Case("logits near 1000", (np.array([1000.0, 1001.0, 1002.0]),), kind="adversarial"),
        Case(
            "a gap of 800: -800, not -inf",
            (np.array([0.0, -800.0]),),
            kind="adversarial",
            absolute=1e-15,  # the loss of the first is e^-800, and 0 is near enough here
        ),
        Case(
            "a gap of 110 in float32",
            (np.array([0, -110], np.float32),),
            kind="adversarial",
            absolute=1e-7,
        ),
        Case("rows near 1000 and -1000", (_FAR_ROWS,), kind="adversarial"),
        Case(
            "logits near 10,000 in float32",
            (np.array([10_000, 10_001, 10_002], np.float32),),
            kind="adversarial",
        ),
    ),
    mistakes=(
        Mistake(
            lambda z: z - np.exp(z).sum(axis=-1, keepdims=True),
            "The logarithm of the sum is missing. " + _ON_PAPER,
        ),
        Mistake(
            lambda z: -_plain_log_softmax(z),
            "The sign is wrong: the logarithm of a probability is never above 0.",
        ),
        Mistake(_stable, "These are the probabilities. Their logarithms are asked for."),
        Mistake(
            lambda z: np.log(_stable(z, None)),
            "The whole batch became one distribution. " + _KEEPDIMS,
            _AXIS,
        ),
        Mistake(lambda z: np.log(_stable(z, 0)), "That is over axis 0. " + _KEEPDIMS, _AXIS),
        Mistake(
            lambda z: z - np.log(_powers(z).sum(axis=-1, keepdims=True)),
            "The largest logit was subtracted in the sum only. With "
            "d = z - z.max(axis=-1, keepdims=True), write d in the place of z throughout.",
        ),
        Mistake(
            None,
            "A small number added inside the logarithm, or a clip, caps the result, 1e-12 at "
            "-27.6. " + _ON_PAPER,
            _MINUS_INFINITY,
            predicate=has_an_epsilon,
            decisive=("a gap of 800: -800, not -inf",),
        ),
        Mistake(lambda z: np.log(_naive(z)), f"{_OVERFLOW} {_ON_PAPER}", _LARGEST),
        Mistake(
            lambda z: z - np.log(np.exp(z).sum(axis=-1, keepdims=True)),
            "exp overflows above 88.7 in float32 (709.8 in float64). Subtract the largest logit of "
            "each row first.",
            _LARGEST,
        ),
        Mistake(
            lambda z: np.log(_stable(z)),
            "The probability underflows to 0 from a gap of 745 on (104 in float32), and its "
            "logarithm is -inf. " + _ON_PAPER,
        ),
        Mistake(
            lambda z: (z - z.max()) - np.log(np.exp(z - z.max()).sum(axis=-1, keepdims=True)),
            "Subtract the largest logit of each row, not of the batch: all exponentials of a low "
            "row underflow to 0, and log 0 is -inf.",
            _LARGEST,
        ),
        Mistake(
            lambda z: z - _plain_logsumexp(z)[..., np.newaxis],
            "m + np.log(...) is rounded to a multiple of an ulp of m, here 0.001, before it is "
            "subtracted: the digits cancel. Subtract m from z first: (z - m) - np.log(...).",
        ),
    ),
)


# softmax_loss -------------------------------------------------------------------------------------

_LABELS = np.array([2, 0, 1, 2])
_SURE = np.array([[40.0, 0.0, 0.0], [0.0, 41.0, 0.0]])
_SURE_LABELS = np.array([0, 1])
_WRONG = np.array([[0.0, 0.0, 800.0]])


def _at(rows: Any, labels: Any) -> Any:
    """Return the entry of the label of each row."""
    return rows[np.arange(len(rows)), labels]


def _rows_of_one_hot(z: Any, labels: Any) -> Any:
    return np.eye(z.shape[-1], dtype=z.dtype)[labels]


def _plain_losses(z: Any, labels: Any) -> Any:
    return -_at(_plain_log_softmax(z), labels)


def _losses_from_label(z: Any, labels: Any) -> Any:
    """Return log1p of the sum over the others of exp(z_k - z_y)."""
    powers = np.exp(z - _at(z, labels)[:, np.newaxis])
    powers[np.arange(len(z)), labels] = 0
    return np.log1p(powers.sum(axis=-1))


def _losses_without_largest(z: Any, labels: Any) -> Any:
    """Return the losses with all of several equal largest logits left out of the sum."""
    d = z - z.max(axis=-1, keepdims=True)
    powers = np.exp(d)
    powers[d == 0] = 0
    return np.log1p(powers.sum(axis=-1)) - _at(d, labels)


_loss = Exercise(
    name="softmax_loss",
    signature="softmax_loss(z, labels)",
    title="mean loss of logits and labels",
    stars=3,
    section=_REPAIRED,
    reference=softmax_loss.softmax_cross_entropy,
    cases=(
        Case("four rows, three classes", (_BATCH, _LABELS)),
        Case("as many rows as classes", (_BATCH[:3], _LABELS[:3])),
        Case("a batch of one", (_ROW[np.newaxis], np.array([0])), kind="edge"),
        Case("labels at both ends", (_BATCH, np.array([0, 2, 0, 2])), kind="edge"),
        Case("no favourite: log K", (np.zeros((2, 5)), np.array([0, 4])), kind="edge"),
        Case("four rows in float32", (np.float32(_BATCH), _LABELS), kind="edge"),
        Case(
            "another class at -inf",
            (np.array([[0.0, -_INF, 1.0]]), np.array([2])),
            kind="edge",
        ),
        Case(
            "the label at -inf: inf",
            (np.array([[0.0, -_INF, 1.0]]), np.array([1])),
            kind="edge",
        ),
        Case(
            "logits near 1000",
            (np.array([[1000.0, 1001.0, 1002.0]]), np.array([2])),
            kind="adversarial",
        ),
        Case("wrong by 800: a loss of 800", (_WRONG, np.array([0])), kind="adversarial"),
        Case("rows near 1000 and -1000", (_FAR_ROWS, np.array([0, 2])), kind="adversarial"),
        Case(
            "wrong by 120 in float32",
            (np.array([[0, 120]], np.float32), np.array([0])),
            kind="adversarial",
        ),
        Case("right by 40: 8e-18, not 0", (_SURE[:1], np.array([0])), kind="adversarial"),
        Case("two rows, right by 40 and 41", (_SURE, _SURE_LABELS), kind="adversarial"),
    ),
    mistakes=(
        Mistake(
            lambda z, y: _plain_losses(z, y).sum(),
            "That is the sum of the losses of the rows. The mean is asked for: divide by their "
            "number.",
            _LOSS,
        ),
        Mistake(
            _plain_losses,
            "These are the losses of the rows. Their mean is asked for, one number.",
            _LOSS,
        ),
        Mistake(
            lambda z, y: -_plain_losses(z, y).mean(),
            "The minus sign is missing: the loss is -np.log(s_y), and the logarithm of a "
            "probability is not above 0.",
            _LOSS,
        ),
        Mistake(
            lambda z, y: _losses_without_largest(z, y).mean(),
            "Two logits of a row are equal and largest; only one is left out. Use np.argmax.",
            _LOGARITHM,
        ),
        Mistake(
            lambda z, y: -(_rows_of_one_hot(z, y) * _plain_log_softmax(z)).mean(),
            "mean() divided by rows times classes, N K. The zeros of the one-hot rows are no "
            "samples: sum over the classes, then take the mean over the rows.",
            _LOSS,
        ),
        Mistake(
            lambda z, y: -_plain_log_softmax(z)[:, y].mean(),
            "z[:, labels] takes the columns of all labels from every row. z[np.arange(N), labels] "
            "takes one entry from each.",
            _LOSS,
        ),
        Mistake(
            lambda z, y: -_at(_stable(z), y).mean(),
            "The logarithm is missing: the loss is -np.log(s_y).",
            _LOSS,
        ),
        Mistake(
            lambda z, y: -np.log(_at(_stable(z), y).mean()),
            "The logarithm comes before the mean: average the losses, not the probabilities.",
            _LOSS,
        ),
        Mistake(
            lambda z, y: _plain_losses(_stable(z), y).mean(),
            "The softmax was applied twice: once by you, and once inside the log-softmax.",
            _TWICE,
        ),
        Mistake(
            lambda z, y: _plain_losses(z, y).mean() / np.log(2),
            "That is the loss in bits: use the natural logarithm, np.log.",
            _LOSS,
        ),
        Mistake(
            lambda z, y: -np.log(_at(_stable(z, None), y)).mean(),
            "The whole batch became one distribution. " + _KEEPDIMS,
            _AXIS,
        ),
        Mistake(
            lambda z, y: -np.log(_at(_stable(z, 0), y)).mean(),
            "The softmax is over axis 0. " + _KEEPDIMS,
            _AXIS,
        ),
        Mistake(
            lambda z, y: -np.log(_at(_naive(_below(z, "min")), y)).mean(),
            _MINIMUM_OR_MEAN,
            _LARGEST,
            decisive=("another class at -inf",),
        ),
        Mistake(
            lambda z, y: (_log_of_sum(_below(z, "mean")) - _at(_below(z, "mean"), y)).mean(),
            _MINIMUM_OR_MEAN,
            _LARGEST,
            decisive=("another class at -inf",),
        ),
        Mistake(
            lambda z, y: (_plain_losses(z, y) + np.log1p(1 / _powers(z).sum(axis=-1))).mean(),
            "np.log1p adds 1 itself: leave one largest term out of the sum.",
            _LOSS_OF_ZERO,
        ),
        Mistake(
            lambda z, y: -(_rows_of_one_hot(z, y) * np.log(_naive(z))).sum(axis=-1).mean(),
            "0 * np.log(0) is nan: pick the entry of the label. And " + _OVERFLOW,
        ),
        Mistake(
            lambda z, y: -(_rows_of_one_hot(z, y) * np.log(_stable(z))).sum(axis=-1).mean(),
            "The 0 of a one-hot row times np.log(0) is 0 * -inf, nan. Pick the entry of the "
            "label, z[np.arange(N), labels].",
            _MINUS_INFINITY,
        ),
        Mistake(
            lambda z, y: -(_rows_of_one_hot(z, y) * _plain_log_softmax(z)).sum(axis=-1).mean(),
            "The 0 of a one-hot row times a log-probability of -inf is nan. Pick the entry of the "
            "label, z[np.arange(N), labels].",
            _MINUS_INFINITY,
        ),
        Mistake(lambda z, y: -np.log(_at(_naive(z), y)).mean(), _OVERFLOW),
        Mistake(
            None,
            "A small number added inside the logarithm, or a clip, caps the loss, 1e-12 at 27.6, "
            "and where it is capped its gradient is 0. " + _LOSS_ON_PAPER,
            predicate=has_an_epsilon,
            decisive=("wrong by 800: a loss of 800",),
        ),
        Mistake(
            lambda z, y: -np.log(_at(_stable(z), y)).mean(),
            "The probability underflows to 0 and its logarithm is -inf. " + _LOSS_ON_PAPER,
        ),
        Mistake(
            lambda z, y: -np.log(_at(_below_batch_maximum(z), y)).mean(),
            f"The probability underflows to 0 and its logarithm is -inf. {_LOSS_ON_PAPER} And "
            + _WANTS_ITS_OWN,
        ),
        Mistake(
            lambda z, y: (_log_of_sum(z - z.max()) - _at(z - z.max(), y)).mean(),
            _WANTS_ITS_OWN,
            _LARGEST,
        ),
        Mistake(
            lambda z, y: (_plain_logsumexp(z) - _at(z, y)).mean(),
            "The log-sum-exp and z_y are both near 1000, are rounded there, and then subtracted. "
            + _WITHOUT_ONE_LARGEST,
            _LOGARITHM,
        ),
        Mistake(
            lambda z, y: np.logaddexp.reduce(z - _at(z, y)[:, np.newaxis], axis=-1).mean(),
            "The logit of the label was subtracted, and if it is -inf that is -inf - (-inf), nan. "
            + _WITHOUT_ONE_LARGEST,
            _MINUS_INFINITY,
        ),
        Mistake(
            lambda z, y: _losses_from_label(z, y).mean(),
            "np.exp(z - z_y) overflows where another logit is far above that of the label. "
            + _WITHOUT_ONE_LARGEST,
        ),
        Mistake(
            lambda z, y: (_log_of_sum(z) - _at(z, y)).mean(),
            "exp overflows above 88.7 in float32 (709.8 in float64). " + _WITHOUT_ONE_LARGEST,
            _LARGEST,
        ),
        Mistake(
            lambda z, y: _plain_losses(z, y).mean(),
            "1 + 8e-18 is rounded to 1, and the 8e-18 is gone before any logarithm, "
            "np.log1p(total - 1) included. Leave one largest term, which is 1, out of the sum and "
            "take np.log1p of the others.",
            _LOSS_OF_ZERO,
        ),
    ),
)


# softmax_loss_gradient ----------------------------------------------------------------------------


def _reference_gradient(z: Any, labels: Any) -> Any:
    return softmax_loss.softmax_cross_entropy(z, labels, return_grad=True)[1]


def _minus_at_label(s: Any, labels: Any, amount: float = 1.0) -> Any:
    gradient = s.copy()
    gradient[np.arange(len(s)), labels] -= amount
    return gradient


def _from_columns(z: Any, labels: Any) -> Any:
    gradient = _stable(z)
    gradient[:, labels] -= 1
    return gradient / len(z)


_loss_gradient = Exercise(
    name="softmax_loss_gradient",
    signature="softmax_loss_gradient(z, labels)",
    title="gradient of the mean loss",
    stars=2,
    section=_GRADIENT,
    reference=_reference_gradient,
    cases=(
        Case("four rows, three classes", (_BATCH, _LABELS), absolute=1e-15),
        Case("as many rows as classes", (_BATCH[:3], _LABELS[:3]), absolute=1e-15),
        Case("a batch of one", (_ROW[np.newaxis], np.array([0])), kind="edge", absolute=1e-15),
        Case("labels at both ends", (_BATCH, np.array([0, 2, 0, 2])), kind="edge", absolute=1e-15),
        Case("one class: 0", (np.zeros((2, 1)), np.array([0, 0])), kind="edge", absolute=1e-15),
        Case("float32 in, float32 out", (np.float32(_BATCH), _LABELS), kind="edge", absolute=1e-6),
        Case(
            "another class at -inf: 0 there",
            (np.array([[0.0, -_INF, 1.0]]), np.array([2])),
            kind="edge",
            absolute=1e-15,
        ),
        Case(
            "logits near 1000",
            (np.array([[1000.0, 1001.0, 1002.0]]), np.array([2])),
            kind="adversarial",
            absolute=1e-15,
        ),
        Case(
            "wrong by 800: -1 at the label",
            (_WRONG, np.array([0])),
            kind="adversarial",
            absolute=1e-15,
        ),
        Case(
            "wrong by 100 in float32",
            (np.array([[0, 100]], np.float32), np.array([0])),
            kind="adversarial",
            absolute=1e-6,
        ),
        Case(
            "rows near 1000 and -1000",
            (_FAR_ROWS, np.array([0, 2])),
            kind="adversarial",
            absolute=1e-15,
        ),
    ),
    mistakes=(
        Mistake(
            lambda z, y: _minus_at_label(_stable(z), y),
            "That is the gradient of the sum. The mean divides by the number N of rows, and so "
            "does its gradient.",
        ),
        Mistake(
            lambda z, y: -_minus_at_label(_stable(z), y) / len(z),
            "The sign is wrong: the gradient is s - p. It is negative at the label, where a larger "
            "logit lowers the loss.",
        ),
        Mistake(
            lambda z, y: -_minus_at_label(_stable(z), y),
            "The sign is wrong, the gradient is s - p; and the mean divides by the number of rows.",
        ),
        Mistake(
            lambda z, y: _minus_at_label(_stable(z), y) / z.size,
            "The mean is over the N rows, not over all N K entries.",
        ),
        Mistake(
            lambda z, y: _minus_at_label(_stable(z) / len(z), y),
            "The 1 at the label is divided by the number of rows as well: (s - p)/N.",
        ),
        Mistake(
            lambda z, y: _stable(z) / len(z),
            "The label is missing: the gradient is s - p, one less at the label.",
        ),
        Mistake(
            _from_columns,
            "s[:, labels] -= 1 changes the columns of all labels in every row. "
            "s[np.arange(N), labels] -= 1 changes one entry in each.",
        ),
        Mistake(
            lambda z, y: (_minus_at_label(_stable(z), y) / len(z)).mean(axis=0),
            "Every row has a gradient of its own: the result has the shape of z.",
        ),
        Mistake(
            lambda z, y: -_rows_of_one_hot(z, y) / _stable(z) / len(z),
            "That is the gradient with respect to the probabilities, -p/s. The chain rule "
            "multiplies it by the Jacobian of softmax, and what is left is s - p.",
        ),
        Mistake(
            lambda z, y: _minus_at_label(_plain_log_softmax(z), y) / len(z),
            "It is the probabilities from which 1 is taken, not their logarithms.",
        ),
        Mistake(
            lambda z, y: _minus_at_label(_stable(z, None), y) / len(z),
            "The whole batch became one distribution. " + _KEEPDIMS,
            _AXIS,
        ),
        Mistake(
            lambda z, y: _minus_at_label(_stable(z, 0), y) / len(z),
            "The softmax is over axis 0. " + _KEEPDIMS,
            _AXIS,
        ),
        Mistake(lambda z, y: _minus_at_label(_naive(z), y) / len(z), _OVERFLOW, _LARGEST),
        Mistake(
            lambda z, y: _minus_at_label(_below_batch_maximum(z), y) / len(z),
            _OF_EACH_ROW,
            _LARGEST,
        ),
        Mistake(
            lambda z, y: _product(z, -_rows_of_one_hot(z, y) / _stable(z)) / len(z),
            "The Jacobian times -p/s is right on paper, where s_y cancels. On a machine 1/s_y is "
            "infinite when the model is very wrong, and 0 * inf is nan. Compute s - p.",
        ),
    ),
)


# gradient_check -----------------------------------------------------------------------------------


def _sum_of_squares(x: Any) -> Any:
    return (x**2).sum() / 2


def _loss_of_row(x: Any) -> Any:
    return _plain_logsumexp(x) - x[0]


def _product_of_two(x: Any) -> Any:
    return x[0] * x[1]


def _cubes(x: Any) -> Any:
    return (x**3).sum()


def _gradient_in_float64(function: Any, x: Any) -> Any:
    return numerics.finite_difference_gradient(function, x)


def _differences(function: Any, x: Any, forward: float, backward: float, width: float) -> Any:
    """Return (f(x + forward) - f(x - backward)) / width for every entry."""
    x = np.asarray(x, dtype=np.float64)
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[index] = 1
        difference = function(x + forward * step) - function(x - backward * step)
        gradient[index] = difference / width
    return gradient


def _in_dtype_of_x(function: Any, x: Any) -> Any:
    gradient = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        forward, backward = x.copy(), x.copy()
        forward[index] = x[index] + 1e-5
        backward[index] = x[index] - 1e-5
        gradient[index] = (function(forward) - function(backward)) / 2e-5
    return gradient


def _added_in_place(function: Any, x: Any) -> Any:
    x = x.copy()
    gradient = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        x[index] += 1e-5
        above = function(x)
        x[index] -= 2e-5
        gradient[index] = (above - function(x)) / 2e-5
        x[index] += 1e-5
    return gradient


def _all_at_once(function: Any, x: Any) -> Any:
    h = 1e-5
    return np.full(x.shape, (function(x + h) - function(x - h)) / (2 * h))


_LARGE_ENTRY = (
    "A step of fixed length is lost in a large entry: the neighbours of 1e10 are 2e-6 away. Make "
    "the step h = 6e-6 * max(1, abs(x[i])), for each entry."
)
_STEP_TOO_SHORT = (
    "The step is too short: the difference of two rounded values, about 1e-16 off, is divided by "
    "it. For central differences about 1e-5 is best, the cube root of eps."
)
_FORWARD = (
    "(f(x + h) - f(x))/h is the forward difference, whose error falls with h. The central "
    "difference, (f(x + h) - f(x - h))/(2h), has an error that falls with h squared."
)


def _squares(*x: float) -> tuple[Any, Any]:
    return _sum_of_squares, np.array(x)


_gradient_check = Exercise(
    name="gradient_check",
    signature="gradient_check(function, x)",
    title="gradient by central differences",
    stars=2,
    section=_GRADIENT,
    reference=_gradient_in_float64,
    cases=(
        Case(
            "half the sum of squares: x itself",
            _squares(0.3, -1.1, 0.7),
            absolute=1e-9,
            shown="half the sum of squares, at x = [0.3 -1.1 0.7]",
        ),
        Case(
            "x[0] * x[1]",
            (_product_of_two, np.array([2.0, -3.0])),
            absolute=1e-9,
            shown="x[0] * x[1], at x = [2. -3.]",
        ),
        Case(
            "a softmax loss",
            (_loss_of_row, _ROW),
            absolute=1e-7,
            shown="the softmax loss of the label 0, at z = [1. 2. 3.]",
        ),
        Case(
            "a matrix: the gradient has its shape",
            (_sum_of_squares, np.array([[0.3, -1.1, 0.7], [1.3, 0.2, -0.4]])),
            kind="edge",
            absolute=1e-9,
            shown="half the sum of squares, at a 2 x 3 matrix",
        ),
        Case(
            "one entry",
            _squares(0.5),
            kind="edge",
            absolute=1e-9,
            shown="half the sum of squares, at x = [0.5]",
        ),
        Case(
            "a sum of cubes",
            (_cubes, np.array([0.5, -1.5])),
            kind="edge",
            absolute=1e-6,
            shown="the sum of cubes, at x = [0.5 -1.5]",
        ),
        Case(
            "whole numbers",
            (_sum_of_squares, np.array([1, 2, 3])),
            kind="adversarial",
            absolute=1e-9,
            shown="half the sum of squares, at the integers x = [1 2 3]",
        ),
        Case(
            "an entry of 1e10",
            (_product_of_two, np.array([1e10, 2e10])),
            kind="adversarial",
            eps=2.0**30,  # a relative error of 2e-7
            shown="x[0] * x[1], at x = [1e10 2e10]",
        ),
    ),
    mistakes=(
        Mistake(
            lambda f, x: _differences(f, x, 1e-5, 1e-5, 1e-5),
            "From x - h to x + h it is 2h: divide by 2h.",
        ),
        Mistake(
            lambda f, x: _differences(f, x, -1e-5, -1e-5, 2e-5),
            "The sign is wrong: f(x + h) comes first.",
        ),
        Mistake(
            _all_at_once,
            "All entries were moved at once. Move one at a time: the gradient has an entry for "
            "each.",
        ),
        Mistake(lambda f, x: _differences(f, x, 1e-5, 0, 1e-5), _FORWARD),
        Mistake(lambda f, x: _differences(f, x, 1e-8, 0, 1e-8), _FORWARD),
        Mistake(lambda f, x: _differences(f, x, 1e-6, 0, 1e-6), _FORWARD),
        Mistake(lambda f, x: _differences(f, x, 1e-4, 0, 1e-4), _FORWARD),
        Mistake(lambda f, x: _differences(f, x, 0, 1e-5, 1e-5), _FORWARD),
        Mistake(
            lambda f, x: _differences(f, x, 1e-12, 1e-12, 2e-12),
            _STEP_TOO_SHORT,
            predicate=lambda arguments, expected, got: bool(
                np.allclose(got, expected, rtol=0, atol=0.01)
            ),
        ),
        Mistake(
            lambda f, x: _differences(f, x, 1e-5, 1e-5, 2e-5).ravel(),
            "The gradient has the shape of x.",
        ),
        Mistake(
            _in_dtype_of_x,
            "x holds integers, and 1.00001 written into it becomes 1. Work on a copy in float64: "
            "x.astype(np.float64).",
        ),
        Mistake(
            _added_in_place,
            "x holds integers, to which a small step cannot be added. Work on a copy in float64: "
            "x.astype(np.float64).",
        ),
        Mistake(lambda f, x: _differences(f, x, 1e-5, 1e-5, 2e-5), _LARGE_ENTRY),
        Mistake(lambda f, x: _differences(f, x, 1e-6, 1e-6, 2e-6), _LARGE_ENTRY),
        Mistake(lambda f, x: _differences(f, x, 1e-4, 1e-4, 2e-4), _LARGE_ENTRY),
    ),
)


# masked_loss --------------------------------------------------------------------------------------


def _masked(z: Any, labels: Any, ignore_index: int) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a mean of nothing, which is meant
        return softmax_loss.softmax_cross_entropy(z, labels, ignore_index=ignore_index)


def _counted_losses(z: Any, labels: Any, ignore_index: int) -> tuple[Any, Any]:
    """Return the losses of all rows, any label standing in for ignored ones, and which count."""
    counts = labels != ignore_index
    return _plain_losses(z, np.where(counts, labels, 0)), counts


def _divided_by_all(z: Any, labels: Any, ignore_index: int) -> Any:
    losses, counts = _counted_losses(z, labels, ignore_index)
    return losses[counts].sum() / len(labels)


def _multiplied_by_mask(z: Any, labels: Any, ignore_index: int) -> Any:
    losses, counts = _counted_losses(z, labels, ignore_index)
    return (losses * counts).sum() / counts.sum()


def _guarded(z: Any, labels: Any, ignore_index: int) -> Any:
    losses, counts = _counted_losses(z, labels, ignore_index)
    return losses[counts].sum() / max(counts.sum(), 1)


def _multiplied_and_guarded(z: Any, labels: Any, ignore_index: int) -> Any:
    losses, counts = _counted_losses(z, labels, ignore_index)
    return (losses * counts).sum() / max(counts.sum(), 1)


def _sum_of_counted(z: Any, labels: Any, ignore_index: int) -> Any:
    losses, counts = _counted_losses(z, labels, ignore_index)
    return losses[counts].sum()


def _class_left_out(z: Any, labels: Any, ignore_index: int) -> Any:
    counts = labels != ignore_index
    z = z.copy()
    if 0 <= ignore_index < z.shape[-1]:
        z[:, ignore_index] = -np.inf
    return _plain_losses(z[counts], labels[counts]).mean()


def _naive_masked(z: Any, labels: Any, ignore_index: int) -> Any:
    counts = labels != ignore_index
    return -np.log(_at(_naive(z[counts]), labels[counts])).mean()


def _subtracted_late(z: Any, labels: Any, ignore_index: int) -> Any:
    counts = labels != ignore_index
    z, labels = z[counts], labels[counts]
    return (_plain_logsumexp(z) - _at(z, labels)).mean()


_SELECT_FROM_BOTH = (
    "z and labels no longer have the same number of rows. Select the rows that count from both: "
    "z[keep], labels[keep]."
)
_IGNORED = np.array([2, -100, 1, -100])
_PADDED = np.array([[1.0, 2.0, 3.0], [np.nan, np.nan, np.nan], [0.0, 1.0, 0.5]])

_masked_loss = Exercise(
    name="masked_loss",
    signature="masked_loss(z, labels, ignore_index)",
    title="mean loss of the labels that count",
    stars=2,
    section=_LOSS,
    reference=_masked,
    cases=(
        Case("two of four rows ignored", (_BATCH, _IGNORED, -100)),
        Case("nothing ignored", (_BATCH, _LABELS, -100)),
        Case("ignore_index is a class: 0", (_BATCH, np.array([2, 0, 1, 0]), 0)),
        Case("ignore_index is -1", (_BATCH, np.array([2, -1, 1, 0]), -1), kind="edge"),
        Case("one row counts", (_BATCH, np.array([-100, -100, -100, 1]), -100), kind="edge"),
        Case(
            "all ignored: the mean of nothing, nan",
            (_BATCH[:2], np.array([-100, -100]), -100),
            kind="edge",
        ),
        Case("two of four rows in float32", (np.float32(_BATCH), _IGNORED, -100), kind="edge"),
        Case(
            "an ignored row holds nan",
            (_PADDED, np.array([2, -100, 1]), -100),
            kind="adversarial",
        ),
        Case(
            "logits near 1000 and -1000",
            (_FAR_ROWS, np.array([2, -100]), -100),
            kind="adversarial",
        ),
        Case(
            "ignore_index: a class of the largest logit",
            (np.array([[9.0, 0.0, 1.0], [9.0, 2.0, 0.0]]), np.array([2, 1]), 0),
            kind="adversarial",
        ),
    ),
    mistakes=(
        Mistake(
            _divided_by_all,
            "The sum was divided by the number of all rows. Ignored rows do not count: divide by "
            "the number of the others.",
        ),
        Mistake(
            _sum_of_counted,
            "That is the sum over the rows that count. Divide by their number.",
        ),
        Mistake(
            lambda z, y, i: _plain_losses(z[y != i], y[y != i]),
            "These are the losses of the rows that count. Take the mean of these numbers.",
        ),
        Mistake(lambda z, y, i: _plain_losses(z[y != i], y).mean(), _SELECT_FROM_BOTH),
        Mistake(lambda z, y, i: _plain_losses(z, y[y != i]).mean(), _SELECT_FROM_BOTH),
        Mistake(
            _subtracted_late,
            "The log-sum-exp and z_y are both near 1000, are rounded there, and then subtracted. "
            + _LOSS_ON_PAPER,
            _REPAIRED,
        ),
        Mistake(
            lambda z, y, i: _plain_losses(z, y).mean(),
            "The ignored rows were counted. As an index -1 is the last class and -100 is out of "
            "bounds: take labels != ignore_index first, and only these rows.",
            _TARGET_VALUE,
        ),
        Mistake(
            _class_left_out,
            "ignore_index is a value of the labels, not a class to leave out: rows with that label "
            "do not count, and in all other rows that class stays in the softmax.",
            _TARGET_VALUE,
        ),
        Mistake(
            lambda z, y, i: _plain_losses(z[y >= 0], y[y >= 0]).mean(),
            "What is ignored is said by ignore_index, which may be any number, also a class: "
            "labels != ignore_index.",
            _TARGET_VALUE,
        ),
        Mistake(_naive_masked, _OVERFLOW, _LARGEST),
        Mistake(
            _multiplied_by_mask,
            "0 * nan is nan: an ignored row, of padding for instance, may hold anything. Select "
            "the rows that count, losses[mask], and do not multiply by the mask.",
            _MINUS_INFINITY,
        ),
        Mistake(
            _guarded,
            "The mean of nothing is not 0: nothing was learnt from this batch, and a loss of 0 "
            "looks perfect. np.mean of no rows is nan; return that.",
            _ALL_IGNORED,
        ),
        Mistake(
            _multiplied_and_guarded,
            "The mean of nothing is nan, not 0; and 0 * nan is nan as well, where an ignored row "
            "holds one. Select the rows that count and take their mean.",
            _ALL_IGNORED,
        ),
    ),
)


# smoothed_loss ------------------------------------------------------------------------------------


def _reference_smoothed(z: Any, labels: Any, eps: float) -> Any:
    return softmax_loss.softmax_cross_entropy(z, labels, label_smoothing=eps)


def _against(targets: Any, z: Any) -> Any:
    return -(targets * _plain_log_softmax(z)).sum(axis=-1).mean()


def _shared_among_others(z: Any, labels: Any, eps: float) -> Any:
    hot = _rows_of_one_hot(z, labels)
    return _against((1 - eps) * hot + eps / (z.shape[-1] - 1) * (1 - hot), z)


def _label_kept_at_one_minus_eps(z: Any, labels: Any, eps: float) -> Any:
    hot = _rows_of_one_hot(z, labels)
    return _against((1 - eps) * hot + eps / z.shape[-1] * (1 - hot), z)


def _added_only(z: Any, labels: Any, eps: float) -> Any:
    return _against(_rows_of_one_hot(z, labels) + eps / z.shape[-1], z)


def _eps_to_each(z: Any, labels: Any, eps: float) -> Any:
    return _against((1 - eps) * _rows_of_one_hot(z, labels) + eps, z)


def _roles_swapped(z: Any, labels: Any, eps: float) -> Any:
    return _against(eps * _rows_of_one_hot(z, labels) + (1 - eps) / z.shape[-1], z)


def _smoothed_targets(z: Any, labels: Any, eps: float) -> Any:
    return (1 - eps) * _rows_of_one_hot(z, labels) + eps / z.shape[-1]


def _log_sum_exp_minus_mean(z: Any, labels: Any, eps: float) -> Any:
    return (_plain_logsumexp(z) - (_smoothed_targets(z, labels, eps) * z).sum(axis=-1)).mean()


def _is_capped(_: Any, expected: Any, got: Any) -> bool:
    """Say whether a loss is nearly right or, where a class far behind has a share, too small."""
    return bool(abs(got - expected) < 1e-4 or (expected > 2.5 and 0 < got < 0.95 * expected))


_smoothed_loss = Exercise(
    name="smoothed_loss",
    signature="smoothed_loss(z, labels, eps)",
    title="mean loss with smoothed labels",
    stars=2,
    section=_LOSS,
    reference=_reference_smoothed,
    cases=(
        Case("four rows, eps = 0.1", (_BATCH, _LABELS, 0.1)),
        Case("eps = 0: the softmax loss", (_BATCH, _LABELS, 0.0)),
        Case("eps = 1: the uniform target", (_BATCH, _LABELS, 1.0), kind="edge"),
        Case("two classes", (_BATCH[:, :2], np.array([1, 0, 1, 1]), 0.2), kind="edge"),
        Case("a batch of one", (_ROW[np.newaxis], np.array([2]), 0.1), kind="edge"),
        Case("four rows in float32", (np.float32(_BATCH), _LABELS, 0.1), kind="edge"),
        Case(
            "right by 40: far above the floor",
            (_SURE, _SURE_LABELS, 0.1),
            kind="adversarial",
        ),
        Case("a gap of 800", (np.array([[800.0, 0.0]]), np.array([0]), 0.1), kind="adversarial"),
        Case("rows near 1000 and -1000", (_FAR_ROWS, np.array([0, 2]), 0.1), kind="adversarial"),
        Case(
            "another class at -inf, eps = 0.1: inf",
            (np.array([[0.0, -_INF, 1.0]]), np.array([2]), 0.1),
            kind="adversarial",
        ),
        Case(
            "another class at -inf, eps = 0",
            (np.array([[0.0, -_INF, 1.0]]), np.array([2]), 0.0),
            kind="adversarial",
        ),
    ),
    mistakes=(
        Mistake(
            _shared_among_others,
            "eps was shared among the other classes, eps/(K - 1) each. By the usual convention, "
            "that of cebook and PyTorch, all K classes get eps/K, that of the label too.",
            _SHARES,
        ),
        Mistake(
            _label_kept_at_one_minus_eps,
            "The targets sum to less than 1: the label has 1 - eps + eps/K, not 1 - eps.",
            _SHARES,
        ),
        Mistake(
            _added_only,
            "The targets sum to more than 1: the label gives up eps before all classes get eps/K.",
            _SHARES,
        ),
        Mistake(
            _eps_to_each,
            "Each class gets eps/K, not eps: otherwise the targets sum to more than 1.",
            _SHARES,
        ),
        Mistake(
            _roles_swapped,
            "1 - eps and eps are swapped: eps is the small share that goes to all classes.",
            _SHARES,
        ),
        Mistake(lambda z, y, e: _plain_losses(z, y).mean(), "eps was not used.", _SHARES),
        Mistake(
            lambda z, y, e: _against(_smoothed_targets(z, y, e), z) * len(z),
            "That is the sum of the losses of the rows. The mean is asked for.",
        ),
        Mistake(
            lambda z, y, e: -(_smoothed_targets(z, y, e) * _plain_log_softmax(z)).sum(axis=-1),
            "These are the losses of the rows. Take the mean of these numbers.",
        ),
        Mistake(
            lambda z, y, e: -(_smoothed_targets(z, y, e) * _plain_log_softmax(z)).mean(),
            "mean() divided by rows times classes. Sum over the classes, then take the mean over "
            "the rows.",
        ),
        Mistake(
            lambda z, y, e: -np.log((_smoothed_targets(z, y, e) * _stable(z)).sum(axis=-1)).mean(),
            "The logarithm comes before the sum: (p * np.log(s)).sum(), not np.log((p * s).sum()).",
        ),
        Mistake(
            _log_sum_exp_minus_mean,
            "The log-sum-exp and the mean of z under p are both near 1000, are rounded there, and "
            "then subtracted. Subtract the row's largest from z first; then nothing large is left.",
            _LOGARITHM,
        ),
        Mistake(
            None,
            "A small number added inside the logarithm, or a clip, caps the loss. " + _ON_PAPER,
            _LOGARITHM,
            predicate=_is_capped,
            decisive=("a gap of 800",),
        ),
        Mistake(
            lambda z, y, e: -(_smoothed_targets(z, y, e) * np.log(_naive(z))).sum(axis=-1).mean(),
            f"{_OVERFLOW} {_ON_PAPER}",
            _LARGEST,
        ),
        Mistake(
            lambda z, y, e: -(_smoothed_targets(z, y, e) * np.log(_stable(z))).sum(axis=-1).mean(),
            "A probability underflows to 0 and its logarithm is -inf. " + _ON_PAPER,
            _LOGARITHM,
        ),
        Mistake(
            lambda z, y, e: _against(_smoothed_targets(z, y, e), z),
            "0 * -inf is nan. A class that has no share of the target costs nothing: count a term "
            "only where the target is above 0.",
            _MINUS_INFINITY,
        ),
    ),
)

EXERCISES = (
    _softmax,
    _jacobian_vector_product,
    _tempered_softmax,
    _logsumexp,
    _log_softmax,
    _loss,
    _loss_gradient,
    _gradient_check,
    _masked_loss,
    _smoothed_loss,
)
