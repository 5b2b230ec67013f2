"""A network ready to look into.

ModelSource, {key: Tensor} -> Model
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from atlas.errors import DryRunError, ModelError, UnknownName
from atlas.factories import guarded
from atlas.models.answers import Answer, logits_of, settle
from atlas.models.checkpoints import load_weights
from atlas.models.families import find
from atlas.models.foreign import channels_wanted, plain, settled
from atlas.models.found import MEMORY, listing
from atlas.models.kept import as_it_was
from atlas.models.outputs import nested
from atlas.models.preprocessing import Preprocessing
from atlas.models.probe import Discovery, beside, by_reason, discover, dry_input
from atlas.models.select import chosen
from atlas.models.steady import unsteady
from atlas.plans import Identity
from atlas.units import Layer

log = logging.getLogger(__name__)

OUTPUTS = 256
"""Numbers kept of what such a network answers."""


@dataclass(frozen=True)
class ModelSource:
    """What a worker needs, besides the weights, to build the model again: no file, no hub, no pickled module."""

    spec: str
    preprocessing: Preprocessing
    labels: tuple[str, ...] | None = None
    random: bool = False
    title: str = ""
    logits: str | None = None
    """Which output is the logits, or the layer that gives them, where the user said."""
    layouts: tuple[tuple[str, str], ...] = ()
    """What the user says of the axes of layers, by name or glob; see `Layer.layout`."""

    def build(self, state: dict[str, Tensor], network: nn.Module | None = None) -> Model:
        """The model with the weights `state`; `network` is one that is in memory alone, which no spec makes."""
        network = find(self.spec, trained=False).network if network is None else network
        with guarded(f"the state of {self.spec} does not fit the network", ModelError):
            # What is no tensor does not travel: the network keeps its own, and the trial says where that is not enough.
            own = {key: value for key, value in network.state_dict().items() if not isinstance(value, Tensor)}
            load_weights(network, own | state, f"the state of {self.spec}")
        return Model(network, self)


class Model:
    """A network in evaluation mode and frozen, with its preprocessing, labels and layers."""

    def __init__(self, network: nn.Module, source: ModelSource) -> None:
        self.source = source
        self.network = plain(network, source.spec)
        how = source.preprocessing
        self.notes = settled(self.network, source.spec, lambda: how.normalise(dry_input(how)))
        """What of the network is not as its author left it: a sentence each."""

    def __repr__(self) -> str:
        return f"Model({self.spec!r})"

    @property
    def spec(self) -> str:
        """How the user named it: `torchvision:resnet50`."""
        return self.source.spec

    @property
    def title(self) -> str:
        """Its name for people."""
        return self.source.title or self.spec

    @property
    def random(self) -> bool:
        """Its weights are untrained."""
        return self.source.random

    @property
    def preprocessing(self) -> Preprocessing:
        return self.source.preprocessing

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Names of the classes, or None where nobody said."""
        return self.source.labels

    @property
    def state(self) -> dict[str, Tensor]:
        """The weights, as `ModelSource.build` takes them."""
        with guarded(f"{self.spec}: the network's weights cannot be read", ModelError):
            return {key: value for key, value in self.network.state_dict().items() if isinstance(value, Tensor)}

    @cached_property
    def weights_hash(self) -> str:
        """sha256 of the state dict in the order of its keys: name, dtype, shape, bytes of each."""
        digest, state = hashlib.sha256(), self.state
        with guarded(f"{self.spec}: the network's weights cannot be hashed", ModelError):
            for key, value in sorted(state.items()):
                digest.update(f"{key} {str(value.dtype).removeprefix('torch.')} {list(value.shape)}\n".encode())
                digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    @property
    def in_memory(self) -> bool:
        """Whether the network was given itself, so that no spec makes it."""
        return self.spec.startswith(MEMORY)

    @property
    def own(self) -> nn.Module | None:
        """A copy of the network where no spec makes it; else None."""
        return deepcopy(self.network) if self.in_memory else None

    @cached_property
    def outputs(self) -> list[float]:
        """What it answers to an image that is always the same, `OUTPUTS` numbers at most out of all there are.

        Two networks with the same weights can compute different things; this tells them apart.
        """
        x = self.preprocessing.normalise(dry_input(self.preprocessing, 1))
        failed = guarded(f"{self.spec}: the network fails on an image", ModelError)
        with failed, as_it_was(self.network), torch.no_grad():
            found = [value.detach().float().flatten() for _, value in nested(self.network(x))]
        every = torch.cat(found) if found else torch.zeros(0)
        return [round(value, 6) for value in every[:: max(1, -(-len(every) // OUTPUTS))].tolist()]

    @property
    def identity(self) -> Identity:
        return Identity(self.spec, self.weights_hash, self.preprocessing.to_dict())

    @cached_property
    def layers(self) -> list[Layer]:
        """Every activation whose axes are known, in order of execution. Raises `DryRunError` as `discovery`."""
        return self.discovery.layers

    @cached_property
    def discovery(self) -> Discovery:
        """What dry runs found: layers, and what was left out with the reason of each.

        Raises `DryRunError` where the network fails on noise, `ModelError` for a layout that does not fit its layer.
        """
        try:
            with guarded(f"{self.spec}: the dry run failed", DryRunError):
                found = discover(self.network, self.preprocessing, self.spec, dict(self.source.layouts))
        except DryRunError as error:
            x = self.preprocessing.normalise(dry_input(self.preprocessing))
            if count := channels_wanted(self.network, x):
                raise DryRunError(f"{self.spec}: {_behind(count)}") from error
            raise
        for warning in found.warnings:
            log.warning("%s", warning)
        return found

    @cached_property
    def answer(self) -> Answer:
        """Which of its outputs is the logits, by dry runs: none where they are no function of one image.

        Raises as `settle`.
        """
        weight = next(self.network.parameters(), torch.zeros(()))
        dtype = weight.dtype if weight.is_floating_point() else torch.float32
        images = dry_input(self.preprocessing)
        one, other = (self.preprocessing.normalise(x.to(weight.device)).to(dtype) for x in (images, beside(images)))
        with as_it_was(self.network), torch.no_grad():
            found = settle(self.network, one, self.source.logits, None if self.labels is None else len(self.labels))
            why = unsteady(lambda x: logits_of(self.network, x, found), one, other) if found.classes else ""
        return Answer(note=f"nothing is said of its classes: of its logits, {why}") if why else found

    @cached_property
    def classes(self) -> int:
        """How many logits it answers with; 0 where it is no classifier, or where it is open: a warning says so."""
        if self.answer.note:
            log.warning("%s: %s", self.spec, self.answer.note)
        return self.answer.classes

    def layer(self, name: str) -> Layer:
        """The layer called `name`.

        Raises `UnknownName` with the nearest names, `ModelError` where something of it could not be established.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        self._refuse_doubtful(name)
        self._refuse_left_out(name)
        names = [layer.name for layer in self.layers]
        raise UnknownName.among("layer", name, names, hint=listing(self.spec))

    def select(self, patterns: Iterable[str]) -> list[Layer]:
        """The layers that any of `patterns` names, in order of execution.

        A pattern is a name, a glob, `auto` (outputs of blocks) or `all`. What could not be established is left out with
        a logged warning. Raises `UnknownName` for a pattern that finds none, `ModelError` for one that finds doubtful
        layers alone.
        """
        known, doubtful = [layer.name for layer in self.layers], self.discovery.doubtful
        found: set[str] = set()
        for pattern in patterns:
            self._refuse_left_out(pattern)
            names = chosen(self.network, [*known, *doubtful], pattern, self.spec)
            if not names - doubtful.keys():
                self._refuse_doubtful(min(names))
            found |= names
        self._tell("left out", doubtful, found)
        self._tell("without places", self.discovery.unplaced, found)
        return [layer for layer in self.layers if layer.name in found]

    @property
    def automatic(self) -> set[str]:
        """Names of the layers that `auto` picks, of those that can be built."""
        doubtful = self.discovery.doubtful
        names = [*(layer.name for layer in self.layers), *doubtful]
        return chosen(self.network, names, "auto", self.spec) - doubtful.keys()

    def _refuse_doubtful(self, name: str) -> None:
        if name in self.discovery.doubtful:
            raise ModelError(f"{self.spec}: layer {name!r} is not built: {self.discovery.doubtful[name]}.")

    def _refuse_left_out(self, name: str) -> None:
        if (reason := self.discovery.left_out.get(name)) and name not in {layer.name for layer in self.layers}:
            raise ModelError(f"{self.spec}: {name!r} is no layer: {reason}.")

    def _tell(self, what: str, reasons: Mapping[str, str], meant: set[str]) -> None:
        """Say once which of the layers that were meant are not as they might be, and why."""
        for reason, names in by_reason({name: reasons[name] for name in sorted(meant & reasons.keys())}):
            log.warning("%s: %s %s: %s.", self.spec, names, what, reason)

    def logits(self, x: Tensor, preprocessing: Preprocessing | None = None) -> Tensor | None:
        """What the whole network answers to `x` [n,3,h,w] in [0,1]: [n,k], or None where `classes` is 0."""
        return logits_of(self.network, (preprocessing or self.preprocessing).normalise(x), self.answer)


def _behind(channels: int) -> str:
    """What to do with a network for images of another number of channels than three."""
    made = "torchvision.transforms.Grayscale()" if channels == 1 else f"nn.Conv2d(3, {channels}, 1)"
    return (
        f"the network takes images of {channels} channel{'' if channels == 1 else 's'}, and is shown those of 3. "
        f"Return it from the factory behind a module that makes {channels} of 3: nn.Sequential({made}, network)."
    )
