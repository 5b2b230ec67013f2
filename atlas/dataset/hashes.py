"""Hashes of images that were read before, so that no image is read again that is as it was then.

    mark of an image's file as it is now -> sha256        mark of a tar -> its members

A row is 16 bytes that tell one state of one file from all others, and the sha256 of what it held. Rows are added in
objects of their own, each of which appears whole: whoever is killed loses the last second, and two who list at once
take nothing from each other. It can all be had again: what is damaged is left out, and where nothing can be noted one
line says so.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atlas.dataset.prefetch import prefetch
from atlas.dataset.shards import Member
from atlas.dataset.source import Problem
from atlas.errors import StoreError
from atlas.places import cache_folder, in_object_store
from atlas.store import Backend, backend_at
from atlas.units import ImageStatus
from atlas.words import parameter

MARK = 16
"""Bytes of a mark."""
MAGIC = b"atlas hashes 1\n\0"
MOST = 8_000_000
"""Rows that are kept: of more, those that the last listing did not ask for go."""
Marks = NDArray[np.uint64]
"""[n,2]"""
Rows = NDArray[np.uint64]
"""[n,6]: two numbers of a mark, four of a sha256."""


def mark_of(*parts: object) -> bytes:
    """16 bytes that stand for `parts`, whatever they are printed as."""
    texts = (part if isinstance(part, bytes) else str(part).encode() for part in parts)
    return hashlib.blake2b(b"\0".join(texts), digest_size=MARK).digest()


def marks_of(marks: Sequence[bytes]) -> Marks:
    """Marks as an array [n,2]."""
    return np.frombuffer(b"".join(marks), np.uint64).reshape(-1, 2)


class Hashes:
    """What is known in a cache: a folder, or a place in an object store. All of it is read when it is first asked."""

    def __init__(self, place: str | Path = "") -> None:
        self.trouble = ""
        """Why nothing is noted, in one line; empty where all is well."""
        self._backend: Backend | None = None
        self._rows: Rows | None = None
        try:
            self._backend = backend_at(f"{place}/hashes" if in_object_store(place) else cache_folder(place) / "hashes")
        except RuntimeError as error:  # there is no home
            self._despair(f"{error}.")

    def find(self, marks: Marks) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
        """Which of `marks` [n,2] are known [n], and the sha256 [n,32] of each; zeros where it is not known."""
        rows, found = self._read(), np.zeros((len(marks), 4), np.uint64)
        if not len(rows) or not len(marks):
            return np.zeros(len(marks), np.bool_), found.view(np.uint8)
        at = np.searchsorted(rows[:, 0], marks[:, 0]).clip(max=len(rows) - 1)
        known = (rows[at, :2] == marks).all(axis=1)
        found[known] = rows[at[known], 2:]
        return known, found.view(np.uint8)

    def add(self, marks: Marks, sha256: NDArray[np.uint8]) -> None:
        """Add what was read: `marks` [n,2] and sha256 [n,32]."""
        if len(marks):
            self._write(np.concatenate([marks, np.ascontiguousarray(sha256).view(np.uint64)], axis=1))

    def tidy(self, marks: Marks) -> None:
        """Make one object of all that were read; `marks` are those that the listing asked for."""
        try:
            self._tidy(marks)
        except StoreError as error:
            self._despair(str(error))

    def _tidy(self, marks: Marks) -> None:
        if self._backend is None or len(keys := list(self._keys())) < 2:
            return
        rows = self._of(keys)
        if len(rows) > MOST:
            rows = rows[np.isin(rows[:, 0], marks[:, 0])]
        if self._write(rows):
            for key in keys:
                self._backend.delete(key)

    def members(self, mark: bytes) -> list[Member] | None:
        """The members of a tar that was gone through before; None where it was not."""
        data = self._backend.get(f"{mark.hex()}.tar") if self._backend and mark and not self.trouble else None
        try:
            told = json.loads(zlib.decompress(data or b""))
        except (ValueError, zlib.error):
            return None
        return [(os.fsencode(name), start, size, _problem(lost)) for name, start, size, lost in told]

    def put_members(self, mark: bytes, members: Sequence[Member]) -> None:
        """Keep what a tar holds."""
        told = [
            (os.fsdecode(name), start, size, lost and (int(lost.status), lost.reason))
            for name, start, size, lost in members
        ]
        if mark:
            self._put(f"{mark.hex()}.tar", zlib.compress(json.dumps(told).encode(), 1))

    def _keys(self) -> Iterator[str]:
        there = [] if self._backend is None or self.trouble else self._backend.list()
        return (key for key in there if key.endswith(".rows"))

    def _read(self) -> Rows:
        if self._rows is None:
            try:
                self._rows = self._of(list(self._keys()))
            except StoreError as error:
                self._despair(str(error))
                self._rows = np.zeros((0, 6), np.uint64)
        return self._rows

    def _of(self, keys: Sequence[str]) -> Rows:
        backend = self._backend
        read = prefetch(backend.get, keys, workers=8) if backend else ()
        return _sorted(np.concatenate([np.zeros((0, 6), np.uint64), *(_rows(data or b"") for data in read)]))

    def _write(self, rows: Rows) -> bool:
        body = MAGIC + np.ascontiguousarray(rows).tobytes()
        return self._put(f"{uuid.uuid4().hex}.rows", body + hashlib.sha256(body).digest())

    def _put(self, key: str, data: bytes) -> bool:
        """Write an object; says whether it could be."""
        if self._backend is None or self.trouble:
            return False
        try:
            self._backend.put(key, data)
        except StoreError as error:
            self._despair(str(error))
            return False
        return True

    def _despair(self, why: str) -> None:
        where = f"Name another place by {parameter('cache')}"
        self.trouble = f"Hashes of images cannot be saved, so the next listing reads all images again. {why} {where}."


def _rows(data: bytes) -> Rows:
    """The rows of an object; none where it is damaged, or gone since."""
    whole = data.startswith(MAGIC) and hashlib.sha256(data[:-32]).digest() == data[-32:]
    return np.frombuffer(data[len(MAGIC) : -32] if whole else b"", np.uint64).reshape(-1, 6)


def _sorted(rows: Rows) -> Rows:
    """Rows by their marks' first numbers, each once."""
    _, first = np.unique(rows[:, 0], return_index=True)
    return rows[first]


def _problem(told: list[object] | None) -> Problem | None:
    return None if told is None else Problem(ImageStatus(int(str(told[0]))), str(told[1]))
