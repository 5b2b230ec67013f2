"""Everything that lies in a folder.

    folder -> (path below it, problem or None), in any order

Links are followed, real folders first, and each folder is entered once: a link that leads back to where it came from,
or to a folder that is listed already, is a listed skip. Whoever names a folder has put its links there: they may lead
out of it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from atlas.dataset.guarded import special
from atlas.dataset.source import Problem, refusal
from atlas.units import ImageStatus

Found = tuple[bytes, Problem | None]
Place = tuple[int, int]
"""Device and inode: what a folder is, by whatever name."""


def walk(folder: bytes, entered: set[Place]) -> Iterator[Found]:
    """Every file below `folder`, and every thing there that cannot be read, with the reason.

    `entered` holds the folders that were listed before; those of this walk are added.
    """
    waiting, links = [b""], list[bytes]()
    while waiting or links:
        if not waiting:
            links.sort(reverse=True)
        below = waiting.pop() if waiting else links.pop()
        found = _folder(folder, below, entered)
        if isinstance(found, Problem):
            yield below + b"/", found
            continue
        for name in found:
            path = os.path.join(below, name)
            kind = _kind(os.path.join(folder, path))
            if isinstance(kind, Problem):
                yield path, kind
            elif kind == "file":
                yield path, None
            else:
                (waiting if kind == "folder" else links).append(path)


def _folder(folder: bytes, below: bytes, entered: set[Place]) -> list[bytes] | Problem:
    """The names in a folder, unless it was entered before or cannot be."""
    path = os.path.join(folder, below)
    try:
        state = os.stat(path)
        place = state.st_dev, state.st_ino
        if place in entered:
            return Problem(ImageStatus.UNREADABLE, "a link to a folder that is listed already")
        entered.add(place)
        return os.listdir(path)
    except OSError as error:
        return refusal(error)


def _kind(path: bytes) -> str | Problem:
    """`file`, `folder` or `link` (to a folder); else why it is none of them."""
    try:
        linked = stat.S_ISLNK(os.lstat(path).st_mode)
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return Problem(ImageStatus.UNREADABLE, "a link that leads nowhere, or a file that has just gone")
    except OSError as error:
        return refusal(error)
    if stat.S_ISDIR(mode):
        return "link" if linked else "folder"
    return "file" if stat.S_ISREG(mode) else Problem(ImageStatus.UNREADABLE, special(mode))
