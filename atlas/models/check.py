"""Whether images reach a network as it was trained on them.

    Model, what the user names as images -> Check

Images are found and decoded as for a build, so what is judged is what a build shows. What they look like to the network
in other common conventions, and what that is worth as evidence, is `atlas.models.conventions`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from atlas.dataset import Entry, ImageSource, Problem, open_images, prefetch, read_picture
from atlas.errors import ImagesError, ModelError
from atlas.models.classes import unfitting
from atlas.models.conventions import Counting, Trial, Verdict, judge, logits, trials, undecided
from atlas.models.model import Model

MOST = 32
"""Images that are looked at unless more are asked for."""


Looked = tuple[Tensor, str] | Problem
"""An image as evaluation sees it, and what is uncertain of it; or why there is none."""


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
    """Its name, below the folder that was given."""
    guesses: tuple[Guess, ...]
    note: str = ""
    """What is uncertain of how it is shown, as where it is not known what is white; empty where nothing is."""


@dataclass(frozen=True)
class Range:
    """The numbers that reach the network, over all images."""

    low: float
    high: float
    mean: tuple[float, ...]
    """A channel each, in the network's order."""
    std: tuple[float, ...]


@dataclass(frozen=True)
class Check:
    """What `atlas check` prints."""

    seen: tuple[Seen, ...]
    unreadable: tuple[Path, ...]
    """What was met and is no image that can be shown."""
    range: Range
    trials: tuple[Trial, ...]
    """The model's own preprocessing first; empty where the network is untrained or tells no classes apart."""
    verdict: Verdict
    sentence: str
    """The verdict for people, in one line, with what it rests on."""
    reasons: tuple[str, ...] = ()
    """Why each of `unreadable` is left out."""
    found: int = 0
    """How many files there are in all."""


def _silent(_what: str, _total: int | None, _items: str) -> Callable[[int], None]:
    return lambda _done: None


@torch.no_grad()
def check(
    model: Model,
    images: str | Path | Iterable[Path | str],
    *,
    top: int = 5,
    most: int = MOST,
    counting: Counting = _silent,
) -> Check:
    """What `model` sees in `images` (as `atlas.dataset.open_images` takes them), and whether it is shown them right.

    Of more than `most` images that many are looked at, drawn by chance but the same every time. Raises `ModelError`
    where no file is an image, or where the labels are not as many as the network's classes.
    """
    source = _opened(images)
    looked = _looked(model, source, most, counting("looking", min(most, len(source.entries)), "images"))
    shown = {name: picture for name, picture in looked.items() if not isinstance(picture, Problem)}
    skipped = {Path(name): problem.reason for name, problem in looked.items() if isinstance(problem, Problem)}
    if not shown:
        raise _no_image(len(source.entries), "".join(f" {file}: {why}." for file, why in list(skipped.items())[:1]))
    x = torch.stack([picture for picture, _ in shown.values()])
    answers = logits(model, model.preprocessing, x)
    pairs = zip(shown.items(), answers, strict=False)  # there are none of what is no classifier
    seen = tuple(Seen(Path(name), _guesses(model, answer, top), note) for (name, (_, note)), answer in pairs)
    tried = trials(model, x, counting) if not model.random and answers.shape[1] > 2 else ()
    verdict, sentence = judge(tried) if tried else undecided(model)
    if verdict == "unknown" and (doubt := model.preprocessing.doubt):
        verdict, sentence = "doubtful", f"Looks preprocessed wrong: {doubt}."
    whole, reasons = len(source.entries), tuple(skipped.values())
    return Check(seen, tuple(skipped), _range(model, x), tried, verdict, sentence, reasons, whole)


def _opened(images: str | Path | Iterable[Path | str]) -> ImageSource:
    """What is there. Raises `ModelError` where that is nothing."""
    try:
        return open_images(images, said="")
    except ImagesError as error:
        raise _no_image(0, f" {error}") from None


def _no_image(files: int, why: str) -> ModelError:
    return ModelError(f"None of {files} files is an image.{why} Give image files, or a folder of them.")


def _looked(model: Model, source: ImageSource, most: int, told: Callable[[int], None]) -> dict[str, Looked]:
    """Images by their names, in order, as evaluation sees them: at most `most`, and what was met that is none."""
    numbers: Sequence[int] = range(len(source.entries))
    if len(numbers) > most:
        numbers = random.Random(0).sample(numbers, len(numbers))
    looked: dict[int, Looked] = {}
    shown = 0
    pictures = prefetch(lambda number: _picture(model, source, source.entries[number]), numbers)
    for number, picture in zip(numbers, pictures, strict=False):
        looked[number] = picture
        shown += not isinstance(picture, Problem)
        told(shown)
        if shown == most:
            break
    return {source.entries[number].name: looked[number] for number in sorted(looked)}


def _picture(model: Model, source: ImageSource, entry: Entry) -> Looked:
    """What is behind `entry` as the model's evaluation sees it, or why there is no picture."""
    raw = source.read(entry)
    read = raw if isinstance(raw, Problem) else read_picture(raw)
    return read if isinstance(read, Problem) else (model.preprocessing.image(Image.fromarray(read.pixels)), read.note)


def _guesses(model: Model, answer: Tensor, top: int) -> tuple[Guess, ...]:
    labels = model.labels
    if labels is not None and len(labels) != len(answer):
        raise unfitting(model, len(labels), [len(answer)])
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
