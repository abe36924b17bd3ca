"""The reference pages: each says all it promises to say, and links to sections that exist."""

import ast
import importlib
import inspect
import json
import re
from pathlib import Path

import pytest
from helpers import words_of

import cebook as ce

BOOK = Path(__file__).parents[1] / "book"
REFERENCE = BOOK / "reference"
CHAPTERS = sorted(path for path in BOOK.glob("*/*.ipynb") if path.parent != REFERENCE)
PAGES = sorted(path for ending in ("ipynb", "md") for path in BOOK.rglob(f"*.{ending}"))

LABELLED_HEADING = re.compile(r"^\(([\w-]+)\)=\n(?:\([\w-]+\)=\n)*#+ ", re.MULTILINE)
EQUATION = re.compile(r"^:label: (eq-[\w-]+)$", re.MULTILINE)
REFERENCE_TO = re.compile(r"\{ref\}`(?:[^`<]*<)?([\w-]+)>?`")

CLAIMS = [f"P{n}" for n in range(1, 4)]
CLAIMS += [f"A{n}" for n in range(1, 9)]
CLAIMS += [f"B{n}" for n in range(1, 7)]
CLAIMS += [f"C{n}" for n in range(1, 9)]
VERDICTS = {"right": "*Right.*", "right, with a limit": "*Right, with a limit.*"}
VERDICTS["erratum"] = "*Erratum.*"
OF_THE_SOURCES = ["source-a3", "source-b3", "source-b4", "source-c3", "source-c6"]
OF_WELL_KNOWN_TEXTS = [
    "erratum-d2l-divergence",
    "erratum-d2l-mutual",
    "erratum-d2l-joint",
    "erratum-cs231n",
    "erratum-caffe",
]


