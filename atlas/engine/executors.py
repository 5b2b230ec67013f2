"""Who carries tasks out.

    (job, queue of tasks) -> events, until the queue is empty and nothing is under way

The driver may add to the queue while it reads events: a layer's reduce follows its last shard.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator
from typing import Protocol

from atlas.engine.events import Event, Task
from atlas.engine.work import perform
from atlas.engine.worker import Job, Supplies


class Staff:
    """The workers of a run, as many as there are at each time: what it is paid for."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._before, self._since = 0.0, time.monotonic()

    @property
    def seconds(self) -> float:
        """The time of all of them together so far, whether they worked or not."""
        return self._before + self.count * (time.monotonic() - self._since)

    def are(self, count: int) -> None:
        """Take in that there are `count` from now on."""
        self._before, self._since, self.count = self.seconds, time.monotonic(), count


class Executor(Protocol):
    """The seam between what is to be done and where."""

    workers: int
    """How many tasks run side by side."""
    staff: Staff

    def run(self, job: Job, supplies: Supplies, queue: deque[Task]) -> Generator[Event, None, None]:
        """Carry out the tasks of `queue` on the model and images of `supplies`.

        Closing the iterator stops what is under way; whatever has its receipt is kept.
        """


class InProcess:
    """One task after the other, in this process: for tests, notebooks and debuggers."""

    workers = 1

    def __init__(self) -> None:
        self.staff = Staff(1)

    def run(self, job: Job, supplies: Supplies, queue: deque[Task]) -> Generator[Event, None, None]:
        while queue:
            yield from perform(job, queue.popleft(), supplies)
