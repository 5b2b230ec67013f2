"""Commands that read a store: status, log, verify, serve. They need neither torch nor ray."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any

import typer

from atlas.cli.options import SERVING, Weights, store_place
from atlas.errors import BuildFailed, StoreError
from atlas.plans import Plan, Shard, columns_of, hole, names_of
from atlas.recipe import AtlasRecipe, Recipe, Sampling
from atlas.stages import IMAGES
from atlas.store import Run, Store, Totals, run_called, runs
from atlas.store.builders import at_work
from atlas.store.layout import columns_receipt
from atlas.store.missing import gone, lost
from atlas.store.totals import COLUMNS
from atlas.terminal import anew, complain, say, table
from atlas.units import ImageStatus, status_name, summary
from atlas.words import command, duration, text_of

WATCHING = 10.0
"""Seconds between two looks at a store that is watched."""
FOLLOWING = 3.0
"""Seconds between two looks at a log that is followed."""
SAID = ("event", "at", "after", "what", "reason", "trace", "totals", "work", "over")
"""What of an event is shown otherwise than as a name and a value."""
Place = Annotated[
    str,
    typer.Argument(metavar="STORE", parser=store_place, help="A store: its folder, or its address in an object store."),
]


def status(
    store: Place,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it again every few seconds, until everything asked for is done.")
    ] = False,
) -> None:
    """Show the progress of a store: what each layer was asked for, what is done, what failed.

    Works wherever the store can be read, also while a cluster builds it. The exit code is 1 if shards failed, or units
    could not be made.
    """
    while watch and _unfinished(store):
        with suppress(BuildFailed):  # what failed may be made yet
            _status(store)
        time.sleep(WATCHING)
        anew()
    _status(store)


def _unfinished(place: str) -> bool:
    """Whether a store lacks anything that it was asked for, or was asked for nothing yet."""
    store = Store.open(place)
    plans = store.plans()
    return not plans or any(store.left(plan) or not store.columns_done(plan) for plan in plans)


def _status(store: str) -> None:
    opened = Store.open(store)
    plans = opened.plans()
    missing = lost(opened)
    rows = [_row(opened, plan) for plan in plans]
    for stage, layer, part in map(names_of, missing):  # what it asked for, and how, nobody knows
        rows.append((stage, " ".join([layer, *part]), "gone", "?", "?", "?", "gone"))
    if rows:
        table(["stage", "layer", "recipe", "asked>", "done>", "left>", "complete"], rows)
    else:
        say("Nothing was asked for yet: the build that made it stopped before it had planned anything.")
    if any(plan.stage == IMAGES.name for plan in plans):
        say(f"{summary(_images(opened))}.")
    logs = runs(opened)
    if logs:
        last, goes_on = logs[-1].totals, "" if logs[-1].ended else " so far: it is running, or was killed"
        say(f"Last run: {duration(last.seconds)}{goes_on}.")
        tell(last)
    _tell_build(opened)
    if bare := {plan.layer_name for plan in plans if plan.layer is not None and not plan.layer.evidence}:
        say(
            f"An older version took the axes of {len(bare)} layers from their shapes alone. "
            f"See whether they are right: {command('atlas', 'verify', '--model', store)}"
        )
    failed = _failed(opened, plans, logs)
    for what, reason in failed.items():
        complain(f"{what}: {reason}")
    holes = [hole(plan, unit, reason) for plan in plans for unit, reason in opened.holes(plan).items()]
    for what in holes:
        complain(what)
    _tell_gone(opened, missing)
    if failed:
        raise BuildFailed(f"{len(failed)} shards of {store} failed. Run the same atlas build to try them again.")
    if holes:
        again = command("atlas", "retry", store)
        count = "1 unit" if len(holes) == 1 else f"{len(holes):,} units"
        raise BuildFailed(f"{count} of {store} could not be made. To retry: {again}")


def _tell_build(store: Store) -> None:
    """Say whether somebody builds it."""
    if builders := len(at_work(store.backend)):
        say("A build is running." if builders == 1 else f"{builders} builds are running.")


def _tell_gone(store: Store, missing: Collection[str]) -> None:
    """Raise `StoreError` where plans are gone, of the last of them; tell of the others before."""
    errors = [gone(store, key) for key in missing]
    for error in errors[:-1]:
        complain(str(error))
    if errors:
        raise errors[-1]


def tell(totals: Totals) -> None:
    """Where the time of a run went, and what it cost; nothing of one that had nothing to do."""
    if totals.shards or totals.failed:
        table(COLUMNS, totals.rows())
        for told in totals.lines():
            say(told)


def log(
    store: Place,
    run: Annotated[
        str, typer.Option("--run", metavar="RUN", help="Which run: its number, or its id. Default: the last one.")
    ] = "",
    failed: Annotated[bool, typer.Option("--failed", help="Show failures only, with tracebacks.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Show new events until the run ends. Ctrl-C stops following.")
    ] = False,
) -> None:
    """Show the events of a run in order, also while it runs or after it was killed.

    Times count from the start of the run. In Python: atlas.open(STORE).runs.
    """
    found, shown = run_called(Store.open(store), run), 0
    say(f"Run {found.number or found.id} of {store}. {_begun(found)}".rstrip())
    while True:
        now = found.again()
        for event in now.failures(shown) if failed else now.events(shown):
            _show(event, trace=failed)
        shown = len(now.keys)
        if not follow or now.ended or not now.keys:
            return
        time.sleep(FOLLOWING)


def _begun(run: Run) -> str:
    """What is known of the beginning of a run."""
    began = run.begun
    if not began:
        return ""
    by, left = f"atlas-builder {began['atlas']}, torch {began['torch']}", began["plans"].values()
    shards = f"{sum(plan['left'] for plan in left):,} of {sum(plan['shards'] for plan in left):,} shards to make"
    return f"Begun {began['at'][:19].replace('T', ' ')} UTC by {by}, on {began['device']}: {shards}."


def _show(event: Mapping[str, Any], *, trace: bool) -> None:
    """One line of an event; with `trace` where it happened."""
    if event["event"] == "begun":
        return
    hours, rest = divmod(round(event.get("after", 0)), 3600)
    what = " ".join(filter(None, [event.get("what", ""), event.get("reason", "")]))
    told = ", ".join(f"{name} {_value(value)}" for name, value in event.items() if name not in SAID and value)
    texts = (f"{hours}:{rest // 60:02}:{rest % 60:02}", event["event"], what, f"({told})" if told else "")
    say("  ".join(filter(None, texts)))
    if trace:
        for one in event.get("trace", "").splitlines():
            say(f"    {one}")


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "/".join(f"{name} {_value(one)}" for name, one in value.items())
    return f"{value:,}" if isinstance(value, int | float) and not isinstance(value, bool) else text_of(value)


def _failed(store: Store, plans: list[Plan], logs: Sequence[Run]) -> dict[str, str]:
    """What failed in any run and was not made since, and why it failed last."""
    left = {str(shard) for plan in plans for shard in store.todo(plan)}
    left |= {columns_of(plan) for plan in plans if not store.columns_done(plan)}
    if not left:
        return {}
    events = [event for run in logs for event in run.failures() if event["event"] == "failed"]
    return {event["what"]: event["reason"] for event in events if event["what"] in left}


def _row(store: Store, plan: Plan) -> tuple[object, ...]:
    left, asked = left_of(store, plan), _counted(store, plan, plan.shards)
    done = bool(plan.wanted or plan.over == "whole") and not left and store.columns_done(plan)
    done = done and not store.holes(plan)
    if plan.over == "whole":
        asked, left = 1, int(not done)
    layer, complete = plan.called, "yes" if done else "no"
    return plan.stage, layer, _how(plan), asked or "?", asked - left, left, complete


def left_of(store: Store, plan: Plan) -> int:
    """How many units, images or filled cells of `plan` are left."""
    return _counted(store, plan, store.todo(plan))


def _counted(store: Store, plan: Plan, shards: Sequence[Shard]) -> int:
    """How much lies in shards of `plan`: the last one of cells may be filled in part."""
    most = _filled(store, plan)
    return sum(max(0, min(shard.stop, most) - shard.start) for shard in shards)


def _filled(store: Store, plan: Plan) -> int:
    """How much there is for `plan` to go over: of a grid's cells those that are filled."""
    before = store.before(plan) if plan.over == "cells" else None
    receipt = None if before is None else store.reduced(columns_receipt(before))
    return plan.total if receipt is None else receipt.units[1]


