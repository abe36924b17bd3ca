"""The checkers: how they run a reader's function, and what they tell it in Parts I and II."""

import contextlib
import io
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
import warnings
from pathlib import Path

import IPython.core.interactiveshell
import numpy as np
import pytest
from helpers import message, words_of

import cebook as ce
from cebook.exercises import _EXERCISES, _IN_THE_BOOK, _PARTS, _checker
from cebook.exercises._checker import Case, Exercise, Mistake, Section, find_failure

BOOK = Path(__file__).parents[1] / "book"


def told(name, function, **options):
    """Return what is said of a wrong solution, in one line."""
    return " ".join(message(AssertionError, ce.exercises.check, name, function, **options).split())


def test_importing_the_package_does_not_load_the_exercises():
    code = "import sys, cebook; print('cebook.exercises' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "False\n"


# The catalogue ------------------------------------------------------------------------------------


def test_list_names_every_exercise(capsys):
    ce.exercises.list()
    lines = capsys.readouterr().out.splitlines()
    assert len(_EXERCISES) >= 20
    assert [line for line in lines if line.startswith("Part")] == list(_PARTS)
    pages = [line for line in lines if re.fullmatch(r"\S+/\S+", line)]
    assert len(pages) == len(set(pages))
    for exercise in _EXERCISES.values():
        (at,) = [i for i, line in enumerate(lines) if f" {exercise.name}(" in line]
        assert lines[at].split()[0] == "*" * exercise.stars
        assert exercise.signature in lines[at]
        assert lines[at + 1].strip() == exercise.title
        assert [line for line in lines[:at] if line in pages][-1] == exercise.section.page
        (title,) = [title for title, names in _IN_THE_BOOK.items() if exercise.name in names]
        assert [line for line in lines[:at] if line.strip() in _IN_THE_BOOK][-1] == f" {title}"
    assert max(map(len, lines)) <= 51  # which a telephone shows whole


@pytest.mark.parametrize("name", _EXERCISES)
def test_an_exercise_is_complete(name):
    exercise = _EXERCISES[name]
    assert exercise.signature.startswith(f"{name}(")
    assert exercise.stars in (1, 2, 3)
    assert {case.kind for case in exercise.cases} == {"ordinary", "edge", "adversarial"}
    assert len(exercise.mistakes) >= 3
    assert len({case.title for case in exercise.cases}) == len(exercise.cases)
    assert max(len(f"passed  {case.title}") for case in exercise.cases) <= 51
    titles = {case.title for case in exercise.cases}
    assert all(len(title) <= 52 for title in titles)
    assert all(titles.issuperset(mistake.decisive) for mistake in exercise.mistakes)


def headings(page):
    """Return the labels of a page, each with the heading under it."""
    text = words_of(BOOK / f"{page}.ipynb")
    found = {}
    for block in re.finditer(r"^((?:\(.+\)=\n)+)#+ (.+)$", text, flags=re.MULTILINE):
        for label in re.findall(r"\((.+)\)=", block[1]):
            found[label] = block[2]
    return found


def test_every_section_that_is_named_exists():
    for exercise in _EXERCISES.values():
        named = (exercise, *exercise.cases, *exercise.mistakes)
        for section in {one.section for one in named if one.section}:
            assert headings(section.page)[section.label] == section.heading


@pytest.mark.parametrize(
    ("name", "mistake"),
    # A test of its own shows what is recognised by a predicate alone.
    [(name, i) for name, e in _EXERCISES.items() for i, m in enumerate(e.mistakes) if m.function],
)
def test_every_mistake_is_recognised(name, mistake):
    """A mistake that passes, or that another one hides, could be left out."""
    exercise = _EXERCISES[name]
    expected = exercise.mistakes[mistake]
    text = told(name, expected.function)
    assert " ".join(expected.message.split()) in text
    assert str(expected.section or exercise.section) in text


# Names and functions ------------------------------------------------------------------------------


def test_an_unknown_name_is_told_the_nearest():
    text = message(ValueError, ce.exercises.check, "sofmax", np.exp)
    assert text.startswith("there is no exercise 'sofmax'. Did you mean softmax or ")
    text = message(ValueError, ce.exercises.check, "xyz", np.exp)
    assert text == "there is no exercise 'xyz'. exercises.list() names all"


def test_a_title_of_the_book_is_told_its_names():
    text = message(ValueError, ce.exercises.check, "The loss from logits.", np.exp)
    assert text.endswith("the name here is softplus or sigmoid_cross_entropy")


@pytest.mark.parametrize("number", ["8.5", "8", 8.5])
def test_a_number_of_the_book_is_told_that_names_are_wanted(number):
    text = message(ValueError, ce.exercises.check, number, np.exp)
    assert text == (
        f"there is no exercise '{number}'. Exercises go by names, not by numbers; "
        "exercises.list() names all"
    )


def test_a_result_in_place_of_the_function():
    text = message(TypeError, ce.exercises.check, "softmax", np.ones(3))
    assert text == (
        "pass the function itself, not its result: check('softmax', your_function), "
        "but it is a ndarray"
    )


def test_the_function_before_the_name():
    text = message(TypeError, ce.exercises.check, np.exp, "softmax")
    assert text == 'the name comes first: check("softmax", your_function)'


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_time_limit_is_positive(seconds):
    text = message(ValueError, ce.exercises.check, "softmax", np.exp, time_limit=seconds)
    assert text == f"time_limit must be positive or None, but it is {seconds}"


# What is printed ----------------------------------------------------------------------------------


def right_softmax(z):
    powers = np.exp(z - z.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def naive_softmax(z):
    return np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True)


def test_success_prints_a_line_a_case(capsys):
    ce.exercises.check("softmax", right_softmax)
    lines = capsys.readouterr().out.splitlines()
    cases = _EXERCISES["softmax"].cases
    assert lines == [f"passed  {case.title}" for case in cases] + [f"all {len(cases)} cases pass"]


