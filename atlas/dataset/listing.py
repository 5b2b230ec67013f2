"""The list of images that everything collected rests on, and what each of them is.

    ImageSource -> ImageList: name and sha256 of every image, and a hash of them all
    (source, list, number) -> Looked: the picture, or why it is not shown

The hash is that of names and contents alone: where the images lie, in what order they were found and by how many
threads or machines does not move it, and any image's change does. Listing reads and hashes what is not known yet, and
notes it at once; decoding is left to those who show the images to a network.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atlas.dataset.decoding import MOST_PIXELS, Picture, Pixels, read_picture
from atlas.dataset.files import GRAIN, Files
from atlas.dataset.hashes import MARK, Hashes, mark_of, marks_of
from atlas.dataset.prefetch import Carry, prefetch
from atlas.dataset.source import Entry, ImageSource, Problem, Raw
from atlas.errors import ImagesError
from atlas.units import ImageStatus, summary

NOTHING = bytes(32)
"""The sha256 of what could not be read."""
PART = 1024
"""Images that another machine hashes at a time."""
NEAR = 4
"""Files that it reads at once: they may lie on what is mounted there."""
NOTED = 1.0
"""Seconds of hashing that are lost at most where it is killed."""
Digest = tuple[bytes, bytes]
"""The sha256 of an image, and the mark of the state that was read."""


@dataclass(frozen=True, eq=False)
class ImageList:
    """Images in their source's order, a column each; a million take about 150 MB."""

    names: list[str]
    sha256: NDArray[np.uint8]
    """[n,32]: of the file, or of shape and pixels where a data set opened it; zeros where it is unreadable."""

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def hash(self) -> str:
        """sha256 in hex of the names and contents, in order: what a plan compares."""
        whole = hashlib.sha256()
        for name, sha256 in zip(self.names, self.sha256, strict=True):
            # Names closed by a zero byte, which no name holds.
            whole.update(name.encode() + b"\0" + sha256.tobytes())
        return whole.hexdigest()

    @cached_property
    def same_as(self) -> NDArray[np.int32]:
        """[n]: the first image with the same content, -1 where that is the image itself or it cannot be read."""
        contents = np.ascontiguousarray(self.sha256).view("V32").ravel()
        _, first, which = np.unique(contents, return_index=True, return_inverse=True)
        same = first[which].astype(np.int32)
        unread = ~self.sha256.any(axis=1)
        same[unread | (same == np.arange(len(same)))] = -1
        return same


@dataclass(frozen=True, eq=False)
class Looked:
    """What an image turned out to be."""

    status: ImageStatus
    reason: str = ""
    """For people, one line: why it is not shown, or what is uncertain of one that is; empty where nothing is."""
    picture: Pixels | None = None
    """uint8 [h,w,3], of a very large image at half its size; None where there is none."""
    size: tuple[int, int] = (0, 0)
    """Width and height of the image itself; zeros where there is no picture."""


def list_images(
    source: ImageSource,
    *,
    workers: int | None = None,
    told: Callable[[int], None] = lambda _: None,
    hashes: Hashes | None = None,
    carry: Carry | None = None,
) -> ImageList:
    """The list of all images of `source`, each read and hashed once; `told` hears how many are done.

    What `hashes` knows is not read, and what is read it is told of. With `carry` it is hashed by whoever that has do
    it, in parts. Raises `ImagesError` where an object store cannot be reached; what was hashed by then is kept.
    """
    count = len(source.entries)
    names, sha256 = [entry.name for entry in source.entries], np.zeros((count, 32), np.uint8)
    known, marks = np.zeros(count, np.bool_), b""
    if hashes is not None and isinstance(source, Files):
        marks = b"".join(_marks(source))
        known, sha256 = hashes.find(_array(marks))
        known &= _array(marks).any(axis=1)
        sha256[~known] = 0
    left = np.flatnonzero(~known)
    done = count - len(left)
    if done:
        told(done)
    with _Notes(hashes) as notes:
        for index, (digest, mark) in zip(left, _digests(source, left, workers, carry), strict=True):
            sha256[index] = np.frombuffer(digest, np.uint8)
            notes.add(mark, digest)
            told(done := done + 1)
    if hashes is not None and marks:
        hashes.tidy(_array(marks))
    return ImageList(names, sha256)


def _array(marks: bytes) -> NDArray[np.uint64]:
    return np.frombuffer(marks, np.uint64).reshape(-1, 2)


def _marks(source: Files) -> Iterator[bytes]:
    """The mark of each entry, zeros where there is none."""
    young = False
    for entry in source.entries:
        mark = source.mark(entry)
        young = young or not (mark or entry.problem)
        yield mark or bytes(MARK)
    if young:
        time.sleep(GRAIN)  # those that are read from now on have one


