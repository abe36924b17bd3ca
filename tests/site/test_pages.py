"""Every page of the built site, in a browser and as a file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from . import file_checks, page_checks
from .browsing import visit
from .server import BASE, SLOW_BASE


def report(problems: list[str]) -> None:
    """Fail with a plain list of what is wrong."""
    if problems:
        pytest.fail("\n".join(dict.fromkeys(problems)), pytrace=False)


def place(site: Path, server: str, page_path: str) -> tuple[str, str]:
    """Return the address under which a page is looked at, and that of the site around it."""
    if page_path != "404.html":
        return f"{server}{BASE}{page_path}", f"{server}{BASE}"
    base = f"{server}{file_checks.built_base(site)}"
    return f"{base}no/such/page.html", base


def test_page_in_browser(browser: Browser, site: Path, server: str, page_path: str) -> None:
    address, base = place(site, server, page_path)
    with visit(browser, address, base) as seen:
        report([problem for check in page_checks.PAGE_CHECKS for problem in check(seen)])


def test_page_without_scripts(browser: Browser, site: Path, server: str, page_path: str) -> None:
    report(page_checks.readable_without_scripts(browser, *place(site, server, page_path)))


@pytest.mark.parametrize("check", file_checks.FILE_CHECKS, ids=lambda check: check.__name__)
def test_files(site: Path, check: file_checks.FileCheck) -> None:
    report([problem for page in file_checks.pages(site) for problem in check(site, page)])


def test_sitemap(site: Path) -> None:
    report(file_checks.sitemap(site))


def test_root_is_the_landing_page(site: Path) -> None:
    root, landing = (
        file_checks.soup(site / page).find("article") for page in ("index.html", "book/index.html")
    )
    assert root is not None
    assert landing is not None
    assert root.get_text() == landing.get_text()


def test_first_paint_does_not_wait_for_mathjax(browser: Browser, site: Path, server: str) -> None:
    page = next(p for p in file_checks.pages(site) if file_checks.has_formulas(site, p))
    base = f"{server}{SLOW_BASE}"
    report(page_checks.paints_before_mathjax(browser, f"{base}{page}", base))


def test_slider_from_the_keyboard(browser: Browser, site: Path, server: str) -> None:
    pages = [p for p in file_checks.pages(site) if "data-slider" in (site / p).read_text("utf-8")]
    assert pages
    for path in pages:
        with visit(browser, *place(site, server, path)) as seen:
            slider = seen.page.get_by_role("slider").first
            figure = seen.page.locator(".notebook-figure", has=slider)
            before = figure.locator("td").all_text_contents()
            dots = figure.locator("circle")
            assert dots.count() == len(before)
            left = dots.first.bounding_box()
            assert left is not None
            slider.focus()
            seen.page.keyboard.press("End")
            last = slider.get_attribute("max")
            expect(slider).to_have_attribute("aria-valuetext", re.compile(rf"\D {last}$"))
            right = dots.first.bounding_box()
            assert right is not None
            assert right["x"] > left["x"] + 50
            assert figure.locator("td").all_text_contents() != before


@pytest.fixture
def landing(browser: Browser, server: str) -> Page:
    page = browser.new_page(color_scheme="light")
    page.goto(f"{server}{BASE}", wait_until="networkidle")
    yield page
    page.close()


def test_search_from_the_keyboard(
    browser: Browser, site: Path, server: str, page_path: str
) -> None:
    with visit(browser, *place(site, server, page_path)) as seen:
        report(page_checks.search(seen))


def test_search_for_a_word_that_is_nowhere(browser: Browser, server: str) -> None:
    page = browser.new_page()
    page.goto(f"{server}{BASE}search.html?q=zyzzyva")
    expect(page.locator("#search-results p.search-summary")).to_contain_text("did not match")
    page.close()


def test_colour_mode_button(landing: Page) -> None:
    root = landing.locator("html")
    expect(root).to_have_attribute("data-mode", "auto")
    seen = []
    for _ in range(3):
        landing.locator(".theme-switch-button").first.click()
        seen.append((root.get_attribute("data-mode"), root.get_attribute("data-theme")))
    assert sorted(seen) == [("auto", "light"), ("dark", "dark"), ("light", "light")]


def test_dark_system_never_sees_a_light_page(browser: Browser, server: str) -> None:
    page = browser.new_page(color_scheme="dark")
    page.route("**/scripts/*.js*", lambda route: route.abort())
    page.goto(f"{server}{BASE}")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.close()
