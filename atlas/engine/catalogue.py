"""The whole job: from a pipeline to a store that can be opened.

Pipeline -> PreparedBuild: model, images, plans, place -> store -> Report
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from atlas.engine.executors import InProcess
from atlas.engine.memory import shortage
from atlas.engine.numerics import Hardware, here
from atlas.engine.planning.build_plan import BuildPlan
from atlas.engine.planning.prepared import PreparedBuild, prepared
from atlas.engine.planning.recorded import record
from atlas.engine.progress import Progress
from atlas.engine.record import Report
from atlas.engine.run import build, describe
from atlas.engine.spreading import joins_cluster
from atlas.errors import AtlasError, PlanMismatch
from atlas.pipeline import Pipeline
from atlas.store import Backend, Store
from atlas.store.removal import make_way
from atlas.terminal import remark
from atlas.words import parameter

if TYPE_CHECKING:
    from atlas.models import Model

TOLERANCE = 1e-3
"""By how much of the largest of its outputs a network may answer otherwise on another machine."""


def make(pipeline: Pipeline, *, retry: bool = False) -> tuple[PreparedBuild, Report]:
    """Prepare what a pipeline asks for, and do it. A cluster that it names is joined first: its workers compute.

    With `retry`, shards that have holes are made again. Raises as `prepared` and `carry_out`.
    """
    with computing(pipeline) as hardware:
        ready = prepared(pipeline, hardware=hardware)
        report = carry_out(ready, retry=retry)
    if report.left is not None:
        spent = parameter("max_hours", f"{pipeline.max_hours:g}")
        remark(
            f"{spent}: the time limit was reached. {report.left:,} shards are left. To resume, run the same command."
        )
    return ready, report


def planned(pipeline: Pipeline) -> tuple[PreparedBuild, BuildPlan]:
    """What `make` would do, and what it would cost where it is done: by the cluster that a pipeline joins, or here.

    Nothing is written, and no cluster is made to grow. Raises as `prepared`.
    """
    with computing(pipeline, only_asked=True) as hardware:
        ready = prepared(pipeline, counted=True, hardware=hardware)
        return ready, BuildPlan.of(ready, hardware.slots)


@contextmanager
def computing(pipeline: Pipeline, *, only_asked: bool = False) -> Iterator[Hardware]:
    """What the shards of a pipeline are computed on: this machine, or the cluster that it joins for the block.

    With `only_asked` no worker is waited for; see `atlas.engine.on_ray.hardware`.
    """
    if not joins_cluster(pipeline):
        yield here()
        return
    from atlas.engine.clusters import connect
    from atlas.engine.on_ray import hardware

    with connect(pipeline.ray, told=remark):
        yield hardware(pipeline.device, remark, waits=not only_asked)


def carry_out(ready: PreparedBuild, note: str | None = None, *, retry: bool = False) -> Report:
    """Do what was prepared, in the store at its place, made where there is none, with a progress bar.

    `note` is a sentence for the home page. With `retry`, shards that have holes are made again. Tasks run on the Ray
    cluster that the pipeline names (see `atlas.engine.clusters.connect`), on one of this machine's own where it names
    none, or in this process where it says `local`. Raises `AtlasError` where there is nothing to build, `StoreError`
    where the store is another network's or plan's, or cannot be written.
    """
    asked, model, plans, images = ready.pipeline, ready.model, ready.plans, ready.images
    if not plans:
        raise AtlasError("There is nothing to build: no layer was found.")
    store = opened(model, ready.place, note)
    if images is not None:
        images.compare(store)
    make_way(store, plans)
    store.check(plans)
    record(store, asked, plans)
    for plan in plans if retry else ():
        store.reopen(plan)
    with Progress() as progress:
        watch = progress.watch(store, plans)
        if not joins_cluster(asked) and (short := shortage(0 if asked.local else asked.workers)):
            progress.say(short)
        carry = partial(
            build,
            store,
            model,
            plans,
            images=images,
            spectrum=ready.spectrum,
            partial=asked.partial,
            hours=asked.max_hours,
            price=asked.price,
        )
        if asked.local:
            return carry(InProcess(), watch=watch)
        from atlas.engine.clusters import connect
        from atlas.engine.metrics import counted
        from atlas.engine.on_ray import OnRay

        with connect(asked.ray, workers=asked.workers, told=progress.say):
            return carry(OnRay(plans[0].numerics, asked.workers), watch=counted(watch))


def opened(model: Model, place: str | Path | Backend, note: str | None = None) -> Store:
    """The store of `model` at `place`, made where there is none. Raises `StoreError` where it is another network's.

    Raises `ModelError` where the model has not as many labels as classes: nothing is written then.
    """
    from atlas.models import require_classes

    require_classes(model)
    store = Store.create(place, model.identity, describe(model, note))
    if model.in_memory:
        _compare_outputs(store, model)
    return store


def _compare_outputs(store: Store, model: Model) -> None:
    """Raise `PlanMismatch` where a network answers otherwise than the one that `store` is of, equal weights or not."""
    theirs, ours = store.model.get("outputs") or [], model.outputs
    least = TOLERANCE * max([1e-6, *map(abs, ours)])
    if len(theirs) != len(ours) or any(not abs(a - b) <= least for a, b in zip(theirs, ours, strict=True)):
        raise PlanMismatch(
            f"{store} holds another network than {model.spec}: with the same weights it answers otherwise to the same "
            f"image. Name another {parameter('store')}."
        )