def _digests(source: ImageSource, left: NDArray[np.intp], workers: int | None, carry: Carry | None) -> Iterator[Digest]:
    """The digests of the entries `left`, in order."""
    entries = source.entries
    if carry is None or not isinstance(source, Files) or len(left) <= PART:
        yield from prefetch(
            lambda index: _digest(source, entries[index]), left, workers=workers or getattr(source, "ahead", 0) or None
        )
        return
    ranges = [left[start : start + PART] for start in range(0, len(left), PART)]
    parts = [Files([entries[index] for index in one], source.copies) for one in ranges]
    for digests in carry(_digests_of, parts):
        yield from digests


def _digests_of(source: Files) -> list[Digest]:
    """The digests of all entries: what another machine does."""
    return list(prefetch(lambda entry: _digest(source, entry), source.entries, workers=source.ahead or NEAR))


def _digest(source: ImageSource, entry: Entry) -> Digest:
    raw, mark = source.read_marked(entry) if isinstance(source, Files) else (source.read(entry), b"")
    return _sha256(raw, read_picture(raw) if isinstance(raw, Image.Image) else None), mark


class _Notes:
    """Takes digests, and hands them to `hashes` every second; what is left at the end, however that comes."""

    def __init__(self, hashes: Hashes | None) -> None:
        self._hashes = hashes
        self._marks, self._sha256 = list[bytes](), list[bytes]()
        self._noted = time.monotonic()

    def __enter__(self) -> _Notes:
        return self

    def __exit__(self, *_: object) -> None:
        self._note()

    def add(self, mark: bytes, digest: bytes) -> None:
        if mark and digest != NOTHING:  # what cannot be read is tried again each time
            self._marks.append(mark)
            self._sha256.append(digest)
        if time.monotonic() - self._noted > NOTED:
            self._note()

    def _note(self) -> None:
        if self._hashes is not None and self._marks:
            sha256 = np.frombuffer(b"".join(self._sha256), np.uint8).reshape(-1, 32)
            self._hashes.add(marks_of(self._marks), sha256)
        self._marks, self._sha256 = [], []
        self._noted = time.monotonic()


def look(
    source: ImageSource, entry: Entry, sha256: bytes, *, same_as: str | None = None, most: int = MOST_PIXELS
) -> Looked:
    """The picture behind `entry`, if it is still the one that was listed with `sha256` and none before it is the same.

    `same_as` is the name of an image of the same content; `most` the number of pixels that are decoded at most.
    """
    if same_as is not None:
        return Looked(ImageStatus.DUPLICATE, f"the same as {same_as}")
    return look_at(source.read(entry), sha256, most=most)


def look_at(raw: Raw, sha256: bytes, *, most: int = MOST_PIXELS) -> Looked:
    """The picture in what was read, if it is still the one that was listed with `sha256`."""
    decoded = raw if isinstance(raw, Problem) else read_picture(raw, most=most)
    if _sha256(raw, decoded) != sha256:
        return Looked(ImageStatus.CHANGED, "not the image that was listed: it was changed or taken away since")
    if isinstance(decoded, Problem):
        return Looked(decoded.status, decoded.reason)
    return Looked(ImageStatus.OK, decoded.note, decoded.pixels, decoded.size)


def require_one(source: ImageSource, images: ImageList, hashes: Hashes | None = None) -> None:
    """Raise `ImagesError` where none of the images can be shown: looks at one after the other until one can.

    Where `hashes` knows of one of the first that it could, nothing is looked at.
    """
    marks = marks_of([mark_of("shown", sha256.tobytes()) for sha256 in images.sha256[:PART]])
    if hashes is not None and hashes.find(marks)[0].any():
        return
    first, statuses = "", Counter[str]()
    for entry, sha256 in zip(source.entries, images.sha256, strict=True):
        looked = look(source, entry, sha256.tobytes())
        if looked.picture is not None:
            if hashes is not None:
                hashes.add(marks_of([mark_of("shown", sha256.tobytes())]), sha256[None])
            return
        first = first or f" {entry.name}: {looked.reason}."
        statuses[looked.status.name.lower()] += 1
    raise ImagesError(f"No image can be used of {summary(statuses)}.{first}")


def _sha256(raw: Raw, decoded: Picture | Problem | None) -> bytes:
    if isinstance(raw, bytes):
        return hashlib.sha256(raw).digest()
    if isinstance(decoded, Picture):
        whole = hashlib.sha256(repr(decoded.pixels.shape).encode())
        whole.update(decoded.pixels.data)  # as it lies there: a copy would be another 200 MB
        return whole.digest()
    return NOTHING
