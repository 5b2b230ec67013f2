"""Damaged stores, and hosts that answer otherwise than asked: the page says so, and shows no number that is none."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from atlas.catalogue import write_index
from atlas.server import app_of
from atlas.store import Store
from tests.collected import collect_into
from tests.hosts import Elsewhere, Packing, atlas_host, static_host
from tests.stores import broken, image_object, make_store, write_whole
from tests.viewer.conftest import tree
from tests.viewer.test_viewer import loaded

pytestmark = pytest.mark.browser

DOWN = """async () => {
    for (let at = 0; at < document.body.scrollHeight; at += 400) {
        window.scrollTo(0, at);
        await new Promise(done => setTimeout(done, 20));
    }
    window.scrollTo(0, 0);
}"""
"""Scrolls past all of a page: what comes near is loaded."""
MEND = "atlas verify STORE --repair"
LAYER = "layers/features.3"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with pictures and what 20 images leave behind."""
    place = tmp_path_factory.mktemp("whole") / "made.atlas"
    collect_into(make_store(place, layers={"features.3": 40}, size=48, labels=10), images=20, crops=2)
    return place


@pytest.fixture
def store(whole: Path, tmp_path: Path) -> Path:
    """A copy of it to damage."""
    shutil.copytree(whole, tmp_path / "made.atlas")
    return tmp_path / "made.atlas"


@contextmanager
def shown(store: Path, built: Path, host: str = "ours") -> Iterator[str]:
    """Where a store is shown: on our server, or on a static host that is not ours."""
    if host == "ours":
        with atlas_host(app_of(store, built)) as address:
            yield address
    else:
        with tree(store.parent / "tree", built, store) as folder, static_host(folder) as address:
            yield address


def go(page: Page, address: str, route: str) -> None:
    """Open a page anew, and look at all of it."""
    page.goto("about:blank")
    page.goto(f"{address}{route}")
    expect(page.locator("h1, article, [role=alert]").first).to_be_visible()
    page.wait_for_load_state("networkidle")
    page.evaluate(DOWN)


def told(page: Page) -> Locator:
    """The one line that says what is damaged."""
    alert = page.get_by_role("alert").first
    expect(alert).to_contain_text("damaged")
    expect(alert).to_contain_text(MEND)
    return alert


COLUMNS = {
    f"{LAYER}/features/mean/c/0/0": "#/features.3:7",
    f"{LAYER}/features/status/c/0/0": "#/features.3",
    f"{LAYER}/statistics/mean/c/0": "#/features.3:7",
    f"{LAYER}/statistics/histogram/c/0/0": "#/features.3:7",
    f"{LAYER}/statistics/class_attribution/c/0/0": "#/features.3:7",
    f"{LAYER}/examples/box/c/0/0/0/0": "#/features.3:7",
    f"{LAYER}/derived/dead/c/0": "#/features.3:7",
    f"{LAYER}/derived/ratio/c/0/0": "#/features.3:7",
    "images/status/c/0": "#/images/",
    "images/path/c/0/0": "#/images/3",
}
"""Objects of numbers, and where they are shown."""


@pytest.mark.parametrize(
    ("host", "how"),
    [
        ("ours", "missing"),
        ("ours", "empty"),
        ("ours", "short"),
        ("ours", "junk"),
        ("theirs", "missing"),
        ("theirs", "short"),
    ],
)
def test_numbers_that_are_not_there_are_said_and_not_shown(
    page: Page, built: Path, store: Path, host: str, how: str
) -> None:
    # The bytes of a plain column are numbers whatever they are: only a packed one can be junk.
    cases = {key: route for key, route in COLUMNS.items() if how != "junk" or "/path/" in key}
    with shown(store, built, host) as address:
        for key, route in cases.items():
            whole = broken(store, key, how)
            go(page, address, route)
            expect(told(page)).to_contain_text(key)
            expect(page.locator("[data-number], [data-statistic]")).to_have_count(0)
            mended(store / key, whole)
            page.get_by_role("button", name="Try again").click()
            expect(page.get_by_role("alert")).to_have_count(0)


def mended(file: Path, whole: bytes) -> None:
    """As it was, a minute later: hosts tell by the second whether a file has changed."""
    file.write_bytes(whole)
    later = time.time() + 60
    os.utime(file, (later, later))


