"""Drivers that prepare one layer at a time lose nothing of each other's, whoever is faster at which write."""

from __future__ import annotations

import json
import multiprocessing
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from atlas.errors import PlanMismatch
from atlas.plans import Plan
from atlas.recipe import Collection
from atlas.store import LocalBackend, MemoryBackend, Store, verify
from atlas.store.backends import PROBES
from tests.schedules import Scheduled, carried_out
from tests.stores import IDENTITY, NUMERICS, made_layer, plan_of

LAYER = made_layer("a", 70)
SHOWN = Collection("0" * 64, 40, 10, 1)
STAGES = [
    plan_of(LAYER, size=16, units=[3]),
    plan_of(LAYER, size=16, units=[69]),
    Plan.of("statistics", IDENTITY, LAYER, SHOWN, NUMERICS),
    Plan.of("examples", IDENTITY, LAYER, SHOWN, NUMERICS, [40]),
]
TOP = "layers/a/zarr.json"

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


class Turns(MemoryBackend):
    """A dictionary in which two drivers take turns, a read or a write at a time, by chance."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.chance, self.turn = random.Random(seed), threading.Condition()
        self.waiting: set[int] = set()
        self.living = 0
        self.next: int | None = None

    def get(self, key: str) -> bytes | None:
        self._wait()
        return super().get(key)

    def put(self, key: str, value: bytes) -> None:
        self._wait()
        super().put(key, value)

    def put_new(self, key: str, value: bytes) -> bool:
        self._wait()
        return super().put_new(key, value)

    def put_if(self, key: str, value: bytes, there: bytes | None) -> bool:
        self._wait()
        return super().put_if(key, value, there)

    def together(self, works: list[Callable[[], object]]) -> None:
        self.living = len(works)
        threads = [threading.Thread(target=self._run, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
            assert not thread.is_alive()

    def _run(self, work: Callable[[], object]) -> None:
        try:
            work()
        finally:
            with self.turn:
                self.living -= 1
                self._choose()

    def _wait(self) -> None:
        if not self.living:
            return
        me = threading.get_ident()
        with self.turn:
            self.waiting.add(me)
            self._choose()
            self.turn.wait_for(lambda: self.next == me)
            self.waiting.discard(me)
            self.next = None

    def _choose(self) -> None:
        """Whose turn it is, once all wait."""
        if self.next is None and self.waiting and len(self.waiting) == self.living:
            self.next = self.chance.choice(sorted(self.waiting))
            self.turn.notify_all()


def check(store: Store) -> None:
    told = json.loads(store.backend.get(TOP) or b"")["consolidated_metadata"]["metadata"]
    assert {"features", "statistics", "examples"} <= told.keys()
    assert {"features/image", "statistics/mean", "examples/box"} <= told.keys()
    assert {plan.stage: plan.wanted for plan in store.plans()} == {
        "features": (0, 2),
        "statistics": (0,),
        "examples": (1,),
    }
    assert verify(store).findings == ()


@pytest.mark.parametrize("seed", range(12))
def test_whatever_the_order_of_their_reads_and_writes(seed: int) -> None:
    backend = Turns(seed)
    store = Store.create(backend, IDENTITY, {})
    backend.together([lambda: store.prepare(STAGES[::2]), lambda: store.prepare(STAGES[1::2])])
    check(store)


def of_images(digest: str, count: int) -> list[Plan]:
    """The plans of some images, as a driver has them that was given these."""
    shown = Collection(digest * 64, count, 10, 1)
    plans = [
        Plan.of("images", IDENTITY, None, shown, NUMERICS),
        Plan.of("statistics", IDENTITY, LAYER, shown, NUMERICS),
    ]
    return [STAGES[0], *plans, Plan.of("examples", IDENTITY, LAYER, shown, NUMERICS)]


@pytest.mark.parametrize("seed", range(12))
def test_of_two_drivers_with_other_images_one_is_refused_and_leaves_nothing_behind(seed: int) -> None:
    backend = Turns(seed)
    store = Store.create(backend, IDENTITY, {})
    asked = {"0": of_images("0", 40), "1": of_images("1", 3000)}
    refused: list[str] = []

    def driver(name: str) -> None:
        with suppress(PlanMismatch):
            store.prepare(asked[name])
            return
        refused.append(name)

    backend.together([lambda: driver("0"), lambda: driver("1")])
    (loser,) = refused
    winner = asked["1" if loser == "0" else "0"]
    assert {plan.id for plan in store.plans()} == {plan.id for plan in winner}
    alone = Store.create(MemoryBackend(), IDENTITY, {})
    alone.prepare(winner)
    assert {key: backend.get(key) for key in backend.list()} == {
        key: alone.backend.get(key) for key in alone.backend.list()
    }
    with pytest.raises(PlanMismatch, match="rests on another list of images"):
        store.prepare(asked[loser])


class Slow(LocalBackend):
    """A folder whose writers pause before each write."""

    def put(self, key: str, value: bytes) -> None:
        time.sleep(random.uniform(0, 0.02))
        super().put(key, value)


def prepare(place: Path, plan: Plan, seed: int) -> None:
    random.seed(seed)
    Store.open(Slow(place)).prepare([plan])


def test_processes_of_their_own(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    for turn in range(3):
        place = tmp_path / str(turn)
        store = Store.create(place, IDENTITY, {})
        drivers = [fork.Process(target=prepare, args=(place, plan, turn * 9 + at)) for at, plan in enumerate(STAGES)]
        for driver in drivers:
            driver.start()
        for driver in drivers:
            driver.join(120)
        assert [driver.exitcode for driver in drivers] == [0] * len(STAGES)
        check(store)


def test_what_a_driver_that_died_left_out_is_found_and_made_up_for() -> None:
    from atlas.engine.relations import finish

    store = Store.create(MemoryBackend(), IDENTITY, {})
    store.prepare(STAGES[:1])
    before = store.backend.get(TOP) or b""
    store.prepare(STAGES[1:])
    whole = store.backend.get(TOP)
    store.backend.put(TOP, before)  # killed between its plans and what is consolidated
    assert [(one.kind, one.key) for one in verify(store).findings] == [("torn", TOP)]
    finish(store)
    assert store.backend.get(TOP) == whole


class Tried(Scheduled):
    """A place in which it is tried first what it is good for, as in an object store."""

    def fault(self) -> str:
        key = f"{PROBES}{threading.get_ident()}"
        self.put(key, b"")
        self.delete(key)
        return ""


def test_two_that_make_a_store_at_the_same_time_make_one() -> None:
    """What the other tries, or has just made, is no file of others."""
    for first in range(12):
        for second in range(12):
            backend = Tried(MemoryBackend())
            works = [lambda backend=backend: Store.create(backend, IDENTITY, {})] * 2
            made, _ = carried_out(backend, works, [(0, first), (1, second), (0, 10**6)])
            assert [isinstance(one, Store) for one in made] == [True, True], made
            assert [*backend.list()] == ["zarr.json"]
