"""Reading an activation atlas: every view says what the arrays say, and what is not there is said in a line."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from PIL import Image

import atlas
from atlas.catalogue import Catalogue, write_tables
from atlas.catalogue.atlases import Atlas, Canvas
from atlas.catalogue.cells import Cell
from atlas.errors import UnknownName
from atlas.store import Store
from atlas.units import Status

pytestmark = pytest.mark.builder


@pytest.fixture(scope="module")
def cat(mapped: Path) -> Catalogue:
    return atlas.open(mapped)


@pytest.fixture(scope="module")
def shown(cat: Catalogue) -> Atlas:
    return next(layer.atlas for layer in cat if "all" in layer.atlases)


@pytest.fixture(scope="module")
def plain(mapped: Path, shown: Atlas) -> Any:
    """The layer's group, as zarr alone reads it."""
    return zarr.open_group(str(mapped / "layers" / shown.layer.layer.key), mode="r")


def test_an_atlas_says_what_it_is_of(cat: Catalogue, shown: Atlas) -> None:
    assert shown.grids == tuple(sorted(shown.grids))
    assert all(finer == 2 * coarser for coarser, finer in zip(shown.grids, shown.grids[1:], strict=False))
    assert shown.layer.atlases[0] == "all"
    assert shown.layer.atlas is shown
    for name in shown.layer.atlases:
        assert shown.layer.atlas_of(name).name == name
    assert shown.layer.name in repr(shown)
    assert "<img" in shown._repr_html_()


def test_cells_are_those_of_the_arrays(shown: Atlas, plain: Any) -> None:
    for side in shown.grids:
        grid, arrays = shown.grid(side), plain[f"atlas/all/{side}"]
        filled = len(grid)
        assert (np.asarray(arrays["cell"][:filled]) >= 0).all()
        assert (np.asarray(arrays["cell"][filled:]) == -1).all()
        assert grid.count.sum() == np.isfinite(shown.xy).all(axis=1).sum()
        for cell in list(grid)[::13]:
            column, row = cell.place
            assert cell.number == row * side + column == arrays["cell"][cell.row]
            assert cell.count == arrays["count"][cell.number] == grid.count[row, column]
            assert np.array_equal(cell.direction, arrays["direction"][cell.row])
            assert [label.number for label in cell.labels] == [k for k in arrays["label"][cell.row] if k >= 0]
            assert [label.attribution for label in cell.labels] == sorted(
                (label.attribution for label in cell.labels), reverse=True
            )
            assert all(0 <= label.stability <= 1 for label in cell.labels)
            assert np.array_equal(np.asarray(cell.image), arrays["icons/image"][cell.row, 0])
            assert cell.status == Status(int(arrays["icons/status"][cell.row, 0])).name.lower()
            assert cell.rank == arrays["icons/rank"][cell.row]
            assert "<img" in cell._repr_html_()


def test_a_cell_is_found_by_its_place(shown: Atlas) -> None:
    for side in shown.grids:
        for cell in list(shown.grid(side))[::7]:
            found = shown.cell(cell.x, cell.y, side)
            assert (found.grid.side, found.number) == (side, cell.number)
    finest = next(iter(shown.grid()))
    assert shown.cell(finest.x, finest.y).number == finest.number
    assert shown.cell(finest.x, finest.y).grid.side == shown.grids[-1]


def test_the_nearest_cell_is_there_for_every_place(shown: Atlas) -> None:
    for x, y in [(0.3, 0.6), (0, 0), (1, 1), (0.05, 0.95)]:
        for side in (None, *shown.grids):
            cell = shown.nearest(x, y, side)
            assert cell.grid.side == (side or shown.grids[-1])
            column, row = cell.grid.square(x, y)
            far = [np.hypot(one.place[0] - column, one.place[1] - row) for one in cell.grid]
            assert np.hypot(cell.place[0] - column, cell.place[1] - row) == min(far)


