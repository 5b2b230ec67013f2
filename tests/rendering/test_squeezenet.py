"""Pictures of a real trained network, at the `quick` recipe."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from atlas.models import Model, Prepared, prepare
from atlas.recipe import Numerics, Recipe
from atlas.rendering import Key, Rendered, render_units, score_pictures
from atlas.rendering.transforms import draw

pytestmark = pytest.mark.builder

RECIPE = Recipe.named("quick")
UNITS = [1, 40, 150, 400]
"""Of `features.11`; the first does not fire at the start."""


@pytest.fixture(scope="module")
def prepared(squeezenet: Model) -> Prepared:
    return prepare(squeezenet, "features.11")


@pytest.fixture(scope="module")
def rendered(prepared: Prepared) -> Rendered:
    return render_units(prepared, UNITS, RECIPE, Numerics())


def test_pictures_reach_what_lucids_settings_reach(prepared: Prepared, rendered: Rendered) -> None:
    """A plain prototype with Lucid's settings came to 289-510 on such channels in 64 to 128 steps."""
    mean, _ = score_pictures(prepared, rendered.pictures, UNITS, RECIPE, Numerics())
    assert not rendered.status.any()
    assert (mean[:, 0] > [350, 350, 300, 650]).all()
    assert (mean[:, 1] < [-140, -300, -230, -2000]).all()


def test_pictures_are_never_grey_nor_burnt_nor_alike(rendered: Rendered) -> None:
    pictures = rendered.pictures / 255.0
    assert (pictures.std(axis=(2, 3)).mean(-1) > 0.15).all()
    clipped = ((rendered.pictures == 0) | (rendered.pictures == 255)).any(-1)
    assert (clipped.mean(axis=(2, 3)) < 0.05).all()
    alike = np.corrcoef(pictures.reshape(8, -1)) - np.eye(8)
    assert alike.max() < 0.5


def test_units_that_look_for_contrast_do_not_turn_their_pictures_black_and_white(squeezenet: Model) -> None:
    """Without a limit a tenth and more of the values of each of these ends at 0 or 255."""
    early, units = prepare(squeezenet, "features.4"), [30, 41, 113, 9]
    for contrast, most in ((RECIPE.contrast, 0.05), (0.0, 1.0)):
        recipe = replace(RECIPE, variants=("positive",), contrast=contrast)
        made = render_units(early, units, recipe, Numerics()).pictures
        burnt = ((made == 0) | (made == 255)).mean(axis=(1, 2, 3, 4))
        assert (burnt < most).all()
        assert (burnt < 0.1).all() == bool(contrast)


def test_a_unit_that_wakes_late_has_a_picture(squeezenet: Model) -> None:
    """Of all 2,560 fire channels this one needs the most redirected steps: nine."""
    found = render_units(prepare(squeezenet, "features.3"), [38], RECIPE, Numerics())
    assert not found.status.any()


def test_anyone_can_recompute_a_score_from_the_stored_picture(
    squeezenet: Model, prepared: Prepared, rendered: Rendered
) -> None:
    """With the network as it came, one draw at a time, and none of the rendering's own machinery but its draws."""
    mean, peak = score_pictures(prepared, rendered.pictures, UNITS, RECIPE, Numerics())
    picture = torch.from_numpy(rendered.pictures[2, 0]).permute(2, 0, 1)[None] / 255
    answers = []
    for affine in draw([Key(0, "features.11", 150, "positive")], RECIPE, RECIPE.eval_draws, "held-out"):
        grid = F.affine_grid(affine, [1, 3, 128, 128], align_corners=False)
        seen = F.grid_sample(picture, grid, padding_mode="reflection", align_corners=False)
        value = squeezenet.network.features[:12](squeezenet.preprocessing.normalise(seen))  # type: ignore[index,operator]
        answers.append(value[0, 150])
    assert float(torch.stack(answers).mean()) == pytest.approx(float(mean[2, 0]), rel=1e-4)
    assert float(torch.stack(answers).amax((1, 2)).mean()) == pytest.approx(float(peak[2, 0]), rel=1e-4)
