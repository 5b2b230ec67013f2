"""Reading a store: `atlas.open(place)`."""

from atlas.catalogue.catalogue import Catalogue, LayerView, UnitView, open
from atlas.catalogue.door import write_door

__all__ = ["Catalogue", "LayerView", "UnitView", "open", "write_door"]
