"""The door of a store: `catalogue.json`, small and derived, which the page and Python open first.

    Store -> {model, layers and how much of each is there}

Delete it, write it again: the same.
"""

from __future__ import annotations

from typing import Any

from atlas.plan import Plan
from atlas.store import Store, check_version
from atlas.store.schema import CATALOGUE, VERSION, WRITER

DOOR = "catalogue.json"


def read_door(store: Store) -> dict[str, Any]:
    """The door as written; made up, and not written, where there is none or it is damaged. Raises `StoreTooNew`."""
    door = store.get_json(DOOR)
    if not isinstance(door, dict) or door.get("encoding-type") != CATALOGUE:
        return make_door(store)
    check_version(door, where=f"{store}/{DOOR}")
    return door


def write_door(store: Store) -> dict[str, Any]:
    """Write the door anew; give it back."""
    door = make_door(store)
    store.put_json(DOOR, door)
    return door


def make_door(store: Store) -> dict[str, Any]:
    """The door, from the plans and receipts that are there."""
    return {
        "encoding-type": CATALOGUE,
        "encoding-version": VERSION,
        "written-by": WRITER,
        "model": {"spec": store.identity.model, "weights": store.identity.weights, **store.model},
        "note": store.model.get("note"),
        "layers": [_layer(store, plan) for plan in store.plans()],
    }


def _layer(store: Store, plan: Plan) -> dict[str, Any]:
    recipe = plan.recipe
    receipts = store.receipts(plan)
    features = {
        "variants": list(recipe.variants),
        "size": recipe.size,
        "recipe": recipe.name,
        "steps": recipe.steps,
        "units": sum(map(len, plan.shards)),
        "done": sum(receipt.units[1] - receipt.units[0] for receipt in receipts.values()),
        "pictured": store.columns_done(plan),
    }
    layer = plan.layer
    shape = {"channels": layer.channels, "size": list(layer.size), "stride": layer.stride, "flops": layer.flops}
    return {"name": layer.name, "key": layer.key, "kind": layer.kind, **shape, "features": features}
