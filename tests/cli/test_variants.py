"""Variants, tries, agreement and MACO on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import atlas
from tests.cli.conftest import Ran
from tests.cli.test_building import HASTY, TINY, one_line
from tests.dataset.made import encoded, pixels

pytestmark = pytest.mark.builder

Command = Callable[..., Ran]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "images"
    place.mkdir()
    for number in range(3):
        (place / f"{number}.png").write_bytes(encoded(pixels(number)))
    return place


def test_variants_tries_and_agreement_are_knobs(run: Command, tmp_path: Path) -> None:
    store = tmp_path / "s.atlas"
    knobs = ("--set", "variants=positive,neuron,diverse-1,diverse-2", "--set", "restarts=2", "--set", "agreement=yes")
    ran = run("build", TINY, "--layers", "head", "--store", store, "--local", *HASTY, *knobs)
    assert ran.code == 0, ran.err
    assert "40 pictures" in ran.out
    unit = atlas.open(store).unit("head:3")
    assert len(unit.diverse) == 2
    assert unit.agreement == unit.agreement
    assert run("verify", store).code == 0


def test_maco_keeps_to_the_images_that_were_given(run: Command, folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "s.atlas"
    command = ("build", TINY, "--store", store, "--local", "--recipe", "maco", *HASTY)
    ran = run(*command, "--layers", "head", "--spectrum", folder)
    assert ran.code == 0, ran.err
    name = atlas.open(store).layer("head").recipe.spectrum
    planned = run("plan", TINY, "--store", store, "--recipe", "maco", *HASTY, "--layers", "head", "--spectrum", folder)
    assert planned.code == 0, planned.err
    natural = run(*command, "--layers", "head")
    one_line(natural, "recipe.spectrum")
    assert run(*command, "--layers", "first.1:0-31", "--set", f"spectrum={name}").code == 0
    assert run("verify", store).code == 0


def test_bad_input_is_one_line(run: Command, folder: Path, tmp_path: Path) -> None:
    place = ("build", TINY, "--store", tmp_path / "never", "--local", "--layers", "head")
    one_line(run(*place, "--spectrum", folder), "parameterization=maco")
    one_line(run(*place, "--recipe", "maco", "--set", f"spectrum={'5' * 64}"), "--spectrum IMAGES")
    one_line(run(*place, "--recipe", "maco", "--set", "spectrum=red"), "natural or the hash")
    one_line(
        run(*place, "--recipe", "maco", "--spectrum", tmp_path / "nowhere"),
        f"--spectrum {tmp_path / 'nowhere'}: no such file",
    )
    one_line(run(*place, "--set", "variants=positive,diverse-1"), "diverse")
    one_line(run(*place, "--set", "agreement=perhaps"), "yes or no")
