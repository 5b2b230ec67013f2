"""The page in Chromium: what a reader sees and does.

What depends on the server is tested on ours and on one that is not ours (`address`), the rest on ours.
"""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from atlas.catalogue import Catalogue
from atlas.units import Unit
from tests.stores import STRANGE
from tests.viewer.conftest import LAYERS, answers_of

pytestmark = pytest.mark.browser

SEGMENT = quote(STRANGE, safe="!'()*~")
"""The strange name as `encodeURIComponent` writes it."""
MEGABYTE = 1_000_000


def loaded(pictures: Locator, side: int) -> None:
    """Wait until every one of `pictures` shows an image of `side` x `side` pixels of its own."""
    expect(pictures.first).to_be_visible()
    script = "(images, side) => images.every(i => i.complete && i.naturalWidth === side && i.naturalHeight === side)"
    for _ in range(100):
        if pictures.evaluate_all(script, side):
            return
        pictures.page.wait_for_timeout(50)
    raise AssertionError(f"not all of {pictures.count()} pictures are {side} px wide")


def pixels(picture: Locator) -> np.ndarray[Any, Any]:
    """The file behind an image on the page, decoded, uint8 [h,w,3]."""
    script = "async i => Array.from(new Uint8Array(await (await fetch(i.src)).arrayBuffer()))"
    return np.asarray(Image.open(io.BytesIO(bytes(picture.evaluate(script)))))


def test_home_lists_the_layers_in_order_each_with_pictures(page: Page, address: str) -> None:
    page.goto(address)
    expect(page).to_have_title("A made network")
    expect(page.locator("article h2")).to_have_text(list(LAYERS))
    rows = page.locator("article")
    expect(rows.nth(0)).to_contain_text("576 of 640 rendered so far")
    expect(rows.nth(1)).to_contain_text("33 channels")
    expect(rows.nth(2)).to_contain_text("linear, 10 channels")
    for row in range(3):
        rows.nth(row).scroll_into_view_if_needed()
        loaded(rows.nth(row).locator("img"), 64)
        assert rows.nth(row).locator("img").count() >= 7
    expect(page.get_by_text("1,000 classes")).to_be_visible()


def test_a_wall_shows_every_unit_of_a_layer(page: Page, address: str, catalogue: Catalogue) -> None:
    page.goto(f"{address}#/{SEGMENT}")
    expect(page).to_have_title(f"{STRANGE} – A made network")
    expect(page.locator("[data-unit]")).to_have_count(33)
    with_pictures = [unit for unit in range(33) if unit % 16 not in (9, 13)]
    expect(page.locator("[data-unit] img")).to_have_count(len(with_pictures))
    loaded(page.locator("[data-unit] img"), 64)
    for unit, status in ((13, "nan"), (9, "unstarted"), (25, "unstarted")):
        expect(page.locator(f'[data-unit="{unit}"] .none')).to_have_text(status)
    shown = pixels(page.locator('[data-unit="30"] img'))
    assert np.array_equal(shown, catalogue.layers[STRANGE].thumbs()[30])


def test_a_unit_page_shows_the_stores_own_pictures_and_numbers(page: Page, address: str, catalogue: Catalogue) -> None:
    page.goto(f"{address}#/{SEGMENT}:20")
    unit = catalogue.layers[STRANGE][20]
    expect(page).to_have_title(f"{Unit(STRANGE, 20)} – A made network")
    loaded(page.locator("figure img"), 128)
    for variant, index in (("positive", 0), ("negative", 1)):
        figure = page.locator(f'figure[data-variant="{variant}"]')
        assert np.array_equal(pixels(figure.locator("img")), np.asarray(unit.picture(variant)))
        for name, column in (("objective", "objective"), ("peak", "objective_peak")):
            text = figure.locator(f'[data-number="{name}"]').inner_text().replace("−", "-")
            assert float(text) == pytest.approx(float(getattr(unit.layer, column)[20, index]), rel=1e-3)


def test_a_click_opens_a_unit_and_the_way_back_ends_where_one_was(page: Page, address: str) -> None:
    page.goto(address)
    page.get_by_role("link", name=STRANGE, exact=True).click()
    expect(page).to_have_url(f"{address}#/{SEGMENT}")
    page.locator('[data-unit="31"]').click()
    expect(page).to_have_url(f"{address}#/{SEGMENT}:31")
    loaded(page.locator("figure img"), 128)
    page.go_back()
    expect(page.locator('[data-unit="31"]')).to_be_focused()


