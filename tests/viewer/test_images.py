"""What images leave behind, on the page in Chromium: examples of units, and a page of each image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from atlas.serve import app_of
from atlas.store import Store
from tests.collected import collect_into, name_of
from tests.hosts import atlas_host, static_host
from tests.stores import STRANGE, make_store
from tests.viewer.conftest import answers_of, tree
from tests.viewer.test_viewer import MEGABYTE, loaded, pixels

pytestmark = pytest.mark.browser

IMAGES, CROPS = 40, 2
LAYERS = {"features.3": 70, STRANGE: 33, "classifier.1": 10}
SEGMENT = quote(STRANGE, safe="!'()*~")


@pytest.fixture(scope="session")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with everything that images leave behind."""
    place = tmp_path_factory.mktemp("collected") / "made.atlas"
    collect_into(make_store(place, layers=LAYERS, size=64, labels=10), images=IMAGES, crops=CROPS)
    return place


@pytest.fixture(scope="session")
def collected_ours(built: Path, collected: Path) -> Iterator[str]:
    with atlas_host(app_of(collected, built)) as here:
        yield here


@pytest.fixture(scope="session")
def collected_theirs(built: Path, collected: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with tree(tmp_path_factory.mktemp("host") / "tree", built, collected) as folder, static_host(folder) as here:
        yield here


@pytest.fixture(params=["ours", "theirs"])
def here(request: pytest.FixtureRequest) -> str:
    """`atlas serve` and a plain host, one after the other."""
    return str(request.getfixturevalue(f"collected_{request.param}"))


def test_a_unit_shows_the_images_that_drive_it_most_and_least(page: Page, here: str, collected: Path) -> None:
    page.goto(f"{here}#/{SEGMENT}:7")
    store = Store.open(collected)
    group = f"layers/{quote(STRANGE, safe='')}"
    picture = store.read(f"{group}/examples/picture", slice(7, 8))[0]
    value, image = (store.read(f"{group}/statistics/example_{name}")[7] for name in ("value", "image"))
    for extreme, name in enumerate(("top", "bottom")):
        tiles = page.locator(f'[data-extreme="{name}"] a[data-rank]')
        expect(tiles).to_have_count(9)
        loaded(tiles.locator("img"), 96)
        for rank in range(9):
            assert np.array_equal(pixels(tiles.nth(rank).locator("img")), picture[extreme, rank])
            text = tiles.nth(rank).inner_text().replace("−", "-")
            assert float(text) == pytest.approx(float(value[extreme, rank]), rel=1e-3)
            expect(tiles.nth(rank)).to_have_attribute("href", f"#/images/{image[extreme, rank]}")
    expect(page.get_by_text("of 37 in 2 crops each")).to_be_visible()
    expect(page.get_by_text("before its rectifier, where it has one.", exact=False).first).to_be_visible()


def test_pointing_at_an_example_shows_the_whole_image_and_what_the_unit_saw(page: Page, here: str) -> None:
    page.goto(f"{here}#/features.3:7")
    tile = page.locator('[data-extreme="top"] [data-rank="2"]')
    tile.hover()
    whole = page.locator(".whole")
    loaded(whole.locator("img"), 128)
    number = int((tile.get_attribute("href") or "").rpartition("/")[2])
    expect(whole).to_contain_text(name_of(number))
    photograph, box = (whole.locator(name).bounding_box() for name in (".photograph", ".box"))
    assert photograph
    assert box
    # The box is 64 to 320 of 640 pixels across and 48 to 304 of 480 down.
    assert photograph["width"] / photograph["height"] == pytest.approx(640 / 480, rel=0.01)
    assert (box["x"] - photograph["x"]) / photograph["width"] == pytest.approx(0.1, abs=0.01)
    assert box["width"] / photograph["width"] == pytest.approx(0.4, abs=0.01)
    assert (box["y"] - photograph["y"]) / photograph["height"] == pytest.approx(0.1, abs=0.01)
    assert box["height"] / photograph["height"] == pytest.approx(256 / 480, abs=0.01)
    page.locator("h1").hover()
    expect(whole).to_have_count(0)
    # The keyboard does the same, and Enter opens the image.
    page.locator('[data-extreme="top"] [data-rank="1"]').focus()
    page.keyboard.press("Tab")
    expect(whole).to_be_visible()
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{here}#/images/{number}")


def test_an_image_has_a_page_with_its_classes_and_what_it_excites(page: Page, here: str, collected: Path) -> None:
    page.goto(f"{here}#/images/1")
    expect(page.get_by_role("heading", level=1)).to_have_text("blumen #1.jpg")
    expect(page.locator(".path")).to_have_text(name_of(1))
    expect(page.get_by_text("640 × 480 px")).to_be_visible()
    loaded(page.locator(".sheet img"), 128)
    classes = page.locator(".guesses li")
    expect(classes).to_have_count(5)
    expect(classes.first).to_contain_text("class 1")
    expect(classes.first).to_contain_text("50%")
    store = Store.open(collected)
    layer, unit = (store.read(f"images/excited_{name}")[1] for name in ("layer", "unit"))
    units = page.locator(".units a")
    expect(units).to_have_count(24)
    names = list(LAYERS)
    for at in (0, 5, 23):
        expect(units.nth(at)).to_have_attribute("href", f"#/{quote(names[layer[at]], safe='')}:{unit[at]}")
    page.keyboard.press("ArrowRight")
    expect(page).to_have_url(f"{here}#/images/2")
    expect(page.get_by_role("heading", level=1)).to_have_text("000002.jpg")


def test_an_image_that_was_skipped_says_why(page: Page, collected_ours: str) -> None:
    page.goto(f"{collected_ours}#/images/21")
    expect(page.get_by_text("cut short after 99 bytes")).to_be_visible()
    expect(page.locator(".nothing")).to_contain_text("truncated")
    expect(page.locator(".sheet, .guesses, .units")).to_have_count(0)
    page.goto(f"{collected_ours}#/images/40")
    expect(page.get_by_role("alert")).to_contain_text("There is no image 40")
    expect(page.get_by_role("alert")).to_contain_text("numbered 0 to 39")


def test_pages_with_images_take_few_requests_and_none_is_large(page: Page, here: str) -> None:
    for route in ("#/features.3:7", "#/images/12"):
        page.goto("about:blank")
        answers = answers_of(page)
        page.goto(f"{here}{route}")
        expect(page.locator("img").first).to_be_visible()
        page.wait_for_load_state("networkidle")
        asked = [answer for answer in answers if "/store/" in answer.url and answer.request.method == "GET"]
        assert max(int(answer.headers.get("content-length", 0)) for answer in asked) < MEGABYTE
        assert len(asked) < 50


def test_a_store_without_images_says_how_to_add_some(page: Page, ours: str) -> None:
    page.goto(f"{ours}#/images/1")
    expect(page.get_by_role("alert")).to_contain_text("This store rests on no images")
    expect(page.get_by_role("alert")).to_contain_text("--images")
