"""Why a network answers as it does: what single positions of a layer say for each class.

    (model, layer, network input, positions) -> vectors [m,c], attribution [m,k] -> Packed

`attribution` computes with torch and is imported by its own name; what is packed is read without it.
"""

from atlas.attribution.packing import Packed, pack

__all__ = ["Packed", "pack"]
