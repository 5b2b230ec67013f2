"""What a `Compose` of torchvision's transforms does, read off its steps and tried on pictures.

Compose -> Preprocessing, or ModelError
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from types import FunctionType
from typing import Any

from torch import Tensor, nn

from atlas.errors import ModelError
from atlas.models.followed import SHAPES, followed
from atlas.models.preprocessing import Preprocessing

READ = ("Resize", "CenterCrop", "Normalize", "ConvertImageDtype", "ToDtype")
"""Steps whose numbers count; one of each."""
TENSORS = ("ToTensor", "PILToTensor", "ToImage", "MaybeToTensor", "MaybePILToTensor")
"""Steps that make tensors of pictures; the last two are timm's."""
IDLE = ("ToPureTensor", "RGB", "Identity", "Lambda", "function")
"""Steps that need not do anything, such as convert to RGB; where one does, its pictures tell."""
LIBRARIES = ("torchvision.", "timm.data.")
LEVELS = 1.01
"""By how many levels of a pixel a resized tensor may differ from a resized picture: it is rounded elsewhere."""


def is_compose(transforms: Any) -> bool:
    return isinstance(transforms, nn.Sequential) or (
        type(transforms).__name__ == "Compose" and type(transforms).__module__.startswith(LIBRARIES)
    )


def preprocessing_of_compose(compose: Any) -> Preprocessing:
    """What its steps do, in order. Raises `ModelError` where one is not known, or where pictures come out otherwise."""
    name, steps = type(compose).__name__, list(_steps(compose))
    if why := _unread(steps):
        raise ModelError(f"The preprocessing {name} {why}.")
    by_name = {type(step).__name__: step for step in steps}
    scaled, normal = by_name["Resize"], by_name.get("Normalize")
    resize, crop = _pixels(scaled.size), "CenterCrop" in by_name
    size = _pixels(by_name["CenterCrop"].size) if crop else resize
    ours = Preprocessing(
        size=(size[0], size[-1]),
        resize=None if not crop else resize[0] if len(resize) == 1 else (resize[0], resize[1]),
        interpolation=str(getattr(scaled.interpolation, "value", scaled.interpolation)),
        mean=_triple(normal.mean if normal else [0.0]),  # type: ignore[arg-type]
        std=_triple(normal.std if normal else [1.0]),  # type: ignore[arg-type]
        scale=1.0 if getattr(by_name.get("ToDtype"), "scale", True) else 255.0,
        fill=(0, 0, 0) if resize[0] < size[0] or resize[-1] < size[-1] else None,  # torchvision pads up to its crop
    )
    larger = (2 * max(size + resize) + 33, 2 * max(size + resize) + 1)  # the others are enlarged, as a rule
    levels = LEVELS if _tensors_resized(steps) else 0.0
    return followed(ours, compose, name, shapes=(*SHAPES, larger), levels=levels)


def _unread(steps: Sequence[Any]) -> str:
    """Why the steps are not those that are known; empty where they are."""
    names = [type(step).__name__ for step in steps]
    if odd := [name for step, name in zip(steps, names, strict=True) if not _known(step)]:
        return f"has a step {odd[0]}, and none but {', '.join(READ + TENSORS)} is read"
    if twice := [name for name in READ if names.count(name) > 1]:
        return f"has several steps {twice[0]}"
    if "Resize" not in names:
        return "has no step Resize, and here all images have one size"
    scaled = steps[names.index("Resize")]
    if scaled.size is None or scaled.max_size is not None:
        return "resizes with max_size, which is not followed"
    if "CenterCrop" not in names and len(_pixels(scaled.size)) == 1:
        return (
            "keeps the shape of each image, and here all have one size: give Resize a height and a width, or put "
            "CenterCrop behind it"
        )
    if _tensors_resized(steps) and scaled.antialias is not True:
        return "resizes tensors without antialias=True, which is not followed"
    return ""


def _tensors_resized(steps: Sequence[Any]) -> bool:
    names = [type(step).__name__ for step in steps]
    return any(name in TENSORS for name in names[: names.index("Resize")])


def _steps(compose: Any) -> Iterator[Any]:
    """With those of a `Compose` inside it."""
    for step in compose if isinstance(compose, nn.Sequential) else compose.transforms:
        yield from _steps(step) if is_compose(step) else [step]


def _known(step: Any) -> bool:
    known = type(step).__name__ in READ + TENSORS + IDLE
    return known and (isinstance(step, FunctionType) or type(step).__module__.startswith(LIBRARIES))


def _pixels(size: Any) -> tuple[int, ...]:
    """One side, or height and width."""
    return (size,) if isinstance(size, int) else tuple(size)


def _triple(values: Iterable[Any]) -> tuple[float, ...]:
    """In as few digits as tell them apart: 0.485 as float32 is not 0.48500001."""
    numbers = [float(str(value)) for value in (values.numpy() if isinstance(values, Tensor) else values)]
    return tuple(numbers * 3 if len(numbers) == 1 else numbers)
