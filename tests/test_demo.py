"""The demo, whole: real weights, real rendering, real Ray; what its store must be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

import atlas
from atlas.catalogue import Catalogue
from atlas.store import Store, verify
from benchmarks.full_catalogue import cpu_minutes
from tests.quality import CONTRAST, SAME, Quality

pytestmark = [pytest.mark.builder, pytest.mark.slow]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's store, made by the demo's command, with its atlas."""
    store = tmp_path_factory.mktemp("demo") / "demo.atlas"
    command = [sys.executable, "-m", "atlas", "demo", "--atlas", "--no-serve", "--store", str(store)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert f"atlas serve {store}" in ran.stdout  # python -m atlas, here
    assert "clusters of photographs" in ran.stdout
    print(f"\nthe demo took {cpu_minutes(Store.open(store)):.1f} CPU-minutes of its workers")
    return store


@pytest.fixture(scope="module")
def catalogue(demo: Path) -> Catalogue:
    return atlas.open(demo)


def test_it_is_as_large_as_promised(catalogue: Catalogue) -> None:
    assert len(catalogue) == 3
    assert sum(layer.done for layer in catalogue) >= 192
    recipe = catalogue.layer("features.11").recipe
    assert recipe.size == 160
    assert recipe.steps >= 64


def test_it_verifies(demo: Path) -> None:
    assert not verify(Store.open(demo)).findings


def test_zarr_alone_reads_its_numbers(demo: Path, catalogue: Catalogue) -> None:
    mean = zarr.open_array(demo / "layers/features.11/features/mean", mode="r")
    assert np.asarray(mean[40, 0]) == np.float32(catalogue.unit("features.11:40").objective)


def test_its_pictures_have_contrast_and_differ(catalogue: Catalogue) -> None:
    for variant in ("positive", "negative"):
        quality = Quality.of(catalogue, variant)
        print(variant, quality)
        assert quality.contrast >= 0.95, f"RGB standard deviation below {CONTRAST}"
        assert quality.clipped < 0.1
        assert quality.correlation < SAME
        assert quality.statuses["ok"] >= 0.9 * 192


def test_the_pictures_of_its_atlas_stand_for_their_cells(demo: Path) -> None:
    """In the top 2% of the grid for 90% of the cells, and above all of eight others for 99%."""
    store = Store.open(demo)
    group = "layers/features.11/atlas/all/20"
    filled = int((store.read(f"{group}/cell") >= 0).sum())
    rank, above = (store.read(f"{group}/icons/{name}")[:filled] for name in ("rank", "above"))
    print(f"{filled} cells, {(rank < 0.02 * filled).mean():.1%} in the top 2%, {(above == 1).mean():.1%} above eight")
    assert filled >= 120
    assert (rank < 0.02 * filled).mean() >= 0.9
    assert (above == 1).mean() >= 0.99
    assert (store.read(f"{group}/icons/status")[:filled] == 0).mean() >= 0.99
    quality = store.read("layers/features.11/atlas/all/quality")
    assert quality[0] > 0.9
