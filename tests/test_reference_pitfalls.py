"""The page of pitfalls: twenty entries, each run, and linked with a chapter in both directions.

The tables at its head name every entry, and every message of the second one is printed below it.
"""

import re
from pathlib import Path

import nbformat
import pytest
from helpers import words_of

BOOK = Path(__file__).parents[1] / "book"
PAGE = BOOK / "reference" / "pitfalls.ipynb"
NUMBERS = range(1, 21)
LABEL = re.compile(r"^\(([\w-]+)\)=$", flags=re.MULTILINE)
SECTION = re.compile(r"^\(([\w-]+)\)=\n(?=(?:\([\w-]+\)=\n)*#)", flags=re.MULTILINE)
EXERCISE = re.compile(r"^```\{exercise\} .+\n:label: ([\w-]+)$", flags=re.MULTILINE)
REFERENCE = re.compile(r"\{ref\}`(?:[^`<]*<)?([\w-]+)>?`")

FILES = [path for kind in ("ipynb", "md") for path in BOOK.rglob(f"*.{kind}")]
PAGES = {path: words_of(path) for path in FILES if ".ipynb_checkpoints" not in path.parts}
# What an entry can refer to: a section or an exercise, with the page it is on.
EXPLAINED = {
    label: path
    for path, text in PAGES.items()
    for label in SECTION.findall(text) + EXERCISE.findall(text)
}


def entries():
    """Return the cells of each entry of the page, by label; those before the first by ''."""
    found, label = {"": []}, ""
    for cell in nbformat.read(PAGE, as_version=4).cells:
        labels = LABEL.findall(cell.source) if cell.cell_type == "markdown" else []
        if labels:
            (label,) = labels
            found[label] = []
        found[label].append(cell)
    return found


def was_run(cell):
    return cell.execution_count is not None and any(
        output.get("text", "").strip() for output in cell.outputs
    )


def faults(number, found):
    """Return what is wrong with the entry of a number."""
    label = f"pitfall-{number:02}"
    if label not in found:
        return [f"no label {label}"]
    wrong = []
    first, *rest = found[label]
    if not re.search(rf"^\({label}\)=\n### {number}\. \w", first.source, flags=re.MULTILINE):
        wrong.append(f"no heading '### {number}. ...' after the label")
    for kind in ("wrong", "right", "cebook"):
        cells = [cell for cell in rest if re.match(rf"# {kind}\b", cell.source)]
        if not cells or not all(cell.cell_type == "code" and was_run(cell) for cell in cells):
            wrong.append(f"no executed cell '# {kind}', or one without output")
    prose = "\n\n".join(cell.source for cell in rest if cell.cell_type == "markdown")
    explained = re.search(r"^(Explained in|Related:) .*$", prose, flags=re.MULTILINE)
    links = REFERENCE.findall(explained.group()) if explained else []
    if not links:
        wrong.append("no paragraph 'Explained in' or 'Related:' with a link")
    for link in links:
        chapter = EXPLAINED.get(link)
        if chapter is None or chapter == PAGE:
            wrong.append(f"no section {link} in a chapter")
        elif label not in REFERENCE.findall(PAGES[chapter]):
            wrong.append(f"{chapter.name} does not link back")
    if label not in REFERENCE.findall(found[""][0].source):
        wrong.append("not in the table of symptoms")
    return wrong


@pytest.mark.parametrize("number", NUMBERS)
def test_entry_is_whole(number):
    assert faults(number, entries()) == []


@pytest.mark.parametrize("number", NUMBERS)
def test_removed_entry_is_missed(number):
    found = entries()
    del found[f"pitfall-{number:02}"]
    assert faults(number, found) != []


@pytest.mark.parametrize("kind", ["wrong", "right", "cebook"])
def test_removed_cell_is_missed(kind):
    for number in NUMBERS:
        found = entries()
        label = f"pitfall-{number:02}"
        found[label] = [c for c in found[label] if not c.source.startswith(f"# {kind}")]
        assert faults(number, found) == [f"no executed cell '# {kind}', or one without output"]


def test_entry_that_was_not_run_is_missed():
    found = entries()
    for cell in found["pitfall-01"]:
        cell.execution_count = None
    assert len(faults(1, found)) == 3


def test_the_shorter_entries_are_in_a_table_too():
    found = entries()
    shorter = [label for label in found if label and not re.fullmatch(r"pitfall-\d\d", label)]
    assert len(shorter) == 8
    assert set(shorter) <= set(REFERENCE.findall(found[""][0].source))


def test_every_message_of_the_table_is_printed():
    table = entries()[""][0].source.split("| what the error says |")[1].splitlines()[2:]
    messages = [line.split(" | ")[0].strip("| ") for line in table if line.startswith("| ")]
    assert len(messages) == 9
    outputs = [
        out for cells in entries().values() for cell in cells for out in cell.get("outputs", [])
    ]
    printed = " ".join(" ".join(out.get("text", "").split()) for out in outputs)
    assert [message for message in messages if message not in printed] == []


def test_printed_lines_fit_a_telephone():
    cells = [cell for cells in entries().values() for cell in cells if cell.cell_type == "code"]
    lines = [line for cell in cells for out in cell.outputs for line in out.text.splitlines()]
    assert [line for line in lines if len(line) > 51] == []


def test_entries_are_in_order():
    numbered = [label for label in entries() if re.fullmatch(r"pitfall-\d\d", label)]
    assert numbered == [f"pitfall-{number:02}" for number in NUMBERS]


def test_every_pitfall_that_is_linked_exists():
    linked = {
        link
        for text in PAGES.values()
        for link in REFERENCE.findall(text)
        if link.startswith("pitfall-")
    }
    assert linked <= set(entries())


def test_labels_of_the_page_are_nowhere_else():
    for label in filter(None, entries()):
        assert [path for path, text in PAGES.items() if label in LABEL.findall(text)] == [PAGE]


def test_the_page_is_in_the_table_of_contents():
    contents = (BOOK.parent / "_toc.yml").read_text(encoding="utf-8")
    assert "- file: book/reference/pitfalls\n" in contents