def test_a_place_that_only_a_coarser_grid_fills_is_answered_by_it(shown: Atlas) -> None:
    coarse, fine = shown.grid(shown.grids[0]), shown.grid(shown.grids[-1])
    places = ((cell.x + dx / 50, cell.y + dy / 50) for cell in coarse for dx in (-2, 0, 2) for dy in (-2, 0, 2))
    finer = [shown.grid(side) for side in shown.grids[1:]]
    x, y = next(place for place in places if not any(grid.find(*grid.square(*place)) for grid in finer))
    assert shown.cell(x, y).grid.side == coarse.side
    with pytest.raises(UnknownName, match="too few"):
        shown.cell(x, y, fine.side)


def test_labels_that_cannot_be_relied_on_are_not_told(shown: Atlas) -> None:
    for cell in (cell for side in shown.grids for cell in list(shown.grid(side))[::7]):
        for label in cell.labels:
            assert label.reliable == (cell.count >= 5 and label.stability >= 0.8)
        assert cell.reliable_labels == [label for label in cell.labels if label.reliable]
        told = repr(cell) + cell._repr_html_()
        if cell.count < 5:
            assert "no reliable label" in told
            assert "none is reliable" in told
        assert not [
            label for label in cell.labels if not label.reliable and f"{label.name} {label.attribution:.3g}" in told
        ]
    sure = shown.layer.catalogue.sql("select side, cell, count, stability, label_reliable from atlas_cells")
    assert all(row[4] == (row[2] >= 5 and row[3] >= 0.8) for row in sure)


def test_samples_are_real_and_lie_in_their_cell(shown: Atlas, plain: Any) -> None:
    side, images = shown.grids[0], set()
    for cell in list(shown.grid(side))[::5]:
        samples = cell.samples
        assert samples
        assert [sample.cosine for sample in samples] == sorted((sample.cosine for sample in samples), reverse=True)
        assert len({sample.image.number for sample in samples}) == len(samples)
        for rank, sample in enumerate(samples):
            x, y = shown.xy[sample.number]
            assert (min(int(x * side), side - 1), min(int(y * side), side - 1)) == cell.place
            for name in ("crop", "position"):
                assert getattr(sample, name) == plain[f"activations/{name}"][sample.number]
            assert sample.image.number == plain["activations/image"][sample.number]
            assert sample.image.status == "ok"
            assert (sample.box is not None) == (rank < 4)
            assert (sample.patch is not None) == (rank < 4)
            images.add(sample.image.number)
        assert len(cell.patches) == min(4, len(samples))
        assert all(patch.size == (96, 96) for patch in cell.patches)
    assert len(images) > 3


def test_units_are_the_largest_entries_of_the_direction(shown: Atlas) -> None:
    for cell in list(shown.grid(shown.grids[0]))[::5]:
        values = [value for _, value in cell.units]
        assert values == sorted(values, reverse=True)
        assert values[0] == cell.direction.max()
        assert all(cell.direction[unit.index] == value for unit, value in cell.units)
        assert all(unit.layer is shown.layer for unit, _ in cell.units)


