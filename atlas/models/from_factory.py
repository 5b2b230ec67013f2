"""The user's own networks, made by a function of theirs.

package.module:factory -> Found
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from torch import nn

from atlas.errors import ModelError, UnknownName
from atlas.models.found import Found
from atlas.models.from_torchvision import preprocessing_of
from atlas.models.preprocessing import Preprocessing


def find_factory(module: str, name: str) -> Found:
    """What the function `name` of `module` returns: a network, or a network and its preprocessing.

    The preprocessing is a `Preprocessing`, a dict of its fields or one of torchvision's `weights.transforms()`. The
    current folder is searched too. Raises `ModelError` where the module, the function or what it returns is no good.
    """
    spec = f"{module}:{name}"
    with _current_folder():
        made = _call(_factory(module, name), spec)
    network, preprocessing = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(network, nn.Module):
        raise ModelError(f"{spec} returned {_kind(made)}, not a torch.nn.Module or (network, preprocessing).")
    return Found(network, _preprocessing(preprocessing, spec), title=spec)


def _factory(module: str, name: str) -> Callable[[], Any]:
    try:
        found = importlib.import_module(module)
    except Exception as error:
        text = " ".join(str(error).split())
        raise ModelError(f"{module}:{name}: the module cannot be imported ({type(error).__name__}: {text}).") from error
    factory = getattr(found, name, None)
    if factory is None:
        raise UnknownName.among(f"function in {module}", name, [key for key in vars(found) if key[0] != "_"])
    if not callable(factory) or isinstance(factory, nn.Module):
        raise ModelError(f"{module}:{name} is {_kind(factory)}: name a function that returns the network.")
    return factory  # type: ignore[no-any-return]


@contextmanager
def _current_folder() -> Iterator[None]:
    """Imports find what lies in the current folder, as they do under `python -m`; those inside a function too."""
    here = str(Path.cwd())
    known = here in sys.path
    if not known:
        sys.path.append(here)
    try:
        yield
    finally:
        if not known:
            with suppress(ValueError):
                sys.path.remove(here)


def _call(factory: Callable[[], Any], spec: str) -> Any:
    try:
        return factory()
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        raise ModelError(f"{spec} failed: {type(error).__name__}: {text}") from error


def _preprocessing(said: Any, spec: str) -> Preprocessing | None:
    if said is None or isinstance(said, Preprocessing):
        return said
    if isinstance(said, dict):
        return Preprocessing.from_dict(said)
    try:
        return preprocessing_of(said)
    except ModelError as error:
        raise ModelError(f"{spec}: {error} Return an atlas.models.Preprocessing.") from None


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"
