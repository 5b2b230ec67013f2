"""What a worker does with a task: the same code under every executor.

    (job, task) -> events

It looks for a valid receipt before each shard; see `making` and `reducing` for what follows.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from atlas.engine import relations
from atlas.engine.events import Event, Finished, LayerDone, ShardFailed, Task, TaskFailed, Tried
from atlas.engine.failures import kind_of
from atlas.engine.making import Piece, commit, done
from atlas.engine.reducing import reduced
from atlas.engine.worker import Job, Supplies, Worker
from atlas.errors import CannotWrite, PlanMismatch, StoreFull
from atlas.plans import Plan, Stage
from atlas.store import Store
from atlas.words import without_addresses

UNWRITABLE = (StoreFull, CannotWrite, PlanMismatch)
"""What ends a run: every further shard would be made for nothing, where another plan took the place of ours too."""


def module(stage: Stage) -> Any:
    """Where a stage is done."""
    return import_module(stage.module or f"atlas.engine.stages.{stage.name}")


def perform(job: Job, task: Task, supplies: Supplies) -> Iterator[Event]:
    """Carry out `task`, event by event.

    A shard's failure is an event and the next shard follows; a store that can no longer be written is raised, since
    every further shard would be made for nothing.
    """
    worker = Worker(job, supplies)
    if not task.on_device:
        yield from _whole(worker, task)
        return
    for index in task.indices:
        yield from _trial(worker, task, index) if task.kind == "trial" else _shards(worker, task, index)


def _shards(worker: Worker, task: Task, index: int) -> Iterator[Event]:
    """The shards of one index; those that are there already are only told of."""
    due = []
    for plan in task.plans:
        receipt = worker.store.receipt(plan, plan.shard(index))
        if receipt is None:
            due.append(plan)
        else:
            yield done(plan, receipt, found=True)
    try:
        yield from _made(worker, task, index, due)
    except UNWRITABLE:
        raise
    except Exception as error:  # noqa: BLE001 (whatever went wrong with this shard, the others go on)
        for plan in due:
            yield ShardFailed(plan.shard(index), _reason(error), traceback.format_exc(), kind_of(error))


def _made(worker: Worker, task: Task, index: int, due: Sequence[Plan]) -> Iterator[Event]:
    """Make the shards of one index, but for those that an attempt that died has made already."""
    left = []
    for plan in due:
        receipt = worker.store.pick_up(plan, plan.shard(index))
        if receipt is None:
            left.append(plan)
        else:
            yield done(plan, receipt, found=True)
    if left:
        piece = Piece(worker, tuple(left), index, without=dict(task.without))
        made = yield from module(piece.plan.kind).make(piece)
        yield from commit(piece, made)


def _trial(worker: Worker, task: Task, index: int) -> Iterator[Event]:
    """Make some rows of a shard, and write nothing."""
    (plan,), rows = task.plans, task.rows or (0, 0)
    try:
        making = module(plan.kind).make(Piece(worker, task.plans, index, rows))
        while True:  # how far it is, is nobody's progress
            next(making)
    except StopIteration as made:
        list(made.value)
        yield Tried(plan.shard(index), rows)
    except Exception as error:  # noqa: BLE001 (this is what is to be found out)
        yield Tried(plan.shard(index), rows, _reason(error), kind_of(error))


def _reason(error: Exception) -> str:
    """Why something failed, as it is kept: without addresses of machines."""
    return without_addresses(f"{type(error).__name__}: {error}")


def reduce(store: Store, plan: Plan) -> LayerDone:
    """Do what follows the last shard of `plan`, where that is due."""
    return reduced(store, plan, getattr(module(plan.kind), "reduce", None))


def _whole(worker: Worker, task: Task) -> Iterator[Event]:
    try:
        if task.kind == "finish":
            yield Finished(relations.finish(worker.store))
        else:
            yield reduce(worker.store, task.plans[0])
    except UNWRITABLE:
        raise
    except Exception as error:  # noqa: BLE001 (as above)
        yield TaskFailed(task, _reason(error), traceback.format_exc(), kind_of(error))
