"""The ready pipelines: files to build, plan, or copy and change.

names() -> squeezenet-demo.yaml, ...        copy(name, folder) -> the file there
"""

from __future__ import annotations

import shutil
from pathlib import Path

from atlas.errors import AtlasError, UnknownName

SHIPPED = Path(__file__).parent / "ready"
CHECKOUT = Path(__file__).parents[1] / "pipelines"


def folder() -> Path:
    """Where they lie: in the package as it is installed, or beside it in a checkout."""
    return SHIPPED if SHIPPED.is_dir() else CHECKOUT


def names() -> list[str]:
    """The names of the files there are, sorted."""
    return sorted(file.name for file in folder().iterdir() if file.suffix in (".yaml", ".py"))


def about(name: str) -> str:
    """What a file says of itself first."""
    first = next(iter((folder() / name).read_text().splitlines()), "")
    return first.strip('"# ').strip()


def copy(name: str, into: Path) -> Path:
    """Copy the file called `name`, with or without its ending, into a folder; say where it is now.

    Raises `UnknownName`, or `AtlasError` where a file of that name is there already or cannot be written.
    """
    known = {one.rpartition(".")[0]: one for one in names()} | {one: one for one in names()}
    if name not in known:
        raise UnknownName.among("pipeline", name, known, hint=f"There are: {', '.join(names())}.")
    made = into / known[name]
    if made.exists():
        raise AtlasError(f"{made} is there already. Take it away, or copy into another folder.")
    try:
        shutil.copyfile(folder() / known[name], made)
    except OSError as error:
        raise AtlasError(f"{made} cannot be written: {error.strerror}.") from error
    return made
