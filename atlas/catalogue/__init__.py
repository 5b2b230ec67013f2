"""Reading a store: `atlas.open(place)`."""

from atlas.catalogue.catalogue import Catalogue, open
from atlas.catalogue.index import write_index
from atlas.catalogue.layer import LayerView
from atlas.catalogue.tables import write_tables
from atlas.catalogue.unit import UnitView

__all__ = ["Catalogue", "LayerView", "UnitView", "open", "write_index", "write_tables"]
