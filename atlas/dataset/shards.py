"""Images in tar files: webdataset's shards.

    tar, wherever it lies -> (name, first byte, size, problem or None), in the tar's order

A mask that stands beside a picture in its sample (`c.jpg`, `c.seg.png`) is a listed skip; without a picture beside it,
it is the picture. Members are read where they lie, by their offset; nothing is unpacked. A tar that was cut short
keeps what is whole before the cut.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable, Iterator
from os import SEEK_END
from typing import Protocol

from atlas.dataset.source import Problem, printable
from atlas.errors import AtlasError
from atlas.units import ImageStatus

Member = tuple[bytes, int, int, Problem | None]
SUFFIXES = (b".tar",)
PACKED = (b".tar.gz", b".tgz", b".tar.zst", b".tar.xz", b".tar.bz2")
"""Members of these cannot be read by their offset."""
BESIDE = frozenset(
    [
        "cls",
        "cls2",
        "id",
        "index",
        "inx",
        "txt",
        "text",
        "caption",
        "transcript",
        "json",
        "jsonl",
        "pyd",
        "pickle",
        "pkl",
        "npy",
        "npz",
        "pth",
        "pt",
    ]
)
"""Suffixes of webdataset's fields that are not pictures: labels and captions, which are no images to be skipped."""
MASK = re.compile(
    rb"(?:seg|segmentation|semantic|instances?|panoptic|masks?|labels?|targets?|gt|anno|annotations?|depth|disp|disparity"
    rb"|flow|normals?|edges?|alpha|matte|trimap|heatmap|saliency)[-_]?\d*"
)
"""Names of fields that are pictures of something else than what a camera saw."""
BLOCK = 512
HEADERS = 2**20
"""Bytes that what is told of one member may take: names and numbers are held in memory, whatever size they claim."""


class Readable(Protocol):
    """A tar that can be read anywhere."""

    def read(self, size: int, /) -> bytes: ...
    def seek(self, place: int, whence: int = 0, /) -> int: ...
    def tell(self) -> int: ...


def members(data: Readable, met: Callable[[int, int], object] = lambda _start, _size: None) -> Iterator[Member]:
    """The images in a tar, and at most one member of no name: why what comes after the others is lost.

    `met` hears of each image's first byte and size when the tar was read so far and no further: it may read it then.
    """
    found = []
    for member in _members(data):
        found.append(member)
        if member[3] is None:
            met(member[1], member[2])
    pictures = {_sample(name): name for name, _, _, lost in found if not (lost or _is_mask(name))}
    for name, start, size, lost in found:
        picture = pictures.get(_sample(name)) if _is_mask(name) else None
        yield name, start, size, lost if lost or picture is None else _beside(picture)


def _sample(name: bytes) -> bytes:
    """What the fields of one of webdataset's samples share: all up to the first dot of the file's own name."""
    folder, slash, own = name.rpartition(b"/")
    return folder + slash + own.partition(b".")[0]


def _is_mask(name: bytes) -> bool:
    """Whether a field's name says that it is no photograph, as `seg` does in `c.seg.png`."""
    return any(MASK.fullmatch(part) for part in name.rpartition(b"/")[2].lower().split(b".")[1:-1])


def _beside(picture: bytes) -> Problem:
    return Problem(
        ImageStatus.BESIDE, f"a mask or the like, by its name: the picture of its sample is {printable(picture)}"
    )


def _members(data: Readable) -> Iterator[Member]:
    length, end, count, broken = data.seek(0, SEEK_END), 0, 0, ""
    data.seek(0)
    headers = _Headers(data)
    try:
        with tarfile.open(fileobj=headers, mode="r:", encoding="utf-8", errors="surrogateescape") as tar:  # type: ignore[call-overload]
            for member in tar:
                if member.size < 0 or _is_cut(member, length) or not end <= member.offset < tar.offset:
                    break
                end = tar.offset
                headers.left = HEADERS
                if listed := _listed(member):
                    count += 1
                    yield listed
                tar.members.clear()  # else all members of a shard stay in memory
    except _EndlessHeader:
        broken = f": a header of more than {HEADERS / 1e6:.0f} MB"
    except AtlasError:  # it lies far away, and cannot be reached
        raise
    except Exception:  # noqa: BLE001  # tarfile raises anything at all on damaged headers; `_lost` says what is missing
        pass
    if lost := _lost(data, end, length, count, broken):
        yield b"", 0, 0, lost


class _EndlessHeader(Exception):
    """What is told of one member takes more than `HEADERS`."""


class _Headers:
    """A tar as `tarfile` reads it: headers alone, of each member so many bytes at most."""

    def __init__(self, data: Readable) -> None:
        self._data = data
        self.left = HEADERS

    def read(self, size: int) -> bytes:
        self.left -= size
        if self.left < 0:
            raise _EndlessHeader
        return self._data.read(size)

    def seek(self, place: int) -> int:
        return self._data.seek(place)

    def tell(self) -> int:
        return self._data.tell()


def _is_cut(member: tarfile.TarInfo, length: int) -> bool:
    """Whether the tar ends before the member does; sparse ones hold less than they say."""
    return member.isreg() and not member.issparse() and member.offset_data + member.size > length


def _listed(member: tarfile.TarInfo) -> Member | None:
    """A member as an image, or None where it is a folder or one of webdataset's other fields."""
    name = member.name.encode("utf-8", "surrogateescape")
    if member.isdir() or member.name.rpartition(".")[2].lower() in BESIDE:
        return None
    if not member.isreg() or member.issparse():
        return name, 0, 0, Problem(ImageStatus.UNREADABLE, "not an ordinary file in its tar (a link?)")
    return name, member.offset_data, member.size, None


def _lost(data: Readable, end: int, length: int, count: int, broken: str) -> Problem | None:
    """Why the tar does not end as it should, after its last whole member: with a block of zeros."""
    whole = f"{count} images are whole"
    if broken:
        return Problem(ImageStatus.DAMAGED, f"the tar is damaged from byte {end} on{broken}; {whole}")
    data.seek(end)
    block = data.read(BLOCK)
    if block == bytes(BLOCK):
        return None
    if not end and not _is_header(block):
        return Problem(ImageStatus.DAMAGED, "not a tar file" if block else "an empty tar file")
    if len(block) < BLOCK or _is_header(block):
        return Problem(ImageStatus.TRUNCATED, f"the tar is cut short at byte {length}: {whole}")
    return Problem(ImageStatus.DAMAGED, f"the tar is damaged from byte {end} on: {whole}")


def _is_header(block: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.TarError, ValueError):
        return False
    return True
