"""What cannot be built is said by `plan` and by `build` alike, once, before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import atlas
from atlas.models import Preprocessing
from tests.cli.conftest import Ran
from tests.dataset.made import encoded, pixels

pytestmark = pytest.mark.builder

Command = Callable[..., Ran]
NETS = "tests.models.test_trial"
HASTY = [f"--set={setting}" for setting in ("size=32", "steps=2", "eval_draws=1", "relu_redirect_steps=0")]


@pytest.mark.parametrize("command", ["plan", "build"])
def test_a_layer_of_a_glob_is_left_out_and_a_named_one_is_an_error(run: Command, tmp_path: Path, command: str) -> None:
    store = ("--store", tmp_path / "s", *HASTY, *(["--local"] if command == "build" else []))
    for said in ("head", "head:0-3"):
        ran = run(command, f"{NETS}:detach", "--layers", said, *store)
        assert ran.code == 1
        assert len(ran.complaints) == len(ran.err.splitlines()) == 1
        assert "layer 'head' cannot be built: no gradient comes back" in ran.err
    ran = run(command, f"{NETS}:no_grad", *store)
    assert ran.code == 1
    assert "none of the layers asked for can be built: no gradient" in ran.err
    assert not (tmp_path / "s").exists()
    ran = run(command, f"{NETS}:detach", "--layers", "backbone.3,h*", *store)
    assert ran.code == 0, ran.err
    assert ran.err.count("Left out: head: ") == 1
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "one.png").write_bytes(encoded(pixels(1, (20, 20))))
    with_images = run("plan", f"{NETS}:detach", "--layers", "backbone.3,h*", "--images", tmp_path / "images")
    assert with_images.err.count("Left out: head: ") == 1  # said once, although two stages ask
    if command == "build":
        assert list(atlas.open(tmp_path / "s").layers) == ["backbone.3"]


@pytest.mark.parametrize("name", ["leaves", "leaves_in_forward", "severe_in_train", "scripted", "grey"])
def test_foreign_code_is_one_line_of_the_command(run: Command, name: str) -> None:
    ran = run("layers", f"tests.foreign:{name}")
    assert ran.code == 1
    assert [line for line in ran.err.splitlines() if "FutureWarning" not in line and "warnings.warn" not in line] == (
        ran.complaints
    )
    assert len(ran.complaints) == 1
    assert f"tests.foreign:{name}" in ran.err


@pytest.mark.parametrize(
    ("spec", "layer"),
    [
        ("tests.models.test_twin:weight_normed", "3"),
        ("tests.models.test_twin:holding", "decoder.0"),
        ("tests.foreign:half", "0"),
    ],
)
def test_networks_that_failed_once_a_shard_are_built(run: Command, tmp_path: Path, spec: str, layer: str) -> None:
    ran = run("build", spec, "--layers", layer, "--store", tmp_path / "s", "--local", *HASTY)
    assert ran.code == 0, ran.err
    assert run("verify", tmp_path / "s").code == 0


def long_named() -> Any:
    """A network of two layers: the name of one is longer than any file's."""
    import torch

    class Long(torch.nn.Sequential):
        def __init__(self) -> None:
            super().__init__()
            self.add_module("x" * 300, torch.nn.Conv2d(3, 4, 3))
            self.add_module("short", torch.nn.Conv2d(4, 4, 3))

    return Long(), Preprocessing(size=(32, 32))


def test_a_layer_whose_name_no_file_can_have_is_left_out_before_anything_is_written(
    run: Command, tmp_path: Path
) -> None:
    place, spec = tmp_path / "s", f"{__name__}:long_named"
    ran = run("build", spec, "--layers", "x" * 300, "--store", place, "--local", *HASTY)
    assert (ran.code, len(ran.complaints)) == (1, 1)
    assert "Give the module a shorter name" in ran.err
    assert not place.exists()
    ran = run("build", spec, "--layers", "all", "--store", place, "--local", *HASTY)
    assert ran.code == 0, ran.err
    assert "Left out: xxx" in ran.err
    assert list(atlas.open(place).layers) == ["short"]


def test_a_network_that_changes_with_the_size_of_images_is_stored_as_it_is(run: Command, tmp_path: Path) -> None:
    ran = run(
        "build", "tests.models.passes:posed", "--layers", "more:0-1", "--store", tmp_path / "s", "--local", *HASTY
    )
    assert ran.code == 0, ran.err
    ran = run("verify", tmp_path / "s", "--model")
    assert ran.code == 0, ran.err


@pytest.mark.parametrize("name", ["moves", "moves_in_forward"])
def test_a_network_that_goes_to_another_folder_takes_no_store_with_it(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run("build", f"tests.models.passes:{name}", "--layers", "hook:0", "--store", "here", "--local", *HASTY)
    assert ran.code == 0, ran.err
    assert list(atlas.open(tmp_path / "here").layers) == ["hook"]
