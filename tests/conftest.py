"""What all tests share: `made_store`, a store as a build leaves it."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atlas.store import LocalBackend, MemoryBackend, Store
from tests.stores import make_store

# Ray's own 15 would starve its workers beside the other process of tests. (Ray spells it so.)
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112
# What a test notes of images is no other run's business.
os.environ["ATLAS_CACHE"] = tempfile.mkdtemp(prefix="atlas-cache-")
atexit.register(shutil.rmtree, os.environ["ATLAS_CACHE"], ignore_errors=True)
BUILDING = {"models", "rendering", "projection", "attribution", "engine"}
"""Folders of tests that need torch, ray, numba or umap-learn to be so much as read."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--reader", action="store_true", help="only the tests that the reader's install is enough for")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `--reader`, leave out what is marked `builder` before it is imported: its imports alone would fail."""
    if not config.getoption("reader"):
        return None
    marked = collection_path.suffix == ".py" and "mark.builder" in collection_path.read_text()
    return True if marked or collection_path.name in BUILDING else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: begun last, one of them would keep one process busy while the others are idle."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(params=["memory", "local"])
def made_store(request: pytest.FixtureRequest, tmp_path: Any) -> Callable[..., Store]:
    """Makes a small store in memory and in a folder: `made_store(layers={"features.3": 70}, size=32)`."""
    place = MemoryBackend() if request.param == "memory" else LocalBackend(tmp_path / "made.atlas")

    def make(**settings: Any) -> Store:
        return make_store(place, **settings)

    return make


@pytest.fixture(scope="session")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that the engine made, with an activation atlas of three grids; it needs the builder's libraries."""
    from tests.atlased import atlas_store

    place = tmp_path_factory.mktemp("mapped")
    atlas_store(place / "made.atlas", place / "images")
    return place / "made.atlas"


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of five small images, to be read and not written to."""
    from tests.dataset.made import encoded, pixels

    folder = tmp_path_factory.mktemp("five") / "images"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.png").write_bytes(encoded(pixels(number, (40, 40))))
    return folder
