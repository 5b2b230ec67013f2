"""What the tests of the engine build, and how two stores are compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from atlas.engine.executors import Executor, InProcess
from atlas.engine.numerics import numerics_for
from atlas.engine.planning import atlases, features
from atlas.engine.planning import images as collecting
from atlas.engine.record import Report
from atlas.engine.run import build, describe
from atlas.plans import Plan
from atlas.recipe import ProjectionRecipe, Recipe
from atlas.store import Backend, MemoryBackend, Store
from atlas.store.receipts import Receipt, unfold

if TYPE_CHECKING:
    from atlas.engine.planning.images import ListedImages
    from atlas.models import Model

HASTY = Recipe.named("quick", size=32, steps=3, redirected=1, draws=2, jitter=2.0)
"""Real rendering, as little of it as there can be."""


def tiny_plans(model: Model, *texts: str, recipe: Recipe = HASTY) -> list[Plan]:
    """Plans of the tiny network: both its convolutions unless said."""
    layers, units = features.wanted(model, texts or ("first.1", "second.1"))
    return features.plan(model.identity, layers, recipe, numerics_for("cpu"), units)


def collecting_plans(
    model: Model, images: ListedImages, *texts: str, crops: int = 3, photographs: bool = True
) -> list[Plan]:
    """Plans for collecting what drives the tiny network: all its named layers unless said."""
    layers, units = features.wanted(model, texts or ("first.1", "second.1", "head"))
    collection = images.collection(model, crops=crops, photographs=photographs)
    return collecting.plans(model.identity, layers, collection, numerics_for("cpu"), units)


HASTY_CELLS = Recipe.named("cell", size=32, steps=24, redirected=16, draws=1, jitter=2.0)
"""As little as there can be of the pictures of cells."""


def atlas_plans(
    model: Model,
    images: ListedImages,
    *layers: str,
    crops: int = 3,
    positions: int = 1,
    photographs: bool = True,
    recipe: Recipe = HASTY_CELLS,
    width: int = 8,
    **how: Any,
) -> list[Plan]:
    """Plans for the images and for atlases of `layers`."""
    collection = images.collection(model, crops=crops, photographs=photographs)
    numerics = numerics_for("cpu")
    found = [model.layer(name) for name in layers]
    shown = collecting.plans(model.identity, [], collection, numerics, {})
    sampling = atlases.sampled(collection, positions, relaxed=how.pop("relaxed", False))
    return shown + atlases.plans(model.identity, found, sampling, recipe, numerics, width=width, **how)


def charting_plans(model: Model, images: ListedImages) -> list[Plan]:
    """Plans for two maps of the tiny network, of which one grid has more cells than a shard."""
    layout = ProjectionRecipe(n_neighbors=15)
    return atlas_plans(
        model, images, "second.1", crops=1, maps=("all", "strongest-3"), grids=(5, 10), layout=lambda _: layout
    )


def build_in(
    place: Backend,
    model: Model,
    plans: list[Plan],
    executor: Executor | None = None,
    images: ListedImages | None = None,
) -> tuple[Store, Report]:
    """A store at `place` with `plans` carried out, and the report of it."""
    store = Store.create(place, model.identity, describe(model))
    return store, build(store, model, plans, executor or InProcess(), images=images)


def contents(backend: Backend) -> dict[str, bytes]:
    """Every object that must be the same whoever made it: data, metadata, plans, what manifests prove.

    Not the logs, nor who builds it at the moment.
    """
    keys = [key for key in backend.list() if not key.startswith(("receipts/", "logs/", "builders/"))]
    return {key: _content(key, backend.get(key) or b"") for key in keys}


def _content(key: str, data: bytes) -> bytes:
    """An object without what may differ: a manifest without the records of its receipts."""
    if not key.startswith("manifests/"):
        return data
    return "\n".join(receipt.proof for receipt in unfold(data)).encode()


def everything(backend: Backend) -> dict[str, bytes]:
    """The same with receipts, but for their records: what is left when work was done, however it was done."""
    receipts = {key: Receipt.parse(backend.get(key)) for key in backend.list("receipts/")}
    proofs = {key: receipt.proof.encode() if receipt else b"" for key, receipt in receipts.items()}
    return contents(backend) | proofs


def copied(backend: Backend) -> MemoryBackend:
    made = MemoryBackend()
    for key in backend.list():
        made.put(key, backend.get(key) or b"")
    return made
