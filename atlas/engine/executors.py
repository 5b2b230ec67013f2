"""Who carries tasks out.

    (job, queue of tasks) -> events, until the queue is empty and nothing is under way

The driver may add to the queue while it reads events: a layer's reduce follows its last shard.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from typing import Protocol

from atlas.engine.events import Event, Task
from atlas.engine.work import perform
from atlas.engine.worker import Job, Supplies


class Executor(Protocol):
    """The seam between what is to be done and where."""

    workers: int
    """How many tasks run side by side."""

    def run(self, job: Job, supplies: Supplies, queue: deque[Task]) -> Generator[Event, None, None]:
        """Carry out the tasks of `queue` on the model and images of `supplies`.

        Closing the iterator stops what is under way; whatever has its receipt is kept.
        """


class InProcess:
    """One task after the other, in this process: for tests, notebooks and debuggers."""

    workers = 1

    def run(self, job: Job, supplies: Supplies, queue: deque[Task]) -> Generator[Event, None, None]:
        while queue:
            yield from perform(job, queue.popleft(), supplies)
