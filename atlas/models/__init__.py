"""Any trained vision network, ready to look into.

spec -> Model -> Layer -> Prepared -> Activation
"""

from atlas.models.check import Check, check
from atlas.models.classes import class_index, class_layer, require_classes
from atlas.models.load import load_model
from atlas.models.model import Model, ModelSource
from atlas.models.observe import stop_at
from atlas.models.prepare import Activation, Prepared, prepare
from atlas.models.preprocessing import Preprocessing
from atlas.models.trial import able

__all__ = [
    "Activation",
    "Check",
    "Model",
    "ModelSource",
    "Prepared",
    "Preprocessing",
    "able",
    "check",
    "class_index",
    "class_layer",
    "load_model",
    "prepare",
    "require_classes",
    "stop_at",
]
