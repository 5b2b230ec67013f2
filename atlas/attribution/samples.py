"""Activations for an atlas: vectors at random positions, and what each says for every class.

    (model, layers, [Shown], Sampling) -> {layer: Samples}

One pass serves all layers. Every crop has a place of its own in a batch of one width, and every position one among
those that are attributed side by side: what is found for a sample depends on that sample alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atlas.attribution.attribution import attribute
from atlas.attribution.packing import Packed, pack
from atlas.dataset.shown import Batch, Shown, in_places
from atlas.dataset.summary import Integers
from atlas.dataset.vectors import Sampler, Vectors
from atlas.dataset.watch import Failure, leaves_behind, on_device, watch
from atlas.models import Model
from atlas.recipe import Sampling
from atlas.units import Layer


@dataclass(frozen=True, eq=False)
class Samples:
    """What some images left behind of one layer."""

    vectors: Vectors
    attribution: Packed | None
    """None where the network has no classes."""


@dataclass(frozen=True, eq=False)
class SampledLayers:
    """What some images left behind."""

    samples: Mapping[str, Samples]
    """By layer."""
    seconds: Mapping[str, float]
    """By phase: `forward`, `classes`."""
    failed: Mapping[str, Failure]
    """Layers of which there are no samples, and why: the others are whole."""


def collect(
    model: Model,
    layers: Sequence[Layer],
    shown: Iterable[Shown],
    sampling: Sampling,
    *,
    first: int,
    width: int,
    device: str = "cpu",
) -> SampledLayers:
    """What is kept of `layers` for the images `shown`, numbered from `first` on.

    Crops pass the network `width` side by side, and as many positions are attributed at a time.
    """
    work = _SamplingPass(on_device(model, device), layers, sampling, width, device)
    for batch in in_places(shown, width, crops=sampling.crops, first=first):
        work.show(batch)
    return SampledLayers(work.samples(), work.seconds, work.failed)


class _SamplingPass:
    """What is kept while images are shown."""

    def __init__(self, model: Model, layers: Sequence[Layer], sampling: Sampling, width: int, device: str) -> None:
        self._model, self._layers, self._sampling = model, layers, sampling
        self._width, self._device = width, device
        self._sampler = Sampler(layers, seed=sampling.seed, count=sampling.positions)
        self._packed: dict[str, list[Packed]] = {layer.name: [] for layer in layers}
        self.seconds = dict.fromkeys(("forward", "classes"), 0.0)
        self.failed = self._sampler.failures

    def show(self, batch: Batch) -> None:
        """One forward pass for all layers; then the positions that were drawn are attributed."""
        began = time.perf_counter()
        x = self._model.preprocessing.normalise(batch.x.to(self._device))
        x = x.contiguous(memory_format=torch.channels_last)
        sampler = self._sampler
        sampler.expect(batch)
        watching = watch(
            self._model,
            self._layers,
            sampler.take,
            before=False,
            whole=leaves_behind(self._model),
            failures=self.failed,
        )
        with torch.no_grad(), watching as forward:
            forward(x)
        passed = time.perf_counter()
        self.seconds["forward"] += passed - began
        if self._sampling.classes:
            for layer in (layer for layer in self._layers if layer.name not in self.failed):
                with self.failed.of(layer):
                    self._packed[layer.name].append(self._attributed(layer, x, batch.place, sampler.positions(layer)))
        self.seconds["classes"] += time.perf_counter() - passed

    def _attributed(self, layer: Layer, x: Tensor, place: NDArray[np.int64], drawn: Integers) -> Packed:
        """Attributions of the positions `drawn` [n,count] in the rows `place` [n] of `x`.

        A row that does not count repeats the first that does, so that every position keeps its place.
        """
        positions = np.broadcast_to(drawn[0], (len(x), drawn.shape[1])).copy()
        positions[place] = drawn
        images = np.full(len(x), place[0])
        images[place] = place
        found = attribute(
            self._model,
            layer,
            x,
            torch.from_numpy(images.repeat(drawn.shape[1])),
            torch.from_numpy(positions.reshape(-1).astype(np.int64)),
            width=self._width,
            relaxed=self._sampling.relaxed,
        ).attribution
        rows = found.reshape(len(x), drawn.shape[1], -1)[torch.from_numpy(place)]
        return pack(rows.flatten(0, 1).float().cpu().numpy())

    def samples(self) -> dict[str, Samples]:
        """All that was kept, by the layers' names."""
        vectors = self._sampler.vectors()
        return {name: Samples(found, _joined(self._packed[name])) for name, found in vectors.items()}


def _joined(parts: list[Packed]) -> Packed | None:
    if not parts:
        return None
    classes = [part.classes for part in parts if part.classes is not None]
    return Packed(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.scale for part in parts]),
        np.concatenate(classes) if classes else None,
        parts[0].count,
    )
