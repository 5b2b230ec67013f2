"""Images shown once, in shards of any size merged in any order, leave what a plain pass over all of them finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from atlas.dataset.collect import Collected, Shown, collect
from atlas.dataset.shown import batches
from atlas.dataset.summary import FIELDS, Fields, merge
from atlas.dataset.watch import on_device
from atlas.models import Model, load_model
from atlas.models.prepare import arranged
from tests.dataset.made import photographs
from tests.dataset.plain import assert_fields
from tests.models.networks import FAMILIES, Tuples, model_of
from tests.models.originals import originals

pytestmark = pytest.mark.builder

WIDTH = 4


class Rectified(nn.Module):
    """A rectifier in place used twice, and a pool after its first use."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 5, stride=2)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(2)
        self.conv = nn.Conv2d(6, 20, 3)
        self.norm = nn.BatchNorm2d(20)
        self.head = nn.Linear(20, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu(self.stem(x)))
        found: Tensor = self.head(self.relu(self.norm(self.conv(x))).mean((2, 3)))
        return found


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "rectified": Rectified,
    "vit": FAMILIES["torchvision vit"],
    "swin": FAMILIES["torchvision swin"],
    "tuples": Tuples,
}
BEFORE: dict[str, Callable[[dict[str, Tensor]], Tensor]] = {
    "relu": lambda found: found["stem"],
    "relu@2": lambda found: found["norm"],
    "pool": lambda found: nn.functional.max_pool2d(found["stem"], 2),
    "pair#1": lambda found: found["pair.norm"],
}
"""What layers were before their rectifier, from the layers before them."""


def made(name: str) -> Model:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return model_of(NETWORKS[name]())


def some_images(count: int = 11, crops: int = 2) -> list[Shown]:
    """Images of noise under numbers with gaps; two are equal, one holds NaN."""
    chance = torch.Generator().manual_seed(1)
    shown = [Shown(3 * number, torch.rand(crops, 3, 32, 32, generator=chance)) for number in range(count)]
    shown[5] = Shown(shown[5].image, shown[2].crops)
    shown[7].crops[0, :, 9, 9] = torch.nan
    return shown


Values = dict[str, dict[tuple[int, int], NDArray[np.float32]]]


def plainly(model: Model, shown: Sequence[Shown], width: int) -> tuple[Values, Values, list[Tensor]]:
    """Every layer's values and the values before its rectifier, and all logits, batch by batch."""
    model = on_device(model, "cpu")
    layers = model.layers
    values: Values = {layer.name: {} for layer in layers}
    ranked: Values = {layer.name: {} for layer in layers}
    answers = []
    for batch in batches(shown, width):
        network_input = model.preprocessing.normalise(batch.x).contiguous(memory_format=torch.channels_last)
        found, logits = originals(model, network_input)
        names = {layer.name for layer in layers}
        before = {name: make(found) for name, make in BEFORE.items() if name in names}
        for layer in layers:
            for source, kept in ((found, values), (found | before, ranked)):
                flat = arranged(source[layer.name], layer).reshape(width, layer.channels, -1).numpy()
                keys = zip(batch.images.tolist(), batch.crops.tolist(), strict=True)
                kept[layer.name].update(zip(keys, flat, strict=False))
        if logits is not None:
            answers += list(logits[: len(batch)][batch.crops == 0])
    return values, ranked, answers


@pytest.mark.parametrize("name", NETWORKS)
def test_fields_equal_a_plain_pass(name: str) -> None:
    model, shown = made(name), some_images()
    values, ranked, _ = plainly(model, shown, WIDTH)
    found = collect(model, model.layers, shown, width=WIDTH)
    assert {layer.name for layer in model.layers} == set(found.fields)
    for layer, fields in found.fields.items():
        assert_fields(fields, values[layer], ranked[layer])


_WHOLE: dict[str, tuple[Model, list[Shown], Collected]] = {}


def whole(name: str) -> tuple[Model, list[Shown], Collected]:
    if name not in _WHOLE:
        model, shown = made(name), some_images()
        _WHOLE[name] = model, shown, collect(model, model.layers, shown, width=WIDTH, reference=2)
    return _WHOLE[name]


def assert_same(one: Fields, other: Fields) -> None:
    """Alike in all bits, but for the last ones of sums."""
    for name, place in FIELDS.items():
        rtol = 1e-12 if name in {"sum", "squares"} else 0
        np.testing.assert_allclose(one[:, place], other[:, place], rtol=rtol, atol=rtol, err_msg=name)


@pytest.mark.parametrize("name", NETWORKS)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_shards_of_any_size_in_any_order_are_the_whole(name: str, data: st.DataObject) -> None:
    model, shown, everything = whole(name)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(shown) - 1), max_size=5)))
    shards = [shown[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(shown)], strict=True)]
    order = data.draw(st.permutations(range(len(shards))))
    parts = {place: collect(model, model.layers, shards[place], width=WIDTH, reference=2) for place in order}
    for layer in model.layers:
        assert_same(merge(parts[place].fields[layer.name] for place in order), everything.fields[layer.name])
        for number in ("maxima", "attribution"):
            rows = [getattr(parts[place], number)[layer.name] for place in sorted(parts)]
            np.testing.assert_array_equal(np.concatenate(rows), getattr(everything, number)[layer.name])
    for column in ("images", "classes", "probabilities", "reference"):
        rows = [getattr(parts[place], column) for place in sorted(parts)]
        np.testing.assert_array_equal(np.concatenate(rows), getattr(everything, column))


