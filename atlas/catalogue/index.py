"""The index of a store: `catalogue.json`, small and derived, which the page and Python open first.

    Store -> {model, layers and how much of each is there}

Delete it, write it again: the same.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from atlas.catalogue.derived_arrays import write_derived
from atlas.plans import SAMPLES, STAGES, Plan, by_layer
from atlas.stages import CELLS, FEATURES, IMAGES, LAYOUT
from atlas.stages.atlas import LISTED
from atlas.store import Receipt, Store, check_version
from atlas.store.layout import CATALOGUE, INDEX, RELATIONS, VERSION, WRITER
from atlas.store.missing import lost, refuse
from atlas.store.plans import CHANNELS, SHARDS
from atlas.store.seals import Seal, fits, found, seal_of, unsealed
from atlas.units import ImageStatus, status_name

STAGE = ({"done": int, "asked": int, "written": bool}, None)
GRID = {"side": int, "filled": (int, None), "patched": bool, "pictured": bool, "tiled": bool}
MAP = {"samples": int, "placed": (int, None), "grids": [GRID]}
LAYER = {
    "name": str,
    "key": str,
    "kind": str,
    "channels": int,
    "size": [int],
    "stride": (int, float),
    "flops": int,
    "features": ({"variants": [str], "done": int, "pictured": bool}, None),
    "statistics": STAGE,
    "examples": STAGE,
    "activations": STAGE,
    "atlases": ({str: MAP}, None),
}
IMAGES_SHOWN = {
    "count": int,
    "used": int,
    "crops": int,
    "reference": int,
    "step": int,
    "classes": int,
    "photographs": bool,
    "statuses": {str: int},
}
SHAPE = {
    "encoding-type": str,
    "model": {"spec": str, "weights": str},
    "note": (str, None),
    "layers": [LAYER],
    "images": (IMAGES_SHOWN, None),
    "relations": ([str], None),
}
"""What readers take for granted of the index."""


def read_index(store: Store) -> dict[str, Any]:
    """The index as written; made up, and not written, where there is none or it is damaged.

    Raises `StoreTooNew`; `StoreError` where it would be made up of plans of which some are gone.
    """
    index = found(store.backend.get(INDEX))
    if isinstance(index, dict) and index.get("encoding-type") == CATALOGUE:
        if seal_of(index) is not Seal.BROKEN:
            check_version(index, where=f"{store}/{INDEX}")
        if store.vouched(index) and fits(index, SHAPE) and _plausible(index):
            return {"images": None, "relations": None} | unsealed(index)
    refuse(store)
    return make_index(store)


def _plausible(index: dict[str, Any]) -> bool:
    """Whether an index is of no more than plans can be of: no reader is to make room for it in vain."""
    shown = index.get("images") or {"count": 0}
    layers = all(0 <= layer["channels"] <= CHANNELS for layer in index["layers"])
    return layers and 0 <= shown["count"] <= SHARDS * SAMPLES


def write_index(store: Store) -> dict[str, Any]:
    """Write the index anew, and before it what is derived of layers, where that changed; give the index back.

    Of two that write it at a time, the later tells of what both have done. Where a plan is gone all that is there
    stays: it knows that there was one.
    """
    index: dict[str, Any] = {}
    if lost(store):
        return make_index(store)
    write_derived(store)

    def made(_: bytes | None) -> bytes:
        index.update(make_index(store))
        return store.as_json(index)

    store.backend.update(INDEX, made)
    return index


def make_index(store: Store) -> dict[str, Any]:
    """The index, from the plans and receipts that are there."""
    plans = store.plans()
    layers = by_layer(plan for plan in sorted(plans, key=store.place_of) if plan.layer is not None)
    relations = store.reduced(RELATIONS)
    # The layers have an order here, and readers need no list of all there are.
    model = {name: value for name, value in store.model.items() if name != "layers"}
    return {
        "encoding-type": CATALOGUE,
        "encoding-version": VERSION,
        "written-by": WRITER,
        "model": {"spec": store.identity.model, "weights": store.identity.weights, **model},
        "note": store.model.get("note"),
        "images": next((_images(store, plan) for plan in plans if plan.stage == IMAGES.name), None),
        "relations": None if relations is None else relations.record.get("layers"),
        "named": store.labels is not None,
        "layers": [_layer(store, some) for some in layers.values()],
    }


def _images(store: Store, plan: Plan) -> dict[str, Any]:
    """What was shown to the network."""
    collection, told = plan.collection, store.each_receipt(plan, _told).values()
    codes = sum((some for some, _ in told), Counter[int]())
    noted = sum(more for _, more in told)
    return {
        "count": collection.count,
        "done": codes.total(),
        "used": codes[ImageStatus.OK],
        "statuses": {status_name(ImageStatus, code): count for code, count in sorted(codes.items())},
        "crops": collection.crops,
        "reference": collection.reference,
        "step": collection.step,
        "classes": collection.classes,
        "photographs": collection.photographs,
    } | ({"noted": noted} if noted else {})


def _told(receipt: Receipt) -> tuple[Counter[int], int]:
    """How many images of a shard have which status, and how many a note."""
    codes = Counter(int(row[0]) for row in receipt.numbers["status"] if row[0] is not None)
    return codes, sum(int(row[0] or 0) for row in receipt.numbers.get("noted", ()))


def _layer(store: Store, plans: list[Plan]) -> dict[str, Any]:
    """A layer, and how much of each stage is there."""
    layer = next(plan.layer for plan in plans if plan.layer is not None)
    shape = {"channels": layer.channels, "size": list(layer.size), "stride": layer.stride, "flops": layer.flops}
    stages = {plan.stage: _stage(store, plan) for plan in plans if not plan.part}
    maps = {plan.part[0]: _atlas(store, plan, plans) for plan in plans if plan.stage == LAYOUT.name}
    atlases = {"atlases": maps} if maps else {}
    return {"name": layer.name, "key": layer.key, "kind": layer.kind, **shape, **stages, **atlases}


def _stage(store: Store, plan: Plan) -> dict[str, Any]:
    done = sum(store.each_receipt(plan, lambda receipt: receipt.units[1] - receipt.units[0]).values())
    asked = sum(map(len, plan.shards))
    if plan.stage != FEATURES.name:
        return {"asked": asked, "done": done, "written": store.columns_done(plan)}
    recipe = plan.rendering
    made = {"variants": list(recipe.variants), "size": recipe.size, "recipe": recipe.name, "steps": recipe.steps}
    return made | {"units": asked, "done": done, "pictured": store.columns_done(plan)}


def _atlas(store: Store, laid: Plan, plans: list[Plan]) -> dict[str, Any]:
    """One map of a layer, laid out as `laid`, and how much of it and of its grids is there."""
    sampling, receipt = laid.sampling, store.reduction(laid)
    grids: dict[int, dict[str, Plan]] = {}
    for plan in plans:
        if plan.part[:1] == laid.part and plan.part != laid.part:
            grids.setdefault(plan.side, {})[plan.stage] = plan
    how = {"crops": sampling.crops, "positions": sampling.positions, "relaxed": sampling.relaxed}
    return {
        "samples": sampling.samples,
        "placed": None if receipt is None else receipt.units[1],
        "written": receipt is not None,
        "layout": laid.charting.name,
        "approximate": sampling.classes > LISTED,
        **how,
        "grids": [_grid(store, side, grids[side]) for side in sorted(grids)],
    }


def _grid(store: Store, side: int, stages: dict[str, Plan]) -> dict[str, Any]:
    """One grid of a map, and how much of it is there."""
    there = {STAGES[name].told: store.reduction(plan) for name, plan in stages.items()}
    words = {stage.told: there.get(stage.told) is not None for stage in STAGES.values() if stage.told}
    cells = there.get(CELLS.told)
    return {"side": side, **words, CELLS.told: None if cells is None else cells.units[1]}
