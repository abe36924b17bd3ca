"""What an exercise is, how a reader's function is run on it, and how its mistake is found.

An :class:`Exercise` has cases and known mistakes. A case is an input; what is right comes from the
reference, which is cebook's own function. A :class:`Mistake` is itself a function, wrong in a way
that many solutions are: a solution that fails where the mistake fails, with the same result, is
told what the author of the mistake should know.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import re
import signal
import sys
import textwrap
import threading
import time
import traceback
import tracemalloc
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

Kind = Literal["ordinary", "edge", "adversarial"]
Arguments = tuple[Any, ...]

_WIDTH = 50  # characters, so that a telephone shows a line whole


@dataclass(frozen=True)
class Section:
    """Where the book explains something: a page, the MyST label above a heading, the heading."""

    page: str
    label: str
    heading: str

    def __str__(self) -> str:
        return f'{self.page}, section "{self.heading}"'


@dataclass(frozen=True)
class Case:
    """One input, and how well it must be answered.

    Parameters
    ----------
    title : str
        What the case is about, at most about 50 characters: "a gap of 800 in float64".
    arguments : tuple, or function without parameters that returns one
        Passed by position. Arrays are copied for every call; what cannot be copied, such as an
        iterator, is made anew by a function.
    keywords : dict
        Passed by name.
    kind : "ordinary", "edge" or "adversarial"
    eps : float
        How many eps of the dtype of the expected result the result may be wrong, relatively: enough
        for a plain stable solution.
    absolute : float
        What the result may be wrong beyond that. The smallest normal number is always allowed.
    raises : exception type, optional
        The function must raise it. The reference is not called.
    quiet : bool
        A right result with a warning fails. Without it the warning is shown and the case passes.
    expected : function, optional
        In place of the reference of the exercise.
    shown : str
        The input in words, where printing the arguments would not help.
    max_bytes : int, optional
        How much memory the call may need at once, its result included.
    section : Section, optional
        What explains the case, if not the section of the exercise.
    also : function, optional
        Called with the arguments after the call, and the result, when the result is right. Returns
        what is wrong nevertheless, or an empty string.
    """

    title: str
    arguments: Arguments | Callable[[], Arguments]
    keywords: Mapping[str, Any] = field(default_factory=dict)
    kind: Kind = "ordinary"
    eps: float = 32.0
    absolute: float = 0.0
    raises: type[Exception] | None = None
    quiet: bool = False
    expected: Callable[..., Any] | None = None
    shown: str = ""
    max_bytes: int | None = None
    section: Section | None = None
    also: Callable[[Arguments, Any], str] | None = None

    def fresh(self) -> Arguments:
        """Return arguments that nobody else holds."""
        return self.arguments() if callable(self.arguments) else copy.deepcopy(self.arguments)


@dataclass(frozen=True)
class Mistake:
    """A typical wrong solution, and what its author is told.

    Parameters
    ----------
    function : function or None
        The wrong solution, called as the right one is.
    message : str
        What is wrong and what to do, in a sentence or two. The section is added to it.
    section : Section, optional
        Where the book explains it, if not in the section of the exercise.
    predicate : function, optional
        ``predicate(arguments, expected, got)`` says whether a wrong result looks like this mistake,
        for mistakes that no single function shows. With a function both must agree.
    decisive : tuple of str, optional
        The titles of cases in which the mistake must show, for one that is not told by the first
        failure: a loss with an epsilon is inexact in any case, but only capped in some.
    """

    function: Callable[..., Any] | None
    message: str
    section: Section | None = None
    predicate: Callable[[Arguments, Any, Any], bool] | None = None
    decisive: tuple[str, ...] = ()


@dataclass(frozen=True)
class Exercise:
    """A coding exercise: what is asked, how it is checked, where the book explains it.

    Parameters
    ----------
    name : str
        What ``check`` knows it by.
    signature : str
        How the reader's function is called: "softmax(z)".
    title : str
        What it returns, at most about 40 characters, for the catalogue.
    stars : 1, 2 or 3
    section : Section
        What explains it.
    reference : function
        The right answer, called as the reader's function is.
    cases : tuple of Case
    mistakes : tuple of Mistake
        The more particular first: among equals the first is named.
    """

    name: str
    signature: str
    title: str
    stars: int
    section: Section
    reference: Callable[..., Any]
    cases: tuple[Case, ...]
    mistakes: tuple[Mistake, ...]

    def expected(self, case: Case) -> Any:
        """Return the right answer to a case, or the exception type that is wanted."""
        if case.raises is not None:
            return case.raises
        with _quietly():
            return (case.expected or self.reference)(*case.fresh(), **case.keywords)


def has_an_epsilon(_: Arguments, expected: Any, got: Any) -> bool:
    """Say whether a result may come from a logarithm to whose argument a small number was added.

    It is nearly right then, except where much more is right than minus the logarithm of the small
    number: there it is capped.
    """
    size = abs(expected)
    capped = np.isfinite(got) & (got * expected > 0) & (abs(got) < np.minimum(60, 0.95 * size))
    return bool(np.where(size > 30, capped, abs(got - expected) < 1e-4).all())


# Running one case ---------------------------------------------------------------------------------


class TimeUp(BaseException):
    """Raised in a function that has run too long; no ``except Exception`` stops it."""


@dataclass
class Outcome:
    """What a function did with a case: a value or an error, and what is wrong with it."""

    case: Case
    expected: Any
    value: Any = None
    error: BaseException | None = None
    warning: str = ""
    peak_bytes: int = 0  # measured where the case sets a limit
    fault: str = ""  # what is wrong, in words; empty when the case passes
    timed_out: bool = False


def run_case(
    exercise: Exercise, case: Case, function: Callable[..., Any], seconds: float | None
) -> Outcome:
    """Call the function with a case and judge what it does."""
    outcome = Outcome(case, exercise.expected(case))
    arguments = case.fresh()
    unbound = _unbound(exercise, function, arguments, case.keywords)
    if unbound:
        outcome.fault = unbound
        return outcome
    _attempt(outcome, function, arguments, seconds)
    outcome.fault = _fault(outcome, arguments)
    return outcome


def _attempt(
    outcome: Outcome, function: Callable[..., Any], arguments: Arguments, seconds: float | None
) -> None:
    """Call the function and note what comes of it."""
    with _numpy_warns() as caught, _measured(outcome):
        try:
            call = functools.partial(function, *arguments, **outcome.case.keywords)
            outcome.value = call_within(call, seconds)
        except TimeUp:
            outcome.timed_out = True
        except (Exception, SystemExit) as error:
            outcome.error = error
    if caught:
        outcome.warning = f"{caught[0].category.__name__}: {caught[0].message}"


def _unbound(
    exercise: Exercise,
    function: Callable[..., Any],
    arguments: Arguments,
    keywords: Mapping[str, Any],
) -> str:
    """Return what is wrong when the function does not take these arguments."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some functions written in C have none
        return ""
    try:
        signature.bind(*arguments, **keywords)
    except TypeError as error:
        return (
            f"It cannot be called as {exercise.signature}: {error}. "
            "The parameters may have any names, but must be these, in this order."
        )
    return ""


