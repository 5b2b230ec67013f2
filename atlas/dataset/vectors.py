"""Activations at random positions, of which activation atlases are made.

    Sampler, whose `take` a watched pass calls -> {layer: Vectors}: float16 [m,c] with a scale each

A position is keyed by the seed, the image's content, the crop's number and the layer, so that the same crop gives the
same vectors in any shard, whatever else is shown. At the edges of a map a network mostly sees its own padding (Carter
et al. 2019, Activation Atlas): they are left out, alike on all sides.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atlas.dataset.crops import chances
from atlas.dataset.shown import Batch
from atlas.dataset.summary import Floats, Integers
from atlas.dataset.watch import Failures
from atlas.units import Layer, Status

EDGED = 5
"""Rows and columns from which on a map's outermost positions are left out."""
LARGEST = 65504.0
"""The largest float16."""


@dataclass(frozen=True, eq=False)
class Vectors:
    """Sampled activations of a layer, in the order they were shown."""

    vectors: NDArray[np.float16]
    """[m,c]; times `scale` they are the activations. NaN where the status is not `ok`."""
    scale: Floats
    """[m]; 1 unless the largest magnitude is beyond float16."""
    image: Integers
    """[m], as the next ones."""
    crop: Integers
    position: Integers
    """Row by row."""
    status: NDArray[np.uint8]
    """Of `atlas.units.Status`: `ok`, or `nan` for a vector with a number that is not finite."""


class Sampler:
    """Keeps `count` vectors of every crop it is shown: its `take` is what `watch` takes."""

    def __init__(self, layers: Sequence[Layer], *, seed: int, count: int = 1) -> None:
        self._layers, self._seed, self._count = layers, seed, count
        self._kept: dict[str, list[tuple[NDArray[Any], ...]]] = {layer.name: [] for layer in layers}
        self._batches: list[Batch] = []
        self.failures = Failures()
        """Layers of which vectors are no longer kept, and why."""

    def expect(self, batch: Batch) -> None:
        """What the next pass shows. Its hashes are needed, its pictures are not kept."""
        self._batches.append(replace(batch, x=batch.x[:0]))

    def take(self, layer: Layer, value: Tensor, before: Tensor | None = None) -> None:  # noqa: ARG002 - as `Take`
        """Keep some vectors of a value [n,c,...], of whose rows those count that the batch expects."""
        batch = self._batches[-1]
        rows = value.reshape(*value.shape[:2], -1)[torch.from_numpy(batch.place).to(value.device)]
        shape = (value.shape[2], value.shape[3]) if value.dim() == 4 else layer.size
        where = [
            drawn(shape, rows.shape[2], self._count, chance(self._seed, content, crop, layer.name, self._count))
            for content, crop in zip(batch.sha256, batch.crops.tolist(), strict=True)
        ]
        positions = torch.tensor(where, device=rows.device)
        found = rows.take_along_dim(positions[:, None], 2).transpose(1, 2)
        flat = found.reshape(-1, layer.channels).float().cpu().numpy()
        self._kept[layer.name].append((*_halved(flat), positions.reshape(-1).cpu().numpy().astype(np.int32)))

    def positions(self, layer: Layer) -> Integers:
        """Those at which the last pass was kept, [n,count] for the n crops that counted."""
        found: Integers = self._kept[layer.name][-1][3].reshape(-1, self._count)
        return found

    def vectors(self) -> dict[str, Vectors]:
        """All that was kept, by the layers' names; of layers that failed nothing."""
        return {layer.name: self._joined(layer) for layer in self._layers if layer.name not in self.failures}

    def _joined(self, layer: Layer) -> Vectors:
        numbers = [np.stack([batch.images, batch.crops]).repeat(self._count, axis=1) for batch in self._batches]
        image, crop = np.concatenate([np.zeros((2, 0), np.int64), *numbers], axis=1).astype(np.int32)
        nothing = *_halved(np.zeros((0, layer.channels), np.float32)), np.zeros(0, np.int32)
        vectors, scale, status, position = map(np.concatenate, zip(nothing, *self._kept[layer.name], strict=True))
        return Vectors(vectors, scale, image, crop, position, status)


def chance(seed: int, content: bytes, crop: int, layer: str, count: int) -> list[float]:
    """`count` numbers in [0,1), as `chances` are."""
    blocks = (chances(f"{seed}/{content.hex()}/{crop}/{layer}/{block}") for block in range(-(-count // 8)))
    return [number for block in blocks for number in block][:count]


def drawn(size: tuple[int, ...], positions: int, count: int, numbers: Sequence[float]) -> list[int]:
    """`count` positions of a map of `size` (rows, columns), or of `positions` tokens whose grid is not known.

    Each but once as long as there are others, without the edges where there are 5 rows and columns or more.

    >>> drawn((5, 6), 30, 3, [0.0, 0.0, 0.999])
    [7, 8, 22]
    """
    rows, columns = size if size else (1, positions)
    edge, inner = _inner(rows, columns)
    taken: list[int] = []
    found: list[int] = []
    for number in numbers[:count]:
        taken = taken if len(taken) < inner else []
        place = _untaken(int(number * (inner - len(taken))), taken)
        row, column = divmod(place, columns - 2 * edge)
        found.append((row + edge) * columns + column + edge)
    return found


def inner_positions(layer: Layer) -> int:
    """How many positions of a layer vectors can be drawn from; 0 where that is known only once it is computed."""
    if layer.kind == "tokens" and not layer.size:
        return 0
    rows, columns = layer.size if layer.size else (1, 1)
    return _inner(rows, columns)[1]


def _inner(rows: int, columns: int) -> tuple[int, int]:
    """How many rows and columns are left out at each edge of a map, and how many positions are left."""
    edge = int(rows >= EDGED and columns >= EDGED)
    return edge, (rows - 2 * edge) * (columns - 2 * edge)


def _untaken(place: int, taken: list[int]) -> int:
    """The place-th number that is not among `taken`, a sorted list, to which it is added."""
    for other in taken:
        place += place >= other
    insort(taken, place)
    return place


def _halved(vectors: Floats) -> tuple[NDArray[np.float16], Floats, NDArray[np.uint8]]:
    """Vectors [m,c] as float16, with a scale [m] and a status [m] each."""
    finite = np.asarray(np.isfinite(vectors).all(axis=1, keepdims=True))
    scale = np.maximum(np.abs(vectors).max(axis=1, initial=0.0, where=finite) / LARGEST, 1).astype(np.float32)
    halves = np.where(finite, vectors / scale[:, None], np.nan).astype(np.float16)
    return halves, scale, np.where(finite[:, 0], int(Status.OK), int(Status.NAN)).astype(np.uint8)
