"""Objects that are no files, over HTTP with byte ranges: those of a store that lies in an object store.

(ObjectBackend, kinds of object) -> ASGI application
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Protocol

from anyio.to_thread import run_sync
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from atlas.errors import StoreError
from atlas.server.files import BYTES, RANGE
from atlas.server.guard import complain
from atlas.store import Part


class Parts(Protocol):
    """Where objects are had from, as `ObjectBackend.part` gives them."""

    def part(self, key: str, wanted: Any = None) -> Part | None:
        """A part of an object; None where there is none."""


class Objects:
    """The objects of a place. Those with a suffix in `kinds` are named as such, all others as bytes."""

    def __init__(self, place: Parts, *, kinds: Mapping[str, str]) -> None:
        self.place = place
        self.kinds = kinds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = key_in(scope)
        if scope["method"] not in ("GET", "HEAD"):
            response: Response = PlainTextResponse("Method Not Allowed\n", 405)
        else:
            try:
                response = await run_sync(self._answer, key, scope["method"], Headers(scope=scope))
            except StoreError as error:
                complain(str(error))
                response = PlainTextResponse("The object store does not answer.\n", 502)
        await response(scope, receive, send)

    def _answer(self, key: str, method: str, asked: Headers) -> Response:
        if not key or any(name in ("", ".", "..") for name in key.split("/")):
            return PlainTextResponse("Not Found\n", 404)
        wanted = _range(asked.get("range", ""))
        # What is asked for is its length alone: a byte of it says that too.
        part = self.place.part(key, (0, 1) if method == "HEAD" and wanted is None else wanted)
        if part is None:
            return PlainTextResponse("Not Found\n", 404)
        kind = self.kinds.get(PurePosixPath(key).suffix, BYTES)
        headers = {"cache-control": "no-cache", "x-content-type-options": "nosniff", "accept-ranges": "bytes"}
        headers |= {"etag": part.mark} if part.mark else {}
        if part.mark and wanted is None and asked.get("if-none-match") == part.mark:
            return Response(status_code=304, headers=headers)
        if method == "HEAD":
            return Response(headers={**headers, "content-length": str(part.size)}, media_type=kind)
        if wanted is None:
            return Response(part.data, headers=headers, media_type=kind)
        if not part.data:
            return PlainTextResponse(status_code=416, headers={"content-range": f"bytes */{part.size}"})
        headers["content-range"] = f"bytes {part.start}-{part.start + len(part.data) - 1}/{part.size}"
        return Response(part.data, 206, headers, kind)


def key_in(scope: Scope) -> str:
    """The key of the object that is asked for."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", "")).lstrip("/")


def _range(asked: str) -> Any:
    """The part that a header asks for, as `ObjectBackend.part` takes it; None for the whole object."""
    match = RANGE.fullmatch(asked)
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    if not first:
        return {"suffix": int(last)}
    return (int(first), int(last) + 1) if last else {"offset": int(first)}
