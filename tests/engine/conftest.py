"""A Ray cluster for a module, with files of its own; the tiny network."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def ray_folder() -> Iterator[Path]:
    """A folder for Ray's files. Its path is short, since sockets lie below it and their names are limited.

    All of Ray's own tools are sent there too, so that no file of another Ray on this machine is read or written.
    """
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    (folder / "ray").mkdir()
    before = os.environ.get("RAY_TMPDIR")
    os.environ["RAY_TMPDIR"] = str(folder)
    yield folder
    os.environ.pop("RAY_TMPDIR")
    if before is not None:
        os.environ["RAY_TMPDIR"] = before
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def ray_cluster(ray_folder: Path) -> Iterator[None]:
    """A cluster of two slots that the tests of a module share."""
    from atlas.engine.clusters import connect

    with connect("local", workers=2, folder=str(ray_folder)):
        yield
