"""A small store with everything in it, made by the engine: pictures, what images leave behind, activation atlases.

place -> Store of the tiny network: one layer with a map of three grids, and maps of a class and of a pair
"""

from __future__ import annotations

from pathlib import Path

from atlas.engine.executors import InProcess
from atlas.engine.numerics import numerics_for
from atlas.engine.planning import atlases
from atlas.engine.planning.images import ListedImages
from atlas.engine.run import build, describe
from atlas.models import load_model
from atlas.plans import Plan
from atlas.recipe import ProjectionRecipe, Recipe
from atlas.store import Store
from tests.builds import HASTY, collecting_plans, tiny_plans
from tests.dataset.made import encoded, pixels

LAYER, OTHER = "first.1", "second.1"
"""The layer with an atlas, and one without."""
GRIDS = (10, 20, 40)
IMAGES, CROPS, POSITIONS = 16, 1, 40
LABELS = [f"{name}, a kind of thing" for name in ("ash", "birch", "cedar", "elm", "fir", "hazel", "larch", "oak")]
ICONS = Recipe.named("cell", size=40, steps=6, tries=1, redirected=1, draws=2, jitter=2.0)
"""Real rendering, as little of it as makes most cells' pictures their own."""
LAYOUT = ProjectionRecipe.named("standard", neighbours=10)


def atlas_store(place: Path, folder: Path, *, photographs: bool = True, maps: bool = True) -> Store:
    """The store at `place`; its images are written to `folder`."""
    folder.mkdir(parents=True)
    for number in range(IMAGES):
        (folder / f"wood-{number:02d}.png").write_bytes(encoded(pixels(number, (40 + number % 3, 48))))
    model, images = load_model("tests.networks:tiny"), ListedImages.open([str(folder)])
    collecting = collecting_plans(model, images, LAYER, OTHER, crops=CROPS, photographs=photographs)
    plans = [*tiny_plans(model, LAYER, OTHER, recipe=HASTY), *collecting]
    store = Store.create(place, model.identity, describe(model))
    store.put_labels([*LABELS, "pine", "yew"])
    (layer,) = {plan.on for plan in plans if plan.layer is not None and plan.layer_name == LAYER}
    sampling = atlases.sampled(images.collection(model, crops=CROPS, photographs=photographs), POSITIONS)

    def charted(names: tuple[str, ...], grids: tuple[int, ...]) -> list[Plan]:
        return atlases.plans(
            *(model.identity, [layer], sampling, ICONS, numerics_for("cpu")),
            width=16,
            maps=names,
            grids=grids,
            layout=lambda _: LAYOUT,
        )

    plans += charted(("all",), GRIDS)
    if maps:
        plans += [plan for plan in charted(("strongest-3", "pair-2-5"), GRIDS[:1]) if plan.part]
    report = build(store, model, plans, InProcess(), images=images)
    assert not report.failed
    return store
