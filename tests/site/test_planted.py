"""The checks themselves: each must see the defect that is planted in a copy of a page."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from . import file_checks, page_checks
from .browsing import Visit, visit
from .server import BASE, SLOW_BASE, serve

CHAPTER = "book/information/entropy.html"
PLANTED = "book/information/planted.html"
TEXT = r"""<article class="bd-article"><section class="tex2jax_ignore mathjax_ignore">
<h1>Planted</h1><p>Nothing else, but <span class="math">\(x\)</span>.</p></section></article>"""


@pytest.fixture(scope="session")
def planted_site(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("planted") / "html"
    shutil.copytree(site, copy)
    return copy


@pytest.fixture(scope="session")
def planted_server(planted_site: Path) -> Iterator[str]:
    with serve(planted_site, file_checks.built_base(planted_site)) as address:
        yield address


def plant(site: Path, pattern: str, replacement: str) -> None:
    """Write a chapter with little text and one thing replaced, beside the chapter itself."""
    page = (site / CHAPTER).read_text(encoding="utf-8")
    page = re.sub(r"(?s)<article.*</article>", lambda _: TEXT, page)
    planted, count = re.subn(pattern, lambda _: replacement, page, count=1)
    assert count, f"nothing to replace: {pattern}"
    (site / PLANTED).write_text(planted, encoding="utf-8")
    file_checks.soup.cache_clear()
    file_checks.anchors.cache_clear()


def body(html: str) -> tuple[str, str]:
    """Plant something at the end of the text."""
    return "</section></article>", f"{html}</section></article>"


def style(css: str) -> tuple[str, str]:
    return "</head>", f"<style>{css}</style></head>"


def large(site: Path) -> None:
    # Random bytes, since gzip would make anything else small.
    (site / "_static" / "large.bin").write_bytes(os.urandom(page_checks.MAX_WEIGHT))


Check = Callable[[Visit], list[str]]
PAGE_DEFECTS: dict[str, tuple[Check, tuple[str, str], str]] = {
    "script of another site": (
        page_checks.third_party,
        body('<script src="http://localhost:9/x.js"></script>'),
        "localhost:9",
    ),
    "file that is missing": (page_checks.requests, body('<img src="x.png" alt="x">'), "404"),
    "message": (page_checks.console, body("<script>console.log(1)</script>"), "log: 1"),
    "exception": (page_checks.console, body("<script>nowhere()</script>"), "nowhere"),
    "heavy file": (
        page_checks.weight,
        body('<script>fetch("../../_static/large.bin").then((r) => r.blob())</script>'),
        "large.bin",
    ),
    "undefined macro": (
        page_checks.formulas,
        body(r'<p><span class="math">\(\undefinedmacro\)</span></p>'),
        "undefinedmacro",
    ),
    "TeX error": (
        page_checks.formulas,
        body(r'<p><span class="math">\(\frac{1}\)</span></p>'),
        "TeX error",
    ),
    "TeX that is no formula": (page_checks.formulas, body(r"<p>$$x$$</p>"), "in the text"),
    "image without alternative": (
        page_checks.alternatives,
        body('<img src="../../_static/card.png">'),
        "card.png",
    ),
    "figure without alternative": (
        page_checks.alternatives,
        body('<div class="notebook-figure"><svg role="img"></svg></div>'),
        "svg",
    ),
    "wide box": (page_checks.overflow, body('<div style="width:2000px">x</div>'), "at 1280 px"),
    "box wider than a telephone": (
        page_checks.overflow,
        body('<div style="width:370px">x</div>'),
        "at 320 px",
    ),
    "long formula": (
        page_checks.overflow,
        body(rf'<p><span class="math" style="overflow:hidden">\({"x+" * 40}x\)</span></p>'),
        "cut off",
    ),
    "pale text": (
        page_checks.accessible_in_light,
        body('<p style="color:#ccc;background:#fff">pale</p>'),
        "color-contrast",
    ),
    "dark text": (
        page_checks.accessible_in_dark,
        body('<p style="color:#333">black on black</p>'),
        "color-contrast",
    ),
    "scrolling box out of reach": (
        page_checks.accessible_in_dark,
        body('<div style="overflow:auto;height:2em"><p>1</p><p>2</p><p>3</p></div>'),
        "scrollable-region-focusable",
    ),
    "page that stays light": (
        page_checks.accessible_in_dark,
        ("</head>", '<script>document.documentElement.dataset.mode = "light"</script></head>'),
        "not dark",
    ),
    "field without label": (page_checks.accessible_in_light, body("<input>"), "label"),
    "stop without a reason": (
        page_checks.needless_stops,
        body('<p tabindex="0">Not wide.</p>'),
        "does not scroll",
    ),
    "keys that are swallowed": (
        page_checks.search,
        body(
            "<script>addEventListener('keydown', stop, true);"
            "function stop(event) { event.stopImmediatePropagation(); }</script>"
        ),
        "Ctrl+K",
    ),
    "search that leads elsewhere": (
        page_checks.search,
        ('action="../../search.html"', 'action="../../book/index.html"'),
        "does not find",
    ),
    "invisible focus": (
        page_checks.focus,
        style(":focus-visible { outline: none !important; box-shadow: none !important; }"),
        "focus is invisible",
    ),
}


@pytest.mark.parametrize("defect", PAGE_DEFECTS)
def test_page_check_sees(
    browser: Browser, planted_site: Path, planted_server: str, defect: str
) -> None:
    check, (pattern, replacement), expected = PAGE_DEFECTS[defect]
    large(planted_site)
    plant(planted_site, pattern, replacement)
    base = f"{planted_server}{BASE}"
    with visit(browser, f"{base}{PLANTED}", base) as seen:
        problems = check(seen)
    assert any(expected in problem for problem in problems), problems


# What is opened in a way of its own: without scripts, or with a MathJax that is long on its way.
OPENING_DEFECTS = {
    "blocking MathJax": (
        page_checks.paints_before_mathjax,
        SLOW_BASE,
        ('<script async="async" (?=src="[^"]*mathjax)', "<script "),
        "waits for MathJax",
    ),
    "text that needs scripts": (
        page_checks.readable_without_scripts,
        BASE,
        style("main { display: none !important }"),
        "no text is visible",
    ),
}


@pytest.mark.parametrize("defect", OPENING_DEFECTS)
def test_opening_check_sees(
    browser: Browser, planted_site: Path, planted_server: str, defect: str
) -> None:
    check, root, (pattern, replacement), expected = OPENING_DEFECTS[defect]
    plant(planted_site, pattern, replacement)
    base = f"{planted_server}{root}"
    problems = check(browser, f"{base}{PLANTED}", base)
    assert any(expected in problem for problem in problems), problems


FILE_DEFECTS: dict[str, tuple[file_checks.FileCheck, tuple[str, str], str]] = {
    "broken link": (file_checks.links, body('<a href="nowhere.html">x</a>'), "no such file"),
    "broken anchor": (file_checks.links, body('<a href="#nowhere">x</a>'), "no such anchor"),
    "broken anchor elsewhere": (
        file_checks.links,
        body('<a href="../index.html#nowhere">x</a>'),
        "no such anchor",
    ),
    "path from the root of the host": (
        file_checks.links,
        body('<a href="/book/index.html">x</a>'),
        "absolute path",
    ),
    "no title": (file_checks.metadata, ("<title>[^<]*</title>", ""), "no title"),
    "no description": (file_checks.metadata, ('name="description"', 'name="x"'), "no description"),
    "no card title": (file_checks.metadata, ('property="og:title"', 'property="x"'), "og:title"),
    "no card": (file_checks.metadata, ('property="og:image"', 'property="x"'), "no og:image"),
    "card that does not exist": (file_checks.metadata, ("card.png", "nowhere.png"), "not exist"),
    "no icon": (file_checks.metadata, ('rel="icon"', 'rel="x"'), "no icon"),
    "same id twice": (file_checks.unique_ids, body('<i id="a"></i><b id="a"></b>'), "2 times: a"),
}


@pytest.mark.parametrize("defect", FILE_DEFECTS)
def test_file_check_sees(planted_site: Path, defect: str) -> None:
    check, (pattern, replacement), expected = FILE_DEFECTS[defect]
    plant(planted_site, pattern, replacement)
    problems = check(planted_site, PLANTED)
    assert any(expected in problem for problem in problems), problems


def test_faults_of_the_sitemap_are_seen(planted_site: Path) -> None:
    plant(planted_site, *body(""))
    file = planted_site / "sitemap.xml"
    entries = file.read_text(encoding="utf-8")
    public = file_checks.public_address(planted_site)
    extra = f"<url><loc>{public}nowhere.html</loc></url><url><loc>http://x.invalid/</loc></url>"
    file.write_text(entries.replace("</urlset>", f"{extra}</urlset>"), encoding="utf-8")
    problems = "\n".join(file_checks.sitemap(planted_site))
    for expected in ("no such file: nowhere.html", "outside the site", f"not listed: {PLANTED}"):
        assert expected in problems
