"""A store: who may write what, in which order, and what is left to do."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atlas.errors import AtlasError, NotAStore, PlanMismatch, StoreError, StoreTooNew
from atlas.plans import Shard
from atlas.store import Backend, LocalBackend, MemoryBackend, Receipt, Store, verify
from atlas.store.layout import columns_receipt, manifest_key, metadata
from tests.schedules import Scheduled
from tests.stores import (
    IDENTITY,
    image_object,
    made_layer,
    make_shard,
    make_store,
    numbers_of,
    paint,
    plan_of,
    seen,
    write_shard,
    write_whole,
)

MODEL = {"title": "A made network", "random": False, "input": [64, 64], "labels": None}
PLAN = plan_of(made_layer("a", 70), size=16)


@pytest.fixture
def store() -> Store:
    made = Store.create(MemoryBackend(), IDENTITY, MODEL)
    made.prepare([PLAN])
    return made


def objects(backend: Backend) -> dict[str, bytes | None]:
    return {key: backend.get(key) for key in backend.list()}


# -- opening -----------------------------------------------------------------------------------------------------------


def test_a_store_is_made_once_and_opened_again(tmp_path: Path) -> None:
    made = Store.create(tmp_path / "new" / "store", IDENTITY, MODEL)
    again = Store.create(tmp_path / "new" / "store", IDENTITY, MODEL | {"title": "Another title"})
    assert again.identity == made.identity == IDENTITY
    assert again.model == MODEL, "what is there stays"
    assert Store.open(f"{tmp_path}/new/store").identity == IDENTITY


def test_an_identity_with_tuples_is_the_same_once_saved() -> None:
    identity = replace(IDENTITY, preprocessing={"size": (64, 64), "mean": (0.5, 0.5, 0.5)})
    backend = MemoryBackend()
    Store.create(backend, identity, MODEL)
    store = Store.create(backend, identity, MODEL)
    plan = plan_of(made_layer("a", 70), identity=identity)
    store.prepare([plan])
    assert store.prepare([plan])[0].id == plan.id


def test_of_many_that_make_a_store_at_once_one_wins() -> None:
    backend = MemoryBackend()

    def create(number: int) -> str:
        try:
            return Store.create(backend, replace(IDENTITY, weights=f"{number:064}"), MODEL).identity.weights
        except PlanMismatch:
            return ""

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(create, range(8)))
    assert [weights for weights in made if weights] == [Store.open(backend).identity.weights]


@pytest.mark.parametrize(
    "root",
    [
        None,
        b"",
        b"[]",
        b"null",
        b'{"attributes": null}',
        b'{"attributes": {}}',
        b"\xff\xfe",
        b'{"zarr_format": 3, "node_type": "group", "attributes": {"encoding-type": "other"}}',
    ],
)
def test_what_is_no_store_is_not_opened_and_left_alone(root: bytes | None) -> None:
    backend = MemoryBackend()
    backend.put("notes.txt", b"mine")
    if root is not None:
        backend.put("zarr.json", root)
    before = objects(backend)
    with pytest.raises(NotAStore, match="atlas build") as caught:
        Store.open(backend)
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(NotAStore, match="`store`"):
        Store.create(backend, IDENTITY, MODEL)
    assert objects(backend) == before


@pytest.mark.parametrize("missing", ["identity", "model", "encoding-version"])
def test_a_root_that_was_damaged_is_one_line(missing: str) -> None:
    backend = MemoryBackend()
    Store.create(backend, IDENTITY, MODEL)
    root = json.loads(backend.get("zarr.json") or b"")
    del root["attributes"][missing]
    backend.put("zarr.json", json.dumps(root).encode())
    with pytest.raises(NotAStore, match="damaged"):
        Store.open(backend)


def test_another_network_is_refused_and_only_what_differs_is_shown() -> None:
    backend = MemoryBackend()
    Store.create(backend, IDENTITY, MODEL)
    before = objects(backend)
    other = replace(IDENTITY, preprocessing=IDENTITY.preprocessing | {"mean": [0.1, 0.2, 0.3]})
    with pytest.raises(PlanMismatch) as caught:
        Store.create(backend, other, MODEL)
    assert "preprocessing.mean: [0.5, 0.5, 0.5] here, [0.1, 0.2, 0.3] asked" in str(caught.value)
    assert "weights" not in str(caught.value)
    assert "std" not in str(caught.value)
    assert objects(backend) == before


@pytest.mark.parametrize(
    ("version", "opens"), [("1.0", True), ("1.7", True), ("0.9", True), ("2.0", False), ("10.1", False)]
)
def test_older_minors_and_newer_ones_open_newer_majors_do_not(version: str, opens: bool) -> None:
    backend = MemoryBackend()
    Store.create(backend, IDENTITY, MODEL)
    root = json.loads(backend.get("zarr.json") or b"")
    root["attributes"] |= {"encoding-version": version, "written-by": "atlas-builder 7.8.9"}
    backend.put("zarr.json", json.dumps(root).encode())
    if opens:
        assert Store.open(backend).identity == IDENTITY
    else:
        with pytest.raises(StoreTooNew, match=r"pip install 'atlas-builder>=7\.8\.9'") as caught:
            Store.open(backend)
        assert len(str(caught.value).splitlines()) == 1


# -- plans -------------------------------------------------------------------------------------------------------------


def test_preparing_twice_changes_nothing_and_warns_of_nothing(store: Store) -> None:
    before = objects(store.backend)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert store.prepare([PLAN]) == [PLAN]
    assert objects(store.backend) == before


def test_what_is_asked_for_adds_up() -> None:
    store = Store.create(MemoryBackend(), IDENTITY, MODEL)
    (first,) = store.prepare([plan_of(PLAN.on, size=16, units=[3])])
    make_shard(store, first, first.shards[0])
    (second,) = store.prepare([plan_of(PLAN.on, size=16, units=[69])])
    assert (first.wanted, second.wanted) == ((0,), (0, 2))
    assert [shard.index for shard in store.todo(second)] == [2]
    assert store.plans() == [second]


def test_another_plan_for_a_layer_is_refused_before_anything_is_written(store: Store) -> None:
    before = objects(store.backend)
    recipe = replace(PLAN.rendering, steps=9, name="mine")
    new = plan_of(made_layer("b", 8), size=16)
    with pytest.raises(PlanMismatch) as caught:
        store.prepare([new, replace(PLAN, recipe=recipe)])
    assert f"recipe.steps: {PLAN.rendering.steps} here, 9 asked" in str(caught.value)
    assert not [word for word in ("seed", "size", "weights", "numerics") if word in str(caught.value)]
    assert objects(store.backend) == before
    with pytest.raises(PlanMismatch, match="weights"):
        store.prepare([replace(PLAN, identity=replace(IDENTITY, weights="0" * 64))])
    assert store.prepare([replace(PLAN, recipe=replace(PLAN.rendering, name="mine"))])[0].id == PLAN.id


@pytest.mark.parametrize("survive", range(len(metadata([PLAN])) + 1))
def test_killed_while_preparing_it_is_prepared_again(survive: int) -> None:
    """Whatever was written before the kill, the end is the same."""
    whole = Store.create(MemoryBackend(), IDENTITY, MODEL)
    whole.prepare([PLAN])
    store = Store.create(MemoryBackend(), IDENTITY, MODEL)
    for key, data in list(metadata([PLAN]).items())[:survive]:
        store.backend.put(key, data)
    assert store.plans() == []
    store.prepare([PLAN])
    assert objects(store.backend) == objects(whole.backend)


def test_a_lost_plan_costs_no_picture(store: Store) -> None:
    """Receipts outlive it, so what they speak of must too."""
    make_shard(store, PLAN, PLAN.shard(0))
    before = objects(store.backend)
    store.backend.delete(f"plans/{PLAN.key}")
    store.prepare([PLAN])
    assert objects(store.backend) == before
    assert [shard.index for shard in store.todo(PLAN)] == [1, 2]


@pytest.mark.parametrize("junk", [b"", b"{", b"[]", b"{}", b"null"])
def test_a_damaged_plan_still_owns_its_outputs(store: Store, junk: bytes) -> None:
    store.backend.put(f"plans/{PLAN.key}", junk)
    with pytest.raises(StoreError, match="is damaged") as caught:
        store.prepare([PLAN])
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(StoreError, match="is damaged"):
        store.plans()


def test_an_altered_plan_is_damaged(store: Store) -> None:
    saved = store.backend.get(f"plans/{PLAN.key}") or b""
    store.backend.put(f"plans/{PLAN.key}", saved.replace(b'"steps": ', b'"steps": 1'))
    with pytest.raises(StoreError, match="is damaged"):
        store.plans()


def test_plans_come_in_the_order_of_the_network(store: Store) -> None:
    later, first = plan_of(made_layer("0", 8, flops=10**9)), plan_of(made_layer("z", 8, flops=1))
    store.prepare([later, first])
    assert [plan.layer_name for plan in store.plans()] == ["z", "a", "0"]


def test_a_store_that_says_how_its_network_computes_is_read_in_that_order() -> None:
    store = Store.create(MemoryBackend(), IDENTITY, MODEL | {"layers": ["z", "0", "a"]})
    store.prepare([plan_of(made_layer(name, 8, flops=7)) for name in ("a", "0", "z")])
    assert [plan.layer_name for plan in store.plans()] == ["z", "0", "a"]


# -- shards ------------------------------------------------------------------------------------------------------------


def test_pictures_are_read_back_as_they_were_painted(made_store: Callable[..., Store]) -> None:
    store = made_store(layers={"a": 70}, size=16, columns=False)
    (plan,) = store.plans()
    for shard in plan.shards:
        assert np.array_equal(store.read_shard(plan, shard, "image"), seen(plan, shard))


def test_only_whole_shards_are_written(store: Store) -> None:
    whole, before = PLAN.shard(0), objects(store.backend)
    pictures = paint(PLAN, whole)
    wrong: list[tuple[Shard, Any]] = [
        (whole, pictures[:31]),
        (whole, pictures[:, :1]),
        (whole, pictures[..., :8, :]),
        (whole, pictures.astype(np.float32)),
        (whole, paint(PLAN, PLAN.shard(2))),
        (PLAN.shard(2), pictures),
        (replace(whole, stop=31), pictures[:31]),
        (replace(whole, start=1, stop=33), pictures),
        (replace(whole, layer="b"), pictures),
        (replace(whole, stage="cells"), pictures),
        (Shard("features", "a", 3, 96, 70), pictures[:0]),
        (Shard("features", "a", -1, -32, 0), pictures),
    ]
    for shard, values in wrong:
        with pytest.raises(AtlasError, match="written whole"):
            write_shard(store, PLAN, shard, {"image": values})
    assert objects(store.backend) == before


def test_a_worker_of_another_plan_writes_nothing(store: Store) -> None:
    before = objects(store.backend)
    other = replace(PLAN, recipe=replace(PLAN.rendering, seed=1))
    with pytest.raises(PlanMismatch, match="belongs to plan"):
        write_shard(store, other, other.shard(0), {"image": paint(other, other.shard(0))})
    new = plan_of(made_layer("b", 8))
    with pytest.raises(PlanMismatch, match="belongs to plan None"):
        write_shard(store, new, new.shard(0), {"image": paint(new, new.shard(0))})
    assert objects(store.backend) == before


@pytest.mark.parametrize("index", [0, 2])
def test_a_shard_has_the_same_bytes_whatever_lay_there(store: Store, index: int) -> None:
    shard, key = PLAN.shard(index), image_object(PLAN, index)
    pictures = paint(PLAN, shard)
    first = write_shard(store, PLAN, shard, {"image": pictures})
    data = store.backend.get(key)
    assert data is not None
    assert [stored.size for stored in first] == [len(data)]
    for before in (255 - pictures, np.zeros_like(pictures)):
        write_shard(store, PLAN, shard, {"image": before})
        assert write_shard(store, PLAN, shard, {"image": pictures}) == first
        assert store.backend.get(key) == data
    for junk in (b"", b"junk" * 999, data[:-1], data[1:]):
        store.backend.put(key, junk)
        assert write_shard(store, PLAN, shard, {"image": pictures}) == first
        assert store.backend.get(key) == data


@pytest.mark.parametrize("index", [0, 2])
def test_black_pictures_are_stored(store: Store, index: int) -> None:
    shard = PLAN.shard(index)
    black = np.zeros_like(paint(PLAN, shard))
    (stored,) = write_shard(store, PLAN, shard, {"image": black})
    assert store.backend.get(stored.key)
    assert stored.size > 2 * len(shard) * 100, "a file for each of them"
    assert np.array_equal(store.read_shard(PLAN, shard, "image"), black)


def test_threads_write_shards_side_by_side(store: Store) -> None:
    def write(index: int) -> object:
        return write_shard(store, PLAN, PLAN.shard(index), {"image": paint(PLAN, PLAN.shard(index))})

    alone = [write(index) for index in range(3)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(write, [0, 1, 2] * 4)) == alone * 4


def test_pictures_that_are_gone_are_an_error_and_not_black(store: Store) -> None:
    make_shard(store, PLAN, PLAN.shard(1))
    store.backend.delete(image_object(PLAN, 1))
    with pytest.raises(StoreError, match="atlas verify"):
        store.read_shard(PLAN, PLAN.shard(1), "image")


# -- receipts ----------------------------------------------------------------------------------------------------------


def test_the_first_valid_receipt_stays(store: Store) -> None:
    shard = PLAN.shard(0)
    first = make_shard(store, PLAN, shard)
    store.put_receipt(shard, replace(first, record={"host": "elsewhere"}))
    assert store.receipt(PLAN, shard) == first


def test_torn_and_foreign_receipts_are_absent_and_replaced(store: Store) -> None:
    shard = PLAN.shard(0)
    receipt = make_shard(store, PLAN, shard)
    key = f"receipts/{shard.key}"
    whole = receipt.to_bytes()
    for there in (b"", whole[:-1], whole.replace(b"0", b"1", 1), replace(receipt, plan="f" * 64).to_bytes()):
        store.backend.put(key, there)
        assert store.receipt(PLAN, shard) is None
        assert shard in store.todo(PLAN)
        store.put_receipt(shard, receipt)
        assert store.backend.get(key) == whole


def test_an_object_without_a_receipt_is_not_done(store: Store) -> None:
    shard = PLAN.shard(0)
    write_shard(store, PLAN, shard, {"image": paint(PLAN, shard)})
    assert store.todo(PLAN) == PLAN.shards


def test_only_a_whole_layer_is_folded_and_then_reads_the_same(store: Store) -> None:
    for shard in PLAN.shards[:2]:
        make_shard(store, PLAN, shard)
    assert not store.fold(PLAN)
    assert len(list(store.backend.list("receipts/"))) == 2
    make_shard(store, PLAN, PLAN.shards[2])
    before = store.receipts(PLAN)
    assert store.fold(PLAN)
    assert list(store.backend.list("receipts/")) == []
    assert store.receipts(PLAN) == before
    assert store.todo(PLAN) == []
    manifest = store.backend.get(manifest_key(PLAN))
    assert store.fold(PLAN), "again, with nothing left to fold"
    assert store.backend.get(manifest_key(PLAN)) == manifest


def test_killed_while_folding_nothing_is_lost(store: Store) -> None:
    """After the manifest, before the last receipt is deleted."""
    for shard in PLAN.shards:
        make_shard(store, PLAN, shard)
    before = store.receipts(PLAN)
    single = objects(store.backend)
    store.fold(PLAN)
    store.backend.put(f"receipts/{PLAN.shard(1).key}", single[f"receipts/{PLAN.shard(1).key}"] or b"")
    assert store.receipts(PLAN) == before
    assert store.fold(PLAN)
    assert list(store.backend.list("receipts/")) == []


def test_a_receipt_of_another_layer_with_the_same_beginning_is_not_ours() -> None:
    store = make_store(MemoryBackend(), layers={"a": 33, "ab": 33, "a%2Fb": 33, "a/b": 33}, size=16)
    for plan in store.plans():
        assert sorted(store.receipts(plan)) == [0, 1]


def test_forgetting_a_shard_leaves_the_others_done(store: Store) -> None:
    for shard in PLAN.shards:
        make_shard(store, PLAN, shard)
    store.fold(PLAN)
    store.forget(PLAN, {1})
    assert [shard.index for shard in store.todo(PLAN)] == [1]
    assert list(store.backend.list("receipts/")) == [], "the others are where they were"
    assert not verify(store).damage
    make_shard(store, PLAN, PLAN.shard(1))
    assert store.todo(PLAN) == []
    assert store.fold(PLAN)


@pytest.mark.parametrize("first", ["fold", "forget"])
@pytest.mark.parametrize("at", range(16))
def test_a_retry_and_a_build_that_folds_lose_no_other_receipt(at: int, first: str) -> None:
    """Whichever of them is held up by the other, before whichever operation."""
    backend = Scheduled(MemoryBackend())
    store = Store.create(backend, IDENTITY, {})
    store.prepare([PLAN])
    for shard in PLAN.shards:
        make_shard(store, PLAN, shard)

    def fold() -> None:
        store.fold(PLAN)

    def forget() -> None:
        store.forget(PLAN, {1})

    backend.pause(at, forget if first == "fold" else fold)
    (fold if first == "fold" else forget)()
    backend.resume()
    assert set(store.receipts(PLAN)) >= {index for index in PLAN.needed if index != 1}
    store.forget(PLAN, {1})
    assert [shard.index for shard in store.todo(PLAN)] == [1]


# -- columns -----------------------------------------------------------------------------------------------------------


def test_columns_rest_on_the_receipts_that_are_there(made_store: Callable[..., Store]) -> None:
    store = made_store(layers={"a": 70}, size=16, absent={"a": [1]})
    (plan,) = store.plans()
    assert store.columns_done(plan)
    assert np.isnan(store.array("layers/a/features/mean")[32:64]).all()
    make_shard(store, plan, plan.shard(1))
    assert not store.columns_done(plan), "there is a receipt more"


def test_columns_are_written_whole(store: Store) -> None:
    columns: dict[str, np.ndarray[Any, Any]] = {name: np.zeros((70, 2), np.float32) for name in ("mean", "peak")}
    columns |= {"status": np.zeros((70, 2), np.uint8), "thumb": np.zeros((70, 2, 64, 64, 3), np.uint8)}
    wrong = [
        columns | {"mean": np.zeros((69, 2), np.float32)},
        columns | {"thumb": columns["thumb"][:69]},
        columns | {"mean": np.zeros((70, 2))},
        {name: values for name, values in columns.items() if name != "peak"},
    ]
    for data in wrong:
        with pytest.raises(AtlasError, match="whole"):
            write_whole(store, PLAN, "reduce", data)
    stored = write_whole(store, PLAN, "reduce", columns)
    assert len(stored) == 4, "zeros are written too"
    assert stored == write_whole(store, PLAN, "reduce", columns)
    streamed = {name: iter([values]) for name, values in columns.items()}
    assert stored == write_whole(store, PLAN, "reduce", {}, streamed=streamed), "as they come, the same"


def test_a_columns_receipt_follows_the_receipts_it_read(store: Store) -> None:
    first, second = (Receipt(digest, 0, (0, 70), ()) for digest in ("1" * 64, "2" * 64))
    store.put_reduced(columns_receipt(PLAN), first)
    store.put_reduced(columns_receipt(PLAN), second)
    assert Receipt.parse(store.backend.get("receipts/columns/a.json")) == second


# -- the disk ----------------------------------------------------------------------------------------------------------


def test_two_makings_of_a_store_are_equal_but_for_what_happened_on_the_way(tmp_path: Path) -> None:
    one, two = (objects(make_store(LocalBackend(tmp_path / name), size=16).backend) for name in ("one", "two"))
    assert one == two


def test_a_store_that_may_not_be_written_can_be_read(tmp_path: Path) -> None:
    make_store(tmp_path / "made", layers={"a": 70}, size=16)
    before = objects(LocalBackend(tmp_path / "made"))
    folders = [path for path in (tmp_path / "made").rglob("*") if path.is_dir()]
    for folder in [tmp_path / "made", *folders]:
        folder.chmod(0o555)
    store = Store.open(tmp_path / "made")
    (plan,) = store.plans()
    assert store.read_shard(plan, plan.shard(2), "image").shape[0] == 6
    assert numbers_of(plan, plan.shard(2)) == store.receipts(plan)[2].numbers
    assert objects(store.backend) == before
    for folder in [tmp_path / "made", *folders]:
        folder.chmod(0o755)


def test_no_array_where_none_is(store: Store) -> None:
    with pytest.raises(StoreError, match="atlas verify"):
        store.array("layers/b/features/mean")
    store.backend.put("layers/a/features/mean/zarr.json", b"{")
    with pytest.raises(StoreError, match="atlas verify"):
        store.array("layers/a/features/mean")


def test_small_objects_that_do_not_parse_are_absent(store: Store) -> None:
    store.put_json("logs/a.json", {"b": 1})
    assert store.get_json("logs/a.json") == {"b": 1}
    store.backend.put("logs/a.json", b"{")
    assert store.get_json("logs/a.json") is None
    assert store.get_json("logs/b.json") is None
