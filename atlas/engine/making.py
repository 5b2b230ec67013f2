"""How a shard is made and becomes part of a store: the law of receipts, in one place.

    stage's make -> (plan, Made), ... -> objects and receipt of each -> ShardDone, ...

What a stage makes is a value; that it is written whole, that its receipt comes last, that what another driver finished
meanwhile stays as it is, and what is noted of time, machine and memory is the same for all stages.
"""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from atlas.engine.events import Event, ShardDone, ShardFailed, counted
from atlas.plans import Plan, Shard
from atlas.recipe import Numerics
from atlas.store import Data, Receipt, Store
from atlas.store.bundles import Objects, stored

if TYPE_CHECKING:
    from atlas.dataset.watch import Failure
    from atlas.engine.worker import Worker

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Made:
    """What a stage made of one shard of a plan."""

    data: Data
    """The arrays that the shard writes, by name."""
    numbers: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    """What its receipt carries for the reduce, by name: rows [n,v]."""
    count: int | None = None
    """Rows of it that are filled; None for all."""


Kept = tuple[Plan, "Made | Failure"]
"""What was made of one plan; or why there is nothing, while the others that a pass served are whole."""
Making = Generator[Event, None, Iterable[Kept]]
"""Tells of progress, then gives what was made of each plan; these may be computed one by one."""


class Piece:
    """One index of a task in a worker: what is to be made, and how long it took at which width."""

    def __init__(
        self,
        worker: Worker,
        plans: tuple[Plan, ...],
        index: int,
        rows: tuple[int, int] | None = None,
        without: Mapping[int, str] | None = None,
    ) -> None:
        self.worker, self.plans, self.index = worker, plans, index
        self.holes = dict(without or {})
        """Units that are to be left out, and why."""
        self._rows = rows
        self.clock = Clock()
        self.width = self.plan.numerics.batch
        """Pictures or crops side by side, as the memory holds them."""

    @property
    def store(self) -> Store:
        return self.worker.store

    @property
    def plan(self) -> Plan:
        """The plan; the first of several that one pass serves."""
        return self.plans[0]

    @property
    def shard(self) -> Shard:
        return self.plan.shard(self.index)

    @property
    def rows(self) -> list[int]:
        """The rows of the shard that are to be made: of a stage that is not `divisible` all, whatever these say."""
        start, stop = self._rows or (0, len(self.shard))
        return [row for row in range(start, stop) if self.shard.start + row not in self.holes]

    @property
    def numerics(self) -> Numerics:
        """Those of the plan, at the width that the memory holds."""
        return replace(self.plan.numerics, batch=self.width)

    def narrowed(self, attempt: Callable[[], Generator[Event, None, T]]) -> Generator[Event, None, T]:
        """What `attempt` gives, at half the width as long as a device's memory is too small for it.

        The receipt says so: it moves bits.
        """
        from torch import OutOfMemoryError

        while True:
            try:
                return (yield from attempt())
            except (OutOfMemoryError, MemoryError):
                if self.width == 1:
                    raise
                self.width //= 2

    def record(self) -> dict[str, Any]:
        """Where it was made: recorded beside the work, never compared."""
        return process() | ({"backoff": self.width} if self.width < self.plan.numerics.batch else {})


def commit(piece: Piece, made: Iterable[Kept]) -> Iterator[Event]:
    """Put what was made of a piece into the store, each plan's shard with its receipt.

    Somebody else may have finished some of it meanwhile, a task of a dead driver: its data is not to be touched.
    """
    store, last = piece.store, None
    for plan, one in made:
        shard = plan.shard(piece.index)
        if not isinstance(one, Made):
            yield ShardFailed(shard, one.reason, one.trace)
            continue
        if (receipt := store.receipt(plan, shard)) is not None:
            yield done(plan, receipt, found=True)
            continue
        if last is not None:
            yield _committed(piece, *last, {})
        last = _packed(piece, plan, one)
    piece.clock.lap("write")
    if last is not None:  # one pass may serve many plans: its time is told once, when all of it is known
        yield _committed(piece, *last, piece.clock.told())


def _packed(piece: Piece, plan: Plan, made: Made) -> tuple[Plan, Objects, Made]:
    """What was made, and the objects that it is."""
    whole = spread(piece, plan, made)
    return plan, piece.store.shard_objects(plan, plan.shard(piece.index), whole.data), whole


def _committed(piece: Piece, plan: Plan, objects: Objects, made: Made, took: dict[str, Any]) -> Event:
    """Put a shard in its place; of several attempts one is."""
    shard = plan.shard(piece.index)
    count = len(shard) if made.count is None else made.count
    numbers = {name: plain(rows) for name, rows in made.numbers.items()}
    span = (shard.start, shard.start + count)
    receipt = Receipt(plan.id, shard.index, span, stored(objects), numbers, took | piece.record(), piece.holes)
    placed = piece.store.commit_shard(plan, shard, objects, receipt)
    return done(plan, placed, found=placed.record != receipt.record)


def done(plan: Plan, receipt: Receipt, *, found: bool) -> Event:
    """What is told of a shard that has its receipt; `found` where another attempt or build has made it."""
    shard, statuses = plan.shard(receipt.shard), counted(plan.stage, receipt)
    units = receipt.units[1] - receipt.units[0] - len(receipt.holes)
    size = sum(one.size for one in receipt.objects)
    return ShardDone(shard, statuses, receipt.record, receipt.holes, units, size, found)


def spread(piece: Piece, plan: Plan, made: Made) -> Made:
    """What was made of some rows of a shard, with nothing in the place of those that were left out."""
    if not piece.holes:
        return made
    shape, rows, arrays = len(piece.shard), piece.rows, plan.arrays

    def whole(name: str, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if len(values) == shape:
            return values
        found = np.full((shape, *values.shape[1:]), arrays[name].fill, values.dtype)
        found[rows] = values
        return found

    data, numbers = ({name: whole(name, some) for name, some in each.items()} for each in (made.data, made.numbers))
    return Made(data, numbers, made.count)


def plain(rows: np.ndarray[Any, Any]) -> list[list[float | int | None]]:
    """Numbers as JSON: None for what is no number."""
    return [[value if math.isfinite(value) else None for value in row] for row in rows.tolist()]


def padded(rows: np.ndarray[Any, Any], count: int) -> np.ndarray[Any, Any]:
    """Rows [n,...] of what is there, followed by rows of nothing (-1 or NaN) up to `count`."""
    nothing = -1 if rows.dtype.kind == "i" else np.nan
    found = np.full((count, *rows.shape[1:]), nothing, rows.dtype)
    found[: len(rows)] = rows
    return found


class Clock:
    """Seconds by phase, and those of the processor."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last, self._cpu = time.perf_counter(), time.process_time()

    def lap(self, phase: str) -> None:
        """Book the time since the last lap under `phase`."""
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now

    def split(self, seconds: dict[str, float]) -> None:
        """Book the time since the last lap as it was measured by phase."""
        self.seconds |= seconds
        self._last = time.perf_counter()

    def told(self) -> dict[str, Any]:
        """What a receipt says of it."""
        seconds = {phase: round(took, 3) for phase, took in self.seconds.items()}
        return {"seconds": seconds, "cpu": round(time.process_time() - self._cpu, 3)}


@lru_cache(maxsize=1)
def process() -> dict[str, Any]:
    """What a receipt says of the process that made a shard: nothing of which machine it runs on."""
    return {"pid": os.getpid(), "machine": platform.machine()}
