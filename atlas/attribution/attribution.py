"""What the vector at one position of a layer says for each class.

    (model, layer, network input [n,3,h,w], images [m], positions [m]) -> Attributed: vectors [m,c], attribution [m,k]

The attribution of the vector h at a position to a class is h . d logit / d h: how much of the logit it accounts for,
were everything after it linear. For all classes at once this is the derivative of the logits along one direction: the
layer's value moves by h at that position and stays as it is elsewhere. Forward-mode differentiation gives it in one
pass, whatever the number of classes.

After "Activation Atlas", Carter et al., Distill 2019, and "The Building Blocks of Interpretability", Olah et al.,
Distill 2018.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from atlas.attribution.adding import adding
from atlas.attribution.pooling import RelaxedPooling
from atlas.errors import ModelError
from atlas.models import Model
from atlas.models.answers import Answer, logits_of, settle
from atlas.models.prepare import arranged
from atlas.models.probe import module_by_module
from atlas.units import Layer


@dataclass(frozen=True, eq=False)
class Attributed:
    """Some positions of a layer, and what they say."""

    vectors: Tensor
    """[m,c]: the layer's value at each position."""
    attribution: Tensor
    """[m,k]: of each vector to each class; k is 0 where the network answers with no logits."""


def attribute(
    model: Model,
    layer: Layer,
    network_input: Tensor,
    images: Tensor,
    positions: Tensor,
    *,
    width: int = 16,
    relaxed: bool = False,
) -> Attributed:
    """The vectors at some positions, and their attribution to all classes.

    network_input [n,3,h,w], normalised; images [m] in 0..n-1 and positions [m] say which vectors are meant. Positions
    count row by row over a map, over the patches of tokens; a layer without positions has one, 0. `width` of them are
    computed side by side, a last batch padded to it, so that nothing depends on how many are asked for. With `relaxed`,
    gradients pass a max pool as those of an average weighted by size; see `RelaxedPooling`.

    Raises `ModelError` where neither forward mode nor double backward knows an operator of the network, and
    `IndexError` for a position that the layer does not have.
    """
    if len(images) == 0:
        images = positions = torch.zeros(1, dtype=torch.int64)
        nothing = attribute(model, layer, network_input[:1], images, positions, width=width)
        return Attributed(nothing.vectors[:0], nothing.attribution[:0])
    parts = [
        _batch(
            model, layer, network_input, images[start : start + width], positions[start : start + width], width, relaxed
        )
        for start in range(0, len(images), width)
    ]
    vectors, attribution = (torch.cat(column) for column in zip(*parts, strict=True))
    return Attributed(vectors, attribution)


def _batch(
    model: Model, layer: Layer, network_input: Tensor, images: Tensor, positions: Tensor, width: int, relaxed: bool
) -> tuple[Tensor, Tensor]:
    row = torch.arange(width).clamp(max=len(images) - 1)
    x = network_input[images[row].to(network_input.device)]
    spots = positions[row].to(network_input.device)
    answer = model.answer
    with RelaxedPooling() if relaxed else nullcontext():
        vectors, attribution = _derivative(model.network, layer, x, spots, answer)
    return vectors[: len(images)], attribution[: len(images)]


