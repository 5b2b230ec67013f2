"""Metadata before any shard: what a plan's arrays are, who owns them, and a layer's group that tells a page all of it.

    plans -> arrays' metadata -> plans -> what is consolidated in the layer's group

Many drivers may prepare the stages of one layer at a time. An array's own metadata is written where there is none, so
that a plan in the store means that its arrays are there. A plan is replaced only where nobody else changed it
meanwhile, so that what was asked for adds up, and never by another one: of two drivers with different plans one is
refused. Metadata that differs from a plan's is written once the plan is the store's. What is consolidated is made of
the plans that are there, anew until nobody was faster, so that it tells of all of them. Where a plan is gone it stays
as it is: nothing else may know that there was one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from atlas.plans import STAGES, Plan, by_layer, names_of, place
from atlas.stages import IMAGES
from atlas.store import layout
from atlas.store import plans as objects
from atlas.store.consistency import agree
from atlas.store.missing import lost
from atlas.store.seals import attributes_in, found

if TYPE_CHECKING:
    from atlas.store.store import Store


def prepare(store: Store, plans: Sequence[Plan]) -> list[Plan]:
    """Write the metadata of `plans`; give them back, each asking also for what was asked for before.

    Raises `PlanMismatch` where another driver's plan owns the outputs of one of them since they were compared.
    """
    # The images first: drivers that differ in these come apart there, and nothing of a layer is claimed in vain.
    layers = by_layer(sorted(plans, key=lambda plan: bool(plan.layer_name)))
    asked = {plan.key for plan in plans}
    short = {names_of(key)[1] for key in lost(store) if key not in asked}
    merged = {plan.key: plan for name, some in layers.items() for plan in _prepared(store, some, name in short)}
    return [merged[plan.key] for plan in plans]


def consolidate(store: Store) -> None:
    """Have every layer's group tell of all plans there are: a driver that died may not have come so far."""
    layers = by_layer(store.plans())
    short = {names_of(key)[1] for key in lost(store)}
    for name, some in layers.items():
        if name not in short and not _told(store, some):
            _consolidate(store, some[0], {}, [])


def _prepared(store: Store, plans: list[Plan], short: bool) -> list[Plan]:
    """Plans of one layer, their metadata written first, so that a plan in the store means that its arrays are there.

    Of a layer that is `short` of a plan what is consolidated stays.
    """
    keys, top = {plan.key for plan in plans}, layout.top_key(plans[0].names)
    known = [other for other in _of_layer(store, plans[0].layer_name) if other.key not in keys] + plans
    made = layout.metadata(known)
    differing = [key for key, data in made.items() if not _stands(store, key, data)]
    merged = [_merged(store, plan) for plan in plans]
    for key in differing:
        if key != top and not agree(found(made[key]), found(store.backend.get(key))):
            store.backend.put(key, made[key])
    if not short:
        _consolidate(store, plans[0], made, known)
    return merged


def _stands(store: Store, key: str, data: bytes) -> bool:
    """Whether metadata is as it should be, written where there is none."""
    there = store.backend.get(key)
    return store.backend.put_new(key, data) if there is None else agree(found(data), found(there))


def _merged(store: Store, plan: Plan) -> Plan:
    """Write `plan`, asking also for what was asked for before."""

    def more(there: bytes | None) -> bytes:
        saved = store.owner(plan.key, there)
        if saved is None:
            return objects.written(plan)
        store.compare(saved, plan)
        return objects.written(saved.asking(plan.wanted).established(plan.layer.evidence if plan.layer else ""))

    return objects.read(store.backend.update(f"plans/{plan.key}", more))


def _consolidate(store: Store, plan: Plan, made: dict[str, bytes], known: list[Plan]) -> None:
    """Write the group of a layer from the plans that are there; `made` of those that are `known`."""
    top, ids = layout.top_key(plan.names), {other.id for other in known}

    def told(_: bytes | None) -> bytes:
        plans = list(_of_layer(store, plan.layer_name))
        return made[top] if {other.id for other in plans} == ids else layout.metadata(plans)[top]

    store.backend.update(top, told)


def _told(store: Store, plans: list[Plan]) -> bool:
    """Whether the group of a layer tells of all its plans."""
    top = layout.top_key(plans[0].names)
    groups = found(store.backend.get(top))
    if isinstance(groups, dict) and plans[0].layer is not None:
        below = len(layout.layer_key(plans[0].layer)) + 1
        groups = (groups.get("consolidated_metadata") or {}).get("metadata") or {}
        owners = ((plan, attributes_in(groups.get(layout.group_key(plan)[below:])).get("plan")) for plan in plans)
        return all(owner == plan.id for plan, owner in owners)
    return bool(attributes_in(groups).get("plan") == plans[0].id)


def _of_layer(store: Store, layer: str) -> Iterator[Plan]:
    """The plans of all stages on one layer."""
    for stage in STAGES.values():
        if (stage is IMAGES) == (not layer):
            folder = place(stage.name, layer)
            below = store.backend.list(f"plans/{folder}/") if stage.parts else ()
            keys = (f"{folder}.json", *(key.removeprefix("plans/") for key in below))
            yield from (plan for plan in map(store.plan, keys) if plan is not None)
