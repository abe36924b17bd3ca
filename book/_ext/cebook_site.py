"""What the book's site needs and Jupyter Book has no setting for.

* Addresses: ``SITE_URL`` and ``REPOSITORY_URL`` come from the environment, so no address is
  written down; ``index.html`` shows the landing page and ``404.html`` works at any depth.
* Nothing is asked of another site: MathJax is copied from its PyPI package, and the icon fonts
  are reduced to the icons that the pages use.
* Notebook figures stand in the page itself, so that their ink follows the reader's colour mode.
* A few accessibility repairs to the theme's markup.

The repairs are tied to the pinned theme: a repair that no page needed is a build warning.
"""

from __future__ import annotations

import importlib.util
import logging as standard_logging
import os
import posixpath
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from docutils import nodes
from fontTools import subset
from fontTools.ttLib import TTFont
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError
from sphinx.jinja2glue import BuiltinTemplateLoader
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging

logger = logging.getLogger(__name__)

LANDING = "book/index"
LOCAL_URL = "http://localhost:8000/"
INK = "#24292f"

# In the order in which they build on each other.
MATHJAX_PARTS = (
    "core",
    "input/tex",
    "output/chtml",
    "output/chtml/fonts/tex.js",
    "a11y/assistive-mml",
)
# Fetched when a formula first asks for them.
MATHJAX_FILES = ("input/tex/extensions/*.js", "output/chtml/fonts/woff-v2/*.woff")

UNUSED_FILES = ("**/*.map", "scripts/fontawesome.js*", "*-macros.html", "nbcore.css")

# What each one mends is said beside it; the patterns are the theme's own markup.
REPAIRS = {
    "a script that turns icons into SVG: the icon font suffices": (
        r'\s*<!--[^>]*custom icons -->\s*<script src="[^"]*fontawesome\.js[^"]*"></script>',
        "",
    ),
    "without scripts no colour is defined for the mode auto": (
        r'(<html[^>]*) data-theme="auto"',
        r'\1 data-theme="light"',
    ),
    "a dark reader would see a light page until the last script has run": (
        r'(dataset\.theme = )localStorage\.getItem\("theme"\) \|\| "auto"',
        r'\1({light: "light", dark: "dark"})[document.documentElement.dataset.mode]'
        r' || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")',
    ),
    "the label of the search button must contain the words it shows": (
        r'(<button class="btn search-button-field[^>]*) aria-label="Search"',
        r"\1",
    ),
    "the toggles are named by a tooltip only": (
        r'(<button class="sidebar-toggle [^>]*)title="([^"]*)"',
        r'\1title="\2" aria-label="\2"',
    ),
    "the logo and search stand outside every landmark": (
        r'<div id="pst-primary-sidebar"',
        '<div id="pst-primary-sidebar" role="complementary" aria-label="Book"',
    ),
}

# The same for what docutils writes, where not every book has something to mend.
CONTENT_REPAIRS = {
    "an empty corner of a table is no header": (
        r'<th class="[^"]*head[^"]*"><p></p></th>',
        "<td></td>",
    ),
    "a line must not begin with the full stop that follows a formula": (
        r'(\(?<span class="math notranslate nohighlight">[^<]*</span>[-.,;:!?)’”]+)',
        r'<span class="formula">\1</span>',
    ),
    "roles of a bibliography that ARIA has given up": (
        r' role="(?:list|doc-biblioentry)"(?=[^>]*class="citation)|(?<=class="citation")'
        r'([^>]*) role="doc-biblioentry"',
        r"\1",
    ),
    "the search page tells the console where it has put the focus": (r"console\.log\(", "void("),
}


class Templates(BuiltinTemplateLoader):
    """Sphinx's templates, with the theme's markup repaired before a page is written."""

    used: ClassVar[set[str]] = set()

    def render(self, template: str, context: dict[str, Any]) -> str:
        page = super().render(template, context)
        for reason, (pattern, replacement) in {**REPAIRS, **CONTENT_REPAIRS}.items():
            page, count = re.subn(pattern, replacement, page)
            if count:
                self.used.add(reason)
        return page


