"""The driver: from a model and plans to a finished store.

    plans -> metadata -> what is left -> tasks -> events -> reduces -> catalogue

It holds no state that the store does not: kill it, start it again, and it goes on where it stopped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

from atlas.catalogue.door import write_door
from atlas.cost import Calibration
from atlas.errors import StoreError
from atlas.plan import EXAMPLES, FEATURES, IMAGES, STATISTICS, Plan, Shard
from atlas.store import Store
from pipelines import calibration, spectra
from pipelines.events import Event, LayerDone, ShardDone, ShardFailed, Task, TaskFailed
from pipelines.executors import Executor
from pipelines.record import Record, Report
from pipelines.work import Job, Supplies

if TYPE_CHECKING:
    from atlas.models import Model
    from atlas.rendering import Spectrum
    from pipelines.collecting import Images

SECONDS = 60.0
"""What a task should take: long enough to make handing it out free, short enough to lose little."""
SPEED = 4e10
"""Floating point operations a second that a device is taken for as long as nothing was measured on it."""


def describe(model: Model, note: str | None = None) -> dict[str, Any]:
    """What a store says of its network to people; `note` is a sentence for the home page."""
    labels = None if model.labels is None else len(model.labels)
    size = list(model.preprocessing.size)
    known = {"title": model.title, "random": model.random, "input": size, "labels": labels, "note": note}
    return known | {"layers": [layer.name for layer in model.layers]}


def build(
    store: Store,
    model: Model,
    plans: Sequence[Plan],
    executor: Executor,
    *,
    images: Images | None = None,
    spectrum: Spectrum | None = None,
    partial: bool = False,
    watch: Callable[[Event], None] | None = None,
) -> Report:
    """Carry out `plans` in `store`, telling `watch` of every event.

    `images` are those that the plans collect, `spectrum` the one that their recipe names. With `partial` what follows a
    layer's last shard is written although some of its shards failed. Raises `StoreError` where the store can no longer
    be written; everything with a receipt is kept.
    """
    store.backend.sweep()
    known = spectra.find(store, plans, spectrum)
    store.prepare(plans)
    spectra.write(store, plans, known)
    if model.labels is not None:
        store.put_labels(model.labels)
    if images is not None:
        images.write(store, plans)
    write_door(store)
    driver = _Driver(store, plans, partial=partial, workers=executor.workers)
    record = Record(store, planned=driver.planned, left=driver.pictures_left)
    job = Job(store.backend, model.source, model.weights_hash)
    supplies = Supplies(lambda: model.state, lambda: None if images is None else images.source)
    try:
        with closing(executor.run(job, supplies, driver.queue)) as events:
            for event in filter(driver.follow, events):
                record.take(event)
                if watch:
                    watch(event)
    finally:
        with suppress(StoreError):  # a full disk has been complained of already
            record.write()
            door = write_door(store)
            if images is not None:
                record.report.images = door["images"]["statuses"]
    return record.report


class _Driver:
    """Keeps the queue: the shards that are left, what follows each layer's last one, and what follows all layers."""

    def __init__(self, store: Store, plans: Sequence[Plan], *, partial: bool, workers: int) -> None:
        self._store, self._partial, self._workers = store, partial, workers
        self._calibration = calibration.known(store, plans[0].numerics.device) if plans else None
        self._plans = {(plan.stage, plan.layer_name): plan for plan in plans}
        self._left = {key: set(store.todo(plan)) for key, plan in self._plans.items()}
        self._holes: set[tuple[str, str]] = set()
        self._reducing: set[tuple[str, str]] = set()
        self._finished = False
        self.queue: deque[Task] = deque()
        self._begin()

    @property
    def planned(self) -> int:
        """Pictures asked for."""
        return sum(plan.pictures for plan in self._rendering)

    @property
    def pictures_left(self) -> int:
        """Pictures that are not there yet."""
        return sum(sum(map(len, self._todo(plan))) * len(plan.rendering.variants) for plan in self._rendering)

    def follow(self, event: Event) -> bool:
        """Queue what an event makes possible; say whether it is news.

        A task that is handed out again tells of the shards its first attempt finished once more, and one that is given
        up fails shards that have their receipt.
        """
        news = True
        match event:
            case ShardDone(shard):
                news = self._done(shard, failed=False)
            case ShardFailed(shard):
                done = self._store.receipt(self._plan_of(shard), shard) is not None
                news = self._done(shard, failed=not done) and not done
            case LayerDone(plan):
                self._reducing.discard((plan.stage, plan.layer_name))
                self._follow_layer(plan)
                write_door(self._store)
            case TaskFailed(task) if task.plans:
                self._reducing.discard((task.plans[0].stage, task.plans[0].layer_name))
                self._holes.add((task.plans[0].stage, task.plans[0].layer_name))
        self._finish()
        return news

    @property
    def _rendering(self) -> list[Plan]:
        return [plan for plan in self._plans.values() if plan.stage == FEATURES.name]

    def _plan_of(self, shard: Shard) -> Plan:
        return self._plans[shard.stage, shard.layer]

    def _todo(self, plan: Plan) -> set[Shard]:
        return self._left[plan.stage, plan.layer_name]

    def _begin(self) -> None:
        """Queue what can be done at once: images before pictures, since more rests on them."""
        self.queue.extend(self._passes())
        for plan in self._plans.values():
            if plan.stage == FEATURES.name:
                self.queue.extend(tasks(plan, sorted(self._todo(plan)), self._workers, self._calibration))
            if plan.stage != EXAMPLES.name and not self._todo(plan):
                self._reduce(plan)
        self._finish()

    def _passes(self) -> Iterator[Task]:
        """One pass of a shard of images for all plans that lack it."""
        showing = [plan for plan in self._plans.values() if plan.stage in (IMAGES.name, STATISTICS.name)]
        left = {plan: {shard.index for shard in self._todo(plan)} for plan in showing}
        for index in sorted(set().union(*left.values())):
            yield Task(tuple(plan for plan in showing if index in left[plan]), (index,))

    def _done(self, shard: Shard, *, failed: bool) -> bool:
        key = (shard.stage, shard.layer)
        if shard not in self._left[key]:
            return False
        self._left[key].discard(shard)
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
            self._reducing.add((plan.stage, plan.layer_name))
            self.queue.appendleft(Task((plan,), kind="reduce"))

    def _follow_layer(self, plan: Plan) -> None:
        """A layer's statistics say which examples there are."""
        examples = self._plans.get((EXAMPLES.name, plan.layer_name))
        if plan.stage == STATISTICS.name and examples is not None and self._store.whole(plan):
            self.queue.extend(tasks(examples, sorted(self._todo(examples)), self._workers))
            if not self._todo(examples):
                self._reduce(examples)

    def _finish(self) -> None:
        """Queue what rests on all layers, once nothing else is left that can be done."""
        waiting = {key for key, left in self._left.items() if left and self._possible(key)}
        if not self._finished and not waiting and not self._reducing:
            self._finished = True
            self.queue.append(Task(kind="finish"))

    def _possible(self, key: tuple[str, str]) -> bool:
        """Whether shards that are left will be made in this run: examples need statistics without a hole."""
        stage, layer = key
        return stage != EXAMPLES.name or (STATISTICS.name, layer) not in self._holes


def tasks(plan: Plan, shards: Sequence[Shard], workers: int, measured: Calibration | None = None) -> Iterator[Task]:
    """Runs of shards worth handing out, never so long that a worker stands idle."""
    if not shards:
        return
    length = max(1, min(int(SECONDS / max(_seconds(plan, measured), 1e-3)), -(-len(shards) // (2 * workers))))
    for start in range(0, len(shards), length):
        yield Task((plan,), tuple(shard.index for shard in shards[start : start + length]))


def _seconds(plan: Plan, measured: Calibration | None) -> float:
    """What a shard of `plan` takes: as it was measured here, or by a nominal speed."""
    if plan.stage != FEATURES.name:
        return SECONDS
    shards = max(1, len(plan.shards))
    each = None if measured is None else measured.seconds(plan)
    return plan.flops / shards / SPEED if each is None else each * plan.pictures / shards
