"""Reading a store: `atlas.open(place)`."""

from atlas.catalogue.catalogue import Catalogue, LayerView, UnitView, open
from atlas.catalogue.door import write_door
from atlas.catalogue.tables import write_tables

__all__ = ["Catalogue", "LayerView", "UnitView", "open", "write_door", "write_tables"]