def set_addresses(app: Sphinx, config: Config) -> None:
    """Take the addresses of the site and of the repository from the environment."""
    site = (os.environ.get("SITE_URL") or LOCAL_URL).rstrip("/") + "/"
    config.html_baseurl = config.ogp_site_url = site
    if repository := os.environ.get("REPOSITORY_URL"):
        config.html_theme_options["repository_url"] = repository.rstrip("/")
        config.html_theme_options["use_repository_button"] = True
        # The theme knows the hosts themselves, but not installations of the same software.
        provider = "github" if "github" in urlsplit(repository).netloc else "gitlab"
        config.html_theme_options["repository_provider"] = provider


def share_html_visitors(app: Sphinx) -> None:
    """Let ``singlehtml`` draw every node that ``html`` can.

    sphinx-exercise registers visitors for ``singlehtml``, and as soon as that name is known
    Sphinx no longer falls back to those of ``html``.
    """
    handlers = app.registry.translation_handlers
    if "singlehtml" in handlers:
        handlers["singlehtml"] = {**handlers["html"], **handlers["singlehtml"]}


def make_ids_unique(app: Sphinx, doctree: nodes.document) -> None:
    """Number the ids that sphinx-exercise and sphinx-proof give to every box of a page."""
    seen: Counter[str] = Counter()
    for node in doctree.findall(nodes.Element):
        for place, name in enumerate(node.get("ids", [])):
            seen[name] += 1
            if seen[name] > 1:
                node["ids"][place] = f"{name}-{seen[name]}"


def inline_svg(svg: str, alt: str, prefix: str) -> str:
    """Return a drawing as part of a page: ink in the page's colour, ids of its own.

    >>> inline_svg('<?xml?><svg><path id="a" fill="#24292F"/><use href="#a"/></svg>', "A", "f1-")
    '<svg role="img" aria-label="A"><path id="f1-a" fill="currentColor"/><use href="#f1-a"/></svg>'

    What ``cebook.figures.add_slider`` has left in an id is for ``slider.js``.

    >>> inline_svg('<svg><g id="slider?step=epoch"/></svg>', "A", "f1-")
    '<svg role="img" aria-label="A"><g data-slider="step=epoch"/></svg>'
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    # The paper, which a notebook needs where an editor would show dark ink on dark ground.
    svg = re.sub(r'<g id="patch_1">.*?</g>\s*', "", svg, count=1, flags=re.DOTALL)
    # In a page this style would apply to every element, so it becomes inherited attributes.
    svg, joined = re.subn(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", svg, flags=re.DOTALL)
    lines = ' stroke-linejoin="round" stroke-linecap="butt"' if joined else ""
    head, body = svg.split(">", 1)
    head = re.sub(r' (width|height|version|xmlns(:\w+)?)="[^"]*"', "", head)
    head += f' role="img" aria-label="{escape(alt)}"{lines}'
    svg = f"{head}>{body}".strip()
    svg = svg.replace(' id="slider?', ' data-slider="')
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", svg)
    svg = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{prefix}", svg)
    return re.sub(INK, "currentColor", svg, flags=re.IGNORECASE)


class InlineFigures(SphinxPostTransform):
    """Put the SVG outputs of notebooks into the page, and ask for their alternative text.

    An ``<img>`` cannot take the page's colour: a figure drawn for a white page would be
    unreadable in dark mode.
    """

    default_priority = 5  # right after myst-nb has chosen the SVG among a cell's outputs
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        images = [n for n in self.document.findall(nodes.image) if "jupyter_execute" in n["uri"]]
        for number, image in enumerate(images, start=1):
            alt = image.get("alt", "").strip()
            if not alt:
                logger.warning(
                    "a notebook figure has no alternative text: say what it shows in the cell's "
                    'metadata, {"mystnb": {"image": {"alt": "..."}}}',
                    location=image,
                )
            if image["uri"].endswith(".svg"):
                svg = Path(self.app.srcdir, image["uri"].lstrip("/")).read_text(encoding="utf-8")
                drawing = inline_svg(svg, alt, f"figure{number}-")
                html = f'<div class="notebook-figure">{drawing}</div>'
                image.replace_self(nodes.raw("", html, format="html"))


def describe_page(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Complete what a page says of itself to search engines and to sites that link to it."""
    tags = context.get("metatags", "")
    if page == LANDING:
        inner, outer = f"{app.config.html_baseurl}{LANDING}.html", app.config.html_baseurl
        context["pageurl"] = outer
        context["docstitle"] = ""
        tags = tags.replace(f'"{inner}"', f'"{outer}"').replace('"article"', '"website"')
    # sphinxext-opengraph passes over generated pages, and over pages that begin without words.
    title = escape(str(context.get("title") or page.capitalize()))
    fallbacks = {
        'property="og:title"': title,
        'property="og:image"': app.config.html_baseurl + app.config.ogp_image,
        'name="description"': f"{title}: {escape(app.config.html_title)}",
    }
    for name, text in fallbacks.items():
        if name not in tags:
            tags += f'<meta {name} content="{text}" />\n'
    # The description that an author has written is better than the first words of the page.
    if written := re.search(r'<meta content="([^"]*)" name="description"', tags):
        tags = re.sub(
            r'(?<="og:description" content=")[^"]*', written[1].replace("\\", r"\\"), tags
        )
    context["metatags"] = tags