@contextlib.contextmanager
def _numpy_warns() -> Iterator[Sequence[warnings.WarningMessage]]:
    """Collect what would be warned of, whatever the reader has switched off."""
    with (
        warnings.catch_warnings(record=True) as caught,
        np.errstate(divide="warn", over="warn", invalid="warn", under="ignore"),
    ):
        warnings.simplefilter("always")
        yield caught


@contextlib.contextmanager
def _measured(outcome: Outcome) -> Iterator[None]:
    """Note how much memory is taken, if the case sets a limit."""
    if outcome.case.max_bytes is None:
        yield
        return
    tracing = tracemalloc.is_tracing()
    if not tracing:
        tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    try:
        yield
    finally:
        outcome.peak_bytes = tracemalloc.get_traced_memory()[1] - before
        if not tracing:
            tracemalloc.stop()


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def _fault(outcome: Outcome, arguments: Arguments) -> str:
    """Return what is wrong with an outcome, or an empty string."""
    case, error = outcome.case, outcome.error
    if outcome.timed_out:
        return "It was still running when the time was up."
    if case.raises is not None:
        if error is None:
            return f"It raised nothing, where a {case.raises.__name__} is wanted."
        if not isinstance(error, case.raises):
            return f"It raised {_short_error(error)}, not a {case.raises.__name__}."
        return ""
    if type(error) is NotImplementedError:
        return (
            "It is not written yet: it raises NotImplementedError. Put your code in place of that."
        )
    if error is not None:
        return f"It raised {_short_error(error)}.{_advice(error)}"
    return (
        _fault_of_value(outcome.value, outcome.expected, case)
        or _fault_of_input(case, arguments)
        or _fault_of_memory(outcome)
        or (case.also(arguments, outcome.value) if case.also else "")
        or (f"The result is right, but came with a {outcome.warning}." if _loud(outcome) else "")
    )


