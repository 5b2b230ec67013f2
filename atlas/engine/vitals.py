"""What a machine can say of one of its processes, and of its memory: Linux keeps both as text.

pid -> Vitals, or None where the system says nothing
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

WORKING = 0.05
"""Of a core: what a process that computes uses at least. One that is stuck still answers Ray now and then."""
READING = 2**16
"""Bytes that a process which waits for files moves at least, between two looks."""


@dataclass(frozen=True)
class Vitals:
    """A process as it is now."""

    alive: bool
    stopped: bool
    """By a signal or a debugger."""
    cpu: float
    """Seconds of processors that it has used."""
    moved: int
    """Bytes that it has read and written."""
    kills: int
    """Processes that the machine has killed for want of memory since it started."""

    def advanced(self, before: Vitals, seconds: float) -> bool:
        """Whether it has worked in the `seconds` since `before`."""
        return self.cpu - before.cpu > WORKING * seconds or self.moved - before.moved > READING


def vitals(pid: int) -> Vitals:
    """What is known of process `pid` of this machine; zeros where there is no such process, or no Linux."""
    kills = memory_kills()
    try:
        # The name of the process, in brackets, may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return Vitals(False, False, 0.0, 0, kills)
    ticks = int(fields[11]) + int(fields[12])
    return Vitals(True, fields[0] in "Tt", ticks / os.sysconf("SC_CLK_TCK"), _moved(pid), kills)


def memory_kills() -> int:
    """How many processes this machine has killed for want of memory, in any container, since it started."""
    counts = dict(line.split() for line in lines_of(Path("/proc/vmstat")))
    return int(counts.get("oom_kill", 0))


def end(pid: int) -> None:
    """Kill a worker of Ray's on this machine, whether it is stopped or not; another process is left alone."""
    try:
        if Path(f"/proc/{pid}/cmdline").read_text().startswith("ray::"):
            os.kill(pid, signal.SIGKILL)
    except OSError:
        pass


def _moved(pid: int) -> int:
    told = lines_of(Path(f"/proc/{pid}/io"))
    return sum(int(line.split()[1]) for line in told if line.startswith(("rchar", "wchar")))


def lines_of(file: Path) -> list[str]:
    """What Linux keeps as text in a file, line by line; nothing where the system does not say."""
    try:
        return file.read_text().splitlines()
    except OSError:
        return []
