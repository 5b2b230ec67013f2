"""What a build would make and cost, said before it is begun.

PreparedBuild -> BuildPlan: a table, sums, sentences
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from atlas.catalogue.notebook import html_table
from atlas.cost import LARGEST_IMAGE, Calibration, charged, examples, showing
from atlas.engine.calibration import known
from atlas.engine.memory import shortage
from atlas.engine.planning.prepared import PreparedBuild, opened
from atlas.engine.run import SPEED
from atlas.models import Model
from atlas.plans import SAMPLES, Plan
from atlas.recipe import REFERENCE
from atlas.stages import EXAMPLES, IMAGES
from atlas.stages.dataset import FIELDS
from atlas.store.removal import replaced
from atlas.terminal import text_table
from atlas.words import command, count, duration

GPU = 3e12
"""Floating point operations a second that a GPU on which nothing was measured is taken for: a T4, at a third of what it
has."""
COLUMNS = ("layer", "units>", "pictures>", "shards>", "left>", "FLOPs>", "MB>")
TIMED = "seconds a picture>"


@dataclass(frozen=True, eq=False)
class BuildPlan:
    """What a build with the same arguments would do. `print` shows it."""

    model: Model
    place: Path | str
    """Where it would go."""
    plans: tuple[Plan, ...]
    left: dict[Plan, int]
    """Shards of each that are not in the store yet."""
    others: int = 0
    """Files among the images that are none."""
    estimated: int = 0
    """How many of the images are only estimated, by the beginnings of tars that lie in an object store."""
    calibration: Calibration | None = field(default=None, repr=False)
    """What pictures cost on this machine, where that was measured."""
    price: float | None = None
    """What an hour of one GPU, or of one core, costs."""
    slots: int | None = None
    """How many tasks the cluster that builds it runs side by side; None where this machine does."""

    @classmethod
    def of(cls, ready: PreparedBuild, slots: int | None = None) -> BuildPlan:
        """What was prepared, with what is left of it in the store; on a cluster with as many `slots`."""
        plans, store = tuple(ready.plans), opened(ready.place)
        left = {plan: len(plan.shards) for plan in plans}
        if store is not None:
            rendering = [plan for plan in plans if plan.kind.renders and plan.over == "units"]
            replaced(store, rendering)  # of images nothing can be said: they were counted, not read
            left |= {plan: len(store.todo(plan)) for plan in rendering}
        calibrated = known(store, plans[0].numerics) if store is not None and plans else None
        price, most = ready.pipeline.price, ready.pipeline.workers
        slots = slots if slots is None or most is None else min(slots, most)
        return cls(ready.model, ready.place, plans, left, ready.others, ready.estimated, calibrated, price, slots)

    @property
    def rendering(self) -> list[Plan]:
        """The plans of feature visualizations, one a layer."""
        return [plan for plan in self.plans if plan.kind.renders and plan.over == "units"]

    @property
    def pictures(self) -> int:
        """Feature visualizations that are asked for."""
        return sum(plan.pictures for plan in self.rendering)

    @property
    def flops(self) -> int:
        """Floating point operations of these."""
        return sum(plan.flops for plan in self.rendering)

    @property
    def bytes(self) -> int:
        """Expected size of these."""
        return sum(plan.bytes for plan in self.rendering)

    @property
    def seconds(self) -> float | None:
        """What these take one device, or one core, as it was measured; None where it was not."""
        return sum(self._known.values()) if self._known and len(self._known) == len(self.rendering) else None

    @property
    def _known(self) -> dict[Plan, float]:
        """Seconds of the pictures of each plan that was measured."""
        each = {plan: self.calibration.seconds(plan) if self.calibration else None for plan in self.rendering}
        return {plan: one * plan.pictures for plan, one in each.items() if one is not None}

    @property
    def hours(self) -> float:
        """Hours of one GPU, or of one core, that what is left takes; without the pictures of atlases."""
        speed = SPEED if self.plans and self.plans[0].numerics.device == "cpu" else GPU
        shares = {plan: self.left[plan] / max(1, len(plan.shards)) for plan in self.rendering}
        known = self._known
        rendering = sum(share * known.get(plan, plan.flops / speed) for plan, share in shares.items())
        return (rendering + sum(self._collecting()) / speed) / 3600

    @property
    def measured(self) -> bool:
        """Whether `hours` rests on measurements alone."""
        return self.seconds is not None and not any(self._collecting())

    def _collecting(self) -> tuple[int, int]:
        """Operations of showing the images to the network, and of measuring what was seen of the examples."""
        shown = next((plan for plan in self.plans if plan.stage == IMAGES.name), None)
        if shown is None:
            return 0, 0
        whole = max((layer.flops for layer in self.model.layers), default=0)
        back = sum(examples(plan)[1] for plan in self.plans if plan.stage == EXAMPLES.name)
        return showing(shown.collection, whole), back

    def table(self) -> tuple[list[str], list[tuple[object, ...]]]:
        """The names of the columns, and a row a layer that gets pictures."""
        timed = self.seconds is not None
        return [*COLUMNS, *([TIMED] if timed else [])], [self._row(plan, timed=timed) for plan in self.rendering]

    def _row(self, plan: Plan, *, timed: bool) -> tuple[object, ...]:
        units, shards = sum(map(len, plan.shards)), len(plan.shards)
        row = (
            plan.layer_name,
            units,
            plan.pictures,
            shards,
            self.left[plan],
            count(plan.flops),
            f"{plan.bytes / 1e6:,.1f}",
        )
        seconds = self.calibration.seconds(plan) if timed and self.calibration else None
        return row if seconds is None else (*row, f"{seconds:,.3g}")

    def lines(self, *, here: bool = True) -> Iterator[str]:
        """What it makes and costs, in sentences; `here` with how long it takes on this machine or cluster."""
        if rendered := self.rendering:
            recipe = rendered[0].rendering
            yield (
                f"{self.pictures:,} pictures of {recipe.size} px in {recipe.steps} steps: {count(self.flops)}FLOP, "
                f"about {max(self.bytes / 1e6, 0.1):,.1f} MB{self._time(self.flops, self.seconds) if here else ''}."
            )
        yield from self._of_images(here)
        for plan in self.plans:
            if plan.kind.priced is not None:
                yield f"{plan.called}: {plan.kind.priced(plan)}."
        if self.price is not None or not here:
            yield self._cost()

    def _cost(self) -> str:
        """What is left in hours and money."""
        cpu = bool(self.plans) and self.plans[0].numerics.device == "cpu"
        unit, measuring = "core" if cpu else "GPU", command("atlas", "plan", "...", "--calibrate", "--store", "STORE")
        taken = "a nominal core" if cpu else f"a GPU of {GPU / 1e12:g} TFLOP/s"
        how = "as calibrated" if self.measured else f"an estimate for {taken}; measure where it runs: {measuring}"
        left = "" if any(self.left.values()) or not self.rendering else ", of pictures all are there"
        return f"About {charged(self.hours, unit, self.price)} ({how}){left}."

    def _of_images(self, here: bool) -> Iterator[str]:
        """What showing images to the network would cost, what of the units asked for, and what is kept of them."""
        shown = next((plan for plan in self.plans if plan.stage == IMAGES.name), None)
        if shown is None:
            return
        measured = [plan for plan in self.plans if plan.stage == EXAMPLES.name]
        (flops, back), found, others = self._collecting(), shown.collection.count, self.others
        units = sum(len(shard) for plan in measured for shard in plan.shards)
        channels = sum(plan.on.channels for plan in measured)
        wanted = sum(examples(plan)[0] for plan in measured)
        shards = -(-found // SAMPLES)
        size = channels * (shards * FIELDS + 2 * min(found, REFERENCE)) * 4 + wanted * 3_500 + found * 5_000
        about = "About " if self.estimated else ""
        none = f" ({others:,} of the files {'is no image' if others == 1 else 'are no images'})" if others else ""
        once, each = (self._time(one, None) if here else "" for one in (flops, back))
        yield (
            f"{about}{found:,} images{none}, {shown.collection.crops} crops of each: {count(flops)}FLOP once for all "
            f"layers{once}."
        )
        yield (
            f"{wanted:,} examples of {units:,} units at most: {count(back)}FLOP{each}. "
            f"About {size / 1e6:,.0f} MB at most. A worker takes up to {LARGEST_IMAGE / 1e9:.1f} GB beside the network "
            "while it decodes the largest image that is read."
        )

    def _time(self, flops: float, seconds: float | None) -> str:
        """How long it may take there, where that can be said; `seconds` as they were measured."""
        cpu = self.plans[0].numerics.device == "cpu"
        if (seconds is None and not cpu and self.slots is None) or self.slots == 0:
            return ""
        workers = self.slots or (os.cpu_count() or 1 if cpu else 1)
        whole = (flops / (SPEED if cpu else GPU) if seconds is None else seconds) / workers
        where = f"this machine's {workers} cores" if cpu else "one such device"
        if self.slots is not None:
            unit = "core" if cpu else "GPU"
            where = f"the cluster's {workers} {unit}s" if workers > 1 else f"one {unit} of the cluster"
        return f", {'roughly' if seconds is None else 'about'} {duration(whole)} on {where}"

    def warnings(self) -> Iterator[str]:
        """What stands in the way of it on this machine, where that builds."""
        if self.slots is None and (short := shortage()):
            yield short

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        columns, rows = self.table()
        shown = html_table([column.removesuffix(">") for column in columns], rows) if rows else ""
        return shown + "".join(f"<p>{escape(line)}</p>" for line in (*self.lines(), *self.warnings()))

    def __str__(self) -> str:
        columns, rows = self.table()
        return "\n".join([*([text_table(columns, rows)] if rows else []), *self.lines(), *self.warnings()])
