"""A store: one network's pictures and numbers, and what says that they are whole.

    place -> Store: plans, shards, receipts, columns

Law: metadata before any shard, then data, then the receipt. A shard owns one whole Zarr shard and the
store refuses any other write.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from atlas.errors import AtlasError, NotAStore, PlanMismatch, StoreError, StoreTooNew
from atlas.plan import Identity, Plan, Shard, differences
from atlas.store import schema
from atlas.store.backends import Backend, backend_at
from atlas.store.bridge import ZarrStore, encoded
from atlas.store.receipts import Receipt, Stored, digest_of, fold, unfold

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


class Store:
    """An open store. Make one with `Store.open` or `Store.create`."""

    def __init__(self, backend: Backend, attributes: dict[str, Any]) -> None:
        self.backend = backend
        self.attributes = attributes
        self.identity = Identity.from_dict(attributes["identity"])
        self.model: dict[str, Any] = attributes["model"]

    def __str__(self) -> str:
        return str(self.backend)

    # -- opening ---------------------------------------------------------------------------------------------------

    @classmethod
    def open(cls, place: str | Path | Backend) -> Store:
        """The store at `place`. Raises `NotAStore`, or `StoreTooNew` for a newer major version."""
        backend = backend_at(place)
        attributes = _attributes(backend.get(schema.ROOT))
        if attributes.get("encoding-type") != schema.STORE:
            raise NotAStore(f"{backend} is no atlas store. Build one: atlas build MODEL --store {backend}")
        check_version(attributes, where=str(backend))
        try:
            return cls(backend, attributes)
        except (KeyError, TypeError) as error:
            raise NotAStore(f"{backend}/{schema.ROOT} is damaged: it does not say what network it is of.") from error

    @classmethod
    def create(cls, place: str | Path | Backend, identity: Identity, model: dict[str, Any]) -> Store:
        """The store at `place` for `identity`, made where there is none.

        Raises `PlanMismatch` where the store there is another network's, `NotAStore` where other files lie there.
        """
        backend = backend_at(place)
        first = next(iter(backend.list()), None)
        if first is None:
            # Of two that make a store at the same time one wins; the other finds it and compares.
            backend.put_new(schema.ROOT, _json(schema.root_group(identity.to_dict(), model)))
        elif _attributes(backend.get(schema.ROOT)).get("encoding-type") != schema.STORE:
            raise NotAStore(f"{backend} is not empty ({first}) and no atlas store. Name another folder with --store.")
        store = cls.open(backend)
        _compare(store.identity.to_dict(), identity.to_dict(), f"{backend} holds another network")
        return store

    def array(self, path: str) -> zarr.Array[Any]:
        """The array at `path`, for reading. Raises `StoreError` where there is none."""
        try:
            return zarr.open_array(ZarrStore(self.backend, read_only=True), path=path, mode="r")
        except (FileNotFoundError, KeyError, ValueError) as error:
            raise StoreError(f"{self}: there is no readable array {path}. See what is missing: atlas verify") from error

    # -- plans -----------------------------------------------------------------------------------------------------

    def plan(self, key: str) -> Plan | None:
        """The plan saved under `plans/KEY`. Raises `StoreError` where it is damaged: it owns outputs all the same."""
        data = self.backend.get(f"plans/{key}")
        try:
            return None if data is None else _read_plan(data)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(
                f"{self}/plans/{key} is damaged. Delete it and build as before: what is finished is kept."
            ) from error

    def plans(self) -> list[Plan]:
        """Every plan in the store, in the order in which the network computes their layers."""
        keys = (key.removeprefix("plans/") for key in self.backend.list("plans/"))
        found = [plan for plan in map(self.plan, keys) if plan is not None]
        return sorted(found, key=lambda plan: (plan.stage, plan.layer.flops, plan.layer.name))

    def check(self, plans: Iterable[Plan]) -> None:
        """Raise `PlanMismatch` where another plan owns the outputs of one of `plans`. Writes nothing."""
        for plan in plans:
            _compare(self.identity.to_dict(), plan.identity.to_dict(), f"{self} holds another network")
            saved = self.plan(plan.key)
            if saved is not None:
                _compare(saved.content, plan.content, f"{self} has {plan.layer.name} from another plan")

    def prepare(self, plans: Sequence[Plan]) -> list[Plan]:
        """Write the metadata of `plans`; give them back, each asking also for what was asked for before.

        Everything is compared before anything is written. Raises as `check`.
        """
        self.check(plans)
        return [self._prepared(plan) for plan in plans]

    def _prepared(self, plan: Plan) -> Plan:
        saved = self.plan(plan.key)
        merged = plan if saved is None else saved.asking(plan.wanted)
        for key, data in schema.metadata(merged).items():
            if saved is None or self.backend.get(key) is None:
                self._put(key, data)
        # Last, so that a plan in the store means that its arrays are there.
        self._put(f"plans/{plan.key}", _json(merged.to_dict()))
        return merged

    # -- shards ----------------------------------------------------------------------------------------------------

    def write_shard(self, plan: Plan, shard: Shard, pictures: Pixels) -> Stored:
        """Write the pictures of a whole shard, uint8 [units,variants,h,w,3], and say what was written.

        Raises `AtlasError` for anything but exactly the whole shard, `PlanMismatch` where `plan` owns no pictures here.
        """
        recipe = plan.recipe
        shape = (shard.stop - shard.start, len(recipe.variants), recipe.size, recipe.size, 3)
        whole = shard.index in plan.complete.wanted and shard == plan.shard(shard.index)
        if not whole or pictures.shape != shape or pictures.dtype != np.uint8:
            raise AtlasError(
                f"{shard}: a shard is written whole, as uint8 {shape}; not {pictures.dtype} {pictures.shape}."
            )
        (stored,) = self._write(plan, "image", slice(shard.start, shard.stop), pictures)
        return stored

    def read_shard(self, plan: Plan, shard: Shard) -> Pixels:
        """The pictures of a shard, uint8 [units,variants,h,w,3], as a reader sees them. Raises as `read`."""
        return self.read(f"{schema.features_key(plan.layer)}/image", slice(shard.start, shard.stop))

    def read(self, path: str, rows: slice) -> np.ndarray[Any, Any]:
        """Rows of the array at `path`, which must be there.

        Raises `StoreError` where an object is gone, of which Zarr alone would read black pictures, or damaged.
        """
        array = self.array(path)
        length = (array.shards or array.chunks)[0]
        for index in range(rows.start // length, -(-rows.stop // length)):
            key = f"{path}/c/{index}{'/0' * (array.ndim - 1)}"
            if self.backend.range(key, 0, 0) is None:
                raise StoreError(f"{self}: {key} is gone. See what else is: atlas verify")
        try:
            return np.asarray(array[rows])
        except (OSError, ValueError) as error:
            raise StoreError(f"{self}: {path} is damaged at {rows.start}. See what else is: atlas verify") from error

    def _write(self, plan: Plan, name: str, rows: slice, values: np.ndarray[Any, Any]) -> list[Stored]:
        """Write the whole Zarr shards of the array `name` that `rows` are, and say what was written."""
        group = schema.features_key(plan.layer)
        owner = _attributes(self.backend.get(f"{group}/zarr.json")).get("plan")
        if owner != plan.id:
            raise PlanMismatch(f"{self}: {plan.layer.name} belongs to plan {str(owner)[:12]}, not {plan.id[:12]}.")
        path = f"{group}/{name}"
        objects = encoded(path, self.backend.get(f"{path}/zarr.json") or b"", rows, values)
        for key, data in objects.items():
            self.backend.put(key, data)
        return [Stored(key, len(data), hashlib.sha256(data).hexdigest()) for key, data in objects.items()]

    # -- receipts --------------------------------------------------------------------------------------------------

    def receipts(self, plan: Plan) -> dict[int, Receipt]:
        """The valid receipts of `plan` by the index of their shard, asked for or not."""
        # The single ones first: a fold that goes on meanwhile writes the manifest before it deletes them.
        single = [Receipt.parse(self.backend.get(key)) for key in self.backend.list(f"receipts/{_folder(plan)}")]
        folded = unfold(self.backend.get(schema.manifest_key(plan)))
        found = [*folded, *(receipt for receipt in single if receipt is not None)]
        return {receipt.shard: receipt for receipt in found if receipt.plan == plan.id}

    def receipt(self, plan: Plan, shard: Shard) -> Receipt | None:
        """The valid receipt of one shard, if it is done."""
        single = Receipt.parse(self.backend.get(f"receipts/{shard.key}"))
        if single is not None and single.plan == plan.id:
            return single
        return self.receipts(plan).get(shard.index)

    def put_receipt(self, plan: Plan, shard: Shard, receipt: Receipt) -> None:
        """Write a shard's receipt. The first valid one stays; one that is torn or foreign is replaced."""
        self._put_receipt(f"receipts/{shard.key}", receipt, plan.id)

    def todo(self, plan: Plan) -> list[Shard]:
        """What is left of `plan`: the whole of resuming."""
        done = self.receipts(plan)
        return [shard for shard in plan.shards if shard.index not in done]

    def _put_receipt(self, key: str, receipt: Receipt, plan: str) -> None:
        if self.backend.put_new(key, receipt.to_bytes()):
            return
        there = Receipt.parse(self.backend.get(key))
        if there is None or there.plan != plan:
            self.backend.put(key, receipt.to_bytes())

    # -- columns: the reduce of a layer ----------------------------------------------------------------------------

    def columns_done(self, plan: Plan) -> bool:
        """Whether the columns and thumbnails rest on the receipts that are there now."""
        receipt = Receipt.parse(self.backend.get(schema.columns_receipt(plan)))
        return receipt is not None and receipt.plan == digest_of(self.receipts(plan).values())

    def settled(self, plan: Plan) -> bool:
        """Whether nothing is left for a layer's reduce: its columns are done, and folded where it is whole."""
        whole = len(self.receipts(plan)) == len(plan.complete.wanted)
        single = next(iter(self.backend.list(f"receipts/{_folder(plan)}")), None)
        return self.columns_done(plan) and not (whole and single)

    def write_columns(self, plan: Plan, columns: dict[str, np.ndarray[Any, Any]], thumbs: Pixels) -> list[Stored]:
        """Write a layer's numbers ([channels,variants] each) and thumbnails, whole, and say what was written.

        Raises `AtlasError` for anything but whole arrays.
        """
        grid, thumb = (plan.layer.channels, len(plan.recipe.variants)), (schema.THUMB, schema.THUMB, 3)
        if any(columns[name].shape != grid for name in schema.COLUMNS) or thumbs.shape != (*grid, *thumb):
            raise AtlasError(f"columns of {plan.layer.name}: written whole, as {grid} and {(*grid, *thumb)}.")
        arrays = {name: columns[name] for name in schema.COLUMNS} | {"thumb": thumbs}
        return [stored for name, values in arrays.items() for stored in self._write(plan, name, slice(None), values)]

    def put_columns_receipt(self, plan: Plan, receipt: Receipt) -> None:
        self._put_receipt(schema.columns_receipt(plan), receipt, receipt.plan)

    def fold(self, plan: Plan) -> bool:
        """Fold the receipts of a layer all of whose shards are done into its manifest; say whether it was."""
        receipts = self.receipts(plan)
        if len(receipts) < len(plan.complete.wanted):
            return False
        single = list(self.backend.list(f"receipts/{_folder(plan)}"))
        if single:
            self.backend.put(schema.manifest_key(plan), fold(receipts.values()))
        for key in single:
            self.backend.delete(key)
        return True

    def forget(self, plan: Plan, indices: set[int]) -> None:
        """Drop the receipts of the shards `indices` of `plan`, so that the next build makes them again."""
        kept = [receipt for receipt in self.receipts(plan).values() if receipt.shard not in indices]
        for receipt in kept:
            self.put_receipt(plan, plan.shard(receipt.shard), receipt)
        self.backend.delete(schema.manifest_key(plan))
        for index in indices:
            self.backend.delete(f"receipts/{plan.shard(index).key}")

    # -- records ---------------------------------------------------------------------------------------------------

    def put_json(self, key: str, value: Any) -> None:
        """Write a small derived or recorded object: `catalogue.json`, a log."""
        self._put(key, _json(value))

    def get_json(self, key: str) -> Any:
        """A small object; None where there is none, or none that parses."""
        try:
            return json.loads(self.backend.get(key) or b"null")
        except ValueError:
            return None

    def _put(self, key: str, data: bytes) -> None:
        """Write a small object unless it is there already, the same."""
        if self.backend.get(key) != data:
            self.backend.put(key, data)


