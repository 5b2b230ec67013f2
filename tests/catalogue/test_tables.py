"""The tables are derived: every row says what the arrays say, and an old file is never asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

import atlas
from atlas.catalogue import Catalogue, tables, write_tables
from atlas.catalogue.columns import TABLES
from atlas.catalogue.query import Result, Row
from atlas.engine.relations import finish
from atlas.stages import FEATURES, STATISTICS
from atlas.store import LocalBackend, MemoryBackend, Store, verify
from atlas.units import Unit
from tests.collected import BAD, CLASSES, collect_into, name_of
from tests.stores import LAYERS, STRANGE, made_layers, make_store

LABELS = [f"kind {number}" for number in range(CLASSES)]
KEYS = [f"tables/{name}.parquet" for name in TABLES]


@pytest.fixture(scope="module")
def store() -> Store:
    store = make_store(MemoryBackend(), absent={"features.3": [1]})
    store.put_labels(LABELS)
    collect_into(store)
    return store


@pytest.fixture(scope="module")
def cat(store: Store) -> Catalogue:
    return atlas.open(store.backend)


def rows_of(answer: Result) -> Iterator[dict[str, Any]]:
    return (dict(zip(answer.columns, row, strict=True)) for row in answer)


def everything(store: Store) -> dict[str, list[Row]]:
    """All rows of all tables, as a new reader sees them."""
    cat = atlas.open(store.backend)
    return {name: cat.sql(f"select * from {name}").rows for name in TABLES}


def statistics(store: Store, layer: str, name: str) -> np.ndarray[Any, Any]:
    (key,) = {plan.on.key for plan in store.plans_of(STATISTICS.name) if plan.layer_name == layer}
    return store.read(f"layers/{key}/statistics/{name}")


def close(ours: float | None, theirs: float) -> bool:
    return ours is None if np.isnan(theirs) else ours == pytest.approx(float(theirs), rel=1e-6)


# -- what the rows say -------------------------------------------------------------------------------------------------


def test_a_row_of_units_says_what_the_arrays_say(store: Store, cat: Catalogue) -> None:
    rows = list(rows_of(cat.sql("select * from units")))
    assert [(row["layer"], row["index"]) for row in rows] == [
        (name, index) for name, channels in LAYERS.items() for index in range(channels)
    ]
    for row in rows:
        unit = cat.unit(row["unit"])
        layer, index = unit.layer.name, unit.index
        assert Unit.parse(row["unit"]) == Unit(row["layer"], row["index"]) == Unit(layer, index)
        assert (row["basis"], row["kind"], row["images"]) == ("channel", unit.layer.layer.kind, 37)
        assert close(row["objective"], unit.objective)
        assert close(row["objective_peak"], unit.objective_peak)
        assert row["negative_status"] == unit.status_of("negative")
        for column, array in {
            "activation_mean": "mean",
            "activation_min": "least",
            "active_images": "active_images",
        }.items():
            assert close(row[column], statistics(store, layer, array)[index])
        levels = [row[f"q{level:02d}"] for level in (1, 5, 25, 50, 75, 95, 99)]
        assert levels == pytest.approx(statistics(store, layer, "quantile")[index].tolist(), rel=1e-6)
        assert row["class"] == statistics(store, layer, "class")[index, 0]
        assert row["label"] == LABELS[row["class"]]


def test_the_ratio_is_of_the_peak_and_the_best_real_example_of_its_sign(store: Store, cat: Catalogue) -> None:
    seen = {True: 0, False: 0}
    for row in rows_of(cat.sql("select * from units where layer = 'features.3'")):
        best = statistics(store, "features.3", "example_value")[row["index"]]
        for name, value, sign in (("", best[0, 0], 1), ("negative_", best[1, 0], -1)):
            peak = row[f"{name}objective_peak"]
            there = peak is not None and sign * value > 0
            assert row[f"{name}ratio"] == (pytest.approx(peak / value, rel=1e-5) if there else None)
            seen[there] += 1
    assert seen[True] > 20
    assert seen[False] > 20


def test_silent_is_what_never_fired_whatever_its_picture(store: Store, cat: Catalogue) -> None:
    found = cat.sql("select layer, index, status, dead, objective from units where dead").rows
    # Of features.3 unit 35 is silent, and of a shard that was not rendered.
    assert found == [
        ("features.3", 35, "dead", True, None),
        (STRANGE, 16, "dead", True, 16.0),
        ("classifier.1", 5, "dead", True, 5.0),
    ]
    statuses: dict[str, int] = dict(
        cat.sql("select status, count(*) from units where layer = 'features.3' group by status").rows
    )
    assert statuses == {"ok": 34, "unstarted": 2, "nan": 2, "absent": 31, "dead": 1}


def test_examples_are_those_of_the_statistics(store: Store, cat: Catalogue) -> None:
    paths: dict[int, str] = dict(cat.sql("select number, path from images").rows)
    for name in LAYERS:
        image, value, crop, position = (
            statistics(store, name, f"example_{what}") for what in ("image", "value", "crop", "position")
        )
        rows = list(rows_of(cat.sql("select * from examples where layer = $name", name=name)))
        assert len(rows) == (image >= 0).sum()
        for row in rows:
            at = row["index"], ("top", "bottom").index(row["extreme"]), row["rank"] - 1
            assert (row["image"], row["crop"], row["position"]) == (image[at], crop[at], position[at])
            assert row["value"] == pytest.approx(float(value[at]))
            assert row["path"] == paths[row["image"]] == name_of(row["image"])
            assert (row["x0"], row["y0"], row["x1"], row["y1"]) == (64, 48, 320, 304)


def test_classes_are_ranked_from_both_sides(store: Store, cat: Catalogue) -> None:
    for name in LAYERS:
        rows = cat.sql(
            "select index, class, attribution, rank_in_unit, rank_in_class, label from classes where layer = $name",
            name=name,
        ).rows
        of_unit, of_class = statistics(store, name, "class"), statistics(store, name, "unit_of_class")
        assert {(index, number, rank) for index, number, _, rank, _, _ in rows if rank} == {
            (unit, int(number), rank + 1) for unit, best in enumerate(of_unit) for rank, number in enumerate(best)
        }
        assert {(index, number, rank) for index, number, _, _, rank, _ in rows if rank} == {
            (int(unit), number, rank + 1) for number, best in enumerate(of_class) for rank, unit in enumerate(best)
        }
        assert all(label == LABELS[number] for _, number, *_, label in rows)
        assert [row[:2] for row in rows] == sorted({row[:2] for row in rows}), "each pair once, in order"


def test_images_are_there_shown_or_not(cat: Catalogue) -> None:
    rows = list(rows_of(cat.sql("select * from images")))
    assert [row["number"] for row in rows] == list(range(40))
    for row in rows:
        assert row["path"] == name_of(row["number"])
        assert row["sha256"] == (row["number"] + 1).to_bytes(32, "big").hex()
        assert row["in_reference"] is (row["status"] == "ok")
        if row["number"] % 16 == BAD:
            assert (row["status"], row["reason"]) == ("truncated", "cut short after 99 bytes")
            assert (row["width"], row["height"], row["class_1"], row["probability_1"]) == (None,) * 4
        else:
            assert (row["status"], row["reason"], row["width"], row["height"]) == ("ok", None, 640, 480)
            assert (row["label_2"], row["probability_2"]) == (LABELS[(row["number"] + 1) % CLASSES], 0.25)


def test_the_nearest_unit_is_named_by_its_address(cat: Catalogue) -> None:
    assert cat.sql("select most_similar, similarity > 0.99 from units where unit = 'features.3:2'").rows == [
        ("features.3:3", True)
    ]
    found = {name for (name,) in cat.sql("select distinct most_similar from units where most_similar is not null")}
    assert {cat.unit(name).layer.name for name in found} == set(LAYERS)


# -- what is not there -------------------------------------------------------------------------------------------------


def test_without_images_there_are_units_alone() -> None:
    store = make_store(MemoryBackend(), layers={"a": 10}, variants=("positive",))
    cat = atlas.open(store.backend)
    (row, *others) = rows_of(cat.sql("select * from units"))
    assert len(others) == 9
    assert (row["objective"], row["status"]) == (0.0, "ok")
    assert {name for name, value in row.items() if value is not None} == {
        *("unit", "layer", "index", "basis", "kind", "status", "objective", "objective_peak")
    }
    for name in ("examples", "classes", "images"):
        assert cat.sql(f"select count(*) from {name}").rows == [(0,)]


def test_without_pictures_there_is_what_images_say() -> None:
    store = make_store(MemoryBackend(), layers={})
    collect_into(store, layers=made_layers({"a": 10}), photographs=False, classes=0)
    cat = atlas.open(store.backend)
    assert cat.sql("select distinct status from units order by 1").rows == [("absent",), ("dead",)]
    assert cat.sql("select count(*), count(class), count(objective), count(activation_min) from units").rows == [
        (10, 0, 0, 10)
    ]
    assert cat.sql("select count(*) from classes").rows == [(0,)]
    assert cat.sql("select count(x0) > 0 from examples").rows == [(True,)]
    assert cat.sql("select count(*), count(class_1), count(width) from images").rows == [(40, 0, 37)]


def test_a_layer_whose_numbers_are_not_written_has_those_of_its_shards() -> None:
    store = make_store(MemoryBackend(), layers={"a": 40}, columns=False, absent={"a": [1]})
    rows = atlas.open(store.backend).sql("select index, status, objective from units order by index").rows
    assert rows[7] == (7, "ok", 7.0)
    assert rows[9][1:] == ("unstarted", None)
    assert {row[1:] for row in rows[32:]} == {("absent", None)}


def test_class_names_end_where_the_store_has_no_more(store: Store) -> None:
    few = make_store(MemoryBackend(), layers={"a": 10})
    few.put_labels(LABELS[:3])
    collect_into(few)
    found: dict[int, str | None] = dict(
        atlas.open(few.backend).sql("select class, any_value(label) from classes group by class").rows
    )
    assert found == {number: LABELS[number] if number < 3 else None for number in range(CLASSES)}


# -- derived -----------------------------------------------------------------------------------------------------------


def test_deleted_and_written_again_they_are_the_same_bytes(store: Store) -> None:
    before = {key: store.backend.get(key) for key in KEYS}
    assert all(before.values())
    assert write_tables(store) == [], "what is there is not written again"
    for key in KEYS:
        store.backend.delete(key)
    assert write_tables(store) == list(TABLES)
    assert {key: store.backend.get(key) for key in KEYS} == before


def test_a_reader_makes_the_same_rows_where_there_is_no_file(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    filed = everything(store)
    monkeypatch.setattr(tables, "_trusted", lambda *_: False)
    assert everything(store) == filed


def test_a_table_is_read_from_its_file_while_it_fits(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "fill", None)
    assert sum(map(len, everything(store).values())) > 1000


def test_files_that_are_gone_or_torn_are_made_up_for(made_store: Callable[..., Store]) -> None:
    store = made_store(layers={"a": 10}, size=16)
    collect_into(store)
    before = everything(store)
    for damage in (None, b"", b"PAR1", b"no table at all, but a few bytes long"):
        for key in KEYS:
            store.backend.delete(key)
            if damage is not None:
                store.backend.put(key, damage)
        assert everything(store) == before
    assert write_tables(store) == list(TABLES)
    assert everything(store) == before


def test_an_old_table_is_never_asked() -> None:
    store = make_store(MemoryBackend(), layers={"a": 40, "b": 10}, size=16)
    finish(store)
    old = {key: store.backend.get(key) or b"" for key in KEYS}
    collect_into(store, layers=[plan.on for plan in store.plans_of(FEATURES.name)][:1])
    new = everything(store)
    assert new["images"]
    for key, data in old.items():
        store.backend.put(key, data)
    assert everything(store) == new
    collect_into(store, layers=[plan.on for plan in store.plans_of(FEATURES.name)][1:])
    assert len(everything(store)["examples"]) > len(new["examples"])
    # Names of classes alone make a table old too.
    store.put_labels(LABELS)
    assert ("kind 1",) in atlas.open(store.backend).sql("select distinct label from units").rows
    assert write_tables(store) == list(TABLES)


def test_a_store_that_cannot_be_written_is_read(tmp_path: Path) -> None:
    store = make_store(tmp_path / "made", layers={"a": 10}, size=16)
    before = {path: path.stat().st_mtime_ns for path in sorted((tmp_path / "made").rglob("*"))}
    for path in before:
        path.chmod(0o555 if path.is_dir() else 0o444)
    cat = atlas.open(tmp_path / "made")
    assert cat.sql("select count(*) from units").rows == [(10,)]
    assert {path: path.stat().st_mtime_ns for path in sorted((tmp_path / "made").rglob("*"))} == before
    assert store.backend.get(KEYS[0]) is None


def test_tables_belong_to_a_store(tmp_path: Path) -> None:
    store = make_store(tmp_path / "made's", layers={"a": 10}, size=16)
    collect_into(store)
    store.put_labels(LABELS)
    assert verify(store).findings == ()
    assert sorted(store.backend.list("tables/")) == sorted(KEYS)
    # Anybody's DuckDB reads them.
    assert isinstance(store.backend, LocalBackend)
    path = str(store.backend.root / "tables/units.parquet")
    assert duckdb.read_parquet(path).aggregate("count(*)").fetchall() == [(10,)]
    assert atlas.open(tmp_path / "made's").sql("select count(*) from units").rows == [(10,)]


def test_columns_are_what_the_list_of_columns_says(cat: Catalogue) -> None:
    for name, columns in TABLES.items():
        described = cat.sql(f"describe {name}").rows
        assert [row[:2] for row in described] == [(column.name, column.type) for column in columns]
        assert all(column.meaning for column in columns)
