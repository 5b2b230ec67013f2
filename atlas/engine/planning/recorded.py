"""What a store keeps of the pipeline that built it, and pipelines that begin from a file or a store.

(store, Pipeline) -> pipeline.json        what was said -> Pipeline
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from atlas.engine.planning.prepared import maps_of
from atlas.errors import AtlasError, NotAStore, StoreError
from atlas.pipeline import Pipeline, Settings, beside, kinds, of, option
from atlas.places import in_object_store, local
from atlas.plans import Plan
from atlas.stages import FEATURES, ICONS
from atlas.store import Store
from atlas.store.layout import ROOT
from atlas.words import command, parameter


def resolved(said: Mapping[str, Any]) -> Pipeline:
    """The pipeline that `said` describes: its model may be a spec, a network, a pipeline file or a store.

    What a file or a store says holds unless `said` says otherwise; settings one by one. Raises `AtlasError` as
    `Pipeline`.
    """
    from atlas.pipeline_file import SUFFIXES, read

    model = said.get("model")
    if not isinstance(model, str | Path):
        return of(said)
    rest = {name: value for name, value in said.items() if name != "model"}
    if str(model).lower().endswith(SUFFIXES):
        return of(beside(read(local(model)), rest))
    store = _store_at(model)
    if store is None:
        return of({**said, "model": str(model)})
    _require(store, rest)
    # A store spells out the knobs of its recipes: those of a recipe that is said now are its own.
    told = {name: value for name, value in recorded(store).items() if option(name).preset not in rest}
    return of(beside(told, {"store": model, **rest}))


def _store_at(model: str | Path) -> Store | None:
    """The store that a folder holds; None where it is no folder, or one of something else.

    Raises `NotAStore` where it was one and is damaged, or an address in an object store holds none.
    """
    if in_object_store(model):
        return Store.open(model)
    place = Path(model)
    try:
        return Store.open(place) if place.is_dir() else None
    except NotAStore:
        if (place / ROOT).is_file() or (place / "plans").is_dir():
            raise
        return None


def recorded(store: Store) -> dict[str, Any]:
    """What the last build of a store was told, as `record` left it, with what the store itself says of its network."""
    told = store.pipeline
    if told is None:
        raise StoreError(
            f"{store} does not say what it was built by: an older version, or a program, built it. Name its model: "
            f"{command('atlas', 'build', store.identity.model, '--store', store)}"
        )
    known = {"model": store.identity.model, "preprocessing": store.identity.preprocessing, "labels": store.labels}
    options: dict[str, Any] = told["options"]
    return options | {name: value for name, value in known.items() if value is not None}


def _require(store: Store, said: Mapping[str, Any]) -> None:
    """Raise `AtlasError` where a build cannot go on without something that a store does not keep."""
    without = [name for name in (store.pipeline or {}).get("without", ()) if name not in said]
    if "model" in without:
        raise AtlasError(
            f"{store} is of a network in memory, of which a store keeps no copy. Go on in Python, with the network and "
            f"what it was built with: atlas.build(network, {str(store)!r}, ...)."
        )
    if without:
        named = " and ".join(map(parameter, without))
        raise AtlasError(f"{store} was built with {named}, of which a store keeps no copy: say {named} again.")


def record(store: Store, pipeline: Pipeline, plans: Sequence[Plan]) -> None:
    """Note in a store what it is built by, presets spelled out; outside all ids, without places of this machine."""
    names = [name for name in pipeline.said() if not option(name).local and name not in ("model", "preprocessing")]
    said = {name: kept(pipeline, name) for name in names}
    for stage, recipe, settings in ((FEATURES, "recipe", "settings"), (ICONS, "atlas_recipe", "atlas_settings")):
        made = next((plan.rendering for plan in plans if plan.stage == stage.name), None)
        if made is not None:
            knobs = made.to_dict()
            said |= {recipe: knobs.pop("name"), settings: knobs}
    without = [name for name in ("weights", "images") if getattr(pipeline, name)]
    if not isinstance(pipeline.model, str | Path):
        without.insert(0, "model")
    store.put_pipeline(said, without)


def kept(pipeline: Pipeline, name: str) -> Any:
    """What was said by an option, in one form however it was said."""
    if not option(name).several:
        return getattr(pipeline, name)
    if name == "maps":
        return maps_of(pipeline)
    return pipeline.knobs(name) if kinds()[name] == Settings else pipeline.names(name)
