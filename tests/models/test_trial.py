"""What a build needs of a layer is found out before it: every reason by a network that has it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from atlas.errors import ModelError, UnknownName
from atlas.models import able, load_model
from atlas.models.trial import trial
from tests.foreign import SMALL, Made, net

pytestmark = pytest.mark.builder

HERE = "tests.models.test_trial"


class Headed(nn.Module):
    """A backbone whose features come to the head by `between`."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.backbone, self.head = net()[:5], nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        match self.how:
            case "no_grad":
                with torch.no_grad():
                    x = self.backbone(x)
            case "inference":
                with torch.inference_mode():
                    x = self.backbone(x)
            case "detach":
                x = self.backbone(x).detach()
            case "argmax":
                x = nn.functional.one_hot(self.backbone(x).argmax(1), 8).permute(0, 3, 1, 2).float()
            case "numpy":
                x = torch.from_numpy(self.backbone(x).detach().numpy())
            case "checkpoint":
                x = checkpoint(self.backbone, x, use_reentrant=True)
            case "underivable":
                x = Underivable.apply(self.backbone(x))
        found: Tensor = self.head(x.mean((2, 3)))
        return found


class Underivable(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:  # noqa: ARG004
        return x * 2


def no_grad() -> Made:
    return Headed("no_grad"), SMALL


def inference() -> Made:
    return Headed("inference"), SMALL


def detach() -> Made:
    return Headed("detach"), SMALL


def argmax() -> Made:
    return Headed("argmax"), SMALL


def through_numpy() -> Made:
    return Headed("numpy"), SMALL


def checkpointed() -> Made:
    return Headed("checkpoint"), SMALL


def underivable() -> Made:
    return Headed("underivable"), SMALL


class Recogniser(nn.Module):
    """Text, read by a recurrent network: what it ends with has directions where a batch would be."""

    def __init__(self) -> None:
        super().__init__()
        self.cnn = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2), nn.ReLU())
        self.rnn, self.fc = nn.GRU(16, 12, bidirectional=True, batch_first=True), nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.fc(self.rnn(self.cnn(x).mean(2).transpose(1, 2))[0])
        return found


def recogniser() -> Made:
    return Recogniser(), SMALL


class Moody(nn.Module):
    """Takes another way for more than two images."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.few, self.many = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3), nn.Conv2d(8, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = (self.many if len(x) > 2 else self.few)(self.first(x))
        return found


def moody() -> Made:
    return Moody(), SMALL


class Scaled(nn.Module):
    """A convolution whose scale lies outside of what a state dict keeps as tensors."""

    def __init__(self, kept: str) -> None:
        super().__init__()
        self.conv, self.after = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)
        self.kept, self.scale = kept, 1.0
        chance = torch.tensor(np.random.default_rng().random(8), dtype=torch.float32) + 1
        self.learnt: Tensor
        self.register_buffer("learnt", chance[:, None, None], persistent=False)

    def get_extra_state(self) -> object:
        return {"scale": self.scale}

    def set_extra_state(self, state: object) -> None:
        assert isinstance(state, dict)
        self.scale = state["scale"]

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x) * self.scale
        found: Tensor = self.after(x * self.learnt if self.kept == "nowhere" else x)
        return found


def with_extra_state() -> Made:
    network = Scaled("extra")
    network.scale = 3.0
    return network, SMALL


def with_a_buffer_of_chance() -> Made:
    return Scaled("nowhere"), SMALL


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.after = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.after(nn.functional.dropout(self.conv(x), 0.5))
        return found


def noisy() -> Made:
    return Noisy(), SMALL


class Named(nn.Module):
    """Modules whose names no file can have."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.zarr = nn.Module()
        self.zarr.json = nn.Conv2d(4, 4, 3)
        self.add_module("\ud800x", nn.Conv2d(4, 4, 3))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.get_submodule("\ud800x")(self.get_submodule("zarr.json")(self.first(x)))
        return found


def named() -> Made:
    return Named(), SMALL


class Crowded(nn.Module):
    """Takes four images and more another way: less their mean, or a few at a time."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.first, self.second = nn.Conv2d(3, 8, 3, stride=2), nn.Conv2d(8, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "split":
            return torch.cat([self.second(self.first(some)) for some in torch.split(x, 4)])
        found = self.first(x)
        found = found - found.mean(0, keepdim=True) if len(x) > 3 else found
        whole: Tensor = self.second(found)
        return whole


def crowded() -> Made:
    return Crowded("mean"), SMALL


def split() -> Made:
    return Crowded("split"), SMALL


built: list[nn.Module] = []


def growing() -> Made:
    """Has a channel more each time it is built."""
    built.append(nn.Sequential(nn.Conv2d(3, 8 + len(built), 3), nn.ReLU()))
    return built[-1], SMALL


def failures(name: str, *more: str) -> dict[str, str]:
    """What fails of a network's layers, and of `more`, which the dry run may have doubted already."""
    model = load_model(f"{HERE}:{name}")
    others = [replace(model.layers[0], name=one, channels=4) for one in more]
    return trial(model, [*model.layers, *others])


@pytest.mark.parametrize(
    ("name", "failing"),
    [
        ("no_grad", {"backbone.0", "backbone.1", "backbone.2", "backbone.3", "backbone.4", "head"}),
        ("inference", {"backbone.0", "backbone.1", "backbone.2", "backbone.3", "backbone.4", "head"}),
        ("detach", {"head"}),
        ("argmax", {"head"}),
        ("through_numpy", {"head"}),
        ("underivable", {"head"}),
    ],
)
def test_a_layer_that_no_gradient_leaves_is_named(name: str, failing: set[str]) -> None:
    found = failures(name)
    assert set(found) == failing
    assert all(reason.startswith("no gradient comes back") for reason in found.values())


