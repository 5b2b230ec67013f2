"""Reading a store: layers, units, their pictures and numbers."""

from __future__ import annotations

import json
import math
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import atlas
from atlas.catalogue import Catalogue, LayerView, UnitView, write_index, write_tables
from atlas.engine.work import reduce
from atlas.errors import NotAStore, StoreError, StoreTooNew, UnknownName
from atlas.store import LocalBackend, MemoryBackend, Store
from atlas.store.layout import VERSION
from atlas.units import Unit
from tests.stores import STRANGE, make_shard, make_store, seen


@pytest.fixture(scope="module")
def cat() -> Catalogue:
    store = make_store(MemoryBackend(), absent={"features.3": [1]}, title="A <made> & network", random=True)
    return atlas.open(store.backend)


def test_layers_come_in_the_order_of_the_network(cat: Catalogue) -> None:
    assert list(cat.layers) == ["features.3", STRANGE, "classifier.1"] == [layer.name for layer in cat]
    assert len(cat) == 3
    assert STRANGE in cat
    assert "features.4" not in cat
    layer = cat.layer("features.3")
    assert (layer.channels, layer.done, len(layer)) == (70, 38, 70)
    assert (layer.layer.kind, layer.layer.size, layer.layer.stride) == ("conv", (8, 8), 8.0)


def test_a_unit_has_its_pictures_and_numbers(cat: Catalogue) -> None:
    unit = cat.unit("features.3:7")
    (plan, *_) = cat.store.plans()
    pictures = seen(plan, plan.shard(0))
    assert isinstance(unit.image, Image.Image)
    assert np.array_equal(np.asarray(unit.image), pictures[7, 0])
    assert np.array_equal(np.asarray(unit.negative), pictures[7, 1])
    assert (unit.objective, unit.objective_peak, unit.status) == (7.0, 14.0, "ok")


def test_units_of_every_layer_can_be_addressed(cat: Catalogue) -> None:
    for layer in cat:
        unit = layer[3]
        assert str(cat[str(unit)]) == str(unit) == str(Unit(layer.name, 3))
        assert cat.layer(layer.name)[3].objective == 3.0
    assert str(cat.layer(STRANGE)[3]) == "späte schicht%2F0@2#1%25:3"


def test_a_layers_name_may_look_like_a_unit() -> None:
    cat = atlas.open(make_store(MemoryBackend(), layers={"a:1": 10, "a": 10}, size=16).backend)
    assert cat["a:1"] is cat.layer("a:1")
    assert str(cat["a%3A1:3"]) == "a%3A1:3"
    assert str(cat["a:3"]) == "a:3"


def test_a_type_checker_knows_what_a_name_gives(cat: Catalogue) -> None:
    hints = [
        typing.get_type_hints(method)["return"] for method in (Catalogue.__getitem__, Catalogue.layer, Catalogue.unit)
    ]
    assert hints == [LayerView | UnitView, LayerView, UnitView]
    assert isinstance(cat["features.3"], LayerView)
    assert isinstance(cat["features.3:3"], UnitView)
    assert cat.unit(Unit("features.3", 3)).objective == 3.0


def test_a_layers_recipe_is_read_when_it_is_asked_for() -> None:
    store = make_store(MemoryBackend(), layers={"a": 10, "b": 10}, size=48)
    cat = atlas.open(store.backend)
    assert (cat.layer("a").recipe.name, cat.layer("a").recipe.size) == ("quick", 48)
    store.backend.delete("plans/features/b.json")
    with pytest.raises(StoreError, match=r"plans/features/b\.json is gone"):
        _ = cat.layer("b").recipe


def test_statuses_are_data(cat: Catalogue) -> None:
    layer = cat.layer("features.3")
    statuses = [layer[index].status for index in (0, 9, 13, 5, 33)]
    assert statuses == ["ok", "unstarted", "nan", "ok", "absent"]
    assert layer[5].status_of("negative") == "rectified"
    assert math.isnan(layer[13].objective)
    assert layer[13].image.getextrema() == ((0, 0),) * 3
    assert (layer.status[32:64] == 255).all()
    assert [unit.index for unit in layer.units] == [*range(32), *range(64, 70)]


