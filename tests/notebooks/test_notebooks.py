"""What nbval lets pass: cells that were never run, bitmaps, local paths, leftovers of an editor."""

import importlib.util
import json
import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
LOCAL_PATH = re.compile(r"(/home|/root|/tmp|/Users|/private|[A-Z]:\\Users)[/\\]|site-packages")


def load_script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


SCRIPT = load_script("execute_notebooks")
NOTEBOOKS = SCRIPT.find_notebooks()


@pytest.fixture(params=NOTEBOOKS, ids=[str(path.relative_to(ROOT)) for path in NOTEBOOKS])
def path(request):
    return request.param


@pytest.fixture
def code_cells(path):
    notebook = nbformat.read(path, as_version=4)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_every_cell_was_run_in_order(code_cells):
    counts = [cell.execution_count for cell in code_cells]
    assert counts == list(range(1, len(code_cells) + 1)), "run make notebooks"


def test_outputs_are_of_kinds_that_nbval_compares(code_cells):
    kinds = {kind for cell in code_cells for out in cell.outputs for kind in out.get("data", {})}
    assert not kinds & {"image/png", "image/jpeg"}, "draw figures through cebook.figures"


def test_no_traceback_and_no_local_path_is_stored(code_cells):
    for cell in code_cells:
        assert "error" not in {out.output_type for out in cell.outputs}, cell.source
        assert not LOCAL_PATH.search(json.dumps(cell.outputs)), cell.source


def test_stored_as_make_notebooks_writes_it(path):
    notebook = nbformat.read(path, as_version=4)
    SCRIPT.normalise(notebook)
    expected = nbformat.writes(notebook) + "\n"
    assert path.read_text(encoding="utf-8") == expected, "run make notebooks"
