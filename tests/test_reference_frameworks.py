"""The page of frameworks: no concept, framework, mark, tolerance or name may go missing."""

import json
import re
from pathlib import Path

import pytest

import cebook as ce

PAGE = Path(__file__).parents[1] / "book" / "reference" / "frameworks.ipynb"
CONCEPTS = [
    "entropy",
    "cross-entropy",
    "kl",
    "logsumexp",
    "softmax",
    "log-softmax",
    "softmax-loss-indices",
    "softmax-loss-distributions",
    "nll",
    "smoothing",
    "class-weights",
    "ignored",
    "sigmoid",
    "log-sigmoid",
    "softplus",
    "sigmoid-loss",
    "binary",
    "pos-weight",
    "linear",
    "temperature",
]
INSTALLED = {"PyTorch", "SciPy", "scikit-learn", "cebook"}
ABSENT = {"TensorFlow", "Keras", "JAX", "optax", "Caffe"}
VERSION = re.compile(r"\d+\.\d+(\.\d+)?")
MARK = re.compile(rf"\w+ {VERSION.pattern}, documented only")


def source(cell):
    return "".join(cell["source"])


def sections():
    """Return the text and the code under each label of the page."""
    texts, codes, label = {}, {}, None
    for cell in json.loads(PAGE.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            codes.setdefault(label, []).append(source(cell))
            continue
        before, *parts = re.split(r"^\((.+)\)=$", source(cell), flags=re.MULTILINE)
        texts[label] = texts.get(label, "") + before
        texts.update(zip(parts[::2], parts[1::2], strict=True))
        label = [label, *parts[::2]][-1]
    return texts, codes


TEXTS, CODES = sections()


def table(text):
    """Return the rows of the tables in a text, without their headings."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    rules = [i for i, row in enumerate(rows) if set(row[0]) == {"-"}]
    return [row for i, row in enumerate(rows) if i not in rules and i + 1 not in rules]


def framework(row):
    return row[0].split()[0]


def test_every_concept_has_a_section_and_nothing_else_has():
    labels = [f"call-{concept}" for concept in CONCEPTS]
    assert [label for label in TEXTS if label] == [*labels, "which-call"]
    for label in labels:
        assert re.match(r"\n## \w", TEXTS[label])


@pytest.mark.parametrize("concept", CONCEPTS)
def test_every_framework_has_a_row(concept):
    named = {framework(row) for row in table(TEXTS[f"call-{concept}"])}
    assert named <= INSTALLED | ABSENT
    assert named >= INSTALLED | {"Caffe"}
    assert named & {"TensorFlow", "Keras"}
    assert named & {"JAX", "optax"}


@pytest.mark.parametrize("label", TEXTS)
def test_what_was_not_executed_says_so_with_its_version(label):
    for row in table(TEXTS[label]):
        if framework(row) in ABSENT and not VERSION.fullmatch(row[1]):
            assert MARK.fullmatch(row[0])
        if framework(row) in INSTALLED:
            assert "documented" not in row[0]


@pytest.mark.parametrize("concept", CONCEPTS)
def test_what_is_not_marked_is_executed(concept):
    code = "\n".join(CODES[f"call-{concept}"])
    for row in table(TEXTS[f"call-{concept}"]):
        if framework(row) in INSTALLED and row[1] != "none":
            (call,) = re.findall("`(.*)`", row[1])
            for part in re.findall(r"[\w.]+\(|\w+=", call) or [call]:
                assert part in code


@pytest.mark.parametrize("concept", CONCEPTS)
def test_every_comparison_asserts_a_tolerance(concept):
    cells = CODES[f"call-{concept}"]
    comparing = [cell for cell in cells if "compare(" in cell]
    assert comparing
    for cell in comparing:
        assert re.search(r"^assert worst <= 4\b", cell, flags=re.MULTILINE)
        assert "worst = compare(" in cell
        assert "ce." in cell
    # Definitions go on in the next cell.
    assert "assert" in cells[-1]


def test_every_name_of_cebook_exists():
    everything = "\n".join([*TEXTS.values(), *(cell for cells in CODES.values() for cell in cells)])
    names = set(re.findall(r"\bce\.(\w+)", everything))
    assert len(names) > 15
    assert names <= set(ce.__all__)


def test_the_end_leads_to_sections_of_the_page():
    targets = re.findall(r"\{ref\}`(?:[^`<]*<)?(call-[\w-]+)>?`", TEXTS["which-call"])
    assert len(set(targets)) > 10
    assert set(targets) <= {f"call-{concept}" for concept in CONCEPTS}
