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
from typing import Literal

from atlas.plan import Plan, Shard
from atlas.store import schema
from atlas.store.receipts import Receipt, Stored, digest_of, unfold
from atlas.store.store import Store

Kind = Literal["missing", "torn", "foreign", "unfinished"]
TOP = ("zarr.json", "catalogue.json", "layers/zarr.json")
"""Objects that belong to no layer."""


@dataclass(frozen=True)
class Finding:
    """One object that is not as it should be."""

    kind: Kind
    key: str
    reason: str
    shard: Shard | None = None
    """The shard to be made again."""


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
    def damage(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.kind != "unfinished"]


def verify(store: Store) -> Verified:
    """Read every object of `store` and hold it against plans and receipts. Changes nothing."""
    plans = store.plans()
    findings: list[Finding] = []
    claimed: dict[str, Stored] = {}
    shards = backoffs = 0
    for plan in plans:
        receipts = store.receipts(plan)
        shards += len(receipts)
        backoffs += sum(bool(receipt.record.get("backoff")) for receipt in receipts.values())
        findings += _damaged_receipts(store, plan)
        for receipt in receipts.values():
            findings += _held_against(store, receipt.objects, plan.shard(receipt.shard))
            claimed |= {stored.key: stored for stored in receipt.objects}
        columns = Receipt.parse(store.backend.get(schema.columns_receipt(plan)))
        if columns is not None:
            findings += _columns(store, plan, columns, list(receipts.values()))
            claimed |= {stored.key: stored for stored in columns.objects}
    keys = list(store.backend.list())
    findings += _unclaimed(store, plans, keys, claimed)
    size = sum(stored.size for stored in claimed.values())
    return Verified(len(keys), size, shards, backoffs, tuple(findings))


def repair(store: Store, findings: tuple[Finding, ...]) -> list[Shard]:
    """Forget the receipts of damaged shards, so that the next build makes them again; say which."""
    damaged = {finding.shard for finding in findings if finding.shard is not None and finding.kind != "unfinished"}
    for plan in store.plans():
        mine = {shard.index for shard in damaged if shard.layer == plan.layer.name and shard.stage == plan.stage}
        if mine:
            store.forget(plan, mine)
    for finding in findings:
        if finding.key.startswith("receipts/"):
            store.backend.delete(finding.key)
    return sorted(damaged)


def _held_against(store: Store, objects: tuple[Stored, ...], shard: Shard | None) -> Iterator[Finding]:
    """What differs between the objects a receipt names and the objects that are there."""
    for stored in objects:
        data = store.backend.get(stored.key)
        if data is None:
            yield Finding("missing", stored.key, "its receipt names it, but it is not there", shard)
        elif len(data) != stored.size:
            yield Finding("torn", stored.key, f"it has {len(data)} bytes, its receipt says {stored.size}", shard)
        elif hashlib.sha256(data).hexdigest() != stored.sha256:
            yield Finding("torn", stored.key, "its hash is not the one in its receipt", shard)


def _damaged_receipts(store: Store, plan: Plan) -> Iterator[Finding]:
    """Receipts and manifests of a plan that do not parse, fail their digest or name another plan."""
    for key in store.backend.list(f"receipts/{plan.key.removesuffix('.json')}/"):
        receipt = Receipt.parse(store.backend.get(key))
        shard = Shard.of_key(key.removeprefix("receipts/"), plan.layer.channels)
        if receipt is None:
            yield Finding("torn", key, "it does not parse or fails its own digest", shard)
        elif receipt.plan != plan.id:
            yield Finding("foreign", key, f"it is of plan {receipt.plan[:12]}, not {plan.id[:12]}", shard)
    data = store.backend.get(schema.manifest_key(plan))
    if data is not None:
        whole = {receipt.shard for receipt in unfold(data) if receipt.plan == plan.id}
        lost = len(set(plan.complete.wanted) - whole - set(store.receipts(plan)))
        if lost:
            yield Finding("torn", schema.manifest_key(plan), f"{lost} of its receipts are torn, altered or gone")


def _columns(store: Store, plan: Plan, columns: Receipt, receipts: list[Receipt]) -> Iterator[Finding]:
    if columns.plan != digest_of(receipts):
        yield Finding(
            "unfinished", schema.columns_receipt(plan), "the layer has receipts its columns do not rest on yet"
        )
        return
    for finding in _held_against(store, columns.objects, None):
        yield Finding(finding.kind, finding.key, finding.reason)


def _unclaimed(store: Store, plans: list[Plan], keys: list[str], claimed: dict[str, Stored]) -> Iterator[Finding]:
    """Objects that no plan and no receipt accounts for."""
    known = set(TOP) | claimed.keys()
    for plan in plans:
        group = schema.features_key(plan.layer)
        arrays = [f"{group}/{name}/zarr.json" for name in ("image", "thumb", *schema.COLUMNS)]
        metadata = [f"{schema.layer_key(plan.layer)}/zarr.json", f"{group}/zarr.json", *arrays]
        yield from (Finding("missing", key, "metadata of a planned layer") for key in metadata if key not in keys)
        known |= {f"plans/{plan.key}", schema.manifest_key(plan), schema.columns_receipt(plan), *metadata}
    ours = {schema.features_key(plan.layer): plan for plan in plans}
    receipts = tuple(f"receipts/{plan.key.removesuffix('.json')}/" for plan in plans)
    for key in keys:
        if key in known or key.startswith(("logs/", *receipts)):
            yield from _json(store, key)
        elif any(key.startswith(f"{group}/") and "/c/" in key for group in ours):
            yield Finding("unfinished", key, "data without a receipt; the next build writes it again")
        else:
            yield Finding("foreign", key, "no plan accounts for it")


def _json(store: Store, key: str) -> Iterator[Finding]:
    """Metadata must at least parse."""
    if key.endswith(".json") and not key.startswith(("receipts/", "manifests/")):
        try:
            json.loads(store.backend.get(key) or b"")
        except ValueError:
            yield Finding("torn", key, "it is no JSON")
