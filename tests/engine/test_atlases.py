"""Activation atlases in a store: what was planted comes back, whoever makes them, whatever is added later."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from atlas.attribution.attribution import attribute
from atlas.dataset import look
from atlas.dataset.crops import crops as crops_of
from atlas.engine.events import Event, LayerDone, ShardDone, Task
from atlas.engine.executors import Executor, InProcess
from atlas.engine.numerics import numerics_for
from atlas.engine.on_ray import OnRay
from atlas.engine.planning.images import ListedImages
from atlas.engine.record import Report
from atlas.engine.run import build, describe
from atlas.engine.samples import StoredSamples
from atlas.engine.worker import Job, Supplies
from atlas.models import Model, load_model
from atlas.plans import STAGES
from atlas.projection.grid import cells_of
from atlas.projection.place import turn
from atlas.projection.quality import beaten, own_ranks
from atlas.recipe import ProjectionRecipe
from atlas.store import Backend, LocalBackend, MemoryBackend, Store, verify
from atlas.store.codec import decode
from atlas.units import SampleStatus, Status
from tests.builds import atlas_plans, build_in, contents, copied
from tests.faults import Fault, FaultyBackend
from tests.networks import Planted
from tests.stores import write_whole

pytestmark = pytest.mark.builder

COLOURS = 6
IMAGES = 60
MAPS = ("all", "winners-2", "strongest-1", "pair-0-3")
GROUP = "layers/body.1/atlas/all"


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model("tests.networks:planted")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ListedImages:
    """Images of six colours, number n of colour n modulo 6; and one that is none."""
    folder, chance = tmp_path_factory.mktemp("colours"), np.random.default_rng(0)
    for number in range(IMAGES):
        colour = Planted.COLOURS[number % COLOURS].numpy() * 0.8 + 0.1
        pixels = colour + 0.06 * chance.standard_normal((40, 48, 3))
        Image.fromarray((pixels.clip(0, 1) * 255).astype(np.uint8)).save(folder / f"{number:03d}.png")
    (folder / "999.png").write_text("no picture")
    return ListedImages.open([str(folder)])


def chart(
    place: Backend, model: Model, images: ListedImages, executor: Executor | None = None, **how: Any
) -> tuple[Store, Report]:
    given: dict[str, Any] = {"crops": 2, "positions": 4, "maps": MAPS, "grids": (5, 10)} | how
    return build_in(place, model, atlas_plans(model, images, "body.1", **given), executor, images)


@pytest.fixture(scope="module")
def whole(model: Model, images: ListedImages) -> MemoryBackend:
    backend = MemoryBackend()
    _, report = chart(backend, model, images)
    assert not report.failed
    assert report.cells["ok"] > 60
    assert report.cells.keys() == {"ok"}
    return backend


@pytest.fixture(scope="module")
def store(whole: MemoryBackend) -> Store:
    return Store.open(whole)


def column(store: Store, name: str) -> np.ndarray[Any, Any]:
    return store.read(f"layers/body.1/activations/{name}")


# -- what is found -----------------------------------------------------------------------------------------------------


def test_samples_are_in_the_order_of_images_crops_and_draws(store: Store) -> None:
    shown = IMAGES * 2 * 4
    assert (column(store, "status") == SampleStatus.OK).sum() == shown
    assert (column(store, "status")[shown:] == SampleStatus.ABSENT).all()
    assert np.array_equal(column(store, "image")[:shown], np.arange(IMAGES).repeat(8))
    assert np.array_equal(column(store, "crop")[:shown], np.tile([0, 0, 0, 0, 1, 1, 1, 1], IMAGES))
    row, edge = np.divmod(column(store, "position")[:shown], 8)
    assert min(row.min(), edge.min()) == 1
    assert max(row.max(), edge.max()) == 6
    each = column(store, "position")[:shown].reshape(-1, 4)
    assert all(len(set(drawn)) == 4 for drawn in each.tolist())


def test_attributions_in_the_store_are_those_computed_directly(
    model: Model, images: ListedImages, store: Store
) -> None:
    samples = StoredSamples(store, store.plans_of("activations")[0])
    vectors, said = (np.concatenate([*rows]) for rows in (samples.vectors, samples.attributions(0, COLOURS)))
    known = column(store, "status") == SampleStatus.OK
    assert np.isnan(vectors[~known]).all()
    assert np.isnan(said[~known]).all()
    # The head is linear, so that a position's part of a logit is known: its own class's channels over 64 positions.
    expected = vectors[known].reshape(-1, COLOURS, 4).sum(2) / 64
    np.testing.assert_allclose(said[known], expected, rtol=2e-3, atol=1e-6)
    for row in (0, 77, 300):
        number, crop, position = (int(column(store, name)[row]) for name in ("image", "crop", "position"))
        sha256 = images.listed.sha256[number].tobytes()
        picture = look(images.source, images.source.entries[number], sha256).picture
        assert picture is not None
        x = crops_of(picture, model.preprocessing, 2, seed=0, sha256=sha256)[crop].x
        network_input = model.preprocessing.normalise(x[None])
        at = torch.zeros(1, dtype=torch.int64), torch.tensor([position])
        found = attribute(model, model.layer("body.1"), network_input, *at)
        np.testing.assert_allclose(vectors[row], found.vectors[0].numpy(), rtol=2e-3, atol=1e-6)
        np.testing.assert_allclose(said[row], found.attribution[0].numpy(), rtol=2e-3, atol=1e-6)


def test_planted_clusters_lie_together_and_are_named(store: Store) -> None:
    xy, colour = store.read(f"{GROUP}/xy"), column(store, "image") % COLOURS
    cell, group = cells_of(xy, 10), f"{GROUP}/10"
    filled = store.read(f"{group}/cell")
    filled = filled[filled >= 0]
    pure = 0
    for row, number in enumerate(filled):
        ((usual, count),) = Counter(colour[cell == number].tolist()).most_common(1)
        pure += count == (cell == number).sum()
        assert store.read(f"{group}/label")[row, 0] == usual
        assert store.read(f"{group}/label_frequency")[row, 0] > 0.9
    assert pure >= 0.95 * len(filled) > 10
    assert np.isfinite(store.read(f"{GROUP}/quality")).all()
    strength = store.read(f"{group}/strength")
    assert np.array_equal(strength[:, : len(filled)].argmax(0), store.read(f"{group}/label")[: len(filled), 0])


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("side", [5, 10])
def test_every_sample_of_a_map_is_in_exactly_one_cell(store: Store, name: str, side: int) -> None:
    xy, status = (store.read(f"layers/body.1/atlas/{name}/{which}") for which in ("xy", "status"))
    cell = cells_of(xy, side)
    assert np.array_equal(cell >= 0, status == SampleStatus.OK)
    count = store.read(f"layers/body.1/atlas/{name}/{side}/count")
    assert np.array_equal(count, np.bincount(cell[cell >= 0], minlength=side**2))
    sample = store.read(f"layers/body.1/atlas/{name}/{side}/sample")
    rows, _ = np.nonzero(sample >= 0)
    assert np.array_equal(cell[sample[sample >= 0]], store.read(f"layers/body.1/atlas/{name}/{side}/cell")[rows])


def test_maps_of_classes_hold_their_samples(store: Store) -> None:
    status, colour = column(store, "status") == SampleStatus.OK, column(store, "image") % COLOURS
    on = {name: store.read(f"layers/body.1/atlas/{name}/status") == SampleStatus.OK for name in MAPS}
    assert np.array_equal(on["all"], status)
    assert np.array_equal(on["winners-2"], status & (colour == 2))
    assert on["strongest-1"][status & (colour == 1)].all()
    assert on["pair-0-3"][status & ((colour == 0) | (colour == 3))].all()
    x = store.read("layers/body.1/atlas/pair-0-3/xy")[:, 0]
    assert np.nanmax(x[colour == 3]) < 0.5 < np.nanmin(x[colour == 0])


def test_pictures_patches_and_tiles_of_a_grid(store: Store, whole: MemoryBackend) -> None:
    group, filled = f"{GROUP}/10", int((store.read(f"{GROUP}/10/cell") >= 0).sum())
    status, box = store.read(f"{group}/icons/status"), store.read(f"{group}/patches/box")
    assert (status[:filled] == Status.OK).all()
    assert (status[filled:] == Status.ABSENT).all()
    answer, direction = store.read(f"{group}/icons/answer", slice(0, filled)), store.read(f"{group}/direction")[:filled]
    assert np.array_equal(store.read(f"{group}/icons/rank")[:filled], own_ranks(answer, direction))
    assert np.array_equal(store.read(f"{group}/icons/above")[:filled], beaten(answer, direction, 0))
    there = store.read(f"{group}/sample")[:filled, :4] >= 0
    assert np.isfinite(box[:filled][there]).all()
    assert np.isnan(box[:filled][~there]).all()
    # What a cell's samples saw has the colour that the cell is named by.
    patch, label = store.read(f"{group}/patches/picture", slice(0, filled))[:, 0], store.read(f"{group}/label")[:, 0]
    seen = (patch.mean((1, 2)) > 128).astype(float)
    assert np.array_equal(seen, Planted.COLOURS.numpy()[label[:filled]])
    mask = store.read(f"{group}/tiles/mask")
    assert mask.sum() == filled
    cell = store.read(f"{group}/cell")[0]
    tile = (cell // 10 // 5) * 2 + cell % 10 // 5
    assert mask[tile, cell // 10 % 5, cell % 5] == 1
    assert store.read(f"{group}/tiles/tile").shape == (4, 400, 400, 3)
    assert store.read(f"{GROUP}/5/tiles/tile").shape == (1, 400, 400, 3)
    assert not verify(store).findings
    assert whole.get(f"{group}/icons/image/c/0/0/0/0/0") is not None


def test_a_first_grid_has_levels_below_it_down_to_one_tile(model: Model, images: ListedImages) -> None:
    backend = MemoryBackend()
    store, _ = chart(backend, model, images, maps=("all",), grids=(10, 20))
    below = store.read(f"{GROUP}/10/tiles/below-1")
    tiles = store.read(f"{GROUP}/10/tiles/tile").astype(int)
    halves = tiles.reshape(2, 2, 200, 2, 200, 2, 3).mean((3, 5)).transpose(0, 2, 1, 3, 4).reshape(400, 400, 3)
    assert np.abs(below[0] - halves).mean() < 3
    assert backend.get(f"{GROUP}/20/tiles/below-1/zarr.json") is None
    assert decode(encoded_tile(backend)).shape == (400, 400, 3)


def encoded_tile(backend: MemoryBackend) -> bytes:
    """The first tile of grid 10, as the file that it is."""
    data = backend.get(f"{GROUP}/10/tiles/tile/c/0/0/0/0") or b""
    start, size = np.frombuffer(data[-4 * 16 - 4 : -4], np.uint64).reshape(-1, 2)[0].tolist()
    return data[start : start + size]


# -- the same whoever makes it -----------------------------------------------------------------------------------------


class Backwards(InProcess):
    """Tasks in an order of chance: the last first."""

    def run(self, job: Job, supplies: Supplies, queue: deque[Task]) -> Generator[Event, None, None]:
        while queue:
            yield from super().run(job, supplies, deque([queue.pop()]))


FAULTS = [
    Fault("inside", r"layers/body\.1/activations/vector/c/.*"),
    Fault("after", r"layers/body\.1/atlas/all/xy/c/.*"),
    Fault("before", r"receipts/columns/cells/body\.1/all/10\.json"),
    Fault("before", r"receipts/icons/body\.1/all/10/.*"),
    Fault("inside", r"layers/body\.1/atlas/pair-0-3/5/tiles/tile/c/.*"),
]


def test_the_same_bytes_in_another_order(model: Model, images: ListedImages, whole: MemoryBackend) -> None:
    backwards = MemoryBackend()
    chart(backwards, model, images, Backwards())
    assert contents(backwards) == contents(whole)


@pytest.mark.slow
def test_the_same_bytes_whoever_makes_it(
    model: Model, images: ListedImages, whole: MemoryBackend, tmp_path: Path, ray_cluster: None
) -> None:
    expected = contents(whole)
    faulty = FaultyBackend(tmp_path / "killed", FAULTS, tmp_path / "marks")
    store, report = chart(faulty, model, images, OnRay(numerics_for("cpu"), 2))
    assert not report.failed
    assert faulty.struck() == len(FAULTS)
    assert contents(LocalBackend(tmp_path / "killed")) == expected
    assert not verify(store).findings


def test_maps_and_grids_come_later_as_if_they_had_been_there(
    model: Model, images: ListedImages, whole: MemoryBackend
) -> None:
    backend = MemoryBackend()
    first, _ = chart(backend, model, images, maps=("all",), grids=(5,))
    heard: list[Event] = []
    plans = atlas_plans(model, images, "body.1", crops=2, positions=4, maps=MAPS, grids=(5, 10), known=first.plans())
    store = Store.create(backend, model.identity, describe(model))
    build(store, model, plans, InProcess(), images=images, watch=heard.append)
    assert contents(backend) == contents(whole)
    shards = {event.shard.stage for event in heard if isinstance(event, ShardDone)}
    assert shards == {"patches", "icons"}, "no image is shown again"
    laid = [event.plan.part for event in heard if isinstance(event, LayerDone) and event.plan.stage == "layout"]
    assert ("all",) not in laid, "what is laid out is not laid out again"
    assert len(laid) == 3


def test_a_failed_image_moves_nobody_else(model: Model, images: ListedImages, tmp_path: Path, store: Store) -> None:
    """The same images without number 7: all that is known of the others is bit for bit the same."""
    for number in range(IMAGES):
        picture = look(images.source, images.source.entries[number], images.listed.sha256[number].tobytes()).picture
        assert picture is not None
        Image.fromarray(picture).save(tmp_path / f"{number:03d}.png")
    (tmp_path / "007.png").write_text("no picture")
    (tmp_path / "999.png").write_text("no picture")
    fewer = ListedImages.open([str(tmp_path)])
    plans = [plan for plan in atlas_plans(model, fewer, "body.1", crops=2, positions=4) if plan.over == "images"]
    other, _ = build_in(MemoryBackend(), model, plans, images=fewer)
    rest = column(store, "image") != 7
    for name in ("vector", "logit", "logit_scale", "position"):
        assert np.array_equal(column(other, name)[rest], column(store, name)[rest], equal_nan=True), name
    assert (column(other, "status")[~rest] == SampleStatus.ABSENT).all()


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def failures(report: Report) -> list[str]:
    return [line.partition(": ")[2] for line in report.failed]


def test_a_map_of_nothing_is_one_line_and_the_others_are_made(
    model: Model, images: ListedImages, tmp_path: Path
) -> None:
    Image.new("RGB", (40, 40), (230, 20, 20)).save(tmp_path / "red.png")
    red = ListedImages.open([str(tmp_path)])
    backend = MemoryBackend()
    store, report = chart(backend, model, red, maps=("all", "winners-4"), grids=(5,))
    assert failures(report) == ["AtlasError: body.1: no activation belongs to the map class-4."]
    assert backend.get(f"{GROUP}/5/tiles/tile/c/0/0/0/0") is not None
    assert not store.whole(store.planned(("layout", "body.1", ("winners-4",))) or store.plans()[0])
    assert not verify(store).damage


def test_a_shard_that_fails_keeps_what_rests_on_it_back(images: ListedImages) -> None:
    broken = load_model("tests.networks:stubborn")
    backend = MemoryBackend()
    plans = atlas_plans(broken, images, "body.1", crops=1, grids=(5,))
    store, report = build_in(backend, broken, plans, images=images)
    assert any("activations body.1 images 0-60" in line for line in report.failed)
    assert backend.get("layers/body.1/atlas/all/xy/c/0/0") is None
    assert {plan.stage for plan in store.plans()} >= set(STAGES) - {"features", "statistics", "examples"}


def test_half_the_width_where_memory_is_too_small(images: ListedImages, model: Model) -> None:
    """Layers that need no memory beyond the plan's are made at its width; the receipt says where they were not."""
    crowded = load_model("tests.networks:crowded")
    store, report = build_in(
        MemoryBackend(), crowded, atlas_plans(crowded, images, "body.1", crops=1, grids=(5,)), images=images
    )
    assert not report.failed
    (receipt,) = store.receipts(store.plans_of("activations")[0]).values()
    assert receipt.record["backoff"] == 4
    assert verify(store).backoffs >= 1


