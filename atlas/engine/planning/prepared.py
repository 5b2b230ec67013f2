"""From a pipeline to what is to be done: the network, the images, and the plans of all stages.

Pipeline -> PreparedBuild: model, images, plans, place
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.engine import spectra
from atlas.engine.calibration import width_in
from atlas.engine.numerics import WIDTHS_OF_COLLECTING, WIDTHS_OF_SAMPLING, Hardware, numerics_for
from atlas.engine.planning import atlases, features
from atlas.engine.planning import images as collecting
from atlas.engine.progress import Progress
from atlas.engine.spreading import spread
from atlas.errors import AtlasError, NotAStore
from atlas.pipeline import CROPS, Pipeline
from atlas.places import in_object_store, of_store
from atlas.plans import Plan
from atlas.recipe import Collection, Numerics, ProjectionRecipe, Recipe
from atlas.stages import FEATURES, ICONS
from atlas.store import Store
from atlas.terminal import remark
from atlas.units import Layer
from atlas.words import brief, parameter

if TYPE_CHECKING:
    from atlas.dataset import Copies, Hashes
    from atlas.engine.planning.images import ListedImages
    from atlas.models import Model
    from atlas.rendering import Spectrum

Wanted = tuple[list[Layer], dict[str, list[int]]]
"""Layers, and the units of those of which not all are wanted."""
COUNTED = ""
"""The hash of a list of images that were counted and not read."""


@dataclass(frozen=True, eq=False)
class PreparedBuild:
    """All that a build needs to know, and nothing written yet."""

    pipeline: Pipeline
    model: Model
    place: Path | str
    """Where the store lies, or will: a folder, or an address in an object store."""
    plans: list[Plan]
    """Those of pictures first, then of images, then of atlases."""
    images: ListedImages | None
    """Listed and hashed; None where none were given, or they were only counted."""
    others: int
    """Files among the images that are none, where they were only counted."""
    estimated: int
    """How many of the images are only estimated, where they were counted."""
    spectrum: Spectrum | None


def opened(place: Path | str | None) -> Store | None:
    """The store at a place; None where there is none (yet)."""
    try:
        return None if place is None else Store.open(place)
    except NotAStore:
        return None


def prepared(pipeline: Pipeline, *, counted: bool = False, hardware: Hardware | None = None) -> PreparedBuild:
    """What `pipeline` asks for, computed on `hardware` (this process's unless said).

    Images are read and hashed, or with `counted` only counted, for a plan alone.

    Raises `AtlasError` for what cannot be; nothing was written then.
    """
    place = place_of(pipeline)
    store = opened(place)
    said = {name: getattr(pipeline, name) for name in ("weights", "labels", "preprocessing", "logits")}
    model = load(pipeline.model, **said, layout=pipeline.knobs("layout"))
    spectrum = _measured(pipeline)
    images, collection, (others, estimated) = _images(pipeline, model, counted=counted)
    wanted = _wanted(pipeline, model)
    plans = _features(pipeline, model, wanted, spectrum, store, hardware) if pipeline.pictures else []
    if collection is not None:
        plans += _collecting(pipeline, model, wanted, collection, hardware)
        plans += _charting(pipeline, model, collection, store, hardware)
    return PreparedBuild(pipeline, model, place, plans, images, others, estimated, spectrum)


def place_of(pipeline: Pipeline) -> Path | str:
    """Where a pipeline's results go."""
    if pipeline.store is not None:
        return of_store(pipeline.store)
    if not isinstance(pipeline.model, str):
        raise AtlasError(f"{parameter('store')} is missing: name a place for the results of a network in memory.")
    name = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in pipeline.model)
    return Path(f"{name}.atlas")


# -- the network -------------------------------------------------------------------------------------------------------


