from __future__ import annotations

import json
import logging
import pickle
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.overrides import TorchFunctionMode

from atlas.errors import ModelError, UnknownName
from atlas.models import Preprocessing, check, load_model

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
    [
        *(CAFFE, Preprocessing((32, 48)), Preprocessing((8, 8), resize=(9, 12), side="longer", fill=(128, 0, 255))),
        Preprocessing((8, 8), mean=(0.48145466, 0.4578275, 0.40821073), std=(1e-7, 1, 3)),
    ],
)
def test_it_reads_back(preprocessing: Preprocessing) -> None:
    assert Preprocessing.from_dict(json.loads(json.dumps(preprocessing.to_dict()))) == preprocessing
    assert Preprocessing.parse(preprocessing.text()) == preprocessing


def test_one_number_stands_for_both_sides() -> None:
    assert Preprocessing(size=260) == Preprocessing.parse("size=260") == Preprocessing((260, 260))  # type: ignore[arg-type]


def test_a_store_of_before_keeps_its_identity() -> None:
    """What came later is not written where it says what held before."""
    fields = {"size", "resize", "interpolation", "mean", "std", "scale", "bgr"}
    assert CAFFE.to_dict().keys() == fields
    assert replace(CAFFE, side="longer", fill=(0, 0, 0)).to_dict().keys() == fields | {"side", "fill"}


@pytest.mark.parametrize(
    "changes",
    [
        {"size": "big"},
        {"size": 0},
        {"size": 100_000_000},
        {"resize": 2.5},
        {"mean": (1, 2)},
        {"scale": None},
        {"fill": (0, 0, 256)},
        {"fill": 3},
    ],
)
def test_what_cannot_be_is_one_line_in_python_too(changes: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=rf"^preprocessing: {next(iter(changes))} "):
        replace(CAFFE, **changes)


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_deep_pictures_are_refused_rather_than_clipped(mode: str) -> None:
    deep = Image.fromarray(np.full((9, 9), 60_000, np.uint16)).convert(mode)
    with pytest.raises(ModelError, match=r"mode .* is too deep; atlas\.dataset\.decode"):
        CAFFE.image(deep)


def test_it_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "preprocessing.json"
    file.write_text(json.dumps({"size": 96, "mean": [0.5, 0.5, 0.5]}))
    for text in (str(file), file.read_text(), "size=96 mean=0.5"):
        assert Preprocessing.parse(text) == Preprocessing((96, 96), mean=(0.5, 0.5, 0.5))


WRONG = ["size=abc", "224", "mean=0.5", "size=224 std=0", "size=224 mean=1,2", "no.json", "size=224 bgr=ture", "", "{"]
WRONG += ["size=1,2,3", "size=0", "size=224 scale=nan", "size=224 resize=0"]
WRONG += ["size=224 resize=1,2,3", "size=224 fill=1,2", "size=224 fill=1,2,300", "size=224 fill=white"]
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
    with pytest.raises(UnknownName, match=r"'long'.*'longer'"):
        Preprocessing.parse("size=224 side=long")


@pytest.mark.parametrize(
    "settings",
    [
        *("scale=0", "scale=-1", "scale=1e-40", "scale=inf", "scale=1e39", "std=-1", "std=1,0,1", "std=inf", "std=nan"),
        *("std=1e-45", "mean=nan", "mean=-inf", "mean=0,0,1e39", "scale=1 scale=255", "size=32"),
    ],
)
def test_what_cannot_be_is_refused_where_it_is_said(settings: str) -> None:
    name = settings.partition("=")[0]
    with pytest.raises(ModelError, match=rf"^preprocessing.*{name}") as caught:
        Preprocessing.parse(f"size=224 {settings}")
    assert "\n" not in str(caught.value)


def test_json_that_says_a_thing_twice_or_too_large_is_refused(tmp_path: Path) -> None:
    text = '{"size": 224, "scale": 1, "scale": 255}'
    (tmp_path / "twice.json").write_text(text)
    for said in (text, str(tmp_path / "twice.json")):
        with pytest.raises(ModelError, match="'scale' is said twice"):
            Preprocessing.parse(said)
    with pytest.raises(ModelError, match=r"^preprocessing: scale is made of finite numbers"):
        Preprocessing.parse(json.dumps({"size": 224, "scale": 10**400}))


IMAGENET = "mean=123.675,116.28,103.53 std=58.395,57.12,57.375"


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        (IMAGENET, f"scale=255 is meant, give `preprocessing=size=32,32 {IMAGENET} scale=255`"),
        ("mean=123.68,116.779,103.939 bgr=yes", "scale=255 is meant"),
        ("mean=127.5 std=127.5", "scale=255 is meant"),
        ("std=255", "scale=255 is meant"),
        ("mean=0.485,0.456,0.406 std=0.229,0.224,0.225 scale=255", "scale=1 is meant"),
        ("mean=0.5 scale=255", "scale=1 is meant"),
        ("scale=0.00392156862745098", "scale=255 is meant"),
        ("mean=0.485,0.456,0.406 std=0.229,224,0.225", "channel 2 .* Give all three for pictures of 0 to 1"),
        ("mean=-0.5 std=0.5", "Give all three"),
    ],
)
def test_numbers_that_contradict_each_other_are_doubted(settings: str, advice: str) -> None:
    assert re.search(advice, Preprocessing.parse(f"size=32 {settings}").doubt)


@pytest.mark.parametrize(
    "settings",
    [
        *("", "scale=255", "mean=0.5 std=0.5", f"{IMAGENET} scale=255", "mean=127 std=128 scale=255"),
        *("mean=103.939,116.779,123.68 scale=255 bgr=yes", "mean=0.02 std=0.01", "std=0.00392156862745098"),
    ],
)
def test_numbers_that_fit_each_other_are_not(settings: str) -> None:
    assert not Preprocessing.parse(f"size=32 {settings}").doubt


def test_a_doubtful_preprocessing_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    load_model("tests.networks:tiny", preprocessing=Preprocessing.parse(f"size=32 {IMAGENET}"))
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert re.match(r"tests.networks:tiny: mean, std and scale .* black reaches the network as -2\.118", line)


def test_a_check_does_not_ask_for_photographs_where_the_numbers_are_wrong(tmp_path: Path) -> None:
    picture(40, 40).save(tmp_path / "one.png")
    model = load_model("tests.networks:tiny", preprocessing=Preprocessing.parse(f"size=32 {IMAGENET}"))
    found = check(model, tmp_path)
    assert found.verdict == "doubtful"
    assert found.sentence.startswith("Looks preprocessed wrong: mean, std and scale")
