"""Figures of quality against plain means and against another's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.manifold import trustworthiness as reference

from atlas.projection.grid import cells_of, fill
from atlas.projection.project import project
from atlas.projection.quality import agreement, beaten, own_ranks, trusted, trustworthiness
from atlas.projection.strengths import Strongest, labels, strengths
from atlas.recipe import ProjectionRecipe
from tests.projection.made import planted

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("noise", [0.0, 0.5, 100.0])
def test_trustworthiness_is_that_of_others(noise: float) -> None:
    points = RNG.standard_normal((300, 5)).astype(np.float32)
    xy = points[:, :2] + noise * RNG.standard_normal((300, 2)).astype(np.float32)
    assert trustworthiness(points, xy, near=7) == pytest.approx(reference(points, xy, n_neighbors=7), abs=2e-4)


def test_a_map_is_trusted_as_far_as_it_keeps_neighbours() -> None:
    points = RNG.standard_normal((400, 2)).astype(np.float32)
    assert trustworthiness(points, points) == 1
    assert trustworthiness(points, RNG.random((400, 2))) < 0.6
    assert np.isnan(trustworthiness(points[:20], points[:20]))


def test_samples_at_one_place_count_no_one_as_his_own_neighbour() -> None:
    points = RNG.standard_normal((60, 4)).astype(np.float32)
    assert 0.3 < trustworthiness(points, np.zeros((60, 2))) < 0.8


def test_agreement_sees_no_turn_and_no_size() -> None:
    one = RNG.standard_normal((200, 2))
    turned = 3 * one @ np.array([[0.6, 0.8], [0.8, -0.6]]) + 5
    assert agreement(one, turned) == pytest.approx(1)
    noisy = one + RNG.standard_normal((200, 2))
    assert agreement(one, noisy) == pytest.approx(agreement(noisy, one))
    assert 0.3 < agreement(one, noisy) < 0.7
    assert agreement(one, RNG.standard_normal((200, 2))) < 0.1
    assert np.isnan(agreement(one, np.zeros((200, 2))))


def test_own_ranks_count_the_pictures_that_are_nearer() -> None:
    directions = np.eye(4, dtype=np.float32)
    answers = np.array([[5, 0, 0, 0], [1, 1, 0, 0], [0, 3, 0, 0], [np.nan, 0, 0, 1]], np.float32)
    assert own_ranks(answers, directions).tolist() == [0, 1, 3, 3]
    ranks = own_ranks(RNG.random((700, 6)).astype(np.float32), RNG.random((700, 6)).astype(np.float32))
    assert 250 < ranks.mean() < 450


def test_a_picture_is_held_against_some_others() -> None:
    directions = np.eye(4, dtype=np.float32)
    answers = np.array([[5, 0, 0, 0], [1, 1, 0, 0], [0, 3, 0, 0], [np.nan, 0, 0, 1]], np.float32)
    # Of fewer than eight others all are asked; what points no nearer than another has not beaten it.
    assert beaten(answers, directions, 0).tolist() == [1, np.float32(2 / 3), 0, 0]
    assert beaten(answers[:1], directions[:1], 0).tolist() == [1]
    many = RNG.random((300, 6)).astype(np.float32)
    share = beaten(many, RNG.random((300, 6)).astype(np.float32), 1)
    assert set((share * 8).tolist()) <= set(range(9))
    assert 0.4 < share.mean() < 0.6
    assert (beaten(many, many, 1) == 1).all()
    np.testing.assert_array_equal(beaten(many, many[::-1].copy(), 2), beaten(many, many[::-1].copy(), 2))


def test_a_map_is_judged() -> None:
    samples = planted(400)
    recipe = ProjectionRecipe(n_neighbors=15)
    found = project([samples.vectors], recipe)
    cell = cells_of(found.xy, 10)
    cells = fill([samples.vectors], cell, 10, least=1)
    best = Strongest(len(cells))
    for start, block in strengths(lambda a, b: [samples.attribution[:, a:b]], 12, cell, cells):
        best.add(start, block)
    found_labels = labels(lambda a, b: [samples.attribution[:, a:b]], 12, cell, cells, best, seed=0)
    trustworthy, agreeing = trusted([samples.vectors], found, recipe)
    assert trustworthy > 0.8
    assert agreeing > 0.3
    assert 0.8 < np.nanmean(found_labels.frequency[:, 0]) <= 1
