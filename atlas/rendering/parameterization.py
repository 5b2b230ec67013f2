"""How a picture is written down while it is optimised.

    (keys, size, deviation) -> leaf Tensor[n,3,h,w//2+1,2]      what the ascent moves
    leaf -> Tensor[n,3,h,w] in (0,1)                            what the network sees

The leaf is a Fourier spectrum, its frequencies scaled by 1/f, its colours along the three axes in
which natural images do not correlate. In these coordinates a step of equal size everywhere makes a
picture of natural statistics ("Feature Visualization", Distill 2017, section on preconditioning).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from atlas.recipe import Recipe
from atlas.rendering.rng import Key

CORRELATION = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))
"""Root of the covariance of ImageNet's colours, RGB by axis (Lucid, `color_correlation_svd_sqrt`)."""


def axes() -> Tensor:
    """The axes of colour along which pictures are written down, RGB by axis, the longest of length 1: Tensor[3,3]."""
    colours = torch.tensor(CORRELATION)
    scaled: Tensor = colours / colours.norm(dim=0).max()
    return scaled


def fourier(keys: Sequence[Key], recipe: Recipe) -> tuple[Tensor, nn.Module]:
    """The leaf that pictures of `keys` begin with, and what makes pictures of it: the recipe's parameterization."""
    return start(keys, recipe.size, recipe.init_std), Fourier(recipe.size, recipe.decay_power, recipe.contrast)


def start(keys: Sequence[Key], size: int, deviation: float) -> Tensor:
    """The spectra that pictures of `keys` begin with: Tensor[n,3,h,w//2+1,2], normal around 0."""
    shape = (3, size, size // 2 + 1, 2)
    return torch.stack([torch.randn(shape, generator=key.generator("start")) for key in keys]) * deviation


class Fourier(nn.Module):
    """Spectrum -> picture, for pictures of one size.

    Nothing stops a unit that looks for contrast from turning its picture black and white, where the sigmoid is flat and
    nothing more is learned. So a picture stronger than `contrast` (root mean square before the sigmoid) is weakened to
    it as a whole, and the ascent can but change what it shows. 0 lets it be.
    """

    colours: Tensor
    scale: Tensor

    def __init__(self, size: int, decay: float, contrast: float = 0.0) -> None:
        super().__init__()
        self.size = size
        self.contrast = contrast
        self.register_buffer("colours", axes())
        self.register_buffer("scale", _scale(size, decay))

    def forward(self, spectrum: Tensor) -> Tensor:
        """Tensor[n,3,h,w//2+1,2] -> Tensor[n,3,h,w] in (0,1)."""
        scaled = torch.view_as_complex(spectrum * self.scale)
        pixels = torch.fft.irfft2(scaled, s=(self.size, self.size))
        coloured = torch.einsum("rc,nchw->nrhw", self.colours, pixels)
        if self.contrast:
            excess = coloured.square().mean(dim=(1, 2, 3), keepdim=True) / self.contrast**2
            # At least 1 before the root, whose slope at 0 is infinite: a grey picture would have no gradient.
            coloured = coloured / excess.clamp(min=1).sqrt()
        return torch.sigmoid(coloured)


def _scale(size: int, decay: float) -> Tensor:
    """The weight of each frequency, Tensor[h,w//2+1,1]: size / 4f**decay, with the mean as the lowest frequency."""
    down, across = torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None, :]
    frequency = (down.square() + across.square()).sqrt().clamp(min=1 / size)
    scale: Tensor = size / 4 / frequency**decay
    return scale[..., None]
