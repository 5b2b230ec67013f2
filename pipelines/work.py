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
from pipelines import columns, features
from pipelines.events import Event, LayerFailed, ShardDone, ShardFailed, Task

if TYPE_CHECKING:
    from atlas.models import Model, ModelSource, Prepared
    from atlas.plan import Plan


@dataclass(frozen=True)
class Job:
    """What all tasks of a run share."""

    backend: Backend
    source: ModelSource
    digest: str
    """Hash of the weights: what a worker's model is known by."""


UNWRITABLE = (StoreFull, CannotWrite)
"""What ends a run: every further shard would be made for nothing."""

Weights = Callable[[], dict[str, Any]]
"""Fetches the state dict; called once a process."""


def perform(job: Job, task: Task, weights: Weights) -> Iterator[Event]:
    """Carry out `task`, event by event.

    A shard's failure is an event and the next shard follows; a store that can no longer be written is raised, since
    every further shard would be made for nothing.
    """
    store = Store.open(job.backend)
    if task.reduces:
        yield from _reduce(store, task)
        return
    for shard in task.shards:
        receipt = store.receipt(task.plan, shard)
        if receipt is not None:
            yield ShardDone(shard, features.statuses(receipt), receipt.record)
            continue
        try:
            prepared = prepared_for(job, task.plan, weights)
            yield from features.make(store, prepared, task.plan, shard, host=host())
        except UNWRITABLE:
            raise
        except Exception as error:  # noqa: BLE001 (whatever went wrong with this shard, the others go on)
            yield ShardFailed(shard, f"{type(error).__name__}: {error}", traceback.format_exc())


def _reduce(store: Store, task: Task) -> Iterator[Event]:
    try:
        yield columns.reduce(store, task.plan)
    except UNWRITABLE:
        raise
    except Exception as error:  # noqa: BLE001 (as above)
        yield LayerFailed(task.plan.layer.name, f"{type(error).__name__}: {error}", traceback.format_exc())


def model_of(job: Job, weights: Weights) -> Model:
    """The job's model, built once a process."""
    model = _models.get(job.digest)
    if model is None:
        _models.clear()
        model = _models[job.digest] = job.source.build(weights())
    return model


def prepared_for(job: Job, plan: Plan, weights: Weights) -> Prepared:
    """The job's model cut at the plan's layer, made once for the shards of a layer that follow each other."""
    from atlas.models import prepare

    key = (job.digest, plan.layer.name, plan.numerics.device)
    prepared = _prepared.get(key)
    if prepared is None:
        _prepared.clear()
        prepared = _prepared[key] = prepare(model_of(job, weights), plan.layer, device=plan.numerics.device)
    return prepared


_models: dict[str, Model] = {}
_prepared: dict[tuple[str, str, str], Prepared] = {}


@lru_cache(maxsize=1)
def host() -> dict[str, Any]:
    """Where this process runs: recorded beside the work, never compared."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "machine": platform.machine()}
