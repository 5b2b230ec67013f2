"""Commands that take something out of a store: rm, gc. They need neither torch nor ray."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from atlas.catalogue import write_index, write_tables
from atlas.cli.reading import Place
from atlas.errors import AtlasError
from atlas.plans import names_of
from atlas.store import Store
from atlas.store.leftovers import collect
from atlas.store.missing import gone, lost
from atlas.store.removal import keys_of, last_written, remove, unnoticed
from atlas.terminal import say
from atlas.words import duration, shown

BUSY = 300.0
"""Seconds for which a store that was written to is taken to be built."""


def rm(
    store: Place,
    layers: Annotated[list[str], typer.Argument(metavar="LAYER", help="Names of layers, as in atlas status.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Remove even if the store was written to recently. Make sure that no build is running."
        ),
    ] = False,
) -> None:
    """Remove layers from a store for good: pictures, statistics, atlases. Other layers stay as they are."""
    opened = Store.open(store)
    found = {layer: len(list(keys_of(opened, layer))) for layer in layers}
    _refuse_short(opened, layers)
    _refuse_live(opened, force)
    if not yes and not _agreed(found, opened):
        say("Nothing was taken out.")
        return
    with unnoticed(opened.backend):
        for layer in found:
            say(f"{layer}: {remove(opened, layer):,} objects are taken out.")
        write_index(opened)  # at once: what it names is taken to be there
        _make_again(opened)


def _refuse_short(store: Store, layers: list[str]) -> None:
    """Raise `StoreError` where a plan of another layer is gone: what rests on all layers could not be made again."""
    for key in lost(store):
        if names_of(key)[1] not in layers:
            raise gone(store, key)


def _refuse_live(store: Store, force: bool) -> None:
    """Raise `AtlasError` where a build may be going on."""
    ago = last_written(store.backend)
    if not force and ago is not None and ago < BUSY:
        raise AtlasError(
            f"{store} was written to {duration(ago)} ago: a build of it may be going on. Stop it first; where none is "
            "going on, say so: --force"
        )


def _agreed(found: dict[str, int], store: Store) -> bool:
    told = ", ".join(f"{layer} ({count:,} objects)" for layer, count in found.items())
    if not sys.stdin.isatty():
        raise AtlasError(f"Removing {told} from {store} needs confirmation, but input is not a terminal: add --yes")
    return typer.confirm(shown(f"Remove {told} from {store} for good?"))


def _make_again(store: Store) -> None:
    """What rests on all layers: neighbours, where the libraries for it are there, tables and the index."""
    try:
        from atlas.engine.relations import finish
    except ModuleNotFoundError:  # the reader's install: the next build finds neighbours anew
        write_tables(store)
    else:
        finish(store)
    write_index(store)


def gc(store: Place) -> None:
    """Take out what builds that died left behind: temporary files, and shards that were written by others since.

    Builds may go on meanwhile; nothing that they need goes.
    """
    opened = Store.open(store)
    with unnoticed(opened.backend):
        went = collect(opened)
    say(f"{went.partial:,} temporary files and {went.bundles:,} bundles are taken out.")


COMMANDS = (rm, gc)
