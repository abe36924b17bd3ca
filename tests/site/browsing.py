"""Open a page of the site in headless Chromium and record what happens on the way."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.request import urlopen

from playwright.sync_api import Browser, ConsoleMessage, Page, Response, sync_playwright

REQUIRE_BROWSER = "CEBOOK_REQUIRE_BROWSER"
MISSING_BROWSER = (
    "Chromium is not installed, so no page was looked at in a browser: apt-get install chromium"
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SETTLED = """async () => {
    if (document.querySelector("script[src*='mathjax.js']")) {
        while (!window.MathJax?.startup?.promise) await new Promise((done) => setTimeout(done, 20));
        await MathJax.startup.promise;
    }
    await document.fonts.ready;
    // Two frames, for what observes the sizes of boxes.
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
}"""


def find_chromium() -> str | None:
    """Return the path of an installed Chromium or Chrome."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next(filter(None, map(shutil.which, names)), None)


def browser_required() -> bool:
    """Return whether a missing browser is a failure and not a reason to skip."""
    return os.environ.get(REQUIRE_BROWSER) == "1"


@contextmanager
def launch(chromium: str) -> Iterator[Browser]:
    """Start one browser for the whole session."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@cache
def compressed_size(url: str) -> int:
    """Return the size of a file as a host would send it: compressed, where that helps.

    It is fetched again, since the browser does not always keep what a page has consumed.
    """
    with urlopen(url) as answer:
        content = answer.read()
    return min(len(content), len(gzip.compress(content, 6)))


@dataclass
class Visit:
    """A page that is open, and what happened while it loaded."""

    page: Page
    address: str
    base: str
    responses: list[Response] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    requested: list[str] = field(default_factory=list)

    def weight(self) -> dict[str, int]:
        """Return the bytes that each file takes on the way."""
        answered = {r.url for r in self.responses if r.ok and r.url.startswith(self.base)}
        return {url: compressed_size(url) for url in answered}

    def record(self) -> None:
        """Listen to the page from now on."""

        # Playwright marks its listeners, which it cannot do to the methods of a list.
        def keep(response: Response) -> None:
            self.responses.append(response)

        def note(message: ConsoleMessage) -> None:
            # The one message that is meant: a page that is missing has the status 404.
            if not ("404" in message.text and message.location["url"] == self.address):
                self.messages.append(f"{message.type}: {message.text}")

        self.page.on("request", lambda request: self.requested.append(request.url))
        self.page.on("response", keep)
        self.page.on("requestfailed", lambda request: self.failed.append(request.url))
        self.page.on("console", note)
        self.page.on("pageerror", lambda error: self.messages.append(f"error: {error}"))


@contextmanager
def visit(browser: Browser, address: str, base: str, **options: Any) -> Iterator[Visit]:
    """Open a page in a fresh browser context and wait until it is at rest."""
    options = {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light", **options}
    context = browser.new_context(**options)
    try:
        opened = Visit(context.new_page(), address, base)
        opened.record()
        if options.get("java_script_enabled", True):
            opened.page.goto(address, wait_until="networkidle")
            opened.page.evaluate(SETTLED)
        else:
            opened.page.goto(address)
        yield opened
    finally:
        context.close()
