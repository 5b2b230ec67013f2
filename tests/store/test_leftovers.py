"""What builds that died left behind goes; nothing that one needs that lives does."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from atlas.errors import StoreError
from atlas.store import LocalBackend, MemoryBackend, Receipt, Store, verify
from atlas.store.backends import PARTIAL
from atlas.store.bundles import BUNDLES, Bundle, bundle_key, stored
from atlas.store.layout import RELATIONS, columns_receipt
from atlas.store.leftovers import Collected, collect
from atlas.store.removal import remove
from tests.cli.conftest import Ran, run  # noqa: F401 (a fixture)
from tests.stores import make_store, paint, store_of


def bundle(store: Store, key: str, plan: str) -> str:
    """One that an attempt left which died over it; its key."""
    place = bundle_key(key, plan)
    objects = {"layers/a/features/image/c/9/0/0/0/0": b"made"}
    store.backend.put(place, Bundle.of(Receipt(plan, 0, (0, 1), stored(objects)), objects).to_bytes())
    return place


@pytest.fixture
def store() -> Store:
    return make_store(MemoryBackend(), layers={"a": 70, "b": 3}, size=16, absent={"a": [1]})


def test_what_is_done_or_asked_for_no_more_goes_and_the_rest_stays(store: Store) -> None:
    (plan, other) = store.plans()
    before = {key: store.backend.get(key) for key in store.backend.list()}
    receipts = [f"receipts/{plan.shard(index).key}" for index in range(3)]
    needed = {bundle(store, receipts[1], plan.id), bundle(store, RELATIONS, "7" * 64)}
    done = {bundle(store, receipts[0], plan.id), bundle(store, receipts[1], "f" * 64)}
    done |= {bundle(store, columns_receipt(plan), "e" * 64), bundle(store, columns_receipt(other), store.digest(other))}
    done |= {bundle(store, "receipts/features/gone/00000.json", "d" * 64)}
    assert collect(store) == Collected(0, len(done))
    assert set(store.backend.list(BUNDLES)) == needed
    assert {key: store.backend.get(key) for key in store.backend.list() if key not in needed} == before
    assert {finding.key for finding in verify(store).findings} >= needed
    assert collect(store) == Collected(0, 0)


def test_a_reduce_that_is_under_way_is_left_in_peace(store: Store) -> None:
    (plan, _) = store.plans()
    store.backend.delete(columns_receipt(plan))
    under_way = bundle(store, columns_receipt(plan), store.digest(plan))
    assert collect(store) == Collected(0, 0)
    assert list(store.backend.list(BUNDLES)) == [under_way]


def test_a_layer_that_is_taken_out_takes_its_bundles_along(store: Store) -> None:
    (plan, _) = store.plans()
    bundle(store, f"receipts/{plan.shard(1).key}", plan.id)
    remove(store, "a")
    assert not list(store.backend.list(BUNDLES))


def test_where_a_plan_is_gone_nothing_goes(store: Store) -> None:
    (plan, _) = store.plans()
    left = bundle(store, f"receipts/{plan.shard(0).key}", plan.id)
    store.backend.delete(f"plans/{plan.key}")
    with pytest.raises(StoreError, match="is gone"):
        collect(store)
    assert store.backend.get(left)


def test_what_is_made_and_not_in_place_is_picked_up(store: Store) -> None:
    (plan, _) = store.plans()
    shard = plan.shard(1)
    assert store.pick_up(plan, shard) is None
    objects = store.shard_objects(plan, shard, {"image": paint(plan, shard)})
    receipt = Receipt(plan.id, 1, (shard.start, shard.stop), stored(objects))
    store.backend.put(bundle_key(f"receipts/{shard.key}", plan.id), Bundle.of(receipt, objects).to_bytes())
    assert store.pick_up(plan, shard) == receipt == store.receipt(plan, shard)
    assert not list(store.backend.list(BUNDLES))
    assert stored({one.key: store.backend.get(one.key) or b"" for one in receipt.objects}) == receipt.objects


def test_the_command(run: Callable[..., Ran], tmp_path: Path) -> None:  # noqa: F811
    place = tmp_path / "made.atlas"
    store = make_store(LocalBackend(place), layers={"a": 40}, size=16)
    bundle(store, f"receipts/{store.plans()[0].shard(0).key}", store.plans()[0].id)
    torn = place / PARTIAL / "torn"
    torn.write_bytes(b"half")
    os.utime(torn, (time.time() - 9000,) * 2)
    ran = run("gc", place)
    assert (ran.code, ran.err) == (0, "")
    assert "Removed: 1 temporary files, 1 bundles, 0 records of dead builds." in ran.out
    assert not torn.exists()
    assert not verify(Store.open(place)).findings


def test_how_old_a_half_written_file_must_be(run: Callable[..., Ran], tmp_path: Path) -> None:  # noqa: F811
    """By the clock of the disk: nothing of this machine's is asked."""
    place = tmp_path / "made.atlas"
    make_store(LocalBackend(place), layers={"a": 40}, size=16)
    torn = place / PARTIAL / "torn"
    torn.write_bytes(b"half")
    os.utime(torn, (time.time() - 600,) * 2)
    for hours in ((), ("--older", 1), ("--older", 0.2)):
        assert "0 temporary files" in run("gc", place, *hours).out
    assert torn.exists()
    assert "1 temporary files" in run("gc", place, "--older", 0.1).out
    assert not torn.exists()


def test_an_empty_store_has_nothing_left_over(store: Store) -> None:
    assert collect(store_of({"zarr.json": store.backend.get("zarr.json") or b""})) == Collected(0, 0)