def test_failure_explains_the_first_case_alone(capsys):
    with pytest.raises(AssertionError) as caught:
        ce.exercises.check("softmax", naive_softmax)
    printed = capsys.readouterr().out
    lines, explanation = printed.split("\n\n")
    assert len(lines.splitlines()) == len(_EXERCISES["softmax"].cases)
    assert lines.count("FAILED") == 5
    assert explanation == (
        "input     z = [1000. 1001. 1002.]\n"
        "expected  [0.09003057 0.24472847 0.66524096]\n"
        "got       [nan nan nan]\n"
        "with      RuntimeWarning: overflow encountered in\n"
        "          exp\n"
        "The result holds nan.\n"
        "exp overflows above 88.7 in float32 (709.8 in\n"
        "float64), and inf/inf is nan. Subtract the largest\n"
        "logit of each row first.\n"
        'See softmax/floating-point, section "Subtract the\n'
        'largest".\n'
    )
    assert str(caught.value) == (
        f'softmax fails in the case "a logit of 1000"\n{explanation.rstrip()}'
    )
    assert max(map(len, printed.splitlines())) <= 51


def test_an_unknown_mistake_is_shown_without_a_diagnosis():
    text = told("softmax", lambda z: right_softmax(z) * 1.01)
    assert "The numbers are wrong. See softmax/softmax" in text


def test_calls_are_not_broken_over_lines():
    mistake = Mistake(
        TRIPLE.function,
        "The side that is not wanted is computed as well by np.where(a > 0, f(a), 0).",
    )
    error = find_failure(exercise(SMALL, mistakes=(mistake,)), TRIPLE.function, 10)
    assert "\nnp.where(a > 0, f(a), 0).\n" in str(error)


def raised(name, function):
    with pytest.raises(AssertionError) as caught:
        ce.exercises.check(name, function)
    return caught.value


def test_the_traceback_has_no_inner_frames():
    error = raised("softmax", naive_softmax)
    frames = traceback.extract_tb(error.__traceback__)
    assert [frame.name for frame in frames] == ["raised", "check"]
    assert error.__cause__ is None
    assert error.__context__ is None


def test_a_solution_that_raises_is_shown_from_its_first_line_on():
    error = raised("softmax", divides_by_zero)
    frames = traceback.extract_tb(error.__cause__.__traceback__)
    assert [frame.name for frame in frames] == ["divides_by_zero"]


def test_a_notebook_shows_once_what_was_printed():
    headline = 'AssertionError: softmax fails in the case "a logit of 1000", explained above'
    error = raised("softmax", naive_softmax)
    shown = IPython.core.interactiveshell.InteractiveShell().showtraceback
    with contextlib.redirect_stdout(io.StringIO()) as out:
        shown((AssertionError, error, error.__traceback__))
    assert out.getvalue().strip() == headline
    assert "Subtract the largest" in str(pickle.loads(pickle.dumps(error)))
    lines = raised("softmax", divides_by_zero)._render_traceback_()
    assert "in divides_by_zero" in lines[1]
    assert lines[-1].startswith("AssertionError: softmax fails in the case")
    assert not any(_checker.__file__ in line for line in lines)


# A tiny exercise, to test the engine with ---------------------------------------------------------

SECTION = Section("softmax/floating-point", "subtract-the-largest", "Subtract the largest")


def exercise(*cases, reference=lambda x: 2 * x, mistakes=()):
    return Exercise("double", "double(x)", "twice x", 1, SECTION, reference, cases, mistakes)


def failure(function, *cases, seconds=10, **options):
    tiny = exercise(*(cases or (Case("two", (np.array([1.0, 2.0]),)),)), **options)
    return " ".join(str(find_failure(tiny, function, seconds)).split())


def passes(function, *cases, seconds=10, **options):
    assert find_failure(exercise(*cases, **options), function, seconds) is None


def forgotten_return(x):
    x = 2 * x


def in_place(x):
    x *= 2
    return x


def divides_by_zero(x):
    return 2 * x / (len(x) - 2)[0]


FAULTS = {
    "return": (forgotten_return, "It returned None. Is a return statement missing?"),
    "list": (lambda x: [2 * y for y in x], "It returned a Python list. Return a NumPy array"),
    "tuple": (lambda x: (2 * x, x), "It returned a tuple of 2, where one array or number"),
    "text": (lambda x: str(2 * x), "It returned a str, not a NumPy array or number."),
    "in place": (in_place, "It changed its argument number 1."),
    "error": (divides_by_zero, "It raised TypeError: 'int' object is not subscriptable (in"),
    "todo": (lambda x: _todo(), "It is not written yet"),
    "shape": (lambda x: 2 * x.sum(), "The shape of the result is (), where (2,) is wanted."),
    "keepdims": (lambda x: 2 * x[None], "is (1, 2), where (2,) is wanted. keepdims=True leaves"),
    "dtype": (lambda x: np.float32(2 * x), "is float32, where float64 is wanted. A function sh"),
    "integers": (lambda x: (2 * x).astype(int), "is int64, where float64 is wanted."),
    "objects": (lambda x: (2 * x).astype(object), "is object, where float64 is wanted."),
    "nan": (lambda x: 2 * x * np.array([1, np.nan]), "The result holds nan."),
    "digits": (lambda x: 2 * x * (1 + 1e-9), "The result is not exact enough."),
    "numbers": (lambda x: 3 * x, "The numbers are wrong."),
    "parameters": (lambda x, y: 2 * x, "It cannot be called as double(x): missing a required"),
    "no parameters": (lambda: 2, "It cannot be called as double(x): too many positional"),
}


def _todo():
    raise NotImplementedError


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_is_said(fault):
    function, expected = FAULTS[fault]
    text = failure(function)
    assert expected in text
    explained = fault in ("nan", "digits", "numbers")  # the others are about Python
    assert text.endswith('See softmax/floating-point, section "Subtract the largest".') == explained


def test_a_mistake_has_its_section_whatever_the_fault():
    assert "section" not in failure(divides_by_zero)
    mistake = Mistake(divides_by_zero, "There is nothing to divide by.")
    text = failure(divides_by_zero, mistakes=(mistake,))
    assert text.endswith('divide by. See softmax/floating-point, section "Subtract the largest".')


def test_an_array_in_the_place_of_a_truth_value():
    text = failure(lambda x: max(x, 0))
    assert "np.maximum and np.where take arrays." in text
    assert "np.maximum" not in failure(lambda x: int("two"))


def test_one_number_is_wanted():
    text = failure(lambda x: x, Case("sum", (np.ones(3),)), reference=lambda x: x.sum())
    assert "The shape of the result is (3,), where () is wanted, that is, one number." in text


