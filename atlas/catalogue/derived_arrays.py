"""What follows from a layer's numbers, as arrays of the store: the page reads them and has no rules of its own.

    Store -> layers/LAYER/derived/: dead [c], ratio [c,variants]
             layers/LAYER/derived/atlas/MAP/SIDE/: picture_reliable [n], label_reliable [n,5], rows as the grid's own

The rules are those of `derived`. An array is there as soon as what it follows from is written. No plan and no build
knows of them: like the tables they have a receipt, which says what they rest on, and are written anew where that
changed. Stores of before have none, and a server makes them up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

import numpy as np

from atlas.catalogue import derived
from atlas.errors import StoreError
from atlas.plans import Plan, by_layer, fingerprint
from atlas.stages import CELLS, FEATURES, ICONS, STATISTICS
from atlas.stages.dataset import LEVELS
from atlas.store import Finding, Receipt, Store
from atlas.store.bundles import stored
from atlas.store.consistency import agree
from atlas.store.layout import VERSION, derived_key, derived_receipt, group_key
from atlas.store.missing import lost
from atlas.store.seals import found
from atlas.store.zarr_adapter import whole_group

Values = np.ndarray[Any, Any]
RESTS_ON = (FEATURES.name, STATISTICS.name, CELLS.name, ICONS.name)
ATTRIBUTES = {
    "encoding-type": "derived",
    "encoding-version": VERSION,
    "quantiles": list(LEVELS),
    "reliable": {"rank": derived.TOP, "samples": derived.SAMPLES, "stability": derived.HOLDS},
}
"""What the group says of itself: the constants that the page shows."""
RULES = 1
"""Rises with every change of a rule."""
TRIES = 5
"""How often they are written at most, where others change what they rest on meanwhile."""


def write_derived(store: Store) -> None:
    """Write what is derived of every layer, unless it is there already."""
    for plans in _layers(store):
        _write(store, plans)


def misderived(store: Store) -> Iterator[Finding]:
    """What is there and is not what follows from the stored numbers; of what no longer rests on them the receipt."""
    if lost(store):  # of what these would say nobody knows
        return
    for made in (DerivedArrays(store, plans) for plans in _layers(store)):
        there = store.reduced(made.receipt)
        if there is not None and there.plan != made.proof:
            yield Finding("unfinished", made.receipt, "it does not rest on what is there now; it is derived anew")
        elif there is not None:
            with suppress(StoreError):  # what it follows from is damaged, which is a finding of its own
                yield from _differing(made)


def made_up(store: Store, folder: str) -> dict[str, bytes]:
    """The objects below `folder`, the group of what is derived of a layer, as they would be written; none elsewhere.

    Raises `StoreError` where a number that they follow from is damaged.
    """
    plans = next((some for some in _layers(store) if derived_key(some[0].layer_name) == folder), None)
    return {} if plans is None else DerivedArrays(store, plans).objects()


class DerivedArrays:
    """What is derived of one layer, of which `plans` are; nothing is read before it is asked for."""

    def __init__(self, store: Store, plans: Sequence[Plan]) -> None:
        self.store, self._plans, layer = store, plans, plans[0].layer_name
        self.folder, self.receipt = derived_key(layer), derived_receipt(layer)
        resting = [(plan, store.reduction(plan)) for plan in plans if plan.stage in RESTS_ON]
        self._done = {plan: receipt for plan, receipt in resting if receipt is not None}

    @cached_property
    def proof(self) -> str:
        """A hash of all that it follows from."""
        return fingerprint([RULES, ATTRIBUTES, sorted([plan.key, one.proof] for plan, one in self._done.items())])

    def anew(self) -> DerivedArrays:
        """The same, of what is there by now."""
        return DerivedArrays(self.store, self._plans)

    def objects(self) -> dict[str, bytes]:
        """The objects, by key; none where nothing can be derived. Raises `StoreError` where a number is damaged."""
        arrays = {name: values for name, values in self._arrays() if values.size}
        return whole_group(self.folder, ATTRIBUTES, arrays) if arrays else {}

    def _arrays(self) -> Iterator[tuple[str, Values]]:
        if (measured := self._plan(STATISTICS.name)) is not None:
            best, least, largest = (self._column(measured, name) for name in ("example_value", "least", "largest"))
            yield "dead", derived.dead(best, least, largest).astype(np.uint8)
            if (pictured := self._plan(FEATURES.name)) is not None:
                variants = pictured.rendering.variants
                yield "ratio", derived.ratios(variants, self._column(pictured, "peak"), best)
        for plan in self._done:
            if plan.stage == CELLS.name:
                yield from self._of_grid(plan, f"atlas/{'/'.join(plan.part)}")

    def _of_grid(self, cells: Plan, path: str) -> Iterator[tuple[str, Values]]:
        """What is derived of a grid: a row a filled cell, and zeros behind the last."""
        cell, stability = (self._column(cells, name) for name in ("cell", "label_frequency"))
        filled, counts = int((cell >= 0).sum()), self._column(cells, "count")
        if (cell < -1).any() or (cell >= len(counts)).any():
            raise self.store.damaged(f"{group_key(cells)}/cell", "names cells that the grid does not have")
        reliable = derived.label_reliable(counts[cell, None], stability)
        yield f"{path}/label_reliable", _padded(reliable[:filled], len(cell))
        if (icons := self._plan(ICONS.name, cells.part)) is not None:
            status, rank = (self._column(icons, name)[:filled].reshape(filled) for name in ("status", "rank"))
            yield f"{path}/picture_reliable", _padded(derived.picture_reliable(status, rank), len(cell))

    def _plan(self, stage: str, part: tuple[str, ...] = ()) -> Plan | None:
        return next((plan for plan in self._done if (plan.stage, plan.part) == (stage, part)), None)

    def _column(self, plan: Plan, name: str) -> Values:
        return self.store.read(f"{group_key(plan)}/{name}")


def _write(store: Store, plans: Sequence[Plan]) -> None:
    """Write what is derived of a layer. As of a table, its receipt goes first and comes last."""
    for _ in range(TRIES):
        made, there = DerivedArrays(store, plans), store.reduced(derived_receipt(plans[0].layer_name))
        if there is not None and there.plan == made.proof:
            return
        try:
            objects = made.objects()
        except StoreError:  # a number that it follows from is damaged: verify finds that
            return
        if not objects and there is None:
            return
        _replace(made, objects)


def _replace(made: DerivedArrays, objects: dict[str, bytes]) -> None:
    """Put `objects` in the place of all that is there."""
    store = made.store
    store.backend.delete(made.receipt)
    for key in set(store.backend.list(f"{made.folder}/")) - objects.keys():
        store.backend.delete(key)
    if objects:
        receipt = Receipt(made.proof, 0, (0, 0), stored(objects))
        store.commit_reduced(made.receipt, objects, receipt, lambda: made.anew().proof == made.proof)


def _differing(made: DerivedArrays) -> Iterator[Finding]:
    """Objects that are not what the stored numbers say."""
    for key, data in made.objects().items():
        there = made.store.backend.get(key)
        same = there == data or (key.endswith(".json") and agree(found(data), found(there)))
        if there is not None and not same:
            yield Finding("torn", key, "it is not what the stored numbers say", receipt=made.receipt)


def _layers(store: Store) -> list[list[Plan]]:
    """The plans of each layer."""
    return list(by_layer(plan for plan in store.plans() if plan.layer is not None).values())


def _padded(flags: Values, rows: int) -> Values:
    """Flags as uint8 [rows,...], zeros behind the last."""
    whole = np.zeros((rows, *flags.shape[1:]), np.uint8)
    whole[: len(flags)] = flags
    return whole
