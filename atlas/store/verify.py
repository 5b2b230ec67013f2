"""Does a store hold what it says? Every object is read and hashed again.

    Store -> findings: missing, torn, foreign, unfinished

`unfinished` is no damage: data whose receipt was never written, as a killed worker leaves it; the next build writes it
again. Everything else is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from atlas.errors import StoreError
from atlas.plan import Plan, Shard
from atlas.store import schema
from atlas.store.receipts import Receipt, Stored, unfold
from atlas.store.store import Store

Kind = Literal["missing", "torn", "foreign", "unfinished"]
TOP = (schema.ROOT, "catalogue.json", schema.CLASSES, schema.LAYERS)
"""Objects that belong to no layer."""


@dataclass(frozen=True)
class Finding:
    """One object that is not as it should be."""

    kind: Kind
    key: str
    reason: str
    shard: Shard | None = None
    """The shard to be made again."""
    receipt: str = ""
    """Key of the reduce's receipt, where the reduce is to be done again."""


@dataclass(frozen=True)
class Verified:
    """What was read, and what was found."""

    objects: int
    bytes: int
    shards: int
    backoffs: int
    """Shards that ran out of memory on the way and were made at another width."""
    findings: tuple[Finding, ...]

    @property
    def strange(self) -> list[Finding]:
        """Files that nothing of ours accounts for: no build makes or removes them."""
        return [finding for finding in self.findings if finding.kind == "foreign" and not finding.receipt]

    @property
    def damage(self) -> list[Finding]:
        """What the next build can make again, once it is forgotten."""
        return [each for each in self.findings if each.kind != "unfinished" and each not in self.strange]


def verify(store: Store) -> Verified:
    """Read every object of `store` and hold it against plans and receipts. Changes nothing."""
    plans, findings = _plans(store)
    claimed: dict[str, Stored] = {}
    shards = backoffs = 0
    for plan in plans:
        receipts = store.receipts(plan)
        shards += len(receipts)
        backoffs += sum(bool(receipt.record.get("backoff")) for receipt in receipts.values())
        findings += _damaged_receipts(store, plan)
        columns = Receipt.parse(store.backend.get(schema.columns_receipt(plan))) if schema.reduces(plan) else None
        # What shards wrote for the reduce alone is dropped once that was done.
        dropped = store.dropped(plan) if columns else set()
        gone = {key for index in dropped for key in schema.scratch_objects(plan, index)}
        for receipt in receipts.values():
            held = tuple(one for one in receipt.objects if one.key not in gone)
            findings += _held_against(store, held, plan.shard(receipt.shard))
            claimed |= {stored.key: stored for stored in held}
        if schema.reduces(plan):
            claimed |= {stored.key: stored for stored in columns.objects} if columns else {}
            findings += _columns(store, plan, columns)
    for key in (schema.LIST, schema.RELATIONS):
        whole = store.reduced(key)
        if whole is not None:
            claimed |= {stored.key: stored for stored in whole.objects}
            findings += _held_against(store, whole.objects, None, key)
    keys = list(store.backend.list())
    metadata = _expected(plans)
    findings += _metadata(store, metadata)
    known = claimed.keys() | metadata.keys() | {finding.key for finding in findings}
    findings += _unclaimed(store, plans, keys, known)
    size = sum(stored.size for stored in claimed.values())
    return Verified(len(keys), size, shards, backoffs, tuple(findings))


def repair(store: Store, findings: tuple[Finding, ...]) -> list[Shard]:
    """Forget what is damaged, so that the next build makes it again; say which shards. Foreign files stay.

    Metadata is written anew at once.
    """
    damage = [finding for finding in findings if finding.kind != "unfinished"]
    damaged = {finding.shard for finding in damage if finding.shard is not None}
    for finding in damage:
        if finding.receipt:
            store.backend.delete(finding.receipt)
        if finding.kind == "torn" and _made_again(finding.key):
            store.backend.delete(finding.key)
    plans, _ = _plans(store)
    for plan in plans:
        mine = {shard.index for shard in damaged if (shard.stage, shard.layer, shard.part) == plan.names}
        if schema.columns_receipt(plan) in {finding.receipt for finding in damage}:
            mine |= store.dropped(plan)  # what the reduce would read
            damaged |= {plan.shard(index) for index in mine}
        if mine:
            store.forget(plan, mine)
    store.prepare(plans)
    return sorted(damaged)


def _made_again(key: str) -> bool:
    """Whether a damaged object is better gone: not the root, nor a manifest, whose other receipts may be whole."""
    return key.endswith(".json") and key != schema.ROOT and not key.startswith("manifests/")


def _plans(store: Store) -> tuple[list[Plan], list[Finding]]:
    """The plans that can be read, and what is wrong with the others."""
    plans, findings = [], []
    for key in store.backend.list("plans/"):
        try:
            plan = store.plan(key.removeprefix("plans/"))
        except StoreError:
            findings.append(Finding("torn", key, "it does not parse or fails its own id"))
            continue
        if plan is not None and plan.identity == store.identity and key == f"plans/{plan.key}":
            plans.append(plan)
        else:
            findings.append(Finding("foreign", key, "it is of another network or layer"))
    return plans, findings


