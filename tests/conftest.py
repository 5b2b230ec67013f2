"""What all tests share: `made_store`, a store as a build leaves it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from atlas.store import LocalBackend, MemoryBackend, Store
from tests.stores import make_store


@pytest.fixture(params=["memory", "local"])
def made_store(request: pytest.FixtureRequest, tmp_path: Any) -> Callable[..., Store]:
    """Makes a small store in memory and in a folder: `made_store(layers={"features.3": 70}, size=32)`."""
    place = MemoryBackend() if request.param == "memory" else LocalBackend(tmp_path / "made.atlas")

    def make(**settings: Any) -> Store:
        return make_store(place, **settings)

    return make
