"""Commands that render: build, demo."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atlas.catalogue.derived import TOP
from atlas.cli import options as o
from atlas.cli.printing import duration, program
from atlas.cli.reading import left_of
from atlas.errors import BuildFailed
from atlas.plan import Plan
from atlas.stages import FEATURES, ICONS, STATISTICS
from atlas.store import Store
from atlas.store.schema import group_key
from atlas.terminal import complain, say
from atlas.units import SampleStatus, summary

if TYPE_CHECKING:
    from atlas.engine.collecting import Images as GatheredImages
    from atlas.engine.record import Report

DEMO_LAYERS = ["features.4:0-63", "features.7:0-63", "features.11:0-63"]
DEMO_SETTINGS = ["size=160", "steps=64"]
DEMO_CROPS = 64
DEMO_NOTE = (
    "The demo: 64 channels of each of three layers, rendered on this machine when the demo was built. Demo data: "
    f"20 photographs, {DEMO_CROPS} crops of each; what drives a unit most is the best of these few."
)
DEMO_ATLAS = o.Atlases(["features.11"], positions=4)
DEMO_ATLAS_NOTE = (
    "Its activation atlas shows what the network makes of these 20 photographs: clusters of photographs, and of what "
    "is on them. An atlas of a network takes many thousands."
)

Workers = Annotated[
    int | None, typer.Option("--workers", min=1, help="Tasks side by side; one a core or GPU unless said.")
]
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="A running Ray cluster: HOST:PORT, or auto for the one on this machine. Its own (local) unless said here "
        "or by RAY_ADDRESS.",
    ),
]
Local = Annotated[bool, typer.Option("--local", help="No Ray: one task after the other in this process.")]
Photographs = Annotated[
    bool,
    typer.Option("--photographs/--no-photographs", help="Store crops and thumbnails of the images, or numbers alone."),
]
Partial = Annotated[bool, typer.Option("--partial", help="Write a layer's numbers although some of its shards failed.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command()(build)
    app.command()(demo)


def build(
    model: o.ModelSpec,
    layers: o.Layers = None,
    store: o.StorePath = None,
    recipe: o.RecipeName = "standard",
    settings: o.Settings = None,
    weights: o.Weights = None,
    labels: o.Labels = None,
    preprocessing: o.Preprocess = None,
    logits: o.Logits = None,
    layout: o.Layouts = None,
    device: o.Device = "auto",
    batch: o.Batch = None,
    dtype: o.Dtype = "float32",
    workers: Workers = None,
    ray: Ray = None,
    local: Local = False,
    partial: Partial = False,
    images: o.Images = None,
    crops: o.Crops = None,
    photographs: Photographs = True,
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
    relaxed: o.Relaxed = False,
    whitening: o.Whitening = None,
) -> None:
    """Render every channel's feature visualization into a store; with --images also collect what drives it.

    With --atlas lay the activations of layers out as activation atlases too. Run it again to go on where it stopped,
    with more layers, units, images, maps or grids to add them.
    """
    from atlas.engine.catalogue import catalogue

    atlases = o.Atlases(
        atlas, grids, maps, positions, atlas_recipe, atlas_settings, projection, relaxed, whitening, projection_settings
    )
    atlases.check(images)
    o.require_work(images, crops, pictures, photographs)
    place = store or Path(f"{_file_name(model)}.atlas")
    loaded = o.load(model, weights, labels, preprocessing, logits, layout)
    computing = o.Computing(device, batch, dtype)
    measured = o.measured(spectrum)
    plans = o.plans(loaded, layers, recipe, settings, computing, measured, place) if pictures else []
    if layers is None and atlas is not None and not pictures:
        layers = atlas  # of what else would be known what drives it?
    gathered = _gathered(o.places(images)) if images else None
    if gathered is not None:
        collection = gathered.collection(loaded, crops=crops or o.CROPS, photographs=photographs)
        plans += o.collecting(loaded, layers, collection, device)
        plans += o.charting(loaded, atlases, collection, computing, place)
    report = catalogue(
        loaded,
        plans,
        place,
        images=gathered,
        spectrum=measured,
        workers=workers,
        ray=ray,
        local=local,
        partial=partial,
    )
    finish(report, place)


def _gathered(images: list[str]) -> GatheredImages:
    """The images that were given, listed."""
    from atlas.engine.collecting import Images as Gathered
    from atlas.engine.progress import Progress

    with Progress() as progress:
        return Gathered.open(images, progress.counting("listing", None, "images"))


def demo(
    store: Annotated[
        Path, typer.Option("--store", metavar="FOLDER", parser=o.place, help="Where the demo's store goes.")
    ] = Path("demo.atlas"),
    serve: Annotated[bool, typer.Option("--serve/--no-serve", help="Serve the result as a page when done.")] = True,
    atlas: Annotated[
        bool, typer.Option("--atlas", help="An activation atlas of a layer too: a few minutes more.")
    ] = False,
    workers: Workers = None,
    local: Local = False,
) -> None:
    """Render 192 channels of SqueezeNet 1.1, trained on ImageNet, and what drives them of 20 photographs; show them."""
    from atlas.engine.catalogue import catalogue
    from atlas.models.packaged import photographs

    loaded, computing = o.load("squeezenet", None, None, None), o.Computing("cpu")
    plans = o.plans(loaded, DEMO_LAYERS, "quick", DEMO_SETTINGS, computing)
    images = _gathered(list(map(str, photographs())))
    collection = images.collection(loaded, crops=DEMO_CROPS)
    plans += o.collecting(loaded, DEMO_LAYERS, collection, "cpu")
    note = DEMO_NOTE
    if atlas:
        plans += o.charting(loaded, DEMO_ATLAS, collection, computing, store)
        note = f"{DEMO_NOTE} {DEMO_ATLAS_NOTE}"
    report = catalogue(loaded, plans, store, images=images, note=note, workers=workers, local=local)
    finish(report, store)
    if atlas:
        say(DEMO_ATLAS_NOTE)
    if serve:
        from atlas.serve import serve as show

        show(store)


def finish(report: Report, place: Path) -> None:
    """Say what came of a build and where to look. Raises `BuildFailed` where something failed."""
    kept = f", {report.kept:,} were there before" if report.kept else ""
    states = ", ".join(f"{count:,} {name}" for name, count in sorted(report.statuses.items()))
    if report.planned or not report.images:
        say(f"{report.made:,} pictures{kept}.{f' Status: {states}.' if states else ''}")
    say(f"{'All of it' if len(report.took) > 1 else 'It'} took {duration(report.seconds)}{_shared_out(report.took)}.")
    for line in (*collected(report), *charted(report, place)):
        say(line)
    for line in report.failed[:10]:
        complain(line)
    if report.failed:
        raise BuildFailed(
            f"{len(report.failed)} shards failed; the rest is kept in {place}. Run the same command to try them again."
        )
    for line in left_behind(place):
        say(line)
    say(f"To look:   {program()} serve {shlex.quote(str(place))}")
    say(f"In Python: import atlas; cat = atlas.open({json.dumps(str(place), ensure_ascii=False)}); cat.layers")


def _shared_out(took: dict[str, float]) -> str:
    """What the workers' time went into, most of it first; nothing to say of one kind of work."""
    whole = sum(took.values())
    if len(took) < 2 or not whole:
        return ""
    split = sorted(took.items(), key=lambda one: -one[1])
    return f"; of the workers' time {', '.join(f'{name} {seconds / whole:.0%}' for name, seconds in split)}"


