"""The page of frameworks: no concept, framework, mark, tolerance or name may go missing."""

import json
import re
from pathlib import Path

import numpy as np
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
# Of these every call keeps its digits; of the others some do not.
CLOSE = {"entropy", "cross-entropy", "sigmoid", "log-sigmoid", "softplus"}
INSTALLED = {"PyTorch", "SciPy", "scikit-learn", "cebook"}
ABSENT = {"TensorFlow", "Keras", "JAX", "optax", "Caffe"}
VERSION = re.compile(r"\d+\.\d+(\.\d+)?")
MARK = "*documented only*"


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
        texts[label] = texts.get(label, "") + before + "\n"
        texts.update(
            (name, text + "\n") for name, text in zip(parts[::2], parts[1::2], strict=True)
        )
        label = [label, *parts[::2]][-1]
    return texts, codes


TEXTS, CODES = sections()


def table(text):
    """Return the rows of the tables in a text, without their headings."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]
    rules = [i for i, row in enumerate(rows) if set(row[0]) == {"-"}]
    return [row for i, row in enumerate(rows) if i not in rules and i + 1 not in rules]


def frameworks(row):
    """Return the names in the first column, each without its version."""
    return [name.split()[0] for name in row[0].split(", ")]


def executed(concept):
    return [row for row in table(TEXTS[f"call-{concept}"]) if INSTALLED & {*frameworks(row)}]


def defined(name):
    """Return a function that the page defines."""
    (cell,) = [cell for cell in CODES[None] if f"def {name}(" in cell]
    namespace = {"np": np}
    exec(cell, namespace)
    return namespace[name]


def test_every_concept_has_a_section_and_nothing_else_has():
    labels = [f"call-{concept}" for concept in CONCEPTS]
    assert [label for label in TEXTS if label] == [*labels, "which-is-right", "which-call"]
    for label in labels:
        assert re.match(r"\n## \w", TEXTS[label])


@pytest.mark.parametrize("concept", CONCEPTS)
def test_every_framework_has_a_row(concept):
    named = {name for row in table(TEXTS[f"call-{concept}"]) for name in frameworks(row)}
    assert named <= INSTALLED | ABSENT
    assert named >= INSTALLED | {"Caffe"}
    assert named & {"TensorFlow", "Keras"}
    assert named & {"JAX", "optax"}


@pytest.mark.parametrize("label", [label for label in TEXTS if label != "which-call"])
def test_what_was_not_executed_says_so_with_its_version(label):
    for row in table(TEXTS[label]):
        if VERSION.fullmatch(row[1]):  # the table of what was read
            continue
        absent = ABSENT & {*frameworks(row)}
        assert row[-1].startswith(MARK) == bool(absent)
        for name in row[0].split(", ") if absent else []:
            assert re.fullmatch(rf"(?:{'|'.join(ABSENT)}) {VERSION.pattern}", name)


@pytest.mark.parametrize("concept", CONCEPTS)
def test_what_is_not_marked_is_executed(concept):
    code = "\n".join(CODES[f"call-{concept}"])
    for row in executed(concept):
        if row[1] != "none":
            (call,) = re.findall("`(.*)`", row[1])
            for part in re.findall(r"[\w.]+\(|\w+=", call) or [call]:
                assert part in code


def test_the_comparing_function_asserts_its_tolerances(capsys):
    compare = defined("compare")
    eps = np.finfo(float).eps
    compare([2.0, -1.0], {"a": [2 + 6 * eps, -1 - 3 * eps]}, {"b": [2.0, -1 - 60 * eps]})
    _, close, lossy = capsys.readouterr().out.splitlines()
    assert close.startswith("a ")
    assert close.endswith(" <= 4 eps")
    assert lossy.startswith("b ")
    assert lossy.endswith(" <= 64 eps")
    for wrong in ([2.0, -1 - 5 * eps], [2.0, np.nan], [2.0], [[2.0], [-1.0], [-1.0]]):
        with pytest.raises(AssertionError):
            compare([2.0, -1.0], close={"a": wrong})
    with pytest.raises(AssertionError):
        compare([2.0, -1.0], lossy={"a": [2.0, -1 - 66 * eps]})


@pytest.mark.parametrize("concept", CONCEPTS)
def test_every_concept_is_compared(concept):
    comparing = [cell for cell in CODES[f"call-{concept}"] if "compare(" in cell]
    assert comparing
    for cell in comparing:
        assert "ce." in cell
        assert re.search(r"\{|by_labels", cell.split("compare(", 1)[1])
    assert ("lossy={" in "".join(comparing)) == (concept not in CLOSE)


@pytest.mark.parametrize("concept", CONCEPTS)
def test_what_is_told_is_asserted(concept):
    telling = [cell for cell in CODES[f"call-{concept}"] if re.search(r"tell\(|print\(", cell)]
    assert telling
    for cell in telling:
        assert re.search(r"^ *assert ", cell, flags=re.MULTILINE)


def test_inputs_are_drawn_with_a_seed_that_nobody_chose():
    code = "\n".join(cell for cells in CODES.values() for cell in cells)
    assert set(re.findall(r"default_rng\((.*?)\)", code)) == {"0"}
    assert "random.seed" not in code


def test_the_exact_answer_decides_who_is_right():
    code = "\n".join(CODES["which-is-right"])
    assert "ce.ulp_error(np.asarray(values), exact)" in code
    assert 'assert (error <= 8) == name.startswith("ce.")' in code
    for concept in ("softmax", "log_softmax", "kl_divergence"):
        assert f"ce.{concept}(" in code


def test_every_name_of_cebook_exists():
    everything = "\n".join([*TEXTS.values(), *(cell for cells in CODES.values() for cell in cells)])
    names = set(re.findall(r"\bce\.(\w+)", everything))
    assert len(names) > 15
    assert names <= set(ce.__all__)


def test_the_end_leads_to_sections_of_the_page():
    targets = re.findall(r"\{ref\}`(?:[^`<]*<)?(call-[\w-]+)>?`", TEXTS["which-call"])
    assert len(set(targets)) > 10
    assert set(targets) <= {f"call-{concept}" for concept in CONCEPTS}
