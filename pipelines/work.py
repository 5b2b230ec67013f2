"""What a worker does with a task: the same code under every executor.

    (job, task) -> events

A worker rebuilds the model from its source and the weights it is handed, once a process, looks for a valid
receipt before each shard, and writes data first and the receipt last.
"""

from __future__ import annotations

import os
import platform
import socket
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from atlas.errors import CannotWrite, StoreFull
from atlas.store import Backend, Store
from pipelines import (
    activations,
    cells,
    collecting,
    columns,
    examples,
    features,
    icons,
    layouts,
    patches,
    relations,
    statistics,
    tiles,
)
from pipelines.events import Event, Finished, LayerDone, ShardDone, ShardFailed, Task, TaskFailed, counted

if TYPE_CHECKING:
    from atlas.collecting import ImageSource
    from atlas.models import Model, ModelSource, Prepared
    from atlas.plan import Plan
    from atlas.recipe import Numerics
    from atlas.units import Layer


@dataclass(frozen=True)
class Job:
    """What all tasks of a run share."""

    backend: Backend
    source: ModelSource
    digest: str
    """Hash of the weights: what a worker's model is known by."""


@dataclass(frozen=True)
class Supplies:
    """What is too large to travel with every task: how a worker gets it, where it needs it."""

    state: Callable[[], dict[str, Any]]
    """Fetches the weights; called once a process."""
    images: Callable[[], ImageSource | None] = lambda: None


UNWRITABLE = (StoreFull, CannotWrite)
"""What ends a run: every further shard would be made for nothing."""


class Worker:
    """What a task is given of the process it runs in."""

    def __init__(self, job: Job, supplies: Supplies) -> None:
        self.store = Store.open(job.backend)
        self.host = host()
        self._job, self._supplies = job, supplies

    @property
    def model(self) -> Model:
        """The job's model, built once a process."""
        key = (self._job.source.spec, self._job.digest)
        model = _models.get(key)
        if model is None:
            _models.clear()
            model = _models[key] = self._job.source.build(self._supplies.state())
        return model

    def prepared(self, layer: Layer, numerics: Numerics) -> Prepared:
        """The model cut at a layer, made once for the shards of a layer that follow each other."""
        from atlas.models import prepare

        key = (self._job.source.spec, self._job.digest, layer.name, numerics.device)
        prepared = _prepared.get(key)
        if prepared is None:
            _prepared.clear()
            prepared = _prepared[key] = prepare(self.model, layer, device=numerics.device)
        return prepared

    @property
    def images(self) -> ImageSource:
        """The images of the job."""
        source = self._supplies.images()
        if source is None:
            raise TypeError("this run was given no images")
        return source


MAKERS: dict[str, Callable[[Worker, Task, int], Iterator[Event]]] = {
    "features": features.make,
    "images": collecting.make,
    "statistics": collecting.make,
    "examples": examples.make,
    "activations": activations.make,
    "patches": patches.make,
    "icons": icons.make,
}
"""By the stage of a task's first plan: what makes its shards of one index."""

REDUCERS: dict[str, Callable[[Store, Plan], LayerDone]] = {
    "features": columns.reduce,
    "images": collecting.reduce_images,
    "statistics": statistics.reduce,
    "examples": examples.reduce,
    "activations": activations.reduce,
    "layout": layouts.reduce,
    "cells": cells.reduce,
    "patches": patches.reduce,
    "icons": icons.reduce,
    "tiles": tiles.reduce,
}
"""By stage: what follows a layer's last shard, or makes all of a stage that has none."""


def perform(job: Job, task: Task, supplies: Supplies) -> Iterator[Event]:
    """Carry out `task`, event by event.

    A shard's failure is an event and the next shard follows; a store that can no longer be written is raised, since
    every further shard would be made for nothing.
    """
    worker = Worker(job, supplies)
    if task.kind != "shards":
        yield from _whole(worker, task)
        return
    for index in task.indices:
        yield from _shards(worker, task, index)


def _shards(worker: Worker, task: Task, index: int) -> Iterator[Event]:
    """The shards of one index; those that are there already are only told of."""
    due = []
    for plan in task.plans:
        receipt = worker.store.receipt(plan, plan.shard(index))
        if receipt is None:
            due.append(plan)
        else:
            yield ShardDone(plan.shard(index), counted(plan.stage, receipt), receipt.record)
    if not due:
        return
    left = Task(tuple(due), (index,))
    try:
        yield from MAKERS[task.plans[0].stage](worker, left, index)
    except UNWRITABLE:
        raise
    except Exception as error:  # noqa: BLE001 (whatever went wrong with this shard, the others go on)
        for plan in due:
            yield ShardFailed(plan.shard(index), f"{type(error).__name__}: {error}", traceback.format_exc())


def _whole(worker: Worker, task: Task) -> Iterator[Event]:
    try:
        if task.kind == "finish":
            yield Finished(relations.finish(worker.store))
        else:
            yield REDUCERS[task.plans[0].stage](worker.store, task.plans[0])
    except UNWRITABLE:
        raise
    except Exception as error:  # noqa: BLE001 (as above)
        yield TaskFailed(task, f"{type(error).__name__}: {error}", traceback.format_exc())


_models: dict[tuple[str, str], Model] = {}
_prepared: dict[tuple[str, str, str, str], Prepared] = {}


@lru_cache(maxsize=1)
def host() -> dict[str, Any]:
    """Where this process runs: recorded beside the work, never compared."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "machine": platform.machine()}
