"""The built site, a server for it and a browser, for all tests of the site."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from . import file_checks
from .browsing import MISSING_BROWSER, browser_required, find_chromium, launch
from .server import serve

SITE = Path(__file__).parents[2] / "_build" / "html"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for a page once for each page of the site."""
    if "page_path" in metafunc.fixturenames:
        # Without a site there is one test left to say so.
        metafunc.parametrize("page_path", file_checks.pages(SITE) or ["index.html"])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say once more, at the end, what was not looked at."""
    if not find_chromium():
        terminalreporter.write_line(f"\nWARNING: {MISSING_BROWSER}", red=True, bold=True)


@pytest.fixture(scope="session")
def site() -> Path:
    if not (SITE / "index.html").is_file():
        pytest.fail(f"There is no site in {SITE}: run `make book` first.", pytrace=False)
    return SITE


@pytest.fixture(scope="session")
def server(site: Path) -> Iterator[str]:
    with serve(site, file_checks.built_base(site)) as address:
        yield address


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = find_chromium()
    if chromium is None:
        if browser_required():
            pytest.fail(MISSING_BROWSER, pytrace=False)
        pytest.skip(MISSING_BROWSER)
    with launch(chromium) as browser:
        yield browser
