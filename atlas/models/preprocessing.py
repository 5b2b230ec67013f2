"""From a picture to what a network expects.

    PIL image -> Tensor[3,h,w] in [0,1] -> network input

A wrong mean, scale or channel order raises no error and spoils every picture, so nothing is assumed here: it comes
from the weights' own metadata or is said explicitly.

>>> Preprocessing.parse("size=224 mean=0.5,0.5,0.5 std=0.5,0.5,0.5").size
(224, 224)
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
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
        return x.mul(self.scale).sub(_held(self.mean, x.device, x.dtype)).div(_held(self.std, x.device, x.dtype))

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
                raise UnknownName.among("field of a preprocessing", str(name), cls.__dataclass_fields__)
        if "size" not in data:
            raise ModelError("preprocessing: it needs at least the network's input size, as in size=224.")
        return cls(**{name: _CHECKED[name](name, value) for name, value in data.items()})

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
        """From `size=224 resize=256 mean=0.485,0.456,0.406 std=... scale=1 bgr=no`, or JSON of the same fields.

        The JSON is the text itself or, where the text is a name that ends in `.json`, a file's. Raises `UnknownName`
        or `ModelError` where it cannot be read.
        """
        try:
            data = _settings(text.strip())
        except (ValueError, OSError) as error:
            reason = " ".join(str(error).split())
            raise ModelError(
                f"preprocessing {text!r}: cannot be read ({reason}). Write 'size=224 mean=0,0,0 std=1,1,1', "
                "a JSON object of these fields, or FILE.json."
            ) from None
        return cls.from_dict(data)


@lru_cache(maxsize=64)
def _held(values: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """`values` [3,1,1] on `device`: kept there, as to bring them over anew stops a GPU at every step."""
    with torch.inference_mode(False):
        return torch.tensor(values, device=device, dtype=dtype).view(3, 1, 1)


def _settings(text: str) -> dict[str, Any]:
    """The fields that `text` or the file it names gives. Raises ValueError or OSError."""
    if text.startswith("{") or text.endswith(".json"):
        data = json.loads(text if text.startswith("{") else Path(text).read_text())
        if not isinstance(data, dict):
            raise ValueError("JSON, but not an object")
        return data
    settings = [setting.partition("=") for setting in text.split()]
    if bare := [name for name, equals, _ in settings if not equals]:
        raise ValueError(f"{bare[0]!r} is not NAME=VALUE")
    return {name: _READ.get(name, str)(value) for name, _, value in settings}


def _floats(text: str) -> list[float]:
    """`0.5,0.5,0.5` as numbers; a single one stands for all three channels."""
    values = [float(value) for value in text.split(",")]
    return values * 3 if len(values) == 1 else values


def _pair(text: str) -> list[int]:
    return [int(value) for value in text.replace("x", ",").split(",")]


def _truth(text: str) -> bool:
    words = {"1": True, "yes": True, "true": True, "0": False, "no": False, "false": False}
    if text.lower() not in words:
        raise ValueError(f"{text!r} is neither yes nor no")
    return words[text.lower()]


def _written(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_written, value))
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value).removesuffix(".0")


def _refused(name: str, value: Any, wanted: str) -> ModelError:
    return ModelError(f"preprocessing: {name} is {wanted}, not {value!r}.")


def _size(name: str, value: Any) -> tuple[int, int]:
    sides = list(value) if isinstance(value, list | tuple) else [value]
    if len(sides) not in (1, 2) or not all(map(_is_whole, sides)):
        raise _refused(name, value, "a height and a width in pixels, or one number for both")
    return sides[0], sides[-1]


def _whole(name: str, value: Any) -> int | None:
    if value is not None and not _is_whole(value):
        raise _refused(name, value, "a whole number of pixels, 1 or more")
    return value  # type: ignore[no-any-return]


def _triple(name: str, value: Any) -> tuple[float, ...]:
    if not isinstance(value, list | tuple) or len(value) != 3:
        raise _refused(name, value, "three numbers, one a channel")
    return tuple(_number(name, part) for part in value)


def _number(name: str, value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise _refused(name, value, "made of finite numbers")
    return float(value)


def _instance(name: str, value: Any, *, kind: type, wanted: str) -> Any:
    if not isinstance(value, kind):
        raise _refused(name, value, wanted)
    return value


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


_READ: dict[str, Callable[[str], Any]] = {
    "size": _pair,
    "resize": int,
    "mean": _floats,
    "std": _floats,
    "scale": float,
    "bgr": _truth,
}
"""Fields out of text."""

_CHECKED: dict[str, Callable[[str, Any], Any]] = {
    "size": _size,
    "resize": _whole,
    "interpolation": partial(_instance, kind=str, wanted="a word"),
    "mean": _triple,
    "std": _triple,
    "scale": _number,
    "bgr": partial(_instance, kind=bool, wanted="true or false"),
}
"""Fields out of JSON, or of a dict in a user's code."""
