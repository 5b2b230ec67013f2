from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from atlas.rendering import Key
from atlas.rendering.parameterization import Fourier, start

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


@given(st.floats(0.1, 4), st.floats(0.01, 20))
def test_no_picture_is_stronger_than_the_contrast(contrast: float, deviation: float) -> None:
    picture = Fourier(32, 1.0, contrast)(start([KEY], 32, deviation)).double()
    assert torch.logit(picture, 1e-9).square().mean().sqrt() <= contrast * 1.001


def test_a_picture_below_the_contrast_is_left_as_it_is_whatever_lies_beside_it() -> None:
    weak, strong = start([KEY], 32, 0.05), start([KEY], 32, 5.0)
    together = Fourier(32, 1.0, 2.0)(torch.cat([strong, weak]))
    assert torch.equal(together[1:], Fourier(32, 1.0)(weak))
    assert not torch.equal(together[:1], Fourier(32, 1.0)(strong))


def test_at_the_contrast_a_picture_changes_what_it_shows_and_not_how_strongly() -> None:
    paint, leaf = Fourier(32, 1.0, 2.0), start([KEY], 32, 5.0).requires_grad_()
    assert torch.allclose(paint(leaf), paint(3 * leaf), atol=1e-5)
    (gradient,) = torch.autograd.grad(paint(leaf)[..., :16].sum(), leaf)
    assert gradient.norm() > 1
    assert (gradient * leaf).sum().abs() < 1e-4 * gradient.norm() * leaf.norm()


@pytest.mark.parametrize("contrast", [0.0, 2.0])
def test_a_leaf_without_chance_is_grey_and_has_a_way_up(contrast: float) -> None:
    leaf = torch.zeros(1, 3, 16, 9, 2, requires_grad=True)
    picture = Fourier(16, 1.0, contrast)(leaf)
    assert torch.equal(picture, torch.full((1, 3, 16, 16), 0.5))
    (gradient,) = torch.autograd.grad(picture[..., :8].sum(), leaf)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0