def left_behind(place: Path) -> Iterator[str]:
    """What was asked for by an earlier command and is not there: this one was not told to go on with it."""
    store = Store.open(place)
    plans = store.plans()
    collected = {plan.layer_name for plan in plans if plan.stage == STATISTICS.name}
    alone = [p.layer_name for p in plans if p.stage == FEATURES.name and p.layer_name not in collected]
    if collected and alone:
        yield f"No statistics of {', '.join(alone)}: give the same --images to collect them too."
    for plan in plans:
        left = left_of(store, plan) or store.left(plan)
        if left:
            what = f"{plan.stage} of {' '.join([plan.layer_name, *plan.part])}" if plan.layer_name else plan.stage
            yield f"Not done yet: {what}, {left:,} left of an earlier command."


def collected(report: Report) -> Iterator[str]:
    """What came of the images: how many were used, why others were not, and where the time went."""
    if report.images:
        yield f"{summary(report.images)}."
    if report.noted:
        query = "select path, reason from images where status = 'ok' and reason != ''"
        yield f"Of {report.noted:,} of those used it is uncertain what is white; they may be too dark. See: {query}"
    whole = sum(report.spent.values())
    if whole:
        split = ", ".join(f"{name} {seconds / whole:.0%}" for name, seconds in report.spent.items())
        yield f"Collecting took {whole:,.1f} s of the workers' time: {split}."


def charted(report: Report, place: Path) -> Iterator[str]:
    """What came of atlases, and how well the pictures of their cells stand for these."""
    store = Store.open(place)
    for plan, filled in report.grids:
        name = f"{plan.layer_name} {plan.part[0]}"
        yield f"Atlas of {name}, grid {plan.side}: {filled:,} of {plan.side**2:,} cells filled.{_unplaced(store, plan)}"
        icons = store.planned((ICONS.name, *plan.names[1:]))
        if icons is not None and store.columns_done(icons) and filled:
            rank, above = (store.read(f"{group_key(icons)}/{name}")[:filled] for name in ("rank", "above"))
            near = max(1, int(TOP * filled))
            among = "the one" if near == 1 else f"among the {near}"
            yield (
                f"  Of {(rank < near).mean():.0%} of them the own picture is {among} of the grid's that point nearest "
                f"to the cell, of {(above == 1).mean():.0%} it beats {min(8, filled - 1)} others."
            )
    if report.cells:
        states = ", ".join(f"{count:,} {name}" for name, count in sorted(report.cells.items()))
        yield f"{sum(report.cells.values()):,} pictures of cells. Status: {states}."


def _unplaced(store: Store, plan: Plan) -> str:
    """What of a map's activations lies nowhere on it, and why; nothing to say where all lie somewhere."""
    status = store.read(f"layers/{plan.on.key}/atlas/{plan.part[0]}/status")
    counts = {kind.words: int((status == kind).sum()) for kind in (SampleStatus.ZERO, SampleStatus.NOT_FINITE)}
    told = " and ".join(f"{count:,} are {words}" for words, count in counts.items() if count)
    return f" Of its activations {told}: they have no place." if told else ""


def _file_name(model: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in model)
