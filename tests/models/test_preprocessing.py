from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.overrides import TorchFunctionMode

from atlas.errors import ModelError, UnknownName
from atlas.models import Preprocessing

pytestmark = pytest.mark.builder

CAFFE = Preprocessing((224, 224), 256, "bicubic", (103.939, 116.779, 123.68), (1.0, 1.0, 1.0), 255.0, bgr=True)


def picture(width: int, height: int) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 255, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def test_normalising_scales_takes_off_the_mean_and_divides() -> None:
    x = torch.rand(2, 3, 4, 4)
    red_first = Preprocessing((4, 4), mean=(0.5, 0.4, 0.3), std=(0.1, 0.2, 0.4)).normalise(x)
    assert torch.allclose(red_first[:, 1], (x[:, 1] - 0.4) / 0.2)
    blue_first = CAFFE.normalise(x)
    assert torch.allclose(blue_first[:, 0], x[:, 2] * 255 - 103.939, atol=1e-4)


@pytest.mark.parametrize("size", [(500, 375), (300, 640), (224, 224), (90, 333)])
def test_images_come_as_torchvision_brings_them(size: tuple[int, int]) -> None:
    from torchvision.models import ResNet50_Weights

    from atlas.models.from_torchvision import preprocessing_of

    theirs = ResNet50_Weights.IMAGENET1K_V2.transforms()
    ours = preprocessing_of(theirs)
    image = picture(*size)
    assert torch.allclose(ours.normalise(ours.image(image)[None])[0], theirs(image), atol=1e-5)


@pytest.mark.parametrize("size", [(500, 375), (90, 333)])
def test_images_come_as_timm_brings_them(size: tuple[int, int]) -> None:
    from timm.data.config import resolve_model_data_config
    from timm.data.transforms_factory import create_transform

    from atlas.models import load_model

    model = load_model("timm:vit_tiny_patch16_224@random")
    ours, theirs = model.preprocessing, create_transform(**resolve_model_data_config(model.network))  # type: ignore[no-untyped-call]
    image = picture(*size)
    assert torch.allclose(ours.normalise(ours.image(image)[None])[0], theirs(image), atol=1e-5)


def test_crops_are_never_smaller_than_the_network_wants() -> None:
    wide = Preprocessing(size=(32, 96), resize=40)
    assert wide.image(picture(50, 80)).shape == (3, 32, 96)
    assert Preprocessing(size=(32, 96)).image(picture(50, 80)).shape == (3, 32, 96)


def test_grey_and_transparent_pictures_are_read_as_colour() -> None:
    for mode in ("L", "RGBA", "P"):
        assert CAFFE.image(picture(300, 300).convert(mode)).shape == (3, 224, 224)


@pytest.mark.parametrize(
    "preprocessing",
    [CAFFE, Preprocessing((32, 48)), Preprocessing((8, 8), mean=(0.48145466, 0.4578275, 0.40821073), std=(1e-7, 1, 3))],
)
def test_it_reads_back(preprocessing: Preprocessing) -> None:
    assert Preprocessing.from_dict(json.loads(json.dumps(preprocessing.to_dict()))) == preprocessing
    assert Preprocessing.parse(preprocessing.text()) == preprocessing


def test_it_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "preprocessing.json"
    file.write_text(json.dumps({"size": 96, "mean": [0.5, 0.5, 0.5]}))
    for text in (str(file), file.read_text(), "size=96 mean=0.5"):
        assert Preprocessing.parse(text) == Preprocessing((96, 96), mean=(0.5, 0.5, 0.5))


WRONG = ["size=abc", "224", "mean=0.5", "size=224 std=0", "size=224 mean=1,2", "no.json", "size=224 bgr=ture", "", "{"]
WRONG += ["size=1,2,3", "size=0", "size=224 scale=nan", "size=224 resize=0"]
WRONG_JSON: list[Any] = [
    *(
        {"size": "abc"},
        {"mean": 0.5},
        {"size": 224, "mean": 0.5},
        {"size": 224, "std": ["a", 1, 1]},
        {"size": [1, 2, 3]},
    ),
    *({"size": None}, {"size": 2.5}, {"size": True}, {"size": 224, "bgr": "no"}, {"size": 224, "scale": "255"}),
    *({"size": 224, "resize": "big"}, {"size": 224, "interpolation": 3}, {"size": 224, "mean": [float("nan"), 0, 0]}),
]


@pytest.mark.parametrize("text", [*WRONG, *map(json.dumps, WRONG_JSON)])
def test_what_cannot_be_read_is_one_line(text: str) -> None:
    with pytest.raises(ModelError, match=r"^preprocessing") as caught:
        Preprocessing.parse(text)
    assert "\n" not in str(caught.value)


def test_a_file_that_holds_no_object_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("[224]")
    with pytest.raises(ModelError, match=r"list\.json.*not an object.*FILE\.json"):
        Preprocessing.parse(str(tmp_path / "list.json"))


def test_its_numbers_are_brought_to_a_device_once() -> None:
    """To bring them over at every step makes a GPU wait for its host."""
    preprocessing = Preprocessing((4, 4), mean=(0.125, 0.25, 0.375), std=(0.5, 0.25, 0.125))
    made: list[str] = []

    class Watch(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            made.append(func.__name__)
            return func(*args, **(kwargs or {}))

    with torch.inference_mode():
        preprocessing.normalise(torch.rand(1, 3, 4, 4))
    with Watch():
        x = torch.rand(1, 3, 4, 4).requires_grad_()
        made.clear()
        torch.autograd.grad(preprocessing.normalise(x).sum(), x)
    assert not {"tensor", "new_tensor"} & set(made)
    assert preprocessing.normalise(torch.rand(1, 3, 4, 4, dtype=torch.float64)).dtype == torch.float64
    assert pickle.loads(pickle.dumps(preprocessing)) == preprocessing


def test_unknown_fields_offer_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"'mena'.*'mean'"):
        Preprocessing.parse("size=224 mena=1")
    with pytest.raises(UnknownName, match=r"'mena'.*'mean'"):
        Preprocessing.parse('{"size": 224, "mena": [1, 1, 1]}')
    with pytest.raises(UnknownName, match=r"'bicubc'.*'bicubic'"):
        Preprocessing.parse("size=224 interpolation=bicubc")
