"""The one way in which anything that belongs to images is opened.

    path -> a file that ends, or OSError with the reason

Only ordinary files are read, and only so much of them: a pipe waits for ever, a device goes on for ever. What is named
by data, as a row of a data set names a file, is read only where it lies inside that data set: whoever made the data
must not choose what of this machine ends up in a store.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from atlas.dataset.source import Problem, Raw, refusal
from atlas.units import ImageStatus

LARGEST_FILE = 2**29
"""Bytes; a file of more is a film or an archive, and is not read."""
SPECIAL = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


def open_file(path: bytes) -> BinaryIO:
    """An ordinary file, for reading. Raises `OSError`, whose `strerror` is the reason, for anything else."""
    _require_file(os.stat(path).st_mode)  # noqa: PTH116  # before: some devices act as soon as they are opened
    # Not blocking: what was a file may have become a pipe that nobody writes to.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        _require_file(os.fstat(handle).st_mode)
        return os.fdopen(handle, "rb")
    except OSError:
        os.close(handle)
        raise


def read_file(path: bytes, start: int = 0, size: int | None = None) -> Raw:
    """`size` bytes of a file from `start` on, all of it unless said, or why it cannot be read."""
    try:
        with open_file(path) as data:
            wanted = os.fstat(data.fileno()).st_size if size is None else size
            if problem := too_large(wanted):
                return problem
            data.seek(start)
            return data.read(wanted)
    except OSError as error:
        return refusal(error)


def inside(folder: Path, named: str) -> Path:
    """Where `named`, a path below `folder`, leads. Raises `OSError` where that is not in `folder`, by links or `..`."""
    top, place = os.path.realpath(folder), os.path.realpath(folder / named)
    if os.path.commonpath([top, place]) != top:
        raise PermissionError(errno.EACCES, "it lies outside the data set")
    return Path(place)


def too_large(size: int) -> Problem | None:
    """Why so many bytes are not read at once; None where they are."""
    if size <= LARGEST_FILE:
        return None
    return Problem(ImageStatus.TOO_LARGE, f"{size / 1e9:,.1f} GB; at most {LARGEST_FILE / 1e9:.1f} GB are read")


def special(mode: int) -> str:
    """Why something that is neither a file nor a folder is not opened."""
    return f"{SPECIAL.get(stat.S_IFMT(mode), 'something special')}, not a file"


def _require_file(mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, special(mode))
