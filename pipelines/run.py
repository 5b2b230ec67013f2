"""The driver: from a model and a plan to a finished store.

    plan -> metadata -> what is left -> tasks -> events -> columns -> catalogue

It holds no state that the store does not: kill it, start it again, and it goes on where it stopped.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from atlas.catalogue.door import write_door
from atlas.errors import StoreError
from atlas.plan import Plan, Shard
from atlas.store import Store
from pipelines.events import Event, LayerDone, LayerFailed, Rendered, Retried, ShardDone, ShardFailed, Task
from pipelines.executors import Executor
from pipelines.work import Job

if TYPE_CHECKING:
    from atlas.models import Model

SECONDS = 60.0
"""What a task should take: long enough to make handing it out free, short enough to lose little."""
SPEED = 2e10
"""Floating point operations a second that a CPU core is taken for until a run has been measured."""


def describe(model: Model, note: str | None = None) -> dict[str, Any]:
    """What a store says of its network to people; `note` is a sentence for the home page."""
    labels = None if model.labels is None else len(model.labels)
    size = list(model.preprocessing.size)
    return {"title": model.title, "random": model.random, "input": size, "labels": labels, "note": note}


@dataclass
class Report:
    """What came of a run."""

    planned: int = 0
    """Pictures asked for."""
    kept: int = 0
    """Of these, there before."""
    made: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    """A line for each shard or layer that failed."""
    retried: int = 0
    seconds: float = 0.0

    def count(self, event: Event) -> None:
        """Take an event in."""
        match event:
            case ShardDone(shard, statuses):
                self.made += sum(statuses.values())
                for name, count in statuses.items():
                    self.statuses[name] = self.statuses.get(name, 0) + count
            case ShardFailed(shard, reason):
                self.failed.append(f"{shard}: {reason}")
            case LayerFailed(layer, reason):
                self.failed.append(f"columns of {layer}: {reason}")
            case Retried():
                self.retried += 1


def build(
    store: Store,
    model: Model,
    plans: Sequence[Plan],
    executor: Executor,
    *,
    partial: bool = False,
    watch: Callable[[Event], None] | None = None,
) -> Report:
    """Carry out `plans` in `store`, telling `watch` of every event.

    With `partial` the columns of a layer are written although some of its shards failed. Raises `StoreError` where the
    store can no longer be written; everything with a receipt is kept.
    """
    began = time.monotonic()
    store.backend.sweep()
    plans = store.prepare(plans)
    write_door(store)
    left = {plan: store.todo(plan) for plan in plans}
    report = Report(planned=sum(plan.pictures for plan in plans))
    report.kept = report.planned - sum(len(shard) * len(plan.recipe.variants) for plan in plans for shard in left[plan])
    driver = _Driver(store, left, report, partial=partial, workers=executor.workers)
    job = Job(store.backend, model.source, model.weights_hash)
    log: list[dict[str, Any]] = []
    try:
        with closing(executor.run(job, model.state, driver.queue)) as events:
            for event in events:
                report.count(event)
                driver.follow(event)
                log += _lines(event)
                if watch:
                    watch(event)
    finally:
        report.seconds = time.monotonic() - began
        with suppress(StoreError):  # a full disk has been complained of already
            _write_log(store, report, log)
            write_door(store)
    return report


class _Driver:
    """Keeps the queue: the shards that are left, and each layer's columns once its last shard is done."""

    def __init__(
        self, store: Store, left: dict[Plan, list[Shard]], report: Report, *, partial: bool, workers: int
    ) -> None:
        self._store, self._report, self._partial = store, report, partial
        self._left = {plan.layer.name: (plan, set(shards)) for plan, shards in left.items()}
        self._holes: set[str] = set()
        self.queue: deque[Task] = deque()
        for plan, shards in left.items():
            self.queue.extend(tasks(plan, shards, workers))
            if not shards and not store.columns_done(plan):
                self.queue.append(Task(plan))

    def follow(self, event: Event) -> None:
        """Queue what an event makes possible."""
        match event:
            case ShardDone(shard) | ShardFailed(shard):
                plan, left = self._left[shard.layer]
                left.discard(shard)
                if isinstance(event, ShardFailed):
                    self._holes.add(shard.layer)
                if not left and (self._partial or shard.layer not in self._holes):
                    self.queue.appendleft(Task(plan))
            case LayerDone():
                write_door(self._store)


def tasks(plan: Plan, shards: Sequence[Shard], workers: int) -> Iterator[Task]:
    """Runs of shards worth handing out, never so long that a worker stands idle."""
    if not shards:
        return
    seconds = plan.flops / max(1, len(plan.shards)) / SPEED
    length = max(1, min(int(SECONDS / max(seconds, 1e-3)), -(-len(shards) // (2 * workers))))
    for start in range(0, len(shards), length):
        yield Task(plan, tuple(shards[start : start + length]))


def _lines(event: Event) -> list[dict[str, Any]]:
    """What the log keeps of an event."""
    match event:
        case ShardDone(shard, statuses, record):
            return [{"done": str(shard), "statuses": statuses, **record}]
        case ShardFailed(shard, reason, trace):
            return [{"failed": str(shard), "reason": reason, "trace": trace}]
        case LayerFailed(layer, reason, trace):
            return [{"failed": f"columns of {layer}", "reason": reason, "trace": trace}]
        case Retried(task, attempt, reason):
            return [{"retried": str(task), "attempt": attempt, "reason": reason}]
        case LayerDone(plan, pictures):
            return [{"done": f"columns {plan.layer.name}", "pictures": pictures}]
        case Rendered():
            return []


def _write_log(store: Store, report: Report, log: list[dict[str, Any]]) -> None:
    """One object a run."""
    if log:
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid4().hex[:6]}"
        store.put_json(f"logs/{name}.json", {"seconds": report.seconds, "events": log})
