"""Which of a network's outputs is its logits: for each image one number a class.

    network, its input, what was said -> Answer        network, its input, Answer -> logits [n,k]

What settles it is, in this order, what the user said, a name (`logits`), that nothing else could be it, as where one
output is the softmax of another, and the number of labels. `out` is a name of many things: it tells outputs of as many
numbers apart and nothing else. Values that are sorted in every image are not one number a class. Where nothing settles
it, no output is taken, and `Answer.note` says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from atlas.errors import DryRunError, ModelError, UnknownName
from atlas.factories import told
from atlas.models.foreign import run
from atlas.models.observe import activations, never_reached
from atlas.models.outputs import Place, nested
from atlas.words import parameter

NAMES = ("logits", "class_logits", "cls_logits")
"""What libraries call their logits, the surest first."""
WEAK = "out"
"""What some call their logits, and others an embedding."""
OTHERS = ("aux", "attention", "box", "embed", "feat", "hidden", "latent", "loss", "mask", "pool", "proj", "repr")
"""What is in the names of outputs that are no logits, or those of a head that only training needs."""
WHOLE = "output"
"""How the user calls an output that is a tensor by itself."""
LISTED = 6
"""Outputs that a message lists."""
FEW = 3
"""So many values may be in order in every image by chance."""
SQUASHES: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda x: x.softmax(1),
    lambda x: x.log_softmax(1),
    lambda x: x.sigmoid(),
)
"""How networks make probabilities of their logits."""


@dataclass(frozen=True)
class Answer:
    """Which output is the logits."""

    where: str | None = None
    """Its keys and indices, joined by dots; empty where the output is a tensor by itself, None where it is open."""
    layer: bool = False
    """`where` is not an output's but a layer's name."""
    classes: int = 0
    """How many logits there are."""
    note: str = ""
    """In one line: why none was taken, or what was taken since nothing else could be. Empty where it is sure."""
    sizes: tuple[int, ...] = ()
    """Sizes of the outputs that could be the logits."""
    flat: tuple[tuple[str, int], ...] = ()
    """Every output that is a row of numbers for each image: how `logits` calls it, and its size."""


@torch.no_grad()
def settle(network: nn.Module, network_input: Tensor, said: str | None = None, labels: int | None = None) -> Answer:
    """Which output of `network` is the logits. `said` names an output or a layer; `labels` is how many names there are.

    network_input [n,3,h,w] is any input. Raises `UnknownName` for an output that is not there, `ModelError` for one
    that cannot be the logits, `DryRunError` with the network's own error.
    """
    output = _run(network, network_input)
    found = _once(nested(output))
    able = {name: value for name, value in found.items() if _is_flat(value, len(network_input))}
    flat = tuple((name or WHOLE, value.shape[1]) for name, value in able.items())
    if said is not None:
        return replace(_said(network, network_input, output, said), flat=flat)
    if not isinstance(output, Tensor):
        able = _of_each_image(network, network_input, able)
    if getattr(network, "num_classes", None) == 0:  # as timm's networks, which answer with an embedding then
        said_so = "its num_classes is 0: no classes are claimed. Where an output is the logits"
        return Answer(note=f"{said_so}: {parameter('logits', 'NAME')}", flat=flat)
    able = {name: value for name, value in able.items() if not _of_length_one(value)}
    ordered = _sorted(network, network_input, found, able)
    flat = tuple(one for one in flat if one[0] not in {name or WHOLE for name in ordered})
    able = {name: value for name, value in able.items() if name not in ordered}
    usual = {name: value for name, value in able.items() if not any(part in _last(name) for part in OTHERS)}
    chosen = _chosen(usual, labels)
    if chosen is None:
        note = _of_sorted(ordered) if ordered and not usual else _open(found, usual)
        return Answer(note=note, sizes=tuple(value.shape[1] for value in usual.values()), flat=flat)
    named = _last(chosen) in (*NAMES, WEAK)
    proved = len(found) == 1 or len(usual) > 1 or named or usual[chosen].shape[1] == labels
    others = parameter("logits", "NAME")
    told = "" if proved else f"its output {_told(chosen, usual[chosen])} is taken for the logits. Others: {others}"
    return Answer(chosen, classes=usual[chosen].shape[1], note=told, flat=flat)


def logits_of(network: nn.Module, network_input: Tensor, answer: Answer) -> Tensor | None:
    """The logits [n,k] of `network` for an input [n,3,h,w]; None where it is open which output they are."""
    if not answer.layer:
        output = run(network, network_input)
        return None if answer.where is None else _flattened(dict(nested(output))[answer.where])
    return _flattened(_at_layer(network, network_input, answer.where or ""))


def _run(network: nn.Module, network_input: Tensor) -> Any:
    try:
        return run(network, network_input)
    except Exception as error:
        raise DryRunError(f"The network failed on {list(network_input.shape)}: {told(error)}") from error


def _is_flat(value: Tensor, images: int) -> bool:
    return value.is_floating_point() and value.dim() == 2 and value.shape[0] == images and value.shape[1] > 0


def _once(pairs: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Outputs by their names; of two of one name (keys 0 and "0") neither, since nobody can say which is meant."""
    pairs = list(pairs)
    counts = Counter(name for name, _ in pairs)
    return {name: value for name, value in pairs if counts[name] == 1}


