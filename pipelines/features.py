"""The stage `features`: a feature visualization of every channel.

    (model, plan, shard) -> pictures -> store -> receipt

A map stage: a shard writes its pictures, one object, and then its receipt, which carries the numbers. They are
measured on the pictures as stored, so that anyone can compute them again.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.errors import UnknownName
from atlas.plan import Identity, Plan, Shard
from atlas.recipe import Numerics, Recipe
from atlas.store import Receipt, as_stored
from atlas.store.layout import arrays
from atlas.units import Layer, Status, decode
from pipelines import spectra
from pipelines.events import Advanced, Event, ShardDone, Task, counted

if TYPE_CHECKING:
    from atlas.models import Model, Prepared
    from atlas.rendering import Aims, Rendered, Spectrum
    from pipelines.work import Worker

STAGE = "features"


def plan(
    identity: Identity, layers: Iterable[Layer], recipe: Recipe, numerics: Numerics, units: dict[str, list[int]]
) -> list[Plan]:
    """A plan a layer. `units` names the channels wanted of a layer; a layer it leaves out is wanted whole."""
    return [Plan.of(STAGE, identity, layer, recipe, numerics, units.get(layer.name, ())) for layer in layers]


def wanted(model: Model, texts: Sequence[str]) -> tuple[list[Layer], dict[str, list[int]]]:
    """The layers that `texts` name, in the network's order, and the units of those named with units.

    A text is what `Model.select` takes, with `:7` or `:0-63` behind it where not all units are wanted. Raises
    `UnknownName` for a layer or unit that is not there.
    """
    units: dict[str, set[int]] = {}
    whole: set[str] = set()
    for text in texts:
        pattern, mark, span = text.rpartition(":") if ":" in text else (text, "", "")
        for layer in model.select([decode(pattern)]):
            if mark:
                units.setdefault(layer.name, set()).update(_span(layer, text, span))
            else:
                whole.add(layer.name)
    layers = [layer for layer in model.layers if layer.name in whole | units.keys()]
    return layers, {name: sorted(some) for name, some in units.items() if name not in whole}


def _span(layer: Layer, text: str, span: str) -> range:
    """The units that `span` (`7`, `0-63`) names of `layer`."""
    match = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", span)
    if match is None:
        raise UnknownName(f"{text!r} names no units: write LAYER:FIRST-LAST, as in features.11:0-63.")
    found = range(int(match[1]), int(match[2] or match[1]) + 1)
    if not found or found[-1] >= layer.channels:
        raise UnknownName(f"{text!r} names no units: {layer.name} has the units 0 to {layer.channels - 1}.")
    return found


def make(worker: Worker, task: Task, index: int) -> Iterator[Event]:
    """Render, measure and store one shard; its receipt last."""
    from atlas.rendering import score_pictures

    (plan,), store = task.plans, worker.store
    shard, recipe = plan.shard(index), plan.rendering
    prepared = worker.prepared(plan.on, plan.numerics)
    units = range(shard.start, shard.stop)
    clock, cpu = Clock(), time.process_time()
    found, numerics = yield from rendered(prepared, plan, shard, units, spectra.read(store, plan))
    clock.lap("render")

    mean, peak = score_pictures(prepared, as_stored(found.pictures, recipe.level), units, recipe, numerics)
    clock.lap("score")

    # A network that answers the stored picture with NaN has no number for it.
    found.status[(found.status == Status.OK) & ~np.isfinite(mean)] = Status.NAN

    # Somebody else may have finished it meanwhile, a task of a dead driver: its data is not to be touched.
    receipt = store.receipt(plan, shard)
    if receipt is not None:
        yield ShardDone(shard, counted(plan.stage, receipt), receipt.record)
        return
    stored = store.write_shard(plan, shard, {"image": found.pictures})
    clock.lap("write")
    made = {name: getattr(found, name) for name in ("status", "attempt", "agreement") if name in arrays(plan)}
    numbers = {name: plain(values) for name, values in ({"mean": mean, "peak": peak} | made).items()}
    record = {"seconds": clock.seconds, "cpu": round(time.process_time() - cpu, 3), **worker.host}
    if numerics.batch < plan.numerics.batch:
        record["backoff"] = numerics.batch
    receipt = Receipt(plan.id, shard.index, (shard.start, shard.stop), tuple(stored), numbers, record)
    store.put_receipt(plan, shard, receipt)
    yield ShardDone(shard, counted(plan.stage, receipt), record)


def rendered(
    prepared: Prepared,
    plan: Plan,
    shard: Shard,
    units: range,
    spectrum: Spectrum | None = None,
    aims: Aims | None = None,
) -> Generator[Event, None, tuple[Rendered, Numerics]]:
    """The pictures of a shard's `units`, and the numerics they were made with, whose width the memory holds.

    Where a device's memory does not hold the plan's width, half of it is tried. The receipt says so: it moves bits.
    """
    from torch import OutOfMemoryError

    from atlas.rendering import Rendered, render_batches

    recipe, numerics = plan.rendering, plan.numerics
    made = Rendered.nothing(len(shard), recipe)
    while True:
        try:
            for cell, found in render_batches(prepared, units, recipe, numerics, spectrum, aims):
                made.put(cell, found)
                yield Advanced(plan.stage, shard.layer, found.status.size)
        except OutOfMemoryError:
            if numerics.batch == 1:
                raise
            numerics = replace(numerics, batch=numerics.batch // 2)
        else:
            return made, numerics


class Clock:
    """Seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        """Book the time since the last lap under `phase`."""
        now = time.perf_counter()
        self.seconds[phase] = round(self.seconds.get(phase, 0.0) + now - self._last, 3)
        self._last = now


def plain(numbers: np.ndarray[Any, Any]) -> list[list[float | int | None]]:
    """Numbers as JSON: None for what is no number."""
    return [[value if math.isfinite(value) else None for value in row] for row in numbers.tolist()]
