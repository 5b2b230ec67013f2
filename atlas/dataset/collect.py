"""Images through the network once, and what is kept of it.

(model, layers, [Shown]) -> Collected: fields of every layer, classes of every image, numbers of the reference set
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from atlas.dataset.classes import attribute, guesses
from atlas.dataset.measure import Measure
from atlas.dataset.shown import Batch, Shown, batches
from atlas.dataset.summary import Fields, Floats, Integers
from atlas.dataset.watch import Failure, Failures, on_device, watch
from atlas.models import Model
from atlas.units import Layer

__all__ = ["Collected", "Shown", "collect"]


@dataclass(frozen=True, eq=False)
class Collected:
    """What some images left behind."""

    fields: dict[str, Fields]
    """Of each layer by its name, [c,F]; see `summary`."""
    images: Integers
    """[n], in the order they were shown."""
    classes: Integers
    """[n,5]: the likeliest of crop 0, the likeliest first; -1 where there are none."""
    probabilities: Floats
    """[n,5]"""
    reference: Integers
    """[r]: those of `images` that belong to the reference set."""
    maxima: dict[str, Floats]
    """Of each layer [r,c]: the largest finite value over the positions of crop 0."""
    attribution: dict[str, Floats]
    """Of each layer [r,c]: the sum over the positions of crop 0 of activation x gradient of the highest logit."""
    seconds: dict[str, float]
    """Wall seconds by phase: `forward`, `statistics`, `classes`."""
    failed: Mapping[str, Failure]
    """Layers of which nothing is known, by their names, and why: the others are whole."""


def collect(
    model: Model,
    layers: Sequence[Layer],
    shown: Iterable[Shown],
    *,
    width: int,
    device: str = "cpu",
    reference: int = 1,
    classes: bool = True,
    told: Callable[[int], None] | None = None,
) -> Collected:
    """Show the network all crops of `shown`, `width` at a time, and keep what is known of `layers`.

    Images whose number is a multiple of `reference` are the reference set; without `classes` they are not attributed.
    A layer that fails is told of in `failed`, the others go on. `told` hears how many images are done. The same for the
    same `shown`, `width` and threads.
    """
    work = _Collecting(on_device(model, device), layers, device, reference)
    for batch in batches(shown, width):
        chosen = work.show(batch)
        if classes:
            work.attribute(chosen, width)
        if told:
            told(len(work.images))
    work.attribute([], width, rest=True)
    return work.collected()


class _Collecting:
    """What is kept while images are shown."""

    def __init__(self, model: Model, layers: Sequence[Layer], device: str, reference: int) -> None:
        self._model, self._layers, self._device, self._reference = model, layers, device, reference
        self._measures = {layer.name: Measure.on(device, layer.channels) for layer in layers}
        self._maxima, self._attribution = (
            {layer.name: [np.zeros((0, layer.channels), np.float32)] for layer in layers} for _ in range(2)
        )
        self._failures = Failures()
        self._waiting: list[Tensor] = []
        self._guesses = [guesses(None, 0)]
        self._seconds = dict.fromkeys(("forward", "statistics", "classes"), 0.0)
        self.images: list[int] = []

    def show(self, batch: Batch) -> list[Tensor]:
        """One forward pass, all layers measured on the way; gives the first crops of the reference set's images."""
        first = np.flatnonzero(batch.crops == 0)
        chosen = first[batch.images[first] % self._reference == 0]

        def take(layer: Layer, value: Tensor, before: Tensor | None) -> None:
            with self._timed("statistics"):
                maxima = self._measures[layer.name].add(value, before, batch.images, batch.crops)
                self._maxima[layer.name].append(maxima[chosen])

        watching = watch(self._model, self._layers, take, failures=self._failures)
        with torch.no_grad(), self._timed("forward"), watching as forward:
            logits = forward(self._input(batch.x))
            rows = None if logits is None else logits[torch.from_numpy(first).to(logits.device)]
            self._guesses.append(guesses(rows, len(first)))
        self.images += batch.images[first].tolist()
        return [batch.x[row] for row in chosen]

    def attribute(self, crops: list[Tensor], width: int, *, rest: bool = False) -> None:
        """Attribute `crops` as soon as they are `width` with those that wait; with `rest`, whatever waits, padded."""
        self._waiting += crops
        while len(self._waiting) >= (1 if rest else width):
            rows, self._waiting = self._waiting[:width], self._waiting[width:]
            with self._timed("classes"):
                padded = torch.stack([*rows, *[rows[-1]] * (width - len(rows))])
                attributed = attribute(self._model, self._layers, self._input(padded), self._failures)
                for name, found in attributed.items():
                    self._attribution[name].append(found[: len(rows)].cpu().numpy())

    def collected(self) -> Collected:
        images = np.array(self.images, np.int32)
        classes, probabilities = map(np.concatenate, zip(*self._guesses, strict=True))
        seconds = dict(self._seconds)
        seconds["forward"] -= seconds["statistics"]
        return Collected(
            fields={layer.name: self._measures[layer.name].fields() for layer in self._whole()},
            images=images,
            classes=classes,
            probabilities=probabilities,
            reference=images[images % self._reference == 0],
            maxima=self._joined(self._maxima),
            attribution=self._joined(self._attribution),
            seconds=seconds,
            failed=self._failures,
        )

    def _whole(self) -> list[Layer]:
        """Layers that have not failed."""
        return [layer for layer in self._layers if layer.name not in self._failures]

    def _input(self, x: Tensor) -> Tensor:
        network_input = self._model.preprocessing.normalise(x.to(self._device))
        return network_input.contiguous(memory_format=torch.channels_last)

    def _joined(self, rows: dict[str, list[Floats]]) -> dict[str, Floats]:
        return {layer.name: np.concatenate(rows[layer.name]) for layer in self._whole()}

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self._seconds[phase] += time.perf_counter() - began