def _of_length_one(value: Tensor) -> bool:
    """Whether all rows [n,k] are of length 1 and no probabilities: an embedding that was normed."""
    lengths = value.double().norm(dim=1)
    return bool((value < 0).any()) and bool(((lengths - 1).abs() < 1e-3).all())


def _of_each_image(network: nn.Module, network_input: Tensor, able: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those of `able` that have a row for each image, and not as many rows by coincidence: one image more tells."""
    try:
        more = dict(nested(_run(network, torch.cat([network_input, network_input[:1]]))))
    except DryRunError:  # made for one number of images
        return dict(able)
    return {name: value for name, value in able.items() if name in more and more[name].shape[:1] == (len(value) + 1,)}


def _chosen(able: Mapping[str, Tensor], labels: int | None) -> str | None:
    """The one that is the logits, where something tells."""
    for usual in NAMES:
        named = [name for name in able if _last(name) == usual]
        if len(named) == 1:
            return named[0]
    alone = _without_repeats(able)
    fitting = [name for name in alone if alone[name].shape[1] == labels]
    called = [name for name in alone if _last(name) == WEAK]
    alike = len({value.shape[1] for value in alone.values()}) == 1
    for one in (list(alone), fitting, called if alike else []):
        if len(one) == 1:
            return one[0]
    return None


def _sorted(
    network: nn.Module, network_input: Tensor, found: Mapping[str, Tensor], able: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Those of `able` whose values are in order in every image, whatever it shows: of a `sort` or `topk`.

    Few values may be so by chance: of them it must be the indices beside them that say so.
    """
    kept = {
        name: value
        for name, value in able.items()
        if _order(value) and (value.shape[1] > FEW or any(_are_indices(other, value) for other in found.values()))
    }
    for images in _unlike(network_input) if kept else ():  # it costs runs, but of such a network alone
        try:
            others = dict(nested(_run(network, images)))
        except DryRunError:
            continue
        kept = {name: value for name, value in kept.items() if _order(others.get(name)) == _order(value)}
    return kept


def _unlike(network_input: Tensor) -> Iterator[Tensor]:
    """Images that are unlike `network_input` and each other: its negative, and its colours one at a time."""
    yield -network_input
    for colour in range(network_input.shape[1]):
        alone = torch.zeros_like(network_input)
        alone[:, colour] = 4 * network_input[:, colour]
        yield alone


def _order(value: Tensor | None) -> int:
    """1 where the values [n,k] rise in every row, -1 where they fall; 0 elsewhere, and where all rows are the same."""
    if value is None or value.dim() != 2 or bool((value == value[:1]).all()):
        return 0
    steps = value.double().diff(dim=1)
    if not bool((steps != 0).any(1).all()):
        return 0
    return int(bool((steps >= 0).all())) - int(bool((steps <= 0).all()))


def _are_indices(other: Tensor, value: Tensor) -> bool:
    """Whether `other` says which class each of the values [n,k] is of: whole numbers, in a row each one once."""
    whole = not other.is_floating_point() and not other.is_complex() and other.dtype != torch.bool
    return whole and other.shape == value.shape and not bool((other.sort(1).values.diff(dim=1) == 0).any())


def _without_repeats(able: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those of `able` that do not say what another says already: the same once more, or as probabilities."""
    kept: dict[str, Tensor] = {}
    for name, value in able.items():
        others = [other for other in able.values() if other is not value and other.shape == value.shape]
        again = any(_same(value, other) for other in kept.values() if other.shape == value.shape)
        if not again and not any(_same(value, squash(other)) for other in others for squash in SQUASHES):
            kept[name] = value
    return kept


def _said(network: nn.Module, network_input: Tensor, output: Any, said: str) -> Answer:
    """The output, or else the layer, that the user named."""
    found = dict(nested(output))
    name = "" if said == WHOLE and isinstance(output, Tensor) else said
    fields = getattr(output, "_fields", ())
    if said.isdecimal() and int(said) < len(fields):  # of a named tuple
        name = fields[int(said)]
    layer = name not in found and Place.parse(said).path in dict(network.named_modules())
    if not layer and name not in found:
        hint = f"The network answers with {_listed(found)}; a layer's name will do too."
        raise UnknownName.among("output", said, [one or WHOLE for one in found], hint=hint)
    value = _at_layer(network, network_input, said) if layer else found[name]
    flat = _flattened(value)
    if not _is_flat(flat, len(network_input)):
        raise ModelError(
            f"{parameter('logits', said)}: {_told(name, value)} is not one number a class for each image. Name another "
            f"output, or leave {parameter('logits')} out: nothing is said of classes then."
        )
    return Answer(name, layer, flat.shape[1])


def _at_layer(network: nn.Module, network_input: Tensor, name: str) -> Tensor:
    """The value of the layer `name`, while the whole network runs. Raises `DryRunError` where it is never reached."""
    found: list[Tensor] = []
    # Copies: what follows may work in place.
    with activations(dict(network.named_modules()), lambda _, value: found.append(value.clone()), [name]):
        run(network, network_input)
    if not found:
        raise never_reached(name)
    return found[0]


def _flattened(value: Tensor) -> Tensor:
    """[n,k] from logits that may have positions, one of them: [n,k,1,1]."""
    return value.flatten(1) if value.dim() > 2 and value.shape[2:].numel() == 1 else value


def _open(found: Mapping[str, Tensor], able: Mapping[str, Tensor]) -> str:
    """Why no output is taken for the logits, and how to settle it."""
    if able:
        which = " or ".join(parameter("logits", name) for name in (able if len(able) <= FEW else ["NAME"]))
        return f"several outputs could be its logits, {_listed(able)}: no classes are claimed. Say which: {which}"
    if not found:
        return "it returns no tensor: no classes are claimed."
    return (
        f"none of its outputs is known to be logits, one number a class for each image: {_listed(found)}. No classes "
        f"are claimed. If one of them holds the logits: {parameter('logits', 'NAME')}"
    )


def _of_sorted(ordered: Mapping[str, Tensor]) -> str:
    """Why values that are in order are not taken for the logits, and how to settle it."""
    return (
        f"the values of its output {_listed(ordered)} are sorted in every image, so no place is a class's: no classes "
        f"are claimed. If a layer or another output holds the logits: {parameter('logits', 'NAME')}"
    )


def _listed(found: Mapping[str, Tensor]) -> str:
    some = [_told(name, value) for name, value in list(found.items())[:LISTED]]
    return ", ".join(some) + (f" and {len(found) - LISTED} more" if len(found) > LISTED else "")


def _told(name: str, value: Tensor) -> str:
    """`embedding [64]`: an output's name and its shape for one image."""
    return f"{name or WHOLE} {list(value.shape[1:])}"


def _last(name: str) -> str:
    return name.rpartition(".")[2].lower()


def _same(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one.double(), other.double(), rtol=1e-4, atol=1e-6, equal_nan=True)
