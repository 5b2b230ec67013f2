"""Collecting: what a plain computation says, whoever does it; images that come late, that are bad, that change."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from PIL import Image

import atlas
from atlas.dataset import look
from atlas.dataset.crops import crops as crops_of
from atlas.engine.events import Event, Task
from atlas.engine.executors import Executor, InProcess
from atlas.engine.numerics import numerics_for
from atlas.engine.on_ray import OnRay
from atlas.engine.planning.images import ListedImages
from atlas.engine.record import Report
from atlas.engine.run import build, describe
from atlas.engine.stages import statistics
from atlas.engine.work import reduce
from atlas.engine.worker import Job, Supplies
from atlas.errors import AtlasError, ImagesError, PlanMismatch
from atlas.models import Model, load_model
from atlas.plans import Plan
from atlas.recipe import Collection
from atlas.store import Backend, LocalBackend, MemoryBackend, Store, repair, runs, verify
from atlas.store.text import texts
from atlas.store.zarr_adapter import ZarrStore
from atlas.units import ImageStatus
from tests.builds import build_in, collecting_plans, contents, copied, tiny_plans
from tests.dataset.made import bomb, encoded, pixels
from tests.faults import Fault, FaultyBackend

pytestmark = pytest.mark.builder

LAYERS = ("first.1", "second.1", "head")
CROPS = 3


@pytest.fixture(scope="module")
def tiny() -> Model:
    return load_model("tests.networks:tiny")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve good images and one bad one of several kinds."""
    place = tmp_path_factory.mktemp("images")
    for number in range(12):
        (place / f"good-{number:02d}.png").write_bytes(encoded(pixels(number, (40 + number, 60))))
    (place / "cut.jpg").write_bytes(encoded(pixels(90, (64, 64)), "JPEG")[:-200])
    (place / "bomb.png").write_bytes(bomb())
    (place / "note.txt").write_text("no picture")
    (place / "same.png").write_bytes(encoded(pixels(0, (40, 60))))
    return place


def collect_in(
    place: Backend,
    model: Model,
    images: ListedImages,
    executor: Executor | None = None,
    *,
    layers: Sequence[str] = LAYERS,
    more: Sequence[Plan] = (),
    photographs: bool = True,
) -> tuple[Store, Report]:
    """A store at `place` in which `images` were collected."""
    plans = collecting_plans(model, images, *layers, crops=CROPS, photographs=photographs)
    return build_in(place, model, [*plans, *more], executor, images)


@pytest.fixture(scope="module")
def images(folder: Path) -> ListedImages:
    return ListedImages.open([str(folder)])


@pytest.fixture(scope="module")
def whole(tiny: Model, images: ListedImages) -> MemoryBackend:
    backend = MemoryBackend()
    _, report = collect_in(backend, tiny, images)
    assert not report.failed
    return backend


