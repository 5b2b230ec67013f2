"""A layer's samples as its atlas reads them: from the store, a few thousand rows at a time.

    (store, plan of activations) -> vectors and attributions as `Rows`, columns whole

However many samples there are, what is read of them at once is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.plans import Plan
from atlas.store import Store
from atlas.store.layout import group_key

if TYPE_CHECKING:
    from atlas.projection.rows import Floats, Numbers, Rows

CHUNK = 4096
"""Rows that are read at a time."""
HELD = 2**28
"""Bytes of vectors that are rather held than read again."""


@dataclass(frozen=True)
class StoredSamples:
    """The samples of a layer, or those of them that are on a map."""

    store: Store
    plan: Plan
    """Of the stage `activations`."""
    numbers: Numbers | None = None
    """Rising numbers of those that are meant; None for all."""

    def __len__(self) -> int:
        return self.plan.sampling.samples if self.numbers is None else len(self.numbers)

    def of(self, numbers: Numbers) -> StoredSamples:
        """Those with these rising numbers alone."""
        return StoredSamples(self.store, self.plan, None if len(numbers) == self.plan.sampling.samples else numbers)

    def column(self, name: str) -> np.ndarray[Any, Any]:
        """A number of every sample, [m]."""
        whole = self.store.read(f"{group_key(self.plan)}/{name}")
        return whole if self.numbers is None else whole[self.numbers]

    @property
    def vectors(self) -> Rows:
        """Their vectors [m,c]; NaN where there is none."""
        found = _Read(self, "scale", lambda rows, scale: self._rows("vector", rows).astype(np.float32) * scale[:, None])
        return [np.concatenate([*found])] if 4 * len(self) * self.plan.on.channels <= HELD and len(self) else found

    def attributions(self, start: int, stop: int) -> Rows:
        """What they say for the classes from `start` up to `stop`, [m,stop-start]; NaN where that is not known."""
        return _Read(self, "logit_scale", lambda rows, scale: self._attributions(rows, scale, start, stop))

    def _attributions(self, rows: slice, scale: Floats, start: int, stop: int) -> Floats:
        from atlas.attribution.packing import Packed
        from atlas.stages.atlas import LISTED

        count = self.plan.sampling.classes
        classes = self._rows("logit_class", rows) if count > LISTED else None
        return Packed(self._rows("logit", rows), scale, classes, count).dense(start, stop)

    def _rows(self, name: str, rows: slice) -> np.ndarray[Any, Any]:
        return self.store.read(f"{group_key(self.plan)}/{name}", rows)


@dataclass(frozen=True)
class _Read:
    """Rows that are read anew each time: see `atlas.projection.rows.Rows`."""

    samples: StoredSamples
    scale: str
    """Name of the column of scales, which is small enough to be read whole."""
    read: Callable[[slice, Floats], Floats]

    def __iter__(self) -> Iterator[Floats]:
        numbers, total = self.samples.numbers, self.samples.plan.sampling.samples
        scales = self.samples.store.read(f"{group_key(self.samples.plan)}/{self.scale}")
        for first in range(0, total, CHUNK):
            rows = slice(first, min(first + CHUNK, total))
            if numbers is None:
                yield self.read(rows, scales[rows])
                continue
            low, high = np.searchsorted(numbers, [rows.start, rows.stop])
            if high > low:
                yield self.read(rows, scales[rows])[numbers[low:high] - first]
