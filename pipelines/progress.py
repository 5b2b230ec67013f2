"""Progress on long work: a bar where somebody watches, a line now and then where nobody does.

events -> standard error
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from atlas.plan import Plan
from atlas.store import Store
from pipelines.events import Event, LayerDone, LayerFailed, Rendered, Retried, ShardDone, ShardFailed

QUIET = 30.0
"""Seconds between lines where standard error is no terminal."""


class Progress:
    """A context manager; `watch` gives what `pipelines.run.build` tells of events."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, soft_wrap=True, highlight=False)
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("pictures, {task.fields[pace]} units/s"),
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

    def watch(self, store: Store, plans: Sequence[Plan]) -> Callable[[Event], None]:
        """What takes in the events of a run of `plans` in `store`."""
        return _Watcher(self._bar, self._console, store, plans)


class _Watcher:
    def __init__(self, bar: Bar, console: Console, store: Store, plans: Sequence[Plan]) -> None:
        left = [shard for plan in plans for shard in store.todo(plan)]
        self._variants = {plan.layer.name: len(plan.recipe.variants) for plan in plans}
        self._total = sum(len(shard) * self._variants[shard.layer] for shard in left)
        self._bar, self._console = bar, console
        self._task = bar.add_task("rendering", total=self._total, pace="-")
        self._began = self._said = time.monotonic()
        self._pictures, self._units = 0, 0.0

    def __call__(self, event: Event) -> None:
        match event:
            case Rendered(layer, pictures):
                self._advance(layer, pictures)
            case LayerDone(plan, pictures):
                self._console.print(f"{plan.layer.name}: {pictures} pictures done")
            case ShardFailed(shard, reason):
                self._console.print(f"[red]failed[/red] {shard}: {_plain(reason)}")
            case LayerFailed(layer, reason):
                self._console.print(f"[red]failed[/red] columns of {layer}: {_plain(reason)}")
            case Retried(task, attempt, reason):
                self._console.print(f"[yellow]retry {attempt}[/yellow] {task}: {_plain(reason)}")
            case ShardDone():
                pass

    def _advance(self, layer: str, pictures: int) -> None:
        self._pictures += pictures
        self._units += pictures / self._variants[layer]
        elapsed = max(time.monotonic() - self._began, 1e-6)
        pace = f"{self._units / elapsed:.2f}"
        self._bar.update(self._task, completed=min(self._pictures, self._total), description=layer, pace=pace)
        if not self._console.is_terminal and time.monotonic() - self._said > QUIET:
            self._said = time.monotonic()
            left = (self._total - self._pictures) * elapsed / max(self._pictures, 1)
            self._console.print(f"{self._pictures} of {self._total} pictures, {pace} units/s, about {left:.0f} s left")


def _plain(text: str) -> str:
    return text.replace("[", "\\[")
