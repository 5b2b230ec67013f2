"""What a picture should raise in the network.

    (layer, ...) -> Objective : T -> Tensor[n]

`T(layer)` gives the layer's value for the n pictures of the batch, `T(layer, before=True)` the value
before its rectifier. An objective answers with one score per picture, so that pictures stay
independent of each other: the gradient of the sum is each picture's own. Objectives add, subtract,
multiply and negate:

    0.2 * channel("mixed4a", [20]) + 0.8 * channel("mixed4a", [21]) - penalty

    channel     a channel's mean over all positions         direction     a mixture of channels, any vector
    neuron      a channel at the centre position            class_logit   a class of the whole network
    diversity   how alike the pictures of one unit are      magnitude     a score as a scale, without its gradient

After "Feature Visualization", Olah, Mordvintsev and Schubert, Distill 2017, and its code, Lucid.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import isqrt
from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from atlas.models import Model, class_index, class_layer


class Activations(Protocol):
    """T: a layer's name -> its activations, [n,c,h,w], [n,c,t] (patch tokens) or [n,c]."""

    def __call__(self, layer: str, *, before: bool = False) -> Tensor: ...


Score = Callable[[Activations], Tensor]


class Objective:
    """A score per picture, T -> Tensor[n], with a name that reads like its formula."""

    def __init__(self, score: Score, name: str, *, before: bool = False) -> None:
        self.score = score
        self.name = name
        self.before = before
        """Whether it asks for values before a rectifier, which the network then has to be watched for."""

    def __call__(self, T: Activations) -> Tensor:
        return self.score(T)

    def __repr__(self) -> str:
        return self.name

    def __add__(self, other: Objective | float) -> Objective:
        return _join(operator.add, "+", self, other)

    def __radd__(self, other: float) -> Objective:
        return _join(operator.add, "+", other, self)

    def __sub__(self, other: Objective | float) -> Objective:
        return _join(operator.sub, "-", self, other)

    def __rsub__(self, other: float) -> Objective:
        return _join(operator.sub, "-", other, self)

    def __mul__(self, other: Objective | float) -> Objective:
        return _join(operator.mul, "*", self, other)

    def __rmul__(self, other: float) -> Objective:
        return _join(operator.mul, "*", other, self)

    def __neg__(self) -> Objective:
        return Objective(lambda T: -self.score(T), f"-{self.name}", before=self.before)


def channel(layer: str, indices: Sequence[int], *, before: bool = False) -> Objective:
    """The mean over all positions of a channel: picture i looks for channel `indices[i]`."""
    respond = responses(layer, indices, before=before)
    return Objective(lambda T: respond(T).mean(1), _name("channel", layer, indices, before), before=before)


def neuron(layer: str, indices: Sequence[int]) -> Objective:
    """A channel at the centre position alone; of an even size, the first one past the middle (as Lucid's `neuron`).

    Patch tokens of a square number are taken for a square grid, any others for a row. Where a layer has no positions
    this is the channel.
    """

    def score(T: Activations) -> Tensor:
        return at_centre(_chosen(T(layer), indices)[:, None])[:, 0]

    return Objective(score, _name("neuron", layer, indices, before=False))


def direction(layer: str, vectors: Tensor, *, power: float = 0.0, centre: bool = False) -> Objective:
    """The mean over all positions of h . v, times the cosine of the two to `power`; with `centre` of that one alone.

    vectors [n,c], one a picture. The cosine has a floor of 0.1, as in Lucid, so that a picture that
    points elsewhere is still drawn towards its direction. (Lucid's `direction` and `direction_neuron`, after issue 116
    of its repository: a product alone is raised by whatever is large, a cosine alone by whatever is small.)
    """
    respond = alignments(layer, vectors, power=power, centre=centre)
    name = f"direction({layer!r}, {len(vectors)} vectors{', centre=True' if centre else ''})"
    return Objective(lambda T: respond(T).mean(1), name)


def alignments(layer: str, vectors: Tensor, *, power: float = 0.0, centre: bool = False) -> Score:
    """T -> Tensor[n,p]: what `direction` is the mean of, at each of the layer's p positions, or the centre alone."""
    held: dict[torch.device, Tensor] = {}  # brought over once: to do so anew stops a GPU at every step

    def respond(T: Activations) -> Tensor:
        value = T(layer)
        value = at_centre(value)[:, :, None] if centre else value.reshape(*value.shape[:2], -1)
        if value.device not in held:
            held[value.device] = vectors.to(value)[:, :, None]
        aim = held[value.device]
        dot = (value * aim).sum(1)
        if power:
            cosine = dot / (value.norm(dim=1) + 1e-4) / (aim.norm(dim=1) + 1e-4)
            dot = dot * cosine.clamp(min=0.1) ** power
        return dot

    return respond


