"""Stores and hosts that are not as one would wish: the page says so in words."""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from atlas.catalogue import open as open_catalogue
from atlas.catalogue import write_index
from atlas.engine.work import reduce
from atlas.server import app_of
from atlas.store import Store
from atlas.units import Unit
from tests.hosts import Rangeless, Shared, atlas_host, static_host
from tests.stores import make_shard, make_store, write_whole
from tests.viewer.conftest import answers_of, tree
from tests.viewer.test_viewer import loaded

pytestmark = pytest.mark.browser


@contextmanager
def served(store: Path, built: Path) -> Iterator[str]:
    with atlas_host(app_of(store, built)) as address:
        yield address


def test_a_server_that_ignores_ranges_is_named_and_not_read(
    page: Page, built: Path, store: Path, tmp_path: Path
) -> None:
    with tree(tmp_path / "tree", built, store) as folder, static_host(folder, Rangeless) as address:
        for route in ("#/features.3", "#/features.3:7"):
            page.goto("about:blank")
            page.goto(f"{address}{route}")
            expect(page.get_by_role("alert")).to_contain_text("This server ignores range requests")
            expect(page.get_by_role("alert")).to_contain_text("atlas serve STORE")
        page.goto(f"{address}#/")
        expect(page.get_by_role("alert").first).to_contain_text("This server ignores range requests")


def test_untrained_weights_are_marked_on_every_page(page: Page, built: Path, tmp_path: Path) -> None:
    make_store(tmp_path / "made.atlas", layers={"features.3": 4}, random=True, note="Made in a hurry.")
    with served(tmp_path / "made.atlas", built) as address:
        for route in ("#/", "#/features.3", "#/features.3:1", "#/nowhere"):
            page.goto(f"{address}{route}")
            expect(page.get_by_role("note")).to_contain_text("Random weights")
        page.goto(f"{address}#/")
        expect(page.get_by_text("Made in a hurry.")).to_be_visible()


def test_trained_weights_are_not_marked(page: Page, built: Path, store: Path) -> None:
    with served(store, built) as address:
        page.goto(address)
        expect(page.locator("article h2").first).to_be_visible()
        expect(page.get_by_role("note")).to_have_count(0)


def test_a_build_in_the_making_shows_what_is_there(page: Page, built: Path, tmp_path: Path) -> None:
    place = tmp_path / "made.atlas"
    make_store(place, layers={"features.3": 96}, size=48, absent={"features.3": [1]}, columns=False)
    with served(place, built) as address:
        page.goto(address)
        expect(page.locator("article")).to_contain_text("64 of 96 rendered so far")
        loaded(page.locator("article img"), 48)
        page.goto(f"{address}#/features.3")
        loaded(page.locator('[data-unit="0"] img, [data-unit="95"] img'), 48)
        expect(page.locator('[data-unit="40"]')).to_contain_text("absent")
        page.goto(f"{address}#/features.3:70")
        loaded(page.locator("figure img"), 48)
        expect(page.locator("figure").first).to_contain_text("written when the layer is complete")


def test_what_is_rendered_meanwhile_appears_by_itself(page: Page, built: Path, tmp_path: Path) -> None:
    place = tmp_path / "made.atlas"
    store = make_store(place, layers={"features.3": 96}, size=48, absent={"features.3": [1]}, columns=False)
    page.clock.install()
    with served(place, built) as address:
        page.goto(address)
        expect(page.locator("article")).to_contain_text("64 of 96 rendered so far")
        plan = store.plans()[0]
        make_shard(store, plan, plan.shard(1))
        write_index(store)
        page.clock.fast_forward(20_000)
        expect(page.locator("article")).to_contain_text("all 96 rendered, numbers to come")

        page.goto(f"{address}#/features.3")
        loaded(page.locator('[data-unit="40"] img'), 48)
        reduce(store, plan)
        write_index(store)
        page.clock.fast_forward(20_000)
        # Nothing moves under the reader's eyes: the page only says that there is more.
        expect(page.get_by_text("More of this layer was rendered.")).to_be_visible()
        loaded(page.locator('[data-unit="40"] img'), 48)
        page.get_by_role("button", name="Show it").click()
        loaded(page.locator('[data-unit="40"] img'), 64)


def test_a_rewritten_layer_is_noticed_and_read_anew(page: Page, built: Path, tmp_path: Path) -> None:
    place = tmp_path / "made.atlas"
    store = make_store(place, layers={"features.3": 640}, size=16)
    with served(place, built) as address:
        page.goto(f"{address}#/features.3")
        loaded(page.locator("[data-unit] img"), 64)
        plan = store.plans()[0]
        noise = np.random.default_rng(0).integers(0, 255, (640, 2, 64, 64, 3), dtype=np.uint8)
        columns = {
            name: np.zeros((640, 2), "uint8" if name == "status" else "float32") for name in ("mean", "peak", "status")
        }
        write_whole(Store.open(place), plan, "reduce", columns | {"thumb": noise})
        page.locator('[data-position="0"]').focus()
        page.keyboard.press("End")
        page.mouse.wheel(0, -2500)
        expect(page.get_by_role("alert")).to_contain_text("just rewritten")
        answers = answers_of(page)
        page.get_by_role("button", name="Try again").click()
        loaded(page.locator("[data-unit] img"), 64)
        # Noise is as large as a thumbnail gets, and neighbours still share a request.
        assert sum("/thumb/c/" in answer.url for answer in answers) < 30


