"""A reader that meets what is missing, empty, short or undecodable says so instead of showing a number."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np
import pytest

import atlas
from atlas.catalogue import Catalogue, write_tables
from atlas.catalogue.mending import mend
from atlas.errors import AtlasError, StoreError
from atlas.store import MemoryBackend, Receipt, Store, verify
from tests.collected import collect_into
from tests.stores import make_store, store_of

DAMAGE: dict[str, Callable[[bytes], bytes | None]] = {
    "missing": lambda _: None,
    "empty": lambda _: b"",
    "short": lambda data: data[: len(data) // 2],
    "junk": lambda data: bytes(len(data)),
}
F, S = "layers/a/features", "layers/a/statistics"
READS: dict[str, tuple[str, Callable[[Catalogue], Any]]] = {
    "mean": (f"{F}/mean/c/0/0", lambda cat: cat.unit("a:1").objective),
    "peak": (f"{F}/peak/c/0/0", lambda cat: cat.unit("a:1").objective_peak),
    "status": (f"{F}/status/c/0/0", lambda cat: cat.unit("a:1").status),
    "picture": (f"{F}/image/c/0/0/0/0/0", lambda cat: cat.unit("a:1").image),
    "thumbs": (f"{F}/thumb/c/0/0/0/0/0", lambda cat: cat.layer("a").thumbs()),
    "statistics": (f"{S}/quantile/c/0/0", lambda cat: cat.unit("a:1").statistics),
    "examples": (f"{S}/example_value/c/0/0/0", lambda cat: cat.unit("a:1").examples),
    "crops": ("layers/a/examples/picture/c/0/0/0/0/0/0", lambda cat: cat.unit("a:1").examples),
    "boxes": ("layers/a/examples/box/c/0/0/0/0", lambda cat: cat.unit("a:1").examples),
    "similarity": (f"{S}/maxima/c/0/0", lambda cat: cat.similar("a:1")),
    "images": ("images/probability/c/0/0", lambda cat: cat.images[1].classes),
    "names": ("images/path/c/0/0", lambda cat: cat.images[1].name),
    "photographs": ("images/thumb/c/0/0/0/0", lambda cat: cat.images[1].picture),
}
FLAT = {f"{F}/mean/c/0/0", f"{F}/peak/c/0/0", f"{F}/status/c/0/0", f"{S}/quantile/c/0/0", f"{S}/example_value/c/0/0/0"}
FLAT |= {"layers/a/examples/box/c/0/0/0/0", "images/probability/c/0/0"}
"""Objects without any check of their own: zeros of the right length can be told by `verify` alone."""


@cache
def made() -> dict[str, bytes]:
    store = make_store(MemoryBackend(), layers={"a": 40}, size=16)
    collect_into(store, images=9, crops=1)
    write_tables(store)
    return {key: store.backend.get(key) or b"" for key in store.backend.list()}


@pytest.fixture
def store() -> Store:
    return store_of(made())


def put(store: Store, key: str, data: bytes | None) -> None:
    if data is None:
        store.backend.delete(key)
    else:
        store.backend.put(key, data)


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("read", READS)
def test_what_is_damaged_is_named_and_never_shown(store: Store, read: str, damage: str) -> None:
    key, ask = READS[read]
    assert ask(atlas.open(store.backend)) is not None
    if damage == "junk" and key in FLAT:
        return
    put(store, key, DAMAGE[damage](made()[key]))
    with pytest.raises(StoreError, match="atlas verify --repair memory") as caught:
        ask(atlas.open(store.backend))
    assert key.rpartition("/c/")[0] in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert key in {finding.key for finding in verify(store).findings}


def test_the_advice_leads_somewhere(store: Store) -> None:
    """After the repair the reader is told what to build, not to repair again."""
    key, ask = READS["statistics"]
    store.backend.delete(key)
    mend(store, verify(store).findings)
    with pytest.raises(atlas.AtlasError, match="Collect them: atlas build") as caught:
        ask(atlas.open(store.backend))
    assert "verify" not in str(caught.value)
    assert {finding.kind for finding in verify(store).findings} <= {"unfinished"}


@pytest.mark.parametrize("receipt", ["receipts/columns/a.json", "receipts/columns/statistics/a.json"])
def test_numbers_whose_receipt_is_damaged_are_not_taken_for_none(store: Store, receipt: str) -> None:
    store.backend.put(receipt, b"")
    with pytest.raises(StoreError, match=f"{receipt} is damaged.*--repair"):
        atlas.open(store.backend).find(top=1, order="objective_peak desc")


@pytest.mark.parametrize("key", ["manifests/images.json", "receipts/images/00000.json"])
def test_images_whose_receipts_are_damaged_are_not_taken_for_absent(store: Store, key: str) -> None:
    store.backend.put(key, b"{")
    with pytest.raises(StoreError, match=f"{key} is damaged.*--repair"):
        atlas.open(store.backend).images[1].status  # noqa: B018


def test_a_layer_whose_columns_are_not_written_yet_is_no_damage() -> None:
    """Its numbers are those of its receipts, its thumbnails are made of its pictures."""
    store = make_store(MemoryBackend(), layers={"a": 40}, size=16, columns=False)
    layer = atlas.open(store.backend).layer("a")
    known = np.isfinite(layer.objective[:, 0])
    assert known.sum() > 30
    assert (layer.objective[known, 0] == np.flatnonzero(known)).all()
    assert layer.thumbs()[known].reshape(known.sum(), -1).any(1).all()


def test_a_table_that_cannot_be_decoded_is_named(store: Store) -> None:
    """No flip ends in DuckDB's own words, and every one is found."""
    key, told = "tables/units.parquet", 0
    for at in range(4, len(made()[key]), max(1, len(made()[key]) // 40)):
        data = bytearray(made()[key])
        data[at] ^= 16
        store.backend.put(key, bytes(data))
        try:
            atlas.open(store.backend).sql("select * from units").rows  # noqa: B018
        except StoreError as error:
            told += key in str(error)
    assert told
    store.backend.put(key, b"")
    assert len(atlas.open(store.backend).sql("select * from units")) == 40, "made anew, as where there is none"


def test_two_that_write_a_table_at_a_time_leave_a_whole_one(store: Store) -> None:
    """Another's table lands between this one's table and receipt."""
    key, receipt = "tables/units.parquet", "receipts/tables/units.json"
    put_if_, others = store.backend.put_if, [made()[key] + b"another's"]

    def put_if(name: str, data: bytes, there: bytes | None) -> bool:
        written = put_if_(name, data, there)
        if name == key and others:
            store.backend.put(key, others.pop())
        return written

    store.backend.delete(receipt)
    store.backend.put(key, b"of before")
    store.backend.put_if = put_if  # type: ignore[method-assign,assignment]
    assert write_tables(store) == ["units"]
    assert not others
    assert store.backend.get(key) == made()[key]
    assert isinstance(store.reduced(receipt), Receipt)
    assert verify(store).findings == ()


ALTERED: dict[str, Callable[[Catalogue], Any]] = {
    f"{F}/status/c/0/0": lambda cat: [unit.status for unit in cat.layer("a")],
    f"{S}/neighbour_layer/c/0/0": lambda cat: [unit.similar for unit in cat.layer("a")],
    f"{S}/neighbour_unit/c/0/0": lambda cat: [unit.similar for unit in cat.layer("a")],
    f"{S}/example_image/c/0/0/0": lambda cat: [cat.layer("a")[index].examples for index in (0, 39)],
    f"{S}/class/c/0/0": lambda cat: [unit.classes for unit in cat.layer("a")],
    f"{S}/unit_of_class/c/0/0": lambda cat: [cat.units_of(number) for number in range(10)],
    "images/status/c/0": lambda cat: [image.status for image in cat.images],
    "images/class/c/0/0": lambda cat: [image.classes for image in cat.images],
    "images/size/c/0/0": lambda cat: [image.picture for image in cat.images if image.status == "ok"],
    "images/excited_layer/c/0/0": lambda cat: [image.excites for image in cat.images],
    "images/excited_unit/c/0/0": lambda cat: [image.excites for image in cat.images],
}
"""What points at something else, by a number that may be altered to point nowhere."""


@pytest.mark.parametrize("bit", [0, 6])
@pytest.mark.parametrize("key", ALTERED)
def test_a_number_that_points_nowhere_is_a_line(store: Store, key: str, bit: int) -> None:
    """Single bits are for `verify` to find, and no reader stumbles over one."""
    data = made()[key]
    packed = data.startswith(b"\x1f\x8b")
    plain = bytearray(gzip.decompress(data) if packed else data)
    for at in range(len(plain) - 1, -1, -max(1, len(plain) // 7)):
        altered = bytes(value ^ (1 << bit) if place == at else value for place, value in enumerate(plain))
        store.backend.put(key, gzip.compress(altered) if packed else altered)
        with suppress(AtlasError):
            repr(ALTERED[key](atlas.open(store.backend)))
    assert key in {finding.key for finding in verify(store).findings}
