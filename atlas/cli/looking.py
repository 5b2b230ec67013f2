"""Commands that look at a model and write nothing: layers, check, plan."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atlas.cli import options as o
from atlas.cli.printing import count, duration
from atlas.plan import SAMPLES, Plan
from atlas.recipe import REFERENCE, Collection
from atlas.stages import ACTIVATIONS, EXAMPLES, ICONS, LAYOUT
from atlas.stages.atlas import LISTED
from atlas.terminal import complain, remark, say, table

if TYPE_CHECKING:
    from atlas.cost import Calibration
    from atlas.models import Model
    from atlas.models.check import Check
    from atlas.rendering import Spectrum

TOLD = 10
"""Files that are left out are named one by one up to here."""


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
    layout: o.Layouts = None,
) -> None:
    """List a model's layers in the order it computes them; the ones that `auto` picks carry a star."""
    found = o.load(model, weights, None, preprocessing, layouts=layout)
    picked = found.automatic
    shown = found.select(o.split(select)) if select else found.layers
    rows = [
        (
            layer.name,
            "*" if layer.name in picked else "",
            layer.kind,
            layer.layout + (f"+{layer.prefix}" if layer.prefix else ""),
            layer.channels,
            "x".join(map(str, layer.size)) or "-",
            f"{layer.stride:g}" if layer.stride else "-",
            count(layer.flops),
        )
        for layer in shown
    ]
    table(["layer", "", "kind", "axes", "channels>", "size>", "stride>", "FLOPs to reach>"], rows)
    layers = "1 layer" if len(shown) == 1 else f"{len(shown)} layers"
    say(f"{layers}, {sum(layer.channels for layer in shown):,} channels; `auto` (*) picks {len(picked)}.")
    _say_left_out(found)


def _say_left_out(model: Model) -> None:
    """What modules answer with and is not listed, and why."""
    from atlas.models.probe import by_reason

    found = model.discovery
    for reason, names in by_reason(found.doubtful):
        remark(f"Not to be built: {names}: {reason}.")
    for reason, names in by_reason(found.unplaced):
        remark(f"Without places: {names}: {reason}.")
    for reason, names in by_reason(found.left_out):
        say(f"No layers: {names}: {reason}.")


def check(
    model: o.ModelSpec,
    images: Annotated[list[Path], typer.Argument(parser=o.place, help="Image files or folders of them.")],
    weights: o.Weights = None,
    labels: o.Labels = None,
    preprocessing: o.Preprocess = None,
    logits: o.Logits = None,
    most: Annotated[int, typer.Option("--most", min=1, help="Images looked at; of more, so many are drawn.")] = 32,
) -> None:
    """Classify images: top-5 classes, the input's range, and whether it looks preprocessed right."""
    from atlas.engine.progress import Progress
    from atlas.models import check as look

    loaded = o.load(model, weights, labels, preprocessing, logits)
    with Progress() as progress:
        answer = look(loaded, images, most=most, counting=progress.counting)
    for seen in answer.seen:
        say(str(seen.file))
        rows = [(f"{guess.probability:.1%}", guess.index, guess.label or "") for guess in seen.guesses]
        table(["probability>", "class>", "label"], rows)
    for file, reason in list(zip(answer.unreadable, answer.reasons, strict=True))[:TOLD]:
        complain(f"{file} was left out: {reason}.")
    if (untold := len(answer.unreadable) - TOLD) > 0:
        complain(f"{untold:,} more were left out.")
    looked = len(answer.seen) + len(answer.unreadable)
    if looked < answer.found:
        say(f"{looked:,} of {answer.found:,} files were looked at, drawn by chance; more with --most.")
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
    labels: o.Labels = None,
    preprocessing: o.Preprocess = None,
    logits: o.Logits = None,
    layout: o.Layouts = None,
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
    projection: o.Projection = None,
    projection_settings: o.ProjectionSettings = None,
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
        atlas, grids, maps, positions, atlas_recipe, atlas_settings, projection, layout_settings=projection_settings
    )
    atlases.check(images)
    from atlas.collecting import counted, open_images
    from atlas.engine.memory import shortage

    loaded = o.load(model, weights, labels, preprocessing, logits, layout)
    computing = o.Computing(device, batch, dtype)
    measured = o.measured(spectrum)
    plans = o.plans(loaded, layers, recipe, settings, computing, measured, store)
    found, others = counted(open_images(o.places(images))) if images else (0, 0)
    shown = Collection("", max(found, 1), loaded.classes, crops or o.CROPS)
    charted = o.charting(loaded, atlases, shown, computing, store)  # what is wrong with it is said first
    if pictures:
        cost = _calibrated(loaded, plans, batch, measured, store) if calibrate else o.calibration(store, plans)
        _plan_pictures(plans, o.left_in(store, plans), cost)
    if images:
        if layers is None and atlas is not None and not pictures:
            layers = atlas  # as a build takes them
        _plan_images(loaded, o.collecting(loaded, layers, shown, device), found, others)
        _plan_atlases(charted)
    if short := shortage():
        remark(short)