PICTURES = {
    f"{LAYER}/features/image/c/0/0/0/0/0": ("#/features.3:7", "figure[data-variant=positive]"),
    f"{LAYER}/features/thumb/c/0/0/0/0/0": ("#/features.3", "[data-unit='7']"),
    f"{LAYER}/examples/picture/c/0/0/0/0/0/0": ("#/features.3:7", "[data-extreme=top] [data-rank='0']"),
    "images/thumb/c/0/0/0/0": ("#/images/", "[data-image='7']"),
}
"""Objects of pictures, where they are shown, and one of them."""


@pytest.mark.parametrize(
    ("host", "how"),
    [("ours", "missing"), ("ours", "empty"), ("ours", "short"), ("theirs", "missing"), ("theirs", "short")],
)
def test_pictures_that_are_not_there_are_marked(page: Page, built: Path, store: Path, host: str, how: str) -> None:
    with shown(store, built, host) as address:
        for key, (route, tile) in PICTURES.items():
            whole = broken(store, key, how)
            go(page, address, route)
            mark = page.locator(f"{tile} .damaged")
            expect(mark).to_have_text("damaged")
            expect(mark).to_have_attribute("title", f"damaged: run {MEND}")
            expect(page.locator(f"{tile} img")).to_have_count(0)
            mended(store / key, whole)


@pytest.mark.parametrize("part", ["start", "middle", "end"])
def test_a_picture_that_does_not_decode_is_marked_and_its_neighbours_are_shown(
    page: Page, built: Path, store: Path, part: str
) -> None:
    file = store / LAYER / "features/thumb/c/0/0/0/0/0"
    data = bytearray(file.read_bytes())
    starts = [at.start() for at in re.finditer(b"\xff\xd8\xff", bytes(data))]
    first, stop = starts[0], starts[1]
    where = {"start": first, "middle": first + 20, "end": stop - 2}[part]
    data[where : where + (2 if part != "middle" else stop - 24 - first)] = bytes(
        2 if part != "middle" else stop - 24 - first
    )
    file.write_bytes(bytes(data))
    with shown(store, built) as address:
        go(page, address, "#/features.3")
        expect(page.locator("[data-unit='0'] .damaged")).to_have_text("damaged")
        expect(page.locator(".damaged")).to_have_count(1)
        loaded(page.locator("[data-unit='1'] img"), 64)


def test_a_shard_to_come_is_told_from_one_that_is_lost(page: Page, built: Path, tmp_path: Path) -> None:
    place = tmp_path / "made.atlas"
    store = make_store(place, layers={"features.3": 96}, size=48, absent={"features.3": [1]}, columns=False)
    (plan,) = store.plans()
    (place / image_object(plan, 2)).unlink()
    with shown(place, built) as address:
        go(page, address, "#/features.3")
        expect(page.locator("[data-unit='40']")).to_contain_text("absent")
        expect(page.locator("[data-unit='70']")).to_contain_text("damaged")
        loaded(page.locator("[data-unit='0'] img"), 48)
        # Which units are rendered is not written yet: nothing claims that all of these are.
        expect(page.get_by_label("Show units")).to_have_value("all")
        assert page.get_by_label("Show units").locator("option").all_inner_texts() == ["all (96)"]
        go(page, address, "#/features.3:40")
        expect(page.locator("figure").first).to_contain_text("Not rendered yet")


def without(*path: str) -> Callable[[dict[str, Any]], None]:
    """Takes the field at `path` out of what is read from JSON."""

    def change(value: Any) -> None:
        for name in path[:-1]:
            value = value[name]
        del value[path[-1]]

    return change


METADATA: dict[str, Callable[[dict[str, Any]], None] | None] = {
    "missing": None,
    "no attributes": without("attributes"),
    "nothing inside": without("consolidated_metadata", "metadata", "features/status"),
    "no shape": without("consolidated_metadata", "metadata", "features/status", "shape"),
    "no codecs": without("consolidated_metadata", "metadata", "features/mean", "codecs"),
    "another type": lambda said: said["consolidated_metadata"]["metadata"]["features/mean"].update(data_type="float64"),
    "another shape": lambda said: said["consolidated_metadata"]["metadata"]["features/mean"].update(shape=[4, 2]),
    "a strange shape": lambda said: said["consolidated_metadata"]["metadata"]["features/mean"].update(shape="x"),
}


