"""What must be true of every page in a browser: each check returns what it finds wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

from .browsing import Visit, visit

MAX_WEIGHT = 800_000
WIDTHS = (320, 390, 768, 1280)
# What the colours and the width of a page can change; everything else is looked at once.
THEME_RULES = ["color-contrast", "link-in-text-block", "scrollable-region-focusable"]
STILL = "*, ::before, ::after { transition: none !important; animation: none !important; }"

OVERFLOW = """() => {
    const found = [];
    const root = document.documentElement;
    if (root.scrollWidth > root.clientWidth) {
        const wide = [...document.querySelectorAll("main *")].filter(
            (e) => e.getBoundingClientRect().right > root.clientWidth + 1);
        found.push(`page is ${root.scrollWidth} px wide: ${wide.at(-1)?.outerHTML.slice(0, 120)}`);
    }
    // The theme hides what does not fit of a formula within a line; it has to scroll.
    for (const formula of document.querySelectorAll("span.math > mjx-container")) {
        const box = formula.closest("p, li, td, th, dd, dt, figcaption, div");
        if (getComputedStyle(formula.parentElement).overflowX === "auto") continue;
        if (formula.getBoundingClientRect().right > box.getBoundingClientRect().right + 1)
            found.push(`formula is cut off: ${formula.textContent.slice(0, 80)}`);
    }
    return found;
}"""

FORMULAS = r"""() => {
    const found = [];
    for (const error of document.querySelectorAll("mjx-merror, [data-mjx-error]"))
        found.push(`TeX error: ${error.dataset.mjxError ?? error.textContent}`);
    // MathJax sets an undefined macro in red.
    for (const text of document.querySelectorAll("mjx-mtext"))
        if (getComputedStyle(text).color === "rgb(255, 0, 0)")
            found.push(`undefined macro: ${text.closest(".math")?.textContent}`);
    for (const math of document.querySelectorAll(".math"))
        if (!math.querySelector("mjx-container"))
            found.push(`not typeset: ${math.textContent}`);
    for (const part of document.querySelectorAll("article p, article li, article td")) {
        const copy = part.cloneNode(true);
        copy.querySelectorAll("code, pre, .math").forEach((node) => node.remove());
        if (/\\[([]|\$\$|\\[a-z]+\{/.test(copy.textContent))
            found.push(`TeX in the text: ${copy.textContent.trim().slice(0, 120)}`);
    }
    return found;
}"""

ALTERNATIVES = """() => {
    const images = [...document.querySelectorAll("img")]
        .filter((e) => !e.hasAttribute("alt") || (e.closest("article") && !e.alt.trim()));
    const drawings = [...document.querySelectorAll(".notebook-figure svg, article [role=img]")]
        .filter((e) => !e.getAttribute("aria-label")?.trim());
    return [...images, ...drawings].map((e) => `no alternative text: ${e.outerHTML.slice(0, 120)}`);
}"""

FOCUS = """() => {
    const chosen = "a[href], button, input, select, textarea, summary, [tabindex]";
    const shown = (e) => e.checkVisibility({visibilityProperty: true}) && e.tabIndex >= 0
        && !e.disabled && e.getClientRects().length;
    const look = (e, pseudo) => {
        const s = getComputedStyle(e, pseudo);
        const drawn = s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 1;
        return [drawn ? s.outline : "", s.boxShadow, s.borderColor, s.borderWidth,
            s.backgroundColor].join("|");
    };
    // The ring may be drawn by a pseudo-element, or by the card around a link.
    const looks = (e) => [look(e), look(e, "::after"), look(e, "::before"),
        look(e.parentElement), look(e.closest(".sd-card, .admonition-title") ?? e)].join("\\n");
    return [...document.querySelectorAll(chosen)].filter(shown).flatMap((e) => {
        document.activeElement?.blur();
        const before = looks(e);
        e.focus({preventScroll: true});
        if (document.activeElement !== e) return [`takes no focus: ${e.outerHTML.slice(0, 120)}`];
        return looks(e) === before ? [`focus is invisible: ${e.outerHTML.slice(0, 120)}`] : [];
    });
}"""

NEEDLESS_STOPS = """() =>
    [...document.querySelectorAll("article [tabindex='0']")].filter((e) => {
        // What screen readers are given of a formula takes room, and is not what is seen.
        const seen = e.querySelector(":scope > mjx-container > mjx-math");
        const width = seen ? seen.getBoundingClientRect().width : e.scrollWidth;
        return width <= e.clientWidth + 1;
    }).map((e) => `stop of the Tab key that does not scroll: ${e.outerHTML.slice(0, 120)}`)"""

# Thousands of coloured words of code, in a few colours: axe needs one of each kind, and looking at
# all of them would take most of the time of these checks.
PLAIN_CODE = """() => {
    const seen = new Set();
    for (const word of document.querySelectorAll(".highlight span[class]")) {
        const kind = [word, word.closest(".cell_input, .cell_output"), word.closest(".admonition")]
            .map((e) => e?.className).join("|");
        if (seen.has(kind)) word.replaceWith(...word.childNodes);
        seen.add(kind);
    }
}"""

PAINT = """() => ({
    painted: performance.getEntriesByName("first-contentful-paint")[0]?.startTime,
    arrived: performance.getEntriesByType("resource")
        .find((entry) => entry.name.includes("/mathjax.js"))?.responseEnd,
})"""


def third_party(seen: Visit) -> list[str]:
    outside = [u for u in seen.requested if not u.startswith((seen.base, "data:", "blob:"))]
    return [f"request outside the site: {url}" for url in outside]


def requests(seen: Visit) -> list[str]:
    wrong = [f"{r.status} {r.url}" for r in seen.responses if r.status >= 400]
    wrong = [line for line in wrong if not line.endswith(f" {seen.address}")]
    return [f"request failed: {line}" for line in [*seen.failed, *wrong]]


def console(seen: Visit) -> list[str]:
    return [f"console: {message}" for message in seen.messages]


def weight(seen: Visit) -> list[str]:
    sizes = seen.weight()
    total = sum(sizes.values())
    if total <= MAX_WEIGHT:
        return []
    heaviest = max(sizes, key=lambda url: sizes[url])
    return [f"{total / 1000:.0f} kB, of which {sizes[heaviest] / 1000:.0f} kB are {heaviest}"]


def formulas(seen: Visit) -> list[str]:
    return seen.page.evaluate(FORMULAS)


def alternatives(seen: Visit) -> list[str]:
    return seen.page.evaluate(ALTERNATIVES)


def overflow(seen: Visit) -> list[str]:
    found = []
    for width in WIDTHS:
        resize(seen.page, width)
        found += [f"at {width} px: {problem}" for problem in seen.page.evaluate(OVERFLOW)]
    return found


def focus(seen: Visit) -> list[str]:
    seen.page.add_style_tag(content=STILL)
    # After a key, Chromium treats every focus as one that the reader must see.
    seen.page.keyboard.press("Tab")
    return seen.page.evaluate(FOCUS)


def needless_stops(seen: Visit) -> list[str]:
    """Find what the Tab key stops at for nothing: a box is a stop only while it scrolls."""
    return seen.page.evaluate(NEEDLESS_STOPS)


def accessible_in_light(seen: Visit) -> list[str]:
    return theme_is(seen.page, "light") + axe(seen.page)


def accessible_in_dark(seen: Visit) -> list[str]:
    """Look at the page as a reader whose system is dark, on a telephone."""
    seen.page.emulate_media(color_scheme="dark")
    resize(seen.page, 390)
    try:
        return theme_is(seen.page, "dark") + axe(seen.page, THEME_RULES)
    finally:
        seen.page.emulate_media(color_scheme="light")
        resize(seen.page, 1280)


def theme_is(page: Page, theme: str) -> list[str]:
    shown = page.evaluate("document.documentElement.dataset.theme")
    return [] if shown == theme else [f"theme is {shown}, not {theme}"]


def axe(page: Page, rules: list[str] | None = None) -> list[str]:
    """Run axe-core, without its own loading of style sheets, which it resolves wrongly."""
    page.add_style_tag(content=STILL)
    page.evaluate(PLAIN_CODE)
    options: dict[str, Any] = {"resultTypes": ["violations"], "preload": False}
    if rules:
        options["runOnly"] = rules
    violations = Axe().run(page, options=options).response["violations"]
    return [
        f"axe {v['id']}: {v['help']}: {n['html'][:120]}" for v in violations for n in v["nodes"]
    ]


def resize(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.evaluate("() => new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)))")


PAGE_CHECKS: tuple[Callable[[Visit], list[str]], ...] = (
    third_party,
    requests,
    console,
    weight,
    formulas,
    alternatives,
    overflow,
    needless_stops,
    accessible_in_light,
    accessible_in_dark,
    focus,  # last, since it moves through the page
    console,  # again, for what the checks themselves have set off
)


def search(seen: Visit) -> list[str]:
    """Look for a word with the keyboard alone, from any page, and follow the first result."""
    page = seen.page
    page.keyboard.press("Control+k")
    if not page.evaluate("document.activeElement.matches('input[name=q]')"):
        return ["Ctrl+K does not lead to the search box"]
    page.keyboard.type("surprise")
    page.keyboard.press("Enter")
    result = page.locator("#search-results ul.search a[href*='information/entropy']").first
    try:
        result.click(timeout=5000)
        page.wait_for_url("**/information/entropy.html*", timeout=5000)
    except PlaywrightTimeoutError:
        return ["a search for 'surprise' does not find the chapter on entropy"]
    return []


def readable_without_scripts(browser: Browser, address: str, base: str) -> list[str]:
    """Open a page with scripts switched off: its text must be there, and in colours."""
    with visit(browser, address, base, java_script_enabled=False) as seen:
        main = seen.page.locator("main")
        if not main.is_visible() or len(main.inner_text().split()) < 5:
            return ["without scripts no text is visible"]
        # A colour of the theme is lost where neither of its two modes applies.
        mode = seen.page.locator("html").get_attribute("data-theme")
        return [] if mode == "light" else [f"without scripts the theme is {mode}"]


def paints_before_mathjax(browser: Browser, address: str, base: str) -> list[str]:
    """Open a page whose MathJax is a long time on its way: its text must not wait."""
    with visit(browser, address, base) as seen:
        times = seen.page.evaluate(PAINT)
    if times["arrived"] is None:
        return ["MathJax was not loaded"]
    if times["painted"] is None or times["painted"] > times["arrived"] - 1000:
        return [f"first paint after {times['painted']} ms waits for MathJax"]
    return []
