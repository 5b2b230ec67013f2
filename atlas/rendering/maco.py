"""Pictures of which only the phases are moved: MACO.

    (keys, recipe) -> leaf Tensor[n,3,h,w//2+1]: phases      what the ascent moves
    leaf -> Tensor[n,3,h,w] in (0,1)                         what the network sees

How strong each frequency is stays as it is in natural images, so that no ascent can make the high ones strong, which
is what turns pictures of deep networks into noise. ("Unlocking Feature Visualization for Deeper Networks with
MAgnitude Constrained Optimization", Fel et al., NeurIPS 2023.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from atlas.recipe import Recipe
from atlas.rendering.crops import crop
from atlas.rendering.engine import Parameterization, Transforms
from atlas.rendering.parameterization import axes, fourier
from atlas.rendering.rng import Key
from atlas.rendering.spectrum import Spectrum, check, natural
from atlas.rendering.transforms import draw


def made_by(recipe: Recipe, spectrum: Spectrum | None) -> tuple[Parameterization, Transforms]:
    """How `recipe` writes pictures down and what it trains them under. `spectrum` is the one it names, if any.

    Raises `AtlasError` where it is another one.
    """
    check(recipe, spectrum)
    return (maco(spectrum), crop) if recipe.parameterization == "maco" else (fourier, draw)


def maco(spectrum: Spectrum | None = None) -> Parameterization:
    """The parameterization under the magnitudes of `spectrum`; under those of a natural image where there is none."""

    def begin(keys: Sequence[Key], recipe: Recipe) -> tuple[Tensor, nn.Module]:
        magnitude = natural(recipe.size) if spectrum is None else spectrum.sized(recipe.size)
        return phases(keys, recipe.size), Maco(magnitude)

    return begin


def phases(keys: Sequence[Key], size: int) -> Tensor:
    """The phases that pictures of `keys` begin with: Tensor[n,3,h,w//2+1], uniform from -pi to pi."""
    shape = (3, size, size // 2 + 1)
    uniform = torch.stack([torch.rand(shape, generator=key.generator("start")) for key in keys])
    return (uniform * 2 - 1) * math.pi


class Maco(nn.Module):
    """Phases -> picture, for pictures of one size.

    A real picture has its phases in pairs of opposite sign; where the leaf holds both of a pair (the first column,
    and the last of an even size), their mean is what shows, so that magnitudes there are no larger than they should.
    """

    colours: Tensor
    magnitude: Tensor

    def __init__(self, magnitude: Tensor) -> None:
        super().__init__()
        self.size = magnitude.shape[1]
        self.register_buffer("colours", axes())
        self.register_buffer("magnitude", magnitude)

    def forward(self, phase: Tensor) -> Tensor:
        """Tensor[n,3,h,w//2+1] -> Tensor[n,3,h,w] in (0,1)."""
        spectrum = torch.polar(self.magnitude.expand_as(phase), phase)
        pixels = torch.fft.irfft2(spectrum, s=(self.size, self.size), norm="ortho")
        return torch.sigmoid(torch.einsum("rc,nchw->nrhw", self.colours, pixels))
