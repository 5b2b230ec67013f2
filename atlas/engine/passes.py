"""A shard's images, shown to the network: decoded by threads beside it, and what each of them turned out to be.

(store, source, shard) -> Shown, Shown, ...        afterwards: status, reason, size, thumbnail of each
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from PIL import Image

from atlas.engine.events import Advanced, Event, Remarked
from atlas.engine.making import Made, Making, Piece
from atlas.plans import Plan
from atlas.stages import IMAGES
from atlas.stages.dataset import PHOTOGRAPH, TEXT
from atlas.store import Store
from atlas.store.text import texts, written

if TYPE_CHECKING:
    from torch import Tensor

    from atlas.dataset import ImageSource
    from atlas.dataset.collect import Collected, Shown
    from atlas.dataset.decoding import Pixels
    from atlas.dataset.source import Raw
    from atlas.dataset.watch import Failure
    from atlas.models import Preprocessing

ROOM = 2**27
"""Bytes of files that are held, read and not yet decoded, of images that lie far away."""
PAPER = 255
"""What surrounds a thumbnail that is no square."""


class PassResult(Protocol):
    """What a pass over images left behind."""

    @property
    def seconds(self) -> Mapping[str, float]: ...
    @property
    def failed(self) -> Mapping[str, Failure]: ...


C = TypeVar("C", bound=PassResult)
Collect = Callable[["ShardImages", int], C]
"""(images of a shard, width) -> what they left behind."""
Keep = Callable[[Plan, "ShardImages", C], Made]
"""What one plan keeps of it."""


def make(piece: Piece, collect: Collect[C], keep: Keep[C]) -> Making:
    """Show a shard of images to the network, once for all plans of the piece, and make what each `keeps` of it."""
    from atlas.rendering.compute import computing

    plan, worker = piece.plan, piece.worker

    def attempt() -> Generator[Event, None, tuple[ShardImages, C]]:
        album = ShardImages(worker.store, worker.images, plan, piece.index, worker.model.preprocessing)
        with computing(plan.numerics):
            collected = collect(album, piece.width)
        piece.clock.split({"decode": album.waited, **collected.seconds})
        yield Advanced(plan.stage, plan.layer_name, len(album))
        if trouble := album.trouble:
            yield Remarked(trouble)
        return album, collected

    album, found = yield from piece.narrowed(attempt)
    return ((each, found.failed.get(each.layer_name) or keep(each, album, found)) for each in piece.plans)


@dataclass(frozen=True, eq=False)
class Page:
    """What is kept of one image."""

    status: int
    reason: str
    """Why it is not shown, or what is uncertain of one that is."""
    size: tuple[int, int]
    """Width and height in pixels; zeros where there is no picture."""
    thumb: Pixels | None
    """uint8 [128,128,3]; None where no photographs are kept."""


class ShardImages:
    """The images of one shard."""

    def __init__(self, store: Store, source: ImageSource, plan: Plan, index: int, preprocessing: Preprocessing) -> None:
        self._store, self._source, self._preprocessing = store, source, preprocessing
        self._collection, self.shard = plan.collection, plan.shard(index)
        # Thumbnails are kept of the images themselves, and not again with every layer.
        self._pictured = plan.stage == IMAGES.name and plan.collection.photographs
        # A CPU has its own task on every core; a GPU waits for all cores of its host.
        self._threads = 1 if plan.numerics.device == "cpu" else os.cpu_count() or 1
        self.pages: list[Page] = []
        self.waited = 0.0
        """Seconds that the network waited for images."""

    def __len__(self) -> int:
        return len(self.shard)

    def shown(self) -> Iterator[Shown]:
        """The images that can be shown, with their crops, in order."""
        from atlas.dataset.collect import Shown

        rows = slice(self.shard.start, self.shard.stop)
        sha256, same_as = self._store.read("images/sha256", rows), self._store.read("images/same_as", rows)

        began = time.perf_counter()
        for row, (page, crops) in enumerate(self._looked(sha256, same_as)):
            self.waited += time.perf_counter() - began
            self.pages.append(page)
            if crops is not None:
                yield Shown(self.shard.start + row, crops, sha256[row].tobytes())
            began = time.perf_counter()

    @property
    def trouble(self) -> str:
        """What this machine cannot do for images that lie far away, in one line; empty where nothing is wrong."""
        from atlas.dataset.files import Files

        return self._source.copies.trouble if isinstance(self._source, Files) else ""

    def _looked(self, sha256: np.ndarray[Any, Any], same_as: np.ndarray[Any, Any]) -> Iterator[tuple[Page, Any]]:
        """Every image, decoded by threads; those that lie far away are read by others, ahead of them."""
        from atlas.dataset import prefetch

        ahead, entries = getattr(self._source, "ahead", 0), self._source.entries

        def look(given: tuple[int, Raw | None]) -> tuple[Page, Tensor | None]:
            row, raw = given
            return self._look(self.shard.start + row, raw, sha256[row].tobytes(), int(same_as[row]))

        def read(row: int) -> tuple[int, Raw | None]:
            return row, None if same_as[row] >= 0 else self._source.read(entries[self.shard.start + row])

        def size(row: int) -> int:
            return 0 if same_as[row] >= 0 else entries[self.shard.start + row].size

        rows, near = range(len(self)), ((row, None) for row in range(len(self)))
        read_rows = prefetch(read, rows, workers=ahead, size=size, room=ROOM) if ahead else near
        return prefetch(look, read_rows, workers=self._threads)

    def _look(self, number: int, raw: Raw | None, sha256: bytes, same_as: int) -> tuple[Page, Tensor | None]:
        import torch

        from atlas.dataset import look, look_at
        from atlas.dataset.crops import crops

        if raw is None:
            same = None if same_as < 0 else texts(self._store.read("images/path", slice(same_as, same_as + 1)))[0]
            looked = look(self._source, self._source.entries[number], sha256, same_as=same)
        else:
            looked = look_at(raw, sha256)
        if looked.picture is None:
            return Page(looked.status, looked.reason, (0, 0), self._thumb(None)), None
        count, seed = self._collection.crops, self._collection.seed
        cut = crops(looked.picture, self._preprocessing, count, seed=seed, sha256=sha256, size=looked.size)
        page = Page(looked.status, looked.reason, looked.size, self._thumb(looked.picture))
        return page, torch.stack([crop.x for crop in cut])

    def _thumb(self, picture: Pixels | None) -> Pixels | None:
        if not self._pictured:
            return None
        blank = np.full((PHOTOGRAPH, PHOTOGRAPH, 3), PAPER, np.uint8)
        return blank if picture is None else thumbnail(picture)

    def columns(self, collected: Collected) -> dict[str, np.ndarray[Any, Any]]:
        """What is stored of the shard's images, by array, once all were shown."""
        at = collected.images - self.shard.start
        guessed = np.full((len(self), collected.classes.shape[1]), -1, np.int32)
        probability = np.full(guessed.shape, np.nan, np.float32)
        guessed[at], probability[at] = collected.classes, collected.probabilities
        columns: dict[str, np.ndarray[Any, Any]] = {
            "status": np.array([page.status for page in self.pages], np.uint8),
            "reason": written([page.reason for page in self.pages], TEXT),
            "size": np.array([page.size for page in self.pages], np.int32),
            "class": guessed,
            "probability": probability,
        }
        thumbs = [page.thumb for page in self.pages if page.thumb is not None]
        return columns | ({"thumb": np.stack(thumbs)} if thumbs else {})


def thumbnail(picture: Pixels) -> Pixels:
    """`picture` [h,w,3] whole, in the middle of a square uint8 [128,128,3]."""
    image = Image.fromarray(picture)
    scale = PHOTOGRAPH / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    small = image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2.0)
    square = Image.new("RGB", (PHOTOGRAPH, PHOTOGRAPH), (PAPER, PAPER, PAPER))
    square.paste(small, ((PHOTOGRAPH - width) // 2, (PHOTOGRAPH - height) // 2))
    return np.asarray(square)
