"""Arguments that several commands share, and what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atlas.errors import AtlasError, ImagesError, NotAStore
from atlas.places import local
from atlas.plan import Plan
from atlas.recipe import Collection, LayoutRecipe, Numerics, Recipe
from atlas.stages import FEATURES, ICONS
from atlas.store import Store
from atlas.store.removal import replaced
from atlas.terminal import remark
from atlas.units import Layer, decode

if TYPE_CHECKING:
    from atlas.cost import Calibration
    from atlas.models import Model
    from atlas.rendering import Spectrum as MeasuredSpectrum

LAYERS_HELP = (
    "Layers to take: auto (block outputs), all, names or globs, with units where wanted: "
    "features.11 or 'features.*' or features.11:0-63, of which whole shards of 32 are made. Repeat it or separate by "
    "commas."
)


def place(text: str | Path) -> Path:
    """The place of this machine that an option names. Raises as `filled`."""
    return local(filled(str(text)))


def filled(text: str) -> str:
    """What an option says. Raises `BadParameter`, which names it, where that is nothing, as of an unset variable."""
    if not text.strip(" \t\n,"):
        raise typer.BadParameter("it is empty. Name a place, or leave it out.")
    return text


ModelSpec = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="squeezenet, efficientnet-lite0, torchvision:NAME[@WEIGHTS], timm:NAME or package.module:factory; "
        "NAME@random for untrained weights.",
    ),
]
Layers = Annotated[list[str] | None, typer.Option("--layers", help=LAYERS_HELP)]
RecipeName = Annotated[str, typer.Option("--recipe", help="How pictures are made: quick, standard, fine or maco.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KNOB=VALUE", help="Change a knob of the recipe: --set steps=96.")
]
Spectrum = Annotated[
    list[str] | None,
    typer.Option(
        "--spectrum",
        metavar="IMAGES",
        parser=filled,
        help="For the recipe maco: images whose spectrum its pictures keep to, named as with --images; a natural "
        "1/f spectrum unless said.",
    ),
]
StorePath = Annotated[
    Path | None,
    typer.Option("--store", metavar="FOLDER", parser=place, help="Where results go; MODEL.atlas unless said."),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        metavar="FILE[#KEY]",
        parser=place,
        help="A checkpoint: safetensors, or what torch.save wrote. Where it holds several sets of weights, KEY says "
        "which: run.pt#state_dict_ema. Its labels are unknown unless --labels "
        "says them; its preprocessing is the architecture's usual unless --preprocessing says it.",
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        metavar="FILE|NAME",
        parser=place,
        help="Class names in the order of the outputs: a file, one a line or JSON, or a list by name: imagenet.",
    ),
]
Preprocess = Annotated[
    str | None,
    typer.Option(
        "--preprocessing",
        metavar="TEXT",
        parser=filled,
        help="'size=224 resize=256 mean=0.485,0.456,0.406 std=0.229,0.224,0.225 scale=1 bgr=no', the same fields as a "
        "JSON object, or FILE.json.",
    ),
]
Logits = Annotated[
    str | None,
    typer.Option(
        "--logits",
        metavar="NAME",
        help="Which output is the logits, where a network has several: its key or index, or the layer that gives it.",
    ),
]
Images = Annotated[
    list[str] | None,
    typer.Option(
        "--images",
        metavar="IMAGES",
        parser=filled,
        help="Images to show to the network: folders, files, webdataset tars, a saved Hugging Face data set, or "
        "package.module:factory. Repeat it or separate by commas.",
    ),
]
CROPS = 8
"""Crops of each image unless said."""
Crops = Annotated[
    int | None,
    typer.Option(
        "--crops", min=1, help=f"Crops of each image: the network's own evaluation, then random ones; {CROPS}."
    ),
]
Pictures = Annotated[
    bool, typer.Option("--pictures/--no-pictures", help="Render feature visualizations, or collect images alone.")
]
Atlas = Annotated[
    list[str] | None,
    typer.Option(
        "--atlas",
        metavar="LAYERS",
        help="Layers whose activations of the images are laid out as an activation atlas, named as with --layers.",
    ),
]
Grids = Annotated[
    list[str] | None,
    typer.Option(
        "--grids",
        metavar="SIDES",
        help="Cells along each edge of an atlas's grids: 20,40,80, a multiple of 5 and each twice the one before; 20 "
        "unless said.",
    ),
]
Maps = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="MAP",
        help="What an atlas is of: all (unless said), class=LABEL, strongest=LABEL, pair=LABEL,LABEL. Repeat it.",
    ),
]
Positions = Annotated[
    int | None, typer.Option("--positions", min=1, help="Activations an atlas keeps of each crop; 1 unless said.")
]
AtlasRecipeName = Annotated[
    str, typer.Option("--atlas-recipe", help="How pictures of an atlas's cells are made: cell, quick, ...")
]
AtlasSettings = Annotated[
    list[str] | None,
    typer.Option("--atlas-set", metavar="KNOB=VALUE", help="Change a knob of that recipe: --atlas-set steps=96."),
]
Layouts = Annotated[
    list[str] | None,
    typer.Option(
        "--layout",
        metavar="LAYER=AXES",
        help="The order of a layer's axes, where it could not be established: nchw, nhwc, ntc (t tokens), nct; ntc+1 "
        "where the first token is no patch. LAYER is a name or a glob. Repeat it.",
    ),
]
Projection = Annotated[
    str | None,
    typer.Option(
        "--projection",
        help="How an atlas's activations are laid out: standard or class; by the second where a map is of classes.",
    ),
]
ProjectionSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--projection-set",
        "--layout-set",
        metavar="KNOB=VALUE",
        help="Change a knob of the layout: neighbours=20, distance=0.1, metric=euclidean, pca=none, whiten=yes, "
        "seed=1; facing=LAYER turns a map to face another layer's.",
    ),
]
Whitening = Annotated[
    float | None,
    typer.Option(
        "--whitening",
        help="How far cells are set apart from all activations before they are pictured: 0, as unless said, to 1.",
    ),
]
Relaxed = Annotated[
    bool,
    typer.Option("--relaxed", help="Max pools share their gradient out where activations are attributed to classes."),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
Batch = Annotated[int | None, typer.Option("--batch", min=2, help="Pictures optimised side by side.")]
Dtype = Annotated[
    str,
    typer.Option(
        "--dtype",
        help="What the network computes in while pictures are made: float32, or bfloat16, which needs a GPU to be "
        "quicker. Their numbers are measured in float32 either way.",
    ),
]


@dataclass(frozen=True)
class Computing:
    """What was said of how pictures are computed."""

    device: str = "auto"
    batch: int | None = None
    dtype: str = "float32"

    def numerics(self) -> Numerics:
        """Raises `AtlasError` for what is not there."""
        from atlas.engine.numerics import numerics_for

        return numerics_for(self.device, self.batch, self.dtype)


def load(
    model: str,
    weights: Path | None,
    labels: Path | None,
    preprocessing: str | None,
    logits: str | None = None,
    layouts: list[str] | None = None,
) -> Model:
    """The model that the arguments name."""
    try:
        from atlas.models import Preprocessing, load_model, require_classes
    except ModuleNotFoundError as error:
        raise AtlasError(f"This command needs {error.name}: pip install 'atlas-builder[build]'") from error
    given = None if preprocessing is None else Preprocessing.parse(preprocessing)
    loaded = load_model(
        model, weights=weights, labels=labels, preprocessing=given, logits=logits, layouts=_layouts(layouts)
    )
    require_classes(loaded)
    return loaded


def _layouts(texts: list[str] | None) -> dict[str, str]:
    """What was said of the axes of layers: `features.3=nhwc`."""
    found = {}
    for text in texts or []:
        layer, equals, axes = text.rpartition("=")
        if not (layer and equals):
            raise AtlasError(
                f"--layout {text}: say LAYER=AXES, as in --layout 'stages.1.*=nhwc'. How an atlas is laid out is "
                "said by --projection."
            )
        found[layer] = axes
    return found


def require_work(images: list[str] | None, crops: int | None, pictures: bool, photographs: bool = True) -> None:
    """Raise `AtlasError` where options ask for nothing, or say how images are taken and name none."""
    if not pictures and not images:
        raise AtlasError("--no-pictures without --images: there is nothing to build.")
    if crops is not None and not images:
        raise AtlasError("--crops without --images: of which images? Name them, or leave it out.")
    if not photographs and not images:
        raise AtlasError("--no-photographs without --images: of which images? Name them, or leave it out.")


def plans(
    model: Model,
    layers: list[str] | None,
    recipe: str,
    settings: list[str] | None,
    computing: Computing,
    spectrum: MeasuredSpectrum | None = None,
    store: Path | None = None,
) -> list[Plan]:
    """The plans that the arguments ask for; `spectrum` is the one that was measured.

    Where no width is said it is that of what lies in `store` already, or the one that was calibrated for it.
    """
    from atlas.engine import features

    measured = [] if spectrum is None else [f"spectrum={spectrum.hash}"]
    chosen = Recipe.parse(recipe, [*(settings or []), *measured])
    names = ["auto"] if layers is None else split(layers)
    if not names:
        raise AtlasError("--layers names no layer: give auto, all, names or globs, or leave it out.")
    found, units = features.wanted(model, names)
    found = _able(model, found, names)
    return features.plan(model.identity, found, chosen, _numerics_in(store, computing, FEATURES.name), units)


def _able(model: Model, layers: list[Layer], texts: Sequence[str]) -> list[Layer]:
    """Those of `layers` that a build can make; those that `texts` name by a glob may be left out, which is said.

    Raises `ModelError` where one that they name itself cannot be built.
    """
    from atlas.models import able

    named = {decode(text.rpartition(":")[0] or text) for text in texts}
    return able(model, layers, named, remark)


def _numerics_in(store: Path | None, computing: Computing, stage: str) -> Numerics:
    """How pictures are computed, as wide as in `store` already, or as was calibrated for it, unless a width is said."""
    from atlas.engine.calibration import width_in

    numerics, opened = computing.numerics(), _opened(store)
    width = None if computing.batch or opened is None else width_in(opened, numerics, stage)
    return replace(numerics, batch=width or numerics.batch)


def calibration(store: Path | None, plans: list[Plan]) -> Calibration | None:
    """What `store` says of the cost of pictures on the plans' device; None where it says nothing."""
    from atlas.engine.calibration import known

    opened = _opened(store)
    return None if opened is None else known(opened, plans[0].numerics)


