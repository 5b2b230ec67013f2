"""Where what a unit saw of a photograph is measured and cut out.

    (images, shard, [Round]) -> boxes on the photographs, pictures of them

Examples of any kind: those that drive a channel, and those that lie nearest to a cell of an atlas.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from atlas.engine.events import Advanced, Event
from atlas.engine.making import Made, Making, Piece
from atlas.engine.reducing import Receipts, Reduced, gathered
from atlas.plans import Plan, Shard
from atlas.stages.dataset import EXAMPLE, IMAGES
from atlas.store import Store

if TYPE_CHECKING:
    from torch import Tensor

    from atlas.dataset import Looked
    from atlas.dataset.crops import Crop
    from atlas.dataset.decoding import Pixels
    from atlas.engine.worker import Worker
    from atlas.models import Prepared

GREY = 128
"""What is stored where there is no example."""
HELD = 2**28
"""Bytes of photographs that are rather held than decoded again, once what was seen of them is known."""


@dataclass(frozen=True)
class ExamplePlace:
    """One place in the tables of a shard: a unit's, or a cell's, example of some rank."""

    place: tuple[int, ...]
    """Row in the shard, and where in that row."""
    image: int
    crop: int
    position: int


@dataclass(frozen=True)
class Round:
    """Examples that are measured in one way."""

    examples: Sequence[ExamplePlace]
    aims: Sequence[int] | Tensor
    """Of each row of the shard what is looked for there: a unit, or a direction [rows,c]."""
    before: bool = False
    """Whether in the value before the rectifier."""


Rounds = Callable[[Store, Plan, Shard], Iterable[Round]]


def make(piece: Piece, rounds: Rounds) -> Making:
    """Measure and cut out what a shard shows, in `rounds`."""
    from atlas.rendering.compute import computing

    plan, prepared = piece.plan, piece.worker.prepared(piece.plan.on, piece.plan.numerics)
    rows = set(piece.rows)
    given = list(rounds(piece.store, plan, piece.shard))
    shape = (len(piece.shard), *plan.arrays["box"].shape[1:-1])

    def attempt() -> Generator[Event, None, Desk]:
        desk = Desk(piece.worker, plan, prepared, shape, piece.width)
        with computing(plan.numerics):
            for each in given:
                wanted = (example for example in each.examples if example.place[0] in rows)
                ordered = sorted(wanted, key=lambda one: (one.image, one.crop, one.place))
                for done in desk.fill(ordered, each):
                    yield Advanced(plan.stage, plan.layer_name, done)
        return desk

    desk = yield from piece.narrowed(attempt)
    piece.clock.lap(plan.stage)
    return [(plan, Made(desk.pictures, {"box": desk.boxes.reshape(len(piece.shard), -1)}))]


def reduce(_: Store, plan: Plan, receipts: Receipts) -> Reduced:
    """The boxes of `plan`."""
    return Reduced(gathered(plan, receipts))


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
        self._held: dict[int, Looked] = {}
        self._hashes: dict[int, np.ndarray[Any, Any]] = {}

    def fill(self, examples: Sequence[ExamplePlace], how: Round) -> Iterator[int]:
        """Measure and cut out `examples`, which are sorted by image; yields how many were done, now and then."""
        opened = self._opened(examples)
        while batch := list(islice(opened, self.width)):
            self._measure(batch, how)
            yield len(batch)

    def _opened(self, examples: Sequence[ExamplePlace]) -> Iterator[tuple[ExamplePlace, Crop]]:
        """Each example with its crop; those whose image has gone or changed are left out."""
        from atlas.dataset.crops import crop

        seed, how = self._plan.collection.seed, self._prepared.preprocessing
        number, sha256 = -1, b""
        cut: dict[int, Crop] = {}
        for example in examples:
            if example.image != number:
                number, sha256, cut = example.image, self._sha256(example.image), {}
            looked = self._looked(number)
            if looked.picture is not None:
                if example.crop not in cut:
                    size, at = looked.size, example.crop
                    cut[at] = crop(looked.picture, how, at, seed=seed, sha256=sha256, size=size)
                yield example, cut[example.crop]

    def _looked(self, number: int) -> Looked:
        """An image, opened again unless it is among the last that were: a batch of large ones would fill the memory."""
        from atlas.dataset import look

        if number not in self._held:
            source = self._worker.images
            self._held[number] = look(source, source.entries[number], self._sha256(number))
            while (
                len(self._held) > 1
                and sum(one.picture.nbytes for one in self._held.values() if one.picture is not None) > HELD
            ):
                del self._held[next(iter(self._held))]
        return self._held[number]

    def _sha256(self, number: int) -> bytes:
        """The hash in the list. Of this a whole part is read at a time: one row costs as many requests."""
        part, row = divmod(number, IMAGES.shard)
        if part not in self._hashes:
            rows = slice(part * IMAGES.shard, min((part + 1) * IMAGES.shard, self._plan.collection.count))
            self._hashes[part] = self._worker.store.read("images/sha256", rows)
        return bytes(self._hashes[part][row])

    def _measure(self, batch: list[tuple[ExamplePlace, Crop]], how: Round) -> None:
        import torch

        from atlas.dataset.seen import seen

        padded = batch + [batch[-1]] * (self.width - len(batch))
        crops = torch.stack([crop.x for _, crop in padded]).to(self._plan.numerics.device)
        rows, positions = zip(*((example.place[0], example.position) for example, _ in padded), strict=True)
        aims = how.aims[list(rows)] if isinstance(how.aims, torch.Tensor) else [how.aims[row] for row in rows]
        boxes = seen(self._prepared, crops, aims, positions, before=how.before)
        inside = self._prepared.preprocessing.size
        for (example, crop), box in zip(batch, boxes, strict=False):
            looked = self._looked(example.image)
            if looked.picture is None:
                continue  # it has gone in between
            wide, high = looked.size
            found = on_photograph(box, crop, inside).clip(0, (wide, high, wide, high))  # a margin is no part of it
            self.boxes[example.place] = found
            if self.pictures:
                shown = cut_out(looked.picture, found, mirrored=crop.cut.mirrored, size=looked.size)
                self.pictures["picture"][example.place] = shown


def on_photograph(box: np.ndarray[Any, Any], crop: Crop, size: tuple[int, int]) -> np.ndarray[Any, Any]:
    """A box in pixels of a crop of `size` (height, width), in pixels of the photograph it was taken from."""
    height, width = size
    left, top, right, bottom = (float(side) for side in box)
    if crop.cut.mirrored:
        left, right = width - right, width - left
    x0, y0, x1, y1 = crop.cut.box
    across, down = (x1 - x0) / width, (y1 - y0) / height
    return np.array([x0 + left * across, y0 + top * down, x0 + right * across, y0 + bottom * down], np.float32)


def cut_out(
    picture: Pixels, box: np.ndarray[Any, Any], *, mirrored: bool, size: tuple[int, int] | None = None
) -> Pixels:
    """The square of `picture` around `box`, as the unit saw it, uint8 [96,96,3].

    `size` is that of the image itself, where `picture` is smaller; the box is in its pixels.
    """
    from atlas.dataset.crops import on_picture

    height, width, _ = picture.shape
    left, top, right, bottom = on_picture(box.tolist(), (width, height), size or (width, height))
    side = min(max(right - left, bottom - top, 1.0), float(min(width, height)))
    x = min(max((left + right - side) / 2, 0.0), width - side)
    y = min(max((top + bottom - side) / 2, 0.0), height - side)
    square = Image.fromarray(picture).resize(
        (EXAMPLE, EXAMPLE), Image.Resampling.BICUBIC, box=(x, y, x + side, y + side), reducing_gap=2.0
    )
    return np.asarray(square)[:, ::-1] if mirrored else np.asarray(square)
