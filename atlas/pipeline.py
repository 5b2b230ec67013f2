"""A pipeline: what to make of which network, of which images, how it is computed, and where it goes.

    options of a command, keys of a file, arguments of a call -> Pipeline

Every option is declared here, once: `atlas build` and `atlas plan` take these options, a pipeline file has these keys,
`atlas.build` and `atlas.plan` these parameters.

>>> Pipeline("squeezenet", layers="features.3,features.4").names("layers")
['features.3', 'features.4']
"""

from __future__ import annotations

import os
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, fields
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from typing import Annotated, Any

from atlas.errors import AtlasError, UnknownName
from atlas.words import brief, parameter, text_of

MOST_OF_AN_IMAGE = 1024
"""Crops and activations kept of one image at most: a shard of images is held in memory until it is written."""
CROPS = 8
"""Crops of each image unless said."""
MODEL, PICTURES, IMAGES, ATLASES, COMPUTING = "Model", "Feature visualizations", "Images", "Activation atlases", "Run"
LAYERS = (
    "Layers: auto (the outputs of blocks), all, names or globs. A range selects units, as in features.11:0-63; units "
    "are made in whole shards of 32. Repeatable, or separated by commas."
)

NEEDED = {
    IMAGES: ("images", "this option needs images. Give some, or leave it out."),
    ATLASES: ("atlas", "this option needs layers for an atlas. Give some, or leave it out."),
}
"""Without which option the others of a group would say nothing, and the question to ask then."""

Names = Sequence[str] | None
"""Several names: a list, or one text with commas."""
Places = str | Path | Sequence[str | Path] | None
"""Several places."""
Settings = Sequence[str] | Mapping[str, Any] | None
"""Knobs by name: `{"steps": 96}` or `["steps=96"]`."""


