"""The extension in a small book of its own: what it refuses, and what it takes from outside."""

from __future__ import annotations

import doctest
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
# Jupyter Book is no module that can be run, and its command need not be on the path.
RUN = "from jupyter_book.cli.main import main; main()"
URL = "https://example.org/some/where"
REPOSITORY = "https://github.com/somebody/something"
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg"><g id="patch_1"><path style="fill: #ffffff"/></g>'
    '<path id="a" fill="#24292f"/><use href="#a"/></svg>'
)


@pytest.fixture(scope="module")
def extension() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "cebook_site", ROOT / "book" / "_ext" / "cebook_site.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def figure(**options: object) -> nbformat.NotebookNode:
    output = nbformat.v4.new_output("display_data", {"image/svg+xml": SVG, "text/plain": "Figure"})
    return nbformat.v4.new_code_cell("draw()", metadata={"mystnb": options}, outputs=[output])


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Build two figures, one without alternative text, and return the site and the log."""
    source = tmp_path_factory.mktemp("book")
    shutil.copy(ROOT / "_config.yml", source)
    for folder in ("_ext", "_static"):
        shutil.copytree(ROOT / "book" / folder, source / "book" / folder)
    (source / "_toc.yml").write_text("format: jb-book\nroot: book/index\n", encoding="utf-8")
    (source / "book" / "references.bib").write_text("", encoding="utf-8")
    # Markdown beside the book, such as that of a virtual environment, is none of its pages.
    (source / ".venv").mkdir()
    (source / ".venv" / "README.md").write_text("# Not a page\n", encoding="utf-8")
    notebook = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "language": "python", "display_name": ""}},
        cells=[
            nbformat.v4.new_markdown_cell("# Title\n\nSee {numref}`fig-good`."),
            figure(figure={"caption": "A $p$", "name": "fig-good"}, image={"alt": 'A "curve"'}),
            figure(),
        ],
    )
    nbformat.write(notebook, source / "book" / "index.ipynb")
    build = subprocess.run(
        [sys.executable, "-c", RUN, "build", str(source), "-n"],
        env={**os.environ, "SITE_URL": URL, "REPOSITORY_URL": REPOSITORY},
        capture_output=True,
        text=True,
        check=False,
    )
    assert build.returncode == 0, build.stderr
    return source / "_build" / "html", build.stderr


def test_examples_in_docstrings(extension: ModuleType) -> None:
    result = doctest.testmod(extension)
    assert result.attempted
    assert not result.failed


def test_figure_without_alternative_text_is_the_only_warning(book: tuple[Path, str]) -> None:
    _, log = book
    assert log.count("WARNING") == 1, log
    assert "a notebook figure has no alternative text" in log


def test_figures_are_part_of_the_page(book: tuple[Path, str]) -> None:
    page = (book[0] / "index.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2
    assert "#ffffff" not in page
    assert 'role="img" aria-label="A &quot;curve&quot;"' in page
    assert '<path id="figure1-a" fill="currentColor"/><use href="#figure1-a"/>' in page
    assert '<path id="figure2-a" fill="currentColor"/><use href="#figure2-a"/>' in page
    assert ">Fig. 1<" in page


def test_addresses_come_from_the_environment(book: tuple[Path, str]) -> None:
    site = book[0]
    landing = (site / "index.html").read_text(encoding="utf-8")
    assert f'<link rel="canonical" href="{URL}/"' in landing
    assert f'property="og:image" content="{URL}/_static/card.png"' in landing
    assert f'href="{REPOSITORY}"' in landing
    assert f"<loc>{URL}/</loc>" in (site / "sitemap.xml").read_text(encoding="utf-8")
    assert 'href="/some/where/search.html"' in (site / "404.html").read_text(encoding="utf-8")


def test_no_address_is_written_down() -> None:
    for file in [ROOT / "_config.yml", *(ROOT / "book" / "_ext").glob("*.py")]:
        assert ".github.io" not in file.read_text(encoding="utf-8")