def _held_against(
    store: Store, objects: tuple[Stored, ...], shard: Shard | None, receipt: str = ""
) -> Iterator[Finding]:
    """What differs between the objects a receipt names and the objects that are there."""
    for stored in objects:
        data = store.backend.get(stored.key)
        if data is None:
            yield Finding("missing", stored.key, "its receipt names it, but it is not there", shard, receipt)
        elif len(data) != stored.size:
            yield Finding(
                "torn", stored.key, f"it has {len(data)} bytes, its receipt says {stored.size}", shard, receipt
            )
        elif hashlib.sha256(data).hexdigest() != stored.sha256:
            yield Finding("torn", stored.key, "its hash is not the one in its receipt", shard, receipt)


def _damaged_receipts(store: Store, plan: Plan) -> Iterator[Finding]:
    """Receipts and manifests of a plan that do not parse, fail their digest or name another plan."""
    shards = {f"receipts/{shard.key}": shard for shard in plan.complete.shards}
    for key in store.backend.list(f"receipts/{plan.key.removesuffix('.json')}/"):
        receipt = Receipt.parse(store.backend.get(key))
        if key not in shards:
            yield Finding("foreign", key, "it is no receipt of this layer")
        elif receipt is None:
            yield Finding("torn", key, "it does not parse or fails its own digest", shards[key])
        elif receipt.plan != plan.id or receipt.shard != shards[key].index:
            other = f"shard {receipt.shard} of plan {receipt.plan[:12]}"
            yield Finding("foreign", key, f"it is of {other}, the store's is {plan.id[:12]}", shards[key])
    data = store.backend.get(schema.manifest_key(plan))
    if data is not None:
        whole = {receipt.shard for receipt in unfold(data) if receipt.plan == plan.id}
        lost = len(set(plan.needed) - whole - set(store.receipts(plan)))
        if lost:
            yield Finding("torn", schema.manifest_key(plan), f"{lost} of its receipts are torn, altered or gone")


def _columns(store: Store, plan: Plan, columns: Receipt | None) -> Iterator[Finding]:
    """What is wrong with a layer's numbers and thumbnails."""
    key = schema.columns_receipt(plan)
    if columns is None:
        if store.backend.get(key) is not None:
            yield Finding("torn", key, "it does not parse or fails its own digest")
    elif columns.plan != store.digest(plan):
        yield Finding("unfinished", key, "there are receipts that it does not rest on yet")
    else:
        yield from _held_against(store, columns.objects, None, key)


def _metadata(store: Store, expected: dict[str, bytes]) -> Iterator[Finding]:
    """Groups and arrays that were planned and are not there, or not as planned."""
    for key, data in expected.items():
        there = store.backend.get(key)
        if there is None:
            yield Finding("missing", key, "metadata of a planned layer")
        elif not _agree(_parsed(data), _parsed(there)):
            yield Finding("torn", key, "it is not what the plan says")


def _unclaimed(store: Store, plans: list[Plan], keys: list[str], known: set[str]) -> Iterator[Finding]:
    """Objects that no plan and no receipt accounts for, and small ones that do not parse."""
    small, data = {*TOP, schema.LIST, schema.RELATIONS}, set()
    for plan in plans:
        small |= {f"plans/{plan.key}", schema.manifest_key(plan), schema.columns_receipt(plan)}
        small |= {f"receipts/{shard.key}" for shard in plan.complete.shards}
        data |= schema.data_keys(plan)
    for key in keys:
        if key in known:
            continue
        if key in data:
            yield Finding("unfinished", key, "data without a receipt; the next build writes it again")
        elif key not in small and not key.startswith(("logs/", schema.CALIBRATIONS, schema.TABLES)):
            yield Finding("foreign", key, "no plan accounts for it")
        elif not key.startswith(("receipts/", "manifests/", schema.TABLES)) and _parsed(store.backend.get(key)) is None:
            yield Finding("torn", key, "it is no JSON")


def _expected(plans: list[Plan]) -> dict[str, bytes]:
    """The metadata of all plans, which those of one layer share."""
    layers: dict[str, list[Plan]] = {}
    for plan in plans:
        layers.setdefault(plan.layer_name, []).append(plan)
    return {key: data for some in layers.values() for key, data in schema.metadata(some).items()}


def _parsed(data: bytes | None) -> Any:
    """What JSON says; None where it is none."""
    try:
        return json.loads(data or b"")
    except ValueError:
        return None


def _agree(ours: Any, theirs: Any) -> bool:
    """Whether two pieces of metadata say the same wherever both say something: Zarr's versions may add to it."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        # A store that an older minor version began says so in its groups.
        shared = (ours.keys() & theirs.keys()) - {"encoding-version"}
        return all(_agree(ours[name], theirs[name]) for name in shared)
    return bool(ours == theirs)
