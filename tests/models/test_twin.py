"""A prepared network gives what the original does for images that neither was asked before, whatever catches what."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import spectral_norm, weight_norm

from atlas.dataset.watch import leaves_behind, on_device, watch
from atlas.errors import ModelError
from atlas.models import Model, ModelSource, Prepared, load_model, prepare
from atlas.models.twin import close
from atlas.units import Layer
from tests.foreign import SMALL, Made

pytestmark = pytest.mark.builder

HERE = "tests.models.test_twin"


def part(channels: int = 8) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())


def old_norm(norm: Callable[[nn.Module], nn.Module]) -> Made:
    body = nn.Sequential(norm(nn.Conv2d(3, 8, 3, padding=1)), nn.BatchNorm2d(8), nn.ReLU(), norm(nn.Conv2d(8, 8, 3)))
    return body, SMALL


weight_normed = partial(old_norm, weight_norm)
spectral_normed = partial(old_norm, spectral_norm)


class Remembering(nn.Module):
    """Keeps a value that has a history, which forbids a copy."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = part(3), part()
        self.last = next(self.stem.parameters()) * 2

    def forward(self, x: Tensor) -> Any:
        return self.head(self.stem(x))


def remembering() -> Made:
    return Remembering(), SMALL


caught_of_all: dict[str, Tensor] = {}


class Catching(nn.Module):
    """A decoder fed by hooks on the encoder, which put what they catch into `caught`, as depth estimators do."""

    def __init__(self, caught: dict[str, Tensor]) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Sequential(part(3), part()), part()
        self.caught = caught

        def catch(_: nn.Module, __: Any, output: Tensor) -> None:
            caught["first"] = output

        self.encoder[0].register_forward_hook(catch)

    def forward(self, x: Tensor) -> Any:
        return self.encoder(x) + self.decoder(self.caught["first"])


def caught_by_closure() -> Made:
    """The copy's hook puts what it catches into the original's dictionary, and the copy looks into its own."""
    network = Catching({})
    network(torch.rand(2, 3, 32, 32))
    network.caught["first"] = network.caught["first"].detach()
    return network.eval(), SMALL


class Holding(nn.Module):
    """Its hooks append to a list of its own, which is emptied where a pass ends."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Sequential(part(3), part()), part()
        self.held: list[Tensor] = []
        for stage in self.encoder:
            stage.register_forward_hook(self._hold)

    def _hold(self, _: nn.Module, __: Any, output: Tensor) -> None:
        self.held.append(output)

    def forward(self, x: Tensor) -> Any:
        self.encoder(x)
        found = self.decoder(self.held[0]) + self.held[1]
        self.held.clear()
        return found


def holding() -> Made:
    return Holding(), SMALL


class Borrowed(nn.Module):
    """Its forward pass was put in place by a wrapper that holds the module itself, weakly, and not its copy."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = part(3), part()
        own = weakref.ref(self)
        self.forward = lambda x: own().head(own().stem(x))  # type: ignore[union-attr]


def borrowed() -> Made:
    return Borrowed(), SMALL


class OneOfAKind(nn.Module):
    """Neither bears a copy nor is twice the same: weights of chance that no state dict holds."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = part(3)
        self.gain = torch.rand(1, generator=None).item() + 1

    def __deepcopy__(self, _: Any) -> Any:
        raise TypeError("there is one of me")

    def forward(self, x: Tensor) -> Any:
        return self.stem(x) * self.gain


@pytest.mark.parametrize(
    "name", ["weight_normed", "spectral_normed", "remembering", "caught_by_closure", "holding", "borrowed"]
)
def test_every_layer_equals_the_original_for_images_of_its_own(name: str) -> None:
    model = load_model(f"{HERE}:{name}")
    for layer in model.layers:
        # A worker's model is fresh: no dry run went through it.
        prepared = prepare(model.source.build(model.state), layer)
        for seed in (5, 6):
            x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
            with torch.no_grad():
                value = prepared.activations(x).value
                model.network(model.preprocessing.normalise(x))  # as a user's own pass in between
                assert close(value, original(model, layer, x)), (name, layer.name)


@torch.no_grad()
def original(model: Model, layer: Layer, x: Tensor) -> Tensor:
    """The layer's value in an uninterrupted pass of the network as it is."""
    found: list[Tensor] = []
    module = model.network.get_submodule(layer.name)
    with module.register_forward_hook(lambda _, __, output: found.append(output.clone())):
        model.network(model.preprocessing.normalise(x))
    return found[0]