def check_version(attributes: dict[str, Any], *, where: str) -> None:
    """Raise `StoreTooNew` where `attributes` are of a newer major version than ours."""
    theirs, ours = str(attributes.get("encoding-version", "")), schema.VERSION
    if not re.fullmatch(r"[0-9]+\.[0-9]+", theirs):
        raise NotAStore(f"{where} has no readable version ({theirs!r}). Is it damaged? See: atlas verify")
    if int(theirs.partition(".")[0]) > int(ours.partition(".")[0]):
        writer = str(attributes.get("written-by", "atlas-builder")).replace(" ", ">=")
        raise StoreTooNew(
            f"{where} has version {theirs}, this atlas-builder reads {ours} and older. "
            f"Install the one that wrote it: pip install '{writer}'"
        )


def _compare(ours: dict[str, Any], theirs: dict[str, Any], what: str) -> None:
    # Both as JSON, in which a tuple is a list.
    lines = differences(json.loads(_json(ours)), json.loads(_json(theirs)))
    if lines:
        raise PlanMismatch(f"{what}: {'; '.join(lines)}. Ask for the same, or name another store with --store.")


def _folder(plan: Plan) -> str:
    return plan.key.removesuffix(".json") + "/"


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, allow_nan=False).encode()


def _attributes(metadata: bytes | None) -> dict[str, Any]:
    """The attributes in a group's metadata; none where it is torn or no metadata."""
    try:
        attributes = json.loads(metadata or b"{}")["attributes"]
    except (ValueError, KeyError, TypeError):
        return {}
    return attributes if isinstance(attributes, dict) else {}


def _read_plan(data: bytes) -> Plan:
    """The plan that `to_dict` wrote. Raises ValueError where its id does not fit."""
    saved = json.loads(data)
    plan = Plan.from_dict(saved)
    if plan.id != saved["id"]:
        raise ValueError("the plan's id does not fit its content")
    return plan