def test_pictures_are_read_by_ranges_and_no_answer_is_large(page: Page, address: str, store: Path) -> None:
    answers = answers_of(page)
    page.goto(f"{address}#/features.3")
    loaded(page.locator("[data-unit] img"), 64)
    last = page.locator('[data-unit="639"]')
    for _ in range(100):
        page.mouse.wheel(0, 700)
        page.wait_for_timeout(40)
        if last.count():
            break
    expect(last).to_be_visible()
    loaded(page.locator("[data-unit] img"), 64)
    last.click()
    loaded(page.locator("figure img"), 128)
    page.wait_for_load_state("networkidle")

    asked = [answer for answer in answers if "/store/" in answer.url]
    pictures = [answer for answer in asked if re.search(r"/(image|thumb)/c/", answer.url)]
    assert {answer.status for answer in pictures if answer.request.method == "GET"} <= {206, 400}
    assert all("range" in answer.request.headers for answer in pictures if answer.request.method == "GET")
    sizes = [int(answer.headers.get("content-length", 0)) for answer in asked if answer.request.method == "GET"]
    assert max(sizes) < MEGABYTE
    assert f"{address}store/zarr.json" not in {answer.url for answer in answers}
    # Far fewer requests than pictures: neighbours share one.
    assert len(pictures) < 60


def test_only_rows_near_the_window_are_in_the_page(page: Page, ours: str) -> None:
    page.goto(f"{ours}#/features.3")
    expect(page.get_by_text("576 units")).to_be_visible()
    loaded(page.locator("[data-unit] img"), 64)
    assert page.locator("[data-unit]").count() < 300


def test_a_wall_is_sorted_filtered_and_turned_as_its_address_says(page: Page, ours: str) -> None:
    def first() -> Locator:
        return page.locator('[data-position="0"]')

    page.goto(f"{ours}#/{SEGMENT}")
    page.get_by_label("Sort by").select_option("objective_peak")
    expect(first()).to_have_attribute("data-unit", "32")
    page.get_by_role("button", name="negative").click()
    expect(page).to_have_url(f"{ours}#/{SEGMENT}?variant=negative&sort=objective_peak")
    expect(first()).to_have_attribute("data-unit", "32")
    expect(first()).to_have_attribute("aria-label", f"{Unit(STRANGE, 32)}, negative: peak −64, objective −32")
    page.get_by_label("Show units").select_option("rectified")
    expect(page.locator("[data-unit]")).to_have_count(2)
    page.reload()
    expect(page.locator("[data-unit]")).to_have_count(2)
    expect(page.get_by_role("button", name="negative")).to_have_attribute("aria-pressed", "true")


def test_pointing_at_a_unit_shows_its_numbers(page: Page, ours: str) -> None:
    page.goto(f"{ours}#/{SEGMENT}")
    page.locator('[data-unit="7"]').hover()
    card = page.locator(".card")
    expect(card).to_contain_text(str(Unit(STRANGE, 7)))
    expect(card).to_contain_text(re.compile(r"positive\s*peak\s*14\s*objective\s*7\s*negative"))
    loaded(card.locator("img"), 64)


def test_everything_can_be_reached_by_keys(page: Page, ours: str) -> None:
    page.goto(f"{ours}#/{SEGMENT}")
    expect(page.locator("[data-unit]").first).to_be_visible()
    page.locator('[data-position="0"]').focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.locator('[data-unit="2"]')).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{ours}#/{SEGMENT}:2")
    loaded(page.locator("figure img"), 128)
    page.keyboard.press("ArrowRight")
    expect(page).to_have_url(f"{ours}#/{SEGMENT}:3")
    # Two before the page has moved.
    twice = "for (const key of ['ArrowLeft', 'ArrowLeft']) window.dispatchEvent(new KeyboardEvent('keydown', {key}))"
    page.evaluate(twice)
    expect(page).to_have_url(f"{ours}#/{SEGMENT}:1")
    page.keyboard.press("Escape")
    expect(page.locator('[data-unit="1"]')).to_be_focused()


def test_arrow_keys_go_to_rows_that_are_not_there_yet(page: Page, ours: str) -> None:
    page.goto(f"{ours}#/features.3")
    loaded(page.locator("[data-unit] img"), 64)
    page.locator('[data-position="0"]').focus()
    page.keyboard.press("End")
    expect(page.locator('[data-unit="639"]')).to_be_focused()
    loaded(page.locator("[data-unit] img"), 64)
    page.keyboard.press("Home")
    expect(page.locator('[data-unit="0"]')).to_be_focused()


def test_stepping_skips_what_was_not_rendered(page: Page, ours: str) -> None:
    page.goto(f"{ours}#/features.3:95")
    loaded(page.locator("figure img"), 128)
    page.keyboard.press("ArrowRight")
    expect(page).to_have_url(f"{ours}#/features.3:160")


