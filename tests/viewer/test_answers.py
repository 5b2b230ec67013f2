"""Activations on images, on the page in Chromium: histograms, statistics, classes, similar units, sorted walls."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, Route, expect

from atlas.catalogue import open as open_catalogue
from atlas.store import Store
from atlas.units import Unit
from tests.collected import CLASSES
from tests.stores import STRANGE
from tests.viewer.conftest import COLLECTED
from tests.viewer.test_viewer import loaded

pytestmark = pytest.mark.browser

SEGMENT = quote(STRANGE, safe="!'()*~")
GROUP = f"layers/{quote(STRANGE, safe='')}/statistics"
UNIT = str(Unit(STRANGE, 7))
DEAD = 16
"""The one of the strange layer's units that never fires."""


def number(text: str | Locator) -> float:
    """A number as the page writes it."""
    text = text if isinstance(text, str) else text.inner_text()
    return float(text.replace("−", "-").rstrip("%×"))


def test_the_histogram_is_the_stores_with_zero_apart(page: Page, here: str, collected: Path) -> None:
    page.goto(f"{here}#/{SEGMENT}:7")
    region = page.get_by_role("region", name="Activations")
    region.scroll_into_view_if_needed()
    store = Store.open(collected)
    counts, edges = store.read(f"{GROUP}/histogram")[7], store.read(f"{GROUP}/edge")
    bars = region.locator(".bar:has(rect.reach)")
    expect(bars).to_have_count(int((counts > 0).sum()))
    expect(region.locator(".bar.zero")).to_have_count(1)
    # Every bar says what it counts when one points at it.
    for nth, bin_ in enumerate(np.flatnonzero(counts)):
        if nth % 5 == 0:
            bars.nth(nth).locator(".reach").hover()
            told = region.locator(".told").inner_text()
            assert f"{counts[bin_]:,} of {counts.sum():,} positions" in told
            if bin_ != 144:
                assert number(told.split(" to ")[0]) == pytest.approx(float(edges[bin_]), rel=1e-3)
    # The bar of zero stands apart from the next, and the highest counts are the highest bars.
    zero, first, last = (bars.nth(nth).locator("rect:not(.reach)").bounding_box() for nth in (0, 1, -1))
    assert zero
    assert first
    assert last
    assert first["x"] - (zero["x"] + zero["width"]) > 5
    assert zero["height"] > last["height"] > first["height"]
    expect(region.locator("text.mean")).to_have_text(f"mean {store.read(f'{GROUP}/mean')[7]:.4g}")
    expect(region.locator("text.mark")).to_have_text(f"max {store.read(f'{GROUP}/largest')[7]:.4g}")
    quantiles = [number(text) for text in region.locator(".table dd").all_inner_texts()]
    assert quantiles == pytest.approx([float(one) for one in store.read(f"{GROUP}/quantile")[7]], rel=1e-3)


def test_the_table_of_a_unit_says_what_sql_says(page: Page, here: str, collected: Path) -> None:
    page.goto(f"{here}#/{SEGMENT}:7")
    region = page.get_by_role("region", name="Activations")
    region.scroll_into_view_if_needed()
    told = region.locator("[data-statistic]")
    expect(told.first).to_be_visible()
    names = [str(one.get_attribute("data-statistic")) for one in told.all()]
    assert {"activation_mean", "activation_std", "activation_min", "activation_max"} <= {*names}
    sql = f"select {', '.join(names)} from units where unit = $unit"
    (row,) = open_catalogue(collected).sql(sql, unit=UNIT).rows
    assert list(map(number, told.all_inner_texts())) == pytest.approx(list(row), rel=1e-3)


def test_shares_above_zero_are_said(page: Page, here: str, collected: Path) -> None:
    store = Store.open(collected)
    page.goto(f"{here}#/{SEGMENT}:7")
    page.get_by_role("region", name="Activations").scroll_into_view_if_needed()
    for name in ("images", "positions"):
        share = float(store.read(f"{GROUP}/active_{name}")[7])
        assert number(page.locator(f'[data-share="{name}"] b')) == pytest.approx(100 * share, abs=1)
    # What has no positions has no share of them.
    page.goto(f"{here}#/classifier.1:3")
    page.get_by_role("region", name="Activations").scroll_into_view_if_needed()
    expect(page.locator('[data-share="images"]')).to_be_visible()
    expect(page.locator('[data-share="positions"]')).to_have_count(0)


