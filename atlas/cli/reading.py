"""Commands that read a store: status, verify, serve. They need neither torch nor ray."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from atlas.cli.printing import complain, duration, say, table
from atlas.errors import BuildFailed, StoreError
from atlas.plan import IMAGES, Plan, columns_of
from atlas.recipe import AtlasRecipe, Recipe, Sampling
from atlas.store import Store
from atlas.store import repair as mend
from atlas.store import verify as hold_against
from atlas.store.schema import columns_receipt
from atlas.units import ImageStatus, summary

Place = Annotated[Path, typer.Argument(metavar="STORE", help="The folder of a store.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command()(status)
    app.command()(verify)
    app.command()(serve)


def status(store: Place) -> None:
    """How far a store is: per layer what was asked for, what is done, what failed. Exit code 1 where shards failed."""
    opened = Store.open(store)
    plans = opened.plans()
    table(["stage", "layer", "recipe", "asked>", "done>", "left>", "complete"], [_row(opened, plan) for plan in plans])
    if any(plan.stage == IMAGES.name for plan in plans):
        say(f"{summary(_images(opened))}.")
    logs: list[dict[str, Any]] = [opened.get_json(key) for key in opened.backend.list("logs/")]
    if logs:
        retried = sum("retried" in event for event in logs[-1]["events"])
        say(f"Last run: {duration(logs[-1]['seconds'])}, {retried} retries.")
    failed = _failed(opened, plans, logs)
    for what, reason in failed.items():
        complain(f"{what}: {reason}")
    if failed:
        raise BuildFailed(f"{len(failed)} shards of {store} failed. Run the same atlas build to try them again.")


def _failed(store: Store, plans: list[Plan], logs: list[dict[str, Any]]) -> dict[str, str]:
    """What failed in any run and was not made since, and why it failed last."""
    left = {str(shard) for plan in plans for shard in store.todo(plan)}
    left |= {columns_of(plan) for plan in plans if not store.columns_done(plan)}
    events = [event for log in logs for event in log["events"] if event.get("failed") in left]
    return {event["failed"]: event["reason"] for event in events}


def _row(store: Store, plan: Plan) -> tuple[object, ...]:
    most = _filled(store, plan)
    left, asked = (
        sum(min(shard.stop, most) - shard.start for shard in some) for some in (store.todo(plan), plan.shards)
    )
    done = bool(plan.wanted or plan.over == "whole") and not left and store.columns_done(plan)
    if plan.over == "whole":
        asked, left = 1, int(not done)
    layer, complete = " ".join([plan.layer_name, *plan.part]), "yes" if done else "no"
    return plan.stage, layer, _how(plan), asked or "?", asked - left, left, complete


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
    return {ImageStatus(int(code or 0)).name.lower(): count for code, count in codes.items()}


def verify(
    store: Place,
    repair: Annotated[
        bool, typer.Option("--repair", help="Forget damaged shards, so that the next build makes them again.")
    ] = False,
) -> None:
    """Read and hash everything again; say what is missing, torn or foreign. Exit code 1 where anything is."""
    opened = Store.open(store)
    found = hold_against(opened)
    for finding in found.findings:
        say(f"{finding.kind:10} {finding.key}: {finding.reason}")
    unfinished = len(found.findings) - len(found.damage) - len(found.strange)
    say(
        f"{found.objects:,} objects, {found.shards:,} shards, {found.bytes / 1e6:,.1f} MB hashed; "
        f"{len(found.damage)} damaged, {unfinished} unfinished, {found.backoffs} backed off."
    )
    if repair and found.damage:
        shards = len(mend(opened, found.findings))
        others = len({finding.key for finding in found.damage if finding.shard is None})
        also = f", and {others} other objects looked at anew," if others else ""
        say(f"{shards} shards will be made again{also} by the next atlas build.")
    elif found.damage:
        raise StoreError(f"{store} is damaged. atlas verify --repair {store} lets the next build make it again.")
    if found.strange:
        raise StoreError(
            f"{store}: {len(found.strange)} files in it are of no plan there is. If a plan was lost, "
            "the atlas build that made it brings it back; what is none of ours take out yourself."
        )


def serve(
    store: Place,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for other machines too.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; the next free one where it is taken.")] = 8000,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")] = False,
) -> None:
    """Show a store as a page: layers, walls of thumbnails, a page per unit."""
    from atlas.serve import serve as show

    Store.open(store)
    show(store, host=host, port=port, open_browser=browser)
