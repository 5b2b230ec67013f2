"""Images in object stores.

    s3://bucket/folder, s3://bucket/{000..127}.tar -> objects        (object, range) -> bytes

Credentials come by the platform's own means alone, as for stores. What a network or a server does wrong is asked for
again, and in the end raised: no image is ever skipped for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from os import SEEK_CUR, SEEK_END

from atlas.dataset.hashes import mark_of
from atlas.errors import ImagesError, StoreError
from atlas.places import OBJECT_STORES
from atlas.store.backends.object_store import Found, ObjectBackend, Part

SCHEMES = tuple(f"{scheme}://".encode() for scheme in OBJECT_STORES)
BLOCK = 2**23
"""Bytes of a tar that are asked for at once where all of it is read."""
HEADER_BLOCK = 2**16
"""Where only its headers are."""
WILD = re.compile(r"[*?]")


def in_bucket(file: bytes) -> bool:
    """Whether a file is an object in an object store."""
    return file.startswith(SCHEMES)


def parted(address: str) -> tuple[ObjectBackend, str]:
    """The bucket of an address, and the key in it."""
    scheme, _, place = address.partition("://")
    bucket, _, key = place.partition("/")
    return ObjectBackend(f"{scheme}://{bucket}"), key.strip("/")


def mark_at(file: bytes, size: int, mark: str) -> bytes:
    """What tells this state of an object from all others; empty where the server does not say."""
    return mark_of(file, size, mark) if mark else b""


def find(address: str, said: str) -> tuple[bool, list[Found]]:
    """Whether an address is one object, or a folder, and what lies there, sorted. Raises `ImagesError` for nothing."""
    bucket, key = parted(address)
    try:
        single = bucket.at(key) if key else None
        below = [] if single else sorted(bucket.below(key), key=lambda one: one.key.encode())
    except StoreError as error:
        raise ImagesError(str(error)) from None
    if single is None and not below:
        raise ImagesError(f"{said}: nothing lies there.")
    return single is not None, [single] if single else below


def matching(address: str) -> list[str]:
    """The addresses that one with `*` and `?` stands for, sorted; itself where there is no such sign in it."""
    if not WILD.search(address):
        return [address]
    bucket, key = parted(address)
    depth = key.count("/") + 1
    wanted = re.compile("".join({"*": "[^/]*", "?": "[^/]"}.get(sign, re.escape(sign)) for sign in key))
    folder = key[: WILD.search(key).start()].rpartition("/")[0] if WILD.search(key) else ""  # type: ignore[union-attr]
    try:
        starts = {"/".join(one.key.split("/")[:depth]) for one in bucket.below(folder)}
    except StoreError as error:
        raise ImagesError(str(error)) from None
    return [f"{bucket.address}/{start}" for start in sorted(starts) if wanted.fullmatch(start)] or [address]


def read_object(file: bytes, start: int, size: int) -> tuple[bytes, bytes] | None:
    """Bytes of an object, fewer where it ends before, and the mark of the object they are of; None where it has gone.

    Raises `ImagesError` where the server does not give them.
    """
    part = _part(file, start, start + size)
    return None if part is None else (part.data, mark_at(file, part.size, part.mark))


def _part(file: bytes, start: int, stop: int) -> Part | None:
    bucket, key = parted(file.decode())
    try:
        return bucket.exactly(key, start, stop)
    except StoreError as error:
        raise ImagesError(str(error)) from None


class RangeFile:
    """An object as a file that is read from front to back, `block` bytes at a time, each asked for once.

    Raises `ImagesError` where the object changes meanwhile.
    """

    def __init__(self, file: bytes, size: int, block: int) -> None:
        self._file, self._size, self._block = file, size, block
        self._at, self._start, self._held = 0, 0, b""
        self._mark: str | None = None

    def seek(self, place: int, whence: int = 0, /) -> int:
        self._at = place + {SEEK_CUR: self._at, SEEK_END: self._size}.get(whence, 0)
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int, /) -> bytes:
        parts = list(self._pieces(self._at, min(self._at + size, self._size)))
        self._at += sum(map(len, parts))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _pieces(self, start: int, stop: int) -> Iterator[bytes]:
        while start < stop:
            if not self._start <= start < self._start + len(self._held):
                self._held, self._start = self._fetched(start), start
            piece = self._held[start - self._start : stop - self._start]
            yield piece
            start += len(piece)

    def _fetched(self, start: int) -> bytes:
        stop = min(start + self._block, self._size)
        part = _part(self._file, start, stop)
        if part is None or self._mark not in (None, part.mark) or len(part.data) < stop - start:
            raise ImagesError(f"{self._file.decode()} changed while it was listed. Run the same command again.")
        self._mark = part.mark
        return part.data
