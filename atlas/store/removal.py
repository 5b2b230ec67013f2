"""Taking out what a plan or a layer has in a store.

    store, layer -> the store without it
    store, plans -> the store without those whose place they take

Receipts go first, so that what is half gone is never taken for done; of a layer the plans go last, so that what was
stopped half way is found, and taken out, by the same command. What rests on all layers is to be made again afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from atlas.errors import PlanMismatch, UnknownName
from atlas.plans import Plan, differences, names_of
from atlas.stages import FEATURES
from atlas.store import layout
from atlas.store.builders import at_work
from atlas.store.bundles import bundles_of
from atlas.store.missing import lost
from atlas.store.store import Store
from atlas.units import encode
from atlas.words import parameter

NAMED = 3
"""Plans that are named where they are many."""


def remove(store: Store, layer: str) -> int:
    """Take the layer `layer` out of `store`; say how many objects went. Raises `UnknownName` where it is not there."""
    keys = list(keys_of(store, layer))
    for key in keys:
        store.backend.delete(key)
    # Neighbours are numbered by all layers.
    store.backend.delete(layout.RELATIONS)
    return len(keys)


def keys_of(store: Store, layer: str) -> Iterator[str]:
    """Keys of all objects that `store` has of a layer, in the order in which they may go."""
    plans = [plan.key for plan in store.plans() if plan.layer_name == layer and plan.layer is not None]
    plans += [key for key in lost(store) if layer and names_of(key)[1] == layer]
    if not plans:
        known = {plan.layer_name for plan in store.plans() if plan.layer is not None}
        raise UnknownName.among("layer", layer, known, hint=f"{store} has {len(known)} of them.")
    derived = [key for key in store.backend.list(layout.DERIVED_RECEIPTS) if key == layout.derived_receipt(layer)]
    receipts = chain.from_iterable(map(store.receipts_there, plans))
    data = store.backend.list(f"layers/{encode(layer)}/")
    bundles = chain.from_iterable(store.backend.list(folder) for key in plans for folder in bundles_of(key))
    return chain(derived, receipts, data, bundles, (f"plans/{key}" for key in plans))


def make_way(store: Store, plans: Sequence[Plan]) -> None:
    """Take out the plans that `plans` take the place of.

    Raises as `replaced`, and `PlanMismatch` where a builder that lives makes one of them, before anything is taken out.
    """
    stale = replaced(store, plans)
    if stale and at_work(store.backend, lambda other: any(other.makes(old.id) for old in stale)):
        raise _refused(store, stale, plans)
    for old in stale:
        _take_out(store, old)


def _take_out(store: Store, old: Plan) -> None:
    """Take out a plan of which nothing is made, and what was begun; the plan last.

    Who is frozen on the way finds another plan in its place when it goes on: nothing of that may go.
    """
    saved = store.backend.get(place := f"plans/{old.key}")
    folders = (f"{layout.group_key(old)}/", *bundles_of(old.key))
    for key in (*chain.from_iterable(map(store.backend.list, folders)), place):
        if store.backend.get(place) != saved:
            return
        store.backend.delete(key)


def _refused(store: Store, stale: Sequence[Plan], plans: Sequence[Plan]) -> PlanMismatch:
    """What is said of plans that a living builder makes otherwise than `plans` ask for."""
    asked = {plan.key: plan for plan in plans}
    lines = {line: None for old in stale for line in differences(old.spelled_out, asked[old.key].spelled_out)}
    makes = ", ".join(f"{old.stage} of {old.called}" for old in stale[:NAMED]) + (", ..." if stale[NAMED:] else "")
    return PlanMismatch(
        f"{store}: another build of this store is running and makes {makes} with other settings ({'; '.join(lines)}). "
        f"Use the same settings to share its work, wait until it ends, stop it, or name another {parameter('store')}."
    )


def replaced(store: Store, plans: Sequence[Plan]) -> list[Plan]:
    """The plans in `store` that `plans` may take the place of: other recipes, of which no picture is made.

    Whoever still works on one of them is refused when it writes. Raises as `Store.check` for all others.
    """
    saved = {plan: store.plan(plan.key) for plan in plans}
    stale = {plan: old for plan, old in saved.items() if old is not None and _gives_way(store, old, plan)}
    store.check(plan for plan in plans if plan not in stale)
    return list(stale.values())


def _gives_way(store: Store, old: Plan, new: Plan) -> bool:
    same_network = old.identity == new.identity == store.identity
    return same_network and old.stage == FEATURES.name and old.id != new.id and not store.receipts_there(old.key)