@pytest.mark.parametrize("what", METADATA)
def test_metadata_that_does_not_say_what_it_must_is_damage(page: Page, built: Path, store: Path, what: str) -> None:
    file, change = store / LAYER / "zarr.json", METADATA[what]
    if change is None:
        file.unlink()
        shutil.rmtree(store / LAYER / "features" / "status")
    else:
        said = json.loads(file.read_text())
        change(said)
        file.write_text(json.dumps(said))
        shutil.rmtree(store / LAYER / "features" / "status") if what == "nothing inside" else None
    with shown(store, built) as address:
        go(page, address, "#/features.3:7")
        if what == "no attributes":  # of the layer's group: nobody reads them
            loaded(page.locator("figure[data-variant] img"), 48)
        else:
            told(page)


INDEXES: dict[str, Callable[[dict[str, Any]], None]] = {
    "model": without("model"),
    "model.title": lambda index: index["model"].update(title=7),
    "layers": lambda index: index.update(layers={}),
    "layers[0].channels": lambda index: index["layers"][0].update(channels=10**9),
    "layers[0].key": lambda index: index["layers"][0].update(key=".."),
    "layers[0].features.variants": lambda index: index["layers"][0]["features"].update(variants="positive"),
    "layers[0].statistics.done": lambda index: index["layers"][0]["statistics"].pop("done"),
    "images.count": lambda index: index["images"].update(count=-1),
    "encoding-version": without("encoding-version"),
    "layers, in which two are called the same": lambda index: index["layers"].append(index["layers"][0]),
}


def test_a_catalogue_that_parses_and_is_damaged_is_one_line(page: Page, built: Path, store: Path) -> None:
    whole = (store / "catalogue.json").read_text()
    with shown(store, built) as address:
        for where, change in INDEXES.items():
            index = json.loads(whole)
            change(index)
            (store / "catalogue.json").write_text(json.dumps(index))
            go(page, address, "#/")
            expect(told(page)).to_contain_text(f"catalogue.json is not what it must be at {where}")
        index = json.loads(whole)
        index["layers"][0]["features"]["variants"] = ["positive"]
        (store / "catalogue.json").write_text(json.dumps(index))
        go(page, address, "#/features.3")
        expect(told(page)).to_contain_text("does not hold 1 pictures of 40 units")
        write_index(Store.open(store))
        page.get_by_role("button", name="Try again").click()
        loaded(page.locator("[data-unit='0'] img"), 64)


@pytest.mark.parametrize(
    ("kind", "words"), [(Packing, "compresses parts of files"), (Elsewhere, "ignores range requests")]
)
def test_a_host_that_answers_otherwise_than_asked_is_named(
    page: Page, built: Path, whole: Path, tmp_path: Path, kind: type, words: str
) -> None:
    with tree(tmp_path / "tree", built, whole) as folder, static_host(folder, kind) as address:
        for route in ("#/", "#/features.3", "#/features.3:7"):
            go(page, address, route)
            expect(page.get_by_role("alert").first).to_contain_text(words)
            expect(page.get_by_role("alert").first).not_to_contain_text("still running")


def test_neighbours_to_come_are_told_from_none(page: Page, built: Path, store: Path) -> None:
    index = json.loads((store / "catalogue.json").read_text())
    index["relations"] = ["another layer"]
    (store / "catalogue.json").write_text(json.dumps(index))
    with shown(store, built) as address:
        go(page, address, "#/features.3:7")
        region = page.get_by_role("region", name="Similar units")
        expect(region).to_contain_text("Not computed yet")


def test_tiles_of_examples_are_said_to_be_grown_and_mirrored(page: Page, built: Path, store: Path) -> None:
    with shown(store, built) as address:
        go(page, address, "#/features.3:7")
        expect(page.get_by_role("region", name="Top activating images")).to_contain_text(
            "extended to a square; random crops may be mirrored"
        )


def test_a_unit_without_any_finite_value_has_no_histogram(page: Page, built: Path, store: Path) -> None:
    made = Store.open(store)
    (plan,) = [plan for plan in made.plans() if plan.stage == "statistics"]
    columns = {name: made.read(f"{LAYER}/statistics/{name}") for name in plan.written_by("reduce")}
    columns["histogram"][7] = 0
    columns["nan"][7] = 1000
    for name in ("mean", "std", "least", "largest", "quantile", "active_positions", "active_images"):
        columns[name][7] = float("nan")
    write_whole(made, plan, "reduce", columns)
    with shown(store, built) as address:
        go(page, address, "#/features.3:7")
        region = page.get_by_role("region", name="Activations")
        region.scroll_into_view_if_needed()
        expect(region).to_contain_text("All its activations are NaN or infinity")
        expect(region.locator("svg")).to_have_count(0)
        expect(region.locator('[data-statistic="activation_mean"]')).to_have_text("–")
