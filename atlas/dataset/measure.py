"""From the values of a layer to what is known of its channels.

    (value, before, images, crops) of one batch after another -> fields float64 [c,F]

On a processor the counting is done by `kernels`, on other devices by torch; both count the same.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atlas.dataset import kernels
from atlas.dataset.summary import BINS, FIELDS, MIDDLE, OFFSET, SHIFT, Fields, Floats, Integers, nothing, strongest

MOST = 2**31 - 1
"""Positions that are counted before the counts are added up elsewhere."""
ELEMENTS = 2**24
"""Values that a device counts at a time."""
Numbers = NDArray[np.int64]


class Measure:
    """What is known so far of a layer's channels."""

    def __init__(self, channels: int, tally: Tally) -> None:
        self._fields = nothing(channels)
        self._tally = tally
        self._counted = 0

    @classmethod
    def on(cls, device: str, channels: int) -> Measure:
        """For values on `device`."""
        return cls(channels, OnProcessor(channels) if device == "cpu" else OnDevice(channels, device))

    def add(self, value: Tensor, before: Tensor | None, images: Numbers, crops: Numbers) -> Floats:
        """Count a batch in, of whose rows [n,c,...] the first m are those of `images` and `crops` [m].

        Returns each row's largest finite value, [m,c]; NaN where there is none.
        """
        rows = _rows(value)[: len(images)]
        every, first = np.arange(len(images)), np.flatnonzero(crops == 0)
        high, highest = self._tally.extremes(rows, every, 1)
        if before is None:
            low, lowest = self._tally.extremes(rows, every, -1)
            least = low[first]
        else:
            low, lowest = self._tally.extremes(_rows(before), every, -1)
            least, _ = self._tally.extremes(rows, first, -1)
        if len(first):
            self._count(rows, first, high[first], least)
        kernels.keep(strongest(self._fields)[:, 0], high, highest, images, crops, -1)
        kernels.keep(strongest(self._fields)[:, 1], low, lowest, images, crops, 1)
        return _finite(high)

    def fields(self) -> Fields:
        """What is known of all that was counted in."""
        self._settle()
        return self._fields.copy()

    def _count(self, rows: Tensor, first: Numbers, high: Floats, least: Floats) -> None:
        """Count in those of rows [n,p,c] that are `first` crops, of which the extremes [m,c] are known."""
        positions = len(first) * rows.shape[1]
        if self._counted + positions > MOST:
            self._settle()
        self._counted += positions
        self._tally.count(rows, first)
        column = {name: self._fields[:, place.start] for name, place in FIELDS.items()}
        column["images"] += len(first)
        column["active_images"] += (_finite(high) > 0).sum(0)
        for name, found, further in (("largest", high, np.fmax), ("least", least, np.fmin)):
            column[name][:] = further(column[name], further.reduce(_finite(found), axis=0))

    def _settle(self) -> None:
        """Move what the tally holds into the fields."""
        sums, counts, histogram = self._tally.taken()
        found = dict(zip(("sum", "squares", "active_positions", "nan"), (*sums, *counts), strict=True))
        for name, number in found.items():
            self._fields[:, FIELDS[name].start] += number
        self._fields[:, FIELDS["histogram"]] += histogram[:, :BINS]
        self._fields[:, FIELDS["positions"].start] += histogram[:, :BINS].sum(1)
        self._counted = 0


