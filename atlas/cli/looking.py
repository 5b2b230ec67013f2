"""Commands that look at a model and write nothing: layers, check, plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atlas.cli import options as o
from atlas.errors import AtlasError
from atlas.pipeline import Pipeline, split
from atlas.terminal import complain, remark, say, table
from atlas.words import command, count, parameter

if TYPE_CHECKING:
    from atlas.cost import Calibration
    from atlas.engine.planning.prepared import PreparedBuild
    from atlas.models import Model
    from atlas.models.check import Check

TOLD = 10
"""Files that are left out are named one by one up to here."""


def layers(
    model: o.ModelSpec,
    select: o.Layers = None,
    weights: o.Weights = None,
    preprocessing: o.Preprocess = None,
    layout: o.Layouts = None,
) -> None:
    """List the layers of a model in execution order. A star marks those that `auto` selects."""
    found = o.load(model, weights=weights, preprocessing=preprocessing, layout=layout)
    picked = found.automatic
    shown = found.select(split(select)) if select else found.layers
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
        remark(f"Cannot be built: {names}: {reason}.")
    for reason, names in by_reason(found.unplaced):
        remark(f"Without spatial positions: {names}: {reason}.")
    for reason, names in by_reason(found.left_out):
        say(o.as_options(f"Not listed: {names}: {reason}."))


def check(
    model: o.ModelSpec,
    images: Annotated[
        list[str],
        typer.Argument(parser=o.store_place, help="Image files, or folders of them, here or in an object store."),
    ],
    weights: o.Weights = None,
    labels: o.Labels = None,
    preprocessing: o.Preprocess = None,
    logits: o.Logits = None,
    most: Annotated[
        int, typer.Option("--most", min=1, help="Images to classify at most; more are sampled at random.")
    ] = 32,
) -> None:
    """Classify images: top-5 classes, the range of the input, and whether the preprocessing looks right."""
    from atlas.engine.progress import Progress
    from atlas.models import check as look

    loaded = o.load(model, weights=weights, labels=labels, preprocessing=preprocessing, logits=logits)
    with Progress() as progress:
        answer = look(loaded, images, most=most, counting=progress.counting)
    for seen in answer.seen:
        say(str(seen.file))
        rows = [(f"{guess.probability:.1%}", guess.index, guess.label or "") for guess in seen.guesses]
        table(["probability>", "class>", "label"], rows)
    for seen in [seen for seen in answer.seen if seen.note][:TOLD]:
        remark(f"{seen.file}: {seen.note}.")
    for file, reason in list(zip(answer.unreadable, answer.reasons, strict=True))[:TOLD]:
        complain(f"{file} was left out: {reason}.")
    if (untold := len(answer.unreadable) - TOLD) > 0:
        complain(f"{untold:,} more were left out.")
    looked = len(answer.seen) + len(answer.unreadable)
    if looked < answer.found:
        say(f"{looked:,} of {answer.found:,} files were looked at, drawn by chance; more with --most.")
    _print_range(answer)
    say(o.as_options(answer.sentence))


def _print_range(answer: Check) -> None:
    """What the network is given, per channel."""
    seen = answer.range
    means, deviations = (", ".join(f"{value:.3g}" for value in values) for values in (seen.mean, seen.std))
    say(f"Input: from {seen.low:.3g} to {seen.high:.3g}, mean {means}, standard deviation {deviations}.")


@o.takes_pipeline
def plan(
    said: dict[str, Any],
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            help="Render a little of each layer to measure what pictures cost here, and the best --batch. With "
            "--store, later builds of the store use the result.",
        ),
    ] = False,
    save: Annotated[
        Path | None,
        typer.Option("--save", metavar="FILE.yaml", parser=o.place, help="Write these options to a pipeline file."),
    ] = None,
) -> None:
    """Show what `atlas build` would do with the same options, and what it costs.

    The plan is for the Ray cluster that --ray or RAY_ADDRESS names, if any; --calibrate always measures this machine.
    Writes nothing, except a calibration (--calibrate with --store) and a pipeline file (--save).
    """
    with o.needing_build():
        from atlas.engine.catalogue import planned
        from atlas.engine.planning.recorded import resolved

    asked = resolved(said)
    if save is not None:
        _refuse_place(save)
    if calibrate and asked.ray not in (None, "local"):
        raise AtlasError(
            f"--calibrate with {parameter('ray', asked.ray)}: pictures are measured on this machine, not on the "
            f"cluster. Run it on one of its machines, with {parameter('local', True)}"
        )
    ready, found = planned(replace(asked, ray="local") if calibrate and not asked.local else asked)
    if calibrate and found.rendering:
        found = replace(found, calibration=_calibrated(ready, keep=asked.store is not None))
    columns, rows = found.table()
    if rows:
        table(columns, rows)
    for line in found.lines():
        say(line)
    for line in found.warnings():
        remark(line)
    if save is not None:
        _save(asked, save)


def _refuse_place(file: Path) -> None:
    """Raise `AtlasError` where no pipeline file can be written, before anything is planned for nothing."""
    from atlas.pipeline_file import SUFFIXES

    if not file.name.endswith(SUFFIXES):
        raise AtlasError(f"--save {file}: a pipeline file ends in .yaml, by which it is known.")
    if file.exists():
        raise AtlasError(f"--save {file}: it is there already. Name another file, or take it away.")
    if not file.parent.is_dir():
        raise AtlasError(f"--save {file}: there is no folder {file.parent}.")


def _save(asked: Pipeline, file: Path) -> None:
    """Write a pipeline file, and say what it is for."""
    from atlas.pipeline_file import written

    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(written(asked, file.name))
    except FileExistsError:
        raise AtlasError(f"--save {file}: it is there already. Name another file, or take it away.") from None
    except OSError as error:
        raise AtlasError(f"--save {file}: it cannot be written: {error.strerror}.") from error
    say(f"To build it: {command('atlas', 'build', file)}")


def _calibrated(ready: PreparedBuild, *, keep: bool) -> Calibration:
    """What the plans' pictures cost here; kept in the store, where one was named."""
    from atlas.engine import calibration
    from atlas.engine.catalogue import opened
    from atlas.engine.progress import Progress

    plans = [plan for plan in ready.plans if plan.kind.renders and plan.over == "units"]
    place = opened(ready.model, ready.place) if keep else None  # before anything is measured for nothing
    batch = ready.pipeline.batch
    with Progress() as progress:
        told = progress.counting("calibrating", len(plans), "layers")
        found = calibration.calibrate(ready.model, plans, batch=batch, spectrum=ready.spectrum, told=told)
    if place is not None:
        calibration.keep(place, found)
    width = found.numerics.batch
    say(f"{width} pictures side by side are best on {found.machine}." if batch is None else f"On {found.machine}:")
    if place is None and batch is None:
        say(f"Build with --batch {width}, or name a store to keep this in: --store STORE.")
    return found


COMMANDS = (layers, check, plan)
