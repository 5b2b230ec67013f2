"""What a unit looked at: the receptive field of a made convolution, a patch, and what is done with silent units."""

from __future__ import annotations

import doctest
import importlib

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from atlas.dataset.seen import CUT, _box, _span, seen
from atlas.models import Preprocessing, load_model, prepare
from tests.dataset.made import photographs
from tests.models.networks import FAMILIES, model_of, square

pytestmark = pytest.mark.builder


class Field(nn.Module):
    """One 12 x 16 convolution of stride 4 by a pool; of its units 0 is even, 1 looks at one corner, 2 is silent."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, (12, 16), stride=(4, 4))
        self.relu = nn.ReLU(inplace=True)
        with torch.no_grad():
            self.conv.weight[:] = 1
            self.conv.weight[1] = 0
            self.conv.weight[1, :, 11, 15] = 1
            self.conv.weight[3] = 0
            self.conv.bias[:] = torch.tensor([0.0, 0.0, -1e4, 1.0])  # type: ignore[index]

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.relu(self.conv(x))
        return found


PLAIN = Preprocessing(size=(40, 64))
COLUMNS = 13
"""Positions in a row: (64 - 16) / 4 + 1."""


def crops(count: int = 1, size: tuple[int, int] = (40, 64)) -> Tensor:
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.25


@pytest.mark.parametrize("layer", ["conv", "relu"])
@pytest.mark.parametrize(("row", "column"), [(0, 0), (3, 2), (7, 12)])
def test_the_box_of_an_even_convolution_is_its_field(layer: str, row: int, column: int) -> None:
    prepared = prepare(model_of(Field(), PLAIN), layer)
    for before in (False, True):
        found = seen(prepared, crops(), [0], [row * COLUMNS + column], before=before)
        assert found.dtype == np.float32
        assert found.tolist() == [[4 * column, 4 * row, 4 * column + 16, 4 * row + 12]]


@pytest.mark.parametrize("layer", ["conv", "relu"])
def test_a_direction_of_one_channel_sees_what_the_channel_sees(layer: str) -> None:
    prepared, x = prepare(model_of(Field(), PLAIN), layer), crops(3)
    units, positions = [0, 1, 2], [0, 3 * COLUMNS + 2, 7]
    one_by_one = seen(prepared, x, units, positions, before=False)
    found = seen(prepared, x, torch.eye(4)[units], positions, before=False)
    np.testing.assert_array_equal(found, one_by_one)
    both = seen(prepared, x[:1], torch.tensor([[1.0, 1.0, 0.0, 0.0]]), [3 * COLUMNS + 2], before=False)
    assert both.tolist() == [[8, 12, 24, 24]]


def test_a_box_is_never_smaller_than_8_pixels_and_lies_in_the_crop() -> None:
    prepared = prepare(model_of(Field(), PLAIN), "conv")
    middle, corner = seen(prepared, crops(2), [1, 1], [0, 7 * COLUMNS + 12], before=False)
    assert middle.tolist() == [15.5 - 4, 11.5 - 4, 15.5 + 4, 11.5 + 4]
    assert corner.tolist() == [64 - 8, 40 - 8, 64, 40]


def test_crops_side_by_side_are_independent() -> None:
    prepared = prepare(model_of(Field(), PLAIN), "relu")
    units, positions = [0, 1, 0, 2], [0, 20, 40, 60]
    together = seen(prepared, crops(4), units, positions, before=False)
    for row, (unit, position) in enumerate(zip(units, positions, strict=True)):
        alone = seen(prepared, crops(4)[row : row + 1], [unit], [position], before=False)
        assert alone[0].tolist() == together[row].tolist()


def test_a_silent_unit_is_asked_before_its_rectifier() -> None:
    prepared = prepare(model_of(Field(), PLAIN), "relu")
    assert prepared.activations(crops()).value[0, 2].max() == 0
    assert seen(prepared, crops(), [2], [COLUMNS + 1], before=False).tolist() == [[4, 4, 20, 16]]


def test_a_unit_that_sees_nothing_has_the_whole_crop() -> None:
    for layer in ("conv", "relu"):
        prepared = prepare(model_of(Field(), PLAIN), layer)
        assert seen(prepared, crops(), [3], [5], before=False).tolist() == [[0, 0, 64, 40]]


def test_nan_has_the_whole_crop() -> None:
    assert _box(np.full((5, 9), np.nan), 1.0) == (0, 0, 9, 5)


def test_a_token_sees_its_patch() -> None:
    prepared = prepare(model_of(FAMILIES["torchvision vit"]()), "encoder.layers.encoder_layer_1")
    found = seen(prepared, torch.rand(3, 3, 32, 32), [0, 5, 1], [0, 6, 15], before=False)
    assert found.tolist() == [[0, 0, 8, 8], [16, 8, 24, 16], [24, 24, 32, 32]]


def test_a_linear_layer_sees_where_its_gradient_is() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2))
    linear = network[1]
    assert isinstance(linear, nn.Linear)
    with torch.no_grad():
        linear.weight[:] = 0
        linear.weight[1].view(3, 32, 32)[:, 4:20, 10:30] = 1
    prepared = prepare(model_of(network, square(32)), "1")
    assert seen(prepared, torch.rand(1, 3, 32, 32), [1], [0], before=False).tolist() == [[10, 4, 30, 20]]


def test_at_least_ninety_percent_lie_inside() -> None:
    chance = np.random.default_rng(0)
    for _ in range(50):
        magnitude = np.exp(chance.normal(size=(37, 53)) * 3)
        x0, y0, x1, y1 = map(int, _box(magnitude, 1.0))
        assert magnitude[y0:y1, x0:x1].sum() >= (1 - 4 * CUT) * magnitude.sum()
        assert magnitude[:, x0 + 1 : x1].sum() < (1 - CUT) * magnitude.sum()


def test_cuts_are_symmetric() -> None:
    mass = np.array([0.02, 0.02, 0.5, 0.43, 0.01, 0.02])
    assert _span(mass, 1.0) == (1, 5)
    assert _span(mass[::-1], 1.0) == (1, 5)


def test_what_deep_units_of_a_trained_network_see_holds_a_part_of_the_photograph() -> None:
    model = load_model("squeezenet")
    prepared = prepare(model, "features.11")
    with Image.open(sorted(photographs().glob("imagenet_*.jpg"))[0]) as picture:
        crop = model.preprocessing.image(picture)[None]
    values = prepared.activations(crop).value[0].flatten(1)
    units = values.amax(1).topk(8).indices.tolist()
    positions = values[units].argmax(1).tolist()
    boxes = seen(prepared, crop.repeat(8, 1, 1, 1), units, positions, before=False)
    centres = np.stack([(boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2], axis=1)
    sides = np.stack([boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]], axis=1)
    assert (sides > 24).all()
    assert (sides < 200).all()
    places = np.array([[position % 13 * 16 + 15, position // 13 * 16 + 15] for position in positions])
    assert np.abs(centres - places).max() < 40


def test_examples() -> None:
    assert doctest.testmod(importlib.import_module("atlas.dataset.seen")).attempted > 0
    assert doctest.testmod(importlib.import_module("atlas.dataset.seen")).failed == 0
