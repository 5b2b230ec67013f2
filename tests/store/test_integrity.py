"""Every object that is read has a hash or a plan that it is held against; what can be made again is; nothing hangs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import atlas
from atlas.catalogue import write_index
from atlas.catalogue.mending import examine, mend
from atlas.errors import AtlasError, NotAStore, StoreError
from atlas.plans import Plan
from atlas.store import LocalBackend, MemoryBackend, Store, repair, verify
from atlas.store.consistency import agree
from atlas.store.seals import Seal, fits, parsed, seal_of, sealed
from tests.collected import collect_into
from tests.store.make_fixture import FIXTURES
from tests.stores import IDENTITY, made_layer, make_store, plan_of

DEEP = b"[" * 200_000
LABELS = [f"kind {number}" for number in range(10)]
PLAN = "plans/features/a.json"


@cache
def made() -> dict[str, bytes]:
    """A small store with everything that no receipt names."""
    store = make_store(MemoryBackend(), layers={"a": 40}, size=16)
    collect_into(store, images=9, crops=1, photographs=False)
    store.put_labels(LABELS)
    store.put_json("calibration/cpu.json", {"machine": "a machine"})
    store.put_json("logs/20260101T000000000000Z-000000.json", {"seconds": 1.5, "events": []})
    mend(store, ())
    write_index(store)
    return {key: store.backend.get(key) or b"" for key in store.backend.list()}


@pytest.fixture
def store() -> Store:
    return opened(made())


def opened(objects: dict[str, bytes]) -> Store:
    backend = MemoryBackend()
    for key, data in objects.items():
        backend.put(key, data)
    return Store.open(backend)


def there(store: Store) -> dict[str, bytes]:
    return {key: store.backend.get(key) or b"" for key in store.backend.list()}


def found(store: Store) -> set[tuple[str, str]]:
    return {(finding.kind, finding.key) for finding in verify(store).findings}


def alter(store: Store, key: str, change: Callable[[Any], Any]) -> None:
    """Change what an object says, and not its hash."""
    value = json.loads(store.backend.get(key) or b"")
    store.backend.put(key, json.dumps(change(value) or value).encode())


def names(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every name in parsed JSON."""
    for name, below in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(value, dict):
            yield (*path, name)
        if isinstance(below, dict | list):
            yield from names(below, (*path, name))


def renamed(value: Any, way: tuple[Any, ...]) -> None:
    """Give a name another first letter."""
    for step in way[:-1]:
        value = value[step]
    name = way[-1]
    value[chr(ord(name[0]) ^ 1) + name[1:]] = value.pop(name)


def test_a_store_is_whole_and_nothing_in_it_is_bare(store: Store) -> None:
    assert verify(store).findings == ()
    assert verify(store).bare == ()
    assert repair(store, ()) == []
    assert there(store) == made()


@pytest.mark.parametrize(
    "key", ["layers/a/features/mean/zarr.json", "layers/a/features/image/zarr.json", "layers/a/statistics/zarr.json"]
)
def test_a_name_in_metadata_that_changed_is_found_and_mended(store: Store, key: str) -> None:
    """Zarr and we look for `shape` where there is `rhape`: that both sides say the same wherever both say something
    is not enough."""
    ways = list(names(parsed(made()[key])))
    assert len(ways) > 8
    for way in ways:
        value = parsed(made()[key])
        renamed(value, way)
        assert way[-1] == "scratch" or not agree(parsed(made()[key]), value), way
    store.backend.put(key, json.dumps(value).encode())
    assert ("torn", key) in found(store)
    repair(store, verify(store).findings)
    assert there(store) == made()


def test_a_build_writes_metadata_anew_that_differs(store: Store) -> None:
    key = "layers/a/features/mean/zarr.json"
    store.backend.put(key, made()[key].replace(b'"shape"', b'"rhape"'))
    with pytest.raises(StoreError, match=r"features/mean/zarr.json .* atlas verify --repair memory"):
        store.read("layers/a/features/mean")
    store.prepare(store.plans())
    assert there(store) == made()


def shown(store: Store) -> Any:
    return atlas.open(store.backend).index


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("catalogue.json", lambda index: index["layers"][0].update(channels=41)),
        ("catalogue.json", lambda index: index["layers"][0].update(name="b")),
        ("catalogue.json", lambda index: index["layers"][0].pop("channels")),
        ("catalogue.json", lambda index: index.pop("layers")),
        ("catalogue.json", lambda index: index.pop("digest")),
        ("catalogue.json", lambda index: index.update(images={})),
        ("catalogue.json", lambda index: index["model"].pop("spec")),
    ],
)
def test_a_door_that_was_altered_is_found_and_made_anew_by_whoever_reads(
    store: Store, key: str, change: Callable[[Any], None]
) -> None:
    before = shown(store)
    alter(store, key, change)
    assert found(store) == {("torn", key)}
    assert shown(store) == before
    mend(store, verify(store).findings)
    assert there(store) == made()


