"""The whole job: from a model and its plans to a store that can be opened.

(model, plans, images, place) -> store -> Report

python -m pipelines.catalogue MODEL --layers auto --store FOLDER     # what `atlas build` does, as a script for clusters
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from atlas.plan import Plan
from atlas.store import Backend, Store
from pipelines.executors import InProcess
from pipelines.progress import Progress
from pipelines.record import Report
from pipelines.run import build, describe

if TYPE_CHECKING:
    from atlas.models import Model
    from atlas.rendering import Spectrum
    from pipelines.collecting import Images


def catalogue(
    model: Model,
    plans: Sequence[Plan],
    place: str | Path | Backend,
    *,
    images: Images | None = None,
    spectrum: Spectrum | None = None,
    note: str | None = None,
    workers: int | None = None,
    ray: str | None = None,
    local: bool = False,
    partial: bool = False,
) -> Report:
    """Carry out `plans` in the store at `place`, made where there is none, with a progress bar.

    `images` are what the plans collect, `spectrum` the one that a recipe of `maco` names. Tasks run on the Ray cluster
    at `ray`, on one of this machine's own where none is named, or with `local` in this process. Raises `StoreError`
    where the store is another network's or plan's, or cannot be written.
    """
    store = opened(model, place, note)
    if images is not None:
        images.compare(store)
    store.check(plans)
    with Progress() as progress:
        watch = progress.watch(store, plans)
        if local:
            return build(
                store, model, plans, InProcess(), images=images, spectrum=spectrum, partial=partial, watch=watch
            )
        from pipelines.on_ray import OnRay, connect

        with connect(ray, workers=workers):
            executor = OnRay(plans[0].numerics, workers)
            return build(store, model, plans, executor, images=images, spectrum=spectrum, partial=partial, watch=watch)


def opened(model: Model, place: str | Path | Backend, note: str | None = None) -> Store:
    """The store of `model` at `place`, made where there is none. Raises `StoreError` where it is another network's."""
    return Store.create(place, model.identity, describe(model, note))


if __name__ == "__main__":
    from atlas.cli import main

    sys.argv[1:1] = ["build"]
    main()
