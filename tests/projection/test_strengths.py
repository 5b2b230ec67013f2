"""Strengths are means, labels the strongest, and their frequencies those of drawing samples again."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from atlas.attribution import pack
from atlas.projection import strengths as module
from atlas.projection.grid import Cells, cells_of, fill
from atlas.projection.rows import Rows
from atlas.projection.strengths import DRAWS, Columns, Labels, Strongest, labels, strengths, times
from tests.projection.made import Cut, Planted, planted

K = 12


def reading(attribution: NDArray[np.float32], cuts: tuple[int, ...] = ()) -> Columns:
    def read(start: int, stop: int) -> Rows:
        return Cut(attribution[:, start:stop], cuts)

    return read


def laid_out(samples: Planted) -> tuple[NDArray[np.int32], Cells]:
    """Each cluster in two cells of its own, one of which is small."""
    small = np.random.default_rng(0).random(len(samples.cluster)) < 0.04
    cell = (2 * samples.cluster + small).astype(np.int32)
    return cell, fill([samples.vectors], cell, 5, least=1)


def labelled(samples: Planted, read: Columns, classes: int = K) -> tuple[Strongest, Labels]:
    cell, cells = laid_out(samples)
    best = Strongest(len(cells))
    for start, block in strengths(read, classes, cell, cells):
        best.add(start, block)
    return best, labels(read, classes, cell, cells, best, seed=0)


def test_strengths_are_means_class_by_class_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = planted(300)
    cell, cells = laid_out(samples)
    monkeypatch.setattr(module, "BYTES", 8 * len(cells) * 5)
    found = list(strengths(reading(samples.attribution), K, cell, cells))
    assert [(start, block.shape[1]) for start, block in found] == [(0, 5), (5, 5), (10, 2)]
    expected = np.stack([samples.attribution[cell == one].mean(axis=0, dtype=np.float64) for one in cells.cells])
    np.testing.assert_allclose(np.concatenate([block for _, block in found], axis=1), expected, rtol=1e-4, atol=1e-6)


def test_planted_classes_come_back() -> None:
    samples = planted(600)
    _, cells = laid_out(samples)
    _, found = labelled(samples, reading(samples.attribution))
    assert found.classes[:, 0].tolist() == [2 * (one // 2) for one in cells.cells]
    assert (found.frequency[:, 0] > 0.99).all()
    assert (np.diff(found.strength, axis=1) <= 0).all()


def test_a_label_that_stands_out_by_chance_is_not_called_sure() -> None:
    rng = np.random.default_rng(0)
    attribution = rng.standard_normal((400, 10)).astype(np.float32)
    cell = (np.arange(400) % 20).astype(np.int32)
    cells = fill([attribution], cell, 5, least=1)
    best = Strongest(len(cells))
    for start, block in strengths(reading(attribution), 10, cell, cells):
        best.add(start, block)
    found = labels(reading(attribution), 10, cell, cells, best, seed=0)
    assert 0.3 < found.frequency[:, 0].mean() < 0.8


def test_frequencies_are_those_of_a_plain_bootstrap() -> None:
    rng = np.random.default_rng(1)
    attribution = (rng.standard_normal((60, 4)) + np.array([0.3, 0.2, 0.1, 0])).astype(np.float32)
    cell = np.zeros(60, np.int32)
    cells = fill([attribution], cell, 5, least=1)
    best = Strongest(1)
    best.add(0, attribution.mean(axis=0, keepdims=True))
    found = np.mean([labels(reading(attribution), 4, cell, cells, best, seed=s).frequency[0, :4] for s in range(40)], 0)
    plain = np.zeros(4)
    order = best.classes[0]
    for _ in range(2000):
        means = attribution[rng.integers(60, size=60)].mean(axis=0)[order]
        plain += [(means > means[place]).sum() <= place for place in range(4)]
    np.testing.assert_allclose(found, plain / 2000, atol=0.05)


def test_nothing_depends_on_the_cuts_and_another_seed_draws_others() -> None:
    samples = planted(300)
    cell, cells = laid_out(samples)
    best, found = labelled(samples, reading(samples.attribution))
    _, again = labelled(samples, reading(samples.attribution, (1, 90, 299)))
    np.testing.assert_array_equal(again.frequency, found.frequency)
    other = labels(reading(samples.attribution), K, cell, cells, best, seed=1)
    assert (other.frequency != found.frequency).any()


def test_draws_are_poisson_distributed_about_one() -> None:
    found = times(0, 0, 20_000)
    counts = np.bincount(found.ravel())[:5] / found.size
    np.testing.assert_allclose(counts, np.exp(-1) / np.array([1, 1, 2, 6, 24]), atol=2e-3)
    np.testing.assert_array_equal(times(0, 500, 10), found[500:510])
    assert found.shape == (20_000, DRAWS)


def test_samples_without_attributions_do_not_count() -> None:
    samples = planted(300)
    attribution = samples.attribution.copy()
    attribution[::3] = np.nan
    _, found = labelled(samples, reading(attribution))
    kept = np.ones(300, bool)
    kept[::3] = False
    cell, cells = laid_out(samples)
    for place, one in enumerate(cells.cells):
        members = attribution[(cell == one) & kept]
        if len(members):
            np.testing.assert_allclose(found.strength[place, 0], members.mean(axis=0).max(), rtol=1e-4)
        else:
            assert found.classes[place].tolist() == [-1] * 5


@pytest.mark.parametrize("classes", [0, 1, 3])
def test_fewer_classes_than_labels(classes: int) -> None:
    samples = planted(200)
    _, found = labelled(samples, reading(samples.attribution[:, :classes]), classes)
    assert (found.classes[:, :classes] >= 0).all()
    assert (found.classes[:, classes:] == -1).all()
    assert np.isnan(found.strength[:, classes:]).all()
    assert np.isnan(found.frequency[:, classes:]).all()


def test_of_very_many_classes_packed_attributions_give_the_same_labels() -> None:
    rng = np.random.default_rng(0)
    attribution = rng.standard_normal((200, 3000)).astype(np.float32) * 0.1
    samples = planted(200)
    attribution[np.arange(200), 400 * samples.cluster] += 3
    packed = pack(attribution)
    _, found = labelled(samples, lambda start, stop: [packed.dense(start, stop)], 3000)
    _, exact = labelled(samples, reading(attribution), 3000)
    np.testing.assert_array_equal(found.classes[:, 0], exact.classes[:, 0])
    np.testing.assert_allclose(found.strength[:, 0], exact.strength[:, 0], rtol=1e-2)


def test_equal_strengths_are_told_apart_by_the_class_however_the_blocks_come() -> None:
    block = np.array([[1, 2, 2, 0, 2, np.nan]], np.float32)
    whole, parts = Strongest(1, 4), Strongest(1, 4)
    whole.add(0, block)
    for start in (0, 2, 4):
        parts.add(start, block[:, start : start + 2])
    assert whole.classes.tolist() == parts.classes.tolist() == [[1, 2, 4, 0]]


def test_cells_of_a_map_take_their_labels_from_its_clusters() -> None:
    samples = planted(400)
    rng = np.random.default_rng(3)
    xy = (samples.cluster[:, None] / 6 + 0.1 * rng.random((400, 2))).astype(np.float32)
    cell = cells_of(xy, 20)
    cells = fill([samples.vectors], cell, 20)
    best = Strongest(len(cells))
    for start, block in strengths(reading(samples.attribution), K, cell, cells):
        best.add(start, block)
    for place, one in enumerate(cells.cells):
        if (cell == one).sum() > 4:
            assert best.classes[place, 0] in 2 * samples.cluster[cell == one]
