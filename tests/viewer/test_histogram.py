"""Histograms of units with values on both sides of zero: what is drawn is the density, held against known ones."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from atlas.dataset.summary import BINS, FIELDS, bins, nothing, statistics
from atlas.server import app_of
from tests.collected import collect_into
from tests.hosts import atlas_host
from tests.stores import make_store, write_whole

pytestmark = [pytest.mark.browser, pytest.mark.builder]

VALUES = 200_000
NORMAL = {
    "about zero": NormalDist(0, 1),
    "beside zero": NormalDist(0.5, 2),
    "below zero": NormalDist(-30, 2),
    "small": NormalDist(2e-4, 1e-3),
}
NAMES = [*NORMAL, "two humps", "with zeros", "bounded below", "heavy", "constant", "rectified"]
"""The units of the layer, in their order, by what they answer."""


def answered() -> dict[str, np.ndarray[Any, Any]]:
    """What each unit answers, float32 [m]."""
    chance = np.random.default_rng(0)
    values = {name: chance.normal(one.mean, one.stdev, VALUES) for name, one in NORMAL.items()}
    half = chance.normal(4, 1, VALUES // 2)
    values["two humps"] = np.concatenate([half, chance.normal(-4, 1, VALUES // 2)])
    values["with zeros"] = np.where(chance.random(VALUES) < 0.4, 0, chance.normal(0, 1, VALUES))
    some = chance.normal(0, 2, VALUES)
    values["bounded below"] = some / (1 + np.exp(-1.702 * some))  # as a GELU leaves it
    values["heavy"] = chance.standard_t(2, VALUES)
    values["constant"] = np.full(VALUES, -2.2)
    values["rectified"] = np.maximum(chance.normal(0, 1, VALUES), 0)
    return {name: values[name].astype(np.float32) for name in NAMES}


def summed(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The fields [F] of a unit with these answers."""
    fields = nothing(1)
    told = {"images": 20, "positions": len(values), "sum": values.sum(dtype=float), "active_images": 20}
    told |= {"squares": np.square(values, dtype=float).sum(), "least": values.min(), "largest": values.max()}
    told |= {"active_positions": (values > 0).sum()}
    for name, value in told.items():
        fields[:, FIELDS[name]] = value
    fields[:, FIELDS["histogram"]] = np.bincount(bins(values), minlength=BINS)
    return np.array(fields[0])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose units answered as `answered` says."""
    place = tmp_path_factory.mktemp("histograms") / "made.atlas"
    made = make_store(place, layers={"features.3": len(NAMES)}, size=16, labels=4)
    (plan,) = [plan for plan in collect_into(made, images=20) if plan.stage == "statistics"]
    group = "layers/features.3/statistics"
    columns = {name: made.read(f"{group}/{name}") for name in plan.written_by("reduce")}
    found = statistics(np.stack([summed(values) for values in answered().values()]))
    for name in ("mean", "std", "least", "largest", "active_positions", "histogram", "quantile"):
        columns[name] = found[name]
    write_whole(made, plan, "reduce", columns)
    return place


@pytest.fixture(scope="module")
def address(built: Path, store: Path) -> Iterator[str]:
    with atlas_host(app_of(store, built)) as here:
        yield here


def opened(page: Page, address: str, name: str) -> Locator:
    """The histogram of a unit, on the page."""
    page.goto("about:blank")
    page.goto(f"{address}#/features.3:{NAMES.index(name)}")
    region = page.get_by_role("region", name="Activations")
    region.scroll_into_view_if_needed()
    expect(region.locator("g.bar").first).to_be_visible()
    return region


def bars(region: Locator, kind: str = "g.bar:not(.zero)") -> np.ndarray[Any, Any]:
    """From left to right: left and right end, height, from, to and count of every bar, float [n,6]."""
    script = """bars => bars.map(bar => {
        const {x, width, height} = bar.querySelector("rect.reach").getBBox();
        const drawn = Number(bar.querySelector("rect:not(.reach)").getAttribute("height"));
        return [x, x + width, drawn, ...["from", "to", "count"].map(name => Number(bar.dataset[name]))];
    })"""
    return np.array(region.locator(kind).evaluate_all(script))


def humps(heights: np.ndarray[Any, Any]) -> int:
    """How often heights fall by a tenth of the highest or more after they rose by as much."""
    found, low, high, rising = 0, heights[0], heights[0], True
    for height in heights:
        low, high = min(low, height), max(high, height)
        if rising and height < high - 0.1 * heights.max():
            found, rising, low = found + 1, False, height
        elif not rising and height > low + 0.1 * heights.max():
            rising, high = True, height
    return found + rising


@pytest.mark.parametrize("name", NORMAL)
def test_a_normal_distribution_is_one_hump_as_high_as_its_density(page: Page, address: str, name: str) -> None:
    drawn = bars(opened(page, address, name))
    left, right, height, low, high, count = drawn.T
    # Bars lie side by side, each as wide as its bin: nothing is left out, about zero least of all.
    assert np.allclose(left[1:], right[:-1], atol=0.01)
    assert np.array_equal(low[1:], high[:-1])
    assert count.sum() == VALUES
    assert humps(height) == 1
    known = np.array([NORMAL[name].cdf(b) - NORMAL[name].cdf(a) for a, b in zip(low, high, strict=True)]) / (high - low)
    often = count > 200
    assert often.sum() > 3
    # Heights are logarithmic: a straight line of the logarithm of the known density, to a pixel or two.
    line = np.polynomial.Polynomial.fit(np.log(known[often]), height[often], 1)
    assert np.abs(line(np.log(known[often])) - height[often]).max() < 3
    top = int(np.argmax(height))
    assert low[top] - NORMAL[name].stdev / 2 < NORMAL[name].mean < high[top] + NORMAL[name].stdev / 2


def test_the_median_stands_where_the_hump_does(page: Page, address: str) -> None:
    region = opened(page, address, "about zero")
    left, right, height, *_ = bars(region).T
    middle = (left + right)[np.argsort(height)[-3:]].mean() / 2
    median = region.locator(".quantiles .median").evaluate("mark => mark.getBBox().x")
    assert abs(median - middle) < 0.1 * right.max()


def test_two_humps_stay_two(page: Page, address: str) -> None:
    assert humps(bars(opened(page, address, "two humps"))[:, 2]) == 2


def test_zeros_of_a_signed_unit_are_a_bar_of_their_own(page: Page, address: str) -> None:
    region = opened(page, address, "with zeros")
    assert humps(bars(region)[:, 2]) == 1
    (zero,) = bars(region, "g.bar.zero")
    assert zero[5] == pytest.approx(0.4 * VALUES, rel=0.02)
    region.locator("g.bar.zero .reach").hover()
    expect(region.locator(".told")).to_contain_text("zero, or nearer to it than any bin")
    # A normal distribution has a few values there too, and they are no bar.
    assert len(bars(opened(page, address, "about zero"), "g.bar.zero")) == 0


@pytest.mark.parametrize("name", ["bounded below", "heavy", "constant"])
def test_other_signed_units_have_one_hump_and_all_their_values(page: Page, address: str, name: str) -> None:
    region = opened(page, address, name)
    every = bars(region, "g.bar")
    assert every[:, 5].sum() == VALUES
    assert humps(bars(region)[:, 2]) == 1
    assert np.all(np.diff(bars(region)[:, 0]) > 0)
    for at in region.locator("svg text.axis").evaluate_all("ticks => ticks.map(tick => tick.textContent)"):
        assert at
        assert "NaN" not in at


def test_what_is_drawn_is_said(page: Page, address: str) -> None:
    region = opened(page, address, "about zero")
    expect(region.locator("figcaption")).to_contain_text("bar height is density (positions per unit of activation)")
    region.locator("g.bar .reach").nth(4).hover()
    _, _, _, low, high, count = bars(region)[4]
    expect(region.locator(".told")).to_contain_text(f"{count:,.0f} of {VALUES:,} positions")
    assert math.isclose(
        float(region.locator(".told").inner_text().split(" to ")[0].replace("−", "-")), low, rel_tol=1e-3
    )
    assert low < high


def test_a_rectified_unit_keeps_its_bar_of_zero(page: Page, address: str) -> None:
    region = opened(page, address, "rectified")
    (zero,) = bars(region, "g.bar.zero")
    assert zero[5] == pytest.approx(0.5 * VALUES, rel=0.02)
    expect(region.locator("figcaption")).to_contain_text("the bar of zero stands apart")
