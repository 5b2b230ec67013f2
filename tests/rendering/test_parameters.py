from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from atlas.rendering import Key
from atlas.rendering.parameters import Fourier, start

pytestmark = pytest.mark.builder

KEY = Key(0, "features.11", 300, "positive")


@given(st.integers(16, 41), st.integers(0, 2**32), st.floats(0, 2))
def test_every_spectrum_is_a_picture(size: int, seed: int, deviation: float) -> None:
    picture = Fourier(size, 1.0)(start([Key(seed, "a", 0, "positive")] * 2, size, deviation))
    assert picture.shape == (2, 3, size, size)
    assert ((picture >= 0) & (picture <= 1)).all()


@pytest.mark.parametrize(
    "other",
    [
        Key(1, "features.11", 300, "positive"),
        Key(0, "features.12", 300, "positive"),
        Key(0, "features.11", 301, "positive"),
        Key(0, "features.11", 300, "negative"),
    ],
)
def test_every_picture_starts_from_its_own_key(other: Key) -> None:
    alone, together = start([KEY], 32, 0.01), start([other, KEY], 32, 0.01)
    assert torch.equal(alone[0], together[1])
    assert not torch.equal(together[0], together[1])


def test_a_start_is_the_same_for_ever() -> None:
    """Stores that were begun with an older version are finished with the same starts."""
    first = start([KEY], 16, 1.0)[0, 0, 0, :3, 0]
    assert torch.allclose(first, torch.tensor([-1.3794823, -0.0636664, 1.1385993]), atol=1e-6)


def test_low_frequencies_weigh_more() -> None:
    """A natural image's power falls with the frequency; so does that of a start."""
    picture = Fourier(64, 1.0)(start([KEY], 64, 0.1))
    power = torch.fft.rfft2(picture - picture.mean()).abs().square().mean((0, 1))
    assert power[1:4, 1:4].mean() > 20 * power[20:30, 20:30].mean()


def test_a_leaf_without_chance_is_grey() -> None:
    assert torch.equal(Fourier(16, 1.0)(torch.zeros(1, 3, 16, 9, 2)), torch.full((1, 3, 16, 16), 0.5))
