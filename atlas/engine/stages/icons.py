"""The stage `icons`: a picture of what each cell's direction looks for.

    (model, cells, shard of cells) -> pictures, what the layer answers to them
    answers, directions -> how well each picture stands for its cell -> columns

A map stage over the filled cells, through the one renderer. Numbers are measured on the pictures as stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.engine.making import Made, Making, Piece, padded
from atlas.engine.reducing import Receipts, Reduced, filled, gathered, required
from atlas.engine.stages.features import rendered
from atlas.plans import Plan, Shard
from atlas.recipe import Numerics
from atlas.store import Store, as_stored
from atlas.store.layout import group_key
from atlas.units import Status

if TYPE_CHECKING:
    from atlas.models import Prepared
    from atlas.rendering import Directions, Rendered


def make(piece: Piece) -> Making:
    """Render and measure one shard of cells."""
    plan, store, shard = piece.plan, piece.store, piece.shard
    prepared, cells = piece.worker.prepared(plan.on, plan.numerics), required(store, plan)
    aims = _aims(store, cells, shard)
    units = range(min(len(shard), filled(store, cells) - shard.start))
    found = yield from rendered(piece, prepared, units, aims=aims)
    numbers, answer = _measured(prepared, plan, found, units, aims, piece.numerics)
    piece.clock.lap("score")
    return [(plan, Made({"image": found.pictures, "answer": padded(answer, len(shard))}, numbers, len(units)))]


def _aims(store: Store, cells: Plan, shard: Shard) -> Directions:
    """What the pictures of a shard look for; their chance is keyed by the map, the grid and the shard."""
    import torch

    from atlas.rendering import Directions

    aim = store.read(f"{group_key(cells)}/aim", slice(shard.start, shard.stop))
    return Directions("/".join(["atlas", *shard.part, str(shard.index)]), torch.from_numpy(aim))


def _measured(
    prepared: Prepared, plan: Plan, found: Rendered, units: range, aims: Directions, numerics: Numerics
) -> tuple[dict[str, np.ndarray[Any, Any]], np.ndarray[Any, Any]]:
    """The numbers of a shard's pictures as stored, and what the layer answers to them [n,c]."""
    from atlas.rendering import answers, score_pictures

    recipe, some = plan.rendering, slice(0, len(units))
    stored = as_stored(found.pictures[some], recipe.jpeg_quality)
    mean, peak = score_pictures(prepared, stored, units, recipe, numerics, aims)
    status = found.status[some]
    # A network that answers the stored picture with NaN has no number for it.
    status[(status == Status.OK) & ~np.isfinite(mean)] = Status.NAN
    values: dict[str, np.ndarray[Any, Any]] = {"mean": mean, "peak": peak, "status": status}
    if "attempt" in plan.arrays:
        values["attempt"] = found.attempt[some]
    answer = answers(prepared, stored[:, 0], numerics)
    return values, answer


def reduce(store: Store, plan: Plan, receipts: Receipts) -> Reduced:
    """The numbers of a grid's pictures, and how each stands among them."""
    data = gathered(plan, receipts)
    return Reduced(data | _standing(store, plan, receipts, data))


def _standing(
    store: Store, plan: Plan, receipts: Receipts, data: dict[str, np.ndarray[Any, Any]]
) -> dict[str, np.ndarray[Any, Any]]:
    """How each picture stands among those of its grid: `rank` and `above`. A picture that failed ranks last."""
    from atlas.projection.quality import beaten, own_ranks

    made = np.flatnonzero(data["status"][:, 0] != Status.ABSENT)
    answer = np.full((len(made), plan.on.channels), np.nan, np.float32)
    for index in receipts:
        shard = plan.shard(index)
        at = (made >= shard.start) & (made < shard.stop)
        answer[at] = store.read_shard(plan, shard, "answer")[made[at] - shard.start]
    answer[data["status"][made, 0] != Status.OK] = np.nan
    direction = store.read(f"{group_key(required(store, plan))}/direction")[made]
    data["rank"][made] = own_ranks(answer, direction)
    data["above"][made] = beaten(answer, direction, plan.rendering.seed)
    return {name: data[name] for name in ("rank", "above")}
