"""The exercises of Part I: entropy, the length of a code, divergence."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from .. import information
from ._checker import Case, Exercise, Mistake, Section, has_an_epsilon

_ENTROPY = Section("information/entropy", "expected-surprise", "Entropy is expected surprise")
_CODE = Section("information/cross-entropy", "wrong-code", "The price of the wrong code")
_DIVERGENCE = Section("information/cross-entropy", "divergence", "Divergence")
_PLAIN_SUM = Section("information/cross-entropy", "plain-sum", "Why the plain sum goes negative")
_DIRECTIONS = Section("information/cross-entropy", "two-directions", "Two directions")
_INFINITE = Section(
    "information/cross-entropy",
    "infinite-divergence",
    "Where it is infinite, and a divergence that is not",
)

_P = np.array([0.5, 0.25, 0.125, 0.125])
_Q = np.array([0.125, 0.125, 0.25, 0.5])
_THREE, _OTHER = np.array([0.7, 0.2, 0.1]), np.array([0.3, 0.3, 0.4])

_ZERO_LOG_ZERO = "0 log 0 counts as 0, but a machine computes 0 * -inf, which is nan. "
_POSSIBLE_ALONE = _ZERO_LOG_ZERO + "Sum only over the outcomes with p > 0"
_HIDDEN_EPSILON = (
    "A small number added inside the logarithm avoids nan and makes every result wrong from some "
    "digit on. Leave the outcomes with p = 0 out of the sum instead."
)


# entropy ------------------------------------------------------------------------------------------


def _terms(p: Any, q: Any) -> Any:
    """Return -p log q where p > 0."""
    return -(p[p > 0] * np.log(q[p > 0]))


def _is_near(_: Any, expected: Any, got: Any) -> bool:
    """Say whether a result may come from a logarithm with a small number in it, of any size."""
    return expected is not ValueError and bool(abs(got - expected) < 1e-4)


def _refuses(*p: float, why: str) -> Case:
    return Case(f"refuses {why}", (np.array(p),), raises=ValueError)


def _is_wider(_: Any, result: Any) -> str:
    if type(result) is not float and np.asarray(result).dtype == np.float64:
        return "The result is float64, where p is float32."
    return ""


def _is_minus_zero(_: Any, result: Any) -> str:
    if not np.signbit(result):
        return ""
    return "The result is -0.0. -(1.0 * np.log(1.0)) is; 0.0 - np.log(1.0) is not."


_entropy = Exercise(
    name="entropy",
    signature="entropy(p)",
    title="average surprise in nats",
    stars=1,
    section=_ENTROPY,
    reference=information.entropy,
    cases=(
        Case("three outcomes", (_THREE,)),
        Case("uniform over six: log 6", (np.full(6, 1 / 6),)),
        Case("an impossible outcome", (np.array([0.5, 0.5, 0.0]),), kind="edge", quiet=True),
        Case(
            "a certain outcome: 0.0",
            (np.array([1.0]),),
            kind="edge",
            quiet=True,
            absolute=1e-15,
            also=_is_minus_zero,
        ),
        Case("float32 in, float32 out", (np.float32(_P),), kind="edge", also=_is_wider),
        Case("a probability of 1e-300", (np.array([1.0, 1e-300]),), kind="adversarial"),
        _refuses(1.5, -0.5, why="a negative entry"),
        _refuses(0.6, 0.6, why="a sum of 1.2"),
        _refuses(np.nan, 1.0, why="nan"),
    ),
    mistakes=(
        Mistake(
            lambda p: -np.sum(p * np.log2(p)),
            "That is the entropy in bits: np.log2 gives bits, np.log nats.",
        ),
        Mistake(
            lambda p: _terms(p, p).sum() / np.log(2),
            "That is the entropy in bits: np.log2 gives bits, np.log nats.",
        ),
        Mistake(
            lambda p: -_terms(p, p).sum(),
            "The minus sign is missing: log p is negative, and the surprise is -log p.",
        ),
        Mistake(
            lambda p: _terms(p, p).mean(),
            "The terms are weighted by p already, so they are added up: sum, not mean.",
        ),
        Mistake(lambda p: -np.log(p).mean(), "Each surprise -log p must be weighted by its p."),
        Mistake(
            None,
            _HIDDEN_EPSILON,
            predicate=_is_near,
            decisive=("a certain outcome: 0.0",),
        ),
        Mistake(lambda p: -np.sum(p * np.log(np.clip(p, 1e-12, 1))), _HIDDEN_EPSILON),
        Mistake(lambda p: -np.sum(p * np.log(p)), _POSSIBLE_ALONE + ", as p[p > 0]."),
        Mistake(
            lambda p: -np.nansum(p * np.log(p)),
            "nansum hides a nan and not its cause, and it would hide one in p as well. Take the "
            "outcomes with p > 0 before the logarithm.",
        ),
        Mistake(
            lambda p: np.sum(np.where(p > 0, -p * np.log(p), 0)),
            "np.where computes both of its branches for all entries, so the logarithm of 0 is "
            "taken and then thrown away. Take the outcomes with p > 0 before it.",
        ),
        Mistake(
            None,
            "Every comparison with nan is false. Test for what must hold, (p >= 0).all() and the "
            "sum, and raise if it does not.",
            predicate=lambda arguments, *_: bool(np.isnan(arguments[0]).any()),
        ),
        Mistake(
            None,
            "What is no distribution has no entropy, and a formula gives a number all the same. "
            "Raise ValueError unless all entries are >= 0 and sum to 1, within 1e-8.",
            predicate=lambda _, expected, __: expected is ValueError,
        ),
    ),
)


# code_length --------------------------------------------------------------------------------------

_WITH_ZERO = np.array([0.5, 0.5, 0.0])

_code_length = Exercise(
    name="code_length",
    signature="code_length(p, q)",
    title="bits a symbol, words made for q",
    stars=1,
    section=_CODE,
    reference=functools.partial(information.cross_entropy, base=2),
    cases=(
        Case("the two codes of the chapter: 2.625 bits", (_P, _Q)),
        Case("three outcomes", (_THREE, _OTHER)),
        Case("the right code: the entropy", (_P, _P), kind="edge"),
        Case("an outcome that never comes", (_WITH_ZERO, np.array([0.5, 0.25, 0.25])), kind="edge"),
        Case("... and has no word: costs nothing", (_WITH_ZERO, _WITH_ZERO), kind="edge"),
        Case("no word for what comes: inf", (np.array([0.5, 0.25, 0.25]), _WITH_ZERO), kind="edge"),
        Case("the two codes in float32", (np.float32(_P), np.float32(_Q)), kind="edge"),
        Case(
            "a word of a thousand bits",
            (np.array([0.5, 0.5]), np.array([1.0, 2.0**-1000])),
            kind="adversarial",
        ),
    ),
    mistakes=(
        Mistake(
            lambda p, q: _terms(p, q).sum(),
            "That is the length in nats. Digits are counted in bits: np.log2.",
        ),
        Mistake(
            lambda p, q: _terms(q, p).sum() / np.log(2),
            "p and q are swapped. Symbols arrive as p says, and each costs what the code for q "
            "charges: p outside the logarithm, q inside.",
        ),
        Mistake(
            lambda p, q: _terms(q, q).sum() / np.log(2),
            "That is the entropy of q, the length if the symbols came from q. They come from p: "
            "p belongs outside the logarithm.",
        ),
        Mistake(
            lambda p, q: _terms(p, p).sum() / np.log(2),
            "That is the entropy of p, the length with the right code. The words are made for q.",
        ),
        Mistake(
            lambda p, q: np.sum(p[p > 0] * np.ceil(-np.log2(q[p > 0]))),
            "Ideal words need not have a whole number of bits: -log2 q is not rounded up.",
        ),
        Mistake(
            lambda p, q: (_terms(p, q).sum() - _terms(p, p).sum()) / np.log(2),
            "That is the excess over the entropy, the divergence. The whole length is asked for.",
            _DIVERGENCE,
        ),
        Mistake(
            lambda p, q: -_terms(p, q).sum() / np.log(2),
            "The minus sign is missing: log2 q is negative, and a word has -log2 q bits.",
        ),
        Mistake(
            lambda p, q: -np.log2(q).mean(),
            "That counts every symbol equally. Weight the length of each word by its p.",
        ),
        Mistake(lambda p, q: -np.sum(p * np.log2(q)), _POSSIBLE_ALONE + ": q may be 0 there."),
        Mistake(
            None,
            "With a small number added inside the logarithm, or a clip, no word is longer than its "
            "own: 40 bits for 1e-12. A word that does not exist costs inf, and that is the right "
            "answer.",
            _INFINITE,
            predicate=has_an_epsilon,
            decisive=("no word for what comes: inf", "a word of a thousand bits"),
        ),
        Mistake(
            lambda p, q: _terms(p[q > 0], q[q > 0]).sum() / np.log(2),
            "Outcomes with q = 0 must not be left out: if one of them comes, there is no word for "
            "it, and the length is inf. Leave out those with p = 0.",
            _INFINITE,
        ),
    ),
)


# kl_divergence ------------------------------------------------------------------------------------

# Both sum to 1 without rounding, so that the plain and the generalised sum are the same number.
_STEP = round(1.37 * 2**29) * 2.0**-53
_NEAR_P = np.array([0.25, 0.25, 0.5])
_NEAR_Q = _NEAR_P + _STEP * np.array([1, -2, 1])
_OPENING = np.array([0.1, 0.2, 0.7])  # the pair of the chapter's first cell, a little further apart


def _plain_terms(p: Any, q: Any) -> Any:
    return p[p > 0] * np.log(p[p > 0] / q[p > 0])


def _exact_log_terms(p: Any, q: Any) -> Any:
    """Return p log(p/q) without the rounding of the ratio, and 0 where p is 0."""
    return np.where(p > 0, p * np.log1p((p - q) / q), 0)


def _added_from_the_left(p: Any, q: Any) -> Any:
    return (_exact_log_terms(p, q) - p + q).sum()


def _adds_from_the_left(arguments: Any, expected: Any, got: Any) -> bool:
    """Say whether a result is rounded as in (a - p) + q, which no looser comparison shows."""
    if expected > 1e-10:
        return True
    p, q = arguments
    a = _exact_log_terms(p, q)
    forms = (a - p + q).sum(), (a + q - p).sum(), a.sum() - p.sum() + q.sum()
    return any(abs(got - form) < 1e-3 * abs(form - expected) for form in forms)


def _possible_alone(p: Any, q: Any) -> Any:
    return (_exact_log_terms(p, q) - (p - q))[p > 0].sum()


def _by_relative_change(p: Any, q: Any) -> Any:
    r = (q - p) / p
    return np.sum(np.where(p > 0, p * (r - np.log1p(r)), q))


_kl_divergence = Exercise(
    name="kl_divergence",
    signature="kl_divergence(p, q)",
    title="what the wrong code costs, in nats",
    stars=2,
    section=_DIVERGENCE,
    reference=information.kl_divergence,
    cases=(
        Case("three outcomes", (_THREE, _OTHER)),
        Case("the two codes of the chapter", (_P, _Q)),
        Case("no difference: 0", (_THREE, _THREE), kind="edge", absolute=1e-15),
        Case("an outcome that never comes", (_WITH_ZERO, np.array([0.5, 0.25, 0.25])), kind="edge"),
        Case(
            "... and that q rules out: 0 log (0/0) is 0",
            (_WITH_ZERO, np.array([0.25, 0.75, 0.0])),
            kind="edge",
        ),
        Case("q rules out what comes: inf", (np.array([0.5, 0.25, 0.25]), _WITH_ZERO), kind="edge"),
        Case("the two codes in float32", (np.float32(_P), np.float32(_Q)), kind="edge"),
        Case(
            "q has 1e-20 where p has a half",
            (np.array([0.5, 0.5]), np.array([1.0, 1e-20])),
            kind="adversarial",
        ),
        Case(
            "p and q differ by 1e-7: six digits",
            (_NEAR_P, _NEAR_Q),
            kind="adversarial",
            eps=2.0**32,  # a relative error of 1e-6
            section=_PLAIN_SUM,
        ),
        Case(
            "the pair of the opening: six digits",
            (_OPENING, _OPENING * (1 + 1e-7 * np.array([1, -4, 1]))),
            kind="adversarial",
            eps=2.0**32,  # p log1p(d) - (p - q) is off by 7e-10
            section=_PLAIN_SUM,
        ),
    ),
    mistakes=(
        Mistake(
            lambda p, q: _plain_terms(p, q).sum() / np.log(2),
            "That is the divergence in bits: np.log2 gives bits, np.log nats.",
        ),
        Mistake(
            lambda p, q: _plain_terms(q, p).sum(),
            "p and q are swapped: the two directions are different numbers. The average is over "
            "what comes, p, and p is above q in the ratio.",
            _DIRECTIONS,
        ),
        Mistake(
            lambda p, q: -_plain_terms(p, q).sum(),
            "The sign is wrong: a divergence is never negative. The ratio is p/q, or the "
            "logarithm of q/p with a minus sign.",
        ),
        Mistake(
            lambda p, q: _terms(p, q).sum(),
            "That is the cross-entropy, the whole length of the code. The divergence is its "
            "excess over the entropy of p.",
        ),
        Mistake(
            lambda p, q: np.sum(q * np.log(p / q)),
            "The average is over what comes: the factor before the logarithm is p, not q.",
        ),
        Mistake(
            lambda p, q: _plain_terms(p, q).mean(),
            "The terms are weighted by p already, so they are added up: sum, not mean.",
        ),
        Mistake(
            lambda p, q: np.abs(_plain_terms(p, q)).sum(),
            "Single terms may be negative, and must be: only their sum is never negative.",
        ),
        Mistake(
            None,
            "A small number added inside the logarithm, or a clip, makes the result finite where "
            "it is infinite, and others wrong from some digit on. Take the logarithm only where "
            "p > 0.",
            _INFINITE,
            predicate=has_an_epsilon,
            decisive=("q rules out what comes: inf",),
        ),
        Mistake(
            lambda p, q: np.sum(p * np.log(p / q)),
            _ZERO_LOG_ZERO + "Take the logarithm only where p > 0.",
            _CODE,
        ),
        Mistake(
            _possible_alone,
            "An outcome with p = 0 still adds its q. Take the logarithms where p > 0, but sum "
            "p - q over all outcomes.",
        ),
        Mistake(
            lambda p, q: _plain_terms(p[q > 0], q[q > 0]).sum(),
            "Outcomes with q = 0 must not be left out: if p > 0 there the divergence is inf, and "
            "that is the right answer. Leave out those with p = 0.",
            _INFINITE,
        ),
        Mistake(
            lambda p, q: np.sum((q - p) ** 2 / (2 * p)),
            "That is the approximation for p near q. Far apart it is another number.",
            _PLAIN_SUM,
        ),
        Mistake(
            _by_relative_change,
            "r = (q - p)/p is rounded to -1 where q is far below p, and np.log1p(-1) is -inf. "
            "log(p/q) is also np.log1p((p - q) / q), which has its digits there and near p = q.",
            _PLAIN_SUM,
        ),
        Mistake(
            lambda p, q: _exact_log_terms(p, q).sum(),
            "The logarithm is exact now. But p and q, as stored, sum to 1 only up to the last "
            "digit, and the plain sum counts that. Subtract p - q as well, as the generalised sum "
            "does.",
            _PLAIN_SUM,
        ),
        Mistake(
            _added_from_the_left,
            "a - p + q is computed as (a - p) + q, and a is lost beside p. Bracket the difference: "
            "a - (p - q).",
            _PLAIN_SUM,
            predicate=_adds_from_the_left,
        ),
        Mistake(
            lambda p, q: _plain_terms(p, q).sum(),
            "The ratio p/q is rounded to a multiple of 1e-16 and the logarithm keeps that error, "
            "while the terms, of size 1e-7, cancel to 1e-14. np.log1p((p - q) / q) is the same "
            "logarithm without that rounding.",
            _PLAIN_SUM,
        ),
    ),
)

EXERCISES = (_entropy, _code_length, _kl_divergence)
