"""The driver: from a model and plans to a finished store.

    plans -> metadata -> what is left -> tasks -> events -> reduces -> catalogue

It holds no state that the store does not: kill it, start it again, and it goes on where it stopped.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

from atlas.catalogue.index import write_index
from atlas.cost import Calibration
from atlas.engine import calibration, spectra
from atlas.engine.events import Divided, Event, LayerDone, Retried, ShardDone, ShardFailed, Task, TaskFailed, Tried
from atlas.engine.executors import Executor
from atlas.engine.failures import AGAIN, DIVIDED, FIRST, Search, alike
from atlas.engine.record import Record, Report
from atlas.engine.reducing import filled
from atlas.engine.sharing import Queue
from atlas.engine.worker import Job, Supplies
from atlas.errors import BuildFailed, PlanMismatch, StoreError
from atlas.plans import STAGES, Key, Plan, Shard, known
from atlas.stages import ACTIVATIONS, IMAGES
from atlas.store import Store
from atlas.store.builders import Builder
from atlas.words import parameter

if TYPE_CHECKING:
    from atlas.engine.planning.images import ListedImages
    from atlas.models import Model
    from atlas.rendering import Spectrum

SECONDS = 60.0
"""What a task should take: long enough to make handing it out free, short enough to lose little."""
PARTS = 32
"""Tasks that each worker gets of a plan at least, where it has so many shards: one that is slow by nature, or slow for
a while, holds little back in the end."""
SELDOM = 20
"""How many times as long as writing the index takes passes before it is written again, in a run."""
SPEED = 4e10
"""Floating point operations a second that a device is taken for as long as nothing was measured on it."""


def describe(model: Model, note: str | None = None) -> dict[str, Any]:
    """What a store says of its network to people; `note` is a sentence for the home page."""
    labels = None if model.labels is None else len(model.labels)
    size = list(model.preprocessing.size)
    known = {"title": model.title, "random": model.random, "input": size, "labels": labels, "note": note}
    outputs = {"outputs": model.outputs} if model.in_memory else {}
    return known | {"layers": [layer.name for layer in model.layers]} | outputs


def build(
    store: Store,
    model: Model,
    plans: Sequence[Plan],
    executor: Executor,
    *,
    images: ListedImages | None = None,
    spectrum: Spectrum | None = None,
    partial: bool = False,
    hours: float | None = None,
    price: float | None = None,
    watch: Callable[[Event], None] | None = None,
) -> Report:
    """Carry out `plans` in `store`, telling `watch` of every event.

    `images` are those that the plans collect, `spectrum` the one that their recipe names. With `partial` what follows a
    layer's last shard is written although some of its shards failed. After `hours` no more shards are handed out, and
    what is under way is waited for. Builders of the same plans share the work. `price` is what an hour of one core or
    GPU costs, for the log. Raises `StoreError` where the store can no longer be written, or another plan took the place
    of one of these; everything with a receipt is kept.
    """
    until = math.inf if hours is None else time.monotonic() + 3600 * hours
    job = Job(store.backend, model.source, model.weights_hash)
    supplies = Supplies(lambda: model.state, lambda: None if images is None else images.source, lambda: model.own)
    with Builder(store.backend, [plan.id for plan in plans]) as builder:
        _prepare(store, model, plans, images, spectrum)
        driver = _Driver(store, plans, Queue(builder), partial=partial, workers=executor.workers, until=until)
        record = Record(store, driver.due, executor.staff, driver.planned, driver.pictures_left, price)
        with closing(executor.run(job, supplies, driver.queue)) as events:
            _carry_out(store, driver, record, events, watch or (lambda _: None))
    return record.report


def _carry_out(
    store: Store, driver: _Driver, record: Record, events: Iterable[Event], watch: Callable[[Event], None]
) -> None:
    """Follow the events of all tasks, to the last one."""
    try:
        for event in events:
            for told in driver.follow(event):
                record.take(told)
                watch(told)
            record.time_is_up(driver.left)
            driver.check()
    except BaseException as error:
        record.stopped(error)
        raise
    finally:
        record.time_is_up(driver.left)
        with suppress(StoreError):  # a full disk has been complained of already
            _conclude(store, driver.plans, record)


def _prepare(
    store: Store, model: Model, plans: Sequence[Plan], images: ListedImages | None, spectrum: Spectrum | None
) -> None:
    """Write all that is there before the first task."""
    logits = _logits(store, model, plans)
    store.backend.sweep()
    held = spectra.find(store, plans, spectrum)
    store.prepare(plans)
    spectra.write(store, plans, held)
    if model.labels is not None or logits is not None:
        store.put_labels(model.labels or store.labels, logits)
    if images is not None:
        images.write(store, plans)
    write_index(store)


def _conclude(store: Store, plans: Sequence[Plan], record: Record) -> None:
    """Note what is missing, and what became of the images; write the log and the index."""
    try:
        for plan in plans:
            record.leaves(plan, store.holes(plan))
    finally:
        record.close()
    index = write_index(store)
    if any(plan.stage == IMAGES.name for plan in plans):
        record.report.images = index["images"]["statuses"]
        record.report.noted = index["images"].get("noted", 0)


def _logits(store: Store, model: Model, plans: Sequence[Plan]) -> str | None:
    """Which of the network's outputs the store's classes are of, where it has several.

    Raises `PlanMismatch` where those that are there are of another: their numbers mean other things.
    """
    there = store.logits
    if not any(plan.stage in (IMAGES.name, ACTIVATIONS.name) and plan.collection.classes for plan in plans):
        return there
    from atlas.models.answers import WHOLE

    ours = model.answer.where or None
    if there is not None and there != ours:
        raise PlanMismatch(
            f"The classes in {store} are of the network's output {there!r}, those asked for of {(ours or WHOLE)!r}. "
            f"Ask for the same ({parameter('logits', there)}), or name another {parameter('store')}."
        )
    return ours


class _Driver:
    """Keeps the queue: the shards that are left, what follows each layer's last one, and what follows all layers.

    A stage that rests on another begins when that is whole. What is not whole in the end was not to be had.
    """

    def __init__(
        self,
        store: Store,
        plans: Sequence[Plan],
        queue: Queue,
        *,
        partial: bool,
        workers: int,
        until: float = math.inf,
    ) -> None:
        self._store, self._partial, self._workers, self._until = store, partial, workers, until
        self._calibration = calibration.known(store, plans[0].numerics) if plans else None
        self._plans = {plan.names: plan for plan in plans}
        self._left = {key: set(store.left_of(plan)) for key, plan in self._plans.items()}
        """Shards that are left of each plan, by their indices."""
        self._waiting = set(self._plans)
        """What has not begun."""
        self._holes: set[Key] = set()
        """What cannot be finished in this run."""
        self._searches: dict[Shard, Search] = {}
        """Shards that failed and are looked into, or were."""
        self._again: Counter[Shard] = Counter()
        """How often shards were put at the end of the queue."""
        self._firsts: dict[tuple[str, int, str], ShardFailed] = {}
        """The first failures, as long as they are alike."""
        self._made = False
        """Whether anything was made in this run, or failed otherwise than the first."""
        self._reducing: set[Key] = set()
        self._index_due = 0.0
        """When the index may be written again."""
        self._finished = False
        self._over = False
        """Whether time was up while there were shards to hand out."""
        self.queue = queue
        self._begin()
        self._heed_time()

    @property
    def left(self) -> int | None:
        """Shards that are left because time was up; None where all was handed out."""
        return sum(map(len, self._left.values())) if self._over else None

    @property
    def planned(self) -> int:
        """Pictures of units asked for."""
        return sum(plan.pictures for plan in self._rendering)

    @property
    def pictures_left(self) -> int:
        """Pictures of units that are not there yet."""
        return sum(_units(plan, self._left[plan.names]) * len(plan.rendering.variants) for plan in self._rendering)

    @property
    def due(self) -> dict[Plan, int]:
        """How many shards of each plan are left."""
        return {plan: len(self._left[names]) for names, plan in self._plans.items()}

    @property
    def plans(self) -> list[Plan]:
        """What it carries out."""
        return list(self._plans.values())

    def follow(self, event: Event) -> Iterator[Event]:
        """Queue what an event makes possible; what is to be told of it, if it is news.

        A task that is handed out again tells of the shards its first attempt finished once more, and one that is given
        up fails shards that have their receipt.
        """
        match event:
            case ShardDone(shard):
                self._made = True
                if self._done(shard, failed=False):
                    yield event
            case ShardFailed():
                yield from self._failed(event)
            case Tried(shard) if shard in self._searches:
                yield from self._took(self._searches[shard], event)
            case _:
                self._follow(event)
                yield event
        self._finish()
        self._heed_time()

    def check(self) -> None:
        """Raise `BuildFailed` where the first shards of a run all failed alike: so will the others."""
        if len(self._firsts) >= FIRST and not self._made:
            *_, last = self._firsts.values()
            raise BuildFailed(
                f"The first {len(self._firsts)} shards failed alike ({last.shard}: {last.reason}), so the others were "
                f"not tried. What is finished is kept in {self._store}. Fix the cause, then run the same "
                "command to resume."
            )

    def _follow(self, event: Event) -> None:
        match event:
            case LayerDone(plan):
                self.queue.ended(plan)
                self._reducing.discard(plan.names)
                self._follow_layer(self._plans[plan.names])
                self._write_index()
            case TaskFailed(task) if task.plans:
                self.queue.ended(task.plans[0])
                self._reducing.discard(task.plans[0].names)
                self._holes.add(task.plans[0].names)

    def _write_index(self) -> None:
        """Write the index, which tells of all layers: of many it takes long, and is written the more seldom."""
        began = time.monotonic()
        if began >= self._index_due:
            write_index(self._store)
            self._index_due = time.monotonic() + SELDOM * (time.monotonic() - began)

    def _failed(self, event: ShardFailed) -> Iterator[Event]:
        """What follows a shard's failure, by its kind; see `failures`."""
        shard, plan = event.shard, self._plans[event.shard.names]
        if shard.index not in self._left[shard.names]:
            return
        if self._store.receipt(plan, shard) is not None:
            self._done(shard, failed=False)
        elif event.kind == "store" and self._again[shard] < AGAIN:
            self._again[shard] += 1
            task = Task((plan,), (shard.index,))
            self.queue.append(task)
            yield Retried(task, self._again[shard], event.reason)
        elif event.kind in DIVIDED and plan.kind.divisible and shard not in self._searches:
            self._note(event)
            self._searches[shard] = Search(plan, shard)
            self.queue.extend(self._searches[shard].begin())
            yield Divided(event)
        else:
            self._note(event)
            self._done(shard, failed=True)
            yield event

    def _note(self, event: ShardFailed) -> None:
        """Keep a shard's failure in mind as long as all fail alike. Of one pass only one is kept."""
        if self._made or event.kind not in DIVIDED:
            return
        shard = event.shard
        first = next(iter(self._firsts.values()), event)
        if alike(first, event):
            self._firsts[(shard.stage, shard.index, "" if known(shard.stage).over == "images" else shard.layer)] = event
        else:
            self._made = True  # they do not: each is looked into

    def _took(self, search: Search, event: Tried) -> Iterator[Event]:
        """Follow the search for the units of a shard that cannot be made, to the shard without them."""
        self._made |= not event.reason
        self.queue.extend(search.took(event))
        if not search.over or event.shard.index not in self._left[event.shard.names]:
            return
        if (rest := search.rest) is not None:
            self.queue.append(rest)
        else:
            self._done(event.shard, failed=True)
            yield ShardFailed(event.shard, search.reason, kind=event.kind)

    def _heed_time(self) -> None:
        """Hand out no more shards once time is up; what follows those that are done is little, and is done."""
        if time.monotonic() >= self._until and any(task.kind == "shards" for task in self.queue):
            self._over = True
            rest = [task for task in self.queue if task.kind != "shards"]
            self.queue.clear()
            self.queue.extend(rest)

    @property
    def _rendering(self) -> list[Plan]:
        return [plan for plan in self._plans.values() if plan.kind.renders and plan.over == "units"]

    def _begin(self) -> None:
        """Queue what can be done at once: images before pictures, since more rests on them.

        Of pictures the dearest shards come first: a short task at the end leaves workers idle for the shortest time.
        """
        for work in dict.fromkeys(stage.work for stage in STAGES.values() if stage.over == "images"):
            self.queue.extend(self._passes(work))
        for plan in sorted(self._plans.values(), key=lambda plan: _seconds(plan, self._calibration), reverse=True):
            if plan.names in self._waiting and self._may_begin(plan):
                self._start(plan)
        self._finish()

    def _passes(self, work: str) -> Iterator[Task]:
        """One pass of a shard of images for all plans that lack it."""
        showing = [plan for plan in self._plans.values() if plan.over == "images" and plan.kind.work == work]
        left = {plan: self._left[plan.names] for plan in showing}
        for index in sorted(set().union(*left.values())):
            yield Task(tuple(plan for plan in showing if index in left[plan]), (index,))

    def _may_begin(self, plan: Plan) -> bool:
        """Whether what a plan rests on is there and will not change in this run."""
        if plan.before is None:
            return True
        before = self._store.before(plan)
        return plan.before not in self._plans and before is not None and self._store.whole(before)

    def _start(self, plan: Plan) -> None:
        """Queue the shards of a plan, or what follows them."""
        self._waiting.discard(plan.names)
        if plan.over == "cells":
            plan = self._asking(plan)
        if plan.over != "images":  # those are shown in passes
            self.queue.extend(tasks(plan, sorted(self._left[plan.names]), self._workers, self._calibration))
        if not self._left[plan.names]:
            self._reduce(plan)

    def _asking(self, plan: Plan) -> Plan:
        """`plan`, asking for the cells that are filled: this is known now."""
        cells = self._store.before(plan)
        count = 0 if cells is None else filled(self._store, cells)
        (asking,) = self._store.prepare([plan.asking(range(-(-count // plan.kind.shard)))])
        self._plans[plan.names], self._left[plan.names] = asking, set(self._store.left_of(asking))
        return asking

    def _done(self, shard: Shard, *, failed: bool) -> bool:
        key = shard.names
        self.queue.ended(self._plans[key], shard.index)
        if shard.index not in self._left[key]:
            return False
        self._left[key].discard(shard.index)
        if failed:
            self._holes.add(key)
        if not self._left[key] and (self._partial or key not in self._holes):
            self._reduce(self._plans[key])
        return True

    def _reduce(self, plan: Plan) -> None:
        """Queue what follows a layer's last shard, before other work; what is there already leads on."""
        if self._store.settled(plan):
            self._follow_layer(plan)
        else:
            self._reducing.add(plan.names)
            self.queue.appendleft(Task((plan,), kind="reduce"))

    def _follow_layer(self, plan: Plan) -> None:
        """Begin what rests on a plan that is whole now: a layer's statistics say which examples there are."""
        for key in [key for key in self._plans if self._plans[key].before == plan.names and key in self._waiting]:
            if self._store.whole(plan):
                self._start(self._plans[key])
            else:
                self._holes.add(key)

    def _finish(self) -> None:
        """Queue what rests on all layers, once nothing else is left that can be done."""
        left = any(left for key, left in self._left.items() if key not in self._waiting)
        waiting = any(self._possible(self._plans[key]) for key in self._waiting)
        if not (self._finished or left or waiting or self._reducing):
            self._finished = True
            self.queue.append(Task(kind="finish"))

    def _possible(self, plan: Plan) -> bool:
        """Whether a plan that waits can begin in this run: not where what it rests on has a hole."""
        if plan.names in self._holes or plan.before is None:
            return False
        return plan.before in self._plans and (
            plan.before not in self._holes
            and (plan.before not in self._waiting or self._possible(self._plans[plan.before]))
        )


def tasks(plan: Plan, indices: Sequence[int], workers: int, measured: Calibration | None = None) -> Iterator[Task]:
    """Runs of shards, given by their indices, worth handing out, never so long that a worker stands idle."""
    if not indices:
        return
    length = max(1, min(int(SECONDS / max(_seconds(plan, measured), 1e-3)), -(-len(indices) // (PARTS * workers))))
    plans = (plan,)
    for start in range(0, len(indices), length):
        yield Task(plans, tuple(indices[start : start + length]))


def _units(plan: Plan, indices: Iterable[int]) -> int:
    """How many units lie in shards of `plan`."""
    return sum(len(plan.shard(index)) for index in indices)


def _seconds(plan: Plan, measured: Calibration | None) -> float:
    """What a shard of `plan` takes: as it was measured here, or by a nominal speed."""
    if not plan.kind.renders:
        return SECONDS
    shards = max(1, len(plan.shards))
    each = None if measured is None else measured.seconds(plan)
    return plan.flops / shards / SPEED if each is None else each * plan.pictures / shards