def test_units_that_answer_alike_are_linked(page: Page, here: str, collected: Path) -> None:
    page.goto(f"{here}#/{SEGMENT}:2")
    region = page.get_by_role("region", name="Similar units")
    region.scroll_into_view_if_needed()
    store = Store.open(collected)
    layer, unit, similarity = (store.read(f"{GROUP}/neighbour_{name}")[2] for name in ("layer", "unit", "likeness"))
    assert unit[0] == 3  # made to be similar
    links = region.locator("a")
    expect(links).to_have_count(10)
    names = list(COLLECTED)
    for at in range(10):
        expect(links.nth(at)).to_have_attribute("href", f"#/{quote(names[layer[at]], safe='')}:{unit[at]}")
        assert number(links.nth(at).locator(".score")) == pytest.approx(float(similarity[at]), abs=0.006)
    loaded(links.first.locator("img"), 64)
    links.first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(":3")


@pytest.mark.parametrize("kind", ["none", "names", "object"])
def test_classes_have_their_names_where_the_store_has_them(
    page: Page, collected_ours: str, collected: Path, kind: str
) -> None:
    names = [f"ein Tier, {number}" for number in range(CLASSES)]
    told = {"names": names, "object": {"encoding-type": "classes", "names": names}}
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/classes.json" in request.url else None)
    if kind in told:
        index = json.loads((collected / "catalogue.json").read_text()) | {"named": True}
        page.route("**/catalogue.json", lambda route: route.fulfill(json=index))
        page.route("**/classes.json", lambda route: route.fulfill(json=told[kind]))
    label = "class {}" if kind == "none" else "ein Tier, {}"
    page.goto(f"{collected_ours}#/{SEGMENT}:7")
    region = page.get_by_role("region", name="Classes")
    region.scroll_into_view_if_needed()
    expect(region.locator("li")).to_have_count(8)
    expect(region.locator("li").first).to_contain_text(label.format(7))
    region.get_by_role("link", name=label.format(8)).click()
    expect(page).to_have_url(f"{collected_ours}#/classes/8")
    expect(page.get_by_role("heading", level=1)).to_have_text(label.format(8))
    rows = page.locator("article")
    expect(rows).to_have_count(len(COLLECTED))
    expect(rows.nth(1).locator("a[href*=':']")).to_have_count(8)
    expect(rows.nth(1).locator("a[href*=':']").first).to_have_attribute("href", f"#/{SEGMENT}:8")
    page.goto(f"{collected_ours}#/classes/10")
    expect(page.get_by_role("alert")).to_contain_text("10 classes apart, numbered 0 to 9")
    # Names are asked for only where the store has them.
    assert bool(asked) == (kind in told)


def test_a_picture_is_compared_with_its_best_image(page: Page, here: str, collected: Path) -> None:
    store = Store.open(collected)
    best = store.read(f"{GROUP}/example_value")[:, :, 0]
    page.goto(f"{here}#/{SEGMENT}:7")
    positive = page.locator('figure[data-variant="positive"] [data-number="ratio"]')
    # A made unit's peak is twice its number.
    assert number(positive) == pytest.approx(14 / best[7, 0], rel=6e-3)
    # Its lowest image lies above zero: a negative cannot be compared with that.
    expect(page.locator('figure[data-variant="negative"] [data-number="ratio"]')).to_have_count(0)
    expect(page.locator('figure[data-variant="negative"] [data-number="peak"]')).to_have_text("−14")


def test_the_page_shows_what_the_store_derives_and_nothing_of_its_own(
    page: Page, collected_ours: str, collected: Path
) -> None:
    store, group = Store.open(collected), f"layers/{SEGMENT}/derived"
    told = {name: store.read(f"{group}/{name}").copy() for name in ("dead", "ratio")}
    # What no rule makes of the numbers beside it: unit 7 is dead, its negative half of what an image reached.
    told["dead"][:], told["ratio"][:] = 0, np.nan
    told["dead"][7], told["ratio"][7, 1], told["ratio"][20, 0] = 1, 0.5, 1000
    for name, values in told.items():
        chunk = "c/0" if values.ndim == 1 else "c/0/0"
        address = f"**/{SEGMENT.replace('%', '%25')}/derived/{name}/{chunk}"
        page.route(address, answering(values.tobytes()))
    page.goto(f"{collected_ours}#/{SEGMENT}:7")
    negative = page.locator('figure[data-variant="negative"]')
    expect(negative.locator('[data-number="ratio"]')).to_have_text("0.5×")
    expect(negative).to_contain_text("an image is stronger")
    expect(page.locator('figure[data-variant="positive"] [data-number="ratio"]')).to_have_count(0)
    expect(page.get_by_role("note")).to_contain_text("Dead.")
    page.goto(f"{collected_ours}#/{SEGMENT}:{DEAD}")
    expect(page.locator('figure[data-variant="positive"] [data-number="peak"]')).to_be_visible()
    expect(page.get_by_role("note")).to_have_count(0)
    page.goto(f"{collected_ours}#/{SEGMENT}?sort=ratio")
    expect(page.locator('[data-position="0"]')).to_have_attribute("data-unit", "20")
    expect(page.locator('[data-position="0"]')).to_contain_text("20 · 1000")
    page.goto(f"{collected_ours}#/{SEGMENT}?status=dead")
    expect(page.locator("[data-unit]")).to_have_count(1)
    expect(page.locator("[data-unit]")).to_have_attribute("data-unit", "7")


