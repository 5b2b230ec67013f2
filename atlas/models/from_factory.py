"""The user's own networks, made by a function of theirs.

package.module:factory -> Found
"""

from __future__ import annotations

from typing import Any

from torch import nn

from atlas.errors import ModelError
from atlas.factories import call_factory, kind_of
from atlas.models.found import Found
from atlas.models.from_torchvision import preprocessing_of
from atlas.models.preprocessing import Preprocessing


def find_factory(module: str, name: str) -> Found:
    """What the function `name` of `module` returns: a network, or a network and its preprocessing.

    The preprocessing is a `Preprocessing`, a dict of its fields or one of torchvision's `weights.transforms()`. The
    current folder is searched too. Raises `ModelError` where the module, the function or what it returns is no good.
    """
    spec = f"{module}:{name}"
    made = call_factory(module, name, makes="the network", error=ModelError)
    network, preprocessing = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(network, nn.Module):
        raise ModelError(f"{spec} returned {kind_of(made)}, not a torch.nn.Module or (network, preprocessing).")
    return Found(network, _preprocessing(preprocessing, spec), title=spec)


def _preprocessing(said: Any, spec: str) -> Preprocessing | None:
    if said is None or isinstance(said, Preprocessing):
        return said
    if isinstance(said, dict):
        return Preprocessing.from_dict(said)
    try:
        return preprocessing_of(said)
    except ModelError as error:
        raise ModelError(f"{spec}: {error} Return an atlas.models.Preprocessing.") from None