@dataclass(frozen=True)
class Option:
    """What is known of an option beside its name, type and default."""

    panel: str
    """The group under which help shows it."""
    help: str
    metavar: str | None = None
    also: tuple[str, ...] = ()
    """Other names on the command line."""
    several: bool = False
    """The command line takes it more than once."""
    least: float | None = None
    """The least that a number may be."""
    most: float | None = None
    """The most: far above what anybody needs, so that a slip of the finger is told before it is planned."""
    needs: tuple[str, str] | None = None
    """An option without which it would say nothing, and the question to ask then: that of its group unless said."""
    preset: str = ""
    """The option whose preset these settings are of."""
    local: bool = False
    """It says where something lies on this machine, or what carries the work out: a store does not keep it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "needs", self.needs or NEEDED.get(self.panel))


@dataclass(frozen=True)
class Pipeline:
    """What `atlas build` makes. Raises `AtlasError`, naming the parameter, where options are wrong or say nothing."""

    model: Annotated[
        Any,
        Option(
            MODEL,
            "The network: squeezenet, efficientnet-lite0, torchvision:NAME[@WEIGHTS], timm:NAME or "
            "package.module:factory. Add @random for untrained weights.",
            metavar="MODEL",
        ),
    ]
    """A spec, a loaded `atlas.models.Model`, or a `torch.nn.Module`."""
    store: Annotated[
        str | Path | None,
        Option(
            MODEL,
            "Folder for the results, or an address in an object store: s3://, gs://, az://. Default: MODEL.atlas.",
            metavar="FOLDER",
            local=True,
        ),
    ] = None
    _: KW_ONLY
    weights: Annotated[
        str | Path | None,
        Option(
            MODEL,
            "Checkpoint to load: safetensors, or a file that torch.save wrote, here or in an object store "
            "(s3://, gs://, az://). If it holds several sets of weights, "
            "KEY selects one, as in run.pt#state_dict_ema. A checkpoint has no labels of its own (see `labels`), and "
            "gets the preprocessing that is usual for the architecture (see `preprocessing`).",
            metavar="FILE[#KEY]",
            local=True,
        ),
    ] = None
    labels: Annotated[
        str | Path | Sequence[str] | None,
        Option(
            MODEL,
            "Class names in the order of the outputs: a text file with one name per line, a JSON file (here or in an "
            "object store), or a named list such as imagenet.",
            metavar="FILE|NAME",
            local=True,
        ),
    ] = None
    preprocessing: Annotated[
        Any,
        Option(
            MODEL,
            "Preprocessing, as in 'size=224 resize=256 mean=0.485,0.456,0.406 std=0.229,0.224,0.225 scale=1 bgr=no'. "
            "A JSON object with the same fields and FILE.json work too.",
            metavar="TEXT",
        ),
    ] = None
    """The same text, the fields as a mapping, or an `atlas.models.Preprocessing`."""
    logits: Annotated[
        str | None,
        Option(
            MODEL,
            "Which output holds the logits, if the network has several outputs: its key or index, or the name of the "
            "layer that computes it.",
            metavar="NAME",
        ),
    ] = None
    layout: Annotated[
        Settings,
        Option(
            MODEL,
            "Order of a layer's axes, if the dry run cannot establish it: nchw, nhwc, nct, or ntc (t is tokens; ntc+1 "
            "if the first token is a class token). LAYER is a name or a glob. Repeatable.",
            metavar="LAYER=AXES",
            several=True,
        ),
    ] = None
    layers: Annotated[Names, Option(PICTURES, LAYERS, metavar="LAYERS", several=True)] = None
    recipe: Annotated[str, Option(PICTURES, "Recipe for feature visualizations: quick, standard, fine or maco.")] = (
        "standard"
    )
    settings: Annotated[
        Settings,
        Option(
            PICTURES,
            "Override a setting of the recipe, as in `settings=steps=96`. Repeatable.",
            metavar="NAME=VALUE",
            also=("set",),
            preset="recipe",
            several=True,
        ),
    ] = None
    spectrum: Annotated[
        Places,
        Option(
            PICTURES,
            "For the recipe maco: images whose average spectrum the pictures keep, given as with `images`. Default: a "
            "natural 1/f spectrum.",
            metavar="IMAGES",
            local=True,
            several=True,
        ),
    ] = None
    pictures: Annotated[
        bool, Option(PICTURES, "Render feature visualizations. Without them, a build only collects images.")
    ] = True
    images: Annotated[
        Places,
        Option(
            IMAGES,
            "Images to run through the network: folders, files and webdataset tars, here or in an object store "
            "('s3://BUCKET/{000..127}.tar'), a saved Hugging Face dataset, or package.module:factory. Repeatable, or "
            "separated by commas.",
            metavar="IMAGES",
            local=True,
            several=True,
        ),
    ] = None
    cache: Annotated[
        str | Path | None,
        Option(
            IMAGES,
            "Cache folder: hashes of listed images, and copies of images from object stores. If it is an address in an "
            "object store, it holds only the hashes. Default: ATLAS_CACHE if it is set, else atlas in the user's "
            "cache.",
            metavar="FOLDER",
            local=True,
        ),
    ] = None
    cache_size: Annotated[
        float | None,
        Option(
            IMAGES,
            "Size limit of the cached copies in GB; the least recently used are removed first. 0 keeps no copies. "
            "Default: 20.",
            metavar="GB",
            least=0,
            most=1_000_000,
            local=True,
        ),
    ] = None
    crops: Annotated[
        int | None,
        Option(
            IMAGES,
            f"Crops of each image: the evaluation crop first, then random ones. Default: {CROPS}.",
            least=1,
            most=MOST_OF_AN_IMAGE,
        ),
    ] = None
    photographs: Annotated[
        bool,
        Option(
            IMAGES,
            "Store thumbnails and crops of the images. Without them, a store holds only numbers.",
        ),
    ] = True
    atlas: Annotated[
        Names,
        Option(
            ATLASES,
            "Layers to make activation atlases of, given as with `layers`.",
            metavar="LAYERS",
            needs=("images", "an atlas is made of the activations of images. Name some."),
            several=True,
        ),
    ] = None
    grids: Annotated[
        int | Sequence[str] | Sequence[int] | None,
        Option(
            ATLASES,
            "Cells along each edge of an atlas's grids, as in 20,40,80. Each is a multiple of 5 and twice the one "
            "before. Default: 20.",
            metavar="SIDES",
            several=True,
        ),
    ] = None
    maps: Annotated[
        Names,
        Option(
            ATLASES,
            "Maps to make of each layer: all, class=LABEL, strongest=LABEL or pair=LABEL,LABEL. Default: all. "
            "Repeatable.",
            metavar="MAP",
            also=("map",),
            several=True,
        ),
    ] = None
    positions: Annotated[
        int | None,
        Option(ATLASES, "Activations sampled from each crop. Default: 1.", least=1, most=MOST_OF_AN_IMAGE),
    ] = None
    atlas_recipe: Annotated[
        str, Option(ATLASES, "Recipe for the pictures of atlas cells: cell, quick, standard or fine.")
    ] = "cell"
    atlas_settings: Annotated[
        Settings,
        Option(
            ATLASES,
            "Override a setting of that recipe, as in `atlas_settings=steps=96`. Repeatable.",
            metavar="NAME=VALUE",
            also=("atlas_set",),
            preset="atlas_recipe",
            several=True,
        ),
    ] = None
    projection: Annotated[
        str | None,
        Option(
            ATLASES,
            "Preset for projecting activations to 2-D with UMAP: standard or class. Default: class for maps of "
            "classes, else standard.",
        ),
    ] = None
    projection_settings: Annotated[
        Settings,
        Option(
            ATLASES,
            "Override a setting of the projection: n_neighbors=20, min_dist=0.1, metric=euclidean, pca=none, "
            "whiten=yes, seed=1; align_to=LAYER rotates a map to match another layer's. Repeatable.",
            metavar="NAME=VALUE",
            also=("projection_set", "layout_set"),
            preset="projection",
            several=True,
        ),
    ] = None
    relaxed: Annotated[
        bool,
        Option(
            ATLASES,
            "Relax max pooling when activations are attributed to classes: the gradient is shared over the window.",
        ),
    ] = False
    whitening: Annotated[
        float | None,
        Option(
            ATLASES,
            "Whitening exponent for the directions of cells, from 0 (off, the default) to 1.",
        ),
    ] = None
    device: Annotated[
        str,
        Option(
            COMPUTING, "Device: auto, cpu or cuda. With auto a GPU is used if the machine, or the cluster, has one."
        ),
    ] = "auto"
    batch: Annotated[
        int | None,
        Option(
            COMPUTING,
            "Batch size: pictures optimized together. Default: the calibrated one, if any.",
            least=2,
            most=65_536,
        ),
    ] = None
    dtype: Annotated[
        str,
        Option(
            COMPUTING,
            "Data type of the network while it renders: float32 or bfloat16. bfloat16 is faster only on a GPU. Scores "
            "are measured in float32 either way.",
        ),
    ] = "float32"
    workers: Annotated[
        int | None,
        Option(
            COMPUTING, "Tasks that run in parallel. Default: one per core or GPU.", least=1, most=1_000_000, local=True
        ),
    ] = None
    ray: Annotated[
        str | None,
        Option(
            COMPUTING,
            "Address of a running Ray cluster: HOST:PORT, or auto for one on this machine. Default: RAY_ADDRESS if it "
            "is set, else a new local cluster.",
            metavar="ADDRESS",
            local=True,
        ),
    ] = None
    local: Annotated[
        bool, Option(COMPUTING, "Run without Ray: one task after the other in this process.", local=True)
    ] = False
    max_hours: Annotated[
        float | None,
        Option(
            COMPUTING,
            "Hours after which the build starts no new work and ends. It reports what is left; run the same command to "
            "resume.",
            least=0,
            most=1_000_000,
            local=True,
        ),
    ] = None
    price: Annotated[
        float | None,
        Option(
            COMPUTING,
            "Price of an hour of one GPU (of one core, with `device=cpu`). Plans and summaries then show the cost.",
            least=0,
            most=1_000_000_000_000,
            local=True,
        ),
    ] = None
    partial: Annotated[
        bool, Option(COMPUTING, "Write the results of a layer even if some of its shards failed.", local=True)
    ] = False

    def __post_init__(self) -> None:
        for name, kind in kinds().items():
            if reason := wrong(name, getattr(self, name), kind):
                raise AtlasError(f"{parameter(name, brief(getattr(self, name)))}: {reason}")
        for name, value in self.said().items():
            needed = option(name).needs
            if needed and not getattr(self, needed[0]):
                told = parameter(name, value if isinstance(value, bool) else None)
                raise AtlasError(f"{told} without {parameter(needed[0])}: {needed[1]}")
        if not self.pictures and not self.images:
            raise AtlasError(
                f"{parameter('pictures', False)} without {parameter('images')}: there is nothing to build."
            )
        if self.local and self.ray:
            raise AtlasError(f"{parameter('local', True)} with {parameter('ray')}: leave one of them out.")

    def said(self) -> dict[str, Any]:
        """What is not as it is unless said, by name."""
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name)) != field.default}

    def names(self, option: str) -> list[str]:
        """The texts that an option of several gives, one by one."""
        value = getattr(self, option)
        return split([str(value)] if isinstance(value, int) else value)

    def knobs(self, option: str) -> list[str]:
        """The settings that an option gives, as texts `NAME=VALUE`."""
        return knobs(getattr(self, option))

    def places(self, option: str) -> list[str]:
        """The places that an option gives; what is there by its whole name, commas and all, is one."""
        value = getattr(self, option)
        given = [value] if isinstance(value, str | Path) else list(value or ())
        return [part for text in map(str, given) for part in ([text] if Path(text).exists() else split([text]))]


@cache
def kinds() -> dict[str, Any]:
    """The type of every option, by name, without what is known of it beside."""
    return {name: typing.get_args(hint)[0] for name, hint in _hints().items()}


def option(name: str) -> Option:
    """What is known of an option."""
    return next(one for one in typing.get_args(_hints()[name]) if isinstance(one, Option))


@cache
def _hints() -> dict[str, Any]:
    hints = typing.get_type_hints(Pipeline, include_extras=True)
    return {name: hint for name, hint in hints.items() if name != "_"}


def of(said: Mapping[str, Any], where: str = "") -> Pipeline:
    """The pipeline that `said` describes. Raises `UnknownName` for an option that is not there, and as `Pipeline`."""
    for name in said:
        if name not in kinds():
            raise UnknownName.among("key of a pipeline", f"{where}{name}", kinds())
    if said.get("model") is None:
        raise AtlasError(f"{where}{parameter('model')} is missing: name a network.")
    return Pipeline(**said)


def knobs(value: Settings) -> list[str]:
    """Settings as texts `NAME=VALUE`, however they were said."""
    if isinstance(value, Mapping):
        return [f"{name}={text_of(one)}" for name, one in value.items()]
    return [value] if isinstance(value, str) else list(value or ())


def beside(told: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """What was `told` before with what is `said` beside it, which goes before it: settings one by one.

    >>> beside({"crops": 2, "settings": {"size": 16, "steps": 1}}, {"settings": ["steps=2"]})
    {'crops': 2, 'settings': ['size=16', 'steps=1', 'steps=2']}
    """
    both = {name for name in said if name in told and kinds().get(name) == Settings}
    return {**told, **said} | {name: [*knobs(told[name]), *knobs(said[name])] for name in both}


def split(texts: str | Iterable[object] | None) -> list[str]:
    """Texts given one by one or by commas, one by one.

    >>> split(["a,b", "c"])
    ['a', 'b', 'c']
    """
    given = [texts] if isinstance(texts, str) else texts or []
    return [part.strip() for text in given for part in str(text).split(",") if part.strip()]


def wrong(name: str, value: Any, kind: Any) -> str:
    """Why `value` cannot be what an option says; empty where it can."""
    if name == "model":
        if isinstance(value, bool | int | float | bytes | Mapping | list | tuple | set):
            return "it is no network. Give a spec, a Model or a torch.nn.Module."
        return "it is empty. Name a network." if value is None or value == "" else ""
    if kind is not Any and not _fits(value, kind):
        return f"it must be {_called(kind)}."
    least = option(name).least
    if least is not None and value is not None and not value >= least:  # NaN is neither
        return f"it must be at least {least:g}."
    most = option(name).most
    if most is not None and value is not None and value > most:
        return f"it must be at most {most:,}."
    if isinstance(value, str | Path | Sequence) and not isinstance(value, Path) and not split(value):
        return "it is empty. Give a value, or leave it out."
    return ""


def _fits(value: Any, kind: Any) -> bool:
    """Whether `value` is of a type as options have them."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in inner)
    if kind is type(None) or kind is bool:
        return value is None if kind is type(None) else isinstance(value, bool)
    if isinstance(value, bool):
        return False
    if origin is not None and issubclass(origin, Mapping):
        return isinstance(value, Mapping)
    if origin is not None:
        return isinstance(value, str) or (isinstance(value, Sequence) and all(_fits(one, inner[0]) for one in value))
    also = {int: Integral, float: Real, Path: os.PathLike}  # those of numpy are numbers too
    return isinstance(value, also.get(kind, kind))


NAMES = {int: "whole number", float: "number", bool: "true or false", str: "text", Path: "path"}


def _called(kind: Any) -> str:
    """What a type is called where something else was given."""
    inner = _flat(kind)
    told = [name if one is bool else f"a {name}" for one, name in NAMES.items() if one in inner]
    items = {item for one in inner if _is(one, Sequence) for item in _flat(typing.get_args(one)[0])}
    told += [f"a list of {' or '.join(f'{name}s' for one, name in NAMES.items() if one in items)}"] if items else []
    told += ["names with values"] if any(_is(one, Mapping) for one in inner) else []
    return " or ".join(told)


def _flat(kind: Any) -> tuple[Any, ...]:
    return typing.get_args(kind) or (kind,)


def _is(kind: Any, what: type) -> bool:
    origin = typing.get_origin(kind)
    return isinstance(origin, type) and issubclass(origin, what)