def test_a_python_float_has_no_dtype_to_be_wrong():
    case = Case("sum", (np.ones(3, np.float32),))
    passes(lambda x: float(x.sum()), case, reference=lambda x: x.sum())


def test_one_number_may_be_wider_than_asked_for_and_not_narrower():
    case, reference = Case("sum", (np.ones(3, np.float32),)), lambda x: x.sum()
    passes(lambda x: x.sum() / np.int64(1), case, reference=reference)
    assert "The dtype of the result is float16" in failure(
        lambda x: np.float16(3), case, reference=reference
    )


def test_digits_are_shown_that_differ():
    text = failure(lambda x: 2 * x * (1 + 1e-12), Case("two", (np.array(1.0),)))
    assert "expected 2 got 2.00000000000200" in text


def test_a_pair_is_compared_item_by_item():
    case, reference = Case("pair", (np.ones(3),)), lambda x: (x, 2 * x)
    passes(lambda x: (x, 2 * x), case, reference=reference)
    assert "Item 1: The numbers" in failure(lambda x: (x, 3 * x), case, reference=reference)
    assert "It returned ndarray, where a tuple of 2" in failure(
        lambda x: x, case, reference=reference
    )
    assert "a tuple of 1, where a tuple of 2" in failure(lambda x: (x,), case, reference=reference)


def test_the_error_of_the_function_is_the_cause_of_the_assertion():
    error = find_failure(exercise(Case("two", (np.array([1.0, 2.0]),))), divides_by_zero, 10)
    assert type(error.__cause__) is TypeError


def test_an_error_may_be_what_is_wanted():
    case = Case("negative", (np.array([-1.0]),), raises=ValueError)

    def refuses(x):
        raise ValueError

    passes(refuses, case)
    assert "It raised nothing, where a ValueError is wanted." in failure(lambda x: x, case)
    assert "It raised TypeError" in failure(divides_by_zero, case)
    assert "not a ValueError." in failure(divides_by_zero, case)


def warns(x):
    warnings.warn("careful", UserWarning, stacklevel=2)
    return 2 * x


def test_a_warning_is_shown_and_fails_only_where_silence_is_asked(capsys):
    passes(warns, Case("two", (np.ones(2),)))
    assert capsys.readouterr().out == (
        "passed  two\n        with a UserWarning: careful\nall 1 cases pass\n"
    )
    text = failure(warns, Case("two", (np.ones(2),), quiet=True))
    assert "The result is right, but came with a UserWarning: careful." in text


def test_numpy_warns_whatever_the_reader_has_switched_off():
    with np.errstate(all="ignore"):
        text = failure(lambda x: np.log(0 * x))
    assert "with RuntimeWarning: divide by zero encountered in log" in text


def test_what_the_reader_has_switched_on_raises_nothing():
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        ce.exercises.check("softmax", right_softmax)


def test_arrays_in_a_pair_belong_to_the_caller_too():
    def scaled_in_place(pair):
        pair[1][...] *= 2
        return pair[1].copy()

    def of_pair(pair):
        return 2 * pair[1]

    case = Case("a pair", ((np.ones(2), np.arange(2.0)),))
    said = failure(scaled_in_place, case, reference=of_pair)
    assert "It changed its argument number 1." in said
    passes(of_pair, case, reference=of_pair)


def test_errors_of_one_type_are_told_apart():
    def mismatched(x):
        return x[np.arange(3), np.arange(2)]

    exercise_of_two = exercise(
        Case("one", (np.ones((3, 3)),)), mistakes=(Mistake(mismatched, "It has 2."),)
    )
    with pytest.raises(AssertionError) as caught:
        raise find_failure(exercise_of_two, mismatched, 10)
    assert "It has 2." in str(caught.value)
    with pytest.raises(AssertionError) as caught:
        raise find_failure(exercise_of_two, lambda x: x[7], 10)
    assert "It has 2." not in str(caught.value)


def test_every_call_gets_its_own_arguments():
    seen = []
    case = Case("two", (np.ones(2),))
    passes(lambda x: seen.append(x) or 2 * x, case, case)
    assert seen[0] is not seen[1]
    assert seen[0] is not case.arguments[0]


def test_iterators_are_made_anew():
    def blocks():
        return (iter([1.0, 2.0]),)

    passes(lambda x: 2 * sum(x), Case("blocks", blocks), reference=lambda x: 2 * sum(x))


def test_what_else_is_asked_of_a_result():
    case = Case("two", (np.ones(2),), also=lambda arguments, result: f"Not {result[0]} again.")
    assert "Not 2.0 again." in failure(lambda x: 2 * x, case)


def test_memory_is_measured():
    case = Case("big", (np.ones(1000),), max_bytes=1_000_000)
    passes(lambda x: 2 * x, case)
    wasteful = failure(lambda x: 2 * np.diag(x).sum(axis=0), case)
    assert re.search(r"It needed 1?\d\.\d MB at once, where 1\.0 MB are enough\.", wasteful)


def test_keywords_are_passed_by_name():
    def scaled(x, *, by):
        return by * x

    case = Case("thrice", (np.ones(2),), keywords={"by": 3})
    passes(scaled, case, reference=scaled)
    text = failure(lambda x, *, by: x, case, reference=scaled)
    assert "input x = [1. 1.] by = 3" in text


def test_long_arrays_are_abbreviated(capsys):
    failure(lambda x: x, Case("matrix", (np.ones((50, 50)),)))
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) < 25
    assert "..." in printed


# Which mistake ------------------------------------------------------------------------------------

TRIPLE = Mistake(lambda x: 3 * x, "That is three times.")
NAN = Mistake(lambda x: np.where(x > 5, np.nan, 2 * x), "Large numbers are nan.")
ALWAYS_NAN = Mistake(lambda x: x * np.nan, "All numbers are nan.")
SMALL, LARGE = Case("small", (np.array([1.0]),)), Case("large", (np.array([9.0]),))


def test_the_mistake_that_agrees_is_named():
    text = failure(lambda x: x + x + x, SMALL, mistakes=(NAN, TRIPLE))
    assert "That is three times." in text
    assert "nan" not in text


