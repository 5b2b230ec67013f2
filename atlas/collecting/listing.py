"""The list of images that everything collected rests on.

    ImageSource -> ImageList: name, sha256, size, status and reason of every image, and a hash of them all

The hash is that of names and contents alone: where the images lie, in what order they were found and by how many
threads does not move it, and any image's change does.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atlas.collecting.decoding import MOST_PIXELS, Pixels, decode
from atlas.collecting.prefetch import prefetch
from atlas.collecting.source import Entry, ImageSource, Problem, Raw
from atlas.errors import ImagesError
from atlas.units import ImageStatus

NOTHING = bytes(32)
"""The sha256 of what could not be read."""


@dataclass(frozen=True)
class ListedImage:
    """One row of a list of images."""

    name: str
    sha256: bytes
    """32 bytes: of the file, or of the shape and pixels where a data set opened it; zeros where it is unreadable."""
    width: int
    """Pixels, the right way up; 0 where there is no picture."""
    height: int
    status: ImageStatus
    reason: str = ""


@dataclass(frozen=True, eq=False)
class ImageList:
    """Images in their source's order, a column each; a million take about 250 MB."""

    names: list[str]
    sha256: NDArray[np.uint8]
    """[n,32]"""
    width: NDArray[np.int32]
    """[n]"""
    height: NDArray[np.int32]
    """[n]"""
    status: NDArray[np.uint8]
    """[n], of `ImageStatus`"""
    reasons: dict[int, str] = field(default_factory=dict)
    """Why an image is not used, by its number."""

    @classmethod
    def of(cls, rows: Iterable[ListedImage], count: int) -> ImageList:
        """The list of `count` rows; what has the bytes of an image before it becomes its duplicate."""
        images = cls(
            [""] * count,
            np.zeros((count, 32), np.uint8),
            np.zeros(count, np.int32),
            np.zeros(count, np.int32),
            np.full(count, ImageStatus.ABSENT, np.uint8),
        )
        for index, row in enumerate(rows):
            images._put(index, row)
        images._mark_duplicates()
        return images

    def _mark_duplicates(self) -> None:
        good = np.flatnonzero(self.status == ImageStatus.OK)
        contents = self.sha256[good].view("V32").ravel()
        _, first, which = np.unique(contents, return_index=True, return_inverse=True)
        for index, same in zip(good, good[first[which]], strict=True):
            if same != index:
                self.status[index] = ImageStatus.DUPLICATE
                self.reasons[int(index)] = f"the same as {self.names[same]}"

    def _put(self, index: int, row: ListedImage) -> None:
        self.names[index] = row.name
        self.sha256[index] = np.frombuffer(row.sha256, np.uint8)
        self.width[index], self.height[index], self.status[index] = row.width, row.height, row.status
        if row.reason:
            self.reasons[index] = row.reason

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> ListedImage:
        index = range(len(self))[index]
        size = int(self.width[index]), int(self.height[index])
        status = ImageStatus(int(self.status[index]))
        return ListedImage(self.names[index], self.sha256[index].tobytes(), *size, status, self.reasons.get(index, ""))

    @property
    def usable(self) -> list[int]:
        """The numbers of the images that are shown to the network."""
        return [int(index) for index in np.flatnonzero(self.status == ImageStatus.OK)]

    @cached_property
    def hash(self) -> str:
        """sha256 in hex of the names and contents, in order: what a plan compares."""
        return _hash(zip(self.names, map(bytes, self.sha256), strict=True))

    def summary(self) -> str:
        """One line that counts them, and what was skipped by its reason."""
        counts = Counter(ImageStatus(int(status)) for status in self.status)
        used = counts.pop(ImageStatus.OK, 0)
        told = f"{len(self):,} image{'' if len(self) == 1 else 's'}"
        if not counts:
            return told
        skipped = ", ".join(f"{count:,} {status.words}" for status, count in counts.most_common())
        return f"{told}: {used:,} used, {counts.total():,} skipped ({skipped})"

    def checked(self) -> ImageList:
        """This list. Raises `ImagesError` where none of its images can be used."""
        if not len(self.usable):
            first = next((f" {self.names[index]}: {reason}." for index, reason in self.reasons.items()), "")
            raise ImagesError(f"No image can be used of {self.summary()}.{first}")
        return self


def index(
    source: ImageSource,
    *,
    workers: int | None = None,
    most: int = MOST_PIXELS,
    told: Callable[[int], None] = lambda _: None,
) -> ImageList:
    """The list of all images of `source`, each read, hashed and decoded once.

    `most` is the number of pixels that are decoded at most; `told` hears how many are done.
    """

    def one(entry: Entry) -> ListedImage:
        return inspect(source, entry, most=most)

    def rows() -> Iterable[ListedImage]:
        for done, row in enumerate(prefetch(one, source.entries, workers=workers), start=1):
            told(done)
            yield row

    return ImageList.of(rows(), len(source.entries))


def inspect(source: ImageSource, entry: Entry, *, most: int = MOST_PIXELS) -> ListedImage:
    """What is behind `entry`: its hash and size, or why it cannot be shown."""
    raw = source.read(entry)
    decoded = raw if isinstance(raw, Problem) else decode(raw, most=most)
    sha256 = _sha256(raw, decoded)
    if isinstance(decoded, Problem):
        return ListedImage(entry.name, sha256, 0, 0, decoded.status, decoded.reason)
    height, width, _ = decoded.shape
    return ListedImage(entry.name, sha256, width, height, ImageStatus.OK)


def load(source: ImageSource, entry: Entry, sha256: bytes, *, most: int = MOST_PIXELS) -> Pixels | Problem:
    """The picture behind `entry`, uint8 [h,w,3], if it is still the one that was listed with `sha256`."""
    raw = source.read(entry)
    decoded = raw if isinstance(raw, Problem) else decode(raw, most=most)
    if _sha256(raw, decoded) != sha256:
        return Problem(ImageStatus.CHANGED, "not the image that was listed: it was changed or taken away since")
    return decoded


def contents(source: ImageSource, *, workers: int | None = None) -> str:
    """The hash that `index` would give its list, at the price of reading without decoding."""

    def one(entry: Entry) -> tuple[str, bytes]:
        raw = source.read(entry)
        return entry.name, _sha256(raw, decode(raw) if isinstance(raw, Image.Image) else None)

    return _hash(prefetch(one, source.entries, workers=workers))


def _sha256(raw: Raw, decoded: Pixels | Problem | None) -> bytes:
    if isinstance(raw, bytes):
        return hashlib.sha256(raw).digest()
    if isinstance(decoded, np.ndarray):
        return hashlib.sha256(repr(decoded.shape).encode() + decoded.tobytes()).digest()
    return NOTHING


def _hash(rows: Iterable[tuple[str, bytes]]) -> str:
    """Over names closed by a zero byte, which no name holds, and 32 bytes each."""
    whole = hashlib.sha256()
    for name, sha256 in rows:
        whole.update(name.encode() + b"\0" + sha256)
    return whole.hexdigest()
