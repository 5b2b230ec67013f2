from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from atlas.errors import ModelError
from atlas.models import Model, Preprocessing, check, load_model
from tests.models.networks import model_of, resnet
from tests.models.test_packaged import photographs

pytestmark = pytest.mark.builder

NETWORKS = ("squeezenet", "efficientnet-lite0")
WRONG: dict[str, dict[str, Any]] = {
    "channels reversed": {"bgr": None},
    "not scaled": {"scale": 1.0},
    "mean not taken off": {"mean": (0.0, 0.0, 0.0)},
    "ImageNet's, which is neither's": {
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "scale": 1.0,
        "bgr": False,
    },
}


def load(spec: str, **changes: Any) -> Model:
    given = load_model(spec).preprocessing
    if changes.get("bgr", 0) is None:
        changes["bgr"] = not given.bgr
    return load_model(spec, preprocessing=replace(given, **changes))


@pytest.mark.parametrize("spec", NETWORKS)
def test_the_right_preprocessing_is_found_right(spec: str) -> None:
    found = check(load_model(spec), photographs()[:10])
    assert found.verdict == "right"
    assert len(found.seen) == 10
    assert found.unreadable == ()


@pytest.mark.parametrize(
    ("spec", "wrong"), [*(("squeezenet", wrong) for wrong in WRONG), ("efficientnet-lite0", "channels reversed")]
)
def test_a_wrong_preprocessing_is_doubted_and_a_better_one_named(spec: str, wrong: str) -> None:
    found = check(load(spec, **WRONG[wrong]), photographs()[:10])
    assert found.verdict == "doubtful"
    said = found.sentence.partition("`preprocessing=")[2].removesuffix("`")
    advised, right = Preprocessing.parse(said), load_model(spec).preprocessing
    x = torch.rand(1, 3, 8, 8)
    assert torch.allclose(advised.normalise(x), right.normalise(x), rtol=0.01, atol=0.01)


def test_the_likeliest_classes_come_with_names_and_probabilities() -> None:
    (seen,) = check(load_model("squeezenet"), photographs()[:1]).seen
    assert seen.guesses[0].label == "bull mastiff"
    assert seen.guesses[0].index == 243
    chances = [guess.probability for guess in seen.guesses]
    assert len(chances) == 5
    assert chances == sorted(chances, reverse=True)
    assert 0 < sum(chances) <= 1


def test_the_range_is_that_of_the_network_input() -> None:
    found = check(load_model("efficientnet-lite0"), photographs()[:3]).range
    assert -1 <= found.low < found.high <= 1
    assert len(found.mean) == len(found.std) == 3


def test_folders_are_opened_and_what_is_no_image_is_listed(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(photographs()[0].read_bytes())
    (tmp_path / "b.txt").write_text("no image")
    found = check(load_model("squeezenet"), [tmp_path])
    assert [seen.file.name for seen in found.seen] == ["a.jpg"]
    assert [file.name for file in found.unreadable] == ["b.txt"]


def test_no_image_at_all_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="None of 0 files is an image"):
        check(load_model("squeezenet@random"), [tmp_path])


def test_nothing_is_said_of_untrained_networks() -> None:
    found = check(load_model("squeezenet@random"), photographs()[:1])
    assert (found.verdict, found.trials) == ("unknown", ())


def test_without_labels_classes_are_numbers() -> None:
    (seen,) = check(model_of(resnet()), photographs()[:1]).seen
    assert all(guess.label is None for guess in seen.guesses)


def test_labels_that_do_not_fit_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("dog\ncat\n")
    with pytest.raises(ModelError, match="2 labels, but squeezenet answers with 1000 classes"):
        check(load_model("squeezenet", labels=tmp_path / "labels.txt"), photographs()[:1])
