"""Whether images reach a network as it was trained on them.

    Model, image files -> Check

A wrong preprocessing raises nothing; it shows in how sure the network is. The same images are therefore also given to
it in the common conventions it may have been trained with. How far the best class stands out from the others, in
standard deviations of the logits, falls with accuracy where a preprocessing is wrong, and unlike the probability it
is not driven up by an input that is merely too large.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from atlas.errors import ModelError
from atlas.models.model import Model
from atlas.models.preprocessing import Preprocessing

Triple = tuple[float, float, float]

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
TRIED = 16
"""Images that are tried with other preprocessings."""


@dataclass(frozen=True)
class Guess:
    """One of the classes a network sees in an image."""

    index: int
    label: str | None
    probability: float


@dataclass(frozen=True)
class Seen:
    """What the network sees in one image: its likeliest classes, the likeliest first."""

    file: Path
    guesses: tuple[Guess, ...]


@dataclass(frozen=True)
class Range:
    """The numbers that reach the network, over all images."""

    low: float
    high: float
    mean: tuple[float, ...]
    """A channel each, in the network's order."""
    std: tuple[float, ...]


@dataclass(frozen=True)
class Trial:
    """How sure the network is of the images under one preprocessing."""

    name: str
    preprocessing: Preprocessing
    standing: float
    """Standard deviations by which the best class's logit is above the mean of all: mean over the images."""


@dataclass(frozen=True)
class Check:
    """What `atlas check` prints."""

    seen: tuple[Seen, ...]
    unreadable: tuple[Path, ...]
    """Files that are no images."""
    range: Range
    trials: tuple[Trial, ...]
    """The model's own preprocessing first; empty where the network is untrained or tells no classes apart."""
    verdict: Literal["right", "doubtful", "unknown"]
    sentence: str
    """The verdict for people, in one line."""


@torch.no_grad()
def check(model: Model, images: Iterable[Path | str], *, top: int = 5) -> Check:
    """What `model` sees in `images` (files and folders of files), and whether they look preprocessed right.

    Raises `ModelError` where no file is an image, or where the labels are not as many as the network's classes.
    """
    images = list(images)
    gone = next((image for image in images if not Path(image).exists()), None)
    if gone is not None:
        raise ModelError(f"{gone} is not there. Give image files, or a folder of them.")
    files = _files(images)
    pictures = {file: picture for file in files if (picture := _picture(model, file)) is not None}
    if not pictures:
        raise ModelError(f"None of {len(files)} files is an image. Give image files, or a folder of them.")
    x = torch.stack(list(pictures.values()))
    logits = [model.logits(picture[None]) for picture in x]
    answers = [answer[0] for answer in logits if answer is not None]
    seen = tuple(Seen(file, _guesses(model, answer, top)) for file, answer in zip(pictures, answers, strict=False))
    classifies = bool(answers) and len(answers[0]) > 2
    trials = _trials(model, x[:TRIED]) if classifies and not model.random else ()
    unreadable = tuple(file for file in files if file not in pictures)
    return Check(seen, unreadable, _range(model, x), trials, *_verdict(model, trials))


def _files(images: Iterable[Path | str]) -> list[Path]:
    found: list[Path] = []
    for path in map(Path, images):
        found += sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
    return found


def _picture(model: Model, file: Path) -> Tensor | None:
    """The file as the model's evaluation sees it, or None where it is no image."""
    try:
        with Image.open(file) as picture:
            return model.preprocessing.image(picture)
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        return None


def _guesses(model: Model, answer: Tensor, top: int) -> tuple[Guess, ...]:
    labels = model.labels
    if labels is not None and len(labels) != len(answer):
        raise ModelError(f"There are {len(labels)} labels, but {model.spec} answers with {len(answer)} classes.")
    best = probabilities(answer[None])[0].topk(min(top, len(answer)))
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return tuple(Guess(index, labels[index] if labels else None, value) for index, value in pairs)


def probabilities(answers: Tensor) -> Tensor:
    """Those of answers [n,k]: an answer itself where the network ends in a softmax."""
    done = (answers >= 0).all(1) & ((answers.sum(1) - 1).abs() < 1e-3)
    return torch.where(done[:, None], answers, answers.softmax(1))


def _range(model: Model, x: Tensor) -> Range:
    network_input = model.preprocessing.normalise(x)
    mean, std = network_input.mean((0, 2, 3)), network_input.std((0, 2, 3))
    return Range(float(network_input.min()), float(network_input.max()), tuple(mean.tolist()), tuple(std.tolist()))


def _trials(model: Model, x: Tensor) -> tuple[Trial, ...]:
    given = model.preprocessing
    reverse = replace(given, bgr=not given.bgr, mean=given.mean[::-1], std=given.std[::-1])
    tried = {"as given": given, "as given, channels reversed": reverse} | {
        f"{name}{', blue first' if bgr else ''}": _convention(given, *numbers, bgr=bgr)
        for name, numbers in CONVENTIONS.items()
        for bgr in (False, True)
    }
    return tuple(Trial(name, how, _standing(model, how, x)) for name, how in tried.items())


def _convention(given: Preprocessing, mean: Triple, std: Triple, scale: float, *, bgr: bool) -> Preprocessing:
    if bgr:
        mean, std = mean[::-1], std[::-1]
    return replace(given, mean=mean, std=std, scale=scale, bgr=bgr)


def _standing(model: Model, preprocessing: Preprocessing, x: Tensor) -> float:
    answers = [model.logits(picture[None], preprocessing) for picture in x]
    logits = torch.cat([answer for answer in answers if answer is not None])
    best = (logits.max(1).values - logits.mean(1)) / logits.std(1).clamp_min(1e-12)
    return float(best.mean())


def _verdict(model: Model, trials: Sequence[Trial]) -> tuple[Literal["right", "doubtful", "unknown"], str]:
    if model.random:
        return "unknown", f"{model.spec} is untrained: nothing tells right preprocessing from wrong."
    if not trials:
        return (
            "unknown",
            f"{model.spec} does not tell several classes apart: nothing tells right preprocessing from wrong.",
        )
    given, best = trials[0], max(trials, key=lambda trial: trial.standing)
    numbers = f"the best class stands out by {given.standing:.2f} standard deviations"
    if best.standing < BETTER * given.standing:
        return "right", f"Looks preprocessed right: {numbers}, and no common preprocessing does better."
    return "doubtful", (
        f"Looks preprocessed wrong: {numbers}, but by {best.standing:.2f} with '{best.name}'. "
        f"Try --preprocessing '{best.preprocessing.text()}'"
    )
