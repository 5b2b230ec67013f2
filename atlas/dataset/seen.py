"""What of a crop a unit looked at.

(prepared network, crops [n,3,h,w], units [n] or directions [n,c], positions [n]) -> boxes float32 [n,4]

The box is measured, not computed from kernels and strides: it holds 90% of the gradient that reaches the pixels, which
is less than the receptive field where the network looks at little of it, and right where nothing is known of the
network.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atlas.dataset.summary import Floats
from atlas.models import Prepared
from atlas.units import Layer

CUT = 0.025
"""Share of the gradient that is cut off on each of the four sides."""
SMALLEST = 8.0
"""Pixels: the least width and height of a box, where the stride is not larger."""
Size = tuple[int, int]


Units = Sequence[int] | Tensor
"""Channels, or directions Tensor[n,c]: their value is h . v."""


def seen(prepared: Prepared, crops: Tensor, units: Units, positions: Sequence[int], *, before: bool) -> Floats:
    """The boxes (x0, y0, x1, y1) of what unit i looked at in crop i at its position i, in pixels of the crop.

    crops [n,3,h,w] in [0,1]; positions count row by row. A box holds at least 90% of the magnitude of the unit's
    gradient: as much is cut off to the left and to the right, above and below. With `before` it is that of the value
    before the rectifier. Where a gradient is zero, as that of a unit the rectifier silences, it is asked for before
    the rectifier; where it is zero there too, the box is the whole crop. For `tokens` it is the patch itself.
    """
    size = (crops.shape[2], crops.shape[3])
    if prepared.layer.kind == "tokens":
        return _patches(prepared.layer, positions, size)
    magnitude = _gradients(prepared, crops, units, positions, before=before)
    return np.array([_box(one, max(SMALLEST, prepared.layer.stride)) for one in magnitude], np.float32)


def _gradients(
    prepared: Prepared, crops: Tensor, units: Units, positions: Sequence[int], *, before: bool
) -> NDArray[np.float64]:
    """Magnitude of the gradient at each pixel, [n,h,w]."""
    x = crops.detach().requires_grad_()
    activation = prepared.activations(x)
    asked = activation.before if before and activation.before is not None else activation.value
    found = _magnitude(asked, x, units, positions)
    silent = found.amax((1, 2)) == 0
    if bool(silent.any()) and asked is not activation.before and activation.before is not None:
        found[silent] = _magnitude(activation.before, x, units, positions)[silent]
    return found.double().cpu().numpy()


def _magnitude(value: Tensor, x: Tensor, units: Units, positions: Sequence[int]) -> Tensor:
    """One backward pass for all n crops: they are independent."""
    rows, crops = value.reshape(*value.shape[:2], -1), torch.arange(len(x))
    if isinstance(units, Tensor):
        score = (rows[crops, :, list(positions)] * units.to(rows)).sum()
    else:
        score = rows[crops, list(units), list(positions)].sum()
    (gradient,) = torch.autograd.grad(score, x, retain_graph=True, materialize_grads=True, allow_unused=True)
    return gradient.abs().sum(1)


def _box(magnitude: NDArray[np.float64], least: float) -> tuple[float, float, float, float]:
    height, width = magnitude.shape
    total = magnitude.sum()
    if not total > 0 or not np.isfinite(total):
        return 0.0, 0.0, float(width), float(height)
    (x0, x1), (y0, y1) = (_span(magnitude.sum(axis), least) for axis in (0, 1))
    return x0, y0, x1, y1


def _span(mass: NDArray[np.float64], least: float) -> tuple[float, float]:
    """First and last edge of what is left of `mass` when its share is cut off at both ends, at least `least` wide.

    >>> _span(np.array([0.01, 0.01, 0.96, 0.02]), 1.0), _span(np.array([0.01, 0.01, 0.96, 0.02]), 3.0)
    ((2.0, 3.0), (1.0, 4.0))
    """
    cut = CUT * mass.sum()
    start = float(np.argmax(mass.cumsum() > cut))
    stop = float(len(mass) - np.argmax(mass[::-1].cumsum() > cut))
    wide = min(max(stop - start, least), float(len(mass)))
    start = min(max(0.0, (start + stop - wide) / 2), len(mass) - wide)
    return start, start + wide


def _patches(layer: Layer, positions: Sequence[int], size: Size) -> Floats:
    """The patches at `positions`; the whole crop where the grid of the patches is not known."""
    rows, columns = layer.size or (1, 1)
    row, column = np.divmod(np.asarray(positions) if layer.size else np.zeros(len(positions), int), columns)
    high, wide = size[0] / rows, size[1] / columns
    return np.stack([column * wide, row * high, (column + 1) * wide, (row + 1) * high], axis=1).astype(np.float32)
