"""A small proxy before an object store: it counts what is asked, and answers wrong where it is told to.

with proxy(endpoint) as between: between.wrong = lambda method, path, number: "reset"; ... between.asked
"""

from __future__ import annotations

import http.client
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, Literal

Fault = Literal["", "500", "503", "reset", "cut", "short"]
"""`cut`: the body breaks off; `short`: it is shorter, and the headers say so."""


WRITER = "x-amz-meta-writer"


class Proxy:
    """What was asked, and what goes wrong."""

    def __init__(self, endpoint: str) -> None:
        self.target = endpoint.removeprefix("http://")
        self.endpoint = ""
        self.wrong: Callable[[str, str, int], Fault] = lambda _method, _path, _number: ""
        self.asked: list[tuple[str, str, int]] = []
        """Method, path with its question, and bytes of the answer."""
        self.writers: dict[str, set[str]] = {}
        """Of each object that was written on a condition, who tried to; one who tried again is one."""
        self.lock = Lock()

    @property
    def read(self) -> list[tuple[str, int]]:
        """Objects that were read, not listed or asked after, with the bytes that were answered."""
        return [(path, size) for method, path, size in self.asked if method == "GET" and "list-type" not in path]

    def forget(self) -> None:
        self.asked.clear()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        connection = http.client.HTTPConnection(self.proxy.target, timeout=30)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body or None)
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        with self.proxy.lock:
            number = len(self.proxy.asked)
            self.proxy.asked.append((self.command, self.path, len(data)))
            if writer := self.headers.get(WRITER):
                self.proxy.writers.setdefault(self.path, set()).add(writer)
        self._send(self.proxy.wrong(self.command, self.path, number), answer, data)

    def _send(self, fault: Fault, answer: http.client.HTTPResponse, data: bytes) -> None:
        if fault == "reset":
            # Nothing is waited for: the other side sees the connection reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        if fault in ("500", "503"):
            self.send_response(int(fault))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = data[: len(data) // 2] if fault == "short" else data
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        size = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
        self.send_header("Content-Length", size or "0")
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(data[: len(data) // 2] if fault == "cut" else data)
        if fault == "cut":
            self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815


@contextmanager
def proxy(endpoint: str, address: str = "127.0.0.1") -> Iterator[Proxy]:
    """A proxy before `endpoint`, at an address of this machine."""
    made = Proxy(endpoint)
    handler = type("Handler", (_Handler,), {"proxy": made})
    server = ThreadingHTTPServer((address, 0), handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # who asked may have died
    made.endpoint = f"http://{address}:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
