"""What changes pixels, and what only moves bits.

    Recipe     every knob that changes what a picture shows; frozen, named presets
    Collection what is shown to the network: which images, how many crops of each
    Sampling   a Collection of which activations are kept, at how many positions of each crop
    AtlasRecipe    how these are laid out, and cut into cells
    ProjectionRecipe   every knob that changes where an activation lies on a map
    Numerics   what moves bits without changing meaning: widths, threads, dtype, device kind

>>> Recipe.named("quick").steps
48
>>> Recipe.named("quick", steps=96).steps
96
>>> Recipe.named("quick", variants=("positive", "diverse-1", "diverse-2")).diverse
('diverse-1', 'diverse-2')
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

from atlas.errors import AtlasError, UnknownName
from atlas.pipeline import MOST_OF_AN_IMAGE
from atlas.words import parameter

VARIANTS = ("positive", "negative")
"""What a unit gets pictures of unless more is asked for."""
KINDS = (*VARIANTS, "neuron", "diverse-N")
"""What can be asked for."""
VARIANT = r"positive|negative|neuron|diverse-[1-9][0-9]*"
PARAMETERIZATIONS = ("fourier", "maco")
NATURAL = "natural"
"""The spectrum that is assumed where none was measured: see `atlas.rendering.spectrum`."""


STORED = {
    "lr_warmup_steps": "rise",
    "lr_decay_fraction": "fall",
    "decay_power": "decay",
    "init_std": "deviation",
    "scale": "zoom",
    "rotation": "turn",
    "relu_redirect_steps": "redirected",
    "eval_draws": "draws",
    "jpeg_quality": "level",
    "crop_scale": "box",
    "restarts": "tries",
    "cosine_power": "power",
    "n_neighbors": "neighbours",
    "min_dist": "distance",
    "max_samples": "most",
    "clip_percent": "clip",
    "align_to": "facing",
}
"""What stores call knobs, by the names they have now: ids of plans hash the stored names, which stay for ever. Whoever
says a stored name is understood."""


def _called(knobs: Mapping[str, Any]) -> dict[str, Any]:
    """Knobs by the names they have now, whichever of their names was said."""
    now = {old: name for name, old in STORED.items()}
    return {now.get(name, name): value for name, value in knobs.items()}


@dataclass(frozen=True)
class Knobs:
    """What configures a stage, as JSON and back."""

    LATER: ClassVar[tuple[str, ...]] = ()
    """Knobs that came after the first stores. At their default they are not written, so that older plans keep their
    ids: their defaults stay for ever."""
    KIND: ClassVar[str] = ""
    """What a message calls whose knobs they are."""
    EXAMPLE: ClassVar[str] = ""
    """A setting, as a message shows it."""
    RANGES: ClassVar[Mapping[str, tuple[float, float]]] = {}
    """The least and the most that knobs may be, where they are not None."""

    def __post_init__(self) -> None:
        for name, (least, most) in self.RANGES.items():
            value = getattr(self, name)
            if value is not None and not (least <= value <= most and value < math.inf):
                upto = "up" if most == math.inf else f"to {most:,}"
                raise AtlasError(f"{self.KIND}: {name} must be a number from {least} {upto}, not {value}.")
        for field in fields(self):
            # 1 and 1.0 are the same knob: a fingerprint must not tell them apart.
            if field.type == "float":
                object.__setattr__(self, field.name, float(getattr(self, field.name)))

    def to_dict(self) -> dict[str, Any]:
        """Every knob as JSON by its stored name, but those of `LATER` where they are as if they were not there."""
        unsaid = {field.name: field.default for field in fields(self) if field.name in self.LATER}
        knobs = {field.name: getattr(self, field.name) for field in fields(self)}
        said = {name: value for name, value in knobs.items() if name not in unsaid or value != unsaid[name]}
        return {STORED.get(name, name): _as_json(value) for name, value in said.items()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """What `to_dict` wrote."""
        knobs = {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
        return cls(**_called(knobs))

    @classmethod
    def named(cls, name: str, **changes: Any) -> Self:
        """The preset `name`, with `changes` to its knobs. Raises `UnknownName` for either's unknown names."""
        presets: Mapping[str, Self] = PRESETS_OF[cls]
        if name not in presets:
            raise UnknownName.among(cls.KIND, name, presets, hint=f"There are: {', '.join(presets)}.")
        changes, known = _called(changes), [field.name for field in fields(cls)]
        for changed in changes:
            if changed not in known:
                raise UnknownName.among(f"setting of a {cls.KIND}", changed, known)
        return replace(presets[name], **changes)

    @classmethod
    def parse(cls, name: str, settings: Iterable[str], said: str = "settings") -> Self:
        """The preset `name` changed by texts such as `steps=96`, `scale=0.8,1.2`, `variants=positive`, `pca=none`.

        `said` is the parameter that gave them. Raises `AtlasError` where a setting cannot be read, `UnknownName` for
        an unknown knob.
        """
        changes = {}
        for setting in settings:
            knob, _, text = setting.partition("=")
            if not text:
                raise AtlasError(f"{parameter(said, setting)}: write NAME=VALUE, as in {cls.EXAMPLE}.")
            changes[knob] = _read(cls, said, knob, text)
        return cls.named(name, **changes)


