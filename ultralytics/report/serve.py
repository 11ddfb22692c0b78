"""The page of a run that goes on, on this machine alone: made anew when a file of the run has changed."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ultralytics.engine.run.folder import read_holder
from ultralytics.report.page import ROOM, find_folder, make_page, policy
from ultralytics.utils import events
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.files import stamp
from ultralytics.utils.log import LOGGER
from ultralytics.utils.text import one_line

ADDRESS = "127.0.0.1"  # no other machine can ask
PORT = 8008
_WATCHED = ("*.csv", "*.json", "*.yaml", "*.jpg", "*.png", "*.npz")


class Live:
    """The newest page of a folder.

    Args:
        folder: of a run or a study; images: MB that embedded images may take.
    """

    def __init__(self, folder: Path, images: float) -> None:
        self.folder, self.images = folder, images
        self._lock = threading.Lock()
        self._page = "", b""  # version, and the page of it

    def version(self) -> str:
        """Return a text that changes with the files that the page is made from."""
        files = [f for p in _WATCHED for where in (self.folder, *self._inner()) for f in where.glob(p)]
        stamps = [(str(f), stamp(f)) for f in sorted(files)] + [(str(f), read_holder(f)) for f in self._inner()]
        return hashlib.sha256(repr([stamps, read_holder(self.folder)]).encode("utf-8", "replace")).hexdigest()[:16]

    def _inner(self) -> Iterator[Path]:
        for path in sorted(self.folder.iterdir()):
            if path.is_dir() and not path.is_symlink():
                yield path

    def page(self) -> bytes:
        """Return the page, made anew where a file has changed; one request at a time makes it."""
        with self._lock:
            version = self.version()
            if version != self._page[0]:
                self._page = version, make_page(self.folder, self.images, live=version).encode()
            return self._page[1]


class _Handler(BaseHTTPRequestHandler):
    """Answers / and /version, to this machine's browsers alone."""

    live: Live
    server_version, sys_version = "report", ""
    timeout = 30

    def do_GET(self) -> None:
        """Answer; the server calls it by this name."""
        try:
            self._answer_path()
        except ConnectionError:  # the browser has left
            self.close_connection = True
        except OSError as e:
            self._answer(503, f"the run cannot be read: {e.strerror or e}".encode(), "text/plain")

    def _answer_path(self) -> None:
        port = self.connection.getsockname()[1]
        # A page elsewhere whose name points to this machine must not read this one.
        if self.headers.get("Host") not in (f"{ADDRESS}:{port}", f"localhost:{port}"):
            self._answer(403, b"this page is for this machine alone", "text/plain")
        elif self.path == "/version":
            self._answer(200, self.live.version().encode(), "text/plain")
        elif self.path == "/":
            self._answer(200, self.live.page(), "text/html; charset=utf-8")
        else:
            self._answer(404, b"there is nothing here but /", "text/plain")

    def _answer(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(content))),
            ("Cache-Control", "no-store"),
            ("Content-Security-Policy", f"{policy(live=True)}; frame-ancestors 'none'"),
            ("X-Content-Type-Options", "nosniff"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Referrer-Policy", "no-referrer"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # format: the name of the base class
        """Do not log requests."""


def open_server(run: str | Path, port: int = PORT, images: float = ROOM) -> ThreadingHTTPServer:
    """Return a server of a run's or a study's page, bound to this machine; `serve_forever` lets it answer.

    Raises:
        UserError: there is no such run, or the port is taken.
    """
    live = Live(find_folder(run), images)
    handler = type("Handler", (_Handler,), {"live": live})
    try:
        server = ThreadingHTTPServer((ADDRESS, port), handler)
    except OSError as e:
        raise ConfigError(
            f"port={port} cannot be used: {e.strerror or e}", hint="another port=, or 0 for any"
        ) from None
    server.daemon_threads = True
    return server


def serve_page(run: str | Path, port: int = PORT, images: float = ROOM) -> None:
    """Serve the page of a run or a study until Ctrl-C."""
    with open_server(run, port, images) as server:
        address = f"http://{ADDRESS}:{server.server_address[1]}/"
        events.emit("result", text=address, address=address)
        LOGGER.info("page     %s shows %s as it is; Ctrl-C ends it", address, one_line(str(run), 300))
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            LOGGER.info("The page is no longer served.")
