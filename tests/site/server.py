"""Serve the built site as a host would: below a base path, with its 404 page."""

from __future__ import annotations

import posixpath
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

BASE = "/some/base/"
SLOW_BASE = "/slow/"  # the same site, with MathJax a long time on its way
SLOW_SECONDS = 3.0


class Handler(SimpleHTTPRequestHandler):
    """Answer for one directory under several base paths."""

    # Without a length for each answer a browser would open a connection for every file.
    protocol_version = "HTTP/1.1"

    def __init__(self, *args: object, site: Path, bases: tuple[str, ...], **kwargs: object) -> None:
        self.site, self.bases = site, bases
        super().__init__(*args, directory=str(site), **kwargs)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        base = next((base for base in self.bases if path.startswith(base)), None)
        if base == SLOW_BASE and path.endswith("/mathjax.js"):
            time.sleep(SLOW_SECONDS)
        inside = posixpath.normpath("/" + path[len(base or "") :])
        file = self.site / inside[1:]
        if file.is_dir():
            file = file / "index.html"
        found = base is not None and file.is_file()
        body = (file if found else self.site / "404.html").read_bytes()
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", self.guess_type(str(file)) if found else "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(ConnectionError):  # a test may be over before its page has loaded
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing: the checks report."""


@contextmanager
def serve(site: Path, built_base: str) -> Iterator[str]:
    """Serve a site on a free port, and give the address of the server."""
    # The longest first, since a site built for the root of a host has the base path "/".
    bases = tuple(sorted({BASE, SLOW_BASE, built_base}, key=len, reverse=True))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, site=site, bases=bases)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
