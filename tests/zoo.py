"""The zoo: every architecture that torchvision lists and one of each family of timm, looked into with random weights.

    spec -> Row: layers, how their axes are known, whether gradients come back, whether prepared equals original

python -m tests.zoo docs/zoo.md            # all of them, written as a table; half an hour on two cores
python -m tests.zoo - timm:hiera_tiny_224  # some, printed
"""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torchvision
from torch import nn

from atlas.errors import AtlasError
from atlas.models import Model, Preprocessing, load_model, prepare
from atlas.models.outputs import Place
from atlas.models.trial import trial
from atlas.units import Layer

SIDE = 64
"""Input on which networks are looked into that take any size: small, so that all of them take half an hour."""
SMALLEST = 56
SMALLER = {"torchvision:vit_h_14": "tests.zoo:vit_h_14"}
"""What takes one size alone, and whose own takes more memory than a machine of 24 GB has: made for a smaller one."""
SMALL = (
    "_atto",
    "_femto",
    "_pico",
    "_nano",
    "_xxs",
    "_xs",
    "_tiny",
    "_s0",
    "_b0",
    "_m0",
    "_t0",
    "_xxsmall",
    "_x_small",
)
"""What names of small networks hold, the smallest first."""
NEXT = ("_t", "_small", "_s", "18", "26", "13", "b0", "_mini", "50", "_base", "_b")
PREPARED = 3
"""Layers of a network that are prepared and compared."""
CHOICE = (
    *("torchvision:alexnet", "torchvision:convnext_tiny", "torchvision:densenet121", "torchvision:efficientnet_b0"),
    *("torchvision:googlenet", "torchvision:inception_v3", "torchvision:mnasnet0_5", "torchvision:mobilenet_v3_small"),
    *("torchvision:regnet_y_400mf", "torchvision:resnet18", "torchvision:shufflenet_v2_x0_5", "torchvision:swin_v2_t"),
    *("torchvision:squeezenet1_1", "torchvision:vgg11_bn", "torchvision:vit_b_32", "timm:cpubone_nano"),
    *("timm:convnext_atto", "timm:convmixer_768_32", "timm:mixer_s32_224", "timm:convit_tiny", "timm:nfnet_f0"),
    *("timm:swin_tiny_patch4_window7_224", "timm:vit_tiny_patch16_224", "timm:xcit_nano_12_p16_224", "timm:levit_128s"),
    *("timm:mobilevitv2_050", "timm:tnt_s_legacy_patch16_224", "timm:cait_xxs24_224", "timm:davit_tiny"),
    "timm:vit_small_patch16_dinov3",
)
"""Those that are looked into on every run of the checks: one of each way to order axes, and the usual ones."""


@dataclass
class Row:
    """What came of one architecture."""

    spec: str
    refused: str = ""
    """Why it cannot be looked into; empty where it can."""
    size: tuple[int, int] = (0, 0)
    layers: int = 0
    picked: int = 0
    """Layers that `auto` stands for."""
    layouts: Counter[str] = field(default_factory=Counter)
    doubtful: dict[str, str] = field(default_factory=dict)
    unable: dict[str, str] = field(default_factory=dict)
    """Layers that a build could not make, each with the reason."""
    wrong: list[str] = field(default_factory=list)
    """What contradicts what the library says of its own modules: there must be none."""
    seconds: float = 0.0


def specs() -> list[str]:
    """All of the zoo."""
    return [*_torchvision(), *_timm()]


def _torchvision() -> Iterator[str]:
    from torchvision.models import list_models

    yield from (f"torchvision:{name}" for name in list_models())


def _timm() -> Iterator[str]:
    import timm

    for family in timm.list_modules():
        names = [name for name in timm.list_models(module=family) if not name.startswith("test_")]
        if names:
            yield f"timm:{min(names, key=_largeness)}"


def _largeness(name: str) -> tuple[int, int, str]:
    """How large a network is by its name."""
    marks = [*SMALL, *NEXT]
    return next((place for place, mark in enumerate(marks) if mark in name), len(marks)), len(name), name


def look(spec: str) -> Row:
    """What comes of `spec` with random weights."""
    start = time.perf_counter()
    row = Row(spec)
    try:
        model = _loaded(spec)
    except AtlasError as error:
        row.refused = str(error)
        return row
    row.size = model.preprocessing.size
    row.layers, row.doubtful = len(model.layers), model.discovery.doubtful
    row.layouts = Counter(layer.layout for layer in model.layers)
    row.wrong = list(_contradicted(model))
    picked = [layer for layer in model.layers if layer.name in model.automatic]
    row.picked = len(picked)
    row.unable = trial(model, picked)
    row.wrong += list(_unlike(model, [layer for layer in picked if layer.name not in row.unable]))
    row.seconds = time.perf_counter() - start
    return row