NAMES = ["a", "a/b", "a%2Fb", "a:1", "100%", 'quo"te\\', "a#b?c", "späte schicht/0@2#1%"]


def test_the_names_on_the_page_open_in_python_and_python_s_on_the_page(page: Page, built: Path, tmp_path: Path) -> None:
    make_store(tmp_path / "made.atlas", layers=dict.fromkeys(NAMES, 4), size=16)
    catalogue = open_catalogue(tmp_path / "made.atlas")
    field = page.get_by_role("combobox", name="Go to a layer or unit")
    with served(tmp_path / "made.atlas", built) as address:
        page.goto(address)
        for name in NAMES:
            field.fill(name)
            field.press("Enter")
            expect(page.get_by_role("heading", level=1)).to_have_text(name)
            field.fill(str(Unit(name, 3)))
            field.press("Enter")
            expect(page.get_by_role("heading", level=1)).to_have_text(str(Unit(name, 3)))
            expect(page).to_have_title(f"{Unit(name, 3)} – A made network")
            said = page.locator("pre").text_content() or ""
            written = re.search(r"\[(\".*\")\]", said)
            assert written is not None, said
            assert catalogue.unit(ast.literal_eval(written[1])).unit == Unit(name, 3)
            # The address is the same page again, and so is Python's name behind the #.
            page.reload()
            expect(page.get_by_role("heading", level=1)).to_have_text(str(Unit(name, 3)))
        page.goto(f"{address}#/a%2Fb:2")
        expect(page.get_by_role("heading", level=1)).to_have_text("a%2Fb:2")
        page.goto(f"{address}#/100%25:2")
        expect(page.get_by_role("heading", level=1)).to_have_text("100%25:2")
        field.fill("100%:1")
        field.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("100%25:1")


def test_what_has_no_picture_is_not_sorted_by_the_number_of_its_grey(page: Page, built: Path, tmp_path: Path) -> None:
    place = tmp_path / "made.atlas"
    store = make_store(place, layers={"features.3": 16}, size=16)
    layer = open_catalogue(place).layer("features.3")
    columns = {"mean": "objective", "peak": "objective_peak"}
    numbers = {name: np.nan_to_num(getattr(layer, column), nan=1000) for name, column in columns.items()}
    thumbs = np.stack([layer.thumbs(variant) for variant in layer.variants], axis=1)
    write_whole(store, store.plans()[0], "reduce", numbers | {"status": layer.status, "thumb": thumbs})
    with served(place, built) as address:
        page.goto(f"{address}#/features.3?sort=peak")
        expect(page.locator('[data-position="0"]')).to_have_attribute("data-unit", "15")
        expect(page.locator('[data-position="14"]')).to_have_attribute("data-unit", "9")
        page.goto(f"{address}#/features.3:9")
        expect(page.locator("figure .status")).to_have_count(2)
        assert "1000" not in page.locator(".figures").inner_text()


def test_an_address_without_a_store_says_how_to_get_one(page: Page, built: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tree"
    shutil.copytree(built, folder)
    with static_host(folder) as address:
        page.goto(address)
        expect(page.get_by_role("alert")).to_contain_text("There is no store here (yet)")
        expect(page.get_by_role("alert")).to_contain_text("atlas build MODEL")
        (folder / "store").mkdir()
        (folder / "store" / "catalogue.json").write_text("<!doctype html>")
        page.get_by_role("button", name="Try again").click()
        expect(page.get_by_role("alert")).to_contain_text("This is no atlas store")


def test_a_store_may_lie_at_another_address(page: Page, built: Path, store: Path, tmp_path: Path) -> None:
    shutil.copytree(built, tmp_path / "page")
    answers = answers_of(page)
    with static_host(tmp_path / "page") as here, static_host(store, Shared) as there:
        page.goto(f"{here}?store={there}#/classifier.1")
        expect(page.locator("[data-unit]")).to_have_count(10)
        loaded(page.locator("[data-unit] img"), 64)
        # Nothing that a browser would first ask leave for.
        assert {answer.request.method for answer in answers} == {"GET", "HEAD"}


def test_opening_a_unit_takes_few_requests(page: Page, built: Path, store: Path) -> None:
    answers = answers_of(page)
    with served(store, built) as address:
        page.goto(f"{address}#/features.3:7")
        loaded(page.locator("figure img"), 128)
        page.wait_for_load_state("networkidle")
    # catalogue, the layer's metadata, three columns, two indices, this unit's pictures and its neighbours'
    assert sum("/store/" in answer.url for answer in answers) <= 12
