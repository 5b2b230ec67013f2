"""Building with images: what is printed, what can be added later, and bad input in one clear line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import atlas
from atlas.models import load_model
from atlas.store import Store
from atlas.words import count
from tests.cli.conftest import Ran
from tests.cli.test_building import HASTY, TINY, one_line
from tests.dataset.made import encoded, pixels, write_tar

pytestmark = pytest.mark.builder

Command = Callable[..., Ran]


@pytest.fixture
def folder(images: Path, tmp_path: Path) -> Path:
    """A copy of it to write to, with a file that is no image."""
    place = shutil.copytree(images, tmp_path / "images")
    (place / "note.txt").write_text("no picture")
    return place


def test_pictures_and_images_by_one_command(run: Command, folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "s.atlas"
    command = ("build", TINY, "--layers", "second.1:0-31,head", "--store", store, "--local", "--crops", "2", *HASTY)
    ran = run(*command, "--images", folder)
    assert ran.code == 0, ran.err
    assert "6 images: 5 used, 1 skipped (1 not an image)." in ran.out
    assert "Collecting took" in ran.out
    assert all(phase in ran.out for phase in ("decode", "forward", "statistics", "write"))
    assert "84 pictures" in ran.out
    index = atlas.open(store).index
    assert (index["images"]["count"], index["images"]["used"], index["images"]["crops"]) == (6, 5, 2)
    assert index["relations"] == ["second.1", "head"]
    status = run("status", store)
    assert status.code == 0
    assert "6 images: 5 used" in status.out
    assert run("verify", store).code == 0
    again = run(*command, "--images", folder)
    assert again.code == 0
    assert "0 pictures" in again.out


def test_images_come_later(run: Command, folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "s.atlas"
    command = ("build", TINY, "--layers", "head", "--store", store, "--local", *HASTY)
    assert run(*command).code == 0
    assert atlas.open(store).index["images"] is None
    assert run(*command, "--images", folder, "--no-pictures").code == 0
    assert atlas.open(store).index["images"]["used"] == 5


def test_a_build_says_what_an_earlier_one_left(run: Command, folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "s.atlas"
    command = ("build", TINY, "--store", place, "--local", *HASTY)
    assert run(*command, "--layers", "head", "--images", folder).code == 0
    store = Store.open(place)
    (plan,) = store.plans_of("examples")
    store.forget(plan, {0})
    ran = run(*command, "--layers", "first.1:0-3")
    assert ran.code == 0
    assert "Not done yet: examples of head, 10 left of an earlier command." in ran.out
    assert "Not done yet" not in run(*command, "--layers", "head", "--images", folder).out


def test_a_plan_of_images_writes_nothing(run: Command, folder: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    ran = run("plan", TINY, "--images", folder, "--crops", "3")
    assert ran.code == 0
    assert "5 images (1 of the files is no image), 3 crops of each" in ran.out
    alone = run("plan", TINY, "--images", folder, "--no-pictures")
    assert "5 images (1 of the files is no image), 8 crops of each" in alone.out
    assert "pictures" not in alone.out
    assert "A worker takes up to" in alone.out
    one_line(run("plan", TINY, "--no-pictures"), "--no-pictures", "--images")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_plan_counts_and_prices_the_examples_of_the_units_asked_for(run: Command, folder: Path) -> None:
    some = run("plan", TINY, "--layers", "second.1:0-31,head", "--images", folder, "--device", "cpu")
    assert some.code == 0, some.err
    layers = {layer.name: layer for layer in load_model(TINY).layers}
    flops = 3 * 18 * (32 * layers["second.1"].flops + 10 * layers["head"].flops)
    line = next(line for line in some.out.splitlines() if "examples" in line)
    assert line.startswith(f"{18 * 42:,} examples of 42 units at most: {count(flops)}FLOP, roughly ")
    whole = run("plan", TINY, "--layers", "second.1,head", "--images", folder, "--device", "cpu")
    units = layers["second.1"].channels + 10
    assert f"{18 * units:,} examples of {units} units at most" in whole.out


def test_images_whose_white_is_uncertain_are_counted(run: Command, folder: Path, tmp_path: Path) -> None:
    for number in range(2):
        dark = np.full((40, 50), 1000 + number, np.uint16)
        dark[7, 9] = 4095
        (folder / f"dark-{number}.png").write_bytes(encoded(Image.fromarray(dark)))
    store = tmp_path / "s.atlas"
    command = ("build", TINY, "--layers", "head", "--store", store, "--local", "--no-pictures", "--crops", "1")
    ran = run(*command, "--images", folder)
    assert ran.code == 0, ran.err
    assert "The white level of 2 of the used images is uncertain" in ran.out
    assert atlas.open(store).images["dark-1.png"].reason.startswith("no level above 4095")


def test_a_plan_counts_what_may_be_an_image(run: Command, folder: Path) -> None:
    for name, data in {
        "a.wav": b"RIFF",
        "b.json": b"{}",
        "c.mp4": b"",
        "d.flac": b"fLaC",
        "e": b"text",
        "f.npy": b"",
    }.items():
        (folder / name).write_bytes(data)
    (folder / "photo").write_bytes(encoded(pixels(9), "JPEG"))
    (folder / "photo.odd").write_bytes(encoded(pixels(10), "WEBP"))
    write_tar(folder / "s.tar", {"1.mp3": b"ID3", "2": encoded(pixels(11)), "3.xml": b"<a/>"})
    ran = run("plan", TINY, "--layers", "head", "--images", folder)
    assert "8 images (9 of the files are no images)" in ran.out, ran.out


def test_a_plan_does_not_count_what_macos_leaves_beside_images(run: Command, folder: Path) -> None:
    """What is hidden and a picture is one; the folder has a file more that is none."""
    left = bytes.fromhex("0005160700020000") + b"Mac OS X        " + bytes(100)
    for name in ("._a.png", "._b.jpg"):
        (folder / name).write_bytes(left)
    (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (folder / "._own.png").write_bytes(encoded(pixels(9)))
    (folder / ".own.png").write_bytes(encoded(pixels(10)))
    write_tar(folder / "s.tar", {"._1.png": left, "1.png": encoded(pixels(11))})
    ran = run("plan", TINY, "--layers", "head", "--images", folder)
    assert "8 images (5 of the files are no images)" in ran.out, ran.out


def test_bad_input_is_one_line_and_writes_nothing(run: Command, folder: Path, tmp_path: Path) -> None:
    place = ("--store", tmp_path / "never", "--local", "--layers", "head")
    empty = tmp_path / "empty"
    empty.mkdir()
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "a.txt").write_text("no picture")
    one_line(run("build", TINY, *place, "--images", tmp_path / "nowhere"), "nowhere", "no such file")
    one_line(run("build", TINY, *place, "--images", empty), "No images", "empty")
    one_line(run("build", TINY, *place, "--images", notes), "No image can be used of 1 image", "a.txt")
    one_line(run("build", TINY, *place, "--images", "tests.dataset.nothing:here"), "tests.dataset")
    one_line(run("build", TINY, *place, "--no-pictures"), "--no-pictures", "--images")
    one_line(run("build", TINY, *place, "--crops", "3"), "--crops", "--images")
    one_line(run("build", TINY, *place, "--no-photographs"), "--no-photographs", "--images")
    assert not (tmp_path / "never").exists()


def test_a_folder_with_a_comma_is_one_folder(run: Command, folder: Path, tmp_path: Path) -> None:
    folder.rename(tmp_path / "here, and there")
    ran = run("plan", TINY, "--layers", "head", "--images", tmp_path / "here, and there")
    assert ran.code == 0, ran.err
    assert "5 images" in ran.out
    one_line(run("plan", TINY, "--layers", "head", "--images", "gone,gone too"), "--images 'gone too': no such file")


def test_other_crops_or_images_are_refused_with_what_differs(run: Command, folder: Path, tmp_path: Path) -> None:
    command = ("build", TINY, "--layers", "head", "--store", tmp_path / "s", "--local", "--no-pictures")
    assert run(*command, "--images", folder).code == 0
    one_line(run(*command, "--images", folder, "--crops", "9"), "--crops: 8 here, 9 asked")
    (folder / "new.png").write_bytes(encoded(pixels(99)))
    one_line(run(*command, "--images", folder), "another list of images", "new: new.png", "--store")
    gone, changed, *_ = sorted(path.name for path in folder.iterdir() if path.name != "new.png")
    (folder / gone).unlink()
    (folder / changed).write_bytes(encoded(pixels(98)))
    one_line(run(*command, "--images", folder), f"gone: {gone}; new: new.png; changed: {changed}")


def test_skipped_images_are_counted_at_the_end_of_every_build(run: Command, folder: Path, tmp_path: Path) -> None:
    (folder / "zz.jpg").write_bytes(b"no image")
    command = ("build", TINY, "--store", tmp_path / "s", "--local", "--no-pictures", "--images", folder)
    said = "7 images: 5 used, 2 skipped (2 not an image)."
    assert said in run(*command, "--layers", "head").out
    assert said in run(*command, "--layers", "head").out, "nothing was left to do"
    assert said in run(*command, "--layers", "first.1").out, "a layer came"
    hasty = [f"--set={setting}" for setting in ("size=32", "steps=2", "eval_draws=1", "relu_redirect_steps=0")]
    more = run("build", TINY, "--store", tmp_path / "s", "--local", "--layers", "second.1:0-3", *hasty)
    assert "No statistics of second.1: give the same --images" in more.out
