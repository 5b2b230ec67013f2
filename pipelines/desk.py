"""Where what a unit saw of a photograph is measured and cut out.

    (images, shard, [Example], measure) -> boxes on the photographs, pictures of them -> store -> receipt

Examples of any kind: those that drive a channel, and those that lie nearest to a cell of an atlas.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from atlas.plan import Plan, Shard
from atlas.store import Receipt, Store
from atlas.store.layout import EXAMPLE, arrays
from pipelines.cells import filled
from pipelines.events import Advanced, Event, LayerDone, ShardDone
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
    """One place in the tables of a shard: a unit's, or a cell's, example of some rank."""

    place: tuple[int, ...]
    """Row in the shard, and where in that row."""
    image: int
    crop: int
    position: int


Measure = Callable[["Tensor", Sequence[Example]], np.ndarray[Any, Any]]
"""(crops [n,3,h,w], n examples) -> boxes [n,4] on the crops."""
Round = tuple[Sequence[Example], Measure]
"""Examples that are measured in one way."""
Rounds = Callable[[Store, Plan, "Prepared", Shard], Iterable[Round]]


def make(worker: Worker, plan: Plan, shard: Shard, rounds: Rounds) -> Iterator[Event]:
    """Measure, cut out and store what a shard of `plan` shows, in `rounds`; its receipt last."""
    store, clock, cpu = worker.store, Clock(), time.process_time()
    desk = yield from _filled(worker, plan, shard, rounds)
    clock.lap(plan.stage)
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


def _filled(worker: Worker, plan: Plan, shard: Shard, rounds: Rounds) -> Generator[Event, None, Desk]:
    """The desk with all examples of a shard on it; at half the width where a device's memory is too small."""
    from torch import OutOfMemoryError

    from atlas.rendering.host import computing

    prepared, width = worker.prepared(plan.on, plan.numerics), plan.numerics.batch
    given = list(rounds(worker.store, plan, prepared, shard))
    shape = (len(shard), *arrays(plan)["box"].shape[1:-1])
    while True:
        desk = Desk(worker, plan, prepared, shape, width)
        try:
            with computing(plan.numerics):
                for examples, measure in given:
                    for done in desk.fill(examples, measure):
                        yield Advanced(plan.stage, shard.layer, done)
        except OutOfMemoryError:
            if width == 1:
                raise
            width //= 2
        else:
            return desk


def reduce(store: Store, plan: Plan) -> LayerDone:
    """Write the boxes of `plan` from the receipts that are there, then fold a whole layer's."""
    receipts = store.receipts(plan)
    if not store.columns_done(plan):
        boxes = np.full(arrays(plan)["box"].shape, np.nan, np.float32)
        for receipt in receipts.values():
            values = np.array(receipt.numbers["box"], dtype=float)
            boxes[slice(*receipt.units)] = values.reshape(-1, *boxes.shape[1:])
        stored = store.write_whole(plan, "reduce", {"box": boxes})
        store.put_columns_receipt(plan, Receipt(store.digest(plan), 0, (0, plan.total), tuple(stored)))
    store.fold(plan)
    done = sum(receipt.units[1] - receipt.units[0] for receipt in receipts.values())
    cells = store.before(plan) if plan.over == "cells" else None
    return LayerDone(plan, done if cells is None else min(done, filled(store, cells)))


class Desk:
    """Where the examples of a shard are measured side by side and cut out."""

    def __init__(self, worker: Worker, plan: Plan, prepared: Prepared, shape: tuple[int, ...], width: int) -> None:
        self._worker, self._plan, self._prepared = worker, plan, prepared
        self.width = width
        """Examples measured side by side."""
        self.boxes = np.full((*shape, 4), np.nan, np.float32)
        """In pixels of the photograph: left, top, right, bottom; NaN where there is none."""
        self.pictures: dict[str, Pixels] = {}
        if plan.collection.photographs:
            self.pictures["picture"] = np.full((*shape, EXAMPLE, EXAMPLE, 3), GREY, np.uint8)

    def fill(self, examples: Sequence[Example], measure: Measure) -> Iterator[int]:
        """Measure and cut out `examples`, which are sorted by image; yields how many were done, now and then."""
        batch: list[tuple[Example, Pixels, Crop]] = []
        for example, picture, crop in self._opened(examples):
            batch.append((example, picture, crop))
            if len(batch) == self.width:
                self._measure(batch, measure)
                yield len(batch)
                batch = []
        if batch:
            self._measure(batch, measure)
            yield len(batch)

    def _opened(self, examples: Sequence[Example]) -> Iterator[tuple[Example, Pixels, Crop]]:
        """Each example with its photograph and its crop; those whose image has gone or changed are left out."""
        from atlas.collecting import look
        from atlas.collecting.crops import crop

        number, picture, sha256 = -1, None, b""
        cut: dict[int, Crop] = {}
        seed, source = self._plan.collection.seed, self._worker.images
        for example in examples:
            if example.image != number:
                number, cut = example.image, {}
                sha256 = self._worker.store.read("images/sha256", slice(number, number + 1)).tobytes()
                picture = look(source, source.entries[number], sha256).picture
            if picture is not None:
                if example.crop not in cut:
                    preprocessing = self._prepared.preprocessing
                    cut[example.crop] = crop(picture, preprocessing, example.crop, seed=seed, sha256=sha256)
                yield example, picture, cut[example.crop]

    def _measure(self, batch: list[tuple[Example, Pixels, Crop]], measure: Measure) -> None:
        padded = batch + [batch[-1]] * (self.width - len(batch))
        boxes = measure(self._stacked(padded), [example for example, _, _ in padded])
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
