"""Models by name.

    spec -> Model

>>> load_model("squeezenet").preprocessing.bgr  # doctest: +SKIP
True
"""

from __future__ import annotations

import logging
from pathlib import Path

from atlas.errors import ModelError
from atlas.models.checkpoints import load_weights, read_checkpoint, refuse_nan
from atlas.models.families import find, is_random
from atlas.models.model import Model, ModelSource
from atlas.models.preprocessing import Preprocessing

log = logging.getLogger(__name__)


def load_model(
    spec: str,
    *,
    weights: Path | str | None = None,
    labels: Path | str | None = None,
    preprocessing: Preprocessing | None = None,
) -> Model:
    """The model that `spec` names, with its library's trained weights, or those of the file `weights`.

    `labels` is a file of class names, one a line. `preprocessing` goes before what the library says. Of a file the
    library knows neither: there are no labels then, and its own preprocessing is taken with a logged warning. Raises
    `UnknownName` with the nearest names, `WeightsError` for a weights file that is unsafe, does not fit or holds NaN,
    and `ModelError` where nobody says how images are preprocessed.
    """
    untrained = weights is not None or is_random(spec)
    found = find(spec, trained=not untrained)
    if weights is not None:
        load_weights(found.network, read_checkpoint(weights), str(weights))
    refuse_nan(found.network, str(weights or spec))
    how = preprocessing or found.preprocessing
    if how is None:
        raise ModelError(
            f"{spec}: nobody says how its images are preprocessed. Return (network, preprocessing) from the factory, "
            "or say it: --preprocessing 'size=224 mean=0.5,0.5,0.5 std=0.5,0.5,0.5'"
        )
    if weights is not None and preprocessing is None and found.origin:
        log.warning(
            "%s: preprocessing is that of %s, '%s'. Give --preprocessing if the file was trained otherwise.",
            *(weights, found.origin, how.text()),
        )
    random = is_random(spec) and weights is None
    names = _read_labels(labels) if labels is not None else None if untrained else found.labels
    return Model(found.network, ModelSource(spec, how, names, random, found.title or spec))


def _read_labels(file: Path | str) -> tuple[str, ...]:
    """Class names, one a line."""
    try:
        return tuple(line.strip() for line in Path(file).read_text().splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"--labels {file} cannot be read: {error}") from None