@pytest.mark.parametrize(
    "change",
    [
        lambda plan: plan["layer"].update(flops=7),
        lambda plan: plan["recipe"].update(name="other"),
        lambda plan: plan.update(wanted=[0]),
        lambda plan: plan["recipe"].update(steps=65),
        lambda plan: plan["layer"].update(channels="40"),
        lambda plan: plan.pop("digest"),
        lambda plan: plan.pop("layer"),
    ],
)
def test_an_altered_plan_is_made_anew_from_the_metadata_beside_it(store: Store, change: Callable[[Any], None]) -> None:
    alter(store, PLAN, change)
    assert ("torn", PLAN) in found(store)
    repair(store, verify(store).findings)
    assert there(store) == made()


def test_an_altered_plan_of_images_and_one_that_is_no_json(store: Store) -> None:
    for key in ("plans/images.json", "plans/statistics/a.json"):
        for junk in (b"", b"{", DEEP, made()[key][:-3]):
            store.backend.put(key, junk)
            with pytest.raises(StoreError, match=f"{key} is damaged.* --repair"):
                store.plans()
            repair(store, verify(store).findings)
            assert there(store) == made()


def test_an_altered_root_is_named_and_mended_where_plans_tell_of_it(store: Store) -> None:
    alter(store, "zarr.json", lambda root: root["attributes"]["identity"].update(weights="6" * 64))
    broken = Store.open(store.backend)
    assert ("torn", "zarr.json") in found(broken)
    repair(broken, verify(broken).findings)
    assert there(store) == made()
    alter(store, "zarr.json", lambda root: root["attributes"]["model"].update(title="B"))
    broken = Store.open(store.backend)
    assert found(broken) == {("torn", "zarr.json")}
    repair(broken, verify(broken).findings)
    assert found(broken) == {("torn", "zarr.json")}, "nothing else tells a title; the build that made it does"
    model = {"title": "A made network", "random": False, "input": [64, 64], "labels": None}
    assert Store.create(store.backend, IDENTITY, model).model["title"] == "A made network"
    assert there(store) == made()


@pytest.mark.parametrize("junk", [None, b"", b"{", b"[]", b"{}", DEEP])
def test_a_lost_root_is_one_line_and_the_next_build_brings_it_back(store: Store, junk: bytes | None) -> None:
    store.backend.delete("zarr.json")
    if junk is not None:
        store.backend.put("zarr.json", junk)
        with pytest.raises(NotAStore, match=r"zarr.json is damaged\. Run the atlas build that made"):
            Store.open(store.backend)
    model = {"title": "A made network", "random": False, "input": [64, 64], "labels": None}
    with pytest.raises(NotAStore, match="is not empty"):
        Store.create(store.backend, replace(IDENTITY, weights="6" * 64), model)
    Store.create(store.backend, IDENTITY, model)
    assert there(store) == made()


@pytest.mark.parametrize("key", ["classes.json", "calibration/cpu.json", "logs/20260101T000000000000Z-000000.json"])
def test_what_nothing_else_tells_is_found_and_taken_out(store: Store, key: str) -> None:
    store.backend.put(
        key, made()[key].replace(b"kind 1", b"kind 3").replace(b"a mach", b"o mach").replace(b"1.5", b"9.5")
    )
    assert store.backend.get(key) != made()[key]
    assert found(store) == {("torn", key)}
    assert store.get_json(key) is None, "what was altered is not believed"
    mend(store, verify(store).findings)
    assert verify(store).findings == ()
    assert key not in there(store)


def test_class_names_that_were_altered_are_not_shown(store: Store) -> None:
    store.backend.put("classes.json", made()["classes.json"].replace(b"kind 1", b"kind 3"))
    with pytest.raises(StoreError, match=r"classes.json is damaged.*--repair"):
        atlas.open(store.backend).label(1)
    mend(store, verify(store).findings)
    assert atlas.open(store.backend).label(1) is None


