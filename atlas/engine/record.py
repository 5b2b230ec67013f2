"""What came of a run: counted for who started it, and kept in the store for who asks later.

events -> Report, logs/RUN.json
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from atlas.engine.events import Divided, Event, Finished, LayerDone, Retried, ShardDone, ShardFailed, Silent, TaskFailed
from atlas.plans import STAGES, Plan, Shard, columns_of, hole, known
from atlas.stages import IMAGES
from atlas.store import Store
from atlas.words import command


@dataclass
class Report:
    """What came of a run."""

    planned: int = 0
    """Pictures asked for."""
    kept: int = 0
    """Of these, there before."""
    made: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    """Of the pictures that were made."""
    images: dict[str, int] = field(default_factory=dict)
    """How many images have which status, of a run that has images: those that were shown before it too."""
    noted: int = 0
    """How many of those that were used have a note: what is white in them is uncertain."""
    cells: dict[str, int] = field(default_factory=dict)
    """How many pictures of an atlas's cells, of those that were made, have which status."""
    grids: list[tuple[Plan, int]] = field(default_factory=list)
    """Grids of atlases whose cells were found, and how many of these are filled."""
    spent: dict[str, float] = field(default_factory=dict)
    """Seconds that collecting took, by phase, over all workers."""
    took: dict[str, float] = field(default_factory=dict)
    """Seconds of the workers' time by kind of work: rendering, collecting, examples, ..."""
    failed: list[str] = field(default_factory=list)
    """A line for each shard or layer that failed."""
    holes: int = 0
    """How many of these are single units that could not be made."""
    retried: int = 0
    left: int | None = None
    """Shards that were not handed out since time was up; None where it was not."""
    seconds: float = 0.0

    def verdict(self, place: object) -> str:
        """What there is to be said of what failed; nothing where nothing did."""
        failed, again = len(self.failed) - self.holes, []
        if failed:
            shards, them = ("1 shard", "it") if failed == 1 else (f"{failed:,} shards", "them")
            again.append(f"{shards} failed: run the same command to try {them} again")
        if self.holes:
            units = "1 unit" if self.holes == 1 else f"{self.holes:,} units"
            retry = command("atlas", "retry", place)
            again.append(f"{units} could not be made, and the others are there: to try again, {retry}")
        return f"{'; '.join(again)}. What is finished is kept in {place}." if again else ""


class Record:
    """Takes in the events of a run. Its log is one object; failures are written at once, the rest at the end."""

    def __init__(self, store: Store, *, planned: int, left: int) -> None:
        self.report = Report(planned=planned, kept=planned - left)
        self._store, self._began = store, time.monotonic()
        self._key = f"logs/{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}-{uuid4().hex[:6]}.json"
        self._lines: list[dict[str, Any]] = []

    def take(self, event: Event) -> None:
        """Count an event and note it."""
        match event:
            case ShardDone(shard, statuses, record, holes):
                self._count(shard, statuses, record)
                left_out = {"holes": {str(unit): reason for unit, reason in holes.items()}} if holes else {}
                self._lines.append({"done": str(shard), "statuses": statuses, **record, **left_out})
            case Divided(failed):
                self._lines.append({"divided": str(failed.shard), "reason": failed.reason, "trace": failed.trace})
                self.write()
            case LayerDone(plan, items):
                if any(stage.over == "cells" and stage.after == plan.stage for stage in STAGES.values()):
                    self.report.grids.append((plan, items))
                self._lines.append({"done": columns_of(plan), "items": items})
            case Finished(record):
                self._lines.append({"done": "relations and tables", **record})
            case Retried(task, attempt, reason):
                self.report.retried += 1
                self._lines.append({"retried": str(task), "attempt": attempt, "reason": reason})
            case Silent(task, reason):
                self._lines.append({"silent": str(task), "reason": reason})
            case ShardFailed(shard, reason, trace):
                self._fail(str(shard), reason, trace)
            case TaskFailed(task, reason, trace):
                self._fail(str(task), reason, trace)

    def leaves(self, plan: Plan, holes: dict[int, str]) -> None:
        """Tell of units that could not be made, in this run or before."""
        self.report.failed += [hole(plan, unit, reason) for unit, reason in holes.items()]
        self.report.holes += len(holes)

    def _count(self, shard: Shard, statuses: dict[str, int], record: dict[str, Any]) -> None:
        report = self.report
        stage, spent = known(shard.stage), record.get("seconds") or {}
        if spent:
            _add(report.took, {stage.work: sum(spent.values())})
        if stage.over == "cells":
            _add(report.cells, statuses)
        elif stage.over == "units":
            report.made += sum(statuses.values())
            _add(report.statuses, statuses)
        elif stage.work == IMAGES.work:
            _add(report.spent, spent)

    def _fail(self, what: str, reason: str, trace: str) -> None:
        self.report.failed.append(f"{what}: {reason}")
        self._lines.append({"failed": what, "reason": reason, "trace": trace})
        self.write()

    def write(self) -> None:
        """Write the log as it stands; nothing where nothing happened."""
        self.report.seconds = time.monotonic() - self._began
        if self._lines:
            self._store.put_json(self._key, {"seconds": self.report.seconds, "events": self._lines})


def _add(sums: dict[str, Any], more: dict[str, Any]) -> None:
    for name, count in more.items():
        sums[name] = sums.get(name, 0) + count
