"""Stores that hold only some of what there can be: the page shows that, and says what is not there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from atlas.catalogue import write_index
from atlas.engine.planning.images import plans
from atlas.recipe import Collection
from atlas.server import app_of
from atlas.store import Store
from tests.collected import collect_into
from tests.hosts import atlas_host, static_host
from tests.stores import NUMERICS, made_layers, make_store
from tests.viewer.conftest import answers_of, tree
from tests.viewer.test_viewer import loaded

pytestmark = pytest.mark.browser

LAYERS = {"features.3": 40, "classifier.1": 10}


@contextmanager
def served(store: Path, built: Path) -> Iterator[str]:
    with atlas_host(app_of(store, built)) as address:
        yield address


def without_pictures(place: Path, **given: bool) -> None:
    collect_into(make_store(place, layers={}), images=20, crops=3, layers=made_layers(LAYERS), **given)


def test_a_store_of_version_1_0_looks_as_it_always_did(page: Page, built: Path, tmp_path: Path) -> None:
    place = tmp_path / "made.atlas"
    make_store(place, layers=LAYERS, size=48)
    for file in place.rglob("*.json"):
        file.write_text(file.read_text().replace('"encoding-version": "1.1"', '"encoding-version": "1.0"'))
    index = json.loads((place / "catalogue.json").read_text())
    for name in ("images", "relations"):
        del index[name]
    (place / "catalogue.json").write_text(json.dumps(index))
    with served(place, built) as address:
        page.goto(address)
        expect(page.locator("article h2")).to_have_text(list(LAYERS))
        expect(page.locator(".rests, [data-images]")).to_have_count(0)
        page.goto(f"{address}#/features.3")
        loaded(page.locator("[data-unit] img"), 64)
        expect(page.get_by_role("button", name="top activating image")).to_have_count(0)
        assert page.get_by_label("Sort by").locator("option").all_inner_texts() == [
            "index",
            "objective peak",
            "objective",
        ]
        answers = answers_of(page)
        page.goto(f"{address}#/features.3:7")
        loaded(page.locator("figure img"), 48)
        expect(page.get_by_role("region")).to_have_count(0)
        page.wait_for_load_state("networkidle")
        assert not [answer.url for answer in answers if "/images/" in answer.url or "/statistics/" in answer.url]
        page.goto(f"{address}#/images/")
        expect(page.get_by_role("alert")).to_contain_text("This store has no images")
        page.goto(f"{address}#/classes/1")
        expect(page.get_by_role("alert")).to_contain_text("This store has no classes")


def test_a_layer_without_pictures_shows_the_images_that_drive_it(page: Page, built: Path, tmp_path: Path) -> None:
    place = tmp_path / "made.atlas"
    without_pictures(place)
    with tree(tmp_path / "tree", built, place) as folder, static_host(folder) as address:
        page.goto(address)
        expect(page.locator("article").first).to_contain_text("statistics of all, no pictures")
        loaded(page.locator("article").first.locator("img"), 96)
        expect(page.get_by_text("Each channel is shown by its top activating images")).to_be_visible()
        page.goto(f"{address}#/features.3")
        expect(page.locator("[data-unit]")).to_have_count(40)
        loaded(page.locator("[data-unit] img"), 96)
        options = page.get_by_label("Sort by").locator("option").all_inner_texts()
        assert options == ["index", "mean activation", "active images", "top activating image"]
        page.locator('[data-unit="7"]').click()
        expect(page.get_by_role("heading", level=1)).to_have_text("features.3:7")
        loaded(page.locator('[data-extreme="top"] img'), 96)
        expect(page.locator("figure[data-variant]")).to_have_count(0)
        region = page.get_by_role("region", name="Similar units")
        region.scroll_into_view_if_needed()
        loaded(region.locator("img"), 96)
        page.goto(f"{address}#/images/3")
        loaded(page.locator(".units img"), 96)


@pytest.mark.parametrize("pictures", [True, False])
def test_a_store_without_photographs_says_so_and_shows_boxes(
    page: Page, built: Path, tmp_path: Path, pictures: bool
) -> None:
    place = tmp_path / "made.atlas"
    if pictures:
        collect_into(make_store(place, layers=LAYERS, size=48), images=20, crops=3, photographs=False)
    else:
        without_pictures(place, photographs=False)
    said = "This store was built without photographs"
    with served(place, built) as address:
        answers = answers_of(page)
        page.goto(f"{address}#/features.3:7")
        expect(page.get_by_text(said)).to_be_visible()
        tiles = page.locator('[data-extreme="top"] a[data-rank]')
        expect(tiles).to_have_count(9)
        expect(tiles.locator("img")).to_have_count(0)
        expect(tiles.first.locator(".box")).to_be_visible()
        frame, box = tiles.first.locator(".photograph").bounding_box(), tiles.first.locator(".box").bounding_box()
        assert frame
        assert box
        assert frame["width"] / frame["height"] == pytest.approx(640 / 480, rel=0.03)
        assert (box["x"] - frame["x"]) / frame["width"] == pytest.approx(0.1, abs=0.03)
        tiles.nth(1).hover()
        expect(page.locator(".whole .box")).to_be_visible()
        page.goto(f"{address}#/images/3")
        expect(page.get_by_text(said)).to_be_visible()
        page.goto(f"{address}#/images/")
        expect(page.get_by_text(said)).to_be_visible()
        expect(page.locator("[data-image] img")).to_have_count(0)
        page.goto(f"{address}#/features.3?variant=best+example")
        expect(page.get_by_text(said)).to_be_visible()
        expect(page.locator("[data-unit]")).to_have_count(40)
        value = Store.open(place).read("layers/features.3/statistics/example_value")[7, 0, 0]
        expect(page.locator('[data-unit="7"] .none')).to_have_text(f"{value:.4g}")
        assert not [answer.url for answer in answers if "/picture/" in answer.url or "/images/thumb" in answer.url]


def test_what_is_asked_for_and_not_there_yet_is_said(page: Page, built: Path, tmp_path: Path) -> None:
    place = tmp_path / "made.atlas"
    store = make_store(place, layers={"features.3": 40}, size=48)
    collection = Collection("ab" * 32, 20, 10, 4)
    layers = made_layers({"features.3": 40, "features.8": 12})
    store.prepare(plans(store.identity, layers, collection, NUMERICS, {}))
    write_index(store)
    with served(place, built) as address:
        page.goto(address)
        expect(page.locator(".rests")).to_have_text("20 images, 4 crops of each: 0 used, 20 not looked at yet")
        expect(page.locator("article").nth(1)).to_contain_text("statistics to come")
        page.goto(f"{address}#/features.3:7")
        loaded(page.locator("figure img"), 48)
        expect(page.get_by_role("region")).to_have_count(0)
        page.goto(f"{address}#/features.8")
        expect(page.get_by_role("alert")).to_contain_text("Nothing was rendered of features.8 yet")
        page.goto(f"{address}#/images/")
        expect(page.locator("[data-image]")).to_have_count(20)
        expect(page.locator("[data-image]").first).to_contain_text("absent")
        page.goto(f"{address}#/images/3")
        expect(page.locator(".nothing")).to_contain_text("Not looked at yet")
        page.goto(f"{address}#/classes/3")
        expect(page.get_by_text("No layer has statistics yet")).to_be_visible()


def test_statistics_without_examples_and_relations_are_shown(page: Page, built: Path, tmp_path: Path) -> None:
    place = tmp_path / "made.atlas"
    without_pictures(place)
    index = json.loads((place / "catalogue.json").read_text())
    index["relations"] = None
    for layer in index["layers"]:
        layer["examples"] |= {"done": 0, "written": False}
    (place / "catalogue.json").write_text(json.dumps(index))
    with served(place, built) as address:
        page.goto(f"{address}#/features.3:7")
        tiles = page.locator('[data-extreme="top"] a[data-rank]')
        expect(tiles).to_have_count(9)
        expect(tiles.first).to_contain_text("not cut out yet")
        # The whole image is there all the same, without a box.
        tiles.first.hover()
        loaded(page.locator(".whole img"), 128)
        expect(page.locator(".whole .box")).to_have_count(0)
        expect(page.get_by_role("region", name="Similar units")).to_have_count(0)
        page.goto(f"{address}#/features.3")
        expect(page.locator("[data-unit]")).to_have_count(40)
        page.goto(f"{address}#/images/3")
        expect(page.get_by_text("are computed when the layers are complete")).to_be_visible()


def test_the_image_that_drives_it_most_stands_for_a_unit_that_has_no_picture(
    page: Page, built: Path, tmp_path: Path
) -> None:
    place = tmp_path / "made.atlas"
    without_pictures(place)
    index = json.loads((place / "catalogue.json").read_text())
    for layer in index["layers"]:
        layer["examples"] |= {"done": 0, "written": False}
    (place / "catalogue.json").write_text(json.dumps(index))
    with served(place, built) as address:
        page.goto(f"{address}#/features.3:7")
        region = page.get_by_role("region", name="Similar units")
        region.scroll_into_view_if_needed()
        loaded(region.locator("img"), 128)
        expect(region.locator(".none")).to_have_count(0)
        page.goto(f"{address}#/images/3")
        loaded(page.locator(".units img"), 128)


def test_images_that_come_while_one_looks_appear(page: Page, built: Path, tmp_path: Path) -> None:
    place = tmp_path / "made.atlas"
    store = make_store(place, layers={"features.3": 40}, size=48)
    store.prepare(
        plans(store.identity, made_layers({"features.3": 40}), Collection("ab" * 32, 20, 10, 3), NUMERICS, {})
    )
    write_index(store)
    page.clock.install()
    with served(place, built) as address:
        page.goto(f"{address}#/images/")
        expect(page.locator("[data-image]").first).to_contain_text("absent")
        collect_into(Store.open(place), images=20, crops=3)
        page.clock.fast_forward(20_000)
        expect(page.get_by_text("More images were looked at.")).to_be_visible()
        page.get_by_role("button", name="Show it").click()
        loaded(page.locator("[data-image] img"), 128)
        page.goto(f"{address}#/")
        expect(page.locator(".rests")).to_have_text("20 images, 3 crops of each: 19 used, 1 skipped")
