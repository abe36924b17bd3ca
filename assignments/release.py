"""Make of a master notebook the one that students get: no solutions, no hidden tests, no outputs.

Usage: python assignments/release.py [MASTER RELEASE]     (by default those of this folder)

A solution stands between the comments BEGIN SOLUTION and END SOLUTION, a hidden test between BEGIN
HIDDEN TESTS and END HIDDEN TESTS; an answer in words is a Markdown cell that nbgrader's metadata
call a solution. `nbgrader generate_assignment` reads the same marks. The standard library is all
that this script needs.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
MASTER, RELEASE = FOLDER / "softmax-loss-master.ipynb", FOLDER / "softmax-loss.ipynb"
REGION = re.compile(
    r"^([ \t]*)#+ *BEGIN (SOLUTION|HIDDEN TESTS)[ \t]*\n.*?^[ \t]*#+ *END \2[ \t]*(?:\n|\Z)",
    flags=re.DOTALL | re.MULTILINE,
)
MARK = re.compile(r"(BEGIN|END) (SOLUTION|HIDDEN TESTS)")


def stub(region: re.Match[str]) -> str:
    """Return what stands in place of a solution, as far to the right as it did; else nothing."""
    indent, kind = region.groups()
    if kind == "HIDDEN TESTS":
        return ""
    return f"{indent}# YOUR CODE HERE\n{indent}raise NotImplementedError\n"


def released(cell: dict[str, Any]) -> dict[str, Any]:
    """Return a cell without what is not for students."""
    source = "".join(cell["source"])
    text = REGION.sub(stub, source).rstrip("\n")
    if cell["cell_type"] == "markdown" and cell["metadata"].get("nbgrader", {}).get("solution"):
        text = "YOUR ANSWER HERE"
    left = MARK.search(text)
    if left:
        raise ValueError(f"cell {cell['id']}: {left.group()} has no counterpart")
    cell = {**cell, "source": text.splitlines(keepends=True)}
    if cell["cell_type"] == "code":
        cell |= {"outputs": [], "execution_count": None}
    return cell


def release(master: str) -> str:
    """Return the text of the students' notebook, given that of the master."""
    notebook = json.loads(master)
    notebook["cells"] = [released(cell) for cell in notebook["cells"]]
    return json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def main(arguments: list[str]) -> None:
    """Read one notebook and write the other."""
    master, target = map(Path, arguments) if arguments else (MASTER, RELEASE)
    target.write_text(release(master.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
    print(f"{target.name}: made of {master.name}")


if __name__ == "__main__":
    main(sys.argv[1:])