def test_what_is_not_there_offers_what_is(cat: Catalogue) -> None:
    wrong = {
        "features.33": "Did you mean 'features.3'",
        "features.33:3": "Did you mean 'features.3'",
        "features.3:70": "has the units 0 to 69",
        "features.3:x": "LAYER:INDEX",
        "features.3/sae:3": "There is no basis 'sae'",
    }
    for name, line in wrong.items():
        with pytest.raises(UnknownName, match=line) as caught:
            cat[name]
        assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(UnknownName, match="has the units"):
        cat.layer("features.3")[-1]
    with pytest.raises(UnknownName, match="has positive, negative"):
        cat.layer("features.3").sheet("sideways")
    with pytest.raises(UnknownName, match="Did you mean 'mean'"):
        cat.layer("features.3").array("means")


def alike(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
    """Whether pictures are the same but for what a JPEG file loses."""
    return bool(np.abs(one.astype(int) - other).max() < 32 and np.abs(one.astype(int) - other).mean() < 2)


def test_a_layer_that_was_stopped_shows_what_is_there() -> None:
    store = make_store(MemoryBackend(), absent={"features.3": [1]}, columns=False)
    layer = atlas.open(store.backend).layer("features.3")
    whole = atlas.open(make_store(MemoryBackend()).backend).layer("features.3")
    there = [*range(32), *range(64, 70)]
    assert [unit.index for unit in layer.units] == there
    for name in ("objective", "objective_peak", "status"):
        assert np.array_equal(getattr(layer, name)[there], getattr(whole, name)[there], equal_nan=True)
    assert np.isnan(layer.objective[32:64]).all()
    assert np.array_equal(np.asarray(layer[7].image), np.asarray(whole[7].image))
    assert alike(layer.thumbs()[there], whole.thumbs()[there])
    assert not layer.thumbs()[32:64].any()
    assert alike(np.asarray(layer.sheet(units=there)), np.asarray(whole.sheet(units=there)))
    assert "<img" in layer._repr_html_()
    with pytest.raises(UnknownName, match="Build it: "):
        _ = layer[40].image
    rows = layer.catalogue.sql(
        "select index, status, objective from units where layer = 'features.3' order by index"
    ).rows
    assert [row[1] == "absent" for row in rows] == [index not in there for index in range(70)]
    assert rows[7][2] == 7.0


def test_the_table_of_units_follows_a_layer_that_is_built() -> None:
    store = make_store(MemoryBackend(), layers={"a": 70}, size=16, absent={"a": [1, 2]}, columns=False)
    (plan,) = store.plans()
    for shard, done in ((1, 64), (2, 70)):
        make_shard(store, plan, plan.shard(shard))
        write_tables(store)
        assert len(atlas.open(store.backend).sql("select * from units where status != 'absent'")) == done


def test_what_was_rendered_since_it_was_opened_says_so() -> None:
    store = make_store(MemoryBackend(), layers={"a": 40}, size=16, absent={"a": [1]}, columns=False)
    layer = atlas.open(store.backend).layer("a")
    assert layer[35].status == "absent"
    (plan,) = store.plans()
    make_shard(store, plan, plan.shard(1))
    with pytest.raises(StoreError, match="Open it again"):
        _ = layer[35].image
    assert atlas.open(store.backend).layer("a")[35].image


def test_a_unit_without_a_picture_has_no_numbers_to_tell(cat: Catalogue) -> None:
    assert repr(cat["features.3:33"]) == "<features.3:33: absent>"
    assert "nan" not in cat.unit("features.3:33")._repr_html_()
    assert repr(cat["features.3:7"]) == "<features.3:7: ok, objective 7, peak 14>"


def test_a_sheet_of_some_units_at_any_size(cat: Catalogue) -> None:
    layer = cat.layer("features.3")
    large = np.asarray(layer.sheet(units=[7, 3], size=32, columns=2))
    assert large.shape == (34, 68, 3)
    (plan, *_) = cat.store.plans()
    assert alike(large[:32, 34:66], seen(plan, plan.shard(0))[3, 0])
    assert layer.sheet(units=range(4), size=10, columns=3).size == (36, 24)
    with pytest.raises(UnknownName, match="Build it: "):
        layer.sheet(units=[33])
    with pytest.raises(UnknownName, match="units 0 to 69"):
        layer.sheet(units=[70])
    with pytest.raises(UnknownName, match="size=0"):
        layer.sheet(size=0)


def test_lists_show_themselves_in_a_notebook(cat: Catalogue) -> None:
    some = cat.find(layer="features.3", order="objective_peak desc", top=3)
    assert isinstance(some, list)
    shown = some._repr_html_()  # type: ignore[attr-defined]
    assert shown.count("<img") == 3
    assert all(f"{unit}" in shown for unit in some)
    assert "20 are shown" in cat.layer("features.3").units._repr_html_()  # type: ignore[attr-defined]


def test_everything_of_the_front_door_is_listed() -> None:
    assert set(atlas.__all__) <= set(dir(atlas))


def test_an_absent_unit_says_how_to_build_it(cat: Catalogue) -> None:
    with pytest.raises(UnknownName, match=r"atlas build made:network --layers 'features\.3:33'"):
        _ = cat.unit("features.3:33").image
    assert "absent" in repr(cat.unit("features.3:33"))


def test_a_picture_whose_numbers_are_not_written_is_told_from_one_that_is_not_rendered() -> None:
    store = make_store(MemoryBackend(), layers={"a": 70}, size=16, absent={"a": [1]}, columns=False)
    cat = atlas.open(store.backend)
    assert cat.unit("a:69").image.size == (16, 16)
    assert cat.unit("a:69").objective == 69.0
    with pytest.raises(UnknownName, match="atlas build"):
        _ = cat.unit("a:33").image
    # A layer that was whole, of which more is made.
    (plan,) = store.plans()
    reduce(store, plan)
    make_shard(store, plan, plan.shard(1))
    cat = atlas.open(store.backend)
    assert cat.unit("a:69").image.size == cat.unit("a:33").negative.size == (16, 16)
    assert cat.unit("a:33").objective == 33.0


def test_pictures_that_are_gone_or_damaged_are_no_black_pictures() -> None:
    store = make_store(MemoryBackend(), layers={"a": 70}, size=16)
    key = "layers/a/features/image/c/2/0/0/0/0"
    data = store.backend.get(key) or b""
    for damage in (None, b"", data[:-1], data[:500] + b"\0" * (len(data) - 500 - 1028) + data[-1028:]):
        store.backend.delete(key)
        if damage is not None:
            store.backend.put(key, damage)
        with pytest.raises(StoreError, match="atlas verify"):
            _ = atlas.open(store.backend).unit("a:69").image
        assert atlas.open(store.backend).unit("a:31").image.size == (16, 16)


def test_one_variant_alone() -> None:
    cat = atlas.open(make_store(MemoryBackend(), layers={"a": 33}, size=16, variants=("positive",)).backend)
    assert cat.unit("a:32").image.size == (16, 16)
    with pytest.raises(UnknownName, match="variant 'negative'"):
        _ = cat.unit("a:32").negative


def test_a_contact_sheet_shows_what_was_rendered(cat: Catalogue) -> None:
    layer = cat.layer("features.3")
    sheet = layer.sheet(columns=10)
    assert sheet.size == (10 * 66, 4 * 66)
    thumbs = layer.thumbs()
    assert thumbs.shape == (70, 64, 64, 3)
    tile = np.asarray(sheet)[3 * 66 : 3 * 66 + 64, 7 * 66 : 7 * 66 + 64]
    assert np.array_equal(tile, thumbs[69]), "the 38th picture is unit 69: units 32 to 63 are not there"
    assert layer.sheet("negative", columns=100).size == (38 * 66, 66)


def test_a_layer_without_columns_is_there() -> None:
    cat = atlas.open(make_store(MemoryBackend(), layers={"a": 10}, size=16, columns=False).backend)
    assert cat.layer("a").done == 10
    assert [unit.index for unit in cat.layer("a").units] == list(range(10))
    assert cat.layer("a").sheet().size == (10 * 66, 66)
    assert cat.layer("a")._repr_html_()


def test_notebooks_show_it_and_escape_names(cat: Catalogue) -> None:
    assert "A &lt;made&gt; &amp; network" in cat._repr_html_()
    assert "random weights" in cat._repr_html_()
    assert "<td>features.3</td><td>conv</td><td>70</td><td>38</td>" in cat._repr_html_()
    assert repr(cat).startswith("<Catalogue of A <made> & network: 3 layers, 81 units")
    assert "src='data:image/png;base64," in cat.layer("features.3")._repr_html_()
    unit = cat.unit("features.3:5")._repr_html_()
    assert unit.count("<img") == 2
    assert "negative: rectified" in unit
    assert cat.unit("features.3:33")._repr_html_().count("<img") == 0


def test_names_are_escaped_once() -> None:
    cat = atlas.open(make_store(MemoryBackend(), layers={"<i>&'": 10}, size=16).backend)
    for html in (cat._repr_html_(), cat.layer("<i>&'")._repr_html_(), cat.layer("<i>&'")[0]._repr_html_()):
        assert "&lt;i&gt;&amp;" in html
        assert "<i>&" not in html
        assert "&amp;lt;" not in html


# -- the index ---------------------------------------------------------------------------------------------------------


def test_the_door_says_how_far_a_layer_is(made_store: Callable[..., Store]) -> None:
    store = made_store(absent={"features.3": [0], STRANGE: [0, 1]}, note="Made for a test.")
    index = store.get_json("catalogue.json")
    assert index["encoding-version"] == VERSION
    assert index["note"] == "Made for a test."
    assert index["model"]["spec"] == "made:network"
    rows = {row["name"]: row for row in index["layers"]}
    assert rows[STRANGE]["key"] == "sp%C3%A4te%20schicht%2F0%402%231%25"
    done = {name: (row["features"]["units"], row["features"]["done"]) for name, row in rows.items()}
    assert done == {"features.3": (70, 38), STRANGE: (33, 0), "classifier.1": (10, 10)}
    assert all(row["features"]["pictured"] for row in rows.values())


@pytest.mark.parametrize("junk", [None, b"", b"{", b"[]", b"{}"])
def test_the_door_is_derived_and_reading_does_not_write_it(tmp_path: Path, junk: bytes | None) -> None:
    store = make_store(tmp_path / "made", layers={"a": 10}, size=16)
    whole = store.backend.get("catalogue.json")
    store.backend.delete("catalogue.json")
    if junk is not None:
        store.backend.put("catalogue.json", junk)
    cat = atlas.open(tmp_path / "made")
    assert cat.unit("a:3").objective == 3.0
    assert LocalBackend(tmp_path / "made").get("catalogue.json") == junk
    write_index(store)
    assert store.backend.get("catalogue.json") == whole


def test_a_newer_door_is_not_read() -> None:
    store = make_store(MemoryBackend(), layers={"a": 10}, size=16)
    index = store.get_json("catalogue.json") | {"encoding-version": "2.0", "written-by": "atlas-builder 3.0.0"}
    store.backend.put("catalogue.json", json.dumps(index).encode())
    with pytest.raises(StoreTooNew, match=r"atlas-builder>=3\.0\.0"):
        atlas.open(store.backend)
    store.put_json("catalogue.json", index | {"encoding-version": "1.9"})
    assert len(atlas.open(store.backend)) == 1


def test_no_store(tmp_path: Path) -> None:
    with pytest.raises(NotAStore, match="atlas build"):
        atlas.open(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("name", ["é:0-3", "a\nb", "a/b:c", "50%:x", "x:"])
def test_a_unit_of_a_layer_with_an_odd_name_is_found_by_its_name_and_by_its_address(name: str) -> None:
    cat = atlas.open(make_store(MemoryBackend(), layers={name: 10, "a": 10}, size=16).backend)
    assert cat.unit(f"{name}:3").layer.name == name
    assert cat.unit(str(Unit(name, 3))).layer.name == name
    assert cat.unit("a:3").layer.name == "a"
    with pytest.raises(UnknownName):
        cat.unit(f"{name}:10")