class OnProcessor:
    """Counts and sums of positions, by `kernels`."""

    def __init__(self, channels: int) -> None:
        self._sums = np.zeros((2, channels))
        self._counts = np.zeros((2, channels), np.int64)
        self._histogram = np.zeros((channels, BINS + 1), np.int32)

    def extremes(self, rows: Tensor, which: Numbers, sign: int) -> tuple[Floats, Integers]:
        """The highest (sign 1) or lowest finite values [m,c] of rows [n,p,c], and the first positions that have them.

        Of the rows `which` [m] alone. An infinity of the other sign where there is none.
        """
        find = kernels.highest if sign > 0 else kernels.lowest
        value = np.empty((len(which), rows.shape[2]), np.float32)
        position = np.empty_like(value, np.int32)
        images = rows.numpy()
        for place, row in enumerate(which):
            find(images[row], value[place], position[place])
        return value, position

    def count(self, rows: Tensor, which: Numbers) -> None:
        """Add the rows `which` [m] of rows [n,p,c]."""
        images = rows.numpy()
        for row in which:
            kernels.count(images[row], images[row].view(np.int32), self._sums, self._counts, self._histogram)

    def taken(self) -> tuple[NDArray[np.float64], Numbers, Numbers]:
        """Sums [2,c] of values and squares, counts [2,c] of positive and of other values, histogram [c,B+1].

        What is taken is no longer there.
        """
        found = self._sums.copy(), self._counts.copy(), self._histogram.astype(np.int64)
        for counted in (self._sums, self._counts, self._histogram):
            counted[:] = 0
        return found


class OnDevice:
    """As `OnProcessor`, by torch where the values are."""

    def __init__(self, channels: int, device: str) -> None:
        self._sums = torch.zeros(2, channels, dtype=torch.float64, device=device)
        self._counts = torch.zeros(2, channels, dtype=torch.int64, device=device)
        self._histogram = torch.zeros(channels, BINS + 1, dtype=torch.int64, device=device)

    def extremes(self, rows: Tensor, which: Numbers, sign: int) -> tuple[Floats, Integers]:
        rows = _chosen(rows, which)
        ranked = torch.where(rows.isfinite(), rows * sign, -torch.inf)
        best = ranked.amax(1)
        places = torch.arange(rows.shape[1], device=rows.device, dtype=torch.int32)[:, None]
        # Torch's own argmax does not promise the first of equal ones.
        position = torch.where(ranked == best[:, None], places, rows.shape[1]).amin(1)
        return (best * sign).cpu().numpy(), position.cpu().numpy()

    def count(self, rows: Tensor, which: Numbers) -> None:
        for part in torch.split(_chosen(rows, which), max(1, ELEMENTS // rows[0].numel())):
            finite = part.isfinite()
            wide = torch.where(finite, part, 0).double()
            self._sums += torch.stack([wide.sum((0, 1)), wide.square().sum((0, 1))])
            self._counts += torch.stack([(finite & (part > 0)).sum((0, 1)), (~finite).sum((0, 1))])
            self._histogram += _histogram(part, finite)

    def taken(self) -> tuple[NDArray[np.float64], Numbers, Numbers]:
        found = self._sums.cpu().numpy(), self._counts.cpu().numpy(), self._histogram.cpu().numpy()
        self._sums, self._counts, self._histogram = (
            torch.zeros_like(counted) for counted in (self._sums, self._counts, self._histogram)
        )
        return found


Tally = OnProcessor | OnDevice


def _chosen(rows: Tensor, which: Numbers) -> Tensor:
    return rows if len(which) == len(rows) else rows[torch.from_numpy(which).to(rows.device)]


def _finite(extremes: Floats) -> Floats:
    """NaN where there was no finite value."""
    return np.where(np.isinf(extremes), np.float32(np.nan), extremes)


def _rows(value: Tensor) -> Tensor:
    """A layer's value [n,c,...] as float32 [n,p,c], each image's part whole in memory; a view where that can be."""
    rows = value.detach().float().reshape(*value.shape[:2], -1).transpose(1, 2)
    return rows if rows[:1].is_contiguous() else rows.contiguous()


def _histogram(rows: Tensor, finite: Tensor) -> Tensor:
    """Counts [c,B+1] of rows [m,p,c], as `summary.bins` tells them apart; the last of what is not finite."""
    bits = rows.contiguous().view(torch.int32)
    step = (((bits & 0x7FFFFFFF) >> SHIFT) - (OFFSET - 1)).clamp(0, MIDDLE)
    place = torch.where(finite, torch.where(bits < 0, MIDDLE - step, MIDDLE + step), BINS)
    channels = rows.shape[2]
    place = place + torch.arange(channels, device=rows.device) * (BINS + 1)
    return torch.bincount(place.reshape(-1), minlength=channels * (BINS + 1)).reshape(channels, BINS + 1)
