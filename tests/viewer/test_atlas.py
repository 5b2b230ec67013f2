"""An activation atlas in Chromium: the map, its grids, its cells, and the ways that lead on."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

import atlas
from atlas.catalogue.atlases import Atlas, Grid
from atlas.catalogue.cells import Cell
from atlas.server import app_of
from atlas.units import Status, stored_map
from tests.hosts import atlas_host, static_host
from tests.stores import broken
from tests.viewer.conftest import answers_of, tree
from tests.viewer.test_viewer import MEGABYTE, loaded, pixels

pytestmark = [pytest.mark.browser, pytest.mark.builder]

FIT = 0.92
"""How much of the window's shorter side the whole map takes."""


@pytest.fixture(scope="module")
def shown(mapped: Path) -> Atlas:
    """The atlas, as Python sees it."""
    return next(layer.atlas for layer in atlas.open(mapped) if "all" in layer.atlases)


@pytest.fixture(scope="module")
def mapped_ours(built: Path, mapped: Path) -> Iterator[str]:
    with atlas_host(app_of(mapped, built)) as here:
        yield here


@pytest.fixture(scope="module")
def mapped_theirs(built: Path, mapped: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with tree(tmp_path_factory.mktemp("host") / "tree", built, mapped) as folder, static_host(folder) as here:
        yield here


@pytest.fixture(params=["ours", "theirs"])
def here(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"mapped_{request.param}"))


@pytest.fixture
def quiet(page: Page) -> Iterator[Page]:
    """The same window; afterwards no error was written to the console."""
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    yield page
    # A host that knows no `bytes=-N` says so once.
    assert [text for text in said if "Invalid byte range" not in text] == []


def the_map(page: Page, side: int | None = None) -> Locator:
    """The map, once every cell in sight has its picture; of the grid of `side` where it is said."""
    which = "[data-side]" if side is None else f'[data-side="{side}"]'
    canvas = page.locator(f'.stage canvas{which}[data-missing="0"]')
    expect(canvas).to_be_visible()
    return canvas


def middle(canvas: Locator, cell: Cell) -> tuple[float, float]:
    """Where a cell lies on the page when all of the map is shown."""
    box = canvas.bounding_box()
    assert box
    size = FIT * min(box["width"], box["height"])
    return (
        box["x"] + box["width"] / 2 + (cell.x - 0.5) * size,
        box["y"] + box["height"] / 2 + (cell.y - 0.5) * size,
    )


def colour(canvas: Locator, x: float, y: float, side: int = 5) -> np.ndarray[Any, Any]:
    """The mean colour and opacity around a point of the page, [4]."""
    box = canvas.bounding_box()
    assert box
    script = "(c, [x, y, s]) => Array.from(c.getContext('2d').getImageData(x - s, y - s, 2 * s, 2 * s).data)"
    data = canvas.evaluate(script, [round(x - box["x"]), round(y - box["y"]), side])
    return np.asarray(np.array(data, float).reshape(-1, 4).mean(axis=0))


def full(grid: Grid) -> Cell:
    """A cell with a good picture, as many samples as any such, and parts."""
    good = [cell for cell in grid if cell.picture_reliable and cell.children]
    return max(good, key=lambda cell: cell.count)


def route(shown: Atlas) -> str:
    return f"#/{shown.layer.name}/atlas"