def _opened(store: Path | None) -> Store | None:
    """The store at a place; None where there is none (yet)."""
    try:
        return None if store is None else Store.open(store)
    except NotAStore:
        return None


def measured(images: list[str] | None) -> MeasuredSpectrum | None:
    """The spectrum of the images that were given, if any were."""
    from atlas.engine import spectra
    from atlas.engine.progress import Progress

    if not images:
        return None
    try:
        with Progress() as progress:
            return spectra.measure(split(images), progress.counting("measuring the spectrum", None, "images"))
    except ImagesError as error:
        raise ImagesError(str(error).replace("--images", "--spectrum")) from error


def collecting(model: Model, layers: list[str] | None, collection: Collection, device: str) -> list[Plan]:
    """The plans for collecting what drives the units of `layers`."""
    from atlas.engine import collecting, features
    from atlas.engine.numerics import WIDTHS_OF_COLLECTING, numerics_for

    names = ["auto"] if layers is None else split(layers)
    found, units = features.wanted(model, names)
    found, numerics = _able(model, found, names), numerics_for(device)
    width = WIDTHS_OF_COLLECTING[numerics.device]
    return collecting.plans(model.identity, found, collection, replace(numerics, batch=width), units)


@dataclass(frozen=True)
class Atlases:
    """What was said of activation atlases."""

    layers: list[str] | None
    grids: list[str] | None = None
    maps: list[str] | None = None
    positions: int | None = None
    recipe: str = "cell"
    settings: list[str] | None = None
    layout: str | None = None
    relaxed: bool = False
    whitening: float | None = None
    layout_settings: list[str] | None = None

    def check(self, images: list[str] | None) -> None:
        """Raise `AtlasError` where something is said of atlases that are not asked for, or there are no images."""
        if self.layers is None:
            said = {
                "--grids": self.grids,
                "--map": self.maps,
                "--positions": self.positions,
                "--atlas-set": self.settings,
                "--projection-set": self.layout_settings,
            }
            for option in (option for option, value in said.items() if value):
                raise AtlasError(f"{option} without --atlas: of which layers? Name them, or leave it out.")
        elif not images:
            raise AtlasError("--atlas without --images: an atlas is made of what images activate. Name them: --images.")
        elif not split(self.layers):
            raise AtlasError("--atlas names no layer: give names or globs, as features.11.")

    def laid_out(self, preset: str) -> LayoutRecipe:
        """How a map is laid out whose kind has the preset `preset`."""
        return LayoutRecipe.parse(self.layout or preset, self.layout_settings or [])

    def sides(self) -> list[int]:
        """The sides of the grids. Raises `AtlasError` for what is no number."""
        from atlas.engine.atlases import GRIDS

        texts = split(self.grids) or list(map(str, GRIDS))
        for text in texts:
            if not text.isdigit():
                raise AtlasError(f"--grids {text}: the sides of grids are whole numbers, as 20,40.")
        return [int(text) for text in texts]


