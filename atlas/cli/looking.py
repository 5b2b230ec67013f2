"""Commands that look at a model and write nothing: layers, check, plan."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atlas.cli import options as o
from atlas.cli.printing import complain, count, duration, out, say, table
from atlas.plan import ACTIVATIONS, ICONS, LAYOUT, SAMPLES, Plan
from atlas.recipe import REFERENCE, Collection
from atlas.store.layout import LISTED

if TYPE_CHECKING:
    from atlas.cost import Calibration
    from atlas.models import Model
    from atlas.models.check import Check
    from atlas.rendering import Spectrum
    from atlas.units import Layer


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command()(layers)
    app.command()(check)
    app.command()(plan)


def layers(
    model: o.ModelSpec,
    select: Annotated[list[str] | None, typer.Option("--layers", help=o.LAYERS_HELP)] = None,
    weights: o.Weights = None,
    preprocessing: o.Preprocess = None,
) -> None:
    """List a model's layers in the order it computes them; the ones that `auto` picks carry a star."""
    found = o.load(model, weights, None, preprocessing)
    picked = {layer.name for layer in found.select(["auto"])}
    shown = found.select(o.split(select)) if select else found.layers
    rows = [
        (
            layer.name,
            "*" if layer.name in picked else "",
            layer.kind,
            layer.channels,
            "x".join(map(str, layer.size)) or "-",
            f"{layer.stride:g}" if layer.stride else "-",
            count(layer.flops),
        )
        for layer in shown
    ]
    table(["layer", "", "kind", "channels>", "size>", "stride>", "FLOPs to reach>"], rows)
    say(f"{len(shown)} layers, {sum(layer.channels for layer in shown):,} channels; `auto` (*) picks {len(picked)}.")


def check(
    model: o.ModelSpec,
    images: Annotated[list[Path], typer.Argument(help="Image files or folders of them.")],
    weights: o.Weights = None,
    labels: o.Labels = None,
    preprocessing: o.Preprocess = None,
) -> None:
    """Classify images: top-5 classes, the input's range, and whether it looks preprocessed right."""
    from atlas.models import check as look

    answer = look(o.load(model, weights, labels, preprocessing), images)
    for seen in answer.seen:
        say(str(seen.file))
        rows = [(f"{guess.probability:.1%}", guess.index, guess.label or "") for guess in seen.guesses]
        table(["probability>", "class>", "label"], rows)
    for file in answer.unreadable:
        complain(f"{file} is no image that can be read; it was left out.")
    _print_range(answer)
    say(answer.sentence)


def _print_range(answer: Check) -> None:
    """What the network is given, per channel."""
    seen = answer.range
    means, deviations = (", ".join(f"{value:.3g}" for value in values) for values in (seen.mean, seen.std))
    say(f"Input: from {seen.low:.3g} to {seen.high:.3g}, mean {means}, standard deviation {deviations}.")


def plan(
    model: o.ModelSpec,
    layers: o.Layers = None,
    recipe: o.RecipeName = "standard",
    settings: o.Settings = None,
    store: o.StorePath = None,
    weights: o.Weights = None,
    preprocessing: o.Preprocess = None,
    device: o.Device = "auto",
    batch: o.Batch = None,
    dtype: o.Dtype = "float32",
    images: o.Images = None,
    crops: o.Crops = None,
    pictures: o.Pictures = True,
    spectrum: o.Spectrum = None,
    atlas: o.Atlas = None,
    grids: o.Grids = None,
    maps: o.Maps = None,
    positions: o.Positions = None,
    atlas_recipe: o.AtlasRecipeName = "cell",
    atlas_settings: o.AtlasSettings = None,
    layout: o.Layout = None,
    layout_settings: o.LayoutSettings = None,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            help="Render a little of each layer here: find the best --batch and what pictures cost. With --store it is "
            "kept there, for the builds that follow.",
        ),
    ] = False,
) -> None:
    """Show what `atlas build` would do: units, pictures, images, cost. Nothing is written but a calibration."""
    o.require_work(images, crops, pictures)
    atlases = o.Atlases(
        atlas, grids, maps, positions, atlas_recipe, atlas_settings, layout, layout_settings=layout_settings
    )
    atlases.check(images)
    from atlas.collecting import open_images

    loaded, computing = o.load(model, weights, None, preprocessing), o.Computing(device, batch, dtype)
    measured = o.measured(spectrum)
    plans = o.plans(loaded, layers, recipe, settings, computing, measured, store)
    found = len(open_images(o.places(images)).entries) if images else 0
    shown = Collection("", max(found, 1), loaded.classes, crops or o.CROPS)
    charted = o.charting(loaded, atlases, shown, computing, store)  # what is wrong with it is said first
    if pictures:
        cost = _calibrated(loaded, plans, batch, measured, store) if calibrate else o.calibration(store, plans)
        _plan_pictures(plans, o.left_in(store, plans), cost)
    if images:
        _plan_images(loaded, [each.on for each in plans], found, crops or o.CROPS)
        _plan_atlases(charted)


