"""Attempts of unlike hardware, frozen before any operation: no object that a valid receipt names is ever replaced.

Whoever is faster at which operation, in the end a shard is of one attempt: what its receipt says and what is there.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atlas.plans import Plan
from atlas.recipe import Collection
from atlas.store import Backend, LocalBackend, MemoryBackend, ObjectBackend, Receipt, Store, verify
from atlas.store.bundles import BUNDLES, stored
from atlas.store.copying import _copied, _shards
from atlas.store.layout import columns_receipt
from tests.object_stores import moto
from tests.schedules import Killed, Scheduled, carried_out
from tests.stores import IDENTITY, NUMERICS, made_layer, plan_of, store_of

SINGLE = plan_of(made_layer("a", 40), size=16, variants=("positive",))
MULTIPLE = Plan.of("statistics", IDENTITY, made_layer("a", 3), Collection("0" * 64, 40, 10, 1), NUMERICS)
PLANS = {"one object": SINGLE, "some objects": MULTIPLE}
LEFT = ("nothing", "ours", "theirs", "mixed", "junk")
"""What attempts that died before there were bundles may have left."""


@dataclass(frozen=True)
class Attempt:
    """What one attempt at a shard, or at what follows it, comes to."""

    objects: dict[str, bytes]
    receipt: Receipt


def data_of(plan: Plan, by: Any, rows: int | None, value: int) -> dict[str, np.ndarray[Any, Any]]:
    """Arrays full of one number, as no two attempts have them here."""
    arrays = plan.written_by(by).items()
    spans = {
        name: array.shape[0] if rows is None else len(range(*array.of(rows).indices(10**9))) for name, array in arrays
    }
    return {name: np.full((spans[name], *array.shape[1:]), value, array.dtype) for name, array in arrays}


def attempt_at(store: Store, plan: Plan, value: int) -> Attempt:
    """An attempt at the first shard of a plan."""
    shard = plan.shard(0)
    objects = store.shard_objects(plan, shard, data_of(plan, "shard", 0, value))
    numbers: dict[str, Any] = {"mean": [[value]] * len(shard)}
    return Attempt(objects, Receipt(plan.id, 0, (shard.start, shard.stop), stored(objects), numbers))


def reduce_of(store: Store, plan: Plan, value: int) -> Attempt:
    """An attempt at what follows a plan's last shard, from the receipts that are there now."""
    objects = store.whole_objects(plan, "reduce", data_of(plan, "reduce", None, value))
    return Attempt(objects, Receipt(store.digest(plan), 0, (0, plan.total), stored(objects)))


@cache
def prepared(plan: Plan) -> Store:
    """A store in which nothing is made yet."""
    store = Store.create(MemoryBackend(), IDENTITY, {})
    store.prepare([plan])
    return store


@cache
def attempts_at(plan: Plan, count: int = 2) -> list[Attempt]:
    return [attempt_at(prepared(plan), plan, value) for value in range(1, count + 1)]


def begun(backend: Backend, plan: Plan) -> Store:
    """The same in a place of its own."""
    for key in prepared(plan).backend.list():
        backend.put(key, prepared(plan).backend.get(key) or b"")
    return Store.open(backend)


def leave(backend: Backend, attempts: list[Attempt], how: str) -> None:
    """What was there before, with no receipt."""
    for number, key in enumerate(attempts[0].objects):
        found = {"ours": attempts[0].objects[key], "theirs": attempts[1].objects[key], "junk": b"junk"}
        found["mixed"] = attempts[number % 2].objects[key]
        if how != "nothing":
            backend.put(key, found[how])


def check(backend: Backend, key: str, attempts: list[Attempt]) -> Attempt:
    """What the receipt at `key` says is there, and all of it is of one attempt; which."""
    receipt = Receipt.parse(backend.get(key))
    assert receipt is not None
    (whose,) = [one for one in attempts if one.receipt == receipt]
    for one in receipt.objects:
        data = backend.get(one.key) or b""
        assert (len(data), hashlib.sha256(data).hexdigest()) == (one.size, one.sha256)
        assert data == whose.objects[one.key]
    return whose


def works_of(store: Store, plan: Plan, attempts: list[Attempt]) -> list[Callable[[], Receipt]]:
    shard = plan.shard(0)
    return [lambda one=one: store.commit_shard(plan, shard, one.objects, one.receipt) for one in attempts]  # type: ignore[misc]


