"""A store: one network's pictures and numbers, and what says that they are whole.

    place -> Store: plans, shards, receipts, columns

Law: metadata before any shard, then data, then the receipt. A shard owns one whole Zarr shard and the
store refuses any other write.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import zarr

from atlas.arrays import Array, Writer
from atlas.errors import AtlasError, CannotWrite, NotAStore, PlanMismatch, StoreError, StoreTooNew
from atlas.plans import STAGES, Identity, Key, Plan, Shard, differences, fingerprint, key_of
from atlas.recipe import Recipe
from atlas.store import layout
from atlas.store.backends import PROBES, Backend, backend_at
from atlas.store.bundles import Bundle, Due, Objects, bundle_key, commit, folder_of, put_receipt
from atlas.store.plans import read as read_plan
from atlas.store.plans import restored
from atlas.store.prepare import prepare
from atlas.store.receipts import Receipt, digest_of, digest_of_proofs, fold, manifest_of, rows_of, unfold
from atlas.store.seals import Seal, attributes_in, fits, found, seal_of, sealed, unsealed
from atlas.store.zarr_adapter import ZarrStore, encoded
from atlas.words import command, parameter

T = TypeVar("T")
Data = Mapping[str, np.ndarray[Any, Any]]
"""Values by the names of their arrays."""
Blocks = Iterable[np.ndarray[Any, Any]]
"""Rows of an array in their order, in pieces of whole objects: what is too large to be held at once."""


PARAMETERS = {
    "recipe.crops": parameter("crops"),
    "recipe.photographs": parameter("photographs"),
    "numerics.batch": parameter("batch"),
    "numerics.device": parameter("device"),
}
"""Fields of plans that a parameter of the same meaning sets: what a person is told by that name."""
ROOT = {
    "identity": {"model": str, "weights": str, "preprocessing": dict},
    "model": {"title": (str, None), "layers": ([str], None)},
}
"""What is taken for granted of the root's attributes."""
REBUILD = "Run the atlas build that made the store: it writes this anew, and keeps what is finished."