def _as_json(value: Any) -> Any:
    if isinstance(value, Knobs):
        return value.to_dict()
    return list(value) if isinstance(value, tuple) else value


def _read(recipe: type[Any], said: str, knob: str, text: str) -> Any:
    """The value that `text` means for `knob`, by the type of the knob."""
    kinds = {field.name: field.type for field in fields(recipe)}
    (name,) = _called({knob: text})
    kind = str(kinds.get(name, "str"))
    if kind.endswith(" | None"):
        if text == "none":
            return None
        kind = kind.removesuffix(" | None")
    try:
        if kind.startswith("tuple[float"):
            low, high = map(float, text.split(","))
            return (low, high)
        if kind.startswith("tuple"):
            return tuple(text.split(","))
        if kind == "bool":
            return {"yes": True, "no": False}[text]
        return {"int": int, "float": float}.get(kind, str)(text)
    except (ValueError, KeyError):
        forms = {"int": "a whole number", "float": "a number", "bool": "yes or no"}
        form = forms.get(kind, "two numbers, as 0.9,1.1")
        raise AtlasError(f"{parameter(said, f'{knob}={text}')}: {knob} must be {form}.") from None


@dataclass(frozen=True)
class Recipe(Knobs):
    """How pictures are made. Defaults are those of the preset `standard`, but for the knobs that came later (`LATER`).

    What each knob is worth was measured: docs/engine.md.
    """

    KIND = "recipe"
    EXAMPLE = "steps=96"
    RANGES: ClassVar = {
        **dict.fromkeys(("learning_rate", "beta1", "beta2", "decay_power", "init_std", "jitter"), (0, math.inf)),
        **dict.fromkeys(("rotation", "diversity", "cosine_power", "contrast"), (0, math.inf)),
        **dict.fromkeys(("relu_redirect_steps", "lr_warmup_steps"), (0, 1_000_000)),
        "steps": (1, 1_000_000),
        "eval_draws": (1, 65_536),
        "size": (16, 16_384),
        "jpeg_quality": (1, 100),
        "restarts": (1, 255),
        "lr_decay_fraction": (0, 1),
    }
    LATER = (
        "lr_warmup_steps",
        "lr_decay_fraction",
        "parameterization",
        "spectrum",
        "crop_scale",
        "diversity",
        "restarts",
        "agreement",
        "cosine_power",
        "contrast",
    )

    name: str = "standard"
    """For people; two recipes with the same knobs are the same whatever they are called."""
    size: int = 160
    """Side of the picture in pixels."""
    steps: int = 128
    """Steps of gradient ascent."""
    variants: tuple[str, ...] = VARIANTS
    """Pictures a unit gets: what raises it (`positive`), what lowers it (`negative`), what raises it at the centre
    position alone (`neuron`), and several that raise it, each in another way (`diverse-1` to `diverse-N`)."""
    learning_rate: float = 0.2
    beta1: float = 0.3
    beta2: float = 0.99
    """Adam's; the short memory of the gradient is worth as much as a higher rate."""
    lr_warmup_steps: int = 0
    """First steps over which the rate rises to `learning_rate`; at most a quarter of all."""
    lr_decay_fraction: float = 0.0
    """Last share of the steps over which it falls to zero."""
    decay_power: float = 1.1
    """Power of 1/frequency by which the spectrum is preconditioned."""
    init_std: float = 0.05
    """Standard deviation of the initial spectrum."""
    jitter: float = 12.0
    """Largest shift of the picture under the transforms, in pixels."""
    scale: tuple[float, float] = (0.95, 1.05)
    """Smallest and largest scale under the transforms."""
    rotation: float = 5.0
    """Largest rotation under the transforms, in degrees."""
    relu_redirect_steps: int = 16
    """First steps in which a rectifier that blocks every gradient lets it pass (Lucid's redirected ReLU)."""
    eval_draws: int = 8
    """Held-out transform draws behind each number of a picture."""
    jpeg_quality: int = 90
    """JPEG quality of the stored picture."""
    seed: int = 0
    parameterization: str = "fourier"
    """What is moved: a whole spectrum (`fourier`), or its phases alone under magnitudes that stay (`maco`)."""
    spectrum: str = ""
    """Of `maco`: the magnitudes, as the hash of those that were measured on images, or `natural`."""
    crop_scale: tuple[float, float] = (1.0, 1.0)
    """Of `maco`: smallest and largest side of the crops through which the picture is seen, as shares of its own."""
    diversity: float = 1.0
    """Of `diverse` pictures: the share of a unit's value that counts for nothing where they are alike."""
    restarts: int = 1
    """Starts a picture is made from, at most 255; the one that scores best on held-out draws is kept."""
    agreement: bool = False
    """Whether each picture is made with the next seed too, to see how alike the two are to the network."""
    cosine_power: float = 0.0
    """Of pictures of directions: the power of the cosine by which their product with the layer's value is weighted."""
    contrast: float = 0.0
    """Of `fourier`: the largest root mean square of a picture before its sigmoid, where 0 is grey; 0 for no limit."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "scale", tuple(map(float, self.scale)))
        object.__setattr__(self, "crop_scale", tuple(map(float, self.crop_scale)))
        object.__setattr__(self, "variants", tuple(self.variants))
        if self.parameterization == "maco":
            object.__setattr__(self, "spectrum", self.spectrum or NATURAL)
        self._check_pair("scale", math.inf)
        self._check_pair("crop_scale", 1)
        self._check_variants()
        self._check_parameterization()

    def _check_pair(self, name: str, most: float) -> None:
        pair = getattr(self, name)
        if not (len(pair) == 2 and 0 < pair[0] <= pair[1] <= most and pair[1] < math.inf):
            upto = "" if most == math.inf else f" and up to {most}"
            given = ", ".join(map(str, pair))
            raise AtlasError(f"recipe: {name} must be two rising numbers above 0{upto}, not {given}.")

    def _check_variants(self) -> None:
        given = ", ".join(self.variants) or "none"
        wrong = [variant for variant in self.variants if not re.fullmatch(VARIANT, variant)]
        if wrong or not self.variants or len(set(self.variants)) < len(self.variants):
            raise AtlasError(f"recipe: variants are some of {', '.join(KINDS)}, each once; not {given}.")
        count = len(self.diverse)
        if count == 1 or set(self.diverse) != {f"diverse-{nth}" for nth in range(1, count + 1)}:
            raise AtlasError(f"recipe: diverse variants are two or more, diverse-1, diverse-2, ...; not {given}.")

    def _check_parameterization(self) -> None:
        kind = self.parameterization
        if kind not in PARAMETERIZATIONS:
            raise UnknownName.among("parameterization", kind, PARAMETERIZATIONS, hint="There are: fourier, maco.")
        if kind != "maco" and (self.spectrum or self.crop_scale != (1.0, 1.0)):
            raise AtlasError(
                "recipe: spectrum and crop_scale are settings of maco alone; set parameterization=maco too."
            )
        if kind == "maco" and self.contrast:
            raise AtlasError("recipe: contrast is a setting of fourier alone: take the recipe maco, or set contrast=0.")
        if self.spectrum and self.spectrum != NATURAL and not re.fullmatch(r"[0-9a-f]{64}", self.spectrum):
            raise AtlasError(f"recipe: spectrum is {NATURAL} or the hash of a measured one, not {self.spectrum}.")

    @property
    def measured(self) -> bool:
        """Whether it keeps to a spectrum that was measured on images."""
        return self.spectrum not in ("", NATURAL)

    @property
    def diverse(self) -> tuple[str, ...]:
        """The variants that are made side by side so as to differ, in the order they were asked for."""
        return tuple(variant for variant in self.variants if variant.startswith("diverse-"))


STANDARD = Recipe(lr_warmup_steps=8, lr_decay_fraction=0.3, contrast=1.5)
PRESETS = {
    "quick": replace(STANDARD, name="quick", size=128, steps=48, contrast=2.0),
    "standard": STANDARD,
    "fine": replace(STANDARD, name="fine", size=224, steps=256),
    "maco": Recipe(
        name="maco",
        size=224,
        steps=256,
        learning_rate=0.1,
        beta1=0.5,
        lr_decay_fraction=0.3,
        relu_redirect_steps=32,
        parameterization="maco",
        crop_scale=(0.5, 0.95),
    ),
}

PRESETS["cell"] = replace(
    PRESETS["quick"],
    name="cell",
    size=96,
    steps=48,
    variants=("positive",),
    restarts=2,
    eval_draws=4,
    cosine_power=4.0,
    jitter=8.0,
)
"""For the cells of an atlas: small pictures, and the best of a few tries at each."""


REFERENCE = 4096
"""Images of the reference set at most; see `Collection.step`."""
STEPS = 1024
"""Largest step through the images: that of a shard of them, so that each shard owns rows of the reference set."""


@dataclass(frozen=True)
class Collection(Knobs):
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
            raise AtlasError(f"{parameter('crops', self.crops)}: at least 1, the model's own evaluation crop.")
        if self.count < 1:
            raise AtlasError(f"{parameter('images')}: there are none.")

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


@dataclass(frozen=True)
class Sampling(Collection):
    """Which activations of a layer are kept for its atlas."""

    positions: int = 1
    """Positions of each crop, chosen by chance."""
    relaxed: bool = False
    """Whether max pools share their gradient out where positions are attributed to classes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.positions < 1:
            raise AtlasError(f"{parameter('positions', self.positions)}: at least 1 of each crop.")
        if self.each > MOST_OF_AN_IMAGE:
            raise AtlasError(
                f"{self.crops} crops x {self.positions} positions: of an image at most {MOST_OF_AN_IMAGE:,} are kept."
            )

    @property
    def each(self) -> int:
        """Samples of each image."""
        return self.crops * self.positions

    @property
    def samples(self) -> int:
        """Samples of all images: in the order of images, crops, positions as they were drawn."""
        return self.count * self.each