# -- what is collected -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", LAYERS)
def test_examples_and_statistics_are_those_of_a_plain_loop(
    tiny: Model, images: ListedImages, whole: MemoryBackend, layer: str
) -> None:
    """One image after the other, one crop after the other, with nothing of the machinery."""
    store = Store.open(whole)
    answers = {
        (number, crop): answer(tiny, layer, x)
        for number, sha256 in enumerate(images.listed.sha256)
        if images.listed.same_as[number] < 0
        for crop, x in enumerate(shown(tiny, images, number, sha256.tobytes()))
    }
    group = f"layers/{layer}/statistics"
    evaluations = np.stack([value for (_, crop), (value, _) in answers.items() if crop == 0])
    np.testing.assert_allclose(store.read(f"{group}/mean"), evaluations.mean((0, 2)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(store.read(f"{group}/std"), evaluations.std((0, 2)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(store.read(f"{group}/largest"), evaluations.max((0, 2)), rtol=1e-5)
    np.testing.assert_allclose(store.read(f"{group}/active_images"), (evaluations > 0).any(2).mean(0), rtol=1e-6)
    assert (store.read(f"{group}/histogram").sum(1) == evaluations.shape[0] * evaluations.shape[2]).all()
    top, bottom = extremes(answers)
    found = np.stack([store.read(f"{group}/example_{name}") for name in ("image", "crop", "position")], -1)
    assert np.array_equal(found[:, 0], top)
    assert np.array_equal(found[:, 1], bottom)


def shown(model: Model, images: ListedImages, number: int, sha256: bytes) -> list[torch.Tensor]:
    picture = look(images.source, images.source.entries[number], sha256).picture
    if picture is None:
        return []
    return [crop.x for crop in crops_of(picture, model.preprocessing, CROPS, seed=0, sha256=sha256)]


@torch.no_grad()
def answer(model: Model, layer: str, x: torch.Tensor) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The layer's value and what it was before its rectifier, each [c,p]."""
    found: dict[str, torch.Tensor] = {}
    modules = dict(model.network.named_modules())
    path, _, last = layer.rpartition(".")
    before = f"{path}.0" if last == "1" else layer
    handles = [
        modules[name].register_forward_hook(lambda _, __, out, name=name: found.__setitem__(name, out.clone()))
        for name in {layer, before}
    ]
    # Eight side by side, as it is collected: a kernel's sums depend on the width.
    model.network(model.preprocessing.normalise(x[None].expand(8, -1, -1, -1)))
    for handle in handles:
        handle.remove()
    value, raw = (found[name][0].reshape(found[name].shape[1], -1).numpy() for name in (layer, before))
    return value, raw


def extremes(answers: dict[tuple[int, int], tuple[Any, Any]]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Image, crop and position of each channel's nine highest and nine lowest images, [c,9,3] each."""
    channels = next(iter(answers.values()))[0].shape[0]
    found = [
        [_best(answers, channel, sign, side) for channel in range(channels)] for side, sign in ((0, -1.0), (1, 1.0))
    ]
    return np.array(found[0]), np.array(found[1])


def _best(answers: dict[tuple[int, int], Any], channel: int, sign: float, side: int) -> list[tuple[int, int, int]]:
    best: dict[int, tuple[float, int, int, int]] = {}
    for (image, crop), values in answers.items():
        position = int((sign * values[side][channel]).argmin())
        entry = (sign * float(values[side][channel][position]), image, crop, position)
        best[image] = min(best.get(image, entry), entry)
    ranked = [entry[1:] for entry in sorted(best.values())[:9]]
    return ranked + [(-1, -1, -1)] * (9 - len(ranked))


def test_every_image_is_listed_with_what_became_of_it(whole: MemoryBackend, images: ListedImages) -> None:
    store = Store.open(whole)
    names = texts(store.read("images/path"))
    status = dict(zip(names, map(ImageStatus, store.read("images/status")), strict=True))
    assert names == images.listed.names
    assert [name for name, code in status.items() if code == ImageStatus.OK] == [f"good-{n:02d}.png" for n in range(12)]
    assert {name: code.name for name, code in status.items() if not name.startswith("good")} == {
        "bomb.png": "TOO_LARGE",
        "cut.jpg": "TRUNCATED",
        "note.txt": "NOT_AN_IMAGE",
        "same.png": "DUPLICATE",
    }
    reasons = dict(zip(names, texts(store.read("images/reason")), strict=True))
    assert reasons["same.png"] == "the same as good-00.png"
    assert not reasons["good-01.png"]
    size = dict(zip(names, store.read("images/size").tolist(), strict=True))
    assert size["good-03.png"] == [60, 43]


def test_classes_are_the_networks_own(tiny: Model, images: ListedImages, whole: MemoryBackend) -> None:
    store = Store.open(whole)
    number = images.listed.names.index("good-04.png")
    (x, *_) = shown(tiny, images, number, images.listed.sha256[number].tobytes())
    logits = tiny.logits(x[None])
    assert logits is not None
    best = logits[0].softmax(0).topk(5)
    assert store.read("images/class")[number].tolist() == best.indices.tolist()
    np.testing.assert_allclose(store.read("images/probability")[number], best.values.numpy(), rtol=1e-4)


def test_a_box_lies_on_the_photograph_and_holds_the_position(whole: MemoryBackend, images: ListedImages) -> None:
    store = Store.open(whole)
    boxes = store.read("layers/first.1/examples/box")
    image = store.read("layers/first.1/statistics/example_image")
    size = store.read("images/size")[image]
    there = image >= 0
    assert np.isfinite(boxes[there]).all()
    assert np.isnan(boxes[~there]).all()
    assert (boxes[there][:, :2] >= -1e-3).all()
    assert (boxes[there][:, 2:] <= size[there] + 1e-3).all()
    assert (boxes[there][:, 2:] > boxes[there][:, :2]).all()
    # A 3x3 convolution sees few pixels of the crop; a whole crop would be 32.
    assert np.median(boxes[there][:, 2] - boxes[there][:, 0]) < 25


# -- the same whoever does it ------------------------------------------------------------------------------------------


class Backwards(InProcess):
    """Tasks in an order of chance: the last first."""

    def run(self, job: Job, supplies: Supplies, queue: deque[Task]) -> Generator[Event, None, None]:
        while queue:
            yield from super().run(job, supplies, deque([queue.pop()]))


def test_the_same_bytes_whoever_collects(
    tiny: Model, images: ListedImages, whole: MemoryBackend, tmp_path: Path, ray_cluster: None
) -> None:
    expected = contents(whole)
    backwards = MemoryBackend()
    collect_in(backwards, tiny, images, Backwards())
    assert contents(backwards) == expected
    numerics = numerics_for("cpu")
    place = LocalBackend(tmp_path / "two")
    collect_in(place, tiny, images, OnRay(numerics, 2))
    assert contents(place) == expected
    faults = [
        Fault("inside", r"layers/second\.1/statistics/partial/c/.*"),
        Fault("before", r"receipts/statistics/first\.1/.*"),
        Fault("after", r"images/status/c/.*"),
        Fault("before", r"layers/head/examples/picture/c/.*"),
        Fault("before", r"receipts/relations.json"),
    ]
    faulty = FaultyBackend(tmp_path / "killed", faults, tmp_path / "marks")
    store, report = collect_in(faulty, tiny, images, OnRay(numerics, 2))
    assert not report.failed
    assert faulty.struck() == len(faults)
    assert contents(faulty) == expected
    assert not verify(store).findings


def test_layers_added_later_are_as_if_they_had_been_there(
    tiny: Model, images: ListedImages, whole: MemoryBackend
) -> None:
    backend = MemoryBackend()
    collect_in(backend, tiny, images, layers=LAYERS[:1])
    store, _ = collect_in(backend, tiny, images)
    told = [event["what"] for event in runs(store)[-1].events() if event["event"] == "shard done"]
    assert told
    assert not [done for done in told if done.startswith("images")], "no image is judged twice"
    assert contents(backend) == contents(whole)


def test_images_are_added_to_a_store_that_has_pictures(tiny: Model, images: ListedImages) -> None:
    backend = MemoryBackend()
    store = Store.create(backend, tiny.identity, describe(tiny))
    pictures = tiny_plans(tiny, "first.1")
    build(store, tiny, pictures, InProcess())
    before = contents(backend)
    collect_in(backend, tiny, images, layers=["first.1"])
    after = contents(backend)
    kept = {key: data for key, data in before.items() if key.startswith("layers/first.1/features/")}
    assert kept
    assert all(after[key] == data for key, data in kept.items())
    both = MemoryBackend()
    collect_in(both, tiny, images, layers=["first.1"], more=pictures)
    assert contents(both) == after
    assert not verify(store).findings
    assert atlas.open(backend).layer("first.1").done == 40


def test_without_photographs_only_numbers_are_kept(tiny: Model, images: ListedImages, whole: MemoryBackend) -> None:
    backend = MemoryBackend()
    store, _ = collect_in(backend, tiny, images, photographs=False)
    assert not [key for key in backend.list() if "/picture/" in key or "images/thumb" in key]
    for path in ("layers/second.1/examples/box", "layers/second.1/statistics/example_image", "images/class"):
        assert np.array_equal(store.read(path), Store.open(whole).read(path), equal_nan=True)


def sums(backend: Backend) -> list[str]:
    """What shards left behind for the reduce of a layer alone."""
    return [key for key in backend.list("layers/") if "/statistics/partial/c/" in key]


def test_sums_are_dropped_once_they_are_merged(tiny: Model, images: ListedImages, whole: MemoryBackend) -> None:
    assert not sums(whole)
    store = Store.open(whole)
    assert all(store.settled(plan) for plan in store.plans())
    told = zarr.open_group(ZarrStore(whole), mode="r", use_consolidated=False)["layers/head/statistics"].attrs[
        "scratch"
    ]
    assert str(told).startswith("partial: dropped"), "who reads zeros there is told why"
    assert not verify(store).findings


def test_sums_that_an_interrupted_build_left_are_dropped_by_the_next(
    tiny: Model, images: ListedImages, whole: MemoryBackend
) -> None:
    backend = copied(whole)
    backend.put("layers/head/statistics/partial/c/0/0/0", b"merged long since")
    store = Store.open(backend)
    assert [plan.layer_name for plan in store.plans_of("statistics") if not store.settled(plan)] == ["head"]
    collect_in(backend, tiny, images)
    assert contents(backend) == contents(whole)


@pytest.mark.parametrize("damaged", ["layers/head/statistics/mean/c/0", "receipts/columns/statistics/head.json"])
def test_where_numbers_are_damaged_and_the_sums_gone_the_layer_is_collected_again(
    tiny: Model, images: ListedImages, whole: MemoryBackend, damaged: str
) -> None:
    backend = copied(whole)
    backend.put(damaged, b"torn")
    store = Store.open(backend)
    found = verify(store)
    assert damaged in {finding.key for finding in found.damage}
    assert [shard.layer for shard in repair(store, found.findings)] == ["head"]
    collect_in(backend, tiny, images)
    assert contents(backend) == contents(whole)
    assert not verify(store).findings


def test_a_reduce_that_read_what_another_driver_dropped_writes_nothing(
    tiny: Model, images: ListedImages, whole: MemoryBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Zarr reads zeros where an object is gone: nothing may come of them."""
    backend = MemoryBackend()
    others, merge = [], statistics._columns

    def overtaken(store: Store, plan: Plan, shards: list[int]) -> dict[str, Any]:
        if plan.layer_name not in others:
            others.append(plan.layer_name)
            reduce(store, plan)
            return {name: np.zeros_like(column) for name, column in merge_before(store, plan).items()}
        return merge(store, plan, shards)

    def merge_before(store: Store, plan: Plan) -> dict[str, Any]:
        group = f"layers/{plan.layer_name}/statistics"
        return {name: store.read(f"{group}/{name}") for name in plan.written_by("reduce")}

    monkeypatch.setattr(statistics, "_columns", overtaken)
    _, report = collect_in(backend, tiny, images)
    assert sorted(others) == sorted(LAYERS)
    assert not report.failed
    assert contents(backend) == contents(whole)


def test_merged_numbers_whose_receipt_is_lost_are_collected_again_by_the_second_build(
    tiny: Model, images: ListedImages, whole: MemoryBackend
) -> None:
    backend = copied(whole)
    backend.delete("receipts/columns/statistics/head.json")
    _, report = collect_in(backend, tiny, images)
    (line,) = report.failed
    assert "shards of head were deleted after an earlier merge" in line
    assert "Run the same atlas build" in line
    _, report = collect_in(backend, tiny, images)
    assert not report.failed
    assert contents(backend) == contents(whole)


# -- what goes wrong ---------------------------------------------------------------------------------------------------


class Asked(MemoryBackend):
    """Remembers what of it was read."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []

    def get(self, key: str) -> bytes | None:
        self.read.append(key)
        return super().get(key)


def test_examples_ask_for_hashes_of_images_once_a_shard(tiny: Model, images: ListedImages) -> None:
    """In an object store each reading is some requests, and a shard shows hundreds of images."""
    backend = Asked()
    plans = collecting_plans(tiny, images, "first.1")
    build_in(backend, tiny, plans, images=images)
    shards = sum(len(plan.shards) for plan in plans)
    assert 0 < backend.read.count("images/sha256/c/0/0") <= shards + 2  # the list, and the table of images


def test_a_list_that_changed_since_is_one_line(tiny: Model, images: ListedImages, folder: Path, tmp_path: Path) -> None:
    backend = MemoryBackend()
    collect_in(backend, tiny, images, layers=["head"])
    before = contents(backend)
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    (other / "new.png").write_bytes(encoded(pixels(77)))
    with pytest.raises(PlanMismatch, match=r"another list of images: 16 .* here, 17 .* asked") as caught:
        collect_in(backend, tiny, ListedImages.open([str(other)]), layers=["head"])
    assert "\n" not in str(caught.value)
    assert contents(backend) == before


def test_an_image_that_changes_while_it_is_collected_is_skipped_and_listed(tiny: Model, tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(encoded(pixels(number)))
    images = ListedImages.open([str(tmp_path)])
    (tmp_path / "1.png").write_bytes(encoded(pixels(50)))
    store, report = collect_in(MemoryBackend(), tiny, images, layers=["head"])
    assert report.images == {"ok": 2, "changed": 1}
    assert store.read("images/status").tolist() == [0, int(ImageStatus.CHANGED), 0]
    assert (store.read("layers/head/statistics/example_image") != 1).all()


def test_images_that_vanish_before_the_examples_leave_a_hole(tiny: Model, tmp_path: Path) -> None:
    class Vanishing(InProcess):
        def run(self, job: Job, supplies: Supplies, queue: deque[Task]) -> Generator[Event, None, None]:
            for event in super().run(job, supplies, queue):
                (tmp_path / "1.png").unlink(missing_ok=True)
                yield event

    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(encoded(pixels(number)))
    store, report = collect_in(MemoryBackend(), tiny, ListedImages.open([str(tmp_path)]), Vanishing(), layers=["head"])
    assert not report.failed
    image, box = (store.read(f"layers/head/{path}") for path in ("statistics/example_image", "examples/box"))
    assert np.isnan(box[image == 1]).all()
    assert np.isfinite(box[image == 2]).all()


def test_a_device_of_little_memory_is_asked_for_less(tmp_path: Path) -> None:
    """It is written down, and counted by `verify`: the width moves bits."""
    greedy = load_model("tests.networks:greedy")
    for number in range(5):
        (tmp_path / f"{number}.png").write_bytes(encoded(pixels(number)))
    store, report = collect_in(MemoryBackend(), greedy, ListedImages.open([str(tmp_path)]), layers=["second.1"])
    assert not report.failed
    plans = {plan.stage: plan for plan in store.plans()}
    for stage in ("images", "statistics", "examples"):
        records = [receipt.record["backoff"] for receipt in store.receipts(plans[stage]).values()]
        assert records
        assert set(records) == {2}
    assert verify(store).backoffs == sum(len(plan.shards) for plan in plans.values())
    assert np.isfinite(store.read("layers/second.1/statistics/attribution")).all()


def test_no_usable_image_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("no picture")
    with pytest.raises(ImagesError, match="No image can be used of 1 image"):
        ListedImages.open([str(tmp_path)])


def test_crops_are_at_least_one(images: ListedImages, tiny: Model) -> None:
    with pytest.raises(AtlasError, match="`crops=0`"):
        images.collection(tiny, crops=0)


def test_more_images_than_a_shard(tiny: Model, tmp_path: Path) -> None:
    """The reference set is thinned and every shard owns its rows of it."""
    collection = Collection("0" * 64, 9000)
    assert (collection.step, collection.reference) == (4, 2250)
    for number in range(1030):
        Image.fromarray(pixels(number, (8, 8))).save(tmp_path / f"{number:04d}.png")
    store, report = collect_in(MemoryBackend(), tiny, ListedImages.open([str(tmp_path)]), layers=["head"])
    assert report.images == {"ok": 1030}
    assert store.read("layers/head/statistics/seen").tolist() == [1030, 1030]
    maxima = store.read("layers/head/statistics/maxima")
    assert maxima.shape == (1030, 10)
    assert np.isfinite(maxima).all()
    np.testing.assert_allclose(maxima.mean(0), store.read("layers/head/statistics/mean"), rtol=1e-4)
