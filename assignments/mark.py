"""Mark notebooks that were handed in: the tests of the master are run on the students' answers.

Locked cells are replaced by those of the master, hidden tests and all; what is missing of them
is put at the end. Before each test cebook is loaded anew, so that an answer that replaces a part
of it gains nothing. A test that runs without an error is worth its points. Answers in words are
left to you. This needs nbformat, nbclient and ipykernel, and it runs whatever was handed in: do it
on a machine, or in a container, that holds nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import os
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

FRESH = """\
import sys
[sys.modules.pop(name) for name in [*sys.modules] if name.split(".")[0] == "cebook"]
import cebook as ce
import numpy as np"""


class Mark(NamedTuple):
    """What an answer is worth; points are None where you give them."""

    question: str
    points: float | None
    maximum: float
    error: str


def flags(cell: NotebookNode) -> NotebookNode:
    """Return nbgrader's metadata of a cell."""
    return cell.metadata.get("nbgrader", NotebookNode())


def is_test(cell: NotebookNode) -> bool:
    """Say whether a cell gives points by itself."""
    return bool(flags(cell).get("grade") and not flags(cell).get("solution"))


def put_tests(master: NotebookNode, notebook: NotebookNode) -> None:
    """Replace the locked cells of a notebook by those of the master."""
    locked = {flags(cell).grade_id: cell for cell in master.cells if flags(cell).get("locked")}
    cells = [locked.pop(flags(cell).get("grade_id"), cell) for cell in notebook.cells]
    notebook.cells = []
    for cell in [*cells, *locked.values()]:
        notebook.cells += [new_code_cell(FRESH), cell] if is_test(cell) else [cell]


def run(notebook: NotebookNode, seconds: int = 60) -> set[int]:
    """Run a notebook, on past cells that raise, and return the ids of those that did not."""
    right = set()

    def note(cell: NotebookNode, execute_reply: dict[str, Any], **_: Any) -> None:
        if execute_reply["content"]["status"] == "ok":
            right.add(id(cell))

    os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")  # the Python that runs this script
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
        allow_errors=True,
        timeout=seconds,
        interrupt_on_timeout=True,
        on_cell_executed=note,
    )
    with contextlib.suppress(DeadKernelError):  # what has not been run by then is not right
        client.execute()
    return right


def first_error(cell: NotebookNode) -> str:
    """Return the first line of the error that a cell raised, without AssertionError."""
    for output in cell.outputs:
        if output.output_type == "error":
            text = f"{output.ename}: {output.evalue.strip()}"
            return text.removeprefix("AssertionError: ").splitlines()[0]
    return ""


def marks(master_path: Path, path: Path) -> list[Mark]:
    """Return the marks of a notebook, question by question."""
    master, notebook = (nbformat.read(p, as_version=4) for p in (master_path, path))
    put_tests(master, notebook)
    right, found = run(notebook), []
    for cell in master.cells:
        flag = flags(cell)
        if is_test(cell):
            passed = id(cell) in right
            error = "" if passed else first_error(cell) or "the kernel died before its end"
            found.append(Mark(flag.grade_id, flag.points * passed, flag.points, error))
        elif flag.get("grade"):
            found.append(Mark(flag.grade_id, None, flag.points, ""))
    return found


def main(arguments: list[str] | None = None) -> None:
    """Print the marks of all notebooks, and write them to a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("master", type=Path)
    parser.add_argument("handed_in", nargs="+", type=Path)
    parser.add_argument("--csv", type=Path, help="the table, with a row for each notebook")
    paths = parser.parse_args(arguments)
    rows = []
    for path in paths.handed_in:
        try:
            of_path = marks(paths.master, path)
        except (OSError, ValueError) as error:
            print(f"{path}: no notebook ({str(error).splitlines()[0][:60]})")
            rows.append({"notebook": path})
            continue
        print(path)
        for mark in of_path:
            points = "by hand," if mark.points is None else mark.points
            print(f"  {mark.question:20} {points} of {mark.maximum}")
            if mark.error:
                print(f"    {mark.error}")
        together = sum(mark.points or 0 for mark in of_path)
        print(f"  {'together':20} {together}")
        points_of = {mark.question: mark.points for mark in of_path}
        rows.append({"notebook": path, **points_of, "together": together})
    if paths.csv:
        names = dict.fromkeys(name for row in rows for name in row)
        with paths.csv.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, names)
            table.writeheader()
            table.writerows(rows)


if __name__ == "__main__":
    main()
