"""Images in tar files: webdataset's shards.

    tar -> (name, first byte, size, problem or None), in the tar's order

Members are read where they lie, by their offset; nothing is unpacked. A tar that was cut short keeps what is whole
before the cut.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from os import SEEK_END
from typing import IO

from atlas.collecting.source import Problem, refusal
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
BLOCK = 512


def members(file: bytes) -> Iterator[Member]:
    """The images in a tar, and at most one member of no name: why what comes after the others is lost."""
    try:
        with open(file, "rb") as data:
            yield from _members(data)
    except OSError as error:
        yield b"", 0, 0, refusal(error)


def _members(data: IO[bytes]) -> Iterator[Member]:
    length, end, count = data.seek(0, SEEK_END), 0, 0
    data.seek(0)
    try:
        with tarfile.open(fileobj=data, mode="r:", encoding="utf-8", errors="surrogateescape") as tar:
            for member in tar:
                if _is_cut(member, length) or member.offset < end:
                    break
                end = tar.offset
                if listed := _listed(member):
                    count += 1
                    yield listed
                tar.members.clear()  # type: ignore[attr-defined]  # else all members of a shard stay in memory
    except (tarfile.TarError, ValueError, OverflowError):
        pass  # `_lost` says what is missing
    if lost := _lost(data, end, length, count):
        yield b"", 0, 0, lost


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


def _lost(data: IO[bytes], end: int, length: int, count: int) -> Problem | None:
    """Why the tar does not end as it should, after its last whole member: with a block of zeros."""
    data.seek(end)
    block = data.read(BLOCK)
    if block == bytes(BLOCK):
        return None
    if not end and not _is_header(block):
        return Problem(ImageStatus.DAMAGED, "not a tar file" if block else "an empty tar file")
    if len(block) < BLOCK or _is_header(block):
        return Problem(ImageStatus.TRUNCATED, f"the tar is cut short at byte {length}: {count} images are whole")
    return Problem(ImageStatus.DAMAGED, f"the tar is damaged from byte {end} on: {count} images are whole")


def _is_header(block: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.TarError, ValueError):
        return False
    return True
