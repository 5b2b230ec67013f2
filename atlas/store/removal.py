"""Taking out what a plan or a layer has in a store.

    store, layer -> the store without it
    store, plans -> the store without those whose place they take

Receipts go first, so that what is half gone is never taken for done; of a layer the plans go last, so that what was
stopped half way is found, and taken out, by the same command. What rests on all layers is to be made again afterwards.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain

from atlas.errors import UnknownName
from atlas.plans import Plan, names_of
from atlas.stages import FEATURES
from atlas.store import layout
from atlas.store.backends import PARTIAL, Backend, LocalBackend
from atlas.store.bundles import bundles_of
from atlas.store.missing import lost
from atlas.store.store import Store
from atlas.units import encode


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
    """Take out the plans that `plans` take the place of. Raises as `replaced`, before anything is taken out."""
    for old in replaced(store, plans):
        folders = (f"{layout.group_key(old)}/", *bundles_of(old.key))
        for key in (f"plans/{old.key}", *chain.from_iterable(map(store.backend.list, folders))):
            store.backend.delete(key)


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


def last_written(backend: Backend) -> float | None:
    """Seconds since anything was written, by the clock of the disk; None where that cannot be known."""
    if not isinstance(backend, LocalBackend):
        return None
    folder = backend.root / PARTIAL
    mark = folder / uuid.uuid4().hex
    with unnoticed(backend), suppress(OSError):
        before = folder.stat().st_mtime
        mark.touch()
        try:
            return max(0.0, mark.stat().st_mtime - before)
        finally:
            mark.unlink()
    return None


@contextmanager
def unnoticed(backend: Backend) -> Iterator[None]:
    """Inside the block nothing counts as written: it is no build."""
    folder = backend.root / PARTIAL if isinstance(backend, LocalBackend) else None
    before = folder.stat() if folder is not None and folder.is_dir() else None
    yield
    if folder is not None and before is not None:
        with suppress(OSError):
            os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))
