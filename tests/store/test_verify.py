"""Verifying: everything is read and hashed again; what is damaged is named, and made again after a repair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.engine.work import reduce
from atlas.plans import Plan
from atlas.store import MemoryBackend, Receipt, Store, Verified, repair, verify
from atlas.store.layout import columns_receipt, manifest_key
from tests.collected import collect_into
from tests.stores import STRANGE, image_object, make_shard, make_store, plan_of

FEATURES = "layers/a/features"


@pytest.fixture
def store() -> Store:
    """A finished layer, and one with a hole; both with columns."""
    return copy_of_made()


@cache
def made() -> Store:
    return make_store(MemoryBackend(), layers={"a": 70, "b": 70}, size=16, absent={"b": [1]})


def copy_of_made() -> Store:
    backend = MemoryBackend()
    for key in made().backend.list():
        backend.put(key, made().backend.get(key) or b"")
    return Store.open(backend)


def test_sums_that_were_dropped_are_no_damage_whatever_else_is() -> None:
    """Only the shard that lost something is made again, though the layer is no longer whole then."""
    store = make_store(MemoryBackend(), layers={"a": 8}, size=16)
    collect_into(store, images=2200, crops=1, photographs=False)
    (plan,) = store.plans_of("statistics")
    assert store.dropped(plan) == {0, 1, 2}
    assert not verify(store).findings
    store.backend.put("layers/a/statistics/maxima/c/1/0", b"torn")
    assert [shard.index for shard in repair(store, verify(store).findings)] == [1]
    assert {finding.kind for finding in verify(store).findings} == {"unfinished"}


def plan_named(store: Store, name: str) -> Plan:
    return next(plan for plan in store.plans() if plan.layer_name == name)


def found(verified: Verified) -> set[tuple[str, str]]:
    return {(finding.kind, finding.key) for finding in verified.findings}


def mend(store: Store) -> None:
    """What the next build does."""
    for plan in store.prepare(store.plans()):
        for shard in store.todo(plan):
            make_shard(store, plan, shard)
        if not store.columns_done(plan):
            reduce(store, plan)


def objects(store: Store) -> dict[str, bytes | None]:
    return {key: store.backend.get(key) for key in store.backend.list() if key != "catalogue.json"}


def data_of(group: str, all_objects: dict[str, bytes | None]) -> dict[str, bytes | None]:
    return {key: data for key, data in all_objects.items() if key.startswith(group) and "/c/" in key}


def test_a_whole_store_is_whole(made_store: Callable[..., Store]) -> None:
    store = made_store(layers={"a": 70, STRANGE: 33}, size=16)
    before = objects(store)
    verified = verify(store)
    assert verified.findings == ()
    assert verified.shards == 5
    assert verified.objects == len(list(store.backend.list()))
    assert verified.bytes > 0
    assert repair(store, verified.findings) == []
    assert objects(store) == before


def test_every_number_of_a_verification_is_counted(store: Store) -> None:
    verified = verify(store)
    assert verified.shards == 5
    assert verified.backoffs == 0
    assert verified.findings == ()


@pytest.mark.parametrize("damage", ["flip", "cut", "grow", "empty", "lose"])
@pytest.mark.parametrize(
    "key",
    [
        f"{FEATURES}/image/c/0/0/0/0/0",
        f"{FEATURES}/image/c/2/0/0/0/0",
        f"{FEATURES}/thumb/c/0/0/0/0/0",
        f"{FEATURES}/mean/c/0/0",
        f"{FEATURES}/peak/c/0/0",
        f"{FEATURES}/status/c/0/0",
    ],
)
def test_damaged_data_is_found_and_made_again(store: Store, key: str, damage: str) -> None:
    before = objects(store)
    data = store.backend.get(key)
    assert data is not None
    flipped = data[:7] + bytes([data[7] ^ 1]) + data[8:]
    if damage == "lose":
        store.backend.delete(key)
    else:
        new = {"flip": flipped, "cut": data[:-1], "grow": data + b"\0", "empty": b""}
        store.backend.put(key, new[damage])
    verified = verify(store)
    assert found(verified) == {("missing" if damage == "lose" else "torn", key)}
    assert verified.damage == list(verified.findings)
    shards = repair(store, verified.findings)
    assert bool(shards) == ("/image/" in key)
    mend(store)
    assert verify(store).findings == ()
    assert data_of(FEATURES, objects(store)) == data_of(FEATURES, before)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_altered_object_goes_unnoticed(data: st.DataObject) -> None:
    """Data and receipts to the last bit; metadata to what it says."""
    store = copy_of_made()
    keys = [key for key in store.backend.list() if "/c/" in key or key.startswith("receipts/")]
    key = data.draw(st.sampled_from(keys))
    whole = store.backend.get(key) or b""
    altered = bytearray(whole)
    at = data.draw(st.integers(0, len(whole) - 1))
    altered[at] ^= data.draw(st.integers(1, 255))
    store.backend.put(key, bytes(altered))
    noticed = {finding.key for finding in verify(store).findings}
    assert key in noticed or Receipt.parse(bytes(altered)) == Receipt.parse(whole) is not None


def test_torn_and_foreign_receipts_are_told_apart_and_dropped(store: Store) -> None:
    plan = plan_named(store, "b")
    torn, foreign = (f"receipts/{plan.shard(index).key}" for index in (0, 2))
    store.backend.put(torn, (store.backend.get(torn) or b"")[:-9])
    other = plan_of(plan.on, size=16, steps=9)
    elsewhere = Store.create(MemoryBackend(), plan.identity, {})
    elsewhere.prepare([other])
    store.backend.put(foreign, make_shard(elsewhere, other, other.shard(2)).to_bytes())
    verified = verify(store)
    data = {("unfinished", image_object(plan, index)) for index in (0, 2)}
    columns = ("unfinished", columns_receipt(plan))
    assert found(verified) == {("torn", torn), ("foreign", foreign), columns} | data
    assert [shard.index for shard in repair(store, verified.findings)] == [0, 2]
    assert [shard.index for shard in store.todo(plan)] == [0, 1, 2]
    mend(store)
    assert verify(store).findings == ()


def test_a_torn_receipt_of_the_columns(store: Store) -> None:
    key = columns_receipt(plan_named(store, "a"))
    store.backend.put(key, b"{")
    assert ("torn", key) in found(verify(store))
    repair(store, verify(store).findings)
    mend(store)
    assert verify(store).findings == ()


@pytest.mark.parametrize("cut", [1, 200, 10**9])
def test_a_torn_manifest(store: Store, cut: int) -> None:
    plan = plan_named(store, "a")
    key = manifest_key(plan)
    store.backend.put(key, (store.backend.get(key) or b"")[:-cut])
    verified = verify(store)
    assert ("torn", key) in found(verified)
    repair(store, verified.findings)
    assert [shard.index for shard in store.todo(plan)] == [0, 1, 2]
    mend(store)
    assert verify(store).findings == ()


def test_one_altered_receipt_in_a_manifest_costs_one_shard(store: Store) -> None:
    plan = plan_named(store, "a")
    key = manifest_key(plan)
    store.backend.put(key, (store.backend.get(key) or b"").replace(b'"shard": 1,', b'"shard": 9,'))
    verified = verify(store)
    assert ("torn", key) in found(verified)
    assert ("unfinished", image_object(plan, 1)) in found(verified)
    repair(store, verified.findings)
    assert [shard.index for shard in store.todo(plan)] == [1]
    mend(store)
    assert verify(store).findings == ()


def test_what_a_killed_worker_leaves_is_unfinished_and_no_damage(store: Store) -> None:
    plan = plan_named(store, "b")
    make_shard(store, plan, plan.shard(1))
    store.backend.delete(f"receipts/{plan.shard(1).key}")
    verified = verify(store)
    assert found(verified) == {("unfinished", image_object(plan, 1))}
    assert verified.damage == []
    before = objects(store)
    assert repair(store, verified.findings) == []
    assert objects(store) == before
    make_shard(store, plan, plan.shard(1))
    assert found(verify(store)) == {("unfinished", columns_receipt(plan))}
    assert repair(store, verify(store).findings) == []
    assert store.backend.get(columns_receipt(plan)) is not None


@pytest.mark.parametrize(
    "key",
    [
        "notes.txt",
        "layers/a/features/notes.txt",
        "layers/a/features/image/c/3/0/0/0/0",
        "layers/zzz/zarr.json",
        "layers/zzz/features/image/c/0/0/0/0/0",
        "receipts/features/a/notes.txt",
        "receipts/features/a/00000.json.bak",
        "receipts/features/a/00077.json",
        "receipts/features/zzz/00000.json",
        "manifests/features/zzz.json",
    ],
)
def test_foreign_files_are_named_and_left_alone(store: Store, key: str) -> None:
    store.backend.put(key, b"{}")
    verified = verify(store)
    assert found(verified) == {("foreign", key)}
    assert repair(store, verified.findings) == []
    assert store.backend.get(key) == b"{}"


@pytest.mark.parametrize(
    "key", ["layers/a/zarr.json", f"{FEATURES}/zarr.json", f"{FEATURES}/image/zarr.json", f"{FEATURES}/mean/zarr.json"]
)
@pytest.mark.parametrize("damage", ["lose", "cut", "alter"])
def test_metadata_is_held_against_the_plan_and_written_anew(store: Store, key: str, damage: str) -> None:
    before = objects(store)
    data = store.backend.get(key) or b""
    if damage == "lose":
        store.backend.delete(key)
    else:
        old, new = (b'"', b"'") if damage == "cut" else (b"7", b"8")
        altered = (
            data.replace(old, new, 1) if b"7" in data else data.replace(b"image", b"imago").replace(b'"1.0"', b'"9.0"')
        )
        assert altered != data
        store.backend.put(key, altered)
    verified = verify(store)
    assert found(verified) == {("missing" if damage == "lose" else "torn", key)}
    assert repair(store, verified.findings) == []
    assert objects(store) == before


def test_a_damaged_door_is_only_derived(store: Store) -> None:
    store.backend.put("catalogue.json", b"{")
    verified = verify(store)
    assert found(verified) == {("torn", "catalogue.json")}
    repair(store, verified.findings)
    assert verify(store).findings == ()


@pytest.mark.parametrize("data", [b"{", b"{}", None])
def test_a_damaged_or_lost_plan_hides_nothing_else(store: Store, data: bytes | None) -> None:
    plan = plan_named(store, "a")
    whole = store.backend.get(f"plans/{plan.key}") or b""
    store.backend.delete(f"plans/{plan.key}")
    if data is not None:
        store.backend.put(f"plans/{plan.key}", data)
    verified = verify(store)
    kinds = {key: kind for kind, key in found(verified)}
    assert kinds == {f"plans/{plan.key}": "missing" if data is None else "torn"}, "its arrays tell what it said"
    repair(store, verified.findings)
    store.prepare([plan])
    assert store.backend.get(f"plans/{plan.key}") == whole
    assert verify(store).findings == ()


def test_a_plan_of_another_network_is_foreign(store: Store) -> None:
    plan = plan_named(store, "a")
    root = (store.backend.get("zarr.json") or b"").replace(plan.identity.weights.encode(), b"7" * 64)
    store.backend.put("zarr.json", root)
    other = Store.open(store.backend)
    assert ("foreign", f"plans/{plan.key}") in found(verify(other))


def test_back_offs_are_counted() -> None:
    store = make_store(MemoryBackend(), layers={"a": 33}, size=16, absent={"a": [0, 1]})
    (plan,) = store.plans()
    receipt = make_shard(store, plan, plan.shard(0))
    store.backend.delete(f"receipts/{plan.shard(0).key}")
    store.put_receipt(plan.shard(0), replace(receipt, record={"backoff": {"batch": 2}}))
    assert verify(store).backoffs == 1


def test_what_rests_on_another_list_of_images_is_found() -> None:
    """As two drivers left it that were given different images at one time."""
    store = make_store(MemoryBackend(), layers={"a": 8}, size=16)
    collect_into(store, images=40, crops=1, photographs=False)
    other = make_store(MemoryBackend(), layers={"a": 8}, size=16)
    collect_into(other, images=30, crops=1, photographs=False)
    store.backend.put("receipts/list.json", other.backend.get("receipts/list.json") or b"")
    listed = [finding for finding in verify(store).findings if finding.key == "receipts/list.json"]
    assert [(one.kind, one.reason) for one in listed] == [
        ("torn", "it is of another list of images than plans/images.json")
    ]
    repair(store, verify(store).findings)
    assert store.reduced("receipts/list.json") is None
