"""How alike two pictures are to the network.

    (prepared network, pictures, other pictures, batch) -> agreement float32 [m,v], -1 to 1

A unit that gives the same picture whatever it starts from has one thing that it looks for. Alike to the network means
a high cosine between the layer's mean activations, whichever pixels differ.
"""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from atlas.models import Prepared
from atlas.recipe import Numerics, Recipe
from atlas.rendering.batches import PictureBatch
from atlas.rendering.score import Numbers, Pictures, held_out, mean_of


def agreement(
    prepared: Prepared, one: Pictures, other: Pictures, batch: PictureBatch, recipe: Recipe, numerics: Numerics
) -> Numbers:
    """The cosine of the layer's mean activations for stored pictures of a batch, [m,v,h,w,3] each: float32 [m,v].

    The mean is over all positions and the held-out draws of the recipe, the same ones for both pictures. It is of the
    layer's value as the rest of the network sees it, after its rectifier where there is one.
    """
    mine, theirs = (_mean(prepared, pictures, batch, recipe, numerics) for pictures in (one, other))
    cosine: Numbers = F.cosine_similarity(mine, theirs, dim=1).cpu().numpy()
    return cosine[: len(batch)].reshape(batch.shape).astype(np.float32)


def _mean(prepared: Prepared, pictures: Pictures, batch: PictureBatch, recipe: Recipe, numerics: Numerics) -> Tensor:
    """The layer's mean activation for each of n pictures, Tensor[n,c]."""
    views = held_out(prepared, pictures, batch, recipe, numerics, before=False)
    # Row by row in memory: where sums run across rows, their order hangs on a picture's place in the batch.
    values = (view(batch.layer).float().contiguous() for view in views)
    return mean_of([value.reshape(*value.shape[:2], -1).mean(2) for value in values])