def _loud(outcome: Outcome) -> bool:
    return outcome.case.quiet and bool(outcome.warning)


def _short_error(error: BaseException) -> str:
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename != __file__]
    if not own:
        return text
    return f"{text} (in {own[0].name}, line {own[0].lineno})"


def _advice(error: BaseException) -> str:
    if str(error).startswith("The truth value of an array"):
        return " max() and if take one number; np.maximum and np.where take arrays."
    return ""


def _fault_of_input(case: Case, arguments: Arguments) -> str:
    if callable(case.arguments):
        return ""
    for number, (before, after) in enumerate(zip(case.arguments, arguments, strict=True)):
        if not _same(before, after):
            return (
                f"It changed its argument number {number + 1}. An array that is passed in belongs "
                "to the caller: write x = x - m, not x -= m, and x = np.where(...), "
                "not x[...] = 0."
            )
    return ""


def _fault_of_memory(outcome: Outcome) -> str:
    limit, peak = outcome.case.max_bytes, outcome.peak_bytes
    if limit is None or peak <= limit:
        return ""
    return f"It needed {peak / 1e6:.1f} MB at once, where {limit / 1e6:.1f} MB are enough."


def _same(before: Any, after: Any) -> bool:
    """Say whether an array, or every array in a tuple, is what it was."""
    if isinstance(before, tuple):
        return all(map(_same, before, after))
    if not isinstance(before, np.ndarray):
        return True
    return before.shape == after.shape and np.array_equal(
        before, after, equal_nan=before.dtype.kind == "f"
    )


def _fault_of_value(value: Any, expected: Any, case: Case) -> str:
    """Return what is wrong with a result, or an empty string: first its type, then its numbers."""
    if value is None:
        return "It returned None. Is a return statement missing?"
    if isinstance(expected, tuple):
        return _fault_of_tuple(value, expected, case)
    if isinstance(value, tuple):
        return f"It returned a tuple of {len(value)}, where one array or number is wanted."
    if isinstance(value, list):
        return "It returned a Python list. Return a NumPy array: np.array(...) makes one."
    if not isinstance(value, (np.ndarray, np.generic, float, int)):
        return f"It returned a {type(value).__name__}, not a NumPy array or number."
    wanted, got = np.asarray(expected), np.asarray(value)
    return (
        _fault_of_shape(got, wanted)
        or _fault_of_dtype(value, got, wanted)
        or _fault_of_numbers(got, wanted, case)
    )


def _fault_of_tuple(value: Any, expected: tuple[Any, ...], case: Case) -> str:
    if not isinstance(value, tuple) or len(value) != len(expected):
        got = f"a tuple of {len(value)}" if isinstance(value, tuple) else type(value).__name__
        return f"It returned {got}, where a tuple of {len(expected)} is wanted."
    faults = (_fault_of_value(v, e, case) for v, e in zip(value, expected, strict=True))
    return next((f"Item {i}: {fault}" for i, fault in enumerate(faults) if fault), "")


