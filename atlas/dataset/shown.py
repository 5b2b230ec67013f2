"""What the network is shown, in batches of one width.

[Shown] -> [Batch]: crops Tensor[width,3,h,w], and of which image each is which crop
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

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


def batches(shown: Iterable[Shown], width: int) -> Iterator[Batch]:
    """All crops of `shown` in their order, `width` at a time across images, the last batch padded."""
    waiting: list[tuple[Tensor, int, int, bytes]] = []
    for one in shown:
        waiting += [(crop, one.image, number, one.sha256) for number, crop in enumerate(one.crops)]
        while len(waiting) >= width:
            yield _batch(waiting[:width], width)
            del waiting[:width]
    if waiting:
        yield _batch(waiting, width)


def in_places(shown: Iterable[Shown], width: int, *, crops: int, first: int) -> Iterator[Batch]:
    """As `batches`, but each crop has a place of its own: that of its number among all `crops` of all images.

    Images are numbered from `first` on. Where one was not shown another crop of the batch fills its place; so which
    crops are side by side, and in which row, does not depend on what became of other images.
    """
    waiting: list[tuple[Tensor, int, int, bytes]] = []
    group = 0
    for one in shown:
        for number, crop in enumerate(one.crops):
            slot = (one.image - first) * crops + number
            if slot // width != group and waiting:
                yield _placed(waiting, width, crops, first)
                waiting = []
            group = slot // width
            waiting.append((crop, one.image, number, one.sha256))
    if waiting:
        yield _placed(waiting, width, crops, first)


def _batch(rows: list[tuple[Tensor, int, int, bytes]], width: int) -> Batch:
    crops, images, numbers, hashes = zip(*rows, strict=True)
    x = torch.stack([*crops, *[crops[-1]] * (width - len(rows))])
    return Batch(x, np.array(images, np.int64), np.array(numbers, np.int64), hashes, np.arange(len(rows)))


def _placed(rows: list[tuple[Tensor, int, int, bytes]], width: int, crops: int, first: int) -> Batch:
    shown, images, numbers, hashes = zip(*rows, strict=True)
    place = ((np.array(images, np.int64) - first) * crops + np.array(numbers)) % width
    x = shown[0].expand(width, *shown[0].shape).clone()
    x[torch.from_numpy(place)] = torch.stack(shown)
    return Batch(x, np.array(images, np.int64), np.array(numbers, np.int64), hashes, place)
