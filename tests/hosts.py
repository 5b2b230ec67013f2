"""Servers for tests: ours, a static host that is not ours, and one that ignores ranges.

folder -> http://127.0.0.1:PORT/
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import uvicorn
from RangeHTTPServer import RangeRequestHandler
from starlette.types import ASGIApp

from atlas.serve.server import address_of, listen


class Ranged(RangeRequestHandler):  # type: ignore[misc]
    """Answers `bytes=A-B` with 206; knows no `bytes=-N`."""

    def log_message(self, *_: object) -> None:
        pass


class Shared(Ranged):
    """Lets pages of other origins read."""

    def end_headers(self) -> None:
        self.send_header("Access-Control-Allow-Origin", "*")
        super().end_headers()


class Rangeless(SimpleHTTPRequestHandler):
    """Python's own: ignores ranges and answers 200 with everything."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its own name)
        pass


@contextmanager
def static_host(folder: Path, kind: type[SimpleHTTPRequestHandler] = Ranged) -> Iterator[str]:
    """The address of `folder` on a plain static server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(kind, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


@contextmanager
def atlas_host(app: ASGIApp) -> Iterator[str]:
    """The address of one of our applications, served as `atlas serve` serves it."""
    with listen("127.0.0.1", 18000) as door:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]}, daemon=True)
        thread.start()
        yield address_of(door, "127.0.0.1")
        server.should_exit = True
        thread.join(10)
