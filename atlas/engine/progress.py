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

from atlas.engine.events import Advanced, Divided, Event, LayerDone, Remarked, Retried, ShardFailed, Silent, TaskFailed
from atlas.plans import STAGES, Plan, Stage
from atlas.store import Store
from atlas.terminal import console, line, rephrased
from atlas.words import shown

QUIET = 30.0
"""Seconds between lines where standard error is no terminal."""


class Progress:
    """A context manager; `watch` gives what `atlas.engine.run.build` tells of events."""

    def __init__(self) -> None:
        self._console = console(stderr=True)
        self._bar = Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[items]}{task.fields[pace]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("left", markup=False),
            TimeRemainingColumn(compact=True),
            console=self._console,
            disable=not self._console.is_terminal,
        )

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        """One line beside the bars."""
        self._console.print(line(rephrased(text)))

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
        self._plans = plans
        self._total, self._done = self._totals(store), dict[str, int]()
        self._tasks: dict[str, TaskID] = {}
        for stage in STAGES.values():
            if self._total.get(stage.work) and stage.work not in self._tasks:
                self._bar_of(stage)
        self._said = time.monotonic()
        self._remarked: set[str] = set()
        self._began: dict[str, tuple[float, int]] = {}
        """Of each kind of work when its first part was done, and how much that was: it may begin long after others."""

    def __call__(self, event: Event) -> None:
        match event:
            case Advanced(stage, layer, items):
                self._advance(stage, layer, items)
            case LayerDone(plan, items):
                self._widen(plan, items)
                name = plan.called or "images"
                self._console.print(line(f"{name}: {results(plan, items)} done"))
            case ShardFailed(shard, reason):
                self._console.print(line(("failed", "red"), f" {shard}: {rephrased(reason)}"))
            case Divided(failed):
                what = f" {failed.shard}: {rephrased(failed.reason)}. Looking for the units that fail"
                self._console.print(line(("failed", "red"), what))
            case TaskFailed(task, reason):
                self._console.print(line(("failed", "red"), f" {task}: {rephrased(reason)}"))
            case Retried(task, attempt, reason, where=where):
                self._console.print(line((f"retry {attempt}", "yellow"), f" {task}: {rephrased(reason)}{_at(where)}"))
            case Silent(task, reason, where):
                self._console.print(line(("silent", "yellow"), f" {task}: {rephrased(reason)}{_at(where)}"))
            case Remarked(text) if text not in self._remarked:
                self._remarked.add(text)  # every worker says the same
                self._console.print(line(rephrased(text)))

    def _bar_of(self, stage: Stage) -> TaskID:
        if stage.work not in self._tasks:
            total = self._total.get(stage.work)
            self._tasks[stage.work] = self._bar.add_task(stage.work, total=total, items=stage.items, pace="")
        return self._tasks[stage.work]

    def _totals(self, store: Store) -> dict[str, int]:
        """How much of each kind of work is left; of cells that is not known yet."""
        totals: dict[str, int] = {}
        spans: set[tuple[str, int, int]] = set()
        for plan in self._plans:
            stage = plan.kind
            if stage.over == "images":  # one pass of a range of images serves all layers
                spans |= {(stage.work, shard.start, shard.stop) for shard in store.todo(plan)}
            elif stage.over == "units":
                left = sum(map(len, store.todo(plan))) * stage.each(plan)
                totals[stage.work] = totals.get(stage.work, 0) + left
        for work, start, stop in spans:
            totals[work] = totals.get(work, 0) + stop - start
        return totals

    def _widen(self, plan: Plan, items: int) -> None:
        """Count in what goes over the filled cells of a grid, now that these are known."""
        for other in self._plans:
            if other.over == "cells" and other.before == plan.names:
                work = other.kind.work
                self._total[work] = self._total.get(work, 0) + items * other.kind.each(other)

    def _advance(self, name: str, layer: str, items: int) -> None:
        stage, now = STAGES[name], time.monotonic()
        self._done[stage.work] = self._done.get(stage.work, 0) + items
        began, first = self._began.setdefault(stage.work, (now, items))
        elapsed, newly = max(now - began, 1e-6), self._done[stage.work] - first
        pace = f", {newly / elapsed:.2f} {stage.items}/s" if newly and stage.work == "rendering" else ""
        # Of cells no more is known than what is done.
        total = max(self._total.get(stage.work, 0), self._done[stage.work] if stage.over == "cells" else 0)
        done = min(self._done[stage.work], total)
        self._bar.update(
            self._bar_of(stage), completed=done, total=total, description=shown(layer or stage.work), pace=pace
        )
        if not self._console.is_terminal and newly > 0 and now - max(self._said, began) > QUIET:
            self._said = now
            left = (total - done) * elapsed / newly
            self._console.print(line(f"{done:,} of {total:,} {stage.items}{pace}, about {left:.0f} s left"))


def _at(where: str) -> str:
    return f" (on {where})" if where else ""


def results(plan: Plan, items: int) -> str:
    """What is said to be done of a layer, in words: `statistics of 1,024 images`."""
    text = plan.kind.done.format(f"{items:,}")
    return text.removesuffix("s") if items == 1 else text