def extra_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Add the page for addresses that do not exist, and the site's root to the sitemap."""
    app.sitemap_links.put(("", None))  # type: ignore[attr-defined]
    body = (
        "<h1>This page does not exist</h1>\n"
        "<p>Its probability was small, and so your surprise is large: "
        "&minus;log&nbsp;0, if you typed the address yourself.</p>\n"
        '<p>Start again at the <a href="index.html">beginning</a>, '
        'or <a href="search.html">search the book</a>.</p>\n'
    )
    yield "404", {"title": "Page not found", "body": body, "pageurl": None}, "page.html"


def rebase(page: str, folder: str) -> str:
    """Return a page whose relative addresses are resolved against ``folder``.

    >>> rebase('<a href="../x.html#y">', "book")
    '<a href="x.html#y">'
    >>> rebase('<a href="x.html"><a href="#top"><img src="http://a/b">', "/base")
    '<a href="/base/x.html"><a href="#top"><img src="http://a/b">'
    """

    def resolve(match: re.Match[str]) -> str:
        attribute, address = match.groups()
        if urlsplit(address).scheme or address.startswith(("#", "/")):
            return match[0]
        path = posixpath.normpath(posixpath.join(folder, address))
        slash = "/" if address.endswith("/") and path != "/" else ""
        return f'{attribute}="{path}{slash}"'

    return re.sub(r'\b(href|src|action|data-content_root)="([^"]+)"', resolve, page)


def write_root_pages(out: Path, base_url: str) -> None:
    """Write the landing page at the root, and the 404 page for any depth below it."""
    landing = (out / f"{LANDING}.html").read_text(encoding="utf-8")
    (out / "index.html").write_text(rebase(landing, posixpath.dirname(LANDING)), encoding="utf-8")
    missing = out / "404.html"
    # A host serves it in place of any address, so only absolute links lead anywhere.
    missing.write_text(
        rebase(missing.read_text(encoding="utf-8"), urlsplit(base_url).path), encoding="utf-8"
    )


def copy_mathjax(static: Path) -> None:
    """Join the parts of MathJax that every page needs, and copy the files it fetches later.

    MathJax's own bundles come with its menu, which is a third of their weight, makes every
    formula a stop of the tab key, and offers features whose files are not here.
    """
    spec = importlib.util.find_spec("sphinx-mathjax-offline")
    if spec is None or not spec.submodule_search_locations:
        raise ExtensionError("sphinx-mathjax-offline is not installed: pip install it first")
    source = Path(spec.submodule_search_locations[0], "static", "mathjax")
    target = static / "mathjax"
    for pattern in MATHJAX_FILES:
        for file in source.glob(pattern):
            copy = target / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    parts = [source / f"{part.removesuffix('.js')}.js" for part in ("startup", *MATHJAX_PARTS)]
    code = [part.read_text(encoding="utf-8") for part in parts]
    code.append(f"MathJax.loader.preLoad({', '.join(map(repr, MATHJAX_PARTS))});")
    (target / "mathjax.js").write_text(";\n".join(code), encoding="utf-8")


