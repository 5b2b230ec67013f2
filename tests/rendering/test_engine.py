"""The step: what a picture's gradient depends on, what the step asks of its device, how far it goes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from atlas.models import Prepared, load_model, prepare
from atlas.recipe import Numerics, Recipe
from atlas.rendering import Key, Objective, channel, direction, diversity, maco, magnitude, neuron
from atlas.rendering.compute import computing
from atlas.rendering.cuda_graph import Replayed
from atlas.rendering.engine import Ascent
from atlas.rendering.parameterization import fourier
from atlas.rendering.schedule import Adam, rates, schedule
from atlas.rendering.transforms import draw

pytestmark = pytest.mark.builder

LAYERS = {"squeezenet": "features.11", "efficientnet-lite0": "_blocks.8"}
AWAKE = [3, 4, 5, 6]
"""Units of both that fire at the start, so that their gradients are no zeros."""
RECIPE = Recipe.named("quick", size=64)
WIDTHS = range(1, 17)
REFERENCE = 4
"""The width that others are held against."""


@pytest.fixture(scope="module", params=LAYERS)
def prepared(request: pytest.FixtureRequest) -> Prepared:
    return prepare(load_model(request.param), LAYERS[request.param])


def begun(prepared: Prepared, units: list[int], objective: Callable[..., Objective] = channel) -> Ascent:
    """The ascent of `units` before its first step."""
    name = prepared.layer.name
    keys = [Key(0, name, unit, "positive") for unit in units]
    ascent = Ascent(prepared, objective(name, units), fourier(keys, RECIPE), RECIPE, Numerics())
    ascent.turn(draw(keys, RECIPE, 1, "training")[0], schedule(RECIPE)[0])
    return ascent


def gradients(prepared: Prepared, width: int) -> Tensor:
    """The first gradients of four units, each at another place of a batch of `width`, beside other units."""
    found = []
    for unit in AWAKE:
        place = (unit * 5) % width
        units = [20 + nth for nth in range(width)]
        units[place] = unit
        with computing(Numerics()):
            found.append(begun(prepared, units).gradient()[0][place])
    return torch.stack(found)


@pytest.mark.parametrize("redirect", [False, True])
def test_first_gradients_agree_at_every_width(prepared: Prepared, redirect: bool) -> None:
    """To 1e-4 of the largest: kernels differ from width to width, and nothing else does."""
    prepared.redirect = redirect
    try:
        wanted = gradients(prepared, REFERENCE)
        largest = wanted.abs().amax((1, 2, 3, 4), keepdim=True)
        assert (largest > 0).all()
        for width in WIDTHS:
            difference = (gradients(prepared, width) - wanted).abs() / largest
            assert difference.max() < 1e-4, width
    finally:
        prepared.redirect = False


def _diverse(layer: str, units: list[int]) -> Objective:
    value = channel(layer, units)
    return value - magnitude(value) * diversity(layer, len(units))


def _directed(layer: str, units: list[int]) -> Objective:
    return direction(layer, torch.eye(256)[units] + 0.1, power=2)


OBJECTIVES: dict[str, Callable[[str, list[int]], Objective]] = {
    "channel": channel,
    "neuron": neuron,
    "negative": lambda layer, units: -channel(layer, units, before=True),
    "direction": _directed,
    "diverse": _diverse,
}
METHODS = {"item", "cpu", "numpy", "tolist", "__bool__", "__float__", "__int__", "__index__", "nonzero", "unique"}
KERNELS = {"_local_scalar_dense", "nonzero", "_unique2", "masked_select"}
"""What makes the host wait until its device has computed: methods of tensors, and what they come down to."""


class _Kernels(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Which of them run, torch's own functions and backward passes included."""

    def __init__(self, heard: list[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.heard = heard

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in KERNELS:
            self.heard.append(name)
        return func(*args, **(kwargs or {}))


@contextmanager
def listening() -> Iterator[list[str]]:
    """What is asked of any tensor inside."""
    heard: list[str] = []

    def heeded(name: str) -> Callable[..., Any]:
        method = getattr(Tensor, name)

        def ask(*args: Any, **kwargs: Any) -> Any:
            heard.append(name)
            return method(*args, **kwargs)

        return ask

    with pytest.MonkeyPatch.context() as patch, _Kernels(heard):
        for name in METHODS:
            patch.setattr(Tensor, name, heeded(name))
        yield heard


@pytest.mark.parametrize("redirect", [False, True])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_step_asks_its_device_nothing(name: str, redirect: bool) -> None:
    """No `.item()` and no `.cpu()`, by whatever name."""
    prepared = prepare(load_model("squeezenet@random"), "features.6")
    ascent = begun(prepared, [0, 1, 2], OBJECTIVES[name])
    prepared.redirect = redirect
    ascent.step()
    with listening() as heard:
        ascent.turn(torch.eye(2, 3).expand(3, 2, 3), schedule(RECIPE)[1])
        ascent.step()
    assert heard == []


@pytest.mark.parametrize("ask", [lambda x: x.sum().item(), lambda x: x.cpu(), lambda x: bool((x > 0).all())])
def test_a_question_would_be_heard(ask: Callable[[Tensor], Any]) -> None:
    """Also where a backward pass asks it."""

    class Asking(torch.autograd.Function):
        @staticmethod
        def forward(_: Any, x: Tensor) -> Tensor:
            return x * 1

        @staticmethod
        def backward(_: Any, *gradients: Tensor) -> Tensor:
            ask(gradients[0])
            return gradients[0]

    x = torch.ones(2, requires_grad=True)
    with listening() as heard:
        torch.autograd.grad(Asking.apply(x).sum(), x)
    assert heard


def test_every_call_is_a_step_where_nothing_is_recorded() -> None:
    taken: list[int] = []
    step = Replayed(lambda: taken.append(len(taken)), "cpu")
    for _ in range(6):
        step()
    assert taken == [0, 1, 2, 3, 4, 5]


def test_a_step_is_adams() -> None:
    """Torch's own, for a gradient that does not lie in memory as the leaf does."""
    recipe = Recipe(steps=6, learning_rate=0.3, beta1=0.4, beta2=0.9, lr_warmup_steps=0, lr_decay_fraction=0.0)
    chance = torch.Generator().manual_seed(0)
    leaf = torch.randn(2, 3, 5, generator=chance)
    wanted = leaf.clone().requires_grad_()
    adam, climber = torch.optim.Adam([wanted], 0.3, (0.4, 0.9), eps=1e-20), Adam(leaf, recipe)
    for pace in schedule(recipe):
        gradient = torch.randn(5, 3, 2, generator=chance).permute(2, 1, 0)
        wanted.grad = gradient
        adam.step()
        climber.step(gradient, pace)
    assert torch.allclose(leaf, wanted.detach(), atol=1e-6)


def test_what_has_no_gradient_stays() -> None:
    leaf = torch.ones(2, 3)
    climber = Adam(leaf, RECIPE)
    for pace in schedule(RECIPE):
        climber.step(torch.zeros(2, 3), pace)
    assert torch.equal(leaf, torch.ones(2, 3))


@given(st.integers(1, 300), st.integers(0, 40), st.floats(0, 1))
def test_rates_rise_and_fall(steps: int, rise: int, fall: float) -> None:
    found = rates(Recipe(steps=steps, learning_rate=0.5, lr_warmup_steps=rise, lr_decay_fraction=fall))
    assert found.shape == (steps,)
    assert (found > 0).all()
    assert found.max() <= 0.5
    up, down = min(rise, steps // 4), int(fall * steps)
    assert (found[: min(up, steps - down)].diff() > 0).all()
    assert (found[max(up, steps - down) :].diff() < 0).all()
    assert (found[up : steps - down] == 0.5).all()


def test_maco_steps_too() -> None:
    """Phases have no such gradient as spectra: their leaf has another shape, and the step takes it as it is."""
    prepared = prepare(load_model("squeezenet@random"), "features.4")
    recipe = Recipe.named("maco", size=64)
    keys = [Key(0, "features.4", unit, "positive") for unit in (3, 5)]
    ascent = Ascent(prepared, channel("features.4", [3, 5]), maco()(keys, recipe), recipe, Numerics())
    ascent.turn(draw(keys, recipe, 1, "training")[0], schedule(recipe)[0])
    before = ascent.pictures
    ascent.step()
    assert ascent.moved.all()
    assert not torch.equal(ascent.pictures, before)


def test_memory_does_not_grow_with_the_steps() -> None:
    """A step that kept anything of a picture's size would keep 200 KB each time."""
    program = """
import resource
from atlas.models import prepare
from atlas.recipe import Numerics, Recipe
from atlas.rendering import render_units
from tests.networks import tiny
from tests.rendering.conftest import model_of
prepared = prepare(model_of(tiny()[0]), "second.1")
for steps in (32, 320):
    recipe = Recipe.named("quick", size=64, steps=steps, variants=("positive", "negative"))
    render_units(prepared, [0, 1, 2, 3], recipe, Numerics())
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    few, many = map(int, done.stdout.split())
    assert many - few < 10 * 1024  # kilobytes
