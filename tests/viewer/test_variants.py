"""The page of a store with more pictures of each unit than one up and one down."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from atlas.catalogue import Catalogue
from atlas.catalogue import open as open_catalogue
from atlas.server import app_of
from tests.hosts import atlas_host
from tests.stores import make_store
from tests.viewer.conftest import answers_of
from tests.viewer.test_viewer import loaded, pixels

pytestmark = pytest.mark.browser

VARIANTS = ("positive", "negative", "neuron", "diverse-1", "diverse-2", "diverse-3", "diverse-4")
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def varied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of seven pictures a unit, the best of three tries each, with the agreement of seeds."""
    place = tmp_path_factory.mktemp("varied") / "made.atlas"
    make_store(place, layers={"features.3": 200}, size=128, variants=VARIANTS, tries=3, agreement=True)
    return place


@pytest.fixture(scope="module")
def here(varied: Path, built: Path) -> Iterator[str]:
    with atlas_host(app_of(varied, built)) as address:
        yield address


@pytest.fixture(scope="module")
def cat(varied: Path) -> Catalogue:
    return open_catalogue(varied)


def test_a_unit_page_shows_every_picture_with_its_numbers(page: Page, here: str, cat: Catalogue) -> None:
    page.goto(f"{here}#/features.3:20")
    unit = cat.layers["features.3"][20]
    loaded(page.locator("figure img"), 128)
    expect(page.locator("figure")).to_have_count(len(VARIANTS))
    for place, variant in enumerate(VARIANTS):
        figure = page.locator(f'figure[data-variant="{variant}"]')
        assert np.array_equal(pixels(figure.locator("img")), np.asarray(unit.picture(variant)))
        for name, column in {"objective": "objective", "peak": "objective_peak", "agreement": "agreement"}.items():
            text = figure.locator(f'[data-number="{name}"]').inner_text().replace("−", "-")
            assert float(text) == pytest.approx(float(getattr(unit.layer, column)[20, place]), rel=5e-3), name
        expect(figure).to_contain_text(f"the best of 3 restarts, number {unit.layer.attempt[20, place] + 1}")
    expect(page.locator('figure[data-variant="neuron"]')).to_contain_text("at its centre position alone")
    expect(page.locator('figure[data-variant="diverse-2"]')).to_contain_text("in another way")


def test_a_wall_turns_to_any_variant(page: Page, here: str, cat: Catalogue) -> None:
    page.goto(f"{here}#/features.3")
    for variant in VARIANTS:
        page.get_by_role("button", name=variant, exact=True).click()
        loaded(page.locator("[data-unit] img"), 64)
        shown = page.locator('[data-unit="30"] img')
        assert np.array_equal(pixels(shown), cat.layers["features.3"].thumbs(variant)[30]), variant
    assert page.url.endswith("?variant=diverse-4")
    page.locator('[data-unit="30"]').hover()
    card = page.locator(".card")
    for told in ("positive", "negative", "diverse-4"):
        expect(card).to_contain_text(told)
    expect(card).not_to_contain_text("diverse-1")


def test_a_wall_is_sorted_by_the_agreement_of_seeds(page: Page, here: str, cat: Catalogue) -> None:
    page.goto(f"{here}#/features.3")
    page.get_by_label("Sort by").select_option("agreement")
    best = int(np.nanargmax(cat.layers["features.3"].agreement[:, 0]))
    expect(page.locator('[data-position="0"]')).to_have_attribute("data-unit", str(best))


def test_a_wall_of_one_of_many_variants_takes_few_requests_and_none_is_large(page: Page, here: str) -> None:
    answers = answers_of(page)
    page.goto(f"{here}#/features.3?variant=diverse-4")
    loaded(page.locator("[data-unit] img"), 64)
    page.wait_for_load_state("networkidle")
    asked = [answer for answer in answers if "/thumb/c/" in answer.url]
    assert max(int(answer.headers.get("content-length", 0)) for answer in asked) < MEGABYTE
    assert len(asked) < 60


def test_a_store_that_asks_for_neither_says_nothing_of_them(page: Page, ours: str) -> None:
    page.goto(f"{ours}#/features.3:20")
    loaded(page.locator("figure img"), 128)
    expect(page.get_by_text("tries")).to_have_count(0)
    expect(page.locator('[data-number="agreement"]')).to_have_count(0)
    page.goto(f"{ours}#/features.3")
    expect(page.get_by_label("Sort by").locator('option[value="agreement"]')).to_have_count(0)
