"""What can be said of a layer's pictures before any is rendered.

(prepared network, recipe, numerics) -> Outlook
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from atlas.models import Prepared
from atlas.recipe import Numerics, Recipe
from atlas.rendering.batches import Batch
from atlas.rendering.host import computing
from atlas.units import Status


@dataclass(frozen=True)
class Outlook:
    """What one look at a grey picture says of a layer, before anything is rendered."""

    answers: NDArray[np.bool_]
    """[channels]: whether the channel answers with a number."""
    rectified: bool
    """Whether no negative exists: no value is below zero, and what came before the rectifier is out of reach."""

    @classmethod
    def of(cls, prepared: Prepared, recipe: Recipe, numerics: Numerics) -> Outlook:
        grey = torch.full((1, 3, *(prepared.size or (recipe.size, recipe.size))), 0.5, device=numerics.device)
        with computing(numerics), torch.no_grad():
            activation = prepared.activations(grey)
        answers = activation.value[0].reshape(activation.value.shape[1], -1).isfinite().all(1)
        return cls(answers.cpu().numpy(), activation.rectified and activation.before is None)

    def status(self, batch: Batch) -> NDArray[np.uint8]:
        """What is known of the batch's units, uint8 [m]: `OK` where nothing stands against a picture."""
        least = Status.RECTIFIED if batch.before and self.rectified else Status.OK
        answers = self.answers[batch.units[: len(batch)]]
        return np.where(answers, least, Status.NAN).astype(np.uint8)


@contextmanager
def finite(network: nn.Module) -> Iterator[None]:
    """The network's weights with 0 in place of what is not finite, inside.

    One channel's NaN weights would turn the gradients of its whole layer into NaN, since 0 x NaN is NaN. A value
    that is finite depends on no such weight, so that no healthy unit changes.
    """
    weights = [weight for weight in network.parameters() if not weight.isfinite().all()]
    buffers = [buffer for buffer in network.buffers() if buffer.isnan().any()]  # an attention mask may be infinite
    broken = [(tensor, tensor.data) for tensor in weights + buffers]
    for tensor, original in broken:
        tensor.data = original.nan_to_num(0.0, 0.0, 0.0)
    try:
        yield
    finally:
        for tensor, original in broken:
            tensor.data = original
