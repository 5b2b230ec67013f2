"""What a factory may return beside its network: as preprocessing, as labels, and what is said of anything else."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import transforms as v1
from torchvision.transforms import v2

from atlas.errors import ModelError
from atlas.models import Preprocessing, from_factory, load_model
from tests.models.test_preprocessing_of_libraries import SHAPES, differs

pytestmark = pytest.mark.builder

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NORMAL = Preprocessing((48, 48), resize=56, mean=MEAN, std=STD)
BICUBIC = v1.InterpolationMode.BICUBIC
TIMM = {"input_size": (3, 64, 64), "mean": MEAN, "std": STD, "interpolation": "bicubic", "crop_pct": 0.875}


class Steps(v1.Compose):  # type: ignore[misc]
    """Of the user's own, which may do anything."""


def returned(monkeypatch: pytest.MonkeyPatch, *beside: Any) -> Preprocessing:
    monkeypatch.setattr(from_factory, "call_factory", lambda *_, **__: (nn.Conv2d(3, 4, 3), *beside))
    return load_model("my.module:factory").preprocessing


def rgb(image: Image.Image) -> Image.Image:
    return image.convert("RGB")


FOLLOWED: dict[str, tuple[Any, Preprocessing]] = {
    "the usual": (
        v1.Compose([v1.Resize(56), v1.CenterCrop(48), v1.ToTensor(), v1.Normalize(MEAN, STD)]),
        NORMAL,
    ),
    "the usual of today": (
        v2.Compose(
            [
                *(v2.ToImage(), v2.Resize(56), v2.CenterCrop(48), v2.ToDtype(torch.float32, scale=True)),
                *(v2.Normalize(MEAN, STD), v2.ToPureTensor()),
            ]
        ),
        NORMAL,
    ),
    "pictures until the end": (
        v2.Compose(
            [v2.RGB(), v2.Resize([56]), v2.CenterCrop([48]), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
        ),
        Preprocessing((48, 48), resize=56),
    ),
    "tensors first": (
        v1.Compose([v1.ToTensor(), v1.Resize(56), v1.CenterCrop(48), v1.Normalize(MEAN, STD)]),
        NORMAL,
    ),
    "CLIP's": (
        v1.Compose([v1.Resize(48, BICUBIC), v1.CenterCrop(48), rgb, v1.ToTensor(), v1.Normalize((0.5,), (0.25,))]),
        Preprocessing((48, 48), 48, "bicubic", (0.5,) * 3, (0.25,) * 3),
    ),
    "squeezed": (v1.Compose([v1.Resize((40, 56)), v1.ToTensor()]), Preprocessing((40, 56))),
    "squeezed, then cut": (
        v1.Compose([v1.Resize((60, 64)), v1.CenterCrop((40, 56)), v1.ToTensor()]),
        Preprocessing((40, 56), resize=(60, 64)),
    ),
    "padded": (
        v1.Compose([v1.Resize(30), v1.CenterCrop(48), v1.ToTensor(), v1.Normalize(MEAN, STD)]),
        Preprocessing((48, 48), resize=30, mean=MEAN, std=STD, fill=(0, 0, 0)),
    ),
    "one in another": (
        v1.Compose(
            [v1.Compose([v1.Resize(56), v1.CenterCrop(48)]), v1.PILToTensor(), v1.ConvertImageDtype(torch.float32)]
        ),
        Preprocessing((48, 48), resize=56),
    ),
    "0 to 255": (
        v2.Compose(
            [
                *(v2.Resize(56), v2.CenterCrop(48), v2.PILToTensor(), v2.ToDtype(torch.float32)),
                v2.Normalize((123.68, 116.779, 103.939), (1, 1, 1)),
            ]
        ),
        Preprocessing((48, 48), resize=56, mean=(123.68, 116.779, 103.939), scale=255),
    ),
    "one after another": (
        nn.Sequential(v2.Resize(56), v2.CenterCrop(48), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)),
        Preprocessing((48, 48), resize=56),
    ),
}


