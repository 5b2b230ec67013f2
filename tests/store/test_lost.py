"""A plan that is gone: nothing is made of the plans as if nobody had asked for it, and nothing forgets it."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

import pytest

import atlas
from atlas.catalogue import write_index, write_tables
from atlas.catalogue.mending import examine, mend
from atlas.errors import PlanMismatch, StoreError
from atlas.store import MemoryBackend, Store, verify
from atlas.store.missing import lost
from atlas.store.removal import remove
from tests.collected import collect_into
from tests.stores import STRANGE, make_store, plan_of, store_of

PLANS = ["images", *(f"{stage}/{name}" for stage in ("features", "statistics", "examples") for name in ("a", "b"))]
TOP = "layers/b/zarr.json"


@cache
def made() -> dict[str, bytes]:
    store = make_store(MemoryBackend(), layers={"a": 40, "b": 10}, size=16)
    collect_into(store, images=9, crops=1)
    write_tables(store)
    return {key: store.backend.get(key) or b"" for key in store.backend.list()}


@pytest.fixture
def store() -> Store:
    return store_of(made())


def objects(store: Store) -> dict[str, bytes]:
    return {key: store.backend.get(key) or b"" for key in store.backend.list()}


def lose(store: Store, *plans: str) -> None:
    for plan in plans:
        store.backend.delete(f"plans/{plan}.json")


@pytest.mark.parametrize("plan", PLANS)
def test_verify_says_that_it_is_gone_in_one_line_and_a_repair_brings_it_back(store: Store, plan: str) -> None:
    lose(store, plan)
    verified = examine(store)
    assert [(finding.kind, finding.key) for finding in verified.damage] == [("missing", f"plans/{plan}.json")]
    assert re.match(rf"(manifests|receipts)/{plan}\S* remains", verified.damage[0].reason)
    assert verified.strange == []
    assert mend(store, verified.findings) == []
    assert objects(store) == made()


def test_all_plans_are_brought_back(store: Store) -> None:
    lose(store, *PLANS)
    verified = examine(store)
    assert sorted(finding.key for finding in verified.findings) == sorted(f"plans/{plan}.json" for plan in PLANS)
    mend(store, verified.findings)
    assert objects(store) == made()


@pytest.mark.parametrize("plan", PLANS)
def test_tables_that_would_be_short_are_refused_and_those_that_are_right_are_not_touched(
    store: Store, plan: str
) -> None:
    lose(store, plan)
    short = {"features": {"units"}, "statistics": {"units", "examples", "classes"}, "examples": {"units", "examples"}}
    for name in ("units", "examples", "classes", "images"):
        ask = f"select count(*) from {name}"
        if name in short.get(plan.partition("/")[0], {"examples", "images"}):
            with pytest.raises(StoreError, match=rf"plans/{plan}\.json is gone\. Repair it: atlas verify --repair"):
                atlas.open(store.backend).sql(ask)
        else:
            assert atlas.open(store.backend).sql(ask).rows[0][0] > 0
    tables = {key: data for key, data in made().items() if key.startswith("tables/")}
    with pytest.raises(StoreError, match="is gone"):
        write_tables(store)
    assert {key: data for key, data in objects(store).items() if key in tables} == tables


def test_find_and_what_is_made_up_refuse(store: Store) -> None:
    lose(store, "features/b")
    cat = atlas.open(store.backend)
    assert "plans/features/b.json is gone" in repr(cat)
    for ask in (lambda: cat.find(top=1), lambda: cat["b:0"].objective):
        with pytest.raises(StoreError, match=r"is gone\. Repair it"):
            ask()
    store.backend.delete("catalogue.json")
    with pytest.raises(StoreError, match=r"is gone\. Repair it"):
        atlas.open(store.backend)


@pytest.mark.parametrize("metadata", ["layers/b/features/zarr.json", "layers/b/statistics/zarr.json"])
def test_one_that_cannot_be_told_stays_lost_and_named_until_its_build_comes(store: Store, metadata: str) -> None:
    plan = metadata.split("/")[2] + "/b"
    whole = [found for found in store.plans() if f"{plan}.json" == found.key]
    lose(store, plan)
    store.backend.delete(metadata)
    for _ in range(2):
        verified = examine(store)
        assert [finding.key for finding in verified.findings] == [f"plans/{plan}.json"]
        mend(store, verified.findings)
        write_index(store)
        assert (store.backend.get("catalogue.json"), store.backend.get(TOP)) == (made()["catalogue.json"], made()[TOP])
        with pytest.raises(StoreError, match="The atlas build that made it brings it back") as caught:
            atlas.open(store.backend).find(top=1)
        assert "verify" not in str(caught.value), "a repair has nothing to tell it by"
    store.prepare(whole)
    assert verify(store).findings == ()
    assert objects(store) == made()


def test_one_of_which_nothing_is_done_is_known_from_the_door() -> None:
    store = make_store(MemoryBackend(), layers={"a": 40, "b": 10}, size=16, absent={"b": [0]})
    store.backend.delete("receipts/columns/b.json")
    write_index(store)
    lose(store, "features/b")
    assert lost(store) == {"features/b.json": "layers/b/features/zarr.json"}
    with pytest.raises(StoreError, match=r"plans/features/b\.json is gone"):
        atlas.open(store.backend).sql("select * from units")


def test_a_torn_plan_that_cannot_be_mended_is_lost_then(store: Store) -> None:
    store.backend.put("plans/features/b.json", b"{")
    store.backend.delete("layers/b/features/zarr.json")
    mend(store, examine(store).findings)
    assert set(lost(store)) == {"features/b.json"}
    assert store.backend.get("catalogue.json") == made()["catalogue.json"]


def test_another_plan_does_not_take_its_place(store: Store) -> None:
    layer = next(plan.on for plan in store.plans() if plan.layer_name == "b")
    lose(store, "features/b")
    with pytest.raises(PlanMismatch, match="has b from another plan"):
        store.prepare([plan_of(layer, size=32)])


def test_a_layer_whose_plans_are_lost_can_be_taken_out(store: Store) -> None:
    lose(store, "features/b", "statistics/b", "examples/b")
    remove(store, "b")
    assert lost(store) == {}
    assert not [key for key in store.backend.list() if {"b", "b.json"} & set(key.split("/"))]


def test_of_a_layer_with_an_odd_name_and_in_a_folder(made_store: Callable[..., Store]) -> None:
    store = made_store(layers={STRANGE: 10}, size=16)
    (plan,) = store.plans()
    whole = store.backend.get(f"plans/{plan.key}")
    store.backend.delete(f"plans/{plan.key}")
    assert set(lost(store)) == {plan.key}
    mend(store, examine(store).findings)
    assert store.backend.get(f"plans/{plan.key}") == whole