def test_parents_and_children_share_their_ground(shown: Atlas) -> None:
    coarse, fine = (shown.grid(side) for side in shown.grids[:2])
    assert all(cell.parent is None for cell in coarse)
    assert all(not cell.children for cell in shown.grid())
    children = 0
    for cell in coarse:
        for child in cell.children:
            assert (child.place[0] // 2, child.place[1] // 2) == cell.place
            assert child.parent is not None
            assert child.parent.number == cell.number
            children += 1
    assert children > len(coarse)
    assert children == sum(cell.parent is not None for cell in fine)


def test_the_strength_of_a_class_is_by_number_or_name(cat: Catalogue, shown: Atlas, plain: Any) -> None:
    side = shown.grids[0]
    found = shown.attribution(3, side)
    assert np.array_equal(found, plain[f"atlas/all/{side}/strength"][3, : len(found)])
    name = cat.label(3)
    assert name is not None
    assert np.array_equal(shown.attribution(name, side), found)
    assert len(shown.attribution(3)) == len(shown.grid())
    first = [cell.labels[0] for cell in shown.grid(side)]
    assert all(
        label.attribution == pytest.approx(float(shown.attribution(label.number, side)[row]), rel=1e-5)
        for row, label in enumerate(first)
    )
    with pytest.raises(UnknownName, match="There is no class 5000"):
        shown.attribution(5000)


def test_a_canvas_is_the_tiles_joined(shown: Atlas, plain: Any) -> None:
    side = shown.grids[1]
    canvas, across = shown.canvas(side), side // 5
    assert isinstance(canvas, Canvas)
    assert canvas.shape == (80 * side, 80 * side, 3)
    assert canvas.dtype == np.uint8
    for number in (0, across - 1, across, across * across - 1):
        down, right = number // across, number % across
        square = canvas[400 * down : 400 * down + 400, 400 * right : 400 * right + 400]
        assert np.array_equal(square, plain[f"atlas/all/{side}/tiles/tile"][number])
    file = shown.canvas(shown.grids[0])._repr_png_()
    assert file
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(file))), shown.canvas(shown.grids[0]))
    assert shown.canvas().shape[0] == 80 * shown.grids[-1]


