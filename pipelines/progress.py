"""Progress on long work: a bar a kind of work where somebody watches, a line now and then where nobody does.

events -> standard error
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from atlas.plan import (
    ACTIVATIONS,
    CELLS,
    EXAMPLES,
    FEATURES,
    ICONS,
    IMAGES,
    LAYOUT,
    PATCHES,
    STATISTICS,
    TILES,
    Plan,
    Shard,
)
from atlas.store import Store
from atlas.store.layout import EXTREMES, PATCHED, STRONGEST
from pipelines.events import Advanced, Event, LayerDone, Retried, ShardFailed, TaskFailed

QUIET = 30.0
"""Seconds between lines where standard error is no terminal."""
WORK = {
    FEATURES.name: ("rendering", "pictures"),
    IMAGES.name: ("collecting", "images"),
    STATISTICS.name: ("collecting", "images"),
    EXAMPLES.name: ("examples", "examples"),
    ACTIVATIONS.name: ("sampling", "images"),
    PATCHES.name: ("patches", "patches"),
    ICONS.name: ("cells", "pictures"),
}
LAID = {
    ACTIVATIONS.name: "activations",
    LAYOUT.name: "places of activations",
    CELLS.name: "filled cells",
    PATCHES.name: "cells' patches",
    ICONS.name: "cells' pictures",
    TILES.name: "tiles",
}
"""What is said to be done of an atlas."""

"""What people call the work of a stage, and what it is counted in."""


class Progress:
    """A context manager; `watch` gives what `pipelines.run.build` tells of events."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, soft_wrap=True, highlight=False)
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[items]}{task.fields[pace]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(compact=True),
            console=self._console,
            disable=not self._console.is_terminal,
        )

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()

    def counting(self, what: str, total: int | None, items: str) -> Callable[[int], None]:
        """A bar for `total` things of one kind; gives what hears how many are done."""
        task = self._bar.add_task(what, total=total, items=items, pace="")
        return lambda done: self._bar.update(task, completed=done)

    def watch(self, store: Store, plans: Sequence[Plan]) -> Callable[[Event], None]:
        """What takes in the events of a run of `plans` in `store`."""
        return _Watcher(self._bar, self._console, store, plans)


class _Watcher:
    def __init__(self, bar: Bar, console: Console, store: Store, plans: Sequence[Plan]) -> None:
        self._bar, self._console = bar, console
        self._variants = {p.layer_name: len(p.rendering.variants) for p in plans if p.stage == FEATURES.name}
        self._total, self._done = self._totals(store, plans), dict.fromkeys((work for work, _ in WORK.values()), 0)
        self._charted = {plan.names for plan in plans}
        self._tasks: dict[str, TaskID] = {}
        for work, items in dict.fromkeys(WORK.values()):
            if self._total.get(work):
                self._tasks[work] = bar.add_task(work, total=self._total[work], items=items, pace="")
        self._said = time.monotonic()
        self._began: dict[str, tuple[float, int]] = {}
        """Of each kind of work when its first part was done, and how much that was: it may begin long after others."""
        self._units = 0.0

    def __call__(self, event: Event) -> None:
        match event:
            case Advanced(stage, layer, items):
                self._advance(stage, layer, items)
            case LayerDone(plan, items):
                self._widen(plan, items)
                name = " ".join([plan.layer_name or "images", *plan.part])
                self._console.print(f"{name}: {self._counted(plan, items)} done")
            case ShardFailed(shard, reason):
                self._console.print(f"[red]failed[/red] {shard}: {_plain(reason)}")
            case TaskFailed(task, reason):
                self._console.print(f"[red]failed[/red] {task}: {_plain(reason)}")
            case Retried(task, attempt, reason):
                self._console.print(f"[yellow]retry {attempt}[/yellow] {task}: {_plain(reason)}")

    def _counted(self, plan: Plan, items: int) -> str:
        """What is said to be done of a layer."""
        if plan.stage in LAID:
            return f"{items:,} {LAID[plan.stage]}"
        of = {STATISTICS.name: "statistics of ", EXAMPLES.name: "examples of "}.get(plan.stage, "")
        what = {STATISTICS.name: "images", EXAMPLES.name: "units"}.get(plan.stage, WORK[plan.stage][1])
        return f"{of}{items:,} {what.removesuffix('s') if items == 1 else what}"

    def _totals(self, store: Store, plans: Sequence[Plan]) -> dict[str, int]:
        """How much of each kind of work is left."""
        totals: dict[str, int] = {}
        passes: dict[str, set[tuple[int, int]]] = {"collecting": set(), "sampling": set()}
        for plan in plans:
            if plan.stage not in WORK or plan.over == "cells":  # how many cells there are is not known yet
                continue
            work, left = WORK[plan.stage][0], store.todo(plan)
            if work in passes:  # one pass of a range of images serves all layers
                passes[work] |= {(shard.start, shard.stop) for shard in left}
            else:
                totals[work] = totals.get(work, 0) + sum(self._items(plan, shard) for shard in left)
        return totals | {work: sum(stop - start for start, stop in spans) for work, spans in passes.items()}

    def _items(self, plan: Plan, shard: Shard) -> int:
        each = len(EXTREMES) * STRONGEST if plan.stage == EXAMPLES.name else self._variants[plan.layer_name]
        return len(shard) * each

    def _widen(self, plan: Plan, items: int) -> None:
        """Count in the pictures of a grid, now that its filled cells are known."""
        if plan.stage == CELLS.name:
            for stage, each in ((ICONS.name, 1), (PATCHES.name, PATCHED)):
                work = WORK[stage][0]
                if (stage, *plan.names[1:]) in self._charted:
                    self._total[work] = self._total.get(work, 0) + items * each

    def _advance(self, stage: str, layer: str, items: int) -> None:
        work, counted = WORK[stage]
        self._done[work] += items
        began, first = self._began.setdefault(work, (time.monotonic(), items))
        elapsed = max(time.monotonic() - began, 1e-6)
        pace = ""
        if work not in self._tasks:
            self._tasks[work] = self._bar.add_task(work, total=self._total.get(work), items=counted, pace="")
        if work == "rendering":
            self._units += 0 if self._done[work] == first else items / self._variants[layer]
            pace = f", {self._units / elapsed:.2f} units/s" if self._done[work] > first else ""
        total = max(self._total.get(work, 0), self._done[work] if work in ("cells", "patches") else 0)
        done = min(self._done[work], total)
        self._bar.update(self._tasks[work], completed=done, total=total, description=layer or work, pace=pace)
        if not self._console.is_terminal and done > first and time.monotonic() - self._said > QUIET:
            self._said = time.monotonic()
            left = (total - done) * elapsed / (done - first)
            self._console.print(f"{done:,} of {total:,} {counted}{pace}, about {left:.0f} s left")


def _plain(text: str) -> str:
    return text.replace("[", "\\[")
