"""Faults where they happen: a local store whose writers are killed -9 at named points.

A fault strikes once, whichever process gets there first; a mark on the disk remembers it.
"""

from __future__ import annotations

import os
import re
import signal
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from atlas.store import LocalBackend
from atlas.store.backends import PARTIAL


@dataclass(frozen=True)
class Fault:
    """Kill the process that writes a key."""

    point: Literal["before", "inside", "after"]
    pattern: str
    """A regular expression that the key matches whole."""

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


class FaultyBackend(LocalBackend):
    """A local store in which `faults` strike, each once; `marks` is a folder that remembers."""

    def __init__(self, root: Path, faults: list[Fault], marks: Path) -> None:
        super().__init__(root)
        self.faults, self.marks = faults, marks
        marks.mkdir(parents=True, exist_ok=True)

    def put(self, key: str, value: bytes) -> None:
        self._strike("before", key)
        self._inside(key, value)
        super().put(key, value)
        self._strike("after", key)

    def put_new(self, key: str, value: bytes) -> bool:
        self._strike("before", key)
        self._inside(key, value)
        written = super().put_new(key, value)
        self._strike("after", key)
        return written

    def delete(self, key: str) -> None:
        self._strike("before", f"delete {key}")
        super().delete(key)

    def struck(self) -> int:
        """How many faults have struck."""
        return len(list(self.marks.iterdir()))

    def _inside(self, key: str, value: bytes) -> None:
        if self._due("inside", key):
            torn = self.root / PARTIAL / uuid.uuid4().hex
            torn.parent.mkdir(parents=True, exist_ok=True)
            torn.write_bytes(value[: len(value) // 2])
            os.kill(os.getpid(), signal.SIGKILL)

    def _strike(self, point: str, key: str) -> None:
        if self._due(point, key):
            os.kill(os.getpid(), signal.SIGKILL)

    def _due(self, point: str, key: str) -> bool:
        """Whether a fault is due here; it is marked as struck."""
        for number, fault in enumerate(self.faults):
            if fault.point == point and re.fullmatch(fault.pattern, key):
                try:
                    (self.marks / str(number)).touch(exist_ok=False)
                except FileExistsError:
                    continue
                return True
        return False
