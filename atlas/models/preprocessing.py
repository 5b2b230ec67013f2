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
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from atlas.errors import ModelError, UnknownName
from atlas.places import local
from atlas.words import parameter

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "nearest-exact": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
"""By the names that torchvision and timm use for them."""
SIDES = ("shorter", "longer")
LARGEST = 8192
"""Pixels along a side at most: a dry run shows a network several pictures of its size."""
MOST_RESIZED = 2**26
"""Pixels; where resizing before the centre crop would make more, only the crop is resized."""

FLOAT = torch.finfo(torch.float32)
"""Numbers that networks calculate with: what is above 0 for a file but not for them would divide by nothing."""
NARROW, WIDE = 0.2, 300.0
"""How far apart black and white are in a network's input at least and at most: 1 to 5 and 255 are usual."""
LEAST = 1 / 255
"""A mean below this share of `scale`, but not 0, is that of pictures in another scale."""

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of a picture."""


@dataclass(frozen=True)
class Preprocessing:
    """How a picture in [0,1] becomes a network's input: resized, its centre cut out, `(x * scale - mean) / std`."""

    size: tuple[int, int]
    """Height and width of the network's input; one number for both."""
    resize: int | tuple[int, int] | None = None
    """One `side` before the centre crop; a height and a width squeeze the picture to them, None to `size`."""
    interpolation: str = "bilinear"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """In the network's own order of channels and in its own scale."""
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    scale: float = 1.0
    """1 or 255: what white is before the mean is taken off."""
    bgr: bool = False
    """The network wants blue first."""
    side: str = "shorter"
    """Which side of the picture `resize` is: shorter or longer."""
    fill: tuple[int, int, int] | None = None
    """Red, green and blue, 0 to 255, of what a resized picture leaves free of `size`; None enlarges it to cover it."""

    def __post_init__(self) -> None:
        """Raises `UnknownName` for a word there is none of, `ModelError` for values that cannot be."""
        for name in ("size", "resize", "mean", "std", "fill"):  # lists too are taken for tuples
            value = getattr(self, name)
            object.__setattr__(self, name, tuple(value) if isinstance(value, list) else value)
        for name, check in _CHECKED.items():
            check(name, getattr(self, name))
        object.__setattr__(self, "size", _size("size", self.size))

    @property
    def doubt(self) -> str:
        """Why mean, std and scale do not seem to belong together, and what may be meant; empty where they may.

        Doubted, not refused: a network that was trained with such numbers wants them.
        """
        odd = self._odd()
        if odd is None:
            return ""
        low, high = ((white - self.mean[odd]) / self.std[odd] for white in (0.0, self.scale))
        likely = [other for scale in (255.0, 1.0) if (other := replace(self, scale=scale))._odd() is None]
        advice = (
            f"If scale={_written(likely[0].scale)} is meant, give {parameter('preprocessing', likely[0].text())}"
            if likely
            else "Give all three for pictures of 0 to 1 (scale=1), or all for 0 to 255 (scale=255)"
        )
        return (
            f"mean, std and scale of the preprocessing do not fit together: in channel {odd + 1} black reaches the "
            f"network as {low:.4g} and white as {high:.4g}. {advice}"
        )

    def _odd(self) -> int | None:
        """The first channel whose mean and std contradict `scale`."""
        for channel, (mean, std) in enumerate(zip(self.mean, self.std, strict=True)):
            between = mean == 0 or LEAST * self.scale <= mean <= self.scale
            if not (between and NARROW <= self.scale / std <= WIDE):
                return channel
        return None

    def normalise(self, x: Tensor) -> Tensor:
        """The network's input for `x` [n,3,h,w] in [0,1]."""
        if self.bgr:
            x = x.flip(1)
        return x.mul(self.scale).sub(_held(self.mean, x.device, x.dtype)).div(_held(self.std, x.device, x.dtype))

    def image(self, picture: Image.Image, *, most: int = MOST_RESIZED) -> Tensor:
        """`picture` as evaluation sees it: Tensor[3,h,w] float32 in [0,1], not yet normalised.

        `picture` has eight bits a channel (`atlas.dataset.decode` makes it so). Where more than `most` pixels would
        be made of it, only what is seen is resized: the same up to rounding.
        """
        if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
            raise ModelError(f"A picture of mode {picture.mode} is too deep; atlas.dataset.decode gives eight bits.")
        size, part = self.resized(picture.size), None
        left, top = self._corner(size)
        if math.prod(size) > most:
            size, part, (left, top) = self._seen(picture.size)
        height, width = self.size
        canvas = Image.new("RGB", (width, height), self.fill or (0, 0, 0))
        seen = picture.convert("RGB").resize(size, INTERPOLATIONS[self.interpolation], box=part)
        canvas.paste(seen, (-left, -top))
        return torch.from_numpy(np.array(canvas)).permute(2, 0, 1).float().div(255)

    def _seen(self, size: tuple[int, int]) -> tuple[tuple[int, int], Box, tuple[int, int]]:
        """Of what evaluation sees of a picture of `size`: its size once resized, its box, and where the crop begins."""
        x0, y0, x1, y1 = self.box(size)
        part = max(x0, 0.0), max(y0, 0.0), min(x1, float(size[0])), min(y1, float(size[1]))
        height, width = self.size
        across, down = width / (x1 - x0), height / (y1 - y0)
        seen = max(1, round((part[2] - part[0]) * across)), max(1, round((part[3] - part[1]) * down))
        return seen, part, (-round((part[0] - x0) * across), -round((part[1] - y0) * down))

    def box(self, size: tuple[int, int]) -> Box:
        """What of a picture of `size` (width, height) is seen; beyond its edges where the rest is filled up."""
        resized = self.resized(size)
        height, width = self.size
        (x0, x1), (y0, y1) = (
            (start * before / whole, (start + side) * before / whole)
            for start, side, whole, before in zip(self._corner(resized), (width, height), resized, size, strict=True)
        )
        return x0, y0, x1, y1

    def _corner(self, resized: tuple[int, int]) -> tuple[int, int]:
        """Where the centre crop begins, left and top, in a picture of `resized` (width, height); below 0 outside it.

        An odd pixel falls as with torchvision, which rounds a crop's start to even but a margin's down.
        """
        height, width = self.size
        left, top = (
            round((whole - side) / 2) if whole >= side else -((side - whole) // 2)
            for whole, side in zip(resized, (width, height), strict=True)
        )
        return left, top

    def resized(self, size: tuple[int, int]) -> tuple[int, int]:
        """Width and height of a picture of `size` (width, height) before its centre is cut out.

        One side is `resize`; and no side is smaller than the crop, unless the rest is filled up.
        """
        height, width = self.size
        if not isinstance(self.resize, int):
            sides = list((self.resize or self.size)[::-1])
        elif self.side == "shorter":
            sides = [int(self.resize * side / min(size)) for side in size]  # torchvision's rounding
        else:
            sides = [max(1, round(side / (max(size) / self.resize))) for side in size]  # timm's
        if self.fill is not None:
            return sides[0], sides[1]
        missing = max(width / sides[0], height / sides[1], 1.0)
        return max(width, int(sides[0] * missing)), max(height, int(sides[1] * missing))

    def to_dict(self) -> dict[str, Any]:
        """As `from_dict` reads it; fields that came later are not written at their default, for older stores' sake."""
        later = {name for name in ("side", "fill") if getattr(self, name) == self.__dataclass_fields__[name].default}
        told = {name: value for name, value in asdict(self).items() if name not in later}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in told.items()}

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
        text = text if text.startswith("{") else local(text, ModelError).read_text()
        data = json.loads(text, object_pairs_hook=_once)
        if not isinstance(data, dict):
            raise ValueError("JSON, but not an object")
        return data
    settings = [setting.partition("=") for setting in text.split()]
    if bare := [name for name, equals, _ in settings if not equals]:
        raise ValueError(f"{bare[0]!r} is not NAME=VALUE")
    return _once([(name, _READ.get(name, str)(value)) for name, _, value in settings])


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Which of two values is meant cannot be known."""
    names = [name for name, _ in pairs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{twice[0]!r} is said twice")
    return dict(pairs)


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


def _sides(name: str, value: Any, wanted: str) -> tuple[int, ...]:
    sides = tuple(value) if isinstance(value, list | tuple) else (value,)
    whole = all(isinstance(side, int) and not isinstance(side, bool) and side >= 1 for side in sides)
    if len(sides) not in (1, 2) or not whole:
        raise _refused(name, value, wanted)
    if max(sides) > LARGEST:
        raise _refused(name, value, f"at most {LARGEST:,} pixels along a side")
    return sides


def _size(name: str, value: Any) -> tuple[int, int]:
    sides = _sides(name, value, "a height and a width in pixels, or one number for both")
    return sides[0], sides[-1]


def _resize(name: str, value: Any) -> int | tuple[int, ...] | None:
    if value is None:
        return None
    sides = _sides(name, value, "a whole number of pixels, 1 or more, or a height and a width")
    return sides[0] if len(sides) == 1 else sides


def _colour(name: str, value: Any) -> tuple[int, int, int] | None:
    levels = range(256)
    told = value is None or (isinstance(value, list | tuple) and len(value) == 3)
    if not told or not all(isinstance(part, int) and part in levels for part in value or ()):
        raise _refused(name, value, "red, green and blue, each a whole number from 0 to 255")
    return value and tuple(value)


def _triple(name: str, value: Any) -> tuple[float, ...]:
    if not isinstance(value, list | tuple) or len(value) != 3:
        raise _refused(name, value, "three numbers, one a channel")
    return tuple(_number(name, part) for part in value)


def _number(name: str, value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= FLOAT.max:
        raise _refused(name, value, "made of finite numbers")
    return float(value)


def _positive(name: str, value: Any) -> float:
    if _number(name, value) < FLOAT.tiny:
        raise _refused(name, value, "above 0: what white is before the mean is taken off, 1 or 255")
    return float(value)


def _deviations(name: str, value: Any) -> tuple[float, ...]:
    if min(_triple(name, value)) < FLOAT.tiny:
        raise _refused(name, value, "three numbers above 0, one a channel")
    return _triple(name, value)


def _word(name: str, value: Any, *, known: Collection[str]) -> str:
    if not isinstance(value, str):
        raise _refused(name, value, "a word")
    if value not in known:
        raise UnknownName.among(name, value, known)
    return value


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _refused(name, value, "true or false")
    return value


_READ: dict[str, Callable[[str], Any]] = {
    "size": _pair,
    "resize": _pair,
    "mean": _floats,
    "std": _floats,
    "scale": float,
    "bgr": _truth,
    "fill": lambda text: [int(value) for value in text.split(",")],
}
"""Fields out of text."""

_CHECKED: dict[str, Callable[[str, Any], Any]] = {
    "size": _size,
    "resize": _resize,
    "interpolation": partial(_word, known=INTERPOLATIONS),
    "mean": _triple,
    "std": _deviations,
    "scale": _positive,
    "bgr": _flag,
    "side": partial(_word, known=SIDES),
    "fill": _colour,
}
"""Fields out of JSON, or out of a user's code."""
