"""The stages `images` and `statistics`: images through the network, once for all layers.

    (model, images, plans, shard) -> what each image is, what each layer's channels answered -> store -> receipts

Map stages over ranges of images. One pass serves every plan that lacks the shard: each writes its own arrays and then
its own receipt, so that layers can be added later.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.errors import PlanMismatch
from atlas.plan import EXAMPLES, IMAGES, SAMPLES, STATISTICS, Identity, Plan, Shard
from atlas.recipe import Collection, Numerics
from atlas.store import Data, Receipt, Store
from atlas.store.layout import TEXT, written_by
from atlas.store.schema import LIST
from atlas.store.text import texts, written
from atlas.units import Layer
from pipelines.album import Album
from pipelines.events import Advanced, Event, LayerDone, ShardDone, Task, counted

if TYPE_CHECKING:
    from atlas.collecting import ImageList, ImageSource
    from atlas.collecting.collect import Collected
    from atlas.models import Model
    from pipelines.work import Worker

NAMED = 3
"""Images that are named where a list differs."""
WIDEST = 64
"""Examples measured side by side at most: a backward pass keeps what a forward pass gives back."""


def plans(
    identity: Identity, layers: Iterable[Layer], collection: Collection, numerics: Numerics, units: dict[str, list[int]]
) -> list[Plan]:
    """The plans of the images, and of every layer's statistics and examples.

    `units` names the channels whose examples are wanted of a layer; a layer it leaves out is wanted whole.
    """
    numbers = replace(collection, photographs=True)  # they are the same without
    backward = replace(numerics, batch=min(numerics.batch, WIDEST))
    made = [Plan.of(IMAGES.name, identity, None, collection, numerics)]
    for layer in layers:
        made.append(Plan.of(STATISTICS.name, identity, layer, numbers, numerics))
        made.append(Plan.of(EXAMPLES.name, identity, layer, collection, backward, units.get(layer.name, ())))
    return made


@dataclass(frozen=True, eq=False)
class Images:
    """The images of a run: where they come from, and their list."""

    source: ImageSource
    listed: ImageList

    @classmethod
    def open(cls, given: Sequence[str | Path], told: Callable[[int], None] = lambda _: None) -> Images:
        """The images that were `given`, read and hashed; `told` hears how many are done.

        Raises `ImagesError` where there are none, or none that can be used.
        """
        from atlas.collecting import list_images, open_images, require_one

        source = open_images(given)
        listed = list_images(source, told=told)
        require_one(source, listed)
        return cls(source, listed)

    def collection(self, model: Model, *, crops: int, photographs: bool = True, seed: int = 0) -> Collection:
        """What is shown to `model` of them."""
        classes = model.classes
        return Collection(self.listed.hash, len(self.listed), classes, crops, seed, photographs)

    def compare(self, store: Store) -> None:
        """Raise `PlanMismatch`, naming what differs, where what `store` holds rests on another list of images."""
        done, saved = store.reduced(LIST), store.plans_of(IMAGES.name)
        if not saved or saved[0].collection.images == self.listed.hash or done is None or done.plan != saved[0].id:
            return
        theirs = dict(zip(texts(store.read("images/path")), map(bytes, store.read("images/sha256")), strict=True))
        ours = dict(zip(texts(written(self.listed.names, TEXT)), map(bytes, self.listed.sha256), strict=True))
        differing = {
            "gone": sorted(theirs.keys() - ours.keys()),
            "new": sorted(ours.keys() - theirs.keys()),
            "changed": sorted(name for name in ours.keys() & theirs.keys() if ours[name] != theirs[name]),
        }
        what = "; ".join(f"{how}: {_some(names)}" for how, names in differing.items() if names)
        raise PlanMismatch(
            f"{store} rests on another list of images. {what or 'They are in another order'}. "
            "Give the same images as before, or name another store with --store."
        )

    def write(self, store: Store, plans: Iterable[Plan]) -> None:
        """Write the list, before any image is shown. Done once."""
        plan = next(plan for plan in plans if plan.stage == IMAGES.name)
        done = store.reduced(LIST)
        if done is None or done.plan != plan.id:
            listed = self.listed
            names = (listed.names[start : start + SAMPLES] for start in range(0, len(listed), SAMPLES))
            paths = (written(some, TEXT) for some in names)  # of a million names half a gigabyte
            data: Data = {"sha256": listed.sha256, "same_as": listed.same_as}
            stored = store.write_whole(plan, "driver", data, streamed={"path": paths})
            store.put_reduced(LIST, Receipt(plan.id, 0, (0, plan.total), tuple(stored)))


def _some(names: list[str]) -> str:
    """The first few of some names, and how many more there are."""
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"


def make(worker: Worker, task: Task, index: int) -> Iterator[Event]:
    """Show a shard of images to the network and store what every plan of the task keeps of it; receipts last."""
    began, cpu = time.perf_counter(), time.process_time()
    plan, store = task.plans[0], worker.store
    album, collected, width = _collected(worker, task, index)
    yield Advanced(plan.stage, plan.layer_name, len(album))
    seconds = {"decode": round(album.waited, 3)} | {name: round(took, 3) for name, took in collected.seconds.items()}
    wrote = time.perf_counter()
    done = []
    for each in task.plans:
        shard = each.shard(index)
        if store.receipt(each, shard) is None:
            done.append((each, shard, *_written(store, each, shard, album, collected)))
    seconds["write"] = round(time.perf_counter() - wrote, 3)
    took = {"seconds": {"all": round(time.perf_counter() - began, 3)}, "cpu": round(time.process_time() - cpu, 3)}
    record: dict[str, Any] = took | worker.host | ({"backoff": width} if width < plan.numerics.batch else {})
    for number, (each, shard, stored, numbers) in enumerate(done):
        # The split of the pass is told once, with the first of the plans that it served.
        noted = record | {"pass": seconds} if number == 0 else record
        receipt = Receipt(each.id, shard.index, (shard.start, shard.stop), tuple(stored), numbers, noted)
        store.put_receipt(each, shard, receipt)
        yield ShardDone(shard, counted(each.stage, receipt), noted)


def _collected(worker: Worker, task: Task, index: int) -> tuple[Album, Collected, int]:
    """A shard's images, what the network answered to them, and the width they were shown at.

    Where a device's memory does not hold the plan's width, half of it is tried. The receipt says so: it moves bits.
    """
    from torch import OutOfMemoryError

    from atlas.collecting.collect import collect
    from atlas.rendering.host import computing

    plan, width = task.plans[0], task.plans[0].numerics.batch
    layers = [each.layer for each in task.plans if each.layer is not None]
    while True:
        album = Album(worker.store, worker.images, plan, index, worker.model.preprocessing)
        settings: dict[str, Any] = {"device": plan.numerics.device, "reference": plan.collection.step}
        try:
            with computing(plan.numerics):
                classes = plan.collection.classes > 0
                collected = collect(worker.model, layers, album.shown(), width=width, classes=classes, **settings)
        except OutOfMemoryError:
            if width == 1:
                raise
            width //= 2
        else:
            return album, collected, width


def _written(
    store: Store, plan: Plan, shard: Shard, album: Album, collected: Collected
) -> tuple[list[Any], dict[str, Any]]:
    """Write what one plan keeps of a pass: its objects, and the numbers that its receipt carries."""
    if plan.stage == IMAGES.name:
        data = album.columns(collected)
        return store.write_shard(plan, shard, data), {"status": [[int(code)] for code in data["status"]]}
    rows = written_by(plan, "shard")["maxima"].of(shard.index)
    name = plan.layer_name
    numbers = range(rows.start * plan.collection.step, rows.stop * plan.collection.step, plan.collection.step)
    data = {
        "partial": collected.fields[name][None],
        "maxima": _placed(numbers, collected.reference, collected.maxima[name]),
        "attribution": _placed(numbers, collected.reference, collected.attribution[name]),
    }
    return store.write_shard(plan, shard, data), {}


def _placed(numbers: Iterable[int], given: np.ndarray[Any, Any], values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Rows for the images `numbers`: those of `values`, which are of the images `given`; NaN for the others."""
    # Where a network has no classes nothing is attributed to them.
    where = {int(number): row for number, row in zip(given, range(len(values)), strict=False)}
    empty = np.full(values.shape[1:], np.nan, np.float32)
    return np.stack([values[where[number]] if number in where else empty for number in numbers]).astype(np.float32)


def reduce_images(store: Store, plan: Plan) -> LayerDone:
    """Nothing is left to write when all images were shown but the manifest."""
    store.fold(plan)
    shown = sum(receipt.units[1] - receipt.units[0] for receipt in store.receipts(plan).values())
    return LayerDone(plan, shown)
