"""Directions in a layer -> feature visualizations.

render          some units of a model -> pictures, for notebooks
render_batches  channels of a prepared layer -> pictures as they are finished
render_units    channels of a prepared layer -> Rendered
score_pictures  stored pictures -> mean, peak
answers         stored pictures -> what the layer answers at its centre
measured        images -> the Spectrum that MACO keeps to
ascend          any objective -> pictures
"""

from atlas.rendering.batches import Directions
from atlas.rendering.crops import crop
from atlas.rendering.engine import ascend
from atlas.rendering.features import render_batches, render_units
from atlas.rendering.maco import maco
from atlas.rendering.notebook import render
from atlas.rendering.objectives import Objective, channel, class_logit, direction, diversity, magnitude, neuron
from atlas.rendering.restarts import Rendered
from atlas.rendering.rng import Key
from atlas.rendering.score import answers, score_pictures
from atlas.rendering.spectrum import Spectrum, measured

__all__ = [
    "Directions",
    "Key",
    "Objective",
    "Rendered",
    "Spectrum",
    "answers",
    "ascend",
    "channel",
    "class_logit",
    "crop",
    "direction",
    "diversity",
    "maco",
    "magnitude",
    "measured",
    "neuron",
    "render",
    "render_batches",
    "render_units",
    "score_pictures",
]
