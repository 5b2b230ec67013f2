"""Plans as objects of a store: read with suspicion, and made again from the metadata beside them.

bytes -> Plan      layers/LAYER/STAGE/zarr.json -> Plan
"""

from __future__ import annotations

import json
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from atlas.errors import AtlasError
from atlas.plans import STAGES, Plan, names_of, place
from atlas.store import layout
from atlas.store.seals import Seal, fits, found, parsed, seal_of, sealed
from atlas.units import encode

if TYPE_CHECKING:
    from atlas.store.store import Store

CHANNELS = 2**24
"""Units of a layer at most."""
SHARDS = 2**20
"""Shards of a plan at most: a billion images."""
OBJECT = 2**40
"""Bytes of an object at most, before it is packed."""
SHAPE = {
    "stage": str,
    "id": str,
    "engine": int,
    "recipe": dict,
    "numerics": dict,
    "wanted": [int],
    "part": ([str], None),
    "evidence": (str, None),
    "identity": {"model": str, "weights": str, "preprocessing": dict},
    "layer": (
        {"name": str, "kind": str, "channels": int, "size": [int], "stride": (int, float), "flops": int},
        None,
    ),
}
"""What is taken for granted of a plan; the rest is the recipe's own to check."""


@lru_cache(maxsize=1024)
def read(data: bytes) -> Plan:
    """The plan that `written` wrote. Raises ValueError where it is no plan, was altered, or is larger than a store.

    It is read once for the same bytes: before each shard it is asked whether its plan is still the store's.
    """
    saved = parsed(data)
    plan = _plan(saved)
    if plan.id != saved["id"] or seal_of(saved) is Seal.BROKEN:
        raise ValueError("it does not fit its own id")
    return plan


def written(plan: Plan) -> bytes:
    """A plan as it is stored."""
    return json.dumps(sealed(plan.to_dict()), indent=1, allow_nan=False).encode()


def restored(store: Store, key: str) -> Plan | None:
    """The plan of `plans/KEY` as the metadata of its arrays tells it; None where that does not fit its id.

    It asks for the shards that are done, and for those that the damaged plan can still be read to ask for; what
    established its layer's axes is what the layer's other plans say.
    """
    stage, layer, part = names_of(key)
    group = store.attributes_of(f"{layout.group_of(stage, layer, part)}/zarr.json")
    told = store.attributes_of(f"layers/{encode(layer)}/zarr.json").get("layer") if layer else None
    known = {name: group.get(name) for name in ("recipe", "numerics")} | {
        "layer": told,
        "part": list(part),
        "wanted": [],
    }
    named = {"stage": stage, "identity": store.identity.to_dict(), "id": group.get("plan")}
    saved = known | named | {"engine": STAGES[stage].engine if stage in STAGES else 0}
    try:
        plan = _plan(saved)
    except ValueError:
        return None
    if plan.id != saved["id"] or plan.key != key:
        return None
    asked = _asked(found(store.backend.get(f"plans/{key}")), plan)
    return plan.asking({*store.each_receipt(plan, lambda _: None), *asked}).established(
        _evidence(store, layer) if layer else ""
    )


def _evidence(store: Store, layer: str) -> str:
    """What a layer's plans say that established the order of its axes; nothing where none says it."""
    for stage in STAGES:
        with suppress(ValueError):
            plan = read(store.backend.get(f"plans/{place(stage, layer)}.json") or b"")
            if plan.layer is not None and plan.layer.evidence:
                return plan.layer.evidence
    return ""


def _asked(saved: Any, plan: Plan) -> list[int]:
    """What a damaged plan asks for, as far as there is such a shard."""
    wanted = saved.get("wanted") if isinstance(saved, dict) else None
    return [index for index in wanted or () if 0 <= index < plan.count] if fits(wanted, [int]) else []


def _plan(saved: dict[str, Any]) -> Plan:
    """The plan that parsed JSON spells. Raises ValueError where it spells none that a store can hold."""
    if not fits(saved, SHAPE):
        raise ValueError("it is no plan")
    try:
        plan = Plan.from_dict(saved)
        _check_size(plan)
    except (AtlasError, KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise ValueError("it is no plan") from error
    return plan


def _check_size(plan: Plan) -> None:
    """Raise ValueError where a plan is of more than a store can hold."""
    channels = plan.layer.channels if plan.layer else 0
    if not 0 <= channels <= CHANNELS:
        raise ValueError(f"it is of {channels:,} channels, more than a layer has")
    count = plan.count
    if not 0 <= count <= SHARDS or (plan.wanted and not 0 <= min(plan.wanted) <= max(plan.wanted) < count):
        raise ValueError(f"it is of {plan.total:,} {plan.over}, or asks for more than there are")
    for array in plan.arrays.values():
        size = array.rows
        for length in (*array.shape[1:], 8):
            size *= length
        if min(array.shape) < 0 or size > OBJECT:
            raise ValueError(f"an object of its array {array.name} would take {size:,} bytes")
