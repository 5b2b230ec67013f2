"""A Ray cluster for a module, with files of its own; the tiny network."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def ray_folder() -> Iterator[Path]:
    """A folder for Ray's files. Its path is short, since sockets lie below it and their names are limited."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def ray_cluster(ray_folder: Path) -> Iterator[None]:
    """A cluster of two slots that the tests of a module share."""
    from pipelines.on_ray import connect

    with connect(workers=2, folder=str(ray_folder)):
        yield