def test_the_mistake_that_agrees_most_often_is_named():
    def wrong(x):
        return np.full(1, np.nan)

    for mistakes in ((NAN, ALWAYS_NAN), (ALWAYS_NAN, NAN)):
        assert "All numbers" in failure(wrong, LARGE, SMALL, mistakes=mistakes)


def test_nan_alone_is_no_evidence():
    medium = Case("medium", (np.array([3.0]),))
    text = failure(NAN.function, LARGE, SMALL, medium, mistakes=(ALWAYS_NAN,))
    assert "All numbers" not in text


def test_a_few_wrong_digits_are_no_evidence():
    inexact = Mistake(lambda x: 2 * x * (1 + 1e-11), "Some digits are wrong.")
    at_first = lambda x: 2 * x * (1 + 1e-12 * (x == 1))  # noqa: E731
    medium = Case("medium", (np.array([3.0]),))
    text = failure(at_first, SMALL, medium, LARGE, mistakes=(inexact,))
    assert "The result is not exact enough." in text
    assert "Some digits" not in text


def test_a_mistake_must_show_in_its_decisive_cases():
    capped = Mistake(
        None,
        "It is capped.",
        predicate=lambda arguments, expected, got: bool((got < expected).all()),
        decisive=("large",),
    )
    assert "It is capped." in failure(lambda x: x, SMALL, LARGE, mistakes=(capped,))
    text = failure(lambda x: np.where(x > 5, 2 * x, x), SMALL, LARGE, mistakes=(capped,))
    assert "It is capped." not in text


def test_a_mistake_is_not_named_for_another_fault():
    inexact = Mistake(lambda x: 2 * x * (1 + 1e-12), "Some digits are wrong.")
    assert "Some digits" in failure(lambda x: 2 * x * (1 + 1e-11), mistakes=(inexact,))
    assert "Some digits" not in failure(in_place, mistakes=(inexact,))


def test_a_mistake_may_be_told_by_a_predicate():
    negative = Mistake(None, "Never below 0.", predicate=lambda arguments, _, got: (got < 0).all())
    assert "Never below 0." in failure(lambda x: -x, mistakes=(negative,))
    assert "Never below 0." not in failure(lambda x: 0 * x, mistakes=(negative,))
    assert "Never below 0." not in failure(lambda x: "text", mistakes=(negative,))


def test_what_never_ended_is_no_known_mistake():
    anything = Mistake(None, "It looks like this.", predicate=lambda *_: True)
    assert "It looks like this." not in failure(endless, seconds=0.1, mistakes=(anything,))


def test_an_input_may_be_shown_in_words():
    case = Case("two", (np.ones(2),), shown="two ones")
    assert "input two ones expected [2. 2.]" in failure(lambda x: x, case)


def test_a_case_may_point_to_another_section():
    other = Section("softmax/softmax", "temperature", "Temperature")
    text = failure(lambda x: x, Case("two", (np.ones(2),), section=other))
    assert text.endswith('The numbers are wrong. See softmax/softmax, section "Temperature".')


def test_a_mistake_may_point_to_another_section():
    other = Section("softmax/softmax", "temperature", "Temperature")
    text = failure(lambda x: 3 * x, mistakes=(Mistake(TRIPLE.function, "Thrice.", other),))
    assert text.endswith('Thrice. See softmax/softmax, section "Temperature".')


# The time limit -----------------------------------------------------------------------------------

STUCK = "It was still running after"


def endless(x):
    while True:
        pass


def stubborn(x):
    while True:
        with contextlib.suppress(Exception):
            time.sleep(0.01)


@pytest.fixture
def handler():
    """Set a handler and a timer of the caller's, and see that both are there afterwards."""

    def handle(*_):
        raise RuntimeError("the caller's alarm")

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 100, 7)
    yield
    remaining, interval = signal.setitimer(signal.ITIMER_REAL, 0)
    now = signal.signal(signal.SIGALRM, before)
    assert now is handle
    assert 90 < remaining < 100
    assert interval == 7


@pytest.mark.usefixtures("handler")
@pytest.mark.parametrize("function", [endless, stubborn])
def test_a_loop_is_cut_on_the_main_thread(function):
    start = time.monotonic()
    text = failure(function, seconds=0.2)
    assert STUCK in text
    assert "got" not in text
    assert time.monotonic() - start < 5


@pytest.mark.usefixtures("handler")
@pytest.mark.parametrize("function", [right_softmax, naive_softmax, divides_by_zero])
def test_the_callers_alarm_is_restored(function):
    try:
        ce.exercises.check("softmax", function)
    except AssertionError:
        assert function is not right_softmax


def on_another_thread(call):
    results = []
    thread = threading.Thread(target=lambda: results.append(call()))
    thread.start()
    thread.join()
    return results[0]


@pytest.mark.parametrize("function", [endless, stubborn])
def test_a_loop_is_cut_on_another_thread(function):
    before = threading.active_count()
    assert STUCK in on_another_thread(lambda: failure(function, seconds=0.2))
    assert threading.active_count() == before


def test_a_call_that_cannot_be_interrupted_is_abandoned(monkeypatch):
    monkeypatch.setattr(_checker, "_interrupt", lambda thread: None)
    done = threading.Event()

    def waits(x):
        done.wait(30)

    assert STUCK in on_another_thread(lambda: failure(waits, seconds=0.1))
    done.set()


def test_another_thread_sees_results_errors_and_warnings():
    assert on_another_thread(lambda: ce.exercises.check("softmax", right_softmax)) is None
    for function, text in ((divides_by_zero, "It raised TypeError"), (np.log, "with Runtime")):
        case = Case("zero", (np.zeros(2),))
        assert text in on_another_thread(lambda f=function, c=case: failure(f, c))


def test_the_cases_share_the_time_and_end_with_it(capsys):
    def slow(x):
        time.sleep(0.15)
        return 2 * x

    case = Case("two", (np.ones(2),))
    passes(slow, case, seconds=0.4)
    capsys.readouterr()
    text = failure(slow, *[case] * 8, seconds=0.4)
    assert (
        "It was still running after 0.4 s, the time for all cases together; the remaining cases "
        "were not run. Does a loop never end?"
    ) in text
    assert "section" not in text
    assert capsys.readouterr().out.count("FAILED") == 1
    assert "together. Does a loop never end?" in failure(endless, case, seconds=0.1)


