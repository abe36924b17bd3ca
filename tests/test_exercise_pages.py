"""Every exercise of the book: stars, hint, solution, checker, and its line on the page of all."""

import importlib.util
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from cebook import exercises

ROOT = Path(__file__).parents[1]


def load_script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    script = importlib.util.module_from_spec(spec)
    sys.modules[name] = script  # where its dataclass looks for the names of its types
    spec.loader.exec_module(script)
    return script


SCRIPT = load_script("list_exercises")
EXERCISES = {
    str(path.relative_to(ROOT / "book").with_suffix("")): SCRIPT.find_exercises(
        nbformat.read(path, as_version=4)
    )
    for _, paths in SCRIPT.chapters()
    for path in paths
}
CHECKERS = exercises._EXERCISES
ALL = [exercise for exercises in EXERCISES.values() for exercise in exercises]


@pytest.mark.parametrize("exercise", ALL, ids=lambda exercise: exercise.label)
def test_exercise_is_whole(exercise):
    assert SCRIPT.faults(exercise) == []


@pytest.mark.parametrize("chapter", EXERCISES)
def test_chapter_has_three_to_seven_exercises_from_easy_to_hard(chapter):
    stars = [exercise.stars for exercise in EXERCISES[chapter]]
    assert 3 <= len(stars) <= 7
    assert stars == sorted(stars)
    assert (stars[0], stars[-1]) == (1, 3)


def test_labels_are_unique():
    labels = [exercise.label for exercise in ALL]
    assert sorted(set(labels)) == sorted(labels)


def test_every_checker_is_used_and_every_used_one_exists():
    used = {name for exercise in ALL for name in exercise.checkers}
    assert used == set(CHECKERS)


def test_the_package_knows_the_titles_and_their_checkers():
    of_the_book = {e.title: sorted(e.checkers) for e in ALL if e.checkers}
    assert {title: sorted(names) for title, names in exercises._IN_THE_BOOK.items()} == of_the_book


def test_an_exercise_is_as_hard_as_its_hardest_checker():
    stars = {e.label: max(CHECKERS[n].stars for n in e.checkers) for e in ALL if e.checkers}
    assert {e.label: e.stars for e in ALL if e.checkers} == stars


def test_the_page_lists_what_the_chapters_have():
    page = nbformat.read(SCRIPT.PAGE, as_version=4)
    (cell,) = [cell for cell in page.cells if cell.id == SCRIPT.LIST_CELL]
    assert cell.source == SCRIPT.exercise_list(), "run .ci/list_exercises.py"
    for exercise in ALL:
        assert f"<{exercise.label}>" in cell.source


# What the script says of a notebook in which something is missing.

STATEMENT = """```{exercise} ★★ Your own softmax
:label: ex-own
Write it, and run `ce.exercises.check("softmax", mine)`.
```
"""
HINT = "```{hint}\n:class: dropdown\nSubtract.\n```\n"
START = "```{solution-start} ex-own\n:class: dropdown\n```\n"
END = "```{solution-end}\n```\n"
CALL = 'ce.exercises.check("softmax", mine)'


def exercise_of(before=STATEMENT + HINT + START, call=CALL, prints="all 9 cases pass\n", after=END):
    outputs = [new_output("stream", name="stdout", text=prints)]
    cells = [
        new_markdown_cell("## Exercises\n\n" + before),
        new_code_cell(call, outputs=outputs),
        new_markdown_cell(after),
    ]
    (exercise,) = SCRIPT.find_exercises(new_notebook(cells=cells))
    return exercise


def test_script_reads_an_exercise():
    exercise = exercise_of()
    assert (exercise.label, exercise.title) == ("ex-own", "Your own softmax")
    assert (exercise.stars, exercise.checkers) == (2, ["softmax"])
    assert SCRIPT.faults(exercise) == []


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"before": STATEMENT + START}, "it is followed by"),
        ({"before": STATEMENT + START + HINT}, "it is followed by"),
        ({"before": STATEMENT + HINT + START.replace("own", "other")}, "it is followed by"),
        ({"after": "That is all.\n"}, "it is followed by"),
        ({"before": STATEMENT.replace("★", "") + HINT + START}, "stars"),
        ({"before": STATEMENT.replace("★", "★★") + HINT + START}, "stars"),
        ({"before": STATEMENT.replace(":label: ex-own\n", "") + HINT + START}, "label"),
        ({"call": "mine(z)"}, 'it says check("softmax")'),
        ({"prints": "failed: one large logit\n"}, 'it says check("softmax")'),
        ({"before": STATEMENT + HINT, "after": START + END}, 'it says check("softmax")'),
    ],
)
def test_script_finds_what_is_missing(changes, fault):
    assert any(fault in found for found in SCRIPT.faults(exercise_of(**changes)))
