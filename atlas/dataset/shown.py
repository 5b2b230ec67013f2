"""What the network is shown, in batches of one width.

[Shown] -> [Batch]: crops Tensor[width,3,h,w], and of which image each is which crop
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Shown:
    """One image, as its crops."""

    image: int
    """Its number in the list of images."""
    crops: Tensor
    """[k,3,h,w] in [0,1], crop 0 first."""
    sha256: bytes = b""
    """Hash of its content, by which its chance is keyed; needed for sampled vectors alone."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Crops side by side."""

    x: Tensor
    """[width,3,h,w] in [0,1]; a short batch repeats its last crop."""
    images: NDArray[np.int64]
    """[n], of the n crops that count."""
    crops: NDArray[np.int64]
    """[n]: 0 for an image's first."""
    sha256: tuple[bytes, ...]
    """n hashes."""
    place: NDArray[np.int64]
    """[n]: which row of `x` each is."""

    def __len__(self) -> int:
        return len(self.images)


Slot = tuple[int, tuple[Shown, int]]
"""Where among all crops one has its place; of which image it is, and its number there."""


def batches(shown: Iterable[Shown], width: int) -> Iterator[Batch]:
    """All crops of `shown` in their order, `width` at a time across images, the last batch padded."""
    rows = ((one, number) for one in shown for number in range(len(one.crops)))
    return _batches(enumerate(rows), width, spare=-1)


def in_places(shown: Iterable[Shown], width: int, *, crops: int, first: int) -> Iterator[Batch]:
    """As `batches`, but each crop has a place of its own: that of its number among all `crops` of all images.

    Images are numbered from `first` on. Where one was not shown another crop of the batch fills its place; so which
    crops are side by side, and in which row, does not depend on what became of other images.
    """
    rows = ((one, number) for one in shown for number in range(len(one.crops)))
    return _batches((((one.image - first) * crops + number, (one, number)) for one, number in rows), width, spare=0)


def _batches(slots: Iterable[Slot], width: int, *, spare: int) -> Iterator[Batch]:
    """Crops in rising slots, `width` of these side by side; the crop numbered `spare` fills those that are free."""
    for _, held in groupby(slots, lambda slot: slot[0] // width):
        yield _batch(held, width, spare)


def _batch(held: Iterable[Slot], width: int, spare: int) -> Batch:
    slots, rows = zip(*held, strict=True)
    place = np.array(slots, np.int64) % width
    images = np.array([one.image for one, _ in rows], np.int64)
    crops = np.array([number for _, number in rows], np.int64)
    shown = [one.crops[number] for one, number in rows]
    x = [shown[spare]] * width
    for row, crop in zip(place, shown, strict=True):
        x[row] = crop
    return Batch(torch.stack(x), images, crops, tuple(one.sha256 for one, _ in rows), place)
