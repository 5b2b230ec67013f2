"""Files of a folder over HTTP, with byte ranges.

    (folder, kinds of file) -> ASGI application

What is answered lies inside the folder: `..`, however it is encoded, and symbolic links that lead out are not found.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import PurePath

from starlette.datastructures import Headers
from starlette.responses import FileResponse, Response
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Scope

# What the machine believes about file names is not asked: some believe that .js is plain text.
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
BYTES = "application/octet-stream"


class Files(StaticFiles):
    """The files of `directory`. Those with a suffix in `kinds` are named as such, all others as bytes."""

    def __init__(self, directory: str | os.PathLike[str], *, kinds: Mapping[str, str], html: bool = False) -> None:
        super().__init__(directory=directory, html=html)
        self.kinds = kinds

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        path = PurePath(full_path)
        # Built assets carry their hash in their name; anything else is asked for again, and its ETag compared: a store
        # may be in the making.
        keep = "public, max-age=31536000, immutable" if path.parent.name == "assets" and self.html else "no-cache"
        headers = {"cache-control": keep, "x-content-type-options": "nosniff"}
        kind = self.kinds.get(path.suffix, BYTES)
        response = FileResponse(
            full_path, status_code=status_code, stat_result=stat_result, media_type=kind, headers=headers
        )
        if self.is_not_modified(response.headers, Headers(scope=scope)):
            return NotModifiedResponse(response.headers)
        return response
