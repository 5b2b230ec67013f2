"""The images that were shown to the network.

    Catalogue -> Images -> ImageView: thumbnail, size, status, classes, the units it excites

>>> cat.images["n01440764_18.jpg"].excites[:3]      # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
from PIL import Image

from atlas.catalogue import notebook
from atlas.errors import UnknownName
from atlas.plans import SAMPLES
from atlas.stages import IMAGES
from atlas.stages.dataset import PHOTOGRAPH
from atlas.store.missing import refuse
from atlas.store.text import texts
from atlas.units import ImageStatus, status_name
from atlas.words import parameter, shown

if TYPE_CHECKING:
    from atlas.catalogue.catalogue import Catalogue
    from atlas.catalogue.unit import UnitView

SOME = 1 << 16
"""Names that are read at a time."""
GUESSED = 100_000
"""Names among which the nearest to a wrong one are sought: among more it would take too long."""


class Images:
    """All images of a catalogue, by number or by name. Nothing is read before it is asked for."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue

    def __len__(self) -> int:
        return int((self.catalogue.index["images"] or {"count": 0})["count"])

    @property
    def photographs(self) -> bool:
        """Whether thumbnails and crops are stored, or numbers alone."""
        return bool((self.catalogue.index["images"] or {}).get("photographs"))

    def __iter__(self) -> Iterator[ImageView]:
        return (ImageView(self, number) for number in range(len(self)))

    def __getitem__(self, which: SupportsIndex | str) -> ImageView:
        """The image of a number or a name. Raises `UnknownName`, offering the nearest."""
        if not isinstance(which, SupportsIndex | str):
            raise UnknownName(f"There is no image {which!r}: ask by number or by name, or iterate over them.")
        if isinstance(which, str):
            return ImageView(self, self._number(which))
        number = int(which) + len(self) if int(which) < 0 else int(which)
        if not 0 <= number < len(self):
            raise UnknownName(f"There is no image {which}: {self.catalogue.store} has {len(self):,} of them.")
        return ImageView(self, number)

    def matching(self, pattern: str) -> list[ImageView]:
        """The images whose names fit a glob."""
        found = self._numbers.items()
        return notebook.Listed(ImageView(self, number) for name, number in found if fnmatchcase(name, pattern))

    def row(self, name: str, number: int) -> Any:
        """What the array `images/NAME` holds of an image. Raises `StoreError` where it is gone."""
        return self.catalogue.store.read(f"images/{name}", slice(number, number + 1))[0]

    def looked_at(self, number: int) -> bool:
        """Whether an image was looked at: its shard is not left, and did not fail."""
        return number // SAMPLES in self._done

    @cached_property
    def _done(self) -> set[int]:
        """The shards of images that were done when it was first asked."""
        store = self.catalogue.store
        refuse(store, IMAGES.name)
        return {index for plan in store.plans_of(IMAGES.name) for index in store.told(plan)}

    def _number(self, name: str) -> int:
        if name not in self._numbers:
            where = f"{self.catalogue.store} has {len(self):,} of them."
            raise UnknownName.among("image", name, list(self._numbers)[:GUESSED], hint=where)
        return self._numbers[name]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        """Every image's number by its name, of equal ones the first; a million names take 150 MB."""
        numbers: dict[str, int] = {}
        for start in range(0, len(self), SOME):
            rows = slice(start, min(start + SOME, len(self)))
            for number, name in enumerate(texts(self.catalogue.store.read("images/path", rows)), start):
                numbers.setdefault(name, number)
        return numbers

    def __repr__(self) -> str:
        images = self.catalogue.index["images"]
        if images is None:
            return f"<no images: build with {parameter('images')} to collect some>"
        return f"<{images['count']:,} images, {images['used']:,} used, {images['crops']} crops of each>"


@dataclass(frozen=True)
class ImageView:
    """One image that was shown, or was to be."""

    images: Images
    number: int

    @property
    def name(self) -> str:
        """As it is listed: the path below the folder that was given."""
        return texts(self.images.row("path", self.number)[None])[0]

    @property
    def status(self) -> str:
        """`ok`, or why it was not shown: `truncated`, `duplicate`, ...; `absent` where it was not looked at (yet)."""
        code = self.images.row("status", self.number) if self._looked_at else ImageStatus.ABSENT
        return status_name(ImageStatus, code)

    @property
    def reason(self) -> str:
        """Why it was not shown, or what is uncertain of one that was; empty where nothing is, and where none looked."""
        return texts(self.images.row("reason", self.number)[None])[0] if self._looked_at else ""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels; zeros where there is no picture."""
        width, height = self.images.row("size", self.number) if self._looked_at else (0, 0)
        return int(width), int(height)

    @property
    def picture(self) -> Image.Image:
        """Its thumbnail, at most 128 x 128 pixels. Raises `UnknownName` where none is stored."""
        if not self.images.photographs:
            store = self.images.catalogue.store
            raise UnknownName(f"{store} holds no photographs: it was built with {parameter('photographs', False)}.")
        width, height = self.size
        if not width:
            raise UnknownName(f"{self.name} has no picture: {self.reason or self.status}.")
        scale = PHOTOGRAPH / max(width, height)
        wide, high = max(1, round(width * scale)), max(1, round(height * scale))
        left, top = (PHOTOGRAPH - wide) // 2, (PHOTOGRAPH - high) // 2
        square = Image.fromarray(self.images.row("thumb", self.number))
        return square.crop((left, top, left + wide, top + high))

    @property
    def small(self) -> Image.Image | None:
        """Its thumbnail; None where none is stored."""
        return self.picture if self.images.photographs and self.size[0] else None

    @property
    def classes(self) -> list[tuple[int, str | None, float]]:
        """The classes the network sees in it: number, name, probability; the likeliest first."""
        if not self._looked_at:
            return []
        label = self.images.catalogue.label
        index, value = self.images.row("class", self.number), self.images.row("probability", self.number)
        return [(int(k), label(int(k)), float(p)) for k, p in zip(index, value, strict=True) if k >= 0]

    @property
    def excites(self) -> list[tuple[UnitView, float]]:
        """The units it excites most, each with how many standard deviations above its mean answer.

        Of images outside of the reference set, only the units that have them among their strongest examples.
        """
        catalogue = self.images.catalogue
        if not catalogue.index.get("relations"):
            return []
        layer, unit, score = (self.images.row(f"excited_{name}", self.number) for name in ("layer", "unit", "score"))
        found = np.flatnonzero(layer >= 0)
        layers = [catalogue.related(layer[at], "images/excited_layer") for at in found]
        return notebook.Listed((view[int(unit[at])], float(score[at])) for view, at in zip(layers, found, strict=True))

    @property
    def examples(self) -> list[tuple[UnitView, str, int]]:
        """The units among whose strongest images it is: unit, `top` or `bottom`, rank from 1; the first ranks first."""
        catalogue = self.images.catalogue
        by = "order by rank, extreme desc, layer, index"
        rows = catalogue.sql(f"select layer, index, extreme, rank from examples where image = $n {by}", n=self.number)
        return notebook.Listed((catalogue.layers[layer][index], extreme, rank) for layer, index, extreme, rank in rows)

    @property
    def _looked_at(self) -> bool:
        return self.images.looked_at(self.number)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return shown(f"<image {self.number}: {self.name}, {self.status}>")

    def _repr_html_(self) -> str:
        return notebook.image(self)
