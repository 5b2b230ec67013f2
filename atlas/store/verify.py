"""Does a store hold what it says? Every object is read and hashed again.

    Store -> findings: missing, torn, foreign, unfinished

Data is held against the receipts that name it, metadata against the plans, and what neither knows against its own hash
(`seals`). `unfinished` is no damage: data whose receipt was never written, as a killed worker leaves it; the next build
writes it again. Nor is a `hole`: a unit that could not be made, which `atlas retry` tries again. Everything else is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from atlas.arrays import Array
from atlas.errors import StoreError, StoreTooNew
from atlas.plans import Identity, Plan, Shard, by_layer, hole, names_of
from atlas.recipe import Recipe
from atlas.stages import IMAGES
from atlas.store import layout
from atlas.store.builders import BUILDERS
from atlas.store.bundles import BUNDLES
from atlas.store.consistency import agree, newer
from atlas.store.logs import LINES, whole
from atlas.store.missing import folders_of, lost
from atlas.store.plans import restored
from atlas.store.receipts import Receipt, Stored, rows_of, unfold
from atlas.store.seals import Seal, found, seal_of, unsealed
from atlas.store.store import Store

Kind = Literal["missing", "torn", "foreign", "unfinished", "hole"]
UNDAMAGED = ("unfinished", "hole")
OWN = (layout.ROOT, layout.INDEX, layout.CLASSES, layout.PIPELINE)
OWN_FOLDERS = ("plans/", layout.CALIBRATIONS, layout.LOGS)
"""Objects that carry a hash of their own."""
BACK = "brings it back, or a repair does if the metadata of its arrays is intact"
ALTERED = "it is not what was written: its own hash does not fit"


@dataclass(frozen=True)
class Finding:
    """One object that is not as it should be."""

    kind: Kind
    key: str
    reason: str
    shard: Shard | None = None
    """The shard to be made again."""
    receipt: str = ""
    """Key of the receipt of what was written whole, where that is to be done again."""


@dataclass(frozen=True)
class Verified:
    """What was read, and what was found."""

    objects: int
    bytes: int
    shards: int
    backoffs: int
    """Shards that ran out of memory on the way and were made at another width."""
    findings: tuple[Finding, ...]
    bare: tuple[str, ...] = ()
    """Objects that an older version wrote without any hash: of these nobody can say that they are whole."""

    @property
    def strange(self) -> list[Finding]:
        """Files that nothing of ours accounts for: no build makes or removes them."""
        return [finding for finding in self.findings if finding.kind == "foreign" and not finding.receipt]

    @property
    def damage(self) -> list[Finding]:
        """What the next build can make again, once it is forgotten."""
        return [each for each in self.findings if each.kind not in UNDAMAGED and each not in self.strange]

    @property
    def holes(self) -> list[Finding]:
        """Units that could not be made."""
        return [each for each in self.findings if each.kind == "hole"]


def verify(store: Store) -> Verified:
    """Read every object of `store` and hold it against plans and receipts. Changes nothing.

    Raises `StoreTooNew` where a newer version wrote the store: it may hold what this one knows nothing of.
    """
    if newer(str(store.attributes.get("encoding-version"))):
        raise StoreTooNew(f"{store} was written by a newer version: verify it with that, or a newer one.")
    plans, findings = plans_of(store)
    # What is of a plan that cannot be read is held against what its arrays tell of it, or else left out of this.
    unread = [finding.key.removeprefix("plans/") for finding in findings if finding.kind != "foreign"]
    plans += [plan for plan in (restored(store, key) for key in unread) if plan is not None]
    unknown = set(unread) - {plan.key for plan in plans}
    claimed: dict[str, Stored] = {}
    shards = backoffs = 0
    for plan in plans:
        receipts = store.receipts(plan)
        shards += len(receipts)
        backoffs += sum(bool(receipt.record.get("backoff")) for receipt in receipts.values())
        findings += _damaged_receipts(store, plan)
        findings += _holes(plan, receipts)
        columns = store.reduced(layout.columns_receipt(plan)) if layout.reduces(plan) else None
        # What shards wrote for the reduce alone is dropped once that was done.
        dropped = store.dropped(plan) if columns else set()
        gone = {key for index in dropped for key in layout.scratch_objects(plan, index)}
        for receipt in receipts.values():
            held = tuple(one for one in receipt.objects if one.key not in gone)
            findings += _held_against(store, held, plan.shard(receipt.shard))
            claimed |= {stored.key: stored for stored in held}
        if layout.reduces(plan):
            claimed |= {stored.key: stored for stored in columns.objects} if columns else {}
            findings += _columns(store, plan, columns)
    derived = (key for folder in layout.RECEIPTS_OF_DERIVED for key in store.backend.list(folder))
    for key in (layout.LIST, layout.RELATIONS, *derived):
        made = store.reduced(key)
        claimed |= {stored.key: stored for stored in made.objects} if made else {}
        findings += _whole(store, key, made)
    findings += _other_images(store, plans)
    keys = list(store.backend.list())
    metadata = expected(plans)
    short = {layout.top_key(names_of(key)) for key in unknown}  # these tell of all plans of a layer
    findings += _metadata(store, {key: data for key, data in metadata.items() if key not in short})
    findings += _vouching_for_themselves(store, keys)
    known = claimed.keys() | metadata.keys() | {finding.key for finding in findings}
    theirs = tuple(folder for key in unknown for folder in folders_of(key)) + tuple(short)
    findings += _unclaimed(plans, [key for key in keys if not key.startswith(theirs)], known)
    size = sum(stored.size for stored in claimed.values())
    bare = tuple(key for key in keys if _is_bare(store, key) or (key.startswith(layout.TABLES) and key not in claimed))
    return Verified(len(keys), size, shards, backoffs, tuple(findings), () if store.sealed else bare)


def identity_of(store: Store) -> Identity:
    """The network that the store's plans are of, where its root was altered and they agree on another."""
    told = [plan.identity for plan in _readable(store).values()]
    altered = seal_of(store.attributes) is Seal.BROKEN and told and all(one == told[0] for one in told)
    return told[0] if altered else store.identity


