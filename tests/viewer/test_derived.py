"""What the store derives, on the page: the same on our server where an older store has none; elsewhere that is said."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

import atlas
from atlas.server import app_of
from tests.hosts import atlas_host, static_host
from tests.stores import STRANGE
from tests.viewer.conftest import answers_of, tree
from tests.viewer.test_answers import DEAD, SEGMENT, number

pytestmark = pytest.mark.browser

NOTE = '[data-note="derived"]'


@contextmanager
def shown(store: Path, built: Path, folder: Path, host: str) -> Iterator[str]:
    """A copy of `store` as an older version left it, on our server or on a static host that is not ours."""
    old = folder / "old.atlas"
    shutil.copytree(store, old)
    shutil.rmtree(old / "receipts" / "derived")
    for group in (old / "layers").glob("*/derived"):
        shutil.rmtree(group)
    if host == "ours":
        with atlas_host(app_of(old, built)) as address:
            yield address
        assert not list(old.glob("layers/*/derived")), "serving writes nothing"
    else:
        with tree(folder / "tree", built, old) as page, static_host(page) as address:
            yield address


def test_our_server_makes_up_what_an_older_store_lacks(
    page: Page, built: Path, collected: Path, tmp_path: Path
) -> None:
    answers = answers_of(page)
    unit = atlas.open(collected).layer(STRANGE)[7]
    with shown(collected, built, tmp_path, "ours") as address:
        page.goto(f"{address}#/{SEGMENT}:7")
        ratio = page.locator('figure[data-variant="positive"] [data-number="ratio"]')
        assert number(ratio) == pytest.approx(unit.ratio, rel=6e-3)
        page.goto(f"{address}#/{SEGMENT}:{DEAD}")
        expect(page.get_by_role("note")).to_contain_text("Dead.")
        page.goto(f"{address}#/{SEGMENT}?status=dead")
        expect(page.locator("[data-unit]")).to_have_attribute("data-unit", str(DEAD))
        expect(page.locator(NOTE)).to_have_count(0)
        metadata = [answer for answer in answers if answer.url.endswith("/derived/zarr.json")]
        assert len(metadata) == 1, "of a layer the metadata of all that is derived is read once"
        assert all(answer.status < 400 for answer in answers)


def test_elsewhere_the_page_says_what_is_missing_and_shows_the_rest(
    page: Page, built: Path, collected: Path, tmp_path: Path
) -> None:
    with shown(collected, built, tmp_path, "theirs") as address:
        page.goto(f"{address}#/{SEGMENT}:{DEAD}")
        expect(page.locator(NOTE)).to_contain_text("This store does not say which units are dead")
        expect(page.locator(NOTE)).to_contain_text("atlas verify STORE --repair")
        figure = page.locator('figure[data-variant="positive"]')
        expect(figure.locator('[data-number="peak"]')).to_have_text(str(2 * DEAD))
        expect(page.locator('[data-number="ratio"]')).to_have_count(0)
        expect(page.get_by_text("It never fired")).to_have_count(0)
        region = page.get_by_role("region", name="Activations")
        region.scroll_into_view_if_needed()
        expect(region.locator("[data-statistic]").first).to_be_visible()
        expect(region.locator("svg")).to_be_visible()
        expect(region.locator("dl.table")).to_have_count(0)

        page.goto(f"{address}#/{SEGMENT}?sort=ratio")
        expect(page.locator(NOTE)).to_be_visible()
        expect(page.locator('[data-position="0"]')).to_have_attribute("data-unit", "0")
        expect(page.get_by_label("Sort by").locator('option[value="ratio"]')).to_have_count(0)
        expect(page.get_by_label("Sort by").locator('option[value="activation"]')).to_have_count(1)
        expect(page.get_by_label("Show units").locator('option[value="dead"]')).to_have_count(0)
        expect(page.get_by_role("alert")).to_have_count(0)


@pytest.mark.builder
@pytest.mark.parametrize("host", ["ours", "theirs"])
def test_an_older_stores_atlas(page: Page, built: Path, mapped: Path, tmp_path: Path, host: str) -> None:
    made = next(layer.atlas for layer in atlas.open(mapped) if "all" in layer.atlases)
    grid = made.grid(made.grids[-1])
    cell = next(cell for cell in grid if cell.labels and not cell.reliable_labels and not cell.picture_reliable)
    place = f"cell={grid.side}:{cell.place[0]},{cell.place[1]}"
    with shown(mapped, built, tmp_path, host) as address:
        page.goto(f"{address}#/{made.layer.name}/atlas?{place}")
        expect(page.locator('.stage canvas[data-missing="0"]')).to_be_visible()
        panel, known = page.locator(".panel"), host == "ours"
        expect(panel.locator(".labels li")).to_have_count(len(cell.labels))
        expect(panel.locator(".labels li.unreliable")).to_have_count(len(cell.labels) if known else 0)
        expect(panel.get_by_text("These labels rest on too few activations")).to_have_count(int(known))
        expect(page.get_by_text("Fade unreliable")).to_be_visible()
        expect(page.locator(NOTE)).to_have_count(0 if known else 1)
        if not known:
            expect(page.locator(NOTE)).to_contain_text("which pictures and labels are reliable")
        titled = page.locator('label.check[title*="better than 98% of the grid\'s pictures"]')
        expect(titled).to_have_count(int(known))