@pytest.mark.parametrize("case", FOLLOWED)
def test_a_compose_of_the_usual_steps_is_followed(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, wanted = FOLLOWED[case]
    ours = returned(monkeypatch, theirs)
    assert ours == wanted
    rounding = ours.scale / 255 / min(ours.std) if "tensors" in case or "today" in case else 0
    for shape in SHAPES:
        assert differs(ours, theirs, shape) < 1e-3 + 1.01 * rounding


def test_what_timm_makes_of_its_configuration_is_followed_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    from timm.data.transforms_factory import create_transform

    wanted = Preprocessing((64, 64), 73, "bicubic", MEAN, STD)
    assert returned(monkeypatch, TIMM) == wanted
    assert returned(monkeypatch, TIMM | {"url": "", "tag": "mine", "classifier": "fc", "num_classes": 4}) == wanted
    whole = create_transform(input_size=(3, 64, 64), interpolation="bicubic", mean=MEAN, std=STD, crop_pct=0.875)
    assert returned(monkeypatch, whole) == wanted


TO = [v1.ToTensor(), v1.Normalize(MEAN, STD)]
REFUSED: dict[str, tuple[Any, str]] = {
    "training": (v1.Compose([v1.RandomResizedCrop(48), *TO]), "has a step RandomResizedCrop"),
    "flipped by chance": (
        v1.Compose([v1.Resize(56), v1.CenterCrop(48), v1.RandomVerticalFlip(), *TO]),
        "a step Random",
    ),
    "turned": (v1.Compose([v1.Resize(56), v1.CenterCrop(48), lambda x: x.rotate(90), *TO]), "comes out otherwise"),
    "reversed": (v1.Compose([v1.Resize(56), v1.CenterCrop(48), *TO, v1.Lambda(lambda x: x.flip(0))]), "otherwise"),
    "any shape": (v1.Compose([v1.Resize(56), *TO]), "keeps the shape of each image.*CenterCrop"),
    "any size": (v1.Compose([v1.CenterCrop(48), *TO]), "no step Resize"),
    "a bound": (v1.Compose([v1.Resize(56, max_size=60), v1.CenterCrop(48), *TO]), "max_size"),
    "rough": (v1.Compose([v1.ToTensor(), v1.Resize(56, antialias=False), v1.CenterCrop(48)]), "without antialias"),
    "twice": (v1.Compose([v1.Resize(99), v1.Resize(56), v1.CenterCrop(48), *TO]), "several steps Resize"),
    "a picture": (v1.Compose([v1.Resize(56), v1.CenterCrop(48)]), "comes out otherwise"),
    "in bytes": (v1.Compose([v1.Resize(56), v1.CenterCrop(48), v1.PILToTensor()]), "comes out otherwise"),
    "no picture": (v1.Compose([v1.Normalize(MEAN, STD), v1.Resize(56), v1.CenterCrop(48)]), "fails on a picture"),
    "nothing": (v1.Compose([]), "no step Resize"),
    "grey": (v1.Compose([v1.Resize(56), v1.CenterCrop(48), v1.ToTensor(), v1.Normalize(0.5, 0.5)]), "cannot be read"),
    "own": (Steps([v1.Resize(56), v1.CenterCrop(48), *TO]), "Steps is not that of single images.*a Compose of Resize"),
    "a function": (rgb, "function is not that of single images.*Return an atlas.models.Preprocessing"),
    "too little of timm's": ({"input_size": (3, 64, 64), "mean": MEAN}, "configuration of timm says no std"),
    "none of timm's": (TIMM | {"input_size": 64}, "configuration of timm cannot be read"),
    "misspelt": ({"size": 32, "mena": MEAN}, "no field of a preprocessing 'mena'. Did you mean 'mean'.* Return"),
    "impossible": ({"size": 32, "std": (0, 0, 0)}, "std is three numbers above 0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_followed_is_one_line_of_the_factory(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said, line = REFUSED[case]
    with pytest.raises(ModelError, match=rf"^my.module:factory: .*{line}") as caught:
        returned(monkeypatch, said)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "labels", [["cat", "dog"], ("cat", "dog"), {0: "cat", 1: "dog"}, {"cat", "dog"}, "imagenet", torch.ones(3)]
)
def test_labels_in_the_place_of_the_preprocessing_are_told(labels: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = type(labels).__name__
    line = f"preprocessing {kind} is not that of single images. .*labels are the third: return network, None, labels."
    for beside in ((labels,), (labels, NORMAL)):
        with pytest.raises(ModelError, match=line) as caught:
            returned(monkeypatch, *beside)
        assert re.match("my.module:factory: ", str(caught.value))
