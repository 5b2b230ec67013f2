"""Planted clusters come back, whoever cut the shards; whatever is degenerate still has a map, or one clear line."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from atlas.errors import AtlasError
from atlas.projection import project as umap
from atlas.projection.place import turn
from atlas.projection.project import Map, fit, project
from atlas.projection.quality import agreement
from atlas.recipe import ProjectionRecipe
from atlas.units import SampleStatus
from tests.projection.made import Cut, Planted, planted

RECIPE = ProjectionRecipe(n_neighbors=15, max_samples=300)


@pytest.fixture(scope="module")
def samples() -> Planted:
    return planted(700)


@pytest.fixture(scope="module")
def found(samples: Planted) -> Map:
    return project([samples.vectors], RECIPE)


def purity(xy: NDArray[Any], cluster: NDArray[np.int64]) -> float:
    """How often a sample's nearest on the map is of its own cluster."""
    apart = ((xy[:, None] - xy[None]) ** 2).sum(2)
    np.fill_diagonal(apart, np.inf)
    return float((cluster[apart.argmin(1)] == cluster).mean())


def test_clusters_lie_together(samples: Planted, found: Map) -> None:
    assert not found.status.any()
    assert purity(found.xy, samples.cluster) > 0.98
    placed = np.setdiff1d(np.arange(700), found.fitted)
    assert len(placed) == 400
    assert purity(found.xy[placed], samples.cluster[placed]) > 0.98
    within = [np.linalg.norm(np.ptp(found.xy[samples.cluster == one], axis=0)) for one in range(6)]
    assert np.median(within) < 0.5


def test_nothing_depends_on_how_the_shards_are_cut(samples: Planted, found: Map) -> None:
    again = project(Cut(samples.vectors, [1, 8, 333, 699]), RECIPE)
    np.testing.assert_array_equal(again.xy, found.xy)


def test_where_a_vector_is_placed_depends_on_itself_alone(samples: Planted) -> None:
    fitted = fit(samples.vectors[:200], replace(RECIPE, pca=8))
    whole = fitted.place(samples.vectors)
    for rows in (slice(0, 1), slice(333, 340), np.random.default_rng(0).permutation(700)):
        np.testing.assert_array_equal(fitted.place(samples.vectors[rows]), whole[rows])


def test_fitted_samples_lie_where_they_were_laid_out(samples: Planted) -> None:
    fitted = fit(samples.vectors[:200], RECIPE)
    np.testing.assert_allclose(fitted.place(samples.vectors[:200]), fitted.raw[fitted.anchor], atol=1e-3)


def test_runs_of_other_seeds_face_the_same_way(samples: Planted, found: Map) -> None:
    other = project([samples.vectors], replace(RECIPE, seed=1))
    assert len(np.intersect1d(found.fitted, other.fitted)) < 250
    assert agreement(found.xy, other.xy) > 0.5
    assert all(np.corrcoef(found.xy[:, axis], other.xy[:, axis])[0, 1] > 0.5 for axis in (0, 1))


def test_a_map_is_turned_to_face_another(samples: Planted, found: Map) -> None:
    facing = (1 - found.xy)[:, ::-1]
    again = project([samples.vectors], RECIPE, facing=facing)
    np.testing.assert_allclose(np.abs(turn(again.xy, facing)), np.eye(2), atol=0.2)
    assert all(np.corrcoef(again.xy[:, axis], facing[:, axis])[0, 1] > 0.9 for axis in (0, 1))
    with pytest.raises(AtlasError, match="has 5 samples, this layer has 700"):
        project([samples.vectors], RECIPE, facing=facing[:5])


@pytest.mark.parametrize("turned", [[[0, 1], [1, 0]], [[-1, 0], [0, 1]], [[0.6, -0.8], [0.8, 0.6]]], ids=str)
def test_a_map_is_the_same_however_umap_turned_it(
    samples: Planted, monkeypatch: pytest.MonkeyPatch, turned: list[list[float]]
) -> None:
    expected = project([samples.vectors[:200]], RECIPE)
    embedded = umap._embedded
    monkeypatch.setattr(umap, "_embedded", lambda *given: embedded(*given) @ np.array(turned))
    np.testing.assert_allclose(project([samples.vectors[:200]], RECIPE).xy, expected.xy, atol=1e-5)


