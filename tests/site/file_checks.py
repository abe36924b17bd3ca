"""What must be true of the files of the site: each check returns what it finds wrong."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from bs4 import BeautifulSoup, Tag

ADDRESSES = {"a": "href", "link": "href", "img": "src", "script": "src", "form": "action"}
ROOT = "http://site.invalid"


def pages(site: Path) -> list[str]:
    """Return every page of the site, as a path relative to its root."""
    return sorted(file.relative_to(site).as_posix() for file in site.rglob("*.html"))


@cache
def soup(file: Path) -> BeautifulSoup:
    return BeautifulSoup(file.read_text(encoding="utf-8"), "html.parser")


def attribute(tag: Tag, name: str) -> str:
    value = tag.get(name)
    return value if isinstance(value, str) else ""


def public_address(site: Path) -> str:
    """Return the address the site was built for: that of its landing page."""
    link = soup(site / "index.html").find("link", rel="canonical")
    return attribute(link, "href") if isinstance(link, Tag) else ""


def built_base(site: Path) -> str:
    """Return the base path that the 404 page counts on."""
    return urlsplit(public_address(site)).path or "/"


@cache
def anchors(file: Path) -> frozenset[str]:
    return frozenset(attribute(tag, "id") for tag in soup(file).find_all(id=True))


def broken_target(site: Path, target: str) -> str:
    """Say what is wrong with a path inside the site, or nothing."""
    parts = urlsplit(target)
    file = site / unquote(parts.path).lstrip("/")
    file = file / "index.html" if file.is_dir() else file
    if not file.is_file():
        return "no such file"
    if parts.fragment and file.suffix == ".html":
        return "" if unquote(parts.fragment) in anchors(file) else "no such anchor"
    return ""


def links(site: Path, page: str) -> list[str]:
    """Follow every link of a page that leads to the site itself."""
    public, base = public_address(site), built_base(site)
    found = []
    for tag in soup(site / page).find_all(list(ADDRESSES)):
        address = attribute(tag, ADDRESSES[tag.name])
        if address.startswith(public):
            target = "/" + address[len(public) :]
        elif not address or urlsplit(address).scheme:
            continue
        elif address.startswith("/"):
            if page != "404.html" or not address.startswith(base):
                found.append(f"{page}: absolute path: {address}")
                continue
            target = "/" + address[len(base) :]
        else:
            target = urljoin(f"{ROOT}/{page}", address).removeprefix(ROOT)
        if problem := broken_target(site, target):
            found.append(f"{page}: {problem}: {address}")
    return found


def metadata(site: Path, page: str) -> list[str]:
    """Look for what search engines, other sites and tabs show of a page."""
    head = soup(site / page).head
    assert head is not None
    wanted = {
        "title": head.title.get_text(strip=True) if head.title else "",
        "description": content(head, {"name": "description"}),
        "og:title": content(head, {"property": "og:title"}),
        "og:image": content(head, {"property": "og:image"}),
        "icon": "icon" if head.find("link", rel="icon") else "",
    }
    found = [f"{page}: no {name}" for name, value in wanted.items() if not value]
    picture = wanted["og:image"].removeprefix(public_address(site))
    if picture and not (site / picture).is_file():
        found.append(f"{page}: og:image does not exist: {wanted['og:image']}")
    return found


def content(head: Tag, wanted: dict[str, str]) -> str:
    tag = head.find("meta", attrs=wanted)
    return attribute(tag, "content").strip() if isinstance(tag, Tag) else ""


def unique_ids(site: Path, page: str) -> list[str]:
    """Look for an id that two elements of a page share."""
    counts = Counter(attribute(tag, "id") for tag in soup(site / page).find_all(id=True))
    return [f"{page}: id used {n} times: {name}" for name, n in counts.items() if n > 1]


def sitemap(site: Path) -> list[str]:
    """Follow every entry of the sitemap, and look for pages that it leaves out."""
    public = public_address(site)
    locations = re.findall(r"<loc>([^<]*)</loc>", (site / "sitemap.xml").read_text("utf-8"))
    found = [f"sitemap: outside the site: {u}" for u in locations if not u.startswith(public)]
    listed = {u.removeprefix(public) or "index.html" for u in locations}
    found += [f"sitemap: {p}: {u}" for u in listed if (p := broken_target(site, f"/{u}"))]
    unlisted = {"404.html", "search.html", "book/index.html"}
    return found + [f"sitemap: not listed: {p}" for p in set(pages(site)) - listed - unlisted]


def has_formulas(site: Path, page: str) -> bool:
    return soup(site / page).find(class_="math") is not None


FileCheck = Callable[[Path, str], list[str]]
FILE_CHECKS: tuple[FileCheck, ...] = (links, metadata, unique_ids)
