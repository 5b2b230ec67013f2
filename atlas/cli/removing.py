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
from atlas.store.backends.backend import OLD
from atlas.store.builders import at_work
from atlas.store.leftovers import collect
from atlas.store.missing import gone, lost
from atlas.store.removal import keys_of, remove
from atlas.terminal import say
from atlas.words import shown


def rm(
    store: Place,
    layers: Annotated[list[str], typer.Argument(metavar="LAYER", help="Names of layers, as in atlas status.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Remove layers from a store for good: pictures, statistics, atlases. Other layers stay as they are."""
    opened = Store.open(store)
    found = {layer: len(list(keys_of(opened, layer))) for layer in layers}
    _refuse_short(opened, layers)
    _refuse_live(opened)
    if not yes and not _agreed(found, opened):
        say("Nothing was removed.")
        return
    for layer in found:
        say(f"{layer}: {remove(opened, layer):,} objects removed.")
    write_index(opened)  # at once: what it names is taken to be there
    _make_again(opened)


def _refuse_short(store: Store, layers: list[str]) -> None:
    """Raise `StoreError` where a plan of another layer is gone: what rests on all layers could not be made again."""
    for key in lost(store):
        if names_of(key)[1] not in layers:
            raise gone(store, key)


def _refuse_live(store: Store) -> None:
    """Raise `AtlasError` where a build is going on."""
    if at_work(store.backend):
        raise AtlasError(
            f"{store}: a build of this store is running and would make the layer again. Stop the build first."
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


def gc(
    store: Place,
    older: Annotated[
        float,
        typer.Option(
            "--older",
            metavar="HOURS",
            min=0,
            help="Remove temporary files that are at least this old by the disk's clock. Files that a process holds "
            "are kept.",
        ),
    ] = OLD / 3600,
) -> None:
    """Remove what dead builds left behind: temporary files, and bundles that are no longer needed.

    Builds may run meanwhile; nothing that they need is removed.
    """
    went = collect(Store.open(store), 3600 * older)
    dead = f"{went.builders:,} records of dead builds"
    say(f"Removed: {went.partial:,} temporary files, {went.bundles:,} bundles, {dead}.")


COMMANDS = (rm, gc)
