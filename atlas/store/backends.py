"""Where a store's objects lie: the seam every place fulfils.

    key -> bytes, whole or in ranges

A key is a path of segments joined by `/`. `put` is atomic and durable: after it returns, the object
survives a power cut; before, none of it can be seen. Readers never see half an object.
"""

from __future__ import annotations

import errno
import os
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from atlas.errors import CannotWrite, NotAStore, StoreError, StoreFull

PARTIAL = ".partial"
"""Folder of a local store where objects are written before they get their name."""


class Backend(ABC):
    """A place for objects. Subclasses are cheap to pickle: workers get a copy."""

    @abstractmethod
    def get(self, key: str) -> bytes | None:
        """The object at `key`; None where there is none."""

    @abstractmethod
    def range(self, key: str, start: int, stop: int | None = None) -> bytes | None:
        """Bytes `start:stop` of the object, as in a slice (a negative start counts from the end)."""

    @abstractmethod
    def put(self, key: str, value: bytes) -> None:
        """Write an object, replacing one that is there. Raises `StoreFull` or `CannotWrite`."""

    @abstractmethod
    def put_new(self, key: str, value: bytes) -> bool:
        """Write an object unless one is there; say whether it was written. One of many writers wins."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object; no error where there is none."""

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[str]:
        """Every key that starts with `prefix`, sorted."""

    def sweep(self) -> int:
        """Remove what writers that died left behind; say how many pieces. Nothing that lives is touched."""
        return 0


class LocalBackend(Backend):
    """A folder. Objects are files whose paths are their keys."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).absolute()

    def __str__(self) -> str:
        return str(self.root)

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

    def delete(self, key: str) -> None:
        path = self._path(key)
        try:
            path.unlink(missing_ok=True)
        except NotADirectoryError:
            return
        except OSError as error:
            raise _explained(error, path) from error

    def list(self, prefix: str = "") -> Iterator[str]:
        folder, _, _ = prefix.rpartition("/")
        return self._walk(f"{folder}/" if folder else "", prefix)

    def sweep(self) -> int:
        """Remove partial files older than an hour: no live writer takes that long for one object."""
        swept = 0
        for path in (self.root / PARTIAL).glob("*"):
            with suppress(OSError):  # its writer, or another sweeper, was faster
                if path.stat().st_mtime < time.time() - 3600:
                    path.unlink()
                    swept += 1
        return swept

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
        path, partial = self._path(key), self.root / PARTIAL / uuid.uuid4().hex
        try:
            _make_folder(path.parent)
            partial.parent.mkdir(exist_ok=True)
            with partial.open("xb") as file:
                file.write(value)
                file.flush()
                os.fsync(file.fileno())
            yield partial
            _sync_folder(path.parent)
        except OSError as error:
            raise _explained(error, path) from error
        finally:
            with suppress(OSError):
                partial.unlink()


def _make_folder(folder: Path) -> None:
    """Make `folder` and those above it, each of which survives a power cut."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


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


class MemoryBackend(Backend):
    """A dictionary: for tests and notebooks. It lives and dies with its process."""

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def __str__(self) -> str:
        return "memory"

    def __reduce__(self) -> str:
        raise StoreError("A store in memory cannot be handed to another process: build with --local, or in a folder.")

    def get(self, key: str) -> bytes | None:
        return self._objects.get(key)

    def range(self, key: str, start: int, stop: int | None = None) -> bytes | None:
        value = self._objects.get(key)
        return None if value is None else value[start:stop]

    def put(self, key: str, value: bytes) -> None:
        with self._lock:
            self._objects[key] = bytes(value)

    def put_new(self, key: str, value: bytes) -> bool:
        with self._lock:
            if key in self._objects:
                return False
            self._objects[key] = bytes(value)
            return True

    def delete(self, key: str) -> None:
        with self._lock:
            self._objects.pop(key, None)

    def list(self, prefix: str = "") -> Iterator[str]:
        with self._lock:
            return iter(sorted(key for key in self._objects if key.startswith(prefix)))


def backend_at(place: str | Path | Backend) -> Backend:
    """The backend that `place` names: a folder's path, or a backend already made."""
    if isinstance(place, Backend):
        return place
    scheme, mark, _ = str(place).partition("://")
    if mark and scheme != "file":
        raise NotAStore(f"{place}: stores lie in local folders; {scheme}:// is not supported yet.")
    return LocalBackend(Path(str(place).removeprefix("file://")).expanduser())