class Store:
    """An open store. Make one with `Store.open` or `Store.create`."""

    def __init__(self, backend: Backend, attributes: dict[str, Any]) -> None:
        self.backend = backend
        self.attributes = attributes
        self.identity = Identity.from_dict(attributes["identity"])
        self.model: dict[str, Any] = attributes["model"]
        self.sealed = seal_of(attributes) is not Seal.NONE
        """Whether small objects carry a hash of their own; those of older stores do not."""
        backend.settled = True

    def __str__(self) -> str:
        return str(self.backend)

    # -- opening ---------------------------------------------------------------------------------------------------

    @classmethod
    def open(cls, place: str | Path | Backend) -> Store:
        """The store at `place`. Raises `NotAStore`, or `StoreTooNew` for a newer major version."""
        backend = backend_at(place)
        attributes = attributes_in(found(backend.get(layout.ROOT)))
        if attributes.get("encoding-type") != layout.STORE:
            if backend.get(layout.ROOT) is not None and next(backend.list("plans/"), None):
                raise NotAStore(f"{backend}/{layout.ROOT} is damaged. {REBUILD}")
            build = command("atlas", "build", "MODEL", "--store", backend)
            raise NotAStore(f"{backend} is no atlas store. Build one: {build}")
        check_version(attributes, where=str(backend))
        if not fits(attributes, ROOT):
            raise NotAStore(f"{backend}/{layout.ROOT} is damaged: it does not say what network it is of. {REBUILD}")
        return cls(backend, attributes)

    @classmethod
    def create(cls, place: str | Path | Backend, identity: Identity, model: dict[str, Any]) -> Store:
        """The store at `place` for `identity`, made where there is none; its root made anew where it is damaged.

        Raises `PlanMismatch` where the store there is another network's, `NotAStore` where other files lie there.
        """
        backend = backend_at(place)
        root = backend.get(layout.ROOT)
        first = first_in(backend) if root is None else layout.ROOT
        if root is None and first is not None:
            root = backend.get(layout.ROOT)  # who makes it at the same time writes this first
        if fault := backend.fault():
            raise CannotWrite(f"{backend}: {fault}")
        attributes = attributes_in(found(root))
        lost = seal_of(attributes) is Seal.BROKEN or not fits(attributes, ROOT)
        if first is None:
            # Of two that make a store at the same time one wins; the other finds it and compares.
            backend.put_new(layout.ROOT, _json(layout.root_group(identity.to_dict(), model)))
        elif lost and fingerprint(_of(backend, attributes)) == fingerprint(identity.to_dict()):
            backend.put_if(layout.ROOT, _json(layout.root_group(identity.to_dict(), model)), root)
        elif attributes.get("encoding-type") != layout.STORE:
            raise NotAStore(f"{backend} is not empty ({first}) and no atlas store. Name another {parameter('store')}.")
        store = cls.open(backend)
        _compare(store.identity.to_dict(), identity.to_dict(), f"{backend} holds another network")
        return store

    def attributes_of(self, key: str) -> dict[str, Any]:
        """The attributes in a group's metadata; none where it is torn or no metadata."""
        return attributes_in(found(self.backend.get(key)))

    def damaged(self, key: str, how: str = "is damaged") -> StoreError:
        """What a reader says of an object that is not what it should be, and what to do."""
        return StoreError(f"{self}: {key} {how}. Repair it: {command('atlas', 'verify', '--repair', self)}")

    def array(self, path: str) -> zarr.Array[Any]:
        """The array at `path`, for reading. Raises `StoreError` where there is none."""
        try:
            return zarr.open_array(ZarrStore(self.backend, read_only=True), path=path, mode="r")
        except Exception as error:
            if isinstance(error, AtlasError):
                raise
            key = f"{path}/zarr.json"
            if not any(key in layout.metadata([plan]) for plan in self.plans()):
                check = command("atlas", "verify", self)
                raise StoreError(
                    f"{self}: there is no readable array {path}: no plan asked for it. Check what was: {check}"
                ) from error
            raise self.damaged(key, "is gone or damaged") from error

    # -- plans -----------------------------------------------------------------------------------------------------

    def plan(self, key: str) -> Plan | None:
        """The plan saved under `plans/KEY`. Raises `StoreError` where it is damaged: it owns outputs all the same."""
        return self.parsed_plan(key, self.backend.get(f"plans/{key}"))

    def parsed_plan(self, key: str, data: bytes | None) -> Plan | None:
        """The plan in `data`, which lies under `plans/KEY`; None for None. Raises as `plan`."""
        try:
            return None if data is None else read_plan(data)
        except ValueError as error:
            raise self.damaged(f"plans/{key}", f"is damaged: {error}") from error

    def plans(self) -> list[Plan]:
        """Every plan in the store, in the order in which the network computes their layers."""
        keys = (key.removeprefix("plans/") for key in self.backend.list("plans/"))
        found = [plan for plan in map(self.plan, keys) if plan is not None]
        return sorted(found, key=lambda plan: (_stage(plan), *self.place_of(plan), plan.layer_name, _part(plan)))

    def place_of(self, plan: Plan) -> tuple[int, int]:
        """What plans are sorted by to be in the network's order: of older stores what their layers cost to reach."""
        return self._places.get(plan.layer_name, len(self._places)), plan.layer.flops if plan.layer else 0

    @cached_property
    def _places(self) -> dict[str, int]:
        """Every layer's place in the network, by its name; empty in stores that were made before they said."""
        return {name: place for place, name in enumerate(self.model.get("layers") or ())}

    def plans_of(self, stage: str) -> list[Plan]:
        """The plans of one stage, in the order in which the network computes their layers."""
        return [plan for plan in self.plans() if plan.stage == stage]

    def check(self, plans: Iterable[Plan]) -> None:
        """Raise `PlanMismatch` where another plan owns the outputs of one of `plans`. Writes nothing."""
        for plan in plans:
            _compare(self.identity.to_dict(), plan.identity.to_dict(), f"{self} holds another network")
            saved = self.owner(plan.key, self.backend.get(f"plans/{plan.key}"))
            if saved is not None:
                self.compare(saved, plan)

    def owner(self, key: str, data: bytes | None) -> Plan | None:
        """The plan that owns the outputs of `plans/KEY`, where `data` lies; one that is gone, too, if work is left.

        Raises as `plan`.
        """
        return self.parsed_plan(key, data) or (restored(self, key) if self.receipts_there(key) else None)

    def compare(self, saved: Plan, plan: Plan) -> None:
        """Raise `PlanMismatch` where `saved`, which owns the outputs that `plan` asks for, is another."""
        if not isinstance(saved.recipe, Recipe) and not isinstance(plan.recipe, Recipe):
            ours, theirs = saved.collection, plan.collection
            if ours.images != theirs.images:
                raise PlanMismatch(
                    f"{self} rests on another list of images: {ours.count:,} with the hash {ours.images[:12]} here, "
                    f"{theirs.count:,} with {theirs.images[:12]} asked. Some were added, changed or taken away since: "
                    f"put them back, or name another {parameter('store')}."
                )
        of = " ".join([plan.layer_name, *plan.part])
        what = f"{of} from another plan" if of else f"its {plan.stage} from another plan"
        _compare(saved.spelled_out, plan.spelled_out, f"{self} has {what}")

    def prepare(self, plans: Sequence[Plan]) -> list[Plan]:
        """Write the metadata of `plans`; give them back, each asking also for what was asked for before.

        Everything is compared before anything is written. Raises as `check`.
        """
        self.check(plans)
        return prepare(self, plans)

    def planned(self, names: Key) -> Plan | None:
        """The plan of a stage on a layer, or on a part of its atlas. Raises `StoreError` where it is damaged."""
        return self.plan(key_of(names))

    # -- data ------------------------------------------------------------------------------------------------------

    def shard_objects(self, plan: Plan, shard: Shard, data: Data) -> dict[str, bytes]:
        """The objects, by key, that the arrays of a whole shard are, given by name.

        Raises `AtlasError` for anything but exactly the whole shard, `PlanMismatch` where `plan` owns no arrays here.
        """
        owned = plan.written_by("shard")
        whole = 0 <= shard.index < plan.count and shard == plan.shard(shard.index)
        rows = {name: array.of(shard.index) for name, array in owned.items()}
        if not whole:
            raise AtlasError(f"{shard}: no shard of {plan.key}. A shard is written whole.")
        return self._objects(plan, str(shard), owned, rows, data)

    def commit_shard(
        self, plan: Plan, shard: Shard, objects: Objects, receipt: Receipt, dropped: Collection[str] = ()
    ) -> Receipt:
        """Put the objects of a shard and their receipt in place, or those of an attempt that was first; its receipt.

        What was `dropped` of the objects, since their reduce is done, is named in the receipt alone. Raises
        `PlanMismatch` where `plan` was taken out meanwhile, or another took its place: what is there stays.
        """

        def due() -> bool:
            now = self.plan(plan.key)
            if now is None or now.id != plan.id:
                what = "taken out" if now is None else "asked for in another way"
                raise PlanMismatch(f"{self}: {plan.key} was {what} meanwhile; {shard} is left to who did.")
            return self.receipt(plan, shard) is None

        commit(self.backend, f"receipts/{shard.key}", Bundle.of(receipt, objects, dropped), due)
        return self.receipt(plan, shard) or receipt

    def pick_up(self, plan: Plan, shard: Shard) -> Receipt | None:
        """Put a shard in place that an attempt has made, and died over or is still at; None where none has. Raises
        as `commit_shard`.
        """
        bundle = Bundle.parse(self.backend.get(bundle_key(f"receipts/{shard.key}", plan.id)))
        if bundle is None:
            return None
        return self.commit_shard(plan, shard, bundle.objects, bundle.receipt, bundle.dropped)

    def commit_reduced(self, key: str, objects: Objects, receipt: Receipt, current: Due) -> None:
        """Put what was written whole and its receipt, at `key`, in place, or that of an attempt that was first.

        Nothing is touched any more once it is not `current`: it rests on what is there no longer, or has become more.
        """

        def due() -> bool:
            there = self.reduced(key)
            return (there is None or there.plan != receipt.plan) and current()

        commit(self.backend, key, Bundle.of(receipt, objects), due)

    def whole_objects(
        self, plan: Plan, by: Writer, data: Data, streamed: Mapping[str, Blocks] | None = None
    ) -> dict[str, bytes]:
        """The objects, by key, that the arrays are that `by` fills, whole, given by name. Raises as `shard_objects`.

        Those that are `streamed` are packed as they come, object by object.
        """
        streamed = streamed or {}
        every = plan.written_by(by)
        owned = {name: array for name, array in every.items() if name not in streamed}
        rows = {name: slice(0, array.shape[0]) for name, array in owned.items()}
        what = f"columns of {plan.layer_name or plan.stage}"
        objects = self._objects(plan, what, owned, rows, data)
        for name, blocks in streamed.items():
            objects |= self._stream(f"{layout.group_key(plan)}/{name}", every[name], blocks)
        return objects

    def _stream(self, path: str, array: Array, blocks: Blocks) -> Iterator[tuple[str, bytes]]:
        """The objects of all rows of the array at `path`."""
        start = 0
        for block in blocks:
            stop = start + len(block)
            fits = stop == array.shape[0] or (stop % array.rows == 0 and stop < array.shape[0])
            if not fits or (block.shape[1:], str(block.dtype)) != (array.shape[1:], array.dtype):
                raise AtlasError(f"{path}: {block.shape} {block.dtype} from row {start} on are no whole objects of it.")
            yield from self._packed(path, slice(start, stop), array.rows, block)
            start = stop
        if start != array.shape[0]:
            raise AtlasError(f"{path}: written whole, {array.shape[0]} rows; not {start}.")

    def _objects(
        self, plan: Plan, what: str, owned: dict[str, Array], rows: dict[str, slice], data: Data
    ) -> dict[str, bytes]:
        # A shard of examples without photographs has no array of its own: its receipt carries all of it.
        expected = {
            name: ((at.stop - at.start, *owned[name].shape[1:]), owned[name].dtype) for name, at in rows.items()
        }
        given = {name: (values.shape, str(values.dtype)) for name, values in data.items()}
        if given != expected:
            raise AtlasError(f"{what}: written whole, as {expected}; not {given}.")
        group = layout.group_key(plan)
        owner = self.attributes_of(f"{group}/zarr.json").get("plan")
        if owner != plan.id:
            is_other = f"belongs to plan {str(owner)[:12]}, not {plan.id[:12]}"
            raise PlanMismatch(f"{self}: {group} {is_other}: it was asked for in another way meanwhile.")
        return {
            key: packed
            for name, values in data.items()
            for key, packed in self._packed(f"{group}/{name}", rows[name], owned[name].rows, values)
        }

    def _packed(self, path: str, rows: slice, length: int, values: np.ndarray[Any, Any]) -> Iterator[tuple[str, bytes]]:
        """The whole Zarr shards, of `length` rows each, that are `rows` of the array at `path`."""
        metadata = self.backend.get(f"{path}/zarr.json") or b""
        for start in range(rows.start, rows.stop, length):
            stop = min(start + length, rows.stop)
            block = values[start - rows.start : stop - rows.start]
            yield from encoded(path, metadata, slice(start, stop), block).items()

    def standing(self, plan: Plan, by: Writer) -> dict[str, bytes]:
        """The objects that are there already of the arrays that `by` fills."""
        keys = [f"{layout.group_key(plan)}/{name}" for name in plan.written_by(by)]
        found = {key: self.backend.get(key) for path in keys for key in self.backend.list(f"{path}/c/")}
        return {key: data for key, data in found.items() if data}

    def read_shard(self, plan: Plan, shard: Shard, name: str) -> np.ndarray[Any, Any]:
        """What a shard wrote of the array `name`, as a reader sees it. Raises as `read`."""
        return self.read(f"{layout.group_key(plan)}/{name}", plan.arrays[name].of(shard.index))

    def read(self, path: str, rows: slice | None = None) -> np.ndarray[Any, Any]:
        """Rows of the array at `path`, all unless said, which must be there.

        Raises `StoreError` where an object is gone, of which Zarr alone would read black pictures, or damaged.
        """
        array = self.array(path)
        rows = rows or slice(0, array.shape[0])
        length = (array.shards or array.chunks)[0]
        for index in range(rows.start // length, -(-rows.stop // length)):
            key = f"{path}/c/{index}{'/0' * (array.ndim - 1)}"
            if not self.backend.range(key, 0, 1):
                raise self.damaged(key, "is gone or empty")
        try:
            return np.asarray(array[rows])
        except Exception as error:  # whatever a decoder makes of what is no longer what was written
            if isinstance(error, AtlasError):
                raise
            where = f"{path}/c/{rows.start // length}"
            raise self.damaged(where, f"cannot be read ({type(error).__name__})") from error

    def column(self, plan: Plan, name: str) -> np.ndarray[Any, Any]:
        """An array that follows a layer's last shard, whole; its fill value as long as that was not written.

        Raises as `read`, where what was written is gone.
        """
        path = f"{layout.group_key(plan)}/{name}"
        promised = self.backend.range(layout.columns_receipt(plan), 0, 0) is not None
        if promised or next(iter(self.backend.list(f"{path}/c/")), None):
            return self.read(path)
        array = plan.arrays[name]
        return np.full(array.shape, array.fill, array.dtype)

    # -- receipts --------------------------------------------------------------------------------------------------

    def receipts(self, plan: Plan) -> dict[int, Receipt]:
        """The valid receipts of `plan` by the index of their shard, asked for or not."""
        return self.each_receipt(plan, lambda receipt: receipt)

    def each_receipt(self, plan: Plan, told: Callable[[Receipt], T]) -> dict[int, T]:
        """What is `told` of each valid receipt of `plan`, by the index of its shard: no more of it is kept."""
        # The single ones first: a fold that goes on meanwhile writes the manifest before it deletes them. They count.
        single = self._told(map(Receipt.parse, self.backend.get_all(self.backend.list(plan.receipts))), plan, told)
        return self._told(unfold(self.backend.get(layout.manifest_key(plan))), plan, told) | single

    @staticmethod
    def _told(receipts: Iterable[Receipt | None], plan: Plan, told: Callable[[Receipt], T]) -> dict[int, T]:
        mine = (receipt for receipt in receipts if receipt is not None and receipt.plan == plan.id)
        return {receipt.shard: told(receipt) for receipt in mine}

    def receipts_there(self, key: str) -> list[str]:
        """Keys of all that says that a shard of the plan at `key` below `plans/`, or what follows them, is done."""
        whole = (f"manifests/{key}", f"receipts/columns/{key.removeprefix('features/')}")
        single = self.backend.list(f"receipts/{key.removesuffix('.json')}/")
        return [*single, *(key for key in whole if self.backend.range(key, 0, 0) is not None)]

    def told(self, plan: Plan) -> dict[int, Receipt]:
        """The same, for a reader, who cannot do again what a damaged receipt speaks of. Raises `StoreError` for one."""
        for key in self.backend.list(plan.receipts):
            self.told_of(key)
        manifest = self.backend.get(layout.manifest_key(plan))
        if manifest is not None and len([*unfold(manifest)]) < max(1, sum(1 for _ in rows_of(manifest))):
            raise self.damaged(layout.manifest_key(plan))
        return self.receipts(plan)

    def told_of(self, key: str) -> Receipt | None:
        """What was written whole, for a reader: as `reduced`. Raises `StoreError` for a receipt that is damaged."""
        receipt = self.reduced(key)
        if receipt is None and self.backend.range(key, 0, 0) is not None:
            raise self.damaged(key)
        return receipt

    def receipt(self, plan: Plan, shard: Shard) -> Receipt | None:
        """The valid receipt of one shard, if it is done."""
        single = Receipt.parse(self.backend.get(f"receipts/{shard.key}"))
        if single is not None and single.plan == plan.id:
            return single
        folded = unfold(self.backend.get(layout.manifest_key(plan)))
        return next((one for one in folded if one.plan == plan.id and one.shard == shard.index), None)

    def put_receipt(self, shard: Shard, receipt: Receipt) -> None:
        """Write a shard's receipt, as `put_reduced`."""
        self.put_reduced(f"receipts/{shard.key}", receipt)

    def todo(self, plan: Plan) -> list[Shard]:
        """What is left of `plan`: the whole of resuming."""
        return [plan.shard(index) for index in self.left_of(plan)]

    def left_of(self, plan: Plan) -> list[int]:
        """The same, by their indices alone."""
        done = self.each_receipt(plan, lambda _: None)
        return [index for index in plan.wanted if index not in done]

    # -- reduces ---------------------------------------------------------------------------------------------------

    def columns_done(self, plan: Plan) -> bool:
        """Whether a layer's reduce rests on the receipts that are there now; true where it has none."""
        if not layout.reduces(plan):
            return True
        receipt = self.reduced(layout.columns_receipt(plan))
        return receipt is not None and receipt.plan == self.digest(plan)

    def reduction(self, plan: Plan) -> Receipt | None:
        """The receipt of a layer's reduce; None where that is not done, or rests on what is there no longer."""
        return self.reduced(layout.columns_receipt(plan)) if self.columns_done(plan) else None

    def digest(self, plan: Plan, receipts: Mapping[int, Receipt] | None = None) -> str:
        """What the reduce of `plan` names as its plan: a hash of the receipts that are there for it to read.

        They are those of its shards, `receipts` where they were read already; of a stage without any, those of the
        stage it rests on.
        """
        if plan.over != "whole":
            return self._digest(plan) if receipts is None else digest_of(receipts.values())
        before = self.before(plan)
        if before is not None and before.over == "whole":
            columns = self.reduced(layout.columns_receipt(before))
            return fingerprint([plan.id, digest_of([] if columns is None else [columns])])
        return fingerprint([plan.id, digest_of([]) if before is None else self._digest(before)])

    def _digest(self, plan: Plan) -> str:
        """What `digest_of` says of the receipts that are there of `plan`."""
        return digest_of_proofs(self.each_receipt(plan, lambda receipt: receipt.proof))

    def before(self, plan: Plan) -> Plan | None:
        """The plan that `plan` rests on, as the store has it."""
        return None if plan.before is None else self.planned(plan.before)

    def whole(self, plan: Plan) -> bool:
        """Whether every shard of a layer is done, asked for or not, without holes; of a stage without any, its reduce.

        Of cells those are meant that are filled, which is known once they are asked for.
        """
        if plan.over == "whole":
            return self.columns_done(plan)
        holes = self.each_receipt(plan, lambda receipt: bool(receipt.holes))
        return bool(plan.needed) and len(holes) == len(plan.needed) and not any(holes.values())

    def holes(self, plan: Plan) -> dict[int, str]:
        """Units that could not be made, of shards of `plan` that are done but for them; and why."""
        holes = self.each_receipt(plan, lambda receipt: receipt.holes)
        return {unit: reason for some in holes.values() for unit, reason in sorted(some.items())}

    def reopen(self, plan: Plan) -> list[Shard]:
        """Have the shards of `plan` that have holes made again, by the next build; say which."""
        open_ = {index for index, holes in self.each_receipt(plan, lambda receipt: receipt.holes).items() if holes}
        if open_:
            self.forget(plan, open_)
        return [plan.shard(index) for index in sorted(open_)]

    def left(self, plan: Plan) -> int:
        """How many pieces of `plan` are left: shards; 1 for a stage without any, or whose cells are not known yet."""
        if plan.over == "whole":
            return int(not self.columns_done(plan))
        return len(self.left_of(plan)) if plan.wanted else 1

    def settled(self, plan: Plan) -> bool:
        """Whether nothing is left for a layer's reduce: its columns are done, and folded where it is whole."""
        single = next(iter(self.backend.list(plan.receipts)), None)
        return self.columns_done(plan) and not (self.whole(plan) and (single or next(self._scratch(plan), None)))

    def reduced(self, key: str) -> Receipt | None:
        """The receipt at `key` of what was written whole: the list of images, the relations."""
        return Receipt.parse(self.backend.get(key))

    def put_reduced(self, key: str, receipt: Receipt) -> None:
        """Write a receipt at `key`. The first valid one stays; one that is torn or of another plan is replaced."""
        put_receipt(self.backend, key, receipt)

    def fold(self, plan: Plan) -> bool:
        """Fold the receipts of a layer all of whose shards are done into its manifest; say whether it was.

        What its shards left for its reduce alone goes, once that is done, and what attempts that died left of bundles.
        """
        self.drop_bundles(plan)
        manifest, written = layout.manifest_key(plan), False
        while not written:
            there, single = self.backend.get(manifest), list(self.backend.list(plan.receipts))
            if not self.whole(plan):
                return False
            written = not single or self.backend.put_if(manifest, self._folded(plan), there)
        self.backend.delete_all([*single, *(self._scratch(plan) if self.columns_done(plan) else ())])
        return True

    def _folded(self, plan: Plan) -> bytes:
        """The manifest of all that is there; of many receipts no more than their bytes is kept in memory."""
        return manifest_of(self.each_receipt(plan, Receipt.to_bytes))

    def drop_bundles(self, plan: Plan) -> int:
        """Take out the bundles of `plan` that nobody will put in place any more; say how many.

        They are listed first: what is not due afterwards will never be.
        """
        shards = list(self.backend.list(folder_of(plan.receipts)))
        columns = folder_of(layout.columns_receipt(plan))
        wholes = [key for key in self.backend.list(columns) if "/" not in key.removeprefix(columns)]
        saved = self.planned(plan.names) if shards or wholes else None
        if saved is None or saved.id != plan.id:  # it is replaced: what is there is another's
            return 0
        done = self.each_receipt(plan, lambda _: None)
        over = {folder_of(f"receipts/{plan.shard(index).key}") for index in done}
        due = "" if self.columns_done(plan) else bundle_key(layout.columns_receipt(plan), self.digest(plan))
        useless = [key for key in shards if f"{key.rpartition('/')[0]}/" in over or not key.endswith(plan.id[:16])]
        useless += [key for key in wholes if key != due]
        for key in useless:
            self.backend.delete(key)
        return len(useless)

    def _scratch(self, plan: Plan) -> Iterator[str]:
        """Keys of what is there of the arrays that are for the reduce of `plan` alone."""
        for name, array in plan.arrays.items():
            if array.scratch:
                yield from self.backend.list(f"{layout.group_key(plan)}/{name}/c/")

    def dropped(self, plan: Plan) -> set[int]:
        """Shards that are done and what they left for the reduce of `plan` alone is gone."""
        there = set(self._scratch(plan))
        done = self.each_receipt(plan, lambda _: None)
        return {index for index in done if not there.issuperset(layout.scratch_objects(plan, index))}

    def forget(self, plan: Plan, indices: set[int]) -> None:
        """Drop the receipts of the shards `indices` of `plan`, so that the next build makes them again."""
        for index in indices:
            key = f"receipts/{plan.shard(index).key}"
            for gone in (key, *self.backend.list(folder_of(key))):
                self.backend.delete(gone)
        manifest = layout.manifest_key(plan)
        while (there := self.backend.get(manifest)) is not None:
            kept = [one for one in unfold(there) if one.plan == plan.id and one.shard not in indices]
            if kept and self.backend.put_if(manifest, fold(kept), there):  # nobody else folds or forgets meanwhile
                return
            if not kept:
                self.backend.delete(manifest)

    # -- records ---------------------------------------------------------------------------------------------------

    def put_json(self, key: str, value: dict[str, Any]) -> None:
        """Write a small derived or recorded object, a log, with a hash of what it says, unless the same is there."""
        data = self.as_json(value)
        if self.backend.get(key) != data:
            self.backend.put(key, data)

    @staticmethod
    def as_json(value: dict[str, Any]) -> bytes:
        """A small object as it is stored, with a hash of what it says."""
        return _json(sealed(value))

    def get_json(self, key: str) -> Any:
        """A small object without its hash; None where there is none, or none that says what was written."""
        there = found(self.backend.get(key))
        return unsealed(there) if self.vouched(there) else None

    def vouched(self, value: Any) -> bool:
        """Whether a small object fits its hash; in older stores it may have none."""
        return seal_of(value) is Seal.WHOLE or (seal_of(value) is Seal.NONE and not self.sealed)

    @property
    def labels(self) -> list[str] | None:
        """The names of the network's classes, by their numbers; None where the store has none.

        Raises `StoreError` where they are damaged.
        """
        names = self._classes.get("names")
        # JSON can hold half characters, which nothing else takes.
        return None if names is None else [name.encode(errors="replace").decode() for name in names]

    @property
    def logits(self) -> str | None:
        """Which of several outputs of the network the classes are of; None where it has one, or none was noted."""
        name: str | None = self._classes.get("logits")
        return name

    @property
    def _classes(self) -> dict[str, Any]:
        there: dict[str, Any] | None = self.get_json(layout.CLASSES)
        if fits(there, {"names": ([str], None), "logits": (str, None)}):
            return there or {}
        if self.backend.range(layout.CLASSES, 0, 0) is not None:
            raise self.damaged(layout.CLASSES)
        return {}

    def put_labels(self, names: Sequence[str] | None, logits: str | None = None) -> None:
        """Write the names of the network's classes, or others in their place, and which output they are of."""
        kind = {"encoding-type": "classes", "encoding-version": layout.VERSION}
        said = {"names": None if names is None else list(names), "logits": logits}
        self.put_json(layout.CLASSES, kind | {name: value for name, value in said.items() if value is not None})

    @property
    def pipeline(self) -> dict[str, Any] | None:
        """What the last build was told: its `options`, and those `without` which it cannot go on (places are not kept).

        None where it was not noted. Raises `StoreError` where it is damaged.
        """
        there: dict[str, Any] | None = self.get_json(layout.PIPELINE)
        if there is None and self.backend.range(layout.PIPELINE, 0, 0) is None:
            return None
        if not fits(there, {"options": dict, "without": [str]}):
            raise self.damaged(layout.PIPELINE)
        return there

    def put_pipeline(self, options: Mapping[str, Any], without: Sequence[str]) -> None:
        """Note what a build is told."""
        kind = {"encoding-type": "pipeline", "encoding-version": layout.VERSION}
        self.put_json(layout.PIPELINE, kind | {"options": dict(options), "without": list(without)})


def first_in(backend: Backend) -> str | None:
    """The first key of what lies at a place; None where that is nothing, but for what others try there just now."""
    return next((key for key in backend.list() if not key.startswith(PROBES)), None)


def check_version(attributes: dict[str, Any], *, where: str) -> None:
    """Raise `StoreTooNew` where `attributes` are of a newer major version than ours."""
    theirs, ours = str(attributes.get("encoding-version", "")), layout.VERSION
    if not re.fullmatch(r"[0-9]+\.[0-9]+", theirs):
        raise NotAStore(f"{where} has no readable version ({theirs!r}). Is it damaged? See: atlas verify")
    if int(theirs.partition(".")[0]) > int(ours.partition(".")[0]):
        install = command("pip", "install", str(attributes.get("written-by", "atlas-builder")).replace(" ", ">="))
        raise StoreTooNew(
            f"{where} has version {theirs}, this atlas-builder reads {ours} and older. "
            f"Install the one that wrote it: {install}"
        )


def _compare(ours: dict[str, Any], theirs: dict[str, Any], what: str) -> None:
    # Both as JSON, in which a tuple is a list.
    lines = differences(json.loads(_json(ours)), json.loads(_json(theirs)))
    parted = (line.partition(": ") for line in lines)
    lines = [f"{PARAMETERS.get(field, field)}: {values}" for field, _, values in parted]
    if lines:
        raise PlanMismatch(f"{what}: {'; '.join(lines)}. Ask for the same, or name another {parameter('store')}.")


def _stage(plan: Plan) -> int:
    return list(STAGES).index(plan.stage) if plan.stage in STAGES else len(STAGES)


def _part(plan: Plan) -> tuple[str, ...]:
    """Its map and grid: sides by their size, not by their letters."""
    return tuple(word.rjust(6) if word.isdigit() else word for word in plan.part)


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, allow_nan=False).encode()


def _of(backend: Backend, attributes: dict[str, Any]) -> dict[str, Any] | None:
    """The network that a store is of, whatever became of its root: the one that all its plans name."""
    told: list[dict[str, Any]] = []
    for key in backend.list("plans/"):
        with suppress(ValueError):
            told.append(read_plan(backend.get(key) or b"").identity.to_dict())
    if told:
        return told[0] if all(one == told[0] for one in told) else None
    return attributes.get("identity") if attributes.get("encoding-type") == layout.STORE else None
