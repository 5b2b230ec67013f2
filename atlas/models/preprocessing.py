"""From a picture to what a network expects.

    PIL image -> Tensor[3,h,w] in [0,1] -> network input

A wrong mean, scale or channel order raises no error and spoils every picture, so nothing is assumed here: it comes
from the weights' own metadata or is said explicitly.

>>> Preprocessing.parse("size=224 mean=0.5,0.5,0.5 std=0.5,0.5,0.5").size
(224, 224)
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from atlas.errors import ModelError, UnknownName

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class Preprocessing:
    """How a picture in [0,1] becomes a network's input: `(x * scale - mean) / std`."""

    size: tuple[int, int]
    """Height and width of the network's input."""
    resize: int | None = None
    """Shorter side before the centre crop; None squeezes the picture to `size`."""
    interpolation: str = "bilinear"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """In the network's own order of channels and in its own scale."""
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    scale: float = 1.0
    """1 or 255: what white is before the mean is taken off."""
    bgr: bool = False
    """The network wants blue first."""

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < 1:
            raise ModelError(f"preprocessing: size is a height and a width of 1 or more, not {self.size}.")
        if len(self.mean) != 3 or len(self.std) != 3 or 0 in self.std:
            raise ModelError("preprocessing: mean and std are three numbers each, one a channel, std none of them 0.")
        if self.interpolation not in INTERPOLATIONS:
            raise UnknownName.among("interpolation", self.interpolation, INTERPOLATIONS)

    def normalise(self, x: Tensor) -> Tensor:
        """The network's input for `x` [n,3,h,w] in [0,1]."""
        if self.bgr:
            x = x.flip(1)
        mean = x.new_tensor(self.mean).view(3, 1, 1)
        std = x.new_tensor(self.std).view(3, 1, 1)
        return x.mul(self.scale).sub(mean).div(std)

    def image(self, picture: Image.Image) -> Tensor:
        """`picture` as evaluation sees it: Tensor[3,h,w] float32 in [0,1], not yet normalised."""
        height, width = self.size
        picture = picture.convert("RGB")
        resampling = INTERPOLATIONS[self.interpolation]
        picture = picture.resize(self.resized(picture.size), resampling)
        left, top = round((picture.width - width) / 2), round((picture.height - height) / 2)
        picture = picture.crop((left, top, left + width, top + height))
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float().div(255)

    def resized(self, size: tuple[int, int]) -> tuple[int, int]:
        """Width and height of a picture of `size` (width, height) before its centre is cut out.

        The shorter side is `resize`, and no side smaller than the crop.
        """
        height, width = self.size
        if self.resize is None:
            return width, height
        short = min(size)
        sides = [int(self.resize * side / short) for side in size]
        missing = max(width / sides[0], height / sides[1], 1.0)
        return max(width, int(sides[0] * missing)), max(height, int(sides[1] * missing))

    def to_dict(self) -> dict[str, Any]:
        lists = {name: list(getattr(self, name)) for name in ("size", "mean", "std")}
        return asdict(self) | lists

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Preprocessing:
        """Raises `UnknownName` for a field there is none of, `ModelError` for values that cannot be."""
        for name in data:
            if name not in cls.__dataclass_fields__:
                raise UnknownName.among("field of a preprocessing", name, cls.__dataclass_fields__)
        if "size" not in data:
            raise ModelError("preprocessing: it needs at least the network's input size, as in size=224.")
        size = data["size"]
        height, width = (size, size) if isinstance(size, int) else size
        lists: dict[str, Any] = {name: tuple(map(float, data[name])) for name in ("mean", "std") if name in data}
        return cls(**(data | lists | {"size": (int(height), int(width))}))

    def text(self) -> str:
        """As `parse` reads it: only what differs from the defaults."""
        told = {"size": self.size} | {
            name: getattr(self, name)
            for name, field in self.__dataclass_fields__.items()
            if name != "size" and getattr(self, name) != field.default
        }
        return " ".join(f"{name}={_written(value)}" for name, value in told.items())

    @classmethod
    def parse(cls, text: str) -> Preprocessing:
        """From `size=224 resize=256 mean=0.485,0.456,0.406 std=... scale=1 bgr=no`, or a JSON file of the same fields.

        Raises `UnknownName` or `ModelError` where it cannot be read.
        """
        try:
            if text.endswith(".json"):
                return cls.from_dict(json.loads(Path(text).read_text()))
            settings = dict(setting.split("=", 1) for setting in text.split())
            return cls.from_dict({name: _READ.get(name, str)(value) for name, value in settings.items()})
        except (ValueError, TypeError, OSError) as error:
            raise ModelError(f"preprocessing {text!r}: cannot be read ({error}). Write size=224 mean=0,0,0.") from None


def _floats(text: str) -> list[float]:
    """`0.5,0.5,0.5` as numbers; a single one stands for all three channels."""
    values = [float(value) for value in text.split(",")]
    return values * 3 if len(values) == 1 else values


def _pair(text: str) -> list[int]:
    values = [int(value) for value in text.replace("x", ",").split(",")]
    return values * 2 if len(values) == 1 else values


def _written(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(f"{number:g}" for number in value)
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


_READ: dict[str, Any] = {
    "size": _pair,
    "resize": int,
    "mean": _floats,
    "std": _floats,
    "scale": float,
    "bgr": lambda text: text.lower() in ("1", "yes", "true"),
}
