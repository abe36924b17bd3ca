"""List the exercises of all chapters, with stars and checkers, on the page of exercises.

Usage: python .ci/list_exercises.py
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import yaml
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "book" / "reference" / "exercises.ipynb"
HEADER = "| stars | exercise | checker |\n|---|---|---|"
LIST_CELL = "exercise-list"  # the id of the one cell of the page that this script writes

# A fence may be longer than three backticks, and ends with as many.
DIRECTIVE = re.compile(
    r"^(?P<fence>`{3,})\{(?P<kind>exercise|hint|solution-start|solution-end)\} ?(?P<title>[^\n]*)\n"
    r"(?P<body>.*?)^(?P=fence)$",
    flags=re.MULTILINE | re.DOTALL,
)
CHECK = re.compile(r"\bce\.exercises\.check\(\s*\"(\w+)\"")
PASSED = re.compile(r"\ball \d+ cases pass")


@dataclass
class Exercise:
    """An exercise and, in the order of the notebook, what stands between it and the next."""

    label: str
    title: str
    stars: int
    checkers: list[str]
    parts: list[str] = field(default_factory=list)  # as in "solution-start ex-two-dice"
    passed: list[str] = field(default_factory=list)  # checkers that its solution runs and passes


def chapters() -> Iterator[tuple[str, list[Path]]]:
    """Yield the caption of each numbered part of the book and the notebooks in it."""
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    for part in contents["parts"]:
        if part.get("numbered"):
            yield part["caption"], [ROOT / f"{entry['file']}.ipynb" for entry in part["chapters"]]


def find_exercises(notebook: NotebookNode) -> list[Exercise]:
    """Return the exercises of a notebook with what follows each of them."""
    found: list[Exercise] = []
    in_solution = False
    for cell in notebook.cells:
        if cell.cell_type == "code" and in_solution:
            found[-1].passed += passed_checkers(cell)
        if cell.cell_type != "markdown":
            continue
        for directive in DIRECTIVE.finditer(cell.source):
            kind, title = directive["kind"], directive["title"].strip()
            if kind == "exercise":
                found.append(read_exercise(title, directive["body"]))
            elif found:
                found[-1].parts.append(f"{kind} {title}".strip())
            in_solution = kind == "solution-start"
    return found


def read_exercise(title: str, body: str) -> Exercise:
    """Return an exercise of which only the directive itself was read."""
    label = re.search(r"^:label: (\S+)$", body, flags=re.MULTILINE)
    name = title.lstrip("★")
    stars = len(title) - len(name)
    return Exercise(label[1] if label else "", name.strip(), stars, CHECK.findall(body))


def passed_checkers(cell: NotebookNode) -> list[str]:
    """Return the checkers that a code cell runs, if its output says that they pass."""
    names = CHECK.findall(cell.source)
    printed = "".join(output.get("text", "") for output in cell.outputs)
    return names if len(PASSED.findall(printed)) == len(names) else []


def faults(exercise: Exercise) -> list[str]:
    """Say what is wrong with an exercise, or nothing."""
    wanted = ["hint", f"solution-start {exercise.label}", "solution-end"]
    wrong = []
    if not exercise.label.startswith("ex-"):
        wrong.append("its label does not begin with ex-")
    if not 1 <= exercise.stars <= 3:
        wrong.append("it has not one, two or three stars")
    if exercise.parts != wanted:
        wrong.append(f"it is followed by {exercise.parts} instead of {wanted}")
    wrong += [
        f'it says check("{name}"), which no cell of its solution passes'
        for name in exercise.checkers
        if name not in exercise.passed
    ]
    return wrong


def exercise_list() -> str:
    """Return the list of all exercises, in MyST."""
    lines = []
    for caption, notebooks in chapters():
        lines += [f"### {caption}", ""]
        for path in notebooks:
            address = path.relative_to(ROOT / "book").with_suffix("").as_posix()
            lines += [f"{{doc}}`../{address}`", "", HEADER]
            for each in find_exercises(nbformat.read(path, as_version=4)):
                checkers = ", ".join(f"`{name}`" for name in each.checkers)
                link = f"{{numref}}`{{number}}. {each.title} <{each.label}>`"
                lines.append(f"| {'★' * each.stars} | {link} | {checkers} |")
            lines.append("")
    return "\n".join(lines).rstrip()


def main() -> None:
    """Write the list into its cell of the page."""
    page = nbformat.read(PAGE, as_version=4)
    (cell,) = [cell for cell in page.cells if cell.id == LIST_CELL]
    cell.source = exercise_list()
    nbformat.write(page, PAGE)


if __name__ == "__main__":
    main()