def test_a_pass_that_leaves_something_behind_is_run_to_its_end() -> None:
    model = load_model(f"{HERE}:holding")
    prepared = {layer.name: prepare(model, layer) for layer in model.layers}
    assert not prepared["encoder.0.0"].whole
    assert prepared["decoder.0"].whole
    gradient(prepared["decoder.0"])


def gradient(prepared: Prepared) -> None:
    x = torch.rand(2, 3, 32, 32, requires_grad=True)
    (found,) = torch.autograd.grad(prepared.activations(x).value.sum(), x)
    assert found.abs().sum() > 0


def test_what_can_only_be_itself_is_asked_itself() -> None:
    model = Model(OneOfAKind(), ModelSource("no.such:network", SMALL))
    prepared = prepare(model, "stem.2")
    assert prepared.network is model.network
    gradient(prepared)
    with pytest.raises(ModelError, match=r"no\.such:network.*`device=cpu`"):
        prepare(model, "stem.2", device="meta")


def test_a_fold_that_holds_for_its_own_images_alone_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(network: nn.Module, _: Any) -> None:
        # As good as right for the images it was traced on, which are two.
        network.get_submodule("0").register_forward_hook(lambda _, __, output: output * (1 if len(output) == 2 else 2))

    monkeypatch.setattr(sys.modules["atlas.models.prepare"], "fold", wrong)
    model = Model(part(3), ModelSource("no.such:network", SMALL))
    x = torch.rand(3, 3, 32, 32)
    assert close(prepare(model, "2").activations(x).value, original(model, model.layer("2"), x))


def watched(model: Model, layer: Layer, x: Tensor) -> Tensor:
    found: list[Tensor] = []
    with watch(
        model,
        [layer],
        lambda _, value, __: found.append(value.clone()),
        before=False,
        whole=leaves_behind(model),
    ) as forward:
        forward(model.preprocessing.normalise(x))
    return found[0]


@pytest.mark.parametrize("name", ["weight_normed", "remembering", "caught_by_closure", "holding", "borrowed"])
def test_what_images_are_shown_to_answers_as_the_original(name: str) -> None:
    model = load_model(f"{HERE}:{name}")
    shown = on_device(model, "cpu")
    for layer in model.layers[-2:]:
        for seed in (5, 6):
            x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
            with torch.no_grad():
                assert close(watched(shown, layer, x), original(model, layer, x)), layer.name


def used(network: nn.Module, images: int) -> nn.Module:
    """As its owner used it before: hooks have caught something, and weights that are norms times directions history."""
    network.train()(torch.rand(images, 3, 32, 32))
    return network


@pytest.mark.parametrize("images", [0, 1, 2])
def test_a_network_in_memory_whose_hooks_hold_the_original_is_refused(images: int) -> None:
    caught: dict[str, Tensor] = {}
    network = nn.Sequential(Catching(caught).eval(), nn.Conv2d(8, 4, 3))
    if images:
        with torch.no_grad():
            network(torch.rand(images, 3, 32, 32))
    before = dict(caught)
    with pytest.raises(ModelError, match=r"memory:Sequential: a copy of it .* package\.module:factory"):
        load_model(network, preprocessing=SMALL)
    assert caught.keys() == before.keys()
    assert all(caught[name] is before[name] for name in before), "the owner's network is as it was"


def test_a_network_in_memory_whose_copy_runs_the_originals_modules_is_refused() -> None:
    with pytest.raises(ModelError, match=r"a copy of it does not run its 'head': .* package\.module:factory"):
        load_model(used(Borrowed(), 2), preprocessing=SMALL)


@pytest.mark.parametrize("make", [weight_normed, spectral_normed, remembering, holding])
def test_a_network_in_memory_that_was_trained_a_step_is_looked_into(make: Callable[[], Made]) -> None:
    network = used(make()[0], 2)
    model = load_model(network, preprocessing=SMALL)
    assert network.training
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    value = prepare(model, model.layers[-1]).activations(x).value
    with torch.no_grad():
        assert close(value, original(model, model.layers[-1], x))


def test_images_are_shown_to_a_network_itself_where_there_is_no_other() -> None:
    model = Model(OneOfAKind(), ModelSource("no.such:network", SMALL))
    assert on_device(model, "cpu") is model
    with pytest.raises(ModelError, match="`device=cpu`"):
        on_device(model, "meta")