def _calibrated(
    model: Model, plans: list[Plan], batch: int | None, spectrum: Spectrum | None, store: Path | None
) -> Calibration:
    """What the plans' pictures cost here; kept in `store`, where one is named."""
    from atlas.engine import calibration
    from atlas.engine.catalogue import opened
    from atlas.engine.progress import Progress

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
    say(
        f"{pictures:,} pictures of {plans[0].rendering.size} px in {plans[0].rendering.steps} steps: "
        f"{count(flops)}FLOP, about {max(size / 1e6, 0.1):,.1f} MB{_time(plans, flops, whole)}."
    )


def _plan_images(model: Model, plans: list[Plan], found: int, others: int) -> None:
    """What showing images to the network would cost, what of the units asked for, and what would be kept of them."""
    from atlas.cost import LARGEST_IMAGE, examples, showing
    from atlas.stages.dataset import FIELDS

    collection, measured = plans[0].collection, [each for each in plans if each.stage == EXAMPLES.name]
    whole = max((layer.flops for layer in model.layers), default=0)
    flops = showing(replace(collection, count=found), whole)
    units = sum(len(shard) for each in measured for shard in each.shards)
    channels = sum(each.on.channels for each in measured)
    wanted, back = (sum(each) for each in zip(*map(examples, measured), strict=True))
    shards = -(-found // SAMPLES)
    size = channels * (shards * FIELDS + 2 * min(found, REFERENCE)) * 4 + wanted * 3_500 + found * 5_000
    none = f" ({others:,} of the files {'is no image' if others == 1 else 'are no images'})" if others else ""
    say(
        f"{found:,} images{none}, {collection.crops} crops of each: {count(flops)}FLOP once for all layers"
        f"{_time(plans, flops, None)}."
    )
    say(
        f"{wanted:,} examples of {units:,} units at most: {count(back)}FLOP{_time(plans, back, None)}. "
        f"About {size / 1e6:,.0f} MB at most. A worker takes up to {LARGEST_IMAGE / 1e9:.1f} GB beside the network "
        "while it decodes the largest image that is read."
    )


def _plan_atlases(plans: list[Plan]) -> None:
    """What the atlases of some layers would be made of: a line for each of their stages."""
    for each in plans:
        name = " ".join([each.layer_name, *each.part])
        match each.stage:
            case ACTIVATIONS.name:
                sampling = each.sampling
                told = f"{sampling.samples:,} activations, {sampling.crops} crops x {sampling.positions} of each image"
                told += f", attributed to {sampling.classes:,} classes" if sampling.classes else ", no classes known"
                size = sampling.samples * 2 * (each.on.channels + min(sampling.classes, LISTED))
                say(f"{name}: {told}; about {size / 1e6:,.0f} MB.")
            case LAYOUT.name:
                laid = each.charting.layout
                say(f"{name}: laid out by `{laid.name}`, fitted on at most {laid.most:,} of them.")
            case ICONS.name:
                cells, recipe = each.side**2, each.rendering
                times = recipe.steps * recipe.tries
                flops = times * 3 * each.on.flops * cells * recipe.size**2 // _area(each)
                say(
                    f"{name}: at most {cells:,} cells, {recipe.size} px in {recipe.tries} x {recipe.steps} steps: at "
                    f"most {count(flops)}FLOP."
                )


def _area(plan: Plan) -> int:
    """Pixels of the network's own input."""
    height, width = plan.identity.preprocessing["size"]
    return int(height * width)


def _time(plans: list[Plan], flops: float, seconds: float | None) -> str:
    """How long it may take here, where that can be said; `seconds` as they were measured."""
    from atlas.engine.run import SPEED

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
