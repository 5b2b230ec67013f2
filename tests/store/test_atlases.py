"""Atlases in a store: arrays written as they come, damage found and made again, plans in their order."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from atlas.engine.work import reduce
from atlas.errors import AtlasError, PlanMismatch
from atlas.plans import Plan
from atlas.recipe import Collection
from atlas.store import MemoryBackend, Receipt, Store, repair, verify
from atlas.store.layout import group_key, metadata
from tests.charted import chart_into
from tests.stores import make_store, store_of, write_whole

pytestmark = pytest.mark.builder

ATLAS = "layers/a/atlas/all"


@cache
def made() -> dict[str, bytes]:
    store = make_store(MemoryBackend(), layers={"a": 12}, size=16)
    chart_into(store, store.plans()[0].on, Collection("ab" * 32, 40, 10, 2), maps=("all", "winners-1"))
    return {key: store.backend.get(key) or b"" for key in store.backend.list()}


@pytest.fixture
def store() -> Store:
    return store_of(made())


def plan_of(store: Store, *names: str) -> Plan:
    return next(plan for plan in store.plans() if (plan.stage, *plan.part) == names)


def test_a_whole_store_is_whole_and_prepared_again_the_same(store: Store) -> None:
    assert not verify(store).findings
    plans = store.plans()
    assert store.prepare(plans) == plans
    assert {key: store.backend.get(key) for key in store.backend.list()} == made()
    assert all(map(store.whole, plans))
    assert not any(map(store.left, plans))


@pytest.mark.parametrize(("classes", "rough"), [(2000, False), (2001, True)])
def test_an_atlas_of_very_many_classes_says_that_it_is_approximate(store: Store, classes: int, rough: bool) -> None:
    for names in (("activations",), ("cells", "all", "5")):
        plan = plan_of(store, *names)
        recipe: Any = plan.recipe
        if names == ("activations",):
            recipe = replace(recipe, classes=classes)
        else:
            recipe = replace(recipe, sampling=replace(recipe.sampling, classes=classes))
        told = json.loads(metadata([replace(plan, recipe=recipe)])[f"{group_key(plan)}/zarr.json"])["attributes"]
        assert ("approximate" in told) == rough


def test_plans_come_in_the_order_of_their_stages_maps_and_sides(store: Store) -> None:
    assert [" ".join([plan.stage, *plan.part]) for plan in store.plans()] == [
        "features",
        "activations",
        "layout all",
        "layout winners-1",
        *(
            f"{stage} {name} {side}"
            for stage in ("cells", "patches", "icons", "tiles")
            for name in ("all", "winners-1")
            for side in (5, 10)
        ),
    ]


DAMAGED = {
    "layers/a/activations/vector/c/0/0": "activations",
    f"{ATLAS}/xy/c/0/0": "layout",
    f"{ATLAS}/10/direction/c/0/0": "cells",
    f"{ATLAS}/10/strength/c/7/0": "cells",
    f"{ATLAS}/5/patches/picture/c/0/0/0/0/0": "patches",
    f"{ATLAS}/5/icons/answer/c/0/0": "icons",
    f"{ATLAS}/5/icons/rank/c/0": "icons",
    f"{ATLAS}/10/tiles/tile/c/0/0/0/0": "tiles",
}


@pytest.mark.parametrize("key", DAMAGED)
def test_damage_is_found_and_only_what_is_damaged_is_made_again(store: Store, key: str) -> None:
    data = store.backend.get(key) or b""
    store.backend.put(key, data[:9] + bytes([data[9] ^ 1]) + data[10:])
    verified = verify(store)
    assert [(finding.kind, finding.key) for finding in verified.findings] == [("torn", key)]
    repair(store, verified.findings)
    left = {plan.stage for plan in store.plans() if not store.whole(plan) or not store.columns_done(plan)}
    assert DAMAGED[key] in left
    store.backend.put(key, data)  # as the next build would
    for plan in store.plans():
        for shard in store.todo(plan):
            receipts = Store.open(_copy()).receipts(plan)
            store.put_receipt(shard, receipts[shard.index])
        if not store.columns_done(plan):
            reduce(store, plan)
    assert not verify(store).findings
    assert _data(store) == {k: v for k, v in made().items() if "/c/" in k}


def _copy() -> MemoryBackend:
    backend = MemoryBackend()
    for key, data in made().items():
        backend.put(key, data)
    return backend


def _data(store: Store) -> dict[str, bytes | None]:
    return {key: store.backend.get(key) for key in store.backend.list() if "/c/" in key}


def test_a_layout_that_is_made_again_otherwise_makes_what_rests_on_it_due(store: Store) -> None:
    cells, layout = plan_of(store, "cells", "all", "5"), plan_of(store, "layout", "all")
    assert store.columns_done(cells)
    key = "receipts/columns/layout/a/all.json"
    receipt = store.reduced(key)
    assert receipt is not None
    store.backend.delete(key)
    store.put_reduced(key, Receipt(receipt.plan, 0, (0, 1), receipt.objects))
    assert store.columns_done(layout)
    assert not store.columns_done(cells)
    assert not store.whole(cells)


def test_another_atlas_of_the_same_layer_is_refused_and_says_where(store: Store) -> None:
    layer, collection = plan_of(store, "features").on, Collection("ab" * 32, 40, 10, 2)

    def other(positions: int = 8, size: int = 16) -> list[Plan]:
        place = make_store(MemoryBackend(), layers={"a": 12}, size=16)
        return chart_into(place, layer, collection, positions=positions, size=size)

    with pytest.raises(PlanMismatch, match=r"recipe.positions: 8 here, 9 asked"):
        store.check(other(positions=9))
    with pytest.raises(PlanMismatch, match=r"a all 5 from another plan: recipe.size: 16 here, 32 asked"):
        store.check(plan for plan in other(size=32) if plan.stage == "icons")


def test_what_is_too_large_is_written_in_pieces_of_whole_objects(store: Store) -> None:
    plan = plan_of(store, "cells", "all", "5")
    whole = {name: store.read(f"{ATLAS}/5/{name}") for name in plan.written_by("reduce")}
    strength = whole.pop("strength")
    one = write_whole(store, plan, "reduce", whole | {"strength": strength})
    pieces = write_whole(store, plan, "reduce", whole, {"strength": iter([strength[:3], strength[3:4], strength[4:]])})
    assert one == pieces
    for wrong in ([strength[:9]], [strength, strength[:1]], [strength[:, :24]], [strength.astype(np.float64)]):
        with pytest.raises(AtlasError, match="whole"):
            write_whole(store, plan, "reduce", whole, {"strength": wrong})
