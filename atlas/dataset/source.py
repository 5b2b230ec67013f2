"""Where images come from, behind one seam.

    what the user gave -> ImageSource: entries in order, and read(entry) -> bytes | PIL image | Problem

A source only finds and reads; it decodes nothing. What cannot be read is an entry too, with the reason, so that
nothing that was given is lost without a word.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from atlas.units import ImageStatus


@dataclass(frozen=True)
class Problem:
    """Why there is no picture."""

    status: ImageStatus
    reason: str
    """For people, one line."""


Raw = bytes | Image.Image | Problem
"""What a source reads: a file's bytes, a picture a data set has opened itself, or why neither."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One image of a source, or one thing of it that cannot be read."""

    name: str
    """Printable, told apart from every other of the source, and free of absolute paths: what the store lists."""
    file: bytes = b""
    """The file it lies in, as the system names it, or its address in an object store; empty for data sets."""
    start: int = 0
    """First byte in a tar; the number of the item in a data set."""
    size: int = -1
    """Bytes in a tar or an object store; -1 elsewhere."""
    problem: Problem | None = None
    mark: bytes = b""
    """What tells its state from all others, where that was found with it; see `hashes`."""


class ImageSource(Protocol):
    """A list of images that can be read one by one, from many threads."""

    @property
    def entries(self) -> Sequence[Entry]:
        """All of them, in an order that depends on their names alone."""
        ...

    def read(self, entry: Entry) -> Raw:
        """What is behind `entry`, or why it cannot be read; never raises for a single image's sake."""
        ...


def printable(raw: bytes) -> str:
    r"""A file's name as text that any table or terminal takes: no stray bytes, no control characters.

    >>> printable(b"caf\xe9\n.jpg")
    'caf\\xe9\\x0a.jpg'
    """
    text = raw.decode("utf-8", "surrogateescape")
    return text if text.isprintable() else "".join(map(_printable, text))


def _printable(sign: str) -> str:
    if unicodedata.category(sign) not in ("Cc", "Cs", "Zl", "Zp"):
        return sign
    return "".join(f"\\x{byte:02x}" for byte in sign.encode("utf-8", "surrogateescape"))


def told_apart(names: Iterable[str]) -> list[str]:
    """`names`, those that came before marked ` (2)`, ` (3)`, ...

    >>> told_apart(["a", "b", "a"])
    ['a', 'b', 'a (2)']
    """
    seen: set[str] = set()
    apart = []
    for name in names:
        free, number = name, 1
        while free in seen:
            number += 1
            free = f"{name} ({number})"
        seen.add(free)
        apart.append(free)
    return apart


def refusal(error: OSError) -> Problem:
    """The system's own words for why something cannot be read."""
    return Problem(ImageStatus.UNREADABLE, (error.strerror or type(error).__name__).lower())