def at_centre(value: Tensor) -> Tensor:
    """A layer's value [n,c,...] at its centre position, Tensor[n,c]; as `neuron` counts it."""
    value = _as_map(value)
    for size in value.shape[2:]:
        value = value[:, :, size // 2]
    return value


def class_logit(model: Model, classes: Sequence[int | str]) -> Objective:
    """The logit of a class, by its index or its label: picture i looks for `classes[i]`.

    A class is a channel of the layer that gives the logits (`class_layer`), so it needs no machinery of its own: this
    is `channel` there, and the network to be prepared is the whole one. Raises `UnknownName` for a class that is not
    there, or where the network is no classifier.
    """
    layer, indices = class_layer(model).name, [class_index(model, name) for name in classes]
    return Objective(channel(layer, indices).score, _name("class_logit", layer, indices, before=False))


def diversity(layer: str, count: int) -> Objective:
    """How alike a picture is to the other pictures of its unit: the mean cosine of their Gram matrices, -1 to 1.

    The batch holds the `count` pictures of one unit, then those of the next; pictures of different units never meet.
    A Gram matrix sums the products of all pairs of channels over the positions, so that it says which features occur
    together and not where. Subtracted from what is looked for, it makes the pictures differ. Lucid's `diversity` is
    the sum over a batch times (count - 1) / count.
    """

    def score(T: Activations) -> Tensor:
        value = T(layer)
        value = value.reshape(-1, count, value.shape[1], value[0, 0].numel())
        grams = F.normalize((value @ value.mT).flatten(2), dim=2, eps=1e-10)
        alike = grams @ grams.mT
        own = torch.eye(count, dtype=torch.bool, device=value.device)
        return (alike.masked_fill(own, 0).sum(2) / (count - 1)).flatten()

    return Objective(score, f"diversity({layer!r}, {count})")


def magnitude(objective: Objective) -> Objective:
    """The size of a score, held still: no gradient passes. It gives another objective the scale of this one."""
    return Objective(
        lambda T: objective.score(T).detach().abs(), f"magnitude({objective.name})", before=objective.before
    )


def responses(layer: str, indices: Sequence[int], *, before: bool = False) -> Score:
    """T -> Tensor[n,p]: what channel `indices[i]` answers to picture i at each of the layer's p positions."""

    def respond(T: Activations) -> Tensor:
        chosen = _chosen(T(layer, before=before), indices)
        return chosen.reshape(len(chosen), -1)

    return respond


def _chosen(value: Tensor, indices: Sequence[int]) -> Tensor:
    """Channel `indices[i]` of picture i: [n,c,...] -> [n,...]."""
    index = _held(tuple(indices), value.device)
    return value[torch.arange(len(index), device=value.device), index]


@lru_cache(maxsize=64)
def _held(indices: tuple[int, ...], device: torch.device) -> Tensor:
    """`indices` on `device`: kept there, as to bring them over anew stops a GPU at every step."""
    with torch.inference_mode(False):
        return torch.tensor(indices, device=device)


def _as_map(value: Tensor) -> Tensor:
    """Patch tokens [n,c,t] as the square map [n,c,h,w] they were cut from; anything else as it is."""
    if value.dim() != 3 or isqrt(value.shape[2]) ** 2 != value.shape[2]:
        return value
    side = isqrt(value.shape[2])
    return value.reshape(*value.shape[:2], side, side)


def _name(kind: str, layer: str, indices: Sequence[int], before: bool) -> str:
    return f"{kind}({layer!r}, {list(indices)}{', before=True' if before else ''})"


def _join(
    operation: Callable[[Tensor | float, Tensor | float], Tensor],
    sign: str,
    left: Objective | float,
    right: Objective | float,
) -> Objective:
    def score(T: Activations) -> Tensor:
        return operation(*(side(T) if isinstance(side, Objective) else side for side in (left, right)))

    before = any(side.before for side in (left, right) if isinstance(side, Objective))
    return Objective(score, f"({left} {sign} {right})", before=before)