def test_every_byte_of_a_table_is_held_against_its_hash(store: Store) -> None:
    key = "tables/units.parquet"
    for at in range(0, len(made()[key]), len(made()[key]) // 7):
        data = bytearray(made()[key])
        data[at] ^= 4
        store.backend.put(key, bytes(data))
        assert found(store) == {("torn", key)}
    mend(store, verify(store).findings)
    assert there(store) == made()


@pytest.mark.parametrize("key", sorted(key for key in made() if key.startswith("receipts/")))
def test_a_damaged_receipt_is_found_whatever_it_is_of(store: Store, key: str) -> None:
    for junk in (b"", DEEP, made()[key].replace(b'"shard": 0', b'"shard": 1')):
        store.backend.put(key, junk)
        assert ("torn", key) in found(store)


# -- hostile -----------------------------------------------------------------------------------------------------------


def hostile(change: Callable[[dict[str, Any]], Any]) -> bytes:
    """A plan that fits its own id and asks for more than there is."""
    plan = plan_of(made_layer("a", 40), size=16)
    told = plan.to_dict()
    change(told)
    with suppress(AtlasError):  # a recipe beyond all limits has no id that fits
        told["id"] = Plan.from_dict(told).id
    return json.dumps(sealed(told)).encode()


@pytest.mark.parametrize("channels", [10**9, 10**12, -1])
def test_a_plan_of_more_channels_than_a_layer_has_is_one_line(store: Store, channels: int) -> None:
    store.backend.put(PLAN, hostile(lambda plan: plan["layer"].update(channels=channels)))
    with pytest.raises(StoreError, match="channels, more than a layer has"):
        store.plans()
    assert ("torn", PLAN) in found(store)


@pytest.mark.parametrize(
    "change",
    [
        lambda plan: plan.update(wanted=[10**9]),
        lambda plan: plan["recipe"].update(size=10**7),
        lambda plan: plan.update(stage="icons", part=["all", str(10**9)]),
    ],
)
def test_a_plan_that_is_larger_than_a_store_is_one_line(store: Store, change: Callable[[Any], None]) -> None:
    store.backend.put(PLAN, hostile(change))
    with pytest.raises(StoreError, match="is damaged") as caught:
        store.plans()
    assert len(str(caught.value).splitlines()) == 1


def test_a_plan_whose_recipe_is_of_another_stage_is_one_line(store: Store) -> None:
    told = plan_of(made_layer("a", 40), size=16).to_dict() | {"stage": "cells", "part": ["all", "20"]}
    store.backend.put(PLAN, json.dumps(sealed(told)).encode())
    with pytest.raises(StoreError, match="it is no plan"):
        store.plans()


def test_a_door_of_more_channels_than_a_layer_has_is_made_anew(store: Store) -> None:
    index = store.get_json("catalogue.json")
    index["layers"][0]["channels"] = 10**12
    store.put_json("catalogue.json", index)
    assert atlas.open(store.backend).layer("a").channels == 40


def test_json_without_end_is_no_json() -> None:
    for data in (None, b"", b"{", DEEP, b'{"a":' * 100_000, b"1" * 10_000, b"\xff"):
        with pytest.raises(ValueError, match=r"."):
            parsed(data)
    assert not fits(True, int)
    assert seal_of(parsed(b'{"a": NaN, "digest": ""}')) is Seal.BROKEN


@pytest.mark.parametrize("key", sorted(key for key in made() if "/c/" not in key))
def test_deep_json_anywhere_is_found_and_read_in_one_line(store: Store, key: str) -> None:
    store.backend.put(key, DEEP)
    if key == "zarr.json":
        with pytest.raises(NotAStore, match="is damaged"):
            Store.open(store.backend)
        return
    assert key in {finding.key for finding in verify(store).findings}
    with suppress(AtlasError):
        list(map(str, atlas.open(store.backend)))


# -- stores of before --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", sorted(path.name for path in FIXTURES.iterdir()))
def test_an_old_store_says_what_it_does_not_vouch_for_and_a_repair_adds_it(version: str, tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / version, tmp_path / "store")
    store = Store.open(tmp_path / "store")
    ids = [plan.id for plan in store.plans()]
    verified = examine(store)
    assert verified.findings == ()
    assert {"zarr.json", "catalogue.json"} <= set(verified.bare)
    assert {f"plans/{plan.key}" for plan in store.plans()} <= set(verified.bare)
    before = shown(store)
    assert mend(store, verified.findings) == []
    again = Store.open(tmp_path / "store")
    assert (examine(again).findings, examine(again).bare) == ((), ())
    assert [plan.id for plan in again.plans()] == ids
    assert shown(again).keys() >= before.keys()
    assert again.prepare(again.plans()) == again.plans()


def test_an_altered_door_of_an_old_store_is_found(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "1.2", tmp_path / "store")
    store = Store.open(tmp_path / "store")
    alter(store, "catalogue.json", lambda index: index["layers"][0].update(channels=5))
    assert [finding.key for finding in examine(store).findings] == ["catalogue.json"]
    mend(store, examine(store).findings)
    assert atlas.open(tmp_path / "store").layer("stage.1#0").channels == 6
    assert isinstance(store.backend, LocalBackend)


def test_names_of_classes_that_are_gone_are_missed(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", layers={"a": 3}, size=16)
    store.put_labels(["cat", "dog"])
    write_index(store)
    assert verify(store).damage == []
    store.backend.delete("classes.json")
    assert [(each.kind, each.key) for each in verify(store).damage] == [("missing", "classes.json")]
    store.put_labels(["cat", "dog"])
    assert verify(store).damage == []