def alone(plan: Plan, left: str = "nothing") -> int:
    """How many operations one attempt takes."""
    backend = Scheduled(MemoryBackend())
    store = begun(backend, plan)
    attempts = attempts_at(plan)
    leave(backend, attempts, left)
    _, steps = carried_out(backend, works_of(store, plan, attempts[:1]), [])
    return steps[0]


class Guarded(MemoryBackend):
    """Notes every write to an object that a receipt names, whatever it writes."""

    def __init__(self) -> None:
        super().__init__()
        self.harmed: list[str] = []

    def put(self, key: str, value: bytes) -> None:
        self._look(key)
        super().put(key, value)

    def put_if(self, key: str, value: bytes, there: bytes | None) -> bool:
        written = super().put_if(key, value, there)
        if written:
            self._look(key)
        return written

    def _look(self, key: str) -> None:
        receipts = [Receipt.parse(self.get(name)) for name in self.list("receipts/")]
        named = {one.key for receipt in receipts if receipt for one in receipt.objects}
        self.harmed += [key] if key in named else []


def put_in_place(
    inner: Backend, plan: Plan, spans: list[tuple[int, int]], left: str, killed: int | None = None, count: int = 2
) -> None:
    """Let attempts put a shard in place by a schedule, and see what is there."""
    backend = Scheduled(inner)
    store = begun(backend, plan)
    attempts = attempts_at(plan, count)
    leave(backend, attempts, left)
    results, _ = carried_out(backend, works_of(store, plan, attempts), spans, killed)
    whose = check(inner, f"receipts/{plan.shard(0).key}", attempts)
    for number, result in enumerate(results):
        assert result == whose.receipt or (number == killed and isinstance(result, Killed)), result
    assert not getattr(inner, "harmed", [])
    if killed is None:
        assert not list(inner.list(BUNDLES))
    store.fold(plan)
    assert not list(inner.list(BUNDLES))


@pytest.mark.parametrize("left", LEFT)
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_two_attempts_each_frozen_before_any_operation(plan: Plan, left: str) -> None:
    """One stops before each operation, the other before each of its own; the first ends, then the second."""
    steps = alone(plan, left) + 4
    for first in range(steps):
        for second in range(steps):
            put_in_place(Guarded(), plan, [(0, first), (1, second), (0, 10**6)], left)


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_two_attempts_that_change_places_twice(plan: Plan) -> None:
    steps = alone(plan) + 2
    for first in range(steps):
        for second in range(1, steps, 2):
            for third in range(1, steps, 2):
                put_in_place(Guarded(), plan, [(0, first), (1, second), (0, third), (1, 10**6)], "nothing")


@pytest.mark.parametrize("left", LEFT)
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_an_attempt_that_is_killed_is_finished_by_the_next(plan: Plan, left: str) -> None:
    for at in range(alone(plan, left)):
        put_in_place(Guarded(), plan, [(0, at), (1, 10**6)], left, killed=0)


@pytest.mark.parametrize("seed", range(60))
def test_three_attempts_in_any_order(seed: int) -> None:
    chance = random.Random(seed)
    spans = [(chance.randrange(3), chance.randrange(1, 4)) for _ in range(60)]
    killed = chance.choice([None, 0, 1, 2])
    put_in_place(Guarded(), MULTIPLE, spans, chance.choice(LEFT), killed, count=3)


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_in_a_folder(plan: Plan, tmp_path: Path) -> None:
    steps = alone(plan)
    for number, (first, second) in enumerate((one, two) for one in range(0, steps, 2) for two in range(0, steps, 4)):
        place = LocalBackend(tmp_path / str(number))
        put_in_place(place, plan, [(0, first), (1, second), (0, 10**6)], LEFT[number % len(LEFT)])


class Halting(ObjectBackend):
    """An object store that may be left between its look at an object and the write that rests on it."""

    turn: Callable[[], None] = staticmethod(lambda: None)

    def _put_on_condition(self, key: str, value: bytes, mode: Any) -> bool:
        self.turn()
        return super()._put_on_condition(key, value, mode)


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with moto() as server, server.reached():
        yield server.bucket


@pytest.mark.builder
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_in_an_object_store(plan: Plan, bucket: str) -> None:
    chance = random.Random(len(plan.stage))
    for number in range(16):
        inner = Halting(f"{bucket}/{plan.stage}-{number}")
        spans = [(chance.randrange(2), chance.randrange(1, 8)) for _ in range(8)]
        put_in_place(inner, plan, spans, LEFT[number % len(LEFT)])


