"""What images look like to a network under the common conventions, and what that says of the one it is given.

    Model, Tensor[n,3,h,w] in [0,1] -> [Trial] -> verdict

A wrong preprocessing raises nothing. Two things tell it apart without labels, and neither is driven up by an input that
is merely too large: how far the best class stands out from the others, and how well the network tells images apart,
that is how much more alike its answers to an image and to its mirror image are than its answers to different images.
They err on different images, so a change is advised only where both agree, on enough images, beyond chance; where they
do not, nothing is said. Images that a network was never trained on may all look alike to it: then it cannot be asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from atlas.models.model import Model
from atlas.models.preprocessing import Preprocessing
from atlas.words import parameter

Counting = Callable[[str, int | None, str], Callable[[int], None]]
"""What is done, how many times in all, of what: gives what hears how many are done, as `atlas.engine.progress` does."""
Triple = tuple[float, float, float]
Verdict = Literal["right", "doubtful", "unknown"]

CONVENTIONS: dict[str, tuple[Triple, Triple, float]] = {
    "ImageNet's mean and std": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 1.0),
    "-1 to 1": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 1.0),
    "0 to 1": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 1.0),
    "0 to 255 less ImageNet's mean": ((123.68, 116.779, 103.939), (1.0, 1.0, 1.0), 255.0),
    "0 to 255": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 255.0),
}
"""How networks are commonly trained to see images: mean and std (red first), scale."""
BETTER = 1.05
"""By which factor another preprocessing must stand out more to be believed."""
ERRORS = 3.0
"""Standard errors on either side of a mean: the interval that a difference must lie beyond to be no chance."""
APART = 0.3
"""How well a network tells images apart that it can be asked about: 1 is wholly, 0 is not at all."""
FEW = 8
"""Images below which nothing is said; on as many all conventions are tried, on more those that did not fall behind."""
TRIED = 16
"""Images that are tried with other preprocessings."""
BATCH = 8
"""Images that the network sees side by side."""
SAME = 0.02
"""Largest difference in a network's input between conventions that need not be told apart, in standard deviations."""


@dataclass(frozen=True)
class Trial:
    """What the network makes of images under one preprocessing, beside the same images as they are given."""

    name: str
    preprocessing: Preprocessing
    standing: float
    """Standard deviations by which the best class's logit is above the mean of all: mean over the images."""
    factor: float
    """How many times the given preprocessing's standing that is."""
    apart: float
    """How well it tells the images apart, -1 to 1: likeness to its mirror image less that to others, mean over them."""
    ahead: float
    """By how much that is more than with the given preprocessing."""
    margin: float
    """Of `ahead`, to either side: three standard errors over the images."""
    images: int
    """How many different images it was tried on."""

    @property
    def behind(self) -> bool:
        """Whether both measures are against it."""
        return self.ahead < 0 and self.factor < 1

    @property
    def believed(self) -> bool:
        """Whether both measures are for it, beyond chance, on images that the network can be asked about."""
        sure = self.ahead > self.margin and self.factor >= BETTER
        return sure and self.apart > APART and self.images >= FEW

    @property
    def told(self) -> str:
        """Its evidence for people."""
        return (
            f"with '{self.name}' the separation of images changes by {self.ahead:+.3f} ± {self.margin:.3f} and the "
            f"top logit is {self.standing:.2f} standard deviations above the mean"
        )


@dataclass(frozen=True, eq=False)
class _Answers:
    """Of some images under one preprocessing, an entry each."""

    standing: Tensor
    apart: Tensor


def trials(model: Model, x: Tensor, counting: Counting) -> tuple[Trial, ...]:
    """The given preprocessing first, then the common ones: on `FEW` images, and those not behind there on `TRIED`.

    Of images [n,3,h,w] that are the same one is taken; of fewer than `FEW` the given one alone is tried.
    """
    x = _distinct(x)[:TRIED]
    tried = _conventions(model.preprocessing) if len(x) >= FEW else {}
    told = counting("trying", len(tried), "preprocessings")
    few = _answers(model, model.preprocessing, x[:FEW])
    whole = _answers(model, model.preprocessing, x) if len(x) > FEW else few
    made = [_trial("as given", model.preprocessing, whole, whole)]
    for name, how in tried.items():
        trial = _trial(name, how, _answers(model, how, x[:FEW]), few)
        if len(x) > FEW and not trial.behind:
            trial = _trial(name, how, _answers(model, how, x), whole)
        made.append(trial)
        told(len(made) - 1)
    return tuple(made)


