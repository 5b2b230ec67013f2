"""Pictures of a real trained network, at the `quick` recipe."""

from __future__ import annotations

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


def test_anyone_can_recompute_a_score_from_the_stored_picture(
    squeezenet: Model, prepared: Prepared, rendered: Rendered
) -> None:
    """With the network as it came, one draw at a time, and none of the rendering's own machinery but its draws."""
    mean, peak = score_pictures(prepared, rendered.pictures, UNITS, RECIPE, Numerics())
    picture = torch.from_numpy(rendered.pictures[2, 0]).permute(2, 0, 1)[None] / 255
    answers = []
    for affine in draw([Key(0, "features.11", 150, "positive")], RECIPE, RECIPE.draws, "held-out"):
        grid = F.affine_grid(affine, [1, 3, 128, 128], align_corners=False)
        seen = F.grid_sample(picture, grid, padding_mode="reflection", align_corners=False)
        value = squeezenet.network.features[:12](squeezenet.preprocessing.normalise(seen))  # type: ignore[index,operator]
        answers.append(value[0, 150])
    assert float(torch.stack(answers).mean()) == pytest.approx(float(mean[2, 0]), rel=1e-4)
    assert float(torch.stack(answers).amax((1, 2)).mean()) == pytest.approx(float(peak[2, 0]), rel=1e-4)
