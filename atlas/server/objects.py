"""Objects of a store that lies in an object store, over HTTP with byte ranges.

(ObjectBackend, kinds of object) -> ASGI application
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from anyio.to_thread import run_sync
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from atlas.errors import StoreError
from atlas.server.files import BYTES, RANGE
from atlas.server.guard import complain
from atlas.store import ObjectBackend


class Objects:
    """The objects of a backend. Those with a suffix in `kinds` are named as such, all others as bytes."""

    def __init__(self, backend: ObjectBackend, *, kinds: Mapping[str, str]) -> None:
        self.backend = backend
        self.kinds = kinds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = scope["path"].removeprefix(scope.get("root_path", "")).lstrip("/")
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
        part = self.backend.part(key, (0, 1) if method == "HEAD" and wanted is None else wanted)
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


def _range(asked: str) -> Any:
    """The part that a header asks for, as `ObjectBackend.part` takes it; None for the whole object."""
    match = RANGE.fullmatch(asked)
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    if not first:
        return {"suffix": int(last)}
    return (int(first), int(last) + 1) if last else {"offset": int(first)}
