"""A layer that cannot be had of a pass over images fails alone: the others of the pass are as if it had not been."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from atlas.dataset import classes
from atlas.dataset.watch import Failures, watch
from atlas.engine.numerics import numerics_for
from atlas.engine.planning import atlases
from atlas.engine.planning import images as collecting
from atlas.engine.planning.images import ListedImages
from atlas.models import Model, Preprocessing, load_model
from atlas.models.probe import dry_input
from atlas.recipe import ProjectionRecipe, Recipe
from atlas.store import MemoryBackend
from atlas.units import Layer
from tests.builds import HASTY_CELLS, build_in, contents
from tests.dataset.made import encoded, pixels

pytestmark = pytest.mark.builder


class Reader(nn.Module):
    """Columns of an image read by a recurrent network, whose second output has the directions before the images."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU())
        self.read = nn.GRU(8, 12, bidirectional=True, batch_first=True)
        self.head = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        found, _ = self.read(self.seen(x).mean(2).transpose(1, 2))
        logits: Tensor = self.head(found.mean(1))
        return logits


def reader() -> tuple[nn.Module, Preprocessing]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Reader(), Preprocessing(size=(16, 16), resize=16, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(f"{__name__}:reader")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ListedImages:
    folder = tmp_path_factory.mktemp("images")
    for number in range(20):
        (folder / f"{number:02d}.png").write_bytes(encoded(pixels(number, (20, 20))))
    return ListedImages.open([str(folder)])


def bad(model: Model) -> dict[str, Layer]:
    """Layers that a dry run could take for some, and what is wrong with each."""
    seen = model.layer("seen.1")
    states = Layer("read#1", "tokens", 12, (), 1.0, seen.flops)
    return {
        "[2, 8, 12] for 8 images": states,
        "never came to layer 'seen.1@2'": replace(seen, name="seen.1@2"),
        "no [8,9,...]": replace(seen, name="seen.0", channels=9),
    }


def collected(model: Model, images: ListedImages, layers: list[Layer]) -> tuple[dict[str, bytes], list[str]]:
    """What a build with `layers` leaves behind, and what failed of it."""
    backend = MemoryBackend()
    collection = images.collection(model, crops=2)
    plans = collecting.plans(model.identity, layers, collection, replace(numerics_for("cpu"), batch=8), {})
    _, report = build_in(backend, model, plans, images=images)
    return contents(backend), report.failed


def test_a_bad_layer_fails_alone_and_says_why(model: Model, images: ListedImages) -> None:
    good = [model.layer(name) for name in ("seen.1", "head")]
    wrong = bad(model)
    plain, nothing = collected(model, images, good)
    beside, failed = collected(model, images, [good[0], *wrong.values(), good[1]])
    assert not nothing
    assert len(failed) == len(wrong)
    for reason, layer in wrong.items():
        (line,) = [line for line in failed if f"statistics {layer.name} images" in line]
        assert reason in line
    own = ("layers/seen.1/", "layers/head/", "images/", "manifests/statistics/seen.1", "manifests/images")
    for key in (key for key in plain if key.startswith(own) and "excite" not in key and "neighbour" not in key):
        assert beside[key] == plain[key], key


def test_a_bad_layer_of_an_atlas_fails_alone(model: Model, images: ListedImages) -> None:
    collection = images.collection(model, crops=2)
    numerics = numerics_for("cpu")
    wrong = bad(model)
    shown = collecting.plans(model.identity, [], collection, numerics, {})
    recipe: Recipe = replace(HASTY_CELLS, size=16)

    def left(layers: list[Layer]) -> tuple[dict[str, bytes], list[str]]:
        backend = MemoryBackend()
        sampling = atlases.sampled(collection, 1)
        laid = atlases.plans(
            *(model.identity, layers, sampling, recipe, numerics),
            width=8,
            grids=(5,),
            layout=lambda _: ProjectionRecipe(n_neighbors=5),
        )
        _, report = build_in(backend, model, [*shown, *laid], images=images)
        return contents(backend), report.failed

    plain, nothing = left([model.layer("seen.1")])
    beside, failed = left([*wrong.values(), model.layer("seen.1")])
    assert not nothing
    assert len(failed) == len(wrong)
    for reason, layer in wrong.items():
        assert any(f"activations {layer.name} images" in line and reason in line for line in failed)
    for key in (key for key in plain if key.startswith("layers/seen.1/")):
        assert beside[key] == plain[key], key


def test_a_layer_without_a_gradient_of_its_own_leaves_the_others_theirs(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where attributing all layers together fails, each is tried alone."""
    layers = [model.layer("seen.1"), model.layer("head")]
    network_input = model.preprocessing.normalise(dry_input(model.preprocessing))
    together = classes.attribute(model, layers, network_input)
    inner = classes._attribution

    def attribution(layer: Layer, *rest: object) -> Tensor:
        if layer.name == "head":
            raise RuntimeError("no derivative of this one")
        return inner(layer, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(classes, "_attribution", attribution)
    failures = Failures()
    alone = classes.attribute(model, layers, network_input, failures)
    assert list(alone) == ["seen.1"]
    assert torch.equal(alone["seen.1"], together["seen.1"])
    assert {name: failure.reason for name, failure in failures.items()} == {
        "head": "RuntimeError: no derivative of this one"
    }


def test_memory_is_no_layers_own_fault(model: Model) -> None:
    """It is raised, so that half the width is tried."""

    def take(layer: Layer, value: Tensor, before: Tensor | None) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    failures = Failures()
    network_input = model.preprocessing.normalise(dry_input(model.preprocessing))
    with (
        watch(model, [model.layer("seen.1")], take, failures=failures) as forward,
        pytest.raises(torch.OutOfMemoryError),
    ):
        forward(network_input)
    assert not failures


def test_a_network_that_fails_fails_every_layer(model: Model, images: ListedImages, tmp_path: Path) -> None:
    """What is everybody's is told of everybody, once a layer."""
    layers = [model.layer("seen.1"), model.layer("head")]
    odd = [replace(layer, channels=layer.channels + 1) for layer in layers]
    _, failed = collected(model, images, odd)
    assert len(failed) == 2
