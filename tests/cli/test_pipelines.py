"""Pipeline files and stores on the command line: built, planned, saved, gone on with, listed and copied."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import atlas
from atlas.pipeline_file import read
from atlas.shipped import PIPELINES
from atlas.store import Store
from tests.builds import contents
from tests.cli.conftest import Ran
from tests.cli.test_building import HASTY, TINY, one_line

pytestmark = pytest.mark.builder

Command = Callable[..., Ran]
HASTY_FILE = "settings: {size: 32, steps: 2, draws: 1, redirected: 0}\nlocal: true\n"


def test_a_file_is_built_and_options_go_before_it(run: Command, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"model: {TINY}\nstore: {tmp_path / 'a'}\nlayers: [head]\n{HASTY_FILE}")
    assert run("build", file).code == 0
    assert list(atlas.open(tmp_path / "a").layers) == ["head"]
    assert run("build", file, "--store", tmp_path / "b", "--layers", "first.1:0-3").code == 0
    assert list(atlas.open(tmp_path / "b").layers) == ["first.1"]
    typed = run("build", TINY, "--layers", "head", "--store", tmp_path / "c", "--local", *HASTY)
    assert typed.code == 0
    assert contents(Store.open(tmp_path / "a").backend) == contents(Store.open(tmp_path / "c").backend)


def test_a_flag_of_a_file_can_be_taken_back(run: Command, tmp_path: Path, images: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"model: {TINY}\nimages: {images}\npictures: false\nlayers: head\n{HASTY_FILE}")
    assert "pictures of 32 px" not in run("plan", file).out
    assert "pictures of 32 px" in run("plan", file, "--pictures").out


def test_a_plan_is_saved_and_built(run: Command, tmp_path: Path, images: Path) -> None:
    said = ("--layers", "first.1:0-3,head", "--images", images, "--crops", "2", "--no-photographs", "--local", *HASTY)
    saved = tmp_path / "saved.yaml"
    place = ("--store", tmp_path / "a")
    ran = run("plan", TINY, *said, *place, "--save", saved)
    assert ran.code == 0, ran.err
    assert f"atlas build {saved}" in ran.out.replace("\n", "")
    text = saved.read_text()
    assert text.startswith("# A pipeline of atlas.")
    assert "# Images" in text
    assert read(saved)["photographs"] is False
    assert run("build", saved).code == 0
    assert run("build", TINY, *said, "--store", tmp_path / "b").code == 0
    assert contents(Store.open(tmp_path / "a").backend) == contents(Store.open(tmp_path / "b").backend)
    one_line(run("plan", TINY, "--save", saved), "it is there already")
    one_line(run("plan", TINY, "--save", tmp_path / "saved.txt"), "ends in .yaml")
    one_line(run("plan", TINY, "--save", tmp_path / "none" / "saved.yaml"), "there is no folder")


def test_bad_files_are_one_line_and_make_nothing(run: Command, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    for text, told in (
        (f"model: {TINY}\nlayer: head\n", "line 2: there is no key 'layer'. Did you mean 'layers'?"),
        (f"model: {TINY}\ncrops: 2\n", "--crops without --images"),
        (f"model: {TINY}\nrecipe: quik\n", "no recipe 'quik'"),
        ("layers: head\n", "names no model"),
    ):
        file.write_text(text)
        one_line(run("build", file), told)
        one_line(run("plan", file), told)
    one_line(run("build", tmp_path / "none.yaml"), "No such file")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.yaml"]


def test_plan_takes_what_build_takes(run: Command, images: Path, tmp_path: Path) -> None:
    """`plan` lacked these four."""
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(f"name {number}" for number in range(10)))
    atlases = ("--images", images, "--atlas", "second.1", "--map", "class=name 3", "--relaxed", "--whitening", "0.5")
    ran = run("plan", TINY, "--layers", "head", "--labels", labels, *atlases, "--no-photographs")
    assert ran.code == 0, ran.err
    assert "second.1 class-3 20: at most 400 cells" in ran.out


def test_a_store_is_gone_on_with(run: Command, tmp_path: Path, images: Path) -> None:
    place = tmp_path / "tiny.atlas"
    assert run("build", TINY, "--layers", "head", "--images", images, "--store", place, "--local", *HASTY).code == 0
    whole = contents(Store.open(place).backend)
    one_line(run("build", place), "was built with --images", "say --images again")
    store = Store.open(place)
    (plan,) = store.plans_of("features")
    store.forget(plan, {0})
    assert run("build", place, "--images", images, "--local").code == 0
    assert contents(Store.open(place).backend) == whole


# -- the ready ones ----------------------------------------------------------------------------------------------------


def test_they_are_listed_and_copied(run: Command, tmp_path: Path) -> None:
    listed = run("pipelines")
    assert listed.code == 0
    for name in PIPELINES.names():
        assert name in listed.out
        assert len(PIPELINES.about(name)) > 20, name
    ran = run("pipelines", "resnet50", "--into", tmp_path)
    assert ran.code == 0
    assert (tmp_path / "resnet50.yaml").read_bytes() == (PIPELINES.folder() / "resnet50.yaml").read_bytes()
    one_line(run("pipelines", "resnet50.yaml", "--into", tmp_path), "is there already")
    one_line(run("pipelines", "resnet5", "--into", tmp_path), "Did you mean")
    one_line(run("pipelines", "resnet50", "--into", tmp_path / "none"), "cannot be written")


def smaller(said: dict[str, Any]) -> dict[str, Any]:
    """What a file says, of a network that is small and untrained."""
    made = dict(said) | {"local": True}
    if said["model"] == "torchvision:resnet50":
        made |= {"model": "torchvision:resnet18@random", "preprocessing": "size=32 mean=0,0,0 std=1,1,1"}
        made |= {"layers": "layer1.0"} if said.get("pictures", True) else {}
        made |= {"atlas": "layer4.1", "grids": 5} if "atlas" in said else {}
    else:
        made["layers"] = [f"{layer}:0-31" for layer in said["layers"][:1]]
    if said.get("pictures", True):
        made["settings"] = {"size": 32, "steps": 2, "eval_draws": 1, "relu_redirect_steps": 0}
    return made | ({"atlas_settings": {"size": 32, "steps": 2, "eval_draws": 1}} if "atlas" in said else {})


@pytest.mark.parametrize("name", [name for name in PIPELINES.names() if name.endswith(".yaml")])
def test_each_can_be_built_small(tmp_path: Path, images: Path, name: str) -> None:
    said = smaller(read(PIPELINES.folder() / name)) | {"store": str(tmp_path / "made")}
    if "images" in said:
        said |= {"images": str(images), "crops": 2}
    atlas.build(**said)
    assert atlas.verify(tmp_path / "made").whole


def test_the_one_in_python_builds_a_network_in_memory(tmp_path: Path, images: Path) -> None:
    file = PIPELINES.copy("own_network", tmp_path)
    code = (
        f"import own_network; own_network.main('made.atlas', {str(images)!r}, crops=1, device='cpu', workers=1, "
        "settings={'size': 32, 'steps': 2, 'eval_draws': 1, 'relu_redirect_steps': 0})"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=file.parent, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "third.1: 32 units" in ran.stdout
    assert atlas.verify(tmp_path / "made.atlas").whole


def test_one_setting_beside_a_file_or_a_store_leaves_the_others(run: Command, tmp_path: Path) -> None:
    file, store = tmp_path / "mine.yaml", tmp_path / "a"
    file.write_text(f"model: {TINY}\nstore: {store}\nlayers: [head]\n{HASTY_FILE}")
    assert "32 px in 3 steps" in run("plan", file, "--set", "steps=3").out
    assert run("build", file).code == 0
    assert "32 px in 3 steps" in run("plan", store, "--set", "steps=3", "--store", tmp_path / "b").out


@pytest.mark.parametrize(("recipe", "told"), [("fine", "224 px in 256 steps"), ("maco", "224 px in 256 steps")])
def test_another_recipe_beside_a_store_brings_its_own_settings(
    run: Command, tmp_path: Path, recipe: str, told: str
) -> None:
    file, store = tmp_path / "mine.yaml", tmp_path / "a"
    file.write_text(f"model: {TINY}\nstore: {store}\nlayers: [head]\n{HASTY_FILE}")
    assert run("build", file).code == 0
    ran = run("plan", store, "--recipe", recipe, "--store", tmp_path / "b")
    assert told in ran.out, ran.err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("settings: {size: 16, steps: 1, steps: 200}", "line 2: steps was said before"),
        ("crops: 010", "line 2: 010: write a number in decimal digits"),
        ("crops: 1:30", "line 2: 1:30: write a number in decimal digits"),
        ("layers: [0, 2]", "There is no layer '0'"),
        ("layers: no", "There is no layer 'no'"),
        ("set: {steps: 4}", "Did you mean 'settings'?"),
        ("? [a, b]\n: 3", "line 2: a key is the name of an option"),
        ("crops: [2]", "crops: it must be a whole number"),
        ("preprocessing: 32", "preprocessing"),
        ("layers: " + "[" * 3000 + "]" * 3000, "maximum recursion depth"),
    ],
)
def test_what_yaml_reads_otherwise_is_told_of_or_taken_as_it_is_written(
    run: Command, tmp_path: Path, text: str, told: str
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"model: {TINY}\n{text}\n")
    one_line(run("plan", file), told)


def test_a_place_for_a_file_is_refused_before_anything_is_planned(run: Command, tmp_path: Path) -> None:
    for name in ("x.txt", "nowhere/x.yaml"):
        one_line(run("plan", "no.such:network", "--save", tmp_path / name), "--save")


def test_a_place_where_nothing_is_says_so(run: Command, tmp_path: Path) -> None:
    for name in ("nope.atlas", "net.py", tmp_path / "none"):
        one_line(run("plan", name), "no store")