def expected(plans: list[Plan]) -> dict[str, bytes]:
    """The metadata of all plans, which those of one layer share."""
    return {key: data for some in by_layer(plans).values() for key, data in layout.metadata(some).items()}


def carries_its_own(key: str) -> bool:
    """Whether an object vouches for itself."""
    return key in OWN or key.startswith(OWN_FOLDERS)


def plans_of(store: Store) -> tuple[list[Plan], list[Finding]]:
    """The plans that can be read, and what is wrong with the others."""
    readable, identity, plans = _readable(store), identity_of(store), []
    torn = (key for key in store.backend.list("plans/") if key not in readable)
    findings = [Finding("torn", key, "it does not parse or fails its own id") for key in torn]
    for key, witness in lost(store).items():
        findings.append(Finding("missing", f"plans/{key}", f"{witness} remains; the atlas build that made it {BACK}"))
    for key, plan in readable.items():
        if plan.identity == identity and key == f"plans/{plan.key}":
            plans.append(plan)
        if plan.identity != store.identity or key != f"plans/{plan.key}":
            findings.append(Finding("foreign", key, "it is of another network or layer"))
    return plans, findings


def _readable(store: Store) -> dict[str, Plan]:
    """The plans that can be read, by the keys of their objects."""
    plans: dict[str, Plan] = {}
    for key in store.backend.list("plans/"):
        with suppress(StoreError):
            if (plan := store.plan(key.removeprefix("plans/"))) is not None:
                plans[key] = plan
    return plans


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


def _holes(plan: Plan, receipts: dict[int, Receipt]) -> Iterator[Finding]:
    """Units that shards are done without."""
    for receipt in receipts.values():
        for unit, reason in receipt.holes.items():
            key = f"receipts/{plan.shard(receipt.shard).key}"
            yield Finding("hole", key, hole(plan, unit, reason))


def _damaged_receipts(store: Store, plan: Plan) -> Iterator[Finding]:
    """Receipts and manifests of a plan that do not parse, fail their digest or name another plan."""
    for key in store.backend.list(plan.receipts):
        receipt, shard = Receipt.parse(store.backend.get(key)), _shard_of(plan, key)
        if shard is None:
            yield Finding("foreign", key, "it is no receipt of this layer")
        elif receipt is None:
            yield Finding("torn", key, "it does not parse or fails its own digest", shard)
        elif receipt.plan != plan.id or receipt.shard != shard.index:
            other = f"shard {receipt.shard} of plan {receipt.plan[:12]}"
            yield Finding("foreign", key, f"it is of {other}, the store's is {plan.id[:12]}", shard)
    data = store.backend.get(layout.manifest_key(plan))
    if data is not None:
        rows, whole = (
            sum(1 for _ in rows_of(data)),
            {receipt.shard for receipt in unfold(data) if receipt.plan == plan.id},
        )
        # One that does not parse may have held all of them.
        if lost := rows - len(whole) if rows else max(1, len(set(plan.needed) - store.each_receipt(plan, bool).keys())):
            yield Finding("torn", layout.manifest_key(plan), f"{lost} of its receipts are torn, altered or gone")


def _shard_of(plan: Plan, key: str) -> Shard | None:
    """The shard whose receipt lies at `key`."""
    name = key.rpartition("/")[2].removesuffix(".json")
    if not (name.isdecimal() and int(name) * plan.kind.shard < plan.total):
        return None
    shard = plan.shard(int(name))
    return shard if key == f"receipts/{shard.key}" else None


def _columns(store: Store, plan: Plan, columns: Receipt | None) -> Iterator[Finding]:
    """What is wrong with a layer's numbers and thumbnails."""
    key = layout.columns_receipt(plan)
    yield from _whole(store, key, columns)
    # Where the plan that it rests on is damaged, that is a finding of its own.
    with suppress(StoreError):
        if columns is not None and columns.plan != store.digest(plan):
            yield Finding("unfinished", key, "there are receipts that it does not rest on yet")


