"""Measured spectra: taken from images once and kept in the store, from which alone a plan of `maco` can be made again.

    images -> Spectrum -> layers/LAYER/features/spectrum -> Spectrum, in every worker

A recipe names its spectrum by hash; what a store holds is believed only where the hash fits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.errors import AtlasError, StoreError
from atlas.plans import Plan
from atlas.stages import FEATURES
from atlas.store import Store
from atlas.store.layout import group_key
from atlas.words import parameter

if TYPE_CHECKING:
    from atlas.rendering import Spectrum

MOST = 4096
"""Images that a spectrum is measured on at most, evenly out of all that were given."""
HELD = 2**28
"""Bytes of files that are read ahead at most, where their size is known."""
GIVEN = parameter("spectrum", "IMAGES")
"""How the images of a spectrum are given."""


def measure(given: Sequence[str | Path], told: Callable[[int], None] = lambda _: None) -> Spectrum:
    """The spectrum of the images that were `given`; `told` hears how many were looked at.

    What is no image is left out. Raises `ImagesError` where there is none.
    """
    from atlas.dataset import Problem, decode, open_images, prefetch
    from atlas.rendering import measured

    source = open_images(given, said="spectrum")
    entries = source.entries[:: -(-len(source.entries) // MOST)]

    def pictures() -> Iterator[Any]:
        workers = getattr(source, "ahead", 0) or None
        ahead = prefetch(source.read, entries, workers=workers, size=lambda entry: entry.size, room=HELD)
        for done, raw in enumerate(ahead, 1):
            picture = raw if isinstance(raw, Problem) else decode(raw)
            told(done)
            if not isinstance(picture, Problem):
                yield picture

    return measured(pictures())


def read(store: Store, plan: Plan) -> Spectrum | None:
    """The spectrum that the recipe of `plan` names, as the store holds it; None where it names none.

    Raises `StoreError` where it is gone or damaged.
    """
    if not plan.rendering.measured:
        return None
    from atlas.rendering import Spectrum

    path = f"{group_key(plan)}/spectrum"
    try:
        spectrum = Spectrum(store.read(path))
    except AtlasError as error:
        raise StoreError(f"{store}: {path} cannot be read. Give its images again: {GIVEN}") from error
    if spectrum.hash != plan.rendering.spectrum:
        raise StoreError(f"{store}: {path} is damaged. Give its images again: {GIVEN}")
    return spectrum


def find(store: Store, plans: Iterable[Plan], given: Spectrum | None) -> dict[str, Spectrum]:
    """Every spectrum that `plans` name, by its hash: the one that was `given`, or one that the store holds already.

    Raises `AtlasError` where it is neither.
    """
    named = {plan.rendering.spectrum for plan in plans if plan.stage == FEATURES.name and plan.rendering.measured}
    known = {} if given is None else {given.hash: given}
    for saved in store.plans_of(FEATURES.name) if named - known.keys() else ():
        with suppress(StoreError):
            spectrum = read(store, saved)
            if spectrum is not None:
                known[spectrum.hash] = spectrum
    for missing in sorted(named - known.keys()):
        raise AtlasError(f"{store} does not hold the spectrum {missing[:12]}. Give its images: {GIVEN}")
    return known


def write(store: Store, plans: Iterable[Plan], known: Mapping[str, Spectrum]) -> None:
    """Write the spectrum of every plan that names one, before any picture is made; what is there and whole stays."""
    for plan in plans:
        if plan.stage == FEATURES.name and plan.rendering.measured:
            with suppress(StoreError):
                read(store, plan)
                continue
            magnitude = known[plan.rendering.spectrum].magnitude
            for key, data in store.whole_objects(plan, "driver", {"spectrum": magnitude}).items():
                store.backend.put(key, data)
