"""The stage `patches`: what the real samples nearest to a cell's direction saw.

    (cells, activations, images, shard of cells) -> box on the photograph, picture of it

A map stage over the filled cells. The box is where 90% of the gradient lies of what the position says along the cell's
direction.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from atlas.engine import extracting
from atlas.engine.extracting import ExamplePlace, Round
from atlas.engine.making import Making, Piece
from atlas.engine.reducing import required
from atlas.plans import Plan, Shard
from atlas.stages import ACTIVATIONS
from atlas.stages.atlas import PATCHED
from atlas.store import Store
from atlas.store.layout import group_key

reduce = extracting.reduce


def make(piece: Piece) -> Making:
    """Measure and cut out what the samples of one shard of cells saw."""
    return extracting.make(piece, _rounds)


def _rounds(store: Store, plan: Plan, shard: Shard) -> Iterator[Round]:
    import torch

    cells = required(store, plan)
    rows = slice(shard.start, shard.stop)
    directions = torch.from_numpy(store.read(f"{group_key(cells)}/direction", rows))
    sample = store.read(f"{group_key(cells)}/sample", rows)[:, :PATCHED]
    yield Round(_examples(store, plan, sample), directions)


def _examples(store: Store, plan: Plan, sample: np.ndarray[Any, Any]) -> list[ExamplePlace]:
    """The samples [n,4], of which -1 are none."""
    group = f"layers/{plan.on.key}/{ACTIVATIONS.name}"
    image, crop, position = (store.read(f"{group}/{name}") for name in ("image", "crop", "position"))
    places = [tuple(map(int, at)) for at in np.argwhere(sample >= 0)]
    rows = [(at, sample[at]) for at in places]
    return [ExamplePlace(at, int(image[row]), int(crop[row]), int(position[row])) for at, row in rows]
