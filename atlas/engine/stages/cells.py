"""The stage `cells`: a grid laid on a map, and what lies in each of its cells.

    xy, activations, SIDE -> count, direction, aim, nearest real samples, labels, strengths

One task that makes all of it, block by block of samples and of classes. Rows are the filled cells in their order, up to
as many as the grid has; the receipt says how many are filled.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.engine.making import padded
from atlas.engine.reducing import Receipts, Reduced, required
from atlas.engine.samples import StoredSamples
from atlas.plans import Plan
from atlas.stages.atlas import LABELS
from atlas.store import Store
from atlas.store.layout import group_key

if TYPE_CHECKING:
    from atlas.projection.grid import Cells
    from atlas.projection.rows import Floats, Integers, Rows

Columns = dict[str, np.ndarray[Any, Any]]


def reduce(store: Store, plan: Plan, _: Receipts) -> Reduced:
    """The cells of `plan`."""
    from atlas.projection.grid import cells_of, fill

    charted = required(store, plan)
    xy = store.read(f"{group_key(charted)}/xy")
    numbers = np.flatnonzero(np.isfinite(xy).all(axis=1))
    samples = StoredSamples(store, required(store, charted)).of(numbers)
    vectors, cell = samples.vectors, cells_of(xy[numbers], plan.side)
    cells = fill(vectors, cell, plan.side, images=samples.column("image"))
    fitted = store.read(f"{group_key(charted)}/fitted")[numbers] > 0
    columns = _columns(plan, cells, numbers) | {"aim": padded(_aims(vectors, fitted, cells, plan), plan.side**2)}
    strength, named = _strengths(samples, cell, cells, plan)
    streamed = {"strength": strength} if strength is not None else {}
    return Reduced(columns | named, streamed, count=len(cells))


def _columns(plan: Plan, cells: Cells, numbers: np.ndarray[Any, Any]) -> Columns:
    """What is known of a grid without classes; of its real samples the numbers among all of the layer."""
    shown = np.where(cells.nearest >= 0, numbers[cells.nearest], -1).astype(np.int32)
    rows = {"direction": cells.direction, "sample": shown, "cosine": cells.cosine}
    found = {name: padded(values, plan.side**2) for name, values in rows.items()}
    return found | {"count": cells.count, "cell": padded(cells.cells, plan.side**2)}


def _aims(vectors: Rows, fitted: np.ndarray[Any, Any], cells: Cells, plan: Plan) -> Floats:
    """What is rendered of each cell, [n,c]: its direction, as far as the recipe says set apart from all activations.

    What they have in common is asked of the samples that the layout was fitted on.
    """
    from atlas.projection.rows import blocks
    from atlas.projection.whiten import Moment

    power = plan.charting.whitening
    if not power:
        return cells.direction
    moment = Moment(plan.on.channels)
    for first, block in blocks(vectors):
        moment.add(block[fitted[first : first + len(block)]])
    return cells.direction @ moment.inverse(-power)


def _strengths(
    samples: StoredSamples, cell: Integers, cells: Cells, plan: Plan
) -> tuple[Iterator[np.ndarray[Any, Any]] | None, Columns]:
    """Strengths [k,cells] in blocks of classes, None where there are no classes; and the labels of the cells."""
    from atlas.projection.strengths import Strongest, labels, strengths

    classes, shape = plan.sampling.classes, (len(cells), LABELS)
    if not classes:
        nothing = np.full(shape, -1, np.int32), *np.full((2, *shape), np.nan, np.float32)
        return None, _labelled(plan, *nothing)
    best, kept = Strongest(len(cells)), []
    for start, block in strengths(samples.attributions, classes, cell, cells):
        best.add(start, block)
        kept.append(block)
    found = labels(samples.attributions, classes, cell, cells, best, seed=plan.sampling.seed)
    rows = (padded(block, plan.side**2).T.copy() for block in kept)
    return rows, _labelled(plan, found.classes, found.strength, found.frequency)


def _labelled(plan: Plan, classes: Integers, strength: Floats, frequency: Floats) -> Columns:
    named = {"label": classes, "label_strength": strength, "label_frequency": frequency}
    return {name: padded(values, plan.side**2) for name, values in named.items()}
