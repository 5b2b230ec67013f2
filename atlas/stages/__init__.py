"""What each stage is: what it goes over, what it rests on, its arrays, and its words for people.

What a stage does lies in `atlas/engine/stages`, in a module of its name. To add one: declare what it is in a file here,
write what it does there, and name it below.
"""

from atlas.plans import declare
from atlas.stages.atlas import ACTIVATIONS, CELLS, ICONS, LAYOUT, PATCHES, TILES
from atlas.stages.dataset import EXAMPLES, IMAGES, STATISTICS
from atlas.stages.features import FEATURES

declare(FEATURES, IMAGES, STATISTICS, EXAMPLES, ACTIVATIONS, LAYOUT, CELLS, PATCHES, ICONS, TILES)

__all__ = [
    "ACTIVATIONS",
    "CELLS",
    "EXAMPLES",
    "FEATURES",
    "ICONS",
    "IMAGES",
    "LAYOUT",
    "PATCHES",
    "STATISTICS",
    "TILES",
]
