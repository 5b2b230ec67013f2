"""Code of the user's: a function that makes a network or a data set, and whatever else of theirs is run.

    package.module:factory -> whatever it returns
    with guarded(WHAT, ERROR): ...      whatever the code in it does, WHAT failed is one line

>>> call_factory("collections", "OrderedDict", makes="a mapping", error=AtlasError)
OrderedDict()
"""

from __future__ import annotations

import importlib
import locale
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from atlas.errors import AtlasError, UnknownName

Switch = tuple[Callable[[], Any], Callable[[Any], Any]]
SWITCHES: tuple[Switch, ...] = (
    (os.getcwd, os.chdir),
    (sys.getrecursionlimit, sys.setrecursionlimit),
    (lambda: locale.setlocale(locale.LC_ALL), lambda name: locale.setlocale(locale.LC_ALL, name)),
    (lambda: sys.stdout, lambda stream: setattr(sys, "stdout", stream)),
    (lambda: sys.stderr, lambda stream: setattr(sys, "stderr", stream)),
)
"""What holds for the whole process, and code of the user's may set: what asks for it, and what sets it."""


def _switches() -> tuple[Switch, ...]:
    """`SWITCHES`, and those of the libraries that are in use: a reader does without torch."""
    switches = list(SWITCHES)
    if numpy := sys.modules.get("numpy"):
        switches.append((numpy.geterr, lambda told: numpy.seterr(**told)))
    if torch := sys.modules.get("torch"):
        switches += _of_torch(torch)
    return tuple(switches)


def _of_torch(torch: Any) -> tuple[Switch, ...]:
    return (
        (torch.is_grad_enabled, torch.set_grad_enabled),
        (torch.get_default_dtype, torch.set_default_dtype),
        # Without one torch says `cpu`, and computes quicker than with one that is `cpu`.
        (torch.get_default_device, lambda device: torch.set_default_device(None if device.type == "cpu" else device)),
        (torch.get_num_threads, torch.set_num_threads),
        (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
        (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    )


def call_factory(module: str, name: str, *, makes: str, error: type[AtlasError]) -> Any:
    """What the function `name` of `module` returns; the current folder is searched too.

    Raises `error`, or `UnknownName` with the nearest names, where the module or the function is no good; `makes` says
    in the message what such a function returns.
    """
    torch = sys.modules.get("torch")
    # What is made in inference mode has no gradient, and a mode that is entered may never be left.
    gradients = torch.inference_mode(False) if torch else nullcontext()
    with _current_folder(), warnings.catch_warnings(), gradients, switches_kept():
        factory = _factory(module, name, makes, error)
        with guarded(f"{module}:{name} failed", error):
            return factory()


@contextmanager
def guarded(what: str, error: type[AtlasError], advice: str = "") -> Iterator[None]:
    """Around code of the user's: whatever it raises, or an exit it asks for, is one line of `error`.

    The line says `what` failed, how, and what to do. Errors of our own say so already, and Ctrl-C stays what it is.
    """
    try:
        with switches_kept():
            yield
    except (AtlasError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as failure:
        raise error(f"{what}: {told(failure)}{advice and '. '}{advice}") from failure


@contextmanager
def switches_kept() -> Iterator[None]:
    """Around code of the user's: what it sets for the whole process (`SWITCHES`) is as it was afterwards."""
    switches = _switches()
    before = [_asked(ask) for ask, _ in switches]
    try:
        yield
    finally:
        for (ask, put), was in zip(switches, before, strict=True):
            if was is not None and _asked(ask) != was:
                with suppress(Exception):  # a folder that is gone
                    put(was)


def _asked(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except Exception:  # noqa: BLE001 - a folder that is gone, a locale that is unknown
        return None


def told(failure: BaseException, most: int = 300) -> str:
    r"""What was raised, in one line of at most some `most` letters, cut at a word; it may fail to say so itself.

    >>> told(ValueError("no\nnumber."))
    'ValueError: no number'
    """
    try:
        text = " ".join(str(failure).split()).rstrip(". ")
    except Exception:  # noqa: BLE001 - its text is the user's code too
        text = ""
    if len(text) > most:
        text = f"{text[:most].rpartition(' ')[0] or text[:most]} ..."
    kind = "it ended the process (SystemExit)" if isinstance(failure, SystemExit) else type(failure).__name__
    return f"{kind}: {text}" if text else kind


def _factory(module: str, name: str, makes: str, error: type[AtlasError]) -> Callable[[], Any]:
    with guarded(f"{module}:{name}: the module cannot be imported", error):
        found = importlib.import_module(module)
        factory = getattr(found, name, None)
    if factory is None:
        raise UnknownName.among(f"function in {module}", name, [key for key in vars(found) if key[:1] != "_"])
    network = hasattr(type(factory), "forward")
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
    return "nothing" if value is None else named_kind(type(value))


def named_kind(kind: type) -> str:
    """`an int`: a type with its article."""
    return f"{'an' if kind.__name__[0].lower() in 'aeiou' else 'a'} {kind.__name__}"