def cells_of(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [{**cell, "source": "".join(cell["source"])} for cell in cells]


def headings_with_labels(path):
    """Return the labels above headings; a heading can have several."""
    found = set()
    for match in LABELLED_HEADING.finditer(words_of(path)):
        found |= set(re.findall(r"^\(([\w-]+)\)=$", match[0], re.MULTILINE))
    return found


SECTIONS = set().union(*map(headings_with_labels, CHAPTERS))


def entries():
    """Return what stands under each labelled heading of the page: its text and its code cells."""
    found, label = {}, None
    for cell in cells_of(REFERENCE / "sources.ipynb"):
        if cell["cell_type"] == "code":
            if label:
                found[label][1].append(cell)
            continue
        # A heading begins a block, together with a label above it, and ends the entry before it.
        for block in re.split(r"(?m)(?<!\)=\n)^(?=(?:\([\w-]+\)=\n)?#+ )", cell["source"]):
            if heading := re.match(r"(?:\(([\w-]+)\)=\n)?#+ ", block):
                label = heading[1]
                found.setdefault(label, ["", []])
            if label:
                found[label][0] += block
    found.pop(None, None)
    return found


ENTRIES = entries()


# Sources


def test_every_claim_has_its_place_in_order():
    labels = [label for label in ENTRIES if label.startswith("source-")]
    assert labels == [f"source-{claim.lower()}" for claim in CLAIMS]


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_claim_is_restated_judged_and_answered_in_a_section(claim):
    text = ENTRIES[f"source-{claim.lower()}"][0]
    assert re.search(rf"^### {claim}: \w", text, re.MULTILINE)
    claimed, verdict = re.split(r"\*(?=Right|Erratum)", text, maxsplit=1)
    assert len(claimed.split("\n\n")[1]) > 20
    assert sum(f"*{verdict}".startswith(marker) for marker in VERDICTS.values()) == 1
    assert SECTIONS & set(REFERENCE_TO.findall(verdict))


def test_the_table_of_verdicts_agrees_with_the_entries():
    page = words_of(REFERENCE / "sources.ipynb")
    listed = []
    for name, marker in VERDICTS.items():
        row = re.search(rf"^\| {name} \| (.*) \|$", page, re.MULTILINE)[1]
        claims = re.findall(r"\{ref\}`(\w\d) <source-(\w\d)>`", row)
        listed += [claim for claim, _ in claims]
        for claim, label in claims:
            assert claim.lower() == label
            assert marker in ENTRIES[f"source-{label}"][0]
    assert sorted(listed) == sorted(CLAIMS)


@pytest.mark.parametrize("label", [*OF_THE_SOURCES, *OF_WELL_KNOWN_TEXTS])
def test_an_erratum_is_demonstrated(label):
    cells = ENTRIES[label][1]
    nodes = [node for cell in cells for node in ast.walk(ast.parse(cell["source"]))]
    assert any(isinstance(node, ast.Assert) for node in nodes)
    assert all(cell["execution_count"] for cell in cells)
    assert any("".join(out.get("text", "")) for cell in cells for out in cell["outputs"])


def test_every_verdict_of_erratum_is_demonstrated():
    errata = [label for label, (text, _) in ENTRIES.items() if "*Erratum.*" in text]
    assert set(errata) <= set(OF_THE_SOURCES)
    assert [label for label in ENTRIES if label.startswith("erratum-")] == OF_WELL_KNOWN_TEXTS


@pytest.mark.parametrize("label", OF_WELL_KNOWN_TEXTS)
def test_an_erratum_links_to_the_commit_and_to_a_section_or_its_like(label):
    text = ENTRIES[label][0]
    assert re.search(r"https://github\.com/[\w./-]+/blob/[0-9a-f]{40}/", text)
    of_one_text = [e[0] for name, e in ENTRIES.items() if name[:11] == label[:11]]
    assert SECTIONS & set(REFERENCE_TO.findall(" ".join(of_one_text)))


@pytest.mark.parametrize("letter", "PABCNR")
def test_every_source_is_credited(letter):
    credit = re.search(rf"^\| {letter} \| (.*) \|$", ENTRIES["sources-authors"][0], re.MULTILINE)[1]
    assert letter == "A" or re.search(r"\{cite:t\}`\w+`", credit)
    assert letter in "NR" or "{doc}" in credit or "Parts" in credit


@pytest.mark.parametrize("name", ["sources.ipynb", "notation.md", "api.md", "bibliography.md"])
def test_links_within_the_book_lead_somewhere(name):
    page = words_of(REFERENCE / name)
    labels = {label for path in PAGES for label in headings_with_labels(path)}
    assert set(REFERENCE_TO.findall(page)) <= labels
    for target in re.findall(r"\{doc\}`([^`]+)`", page):
        assert [p for p in PAGES if p.with_suffix("") == (REFERENCE / target).resolve()], target
    equations = {label for path in PAGES for label in EQUATION.findall(words_of(path))}
    assert set(re.findall(r"\{eq\}`([\w-]+)`", page)) <= equations


@pytest.mark.parametrize("path", sorted(REFERENCE.glob("*.*")), ids=lambda path: path.name)
def test_a_reference_page_is_in_the_table_of_contents(path):
    assert f"- file: book/reference/{path.stem}\n" in (BOOK.parent / "_toc.yml").read_text("utf-8")


# Functions

MODULES = [name for name in ce.__all__ if inspect.ismodule(getattr(ce, name))]
FLAT = [name for name in ce.__all__ if name not in (*MODULES, "__version__")]


def sections_of_api():
    """Return for each section its module, what it names itself, and which members it asks for."""
    for section in (REFERENCE / "api.md").read_text(encoding="utf-8").split("\n## ")[1:]:
        module = re.search(r"automodule:: cebook\.(\w+)\n   :(no-)?members:(.*)", section)
        names = re.findall(r"^\.\. auto(?:function|class):: (\w+)$", section, re.MULTILINE)
        yield module[1], names, None if module[2] else module[3].strip()


def test_the_page_names_every_function_and_class_once_and_nothing_else():
    names = [name for _, names, _ in sections_of_api() for name in names]
    assert sorted(names) == sorted(FLAT)


def test_each_stands_in_the_section_of_its_module():
    for module, names, _ in sections_of_api():
        for name in names:
            assert getattr(ce, name).__module__ == f"cebook.{module}"


def test_modules_that_keep_their_name_are_shown_whole():
    shown = {module: members for module, _, members in sections_of_api() if members is not None}
    assert sorted(shown) == sorted(MODULES)
    for module, members in shown.items():
        public = importlib.import_module(f"cebook.{module}").__all__
        assert not members or set(members.split(", ")) == {n for n in public if n[0].islower()}
    page = (REFERENCE / "api.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in ce.figures.__all__ if name.isupper())


# Symbols


GREEK = {"alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "eta", "theta", "lambda", "mu"}
GREEK |= {"nu", "xi", "pi", "rho", "sigma", "tau", "phi", "varphi", "chi", "psi", "omega"}
GREEK |= {"ell", "nabla", "partial", "Omega", "Sigma"}


def symbols(text):
    """Return Greek letters, named functions and single letters of the formulas of a text."""
    formulas = re.findall(r"(?s)\$\$.+?\$\$|\$[^$]+\$|```\{math\}.*?```", text)
    math = re.sub(r"```(\{math\})?|:label: .*", "", "\n".join(formulas))
    named = set(re.findall(r"\\(?:operatorname|mathbb)\{(\w+)\}", math))
    math = re.sub(r"\\(operatorname|math\w+|text|begin|end)\s*(\{[^}]*\}|T)", " ", math)
    commands = set(re.findall(r"\\([a-zA-Z]+)", math))
    letters = set(re.findall(r"[a-zA-Z]", re.sub(r"\\[a-zA-Z]+", " ", math)))
    return named | (commands & GREEK) | letters


PART_OF = {"information": "I", "softmax": "II", "sigmoid": "III", "practice": "IV"}


OF_A_PARAGRAPH = {"autoencoder": {"m"}}


def symbols_of_part(part):
    page = (REFERENCE / "notation.md").read_text(encoding="utf-8")
    tables = {section.split(":")[0].split("\n")[0]: section for section in page.split("\n## ")}
    return symbols(tables["Throughout"]) | symbols(tables[f"Part {part}"])


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_every_symbol_of_a_chapter_is_in_the_table(path):
    chapter = words_of(path).split("\n## Exercises")[0]
    chapter = re.sub(r"(?s)````\{prf:proof\}.*?````", "", chapter)  # has letters of its own
    known = symbols_of_part(PART_OF[path.parent.name]) | OF_A_PARAGRAPH.get(path.stem, set())
    assert symbols(chapter) - known == set()


# Works

BIBLIOGRAPHY = (BOOK / "references.bib").read_text(encoding="utf-8")
WORKS = dict(re.findall(r"(?ms)^@\w+\{(\w+),\n(.*?)^\}", BIBLIOGRAPHY))
CITED = {
    key.strip()
    for path in PAGES
    for keys in re.findall(r"\{cite:\w+\}`([^`]+)`", path.read_text(encoding="utf-8"))
    for key in keys.split(",")
}
# What the book took from others, and where it can be found.
FOUND_AT = {
    "blanchard2021": "10.1093/imanum/draa038",
    "milakov2018": "1805.02867",
    "wijmans2025": "2411.09009",
    "hsu2024": "2410.10989",
    "shoeybi2019": "1909.08053",
    "prieto2025": "2501.04697",
    "gneiting2007": "10.1198/016214506000001437",
    "shannon1948": "10.1002/j.1538-7305.1948.tb01338.x",
    "kullback1951": "10.1214/aoms/1177729694",
    "higham2002": "10.1137/1.9780898718027",
    "squire1998": "10.1137/S003614459631241X",
    "glorot2010": "glorot10a",
    "jia2014": "10.1145/2647868.2654889",
    "zhang2023": "2106.11342",
}
PRINTED = {"bishop2006", "knuth1997"}  # books without a DOI


@pytest.mark.parametrize("key", WORKS)
def test_a_work_is_cited_and_can_be_found(key):
    assert key in CITED
    assert key in PRINTED or re.search(r"^  (doi|eprint|url) |arXiv:\d", WORKS[key], re.MULTILINE)


def test_every_citation_is_listed():
    assert WORKS.keys() >= CITED


@pytest.mark.parametrize("key", FOUND_AT)
def test_a_work_behind_a_fact_is_listed_with_its_identifier(key):
    assert FOUND_AT[key] in WORKS[key]