@pytest.mark.parametrize(
    ("unit", "variant", "status", "words"),
    [
        (5, "negative", "rectified", "There is no negative"),
        (9, "positive", "unstarted", "No gradient was found, so no picture could be optimized"),
        (13, "positive", "nan", "NaN or infinity, so there is no picture to show"),
        (100, "positive", "absent", "Not rendered yet"),
    ],
)
def test_what_became_of_a_picture_is_said_in_words(
    page: Page, ours: str, unit: int, variant: str, status: str, words: str
) -> None:
    page.goto(f"{ours}#/features.3:{unit}")
    figure = page.locator(f'figure[data-variant="{variant}"]')
    expect(figure.locator(".status")).to_contain_text(status)
    expect(figure.locator(".status")).to_contain_text(words)
    # Nothing is shown or measured that is no picture.
    expect(figure.locator("img, [data-number], .spread, a[download]")).to_have_count(0)


def test_a_picture_can_be_saved_also_after_a_unit_that_has_none(page: Page, ours: str) -> None:
    page.goto(f"{ours}#/features.3:9")
    expect(page.locator("figure .status").first).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page).to_have_url(f"{ours}#/features.3:10")
    loaded(page.locator("figure img"), 128)
    expect(page.get_by_role("link", name="Save the picture")).to_have_count(2)
    page.keyboard.press("ArrowLeft")
    expect(page.locator("figure img")).to_have_count(0)
    expect(page.get_by_role("link", name="Save the picture")).to_have_count(0)


def test_names_that_are_not_there_are_answered_with_those_that_are(page: Page, ours: str) -> None:
    page.goto(f"{ours}#/featres.3")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("There is no layer featres.3")
    alert.get_by_role("link", name="features.3").click()
    expect(page).to_have_url(f"{ours}#/features.3")
    page.goto(f"{ours}#/features.3:640")
    expect(alert).to_contain_text("There is no unit features.3:640")
    expect(alert).to_contain_text("numbered 0 to 639")
    page.goto(f"{ours}#/features.3/sparse:1")
    expect(alert).to_contain_text("no basis sparse")
    page.goto(f"{ours}#/a/b/c:1:2%")
    expect(alert).to_contain_text("There is no such page")


def test_the_field_at_the_top_goes_to_units_with_any_name(page: Page, ours: str) -> None:
    page.goto(ours)
    field = page.get_by_role("combobox", name="Go to a layer or unit")
    field.fill(f"{STRANGE}:12")
    field.press("Enter")
    expect(page).to_have_url(f"{ours}#/{SEGMENT}:12")
    loaded(page.locator("figure img"), 128)


def test_every_picture_has_words_for_those_who_do_not_see_it(page: Page, ours: str) -> None:
    for route in ("", f"#/{SEGMENT}", f"#/{SEGMENT}:3"):
        page.goto("about:blank")
        page.goto(f"{ours}{route}")
        expect(page.locator("img").first).to_be_visible()
        texts = page.locator("img").evaluate_all("images => images.map(i => i.alt)")
        assert all(re.search(r":\d+", text) for text in texts)


@pytest.mark.parametrize("width", [340, 390, 768])
def test_no_page_is_wider_than_its_window(page: Page, ours: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    for route in ("", f"#/{SEGMENT}", f"#/{SEGMENT}:3"):
        page.goto("about:blank")
        page.goto(f"{ours}{route}")
        expect(page.locator("img").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_dark_and_light_follow_the_reader(page: Page, ours: str) -> None:
    shades = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.goto(ours)
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        shades.append(sum(map(int, re.findall(r"\d+", colour)[:3])))
    assert shades[0] > 700
    assert shades[1] < 120


def test_a_server_that_breaks_off_can_be_tried_again(page: Page, address: str) -> None:
    page.route("**/catalogue.json", lambda route: route.abort())
    page.goto(address)
    expect(page.get_by_role("alert")).to_contain_text("The store cannot be reached")
    page.unroute("**/catalogue.json")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("article h2")).to_have_text(list(LAYERS))


def test_pictures_that_break_off_can_be_tried_again(page: Page, ours: str) -> None:
    page.route("**/thumb/c/**", lambda route: route.abort())
    page.goto(f"{ours}#/{SEGMENT}")
    expect(page.get_by_role("alert")).to_contain_text("The store cannot be reached")
    page.unroute("**/thumb/c/**")
    page.get_by_role("button", name="Try again").click()
    loaded(page.locator("[data-unit] img"), 64)


def test_a_newer_store_is_refused_with_the_version_to_use(page: Page, ours: str, store: Path) -> None:
    newer = json.loads((store / "catalogue.json").read_text())
    newer |= {"encoding-version": "2.0", "written-by": "atlas-builder 9.1"}
    page.route("**/catalogue.json", lambda route: route.fulfill(json=newer))
    page.goto(ours)
    expect(page.get_by_role("alert")).to_contain_text("newer than this page")
    expect(page.get_by_role("alert")).to_contain_text("atlas-builder 9.1")
