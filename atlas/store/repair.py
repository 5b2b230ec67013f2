"""Mending a store: what can be made again from what is whole is, and the rest is forgotten, for the next build.

Store, findings -> shards to be made again
"""

from __future__ import annotations

import json
from typing import Any

from atlas.plans import Plan, Shard
from atlas.store import layout
from atlas.store import plans as objects
from atlas.store.seals import Seal, found, seal_of, sealed
from atlas.store.store import Store
from atlas.store.verify import UNDAMAGED, Finding, carries_its_own, identity_of, plans_of


def repair(store: Store, findings: tuple[Finding, ...]) -> list[Shard]:
    """Forget what is damaged, so that the next build makes it again; say which shards. Foreign files stay.

    Metadata and plans are written anew at once, and small objects of older stores get their hashes.
    """
    damage = [finding for finding in findings if finding.kind not in UNDAMAGED]
    torn = {finding.key for finding in damage if finding.kind == "torn"}
    _mend_root(store)
    for key in sorted({finding.key for finding in damage if finding.kind != "foreign"}):
        if key.startswith("plans/"):
            _mend_plan(store, key)
    damaged = {finding.shard for finding in damage if finding.shard is not None}
    for finding in damage:
        if finding.receipt:
            store.backend.delete(finding.receipt)
        if finding.key in torn and _better_gone(finding.key):
            store.backend.delete(finding.key)
    plans, _ = plans_of(store)
    for plan in plans:
        mine = {shard.index for shard in damaged if shard.names == plan.names}
        if layout.columns_receipt(plan) in {finding.receipt for finding in damage}:
            mine |= store.dropped(plan)  # what the reduce would read
            damaged |= {plan.shard(index) for index in mine}
        if mine or layout.manifest_key(plan) in torn:
            store.forget(plan, mine)
    store.prepare(plans)
    if not store.sealed:
        _seal(store)
    return sorted(damaged)


def cure(finding: Finding) -> str:
    """What a repair does about a finding, and what is left to do."""
    key = finding.key
    vouching = finding.receipt or key
    if key == layout.INDEX or vouching.startswith(layout.RECEIPTS_OF_DERIVED) or key.startswith(layout.TABLES):
        return "derived, and made anew"
    if finding.kind in UNDAMAGED:
        return f"left for {'the next build' if finding.kind == 'unfinished' else 'atlas retry'}"
    if finding.kind == "foreign" and not finding.shard:
        return "left as it is"
    if finding.shard is not None:
        return f"{finding.shard} will be made again by the next atlas build"
    if key == layout.ROOT:
        return "made anew where the plans tell it, else by the next atlas build"
    if key.startswith("plans/"):
        return (
            "restored from the metadata of its arrays, with the shards that are done; if that is not possible, run the "
            "atlas build that made it"
        )
    if key.startswith("manifests/"):
        return "the receipts in it that are whole are kept, the shards of the others will be made again"
    if key.endswith("zarr.json"):
        return "made anew from the plan"
    if finding.receipt or key.startswith("receipts/") or (finding.kind == "missing" and key == layout.CLASSES):
        return "will be made again by the next atlas build"
    return "taken out: nothing else in the store tells what it said"


def _mend_root(store: Store) -> None:
    """Write the root anew where the plans tell of which network the store is, and all else in it is as written."""
    if seal_of(store.attributes) is not Seal.BROKEN:
        return
    told = store.attributes | {"identity": identity_of(store).to_dict()}
    if seal_of(told) is Seal.WHOLE:
        _put_root(store, told)
        store.identity = identity_of(store)


def _mend_plan(store: Store, key: str) -> None:
    """Write a plan anew from the metadata of its arrays; else take it out: the build that made it brings it back."""
    plan: Plan | None = objects.restored(store, key.removeprefix("plans/"))
    if plan is None:
        store.backend.delete(key)
    else:
        store.backend.put(key, objects.written(plan))


def _better_gone(key: str) -> bool:
    """Whether a damaged object is better gone.

    Not the root or a plan, which are mended, nor a manifest, whose other receipts may be whole.
    """
    kinds = (".json", ".jsonl", ".parquet")
    return key.endswith(kinds) and key != layout.ROOT and not key.startswith(("manifests/", "plans/"))


def _seal(store: Store) -> None:
    """Give the small objects of an older store their hashes; the root last, which says that all have one."""
    for key in [key for key in store.backend.list() if carries_its_own(key) and key != layout.ROOT]:
        value = found(store.backend.get(key))
        if isinstance(value, dict):
            store.put_json(key, value)
    _put_root(store, sealed(store.attributes))
    store.sealed = True


def _put_root(store: Store, attributes: dict[str, Any]) -> None:
    store.backend.put(layout.ROOT, json.dumps(layout.group_with(attributes), indent=1).encode())
    store.attributes = attributes
