"""atlas: a browsable catalogue of what a trained vision model has learned.

>>> import atlas
>>> atlas.build("squeezenet", "mine.atlas", layers="features.11", images="photos")   # doctest: +SKIP
>>> cat = atlas.open("mine.atlas")                    # doctest: +SKIP
>>> cat["features.11:300"].image                      # doctest: +SKIP
>>> atlas.serve("mine.atlas")                         # doctest: +SKIP

    build, plan          a network (and images) -> a store; what that makes and costs
    submit               the same as a job on a Ray cluster
    open, verify, serve  a store -> a Catalogue to read, whether it is whole, a page in the browser
    copy, publish        a store -> the same elsewhere; with its page, for a static host
    load_model, render   a network to look into; pictures of some of its units, without a store

`build`, `plan`, `load_model` and `render` need the extra `build`. Everything is imported when it is first asked for, so
that a command line that is stopped while it starts ends quietly; what reads a store is light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from atlas.version import VERSION

if TYPE_CHECKING:
    from atlas.catalogue import Catalogue, open
    from atlas.copying import copy, publish
    from atlas.engine.api import build, plan, retry, submit
    from atlas.engine.jobs import Submission
    from atlas.engine.planning.build_plan import BuildPlan
    from atlas.errors import AtlasError
    from atlas.models import Model, Preprocessing, load_model
    from atlas.pipeline import Pipeline
    from atlas.recipe import Numerics, Recipe
    from atlas.rendering import render
    from atlas.server import serve
    from atlas.units import Layer, Unit
    from atlas.verification import Verification, verify

__version__ = VERSION
__all__ = [
    "AtlasError",
    "BuildPlan",
    "Catalogue",
    "Layer",
    "Model",
    "Numerics",
    "Pipeline",
    "Preprocessing",
    "Recipe",
    "Submission",
    "Unit",
    "Verification",
    "build",
    "copy",
    "load_model",
    "open",
    "plan",
    "publish",
    "render",
    "retry",
    "serve",
    "submit",
    "verify",
]

_LATER = {
    "AtlasError": "atlas.errors",
    "BuildPlan": "atlas.engine.planning.build_plan",
    "Catalogue": "atlas.catalogue",
    "Layer": "atlas.units",
    "Model": "atlas.models",
    "Numerics": "atlas.recipe",
    "Pipeline": "atlas.pipeline",
    "Preprocessing": "atlas.models",
    "Recipe": "atlas.recipe",
    "Submission": "atlas.engine.jobs",
    "Unit": "atlas.units",
    "Verification": "atlas.verification",
    "build": "atlas.engine.api",
    "copy": "atlas.copying",
    "load_model": "atlas.models",
    "open": "atlas.catalogue",
    "plan": "atlas.engine.api",
    "publish": "atlas.copying",
    "render": "atlas.rendering",
    "retry": "atlas.engine.api",
    "serve": "atlas.server",
    "submit": "atlas.engine.api",
    "verify": "atlas.verification",
}


def __getattr__(name: str) -> Any:
    """What is imported at its first use."""
    if name not in _LATER:
        raise AttributeError(f"module 'atlas' has no attribute {name!r}")
    try:
        return getattr(import_module(_LATER[name]), name)
    except ModuleNotFoundError as error:
        from atlas.errors import AtlasError

        missing = error.name
        raise AtlasError(f"atlas.{name} needs {missing}: pip install 'atlas-builder[build]'") from error


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
