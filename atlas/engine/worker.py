"""What a task is given of the process it runs in: the store, the network, the images.

    (Job, Supplies) -> Worker

A worker rebuilds the model from its source and the weights it is handed, once a process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from atlas.store import Backend, Store

if TYPE_CHECKING:
    from torch import nn

    from atlas.dataset import ImageSource
    from atlas.models import Model, ModelSource, Prepared
    from atlas.recipe import Numerics
    from atlas.units import Layer


@dataclass(frozen=True)
class Job:
    """What all tasks of a run share."""

    backend: Backend
    source: ModelSource
    digest: str
    """Hash of the weights: what a worker's model is known by."""


@dataclass(frozen=True)
class Supplies:
    """What is too large to travel with every task: how a worker gets it, where it needs it."""

    state: Callable[[], dict[str, Any]]
    """Fetches the weights; called once a process."""
    images: Callable[[], ImageSource | None] = lambda: None
    network: Callable[[], nn.Module | None] = lambda: None
    """Fetches the network where no spec makes it: this process sends its own to its own workers."""


class Worker:
    """What a task is given of the process it runs in."""

    def __init__(self, job: Job, supplies: Supplies) -> None:
        self.store = Store.open(job.backend)
        self._job, self._supplies = job, supplies

    @property
    def model(self) -> Model:
        """The job's model, built once a process."""
        key = (self._job.source, self._job.digest)
        model = _models.get(key)
        if model is None:
            _models.clear()
            model = _models[key] = self._job.source.build(self._supplies.state(), self._supplies.network())
        return model

    def prepared(self, layer: Layer, numerics: Numerics) -> Prepared:
        """The model cut at a layer, made once for the shards of a layer that follow each other."""
        from atlas.models import prepare

        key = (self._job.source, self._job.digest, layer.name, numerics.device)
        prepared = _prepared.get(key)
        if prepared is None:
            _prepared.clear()
            prepared = _prepared[key] = prepare(self.model, layer, device=numerics.device)
        return prepared

    @property
    def images(self) -> ImageSource:
        """The images of the job."""
        source = self._supplies.images()
        if source is None:
            raise TypeError("this run was given no images")
        return source


_models: dict[tuple[ModelSource, str], Model] = {}
_prepared: dict[tuple[ModelSource, str, str, str], Prepared] = {}
