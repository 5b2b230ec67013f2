"""Commands that take a store to another place: copy, publish. They need neither torch nor ray."""

from __future__ import annotations

from typing import Annotated

import typer

from atlas import copying
from atlas.cli.options import store_place
from atlas.cli.reading import Place
from atlas.errors import StoreError
from atlas.store import Copied
from atlas.terminal import complain, counting, say
from atlas.words import command

Target = Annotated[
    str,
    typer.Argument(metavar="PLACE", parser=store_place, help="A folder, or an address in an object store."),
]


def copy(store: Place, place: Target) -> None:
    """Copy a store to another folder or object store. Every object copied is checked against its hash.

    A stopped copy resumes, and an existing copy gets what it lacks. A store may be copied while it is built; the copy
    then holds what was finished.
    """
    with counting("Copying shards") as tell:
        _report(store, place, copying.copy(store, place, tell=tell))


def publish(store: Place, place: Target) -> None:
    """Write a store and its page to a place that a static host serves.

    The store is copied as by atlas copy, to PLACE/store. Publish again to bring it up to date.
    """
    with counting("Copying shards") as tell:
        _report(store, place, copying.publish(store, place, tell=tell))


def _report(store: str, place: str, found: Copied) -> None:
    """Say what was copied. Raises `StoreError` where something was left out."""
    say(f"{found.objects:,} objects, {found.bytes / 1e6:,.1f} MB written to {place}.")
    for key in found.damaged:
        complain(f"{key} is missing or damaged: what it belongs to was not copied.")
    if found.damaged:
        mended = command("atlas", "verify", "--repair", store)
        raise StoreError(f"{store} has {len(found.damaged)} damaged objects. Repair it, then copy again: {mended}")


COMMANDS = (copy, publish)
