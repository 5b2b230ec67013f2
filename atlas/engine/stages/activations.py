"""The stage `activations`: vectors at random positions of every crop, and what each says for every class.

    (model, images, plans, shard) -> samples of each layer

A map stage over ranges of images. One pass serves every layer that lacks the shard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.engine import passes
from atlas.engine.making import Made, Making, Piece
from atlas.engine.passes import ShardImages
from atlas.plans import Plan, Shard
from atlas.store import Data
from atlas.units import SampleStatus, Status

if TYPE_CHECKING:
    from atlas.attribution.samples import SampledLayers, Samples


def make(piece: Piece) -> Making:
    """Sample one shard of images."""
    from atlas.attribution.samples import collect

    plan, model = piece.plan, piece.worker.model
    layers, first = [each.on for each in piece.plans], piece.shard.start

    def sampled(images: ShardImages, width: int) -> SampledLayers:
        how: dict[str, Any] = {"first": first, "width": width, "device": plan.numerics.device}
        return collect(model, layers, images.shown(), plan.sampling, **how)

    def kept(plan: Plan, images: ShardImages, collected: SampledLayers) -> Made:
        return Made(columns(plan, images.shard, collected.samples[plan.layer_name]))

    return passes.make(piece, sampled, kept)


def columns(plan: Plan, shard: Shard, found: Samples) -> Data:
    """What a shard writes: a row for every sample there could be, absent where its image was not shown."""
    vectors, sampling = found.vectors, plan.sampling
    place = ((vectors.image - shard.start) * sampling.crops + vectors.crop).astype(np.int64) * sampling.positions
    if sampling.positions > 1:  # samples of one crop follow each other
        place += np.arange(len(place)) % sampling.positions
    status = np.where(vectors.status == Status.OK, SampleStatus.OK, SampleStatus.NOT_FINITE)
    values: dict[str, Any] = {
        "vector": vectors.vectors,
        "scale": vectors.scale,
        "image": vectors.image,
        "crop": vectors.crop,
        "position": vectors.position,
        "status": status,
    }
    if found.attribution is not None:
        packed = found.attribution
        values |= {"logit": packed.values, "logit_scale": packed.scale, "logit_class": packed.classes}
    rows = len(shard) * sampling.each
    made = {}
    for name, array in plan.written_by("shard").items():
        made[name] = np.full((rows, *array.shape[1:]), array.fill, array.dtype)
        if name in values:
            made[name][place] = values[name]
    return made