@pytest.mark.parametrize("name", NETWORKS)
def test_twice_is_the_same_to_the_last_bit(name: str) -> None:
    model, shown, everything = whole(name)
    again = collect(model, model.layers, iter(shown), width=WIDTH, reference=2)
    for layer in model.layers:
        for number in ("fields", "maxima", "attribution"):
            one, other = (getattr(found, number)[layer.name] for found in (everything, again))
            assert one.tobytes() == other.tobytes()


def test_the_reference_set_is_every_nth_image_of_the_list() -> None:
    model, shown = made("rectified"), some_images()
    values, _, _ = plainly(model, shown, WIDTH)
    found = collect(model, model.layers, shown, width=WIDTH, reference=6)
    assert found.images.tolist() == [one.image for one in shown]
    assert found.reference.tolist() == [0, 6, 12, 18, 24, 30]
    for layer in model.layers:
        with np.errstate(invalid="ignore"):
            rows = [np.fmax.reduce(values[layer.name][image, 0], axis=1) for image in found.reference.tolist()]
        np.testing.assert_array_equal(found.maxima[layer.name], np.stack(rows))
        assert found.maxima[layer.name].dtype == found.attribution[layer.name].dtype == np.float32
        assert found.attribution[layer.name].shape == (6, layer.channels)


def test_classes_are_the_likeliest_of_crop_0() -> None:
    model, shown = made("rectified"), some_images()
    _, _, answers = plainly(model, shown, WIDTH)
    found = collect(model, [model.layer("pool")], shown, width=WIDTH)
    for place, answer in enumerate(answers):
        if not answer.isfinite().all():
            assert shown[place].image == 21
            assert (found.classes[place] == -1).all()
            assert np.isnan(found.probabilities[place]).all()
            continue
        chances = answer.softmax(0).numpy()
        order = np.argsort(-chances, kind="stable")[:5]
        assert found.classes[place].tolist() == order.tolist()
        np.testing.assert_allclose(found.probabilities[place], chances[order], rtol=1e-6)


def test_without_classes_nothing_is_attributed() -> None:
    model, shown = made("rectified"), some_images()
    found = collect(model, [model.layer("relu@2")], shown, width=WIDTH, classes=False)
    assert found.attribution["relu@2"].shape == (0, 20)
    assert found.maxima["relu@2"].shape == (len(shown), 20)
    assert found.seconds["classes"] == 0


def test_seconds_and_what_is_told() -> None:
    model, shown = made("rectified"), some_images()
    told: list[int] = []
    found = collect(model, model.layers, shown, width=WIDTH, told=told.append)
    assert set(found.seconds) == {"forward", "statistics", "classes"}
    assert min(found.seconds.values()) > 0
    assert told == sorted(told)
    assert told[-1] == len(shown)


def test_no_images_leave_nothing() -> None:
    model = made("rectified")
    found = collect(model, model.layers, [], width=WIDTH)
    assert found.images.shape == found.reference.shape == (0,)
    assert found.classes.shape == found.probabilities.shape == (0, 5)
    assert found.maxima["pool"].shape == (0, 6)
    assert not found.fields["pool"][:, FIELDS["images"]].any()


def test_a_trained_network_and_photographs() -> None:
    model = load_model("squeezenet")
    layers = model.select(["auto"])[::3]
    files = sorted(photographs().glob("imagenet_*.jpg"))
    shown = []
    for number, file in enumerate(files):
        with Image.open(file) as picture:
            whole_picture = model.preprocessing.image(picture)
        shown.append(Shown(number, torch.stack([whole_picture, whole_picture.flip(2)])))
    found = collect(model, layers, shown, width=8, classes=False)
    parts = [collect(model, layers, shown[start : start + 7], width=8, classes=False) for start in (14, 0, 7)]
    labels = [int(file.stem.split("_")[2]) for file in files]
    assert sum(found.classes[:, 0] == labels) >= 15
    for layer in layers:
        assert_same(merge(part.fields[layer.name] for part in parts), found.fields[layer.name])
        np.testing.assert_array_equal(found.fields[layer.name][:, FIELDS["images"].start], 20)


def test_a_trained_network_equals_a_plain_pass() -> None:
    model = on_device(load_model("squeezenet"), "cpu")
    layer = model.layer("features.11")
    shown = []
    for number, file in enumerate(sorted(photographs().glob("imagenet_*.jpg"))[:10]):
        with Image.open(file) as picture:
            shown.append(Shown(number, model.preprocessing.image(picture)[None]))
    values, ranked = {}, {}
    features: Any = model.network.features
    fire = features[11]
    for batch in batches(shown, 5):
        network_input = model.preprocessing.normalise(batch.x).contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            squeezed = features[:11](network_input)
            squeezed = fire.squeeze(squeezed).relu()
            before = torch.cat([fire.expand1x1(squeezed), fire.expand3x3(squeezed)], 1).flatten(2).numpy()
        for image, rows in zip(batch.images.tolist(), before, strict=True):
            values[image, 0], ranked[image, 0] = np.maximum(rows, 0)[:40], rows[:40]
    found = collect(model, [layer], shown, width=5, classes=False)
    assert_fields(found.fields["features.11"][:40], values, ranked)
