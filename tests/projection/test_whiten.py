"""The inverse of the second moment: exact where it can be, bounded where it cannot."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.errors import AtlasError
from atlas.projection.rows import Rows, blocks
from atlas.projection.whiten import LEAST, Moment
from tests.projection.made import Cut

RNG = np.random.default_rng(0)


def activations(samples: int, channels: int = 12) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    mixed = RNG.standard_normal((samples, channels)) @ np.diag(np.linspace(1, 3, channels)) + 1
    return mixed.astype(np.float32)


def moment(rows: Rows) -> Moment:
    """That of all rows, block by block."""
    some = [block for _, block in blocks(rows)]
    found = Moment(some[0].shape[1])
    for block in some:
        found.add(block)
    return found


def test_of_many_samples_it_is_nearly_the_plain_inverse() -> None:
    rows = activations(200_000)
    found = moment([rows])
    plain = np.linalg.inv(rows.T.astype(float) @ rows / len(rows))
    alike = (found.inverse() * plain).sum() / np.linalg.norm(found.inverse()) / np.linalg.norm(plain)
    assert alike > 0.999


def test_the_root_makes_activations_as_wide_in_every_direction() -> None:
    rows = activations(50_000)
    values = np.linalg.eigvalsh(moment([rows @ moment([rows]).inverse(-0.5)]).mean)
    assert values.max() / values.min() < 1.1


@pytest.mark.parametrize(
    "rows",
    [
        np.outer(RNG.random(100), RNG.random(12)),
        np.concatenate([activations(500, 8), np.zeros((500, 4))], axis=1),
        activations(3),
        np.ones((50, 12)),
        np.zeros((50, 12)),
    ],
    ids=["rank 1", "channels that never fire", "3 samples", "constant", "all zero"],
)
def test_what_has_no_inverse_gets_one_that_is_bounded(rows: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> None:
    found = moment([rows])
    inverse = found.inverse()
    assert np.isfinite(inverse).all()
    values = np.linalg.eigvalsh(inverse.astype(float))
    assert values.min() > 0
    assert values.max() <= 1 / LEAST * 1.001
    assert LEAST <= found.shrinkage() <= 1


def test_fewer_samples_are_believed_less() -> None:
    rows = activations(4000)
    shares = [moment([rows[:count]]).shrinkage() for count in (20, 200, 4000)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 5 * shares[2]


def test_nothing_depends_on_the_chunks_and_what_is_not_finite_does_not_count() -> None:
    rows = activations(9000)
    rows[5, 3], rows[8000, 0] = np.nan, np.inf
    whole = moment([rows])
    assert whole.count == 8998
    np.testing.assert_array_equal(moment(Cut(rows, [1, 77, 4097, 8999])).inverse(), whole.inverse())


def test_nothing_to_whiten_is_said_in_one_line() -> None:
    with pytest.raises(AtlasError, match="none of the activations is finite"):
        moment([np.full((4, 3), np.nan)]).inverse()
    assert Moment(3).count == 0
