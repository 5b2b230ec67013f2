"""Several tries at a picture, the best kept; and how far the next seed's picture agrees with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from atlas.models import prepare
from atlas.recipe import Numerics, Recipe
from atlas.rendering import render_units, restarts, score_pictures
from atlas.rendering.batches import PictureBatch, batches
from atlas.rendering.maco import made_by
from atlas.rendering.restarts import Rendered
from atlas.rendering.transforms import draw, resample
from atlas.store import as_stored
from atlas.units import Status
from tests.networks import dead, tiny
from tests.rendering.conftest import model_of

pytestmark = pytest.mark.builder

UNITS = [3, 8, 21, 34, 35]
VARIANTS = ("positive", "negative", "neuron", "diverse-1", "diverse-2")
ONE = Recipe.named("quick", size=32, steps=3, jitter=2.0, redirected=2, variants=VARIANTS)
FOUR = replace(ONE, restarts=4)
SECOND = prepare(model_of(tiny()[0]), "second.1")


def test_the_best_of_several_tries_is_kept_and_named() -> None:
    """Each try rendered by itself: no picture that was dropped scores better on held-out draws."""
    kept = render_units(SECOND, UNITS, FOUR, Numerics())
    scores = []
    for attempt in range(4):
        alone = np.empty_like(kept.pictures)
        for batch in batches("second.1", UNITS, ONE, 4):
            alone[batch.cell] = restarts._try(SECOND, batch, ONE, Numerics(), made_by(ONE, None), attempt).pictures
        mean, _ = score_pictures(SECOND, as_stored(alone, ONE.jpeg_quality), UNITS, ONE, Numerics())
        scores.append(mean * [1, -1, 1, 1, 1])
        here = kept.attempt == attempt
        assert np.array_equal(kept.pictures[here], alone[here])
    worth = np.stack(scores)
    worth[:, :, 3:] = worth[:, :, 3:].sum(-1, keepdims=True)
    assert np.array_equal(kept.attempt, worth.argmax(0))
    assert len(set(kept.attempt.ravel())) > 1
    assert np.array_equal(kept.attempt[:, 3], kept.attempt[:, 4])


def test_a_first_try_is_the_only_one_where_one_is_asked_for() -> None:
    once, again = render_units(SECOND, UNITS, ONE, Numerics()), render_units(SECOND, UNITS, FOUR, Numerics())
    first = again.attempt == 0
    assert not once.attempt.any()
    assert np.array_equal(once.pictures[first], again.pictures[first])


def test_a_try_that_gave_no_picture_is_never_kept_before_one_that_did(monkeypatch: pytest.MonkeyPatch) -> None:
    """Grey may score better than a picture; where no try gave one, the first says why."""
    batch = next(batches("second.1", [3, 8, 21], replace(ONE, variants=("positive",)), 4))
    states = [[Status.UNSTARTED, Status.NAN, Status.UNSTARTED], [Status.OK, Status.UNSTARTED, Status.OK]]

    def tried(*arguments: object) -> Rendered:
        attempt = int(str(arguments[-1]))
        status = np.array(states[attempt], np.uint8)[:, None]
        pictures, attempts = (np.full(shape, attempt, np.uint8) for shape in ((3, 1, 32, 32, 3), (3, 1)))
        return Rendered(pictures, status, attempts, np.full((3, 1), np.nan, np.float32))

    monkeypatch.setattr(restarts, "_try", tried)
    monkeypatch.setattr(restarts, "score_batch", _scores([[9, 9, 9], [1, 1, np.nan]]))
    found = restarts.best(SECOND, batch, replace(ONE, restarts=2), Numerics(), made_by(ONE, None))
    assert found.attempt[:, 0].tolist() == [1, 0, 0]
    assert found.status[:, 0].tolist() == [Status.OK, Status.NAN, Status.UNSTARTED]
    assert found.pictures[:, 0, 0, 0, 0].tolist() == [1, 0, 0]


def _scores(means: list[list[float]]) -> Callable[..., tuple[NDArray[np.float32], None]]:
    """In place of `score_batch`: the means of one try after the other."""
    rows = iter(np.array(means, np.float32)[:, :, None])
    return lambda *_: (next(rows), None)


def _by_hand(picture: NDArray[np.uint8], batch: PictureBatch, place: int) -> torch.Tensor:
    """The layer's mean activation for one stored picture, with none of the scoring's own machinery."""
    network, preprocessing = tiny()
    x = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255
    affines = draw([batch.keys(0)[place]], ONE, ONE.eval_draws, "held-out")
    seen = torch.cat([resample(x, affine, (32, 32)) for affine in affines])
    with torch.no_grad():
        mean: torch.Tensor = network.second(network.first(preprocessing.normalise(seen))).mean((0, 2, 3))
    return mean


def test_agreement_is_the_cosine_of_what_the_layer_answers_to_this_seed_and_the_next() -> None:
    recipe = replace(ONE, agreement=True)
    found = render_units(SECOND, UNITS, recipe, Numerics())
    now = as_stored(found.pictures, recipe.jpeg_quality)
    then = as_stored(render_units(SECOND, UNITS, replace(ONE, seed=1), Numerics()).pictures, recipe.jpeg_quality)
    ok = ~np.isnan(found.agreement)
    assert ok.mean() > 0.8
    for batch in batches("second.1", UNITS, recipe, 4):
        unit, place = batch.rows.start, batch.places[-1]
        if not ok[unit, place]:
            continue
        mine, theirs = (_by_hand(stored[unit, place], batch, len(batch.places) - 1) for stored in (now, then))
        cosine = float(torch.nn.functional.cosine_similarity(mine, theirs, dim=0))
        assert found.agreement[unit, place] == pytest.approx(cosine, rel=1e-4)
    assert np.array_equal(found.pictures, render_units(SECOND, UNITS, ONE, Numerics()).pictures)
    assert ((found.agreement[ok] < 1) & (found.agreement[ok] > 0)).all()


def test_where_there_is_no_picture_nothing_agrees() -> None:
    """Channel 0 has none and 2 overflows; the picture of 12 raises no channel so far that the layer is not finite."""
    prepared = prepare(model_of(dead()[0]), "second.2")
    recipe = replace(ONE, steps=40, variants=("positive",), agreement=True)
    found = render_units(prepared, [0, 2, 12], recipe, Numerics())
    assert found.status[:, 0].tolist() == [Status.UNSTARTED, Status.NAN, Status.OK]
    assert np.isnan(found.agreement[:, 0]).tolist() == [True, True, False]
