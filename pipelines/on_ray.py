"""The Ray executor: the only place that imports ray.

Plain tasks that stream their events. The driver keeps at most twice as many tasks under way as there are slots, and
hands a task out again when its worker or machine dies; an error of our own is no reason to try again.
"""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before ray is imported: it reads this once

import ray
from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayTaskError,
    TaskCancelledError,
    WorkerCrashedError,
)

from atlas.errors import AtlasError
from atlas.recipe import Numerics
from pipelines.events import Event, Retried, ShardFailed, Task, TaskFailed
from pipelines.work import Job, Supplies, perform

DIED = (WorkerCrashedError, NodeDiedError, ObjectLostError, OutOfMemoryError, TaskCancelledError)
"""Errors of the machinery, not of the work."""
ATTEMPTS = 5
"""How often a task is handed out before its shards count as failed."""
PATIENCE = 5.0
"""Seconds between looks at a silent cluster; `ray.wait` without a time limit can miss its wake-up."""


class OnRay:
    """Tasks on a Ray cluster that this process is connected to. See `connect`."""

    def __init__(self, numerics: Numerics, workers: int | None = None) -> None:
        self._numerics = numerics
        self.workers = workers or slots(numerics)
        # Twice the slots keeps every worker busy; a number that was asked for is kept to.
        self._window = workers or 2 * self.workers

    def run(self, job: Job, supplies: Supplies, queue: deque[Task]) -> Generator[Event, None, None]:
        put = [ray.put(supplies.state()), ray.put(supplies.images())]
        running: dict[Any, tuple[Task, int]] = {}
        again: deque[tuple[Task, int]] = deque()
        try:
            while queue or again or running:
                while (queue or again) and len(running) < self._window:
                    task, attempt = again.popleft() if again else (queue.popleft(), 1)
                    running[self._submit(job, task, put)] = task, attempt
                ready, _ = ray.wait(list(running), num_returns=1, timeout=PATIENCE, fetch_local=False)
                for stream in ready:
                    yield from self._advance(stream, running, again)
        finally:
            for stream in running:
                ray.cancel(stream, force=True)

    def _submit(self, job: Job, task: Task, supplies: list[Any]) -> Any:
        options: dict[str, Any] = {
            "num_cpus": self._numerics.threads,
            "name": str(task),
            "scheduling_strategy": "SPREAD",
        }
        if self._numerics.device == "cuda" and task.on_device:
            options["num_gpus"] = 1
        return _perform.options(**options).remote(job, task, supplies)

    def _advance(
        self, stream: Any, running: dict[Any, tuple[Task, int]], again: deque[tuple[Task, int]]
    ) -> Iterator[Event]:
        """The next event of one task, or its end."""
        task, attempt = running[stream]
        try:
            yield ray.get(next(stream))
            return
        except StopIteration:
            del running[stream]
        except DIED as error:
            del running[stream]
            if attempt < ATTEMPTS:
                again.append((task, attempt + 1))
                yield Retried(task, attempt, _first_line(error))
            else:
                yield from _gave_up(task, f"its worker died {ATTEMPTS} times: {_first_line(error)}")
        except RayTaskError as error:
            del running[stream]
            if isinstance(error.cause, AtlasError):
                raise error.cause from None
            yield from _gave_up(task, _last_line(error))


@ray.remote(max_calls=0, max_retries=0, num_returns="streaming")
def _perform(job: Job, task: Task, supplies: list[Any]) -> Iterator[Event]:
    """The body of every Ray task. `max_calls=0`: GPU tasks would otherwise get a new process, and model, a call.

    Weights and images come as references in a list, which Ray leaves alone: they are fetched where they are needed.
    """
    state, images = supplies
    yield from perform(job, task, Supplies(lambda: ray.get(state), lambda: _images(images)))


@lru_cache(maxsize=1)
def _images(source: Any) -> Any:
    """The images of a run, fetched once a process: of a million files the list alone takes a second."""
    return ray.get(source)


def _gave_up(task: Task, reason: str) -> Iterator[Event]:
    if task.kind != "shards":
        yield TaskFailed(task, reason)
    for shard in task.shards:
        yield ShardFailed(shard, reason)


def slots(numerics: Numerics) -> int:
    """How many tasks the connected cluster runs side by side."""
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    name, each = ("GPU", 1) if numerics.device == "cuda" else ("CPU", numerics.threads)
    return max(1, int(resources.get(name, 1) // each))


@contextmanager
def connect(address: str | None = None, *, workers: int | None = None, folder: str | None = None) -> Iterator[None]:
    """A Ray cluster for the length of a block: the one at `address`, or one of its own on this machine.

    Inside a submitted Ray job the address is found by itself. `folder` holds Ray's own files (short: its sockets
    lie there).
    """
    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    if address:
        _answers(address)
        ray.init(address=address, **quiet)
    else:
        ray.init(num_cpus=workers, include_dashboard=False, _temp_dir=folder, object_store_memory=512 * 2**20, **quiet)
    try:
        yield
    finally:
        ray.shutdown()


def _answers(address: str) -> None:
    """Raise `AtlasError` where nothing listens at HOST:PORT; Ray itself tries for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.removeprefix("ray://"), int(port)), timeout=10).close()
    except OSError as error:
        raise AtlasError(
            f"--ray {address}: no Ray cluster answers there ({error}). Start one: ray start --head"
        ) from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _last_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[-1]
