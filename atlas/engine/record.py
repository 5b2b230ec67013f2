"""What came of a run: counted for who started it, and kept in the store for who asks later.

events -> Report, logs/RUN/000000.jsonl, ...
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from atlas.engine.events import Divided, Event, Finished, LayerDone, Retried, ShardDone, ShardFailed, Silent, TaskFailed
from atlas.engine.executors import Staff
from atlas.plans import STAGES, Plan, columns_of, hole, known
from atlas.recipe import Numerics
from atlas.stages import IMAGES
from atlas.store import Log, Store, Totals
from atlas.version import VERSION
from atlas.words import command, without_addresses

MAPS, MERGING, RELATIONS = "maps", "merging", "relations"
"""What is called the work of stages without shards, of what follows the shards of others, and of what is last."""
PLACES = ("host", "pid", "machine")
"""What receipts say of where a shard was made, and no log."""


@dataclass
class Report:
    """What came of a run."""

    totals: Totals = field(default_factory=Totals)
    """What it did, and how long that took."""
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
    failed: list[str] = field(default_factory=list)
    """A line for each shard or layer that failed."""
    holes: int = 0
    """How many of these are single units that could not be made."""
    left: int | None = None
    """Shards that were not handed out since time was up; None where it was not."""

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.totals.seconds

    @property
    def retried(self) -> int:
        """How often a task was handed out again."""
        return sum(self.totals.retried.values())

    @property
    def spent(self) -> dict[str, float]:
        """Seconds that collecting took, by phase, over all workers."""
        return self.totals.took.get(IMAGES.work, {})

    def verdict(self, place: object) -> str:
        """What there is to be said of what failed; nothing where nothing did."""
        failed, again = len(self.failed) - self.holes, []
        if failed:
            shards, them = ("1 shard", "it") if failed == 1 else (f"{failed:,} shards", "them")
            again.append(f"{shards} failed: run the same command to try {them} again")
        if self.holes:
            units = "1 unit" if self.holes == 1 else f"{self.holes:,} units"
            retry = command("atlas", "retry", place)
            again.append(f"{units} could not be made: to retry, {retry}")
        return f"{'; '.join(again)}. What is finished is kept in {place}." if again else ""


class Record:
    """Takes in the events of a run: its report, and the log in the store, written as it goes on."""

    def __init__(
        self, store: Store, due: Mapping[Plan, int], staff: Staff, planned: int, left: int, price: float | None = None
    ) -> None:
        """`due` is how many shards of each plan are left, `planned` and `left` count pictures of units."""
        self._log, self._staff, self._before = Log(store), staff, staff.seconds
        self.report = Report(self._log.totals, planned=planned, kept=planned - left)
        numerics = next((plan.numerics for plan in due), Numerics())
        asked = {plan.key: {"shards": len(plan.shards), "left": count} for plan, count in due.items()}
        self._log.begin(
            atlas=VERSION,
            torch=numerics.torch,
            device=numerics.device,
            workers=staff.count,
            cores=numerics.threads if numerics.device == "cpu" else 1,
            price=price if price is not None and math.isfinite(price) else None,
            pictures=planned,
            plans=asked,
        )

    def take(self, event: Event) -> None:
        """Count an event and note it."""
        self._pay()
        match event:
            case ShardDone():
                self._done(event)
            case Divided(failed):
                self._tell("divided", failed.shard, reason=failed.reason, kind=failed.kind, trace=failed.trace)
            case LayerDone(plan, items, seconds):
                if any(stage.over == "cells" and stage.after == plan.stage for stage in STAGES.values()):
                    self.report.grids.append((plan, items))
                work = MAPS if plan.over == "whole" else MERGING
                self._tell("layer done", columns_of(plan), items=items, work=work, seconds={"all": seconds})
            case Finished(record):
                self._tell("finished", "relations and tables", work=RELATIONS, seconds={"all": record["seconds"]})
            case Retried(task, attempt, reason, kind):
                self._tell("retried", task, attempt=attempt, reason=reason, kind=kind)
            case Silent(task, reason):
                self._tell("silent", task, reason=reason)
            case ShardFailed(what, reason, trace, kind) | TaskFailed(what, reason, trace, kind):
                self.report.failed.append(f"{what}: {reason}")
                self._tell("failed", what, reason=reason, kind=kind, trace=trace)

    def leaves(self, plan: Plan, holes: dict[int, str]) -> None:
        """Tell of units that could not be made, in this run or before."""
        self.report.failed += [hole(plan, unit, reason) for unit, reason in holes.items()]
        self.report.holes += len(holes)

    def time_is_up(self, left: int | None) -> None:
        """Note once that no more is handed out, if that is so; how many shards are left."""
        if left is not None and self.report.left is None:
            self._log.tell("time up", left=left)
        self.report.left = left

    def stopped(self, error: BaseException) -> None:
        """Note what ends the run before it is done."""
        by = "Ctrl-C" if isinstance(error, KeyboardInterrupt) else without_addresses(f"{type(error).__name__}: {error}")
        self._log.tell("stopped", by=by)

    def close(self) -> None:
        """Note that the run has ended, and write what is left of its log. Raises `StoreError` where that fails."""
        self._pay()
        told = {"failed": len(self.report.failed), "left": self.report.left}
        self._log.tell("ended", **told, totals=self._log.totals.to_dict())
        self._log.close()

    def _done(self, event: ShardDone) -> None:
        report, stage = self.report, known(event.shard.stage)
        if stage.over == "cells":
            _add(report.cells, event.statuses)
        elif stage.over == "units":
            report.made += sum(event.statuses.values())
            _add(report.statuses, event.statuses)
        kept = {name: told for name, told in event.record.items() if name not in PLACES}
        if event.holes:
            kept["holes"] = {str(unit): reason for unit, reason in event.holes.items()}
        if event.found:
            kept["found"] = True
        counted = {"work": stage.work, "over": stage.over, "units": event.units, "bytes": event.bytes}
        self._tell("shard done", event.shard, statuses=event.statuses, **counted, **kept)

    def _tell(self, event: str, what: object, **told: Any) -> None:
        texts = {name: without_addresses(told[name]) for name in ("reason", "trace") if name in told}
        self._log.tell(event, what=str(what), **told | texts)

    def _pay(self) -> None:
        self.report.totals.worker_seconds = self._staff.seconds - self._before


def _add(sums: dict[str, int], more: Mapping[str, int]) -> None:
    for name, count in more.items():
        sums[name] = sums.get(name, 0) + count
