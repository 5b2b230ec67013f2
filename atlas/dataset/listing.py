"""The list of images that everything collected rests on, and what each of them is.

    ImageSource -> ImageList: name and sha256 of every image, and a hash of them all
    (source, list, number) -> Looked: the picture, or why it is not shown

The hash is that of names and contents alone: where the images lie, in what order they were found and by how many
threads does not move it, and any image's change does. Listing reads and hashes; decoding is left to those who show
the images to a network.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atlas.dataset.decoding import MOST_PIXELS, Picture, Pixels, read_picture
from atlas.dataset.prefetch import prefetch
from atlas.dataset.source import Entry, ImageSource, Problem, Raw
from atlas.errors import ImagesError
from atlas.units import ImageStatus, summary

NOTHING = bytes(32)
"""The sha256 of what could not be read."""


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
    source: ImageSource, *, workers: int | None = None, told: Callable[[int], None] = lambda _: None
) -> ImageList:
    """The list of all images of `source`, each read and hashed once; `told` hears how many are done."""

    def one(entry: Entry) -> bytes:
        raw = source.read(entry)
        return _sha256(raw, read_picture(raw) if isinstance(raw, Image.Image) else None)

    count = len(source.entries)
    names, sha256 = [entry.name for entry in source.entries], np.zeros((count, 32), np.uint8)
    for index, digest in enumerate(prefetch(one, source.entries, workers=workers)):
        sha256[index] = np.frombuffer(digest, np.uint8)
        told(index + 1)
    return ImageList(names, sha256)


def look(
    source: ImageSource, entry: Entry, sha256: bytes, *, same_as: str | None = None, most: int = MOST_PIXELS
) -> Looked:
    """The picture behind `entry`, if it is still the one that was listed with `sha256` and none before it is the same.

    `same_as` is the name of an image of the same content; `most` the number of pixels that are decoded at most.
    """
    if same_as is not None:
        return Looked(ImageStatus.DUPLICATE, f"the same as {same_as}")
    raw = source.read(entry)
    decoded = raw if isinstance(raw, Problem) else read_picture(raw, most=most)
    if _sha256(raw, decoded) != sha256:
        return Looked(ImageStatus.CHANGED, "not the image that was listed: it was changed or taken away since")
    if isinstance(decoded, Problem):
        return Looked(decoded.status, decoded.reason)
    return Looked(ImageStatus.OK, decoded.note, decoded.pixels, decoded.size)


def require_one(source: ImageSource, images: ImageList) -> None:
    """Raise `ImagesError` where none of the images can be shown: looks at one after the other until one can."""
    first, statuses = "", Counter[str]()
    for entry, sha256 in zip(source.entries, images.sha256, strict=True):
        looked = look(source, entry, sha256.tobytes())
        if looked.picture is not None:
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
