"""What images say, read in Python: examples, statistics, classes, neighbours, images; stores that lack some of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import atlas
from atlas.catalogue import Catalogue, write_index
from atlas.catalogue.similarity import thinned
from atlas.errors import StoreError, UnknownName
from atlas.store import MemoryBackend, Receipt, Store, digest_of
from atlas.store.layout import columns_receipt
from tests.collected import BAD, collect_into, name_of
from tests.stores import STRANGE, make_store

UNIT = "features.3:20"


@pytest.fixture(scope="module")
def store() -> Store:
    made = make_store(MemoryBackend(), size=16, labels=10)
    made.put_labels([f"class {number}" for number in range(10)])
    collect_into(made)
    return made


@pytest.fixture
def cat(store: Store) -> Catalogue:
    return atlas.open(store.backend)


def test_examples_are_the_columns_of_the_store(cat: Catalogue, store: Store) -> None:
    unit = cat.unit(UNIT)
    for extreme, examples in enumerate((unit.examples, unit.bottom)):
        columns = {
            name: store.read(f"layers/features.3/statistics/example_{name}")[20, extreme]
            for name in ("value", "image", "crop", "position")
        }
        assert [one.value for one in examples] == columns["value"].tolist()
        assert [one.image.number for one in examples] == columns["image"].tolist()
        assert [one.crop for one in examples] == columns["crop"].tolist()
        assert [one.position for one in examples] == columns["position"].tolist()
        assert all(one.box == (64, 48, 320, 304) for one in examples)
        assert all(one.picture is not None and one.picture.size == (96, 96) for one in examples)
    assert unit.examples[0].value >= unit.examples[-1].value > unit.bottom[0].value


def test_statistics_of_a_channel(cat: Catalogue, store: Store) -> None:
    found = cat.unit(UNIT).statistics
    shown = 40 - len(range(BAD, 40, 16))
    assert (found.images, found.positions) == (shown, 64 * shown)
    assert found.mean == store.read("layers/features.3/statistics/mean")[20]
    assert list(found.quantiles) == [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99]
    assert found.histogram.sum() == 1000 + sum(range(20))
    assert len(found.edges) == len(found.histogram) + 1


def test_ratio_is_of_the_best_example_of_its_sign(cat: Catalogue) -> None:
    unit = cat.unit(UNIT)
    assert unit.ratio == pytest.approx(unit.objective_peak / unit.examples[0].value)
    assert np.isnan(unit.ratio_of("negative")), "no image drives it below zero"
    layer = cat.layer("features.3")
    for other in layer:
        assert np.array_equal([other.ratio, other.ratio_of("negative")], layer.ratio[other.index], equal_nan=True)


def test_similarity_names_its_images_and_takes_units_as_it_gives_them(cat: Catalogue) -> None:
    alike = cat.similar(cat.unit(UNIT), top=2)
    assert repr(alike) == repr(cat.similar(UNIT, top=2))
    assert [str(cat.similar(unit, top=1).unit) for unit, _ in alike] == [str(unit) for unit, _ in alike]
    assert alike.images.tolist() == [row[0] for row in cat.sql("select number from images where in_reference").rows]
    for wrong in (3, None, 2.5):
        with pytest.raises(UnknownName, match="no unit"):
            cat.similar(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(("rows", "count"), [(0, 0), (1, 1), (1024, 1024), (1025, 1024), (2425, 1024), (4096, 1024)])
def test_similarity_rests_on_as_many_images_as_it_may(rows: int, count: int) -> None:
    found = thinned(rows)
    assert len(found) == count == len(set(found.tolist()))
    assert found.tolist() == sorted(found.tolist())
    assert all(0 <= row < rows for row in found)


def test_a_silent_unit_says_so_whatever_its_picture(cat: Catalogue) -> None:
    unit = cat.unit("features.3:35")
    assert unit.dead
    assert unit.status == "dead"
    assert unit.status_of("positive") == "ok"
    assert not cat.unit(UNIT).dead
    assert "features.3:35" in [str(found) for found in cat.find(status="dead")]


def test_classes_have_names(cat: Catalogue) -> None:
    number, name, attribution = cat.unit(UNIT).classes[0]
    assert (number, name, attribution) == (0, "class 0", 8.0)
    units = cat.units_of("class 3", top=5)
    assert len(units) == 5
    assert [str(unit) for unit, _ in cat.units_of(3, top=5)] == [str(unit) for unit, _ in units]
    with pytest.raises(UnknownName, match="Did you mean 'class 3'"):
        cat.units_of("clas 3")
    with pytest.raises(UnknownName, match="no class 10"):
        cat.units_of(10)


def test_of_two_classes_of_one_name_neither_is_taken() -> None:
    made = make_store(MemoryBackend(), size=16, labels=10)
    made.put_labels(["crane" if number in (3, 8) else f"class {number}" for number in range(10)])
    collect_into(made)
    cat = atlas.open(made.backend)
    with pytest.raises(UnknownName, match="'crane' names the classes 3 and 8"):
        cat.class_number("crane")
    assert cat.class_number(8) == 8


def test_similarity_is_the_correlation_over_the_reference_set(cat: Catalogue, store: Store) -> None:
    found = cat.similar("features.3:2", top=3)
    assert str(found[0][0]) == "features.3:3", "made to answer alike"
    maxima = store.read("layers/features.3/statistics/maxima")
    shown = maxima[np.isfinite(maxima).all(1)]
    assert found[0][1] == pytest.approx(np.corrcoef(shown[:, 2], shown[:, 3])[0, 1], abs=1e-5)
    assert found.basis == f"{len(shown)} of 40 images"
    assert found.basis in repr(found)
    (stored, similarity), *_ = cat.unit("features.3:2").similar
    assert str(stored) == str(found[0][0])
    assert similarity == pytest.approx(found[0][1], abs=1e-5)


def test_similarity_over_some_layers_and_of_a_unit_that_answers_nothing(cat: Catalogue) -> None:
    assert {unit.layer.name for unit, _ in cat.similar(UNIT, layers=["classifier.*"])} == {"classifier.1"}
    assert len(cat.similar(UNIT, top=500)) < 500
    assert len(cat.similar("features.3:35")) == 0
    assert "features.3:35" not in [str(unit) for unit, _ in cat.similar(UNIT, top=200)]
    with pytest.raises(UnknownName, match=r"Did you mean 'features\.3'"):
        cat.similar("features.33:1")
    with pytest.raises(UnknownName, match="at least 1"):
        cat.similar(UNIT, top=0)


def test_images_by_number_and_name(cat: Catalogue, store: Store) -> None:
    assert len(cat.images) == 40
    image = cat.images[name_of(1)]
    assert image == cat.images[1]
    assert (image.name, image.status, image.reason, image.size) == (name_of(1), "ok", "", (640, 480))
    assert image.picture.size == (128, 96)
    assert image.classes[0] == (1, "class 1", 0.5)
    scores = [score for _, score in image.excites]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 24
    bad = cat.images[BAD]
    assert (bad.status, bad.reason, bad.classes, bad.excites) == ("truncated", "cut short after 99 bytes", [], [])
    with pytest.raises(UnknownName, match="cut short"):
        _ = bad.picture
    assert [found.number for found in cat.images.matching("class-7/*")] == [7, 17, 27, 37]
    assert cat.images[-1].number == 39
    with pytest.raises(UnknownName, match="There is no image 40"):
        _ = cat.images[40]
    with pytest.raises(UnknownName, match="Did you mean"):
        _ = cat.images["class-7/000008.jpg"]


def test_an_image_knows_whose_example_it_is(cat: Catalogue) -> None:
    found = cat.images[7].examples
    assert [rank for _, _, rank in found] == sorted(rank for _, _, rank in found)
    there = {
        (str(unit), extreme, rank)
        for layer in cat
        for unit in layer
        for extreme, examples in (("top", unit.examples), ("bottom", unit.bottom))
        for rank, one in enumerate(examples, 1)
        if one.image.number == 7
    }
    assert {(str(unit), extreme, rank) for unit, extreme, rank in found} == there != set()
    assert cat.images[BAD].examples == []


def test_images_that_were_not_looked_at_are_absent() -> None:
    store = make_store(MemoryBackend(), layers={"a": 10}, size=16)
    made = collect_into(store, images=1500)
    (plan,) = (plan for plan in made if plan.stage == "images")
    store.forget(plan, {1})
    cat = atlas.open(store.backend)
    last = cat.images[1400]
    assert (last.status, last.reason, last.size, last.classes) == ("absent", "", (0, 0), [])
    assert (cat.images[1000].status, cat.images[1000].size) == ("ok", (640, 480))
    with pytest.raises(UnknownName, match="has no picture: absent"):
        _ = last.picture
    store.backend.delete("images/status/c/0")
    with pytest.raises(StoreError, match="is gone"):
        _ = atlas.open(store.backend).images[1000].status


def test_similarity_leaves_out_images_that_a_layer_did_not_answer() -> None:
    store = make_store(MemoryBackend(), layers={"a": 10, "b": 10, "c": 10}, size=16)
    made = collect_into(store, images=2048)
    whole = atlas.open(store.backend)
    before = whole.similar("a:2", layers=["a", "c"])
    even = [number for number in range(0, 2048, 2) if number % 16 != BAD]
    assert before.basis == f"{len(even):,} of 2,048 images"
    (plan,) = (plan for plan in made if plan.stage == "statistics" and plan.layer_name == "b")
    store.forget(plan, {1})
    # What a build leaves with --partial: statistics that rest on fewer images.
    store.put_reduced(columns_receipt(plan), Receipt(digest_of(store.receipts(plan).values()), 0, (0, plan.total), ()))
    write_index(store)
    cat = atlas.open(store.backend)
    assert cat.similar("a:2", layers=["a", "c"]).units[0][1] == before.units[0][1], (
        "layers that are whole stay as they are"
    )
    half = cat.similar("a:2", layers=["a", "b"])
    rows = [number for number in even if number < 1024]
    assert half.basis == f"{len(rows):,} of 2,048 images"
    a, b = (store.read(f"layers/{name}/statistics/maxima") for name in "ab")
    other, cosine = next((unit, cosine) for unit, cosine in half if unit.layer.name == "b")
    assert cosine == pytest.approx(np.corrcoef(a[rows, 2], b[rows, other.index])[0, 1], abs=1e-5)


def test_what_is_no_name_and_no_number_is_one_line(cat: Catalogue) -> None:
    layer: Any = cat.layer("features.3")
    cases: list[tuple[Any, Any]] = [(cat, 0), (layer, slice(2)), (cat.images, slice(2)), (cat.images, 1.5)]
    for thing, index in cases:
        with pytest.raises(UnknownName, match="ask by"):
            thing[index]
    assert str(layer[np.int64(3)]) == "features.3:3"
    assert cat.images[np.int64(3)].number == 3


def test_everything_shows_itself(cat: Catalogue) -> None:
    assert "40 images, 37 used" in repr(cat.images)
    for thing in (cat, cat.layer("features.3"), cat.unit(UNIT), cat.images[0], cat.images[BAD]):
        assert "<" in thing._repr_html_()
        assert repr(thing)
    html = cat.unit(UNIT)._repr_html_()
    assert html.count("<img") == 2 + 18
    assert "classes: class 0 8" in html
    assert "measured on: 37 images" in html


def test_a_store_without_images(made_store: Callable[..., Store]) -> None:
    cat = atlas.open(made_store(layers={"a": 10}, size=16).backend)
    unit = cat.unit("a:3")
    assert (len(cat.images), unit.dead, unit.status, unit.similar) == (0, False, "ok", [])
    assert np.isnan(unit.ratio)
    for asked in (lambda: unit.examples, lambda: unit.statistics, lambda: unit.classes, lambda: cat.similar("a:3")):
        with pytest.raises(UnknownName, match="--images"):
            asked()
    assert "no images" in repr(cat.images)


def test_a_store_without_pictures_or_photographs(made_store: Callable[..., Store]) -> None:
    store = made_store(layers={}, size=16)
    from tests.stores import made_layer

    collect_into(store, layers=[made_layer("a", 10)], photographs=False, classes=0)
    cat = atlas.open(store.backend)
    unit = cat.unit("a:3")
    assert unit.status == "absent"
    assert np.isnan([unit.objective, unit.objective_peak, unit.ratio]).all()
    assert cat.layer("a").units == []
    assert all(one.picture is None and one.box is not None for one in unit.examples)
    assert unit.classes == []
    with pytest.raises(UnknownName, match="`photographs=no`"):
        _ = cat.images[0].picture
    for thing in (cat, cat.layer("a"), unit, cat.images[0]):
        assert repr(thing)
        assert "<" in thing._repr_html_()
    for asked in (lambda: unit.image, lambda: unit.negative, cat.layer("a").sheet, lambda: cat.layer("a").objective):
        with pytest.raises(UnknownName, match="atlas build made:network --layers 'a'"):
            asked()
    assert cat.layer("a").ratio.shape == (10, 0)
    assert cat.layer("a").dead.tolist() == [index == 5 for index in range(10)]


def test_strange_layers_have_similar_units(cat: Catalogue) -> None:
    found = cat.layer(STRANGE)[4].similar
    assert len(found) == 10
    assert all(-1 <= similarity <= 1.0001 for _, similarity in found)
