"""What all tests share: `made_store`, a store as a build leaves it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atlas.store import LocalBackend, MemoryBackend, Store
from tests.stores import make_store

BUILDING = {"models", "rendering", "layout", "explain", "pipelines"}
"""Folders of tests that need torch, ray, numba or umap-learn to be so much as read."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--reader", action="store_true", help="only the tests that the reader's install is enough for")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `--reader`, leave out what is marked `builder` before it is imported: its imports alone would fail."""
    if not config.getoption("reader"):
        return None
    marked = collection_path.suffix == ".py" and "mark.builder" in collection_path.read_text()
    return True if marked or collection_path.name in BUILDING else None


@pytest.fixture(params=["memory", "local"])
def made_store(request: pytest.FixtureRequest, tmp_path: Any) -> Callable[..., Store]:
    """Makes a small store in memory and in a folder: `made_store(layers={"features.3": 70}, size=32)`."""
    place = MemoryBackend() if request.param == "memory" else LocalBackend(tmp_path / "made.atlas")

    def make(**settings: Any) -> Store:
        return make_store(place, **settings)

    return make


@pytest.fixture(scope="session")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with an activation atlas of three grids, and maps of a class and of a pair."""
    from tests.atlased import door_with, lay_out_in
    from tests.collected import collect_into

    place = tmp_path_factory.mktemp("mapped") / "made.atlas"
    store = make_store(place, layers={"features.3": 70, "features.4": 12}, size=48, labels=10)
    store.put_labels([f"{name}, a kind of thing" for name in "abcdefghij"])
    collect_into(store, images=40, crops=2)
    layer = next(plan.on for plan in store.plans_of("features") if plan.layer_name == "features.3")
    maps = {"all": (10, 20, 40), "winners-3": (10,), "pair-2-5": (10,)}
    entries = {name: lay_out_in(store, layer, name, sides=sides) for name, sides in maps.items()}
    door_with(store, {"features.3": entries})
    return place
