"""Models by name.

    spec -> Model

>>> load_model("squeezenet").preprocessing.bgr  # doctest: +SKIP
True
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from atlas.errors import AtlasError, ModelError, WeightsError
from atlas.factories import guarded, kind_of
from atlas.models.checkpoints import load_weights, read_checkpoint, refuse_nan
from atlas.models.copying import copy_of, refuse_unlike
from atlas.models.families import find, is_random
from atlas.models.found import MEMORY, Found
from atlas.models.from_factory import described
from atlas.models.labels import read_labels
from atlas.models.model import Model, ModelSource
from atlas.models.preprocessing import Preprocessing
from atlas.words import parameter

log = logging.getLogger(__name__)


def load_model(
    spec: str | nn.Module,
    *,
    weights: Path | str | None = None,
    labels: Path | str | Sequence[str] | None = None,
    preprocessing: Any = None,
    logits: str | None = None,
    layout: Mapping[str, str] | None = None,
) -> Model:
    """The model that `spec` names, with its library's trained weights, or those of the file `weights`.

    `spec` may be a network itself, a `torch.nn.Module` in memory: a copy of it is looked into, and `preprocessing` must
    be given. `labels` is a file of class names, one a line or JSON, a list by its name, as `imagenet`, or the names
    themselves. `preprocessing` goes before what the library says: a `Preprocessing`, a text such as
    "size=224 mean=0,0,0 std=1,1,1", a mapping of its fields, or transforms of torchvision.
    Of a file the library knows neither: there are no labels then, and its own preprocessing is taken with a logged
    warning. `logits` is the key or index of the output that is the logits, or the layer that gives them, where the
    network has several and it is open which: `Model.answer` raises where it cannot be. `layout` says the order of the
    axes of layers, by name or glob, where it could not be established: `{"stages.1.*": "nhwc"}`, see
    `atlas.units.Layer.layout`. `weights` is `FILE#KEY` where a file holds several.
    Raises `UnknownName` with the nearest names, `WeightsError` for a weights file that is unsafe, does not fit or holds
    NaN, and `ModelError` where nobody says how images are preprocessed, or for labels that are not certain.
    """
    preprocessing = _preprocessing(preprocessing)
    given, spec = (None, spec) if isinstance(spec, str) else (spec, f"{MEMORY}{type(spec).__name__}")
    untrained = weights is not None or (given is None and is_random(spec))
    found = find(spec, trained=not untrained) if given is None else _copied(given, spec)
    if weights is not None:
        with guarded(f"{spec}: {weights} cannot be loaded into the network", WeightsError):
            load_weights(found.network, read_checkpoint(weights, found.network), str(weights))
    with guarded(f"{spec}: the network's weights cannot be read", ModelError):
        refuse_nan(found.network, str(weights or spec))
    how = preprocessing or _known_preprocessing(found, spec)
    if weights is not None and preprocessing is None and found.origin:
        log.warning(
            "%s: preprocessing is that of %s, '%s'. Give %s if the file was trained otherwise.",
            *(weights, found.origin, how.text(), parameter("preprocessing")),
        )
    random = given is None and is_random(spec) and weights is None
    theirs = found.labels if found.origin is None or not untrained else None  # a factory's are of the network itself
    names = theirs if labels is None else read_labels(labels) if isinstance(labels, str | Path) else tuple(labels)
    said = tuple((layout or {}).items())
    model = Model(found.network, ModelSource(spec, how, names, random, found.title or spec, logits, said))
    if given is not None and weights is None:
        refuse_unlike(given, model)
    for note in filter(None, (*model.notes, how.doubt)):
        log.warning("%s: %s.", spec, note)
    return model


def _preprocessing(said: Any) -> Preprocessing | None:
    """The preprocessing that was said. Raises `ModelError` where it is none, or cannot be followed."""
    if isinstance(said, str):
        return Preprocessing.parse(said)
    try:
        found = described(said)
    except AtlasError as error:
        raise ModelError(f"{parameter('preprocessing')}: {error}") from None
    if found is None and said is not None:
        usual = "'size=224 mean=0.5,0.5,0.5 std=0.5,0.5,0.5'"
        raise ModelError(
            f"{parameter('preprocessing')}: {kind_of(said)} is not a preprocessing. Give a text, such as {usual}."
        )
    return found


def _known_preprocessing(found: Found, spec: str) -> Preprocessing:
    """What a library or a factory says of preprocessing. Raises `ModelError` where nobody says it."""
    if found.preprocessing is not None:
        return found.preprocessing
    if found.unfollowed:
        raise ModelError(f"{spec}: {found.unfollowed}")
    begin = "Give" if spec.startswith(MEMORY) else "Return (network, preprocessing) from the factory, or give"
    usual = parameter("preprocessing", "size=224 mean=0.5,0.5,0.5 std=0.5,0.5,0.5")
    raise ModelError(f"{spec}: its preprocessing is unknown. {begin} it: {usual}")


def _copied(network: nn.Module, spec: str) -> Found:
    """A network that was given itself: a copy, so that its owner's stays as it is."""
    advice = "Name a function that makes it: package.module:factory."
    with guarded(f"{spec}: the network cannot be copied", ModelError, advice):
        return Found(copy_of(network), None, title=type(network).__name__)
