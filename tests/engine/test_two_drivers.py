"""Two drivers of one store: what one finishes while the other works on it is neither lost nor vouched for unread."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from atlas.engine.events import Event, Finished, LayerDone, ShardDone, Task
from atlas.engine.executors import InProcess
from atlas.engine.planning.images import ListedImages
from atlas.engine.run import build
from atlas.engine.work import perform
from atlas.engine.worker import Job, Supplies
from atlas.models import Model, load_model
from atlas.plans import Plan
from atlas.recipe import ProjectionRecipe, Recipe
from atlas.store import MemoryBackend, Store, verify
from atlas.store.layout import columns_receipt, group_key
from tests.builds import atlas_plans, build_in, collecting_plans, contents, tiny_plans
from tests.dataset.made import encoded, pixels

pytestmark = pytest.mark.builder

CELL = Recipe.named("cell", size=16, steps=2, tries=1, redirected=0, draws=1, jitter=0.0)
STAGES = ("images", "statistics", "features", "examples", "activations", "patches", "icons")
REDUCED = ("features", "examples", "patches", "icons")
"""Stages of several shards whose reduce gathers what their receipts say."""


@pytest.fixture(scope="module")
def tiny() -> Model:
    return load_model("tests.networks:tiny")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ListedImages:
    place = tmp_path_factory.mktemp("images")
    for number in range(9):
        (place / f"good-{number}.png").write_bytes(encoded(pixels(number, (40, 60))))
    return ListedImages.open([str(place)])


def every_plan(model: Model, images: ListedImages) -> list[Plan]:
    """A layer with pictures, what images leave behind, and an atlas with more cells than a shard holds."""
    near = ProjectionRecipe(n_neighbors=5)
    charted = atlas_plans(
        model, images, "second.1", crops=1, positions=8, recipe=CELL, grids=(20,), layout=lambda _: near
    )
    collected = collecting_plans(model, images, "second.1", crops=1)
    return [*tiny_plans(model, "second.1"), *collected, *(plan for plan in charted if plan.layer is not None)]


@pytest.fixture(scope="module")
def done(tiny: Model, images: ListedImages) -> MemoryBackend:
    backend = MemoryBackend()
    _, report = build_in(backend, tiny, every_plan(tiny, images), images=images)
    assert not report.failed
    return backend


class Watched(MemoryBackend):
    """A copy of a store, in memory, that calls `on` for every object that is read or about to be written."""

    def __init__(self, other: MemoryBackend) -> None:
        super().__init__()
        self.on: Callable[[str, str], None] = lambda *_: None
        self.take(other)

    def take(self, other: MemoryBackend) -> None:
        """All that `other` holds: what another driver has finished."""
        for key in other.list():
            super().put(key, other.get(key) or b"")

    def get(self, key: str) -> bytes | None:
        self.on("get", key)
        return super().get(key)

    def put(self, key: str, value: bytes) -> None:
        self.on("put", key)
        super().put(key, value)

    def put_new(self, key: str, value: bytes) -> bool:
        self.on("put", key)
        return super().put_new(key, value)

    def put_if(self, key: str, value: bytes, there: bytes | None) -> bool:
        self.on("put", key)
        return super().put_if(key, value, there)


def plan_of(store: Store, stage: str) -> Plan:
    (plan,) = store.plans_of(stage)
    return plan


@pytest.mark.parametrize("stage", STAGES)
def test_what_another_driver_finishes_first_is_told_of(
    tiny: Model, images: ListedImages, done: MemoryBackend, stage: str
) -> None:
    """Between the look for a receipt before a shard is made and the one before it is written."""
    backend, seen, looks = Watched(done), list[Event](), list[str]()
    store = Store.open(backend)
    plan = plan_of(store, stage)
    shard = plan.shards[0]
    store.forget(plan, {0})

    def another(how: str, key: str) -> None:
        if (how, key) == ("get", f"receipts/{shard.key}"):
            looks.append(key)
            if len(looks) == 2:
                backend.take(done)

    backend.on = another
    report = build(store, tiny, every_plan(tiny, images), InProcess(), images=images, watch=seen.append)
    assert len(looks) >= 2
    assert not report.failed
    assert shard in [event.shard for event in seen if isinstance(event, ShardDone)]
    assert any(isinstance(event, Finished) for event in seen)
    assert contents(backend) == contents(done)


@pytest.mark.parametrize("stage", REDUCED)
def test_a_reduce_vouches_for_the_receipts_that_it_read(
    tiny: Model, images: ListedImages, done: MemoryBackend, stage: str
) -> None:
    """One that arrives while a reduce writes is not in what it wrote: it is due again."""
    backend = Watched(done)
    store = Store.open(backend)
    plan = plan_of(store, stage)
    last = plan.shards[-1]
    late = store.receipt(plan, last)
    assert late is not None
    assert last.index > 0
    store.forget(plan, {last.index})
    backend.delete(columns_receipt(plan))

    def arrives(how: str, key: str) -> None:
        if how == "put" and key.startswith(group_key(plan)):
            backend.on = lambda *_: None
            store.put_receipt(last, late)

    backend.on = arrives
    job = Job(backend, tiny.source, tiny.weights_hash)
    (event,) = perform(job, Task((plan,), kind="reduce"), Supplies(lambda: tiny.state))
    assert isinstance(event, LayerDone)
    assert last.index in store.receipts(plan)
    build(store, tiny, every_plan(tiny, images), InProcess(), images=images)
    assert not verify(store).findings
    assert contents(backend) == contents(done)
