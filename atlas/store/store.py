"""A store: one network's pictures and numbers, and what says that they are whole.

    place -> Store: plans, shards, receipts, columns

Law: metadata before any shard, then data, then the receipt. A shard owns one whole Zarr shard and the
store refuses any other write.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.errors import ZarrUserWarning

from atlas.errors import AtlasError, NotAStore, PlanMismatch, StoreTooNew
from atlas.plan import Identity, Plan, Shard, differences
from atlas.store import schema
from atlas.store.backends import Backend, backend_at
from atlas.store.bridge import ZarrStore
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
        try:
            attributes = json.loads(backend.get("zarr.json") or b"{}").get("attributes", {})
        except (ValueError, AttributeError):
            attributes = {}
        if attributes.get("encoding-type") != schema.STORE:
            raise NotAStore(f"{backend} is no atlas store. Build one: atlas build MODEL --store {backend}")
        check_version(attributes, where=str(backend))
        return cls(backend, attributes)

    @classmethod
    def create(cls, place: str | Path | Backend, identity: Identity, model: dict[str, Any]) -> Store:
        """The store at `place` for `identity`, made where there is none.

        Raises `PlanMismatch` where the store there is another network's, `NotAStore` where other files lie there.
        """
        backend = backend_at(place)
        if backend.get("zarr.json") is not None:
            store = cls.open(backend)
            _compare(store.identity.to_dict(), identity.to_dict(), f"{backend} holds another network")
            return store
        if next(iter(backend.list()), None) is not None:
            raise NotAStore(f"{backend} is not empty and no atlas store. Name another folder with --store.")
        attributes = schema.root_attributes(identity.to_dict(), model)
        zarr.create_group(ZarrStore(backend), attributes=attributes)
        return cls(backend, attributes)

    def group(self, path: str) -> zarr.Group:
        """A group for reading, with its consolidated metadata where it has any."""
        return zarr.open_group(ZarrStore(self.backend, read_only=True), path=path, mode="r")

    # -- plans -----------------------------------------------------------------------------------------------------

    def plan(self, key: str) -> Plan | None:
        """The plan saved under `plans/KEY`."""
        data = self.backend.get(f"plans/{key}")
        return None if data is None else Plan.from_dict(json.loads(data))

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
        merged = [self._prepared(plan) for plan in plans]
        self._consolidate(merged)
        return merged

    def _prepared(self, plan: Plan) -> Plan:
        saved = self.plan(plan.key)
        if saved is None:
            schema.create_features(zarr.open_group(ZarrStore(self.backend), mode="r+", use_consolidated=False), plan)
        merged = plan if saved is None else plan.asking(saved.wanted)
        if merged != saved:
            # Last, so that a plan in the store means that its arrays are there.
            self.backend.put(f"plans/{plan.key}", json.dumps(merged.to_dict(), indent=1).encode())
        return merged

    def _consolidate(self, plans: Iterable[Plan]) -> None:
        """One metadata object a layer for the page, and one for the root for everybody else."""
        store = ZarrStore(self.backend)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ZarrUserWarning)  # of an extension to the format, and of plans and receipts
            for path in [*(schema.layer_key(plan.layer) for plan in plans), None]:
                zarr.consolidate_metadata(store, path=path)

    # -- shards ----------------------------------------------------------------------------------------------------

    def write_shard(self, plan: Plan, shard: Shard, pictures: Pixels) -> Stored:
        """Write the pictures of a whole shard, uint8 [units,variants,h,w,3], and say what was written.

        Raises `AtlasError` for anything but exactly the whole shard.
        """
        recipe = plan.recipe
        shape = (len(shard), len(recipe.variants), recipe.size, recipe.size, 3)
        if shard != plan.shard(shard.index) or pictures.shape != shape or pictures.dtype != np.uint8:
            raise AtlasError(
                f"{shard}: a shard is written whole, as uint8 {shape}; not {pictures.dtype} {pictures.shape}."
            )
        self._write(f"{schema.features_key(plan.layer)}/image", slice(shard.start, shard.stop), pictures)
        return self.stored(schema.image_object(plan, shard.index))

    def read_shard(self, plan: Plan, shard: Shard) -> Pixels:
        """The pictures of a shard, uint8 [units,variants,h,w,3], as a reader sees them."""
        array = zarr.open_array(ZarrStore(self.backend), path=f"{schema.features_key(plan.layer)}/image", mode="r")
        return np.asarray(array[shard.start : shard.stop], dtype=np.uint8)

    def stored(self, key: str) -> Stored:
        """Size and hash of the object at `key`, read back from where it lies."""
        data = self.backend.get(key)
        if data is None:
            raise AtlasError(f"{self}: {key} is not there although it was just written.")
        return Stored(key, len(data), hashlib.sha256(data).hexdigest())

    def _write(self, path: str, rows: slice, values: np.ndarray[Any, Any]) -> None:
        # Zarr leaves out chunks that equal the fill value, and deletes a shard of them: never here.
        with zarr.config.set({"array.write_empty_chunks": True}):
            array = zarr.open_array(ZarrStore(self.backend), path=path, mode="r+")
            array[rows] = values

    # -- receipts --------------------------------------------------------------------------------------------------

    def receipts(self, plan: Plan) -> dict[int, Receipt]:
        """The valid receipts of `plan` by the index of their shard, asked for or not."""
        folded = unfold(self.backend.get(schema.manifest_key(plan)))
        single = (Receipt.parse(self.backend.get(key)) for key in self.backend.list(f"receipts/{_folder(plan)}"))
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

    def write_columns(self, plan: Plan, columns: dict[str, np.ndarray[Any, Any]], thumbs: Pixels) -> list[Stored]:
        """Write a layer's numbers ([channels,variants] each) and thumbnails, whole, and say what was written."""
        group = schema.features_key(plan.layer)
        for name in schema.COLUMNS:
            self._write(f"{group}/{name}", slice(None), columns[name])
        self._write(f"{group}/thumb", slice(None), thumbs)
        keys = [key for name in (*schema.COLUMNS, "thumb") for key in self.backend.list(f"{group}/{name}/c/")]
        return [self.stored(key) for key in keys]

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
        self.backend.put(key, json.dumps(value, indent=1, allow_nan=False).encode())

    def get_json(self, key: str) -> Any:
        """A small object; None where there is none."""
        data = self.backend.get(key)
        return None if data is None else json.loads(data)


def check_version(attributes: dict[str, Any], *, where: str) -> None:
    """Raise `StoreTooNew` where `attributes` are of a newer major version than ours."""
    theirs, ours = str(attributes.get("encoding-version", "0.0")), schema.VERSION
    if int(theirs.split(".")[0]) > int(ours.split(".")[0]):
        writer = attributes.get("written-by", "a newer atlas-builder")
        raise StoreTooNew(
            f"{where} has store version {theirs}, this is atlas-builder for version {ours}. "
            f"Install at least the one that wrote it: {writer.replace(' ', '>=')}"
        )


def _compare(ours: dict[str, Any], theirs: dict[str, Any], what: str) -> None:
    lines = differences(ours, theirs)
    if lines:
        raise PlanMismatch(f"{what}: {'; '.join(lines)}. Ask for the same, or name another store with --store.")


def _folder(plan: Plan) -> str:
    return plan.key.removesuffix(".json") + "/"