def _distinct(x: Tensor) -> Tensor:
    different = {picture.numpy().tobytes(): number for number, picture in reversed(list(enumerate(x)))}
    return x[sorted(different.values())]


def _conventions(given: Preprocessing) -> dict[str, Preprocessing]:
    """The common ones by name, less those that give the network what another gives it."""
    reverse = replace(given, bgr=not given.bgr, mean=given.mean[::-1], std=given.std[::-1])
    every = {"as given, channels reversed": reverse}
    for name, (mean, std, scale) in CONVENTIONS.items():
        every[name] = replace(given, mean=mean, std=std, scale=scale, bgr=False)
        every[f"{name}, blue first"] = replace(every[name], mean=mean[::-1], std=std[::-1], bgr=True)
    x = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))  # in colour, as images may not be
    kept, inputs = {}, [given.normalise(x)]
    for name, how in every.items():
        network_input = how.normalise(x)
        if all(float((network_input - other).abs().max()) > SAME * float(other.std()) for other in inputs):
            kept[name] = how
            inputs.append(network_input)
    return kept


def _answers(model: Model, how: Preprocessing, x: Tensor) -> _Answers:
    images, mirrored = (logits(model, how, view) for view in (x, x.flip(3)))
    standing = (images.max(1).values - images.mean(1)) / images.std(1).clamp_min(1e-12)
    one, other = (torch.nn.functional.normalize(view - view.mean(1, keepdim=True)) for view in (images, mirrored))
    alike = one @ other.T
    own, count = alike.diagonal(), max(len(x) - 1, 1)
    return _Answers(standing, own - (alike.sum(0) + alike.sum(1) - 2 * own) / (2 * count))


def logits(model: Model, how: Preprocessing, x: Tensor) -> Tensor:
    """What the network answers to `x` [n,3,h,w] in [0,1], a few at a time: [n,k]; [0,0] where it is no classifier."""
    found = [model.logits(x[first : first + BATCH], how) for first in range(0, len(x), BATCH)]
    return torch.cat([torch.zeros(0, 0) if answers is None else answers.float() for answers in found])


def _trial(name: str, how: Preprocessing, answers: _Answers, given: _Answers) -> Trial:
    """What `answers` say beside those to the same images as they are given."""
    count, ahead = len(answers.apart), answers.apart - given.apart
    margin = ERRORS * float(ahead.std()) / count**0.5 if count > 1 else math.inf
    standing, apart = float(answers.standing.mean()), float(answers.apart.mean())
    factor = standing / max(float(given.standing.mean()), 1e-12)
    return Trial(name, how, standing, factor, apart, float(ahead.mean()), margin, count)


def judge(made: Sequence[Trial]) -> tuple[Verdict, str]:
    """What trials say of the first, which is the given preprocessing, and for people in a line."""
    given, *others = made
    images = f"on {given.images} images"
    if given.images < FEW:
        return "unknown", f"Not judged: different images: {given.images}, and {FEW} are needed. Give more photographs."
    if believed := [trial for trial in others if trial.believed]:
        best = max(believed, key=lambda trial: trial.standing)
        return "doubtful", (
            f"Looks preprocessed wrong: {images}, {best.told} (as given: {given.standing:.2f}). "
            f"Try {parameter('preprocessing', best.preprocessing.text())}"
        )
    if given.apart < APART:
        return "unknown", (
            f"Not judged: {images} the network's answers are too alike ({given.apart:.2f} of 1 apart). Give "
            "photographs of the kind it was trained on."
        )
    if open_ := [trial for trial in others if not trial.behind]:
        nearest = max(open_, key=lambda trial: trial.ahead)
        return "unknown", (
            f"Not settled: {images}, {nearest.told} (as given: {given.standing:.2f}): not conclusive. "
            "Give more photographs of the kind it was trained on."
        )
    nearest = max(others, key=lambda trial: trial.factor)
    return "right", (
        f"Looks preprocessed right: {images} the best class stands out by {given.standing:.2f} standard deviations, "
        f"and of {len(others)} common preprocessings none does better ({nearest.name}: {nearest.standing:.2f})."
    )


def undecided(model: Model) -> tuple[Verdict, str]:
    """Why nothing can be said where nothing was tried."""
    why = "is untrained" if model.random else "does not tell several classes apart"
    return "unknown", f"{model.spec} {why}: nothing tells right preprocessing from wrong."
