"""How much memory there is, and how much a build needs at least: said before the system kills without a word.

tasks side by side -> a line, or None where there is enough
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from atlas.engine.vitals import lines_of
from atlas.words import parameter

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
BATCHES = 2e8
"""Bytes that a batch of a small network takes."""
RAY = 4e8
"""Bytes that Ray's own processes take on a machine, beside its workers."""


def shortage(workers: int | None = None) -> str | None:
    """A line where `workers` tasks side by side, each in a process as large as this one, do not fit beside it.

    This process holds the network and has run it once: a worker will have done so too, and need more for its batches.
    None stands for a worker a core, 0 for a build in this process alone, which needs memory for its batches alone.
    """
    own, free = resident(), available()
    if own is None or free is None:
        return None
    count = len(os.sched_getaffinity(0)) if workers is None else workers
    least = own * count + RAY if count else BATCHES
    if least <= free:
        return None
    fit = int((free - RAY) // own)
    what = f"{count} tasks side by side need" if count else "a build needs"
    fewer = parameter("local", True) if count else "a machine or a container with more"
    then = parameter("workers", fit) if fit > 0 else fewer
    needs = f"{what} {least / 1e9:.1f} GB at least, {max(free, 0) / 1e9:.1f} GB are free here"
    return f"Memory: {needs}. Try {then}, or a smaller {parameter('batch')}."


def resident() -> int | None:
    """Bytes of memory that this process holds alone, without files it shares; None where the system does not say."""
    try:
        _, whole, shared, *_ = map(int, (PROC / "self/statm").read_text().split())
    except OSError:
        return None
    return (whole - shared) * os.sysconf("SC_PAGE_SIZE")


def available() -> int | None:
    """Bytes of memory that are free for more processes here: of the machine, and of every control group around us."""
    found = [*_machine(), *_groups()]
    return min(found) if found else None


def _machine() -> Iterator[int]:
    for line in lines_of(PROC / "meminfo"):
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024


def _groups() -> Iterator[int]:
    """What is left in each group that has a limit; files that are kept in memory can be dropped."""
    for line in lines_of(PROC / "self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            yield from _left(CGROUPS, path, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            yield from _left(CGROUPS / "memory", path, *names)


def _left(root: Path, path: str, limit: str, used: str, files: str) -> Iterator[int]:
    """Of a group and those it lies in. In a container the path may be the host's: then its own group is the root."""
    place = root / path.strip("/")
    for folder in (place, *place.parents):
        if not folder.is_relative_to(root):
            return
        try:
            most = (folder / limit).read_text().strip()
            taken = int((folder / used).read_text())
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except OSError:
            continue
        if most != "max":
            yield int(most) - taken + int(stat.get(files, 0))
