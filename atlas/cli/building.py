"""Commands that render: build, retry, demo."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atlas.catalogue.derived import TOP
from atlas.cli import options as o
from atlas.cli.reading import left_of, tell
from atlas.errors import BuildFailed
from atlas.pipeline import Pipeline
from atlas.plans import Plan, called
from atlas.shipped import CLUSTERS, PIPELINES, Shelf
from atlas.stages import FEATURES, ICONS, STATISTICS
from atlas.store import Store
from atlas.store.layout import group_key
from atlas.terminal import complain, program, say, table
from atlas.units import SampleStatus, summary
from atlas.words import duration

if TYPE_CHECKING:
    from atlas.engine.record import Report

DEMO_CROPS = 64
DEMO_NOTE = (
    "The demo: 64 channels of each of three layers, rendered on this machine when the demo was built. Demo data: "
    f"20 photographs, {DEMO_CROPS} crops of each: so few that top activating images are only rough evidence."
)
DEMO_ATLAS_NOTE = (
    "Its activation atlas shows what the network makes of these 20 photographs: clusters of photographs, and of what "
    "is on them. An atlas of a network takes many thousands."
)


@o.takes_pipeline
def build(said: dict[str, Any]) -> None:
    """Build a store: a feature visualization of every unit and, with --images, the images that activate it.

    With --atlas, also make activation atlases. Run the same command again to resume. Ask for more layers, units,
    images, maps or grids to add them.

    A pipeline file holds options; those on the command line override them. Given a store, its last build is resumed.
    """
    with o.needing_build():
        from atlas.engine.catalogue import make
        from atlas.engine.planning.recorded import resolved
    ready, report = make(resolved(said))
    finish(report, ready.place)


@o.takes_pipeline
def retry(said: dict[str, Any]) -> None:
    """Retry the units of a store that could not be made.

    The argument is the store; options are those of build. Work that a build would resume is done too.
    """
    with o.needing_build():
        from atlas.engine.catalogue import make
        from atlas.engine.planning.recorded import resolved
    ready, report = make(resolved(said), retry=True)
    finish(report, ready.place)


Copying = Annotated[str | None, typer.Argument(metavar="NAME", help="The file to copy. Default: list them all.")]
Into = Annotated[Path, typer.Option("--into", metavar="FOLDER", parser=o.place, help="Folder to copy it to.")]


def pipelines(name: Copying = None, into: Into = Path()) -> None:
    """List the pipeline files that come with atlas, or copy one to edit and build."""
    if name is None:
        _list(PIPELINES, "pipelines")
        return
    made = PIPELINES.copy(name, into)
    begin = "python" if made.suffix == ".py" else f"{program()} plan"
    say(f"{made} is yours to change. To see what it does: {begin} {shlex.quote(str(made))}")


def clusters(name: Copying = None, into: Into = Path()) -> None:
    """List the files that start a cluster (ray up, Kubernetes, an image), or copy one to edit."""
    if name is None:
        _list(CLUSTERS, "clusters")
        return
    say(f"{CLUSTERS.copy(name, into)} is yours to change: its first lines say what with, and how it is used.")


def _list(shelf: Shelf, command: str) -> None:
    table(["file", "what it is"], [(one, shelf.about(one)) for one in shelf.names()])
    say(f"Copy one: {program()} {command} NAME")


def demo(
    store: Annotated[
        Path, typer.Option("--store", metavar="FOLDER", parser=o.place, help="Folder for the store.")
    ] = Path("demo.atlas"),
    serve: Annotated[bool, typer.Option("--serve/--no-serve", help="Serve the result as a web page when done.")] = True,
    atlas: Annotated[
        bool, typer.Option("--atlas", help="Also make an activation atlas of one layer. Takes a few minutes more.")
    ] = False,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help=o.helped("workers"))] = None,
    local: Annotated[bool, typer.Option("--local", help=o.helped("local"))] = False,
) -> None:
    """Render 192 channels of SqueezeNet 1.1, find what activates them in 20 photographs, and show the result."""
    with o.needing_build():
        from atlas.engine.catalogue import carry_out
        from atlas.engine.planning.prepared import prepared
        from atlas.models.packaged import photographs

    charted: dict[str, Any] = {"atlas": ["features.11"], "positions": 4} if atlas else {}
    asked = Pipeline(
        "squeezenet",
        store,
        layers=["features.4:0-63", "features.7:0-63", "features.11:0-63"],
        recipe="quick",
        settings={"size": 160, "steps": 64},
        images=[str(file) for file in photographs()],
        crops=DEMO_CROPS,
        device="cpu",
        workers=workers,
        local=local,
        **charted,
    )
    report = carry_out(prepared(asked), note=f"{DEMO_NOTE} {DEMO_ATLAS_NOTE}" if atlas else DEMO_NOTE)
    finish(report, store)
    if atlas:
        say(DEMO_ATLAS_NOTE)
    if serve:
        from atlas.server import serve as show

        show(store)


def finish(report: Report, place: Path | str) -> None:
    """Say what came of a build and where to look. Raises `BuildFailed` where something failed."""
    kept = f", {report.kept:,} were there before" if report.kept else ""
    states = ", ".join(f"{count:,} {name}" for name, count in sorted(report.statuses.items()))
    if report.planned or not report.images:
        say(f"{report.made:,} pictures{kept}.{f' Status: {states}.' if states else ''}")
    say(f"It took {duration(report.seconds)}.")
    tell(report.totals)
    for line in (*collected(report), *charted(report, place)):
        say(line)
    for line in report.failed[:10]:
        complain(line)
    if report.failed:
        raise BuildFailed(report.verdict(place))
    for line in left_behind(place) if report.left is None else ():
        say(line)
    say(f"To look:   {program()} serve {shlex.quote(str(place))}")
    say(f"In Python: import atlas; cat = atlas.open({json.dumps(str(place), ensure_ascii=False)}); cat.layers")


def left_behind(place: Path | str) -> Iterator[str]:
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
            what = f"{plan.stage} of {plan.called}" if plan.layer_name else plan.stage
            yield f"Not done yet: {what}, {left:,} left of an earlier command."


def collected(report: Report) -> Iterator[str]:
    """What came of the images: how many were used, why others were not, and where the time went."""
    if report.images:
        yield f"{summary(report.images)}."
    if report.noted:
        query = "select path, reason from images where status = 'ok' and reason != ''"
        yield f"The white level of {report.noted:,} of the used images is uncertain; they may be too dark. See: {query}"
    whole = sum(report.spent.values())
    if whole:
        split = ", ".join(f"{name} {seconds / whole:.0%}" for name, seconds in report.spent.items())
        yield f"Collecting took {whole:,.1f} s of the workers' time: {split}."


def charted(report: Report, place: Path | str) -> Iterator[str]:
    """What came of atlases, and how well the pictures of their cells stand for these."""
    store = Store.open(place)
    for plan, filled in report.grids:
        name = f"{called(plan.layer_name, plan.part[:1])}"
        yield f"Atlas of {name}, grid {plan.side}: {filled:,} of {plan.side**2:,} cells filled.{_unplaced(store, plan)}"
        icons = store.planned((ICONS.name, *plan.names[1:]))
        if icons is not None and store.columns_done(icons) and filled:
            rank, above = (store.read(f"{group_key(icons)}/{name}")[:filled] for name in ("rank", "above"))
            near = max(1, int(TOP * filled))
            best = "is the best match" if near == 1 else f"is among the {near} best matches"
            yield (
                f"  For {(rank < near).mean():.0%} of the cells, the picture {best} for the cell's direction; for "
                f"{(above == 1).mean():.0%}, it beats {min(8, filled - 1)} other pictures."
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


COMMANDS = (build, retry, demo, pipelines, clusters)
