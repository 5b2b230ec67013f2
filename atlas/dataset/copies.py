"""Copies of what was read from far away, in a folder of this machine that never grows beyond its limit.

    (name, bytes) -> a file        name -> bytes, or None where there is no copy

Any number of processes share a folder: a copy appears whole, is checked against its own hash when it is read, and goes
when it was not read for longest. Where copies cannot be kept, everything goes on without them, and one line says why.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from atlas.places import cache_folder
from atlas.words import parameter

GIGABYTES = 20.0
"""Size of all copies together unless said."""
KEPT = 0.9
"""Share of the limit that is left where room is made."""
SPARE = 2**28
"""Bytes of a disk that copies leave free: others need it more."""
OLD = 3600.0
"""Seconds after which a file that was never finished is a dead writer's."""
HASH = 32
FULL = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True)
class Copies:
    """A folder of copies. Sent to another machine, it is the folder of that name there."""

    folder: str = ""
    """Empty: the usual one of whatever machine asks."""
    gigabytes: float = GIGABYTES
    """The size of all copies together; none are kept at 0."""

    @property
    def place(self) -> Path:
        """Where everything lies that can be had again."""
        return cache_folder(self.folder)

    @property
    def trouble(self) -> str:
        """Why this process keeps no copies any more, in one line; empty where nothing is wrong."""
        return _trouble.get(self, "")

    def get(self, name: bytes) -> bytes | None:
        """The bytes that were put under `name`; None where there are none, or no longer as they were put."""
        path = self._path(name)
        try:
            kept = path.read_bytes()
        except (OSError, RuntimeError):
            return None
        data = kept[HASH:]
        with suppress(OSError):
            if hashlib.sha256(data).digest() != kept[:HASH]:
                path.unlink()
                return None
            os.utime(path)  # it is needed: others go before it
        return data

    def put(self, name: bytes, data: bytes) -> None:
        """Keep a copy, where there is room for it; older ones go."""
        size = len(data) + HASH
        if self.trouble or size > self._limit:
            return
        try:
            with self._written(data) as partial, self._ledger() as ledger:
                path = self._path(name)
                if path.exists():
                    return
                if ledger.total + size > self._limit:
                    ledger.total = self._make_room(int(self._limit * KEPT) - size)
                path.parent.mkdir(exist_ok=True)
                partial.replace(path)
                ledger.total += size
        except (OSError, RuntimeError) as error:
            _trouble[self] = self._explained(error)

    @property
    def _limit(self) -> int:
        return int(self.gigabytes * 1e9)

    @property
    def _root(self) -> Path:
        return self.place / "copies"

    def _path(self, name: bytes) -> Path:
        text = hashlib.blake2b(name, digest_size=16).hexdigest()
        return self._root / text[:2] / text[2:]

    @contextmanager
    def _written(self, data: bytes) -> Iterator[Path]:
        """A file with a copy, to be given its name inside the block."""
        folder = self._root / "partial"
        folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder).free < len(data) + SPARE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        partial = folder / uuid.uuid4().hex
        try:
            # Not synced: what a power cut tears is found by its hash.
            partial.write_bytes(hashlib.sha256(data).digest() + data)
            yield partial
        finally:
            with suppress(OSError):
                partial.unlink()

    @contextmanager
    def _ledger(self) -> Iterator[_Ledger]:
        """How much there is, while nobody else adds to it."""
        with (self._root / "ledger").open("a+b") as file:
            with suppress(OSError):  # a file system without locks: the next count sets it right
                fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            text = file.read()
            ledger = _Ledger(int(text) if text.isdigit() else sum(size for _, size, _ in self._all()))
            yield ledger
            file.truncate(0)
            file.write(b"%d" % ledger.total)

    def _make_room(self, most: int) -> int:
        """Remove what was not read for longest until at most so many bytes are left; says how many are."""
        self._sweep()
        there = sorted(self._all())
        total = sum(size for _, size, _ in there)
        for _, size, path in there:
            if total <= most:
                break
            # Whoever reads it has it open, and reads on.
            path.unlink(missing_ok=True)
            total -= size
        return total

    def _all(self) -> Iterator[tuple[int, int, Path]]:
        """When each copy was read last, its size and its path."""
        for path in self._root.glob("??/*"):
            with suppress(FileNotFoundError):
                state = path.stat()
                yield state.st_mtime_ns, state.st_size, path

    def _sweep(self) -> None:
        """Remove what dead writers left: old beside the newest, which was written just now."""
        ages: dict[Path, float] = {}
        for path in (self._root / "partial").iterdir():
            with suppress(OSError):
                ages[path] = path.stat().st_mtime
        for path, written in ages.items():
            if written < max(ages.values()) - OLD:
                path.unlink(missing_ok=True)

    def _explained(self, error: Exception) -> str:
        instead = f"Images are read from the object store each time. Name another folder by {parameter('cache')}"
        if isinstance(error, OSError) and error.errno in FULL:
            return f"The disk is full at the cache of images ({self.place}). {instead}, or make room."
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        where = f" in {self.place}" if isinstance(error, OSError) else ""
        return f"Images cannot be cached{where}: {reason.lower()}. {instead}."


@dataclass
class _Ledger:
    total: int
    """Bytes of all copies."""


_trouble: dict[Copies, str] = {}
