"""Map-style data sets: anything with a length and items that are images.

    package.module:factory, or a Hugging Face data set on disk -> Dataset

An item is a picture, or a tuple or dict that holds one: a PIL image, a file's bytes, or a uint8 array [h,w,3].
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, Literal, overload

import numpy as np
from PIL import Image

from atlas.dataset.datasets_on_disk import load_saved
from atlas.dataset.guarded import read_file, too_large
from atlas.dataset.source import Entry, Problem, Raw
from atlas.errors import ImagesError
from atlas.factories import call_factory, kind_of
from atlas.units import ImageStatus

COLUMNS = ("image", "img", "picture", "jpg", "png", "bytes")
"""Where a dict that is an item holds its picture."""
_READING = Lock()
"""Data sets are made for processes, not for threads: one item at a time, decoded outside."""


@dataclass(frozen=True)
class Dataset:
    """The images of a map-style data set, in its own order. Sent to a worker, it opens the data set anew."""

    kind: Literal["factory", "saved"]
    spec: str

    @property
    def entries(self) -> Sequence[Entry]:
        return Numbered(tuple((split, len(items)) for split, items in _opened(self.kind, self.spec)))

    def read(self, entry: Entry) -> Raw:
        split = entry.name.rpartition("/")[0]
        try:
            with _READING:
                return _raw(dict(_opened(self.kind, self.spec))[split][entry.start])
        except Exception as error:  # noqa: BLE001  # the user's own code, of which one item must not end the rest
            text = " ".join(str(error).split())[:200]
            return Problem(ImageStatus.UNREADABLE, f"the data set failed ({type(error).__name__}: {text})")


@dataclass(frozen=True)
class Numbered(Sequence[Entry]):
    """Entries of a data set, named by split and number, made when they are asked for: a million take no room."""

    splits: tuple[tuple[str, int], ...]

    def __len__(self) -> int:
        return sum(length for _, length in self.splits)

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Entry]: ...
    def __getitem__(self, index: int | slice) -> Entry | Sequence[Entry]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = index + len(self) if index < 0 else index
        for split, length in self.splits:
            if 0 <= number < length:
                return Entry(f"{split}/{number:08d}" if split else f"{number:08d}", start=number)
            number -= length
        raise IndexError(index)


@lru_cache(maxsize=4)
def _opened(kind: Literal["factory", "saved"], spec: str) -> tuple[tuple[str, Any], ...]:
    """The data set of `spec`, opened once a process: its splits by name, `""` where it has none."""
    if kind == "saved":
        return tuple(load_saved(Path(spec)).items())
    module, name = spec.split(":")
    made = call_factory(module, name, makes="the data set", error=ImagesError)
    if not hasattr(made, "__len__") or not hasattr(made, "__getitem__") or isinstance(made, str | bytes | dict):
        raise ImagesError(f"{spec} returned {kind_of(made)}, not a data set with a length and numbered items.")
    return (("", made),)


def _raw(item: Any) -> Raw:
    """The picture in an item of a data set."""
    if isinstance(item, tuple | list) and item:
        item = item[0]
    while isinstance(item, Mapping):
        known = [item[name] for name in COLUMNS if item.get(name) is not None]
        path = item.get("path")
        item = known[0] if known else read_file(os.fsencode(Path(path))) if path else next(iter(item.values()), None)
    if isinstance(item, bytes):
        return too_large(len(item)) or item
    if isinstance(item, Image.Image | Problem):
        return item
    if isinstance(item, np.ndarray) and item.dtype == np.uint8 and item.ndim in (2, 3):
        return Image.fromarray(item)
    return Problem(
        ImageStatus.NOT_AN_IMAGE, f"the data set gives {kind_of(item)}, not a PIL image: take its transform off"
    )
