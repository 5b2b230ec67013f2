"""atlas: a browsable catalogue of what a trained vision model has learned.

>>> import atlas
>>> cat = atlas.open("demo.atlas")                    # doctest: +SKIP
>>> cat["features.11:300"].image                      # doctest: +SKIP
>>> model = atlas.load_model("squeezenet")            # doctest: +SKIP
>>> atlas.render(model, "features.11:300")            # doctest: +SKIP

The last two need the extra `build`. Reading is imported at once and is light; what needs torch is imported when it is
first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from atlas.catalogue import Catalogue, open
from atlas.errors import AtlasError
from atlas.recipe import Numerics, Recipe
from atlas.units import Layer, Unit
from atlas.version import VERSION

if TYPE_CHECKING:
    from atlas.models import load_model
    from atlas.rendering import render

__version__ = VERSION
__all__ = ["AtlasError", "Catalogue", "Layer", "Numerics", "Recipe", "Unit", "load_model", "open", "render"]

_LATER = {"load_model": "atlas.models", "render": "atlas.rendering"}


def __getattr__(name: str) -> Any:
    """What needs torch, at its first use."""
    if name not in _LATER:
        raise AttributeError(f"module 'atlas' has no attribute {name!r}")
    try:
        return getattr(import_module(_LATER[name]), name)
    except ModuleNotFoundError as error:
        missing = error.name
        raise AtlasError(f"atlas.{name} needs {missing}: pip install 'atlas-builder[build]'") from error


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
