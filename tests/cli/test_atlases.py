"""Atlases by command: what is printed, and every piece of bad input as an atlas or one clear line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atlas.store import Store
from tests.cli.conftest import Ran
from tests.cli.test_building import one_line
from tests.networks import Planted

pytestmark = pytest.mark.builder

Command = Callable[..., Ran]
PLANTED = "tests.networks:planted"
QUICKLY = [f"--atlas-set={setting}" for setting in ("size=32", "steps=24", "eval_draws=1", "restarts=1")]
HASTY = ["--local", "--crops", "2", *QUICKLY]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "images"
    place.mkdir()
    for number in range(24):
        save(place / f"{number:02d}.png", Planted.COLOURS[number % 6].numpy(), number)
    return place


def save(file: Path, colour: np.ndarray[tuple[int, ...], np.dtype[np.float32]], seed: int, noise: float = 0.08) -> None:
    pixels = 0.8 * colour + 0.1 + noise * np.random.default_rng(seed).standard_normal((40, 48, 3))
    Image.fromarray((pixels.clip(0, 1) * 255).astype(np.uint8)).save(file)


def chart(run: Command, store: Path, folder: Path, *more: object, model: str = PLANTED, layer: str = "body.1") -> Ran:
    common = ("--no-pictures", "--images", folder, "--store", store, "--atlas", layer, "--grids", "5")
    return run("build", model, *common, *HASTY, *more)


def grid(store: Path, layer: str = "body.1", name: str = "all") -> int:
    """How many cells are filled."""
    return int((Store.open(store).read(f"layers/{layer}/atlas/{name}/5/cell") >= 0).sum())


def test_an_atlas_by_one_command(run: Command, folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "s.atlas"
    ran = chart(run, store, folder, "--positions", "4", "--map", "all", "--map", "class=2")
    assert ran.code == 0, ran.err
    assert f"Atlas of body.1 all, grid 5: {grid(store)} of 25 cells filled." in ran.out
    assert "the picture is the best match for the cell's direction" in ran.out
    assert "pictures of cells. Status: " in ran.out
    assert "Not done yet" not in ran.out
    status = run("status", store)
    assert status.code == 0
    for line in ("activations", "body.1 class-2 5", "24 images, 2 crops, 4 of each"):
        assert line in status.out
    layers = status.out.partition("Last run")[0].splitlines()
    charted = [row for row in layers if row.startswith(("layout", "cells", "tiles", "icons"))]
    assert len(charted) == 8
    assert all(row.rstrip().endswith("yes") for row in charted), status.out
    (icons,) = (row.split() for row in charted if row.startswith("icons") and " all " in row)
    assert icons[-4:] == [str(grid(store)), str(grid(store)), "0", "yes"], "cells that are filled are counted"
    maps = run("query", store, "select distinct map from atlas_cells order by all", "--format", "csv").out.split()
    assert maps == ["map", "all", "class-2"]
    assert run("verify", store).code == 0
    again = chart(run, store, folder, "--positions", "4", "--map", "strongest=1")
    assert "Atlas of body.1 strongest-1" in again.out
    assert "Atlas of body.1 all" not in again.out, "what is there is not made again"


def test_only_pictures_of_cells_are_made_in_bfloat16(run: Command, folder: Path, tmp_path: Path) -> None:
    """What the network answers to images is measured in float32 either way."""
    ran = chart(run, tmp_path / "s.atlas", folder, "--dtype", "bfloat16", "--atlas-set", "steps=2")
    assert ran.code == 0, ran.err
    dtypes = {plan.stage: plan.numerics.dtype for plan in Store.open(tmp_path / "s.atlas").plans()}
    assert dtypes["icons"] == "bfloat16"
    assert {dtype for stage, dtype in dtypes.items() if stage != "icons"} == {"float32"}


def test_an_atlas_goes_on_as_wide_as_it_was_begun(run: Command, folder: Path, tmp_path: Path) -> None:
    assert chart(run, tmp_path / "s.atlas", folder, "--batch", "4", "--atlas-set", "steps=2").code == 0
    ran = chart(run, tmp_path / "s.atlas", folder, "--atlas-set", "steps=2")
    assert ran.code == 0, ran.err


def test_a_plan_says_what_it_will_do(run: Command, folder: Path, tmp_path: Path) -> None:
    atlas = ("--images", folder, "--atlas", "body.1", "--grids", "5,10", "--positions", "4", "--crops", "2")
    ran = run("plan", PLANTED, "--layers", "body.1", *atlas)
    assert ran.code == 0, ran.err
    assert "192 activations, 2 crops x 4 of each image, attributed to 6 classes" in ran.out
    assert "body.1 all: laid out by `standard`" in ran.out
    assert "body.1 all 10: at most 100 cells, 96 px" in ran.out
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--atlas", "bodi"), "no layer 'bodi'"),
        (("--atlas", " "), "--atlas ' ': it is empty"),
        (("--grids", "12"), "multiple of 5"),
        (("--grids", "0"), "multiple of 5"),
        (("--grids", "99999995"), "at most 5,120"),
        (("--grids", "5,15"), "each grid is twice the one before"),
        (("--grids", "many"), "whole numbers"),
        (("--map", "class=lion"), "no class 'lion'"),
        (("--map", "class=6"), "has the classes 0 to 5"),
        (("--map", "pair=1"), "a pair is two classes"),
        (("--map", "pair=1,1"), "two different classes"),
        (("--map", "pair=1,lion"), "no class 'lion'"),
        (("--map", "nearest=1"), "there are all, class=LABEL"),
        (("--positions", "37"), "36 positions to draw from"),
        (("--positions", "600"), "of an image at most 1,024"),
        (("--projection", "flat"), "no projection 'flat'"),
        (("--layout-set", "n_neighbors=few"), "n_neighbors must be a whole number"),
        (("--layout-set", "neighbors=9"), "Did you mean 'n_neighbors'"),
        (("--layout-set", "pca=1"), "pca must be a number from 2 up"),
        (("--layout-set", "align_to=head"), "no map of that layer"),
        (("--atlas-recipe", "slow"), "no recipe 'slow'"),
        (("--atlas-set", "variants=negative"), "one picture, `positive`"),
        (("--atlas-set", "cosine_power=-1"), "power must be a number from 0 up"),
    ],
)
def test_bad_input_is_one_line(run: Command, folder: Path, tmp_path: Path, more: tuple[str, str], told: str) -> None:
    common = ("--no-pictures", "--images", folder, "--store", tmp_path / "s.atlas", "--local", "--crops", "2")
    atlas = () if more[0] == "--atlas" else ("--atlas", "body.1")
    ran = run("build", PLANTED, *common, "--layers", "body.1", *atlas, *more)
    one_line(ran, told)
    assert not (tmp_path / "s.atlas").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--atlas", "body.1"), "--atlas without --images"),
        (("--grids", "20"), "--grids without --atlas"),
        (("--map", "all"), "--maps without --atlas"),
        (("--positions", "2"), "--positions without --atlas"),
    ],
)
def test_half_of_what_is_needed_is_one_line(run: Command, arguments: tuple[str, str], told: str) -> None:
    for command in ("build", "plan"):
        one_line(run(command, PLANTED, *arguments), told)


# -- what is hard to lay out -------------------------------------------------------------------------------------------


def test_a_layer_without_positions(run: Command, folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "s.atlas"
    ran = chart(run, store, folder, layer="head")
    assert ran.code == 0, ran.err
    assert grid(store, "head") > 5
    one_line(chart(run, store, folder, "--positions", "2", layer="head"), "head has 1 position to draw from")


@pytest.mark.parametrize("count", [1, 3])
def test_fewer_samples_than_neighbours(run: Command, tmp_path: Path, count: int) -> None:
    for number in range(count):
        save(tmp_path / f"{number}.png", Planted.COLOURS[number].numpy(), number)
    ran = chart(run, tmp_path / "s.atlas", tmp_path)
    assert ran.code == 0, ran.err
    assert 1 <= grid(tmp_path / "s.atlas") <= 2 * count


def test_constant_and_duplicate_activations(run: Command, tmp_path: Path) -> None:
    for number in range(12):  # files that differ, of two pictures that do not
        colour = Planted.COLOURS[number % 2].numpy()
        save(tmp_path / f"{number}.{'png' if number < 6 else 'bmp'}", colour, 0, noise=0.0)
        with (tmp_path / f"{number}.{'png' if number < 6 else 'bmp'}").open("ab") as file:
            file.write(bytes(number))
    ran = chart(run, tmp_path / "s.atlas", tmp_path, "--positions", "3")
    assert ran.code == 0, ran.err
    assert grid(tmp_path / "s.atlas") == 2
    count = Store.open(tmp_path / "s.atlas").read("layers/body.1/atlas/all/5/count")
    assert sorted(count[count > 0].tolist()) == [36, 36]


def test_activations_of_rank_one(run: Command, folder: Path, tmp_path: Path) -> None:
    ran = chart(run, tmp_path / "s.atlas", folder, model="tests.networks:thin")
    assert ran.code == 0, ran.err
    assert grid(tmp_path / "s.atlas") >= 1


def test_activations_that_are_no_numbers(run: Command, folder: Path, tmp_path: Path) -> None:
    """Of images that are red the layer answers with NaN: they have a status and no place."""
    store = tmp_path / "s.atlas"
    ran = chart(run, store, folder, "--positions", "2", model="tests.networks:blind")
    assert ran.code == 0, ran.err
    opened = Store.open(store)
    image, status = (opened.read(f"layers/body.1/activations/{name}") for name in ("image", "status"))
    assert np.array_equal(status == 1, image % 6 == 0)
    assert f"Of its activations {(status == 1).sum()} are not finite: they have no place." in ran.out
    assert np.array_equal(np.isnan(opened.read("layers/body.1/atlas/all/xy")).all(1), status == 1)
    assert np.array_equal(opened.read("layers/body.1/atlas/all/status"), status)
    assert grid(store) > 4
    reds = tmp_path / "reds"
    reds.mkdir()
    for number in (0, 6):
        (reds / f"{number}.png").write_bytes((folder / f"{number:02d}.png").read_bytes())
    ran = chart(run, tmp_path / "r.atlas", reds, model="tests.networks:blind")
    assert ran.code == 1
    assert any("No activation can be laid out: 4 are not finite." in line for line in ran.complaints)


def test_a_network_without_classes(run: Command, folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "s.atlas"
    ran = chart(run, store, folder, "--positions", "2", model="tests.networks:headless", layer="1")
    assert ran.code == 0, ran.err
    opened = Store.open(store)
    assert (opened.read("layers/1/atlas/all/5/label") == -1).all()
    assert opened.backend.get("layers/1/atlas/all/5/strength/zarr.json") is None
    one_line(
        chart(run, store, folder, "--map", "class=1", model="tests.networks:headless", layer="1"),
        "answers with no classes",
    )