def _whole(store: Store, key: str, receipt: Receipt | None) -> Iterator[Finding]:
    """What is wrong with what was written whole, whose receipt lies at `key`."""
    if receipt is not None:
        yield from _held_against(store, receipt.objects, None, key)
    elif store.backend.get(key) is not None:
        yield Finding("torn", key, "it does not parse or fails its own digest", receipt=key)


def _other_images(store: Store, plans: list[Plan]) -> Iterator[Finding]:
    """What rests on another list of images than the plan of the store's images."""
    shown = next((plan for plan in plans if plan.stage == IMAGES.name), None)
    if shown is None:
        return
    listed = store.reduced(layout.LIST)
    if listed is not None and listed.plan != shown.id:
        yield Finding(
            "torn", layout.LIST, f"it is of another list of images than plans/{shown.key}", receipt=layout.LIST
        )
    for plan in plans:
        if not isinstance(plan.recipe, Recipe) and plan.collection.images != shown.collection.images:
            yield Finding("foreign", f"plans/{plan.key}", f"it is of another list of images than plans/{shown.key}")


def _metadata(store: Store, planned: dict[str, bytes]) -> Iterator[Finding]:
    """Groups and arrays that were planned and are not there, or not as planned."""
    for key, data in planned.items():
        there = store.backend.get(key)
        if there is None:
            yield Finding("missing", key, "metadata of a planned layer")
        elif not agree(found(data), found(there)):
            yield Finding("torn", key, "it is not what the plan says")


def _vouching_for_themselves(store: Store, keys: list[str]) -> Iterator[Finding]:
    """Small objects that are not what was written, by their own hashes."""
    for key in filter(carries_its_own, keys):
        data = store.backend.get(key)
        if key.endswith(LINES):
            yield from () if whole(data) else (Finding("torn", key, ALTERED),)
            continue
        value = found(data)
        if value is None:
            yield Finding("torn", key, "it is no JSON")
        elif key == layout.ROOT:
            if not _is_root(value, sealed=store.sealed):
                yield Finding("torn", key, ALTERED)
        elif not store.vouched(value) and not key.startswith("plans/"):
            yield Finding("torn", key, ALTERED)
    index = store.get_json(layout.INDEX)
    if isinstance(index, dict) and index.get("named") is True and layout.CLASSES not in keys:
        yield Finding("missing", layout.CLASSES, "the index tells of names of classes")


def _is_root(value: object, *, sealed: bool) -> bool:
    """Whether the root says what it said, to the last word."""
    if not isinstance(value, dict) or not isinstance(value.get("attributes"), dict):
        return False
    attributes = value["attributes"]
    written = layout.root_group(attributes.get("identity", {}), attributes.get("model", {}))["attributes"]
    known = {**unsealed(written), **({"digest": ""} if sealed else {})}
    as_written = value == layout.group_with(attributes)
    return as_written and attributes.keys() == known.keys() and seal_of(attributes) is not Seal.BROKEN


def _is_bare(store: Store, key: str) -> bool:
    """Whether an object should vouch for itself, and cannot."""
    if not carries_its_own(key) or key.endswith(LINES):
        return False
    value = found(store.backend.get(key))
    return seal_of(value.get("attributes") if key == layout.ROOT and isinstance(value, dict) else value) is Seal.NONE


def _unclaimed(plans: list[Plan], keys: list[str], known: set[str]) -> Iterator[Finding]:
    """Objects that no plan and no receipt accounts for."""
    small = {layout.LAYERS, layout.LIST, layout.RELATIONS}
    owned: dict[str, Array] = {}
    layers = {plan.layer_name for plan in plans if plan.layer}
    derived = {f"{layout.derived_key(layer)}/": layout.derived_receipt(layer) for layer in layers}
    small |= set(derived.values())
    for plan in plans:
        small |= {layout.manifest_key(plan), layout.columns_receipt(plan)}
        owned |= {f"{layout.group_key(plan)}/{name}": array for name, array in plan.arrays.items()}
    folders = {plan.receipts: plan for plan in plans}
    for key in keys:
        path, _, index = key.rpartition("/c/")
        receipts = folders.get(f"{key.rpartition('/')[0]}/")
        if key in known or key in small or carries_its_own(key) or (receipts and _shard_of(receipts, key)):
            continue
        if path in owned and layout.is_object(owned[path], f"c/{index}"):
            yield Finding("unfinished", key, "data without a receipt; the next build writes it again")
        elif receipt := next((derived[folder] for folder in derived if key.startswith(folder)), None):
            kind: Kind = "foreign" if receipt in keys else "unfinished"
            yield Finding(kind, key, "it is derived, and no receipt names it", receipt=receipt)
        elif key.startswith(BUNDLES):
            yield Finding("unfinished", key, "a shard or columns not yet in place; the next build goes on with it")
        elif not key.startswith((layout.TABLES, layout.TABLE_RECEIPTS, BUILDERS)):  # who builds is no result
            yield Finding("foreign", key, "no plan accounts for it")
