"""The whole job: from a model and its plans to a store that can be opened.

(model, plans, images, place) -> store -> Report
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from atlas.engine.executors import InProcess
from atlas.engine.memory import shortage
from atlas.engine.progress import Progress
from atlas.engine.record import Report
from atlas.engine.run import build, describe
from atlas.errors import PlanMismatch
from atlas.plans import Plan
from atlas.store import Backend, Store
from atlas.store.removal import make_way
from atlas.words import parameter

if TYPE_CHECKING:
    from atlas.engine.planning.images import Images
    from atlas.models import Model
    from atlas.rendering import Spectrum

TOLERANCE = 1e-3
"""By how much of the largest of its outputs a network may answer otherwise on another machine."""


def catalogue(
    model: Model,
    plans: Sequence[Plan],
    place: str | Path | Backend,
    *,
    begun: Callable[[Store], None] = lambda _: None,
    images: Images | None = None,
    spectrum: Spectrum | None = None,
    note: str | None = None,
    workers: int | None = None,
    ray: str | None = None,
    local: bool = False,
    partial: bool = False,
) -> Report:
    """Carry out `plans` in the store at `place`, made where there is none, with a progress bar.

    `begun` hears of the store once it is known to be this network's and nothing of it is another plan's;
    `images` are what the plans collect, `spectrum` the one that a recipe of `maco` names. Tasks run on the Ray cluster
    at `ray` (see `atlas.engine.clusters.connect`), on one of this machine's own where none is named, or with `local` in
    this process. Raises `StoreError`
    where the store is another network's or plan's, or cannot be written.
    """
    store = opened(model, place, note)
    if images is not None:
        images.compare(store)
    make_way(store, plans)
    store.check(plans)
    begun(store)
    with Progress() as progress:
        watch = progress.watch(store, plans)
        if (ray is None or local) and (short := shortage(0 if local else workers)):
            progress.say(short)
        if local:
            return build(
                store, model, plans, InProcess(), images=images, spectrum=spectrum, partial=partial, watch=watch
            )
        from atlas.engine.clusters import connect
        from atlas.engine.on_ray import OnRay

        with connect(ray, workers=workers, told=progress.say):
            executor = OnRay(plans[0].numerics, workers)
            return build(store, model, plans, executor, images=images, spectrum=spectrum, partial=partial, watch=watch)


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
