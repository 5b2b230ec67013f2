"""The rows of the table `atlas_cells`, a grid at a time.

Source -> {column: values [n] | one value for all | SQL} of the filled cells
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from atlas.catalogue import derived
from atlas.catalogue.columns import ranked
from atlas.catalogue.rows import Chunk, Expression, LayerSource, Source, address
from atlas.plans import Plan
from atlas.stages import ACTIVATIONS, CELLS, ICONS
from atlas.stages.atlas import LABELS
from atlas.store.layout import columns_receipt, group_key
from atlas.units import shown_map

Values = np.ndarray[Any, Any]
UNIT = Expression("$address || ':' || largest")


def atlas_cells(source: Source) -> Iterator[Chunk]:
    """A row a filled cell of every grid of every map."""
    for layer in source.layers:
        for plan in layer.parts:
            if plan.stage == CELLS.name and source.store.told_of(columns_receipt(plan)) is not None:
                yield from _grid(source, layer, plan)


def _grid(source: Source, layer: LayerSource, plan: Plan) -> Iterator[Chunk]:
    def column(name: str) -> Values:
        return source.store.read(f"{group_key(plan)}/{name}")

    cell = column("cell")
    cell = cell[cell >= 0]
    some = slice(0, len(cell))
    if not len(cell):
        return
    direction, nearest = column("direction")[some], column("sample")[some, 0]
    largest = direction.argmax(axis=1)
    image = source.store.read(f"layers/{layer.layer.key}/{ACTIVATIONS.name}/image")[nearest]
    chunk: Chunk = {"layer": layer.layer.name, "map": shown_map(plan.part[0]), "side": plan.side, "cell": cell}
    chunk |= {"x": (cell % plan.side + 0.5) / plan.side, "y": (cell // plan.side + 0.5) / plan.side}
    chunk |= {"count": column("count")[cell], "unit": UNIT, "address": address(layer.layer.name), "largest": largest}
    chunk |= {"value": direction[np.arange(len(cell)), largest], "image": image, "cosine": column("cosine")[some, 0]}
    chunk["path"] = source.paths_of(image)
    label, attribution, stability = (column(f"label{what}")[some] for what in ("", "_strength", "_frequency"))
    for place in range(LABELS):
        number = label[:, place]
        chunk[ranked("class", place + 1)] = np.ma.masked_less(number, 0)
        chunk[ranked("label", place + 1)] = source.labels(number)
        chunk[ranked("attribution", place + 1)] = attribution[:, place]
        chunk[ranked("stability", place + 1)] = stability[:, place]
    chunk["label_reliable"] = derived.label_reliable(chunk["count"], stability[:, 0])
    yield chunk | _pictured(source, layer, plan, len(cell))


def _pictured(source: Source, layer: LayerSource, cells: Plan, count: int) -> Chunk:
    """What is known of the pictures of a grid's `count` filled cells."""
    plan = next((one for one in layer.parts if (one.stage, one.part) == (ICONS.name, cells.part)), None)
    if plan is None or source.store.told_of(columns_receipt(plan)) is None:
        return {"status": "absent"}
    status, mean, rank, above = (
        source.store.read(f"{group_key(plan)}/{name}")[:count].reshape(count)
        for name in ("status", "mean", "rank", "above")
    )
    chunk: Chunk = {"status": derived.statuses(status, None), "objective": mean, "win_rate": above}
    reliable = derived.picture_reliable(status, rank)
    return chunk | {"rank": np.ma.masked_less(rank, 0), "picture_reliable": reliable}