def charting(
    model: Model, asked: Atlases, collection: Collection, computing: Computing, store: Path | None
) -> list[Plan]:
    """The plans of the atlases that were asked for."""
    from atlas.engine import atlases
    from atlas.engine.numerics import WIDTHS_OF_SAMPLING

    if asked.layers is None:
        return []
    found = _able(model, model.select(split(asked.layers)), split(asked.layers))
    changes = [*(asked.settings or []), *(["variants=positive"] if asked.recipe != "cell" else [])]
    numerics = _numerics_in(store, computing, ICONS.name)
    return atlases.plans(
        model.identity,
        found,
        atlases.sampled(collection, asked.positions or 1, relaxed=asked.relaxed),
        Recipe.parse(asked.recipe, changes),
        numerics,
        width=WIDTHS_OF_SAMPLING[numerics.device],
        maps=atlases.maps(model, asked.maps or []),
        grids=asked.sides(),
        layout=asked.laid_out,
        whitening=atlases.WHITENING if asked.whitening is None else asked.whitening,
        known=known_in(store),
    )


def known_in(store: Path | None) -> list[Plan]:
    """The plans that a store holds already; none where there is no store."""
    try:
        return [] if store is None else Store.open(store).plans()
    except NotAStore:
        return []


def split(texts: Sequence[str] | None) -> list[str]:
    """Texts given by repeating an option or by commas, one by one."""
    return [part.strip() for text in texts or [] for part in text.split(",") if part.strip()]


def places(texts: Sequence[str] | None) -> list[str]:
    """As `split`, but what is there by its whole name, commas and all, is taken as it is."""
    return [part for text in texts or [] for part in ([text] if Path(text).exists() else split([text]))]


def left_in(store: Path | None, plans: list[Plan]) -> dict[Plan, int]:
    """How many shards of each plan are left in `store`; all where there is none."""
    opened = _opened(store)
    if opened is None:
        return {plan: len(plan.shards) for plan in plans}
    replaced(opened, plans)
    return {plan: len(opened.todo(plan)) for plan in plans}