def looks_at_the_alarm(x):
    assert 90 < signal.getitimer(signal.ITIMER_REAL)[0] < 100
    return 2 * x


@pytest.mark.usefixtures("handler")
def test_no_limit_sets_no_alarm():
    passes(looks_at_the_alarm, Case("two", (np.ones(2),)), seconds=None)


def test_a_platform_without_alarms_and_threads_has_no_limit(monkeypatch):
    def cannot(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.delattr(signal, "setitimer")
    monkeypatch.setattr(threading.Thread, "start", cannot)
    ce.exercises.check("softmax", right_softmax)


@pytest.mark.usefixtures("handler")
def test_a_browser_has_no_limit(monkeypatch):
    monkeypatch.setattr("sys.platform", "emscripten")
    passes(looks_at_the_alarm, Case("two", (np.ones(2),)))


# Parts I and II: one right solution each ----------------------------------------------------------


def right_entropy(p):
    if not ((p >= 0).all() and abs(p.sum() - 1) < 1e-8):
        raise ValueError(f"not a distribution: {p}")
    possible = p[p > 0]
    return np.sum(possible * np.log(1 / possible))


def right_code_length(p, q):
    with np.errstate(divide="ignore"):
        return sum(p[k] * -np.log2(q[k]) for k in range(len(p)) if p[k] > 0)


def exact_log_terms(p, q):
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(p > 0, p * np.log1p((p - q) / q), 0)


def right_kl_divergence(p, q):
    return np.sum(exact_log_terms(p, q) - (p - q))


def kl_divergence_of_two_sums(p, q):
    with np.errstate(divide="ignore"):
        d = (p - q)[p > 0] / q[p > 0]
    return p[p > 0] @ np.log1p(d) - sum(p - q)


def generalised_kl_divergence(p, q):
    """Return the generalised sum, with log1p where p and q are close."""
    total = p.dtype.type(0)
    with np.errstate(divide="ignore"):
        for a, b in zip(p, q, strict=True):
            if a == 0:
                total += b
            elif abs(b - a) < a / 2:
                total += a * ((b - a) / a - np.log1p((b - a) / a))
            else:
                total += a * np.log(a / b) - a + b
    return total


def right_tempered_softmax(z, t):
    powers = np.exp((z - z.max(axis=-1, keepdims=True)) / t)
    return powers / powers.sum(axis=-1, keepdims=True)


def right_jacobian_vector_product(z, v):
    s = right_softmax(z)
    return s * v - s * np.sum(s * v, axis=-1, keepdims=True)


def right_logsumexp(z):
    m = z.max(axis=-1, keepdims=True)
    m = np.where(np.isfinite(m), m, z.dtype.type(0))
    with np.errstate(divide="ignore", over="ignore"):
        return np.squeeze(m + np.log(np.exp(z - m).sum(axis=-1, keepdims=True)), axis=-1)


def right_log_softmax(z):
    d = z - z.max(axis=-1, keepdims=True)
    return d - np.log(np.exp(d).sum(axis=-1, keepdims=True))


def right_softmax_loss(z, labels):
    losses = []
    for row, y in zip(z, labels, strict=True):
        m, at = row.max(), row.argmax()
        losses.append((m - row[y]) + np.log1p(np.exp(np.delete(row, at) - m).sum()))
    return np.mean(np.array(losses))


def right_softmax_loss_gradient(z, labels):
    return (right_softmax(z) - np.eye(z.shape[1], dtype=z.dtype)[labels]) / len(z)


def right_gradient_check(function, x):
    gradient = np.zeros(x.shape)
    for index in np.ndindex(*x.shape):
        h = 1e-5 * max(1, abs(x[index]))
        forward, backward = x.astype(float), x.astype(float)
        forward[index] += h
        backward[index] -= h
        gradient[index] = (function(forward) - function(backward)) / (2 * h)
    return gradient


def right_masked_loss(z, labels, ignore_index):
    counts = labels != ignore_index
    log_s = right_log_softmax(z[counts])
    return -log_s[np.arange(len(log_s)), labels[counts]].mean()


def right_smoothed_loss(z, labels, eps):
    targets = (1 - eps) * np.eye(z.shape[1], dtype=z.dtype)[labels] + eps / z.shape[1]
    log_s = right_log_softmax(z)
    with np.errstate(invalid="ignore"):
        return -np.where(targets > 0, targets * log_s, 0).sum(axis=1).mean()


RIGHT = {
    "entropy": [right_entropy],
    "code_length": [right_code_length],
    "kl_divergence": [
        right_kl_divergence,
        kl_divergence_of_two_sums,
        generalised_kl_divergence,
    ],
    "softmax": [right_softmax],
    "jacobian_vector_product": [right_jacobian_vector_product],
    "tempered_softmax": [right_tempered_softmax],
    "logsumexp": [right_logsumexp],
    "log_softmax": [right_log_softmax],
    "softmax_loss": [right_softmax_loss],
    "softmax_loss_gradient": [right_softmax_loss_gradient],
    "gradient_check": [right_gradient_check],
    "masked_loss": [right_masked_loss],
    "smoothed_loss": [right_smoothed_loss],
}


def test_parts_one_and_two_are_all_here():
    names = [e.name for part in list(_PARTS)[:2] for e in _PARTS[part]]
    assert names == list(RIGHT) == list(WRONG)


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_solution_passes(name, capsys):
    for solution in RIGHT[name]:
        ce.exercises.check(name, solution)
        assert capsys.readouterr().out.endswith("cases pass\n")


# ... and wrong ones, with what each is told -------------------------------------------------------


def one_hot(labels, z):
    return np.eye(z.shape[1], dtype=z.dtype)[labels]


def below_a_tiny_number(p):
    return -(p * np.log(np.maximum(p, 1e-12))).sum()


def unchecked_entropy(p):
    p = p[p > 0]
    return np.sum(p * (0.0 - np.log(p)))


def minus_zero(p):
    if not ((p >= 0).all() and abs(p.sum() - 1) < 1e-8):
        raise ValueError
    p = p[p > 0]
    return -np.sum(p * np.log(p))


def nan_slips_through(p):
    if (p < 0).any() or abs(p.sum() - 1) > 1e-8:
        raise ValueError("not a distribution")
    return np.sum(-p[p > 0] * np.log(p[p > 0])) + 0.0


def softmax_of_the_batch(z):
    e = np.exp(z - np.max(z))
    return e / np.sum(e)


def softmax_of_columns(z):
    e = np.exp(z - z.max(axis=0))
    return e / e.sum(axis=0)


def below_the_batch_maximum(z):
    e = np.exp(z - np.amax(z))
    return e / e.sum(axis=-1, keepdims=True)


def softmax_in_place(z):
    z -= z.max(axis=-1, keepdims=True)
    return np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True)