def test_a_map_shows_every_cell_in_its_place(quiet: Page, here: str, shown: Atlas) -> None:
    quiet.goto(f"{here}{route(shown)}?faint=no")
    side = shown.grids[0]
    canvas, grid = the_map(quiet, side), shown.grid(side)
    expect(quiet).to_have_title(f"Atlas of {shown.layer.name} – {shown.layer.catalogue.model['title']}")
    expect(quiet.locator("footer")).to_contain_text(f"{side} × {side}, {len(grid)} cells filled")
    expect(quiet.locator("footer")).to_contain_text("so few images make clusters of images")
    quiet.mouse.move(1, 1)
    drawn = grid.canvas()
    for cell in [cell for cell in grid if cell.status == "ok"][::7]:
        column, row = cell.place
        square = drawn[row * 80 : row * 80 + 80, column * 80 : column * 80 + 80]
        found = colour(canvas, *middle(canvas, cell), side=14)
        assert found[3] == 255
        assert np.abs(found[:3] - square[20:60, 20:60].reshape(-1, 3).mean(axis=0)).max() < 26
    empty = np.flatnonzero(grid.count.reshape(-1) == 0)
    for number in empty[::11]:
        box = canvas.bounding_box()
        assert box
        size = FIT * min(box["width"], box["height"])
        x = box["x"] + box["width"] / 2 + ((number % side + 0.5) / side - 0.5) * size
        y = box["y"] + box["height"] / 2 + ((number // side + 0.5) / side - 0.5) * size
        assert colour(canvas, x, y)[3] == 0


def test_zooming_goes_through_all_grids_and_back(quiet: Page, here: str, shown: Atlas) -> None:
    answers = answers_of(quiet)
    quiet.goto(f"{here}{route(shown)}")
    canvas = the_map(quiet, shown.grids[0])
    x, y = middle(canvas, full(shown.grid(shown.grids[0])))
    quiet.mouse.move(x, y)
    for side in shown.grids[1:]:
        for _ in range(40):
            if quiet.locator(f'.stage canvas[data-side="{side}"]').count():
                break
            quiet.mouse.wheel(0, -120)
            quiet.wait_for_timeout(40)
        the_map(quiet, side)
    quiet.get_by_role("button", name="All of the map").click()
    the_map(quiet, shown.grids[0])
    expect(quiet).to_have_url(re.compile(r"atlas$"))
    quiet.wait_for_load_state("networkidle")
    got = [answer for answer in answers if "/store/" in answer.url and answer.request.method == "GET"]
    pictures = [answer for answer in got if re.search(r"/(tiles/[a-z0-9-]+|picture|image)/c/", answer.url)]
    assert any("/tiles/tile/" in answer.url for answer in pictures)
    assert {answer.status for answer in pictures} <= {206, 400}
    assert all("range" in answer.request.headers for answer in pictures)
    assert max(int(answer.headers.get("content-length", 0)) for answer in got) < MEGABYTE


def test_pointing_at_a_cell_tells_what_it_stands_for(quiet: Page, here: str, shown: Atlas) -> None:
    quiet.goto(f"{here}{route(shown)}")
    canvas, cell = the_map(quiet), full(shown.grid(shown.grids[0]))
    quiet.mouse.move(*middle(canvas, cell))
    card = quiet.locator(".card")
    expect(card).to_contain_text(f"Mean of {cell.count:,} activation")
    rows = card.locator("li")
    expect(rows).to_have_count(len(cell.labels))
    for row, label in enumerate(cell.labels):
        expect(rows.nth(row)).to_contain_text(label.name or f"class {label.number}")
        shares = rows.nth(row).locator(".stability").inner_text().replace("under 0.01%", "0%").rstrip("%")
        assert float(shares) / 100 == pytest.approx(label.stability, abs=0.006)
    expect(card.locator("li.unreliable")).to_have_count(len(cell.labels) - len(cell.reliable_labels))
    expect(card.locator("img")).to_have_count(len(cell.patches))
    for at, patch in enumerate(cell.patches):
        assert np.array_equal(pixels(card.locator("img").nth(at)), np.asarray(patch))
    quiet.mouse.move(2, 2)
    expect(card).to_have_count(0)


def test_labels_that_cannot_be_relied_on_are_marked(quiet: Page, here: str, shown: Atlas) -> None:
    grid = shown.grid(shown.grids[-1])
    cells = [grid[row] for row in range(len(grid))]
    reliable = next((cell for cell in cells if cell.reliable_labels), None)
    unreliable = next(cell for cell in cells if cell.labels and not cell.reliable_labels)
    for cell in [one for one in (reliable, unreliable) if one]:
        column, row = cell.place
        quiet.goto(f"{here}{route(shown)}?cell={grid.side}:{column},{row}")
        panel = quiet.locator(".panel")
        expect(panel.locator(".labels li")).to_have_count(len(cell.labels))
        expect(panel.locator(".labels li.unreliable")).to_have_count(len(cell.labels) - len(cell.reliable_labels))
        expect(panel.get_by_text("These labels rest on too few activations")).to_have_count(
            0 if cell.reliable_labels else 1
        )


def test_a_click_opens_a_cell_with_all_that_is_known_of_it(quiet: Page, here: str, shown: Atlas) -> None:
    quiet.goto(f"{here}{route(shown)}")
    canvas, cell = the_map(quiet), full(shown.grid(shown.grids[0]))
    quiet.mouse.click(*middle(canvas, cell))
    panel = quiet.locator(".panel")
    column, row = cell.place
    expect(panel.get_by_role("heading", level=2)).to_have_text(
        f"Cell {column}, {row} of {shown.grids[0]} × {shown.grids[0]}"
    )
    expect(quiet).to_have_url(re.compile(rf"cell={shown.grids[0]}:{column},{row}$"))
    loaded(panel.locator(".made img"), cell.image.width)
    assert np.array_equal(pixels(panel.locator(".made img")), np.asarray(cell.image))
    expect(panel.locator(".patches img")).to_have_count(len(cell.patches))
    expect(panel.locator(".labels li")).to_have_count(len(cell.labels))
    units = panel.locator(".units a")
    expect(units).to_have_count(len(cell.units))
    for at, (unit, _) in enumerate(cell.units):
        expect(units.nth(at)).to_have_attribute("href", f"#/{unit}")
    samples = panel.locator(".samples a")
    expect(samples).to_have_count(len(cell.samples))
    for at, sample in enumerate(cell.samples):
        expect(samples.nth(at)).to_have_attribute("href", f"#/images/{sample.image.number}")
    # Its parts lie in the next grid, and each is within it.
    parts = panel.locator(".parts button")
    expect(parts).to_have_count(len(cell.children))
    child = cell.children[0]
    parts.first.click()
    expect(panel.get_by_role("heading", level=2)).to_contain_text(f"Cell {child.place[0]}, {child.place[1]} of")
    the_map(quiet, shown.grids[1])
    panel.get_by_role("button", name=f"Cell {column}, {row} of").click()
    expect(panel.get_by_role("heading", level=2)).to_contain_text(f"Cell {column}, {row} of")
    panel.get_by_role("button", name="Close").click()
    expect(panel).to_have_count(0)


def test_a_cells_unit_leads_on_and_the_way_back_ends_where_one_was(quiet: Page, here: str, shown: Atlas) -> None:
    quiet.goto(f"{here}{route(shown)}")
    canvas, cell = the_map(quiet), full(shown.grid(shown.grids[0]))
    quiet.mouse.dblclick(*middle(canvas, cell))
    quiet.locator(".units a").first.click()
    expect(quiet.get_by_role("heading", level=1)).to_have_text(str(cell.units[0][0]))
    quiet.go_back()
    the_map(quiet)
    expect(quiet).to_have_url(re.compile(r"at=.*&zoom=[1-9].*&cell="))
    expect(quiet.locator(".panel .units a")).to_have_count(len(cell.units))


def test_pictures_that_come_when_one_has_left_and_returned_are_shown(quiet: Page, here: str, shown: Atlas) -> None:
    held: list[Route] = []
    returned = False

    def hold(asked: Route) -> None:
        if returned:
            asked.continue_()
        else:
            held.append(asked)

    quiet.route(re.compile(r"/tiles/.*/c/"), hold)
    quiet.goto(f"{here}{route(shown)}")
    canvas = quiet.locator(".stage canvas[data-side]")
    expect(canvas).to_be_visible()
    quiet.locator(f'header a[href$="#/{shown.layer.name}"]').click()
    expect(quiet.get_by_role("heading", level=1)).to_have_text(shown.layer.name)
    quiet.go_back()
    expect(canvas).to_be_visible()
    assert held
    expect(canvas).not_to_have_attribute("data-missing", "0")
    returned = True
    for asked in held:
        asked.continue_()
    the_map(quiet)


def test_who_leaves_while_the_address_is_written_leaves(quiet: Page, here: str, shown: Atlas) -> None:
    """The browser tells of a new address a moment after it has it: what is written meanwhile must not replace it."""
    quiet.goto(f"{here}{route(shown)}")
    the_map(quiet)
    quiet.evaluate(f"""() => {{
        location.hash = "#/{shown.layer.name}";
        document.body.click();
    }}""")
    expect(quiet.get_by_role("heading", level=1)).to_have_text(shown.layer.name)


def test_an_address_says_what_is_looked_at(quiet: Page, here: str, shown: Atlas) -> None:
    side = shown.grids[-1]
    cell = max(shown.grid(side), key=lambda cell: cell.count)
    zoom = side * 60 / 600
    view = f"?at={cell.x:g},{cell.y:g}&zoom={zoom:g}&cell={side}:{cell.place[0]},{cell.place[1]}&sized&faint=no"
    quiet.goto(f"{here}{route(shown)}{view}")
    the_map(quiet, side)
    expect(quiet.locator(".panel h2")).to_contain_text(f"Cell {cell.place[0]}, {cell.place[1]} of {side}")
    expect(quiet.get_by_label("Size by count")).to_be_checked()
    expect(quiet.get_by_label("Fade unreliable")).not_to_be_checked()
    quiet.wait_for_timeout(400)
    assert quiet.url.endswith(view)
    # What is switched on the page is in the address a moment later.
    quiet.get_by_label("Size by count").uncheck()
    expect(quiet).to_have_url(re.compile(r"(?<!sized)&faint=no$"))


def test_a_class_is_found_by_its_name_and_fades_cells_without_evidence_for_it(
    quiet: Page, here: str, shown: Atlas
) -> None:
    grid = shown.grid(shown.grids[0])
    good = np.flatnonzero(grid.status == Status.OK)
    number = grid[full(grid).row].labels[0].number
    strength = shown.attribution(number, grid.side)
    strong, weak = (grid[int(good[place])] for place in (strength[good].argmax(), strength[good].argmin()))
    name = shown.layer.catalogue.label(number)
    assert name
    quiet.goto(f"{here}{route(shown)}?faint=no")
    canvas = the_map(quiet)
    box = quiet.get_by_role("combobox", name="Look for a class")
    box.fill(name[:8])
    quiet.get_by_role("option", name=name, exact=True).click()
    expect(quiet.locator(".chosen")).to_contain_text(name.split(",")[0])
    expect(quiet).to_have_url(re.compile(rf"class={number}&faint=no$"))
    quiet.mouse.move(1, 1)
    expect(quiet.locator("footer")).to_contain_text("logits")

    def opacity(cell: Cell) -> float:
        return float(colour(canvas, *middle(canvas, cell))[3])

    assert opacity(strong) > 250
    assert opacity(weak) < 120
    if strength[good].min() < 0:
        quiet.get_by_role("button", name="against").click()
        expect(quiet).to_have_url(re.compile(r"sign=against&"))
        quiet.wait_for_timeout(500)
        assert opacity(strong) < 40
        assert opacity(weak) > 200
    quiet.get_by_role("button", name="Look for no class").click()
    quiet.wait_for_timeout(300)
    assert opacity(weak) == 255


def test_unreliable_pictures_are_faint_and_said_to_be(quiet: Page, here: str, shown: Atlas) -> None:
    grid = shown.grid(shown.grids[0])
    unreliable = [cell for cell in grid if cell.status == "ok" and not cell.picture_reliable]
    assert unreliable, "the store has no unreliable picture in its first grid"
    quiet.goto(f"{here}{route(shown)}")
    canvas, cell = the_map(quiet), unreliable[0]
    assert colour(canvas, *middle(canvas, cell))[3] < 90
    quiet.mouse.move(*middle(canvas, cell))
    expect(quiet.locator(".card")).to_contain_text("unreliable picture")
    quiet.mouse.click(*middle(canvas, cell))
    expect(quiet.locator(".verdict")).to_contain_text(f"{cell.rank:,} picture")
    quiet.get_by_label("Fade unreliable").uncheck()
    quiet.wait_for_timeout(400)
    assert colour(canvas, *middle(canvas, cell))[3] == 255


def test_the_keyboard_goes_from_cell_to_cell(quiet: Page, mapped_ours: str, shown: Atlas) -> None:
    quiet.goto(f"{mapped_ours}{route(shown)}")
    canvas = the_map(quiet)
    canvas.focus()
    quiet.keyboard.press("ArrowRight")
    card = quiet.locator(".card")
    expect(card).to_be_visible()
    expect(card).to_contain_text("Mean of")
    quiet.keyboard.press("ArrowDown")
    expect(card).to_be_visible()
    quiet.keyboard.press("Enter")
    expect(quiet.locator(".panel h2")).to_contain_text(f"of {shown.grids[0]} ×")
    for _ in range(8):
        if quiet.locator(f'.stage canvas[data-side="{shown.grids[1]}"]').count():
            break
        quiet.keyboard.press("+")
        quiet.wait_for_timeout(350)
    the_map(quiet, shown.grids[1])
    quiet.keyboard.press("0")
    the_map(quiet, shown.grids[0])
    quiet.keyboard.press("Escape")
    expect(quiet.locator(".panel")).to_have_count(0)
    expect(canvas).to_be_focused()
    quiet.keyboard.press("Escape")
    expect(quiet).to_have_url(re.compile(rf"#/{re.escape(shown.layer.name)}$"))


def test_fingers_tap_and_pinch(chromium: Browser, mapped_ours: str, shown: Atlas) -> None:
    context = chromium.new_context(viewport={"width": 390, "height": 780}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(f"{mapped_ours}{route(shown)}")
    canvas, cell = the_map(page, shown.grids[0]), full(shown.grid(shown.grids[0]))
    x, y = middle(canvas, cell)
    fingers = context.new_cdp_session(page)
    for apart, kind in ((20, "touchStart"), (60, "touchMove"), (120, "touchMove"), (180, "touchMove")):
        points = [{"x": x - apart / 2, "y": y}, {"x": x + apart / 2, "y": y}]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    fingers.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    expect(page).to_have_url(re.compile(r"zoom=[4-9]"))
    page.get_by_role("button", name="All of the map").click()
    expect(page).to_have_url(re.compile(r"atlas$"))
    page.touchscreen.tap(x, y)
    panel = page.locator(".panel")
    expect(panel.locator("h2")).to_contain_text("Cell")
    loaded(panel.locator(".made img"), cell.image.width)
    box, below = canvas.bounding_box(), panel.bounding_box()
    assert box
    assert below
    assert below["width"] == 390
    assert below["y"] > box["y"] + 0.3 * box["height"]
    # Nothing sticks out of a page that is this narrow.
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()


def test_the_home_page_and_the_layer_lead_to_the_atlas(quiet: Page, here: str, shown: Atlas) -> None:
    quiet.goto(here)
    link = quiet.locator(f'[data-atlas="{shown.layer.name}/all"]')
    expect(link.locator("canvas[data-missing='0']")).to_be_visible()
    expect(link).to_contain_text("cells in")
    quiet.goto(f"{here}#/{shown.layer.name}")
    quiet.get_by_role("link", name="Activation atlas").click()
    the_map(quiet)
    quiet.get_by_role("button", name="What is this?").click()
    told = quiet.locator(".about")
    expect(told).to_contain_text(f"Each of {shown.placed:,} activations")
    expect(told).to_contain_text("So few images make clusters of images")
    expect(told).to_contain_text("Trustworthiness")


def test_what_is_not_there_is_said_with_what_is(quiet: Page, mapped_ours: str, shown: Atlas) -> None:
    quiet.goto(f"{mapped_ours}{route(shown)}/strongest-77777")
    alert = quiet.get_by_role("alert")
    expect(alert).to_contain_text("has no map strongest-77777")
    alert.get_by_role("link", name="all activations").click()
    the_map(quiet)
    other = next(layer.name for layer in shown.layer.catalogue if not layer.atlases)
    quiet.goto(f"{mapped_ours}#/{other}/atlas")
    expect(quiet.get_by_role("alert")).to_contain_text(f"{other} has no activation atlas")
    expect(quiet.get_by_role("alert")).to_contain_text("--atlas")
    quiet.get_by_role("alert").get_by_role("link", name=f"The atlas of {shown.layer.name}").click()
    the_map(quiet)


def test_other_maps_are_chosen_on_the_page(quiet: Page, mapped_ours: str, shown: Atlas) -> None:
    quiet.goto(f"{mapped_ours}{route(shown)}")
    the_map(quiet)
    for name in shown.layer.atlases[1:]:
        quiet.get_by_label("Map", exact=True).select_option(stored_map(name))
        expect(quiet).to_have_url(re.compile(f"/atlas/{name}$"))
        the_map(quiet)
        first = shown.layer.atlas_of(name).grids[0]
        cells = len(shown.layer.atlas_of(name).grid(first))
        expect(quiet.locator("footer")).to_contain_text(f"{cells} cells filled")
        ends = 2 if name.startswith("pair-") else 0
        expect(quiet.locator(".end")).to_have_count(ends)
    # What was looked for is looked for there too.
    quiet.get_by_label("Size by count").check()
    quiet.get_by_label("Map", exact=True).select_option("all")
    expect(quiet).to_have_url(re.compile(r"/atlas\?sized$"))
    expect(quiet.get_by_label("Size by count")).to_be_checked()


def test_more_of_a_map_appears_where_one_looks(
    page: Page, built: Path, mapped: Path, tmp_path: Path, shown: Atlas
) -> None:
    def half(index: dict[str, Any], row: dict[str, Any]) -> None:
        row["grids"][1] |= {"tiled": False}
        row["grids"][2] |= {"tiled": False}

    store, side = altered(mapped, tmp_path / "made.atlas", half), shown.grids[1]
    cell = full(shown.grid(shown.grids[0]))
    page.clock.install()
    with atlas_host(app_of(store, built)) as here:
        page.goto(f"{here}{route(shown)}?at={cell.x:g},{cell.y:g}&zoom=2.5")
        the_map(page, shown.grids[0])
        page.locator("canvas[data-side]").focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        expect(page.locator(".panel .units a").first).to_be_visible()
        shutil.copy(mapped / "catalogue.json", store / "catalogue.json")
        page.clock.fast_forward(20_000)
        page.get_by_role("button", name="Show it").click()
        page.clock.fast_forward(1_000)
        the_map(page, side)
        expect(page).to_have_url(re.compile(r"zoom=2.5&cell="))
        expect(page.locator(".panel .units a").first).to_be_visible()


def altered(mapped: Path, place: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> Path:
    """A copy of the store, of which `change` altered the index and the entry of the first atlas in it."""
    shutil.copytree(mapped, place)
    file = place / "catalogue.json"
    index = json.loads(file.read_text())
    change(index, next(layer for layer in index["layers"] if layer.get("atlases"))["atlases"]["all"])
    file.write_text(json.dumps(index))
    return place


def test_an_atlas_in_the_making_shows_what_is_there(
    quiet: Page, built: Path, mapped: Path, tmp_path: Path, shown: Atlas
) -> None:
    def half(index: dict[str, Any], row: dict[str, Any]) -> None:
        row["grids"][1] |= {"pictured": False, "tiled": False, "patched": False}
        row["grids"][2] |= {"filled": None, "pictured": False, "tiled": False, "patched": False}

    store, side = altered(mapped, tmp_path / "made.atlas", half), shown.grids[1]
    cell = max(shown.grid(side), key=lambda cell: cell.count)
    with atlas_host(app_of(store, built)) as here:
        # A grid whose pictures are still to come is not zoomed into; its cells are known all the same.
        quiet.goto(f"{here}{route(shown)}?at={cell.x:g},{cell.y:g}&zoom=12&cell={side}:{cell.place[0]},{cell.place[1]}")
        the_map(quiet, shown.grids[0])
        panel = quiet.locator(".panel")
        expect(panel.locator(".made")).to_contain_text("absent")
        expect(panel.locator(".labels li")).to_have_count(len(cell.labels))
        expect(panel.locator(".samples a")).to_have_count(len(cell.samples))
        expect(panel.locator(".samples .box")).to_have_count(0)
        expect(panel.locator(".patches, .verdict, .parts")).to_have_count(0)
        quiet.goto(f"{here}{route(shown)}/strongest-3")
        the_map(quiet, shown.grids[0])

    def nothing(index: dict[str, Any], row: dict[str, Any]) -> None:
        for grid in row["grids"]:
            grid |= {"filled": None, "pictured": False, "tiled": False, "patched": False}

    quiet.goto("about:blank")
    with atlas_host(app_of(altered(mapped, tmp_path / "bare.atlas", nothing), built)) as here:
        quiet.goto(f"{here}{route(shown)}")
        expect(quiet.get_by_role("alert")).to_contain_text("is in the making")
        quiet.goto(here)
        card = quiet.locator(f'[data-atlas="{shown.layer.name}/all"]')
        expect(card).to_contain_text("in the making")
        # The square where its map will be says why there is none.
        expect(card.locator(".map")).to_contain_text("still to come")


def test_an_atlas_without_photographs_shows_where_its_samples_looked(
    quiet: Page, built: Path, mapped: Path, tmp_path: Path, shown: Atlas
) -> None:
    def bare(index: dict[str, Any], row: dict[str, Any]) -> None:
        index["images"] |= {"photographs": False, "classes": 0}

    store = altered(mapped, tmp_path / "made.atlas", bare)
    side, group = shown.grids[0], store / "layers" / shown.layer.layer.key
    shutil.rmtree(group / f"atlas/all/{side}/patches/picture")
    metadata = json.loads((group / "zarr.json").read_text())
    listed = metadata["consolidated_metadata"]["metadata"]
    del listed[f"atlas/all/{side}/patches/picture"]
    listed[f"atlas/all/{side}/patches"]["attributes"]["recipe"]["sampling"]["photographs"] = False
    (group / "zarr.json").write_text(json.dumps(metadata))
    cell = full(shown.grid(side))
    with atlas_host(app_of(store, built)) as here:
        answers = answers_of(quiet)
        quiet.goto(f"{here}{route(shown)}")
        canvas = the_map(quiet)
        expect(quiet.get_by_role("combobox", name="Look for a class")).to_have_count(0)
        quiet.mouse.move(*middle(canvas, cell))
        expect(quiet.locator(".card")).to_contain_text("Mean of")
        expect(quiet.locator(".card .patches")).to_have_count(0)
        quiet.mouse.click(*middle(canvas, cell))
        panel = quiet.locator(".panel")
        loaded(panel.locator(".made img"), cell.image.width)
        expect(panel.locator(".samples a")).to_have_count(len(cell.samples))
        expect(panel.locator(".samples .box").first).to_be_visible()
        quiet.wait_for_load_state("networkidle")
        assert not [answer.url for answer in answers if "/images/thumb" in answer.url]


def test_a_layer_of_which_nothing_but_an_atlas_was_built(
    quiet: Page, built: Path, mapped: Path, tmp_path: Path, shown: Atlas
) -> None:
    def alone(index: dict[str, Any], row: dict[str, Any]) -> None:
        for stage in ("features", "statistics", "examples"):
            del next(layer for layer in index["layers"] if layer["name"] == shown.layer.name)[stage]

    cell = full(shown.grid(shown.grids[0]))
    with atlas_host(app_of(altered(mapped, tmp_path / "made.atlas", alone), built)) as here:
        quiet.goto(f"{here}#/{shown.layer.name}")
        quiet.get_by_role("alert").get_by_role("link", name="Its activation atlas").click()
        quiet.mouse.click(*middle(the_map(quiet), cell))
        panel = quiet.locator(".panel")
        expect(panel).to_contain_text("Not rendered yet")
        unit = cell.units[0][0]
        expect(panel.get_by_role("link", name=f":{unit.index}", exact=True)).to_have_attribute("href", f"#/{unit}")
        loaded(panel.locator(".made img"), cell.image.width)


def test_an_address_of_a_cell_that_nothing_was_made_for_says_so(quiet: Page, mapped_ours: str, shown: Atlas) -> None:
    side = shown.grids[0]
    count = shown.grid(side).count
    empty = np.argwhere(count == 0)[0]
    few = [place for place in np.argwhere(count > 0) if count[tuple(place)] < shown.grid(side).count.max()]
    filled = {cell.place for cell in shown.grid(side)}
    cases = [(empty, "it holds no activation")]
    cases += [(place, "too few for a reliable mean") for place in few if (int(place[1]), int(place[0])) not in filled][
        :1
    ]
    for (row, column), words in cases:
        quiet.goto("about:blank")
        quiet.goto(f"{mapped_ours}{route(shown)}?cell={side}:{column},{row}")
        expect(quiet.locator(".panel")).to_contain_text("This cell has no picture")
        expect(quiet.locator(".panel")).to_contain_text(words)
    quiet.goto("about:blank")
    quiet.goto(f"{mapped_ours}{route(shown)}?cell=7:1,1")
    expect(quiet.locator(".panel")).to_contain_text("This map has no grid of 7")


@pytest.mark.parametrize("how", ["missing", "empty", "short"])
def test_damage_of_an_atlas_is_said_and_no_number_shown(
    page: Page, built: Path, mapped: Path, tmp_path: Path, shown: Atlas, how: str
) -> None:
    store = tmp_path / "made.atlas"
    shutil.copytree(mapped, store)
    side, group = shown.grids[0], f"layers/{shown.layer.layer.key}/atlas/all"
    with atlas_host(app_of(store, built)) as here:
        # A map with a damaged object of tiles is hatched there, and everything else can be looked at.
        whole = broken(store, f"{group}/{side}/tiles/tile/c/0/0/0/0", how)
        for level in store.glob(f"{group}/{side}/tiles/below-*/c/0/0/0/0"):
            broken(store, str(level.relative_to(store)), how)
        page.goto(f"{here}{route(shown)}")
        the_map(page, side)
        expect(page.get_by_role("alert")).to_contain_text("atlas verify STORE --repair")
        page.goto(f"{here}#/")
        page.locator("[data-atlases]").scroll_into_view_if_needed()
        expect(page.locator("[data-atlases] .map").first).to_contain_text("damaged")
        (store / f"{group}/{side}/tiles/tile/c/0/0/0/0").write_bytes(whole)
        # A column of its cells: a cell says that, and none of its numbers.
        broken(store, f"{group}/{side}/label_strength/c/0/0", how)
        cell = full(shown.grid(side))
        page.goto("about:blank")
        page.goto(f"{here}{route(shown)}?cell={side}:{cell.place[0]},{cell.place[1]}")
        expect(page.get_by_role("alert").first).to_contain_text("label_strength/c/0/0 ")
        expect(page.locator(".panel .labels")).to_have_count(0)
