"""Plans that are gone although something of theirs is left.

    Store -> {key of the plan below `plans/`: what is left of it}

A plan that is merely not there reads as a layer that nobody asked for: whatever is made from the plans would be short
of it and look whole. Receipts and manifests lie under the names of their plans, and the index tells of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from atlas.errors import StoreError
from atlas.plans import STAGES, names_of
from atlas.stages import FEATURES, IMAGES, LAYOUT
from atlas.store import layout
from atlas.store.plans import restored
from atlas.store.receipts import Receipt, unfold
from atlas.store.seals import fits, found

if TYPE_CHECKING:
    from atlas.store.store import Store

INDEX = {"layers": [{"key": str, "atlases": ({str: {"grids": [{"side": int}]}}, None)}]}
"""What is taken for granted of the index here."""


def lost(store: Store) -> dict[str, str]:
    """The plans that are gone, by their keys below `plans/`, each with the key of something that is of it."""
    # Plans come before what is of them and go after it. So they are looked for last, and what is of them once more.
    named = [*_by_manifests(store), *_by_receipts(store), *_by_door(store)]
    there = {key.removeprefix("plans/") for key in store.backend.list("plans/")}
    missing: dict[str, str] = {}
    for key, witness in named:
        if key not in there and key not in missing and _speaks(store, witness):
            missing[key] = witness
    return dict(sorted(missing.items()))


def gone(store: Store, key: str) -> StoreError:
    """What a reader says of a plan that is gone, and what to do."""
    if restored(store, key) is not None:
        return store.damaged(f"plans/{key}", "is gone")
    return StoreError(f"{store}: plans/{key} is gone. The atlas build that made it brings it back.")


def refuse(store: Store, *stages: str) -> None:
    """Raise `StoreError` where a plan of one of `stages` is gone; of any where none is named."""
    for key in lost(store):
        if not stages or names_of(key)[0] in stages:
            raise gone(store, key)


def folders_of(key: str) -> tuple[str, ...]:
    """What the keys of all that is of that plan start with."""
    columns = key.removeprefix(f"{FEATURES.name}/")
    receipts = f"receipts/{key.removesuffix('.json')}/"
    return f"{layout.group_of(*names_of(key))}/", receipts, f"manifests/{key}", f"receipts/columns/{columns}"


def _by_manifests(store: Store) -> Iterator[tuple[str, str]]:
    """Plans that manifests lie under the names of."""
    for key in store.backend.list("manifests/"):
        if key.removesuffix(".json").split("/")[1] in STAGES:
            yield key.removeprefix("manifests/"), key


def _by_receipts(store: Store) -> Iterator[tuple[str, str]]:
    """Plans that receipts lie under the names of."""
    for key in store.backend.list("receipts/"):
        _, *path = key.split("/")
        if key == layout.LIST:
            yield f"{IMAGES.name}.json", key
        elif path[0] == "columns":
            name = "/".join(path[1:])
            yield name if len(path) > 2 else f"{FEATURES.name}/{name}", key
        elif path[0] in STAGES and len(path) > 1:
            yield "/".join(path[:-1]) + ".json", key


def _by_door(store: Store) -> Iterator[tuple[str, str]]:
    """Plans that the index tells of: what is of them are their arrays, as long as these were not taken out."""
    index = found(store.backend.get(layout.INDEX))
    if not store.vouched(index) or not fits(index, INDEX):
        return
    if index.get("images"):
        yield f"{IMAGES.name}.json", f"{IMAGES.name}/zarr.json"
    for row in index["layers"]:
        yield from ((key, f"{layout.group_of(*names_of(key))}/zarr.json") for key in _of_row(row))


def _of_row(row: dict[str, Any]) -> Iterator[str]:
    """Plans that the index's row of a layer tells of."""
    yield from (f"{stage}/{row['key']}.json" for stage in STAGES if row.get(stage))
    for name, told in (row.get("atlases") or {}).items():
        yield f"{LAYOUT.name}/{row['key']}/{name}.json"
        for grid in told["grids"]:
            stages = (stage for stage in STAGES.values() if grid.get(stage.told))
            yield from (f"{stage.name}/{row['key']}/{name}/{grid['side']}.json" for stage in stages)


def _speaks(store: Store, witness: str) -> bool:
    """Whether it says what it says: a stray file under a plan's name is no trace of a plan."""
    if witness.endswith("/zarr.json"):
        return bool(store.attributes_of(witness).get("plan"))
    data = store.backend.get(witness)
    return any(map(bool, unfold(data))) if witness.startswith("manifests/") else Receipt.parse(data) is not None