def used_icons(out: Path, css: str) -> set[int]:
    """Return the code points of the icons that pages, scripts or style sheets show."""
    texts = [file.read_text(encoding="utf-8") for file in out.rglob("*.html")]
    texts += [file.read_text(encoding="utf-8") for file in out.glob("_static/scripts/*.js")]
    names = set(re.findall(r"\bfa-[a-z0-9-]+", " ".join(texts)))
    shown = set()
    for selectors, code in re.findall(r'([^{}]*):before\{content:"\\([0-9a-f]+)"\}', css):
        if names & set(re.findall(r"\.(fa-[a-z0-9-]+)", selectors)):
            shown.add(int(code, 16))
    styles = " ".join(f.read_text(encoding="utf-8") for f in out.glob("_static/**/*.css"))
    # Outside the list of icons, a code point in a style sheet is an icon that is shown.
    styles = re.sub(r'\.fa-[^{}]*:before\{content:"[^"]*"\}', "", styles)
    shown |= {int(code, 16) for code in re.findall(r'"\\(f[0-9a-f]{3})"', styles)}
    return shown | {ord(icon) for icon in re.findall("[\ue000-\uf8ff]", styles)}


def reduce_icons(out: Path) -> None:
    """Cut the icon fonts, and the theme's list of icons, down to what the site shows."""
    standard_logging.getLogger("fontTools.subset").setLevel(standard_logging.WARNING)
    style = out / "_static/styles/pydata-sphinx-theme.css"
    css = style.read_text(encoding="utf-8")
    codes = used_icons(out, css)
    for file in sorted((out / "_static/vendor/fontawesome/webfonts").glob("*.ttf")):
        font = TTFont(file)
        subsetter = subset.Subsetter()
        subsetter.populate(unicodes=codes)
        subsetter.subset(font)
        font.flavor = "woff"
        font.save(file.with_suffix(".woff"))
        file.unlink()
        file.with_suffix(".woff2").unlink(missing_ok=True)

    def keep(rule: re.Match[str]) -> str:
        return rule[0] if int(rule[1], 16) in codes else ""

    css = re.sub(r'(?<=\})\.fa-[^{}]*:before\{content:"\\([0-9a-f]+)"\}', keep, css)
    css = re.sub(
        r'url\(([^)]*)\.woff2\) format\("woff2"\),url\([^)]*\.ttf\) format\("truetype"\)',
        r'url(\1.woff) format("woff")',
        css,
    )
    style.write_text(css, encoding="utf-8")


def prune_static(static: Path) -> None:
    """Remove what no page loads."""
    for pattern in UNUSED_FILES:
        for file in static.glob(pattern):
            file.unlink()


def repair_scripts(static: Path) -> None:
    """Keep the console for real messages, and quote the text of a page in search results."""
    for file in (*static.glob("*.js"), *static.glob("scripts/*.js")):
        code = file.read_text(encoding="utf-8")
        code = re.sub(r"\bconsole\.(log|info|debug)\(", "void(", code)
        code = re.sub(r"\n//# sourceMappingURL=.*", "", code)
        if file.name == "searchtools.js":
            # The main element begins with buttons, and blank lines fill the quotation.
            code = code.replace("""querySelector('[role="main"]')""", 'querySelector("article")')
            code = code.replace("Content.textContent", r'Content.textContent.replace(/\s+/g, " ")')
        file.write_text(code, encoding="utf-8")


def finish(app: Sphinx, exception: Exception | None) -> None:
    """Complete the site once Sphinx has written it."""
    if exception or app.builder.name != "html":
        return
    out = Path(app.outdir)
    # Where nothing has changed no page is written, and none can be found wanting.
    for reason in sorted(REPAIRS.keys() - Templates.used) if Templates.used else ():
        logger.warning("a repair of the theme found nothing to mend: %s", reason)
    copy_mathjax(out / "_static")
    prune_static(out / "_static")
    repair_scripts(out / "_static")
    reduce_icons(out)
    write_root_pages(out, app.config.html_baseurl)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect all of it to Sphinx."""
    # Jupyter Book sets this for sphinx-comments even where that is not among the extensions.
    app.add_config_value("comments_config", {}, "")
    app.config.template_bridge = "cebook_site.Templates"
    app.add_post_transform(InlineFigures)
    app.connect("config-inited", set_addresses)
    app.connect("builder-inited", share_html_visitors)
    app.connect("doctree-read", make_ids_unique)
    app.connect("html-page-context", describe_page, priority=900)
    app.connect("html-collect-pages", extra_pages)
    app.connect("build-finished", finish, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
