"""Files of a folder over HTTP, with byte ranges.

    (folder, kinds of file) -> ASGI application

What is answered lies inside the folder: `..`, however it is encoded, and symbolic links that lead out are not found.
A file is open before its headers are sent, so that what they promise can be kept; where it cannot be opened, they say
so. Of several ranges none is taken: the answer is the whole file.
"""

from __future__ import annotations

import errno
import http
import os
import re
from collections.abc import Mapping
from io import BufferedReader
from pathlib import PurePath

from anyio.to_thread import run_sync
from starlette.datastructures import Headers
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Receive, Scope, Send

from atlas.server.guard import busy, complain
from atlas.words import shown

BYTES = "application/octet-stream"
RANGE = re.compile(r"\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*", re.IGNORECASE)
PIECE = 1 << 18
"""Bytes that are read and sent at a time."""
FULL = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
"""The system has no room for one more open file."""
GONE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ESTALE}


class StaticFolder(StaticFiles):
    """The files of `directory`. Those with a suffix in `kinds` are named as such, all others as bytes."""

    def __init__(self, directory: str | os.PathLike[str], *, kinds: Mapping[str, str], html: bool = False) -> None:
        super().__init__(directory=directory, html=html)
        self.kinds = kinds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except OSError as error:  # of what is looked up, before anything is sent
            await _refuse(error, scope, receive, send)

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        path = PurePath(full_path)
        # Built assets carry their hash in their name; anything else is asked for again, and its ETag compared: a store
        # may be in the making.
        keep = "public, max-age=31536000, immutable" if path.parent.name == "assets" and self.html else "no-cache"
        headers = {"cache-control": keep, "x-content-type-options": "nosniff"}
        kind = self.kinds.get(path.suffix, BYTES)
        response = Opened(full_path, status_code=status_code, stat_result=stat_result, media_type=kind, headers=headers)
        if self.is_not_modified(response.headers, Headers(scope=scope)):
            return NotModifiedResponse(response.headers)
        return response


class Opened(FileResponse):
    """A file, or one range of it: opened and begun to be read first, then promised, then sent."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            file = await run_sync(_open, self.path)
        except OSError as error:
            await _refuse(error, scope, receive, send)
            return
        with file:
            self._describe(os.fstat(file.fileno()))
            size = int(self.headers["content-length"])
            start, stop = self._range(Headers(scope=scope), size)
            if start >= stop and self.status_code == 206:  # also of an empty file, which has no range at all
                headers = {"content-range": f"bytes */{size}"}
                await PlainTextResponse(status_code=416, headers=headers)(scope, receive, send)
            elif scope["method"] == "HEAD":
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                await send({"type": "http.response.body", "body": b""})
            else:
                await self._send(file, start, stop, scope, receive, send)

    def _describe(self, state: os.stat_result) -> None:
        """Promise what was opened: it may be newer than what was looked up."""
        for name in ("content-length", "last-modified", "etag"):
            del self.headers[name]
        self.set_stat_headers(state)

    def _range(self, asked: Headers, size: int) -> tuple[int, int]:
        """The first byte and the one after the last; where a range is asked for, the headers tell of it."""
        match = RANGE.fullmatch(asked.get("range", ""))
        known = (self.headers["etag"], self.headers["last-modified"])
        if match is None or not any(match.groups()) or asked.get("if-range", known[0]) not in known:
            return 0, size
        first, last = match.groups()
        start = int(first) if first else max(0, size - int(last))
        stop = min(int(last) + 1, size) if first and last else size
        self.status_code = 206
        self.headers["content-range"] = f"bytes {start}-{stop - 1}/{size}"
        self.headers["content-length"] = str(stop - start)
        return start, stop

    async def _send(
        self, file: BufferedReader, start: int, stop: int, scope: Scope, receive: Receive, send: Send
    ) -> None:
        try:
            piece = await _read(file, start, stop)
        except OSError as error:
            await _refuse(error, scope, receive, send)
            return
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": piece, "more_body": start + len(piece) < stop})
        while (start := start + len(piece)) < stop:
            try:
                piece = await _read(file, start, stop)
            except OSError as error:
                complain(f"{shown(self.path)}: {error.strerror or error}.")
                return  # the connection ends before the length that was promised: nobody takes it for whole
            await send({"type": "http.response.body", "body": piece, "more_body": start + len(piece) < stop})


def _open(path: str | os.PathLike[str]) -> BufferedReader:
    # Not blocking: what was a file when it was looked up may have become a pipe.
    return os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb")


async def _read(file: BufferedReader, start: int, stop: int) -> bytes:
    """The next bytes of what is left. Raises `OSError` where there are none: the file was cut short."""
    piece = await run_sync(os.pread, file.fileno(), min(PIECE, stop - start), start)
    if not piece and start < stop:
        raise OSError(errno.EIO, "cut short while it was sent")
    return piece


async def _refuse(error: OSError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer where nothing can be sent of a file."""
    if error.errno in FULL:
        complain("No handle or memory is left to open a file: who asks is told to try again.")
        await busy(scope, receive, send)
        return
    status = 404 if error.errno in GONE else 403 if isinstance(error, PermissionError) else 500
    if status == 500:
        complain(f"A file cannot be read: {error.strerror or error}.")
    await PlainTextResponse(f"{http.HTTPStatus(status).phrase}\n", status)(scope, receive, send)
