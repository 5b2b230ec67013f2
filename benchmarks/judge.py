"""The judge of `against_lucent` and of the study: pictures scored in a way that no engine trains on.

(model, layer, units, pictures uint8 [u,h,w,3]) -> Scores

The plain network as it came looks at each stored picture twice: under sixteen random shifts, zooms and turns drawn
from a generator of its own, with the edge's pixels repeated outside (lucent pads with grey and black, we reflect),
and straight on, as it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from atlas.models import Model
from atlas.models.observe import stop_at

DRAWS = 16
SHIFT, ZOOM, TURN = 10.0, 0.1, 10.0
"""The largest shift in pixels, change of scale, and turn in degrees."""
PADDING = 12
"""Of lucent's, in pixels."""


@dataclass(frozen=True)
class Scores:
    """What each unit answers to its picture, the mean over all positions: float [u]."""

    moved: np.ndarray[Any, Any]
    """Mean over the draws."""
    plain: np.ndarray[Any, Any]
    """Straight on."""

    @property
    def means(self) -> tuple[float, float]:
        return float(self.moved.mean()), float(self.plain.mean())


def judge(model: Model, layer: str, units: list[int], pictures: np.ndarray[Any, Any]) -> Scores:
    """The scores of stored pictures uint8 [u,h,w,3] of channels `units`."""
    views = _draws(pictures.shape[1])
    moved, plain = [], []
    with torch.no_grad():
        for unit, picture in zip(units, pictures, strict=True):
            seen = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255
            moved.append(_answer(model, layer, unit, _under(seen, views)))
            plain.append(_answer(model, layer, unit, seen))
    return Scores(np.array(moved), np.array(plain))


def as_lucent_shows(model: Model, layer: str, units: list[int], pictures: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The scores of the same under lucent's own transforms, float [u]: what it trains on, and wider than what we do.

    Twelve pixels of grey on every side; a shift of up to six; a scale of 0.9 to 1.1; a turn of up to ten degrees; black
    beyond.
    """
    size = pictures.shape[1] + 2 * PADDING
    views, found = _draws(size, shift=6.0), []
    with torch.no_grad():
        for unit, picture in zip(units, pictures, strict=True):
            seen = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255
            padded = F.pad(seen, [PADDING] * 4, value=0.5)
            found.append(_answer(model, layer, unit, _under(padded, views, padding="zeros")))
    return np.array(found)


def _answer(model: Model, layer: str, unit: int, seen: Tensor) -> float:
    value = stop_at(model.network, layer, model.preprocessing.normalise(seen))
    return float(value[:, unit].mean())


def _under(picture: Tensor, views: Tensor, padding: str = "border") -> Tensor:
    """The picture [1,3,h,w] under each of `views` [d,2,3]: [d,3,h,w]."""
    many = picture.expand(len(views), -1, -1, -1)
    grid = F.affine_grid(views, list(many.shape), align_corners=False)
    return F.grid_sample(many, grid, mode="bilinear", padding_mode=padding, align_corners=False)


def _draws(size: int, shift: float = SHIFT) -> Tensor:
    """Affines [d,2,3], the same for every picture of this size."""
    chance = np.random.Generator(np.random.PCG64(20_201_104)).uniform(-1, 1, (DRAWS, 4))
    rows = []
    for across, down, zoom, turn in chance:
        angle, scale = math.radians(turn * TURN), 1 / (1 + zoom * ZOOM)
        cosine, sine, reach = math.cos(angle) * scale, math.sin(angle) * scale, 2 * shift / size
        rows.append([[cosine, -sine, across * reach], [sine, cosine, down * reach]])
    return torch.tensor(rows, dtype=torch.float32)
