"""The driver: from a model and a plan to a finished store.

    plan -> metadata -> what is left -> tasks -> events -> columns -> catalogue

It holds no state that the store does not: kill it, start it again, and it goes on where it stopped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

from atlas.catalogue.door import write_door
from atlas.errors import StoreError
from atlas.plan import Plan, Shard
from atlas.store import Store
from pipelines.events import Event, LayerDone, ShardDone, ShardFailed, Task
from pipelines.executors import Executor
from pipelines.record import Record, Report
from pipelines.work import Job

if TYPE_CHECKING:
    from atlas.models import Model

SECONDS = 60.0
"""What a task should take: long enough to make handing it out free, short enough to lose little."""
SPEED = 4e10
"""Floating point operations a second that a CPU core is taken for; a calibration is to measure it."""


def describe(model: Model, note: str | None = None) -> dict[str, Any]:
    """What a store says of its network to people; `note` is a sentence for the home page."""
    labels = None if model.labels is None else len(model.labels)
    size = list(model.preprocessing.size)
    return {"title": model.title, "random": model.random, "input": size, "labels": labels, "note": note}


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
    store.backend.sweep()
    store.prepare(plans)
    write_door(store)
    driver = _Driver(store, plans, partial=partial, workers=executor.workers)
    record = Record(store, planned=driver.planned, left=driver.pictures_left)
    job = Job(store.backend, model.source, model.weights_hash)
    try:
        with closing(executor.run(job, model.state, driver.queue)) as events:
            for event in filter(driver.follow, events):
                record.take(event)
                if watch:
                    watch(event)
    finally:
        with suppress(StoreError):  # a full disk has been complained of already
            record.write()
            write_door(store)
    return record.report


class _Driver:
    """Keeps the queue: the shards that are left, and each layer's columns once its last shard is done."""

    def __init__(self, store: Store, plans: Sequence[Plan], *, partial: bool, workers: int) -> None:
        self._store, self._partial = store, partial
        self._plans = {plan.layer.name: plan for plan in plans}
        self._left = {name: set(store.todo(plan)) for name, plan in self._plans.items()}
        self._holes: set[str] = set()
        self.queue: deque[Task] = deque()
        for name, plan in self._plans.items():
            self.queue.extend(tasks(plan, sorted(self._left[name]), workers))
            if not self._left[name] and not store.settled(plan):
                self.queue.append(Task(plan))

    @property
    def planned(self) -> int:
        """Pictures asked for."""
        return sum(plan.pictures for plan in self._plans.values())

    @property
    def pictures_left(self) -> int:
        """Pictures that are not there yet."""
        return sum(sum(map(len, left)) * len(self._plans[name].recipe.variants) for name, left in self._left.items())

    def follow(self, event: Event) -> bool:
        """Queue what an event makes possible; say whether it is news.

        A task that is handed out again tells of the shards its first attempt finished once more, and one that is given
        up fails shards that have their receipt.
        """
        match event:
            case ShardDone(shard):
                return self._finished(shard, failed=False)
            case ShardFailed(shard):
                done = self._store.receipt(self._plans[shard.layer], shard) is not None
                return self._finished(shard, failed=not done) and not done
            case LayerDone():
                write_door(self._store)
        return True

    def _finished(self, shard: Shard, *, failed: bool) -> bool:
        left = self._left[shard.layer]
        if shard not in left:
            return False
        left.discard(shard)
        if failed:
            self._holes.add(shard.layer)
        if not left and (self._partial or shard.layer not in self._holes):
            self.queue.appendleft(Task(self._plans[shard.layer]))
        return True


def tasks(plan: Plan, shards: Sequence[Shard], workers: int) -> Iterator[Task]:
    """Runs of shards worth handing out, never so long that a worker stands idle."""
    if not shards:
        return
    seconds = plan.flops / max(1, len(plan.shards)) / SPEED
    length = max(1, min(int(SECONDS / max(seconds, 1e-3)), -(-len(shards) // (2 * workers))))
    for start in range(0, len(shards), length):
        yield Task(plan, tuple(shards[start : start + length]))
