from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from torch import nn

from atlas.errors import UnknownName
from atlas.models import load_model
from tests.models.networks import FAMILIES, densenet, googlenet, model_of, resnet, square, timm_network

pytestmark = pytest.mark.builder

BLOCKS: dict[str, tuple[Callable[[], nn.Module], list[str]]] = {
    "resnet": (resnet, ["layer1.0", "layer2.0", "layer3.0", "layer4.0"]),
    "densenet": (densenet, ["features.denseblock1", "features.denseblock2"]),
    "vit": (FAMILIES["torchvision vit"], [f"encoder.layers.encoder_layer_{index}" for index in (0, 1)]),
    "swin": (FAMILIES["torchvision swin"], ["features.1.0", "features.1.1", "features.3.0", "features.3.1"]),
    "timm swin": (FAMILIES["timm swin"], [f"layers.{stage}.blocks.{index}" for stage in (0, 1) for index in (0, 1)]),
    "timm convnext": (FAMILIES["timm convnext"], [f"stages.{stage}.blocks.0" for stage in range(4)]),
    "mobilenet v3": (FAMILIES["torchvision mobilenet v3"], ["features.1", "features.2"]),
    "efficientnet": (FAMILIES["torchvision efficientnet"], ["features.1.0", "features.2.0", "features.2.1"]),
    "stages that are rows themselves": (
        partial(timm_network, "regnety_002"),
        ["s1.b1", "s2.b1", *(f"s3.b{index}" for index in range(1, 5)), *(f"s4.b{index}" for index in range(1, 8))],
    ),
    "no blocks, rectifiers": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)),
        ["1", "3"],
    ),
    "no rectifiers either": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2)), ["0"]),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_auto_picks_the_outputs_of_blocks(name: str) -> None:
    make, expected = BLOCKS[name]
    assert [layer.name for layer in model_of(make()).select(["auto"])] == expected


def test_auto_picks_the_modules_of_googlenet_and_squeezenet() -> None:
    picked = [layer.name for layer in model_of(googlenet(), square(64)).select(["auto"])]
    assert picked == [f"inception{part}" for part in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")]
    picked = [layer.name for layer in load_model("squeezenet@random").select(["auto"])]
    assert picked == [f"features.{index}" for index in (3, 4, 6, 7, 9, 10, 11, 12)]


def test_all_is_everything_and_globs_are_anything() -> None:
    model = model_of(resnet())
    assert model.select(["all"]) == model.layers
    assert [layer.name for layer in model.select(["layer[34].0", "fc"])] == ["layer3.0", "layer4.0", "fc"]
    assert {layer.name for layer in model.select(["*relu@2"])} == {f"layer{index}.0.relu@2" for index in range(1, 5)}


def test_what_finds_nothing_offers_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"'layer2\.9'.*'layer2\.0'"):
        model_of(resnet()).select(["fc", "layer2.9"])