def test_without_photographs_there_are_boxes_alone(model: Model, images: ListedImages) -> None:
    backend = MemoryBackend()
    chart(backend, model, images, maps=("all",), grids=(5,), photographs=False)
    assert backend.get(f"{GROUP}/5/patches/box/c/0/0/0") is not None
    assert backend.get(f"{GROUP}/5/patches/picture/zarr.json") is None
    assert "thumb" not in "".join(backend.list("images/"))


def test_a_map_can_be_turned_to_face_another_layers(model: Model, images: ListedImages, whole: MemoryBackend) -> None:
    # The other map is mirrored and its axes change places, so that no layer's own data face that way.
    backend = copied(whole)
    store = Store.open(backend)
    (other,) = (plan for plan in store.plans_of("layout") if plan.part == ("all",))
    columns = {name: store.read(f"{GROUP}/{name}") for name in ("xy", "status", "fitted", "quality")}
    columns["xy"] = np.ascontiguousarray((1 - columns["xy"])[:, ::-1])
    write_whole(store, other, "reduce", columns)

    def facing(layer: str) -> np.ndarray[Any, Any]:
        layout = ProjectionRecipe(n_neighbors=15, align_to=layer)
        shown: dict[str, Any] = {"crops": 2, "positions": 4, "grids": (5,), "known": store.plans()}
        plans = atlas_plans(model, images, "body.0", layout=lambda _: layout, **shown)
        made, report = build_in(copied(backend), model, plans, InProcess(), images)
        assert not report.failed
        xy: np.ndarray[Any, Any] = made.read("layers/body.0/atlas/all/xy")
        return turn(xy, columns["xy"])

    np.testing.assert_allclose(facing("body.1"), np.eye(2), atol=0.3)
    assert np.abs(facing("") - np.eye(2)).max() > 0.5
