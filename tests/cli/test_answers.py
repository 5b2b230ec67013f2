"""Which output is the logits, and what the classes are called, said on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import atlas
from atlas.store import Store
from tests.cli.conftest import Ran
from tests.cli.test_building import TINY, one_line
from tests.dataset.made import encoded, pixels

pytestmark = pytest.mark.builder

Command = Callable[..., Ran]
PAIRED = "tests.networks:paired"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "images"
    place.mkdir()
    for number in range(3):
        (place / f"{number}.png").write_bytes(encoded(pixels(number)))
    return place


def building(folder: Path, store: Path, *more: object, model: str = PAIRED) -> tuple[object, ...]:
    where = ("--store", store, "--local", "--layers", "head", "--no-pictures", "--crops", "1")
    return ("build", model, *where, "--images", folder, *more)


def classes(store: Path) -> list[int]:
    """The likeliest class of every image."""
    found: list[int] = Store.open(store).read("images/class")[:, 0].tolist()
    return found


def test_where_it_is_open_a_build_claims_no_classes(run: Command, folder: Path, tmp_path: Path) -> None:
    ran = run(*building(folder, tmp_path / "s"))
    assert ran.code == 0, ran.err
    assert classes(tmp_path / "s") == [-1, -1, -1]
    one_line(run(*building(folder, tmp_path / "t", "--logits", "7")), "no output '7'", "0 [70], 1 [10], 2 [10]")
    assert not (tmp_path / "t").exists()


def test_a_build_with_logits_is_that_of_the_plain_network(run: Command, folder: Path, tmp_path: Path) -> None:
    """The plan's id does not say which output was taken; the store does, and is gone on with by no other."""
    assert run(*building(folder, tmp_path / "plain", model=TINY)).code == 0
    assert run(*building(folder, tmp_path / "s", "--logits", "1")).code == 0
    assert classes(tmp_path / "s") == classes(tmp_path / "plain")
    assert Store.open(tmp_path / "plain").logits is None
    assert Store.open(tmp_path / "s").logits == "1"
    one_line(
        run(*building(folder, tmp_path / "s", "--logits", "2")), "output '1', those asked for of '2'", "--logits 1"
    )
    assert run(*building(folder, tmp_path / "s", "--logits", "1")).code == 0


def test_a_store_that_does_not_say_is_gone_on_with(run: Command, folder: Path, tmp_path: Path) -> None:
    place, labels = tmp_path / "s", tmp_path / "labels.txt"
    labels.write_text("\n".join(f"kind {number}" for number in range(10)))
    assert run(*building(folder, place, "--logits", "1", "--labels", labels)).code == 0
    before = Store.open(place)
    assert before.logits == "1"
    before.put_labels(before.labels)
    assert Store.open(place).logits is None
    assert run(*building(folder, place, "--logits", "1")).code == 0
    store = Store.open(place)
    assert store.logits == "1"
    assert store.labels == [f"kind {number}" for number in range(10)]
    assert atlas.open(place).images


@pytest.mark.parametrize("command", ["plan", "check"])
def test_plan_and_check_take_it_too(run: Command, folder: Path, command: str) -> None:
    given = ("plan", PAIRED, "--images", folder) if command == "plan" else ("check", PAIRED, folder)
    one_line(run(*given, "--logits", "none"), "no output 'none'")
    ran = run(*given, "--logits", "1")
    assert ran.code == 0, ran.err


@pytest.mark.parametrize("command", ["build", "plan", "check"])
def test_labels_that_are_not_as_many_as_the_classes_are_refused_first(
    run: Command, folder: Path, tmp_path: Path, command: str
) -> None:
    few, blank, place = tmp_path / "few.txt", tmp_path / "blank.txt", tmp_path / "never"
    few.write_text("a\nb\nc\n")
    blank.write_text("a\n\nc\n")
    given: tuple[object, ...] = ("check", TINY, folder) if command == "check" else (command, TINY, "--images", folder)
    if command == "build":
        given = building(folder, place, model=TINY)
    one_line(run(*given, "--labels", few), "There are 3 labels", "answers with 10 classes")
    one_line(run(*given, "--labels", blank), "blank.txt", "line 2 is blank")
    one_line(run(*given, "--labels", "imagenet"), "There are 1000 labels", "10 classes")
    assert not place.exists()


def test_a_map_of_a_class_whose_name_is_anothers_too(run: Command, folder: Path, tmp_path: Path) -> None:
    labels, place = tmp_path / "labels.txt", tmp_path / "never"
    labels.write_text("\n".join(["a", "crane", *"bcdefg", "crane", "h"]))
    command = building(folder, place, "--labels", labels, "--atlas", "second.1", model=TINY)
    one_line(run(*command, "--map", "class=crane"), "'crane' names the classes 1 and 8", "by its number")
    assert not place.exists()
