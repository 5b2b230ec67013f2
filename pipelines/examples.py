"""The stage `examples`: what a layer's units saw of the images that drive them most.

    (statistics, images, shard of units) -> box on the photograph, picture of it -> store -> receipt

A map stage over units, begun when the layer's statistics are whole. The box is where 90% of the unit's input gradient
lies, measured for this unit, at this position, on this crop.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from atlas.plan import STATISTICS, Plan, Shard
from atlas.store import Receipt, Store, digest_of
from atlas.store.layout import EXAMPLE, EXTREMES
from pipelines.events import Advanced, Event, LayerDone, ShardDone, Task
from pipelines.features import Clock, plain

if TYPE_CHECKING:
    from torch import Tensor

    from atlas.collecting.crops import Crop
    from atlas.collecting.decoding import Pixels
    from atlas.models import Prepared
    from pipelines.work import Worker

GREY = 128
"""What is stored where there is no example."""


@dataclass(frozen=True)
class Example:
    """One place in the tables of a shard: a unit's example of some rank."""

    place: tuple[int, ...]
    """Row of the unit in its shard, extreme, rank."""
    image: int
    crop: int
    position: int


def make(worker: Worker, task: Task, index: int) -> Iterator[Event]:
    """Measure, cut out and store the examples of one shard of units; its receipt last."""
    (plan,), store = task.plans, worker.store
    shard, clock, cpu = plan.shard(index), Clock(), time.process_time()
    prepared = worker.prepared(plan.on, plan.numerics)
    desk = yield from _filled(worker, plan, prepared, shard)
    clock.lap("examples")
    if (receipt := store.receipt(plan, shard)) is not None:
        yield ShardDone(shard, {}, receipt.record)
        return
    stored = store.write_shard(plan, shard, desk.pictures)
    clock.lap("write")
    record = {"seconds": clock.seconds, "cpu": round(time.process_time() - cpu, 3), **worker.host}
    if desk.width < plan.numerics.batch:
        record["backoff"] = desk.width
    numbers = {"box": plain(desk.boxes.reshape(len(shard), -1))}
    receipt = Receipt(plan.id, shard.index, (shard.start, shard.stop), tuple(stored), numbers, record)
    store.put_receipt(plan, shard, receipt)
    yield ShardDone(shard, {}, record)


def _filled(worker: Worker, plan: Plan, prepared: Prepared, shard: Shard) -> Generator[Event, None, _Desk]:
    """The desk with all examples of a shard on it; at half the width where a device's memory is too small."""
    from torch import OutOfMemoryError

    from atlas.rendering.host import computing

    wanted, width = _wanted(worker.store, plan, shard.start, shard.stop), plan.numerics.batch
    while True:
        desk = _Desk(worker, plan, prepared, shard, width)
        try:
            with computing(plan.numerics):
                for done in desk.fill(wanted):
                    yield Advanced(plan.stage, shard.layer, done)
        except OutOfMemoryError:
            if width == 1:
                raise
            width //= 2
        else:
            return desk


def reduce(store: Store, plan: Plan) -> LayerDone:
    """Write the boxes of a layer from the receipts that are there, then fold a whole layer's."""
    receipts = store.receipts(plan)
    if not store.columns_done(plan):
        boxes = np.full((plan.total, len(EXTREMES), 9, 4), np.nan, np.float32)
        for receipt in receipts.values():
            values = np.array(receipt.numbers["box"], dtype=float)
            boxes[slice(*receipt.units)] = values.reshape(-1, *boxes.shape[1:])
        stored = store.write_whole(plan, "reduce", {"box": boxes})
        store.put_columns_receipt(plan, Receipt(digest_of(receipts.values()), 0, (0, plan.total), tuple(stored)))
    store.fold(plan)
    return LayerDone(plan, sum(receipt.units[1] - receipt.units[0] for receipt in receipts.values()))


def _wanted(store: Store, plan: Plan, start: int, stop: int) -> list[Example]:
    """The examples of the units from `start` to `stop`, in the order of their images, so that each is read once."""
    group = f"layers/{plan.on.key}/{STATISTICS.name}"
    image, crop, position = (
        store.read(f"{group}/example_{name}")[start:stop] for name in ("image", "crop", "position")
    )
    places = [tuple(map(int, at)) for at in np.argwhere(image >= 0)]
    found = [Example(at, int(image[at]), int(crop[at]), int(position[at])) for at in places]
    return sorted(found, key=lambda one: (one.image, one.crop, one.place))


