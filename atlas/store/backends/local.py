"""A place in a folder.

key -> file of that path
"""

from __future__ import annotations

import errno
import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from atlas.errors import CannotWrite, StoreError, StoreFull
from atlas.store.backends.backend import OLD, Backend
from atlas.words import parameter

PARTIAL = ".partial"
"""Folder of a local store where objects are written before they get their name."""
LOCK = "lock"
"""In that folder: held while an object is compared and replaced."""


class LocalBackend(Backend):
    """A folder. Objects are files whose paths are their keys."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).absolute()

    def __str__(self) -> str:
        place = str(self.root)
        return f"./{place}" if place.startswith("-") else place  # no option, where a command names it

    def get(self, key: str) -> bytes | None:
        return self.range(key, 0)

    def range(self, key: str, start: int, stop: int | None = None) -> bytes | None:
        path = self._path(key)
        try:
            with path.open("rb") as file:
                begin, end, _ = slice(start, stop).indices(os.fstat(file.fileno()).st_size)
                file.seek(begin)
                return file.read(max(0, end - begin))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror or error}.") from error

    def put(self, key: str, value: bytes) -> None:
        with self._written(key, value) as partial:
            partial.replace(self._path(key))

    def put_new(self, key: str, value: bytes) -> bool:
        with self._written(key, value) as partial:
            try:
                os.link(partial, self._path(key))
            except FileExistsError:
                return False
        return True

    def put_if(self, key: str, value: bytes, there: bytes | None) -> bool:
        if there is None:
            return self.put_new(key, value)
        with self._locked():
            if self.get(key) != there:
                return False
            self.put(key, value)
            return True

    def delete(self, key: str) -> None:
        path = self._path(key)
        try:
            path.unlink(missing_ok=True)
        except NotADirectoryError:
            return
        except OSError as error:
            raise self._explained(error, path) from error

    def list(self, prefix: str = "") -> Iterator[str]:
        folder, _, _ = prefix.rpartition("/")
        return self._walk(f"{folder}/" if folder else "", prefix)

    def sweep(self, older: float = OLD) -> int:
        """Remove the partial files of writers that died: nobody holds them, and they are `older` than so many seconds.

        Their age is told by the clock that stamps them, the file system's own: those of two machines may differ.
        """
        leftovers = [path for path in (self.root / PARTIAL).glob("*") if path.name != LOCK]
        now, swept = self._now() if leftovers else 0.0, 0
        for path in leftovers:
            with suppress(OSError):  # its writer, or another sweeper, was faster
                if path.stat().st_mtime < now - older and not _held(path):
                    path.unlink()
                    swept += 1
        return swept

    def _now(self) -> float:
        """What the file system takes for now; the beginning of time where it cannot be asked: then nothing is old."""
        try:
            with self._partial() as (_, file):
                file.write(b"0")
                file.flush()
                return os.fstat(file.fileno()).st_mtime
        except OSError:
            return 0.0

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Nobody else compares and replaces meanwhile, on any machine; the lock of a process that dies is free."""
        try:
            self._make_folder(self.root / PARTIAL)
            file = (self.root / PARTIAL / LOCK).open("ab")
        except OSError as error:
            raise self._explained(error, self.root / PARTIAL / LOCK) from error
        with file:
            with suppress(OSError):  # a file system without locks: what is compared is compared all the same
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _partial(self) -> Iterator[tuple[Path, BinaryIO]]:
        """A new file without a name of its own, which is held as long as its writer lives."""
        self._make_folder(self.root / PARTIAL)
        partial = self.root / PARTIAL / uuid.uuid4().hex
        try:
            with partial.open("xb") as file:
                with suppress(OSError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield partial, file
        finally:
            with suppress(OSError):
                partial.unlink()

    def _path(self, key: str) -> Path:
        if key.startswith("/") or ".." in key.split("/"):
            raise StoreError(f"{key!r} is no key of a store: it leads out of {self.root}.")
        return self.root / key

    def _walk(self, base: str, prefix: str) -> Iterator[str]:
        """The keys under `base` that start with `prefix`, read from the disk as they are asked for."""
        try:
            # A folder sorts as its keys do: `a.b` comes before what is in `a`.
            names = sorted(entry.name + "/" * entry.is_dir() for entry in os.scandir(self.root / base))
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise StoreError(f"{self.root / base} cannot be read: {error.strerror or error}.") from error
        for name in names:
            key = base + name
            if not name.endswith("/"):
                if key.startswith(prefix):
                    yield key
            elif key != f"{PARTIAL}/" and (key.startswith(prefix) or prefix.startswith(key)):
                yield from self._walk(key, prefix)

    @contextmanager
    def _written(self, key: str, value: bytes) -> Iterator[Path]:
        """A synced file that holds `value`, to be given its name inside the block."""
        path = self._path(key)
        try:
            self._make_folder(path.parent)
            with self._partial() as (partial, file):
                file.write(value)
                file.flush()
                os.fsync(file.fileno())
                yield partial
                _sync_folder(path.parent)
        except OSError as error:
            raise self._explained(error, path) from error

    def _make_folder(self, folder: Path) -> None:
        """Make `folder` and those above it, each of which survives a power cut; never a store that was moved away."""
        if folder.is_dir():
            return
        if folder == self.root and self.settled:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        self._make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)

    def _explained(self, error: OSError, path: Path) -> StoreFull | CannotWrite:
        if self.settled and not self.root.is_dir():
            return CannotWrite(
                f"{self.root} is gone: it was moved or deleted while it was written. What was finished is kept where "
                f"it lies now; to resume, name that place as {parameter('store')}."
            )
        return _explained(error, path)


def _held(path: Path) -> bool:
    """Whether a writer that lives, here or on another machine, holds a partial file; where nobody knows, one does."""
    with path.open("rb+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        return False


def _sync_folder(folder: Path) -> None:
    """Make a new name in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _explained(error: OSError, path: Path) -> StoreFull | CannotWrite:
    """The user's error for an operating system's."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StoreFull(f"No space is left where {path} is being written. Make room, then run the command again.")
    in_the_way = error.errno in {errno.EEXIST, errno.ENOTDIR}
    reason = "a file lies where a folder is needed" if in_the_way else error.strerror or error
    return CannotWrite(f"{path} cannot be written: {reason}. Name another folder.")