@pytest.mark.parametrize("left", ["nothing", "theirs"])
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_a_copy_is_one_attempt_more_where_another_hardware_builds(plan: Plan, left: str) -> None:
    """Each stops before each of its operations, and goes on when the other has ended."""
    ours, theirs = attempts = attempts_at(plan)
    shard, source = plan.shard(0), begun(MemoryBackend(), plan)
    source.commit_shard(plan, shard, ours.objects, ours.receipt)
    steps = alone(plan, left) + 4
    for first in range(steps):
        for second in range(steps):
            inner = Guarded()
            store = begun(backend := Scheduled(inner), plan)
            leave(backend, attempts, left)
            (piece,) = _shards(source, store, [plan])
            (builds,) = works_of(store, plan, [theirs])
            carried_out(backend, [partial(_copied, source, piece), builds], [(0, first), (1, second), (0, 10**6)])
            check(inner, f"receipts/{shard.key}", attempts)
            assert not inner.harmed
            assert not list(inner.list(BUNDLES))


# -- reduces -----------------------------------------------------------------------------------------------------------


def reduced(store: Store, plan: Plan, one: Attempt) -> Callable[[], None]:
    """Put what follows a plan's last shard in place, as long as it rests on the receipts that are there."""
    digest = one.receipt.plan
    key = columns_receipt(plan)
    return lambda: store.commit_reduced(key, one.objects, one.receipt, lambda: store.digest(plan) == digest)


def shard_done(store: Store, plan: Plan, index: int) -> None:
    shard = plan.shard(index)
    objects = store.shard_objects(plan, shard, data_of(plan, "shard", index, 7))
    receipt = Receipt(plan.id, index, (shard.start, shard.stop), stored(objects))
    store.commit_shard(plan, shard, objects, receipt)


def test_two_reduces_of_the_same_receipts() -> None:
    store = begun(MemoryBackend(), SINGLE)
    shard_done(store, SINGLE, 0)
    attempts = [reduce_of(store, SINGLE, value) for value in (1, 2)]
    there = {key: store.backend.get(key) or b"" for key in store.backend.list()}
    for first in range(0, 40, 2):
        for second in range(0, 40, 3):
            backend = Scheduled(store_of(there).backend)
            store = Store.open(backend)
            works = [reduced(store, SINGLE, one) for one in attempts]
            results, _ = carried_out(backend, works, [(0, first), (1, second), (0, 10**6)])
            assert results == [None, None]
            check(backend, columns_receipt(SINGLE), attempts)
            assert not list(backend.list(BUNDLES))


def test_a_reduce_that_is_late_leaves_one_of_more_receipts_alone() -> None:
    """While one is frozen, a shard more is done, and what rests on it is written: that stays."""
    steps = 0
    for at in range(60):
        backend = Scheduled(MemoryBackend())
        store = begun(backend, SINGLE)
        shard_done(store, SINGLE, 0)
        late = reduce_of(store, SINGLE, 1)
        newer: list[Attempt] = []

        def meanwhile(store: Store = store, newer: list[Attempt] = newer) -> None:
            shard_done(store, SINGLE, 1)
            newer.append(reduce_of(store, SINGLE, 2))
            reduced(store, SINGLE, newer[0])()

        backend.pause(at, meanwhile)
        reduced(store, SINGLE, late)()
        backend.resume()
        if newer:
            steps = at
            assert check(backend, columns_receipt(SINGLE), newer) is newer[0]
        store.fold(SINGLE)
        assert not [key for key in backend.list(BUNDLES) if newer]
    assert steps > 10


def test_what_a_killed_attempt_left_is_no_damage() -> None:
    backend = Scheduled(MemoryBackend())
    store = begun(backend, MULTIPLE)
    one = attempt_at(store, MULTIPLE, 1)
    carried_out(backend, works_of(store, MULTIPLE, [one]), [(0, 6)], killed=0)
    (bundle,) = backend.list(BUNDLES)
    assert {finding.kind for finding in verify(store).findings} == {"unfinished"}
    assert bundle in {finding.key for finding in verify(store).findings}
    backend.put(bundle, (backend.get(bundle) or b"")[:-1])  # a disk lost some of it
    other = attempt_at(store, MULTIPLE, 2)
    assert store.commit_shard(MULTIPLE, MULTIPLE.shard(0), other.objects, other.receipt) == other.receipt
    check(backend, f"receipts/{MULTIPLE.shard(0).key}", [other])