def _loaded(spec: str) -> Model:
    """The network on a small input, or on its own where it takes no smaller one."""
    if spec in SMALLER:
        model = load_model(SMALLER[spec], preprocessing=_shown(SMALLEST))
        _ = model.discovery
        return model
    for side in filter(None, (SIDE, _least(spec))):
        with suppress(AtlasError):
            model = load_model(f"{spec}@random", preprocessing=_shown(side))
            _ = model.discovery
            return model
    model = load_model(f"{spec}@random")
    _ = model.discovery
    return model


def vit_h_14() -> nn.Module:
    network: nn.Module = torchvision.models.vit_h_14(image_size=SMALLEST)
    return network


def _shown(side: int) -> Preprocessing:
    return Preprocessing((side, side), resize=side, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


def _least(spec: str) -> int | None:
    """The side of the smallest input that timm says a network takes."""
    library, _, name = spec.partition(":")
    if library != "timm":
        return None
    from timm import get_pretrained_cfg

    said = get_pretrained_cfg(name)
    return max(said.min_input_size[1:]) if said and said.min_input_size else None


def _contradicted(model: Model) -> Iterator[str]:
    """Layers whose channels are not as many as the module that makes them says."""
    modules = dict(model.network.named_modules())
    for layer in model.layers:
        place = Place.parse(layer.name)
        said = _channels(modules[place.path], layer)
        if said is not None and not place.item and said != layer.channels:
            yield f"{layer.name}: {layer.channels} channels ({layer.layout}), its module says {said}"


def _channels(module: nn.Module, layer: Layer) -> int | None:
    if isinstance(module, nn.Conv2d | nn.Conv1d):
        return module.out_channels if layer.kind != "linear" else None
    if isinstance(module, nn.BatchNorm2d):
        return module.num_features
    if isinstance(module, nn.Linear) and layer.layout != "nct":  # a product over tokens has channels elsewhere
        return module.out_features
    return module.normalized_shape[0] if isinstance(module, nn.LayerNorm) else None


def _unlike(model: Model, layers: Sequence[Layer]) -> Iterator[str]:
    """Layers, of some evenly chosen, that give other values once the network is prepared; on images not seen before."""
    step = max(1, -(-len(layers) // PREPARED))
    pictures = torch.rand(2, 3, *model.preprocessing.size, generator=torch.Generator().manual_seed(7))
    for layer in layers[::step]:
        whole, folded = (
            prepare(model, layer, folded=one).activations(pictures, before=False).value for one in (False, True)
        )
        if whole.shape[:2] != (2, layer.channels):
            yield f"{layer.name}: its value is {list(whole.shape)}"
        elif not torch.allclose(whole, folded, rtol=1e-3, atol=1e-3 * float(whole.abs().max())):
            yield f"{layer.name}: prepared differs by {float((whole - folded).abs().max()):.2g}"


def table(rows: Sequence[Row]) -> str:
    """The rows as a page for the docs."""
    fine = [row for row in rows if not row.refused]
    lines = [
        "# The zoo",
        "",
        "Every architecture that torchvision lists and one of each family of timm, with random weights, on a small",
        "input (its own where it takes no other). Made by `python -m tests.zoo docs/zoo.md`; `.ci/run` looks into",
        "thirty of them, `make full` into all.",
        "",
        f"{len(fine)} of {len(rows)} are supported. Axes: n images, c channels, h and w a map's sides, t tokens.",
        "*Open* counts activations whose axes could not be established, or which are no function of one image:",
        "they are left out with their reason, and `--layout` can settle the axes. *Unable* counts layers of `auto`",
        "that a build could not make.",
        "",
        "| network | input | layers | auto | axes | open | unable |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in fine:
        axes = ", ".join(f"{count} {layout}" for layout, count in row.layouts.most_common())
        lines.append(
            f"| `{row.spec}` | {row.size[0]}x{row.size[1]} | {row.layers} | {row.picked} | {axes} "
            f"| {len(row.doubtful)} | {len(row.unable)} |"
        )
    lines += ["", "## Not supported", "", "| network | why |", "|---|---|"]
    lines += [f"| `{row.spec}` | {row.refused.replace('|', '/')} |" for row in rows if row.refused]
    reasons = Counter(reason for row in fine for reason in {**row.doubtful, **row.unable}.values())
    lines += ["", "## Why activations are left out", "", "| count | reason |", "|---|---|"]
    lines += [f"| {count} | {reason} |" for reason, count in reasons.most_common()]
    return "\n".join(lines) + "\n"


def main(file: str, *wanted: str) -> int:
    """Look into the zoo, or what is named of it; the exit code says whether anything was wrong."""
    logging.disable(logging.WARNING)
    rows = []
    for spec in wanted or specs():
        row = look(spec)
        rows.append(row)
        print(f"{row.spec}: {row.refused or f'{row.layers} layers, {len(row.doubtful)} open'} ({row.seconds:.1f} s)")
        for line in [*row.wrong, *map(str, row.unable.items()), *(map(str, row.doubtful.items()) if wanted else [])]:
            print(f"    {line}")
        sys.stdout.flush()
        if file != "-":
            Path(file).write_text(table(rows))
    return int(any(row.wrong for row in rows))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
