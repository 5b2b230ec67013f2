"""A network that was given itself, as a copy.

    network -> copy        refuse_unlike(network, Model of the copy) -> None or ModelError

Its owner's stays as it is. Hooks and functions that hold the original do not follow into a copy: what they catch is
missing there, or that of an earlier pass. So a copy has to answer as the original does.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from atlas.errors import ModelError
from atlas.factories import told
from atlas.models.foreign import run
from atlas.models.kept import as_it_was
from atlas.models.model import Model
from atlas.models.observe import calls
from atlas.models.outputs import nested
from atlas.models.probe import dry_input
from atlas.models.twin import close

EXACT, ROUGH = 1e-3, 0.05
"""Largest difference that may be, as a part of the largest answer: on a CPU in float32, and of other originals."""
ADVICE = (
    "hooks or functions of it hold the original, and a copy is what is looked into. Name a function that makes it: "
    "package.module:factory"
)


def copy_of(network: nn.Module) -> nn.Module:
    """A copy of `network` on the CPU; of tensors with a history, as old weight norm keeps them, the values alone."""
    held = [value for module in network.modules() for value in vars(module).values() if isinstance(value, Tensor)]
    memo = {id(value): value.detach().clone() for value in held if value.grad_fn is not None}
    return deepcopy(network, memo).cpu()


@torch.no_grad()
def refuse_unlike(given: nn.Module, model: Model) -> None:
    """Raise `ModelError` where `model`, a copy of `given`, fails where that does not, or answers otherwise."""
    images = model.preprocessing.normalise(dry_input(model.preprocessing))
    weight = next((value for value in given.parameters() if value.is_floating_point()), torch.zeros(()))
    exact = weight.device.type == "cpu" and weight.dtype is torch.float32
    with as_it_was(given), as_it_was(model.network):
        try:
            given.eval()
            shown = images.to(weight.device, weight.dtype)
            theirs_called, theirs = _answer(given, shown)
            again = _answer(given, shown)[1]
        except Exception:  # noqa: BLE001 - what fails by itself is told of by the dry run
            return
        if not _alike(theirs, again, EXACT):
            return  # it draws numbers, which the dry run tells of
        try:
            ours_called, ours = _answer(model.network, images)
        except Exception as failure:
            raise ModelError(f"{model.spec}: a copy of it fails ({told(failure)}): {ADVICE}.") from failure
    same = [name for name, _ in given.named_modules()] == [name for name, _ in model.network.named_modules()]
    if same and (idle := theirs_called - ours_called):
        raise ModelError(f"{model.spec}: a copy of it does not run its {min(idle)!r}: {ADVICE}.")
    if not _alike(ours, theirs, EXACT if exact else ROUGH):
        raise ModelError(f"{model.spec}: a copy of it answers otherwise: {ADVICE}.")


def _answer(network: nn.Module, network_input: Tensor) -> tuple[set[str], list[Tensor]]:
    """Which of its modules a pass runs, and what it answers."""
    called: set[str] = set()
    with calls(dict(network.named_modules()), lambda place, *_: called.add(place.path)):
        found = nested(run(network, network_input))
        return called, [value.detach().cpu().float().clone() for _, value in found]


def _alike(ones: list[Tensor], others: list[Tensor], part: float) -> bool:
    """Whether answers differ by less than `part` of the largest, wherever they are finite."""
    return len(ones) == len(others) and all(close(*pair, part) for pair in zip(ones, others, strict=True))