class _Desk:
    """Where the examples of a shard are measured side by side and cut out."""

    def __init__(self, worker: Worker, plan: Plan, prepared: Prepared, shard: Shard, width: int) -> None:
        self._worker, self._plan, self._prepared, self._start = worker, plan, prepared, shard.start
        self.width = width
        """Examples measured side by side."""
        shape = (len(shard), len(EXTREMES), 9)
        self.boxes = np.full((*shape, 4), np.nan, np.float32)
        """In pixels of the photograph: left, top, right, bottom; NaN where there is none."""
        self.pictures: dict[str, Pixels] = {}
        if plan.collection.photographs:
            self.pictures["picture"] = np.full((*shape, EXAMPLE, EXAMPLE, 3), GREY, np.uint8)

    def fill(self, examples: list[Example]) -> Iterator[int]:
        """Measure and cut out `examples`; yields how many were done, now and then."""
        for extreme in range(len(EXTREMES)):  # a batch looks at values before the rectifier, or after it
            batch: list[tuple[Example, Pixels, Crop]] = []
            for example, picture, crop in self._opened([one for one in examples if one.place[1] == extreme]):
                batch.append((example, picture, crop))
                if len(batch) == self.width:
                    self._measure(batch, before=extreme == 1)
                    yield len(batch)
                    batch = []
            if batch:
                self._measure(batch, before=extreme == 1)
                yield len(batch)

    def _opened(self, examples: list[Example]) -> Iterator[tuple[Example, Pixels, Crop]]:
        """Each example with its photograph and its crop; those whose image has gone or changed are left out."""
        from atlas.collecting import look
        from atlas.collecting.crops import crops

        number, picture, cut = -1, None, []
        collection, source = self._plan.collection, self._worker.images
        for example in examples:
            if example.image != number:
                number = example.image
                sha256 = self._worker.store.read("images/sha256", slice(number, number + 1)).tobytes()
                picture = look(source, source.entries[number], sha256).picture
                if picture is not None:
                    cut = crops(
                        picture, self._prepared.preprocessing, collection.crops, seed=collection.seed, sha256=sha256
                    )
            if picture is not None:
                yield example, picture, cut[example.crop]

    def _measure(self, batch: list[tuple[Example, Pixels, Crop]], *, before: bool) -> None:
        from atlas.collecting.seen import seen

        padded = batch + [batch[-1]] * (self.width - len(batch))
        boxes = seen(
            self._prepared,
            self._stacked(padded),
            [self._start + example.place[0] for example, _, _ in padded],
            [example.position for example, _, _ in padded],
            before=before,
        )
        size = self._prepared.preprocessing.size
        for (example, picture, crop), box in zip(batch, boxes, strict=False):
            found = on_photograph(box, crop, size)
            self.boxes[example.place] = found
            if self.pictures:
                self.pictures["picture"][example.place] = cut_out(picture, found, mirrored=crop.cut.mirrored)

    def _stacked(self, batch: list[tuple[Example, Pixels, Crop]]) -> Tensor:
        import torch

        return torch.stack([crop.x for _, _, crop in batch]).to(self._plan.numerics.device)


def on_photograph(box: np.ndarray[Any, Any], crop: Crop, size: tuple[int, int]) -> np.ndarray[Any, Any]:
    """A box in pixels of a crop of `size` (height, width), in pixels of the photograph it was taken from."""
    height, width = size
    left, top, right, bottom = (float(side) for side in box)
    if crop.cut.mirrored:
        left, right = width - right, width - left
    x0, y0, x1, y1 = crop.cut.box
    across, down = (x1 - x0) / width, (y1 - y0) / height
    return np.array([x0 + left * across, y0 + top * down, x0 + right * across, y0 + bottom * down], np.float32)


def cut_out(picture: Pixels, box: np.ndarray[Any, Any], *, mirrored: bool) -> Pixels:
    """The square of `picture` around `box`, as the unit saw it, uint8 [96,96,3]."""
    height, width, _ = picture.shape
    left, top, right, bottom = (float(side) for side in box)
    side = min(max(right - left, bottom - top, 1.0), float(min(width, height)))
    x = min(max((left + right - side) / 2, 0.0), width - side)
    y = min(max((top + bottom - side) / 2, 0.0), height - side)
    square = Image.fromarray(picture).resize(
        (EXAMPLE, EXAMPLE), Image.Resampling.BICUBIC, box=(x, y, x + side, y + side), reducing_gap=2.0
    )
    return np.asarray(square)[:, ::-1] if mirrored else np.asarray(square)
