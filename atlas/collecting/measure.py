"""From the values of a layer to what is known of its channels.

(value, before, images, crops) of one batch after another -> fields float64 [c,F]
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atlas.collecting.summary import (
    BINS,
    FIELDS,
    MIDDLE,
    OFFSET,
    SHIFT,
    Fields,
    Floats,
    first_entries,
    nothing,
    strongest,
)


class Measure:
    """What is known so far of a layer's channels."""

    def __init__(self, channels: int) -> None:
        self.fields: Fields = nothing(channels)

    def add(self, value: Tensor, before: Tensor | None, images: NDArray[np.int64], crops: NDArray[np.int64]) -> Floats:
        """Count a batch in, of whose rows [n,c,...] the first m are those of `images` and `crops` [m].

        Returns each row's largest finite value, [m,c]; NaN where there is none.
        """
        rows = _flat(value)[: len(images)]
        ranked = rows if before is None else _flat(before)[: len(images)]
        first = torch.from_numpy(np.flatnonzero(crops == 0)).to(rows.device)
        if len(first):
            self._count(rows[first])
        high, highest = _extreme(rows, 1)
        low, lowest = _extreme(ranked, -1)
        self._keep(0, high, highest, images, crops)
        self._keep(1, low, lowest, images, crops)
        return high

    def _count(self, rows: Tensor) -> None:
        """Count rows [m,c,p] of crop 0 in."""
        finite = rows.isfinite()
        wide = torch.where(finite, rows, 0).double()
        least = torch.where(finite, rows, torch.inf).amin((0, 2))
        largest = torch.where(finite, rows, -torch.inf).amax((0, 2))
        active = finite & (rows > 0)
        counted = {
            "images": torch.full_like(least, len(rows)),
            "positions": finite.sum((0, 2)),
            "nan": (~finite).sum((0, 2)),
            "sum": wide.sum((0, 2)),
            "squares": wide.square().sum((0, 2)),
            "active_positions": active.sum((0, 2)),
            "active_images": active.any(2).sum(0),
        }
        for name, number in counted.items():
            self.fields[:, FIELDS[name].start] += number.cpu().numpy()
        self.fields[:, FIELDS["histogram"]] += _histogram(rows, finite).cpu().numpy()
        for name, found, further in (("least", least, np.fmin), ("largest", largest, np.fmax)):
            column = self.fields[:, FIELDS[name].start]
            column[:] = further(column, torch.where(found.isinf(), torch.nan, found).cpu().numpy())

    def _keep(
        self, side: int, value: Floats, position: NDArray[np.int64], images: NDArray[np.int64], crops: NDArray[np.int64]
    ) -> None:
        """Put what of the rows' extremes [m,c] belongs there among the strongest of a side."""
        shape = value.shape
        entries = np.stack(
            [value, np.broadcast_to(images[:, None], shape), np.broadcast_to(crops[:, None], shape), position], axis=2
        ).transpose(1, 0, 2)
        kept = strongest(self.fields)[:, side]
        kept[:] = first_entries(np.concatenate([kept, entries], axis=1), 1 if side else -1)


def _flat(value: Tensor) -> Tensor:
    """[n,c,p], a view where that can be."""
    return value.float().reshape(*value.shape[:2], -1)


def _extreme(rows: Tensor, sign: int) -> tuple[Floats, NDArray[np.int64]]:
    """The highest (sign 1) or lowest finite value [n,c] of rows [n,c,p], and the first position that has it."""
    ranked = torch.where(rows.isfinite(), rows * sign, -torch.inf)
    best = ranked.amax(2)
    places = torch.arange(rows.shape[2], device=rows.device)
    position = torch.where(ranked == best[:, :, None], places, rows.shape[2]).amin(2)
    value = torch.where(best.isinf(), torch.nan, best * sign)
    return value.cpu().numpy(), position.cpu().numpy()


def _histogram(rows: Tensor, finite: Tensor) -> Tensor:
    """Counts [c,B] of the finite values of rows [m,c,p], as `summary.bins` tells them apart."""
    bits = rows.contiguous().view(torch.int32)
    step = (((bits & 0x7FFFFFFF) >> SHIFT) - (OFFSET - 1)).clamp(0, MIDDLE)
    place = torch.where(finite, torch.where(bits < 0, MIDDLE - step, MIDDLE + step), BINS)
    channels = rows.shape[1]
    place = place + torch.arange(channels, device=rows.device)[:, None] * (BINS + 1)
    counts = torch.bincount(place.reshape(-1), minlength=channels * (BINS + 1))
    return counts.reshape(channels, BINS + 1)[:, :BINS]
