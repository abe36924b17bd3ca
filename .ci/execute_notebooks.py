"""Run notebooks in place so that a second run, or another Python, changes no byte.

Usage: python .ci/execute_notebooks.py [NOTEBOOK ...]      (all notebooks of the book by default)
"""

from __future__ import annotations

import os
import re
import sys
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_output

BOOK = Path(__file__).resolve().parent.parent / "book"
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "JUPYTER_PREFER_ENV_PATH": "1",  # a python3 kernel registered by the user is another Python
}
# A warning names the temporary file of its cell, and that name holds the process id.
CELL_FILE = re.compile(r"\S*[/\\]ipykernel_\d+[/\\]\d+\.py")


def find_notebooks() -> list[Path]:
    """Return the notebooks of the book, without editors' checkpoints."""
    return sorted(path for path in BOOK.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)


def merge_streams(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Join what stands between two displays into one stderr and one stdout output, in this order.

    How the kernel cuts and interleaves the two streams depends on timing.
    """
    merged: list[NotebookNode] = []
    for kind, group in groupby(outputs, key=attrgetter("output_type")):
        pieces = list(group)
        if kind != "stream":
            merged += pieces
            continue
        for name in ("stderr", "stdout"):
            text = "".join(piece.text for piece in pieces if piece.name == name)
            if text:
                merged.append(new_output("stream", name=name, text=CELL_FILE.sub("<cell>", text)))
    return merged


def normalise(notebook: NotebookNode) -> None:
    """Drop what an editor, a clock or a Python version leaves behind."""
    of_the_page = {key: notebook.metadata[key] for key in ("myst",) if key in notebook.metadata}
    notebook.metadata = NotebookNode(
        kernelspec=NotebookNode(KERNEL), language_info=NotebookNode(name="python"), **of_the_page
    )
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = merge_streams(cell.outputs)
            for output in cell.outputs:
                if output.output_type == "execute_result":
                    output.execution_count = cell.execution_count


def timed_outputs(notebook: NotebookNode) -> dict[str, list[NotebookNode]]:
    """Return the stored outputs that differ from run to run, by cell id.

    They are kept, so that a run leaves git clean; clear one to have it measured again.
    """
    return {
        cell.id: cell.outputs
        for cell in notebook.cells
        if "nbval-ignore-output" in cell.metadata.get("tags", []) and cell.outputs
    }


def execute(path: Path) -> str | None:
    """Run one notebook and store it; return a description of the failure, if any."""
    notebook = nbformat.read(path, as_version=4)
    kept = timed_outputs(notebook)
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
        store_widget_state=False,
        timeout=600,
    )
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        number = client.code_cells_executed
        return f"{path}: code cell {number} failed\n{error}"
    for cell in notebook.cells:
        if cell.id in kept:
            cell.outputs = kept[cell.id]
    normalise(notebook)
    nbformat.write(notebook, path)
    return None


def main(arguments: list[str]) -> int:
    """Run the given notebooks, or all, and stop at the first that fails."""
    os.environ.update(ENVIRONMENT)
    for path in [Path(argument).resolve() for argument in arguments] or find_notebooks():
        print(os.path.relpath(path), flush=True)
        failure = execute(path)
        if failure:
            print(failure, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