def _calibrated(
    model: Model, plans: list[Plan], batch: int | None, spectrum: Spectrum | None, store: Path | None
) -> Calibration:
    """What the plans' pictures cost here; kept in `store`, where one is named."""
    from pipelines import calibration
    from pipelines.catalogue import opened
    from pipelines.progress import Progress

    place = None if store is None else opened(model, store)  # before anything is measured for nothing
    with Progress() as progress:
        told = progress.counting("calibrating", len(plans), "layers")
        found = calibration.calibrate(model, plans, batch=batch, spectrum=spectrum, told=told)
    if place is not None:
        calibration.keep(place, found)
    width = found.numerics.batch
    say(f"{width} pictures side by side are best on {found.machine}." if batch is None else f"On {found.machine}:")
    if place is None and batch is None:
        say(f"Build with --batch {width}, or name a store to keep this in: --store STORE.")
    return found


def _plan_pictures(plans: list[Plan], left: dict[Plan, int], cost: Calibration | None) -> None:
    """What rendering would cost."""
    seconds = {each: None if cost is None else cost.seconds(each) for each in plans}
    measured = all(each is not None for each in seconds.values())
    columns = ["layer", "units>", "pictures>", "shards>", "left>", "FLOPs>", "MB>"]
    rows = [(*_row(each, left), *([f"{seconds[each]:,.3g}"] if measured else [])) for each in plans]
    table([*columns, *(["seconds a picture>"] if measured else [])], rows)
    pictures, flops, size = (sum(getattr(p, what) for p in plans) for what in ("pictures", "flops", "bytes"))
    whole = sum((seconds[each] or 0) * each.pictures for each in plans) if measured else None
    out.print(
        f"{pictures:,} pictures of {plans[0].rendering.size} px in {plans[0].rendering.steps} steps: "
        f"{count(flops)}FLOP, about {max(size / 1e6, 0.1):,.1f} MB{_time(plans, flops, whole)}."
    )


def _plan_images(model: Model, layers: list[Layer], found: int, crops: int) -> None:
    """What showing images to the network would cost, and what would be kept of them."""
    from atlas.store.layout import FIELDS

    whole = max((layer.flops for layer in model.layers), default=0)
    channels, shards = sum(layer.channels for layer in layers), -(-found // SAMPLES)
    size = channels * (shards * FIELDS + 2 * min(found, REFERENCE)) * 4 + channels * 18 * 3_500 + found * 5_000
    out.print(
        f"{found:,} images, {crops} crops of each: {count(found * crops * whole)}FLOP once for all layers, then "
        f"{channels * 18:,} examples; about {size / 1e6:,.0f} MB at most."
    )


def _plan_atlases(plans: list[Plan]) -> None:
    """What the atlases of some layers would be made of: a line for each of their stages."""
    for each in plans:
        name = " ".join([each.layer_name, *each.part])
        match each.stage:
            case ACTIVATIONS.name:
                sampling = each.sampling
                told = f"{sampling.samples:,} activations, {sampling.crops} crops x {sampling.positions} of each image"
                size = sampling.samples * 2 * (each.on.channels + min(sampling.classes, LISTED))
                out.print(f"{name}: {told}, attributed to {sampling.classes:,} classes; about {size / 1e6:,.0f} MB.")
            case LAYOUT.name:
                laid = each.charting.layout
                out.print(f"{name}: laid out by `{laid.name}`, fitted on at most {laid.most:,} of them.")
            case ICONS.name:
                cells, recipe = each.side**2, each.rendering
                times = recipe.steps * recipe.tries
                flops = times * 3 * each.on.flops * cells * recipe.size**2 // _area(each)
                out.print(
                    f"{name}: at most {cells:,} cells, {recipe.size} px in {recipe.tries} x {recipe.steps} steps: at "
                    f"most {count(flops)}FLOP."
                )


def _area(plan: Plan) -> int:
    """Pixels of the network's own input."""
    height, width = plan.identity.preprocessing["size"]
    return int(height * width)


def _time(plans: list[Plan], flops: float, seconds: float | None) -> str:
    """How long it may take here, where that can be said; `seconds` as they were measured."""
    from pipelines.run import SPEED

    cpu = plans[0].numerics.device == "cpu"
    if seconds is None and not cpu:
        return ""
    workers = os.cpu_count() or 1 if cpu else 1
    whole = (flops / SPEED if seconds is None else seconds) / workers
    where = f"this machine's {workers} cores" if cpu else "one such device"
    return f", {'roughly' if seconds is None else 'about'} {duration(whole)} on {where}"


def _row(plan: Plan, left: dict[Plan, int]) -> tuple[object, ...]:
    units, shards = sum(map(len, plan.shards)), len(plan.shards)
    return plan.layer_name, units, plan.pictures, shards, left[plan], count(plan.flops), f"{plan.bytes / 1e6:,.1f}"