def load(
    model: Any,
    *,
    weights: str | Path | None = None,
    labels: str | Path | Sequence[str] | None = None,
    preprocessing: Any = None,
    logits: str | None = None,
    layout: Iterable[str] = (),
) -> Model:
    """The model that options name. Raises `ModelError` where it has not as many labels as classes."""
    from torch import nn

    from atlas.models import Model, load_model, require_classes

    if isinstance(model, Model):
        given = {
            "weights": weights,
            "labels": labels,
            "preprocessing": preprocessing,
            "logits": logits,
            "layout": layout,
        }
        for name, value in given.items():
            if value:
                raise AtlasError(f"{parameter(name)} with a loaded model: pass it to `load_model` instead.")
        loaded = model
    elif not isinstance(model, str | nn.Module):
        said = parameter("model", brief(model))
        raise AtlasError(f"{said}: it is no network. Give a spec, a Model or a torch.nn.Module.")
    else:
        loaded = load_model(
            model,
            weights=None if weights is None else of_store(weights),
            labels=of_store(labels) if isinstance(labels, str | Path) else labels,
            preprocessing=preprocessing,
            logits=logits,
            layout=_layouts(layout),
        )
    require_classes(loaded)
    return loaded


def _layouts(texts: Iterable[str]) -> dict[str, str]:
    """What was said of the axes of layers: `features.3=nhwc`."""
    found = {}
    for text in texts:
        layer, equals, axes = text.rpartition("=")
        if not (layer and equals):
            raise AtlasError(
                f"{parameter('layout', text)}: say LAYER=AXES, as in 'stages.1.*=nhwc'. How an atlas is laid out is "
                f"said by {parameter('projection')}."
            )
        found[layer] = axes
    return found


def _able(pipeline: Pipeline, model: Model, layers: list[Layer], texts: Sequence[str]) -> list[Layer]:
    """Those of `layers` that a build can make; those that `texts` name by a glob may be left out, which is said.

    Raises `ModelError` where one that they name itself cannot be built.
    """
    from atlas.models import able

    named = {features.parts(model, text)[0] for text in texts}
    return able(model, layers, named, remark, batch=pipeline.batch)


def _wanted(pipeline: Pipeline, model: Model) -> Wanted:
    """The layers that are asked for, and the units of those of which not all are."""
    if pipeline.layers is None and pipeline.atlas is not None and not pipeline.pictures:
        names = pipeline.names("atlas")  # of what else would be known what drives it?
    else:
        names = ["auto"] if pipeline.layers is None else pipeline.names("layers")
    found, units = features.wanted(model, names)
    return _able(pipeline, model, found, names), units


# -- feature visualizations --------------------------------------------------------------------------------------------


def _features(
    pipeline: Pipeline,
    model: Model,
    wanted: Wanted,
    spectrum: Spectrum | None,
    store: Store | None,
    hardware: Hardware | None,
) -> list[Plan]:
    measured = [] if spectrum is None else [f"spectrum={spectrum.hash}"]
    recipe = Recipe.parse(pipeline.recipe, [*pipeline.knobs("settings"), *measured])
    layers, units = wanted
    return features.plan(model.identity, layers, recipe, _numerics(pipeline, store, FEATURES.name, hardware), units)


def _measured(pipeline: Pipeline) -> Spectrum | None:
    """The spectrum of the images that were given for it, if any were."""
    if not pipeline.spectrum:
        return None
    with Progress() as progress:
        told = progress.counting("measuring the spectrum", None, "images")
        return spectra.measure(pipeline.places("spectrum"), told)


def _numerics(pipeline: Pipeline, store: Store | None, stage: str, hardware: Hardware | None) -> Numerics:
    """How pictures are computed: as wide as in the store already, or as was calibrated for it, unless a width is said.

    Raises `AtlasError` for a device that is not there.
    """
    numerics = numerics_for(pipeline.device, pipeline.batch, pipeline.dtype, hardware)
    width = None if pipeline.batch or store is None else width_in(store, numerics, stage)
    return replace(numerics, batch=width or numerics.batch)


# -- images ------------------------------------------------------------------------------------------------------------


