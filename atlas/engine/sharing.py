"""How builders of one plan share its work: the second begins at the other end, and what another is at comes last.

tasks, Builder -> Queue

Nobody waits for anybody: what is left in the end is made by whoever has nothing else to do, so one that dies is missed
by none. So at most what was under way is made twice; a receipt is looked for before each shard.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

from atlas.engine.events import Task
from atlas.plans import Plan
from atlas.store.builders import Builder, Piece, piece


class Queue(deque[Task]):
    """What is to be handed out, and what of it is under way, as the store's other builders are told."""

    def __init__(self, builder: Builder) -> None:
        super().__init__()
        self._builder = builder
        self._turned = False
        """Whether it goes from the last shard to the first."""

    def extend(self, tasks: Iterable[Task]) -> None:
        """Put tasks last; where it is turned, first, and the last of them before the others."""
        if self._turned:
            super().extendleft(map(_turned, tasks))
        else:
            super().extend(tasks)

    def popleft(self) -> Task:
        """The next task; what another builder is at is put last."""
        if self._turned != self._builder.second:
            self._turn()
        task = super().popleft()
        for _ in range(len(self) + 1):
            if not self._builder.elsewhere(pieces(task)):
                break
            self.append(task)
            task = super().popleft()
        self._builder.begins(pieces(task))
        return task

    def ended(self, plan: Plan, index: int | None = None) -> None:
        """A shard, or what follows them, is no longer under way."""
        self._builder.ended(piece(plan.id) if index is None else piece(plan.id, index))

    def _turn(self) -> None:
        """Go through the shards from the other end; what follows them stays first."""
        tasks, self._turned = list(self), not self._turned
        self.clear()
        super().extend(task for task in tasks if task.kind != "shards")
        super().extend(_turned(task) for task in reversed(tasks) if task.kind == "shards")


def _turned(task: Task) -> Task:
    return replace(task, indices=task.indices[::-1])


def pieces(task: Task) -> Iterator[Piece]:
    """What a task makes."""
    if task.kind == "reduce":
        yield piece(task.plans[0].id)
    for plan in task.plans:
        yield from (piece(plan.id, index) for index in task.indices)
