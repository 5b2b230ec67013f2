"""What can be said of a layer's pictures before any is rendered.

(prepared network, recipe, numerics) -> Outlook
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from atlas.models import Prepared
from atlas.recipe import Numerics
from atlas.rendering.batches import Batch
from atlas.rendering.host import computing
from atlas.units import Status


def has_negatives(prepared: Prepared) -> bool:
    """Whether the layer has values to lower: some below zero, or those before its rectifier."""
    return prepared.has_before or not prepared.rectified


def answering(prepared: Prepared, numerics: Numerics) -> NDArray[np.bool_]:
    """Which channels answer to a grey picture with a number, bool [channels]."""
    grey = torch.full((1, 3, *prepared.preprocessing.size), 0.5, device=numerics.device)
    with computing(numerics), torch.no_grad():
        value = prepared.activations(grey, before=False).value[0]
    return value.reshape(len(value), -1).isfinite().all(1).cpu().numpy()


def foreseen(prepared: Prepared, batch: Batch, answers: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The statuses of the batch's m units as far as they are known beforehand, uint8 [m]: else `OK`."""
    best = Status.RECTIFIED if batch.before and not has_negatives(prepared) else Status.OK
    return np.where(answers[batch.units[: len(batch)]], best, Status.NAN).astype(np.uint8)


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
