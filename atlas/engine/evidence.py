"""Whether the layers of a store are what its network says they are.

(store, model) -> evidence written into plans, and the layers that are wrong

Stores that were begun before layers carried evidence took the axes of some from their shapes alone. The network itself
tells which of them were right.
"""

from __future__ import annotations

from atlas.errors import StoreError
from atlas.models import Model
from atlas.plans import differences
from atlas.store import Store
from atlas.units import Layer


def establish(store: Store, model: Model) -> tuple[list[str], dict[str, str]]:
    """Hold every layer of `store` against `model`, and write into the plans of those that are right how it is known.

    The layers that are as the store says; and those that are not, or of which it is not known, each with what there is
    to be said.
    Raises `StoreError` where the store is another network's.
    """
    if lines := differences(store.identity.to_dict(), model.identity.to_dict()):
        raise StoreError(f"{store} holds another network than {model.spec}: {'; '.join(lines)}.")
    right: dict[str, None] = {}
    wrong: dict[str, str] = {}
    known = {layer.name: layer for layer in model.layers}
    for plan in (plan for plan in store.plans() if plan.layer is not None):
        found = known.get(plan.layer_name)
        if plan.on.evidence == "said":
            right[plan.layer_name] = None
        elif found is None:
            wrong[plan.layer_name] = model.discovery.doubtful.get(plan.layer_name, "the network has no such layer")
        elif told := _differences(plan.on, found):
            wrong[plan.layer_name] = f"{told}. Its units are not the network's channels: build it in another store"
        else:
            right[plan.layer_name] = None
            if not plan.on.evidence:
                store.prepare([plan.established(found.evidence)])
    return list(right), wrong


def _differences(ours: Layer, theirs: Layer) -> str:
    """In what a stored layer is not what was found: its axes, and what follows from them."""
    told = [
        f"{what} {mine} in the store, {other} in the network"
        for what, mine, other in (
            ("axes", _axes(ours), _axes(theirs)),
            ("channels", ours.channels, theirs.channels),
            ("positions", _size(ours), _size(theirs)),
        )
        if mine != other
    ]
    return ", ".join(told)


def _axes(layer: Layer) -> str:
    return layer.layout + (f"+{layer.prefix}" if layer.prefix else "")


def _size(layer: Layer) -> str:
    return "x".join(map(str, layer.size)) or "in no known grid"
