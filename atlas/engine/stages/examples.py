"""The stage `examples`: what a layer's units saw of the images that drive them most.

    (statistics, images, shard of units) -> box on the photograph, picture of it

A map stage over units, begun when the layer's statistics are whole. The box is where 90% of the unit's input gradient
lies, measured for this unit, at this position, on this crop.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from atlas.engine import extracting
from atlas.engine.extracting import ExamplePlace, Round
from atlas.engine.making import Making, Piece
from atlas.plans import Plan, Shard
from atlas.stages import STATISTICS
from atlas.stages.dataset import EXTREMES
from atlas.store import Store

reduce = extracting.reduce


def make(piece: Piece) -> Making:
    """Measure and cut out the examples of one shard of units."""
    return extracting.make(piece, _rounds)


def _rounds(store: Store, plan: Plan, shard: Shard) -> Iterator[Round]:
    """One for each extreme: a batch looks at values before the rectifier, or after it."""
    wanted = _wanted(store, plan, shard.start, shard.stop)
    for extreme in range(len(EXTREMES)):
        some = [one for one in wanted if one.place[1] == extreme]
        yield Round(some, range(shard.start, shard.stop), before=extreme == 1)


def _wanted(store: Store, plan: Plan, start: int, stop: int) -> list[ExamplePlace]:
    """The examples of the units from `start` to `stop`."""
    group = f"layers/{plan.on.key}/{STATISTICS.name}"
    image, crop, position = (
        store.read(f"{group}/example_{name}")[start:stop] for name in ("image", "crop", "position")
    )
    places = [tuple(map(int, at)) for at in np.argwhere(image >= 0)]
    return [ExamplePlace(at, int(image[at]), int(crop[at]), int(position[at])) for at in places]
