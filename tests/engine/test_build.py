"""Building: the same bytes whoever does it, going on where it stopped, and what happens when a shard fails."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import atlas
from atlas.engine.events import Event, ShardDone, ShardFailed, Task
from atlas.engine.executors import InProcess
from atlas.engine.on_ray import OnRay
from atlas.engine.run import build, describe, tasks
from atlas.engine.worker import Job, Supplies
from atlas.errors import PlanMismatch
from atlas.models import Model, load_model
from atlas.recipe import Recipe
from atlas.store import LocalBackend, MemoryBackend, Store, verify
from atlas.units import Status
from tests.builds import HASTY, build_in, contents, tiny_plans
from tests.faults import Fault, FaultyBackend
from tests.stores import made_layer, plan_of

pytestmark = pytest.mark.builder


@pytest.fixture(scope="module")
def tiny() -> Model:
    return load_model("tests.networks:tiny")


@pytest.fixture(scope="module")
def squeezenet() -> Model:
    return load_model("squeezenet")


class Shuffled(InProcess):
    """Tasks of one shard each, in an order of chance, reduces where they come."""

    def run(self, job: Job, supplies: Supplies, queue: deque[Task]) -> Generator[Event, None, None]:
        while queue:
            some = [Task(task.plans, (index,)) for task in queue for index in task.indices]
            reduces = [task for task in queue if task.kind != "shards"]
            queue.clear()
            random.Random(1).shuffle(some)
            queue.extend([*some[1:], *reduces])
            yield from super().run(job, supplies, deque(some[:1]) if some else queue)


def test_the_same_bytes_whoever_builds(squeezenet: Model, tmp_path: Path, ray_cluster: None, ray_folder: Path) -> None:
    """Real rendering: in one process, out of order, with one worker, with two, and with a worker killed."""
    plans = tiny_plans(squeezenet, "features.3", "features.6:64-127", recipe=HASTY)
    plain = MemoryBackend()
    build_in(plain, squeezenet, plans)
    expected = contents(plain)
    numerics = plans[0].numerics

    shuffled = MemoryBackend()
    build_in(shuffled, squeezenet, plans, Shuffled())
    assert contents(shuffled) == expected
    for workers in (1, 2):
        place = LocalBackend(tmp_path / f"workers{workers}")
        build_in(place, squeezenet, plans, OnRay(numerics, workers))
        assert contents(place) == expected
    faulty = FaultyBackend(
        tmp_path / "killed", [Fault("inside", r"layers/features\.6/.*/image/c/3/.*")], tmp_path / "marks"
    )
    _, report = build_in(faulty, squeezenet, plans, OnRay(numerics, 2))
    assert report.retried == 1
    assert not report.failed
    assert contents(faulty) == expected


def test_a_build_goes_on_where_it_stopped(tiny: Model) -> None:
    backend, plans = MemoryBackend(), tiny_plans(tiny)
    store = Store.create(backend, tiny.identity, describe(tiny))
    seen: list[Event] = []

    def stop_after_two(event: Event) -> None:
        seen.append(event)
        if sum(isinstance(event, ShardDone) for event in seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(store, tiny, plans, InProcess(), watch=stop_after_two)
    done = [plan.shard(index) for plan in plans for index in store.receipts(plan)]
    assert len(done) == 2
    report = build(store, tiny, plans, InProcess())
    assert report.kept + report.made == report.planned
    assert report.kept == 2 * sum(map(len, done))
    assert build(store, tiny, plans, InProcess()).made == 0
    whole = MemoryBackend()
    build_in(whole, tiny, plans)
    assert contents(backend) == contents(whole)


def test_units_and_layers_are_added_to_a_store(tiny: Model) -> None:
    backend = MemoryBackend()
    store, _ = build_in(backend, tiny, tiny_plans(tiny, "second.1:0-20"))
    assert atlas.open(backend).layer("second.1").done == 32
    assert atlas.open(backend).unit("second.1:40").status == "absent"
    _, report = build_in(backend, tiny, tiny_plans(tiny, "second.1", "first.1"))
    assert report.kept == 64
    whole = MemoryBackend()
    build_in(whole, tiny, tiny_plans(tiny))
    assert contents(backend) == contents(whole)
    assert not verify(store).findings


def test_asking_for_less_builds_no_more(tiny: Model) -> None:
    backend = MemoryBackend()
    store = Store.create(backend, tiny.identity, describe(tiny))
    store.prepare(tiny_plans(tiny, "second.1"))
    report = build(store, tiny, tiny_plans(tiny, "second.1:0-31"), InProcess())
    assert (report.planned, report.made) == (64, 64)
    assert len(store.receipts(store.plans()[0])) == 1
    assert [len(store.todo(plan)) for plan in store.plans()] == [2]


def test_a_fold_that_was_missed_is_made_up_for(tiny: Model) -> None:
    """As after a kill between the receipt of the columns and the manifest."""
    backend, plans = MemoryBackend(), tiny_plans(tiny, "second.1")
    store, _ = build_in(backend, tiny, plans)
    before = contents(backend)
    for receipt in store.receipts(plans[0]).values():
        store.put_receipt(plans[0].shard(receipt.shard), receipt)
    backend.delete("manifests/features/second.1.json")
    build(store, tiny, plans, InProcess())
    assert contents(backend) == before
    assert not list(backend.list("receipts/features/"))


class Repeating(InProcess):
    """Tells of every shard twice, as a task does that is handed out again."""

    def run(self, job: Job, supplies: Supplies, queue: deque[Task]) -> Generator[Event, None, None]:
        for event in super().run(job, supplies, queue):
            yield event
            if isinstance(event, ShardDone):
                yield event
                yield ShardFailed(event.shard, "given up")


def test_what_is_told_twice_is_counted_once(tiny: Model) -> None:
    _, report = build_in(MemoryBackend(), tiny, tiny_plans(tiny, "second.1"), Repeating())
    assert report.made == report.planned == 140
    assert not report.failed


def test_another_plan_is_refused_and_shows_only_what_differs(tiny: Model) -> None:
    backend = MemoryBackend()
    build_in(backend, tiny, tiny_plans(tiny, "head"))
    before = contents(backend)
    with pytest.raises(PlanMismatch) as caught:
        build_in(backend, tiny, tiny_plans(tiny, "head", recipe=Recipe.named("quick", **_knobs(steps=4))))
    assert "recipe.steps: 3 here, 4 asked" in str(caught.value)
    assert "size" not in str(caught.value)
    with pytest.raises(PlanMismatch, match=r"weights: \w+… here, \w+… asked"):
        build_in(backend, load_model("tests.networks:other"), tiny_plans(load_model("tests.networks:other"), "head"))
    assert contents(backend) == before


def _knobs(**changes: Any) -> dict[str, Any]:
    knobs = HASTY.to_dict() | {"scale": HASTY.scale, "variants": HASTY.variants} | changes
    return {name: value for name, value in knobs.items() if name != "name"}


class Refusing(MemoryBackend):
    """A store that breaks in an unforeseen way at one object, as long as `broken`."""

    broken = True

    def put_new(self, key: str, value: bytes) -> bool:
        if self.broken and key.startswith("layers/second.1/features/image/c/1/"):
            raise RuntimeError("a fault in the machine room")
        return super().put_new(key, value)


def test_a_shard_that_fails_leaves_the_rest_running(tiny: Model) -> None:
    backend = Refusing()
    plans = tiny_plans(tiny)
    store, report = build_in(backend, tiny, plans)
    assert report.failed == ["features second.1:32-63: RuntimeError: a fault in the machine room"]
    assert [len(store.todo(plan)) for plan in plans] == [0, 1]
    assert [store.columns_done(plan) for plan in plans] == [True, False]
    assert build(store, tiny, plans, InProcess(), partial=True).failed
    columns = atlas.open(backend).layer("second.1").status
    assert (columns[32:64] == Status.ABSENT).all()
    assert (columns[64:] == Status.OK).all()

    backend.broken = False
    assert not build(store, tiny, plans, InProcess()).failed
    whole = MemoryBackend()
    build_in(whole, tiny, plans)
    assert contents(backend) == contents(whole)


def test_a_worker_that_always_dies_fails_its_shard_only(tiny: Model, tmp_path: Path, ray_cluster: None) -> None:
    # Between its first five deaths and the others each half of the shard is tried by itself, and is well.
    faults = [Fault("before", r"layers/second\.1/.*/image/c/0/.*")] * 10
    backend = FaultyBackend(tmp_path / "store", faults, tmp_path / "marks")
    plans = tiny_plans(tiny)
    store, report = build_in(backend, tiny, plans, OnRay(plans[0].numerics, 2))
    assert report.retried == 8
    assert [line.split(":")[0] for line in report.failed] == ["features second.1"]
    assert [len(store.todo(plan)) for plan in plans] == [0, 1]


def test_failures_of_units_are_data() -> None:
    backend = MemoryBackend()
    dead = load_model("tests.networks:dead")
    recipe = Recipe.named("quick", size=32, steps=40, eval_draws=1)
    _, report = build_in(backend, dead, tiny_plans(dead, "second.2:0-31", recipe=recipe))
    assert not report.failed
    layer = atlas.open(backend).layer("second.2")
    assert [layer[index].status for index in range(4)] == ["unstarted", "unstarted", "nan", "ok"]
    assert np.isfinite(layer.objective[3]).all()


@pytest.mark.parametrize(
    ("network", "layer", "width"), [("greedy", "head", 2), ("crowded", "body.1", 4)], ids=["gradients", "answers too"]
)
def test_a_narrower_batch_where_memory_is_short_is_recorded(network: str, layer: str, width: int) -> None:
    backend = MemoryBackend()
    model = load_model(f"tests.networks:{network}")
    store, report = build_in(backend, model, tiny_plans(model, layer))
    assert not report.failed
    (receipt,) = store.receipts(store.plans()[0]).values()
    assert receipt.record["backoff"] == width
    assert verify(store).backoffs == 1


def test_a_late_worker_of_a_dead_driver_does_no_harm(tiny: Model) -> None:
    """A task of a predecessor finishes after the layer was folded: nothing changes, verify finds nothing."""
    backend, plans = MemoryBackend(), tiny_plans(tiny, "second.1")
    store, _ = build_in(backend, tiny, plans)
    before = contents(backend)
    receipts = store.receipts(plans[0])
    store.put_receipt(plans[0].shard(1), receipts[1])
    build(store, tiny, plans, InProcess())
    assert contents(backend) == before
    assert not verify(store).findings


def test_tasks_cover_the_shards_once_and_leave_no_worker_idle(tiny: Model) -> None:
    (plan,) = tiny_plans(tiny, "second.1")
    for workers in (1, 2, 7):
        handed = list(tasks(plan, plan.wanted, workers))
        assert [shard for task in handed for shard in task.shards] == plan.shards
        assert len(handed) >= min(workers, len(plan.shards))


def test_no_task_is_more_than_a_small_part_of_what_a_worker_gets() -> None:
    """One machine of eight that is five times slower: its last task takes five times as long as another's."""
    plan = plan_of(made_layer("a", 32 * 512), size=16)
    longest = max(len(task.indices) for task in tasks(plan, plan.wanted, 8))
    assert 5 * longest < 0.19 * len(plan.shards) / 8, "1/7.2 of the whole, and no more than 1.3/8"