def test_figures_of_quality(shown: Atlas, plain: Any) -> None:
    figures = shown.quality
    assert (figures.trustworthiness, figures.agreement) == tuple(map(float, plain["atlas/all/quality"][:]))
    for side in shown.grids:
        grid = shown.grid(side)
        assert figures.filled[side] == len(grid) / side**2
        status, rank = (np.asarray(plain[f"atlas/all/{side}/icons/{name}"]) for name in ("status", "rank"))
        apt = [code == 0 and place < max(1, len(grid) // 50) for code, place in zip(status[:, 0], rank, strict=True)]
        assert figures.pictures_reliable[side] == pytest.approx(sum(apt[: len(grid)]) / len(grid))
        assert 0 < figures.stability[side] <= 1


def test_what_is_not_there_is_said_with_what_is(cat: Catalogue, shown: Atlas) -> None:
    other = next(layer for layer in cat if not layer.atlases)
    with pytest.raises(UnknownName, match=rf"{other.name} has no activation atlas\. .* has one\. .*--atlas"):
        _ = other.atlas
    with pytest.raises(UnknownName, match=r"has the maps all"):
        shown.layer.atlas_of("strongest-77777")
    with pytest.raises(UnknownName, match=r"has no grid of 7\. There are: "):
        shown.grid(7)
    with pytest.raises(UnknownName, match="x and y are from 0 to 1"):
        shown.cell(2, 0.5)
    with pytest.raises(UnknownName, match="There is no filled cell"):
        shown.grid()[10**6]
    grid = shown.grid(shown.grids[0])
    empty = next(number for number in range(grid.side**2) if number not in set(grid.cells.tolist()))
    with pytest.raises(UnknownName, match=r"too few\. The nearest filled cell is at \(") as told:
        shown.cell((empty % grid.side + 0.5) / grid.side, (empty // grid.side + 0.5) / grid.side, grid.side)
    x, y = map(float, str(told.value).rpartition("(")[2].rstrip(").").split(", "))
    assert isinstance(shown.cell(x, y, grid.side), Cell)


def test_reading_an_atlas_needs_no_torch(mapped: Path) -> None:
    code = (
        f"import sys, atlas; a = next(l.atlas for l in atlas.open({str(mapped)!r}) if l.atlases); a.quality;"
        "c = next(iter(a.grid())); c.samples, c.units, c.image; print([n for n in ('torch', 'ray', 'umap', 'numba') "
        "if n in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.stdout.strip() == "[]", ran.stderr


def test_an_atlas_in_the_making_shows_what_is_there(mapped: Path, tmp_path: Path) -> None:
    place = tmp_path / "made.atlas"
    shutil.copytree(mapped, place)
    store = Store.open(place)
    index = store.get_json("catalogue.json")
    row = next(layer for layer in index["layers"] if layer.get("atlases"))["atlases"]["all"]
    row["grids"][1] |= {"pictured": False, "tiled": False, "patched": False}
    row["grids"][2] |= {"filled": None, "pictured": False, "tiled": False, "patched": False}
    store.put_json("catalogue.json", index)
    shown = next(layer.atlas for layer in atlas.open(place) if layer.atlases)
    assert len(shown.grids) == 2
    cell = next(iter(shown.grid()))
    assert (cell.status, cell.rank, cell.picture_reliable, cell.patches) == ("absent", -1, False, [])
    assert np.isnan(cell.objective)
    assert all(sample.box is None for sample in cell.samples)
    assert shown.grids[1] not in shown.quality.pictures_reliable
    assert shown.nearest(cell.x, cell.y).grid.side == shown.grids[0], "the finest that has its pictures"
    for ask in (lambda: cell.image, shown.canvas):
        with pytest.raises(UnknownName, match=r"yet: its build goes on"):
            ask()


def test_a_row_of_the_table_says_what_the_cell_says(cat: Catalogue, shown: Atlas) -> None:
    table = shown.cells
    rows = [dict(zip(table.columns, row, strict=True)) for row in table]
    assert len(rows) == sum(len(shown.grid(side)) for side in shown.grids)
    for row in rows[::17]:
        cell = shown.cell(row["x"], row["y"], row["side"])
        best, units = cell.labels, cell.units
        assert (row["layer"], row["map"], row["cell"]) == (shown.layer.name, "all", cell.number)
        assert (row["count"], row["status"], row["rank"], row["picture_reliable"]) == (
            cell.count,
            cell.status,
            cell.rank,
            cell.picture_reliable,
        )
        assert (row["class"], row["label"], row["label_2"]) == (best[0].number, best[0].name, best[1].name)
        assert row["attribution"] == pytest.approx(best[0].attribution)
        assert row["stability_5"] == pytest.approx(best[4].stability)
        assert (row["unit"], row["value"]) == (str(units[0][0]), pytest.approx(units[0][1]))
        nearest = cell.samples[0]
        assert (row["image"], row["path"]) == (nearest.image.number, nearest.image.name)
    label = rows[0]["label"]
    found = cat.sql("select side, cell from atlas_cells where label = $label and map = 'all'", label=label).rows
    assert sorted(found) == sorted((row["side"], row["cell"]) for row in rows if row["label"] == label)
    assert {name for (name,) in cat.sql("select distinct map from atlas_cells")} == set(shown.layer.atlases)


def test_the_table_is_made_again_when_a_grid_comes_or_goes(mapped: Path, tmp_path: Path) -> None:
    place = tmp_path / "made.atlas"
    shutil.copytree(mapped, place)
    assert not write_tables(Store.open(place))  # the build has written it
    receipt = next(place.glob("receipts/columns/icons/*/all/40.json"))
    kept = receipt.read_bytes()
    receipt.unlink()
    assert "absent" in {status for (status,) in atlas.open(place).sql("select distinct status from atlas_cells")}
    receipt.write_bytes(kept)
    assert not write_tables(Store.open(place))


def test_an_atlas_without_photographs_and_classes(mapped: Path, tmp_path: Path) -> None:
    place = tmp_path / "made.atlas"
    shutil.copytree(mapped, place)
    store = Store.open(place)
    index = store.get_json("catalogue.json")
    index["images"] |= {"photographs": False, "classes": 0}
    store.put_json("catalogue.json", index)
    shown = next(layer.atlas for layer in atlas.open(place) if layer.atlases)
    cell = next(iter(shown.grid(shown.grids[0])))
    assert cell.patches == []
    assert cell.samples[0].box is not None
    with pytest.raises(UnknownName, match="There is no class 0"):
        shown.attribution(0)