@pytest.mark.parametrize(
    "changes", [{"metric": "euclidean"}, {"whiten": True, "pca": 8}, {"pca": None, "n_neighbors": 500}], ids=str
)
def test_other_spaces_show_the_clusters_too(samples: Planted, changes: dict[str, Any]) -> None:
    vectors = samples.vectors[:300] / np.linalg.norm(samples.vectors[:300], axis=1, keepdims=True)
    xy = project([vectors], replace(RECIPE, **changes)).xy
    assert purity(xy, samples.cluster[:300]) > 0.9


def test_one_dimension_is_laid_out_too(samples: Planted) -> None:
    xy = project([samples.vectors[:200]], RECIPE, dims=1).xy
    assert xy.shape == (200, 1)
    assert purity(xy, samples.cluster[:200]) > 0.9


def test_what_cannot_be_placed_has_a_status(samples: Planted) -> None:
    vectors = samples.vectors[:250].copy()
    vectors[10], vectors[20, 3], vectors[30, 4] = 0, np.nan, np.inf
    found = project([vectors], RECIPE)
    assert np.flatnonzero(found.status).tolist() == [10, 20, 30]
    assert found.status[[10, 20]].tolist() == [SampleStatus.ZERO, SampleStatus.NOT_FINITE]
    assert np.isnan(found.xy[[10, 20, 30]]).all()
    assert np.isfinite(np.delete(found.xy, [10, 20, 30], axis=0)).all()


RNG = np.random.default_rng(0)
DEGENERATE: dict[str, NDArray[Any]] = {
    "one sample": RNG.random((1, 8)),
    "two samples": RNG.random((2, 8)),
    "three samples": RNG.random((3, 8)),
    "fewer than neighbours": RNG.random((12, 8)),
    "constant": np.ones((60, 8)),
    "one direction": np.outer(RNG.random(60) + 0.1, RNG.random(8)),
    "two directions": np.outer(RNG.standard_normal(60), RNG.random(8)),
    "few distinct": RNG.random((4, 8))[RNG.integers(4, size=60)],
    "many duplicates": np.repeat(RNG.random((20, 8)), 30, axis=0),
    "one channel": RNG.random((40, 1)),
    "huge values": RNG.random((40, 8)) * 1e30,
    "tiny values": RNG.random((40, 8)) * 1e-30,
    "whole numbers": RNG.integers(1, 9, size=(40, 8)),
}


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("kind", DEGENERATE)
def test_whatever_is_degenerate_has_a_map(kind: str, metric: str) -> None:
    rows = DEGENERATE[kind].astype(np.float32)
    found = project([rows], ProjectionRecipe(metric=metric, max_samples=50))
    assert not found.status.any()
    assert found.xy.min() >= 0
    assert found.xy.max() <= 1
    same = np.unique(rows, axis=0, return_inverse=True)[1]
    for one in np.unique(same):
        np.testing.assert_allclose(np.ptp(found.xy[same == one], axis=0), 0, atol=1e-3)


def test_one_direction_is_one_place() -> None:
    assert (project([DEGENERATE["one direction"]], ProjectionRecipe()).xy == 0.5).all()


def test_three_samples_are_spread() -> None:
    xy = project([DEGENERATE["three samples"]], ProjectionRecipe()).xy
    assert len(np.unique(xy, axis=0)) == 3


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (np.zeros((0, 4)), "there are no samples"),
        (np.full((3, 4), np.nan), "3 are not finite"),
        (np.zeros((5, 4)), "5 are zero"),
        (np.array([[0, 0], [np.nan, 1]]), "1 are not finite and 1 are zero"),
    ],
)
def test_what_has_no_map_is_said_in_one_line(rows: NDArray[Any], said: str) -> None:
    with pytest.raises(AtlasError, match=said) as caught:
        project([rows], ProjectionRecipe())
    assert len(str(caught.value).splitlines()) == 1
