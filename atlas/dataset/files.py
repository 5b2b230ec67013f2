"""Folders, single files and webdataset shards, mixed as you like.

    [folder, tar, file, ...] -> Files

Names start below the folder where one was given, else with each one's own name; they are sorted by their bytes, so
that neither the order in which folders were given nor the machine's locale moves an image.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from atlas.dataset.folders import Place, walk
from atlas.dataset.guarded import read_file, special
from atlas.dataset.shards import PACKED, SUFFIXES, members
from atlas.dataset.source import Entry, Problem, Raw, printable, refusal, told_apart
from atlas.errors import ImagesError
from atlas.units import ImageStatus
from atlas.words import parameter

HEAD = 16
"""Bytes by which a format is known."""
PACKED_SHARD = Problem(ImageStatus.UNREADABLE, "a compressed tar: unpack it to a .tar")


@dataclass(frozen=True)
class Files:
    """Images that are files, or lie in tar files. Small enough to be sent to a worker, above all with few entries."""

    entries: Sequence[Entry]

    def read(self, entry: Entry) -> Raw:
        return entry.problem or read_file(entry.file, entry.start, None if entry.size < 0 else entry.size)

    def head(self, entry: Entry) -> bytes:
        """The first bytes of an entry, by which its format is known; none where it cannot be read."""
        size = HEAD if entry.size < 0 else min(HEAD, entry.size)
        raw = entry.problem or read_file(entry.file, entry.start, size)
        return raw if isinstance(raw, bytes) else b""


def find_files(given: Sequence[str], said: str = "images") -> Files:
    """All files of what was `given` by the parameter `said`, those within tars too.

    Raises `ImagesError` where one of them is not there.
    """
    real = {_real(path, said): os.path.abspath(os.fsencode(path)) for path in sorted(given, reverse=True)}
    roots = list(real.values())[::-1]
    entered: set[Place] = set()
    labelled = zip(roots, _labels(roots), strict=True)
    below = [found for root, label in labelled for found in _root(root, label, entered, said)]
    below.sort(key=lambda found: (found[0], found[1].start))
    names = told_apart(printable(name) for name, _ in below)
    return Files([replace(entry, name=name) for name, (_, entry) in zip(names, below, strict=True)])


def called(path: str, said: str) -> str:
    """A path as an error names it: as it was given by the parameter `said`, or alone where that is empty."""
    return parameter(said, path) if said else path


def _real(path: str, said: str) -> bytes:
    """Where `path` leads. Raises `ImagesError` where nothing is there."""
    try:
        return os.path.realpath(os.fsencode(path), strict=True)
    except (OSError, ValueError) as error:
        reason = refusal(error).reason if isinstance(error, OSError) else "no name of a file"
        raise ImagesError(f"{called(printable(os.fsencode(path)), said)}: {reason}.") from None


def _labels(roots: list[bytes]) -> list[bytes]:
    """What the names below each root start with: as much of its path's end as tells it from the others."""
    if len(roots) == 1 and os.path.isdir(roots[0]):
        return [b""]
    parts = [root.strip(b"/").split(b"/") for root in roots]
    taken = 1
    while len({tuple(part[-taken:]) for part in parts}) < len(parts):
        taken += 1
    return [b"/".join(part[-taken:]) for part in parts]


def _root(root: bytes, label: bytes, entered: set[Place], said: str) -> Iterator[tuple[bytes, Entry]]:
    try:
        mode = os.stat(root).st_mode
        if stat.S_ISDIR(mode):
            os.listdir(root)
    except OSError as error:
        raise ImagesError(f"{called(printable(root), said)}: cannot be read ({refusal(error).reason}).") from None
    if stat.S_ISDIR(mode):
        for path, problem in walk(root, entered):
            yield from _file(os.path.join(label, path), os.path.join(root, path), problem)
    else:
        problem = None if stat.S_ISREG(mode) else Problem(ImageStatus.UNREADABLE, special(mode))
        yield from _file(label, root, problem)


def _file(name: bytes, file: bytes, problem: Problem | None) -> Iterator[tuple[bytes, Entry]]:
    """A file as an entry, a tar as all of its members."""
    if problem is None and name.lower().endswith(SUFFIXES):
        for member, start, size, lost in members(file):
            yield name + b"/" + member if member else name, Entry("", file, start, size, lost)
    else:
        packed = PACKED_SHARD if name.lower().endswith(PACKED) else None
        yield name, Entry("", file, problem=problem or packed)