def _how(plan: Plan) -> str:
    """How a stage is done, in a few words."""
    how = plan.recipe
    if isinstance(how, Recipe | AtlasRecipe):
        return how.name
    positions = f", {how.positions} of each" if isinstance(how, Sampling) else ""
    return f"{how.count:,} images, {how.crops} crops{positions}"


def _images(store: Store) -> dict[str, int]:
    """How many of the images that were looked at have which status."""
    receipts = (receipt for plan in store.plans_of(IMAGES.name) for receipt in store.receipts(plan).values())
    codes = Counter(row[0] for receipt in receipts for row in receipt.numbers["status"])
    return {status_name(ImageStatus, code or 0): count for code, count in codes.items()}


def verify(
    store: Place,
    repair: Annotated[
        bool, typer.Option("--repair", help="Drop damaged shards, so that the next build makes them again.")
    ] = False,
    model: Annotated[
        bool,
        typer.Option("--model", help="Also compare the layers with the network, and record how their axes are known."),
    ] = False,
    weights: Weights = None,
) -> None:
    """Read and hash everything again; report what is missing, damaged or foreign. The exit code is 1 if anything is."""
    from atlas.verification import verify as look

    opened = Store.open(store)
    told = look(opened, repair=repair, model=model, weights=weights)
    for line in told.lines():
        say(line)
    mended = command("atlas", "verify", "--repair", store)
    if repair:
        _tell_gone(opened, lost(opened))
    elif bare := told.found.bare:
        named = ", ".join(bare[:3]) + (", ..." if len(bare) > 3 else "")
        what = f"An older version wrote {len(bare)} objects without a hash, so what they say was not checked: {named}."
        say(f"{what} Add hashes: {mended}")
    for layer, reason in told.wrong.items():
        complain(f"{layer}: {reason}.")
    if told.found.damage and not repair:
        raise StoreError(f"{store} is damaged. Repair it, then build again: {mended}")
    if strange := told.found.strange:
        raise StoreError(
            f"{store}: {len(strange)} files in it belong to no plan, so no build writes or removes them. "
            "Delete them yourself if you do not need them."
        )
    if told.wrong:
        raise StoreError(f"{store}: {len(told.wrong)} of its layers are not those of its network.")


def serve(
    store: Place,
    host: Annotated[
        str, typer.Option(SERVING["host"], help="Address to listen on; 0.0.0.0 to allow other machines.")
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(SERVING["port"], min=1, max=65535, help="Port to listen on; if it is taken, the next free one."),
    ] = 8000,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            SERVING["allow_hosts"],
            metavar="NAME",
            help="Another name by which browsers reach this machine, as behind a proxy; * for any. Repeatable.",
        ),
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")] = False,
) -> None:
    """Serve a store as a web page: layers, walls of thumbnails, a page per unit."""
    from atlas.server import serve as show

    opened = Store.open(store)
    for key in lost(opened):
        complain(str(gone(opened, key)))
    show(store, host=host, port=port, open_browser=browser, announce=say, allow_hosts=allow_host or ())


COMMANDS = (status, log, verify, serve)