def _derivative(
    network: nn.Module, layer: Layer, x: Tensor, positions: Tensor, answer: Answer
) -> tuple[Tensor, Tensor]:
    """By forward mode where it is there, and by double backward where an operator lacks it."""
    backward = _backward.setdefault(network, set())
    if layer.name not in backward:
        try:
            return forward_mode(network, layer, x, positions, answer)
        except NotImplementedError:
            backward.add(layer.name)
    try:
        return double_backward(network, layer, x, positions, answer)
    except (NotImplementedError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise ModelError(
            f"Layer {layer.name!r} cannot be attributed: an operator after it has neither a forward-mode derivative "
            f"nor a second backward one ({' '.join(str(error).split())[:160]}). Choose a later layer."
        ) from error


_backward: WeakKeyDictionary[nn.Module, set[str]] = WeakKeyDictionary()
"""Names of the layers after which a network has an operator without a forward mode."""


def forward_mode(
    network: nn.Module, layer: Layer, x: Tensor, positions: Tensor, answer: Answer | None = None
) -> tuple[Tensor, Tensor]:
    """Vectors [m,c] and derivatives [m,k], by dual numbers that start at the layer."""
    moves, answer = _Moves(layer, positions), answer or settle(network, x)

    def along(value: Tensor) -> Tensor:
        dual: Tensor = forward_ad.make_dual(  # type: ignore[no-untyped-call]
            torch.zeros_like(value), moves.of(value)
        )
        return dual

    with torch.no_grad(), forward_ad.dual_level(), warnings.catch_warnings():
        # Forward mode loads rules that torch itself still scripts: nothing a user could change.
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.script` is deprecated", category=FutureWarning)
        with adding(network, layer.name, along), plain_kernels():
            logits = _logits(network, x, answer)
        primal, tangent = forward_ad.unpack_dual(logits)  # type: ignore[no-untyped-call]
        return moves.vectors, torch.zeros_like(primal) if tangent is None else tangent.clone()


def double_backward(
    network: nn.Module, layer: Layer, x: Tensor, positions: Tensor, answer: Answer | None = None
) -> tuple[Tensor, Tensor]:
    """As `forward_mode`: the backward pass is linear in what it starts from, and its derivative by that is the wanted.

    (J. Townsend, "A new trick for calculating Jacobian vector products", 2017.)
    """
    moves, answer = _Moves(layer, positions), answer or settle(network, x)
    leaves: list[Tensor] = []

    def leaf(value: Tensor) -> Tensor:
        moves.of(value.detach())
        leaves.append(torch.zeros_like(value, requires_grad=True))
        return leaves[0]

    with torch.enable_grad():
        with adding(network, layer.name, leaf), plain_kernels():
            logits = _logits(network, x, answer)
        if not logits.requires_grad:
            return moves.vectors, torch.zeros_like(logits)
        weights = torch.zeros_like(logits, requires_grad=True)
        (gradient,) = torch.autograd.grad(
            logits, leaves, weights, create_graph=True, allow_unused=True, materialize_grads=True
        )
        if not gradient.requires_grad:
            return moves.vectors, torch.zeros_like(logits)
        (derivative,) = torch.autograd.grad(gradient, weights, moves.moves)
    return moves.vectors, derivative


@contextmanager
def plain_kernels() -> Iterator[None]:
    """Attention as the products it consists of: fused kernels have no forward mode."""
    with module_by_module(), sdpa_kernel(SDPBackend.MATH):
        yield


def _logits(network: nn.Module, x: Tensor, answer: Answer) -> Tensor:
    """The network's logits [m,k]; [m,0] where it has none."""
    found = logits_of(network, x, answer)
    return x.new_zeros(len(x), 0) if found is None else found


class _Moves:
    """How the value of a layer is to move: by itself at one position of each image, and not at all elsewhere."""

    def __init__(self, layer: Layer, positions: Tensor) -> None:
        self._layer, self._positions = layer, positions
        self.moves: Tensor
        """As the value of the layer, as its module gave it."""
        self.vectors: Tensor
        """[m,c]"""

    def of(self, value: Tensor) -> Tensor:
        """The moves of `value`, as the layer's module gave it."""
        self.moves = torch.zeros_like(value)
        spot = self._spot(arranged(value, self._layer).shape[2:])
        self.vectors = arranged(value, self._layer)[spot].clone()
        arranged(self.moves, self._layer)[spot] = self.vectors
        return self.moves

    def _spot(self, size: torch.Size) -> tuple[Any, ...]:
        """Where in a value [m,c,...] with positions of this size the vectors are."""
        for end in (int(self._positions.min()), int(self._positions.max())):
            if not 0 <= end < size.numel():
                raise IndexError(f"layer {self._layer.name!r} has positions 0 to {size.numel() - 1}, not {end}")
        rows = torch.arange(len(self._positions), device=self._positions.device)
        return (rows, slice(None), *(torch.unravel_index(self._positions, size) if size else ()))
