"""Make of a master notebook the one that students get: no solutions, no hidden tests, no outputs.

A solution stands between the comments BEGIN SOLUTION and END SOLUTION in a cell that nbgrader's
metadata call a solution, and a hidden test between BEGIN HIDDEN TESTS and END HIDDEN TESTS in one
that they call graded. A solution cell without the comments, in code or in words, is replaced as a
whole. A comment that is nearly one of these is an error, and then nothing is written. The standard
library is all that this script needs.
"""

from __future__ import annotations

import argparse
import json
import re
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
MASTER, RELEASE = FOLDER / "softmax-loss-master.ipynb", FOLDER / "softmax-loss.ipynb"
REGION = re.compile(
    r"^([ \t]*)#+ *BEGIN (SOLUTION|HIDDEN TESTS)[ \t]*\n.*?^[ \t]*#+ *END \2[ \t]*(?:\n|\Z)",
    flags=re.DOTALL | re.MULTILINE,
)
STUB = "# YOUR CODE HERE\nraise NotImplementedError"
MARK = r"\b(?:BEGIN|END) +(?:SOLUTION|HIDDEN|MARK SCHEME|PROMPT)[ \w]*"


def stub(region: re.Match[str]) -> str:
    """Return what stands in place of a solution, as far to the right as it did; else nothing."""
    indent, kind = region.groups()
    if kind == "HIDDEN TESTS":
        return ""
    return textwrap.indent(STUB, indent) + "\n"


def refuse(text: str, kinds: Counter[str], code: bool, nbgrader: dict[str, Any]) -> None:
    """Raise ValueError if something in a cell without its regions shows that it is not as meant."""
    left = re.search(MARK + r"|#+ *SOLUTION\b" * code, text, flags=re.IGNORECASE)
    if left:
        raise ValueError(
            f"{left.group()!r} is not one of a pair of comments in code, BEGIN SOLUTION and "
            "END SOLUTION or BEGIN HIDDEN TESTS and END HIDDEN TESTS"
        )
    for kind, flag in (("SOLUTION", "solution"), ("HIDDEN TESTS", "grade")):
        if kinds[kind] and not nbgrader.get(flag):
            raise ValueError(f"it has a {kind}, but nbgrader's metadata do not say {flag}: true")


def released(cell: dict[str, Any]) -> tuple[dict[str, Any], Counter[str]]:
    """Return a cell without what is not for students, and how many things of which kind it lost."""
    source = "".join(cell["source"]).replace("\r\n", "\n")
    code, nbgrader = cell["cell_type"] == "code", cell["metadata"].get("nbgrader", {})
    kinds = Counter(kind for _, kind in REGION.findall(source) if code)
    text = REGION.sub(stub, source).rstrip("\n") if code else source
    refuse(text, kinds, code, nbgrader)
    if nbgrader.get("solution") and not kinds["SOLUTION"]:
        if re.search("YOUR (CODE|ANSWER) HERE", source):
            raise ValueError("its solution is removed already. Is this the master?")
        kinds["SOLUTION" if code else "WORDS"] = 1
        text = STUB if code else "YOUR ANSWER HERE"
    cell = {**cell, "source": text.splitlines(keepends=True)}
    return (cell | {"outputs": [], "execution_count": None} if code else cell), kinds


def release(master: str) -> tuple[str, Counter[str]]:
    """Return the text of the students' notebook, given that of the master, and what is removed."""
    notebook, removed = json.loads(master), Counter[str]()
    for number, cell in enumerate(notebook["cells"], 1):
        try:
            notebook["cells"][number - 1], of_cell = released(cell)
        except ValueError as error:
            raise ValueError(f"cell {number} ({cell.get('id', 'no id')}): {error}") from None
        removed += of_cell
    if not removed["SOLUTION"] + removed["WORDS"]:
        raise ValueError("no cell of it is a solution. Is this the master?")
    return json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n", removed


def counted(removed: Counter[str]) -> str:
    """Return in words what was removed."""
    nouns = {
        "SOLUTION": "solution{}",
        "HIDDEN TESTS": "hidden test{}",
        "WORDS": "answer{} in words",
    }
    parts = [f"{removed[k]} {noun.format('s'[: removed[k] != 1])}" for k, noun in nouns.items()]
    return f"{parts[0]}, {parts[1]} and {parts[2]} removed"


def main(arguments: list[str] | None = None) -> None:
    """Read one notebook and write the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("master", nargs="?", type=Path, help="by default that of this folder")
    parser.add_argument("release", nargs="?", type=Path, help="the notebook that is written")
    paths = parser.parse_args(arguments)
    if paths.master and not paths.release:
        parser.error("name both notebooks, or none")
    master, target = paths.master or MASTER, paths.release or RELEASE
    if target.exists() and target.samefile(master):
        parser.error("the release would overwrite the master")
    try:
        text, removed = release(master.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        parser.error(f"{master}: {error}")
    target.write_text(text, encoding="utf-8", newline="\n")
    print(f"{target}: {counted(removed)}")


if __name__ == "__main__":
    main()