def _fault_of_shape(got: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> str:
    if got.shape == wanted.shape:
        return ""
    fault = f"The shape of the result is {got.shape}, where {wanted.shape} is wanted."
    if wanted.shape == ():
        return f"{fault[:-1]}, that is, one number."
    if got.squeeze().shape == wanted.squeeze().shape and got.ndim > wanted.ndim:
        return f"{fault} keepdims=True leaves an axis of length 1 behind."
    return fault


def _fault_of_dtype(value: Any, got: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> str:
    if got.dtype == wanted.dtype or (type(value) in (float, int) and wanted.dtype.kind == "f"):
        return ""
    if wanted.shape == () and np.can_cast(wanted.dtype, got.dtype) and got.dtype.kind == "f":
        return ""  # float32 divided by an integer of NumPy's is float64: for one number, let it be
    fault = f"The dtype of the result is {got.dtype}, where {wanted.dtype} is wanted."
    if got.dtype.kind == wanted.dtype.kind == "f":
        return f"{fault} A function should answer in the precision in which it was asked."
    return fault


_FAULTS_OF_NUMBERS = _NAN, _INEXACT, _WRONG = (
    "The result holds nan.",
    "The result is not exact enough.",
    "The numbers are wrong.",
)


def _fault_of_numbers(got: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any], case: Case) -> str:
    if wanted.dtype.kind != "f":
        return "" if np.array_equal(got, wanted) else _WRONG
    limits = np.finfo(wanted.dtype)
    absolute = max(case.absolute, float(limits.tiny))
    if _close(got, wanted, case.eps * float(limits.eps), absolute):
        return ""
    if np.isnan(got).any() and not np.isnan(wanted).any():
        return _NAN
    return _INEXACT if _close(got, wanted, 1e-3, 1e-3) else _WRONG


def _close(got: Any, wanted: Any, relative: float, absolute: float) -> bool:
    """Compare in float64 or wider, where nan equals nan and inf equals inf."""
    wide = np.result_type(wanted, np.float64)
    got, wanted = np.asarray(got).astype(wide), np.asarray(wanted).astype(wide)
    return bool(np.allclose(got, wanted, rtol=relative, atol=absolute, equal_nan=True))


# The time limit -----------------------------------------------------------------------------------


def call_within(call: Callable[[], Any], seconds: float | None) -> Any:
    """Return what a call returns, or raise TimeUp after so many seconds.

    On the main thread of Unix an alarm interrupts the call. Elsewhere it runs in a thread of its
    own, which is interrupted when it next executes Python, and abandoned if it does not. Where
    there are neither alarms nor threads, as in a browser, there is no limit.
    """
    if seconds is None or sys.platform in ("emscripten", "wasi"):
        return call()
    if (
        threading.current_thread() is threading.main_thread()
        and hasattr(signal, "setitimer")
        and signal.getsignal(signal.SIGALRM) is not None  # one set by C could not be restored
    ):
        return _call_with_alarm(call, seconds)
    return _call_in_thread(call, seconds)


def _call_with_alarm(call: Callable[[], Any], seconds: float) -> Any:
    running = True

    def stop(*_: Any) -> None:
        if running:
            raise TimeUp

    handler = signal.signal(signal.SIGALRM, stop)
    start = time.monotonic()
    # It rings again, because Python drops what is raised while an object is being deleted.
    remaining, interval = signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3), 0.25)
    try:
        try:
            return call()
        finally:
            running = False
    finally:  # also when the alarm rang in the line above
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if remaining:
            remaining = max(remaining - (time.monotonic() - start), 1e-3)
            signal.setitimer(signal.ITIMER_REAL, remaining, interval)


