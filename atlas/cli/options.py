"""Options that several commands share; those of a pipeline are declared in `atlas.pipeline` and derived here."""

from __future__ import annotations

import inspect
import re
import shlex
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atlas.errors import AtlasError
from atlas.pipeline import LAYERS, kinds, option
from atlas.places import local, of_store

if TYPE_CHECKING:
    from atlas.models import Model

PIPELINE = "A network (squeezenet, torchvision:NAME[@WEIGHTS], timm:NAME, package.module:factory; NAME@random for "
PIPELINE += "untrained weights), a pipeline file (NAME.yaml), or a store whose build to resume."
SAID = re.compile(r"`(?P<name>[a-z_]+)(=(?P<value>([^`]|``)*))?`")
"""How a message of the library names a parameter; see `atlas.words.parameter`."""
ADDRESSED = ("store", "weights", "labels", "cache")
"""Options that take an address in an object store where a path is meant."""
SUBMITTING = {"address": "--address"}
"""What `atlas submit` calls the parameter of `atlas.submit` that no pipeline has."""
SERVING = {"host": "--host", "port": "--port", "allow_hosts": "--allow-host"}
"""What `atlas serve` calls the parameters of `atlas.serve`."""
OTHERS = SERVING | SUBMITTING


def place(text: str | Path) -> Path:
    """The place of this machine that an option names. Raises as `filled`."""
    return local(filled(str(text)))


def store_place(text: str | Path) -> str:
    """Where a store lies that an option names: a folder, or an address in an object store. Raises as `filled`."""
    return str(of_store(filled(str(text))))


def filled(text: str) -> str:
    """What an option says. Raises `BadParameter`, which names it, where that is nothing, as of an unset variable."""
    if not text.strip(" \t\n,"):
        raise typer.BadParameter("it is empty. Give a value, or leave it out.")
    return text


def _plain(text: str) -> str:
    """A help text whose brackets are no markup."""
    return text.replace("[", r"\[")


# -- the options of a pipeline -----------------------------------------------------------------------------------------


def takes_pipeline(command: Callable[..., None]) -> Callable[..., None]:
    """Makes a command of what was said of a pipeline, and options of its own, one that takes all of them."""
    own = inspect.signature(command, eval_str=True)
    shared = {name: _parameter(name) for name in kinds() if name not in own.parameters}
    others = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in list(own.parameters.values())[1:]]

    @wraps(command)
    def call(**given: Any) -> None:
        said = {name: given.pop(name) for name in shared}
        command({name: value for name, value in said.items() if value not in (None, [])}, **given)

    signature = inspect.Signature([*shared.values(), *others])
    call.__signature__ = signature  # type: ignore[attr-defined]
    call.__annotations__ = {name: each.annotation for name, each in signature.parameters.items()}
    return call


def _parameter(name: str) -> inspect.Parameter:
    """How the command line takes an option of a pipeline: None where it is not said."""
    kind: Any
    if name == "model":
        kind = Annotated[
            str, typer.Argument(metavar="MODEL|FILE|STORE", help=PIPELINE.replace("[", r"\["), parser=filled)
        ]
        return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=kind)
    known = option(name)
    taken, declared = _taken(name), [spelled(name), *map(spelled, known.also)]
    settings: dict[str, Any] = {"help": helped(name), "metavar": known.metavar, "rich_help_panel": known.panel}
    if taken is bool:
        declared = [f"{spelled(name)}/--no-{spelled(name)[2:]}"]
    elif taken in (int, float):
        settings |= {"min": known.least, "max": known.most}
    elif taken is not float:
        here = store_place if name in ADDRESSED else place
        settings["parser"] = here if taken is Path else str if known.several and not known.local else filled
        settings["metavar"] = known.metavar or "TEXT"
    kind = Annotated[taken | None, typer.Option(*declared, **settings)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)


def _taken(name: str) -> Any:
    """The type by which the command line takes an option."""
    if option(name).several:
        return list[str]
    kind = kinds()[name]
    inner = typing.get_args(kind) or (kind,)
    return next((one for one in (bool, int, float, Path) if one in inner), str)


def spelled(name: str) -> str:
    """An option as it is typed.

    >>> spelled("atlas_recipe")
    '--atlas-recipe'
    """
    return f"--{name.replace('_', '-')}"


def helped(name: str) -> str:
    """The help of an option of a pipeline."""
    return _plain(as_options(option(name).help))


def as_options(text: str) -> str:
    """A message of the library with the parameters in it as options.

    >>> as_options("`crops=0` without `images`: of `which`?")
    '--crops 0 without --images: of `which`?'
    """
    return SAID.sub(_as_option, text)


def _as_option(found: re.Match[str]) -> str:
    name, value = found["name"], found["value"]
    if name not in kinds() and name not in OTHERS:
        return found[0]
    if kinds().get(name) is bool and value:
        return spelled(name) if value == "yes" else f"--no-{spelled(name)[2:]}"
    typed = OTHERS.get(name) or (name.upper() if name == "model" else spelled(name))
    return typed if value is None else f"{typed} {shlex.quote(value.replace('``', '`'))}"


# -- options of commands that take a model alone -----------------------------------------------------------------------


ModelSpec = Annotated[str, typer.Argument(metavar="MODEL", help=helped("model"))]
Layers = Annotated[list[str] | None, typer.Option("--layers", help=LAYERS)]
Weights = Annotated[
    str | None,
    typer.Option("--weights", metavar="FILE[#KEY]", parser=store_place, help=helped("weights")),
]
Labels = Annotated[str | None, typer.Option("--labels", metavar="FILE|NAME", parser=store_place, help=helped("labels"))]
Preprocess = Annotated[
    str | None, typer.Option("--preprocessing", metavar="TEXT", parser=filled, help=helped("preprocessing"))
]
Logits = Annotated[str | None, typer.Option("--logits", metavar="NAME", help=helped("logits"))]
Layouts = Annotated[list[str] | None, typer.Option("--layout", metavar="LAYER=AXES", help=helped("layout"))]


def load(model: str, **said: Any) -> Model:
    """The model that a command names. Raises `AtlasError` where the extra `build` is not installed."""
    with needing_build():
        from atlas.engine.planning.prepared import load as loaded
    return loaded(model, **{name: value for name, value in said.items() if value})


@contextmanager
def needing_build() -> Iterator[None]:
    """Around imports of what builds. Raises `AtlasError` where its libraries are not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise AtlasError(f"This command needs {error.name}: pip install 'atlas-builder[build]'") from error
