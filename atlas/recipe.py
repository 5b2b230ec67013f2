"""What changes pixels, and what only moves bits.

    Recipe     every knob that changes what a picture shows; frozen, named presets
    Collection what is shown to the network: which images, how many crops of each
    LayoutRecipe   every knob that changes where an activation lies on a map
    Numerics   what moves bits without changing meaning: widths, threads, dtype, device kind

>>> Recipe.named("quick").steps
64
>>> Recipe.named("quick", steps=96).steps
96
"""

from __future__ import annotations

import math
import typing
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from atlas.errors import AtlasError, UnknownName

VARIANTS = ("positive", "negative")


@dataclass(frozen=True)
class Recipe:
    """How pictures are made. Defaults are those of the preset `standard`."""

    name: str = "standard"
    """For people; two recipes with the same knobs are the same whatever they are called."""
    size: int = 160
    """Side of the picture in pixels."""
    steps: int = 128
    """Steps of gradient ascent."""
    variants: tuple[str, ...] = VARIANTS
    """Pictures a unit gets: what raises it (`positive`), what lowers it (`negative`)."""
    learning_rate: float = 0.06
    beta1: float = 0.5
    beta2: float = 0.99
    """Adam's; the short memory of the gradient is worth as much as a higher rate."""
    decay: float = 1.0
    """Power of 1/frequency by which the spectrum is preconditioned."""
    deviation: float = 0.01
    """Standard deviation of the initial spectrum."""
    jitter: float = 12.0
    """Largest shift of the picture under the transforms, in pixels."""
    zoom: tuple[float, float] = (0.9, 1.1)
    """Smallest and largest scale under the transforms."""
    turn: float = 10.0
    """Largest rotation under the transforms, in degrees."""
    redirected: int = 16
    """First steps in which a rectifier that blocks every gradient lets it pass (Lucid's redirected ReLU)."""
    draws: int = 8
    """Held-out transform draws behind each number of a picture."""
    level: int = 90
    """JPEG quality of the stored picture."""
    seed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            # 1 and 1.0 are the same knob: a recipe's fingerprint must not tell them apart.
            if field.type == "float":
                object.__setattr__(self, field.name, float(getattr(self, field.name)))
        object.__setattr__(self, "zoom", tuple(map(float, self.zoom)))
        object.__setattr__(self, "variants", tuple(self.variants))
        for name in ("learning_rate", "beta1", "beta2", "decay", "deviation", "jitter", "turn"):
            if not 0 <= getattr(self, name) < math.inf:
                raise AtlasError(f"recipe: {name} must be a number from 0 up, not {getattr(self, name)}.")
        for name, least in {"size": 16, "steps": 1, "draws": 1, "level": 1, "redirected": 0}.items():
            if getattr(self, name) < least:
                raise AtlasError(f"recipe: {name} must be at least {least}, not {getattr(self, name)}.")
        if self.level > 100:
            raise AtlasError(f"recipe: level is a JPEG quality from 1 to 100, not {self.level}.")
        wrong = [variant for variant in self.variants if variant not in VARIANTS]
        if wrong or not self.variants or len(set(self.variants)) < len(self.variants):
            given = ", ".join(self.variants) or "none"
            raise AtlasError(f"recipe: variants are some of {', '.join(VARIANTS)}, each once; not {given}.")
        if not (len(self.zoom) == 2 and 0 < self.zoom[0] <= self.zoom[1] < math.inf):
            raise AtlasError(f"recipe: zoom must be two rising numbers above 0, not {', '.join(map(str, self.zoom))}.")

    @classmethod
    def named(cls, name: str, **changes: Any) -> Recipe:
        """The preset `name`, with `changes` to its knobs. Raises `UnknownName` for either's unknown names."""
        if name not in PRESETS:
            raise UnknownName.among("recipe", name, PRESETS, hint=f"There are: {', '.join(PRESETS)}.")
        known = [field.name for field in fields(cls)]
        for knob in changes:
            if knob not in known:
                raise UnknownName.among("knob of a recipe", knob, known)
        return replace(PRESETS[name], **changes)

    @classmethod
    def parse(cls, name: str, settings: typing.Iterable[str]) -> Recipe:
        """The preset `name` changed by texts such as `steps=96`, `zoom=0.8,1.2`, `variants=positive`.

        Raises `AtlasError` where a setting cannot be read, `UnknownName` for an unknown knob.
        """
        changes = {}
        for setting in settings:
            knob, _, text = setting.partition("=")
            if not text:
                raise AtlasError(f"--set {setting}: write KNOB=VALUE, as in steps=96.")
            changes[knob] = _read(knob, text)
        return cls.named(name, **changes)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"variants": list(self.variants), "zoom": list(self.zoom)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Recipe:
        return cls(**(data | {"variants": tuple(data["variants"]), "zoom": tuple(data["zoom"])}))


def _read(knob: str, text: str) -> Any:
    """The value that `text` means for `knob`, by the type of the knob."""
    kinds = {field.name: field.type for field in fields(Recipe)}
    kind = str(kinds.get(knob, "str"))
    try:
        if kind.startswith("tuple[float"):
            low, high = map(float, text.split(","))
            return (low, high)
        if kind.startswith("tuple"):
            return tuple(text.split(","))
        return {"int": int, "float": float}.get(kind, str)(text)
    except ValueError:
        form = {"int": "a whole number", "float": "a number"}.get(kind, "two numbers, as 0.9,1.1")
        raise AtlasError(f"--set {knob}={text}: {knob} is {form}.") from None