def softmax_in_float64(z):
    return right_softmax(np.asarray(z, dtype=np.float64))


def softmax_for_two_dimensions(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def jacobian_matrix(z, v):
    s = right_softmax(z)
    rows = np.atleast_2d(s)
    matrices = np.einsum("ij,jk->ijk", rows, np.eye(z.shape[-1])) - np.einsum(
        "ij,ik->ijk", rows, rows
    )
    return np.einsum("ijk,ik->ij", matrices, np.atleast_2d(v)).reshape(z.shape).astype(z.dtype)


def picked(z, labels):
    return -np.mean(np.log(right_softmax(z)[np.arange(len(z)), labels]))


def padded(z, labels):
    s = right_softmax(z)[np.arange(len(z)), labels]
    return np.mean(-np.log(s + 1e-12))


def clipped(z, labels):
    s = right_softmax(z)[np.arange(len(z)), labels]
    return np.mean(-np.log(np.clip(s, 1e-7, 1)))


def ties_left_out(z, labels):
    d = z - z.max(axis=1, keepdims=True)
    e = np.exp(d)
    e[d == 0] = 0
    return np.mean(np.log1p(e.sum(axis=1)) - d[np.arange(len(z)), labels])


def on_paper(z, labels):
    m = z.max(axis=1)
    total = np.exp(z - m[:, None]).sum(axis=1)
    return np.mean((m - z[np.arange(len(z)), labels]) + np.log(total))


def shifted_by(shift, z, labels):
    """Return the loss on paper with another number than the largest of each row."""
    d = z - shift(z, axis=1, keepdims=True)
    return (np.log(np.exp(d).sum(axis=1)) - d[np.arange(len(z)), labels]).mean()


def picked_below(shift, z, labels):
    s = np.exp(z - shift(z, axis=1, keepdims=True))
    s /= s.sum(axis=1, keepdims=True)
    return -np.mean(np.log(s[np.arange(len(z)), labels]))


def batch_maximum(z, **_):
    return z.max()


def total_minus_one(z, labels):
    d = z - z.max(axis=1, keepdims=True)
    total = np.exp(d).sum(axis=1)
    return np.mean(np.log1p(total - 1) - d[np.arange(len(z)), labels])


def one_too_many(z, labels):
    d = z - z.max(axis=1, keepdims=True)
    return np.mean(np.log1p(np.exp(d).sum(axis=1)) - d[np.arange(len(z)), labels])


def shifted_by_the_label(z, labels):
    odds = np.exp(z - z[np.arange(len(z)), labels][:, None])
    return np.mean(np.log1p(odds.sum(axis=1) - 1))


def printed_loss(z, labels):
    return -(one_hot(labels, z) * np.log(naive_softmax(z))).sum(axis=1).mean()


def gradient_of_the_sum(z, labels):
    g = right_softmax(z)
    g[np.arange(len(z)), labels] -= 1
    return g


def columns_of_all_labels(z, labels):
    g = right_softmax(z)
    g[:, labels] -= 1.0
    return g / z.shape[0]


def forward_difference(f, x):
    h, g = 1e-6, np.zeros(x.shape)
    for i in np.ndindex(x.shape):
        moved = x.astype(float)
        moved[i] += h
        g[i] = (f(moved) - f(x)) / h
    return g


def divided_by_h(f, x):
    h, g = 1e-5, np.zeros(x.shape)
    for i in np.ndindex(x.shape):
        up, down = x.astype(float), x.astype(float)
        up[i] += h
        down[i] -= h
        g[i] = (f(up) - f(down)) / h
    return g


def central(h):
    def gradient(f, x):
        g = np.zeros(x.shape)
        for i in np.ndindex(x.shape):
            up, down = x.astype(float), x.astype(float)
            up[i] += h
            down[i] -= h
            g[i] = (f(up) - f(down)) / (2 * h)
        return g

    return gradient


def moves_x_itself(f, x):
    h, g = 1e-5, np.zeros(x.shape)
    for i in np.ndindex(x.shape):
        x[i] += h
        up = f(x)
        x[i] -= 2 * h
        g[i] = (up - f(x)) / (2 * h)
    return g


def keeps_integers(f, x):
    h, g = 1e-5, np.zeros(x.shape)
    for i in np.ndindex(x.shape):
        up, down = np.copy(x), np.copy(x)
        up[i] = x[i] + h
        down[i] = x[i] - h
        g[i] = (f(up) - f(down)) / (2 * h)
    return g


def mean_over_all_rows(z, labels, ignore_index):
    total = 0
    for row, y in zip(z, labels, strict=True):
        if y != ignore_index:
            total = total - right_log_softmax(row)[y]
    return total / len(labels)


def times_the_mask(z, labels, ignore_index):
    mask = labels != ignore_index
    losses = -right_log_softmax(z)[np.arange(len(z)), labels * mask]
    return (losses * mask).sum() / mask.sum()


def zero_when_empty(z, labels, ignore_index):
    keep = labels != ignore_index
    if not keep.any():
        return 0.0
    return right_masked_loss(z, labels, ignore_index)


def every_label_counts(z, labels, ignore_index):
    return -right_log_softmax(z)[np.arange(len(z)), labels].mean()


def subtracted_late(z, labels, ignore_index):
    keep = labels != ignore_index
    own = z[keep][np.arange(keep.sum()), labels[keep]]
    return np.mean(right_logsumexp(z[keep]) - own)


def over_the_other_classes(z, labels, eps):
    targets = np.full(z.shape, eps / (z.shape[1] - 1), dtype=z.dtype)
    targets[np.arange(len(z)), labels] = 1 - eps
    return -(targets * right_log_softmax(z)).sum(axis=1).mean()


def smoothed(z, labels, eps):
    return (1 - eps) * one_hot(labels, z) + eps / z.shape[1]


def less_than_one(z, labels, eps):
    targets = np.full(z.shape, eps / z.shape[1], dtype=z.dtype)
    targets[np.arange(len(z)), labels] = 1 - eps
    return -(targets * right_log_softmax(z)).sum(axis=1).mean()


WRONG = {
    "entropy": [
        (lambda p: -sum(p * np.log2(p)), "That is the entropy in bits"),
        (lambda p: np.sum(p * np.log(p)), "The minus sign is missing"),
        (lambda p: -(p * np.log(p)).sum(), "0 log 0 counts as 0, but a machine computes"),
        (lambda p: -(p * np.log(p + 1e-12)).sum(), "avoids nan and makes every result wrong"),
        (lambda p: -(p * np.log(p + 1e-15)).sum(), "avoids nan and makes every result wrong"),
        (below_a_tiny_number, "A small number added inside the logarithm"),
        (lambda p: np.float64(right_entropy(p)), "The result is float64, where p is float32."),
        (minus_zero, "The result is -0.0"),
        (unchecked_entropy, "What is no distribution has no entropy"),
        (nan_slips_through, "Every comparison with nan is false"),
        (ce.entropy, "Every comparison with nan is false"),
    ],
    "code_length": [
        (lambda p, q: -np.sum(p * np.log(q)), "Digits are counted in bits"),
        (lambda p, q: -np.sum(q * np.log2(p)), "p and q are swapped"),
        (lambda p, q: -np.sum(p * np.log2(q)), "0 log 0 counts as 0"),
        (lambda p, q: -(q * np.log2(q)).sum(), "That is the entropy of q"),
        (lambda p, q: (p * np.ceil(-np.log2(q))).sum(), "need not have a whole number of bits"),
        (lambda p, q: -(p * np.log2(q + 1e-9)).sum(), "no word is longer than its own"),
        (lambda p, q: -(p * np.log2(np.maximum(q, 1e-9))).sum(), "no word is longer than its own"),
    ],
    "kl_divergence": [
        (lambda p, q: np.sum(p * np.log(p / q)), "0 log 0 counts as 0"),
        (lambda p, q: np.sum(q * np.log(q / p)), "p and q are swapped"),
        (lambda p, q: np.sum(p * np.log(q / p)), "The sign is wrong"),
        (lambda p, q: -np.sum(p * np.log(q)), "That is the cross-entropy"),
        (
            lambda p, q: np.sum(p[p > 0] * (np.log(p[p > 0]) - np.log(q[p > 0]))),
            "while the terms, of size 1e-7, cancel to 1e-14",
        ),
        (lambda p, q: exact_log_terms(p, q).sum(), "The logarithm is exact now"),
        (
            lambda p, q: np.sum(p[p > 0] * np.log1p((p - q)[p > 0] / q[p > 0])),
            "and the plain sum counts that. Subtract p - q as well",
        ),
        (lambda p, q: np.sum(p * np.log1p((p - q) / q) - p + q), "only where p > 0"),
        (lambda p, q: np.sum(exact_log_terms(p, q) - p + q), "Bracket the difference: a - (p - q)"),
        (lambda p, q: np.sum(exact_log_terms(p, q) + q - p), "Bracket the difference: a - (p - q)"),
        (
            lambda p, q: exact_log_terms(p, q).sum() - p.sum() + q.sum(),
            "Bracket the difference: a - (p - q)",
        ),
        (
            lambda p, q: np.sum((exact_log_terms(p, q) - (p - q))[p > 0]),
            "but sum p - q over all outcomes",
        ),
        (lambda p, q: np.sum(p * np.log((p + 1e-9) / (q + 1e-9))), "finite where it is infinite"),
    ],
    "softmax": [
        (naive_softmax, "exp overflows above 88.7 in float32"),
        (lambda z: np.exp(z) / sum(np.exp(z)), "That is over axis 0"),
        (softmax_of_columns, "That is over axis 0"),
        (softmax_of_the_batch, "The whole batch became one distribution"),
        (below_the_batch_maximum, "Subtract the largest logit of each row, z.max(axis=-1"),
        (softmax_in_place, "write x = x - m, not x -= m"),
        (lambda z: right_softmax(z) / (1 + 1e-9), "nothing has to be added to it"),
        (softmax_in_float64, "The dtype of the result is float64, where float32 is wanted"),
        (softmax_for_two_dimensions, "It raised AxisError: axis 1 is out of bounds"),
    ],
    "jacobian_vector_product": [
        (jacobian_matrix, "has a million entries"),
        (lambda z, v: right_softmax(z) * v * (1 - right_softmax(z)), "That is the diagonal alone"),
        (
            lambda z, v: right_softmax(z) * (v - np.sum(right_softmax(z) * v)),
            "Each row has its own mean of v",
        ),
        (
            lambda z, v: v - np.sum(right_softmax(z) * v, axis=-1, keepdims=True),
            "The factor s before the bracket is missing",
        ),
    ],
    "tempered_softmax": [
        (lambda z, t: right_softmax(z * t), "divided by the temperature, not multiplied"),
        (lambda z, t: right_softmax(z) / t, "do not sum to 1"),
        (lambda z, t: right_softmax(z / t), "z / temperature overflows before"),
        (lambda z, t: naive_softmax(z / t), "exp overflows above 88.7"),
        (
            lambda z, t: naive_softmax(np.log(right_softmax(z)) / t),
            "a high power of a probability underflows to 0",
        ),
    ],
    "logsumexp": [
        (lambda z: np.log(np.sum(np.exp(z), axis=-1)), "the result is inf or -inf"),
        (
            lambda z: np.log(np.exp(z - z.max(axis=-1, keepdims=True)).sum(axis=-1)),
            "not added again",
        ),
        (lambda z: np.log(np.exp(z).sum()), "There is one number for every row"),
        (
            lambda z: (
                z.max(axis=-1) + np.log(np.exp(z - z.max(axis=-1, keepdims=True)).sum(axis=-1))
            ),
            "Where the largest is infinite, subtract 0",
        ),
        (
            lambda z: (
                z.max(axis=-1, keepdims=True)
                + np.log(np.exp(z - z.max(axis=-1, keepdims=True)).sum(axis=-1, keepdims=True))
            ),
            "Take the axis of length 1 away",
        ),
    ],
    "log_softmax": [
        (lambda z: np.log(right_softmax(z)), "Take the logarithm on paper"),
        (lambda z: np.log(naive_softmax(z)), "exp overflows above 88.7"),
        (
            lambda z: z - right_logsumexp(z)[..., None],
            "before it is subtracted: the digits cancel",
        ),
        (lambda z: np.log(right_softmax(z) + 1e-12), "caps the result, 1e-12 at -27.6"),
        (lambda z: np.log(np.maximum(right_softmax(z), 1e-15)), "caps the result"),
    ],
    "softmax_loss": [
        (printed_loss, "np.log(0) is nan: pick the entry of the label. And exp overflows above"),
        (picked, "underflows to 0 and its logarithm is -inf"),
        (padded, "caps the loss, 1e-12 at 27.6"),
        (clipped, "or a clip, caps the loss"),
        (ties_left_out, "only one is left out. Use np.argmax."),
        (
            lambda z, y: np.mean(right_logsumexp(z) - z[np.arange(len(z)), y]),
            "both near 1000, are rounded there",
        ),
        (on_paper, "1 + 8e-18 is rounded to 1"),
        (total_minus_one, "gone before any logarithm, np.log1p(total - 1) included"),
        (lambda z, y: shifted_by(np.min, z, y), "The minimum (or the mean) of a row with"),
        (lambda z, y: shifted_by(np.mean, z, y), "The minimum (or the mean) of a row with"),
        (lambda z, y: picked_below(np.min, z, y), "The minimum (or the mean) of a row with"),
        (lambda z, y: picked_below(np.mean, z, y), "The minimum (or the mean) of a row with"),
        (lambda z, y: picked_below(batch_maximum, z, y), "underflows to 0 and its logarithm is"),
        (lambda z, y: picked_below(batch_maximum, z, y), "the largest of the whole batch"),
        (lambda z, y: shifted_by(batch_maximum, z, y), "the largest of the whole batch"),
        (one_too_many, "np.log1p adds 1 itself"),
        (shifted_by_the_label, "The logit of the label was subtracted, and if it is -inf"),
        (lambda z, y: np.sum(-right_log_softmax(z)[range(len(z)), y]), "That is the sum of the"),
        (lambda z, y: -np.mean(one_hot(y, z) * right_log_softmax(z)), "rows times classes, N K"),
        (lambda z, y: picked(right_softmax(z), y), "The softmax was applied twice"),
        (lambda z, y: -right_log_softmax(z)[:, y].mean(), "takes the columns of all labels"),
    ],
    "softmax_loss_gradient": [
        (gradient_of_the_sum, "That is the gradient of the sum"),
        (lambda z, y: (one_hot(y, z) - right_softmax(z)) / len(z), "The sign is wrong"),
        (lambda z, y: (naive_softmax(z) - one_hot(y, z)) / len(z), "exp overflows above 88.7"),
        (columns_of_all_labels, "changes the columns of all labels in every row"),
        (lambda z, y: (right_softmax(z) - one_hot(y, z)) / z.size, "not over all N K entries"),
    ],
    "gradient_check": [
        (forward_difference, "is the forward difference"),
        (divided_by_h, "divide by 2h"),
        (central(1e-12), "The step is too short"),
        (central(1e-5), "lost in a large entry"),
        (moves_x_itself, "not x[...] = 0."),
        (keeps_integers, "x holds integers"),
    ],
    "masked_loss": [
        (mean_over_all_rows, "The sum was divided by the number of all rows"),
        (times_the_mask, "0 * nan is nan"),
        (zero_when_empty, "The mean of nothing is not 0"),
        (every_label_counts, "The ignored rows were counted"),
        (
            lambda z, y, i: -right_log_softmax(z[y != i])[np.arange(sum(y != i)), y].mean(),
            "z and labels no longer have the same number of rows",
        ),
        (
            lambda z, y, i: -right_log_softmax(z)[np.arange(len(z)), y[y != i]].mean(),
            "z and labels no longer have the same number of rows",
        ),
        (subtracted_late, "rounded there, and then subtracted. Take the logarithm on paper"),
        (
            lambda z, y, i: right_masked_loss(z[y >= 0], y[y >= 0], -100),
            "What is ignored is said by ignore_index",
        ),
    ],
    "smoothed_loss": [
        (over_the_other_classes, "eps/(K - 1) each"),
        (less_than_one, "The targets sum to less than 1"),
        (lambda z, y, e: right_smoothed_loss(z, y, 0), "eps was not used"),
        (
            lambda z, y, e: (right_logsumexp(z) - (smoothed(z, y, e) * z).sum(axis=1)).mean(),
            "subtracted. Subtract the row's largest from z first",
        ),
        (
            lambda z, y, e: -(smoothed(z, y, e) * np.log(right_softmax(z) + 1e-8)).sum(1).mean(),
            "or a clip, caps the loss",
        ),
        (
            lambda z, y, e: (
                -(smoothed(z, y, e) * np.log(np.maximum(right_softmax(z), 1e-8))).sum(1).mean()
            ),
            "or a clip, caps the loss",
        ),
        (
            lambda z, y, e: -(smoothed(z, y, e) * right_log_softmax(z)).sum(axis=1).mean(),
            "A class that has no share of the target costs nothing",
        ),
    ],
}


@pytest.mark.parametrize(
    ("name", "function", "expected"),
    [(name, *wrong) for name, several in WRONG.items() for wrong in several],
)
def test_a_wrong_solution_is_told_what_is_wrong(name, function, expected):
    assert len(WRONG[name]) >= 3
    assert expected in told(name, function)


# What has seven digits is inexact in every case, as with an epsilon, and nowhere capped.
EXACT = [name for name, e in _EXERCISES.items() if any(m.decisive for m in e.mistakes)]


@pytest.mark.parametrize("name", EXACT)
def test_inexact_results_are_not_accused_of_an_epsilon(name):
    def with_seven_digits(*arguments):
        right = np.asarray(_EXERCISES[name].reference(*arguments))
        return right.astype(np.float32).astype(right.dtype)[()]

    text = told(name, with_seven_digits)
    assert "The result is not exact enough. See " in text
