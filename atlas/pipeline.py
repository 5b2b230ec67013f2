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
from pathlib import Path
from typing import Annotated, Any

from atlas.errors import AtlasError, UnknownName
from atlas.words import parameter, text_of

CROPS = 8
"""Crops of each image unless said."""
MODEL, PICTURES, IMAGES, ATLASES, COMPUTING = "Model", "Feature visualizations", "Images", "Activation atlases", "Run"
LAYERS = (
    "Layers to take: auto (block outputs), all, names or globs, with units where wanted: "
    "features.11 or 'features.*' or features.11:0-63, of which whole shards of 32 are made. Repeat it or separate by "
    "commas."
)

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
    least: int | None = None
    """The least that a number may be."""
    needs: tuple[str, str] | None = None
    """An option without which it would say nothing, and the question to ask then."""
    local: bool = False
    """It says where something lies on this machine, or what carries the work out: a store does not keep it."""


OF_IMAGES = ("images", "of which images? Name them, or leave it out.")
OF_LAYERS = ("atlas", "of which layers? Name them, or leave it out.")


@dataclass(frozen=True)
class Pipeline:
    """What `atlas build` makes. Raises `AtlasError`, naming the parameter, where options are wrong or say nothing."""

    model: Annotated[
        Any,
        Option(
            MODEL,
            "squeezenet, efficientnet-lite0, torchvision:NAME[@WEIGHTS], timm:NAME or package.module:factory; "
            "NAME@random for untrained weights.",
            metavar="MODEL",
        ),
    ]
    """A spec, a loaded `atlas.models.Model`, or a `torch.nn.Module`."""
    store: Annotated[
        str | Path | None,
        Option(MODEL, "Where results go; MODEL.atlas unless said.", metavar="FOLDER", local=True),
    ] = None
    _: KW_ONLY
    weights: Annotated[
        str | Path | None,
        Option(
            MODEL,
            "A checkpoint: safetensors, or what torch.save wrote. Where it holds several sets of weights, KEY says "
            "which: run.pt#state_dict_ema. Its labels are unknown unless `labels` says them; its preprocessing is the "
            "architecture's usual unless `preprocessing` says it.",
            metavar="FILE[#KEY]",
            local=True,
        ),
    ] = None
    labels: Annotated[
        str | Path | Sequence[str] | None,
        Option(
            MODEL,
            "Class names in the order of the outputs: a file, one a line or JSON, or a list by name: imagenet.",
            metavar="FILE|NAME",
            local=True,
        ),
    ] = None
    preprocessing: Annotated[
        Any,
        Option(
            MODEL,
            "'size=224 resize=256 mean=0.485,0.456,0.406 std=0.229,0.224,0.225 scale=1 bgr=no', the same fields as a "
            "JSON object, or FILE.json.",
            metavar="TEXT",
        ),
    ] = None
    """The same text, the fields as a mapping, or an `atlas.models.Preprocessing`."""
    logits: Annotated[
        str | None,
        Option(
            MODEL,
            "Which output is the logits, where a network has several: its key or index, or the layer that gives it.",
            metavar="NAME",
        ),
    ] = None
    layout: Annotated[
        Settings,
        Option(
            MODEL,
            "The order of a layer's axes, where it could not be established: nchw, nhwc, ntc (t tokens), nct; ntc+1 "
            "where the first token is no patch. LAYER is a name or a glob. Repeat it.",
            metavar="LAYER=AXES",
            several=True,
        ),
    ] = None
    layers: Annotated[Names, Option(PICTURES, LAYERS, metavar="LAYERS", several=True)] = None
    recipe: Annotated[str, Option(PICTURES, "How pictures are made: quick, standard, fine or maco.")] = "standard"
    settings: Annotated[
        Settings,
        Option(
            PICTURES,
            "Change a knob of the recipe: `settings=steps=96`.",
            metavar="KNOB=VALUE",
            also=("set",),
            several=True,
        ),
    ] = None
    spectrum: Annotated[
        Places,
        Option(
            PICTURES,
            "For the recipe maco: images whose spectrum its pictures keep to, named as with `images`; a natural 1/f "
            "spectrum unless said.",
            metavar="IMAGES",
            local=True,
            several=True,
        ),
    ] = None
    pictures: Annotated[bool, Option(PICTURES, "Render feature visualizations, or collect images alone.")] = True
    images: Annotated[
        Places,
        Option(
            IMAGES,
            "Images to show to the network: folders, files, webdataset tars, a saved Hugging Face data set, or "
            "package.module:factory. Repeat it or separate by commas.",
            metavar="IMAGES",
            local=True,
            several=True,
        ),
    ] = None
    crops: Annotated[
        int | None,
        Option(
            IMAGES,
            f"Crops of each image: the network's own evaluation, then random ones; {CROPS} unless said.",
            least=1,
            needs=OF_IMAGES,
        ),
    ] = None
    photographs: Annotated[
        bool, Option(IMAGES, "Store crops and thumbnails of the images, or numbers alone.", needs=OF_IMAGES)
    ] = True
    atlas: Annotated[
        Names,
        Option(
            ATLASES,
            "Layers whose activations of the images are laid out as an activation atlas, named as with `layers`.",
            metavar="LAYERS",
            needs=("images", "an atlas is made of what images activate. Name them."),
            several=True,
        ),
    ] = None
    grids: Annotated[
        int | Sequence[str] | Sequence[int] | None,
        Option(
            ATLASES,
            "Cells along each edge of an atlas's grids: 20,40,80, a multiple of 5 and each twice the one before; 20 "
            "unless said.",
            metavar="SIDES",
            needs=OF_LAYERS,
            several=True,
        ),
    ] = None
    maps: Annotated[
        Names,
        Option(
            ATLASES,
            "What an atlas is of: all (unless said), class=LABEL, strongest=LABEL, pair=LABEL,LABEL. Repeat it.",
            metavar="MAP",
            also=("map",),
            needs=OF_LAYERS,
            several=True,
        ),
    ] = None
    positions: Annotated[
        int | None,
        Option(ATLASES, "Activations an atlas keeps of each crop; 1 unless said.", least=1, needs=OF_LAYERS),
    ] = None
    atlas_recipe: Annotated[
        str, Option(ATLASES, "How pictures of an atlas's cells are made: cell, quick, ...", needs=OF_LAYERS)
    ] = "cell"
    atlas_settings: Annotated[
        Settings,
        Option(
            ATLASES,
            "Change a knob of that recipe: `atlas_settings=steps=96`.",
            metavar="KNOB=VALUE",
            also=("atlas_set",),
            needs=OF_LAYERS,
            several=True,
        ),
    ] = None
    projection: Annotated[
        str | None,
        Option(
            ATLASES,
            "How an atlas's activations are laid out: standard or class; by the second where a map is of classes.",
            needs=OF_LAYERS,
        ),
    ] = None
    projection_settings: Annotated[
        Settings,
        Option(
            ATLASES,
            "Change a knob of the projection: n_neighbors=20, min_dist=0.1, metric=euclidean, pca=none, whiten=yes, "
            "seed=1; align_to=LAYER turns a map to face another layer's.",
            metavar="KNOB=VALUE",
            also=("projection_set", "layout_set"),
            needs=OF_LAYERS,
            several=True,
        ),
    ] = None
    relaxed: Annotated[
        bool,
        Option(
            ATLASES,
            "Max pools share their gradient out where activations are attributed to classes.",
            needs=OF_LAYERS,
        ),
    ] = False
    whitening: Annotated[
        float | None,
        Option(
            ATLASES,
            "How far cells are set apart from all activations before they are pictured: 0, as unless said, to 1.",
            needs=OF_LAYERS,
        ),
    ] = None
    device: Annotated[str, Option(COMPUTING, "auto, cpu or cuda.")] = "auto"
    batch: Annotated[
        int | None, Option(COMPUTING, "Pictures optimised side by side; what was calibrated unless said.", least=2)
    ] = None
    dtype: Annotated[
        str,
        Option(
            COMPUTING,
            "What the network computes in while pictures are made: float32, or bfloat16, which needs a GPU to be "
            "quicker. Their numbers are measured in float32 either way.",
        ),
    ] = "float32"
    workers: Annotated[
        int | None,
        Option(COMPUTING, "Tasks side by side; one a core or GPU unless said.", least=1, local=True),
    ] = None
    ray: Annotated[
        str | None,
        Option(
            COMPUTING,
            "A running Ray cluster: HOST:PORT, or auto for the one on this machine. Its own (local) unless said here "
            "or by RAY_ADDRESS.",
            metavar="ADDRESS",
            local=True,
        ),
    ] = None
    local: Annotated[bool, Option(COMPUTING, "No Ray: one task after the other in this process.", local=True)] = False
    partial: Annotated[
        bool, Option(COMPUTING, "Write a layer's numbers although some of its shards failed.", local=True)
    ] = False

    def __post_init__(self) -> None:
        for name, kind in kinds().items():
            if reason := wrong(name, getattr(self, name), kind):
                raise AtlasError(f"{parameter(name, getattr(self, name))}: {reason}")
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
        """The settings that an option gives, as texts `KNOB=VALUE`."""
        value = getattr(self, option)
        if isinstance(value, Mapping):
            return [f"{name}={text_of(one)}" for name, one in value.items()]
        return [value] if isinstance(value, str) else list(value or ())

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
        raise AtlasError(f"{where}{parameter('model')} is not said: which network?")
    return Pipeline(**said)


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
        return "it is empty. Name a network." if value is None or value == "" else ""
    if kind is not Any and not _fits(value, kind):
        return f"it is {_called(kind)}."
    least = option(name).least
    if least is not None and value is not None and value < least:
        return f"it is at least {least}."
    if isinstance(value, str | Path | Sequence) and not isinstance(value, Path) and not split(value):
        return "it is empty. Say it, or leave it out."
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
    return isinstance(value, (int, float) if kind is float else os.PathLike if kind is Path else kind)


def _called(kind: Any) -> str:
    """What a type is called where something else was given."""
    inner = set(typing.get_args(kind)) - {type(None)} or {kind}
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", Path: "a path"}
    told = [names[one] for one in names if one in inner]
    told += ["a list"] if any(_is(one, Sequence) for one in inner) else []
    told += ["names with values"] if any(_is(one, Mapping) for one in inner) else []
    return " or ".join(told)


def _is(kind: Any, what: type) -> bool:
    origin = typing.get_origin(kind)
    return isinstance(origin, type) and issubclass(origin, what)
