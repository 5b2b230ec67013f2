"""The user's own networks, made by a function of theirs.

package.module:factory -> Found
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from atlas.errors import AtlasError, ModelError
from atlas.factories import call_factory, guarded, kind_of
from atlas.models.found import Found
from atlas.models.from_timm import configured
from atlas.models.from_torchvision import preprocessing_of
from atlas.models.labels import labels_of
from atlas.models.preprocessing import Preprocessing

TIMM = "input_size"
"""A field that timm's configurations have and ours have not."""


def find_factory(module: str, name: str) -> Found:
    """What the function `name` of `module` returns: a network, (network, preprocessing) or (..., labels).

    The preprocessing is a `Preprocessing`, a dict of its fields, a data configuration of timm's, one of torchvision's
    `weights.transforms()`, a `Compose` of its usual steps, or None.
    The labels are the names of the classes in order, or a list by its name, as `imagenet`. The
    current folder is searched too. Raises `ModelError` where the module, the function or what it returns is no good.
    """
    spec = f"{module}:{name}"
    made = call_factory(module, name, makes="the network", error=ModelError)
    whole = isinstance(made, tuple) and len(made) in (2, 3)
    network, preprocessing, labels = (*made, None)[:3] if whole else (made, None, None)
    if not isinstance(network, nn.Module):
        raise ModelError(
            f"{spec} returned {kind_of(made)}, not a torch.nn.Module or (network, preprocessing, labels), of which the "
            "last may be left out."
        )
    with guarded(f"{spec}: the preprocessing or the labels it returned cannot be read", ModelError):
        return Found(network, _preprocessing(preprocessing, spec), labels_of(labels, spec), spec)


def described(said: Any) -> Preprocessing | None:
    """The preprocessing that `said` describes, in any of the forms that a factory may return; None where it is none.

    Raises `AtlasError` where it is one that cannot be followed.
    """
    if said is None or isinstance(said, Preprocessing):
        return said
    if isinstance(said, Mapping) and TIMM in said:
        return configured(said)
    if isinstance(said, Mapping) and (not said or any(isinstance(name, str) for name in said)):
        return Preprocessing.from_dict(dict(said))
    return preprocessing_of(said) if callable(said) or not isinstance(said, Iterable) else None


def _preprocessing(said: Any, spec: str) -> Preprocessing | None:
    try:
        found = described(said)
    except AtlasError as error:
        line = str(error) if str(error).endswith((".", "?")) else f"{error}."
        raise ModelError(f"{spec}: {line} Return an atlas.models.Preprocessing, or a dict of its fields.") from None
    if found is not None or said is None:
        return found
    raise ModelError(
        f"{spec}: The preprocessing {type(said).__name__} is not that of single images. The second of what a factory "
        "returns is an atlas.models.Preprocessing or None; labels are the third: return network, None, labels."
    )