METRICS = ("cosine", "euclidean")


@dataclass(frozen=True)
class ProjectionRecipe(Knobs):
    """How activations are laid out. Defaults are those of the preset `standard`, after the Activation Atlas."""

    KIND = "projection"
    EXAMPLE = "n_neighbors=20"
    RANGES: ClassVar = {
        "n_neighbors": (2, 1_000_000),
        "pca": (2, math.inf),
        "max_samples": (2, 1_000_000_000),
        "min_dist": (0, 1),
        "clip_percent": (0, 49),
        "margin": (0, 10),
    }
    LATER = ("align_to",)

    name: str = "standard"
    """For people, as that of a `Recipe`."""
    n_neighbors: int = 50
    """Samples that are to stay together with each; fewer show finer structure and less of the whole."""
    min_dist: float = 0.05
    """UMAP's `min_dist`: how close samples may come that are alike."""
    metric: str = "cosine"
    """`cosine`: vectors are alike that point one way, however long. `euclidean`: also in length."""
    whiten: bool = False
    """Make vectors as wide in every direction before they are compared."""
    pca: int | None = 64
    """Principal components that are compared instead of all channels; None for all."""
    max_samples: int = 100_000
    """Samples that are embedded at most; of more, a seeded choice, among which the others are placed."""
    clip_percent: float = 1.0
    """Percent of the samples that may lie beyond either end of an axis."""
    margin: float = 0.1
    """What is shown beyond these ends, as a part of what lies between them."""
    seed: int = 0
    align_to: str = ""
    """Layer whose map of all activations this one is turned to face; by its own data unless said."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.metric not in METRICS:
            raise UnknownName.among(
                "metric of a projection", self.metric, METRICS, hint=f"There are: {', '.join(METRICS)}."
            )


LAYOUTS = {
    "standard": ProjectionRecipe(),
    "class": ProjectionRecipe(name="class", n_neighbors=20, min_dist=0.02),
}
"""The second for the samples of a class: there are fewer of them, and what parts them is finer."""
PRESETS_OF: dict[type[Knobs], Mapping[str, Any]] = {Recipe: PRESETS, ProjectionRecipe: LAYOUTS}


DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class AtlasRecipe(Knobs):
    """How a layer's activations are laid out, and cut into cells."""

    KIND = "atlas"
    RANGES: ClassVar = {"whitening": (0, 1)}

    sampling: Sampling
    layout: ProjectionRecipe
    side: int = 0
    """Cells along each edge of the grid; 0 for the layout, which knows of no grid."""
    below: int = 0
    """Of tiles: how many times the grid's canvas is halved."""
    whitening: float = 0.0
    """Of cells: the power of the inverse second moment of the activations that a cell's mean is multiplied by to be
    rendered. 0 renders the mean itself, 1 what sets it apart from all activations."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.side % 5 or self.side < 0:
            raise AtlasError(
                f"{parameter('grids', self.side)}: a grid's side is a multiple of 5 (cells of a tile), as 20."
            )

    @property
    def name(self) -> str:
        """For people: that of the layout."""
        return self.layout.name

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> AtlasRecipe:
        sampling, layout = Sampling.from_dict(data["sampling"]), ProjectionRecipe.from_dict(data["layout"])
        return cls(**(data | {"sampling": sampling, "layout": layout}))


@dataclass(frozen=True)
class Numerics(Knobs):
    """What moves bits without changing meaning. Part of every plan, never probed while running."""

    LATER = ("dtype",)

    batch: int = 4
    """Pictures optimised side by side; a short batch is padded to this width."""
    threads: int = 1
    """Threads a task computes with."""
    device: str = "cpu"
    """Kind of device: `cpu` or `cuda`."""
    torch: str = ""
    """MAJOR.MINOR of the torch that computes."""
    dtype: str = "float32"
    """What the network computes in: `float32` or `bfloat16`. Numbers are measured in float32 either way."""

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise UnknownName.among("dtype", self.dtype, DTYPES, hint=f"There are: {', '.join(DTYPES)}.")
