"""Small networks of the families that atlas must handle, and small ones with habits that are hard to look into.

name -> factory: () -> (network, preprocessing)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from atlas.models import Model, ModelSource, Preprocessing


def square(side: int) -> Preprocessing:
    return Preprocessing(size=(side, side), resize=side, mean=(0.5, 0.4, 0.3), std=(0.25, 0.2, 0.3))


def model_of(network: nn.Module, preprocessing: Preprocessing | None = None) -> Model:
    """A model of `network`, with the statistics of every batch normalisation drawn at random."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            _draw(module, generator)
    return Model(network, ModelSource("a network of the tests", preprocessing or square(32)))


@torch.no_grad()
def _draw(norm: nn.BatchNorm2d, generator: torch.Generator) -> None:
    mean, variance, shape = norm.running_mean, norm.running_var, (norm.num_features,)
    assert mean is not None
    assert variance is not None
    mean.copy_(torch.randn(shape, generator=generator) * 0.1)
    variance.copy_(torch.rand(shape, generator=generator) + 0.5)
    norm.weight.copy_(torch.rand(shape, generator=generator) + 0.5)
    norm.bias.copy_(torch.randn(shape, generator=generator) * 0.1)


def resnet() -> nn.Module:
    from torchvision.models.resnet import BasicBlock, ResNet

    return ResNet(BasicBlock, [1, 1, 1, 1], num_classes=10)  # type: ignore[no-any-return]


def densenet() -> nn.Module:
    from torchvision.models import DenseNet

    return DenseNet(8, (2, 2), 16, num_classes=10)  # type: ignore[no-any-return]


def googlenet() -> nn.Module:
    from torchvision.models import GoogLeNet

    return GoogLeNet(num_classes=10, aux_logits=True, init_weights=False, transform_input=True)  # type: ignore[no-any-return]


def inception() -> nn.Module:
    from torchvision.models import Inception3

    return Inception3(num_classes=10, aux_logits=True, init_weights=False)  # type: ignore[no-any-return]


def efficientnet() -> nn.Module:
    from torchvision.models.efficientnet import EfficientNet, MBConvConfig

    blocks = [MBConvConfig(1, 3, 1, 16, 8, 1, 1.0, 1.0), MBConvConfig(4, 5, 2, 8, 16, 2, 1.0, 1.0)]
    return EfficientNet(blocks, 0.2, num_classes=10, last_channel=32)  # type: ignore[no-any-return]


def mobilenet() -> nn.Module:
    from torchvision.models.mobilenetv3 import InvertedResidualConfig, MobileNetV3

    blocks = [
        InvertedResidualConfig(16, 3, 16, 16, True, "RE", 1, 1, 1.0),
        InvertedResidualConfig(16, 5, 32, 24, True, "HS", 2, 1, 1.0),
    ]
    return MobileNetV3(blocks, 32, num_classes=10)  # type: ignore[no-any-return]


def vit() -> nn.Module:
    from torchvision.models import VisionTransformer

    return VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=10)  # type: ignore[no-any-return]


def swin() -> nn.Module:
    from torchvision.models import SwinTransformer

    return SwinTransformer([4, 4], 16, [2, 2], [2, 4], [4, 4], num_classes=10)  # type: ignore[no-any-return]


def convnext() -> nn.Module:
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    return ConvNeXt([CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 2)], num_classes=10)  # type: ignore[no-any-return]


def timm_network(name: str, **settings: Any) -> nn.Module:
    import timm

    network: nn.Module = timm.create_model(name, pretrained=False, num_classes=10, **settings)
    return network


def norms_that_activate() -> nn.Module:
    from timm.layers.conv_bn_act import ConvNormAct

    return nn.Sequential(ConvNormAct(3, 8, 3, stride=2), ConvNormAct(8, 8, 3), nn.Conv2d(8, 4, 1))


FAMILIES: dict[str, Callable[[], nn.Module]] = {
    "torchvision resnet": resnet,
    "torchvision densenet": densenet,
    "torchvision efficientnet": efficientnet,
    "torchvision mobilenet v3": mobilenet,
    "torchvision vit": vit,
    "torchvision swin": swin,
    "torchvision convnext": convnext,
    "timm resnet": partial(timm_network, "resnet10t", channels=(8, 16, 24, 32)),
    "timm vit with registers": partial(
        timm_network,
        "vit_tiny_patch16_224",
        img_size=32,
        patch_size=8,
        embed_dim=12,
        depth=2,
        num_heads=2,
        reg_tokens=4,
    ),
    "timm swin": partial(
        timm_network,
        "swin_tiny_patch4_window7_224",
        img_size=32,
        window_size=4,
        embed_dim=16,
        depths=(2, 2),
        num_heads=(2, 4),
    ),
    "timm convnext": partial(timm_network, "convnext_atto", depths=(1, 1, 1, 1), dims=(8, 16, 24, 32)),
    "timm norms that activate": norms_that_activate,
}
"""Small enough to be compared at every layer."""

LARGE: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "torchvision googlenet": (googlenet, 64),
    "torchvision inception v3": (inception, 75),
}
"""The ones that come in one size, and the smallest input they take."""


class Reused(nn.Module):
    """One rectifier and one convolution, each called twice; the second call of the convolution feeds the norm."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Any:
        x = self.relu(self.stem(x))
        return self.relu(self.norm(self.conv(self.conv(x))))


class Pair(nn.Module):
    """Two maps, as a tuple; the first is a convolution's own output, which a norm takes too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.conv(x)
        return x, functional.relu(self.norm(x), inplace=True)


class Tuples(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair()
        self.after = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        first, second = self.pair(x)
        return {"out": self.after(first + second)}


class Thrown(nn.Module):
    """Works in place and throws the result away, which only the in-place form allows."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.after = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Any:
        x = self.norm(self.conv(x))
        self.relu(x)
        return self.after(x)


class Twice(nn.Module):
    """A convolution whose output feeds a norm and, by a plain function, something else."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.after = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Any:
        x = self.conv(x)
        return self.after(self.norm(x).clamp(min=0) + x)


class Standardised(nn.Conv2d):
    """A convolution that makes its weights anew each time: folding into them would be lost."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight / self.weight.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        return functional.conv2d(x, weight, self.bias)


HABITS: dict[str, Callable[[], nn.Module]] = {
    "re-used modules": Reused,
    "tuples and dicts": Tuples,
    "in place, result thrown away": Thrown,
    "a convolution used twice": Twice,
    "weights made anew": lambda: nn.Sequential(Standardised(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()),
    "an encoder layer of torch": lambda: nn.Sequential(
        nn.Conv2d(3, 16, 8, 8), nn.Flatten(2), Transposed(), nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    ),
}


class Transposed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)
