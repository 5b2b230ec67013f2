"""Files that come with atlas, to copy and change: ready pipelines, and what starts clusters.

PIPELINES.names() -> squeezenet-demo.yaml, ...        CLUSTERS.copy("aws", folder) -> the file there
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from atlas.errors import AtlasError, UnknownName

PACKAGE = Path(__file__).parent


@dataclass(frozen=True)
class Shelf:
    """The files of one kind."""

    kind: str
    """What one of them is, as a message says it."""
    installed: str
    """Their folder in the package as it is installed."""
    checkout: str
    """Their folder beside the package in a checkout."""
    suffixes: tuple[str, ...]

    def folder(self) -> Path:
        """Where they lie."""
        shipped = PACKAGE / self.installed
        return shipped if shipped.is_dir() else PACKAGE.parent / self.checkout

    def names(self) -> list[str]:
        """The names of the files there are, sorted."""
        return sorted(file.name for file in self.folder().iterdir() if file.suffix in self.suffixes and file.is_file())

    def about(self, name: str) -> str:
        """What a file says of itself first."""
        first = next(iter((self.folder() / name).read_text().splitlines()), "")
        return first.strip('"# ').strip()

    def copy(self, name: str, into: Path) -> Path:
        """Copy the file called `name`, with or without its ending, into a folder; say where it is now.

        Raises `UnknownName`, or `AtlasError` where a file of that name is there already or cannot be written.
        """
        known = {Path(one).stem: one for one in self.names()} | {one: one for one in self.names()}
        if name not in known:
            raise UnknownName.among(self.kind, name, known, hint=f"There are: {', '.join(self.names())}.")
        made = into / known[name]
        if made.exists():
            raise AtlasError(f"{made} is there already. Take it away, or copy into another folder.")
        try:
            shutil.copyfile(self.folder() / known[name], made)
        except OSError as error:
            raise AtlasError(f"{made} cannot be written: {error.strerror}.") from error
        return made


PIPELINES = Shelf("pipeline", "ready", "pipelines", (".yaml", ".py"))
CLUSTERS = Shelf("file for clusters", "clusters", "clusters", (".yaml", ""))
