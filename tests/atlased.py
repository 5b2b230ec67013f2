"""Small made stores with an activation atlas: what its stages write, without a network.

Store -> the same store: activations, layout, cells, patches, icons, tiles of one layer, door
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import zarr

from atlas.layout.grid import Cells, cells_of, fill
from atlas.layout.pyramid import Tile, levels_below, smaller, tiles
from atlas.layout.quality import own_ranks
from atlas.layout.strengths import Strongest, labels, strengths
from atlas.store import Store
from atlas.store.layout import Array
from atlas.store.schema import _create
from atlas.units import Layer, SampleStatus, Status
from tests.stores import waves

CLUSTERS = 12


def lay_out_in(
    store: Store,
    layer: Layer,
    name: str = "all",
    *,
    sides: tuple[int, ...] = (10, 20, 40),
    crops: int = 2,
    positions: int = 60,
    images: int = 40,
    classes: int = 10,
    photographs: bool = True,
) -> dict[str, Any]:
    """Give `store` an atlas of `layer`; what the door says of it."""
    zarr.config.set({"array.write_empty_chunks": True})
    chance = np.random.default_rng(5)
    total = images * crops * positions
    image = np.repeat(np.arange(images, dtype=np.int32), crops * positions)
    crop = np.tile(np.repeat(np.arange(crops, dtype=np.int32), positions), images)
    position = chance.integers(0, 64, total).astype(np.int32)
    cluster = chance.integers(0, CLUSTERS, total)
    centre = chance.random((CLUSTERS, 2)) * 0.7 + 0.15
    xy = np.clip(centre[cluster] + chance.normal(0, 0.055, (total, 2)), 0, 1).astype(np.float32)
    base = chance.gamma(0.6, 1, (CLUSTERS, layer.channels))
    turn = np.stack(
        [
            np.sin(7 * xy[:, 0] + 3 * np.arange(layer.channels)[:, None]),
            np.cos(6 * xy[:, 1] + np.arange(layer.channels)[:, None]),
        ]
    )
    vectors = np.maximum(base[cluster] + 0.3 * turn.sum(0).T, 0).astype(np.float32)
    logit = (vectors @ chance.normal(0, 0.3, (layer.channels, classes))).astype(np.float32)
    status = np.zeros(total, np.uint8)
    status[:3] = SampleStatus.ZERO
    xy[:3] = np.nan
    group = zarr.open_group(f"{store.backend}", mode="a").require_group(f"layers/{layer.key}")
    rows = 1024 * crops * positions
    kept = group.require_group("activations")
    for which, values in (
        {} if "image" in kept else {"image": image, "crop": crop, "position": position, "status": status}.items()
    ):
        put(
            kept,
            Array(which, (total,), rows, str(values.dtype), -1 if values.dtype == np.int32 else 255, "shard"),
            values,
        )
    place = group.require_group(f"atlas/{name}")
    put(place, Array("xy", (total, 2), total, "float32", math.nan, "reduce"), xy)
    put(place, Array("quality", (2,), 2, "float32", math.nan, "reduce"), np.array([0.95, 0.91], np.float32))
    entry: dict[str, Any] = {
        "samples": total,
        "placed": total - 3,
        "crops": crops,
        "positions": positions,
        "layout": "standard",
        "written": True,
        "grids": [],
    }
    for side in sides:
        cell = cells_of(xy, side)
        found = fill([vectors], cell, side, images=image)
        entry["grids"].append(
            _grid(place.require_group(str(side)), found, [vectors], [logit], cell, side == sides[0], photographs)
        )
    zarr.consolidate_metadata(group.store, path=f"layers/{layer.key}")
    return entry


def put(group: Any, array: Array, values: np.ndarray[Any, Any]) -> None:
    _create(group, array)
    group[array.name][:] = values


def padded(values: np.ndarray[Any, Any], rows: int, fill: float) -> np.ndarray[Any, Any]:
    found = np.full((rows, *values.shape[1:]), fill, values.dtype)
    found[: len(values)] = values
    return found


def _grid(
    group: Any, found: Cells, vectors: Any, logit: Any, cell: Any, first: bool, photographs: bool
) -> dict[str, Any]:
    side, n, size = found.side, len(found), found.side**2
    classes, channels = logit[0].shape[1], vectors[0].shape[1]
    read = lambda start, stop: [block[:, start:stop] for block in logit]  # noqa: E731
    strongest = Strongest(n)
    values = np.concatenate(
        [block for start, block in strengths(read, classes, cell, found) if strongest.add(start, block) is None], axis=1
    )
    told = labels(read, classes, cell, found, strongest, seed=0)

    def column(name: str, values: Any, fill: float, rows: int = size) -> None:
        whole = padded(
            values.astype("int32" if values.dtype.kind == "i" and values.dtype != np.int32 else values.dtype),
            size,
            fill,
        )
        put(group, Array(name, whole.shape, rows, str(whole.dtype), fill, "reduce"), whole)

    column("count", found.count, 0)
    column("cell", found.cells, -1)
    column("direction", found.direction, math.nan)
    column("aim", found.direction, math.nan)
    column("sample", found.nearest, -1)
    column("cosine", found.cosine, math.nan)
    column("label", told.classes, -1)
    column("label_strength", told.strength, math.nan)
    column("label_frequency", told.frequency, math.nan)
    put(
        group,
        Array("strength", (classes, size), 1, "float32", math.nan, "reduce", packed="gzip"),
        padded(values, size, math.nan).T,
    )
    pictures = np.stack([painted(one) for one in found.direction])
    patches = group.require_group("patches")
    if photographs:
        seen = np.stack([np.stack([waves(int(c) + k, 1, 96) for k in range(4)]) for c in found.cells])
        put(patches, Array("picture", (size, 4, 96, 96, 3), 32, "uint8", 0, "shard", 85), padded(seen, size, 0))
    box = np.broadcast_to(np.array([64, 48, 320, 304], np.float32), (n, 4, 4))
    put(patches, Array("box", (size, 4, 4), size, "float32", math.nan, "reduce"), padded(box, size, math.nan))
    icons = group.require_group("icons")
    icons.attrs["statuses"] = {status.name.lower(): int(status) for status in Status}
    put(icons, Array("image", (size, 1, 96, 96, 3), 32, "uint8", 0, "shard", 90), padded(pictures[:, None], size, 0))
    answer = found.direction + np.random.default_rng(1).normal(0, 0.12, (n, channels))
    rank = own_ranks(answer.astype(np.float32), found.direction)
    rank[3::17] = n // 2
    code = np.zeros((n, 1), np.uint8)
    code[5::31] = Status.NAN
    for name, numbers, fill in (
        ("mean", np.arange(n)[:, None] / 10, math.nan),
        ("peak", np.arange(n)[:, None] / 5, math.nan),
    ):
        put(
            icons,
            Array(name, (size, 1), size, "float32", fill, "reduce"),
            padded(numbers.astype(np.float32), size, fill),
        )
    put(icons, Array("status", (size, 1), size, "uint8", 255, "reduce"), padded(code, size, 255))
    put(icons, Array("rank", (size,), size, "int32", -1, "reduce"), padded(rank, size, -1))
    put(
        icons,
        Array("above", (size,), size, "float32", math.nan, "reduce"),
        padded(np.ones(n, np.float32), size, math.nan),
    )
    at = {int(number): row for row, number in enumerate(found.cells) if code[row, 0] == 0}
    joined = list(tiles(side, lambda number: pictures[at[number]] if number in at else None))
    tiled = group.require_group("tiles")
    _level(tiled, "tile", joined)
    mask = np.stack([tile.mask for tile in joined]).astype(np.uint8)
    put(tiled, Array("mask", mask.shape, len(mask), "uint8", 0, "reduce"), mask)
    for level in range(1, levels_below(side) + 1 if first else 1):
        joined = list(smaller(joined))
        _level(tiled, f"below-{level}", joined)
    return {"side": side, "filled": n, "written": True, "patched": True, "pictured": True, "tiled": True}


def painted(direction: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A picture whose waves and colours change slowly with the direction."""
    weights = direction / np.linalg.norm(direction)
    y, x = np.mgrid[:96, :96] / 96
    a, b, c = (float(weights @ np.sin(k + np.arange(len(weights)))) for k in (1, 2, 3))
    wave = np.cos(2 * np.pi * (2 + 2 * a) * (x * np.cos(3 * b) + y * np.sin(3 * b)) + 4 * c)
    colour = np.array([0.0, 2.1, 4.2]) + 6 * a - 3 * c
    return (128 + 50 * wave[..., None] * np.cos(colour + 1) + 65 * np.cos(colour)).clip(0, 255).astype(np.uint8)


def _level(group: Any, name: str, level: list[Tile]) -> None:
    pixels = np.stack([tile.pixels for tile in level])
    put(group, Array(name, pixels.shape, len(level), "uint8", 0, "reduce", 90), pixels)


def door_with(store: Store, entries: dict[str, dict[str, Any]]) -> None:
    door = store.get_json("catalogue.json")
    for row in door["layers"]:
        if row["name"] in entries:
            row["atlases"] = entries[row["name"]]
    store.put_json("catalogue.json", door)
