"""Taking out layers, and recipes of which no picture is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import atlas
from atlas.catalogue import write_index, write_tables
from atlas.errors import PlanMismatch, UnknownName
from atlas.plans import Plan
from atlas.store import Backend, MemoryBackend, Store, verify
from atlas.store.removal import keys_of, make_way, remove
from tests.collected import collect_into
from tests.stores import made_layer, make_shard, make_store, paint, plan_of

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


def test_a_shard_that_the_old_recipe_overwrote_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_store(MemoryBackend(), layers={"a": 40}, size=16, absent={"a": [0, 1]}, columns=False)
    (old,) = store.plans()
    writing = store._written
    replaced: list[Any] = []

    def late(path: str, rows: slice, length: int, values: np.ndarray[Any, Any]) -> Any:
        """Another driver changes the recipe, and makes this very shard, before the first gets to write."""
        monkeypatch.setattr(store, "_written", writing)
        (new,) = again(store, seed=5)
        make_shard(store, new, new.shard(0))
        replaced.append(new)
        return writing(path, rows, length, values)

    monkeypatch.setattr(store, "_written", late)
    with pytest.raises(PlanMismatch, match="in another way meanwhile"):
        store.write_shard(old, old.shard(0), {"image": paint(old, old.shard(0))})
    (new,) = replaced
    assert [shard.index for shard in store.todo(new)] == [0, 1]