def _call_in_thread(call: Callable[[], Any], seconds: float) -> Any:
    results: dict[str, Any] = {}

    def work() -> None:
        try:
            results["value"] = call()
        except BaseException as error:
            results["error"] = error

    thread = threading.Thread(target=work, daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the platform has no threads
        return call()
    thread.join(seconds)
    if thread.is_alive():
        _interrupt(thread)
        raise TimeUp
    if "error" in results:
        raise results["error"]
    return results["value"]


def _interrupt(thread: threading.Thread) -> None:
    try:
        import ctypes
    except ImportError:
        return
    identity = ctypes.c_ulong(thread.ident or 0)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(identity, ctypes.py_object(TimeUp))
    thread.join(1.0)


# Which mistake is it ------------------------------------------------------------------------------


def diagnose(exercise: Exercise, outcomes: Sequence[Outcome]) -> Mistake | None:
    """Return the mistake that explains the first failure best, if one does.

    It must agree with the solution there, and in its decisive cases. Among those that do, it is the
    one that agrees in most of the cases where either is wrong. A result that says little, such as
    nan, 0, an exception, or the right number but for its last digits, can have many causes: then
    half of what the mistake gets wrong must look the same.
    """
    first = next(outcome for outcome in outcomes if outcome.fault)
    best, best_score = None, -np.inf
    for mistake in exercise.mistakes:
        agreements, symptoms, disagreements = 0, 0, 0
        agrees_at_first, decisive = False, set(mistake.decisive)
        for outcome in outcomes:
            agrees, wrong = _compare(exercise, mistake, outcome)
            if agrees and wrong:
                decisive.discard(outcome.case.title)
            agreements += agrees and wrong
            symptoms += wrong
            disagreements += not agrees and (wrong or bool(outcome.fault))
            agrees_at_first |= agrees and wrong and outcome is first
        if not agrees_at_first or decisive:
            continue
        if _says_little(first) and 2 * agreements < symptoms:
            continue
        if agreements - disagreements > best_score:
            best, best_score = mistake, agreements - disagreements
    return best


def _compare(exercise: Exercise, mistake: Mistake, outcome: Outcome) -> tuple[bool, bool]:
    """Return whether the mistake does what the solution did, and whether that is wrong."""
    if outcome.timed_out:
        return False, False
    recognised = mistake.predicate is None or _recognises(mistake.predicate, outcome)
    if mistake.function is None:
        wrong = bool(outcome.fault) and recognised
        return wrong, wrong
    same = Outcome(outcome.case, outcome.expected)
    arguments = outcome.case.fresh()
    _attempt(same, mistake.function, arguments, None)
    with _quietly():
        same.fault = _fault(same, arguments)
        agrees = recognised and _kind(same.fault) == _kind(outcome.fault) and _alike(same, outcome)
    return agrees, bool(same.fault)


def _kind(fault: str) -> str:
    """Return the words that a fault begins with, up to names and numbers."""
    return "numbers" if fault in _FAULTS_OF_NUMBERS else re.split("[^A-Za-z ]", fault)[0]


def _recognises(predicate: Callable[[Arguments, Any, Any], bool], outcome: Outcome) -> bool:
    with _quietly():
        try:
            return bool(predicate(outcome.case.fresh(), outcome.expected, outcome.value))
        except Exception:  # it was written for results of the right type and shape
            return False


def _alike(one: Outcome, other: Outcome) -> bool:
    if one.error is not None or other.error is not None:
        # "shape mismatch: ..." and "index -100 is ..." are both an IndexError.
        return type(one.error) is type(other.error) and _kind(str(one.error)) == _kind(
            str(other.error)
        )
    return _alike_values(one.value, other.value)


def _alike_values(one: Any, other: Any) -> bool:
    if isinstance(one, tuple) or isinstance(other, tuple):
        return (
            isinstance(one, tuple)
            and isinstance(other, tuple)
            and len(one) == len(other)
            and all(map(_alike_values, one, other))
        )
    try:
        one, other = np.asarray(one), np.asarray(other)
    except ValueError:
        return False
    if one.shape != other.shape or one.dtype.kind not in "fiub" or other.dtype.kind not in "fiub":
        return False
    eps = max(
        (float(np.finfo(a.dtype).eps) for a in (one, other) if a.dtype.kind == "f"), default=0
    )
    finite = abs(one[np.isfinite(one)])
    scale = max(1.0, float(finite.max())) if finite.size else 1.0
    return _close(one, other, max(1e-6, 100 * eps), 4 * eps * scale)


def _says_little(outcome: Outcome) -> bool:
    if outcome.fault == _INEXACT:
        return True
    values = outcome.value if isinstance(outcome.value, tuple) else (outcome.value,)
    for value in values:
        if not isinstance(value, (np.ndarray, np.generic, float, int)):
            continue
        array = np.asarray(value)
        if array.dtype.kind == "f" and (np.isfinite(array) & (array != 0) & (array != 1)).any():
            return False
    return True


# What the reader sees -----------------------------------------------------------------------------


def find_failure(
    exercise: Exercise, function: Callable[..., Any], time_limit: float | None
) -> AssertionError | None:
    """Run all cases, print a line for each, and return what is to be raised when one fails."""
    with np.errstate(all="ignore"):  # the comparisons are not the reader's
        outcomes = _run_all(exercise, function, time_limit)
    failed = [outcome for outcome in outcomes if outcome.fault]
    if not failed:
        print(f"all {len(outcomes)} cases pass")
        return None
    with np.errstate(all="ignore"):
        mistake = diagnose(exercise, outcomes)
    explanation = _explanation(exercise, failed[0], mistake)
    print(f"\n{explanation}")
    headline = f'{exercise.name} fails in the case "{failed[0].case.title}"'
    failure = AssertionError(f"{headline}\n{explanation}")
    failure.__cause__ = _without_our_frames(failed[0].error)
    _shorten_in_notebooks(failure, headline)
    return failure


def _without_our_frames(error: BaseException | None) -> BaseException | None:
    """Return an error whose traceback begins in the solution."""
    if error is None:
        return None
    frame = error.__traceback__
    while frame and frame.tb_frame.f_code.co_filename == __file__:
        frame = frame.tb_next
    return error.with_traceback(frame)


def _shorten_in_notebooks(failure: AssertionError, headline: str) -> None:
    """Let IPython show the error of the solution, and the headline of what is printed already.

    The message, which a grading tool reads, stays whole. IPython asks an exception for this method.
    """
    cause = failure.__cause__
    lines = "".join(traceback.format_exception(cause)).splitlines() if cause else []
    lines.append(f"AssertionError: {headline}, explained above")
    failure._render_traceback_ = functools.partial(list, lines)  # type: ignore[attr-defined]


def _run_all(
    exercise: Exercise, function: Callable[..., Any], time_limit: float | None
) -> Sequence[Outcome]:
    """Run the cases until the time is up, and print a line for each."""
    start = time.monotonic()
    outcomes = []
    for case in exercise.cases:
        left = None if time_limit is None else time_limit - (time.monotonic() - start)
        outcome = run_case(exercise, case, function, left if left is None else max(left, 0.01))
        outcomes.append(outcome)
        print(f"{'FAILED' if outcome.fault else 'passed'}  {case.title}")
        if outcome.warning and not outcome.fault:
            print(_wrapped(f"with a {outcome.warning}", "        "))
        if outcome.timed_out:
            left_out = len(exercise.cases) - len(outcomes)
            outcome.fault = (
                f"It was still running after {time_limit:g} s, the time for all cases together"
                + ("; the remaining cases were not run." if left_out else ".")
                + " Does a loop never end?"
            )
            break
    return outcomes


def _explanation(exercise: Exercise, outcome: Outcome, mistake: Mistake | None) -> str:
    case = outcome.case
    shown = "\n".join(_wrapped(line, width=_WIDTH - 10) for line in case.shown.splitlines())
    lines = [_labelled("input", shown or _shown_arguments(exercise, case))]
    wanted = case.raises.__name__ if case.raises else _shown(outcome.expected)
    got = _shown(outcome.value)
    if got == wanted and outcome.fault == _INEXACT:
        wanted, got = _shown(outcome.expected, 17), _shown(outcome.value, 17)
    lines.append(_labelled("expected", wanted))
    if outcome.error is None and not outcome.timed_out and outcome.value is not None:
        lines.append(_labelled("got", got))
    if outcome.warning:
        lines.append(_labelled("with", _wrapped(outcome.warning, width=_WIDTH - 10)))
    lines.append(_wrapped(outcome.fault))
    if mistake:
        lines.append(_wrapped(mistake.message))
    if mistake or not _OF_PYTHON.match(outcome.fault):
        section = (mistake.section if mistake else case.section) or exercise.section
        lines.append(_wrapped(f"See {section}."))
    return "\n".join(lines)


# Faults that no section of the book explains.
_OF_PYTHON = re.compile(
    r"(Item \d+: )*(It (returned|cannot be|is not written|was still|changed its|raised (?!nothing))"
    r"|The (shape|dtype) of)"
)


# The arguments of a call, whose brackets may hold other calls.
_CALL = re.compile(r"(?<=\w)\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)")


def _wrapped(text: str, indent: str = "", width: int = _WIDTH) -> str:
    """Break text into lines, but not within the brackets of a call."""
    text = _CALL.sub(lambda call: call[0].replace(" ", "\0"), text)
    lines = textwrap.fill(
        text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
    return lines.replace("\0", " ")


def _labelled(label: str, text: str) -> str:
    return _indented(f"{label:10}", text)


def _indented(start: str, text: str) -> str:
    """Return lines that are all indented by the length of a start, which the first has."""
    return start + text.replace("\n", "\n" + " " * len(start))


def _shown_arguments(exercise: Exercise, case: Case) -> str:
    names = exercise.signature.partition("(")[2].rstrip(")").split(", ")
    parts = [*zip(names, case.fresh(), strict=False), *case.keywords.items()]
    starts = [(f"{name} = ", value) for name, value in parts]
    return "\n".join(
        _indented(start, _shown(value, width=_WIDTH - 10 - len(start))) for start, value in starts
    )


def _shown(value: Any, digits: int = 8, width: int = _WIDTH - 10) -> str:
    """Return a value in a few short lines."""
    if isinstance(value, tuple):
        return "\n".join(_shown(item, digits, width) for item in value)
    if isinstance(value, np.generic):
        text = f"{value:.{digits}g}" if value.dtype.kind == "f" else str(value)
        return text if value.dtype == np.float64 else f"{text} ({value.dtype})"
    if not isinstance(value, np.ndarray):
        name = getattr(value, "__name__", "")
        return textwrap.shorten(f"the function {name}" if name else repr(value), width)
    text = np.array2string(value, precision=digits, threshold=12, edgeitems=2, max_line_width=width)
    dtype = "" if value.dtype in (np.float64, np.int64) else f" ({value.dtype})"
    lines = text.splitlines()
    lines = lines if len(lines) <= 5 else [*lines[:2], " ...", *lines[-2:]]
    return "\n".join(lines) + dtype
