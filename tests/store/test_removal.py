"""Taking out layers, and recipes of which no picture is made."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

import atlas
from atlas.catalogue import write_index, write_tables
from atlas.errors import PlanMismatch, UnknownName
from atlas.plans import Plan
from atlas.store import Backend, MemoryBackend, Store, verify
from atlas.store.bundles import stored
from atlas.store.removal import keys_of, make_way, remove
from tests.collected import collect_into
from tests.schedules import Scheduled
from tests.stores import made_layer, make_shard, make_store, plan_of

Made = Callable[..., Store]


class Stopping(MemoryBackend):
    """Gives up after some objects are deleted."""

    left = 10**9

    def delete(self, key: str) -> None:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        super().delete(key)


def of_layer(backend: Backend, layer: str) -> list[str]:
    return [key for key in backend.list() if f"/{layer}/" in key or f"/{layer}." in key]


def again(store: Store, **knobs: Any) -> list[Plan]:
    """The plan of `a`, asked for in another way."""
    plans = [plan_of(made_layer("a", 40), size=16, **knobs)]
    make_way(store, plans)
    return store.prepare(plans)


def test_a_layer_goes_whole_and_the_others_stay(made_store: Made) -> None:
    store = made_store(layers={"a": 40, "b": 33}, size=16)
    collect_into(store)
    before = {key: store.backend.get(key) for key in of_layer(store.backend, "b")}
    remove(store, "a")
    assert not of_layer(store.backend, "a")
    assert {key: store.backend.get(key) for key in of_layer(store.backend, "b")} == before
    write_tables(store)
    write_index(store)
    assert not verify(store).damage
    cat = atlas.open(store.backend)
    assert list(cat.layers) == ["b"]
    assert cat.unit("b:3").similar == []
    assert {layer for (layer,) in cat.sql("select distinct layer from units")} == {"b"}
    with pytest.raises(UnknownName, match="'a'"):
        remove(store, "a")


def test_what_was_stopped_half_way_is_taken_out_by_the_same_command() -> None:
    whole = len(list(keys_of(make_store(MemoryBackend(), layers={"a": 40, "b": 3}, size=16), "a")))
    for after in range(0, whole, 2):
        backend = Stopping()
        store = make_store(backend, layers={"a": 40, "b": 3}, size=16)
        backend.left = after
        with pytest.raises(KeyboardInterrupt):
            remove(store, "a")
        backend.left = 10**9
        remove(store, "a")
        assert not of_layer(backend, "a")


def test_a_recipe_of_which_nothing_is_made_is_changed(made_store: Made) -> None:
    store = made_store(layers={"a": 40}, size=16, tries=2, absent={"a": [0, 1]}, columns=False)
    other = plan_of(made_layer("a", 40), size=24, variants=("positive",))
    make_way(store, [other])
    (plan,) = store.prepare([other])
    assert plan.id == other.id
    for shard in plan.shards:
        make_shard(store, plan, shard)
    assert not verify(store).damage
    assert not verify(store).strange
    assert store.array("layers/a/features/image").shape == (40, 1, 24, 24, 3)


def test_a_recipe_of_which_something_is_made_is_not(made_store: Made) -> None:
    store = made_store(layers={"a": 40}, size=16, absent={"a": [0]}, columns=False)
    before = {key: store.backend.get(key) for key in store.backend.list()}
    with pytest.raises(PlanMismatch, match=r"recipe\.size: 16 here, 24 asked"):
        make_way(store, [plan_of(made_layer("a", 40), size=24)])
    assert {key: store.backend.get(key) for key in store.backend.list()} == before


def test_who_builds_by_the_old_recipe_writes_nothing_more() -> None:
    store = make_store(MemoryBackend(), layers={"a": 40}, size=16, absent={"a": [0, 1]}, columns=False)
    (old,) = store.plans()
    (new,) = again(store, seed=5)
    with pytest.raises(PlanMismatch):
        make_shard(store, old, old.shard(0))
    assert not store.receipts(new)


class Looking(MemoryBackend):
    """Tells of every object that is read, before it is."""

    on: Callable[[str], None] = staticmethod(lambda _: None)

    def get(self, key: str) -> bytes | None:
        self.on(key)
        return super().get(key)


def test_who_was_frozen_while_it_made_way_harms_nothing_of_who_was_faster() -> None:
    backend = Looking()
    store = make_store(backend, layers={"a": 40}, size=16, absent={"a": [0, 1]}, columns=False)
    looks = [f"plans/{store.plans()[0].key}"] * 5
    made: list[Plan] = []

    def meanwhile(key: str) -> None:
        """At the last look before something is deleted, for the first time."""
        if key in looks:
            looks.pop()
            if not looks:
                made.extend(again(store, seed=7))
                make_shard(store, made[0], made[0].shard(0))

    backend.on = meanwhile
    with pytest.raises(PlanMismatch):
        again(store, seed=5)
    assert made
    assert held(store, made[0]) == {0}


def held(store: Store, plan: Plan) -> set[int]:
    """Shards whose receipts say what is there."""
    held = set()
    for index, receipt in store.receipts(plan).items():
        there = {one.key: store.backend.get(one.key) or b"" for one in receipt.objects}
        if stored(there) == receipt.objects:
            held.add(index)
    return held


@pytest.mark.parametrize("at", range(40))
def test_who_builds_by_the_old_recipe_harms_nothing_of_the_new_one(at: int) -> None:
    """Whenever, while a shard is put in place, another driver changes the recipe and makes this very shard."""
    backend = Scheduled(MemoryBackend())
    store = make_store(backend, layers={"a": 40}, size=16, absent={"a": [0, 1]}, columns=False)
    (old,) = store.plans()
    made: list[Plan] = []

    def meanwhile() -> None:
        with suppress(PlanMismatch):  # the old recipe has a receipt already: it is not given up
            made.extend(again(store, seed=5))
            make_shard(store, made[0], made[0].shard(0))

    backend.pause(at, meanwhile)
    refused = ""
    try:
        make_shard(store, old, old.shard(0))
    except PlanMismatch as error:
        refused = str(error)
    backend.resume()
    assert bool(made) == ("in another way meanwhile" in refused or "belongs to plan" in refused)
    if made:
        assert [shard.index for shard in store.todo(made[0])] == [1]
        assert held(store, made[0]) == {0}
    else:
        assert held(store, old) == {0}
