"""Ours against the libraries' own transforms, for every set of weights that torchvision and timm list."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data.config import resolve_data_config
from timm.data.transforms_factory import create_transform
from torchvision import models, transforms
from torchvision.transforms._presets import ImageClassification, VideoClassification

from atlas.dataset.crops import crops
from atlas.errors import AtlasError, ModelError
from atlas.models import Preprocessing, from_timm, from_torchvision, load_model

pytestmark = pytest.mark.builder

Transform = Callable[[Image.Image], torch.Tensor]
SHAPES = [(500, 375), (375, 501), (224, 224), (97, 31), (31, 98), (40, 40), (900, 300), (301, 903)]
"""Width and height: lying, upright, square, small, long."""
KINDS = [models, models.segmentation, models.detection, models.video, models.optical_flow, models.quantization]


@cache
def picture(shape: tuple[int, int]) -> Image.Image:
    """Noise whose finest grain is a few pixels."""
    width, height = shape
    noise = np.random.default_rng(7).integers(0, 256, (height // 3 + 1, width // 3 + 1, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(shape, Image.Resampling.BICUBIC)


def torchvisions() -> Iterator[tuple[str, Any]]:
    """Every set of weights, with its transforms."""
    for module in KINDS:
        for name in models.list_models(module=module):
            yield from ((f"{name}@{each.name}", each.transforms()) for each in models.get_model_weights(name))


@cache
def timms() -> dict[str, dict[str, Any]]:
    """Every set of weights, with its resolved configuration of evaluation."""
    configs = {name: timm.get_pretrained_cfg(name) for name in timm.list_pretrained()}
    return {
        name: resolve_data_config(pretrained_cfg=config.to_dict())  # type: ignore[no-untyped-call]
        for name, config in configs.items()
        if config is not None
    }


def differs(ours: Preprocessing, theirs: Transform, shape: tuple[int, int]) -> float:
    """The largest difference between two network inputs; infinite where they are not of one shape."""
    wanted, found = theirs(picture(shape)), ours.normalise(ours.image(picture(shape))[None])[0]
    return float((wanted - found).abs().max()) if wanted.shape == found.shape else math.inf


@cache
def torchvision_kinds() -> dict[str, tuple[str, Any]]:
    """One set of weights for each thing that torchvision does to images."""
    return {repr(theirs): (name, theirs) for name, theirs in torchvisions()}


@cache
def timm_kinds() -> dict[str, tuple[str, dict[str, Any]]]:
    """One set of weights for each configuration of timm."""
    return {repr(sorted(config.items())): (name, config) for name, config in timms().items()}


def test_every_set_of_weights_of_torchvision_is_followed_or_refused() -> None:
    """Single images are followed; what is not of one size, boxes, films and pairs of images are refused in a line."""
    assert len(list(torchvisions())) > 150
    for name, theirs in torchvision_kinds().values():
        if not isinstance(theirs, ImageClassification):
            with pytest.raises(ModelError, match=rf"^The preprocessing {type(theirs).__name__} .*") as caught:
                from_torchvision.preprocessing_of(theirs)
            assert "\n" not in str(caught.value)
            continue
        ours = from_torchvision.preprocessing_of(theirs)
        for shape in SHAPES[:2] + SHAPES[3:5]:
            assert differs(ours, theirs, shape) < 1e-4, (name, shape)


@pytest.mark.slow
def test_every_configuration_of_timm_is_followed() -> None:
    """All 1,800 sets of weights, by the hundred configurations they share; each reads back from what a store keeps."""
    assert len(timms()) > 1_500
    for name, config in timm_kinds().values():
        ours = from_timm.preprocessing_of(config)  # which compares on three shapes of its own
        assert Preprocessing.from_dict(ours.to_dict()) == Preprocessing.parse(ours.text()) == ours, name
        if config["crop_mode"] == "center" and config["crop_pct"] <= 1:
            assert not {"side", "fill"} & ours.to_dict().keys(), f"older stores of {name} keep their identity"


ODD = [
    "dm_nfnet_f0.dm_in1k",
    "tf_efficientnetv2_b3.in21k_ft_in1k",
    "vit_base_patch32_clip_384.openai_ft_in12k_in1k",
    "vit_base_patch16_sapiens2.fb",
    "deepseek_vit_412m.deepseek_v4_flash_vision_exp",
    "volo_d4_448.sail_in1k",
    "resnet50.a1_in1k",
]


def timm_pair(name: str) -> tuple[Preprocessing, Transform]:
    config = timms()[name]
    return from_timm.preprocessing_of(config), create_transform(**config)


@pytest.mark.parametrize("name", ODD)
def test_what_squeezes_borders_and_pads_is_followed(name: str) -> None:
    pair = timm_pair(name)
    assert max(differs(*pair, shape) for shape in SHAPES) < 1e-4


@pytest.mark.full
def test_every_configuration_of_timm_on_every_shape() -> None:
    for name, config in timm_kinds().values():
        ours, theirs = from_timm.preprocessing_of(config), create_transform(**config)
        for shape in SHAPES:
            assert differs(ours, theirs, shape) < 1e-4, (name, shape)


@pytest.mark.full
def test_every_transform_of_torchvision_on_every_shape() -> None:
    for name, theirs in torchvision_kinds().values():
        if isinstance(theirs, ImageClassification):
            ours = from_torchvision.preprocessing_of(theirs)
            assert max(differs(ours, theirs, shape) for shape in SHAPES) < 1e-4, name


def test_a_crop_larger_than_what_is_resized_is_padded_as_torchvision_does() -> None:
    theirs = ImageClassification(crop_size=65, resize_size=48)
    ours = from_torchvision.preprocessing_of(theirs)
    assert ours.fill == (0, 0, 0)
    assert max(differs(ours, theirs, shape) for shape in SHAPES) < 1e-4


class Mirrored(ImageClassification):  # type: ignore[misc]
    """The same numbers, other pixels."""

    def forward(self, img: Any) -> torch.Tensor:
        mirrored: torch.Tensor = super().forward(img).flip(2)
        return mirrored


class Failing(ImageClassification):  # type: ignore[misc]
    def forward(self, img: Any) -> torch.Tensor:
        raise RuntimeError(f"no way\nwith {img}")


OTHER = {
    "turned over": Mirrored(crop_size=32),
    "failing": Failing(crop_size=32),
    "a film": VideoClassification(crop_size=(112, 112), resize_size=(128, 171)),
    "whole shapes": transforms.Compose([transforms.Resize(256), transforms.ToTensor()]),
    "a function": partial(Image.Image.convert, mode="RGB"),
}


@pytest.mark.parametrize("theirs", OTHER.values(), ids=OTHER.keys())
def test_what_does_otherwise_than_its_numbers_say_is_refused(theirs: Any) -> None:
    with pytest.raises(ModelError, match=r"^The preprocessing ") as caught:
        from_torchvision.preprocessing_of(theirs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("changes", [{"crop_mode": "border", "input_size": (3, 64, 96)}, {"interpolation": "random"}])
def test_what_timm_alone_can_do_is_refused(changes: dict[str, Any]) -> None:
    config = timms()["resnet50.a1_in1k"] | changes
    with pytest.raises(AtlasError, match=r"of timm \(border, 0.95\) cannot be followed|no interpolation 'random'"):
        from_timm.preprocessing_of(config)


def test_networks_that_keep_each_images_shape_ask_what_is_shown() -> None:
    spec = "torchvision:lraspp_mobilenet_v3_large@random"
    wanted = rf"^{spec}: .*keeps the shape.*'size=520,520 resize=520 .*`preprocessing`"
    with pytest.raises(ModelError, match=wanted) as caught:
        load_model(spec)
    said = str(caught.value).split("'")[1]
    assert load_model(spec, preprocessing=Preprocessing.parse(said)).preprocessing.resize == 520


@pytest.mark.parametrize("name", ODD[:1] + ODD[4:6])
def test_boxes_of_what_is_padded_or_squeezed_are_true(name: str) -> None:
    """On a picture whose red grows along x and green along y, a box tells where each pixel came from."""
    how, _ = timm_pair(name)
    width, height = 320, 200
    x, y = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    ramp = np.rint(np.stack([x, y, 0 * x], 2) * 255).astype(np.uint8)
    (crop,) = crops(ramp, how, 1, seed=0, sha256=bytes(32))
    x0, y0, x1, y1 = crop.cut.box
    rows, columns = how.size
    middle = crop.x[:, rows // 2, columns // 2]
    assert float(middle[0]) == pytest.approx((x0 + x1) / 2 / width, abs=0.01)
    assert float(middle[1]) == pytest.approx((y0 + y1) / 2 / height, abs=0.01)
    third = crop.x[:, rows // 3 + 30, columns // 3]
    assert float(third[0]) == pytest.approx((x0 + (columns // 3 + 0.5) / columns * (x1 - x0)) / width, abs=0.01)
    assert float(third[1]) == pytest.approx((y0 + (rows // 3 + 30.5) / rows * (y1 - y0)) / height, abs=0.01)


@pytest.mark.parametrize("name", ODD[:1] + ODD[4:6])
@pytest.mark.parametrize("shape", [(150, 420), (420, 150)])
def test_what_is_too_long_to_resize_is_filled_the_same(name: str, shape: tuple[int, int]) -> None:
    how, _ = timm_pair(name)
    smooth = picture((12, 12)).resize(shape, Image.Resampling.BICUBIC)
    whole, part = how.image(smooth), how.image(smooth, most=0)
    assert float((whole - part).abs().quantile(0.99)) < 4 / 255