def test_a_checkpoint_that_stands_before_a_layer_is_named_with_what_to_do() -> None:
    found = failures("checkpointed")
    assert found.keys() == {*(f"backbone.{number}" for number in range(5)), "head"}
    assert all("use_reentrant=False" in reason for reason in found.values())


def test_a_layer_whose_first_axis_is_no_batch_is_named_and_the_others_are_not() -> None:
    found = failures("recogniser")
    assert set(found) <= {"rnn#1"}
    assert all("it has no axis of images" in reason for reason in found.values())


class Quartered(nn.Module):
    """Shows a part the four quarters of an image as images of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.part = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 6, 3)

    def forward(self, x: Tensor) -> Any:
        quarters = self.stem(x).unfold(2, 16, 16).unfold(3, 16, 16).permute(0, 2, 3, 1, 4, 5)
        return self.part(quarters.reshape(-1, 4, 16, 16)).mean((2, 3)).reshape(len(x), 4, 6).mean(1)


def test_a_module_that_is_no_layer_is_named_with_the_reason() -> None:
    model = load_model(Quartered(), preprocessing=SMALL)
    assert [layer.name for layer in model.layers] == ["stem"]
    for asked in (model.layer, lambda name: model.select([name])):
        with pytest.raises(ModelError, match=r"'part' is no layer: no axis of it is the images \(8 entries for 2\)"):
            asked("part")
        with pytest.raises(UnknownName, match="no layer 'parts'"):
            asked("parts")


def test_a_layer_that_is_not_reached_is_named() -> None:
    found = failures("moody", "few")
    assert set(found) == {"few"}
    assert "does not reach it" in found["few"]


def test_state_that_a_factory_makes_again_is_no_obstacle() -> None:
    assert failures("with_extra_state") == {}


def test_values_that_no_state_holds_are_found_where_they_first_matter() -> None:
    found = failures("with_a_buffer_of_chance")
    assert set(found) == {"after"}
    assert "gives other values there" in found["after"]


def test_a_network_of_chance_is_told_from_one_that_is_built_anew_wrongly() -> None:
    found = failures("noisy", "after")
    assert set(found) == {"after"}
    assert "each time for the same images" in found["after"]


def test_layers_that_no_file_can_be_called_after_are_left_out() -> None:
    model = load_model(f"{HERE}:named")
    lines: list[str] = []
    assert [layer.name for layer in able(model, model.layers, tell=lines.append)] == ["first"]
    assert any("every store is called zarr.json" in line for line in lines)
    assert any("half a character" in line for line in lines)


def test_values_that_are_others_in_a_wide_batch_are_named() -> None:
    found = failures("crowded")
    assert set(found) == {"second"}
    assert "depend on the other images in the batch" in found["second"]


def test_a_network_that_splits_a_wide_batch_is_named() -> None:
    model = load_model(f"{HERE}:split")
    with pytest.raises(ModelError, match=r"none of the layers.*8 images give 4 entries"):
        able(model, model.layers)


def test_a_network_that_cannot_be_built_anew_is_one_line() -> None:
    model = load_model(f"{HERE}:growing")
    with pytest.raises(ModelError, match=r"growing.*does not fit"):
        able(model, model.layers)


def test_what_is_named_is_an_error_and_what_is_among_others_is_left_out_with_a_line() -> None:
    model = load_model(f"{HERE}:detach")
    lines: list[str] = []
    with pytest.raises(ModelError, match=r"detach: layer 'head' cannot be built: no gradient"):
        able(model, model.layers, {"head"}, lines.append)
    assert not lines
    with pytest.raises(ModelError, match="none of the layers"):
        able(model, [model.layer("head")], tell=lines.append)
    fresh = load_model(f"{HERE}:detach")
    assert "head" not in {layer.name for layer in able(fresh, fresh.layers, tell=lines.append)}
    assert len(able(fresh, fresh.layers, tell=lines.append)) == 5
    assert len(lines) == 1
    assert lines[0].startswith("Left out: head: no gradient")


@pytest.mark.parametrize("name", ["plain", "half", "compiled", "casting", "graph"])
def test_what_can_be_built_passes(name: str) -> None:
    model = load_model(f"tests.foreign:{name}")
    assert trial(model, model.layers) == {}


class Roomy(nn.Module):
    """Has room for the first four images of a batch, or counts its images from nine on."""

    def __init__(self, feels: Callable[[int], bool]) -> None:
        super().__init__()
        self.conv, self.feels = nn.Conv2d(3, 8, 3), feels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.conv(x)
        late = torch.arange(len(x)) >= 4
        crowded = torch.where(late[:, None, None, None], found * 1.5, found) if self.feels(len(x)) else found
        return crowded.mean((2, 3))


def full() -> Made:
    return nn.Sequential(Roomy(lambda _: True), nn.Linear(8, 4)), SMALL


def many() -> Made:
    return nn.Sequential(Roomy(lambda images: images > 8), nn.Linear(8, 4)), SMALL


@pytest.mark.parametrize(("name", "batch"), [("full", 8), ("many", 16)])
def test_what_only_the_last_images_or_a_wider_batch_feel_is_found(name: str, batch: int) -> None:
    model = load_model(f"{HERE}:{name}")
    found = trial(model, model.layers, batch)
    assert found.keys() >= {"0", "1"}
    assert all("depend on the other images in the batch" in reason for reason in found.values())


def test_a_wider_batch_is_tried_though_a_narrower_was() -> None:
    model = load_model(f"{HERE}:many")
    assert len(able(model, model.layers)) == len(model.layers)
    assert [layer.name for layer in able(model, model.layers, batch=16)] == ["0.conv"]
