"""What images leave behind, on the page in Chromium: examples of units, and pages of the images themselves."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, Response, Route, expect

from atlas.server import app_of
from atlas.store import Store
from tests.collected import collect_into, name_of
from tests.hosts import Rangeless, atlas_host, static_host
from tests.stores import STRANGE, make_store
from tests.viewer.conftest import COLLECTED, answers_of, tree
from tests.viewer.test_viewer import MEGABYTE, loaded, pixels

pytestmark = pytest.mark.browser

SEGMENT = quote(STRANGE, safe="!'()*~")


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
    expect(page.get_by_text("over 37 images, 2 crops of each")).to_be_visible()
    expect(page.get_by_text("Ranked by the value before the unit's rectifier, if it has one.")).to_be_visible()


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
    names = list(COLLECTED)
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
    expect(page.get_by_role("alert")).to_contain_text("This store has no images")
    expect(page.get_by_role("alert")).to_contain_text("--images")


def test_the_wall_of_images_shows_every_one_or_those_of_a_status(page: Page, here: str) -> None:
    page.goto(f"{here}#/")
    page.get_by_role("link", name="Images", exact=True).click()
    expect(page).to_have_url(f"{here}#/images/")
    expect(page.get_by_text("40 images, 2 crops of each: 37 used, 3 skipped")).to_be_visible()
    expect(page.locator("[data-image]")).to_have_count(40)
    loaded(page.locator("[data-image] img"), 128)
    expect(page.locator("[data-image] img")).to_have_count(37)
    expect(page.locator('[data-image="21"]')).to_contain_text("truncated")
    page.get_by_label("Show images").select_option("truncated")
    expect(page).to_have_url(f"{here}#/images/?status=truncated")
    expect(page.locator("[data-image]")).to_have_count(3)
    page.reload()
    expect(page.locator("[data-image]")).to_have_count(3)
    page.locator('[data-image="37"]').hover()
    expect(page.locator(".card")).to_contain_text("cut short after 99 bytes")
    page.locator('[data-image="37"]').click()
    expect(page).to_have_url(f"{here}#/images/37")
    page.go_back()
    expect(page.locator('[data-image="37"]')).to_be_focused()
    page.get_by_label("Show images").select_option("damaged")
    expect(page.get_by_text("No image is damaged.")).to_be_visible()


def test_a_million_images_do_not_break_the_wall(page: Page, collected_ours: str) -> None:
    count, chapter = 1_000_000, 20_000

    def many(route: Route) -> None:
        answer = route.fetch()
        text = answer.text()
        found = json.loads(text)
        if route.request.url.endswith("catalogue.json"):
            found["images"] |= {
                "count": count,
                "done": count,
                "used": count,
                "statuses": {"ok": count - 3, "truncated": 3},
            }
        else:
            for array in found["consolidated_metadata"]["metadata"].values():
                array["shape"][0] = count
        route.fulfill(response=answer, json=found)

    page.route("**/catalogue.json", many)
    page.route("**/images/zarr.json", many)
    # What nobody wrote is to come: else the page says that it is gone.
    for done in ("**/receipts/list.json", "**/receipts/relations.json", "**/manifests/images.json"):
        page.route(done, lambda route: route.fulfill(status=404))
    answers = answers_of(page)
    page.goto(f"{collected_ours}#/images/")
    loaded(page.locator("[data-image] img"), 128)
    assert page.locator("[data-image]").count() < 300
    assert page.evaluate("document.documentElement.scrollHeight") < 8_000_000
    assert len(answers) < 30
    page.locator('[data-position="0"]').focus()
    page.keyboard.press("End")
    expect(page.locator(f'[data-image="{chapter - 1}"]')).to_be_focused()
    expect(page.locator(f'[data-image="{chapter - 1}"]')).to_contain_text("absent")
    page.get_by_role("button", name="after").click()
    expect(page).to_have_url(f"{collected_ours}#/images/?from={chapter}")
    expect(page.get_by_text("20,000 to 39,999")).to_be_visible()
    expect(page.locator(f'[data-image="{chapter}"]')).to_be_visible()
    # All three are found in the first chunk, and then nobody looks on.
    page.get_by_label("Show images").select_option("truncated")
    expect(page.locator("[data-image]")).to_have_count(3)
    page.wait_for_load_state("networkidle")
    assert sum("/status/c/" in answer.url for answer in answers) < 40
    page.get_by_label("Go to image").fill("999,999")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{collected_ours}#/images/999999")
    expect(page.locator(".nothing")).to_contain_text("Not looked at yet")


def test_the_images_have_an_address_that_no_layer_can_have(page: Page, built: Path, tmp_path: Path) -> None:
    for names in (["images", "images/", "classes", "images/1"], ["features.3"]):
        place = tmp_path / names[0] / "made.atlas"
        collect_into(make_store(place, layers=dict.fromkeys(names, 4), size=16), images=4, crops=1)
        with atlas_host(app_of(place, built)) as address:
            page.goto("about:blank")
            for name in names:
                page.goto(f"{address}#/{quote(name, safe='')}")
                expect(page.get_by_role("heading", level=1)).to_have_text(name)
            page.goto(f"{address}#/images/")
            expect(page.get_by_role("heading", level=1)).to_have_text("Images")
            page.goto(f"{address}#/images/1")
            expect(page.get_by_role("heading", level=1)).to_have_text("blumen #1.jpg")
            page.goto(f"{address}#/classes/1")
            expect(page.get_by_role("heading", level=1)).to_have_text("class 1")
            # Without its slash it is the layer where there is one.
            page.goto(f"{address}#/images")
            expect(page.get_by_role("heading", level=1)).to_have_text("images" if "images" in names else "Images")


def test_a_finger_shows_the_whole_first_and_then_opens_it(chromium: Browser, collected_ours: str) -> None:
    context = chromium.new_context(viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(f"{collected_ours}#/features.3:7")
    tile = page.locator('[data-extreme="top"] [data-rank="4"]')
    tile.scroll_into_view_if_needed()
    tile.tap()
    loaded(page.locator(".whole img"), 128)
    expect(page.locator(".whole .box")).to_be_visible()
    room = page.locator(".whole").bounding_box()
    assert room
    assert room["x"] >= 0
    assert room["x"] + room["width"] <= 390
    expect(page).to_have_url(f"{collected_ours}#/features.3:7")
    # Another tap elsewhere moves it; its link, or a second tap, opens the image.
    page.locator('[data-extreme="top"] [data-rank="5"]').tap()
    expect(page.locator(".whole")).to_have_count(1)
    number = (page.locator('[data-extreme="top"] [data-rank="5"]').get_attribute("href") or "").rpartition("/")[2]
    page.locator(".whole").get_by_role("link", name="Open image").tap()
    expect(page).to_have_url(f"{collected_ours}#/images/{number}")
    page.go_back()
    tile.tap()
    expect(page.locator(".whole")).to_be_visible()
    tile.tap()
    expect(page.get_by_role("heading", level=1)).to_contain_text(".jpg")
    context.close()


def test_the_walls_of_photographs_are_read_by_ranges(page: Page, here: str) -> None:
    answers = answers_of(page)
    for route in ("#/images/", f"#/{SEGMENT}?variant=best+example", f"#/{SEGMENT}:7", "#/images/3"):
        page.goto(f"{here}{route}")
        expect(page.locator("img").first).to_be_visible()
        page.wait_for_load_state("networkidle")
    gets = [answer for answer in answers if "/store/" in answer.url and answer.request.method == "GET"]
    pictures = [answer for answer in gets if "/thumb/c/" in answer.url or "/picture/c/" in answer.url]
    assert {answer.status for answer in pictures} <= {206, 400}
    assert max(int(answer.headers.get("content-length", 0)) for answer in gets) < MEGABYTE
    # Fewer than a request for every three pictures that are seen; a shard's index, at its end, holds none.
    assert sum(not at_the_end(answer) for answer in pictures) < (37 + 33 + 18 + 24) / 3


def at_the_end(answer: Response) -> bool:
    """Whether the index of a shard was asked for: by its length, which some servers refuse, or as its last bytes."""
    last, _, size = answer.headers.get("content-range", "0-0/1").rpartition("-")[2].partition("/")
    return int(last) + 1 == int(size)


def test_photographs_that_break_off_can_be_tried_again(page: Page, collected_ours: str) -> None:
    for route, pictures in (("#/images/", "[data-image] img"), ("#/images/3", ".sheet img")):
        page.goto("about:blank")
        page.route("**/images/thumb/c/**", lambda route: route.abort())
        page.goto(f"{collected_ours}{route}")
        expect(page.get_by_role("alert")).to_contain_text("The store cannot be reached")
        page.unroute("**/images/thumb/c/**")
        page.get_by_role("button", name="Try again").click()
        loaded(page.locator(pictures), 128)


def test_a_rangeless_server_is_named_here_too(page: Page, built: Path, collected: Path, tmp_path: Path) -> None:
    with tree(tmp_path / "tree", built, collected) as folder, static_host(folder, Rangeless) as address:
        for route in ("#/images/", "#/images/3", "#/classes/3"):
            page.goto("about:blank")
            page.goto(f"{address}{route}")
            expect(page.get_by_role("alert")).to_contain_text("This server ignores range requests")


def test_everything_on_the_pages_of_images_has_words(page: Page, collected_ours: str) -> None:
    for route in (f"#/{SEGMENT}:7", "#/images/", "#/images/3", "#/classes/3"):
        page.goto("about:blank")
        page.goto(f"{collected_ours}{route}")
        expect(page.locator("img").first).to_be_visible()
        page.wait_for_load_state("networkidle")
        script = "links => links.filter(link => !(link.ariaLabel || link.innerText).trim()).length"
        assert page.locator("a[href]").evaluate_all(script) == 0
        # A picture without words stands in something that has some.
        bare = "images => images.filter(i => !i.alt && !i.closest('[aria-label],[aria-hidden]')).length"
        assert page.locator("img").evaluate_all(bare) == 0
