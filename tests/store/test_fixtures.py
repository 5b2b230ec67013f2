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
from atlas.store.layout import VERSION
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
    assert np.array_equal(layer.objective[:5], [[unit, -unit] for unit in range(5)])
    assert layer.objective[5, 0] == 5
    assert np.isnan(layer.objective[5, 1])
    assert np.array_equal(layer.objective_peak[:5], 2 * layer.objective[:5])
    assert [layer[5].status_of(variant) for variant in layer.variants] == ["ok", "rectified"]
    for unit in layer:
        assert np.abs(np.asarray(unit.image).astype(int) - waves(unit.index, 0, 16)).mean() < 4
        assert np.abs(np.asarray(unit.image.resize((64, 64))).astype(int) - layer.thumbs()[unit.index]).mean() < 20


@pytest.mark.parametrize("version", [version for version in VERSIONS if version != "1.0"])
def test_what_images_left_is_read(version: str) -> None:
    cat = atlas.open(FIXTURES / version)
    unit = cat.unit("stage.1%230:2")
    assert [image.status for image in cat.images] == ["ok"] * 5 + ["truncated", "ok"]
    assert cat.images["späte/blumen #1.jpg"].classes[0] == (1, "class 1", 0.5)
    assert len(unit.examples) == len(unit.bottom) == 6
    assert unit.examples[0].box == (64, 48, 320, 304)
    assert unit.examples[0].picture is not None
    assert (unit.statistics.images, unit.statistics.positions) == (6, 384)
    assert str(unit.similar[0][0]) == str(cat.similar(unit.unit)[0][0]) == "stage.1#0:3"
    assert not unit.dead
    assert cat.sql("select count(*) from examples").rows == [(6 * 2 * 6,)]


@pytest.mark.parametrize("version", [version for version in VERSIONS if version not in {"1.0", "1.1"}])
def test_an_atlas_is_read(version: str) -> None:
    store = Store.open(FIXTURES / version)
    plans = {plan.names: plan for plan in store.plans() if plan.part or plan.stage == "activations"}
    assert len(plans) == 1 + 1 + 4
    assert all(map(store.whole, plans.values()))
    group = "layers/stage.1%230/atlas/all/5"
    cell, label = store.read(f"{group}/cell"), store.read(f"{group}/label")
    assert 3 < (cell >= 0).sum() <= 25
    assert set(label[cell >= 0, 0]) <= {0, 1, 2, 3, 4}
    assert store.read(f"{group}/icons/status")[3, 0] == 1
    assert np.abs(store.read(f"{group}/icons/image", slice(0, 1))[0, 0].astype(int) - waves(0, 0, 16)).mean() < 4
    assert store.read(f"{group}/tiles/tile").shape == (1, 400, 400, 3)
    assert store.read(f"{group}/strength").shape == (10, 25)
    shown = atlas.open(store.backend)["stage.1#0"].atlas  # type: ignore[union-attr]
    first = shown.grid(5)[0]
    assert shown.cell(first.x, first.y).labels[0].number == label[0, 0]
    assert (first.status, shown.grid(5)[3].status) == ("ok", "unstarted")
    assert len(shown.cells) == (cell >= 0).sum()
    assert "stage.1#0" in repr(shown)
    assert not shown.approximate


@pytest.mark.parametrize("version", VERSIONS)
def test_what_was_done_is_still_done(version: str, tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / version, tmp_path / version)
    store = Store.open(tmp_path / version)
    assert verify(store).findings == ()
    plans = store.plans()
    assert store.prepare(plans) == plans
    assert not any(store.todo(plan) for plan in plans)
    assert all(store.columns_done(plan) for plan in plans)
    assert verify(store).findings == ()