PRESETS = {
    "quick": Recipe(name="quick", size=128, steps=64, learning_rate=0.12),
    "standard": Recipe(),
    "fine": Recipe(name="fine", size=224, steps=512, learning_rate=0.025),
}


REFERENCE = 4096
"""Images of the reference set at most; see `Collection.step`."""
STEPS = 1024
"""Largest step through the images: that of a shard of them, so that each shard owns rows of the reference set."""


@dataclass(frozen=True)
class Collection:
    """What is shown to the network, and what is kept of it."""

    images: str
    """sha256 of the list of images: their names and contents."""
    count: int
    """Images in the list, those that cannot be shown included."""
    classes: int = 0
    """Logits that the network answers with; 0 where it is no classifier."""
    crops: int = 8
    """Crops of each image: the model's own evaluation first, then random ones."""
    seed: int = 0
    photographs: bool = True
    """Whether thumbnails and crops of the images are stored, or their numbers alone."""

    def __post_init__(self) -> None:
        if self.crops < 1:
            raise AtlasError(f"--crops {self.crops}: at least 1, the model's own evaluation crop.")
        if self.count < 1:
            raise AtlasError("--images: there are none.")

    @property
    def step(self) -> int:
        """Every `step`-th image of the list belongs to the reference set: a power of two, so that at most 4096 do."""
        step = 1
        while -(-self.count // step) > REFERENCE and step < STEPS:
            step *= 2
        return step

    @property
    def reference(self) -> int:
        """Images in the reference set: those numbered 0, step, 2 step, ... whose answers are kept one by one."""
        return -(-self.count // self.step)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Collection:
        return cls(**data)


METRICS = ("cosine", "euclidean")


@dataclass(frozen=True)
class LayoutRecipe:
    """How activations are laid out. Defaults are those of the preset `standard`, after the Activation Atlas."""

    name: str = "standard"
    """For people, as that of a `Recipe`."""
    neighbours: int = 50
    """Samples that are to stay together with each; fewer show finer structure and less of the whole."""
    distance: float = 0.05
    """UMAP's `min_dist`: how close samples may come that are alike."""
    metric: str = "cosine"
    """`cosine`: vectors are alike that point one way, however long. `euclidean`: also in length."""
    whiten: bool = False
    """Make vectors as wide in every direction before they are compared."""
    pca: int | None = 64
    """Principal components that are compared instead of all channels; None for all."""
    most: int = 100_000
    """Samples that are embedded at most; of more, a seeded choice, among which the others are placed."""
    clip: float = 1.0
    """Percent of the samples that may lie beyond either end of an axis."""
    margin: float = 0.1
    """What is shown beyond these ends, as a part of what lies between them."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("distance", "clip", "margin"):
            object.__setattr__(self, name, float(getattr(self, name)))
        if self.metric not in METRICS:
            raise UnknownName.among(
                "metric of a layout", self.metric, METRICS, hint=f"There are: {', '.join(METRICS)}."
            )
        for name, least in {"neighbours": 2, "most": 2}.items():
            if getattr(self, name) < least:
                raise AtlasError(f"layout: {name} must be at least {least}, not {getattr(self, name)}.")
        if self.pca is not None and self.pca < 2:
            raise AtlasError(f"layout: pca must be at least 2, or none for all channels; not {self.pca}.")
        for name, most in {"distance": 1, "clip": 49, "margin": 10}.items():
            if not 0 <= getattr(self, name) <= most:
                raise AtlasError(f"layout: {name} must be a number from 0 to {most}, not {getattr(self, name)}.")

    @classmethod
    def named(cls, name: str, **changes: Any) -> LayoutRecipe:
        """The preset `name`, with `changes` to its knobs. Raises `UnknownName` for either's unknown names."""
        if name not in LAYOUTS:
            raise UnknownName.among("layout", name, LAYOUTS, hint=f"There are: {', '.join(LAYOUTS)}.")
        known = [field.name for field in fields(cls)]
        for knob in changes:
            if knob not in known:
                raise UnknownName.among("knob of a layout", knob, known)
        return replace(LAYOUTS[name], **changes)

    def plain(self) -> LayoutRecipe:
        """The same without whitening and principal components."""
        return replace(self, whiten=False, pca=None)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> LayoutRecipe:
        return cls(**data)


LAYOUTS = {
    "standard": LayoutRecipe(),
    "class": LayoutRecipe(name="class", neighbours=20, distance=0.02),
}
"""The second for the samples of a class: there are fewer of them, and what parts them is finer."""


@dataclass(frozen=True)
class Numerics:
    """What moves bits without changing meaning. Part of every plan, never probed while running."""

    batch: int = 4
    """Pictures optimised side by side; a short batch is padded to this width."""
    threads: int = 1
    """Threads a task computes with."""
    device: str = "cpu"
    """Kind of device: `cpu` or `cuda`."""
    torch: str = ""
    """MAJOR.MINOR of the torch that computes."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Numerics:
        return cls(**data)
