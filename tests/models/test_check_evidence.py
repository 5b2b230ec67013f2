"""What `check` looks at, and how much evidence its verdict needs."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from atlas.dataset import decode
from atlas.errors import ModelError
from atlas.models import Model, Preprocessing, check, load_model
from atlas.models.conventions import FEW, TRIED, Trial, judge, trials
from tests.models.networks import model_of, resnet
from tests.models.test_packaged import photographs

pytestmark = pytest.mark.builder

Levels = NDArray[Any]
Draw = Callable[[np.random.Generator], Levels]
HOW = Preprocessing((32, 32))


def deep(folder: Path, levels: Levels) -> Path:
    Image.fromarray((levels * 65535).astype(np.uint16)).save(folder / "odd.png")
    return folder / "odd.png"


def floats(folder: Path, levels: Levels) -> Path:
    Image.fromarray(levels.astype(np.float32)).save(folder / "odd.tif")
    return folder / "odd.tif"


def turned(folder: Path, levels: Levels) -> Path:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray((levels * 255).astype(np.uint8)).save(folder / "odd.jpg", exif=exif)
    return folder / "odd.jpg"


def cut_out(folder: Path, levels: Levels) -> Path:
    grey = (levels * 255).astype(np.uint8)
    Image.fromarray(np.dstack([grey, grey, grey, np.where(grey > 99, 255, 0).astype(np.uint8)])).save(
        folder / "odd.png"
    )
    return folder / "odd.png"


@pytest.mark.parametrize("write", [deep, floats, turned, cut_out])
def test_images_are_decoded_as_a_build_decodes_them(write: Callable[..., Path], tmp_path: Path) -> None:
    """The range of what reaches the network tells what was decoded."""
    file = write(tmp_path, np.linspace(0.1, 0.9, 48 * 64).reshape(48, 64) ** 2)
    model = model_of(resnet())
    picture = decode(file.read_bytes())
    assert isinstance(picture, np.ndarray)
    x = model.preprocessing.normalise(model.preprocessing.image(Image.fromarray(picture))[None])
    found = check(model, [file]).range
    assert (found.low, found.high) == pytest.approx((float(x.min()), float(x.max())), abs=1e-5)
    assert found.mean == pytest.approx(x.mean((0, 2, 3)).tolist(), abs=1e-5)


def test_what_is_uncertain_of_an_image_is_told(tmp_path: Path) -> None:
    Image.fromarray(np.linspace(0, 4095, 1600).reshape(40, 40).astype(np.uint16)).save(tmp_path / "twelve.png")
    Image.fromarray(np.full((40, 40), 128, np.uint8)).save(tmp_path / "usual.png")
    notes = {seen.file.name: seen.note for seen in check(model_of(resnet()), [tmp_path]).seen}
    assert "white" in notes["twelve.png"]
    assert notes["usual.png"] == ""


def test_subfolders_are_looked_at_and_what_is_left_out_has_a_reason(tmp_path: Path) -> None:
    (tmp_path / "dogs").mkdir()
    shutil.copy(photographs()[0], tmp_path / "dogs")
    (tmp_path / "cut.jpg").write_bytes(photographs()[0].read_bytes()[:3000])
    found = check(model_of(resnet()), [tmp_path])
    assert [seen.file.as_posix() for seen in found.seen] == ["dogs/imagenet_00_243.jpg"]
    assert [file.name for file in found.unreadable] == ["cut.jpg"]
    assert found.reasons[0].startswith("cut short")


@pytest.fixture
def crowd(tmp_path: Path) -> Path:
    for number in range(40):
        Image.new("RGB", (9, 9), (6 * number, 0, 0)).save(tmp_path / f"{number:02d}.png")
    return tmp_path


def test_of_many_images_as_many_as_asked_are_looked_at(crowd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    widths: list[int] = []
    real = Model.logits

    def watched(self: Model, x: Tensor, preprocessing: Preprocessing | None = None) -> Tensor | None:
        widths.append(len(x))
        return real(self, x, preprocessing)

    monkeypatch.setattr(Model, "logits", watched)
    model, told = model_of(resnet()), dict[str, list[int]]()
    found = check(model, crowd, most=12, counting=lambda what, *_: told.setdefault(what, []).append)
    assert (len(found.seen), found.found) == (12, 40)
    assert told["looking"][-1] == 12
    assert max(widths) <= 8
    assert found.seen == check(model, crowd, most=12).seen
    names = [seen.file.name for seen in found.seen]
    assert names == sorted(names)
    assert names[-1] > "20.png", "they are drawn from all of them"


def test_what_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere") as caught:
        check(model_of(resnet()), [tmp_path / "nowhere"])
    assert "\n" not in str(caught.value)


def test_few_images_and_the_same_image_again_are_no_evidence(tmp_path: Path) -> None:
    for number in range(12):
        shutil.copy(photographs()[number % 2], tmp_path / f"{number}.jpg")
    found = check(load_model("squeezenet"), [tmp_path])
    assert found.verdict == "unknown"
    assert f"different images: 2, and {FEW} are needed" in found.sentence


def gradients(chance: np.random.Generator) -> Levels:
    one, other = chance.integers(0, 256, (2, 3))
    ramp = np.linspace(0, 1, 224)[:, None] * chance.random() + np.linspace(0, 1, 224)[None] * chance.random()
    picture: Levels = one + (other - one) * ramp[..., None] / 2
    return picture


def noise(chance: np.random.Generator) -> Levels:
    return np.kron(chance.integers(0, 256, (28, 28, 3)), np.ones((8, 8, 1)))


def waves(chance: np.random.Generator) -> Levels:
    y, x = np.mgrid[:224, :224]
    angle, pitch, colours = chance.uniform(0, 3), chance.uniform(0.05, 0.4), chance.integers(0, 256, (2, 3))
    wave = np.sin(pitch * (x * np.cos(angle) + y * np.sin(angle))) / 2 + 0.5
    picture: Levels = colours[0] + (colours[1] - colours[0]) * wave[..., None]
    return picture


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "draw"),
    [*(("efficientnet-lite0", draw) for draw in (gradients, noise, waves)), ("squeezenet", noise)],
)
def test_no_change_of_a_right_preprocessing_is_advised_on_unusual_images(spec: str, draw: Draw, tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    for number in range(FEW):
        Image.fromarray(draw(chance).clip(0, 255).astype(np.uint8)).save(tmp_path / f"{number}.png")
    found = check(load_model(spec), [tmp_path])
    assert found.verdict != "doubtful", found.sentence


def trial(name: str, *, factor: float = 0.9, ahead: float = -0.1, images: int = TRIED, apart: float = 0.8) -> Trial:
    return Trial(name, HOW, 4 * factor, factor, apart, ahead, 0.02, images)


GIVEN = trial("as given", factor=1.0, ahead=0.0)


@pytest.mark.parametrize(
    ("others", "verdict", "words"),
    [
        ([trial("a"), trial("b")], "right", f"on {TRIED} images"),
        ([trial("a"), trial("better", factor=1.2, ahead=0.1)], "doubtful", "+0.100 ± 0.020"),
        ([trial("a"), trial("by chance", factor=1.2, ahead=0.01)], "unknown", "'by chance'"),
        ([trial("a"), trial("one measure", factor=1.3, ahead=-0.1)], "unknown", "'one measure'"),
        ([trial("a"), trial("hardly", factor=1.01, ahead=0.1)], "unknown", "'hardly'"),
        ([trial("all alike", factor=1.2, ahead=0.1, apart=0.2)], "unknown", "'all alike'"),
    ],
)
def test_a_change_is_advised_where_both_measures_agree_beyond_chance(
    others: list[Trial], verdict: str, words: str
) -> None:
    found, sentence = judge([GIVEN, *others])
    assert found == verdict
    assert words in sentence


def test_images_that_are_all_alike_to_the_network_are_said_to_be() -> None:
    found, sentence = judge([trial("as given", factor=1.0, ahead=0.0, apart=0.1), trial("a")])
    assert found == "unknown"
    assert "too alike (0.10 of 1 apart)" in sentence


def test_conventions_that_are_the_same_are_tried_once_and_those_behind_on_few_images() -> None:
    model = model_of(resnet())
    asked: list[tuple[str, int | None]] = []

    def counting(what: str, total: int | None, _items: str) -> Callable[[int], None]:
        asked.append((what, total))
        return lambda _: None

    x = torch.rand(TRIED, 3, *model.preprocessing.size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        made = trials(model, x, counting)
    assert asked == [("trying", len(made) - 1)]
    inputs = [one.preprocessing.normalise(x[:1]) for one in made]
    assert not any(torch.allclose(one, other) for n, one in enumerate(inputs) for other in inputs[:n])
    assert made[0].images == TRIED
    assert all(one.images == TRIED or one.behind for one in made[1:])
    assert {one.images for one in made[1:]} <= {FEW, TRIED}
    assert math.isclose(made[0].factor, 1.0)
