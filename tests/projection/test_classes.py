"""The samples of a class, and the map of what parts two."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.errors import AtlasError
from atlas.projection.classes import pair, strongest, winners
from atlas.projection.strengths import Columns
from atlas.recipe import ProjectionRecipe
from tests.projection.made import Cut, planted

SAMPLES = planted(500)


def read(cuts: tuple[int, ...] = ()) -> Columns:
    return lambda start, stop: Cut(SAMPLES.attribution[:, start:stop], cuts)


def test_winners_are_those_whose_highest_attribution_is_to_the_class() -> None:
    expected = np.flatnonzero(SAMPLES.attribution.argmax(axis=1) == 4)
    for cuts in ((), (3, 77)):
        assert winners(read(cuts), 12, 4).tolist() == expected.tolist()
    assert (SAMPLES.cluster[winners(read(), 12, 4)] == 2).mean() > 0.95


@pytest.mark.parametrize("count", [1, 40, 10_000])
def test_the_strongest_speak_most_for_the_class(count: int) -> None:
    found = strongest(read((9,)), 12, 4, count)
    column = SAMPLES.attribution[:, 4]
    assert (np.diff(found) > 0).all()
    assert (column[found] > 0).all()
    assert len(found) == min(count, (column > 0).sum())
    assert column[found].min() >= np.delete(column, found).max()


def test_samples_without_attributions_are_of_no_class() -> None:
    attribution = SAMPLES.attribution.copy()
    attribution[::2] = np.nan
    assert (winners(lambda a, b: [attribution[:, a:b]], 12, 4) % 2 == 1).all()
    assert (strongest(lambda a, b: [attribution[:, a:b]], 12, 4) % 2 == 1).all()


@pytest.mark.parametrize("label", [-1, 12])
def test_a_class_that_is_not_there_is_said(label: int) -> None:
    for choose in (winners, strongest):
        with pytest.raises(AtlasError, match="the network has 12"):
            choose(read(), 12, label)


def test_a_pair_lies_apart_along_x_and_by_likeness_along_y() -> None:
    rows = np.flatnonzero(np.isin(SAMPLES.cluster, [1, 3]))
    towards, against = SAMPLES.attribution[rows][:, [6, 2]].T
    recipe = ProjectionRecipe.named("class")
    xy = pair([SAMPLES.vectors[rows]], towards, against, recipe).xy
    assert xy.min() >= 0
    assert xy.max() <= 1
    assert (np.sign(xy[:, 0] - 0.5) == np.sign(np.float32(towards - against))).all()
    apart = np.abs(np.median(xy[SAMPLES.cluster[rows] == 1, 1]) - np.median(xy[SAMPLES.cluster[rows] == 3, 1]))
    assert apart > 0.3
    np.testing.assert_array_equal(pair([SAMPLES.vectors[rows]], towards, against, recipe).xy, xy)


def test_a_pair_that_says_the_same_lies_in_the_middle() -> None:
    vectors, same = SAMPLES.vectors[:40], SAMPLES.attribution[:40, 0]
    recipe = ProjectionRecipe.named("class")
    assert (pair([vectors], same, same, recipe).xy[:, 0] == 0.5).all()
    towards = same.copy()
    towards[3] = np.nan
    xy = pair([vectors], towards, same, recipe).xy
    assert np.isnan(xy[3]).all()
    assert np.isfinite(np.delete(xy, 3, axis=0)).all()
    with pytest.raises(AtlasError, match="39 attributions of 40 samples"):
        pair([vectors], same[:39], same[:39], recipe)
