"""What a run did, in numbers: counted from its log as that is written, and by who reads it.

lines of a log -> Totals -> rows and sentences
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from atlas.cost import charged
from atlas.store.seals import fits
from atlas.words import count, duration

COLUMNS = ("work", "worker time>", "share>", "done>", "a second>")
WAITING = "waiting, starting"
"""What workers did that no receipt tells of: they waited, loaded the network, or tried what failed."""
UNIT = "unit"
"""The kind of failure that a hole is."""
OTHER = "other"
"""What failed, or was tried again, for no reason of a kind of its own."""
SHAPE = {
    "seconds": (int, float),
    "worker_seconds": (int, float),
    "unit": str,
    "cores": int,
    "price": (int, float, None),
    "took": {str: {str: (int, float)}},
    "done": {str: {str: int}},
    "shards": int,
    "found": int,
    "bytes": int,
    "retried": {str: int},
    "failed": {str: int},
}


@dataclass
class Totals:
    """What a run did so far."""

    seconds: float = 0.0
    """How long it took, by its driver's own clock."""
    worker_seconds: float = 0.0
    """The time of all its workers together, whether they worked or not."""
    unit: str = "core"
    """What a worker computes with, and is paid for: core or GPU."""
    cores: int = 1
    """How many of these it has."""
    price: float | None = None
    """What an hour of one core or GPU costs, where that was said."""
    took: dict[str, dict[str, float]] = field(default_factory=dict)
    """Seconds that workers worked, by kind of work and phase, as receipts say."""
    done: dict[str, dict[str, int]] = field(default_factory=dict)
    """What was made, by kind of work and what it is counted in: units, images, cells."""
    shards: int = 0
    """Shards that were made."""
    found: int = 0
    """Shards that another attempt or build had made meanwhile: their time and bytes are not of this run."""
    bytes: int = 0
    """Bytes of what the shards put into the store."""
    retried: dict[str, int] = field(default_factory=dict)
    """How often a task was handed out again, by kind of failure."""
    failed: dict[str, int] = field(default_factory=dict)
    """Shards and layers that failed, by kind of failure; units that could not be made."""

    def take(self, line: Mapping[str, Any]) -> None:
        """Count one line of a log."""
        match line.get("event"):
            case "begun":
                self.price, self.cores = line.get("price"), line.get("cores", 1)
                self.unit = "core" if line.get("device") == "cpu" else "GPU"
            case "shard done" if line.get("found"):
                self.found += 1
            case "shard done":
                self.shards += 1
                self.bytes += line.get("bytes", 0)
                self._work(line)
                _add(self.failed, {UNIT: len(line.get("holes", ()))})
            case "layer done" | "finished":
                self._work(line)
            case "retried":
                _add(self.retried, {line.get("kind") or OTHER: 1})
            case "failed":
                _add(self.failed, {line.get("kind") or OTHER: 1})

    def _work(self, line: Mapping[str, Any]) -> None:
        """Count what was worked. One pass may serve many shards: the last of them tells of it, so that it is once."""
        seconds, work = line.get("seconds") or {}, line.get("work") or OTHER
        if seconds:
            _add(self.took.setdefault(work, {}), seconds)
            _add(self.done.setdefault(work, {}), {line["over"]: line.get("units", 0)} if "over" in line else {})

    @property
    def worked(self) -> float:
        """Seconds that workers worked."""
        return sum(sum(phases.values()) for phases in self.took.values())

    @property
    def hours(self) -> float:
        """Hours of one core or GPU that there were workers for."""
        return self.worker_seconds * self.cores / 3600

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Where the workers' time went, most of it first, waiting last; see `COLUMNS`."""
        whole = max(self.worker_seconds, self.worked)
        for work, phases in sorted(self.took.items(), key=lambda one: -sum(one[1].values())):
            seconds, made = sum(phases.values()), self.done.get(work, {})
            told = ", ".join(f"{number:,} {items}" for items, number in made.items() if number)
            pace = f"{sum(made.values()) / self.seconds:,.3g}" if told and self.seconds else ""
            yield work, _time(seconds), _share(seconds, whole), told, pace
        if whole:
            yield WAITING, _time(whole - self.worked), _share(whole - self.worked, whole), "", ""

    def lines(self) -> Iterator[str]:
        """The rest of it, in sentences."""
        if self.worker_seconds:
            mean = self.worker_seconds / max(self.seconds, 1e-9)
            yield f"{charged(self.hours, self.unit, self.price)}; {mean:,.1f} workers on average."
        others = f" ({self.found:,} more were there already)" if self.found else ""
        retried, failed = _by_kind(self.retried), _by_kind(self.failed)
        yield f"{self.shards:,} shards, {count(self.bytes)}B written{others}; {retried} retries, {failed} failures."

    def to_dict(self) -> dict[str, Any]:
        """As a log has it."""
        took = {work: {phase: round(one, 3) for phase, one in some.items()} for work, some in self.took.items()}
        return asdict(self) | {"took": took}

    @classmethod
    def of(cls, told: Any) -> Totals | None:
        """What a log says; None where it is something else."""
        return cls(**{one.name: told[one.name] for one in fields(cls)}) if fits(told, SHAPE) else None


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 99.95 else duration(seconds)


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.0%}" if whole else ""


def _by_kind(counts: Mapping[str, int]) -> str:
    """`3 (2 crash, 1 machine)`, or `no`."""
    if not (whole := sum(counts.values())):
        return "no"
    return f"{whole:,} ({', '.join(f'{number:,} {kind}' for kind, number in counts.items() if number)})"


def _add(sums: dict[str, Any], more: Mapping[str, Any]) -> None:
    for name, number in more.items():
        if number:
            sums[name] = sums.get(name, 0) + number
