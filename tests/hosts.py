"""Servers for tests: ours, a static host that is not ours, and some that do not answer ranges as they should.

folder -> http://127.0.0.1:PORT/
"""

from __future__ import annotations

import gzip
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from RangeHTTPServer import RangeRequestHandler
from starlette.types import ASGIApp

from atlas.server.serving import Server, address_of, listen, settings_of


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


class Packing(Ranged):
    """Compresses whole files, and answers ranges of what it compressed with 206."""

    def do_GET(self) -> None:  # noqa: N802 (its own name)
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        file = Path(self.translate_path(self.path))
        if asked is None or not file.is_file():
            super().do_GET()
            return
        packed = gzip.compress(file.read_bytes())
        first, last = int(asked[1]), min(int(asked[2]), len(packed) - 1)
        part = packed[first : last + 1]
        self.send_response(206)
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(packed)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)


class Elsewhere(Ranged):
    """Answers every range with the beginning of the file, as long as asked."""

    def do_GET(self) -> None:  # noqa: N802 (its own name)
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if asked is not None and int(asked[1]) > 0:
            self.headers.replace_header("Range", f"bytes=0-{int(asked[2]) - int(asked[1])}")
        super().do_GET()


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
        server = Server(settings_of(app))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]}, daemon=True)
        thread.start()
        yield address_of(door, "127.0.0.1")
        server.should_exit = True
        thread.join(10)
