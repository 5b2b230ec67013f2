"""What stores of before lack of what is derived of their layers, made up when it is asked for.

(application that answers with a store's objects, the store's backend) -> the same application, with these objects too
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from anyio.to_thread import run_sync
from starlette.types import ASGIApp, Receive, Scope, Send

from atlas.catalogue.derived_arrays import made_up
from atlas.errors import StoreError
from atlas.server.guard import complain
from atlas.server.objects import Objects, key_in
from atlas.store import Backend, Part, Store

DERIVED = re.compile(r"(layers/(?!\.{1,2}/)[A-Za-z0-9._%-]+/derived)/.+")
"""Keys of what is derived of a layer, after the key of its group."""


class Completed:
    """Another application, and what it has not of what is derived."""

    def __init__(self, app: ASGIApp, backend: Backend, *, kinds: Mapping[str, str]) -> None:
        self.app, self.backend = app, backend
        self.made_up = Objects(self, kinds=kinds)
        self._layers: dict[str, dict[str, bytes]] = {}
        """What is derived of layers of which it is not stored, by the keys of their groups."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        lacking = await run_sync(self._lacks, key_in(scope))
        await (self.made_up if lacking else self.app)(scope, receive, send)

    def _lacks(self, key: str) -> bool:
        """Whether `key` is of a group that is not stored."""
        match = DERIVED.fullmatch(key)
        try:
            return match is not None and self.backend.range(f"{match[1]}/zarr.json", 0, 0) is None
        except StoreError:  # which it says itself, of all it is asked
            return False

    def part(self, key: str, wanted: Any = None) -> Part | None:
        """A part of an object that is made up, as `ObjectBackend.part` gives it."""
        (folder,) = re.findall(DERIVED, key)
        if folder not in self._layers or key == f"{folder}/zarr.json":  # readers ask for this first
            made = self._made(folder)
            if not made:  # nor is it remembered of what: anybody may ask for anything
                return None
            self._layers[folder] = made
        data = self._layers[folder].get(key)
        if data is None:
            return None
        start, stop = _span(wanted, len(data))
        return Part(data[start:stop], start, len(data), f'"{sha256(data).hexdigest()[:32]}"')

    def _made(self, folder: str) -> dict[str, bytes]:
        try:
            return made_up(Store.open(self.backend), folder)
        except StoreError as error:
            complain(str(error))
            return {}


def _span(wanted: Any, size: int) -> tuple[int, int]:
    """The first byte of a part, and the one after its last."""
    match wanted:
        case (start, stop):
            return start, min(stop, size)
        case {"offset": start}:
            return start, size
        case {"suffix": count}:
            return max(0, size - count), size
    return 0, size
