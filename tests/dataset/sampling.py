"""Vectors of layers by themselves, as the samples of atlases are taken: without attributions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch

from atlas.dataset.shown import Shown, batches
from atlas.dataset.vectors import Sampler, Vectors
from atlas.dataset.watch import leaves_behind, on_device, watch
from atlas.models import Model
from atlas.units import Layer


def sample(
    model: Model,
    layers: Sequence[Layer],
    shown: Iterable[Shown],
    *,
    width: int,
    seed: int,
    count: int = 1,
    device: str = "cpu",
    told: Callable[[int], None] | None = None,
) -> dict[str, Vectors]:
    """`count` vectors of each of `layers` from every crop of `shown`, `width` crops at a time.

    Nothing after the last of the layers is computed. `told` hears how many crops are done.
    """
    model = on_device(model, device)
    sampler = Sampler(layers, seed=seed, count=count)
    done = 0
    with (
        torch.no_grad(),
        watch(model, layers, sampler.take, before=False, whole=leaves_behind(model)) as forward,
    ):
        for batch in batches(shown, width):
            sampler.expect(batch)
            network_input = model.preprocessing.normalise(batch.x.to(device))
            forward(network_input.contiguous(memory_format=torch.channels_last))
            done += len(batch)
            if told:
                told(done)
    return sampler.vectors()
