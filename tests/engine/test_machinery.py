"""What the machinery costs by itself, in operations and bytes: a shard costs the same however many there are.

Seconds are measured by hand: `python -m benchmarks.machinery`.
"""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from atlas.engine import run
from atlas.engine.events import Event, Task
from atlas.engine.run import build, describe
from atlas.engine.worker import Job
from atlas.models import Model, load_model
from atlas.plans import STAGES
from atlas.store import MemoryBackend, Store
from benchmarks.machinery import Bare
from tests.naps import NAPS, nap_plans

pytestmark = pytest.mark.builder


class Counting(MemoryBackend):
    """Counts what is asked of it, by the kind of object."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()

    def get(self, key: str) -> bytes | None:
        self.asked[f"get {key.split('/', maxsplit=1)[0]}"] += 1
        return super().get(key)

    def put(self, key: str, value: bytes) -> None:
        self.asked[f"put {key.split('/', maxsplit=1)[0]}"] += 1
        super().put(key, value)

    def put_new(self, key: str, value: bytes) -> bool:
        self.asked[f"put {key.split('/', maxsplit=1)[0]}"] += 1
        return super().put_new(key, value)

    def list(self, prefix: str = "") -> Iterator[str]:
        self.asked["list"] += 1
        return super().list(prefix)


@pytest.fixture(autouse=True)
def declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STAGES, NAPS.name, NAPS)


@pytest.fixture(scope="module")
def tiny() -> Model:
    return load_model("tests.networks:tiny")


def built(model: Model, count: int, layers: int = 1) -> Counter[str]:
    """What a build of so many shards asks of a store, stopped half way and gone on with."""
    backend = Counting()
    store = Store.create(backend, model.identity, describe(model))
    plans = nap_plans(model, count, layers)
    for most in (count // 2, 2 * count):
        assert not build(store, model, plans, Bare(store, most)).failed
    assert all(map(store.whole, store.plans()))
    return backend.asked


def test_a_shard_costs_as_many_requests_however_many_there_are(tiny: Model) -> None:
    few, many = built(tiny, 200), built(tiny, 1000)
    assert many["put receipts"] - few["put receipts"] == 800, "each receipt once"
    assert many.total() - few.total() <= 25 * 800
    for kind in ("list", "get plans", "put plans", "put catalogue.json", "put builders"):
        assert many[kind] <= few[kind] + 2, "these go by plans and by time, not by shards"


def test_layers_cost_as_many_requests_however_many_there_are(tiny: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index tells of all layers: it is not written anew with each."""
    monkeypatch.setattr(run, "SELDOM", 1e9)
    few, many = built(tiny, 40, layers=10), built(tiny, 160, layers=40)
    assert many["put catalogue.json"] == few["put catalogue.json"] <= 5
    assert many["get receipts"] / 160 <= 1.5 * few["get receipts"] / 40


class Weighed(Bare):
    """Notes the most memory that was in use before anything else than shards was done."""

    most = 0

    def _whole(self, job: Job, task: Task) -> Generator[Event, None, None]:
        self.most = self.most or tracemalloc.get_traced_memory()[1]
        yield from super()._whole(job, task)


def test_the_driver_keeps_little_of_a_shard(tiny: Model, tmp_path: Path) -> None:
    """Neither its receipt nor the tasks that are over."""
    most = []
    for count in (100, 600):
        store = Store.create(tmp_path / str(count), tiny.identity, describe(tiny))
        plans = nap_plans(tiny, count)
        store.prepare(plans)
        executor = Weighed(store, 10 * count)
        tracemalloc.start()
        build(store, tiny, plans, executor)
        tracemalloc.stop()
        most.append(executor.most)
    assert (most[1] - most[0]) / 500 < 1500
