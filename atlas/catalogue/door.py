"""The door of a store: `catalogue.json`, small and derived, which the page and Python open first.

    Store -> {model, layers and how much of each is there}

Delete it, write it again: the same.
"""

from __future__ import annotations

from typing import Any

from atlas.plan import Plan
from atlas.store import Store
from atlas.store.schema import CATALOGUE, VERSION, WRITER

DOOR = "catalogue.json"


def write_door(store: Store) -> dict[str, Any]:
    """Write the door anew from the plans and receipts that are there; give it back."""
    door = {
        "encoding-type": CATALOGUE,
        "encoding-version": VERSION,
        "written-by": WRITER,
        "model": {"spec": store.identity.model, "weights": store.identity.weights, **store.model},
        "note": store.model.get("note"),
        "layers": [_layer(store, plan) for plan in store.plans()],
    }
    store.put_json(DOOR, door)
    return door


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