def answering(data: bytes) -> Callable[[Route], None]:
    """Answers with `data` in the place of an object, or with the range of it that is asked for."""

    def answer(route: Route) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", route.request.headers.get("range", ""))
        first, last = (0, len(data) - 1) if asked is None else (int(asked[1]), min(int(asked[2]), len(data) - 1))
        headers = {} if asked is None else {"content-range": f"bytes {first}-{last}/{len(data)}"}
        route.fulfill(status=206 if asked else 200, headers=headers, body=data[first : last + 1])

    return answer


def test_dead_units_are_named_with_their_n(page: Page, here: str) -> None:
    page.goto(f"{here}#/{SEGMENT}:{DEAD}")
    note = page.get_by_role("note")
    expect(note).to_contain_text("It never fired on these 37 images, 2 crops of each; its picture may still be good.")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("heading", level=1)).to_contain_text(f":{DEAD + 1}")
    expect(note).to_have_count(0)
    page.goto(f"{here}#/{SEGMENT}")
    page.get_by_label("Show units").select_option("dead")
    expect(page).to_have_url(f"{here}#/{SEGMENT}?status=dead")
    expect(page.locator("[data-unit]")).to_have_count(1)
    expect(page.locator("[data-unit]")).to_have_attribute("data-unit", str(DEAD))


def test_a_wall_is_sorted_by_what_images_did(page: Page, here: str, collected: Path) -> None:
    store = Store.open(collected)
    best = store.read(f"{GROUP}/example_value")[:, 0, 0].astype(float)
    units = np.arange(33)
    rendered = ~np.isin(units % 16, (9, 13))
    with np.errstate(divide="ignore"):
        ratio = np.where((best > 0) & rendered, 2 * units / best, -1)
    keys = {
        "activation": store.read(f"{GROUP}/mean"),
        "images": store.read(f"{GROUP}/active_images"),
        "ratio": ratio,
        "example": best,
    }
    for sort, values in keys.items():
        page.goto(f"{here}#/{SEGMENT}")
        page.get_by_label("Sort by").select_option(sort)
        expect(page).to_have_url(f"{here}#/{SEGMENT}?sort={sort}")
        order = np.argsort(-np.asarray(values), kind="stable")
        for position in (0, 1, 2):
            expect(page.locator(f'[data-position="{position}"]')).to_have_attribute("data-unit", str(order[position]))


def test_a_wall_can_show_the_best_example_of_every_unit(page: Page, here: str) -> None:
    page.goto(f"{here}#/{SEGMENT}")
    page.get_by_role("button", name="top activating image").click()
    expect(page).to_have_url(f"{here}#/{SEGMENT}?variant=top+activating+image")
    expect(page.locator("[data-unit]")).to_have_count(33)
    loaded(page.locator("[data-unit] img"), 96)
    expect(page.locator("[data-unit] img")).to_have_count(33)
    page.locator('[data-unit="4"]').hover()
    card = page.locator(".card")
    expect(card).to_contain_text("top activating image")
    expect(card.locator("img")).to_have_count(3)


def test_numbers_that_are_no_numbers_are_counted(page: Page, collected_ours: str, collected: Path) -> None:
    nan = np.zeros(33, "<i8")
    nan[7] = 1234
    page.route("**/statistics/nan/c/0", lambda route: route.fulfill(body=nan.tobytes()))
    page.goto(f"{collected_ours}#/{SEGMENT}:7")
    page.get_by_role("region", name="Activations").scroll_into_view_if_needed()
    expect(page.get_by_text("1,234 positions, excluded")).to_be_visible()


def test_the_home_page_says_which_images_were_used(page: Page, here: str) -> None:
    page.goto(here)
    expect(page.locator(".rests")).to_have_text("40 images, 2 crops of each: 37 used, 3 skipped")
    page.locator(".rests a").click()
    expect(page).to_have_url(f"{here}#/images/")


@pytest.mark.parametrize("width", [340, 390, 768])
def test_no_page_with_images_is_wider_than_its_window(page: Page, collected_ours: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    for route in ("", f"#/{SEGMENT}", f"#/{SEGMENT}:3", "#/images/", "#/images/1", "#/images/5", "#/classes/3"):
        page.goto("about:blank")
        page.goto(f"{collected_ours}{route}")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        page.wait_for_load_state("networkidle")
        page.mouse.wheel(0, 6000)
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, json.dumps([route, width])
