"""Hashes of images that were read before, so that no image is read again that is as it was then.

    mark of an image's file as it is now -> sha256        mark of a tar -> its members

A row is 16 bytes that tell one state of one file from all others, and the sha256 of what it held. Rows are added in
files of their own, each of which appears whole: whoever is killed loses the last second, and two who list at once take
nothing from each other. It can all be had again: what is damaged, or cannot be written, is left out.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atlas.dataset.shards import Member
from atlas.dataset.source import Problem
from atlas.places import cache_folder
from atlas.units import ImageStatus

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
    """What a folder knows. It is read when it is first asked."""

    def __init__(self, folder: str | Path = "") -> None:
        self._folder = self._place(folder)
        self._files: list[Path] = []
        self._rows: Rows | None = None

    @staticmethod
    def _place(folder: str | Path) -> Path | None:
        with suppress(RuntimeError):  # there is no home
            return cache_folder(folder) / "hashes"
        return None

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
        """Make one file of all that were read; `marks` are those that the listing asked for."""
        if self._folder is None:
            return
        files = sorted(self._folder.glob("*.rows"))
        if len(files) < 2:
            return
        rows = _sorted(np.concatenate([_rows(path) for path in files]))
        if len(rows) > MOST:
            rows = rows[np.isin(rows[:, 0], marks[:, 0])]
        if self._write(rows):
            for path in files:
                path.unlink(missing_ok=True)

    def members(self, mark: bytes) -> list[Member] | None:
        """The members of a tar that was gone through before; None where it was not."""
        if self._folder is None or not mark:
            return None
        try:
            told = json.loads(zlib.decompress(self._tar(mark).read_bytes()))
        except (OSError, ValueError, zlib.error):
            return None
        return [(os.fsencode(name), start, size, _problem(lost)) for name, start, size, lost in told]

    def put_members(self, mark: bytes, members: Sequence[Member]) -> None:
        """Keep what a tar holds."""
        told = [
            (os.fsdecode(name), start, size, lost and (int(lost.status), lost.reason))
            for name, start, size, lost in members
        ]
        if self._folder is not None and mark:
            _put(self._tar(mark), zlib.compress(json.dumps(told).encode(), 1))

    def _tar(self, mark: bytes) -> Path:
        assert self._folder is not None
        return self._folder / f"{mark.hex()}.tar"

    def _read(self) -> Rows:
        if self._rows is None:
            there = [] if self._folder is None else sorted(self._folder.glob("*.rows"))
            self._rows = _sorted(np.concatenate([np.zeros((0, 6), np.uint64), *map(_rows, there)]))
        return self._rows

    def _write(self, rows: Rows) -> bool:
        body = MAGIC + np.ascontiguousarray(rows).tobytes()
        digest = hashlib.sha256(body).digest()
        return self._folder is not None and _put(self._folder / f"{uuid.uuid4().hex}.rows", body + digest)


def _rows(path: Path) -> Rows:
    """The rows of a file; none where it is damaged, or gone since."""
    try:
        data = path.read_bytes()
    except OSError:
        return np.zeros((0, 6), np.uint64)
    whole = data.startswith(MAGIC) and hashlib.sha256(data[:-32]).digest() == data[-32:]
    return np.frombuffer(data[len(MAGIC) : -32] if whole else b"", np.uint64).reshape(-1, 6)


def _sorted(rows: Rows) -> Rows:
    """Rows by their marks' first numbers, each once."""
    _, first = np.unique(rows[:, 0], return_index=True)
    return rows[first]


def _problem(told: list[object] | None) -> Problem | None:
    return None if told is None else Problem(ImageStatus(int(str(told[0]))), str(told[1]))


def _put(path: Path, data: bytes) -> bool:
    """Write a file that appears whole; says whether it could be."""
    partial = path.with_name(f"{uuid.uuid4().hex}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        partial.replace(path)
    except OSError:
        with suppress(OSError):
            partial.unlink()
        return False
    return True