def _images(
    pipeline: Pipeline, model: Model, *, counted: bool
) -> tuple[ListedImages | None, Collection | None, tuple[int, int]]:
    """The images, what is shown of them, how many files among them are none, and how many are only estimated."""
    from atlas.dataset import about, open_images
    from atlas.dataset import counted as count

    if not pipeline.images:
        return None, None, (0, 0)
    places, crops = pipeline.places("images"), pipeline.crops or CROPS
    copies, hashes = _cache(pipeline)
    if counted:
        source = open_images(places, copies=copies, hashes=hashes, counting=True)
        found, others = count(source)
        collection = Collection(COUNTED, max(found, 1), model.classes, crops, photographs=pipeline.photographs)
        return None, collection, (others, about(source))
    with Progress() as progress:
        told = progress.counting("listing", None, "images")
        carry = spread(pipeline, progress.say)
        images = collecting.ListedImages.open(places, told, copies=copies, hashes=hashes, carry=carry)
        for trouble in filter(None, (copies.trouble, hashes.trouble)):
            progress.say(trouble)
    return images, images.collection(model, crops=crops, photographs=pipeline.photographs), (0, 0)


def _cache(pipeline: Pipeline) -> tuple[Copies, Hashes]:
    """Where copies of images in object stores are kept, on each machine, and hashes of all, for whoever lists them."""
    from atlas.dataset import Copies, Hashes
    from atlas.dataset.copies import GIGABYTES

    place = "" if pipeline.cache is None else str(of_store(pipeline.cache))
    size = GIGABYTES if pipeline.cache_size is None else float(pipeline.cache_size)
    return Copies("" if in_object_store(place) else place, size), Hashes(place)


def _collecting(
    pipeline: Pipeline, model: Model, wanted: Wanted, collection: Collection, hardware: Hardware | None
) -> list[Plan]:
    layers, units = wanted
    numerics = numerics_for(pipeline.device, hardware=hardware)
    width = WIDTHS_OF_COLLECTING[numerics.device]
    return collecting.plans(model.identity, layers, collection, replace(numerics, batch=width), units)


# -- activation atlases ------------------------------------------------------------------------------------------------


def _charting(
    pipeline: Pipeline, model: Model, collection: Collection, store: Store | None, hardware: Hardware | None
) -> list[Plan]:
    if pipeline.atlas is None:
        return []
    names = pipeline.names("atlas")
    changes = [*pipeline.knobs("atlas_settings"), *(["variants=positive"] if pipeline.atlas_recipe != "cell" else [])]
    numerics = _numerics(pipeline, store, ICONS.name, hardware)
    settings = pipeline.knobs("projection_settings")
    return atlases.plans(
        model.identity,
        _able(pipeline, model, model.select(names), names),
        atlases.sampled(collection, pipeline.positions or 1, relaxed=pipeline.relaxed),
        Recipe.parse(pipeline.atlas_recipe, changes, "atlas_settings"),
        numerics,
        width=WIDTHS_OF_SAMPLING[numerics.device],
        maps=atlases.maps(model, maps_of(pipeline)),
        grids=_sides(pipeline),
        layout=lambda preset: ProjectionRecipe.parse(pipeline.projection or preset, settings, "projection_settings"),
        whitening=atlases.WHITENING if pipeline.whitening is None else pipeline.whitening,
        known=() if store is None else store.plans(),
    )


def maps_of(pipeline: Pipeline) -> list[str]:
    """The maps that are asked for; labels may hold commas, so only repeating tells them apart."""
    return [pipeline.maps] if isinstance(pipeline.maps, str) else list(pipeline.maps or ())


def _sides(pipeline: Pipeline) -> list[int]:
    """The sides of the grids. Raises `AtlasError` for what is no number."""
    texts = pipeline.names("grids") or list(map(str, atlases.GRIDS))
    for text in texts:
        if not text.isdigit():
            raise AtlasError(f"{parameter('grids', text)}: the sides of grids are whole numbers, as 20,40.")
    return [int(text) for text in texts]
