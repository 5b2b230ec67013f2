"""What a function of the user's makes: a network, a data set.

    package.module:factory -> whatever it returns

>>> call_factory("collections", "OrderedDict", makes="a mapping", error=AtlasError)
OrderedDict()
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from atlas.errors import AtlasError, UnknownName


def call_factory(module: str, name: str, *, makes: str, error: type[AtlasError]) -> Any:
    """What the function `name` of `module` returns; the current folder is searched too.

    Raises `error`, or `UnknownName` with the nearest names, where the module or the function is no good; `makes` says
    in the message what such a function returns.
    """
    with _current_folder():
        factory = _factory(module, name, makes, error)
        try:
            return factory()
        except Exception as failure:
            text = " ".join(str(failure).split())[:300]
            raise error(f"{module}:{name} failed: {type(failure).__name__}: {text}") from failure


def _factory(module: str, name: str, makes: str, error: type[AtlasError]) -> Callable[[], Any]:
    try:
        found = importlib.import_module(module)
    except Exception as failure:
        text = " ".join(str(failure).split())
        raise error(f"{module}:{name}: the module cannot be imported ({type(failure).__name__}: {text}).") from failure
    factory = getattr(found, name, None)
    if factory is None:
        raise UnknownName.among(f"function in {module}", name, [key for key in vars(found) if key[0] != "_"])
    network = hasattr(factory, "forward") and not isinstance(factory, type)
    if network or not callable(factory):
        raise error(f"{module}:{name} is {kind_of(factory)}: name a function that returns {makes}.")
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


def kind_of(value: Any) -> str:
    """`a Tensor`, as a message names what was found instead."""
    return "nothing" if value is None else f"a {type(value).__name__}"
