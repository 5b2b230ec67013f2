"""Stores of every version ever released are read for ever.

A failure here means that users' stores can no longer be read or resumed: mend the code, never the fixture.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import atlas
from atlas.store import Store, verify
from atlas.store.schema import VERSION
from tests.store.make_fixture import FIXTURES
from tests.stores import waves

VERSIONS = sorted(path.name for path in FIXTURES.iterdir())


def test_the_current_version_has_its_fixture() -> None:
    assert VERSION in VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
def test_pictures_and_numbers_are_read(version: str) -> None:
    cat = atlas.open(FIXTURES / version)
    layer = cat.layer("stage.1#0")
    assert (cat.model["title"], layer.channels, layer.done) == ("Fixture", 6, 6)
    assert np.array_equal(layer.mean[:5], [[unit, -unit] for unit in range(5)])
    assert layer.mean[5, 0] == 5
    assert np.isnan(layer.mean[5, 1])
    assert np.array_equal(layer.peak[:5], 2 * layer.mean[:5])
    assert [layer[5].status_of(variant) for variant in layer.variants] == ["ok", "rectified"]
    for unit in layer:
        assert np.abs(np.asarray(unit.image).astype(int) - waves(unit.index, 0, 16)).mean() < 4
        assert np.abs(np.asarray(unit.image.resize((64, 64))).astype(int) - layer.thumbs()[unit.index]).mean() < 20


@pytest.mark.parametrize("version", VERSIONS)
def test_what_was_done_is_still_done(version: str, tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / version, tmp_path / version)
    store = Store.open(tmp_path / version)
    assert verify(store).findings == ()
    plans = store.plans()
    assert store.prepare(plans) == plans
    assert [store.todo(plan) for plan in plans] == [[]]
    assert all(store.columns_done(plan) for plan in plans)
    assert verify(store).findings == ()
