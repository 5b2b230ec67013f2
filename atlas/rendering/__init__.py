"""Directions in a layer -> feature visualizations.

render          some units of a model -> pictures, for notebooks
render_batches  channels of a prepared layer -> pictures as they are finished
render_units    channels of a prepared layer -> Rendered
score_pictures  stored pictures -> mean, peak
ascend          any objective -> pictures
"""

from atlas.rendering.chance import Key
from atlas.rendering.engine import ascend
from atlas.rendering.features import Rendered, render_batches, render_units
from atlas.rendering.notebook import render
from atlas.rendering.objectives import Objective, channel, direction, neuron
from atlas.rendering.score import score_pictures

__all__ = [
    "Key",
    "Objective",
    "Rendered",
    "ascend",
    "channel",
    "direction",
    "neuron",
    "render",
    "render_batches",
    "render_units",
    "score_pictures",
]
