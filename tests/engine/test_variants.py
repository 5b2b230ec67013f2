"""Building what a recipe may ask for beyond one picture up and one down: more variants, tries, agreement, MACO."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import atlas
from atlas.engine import spectra
from atlas.engine.events import Event, ShardDone
from atlas.engine.executors import InProcess
from atlas.engine.on_ray import OnRay
from atlas.engine.run import build, describe
from atlas.errors import AtlasError, ImagesError, PlanMismatch, StoreError, UnknownName
from atlas.models import Model, load_model, prepare
from atlas.plans import Plan
from atlas.recipe import Recipe
from atlas.rendering import Spectrum, measured, render_units, score_pictures
from atlas.store import LocalBackend, MemoryBackend, Store, as_stored, repair, verify
from atlas.units import Status
from tests.builds import HASTY, build_in, contents, tiny_plans

pytestmark = pytest.mark.builder

VARIANTS = ("positive", "negative", "neuron", "diverse-1", "diverse-2", "diverse-3")
VARIED = replace(HASTY, variants=VARIANTS, restarts=2, agreement=True)


@pytest.fixture(scope="module")
def tiny() -> Model:
    return load_model("tests.networks:tiny")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images of noise that fades, and a file that is none."""
    folder = tmp_path_factory.mktemp("photographs")
    for number in range(2):
        noise = np.random.default_rng(number).integers(0, 255, (20, 30, 3), np.uint8)
        Image.fromarray(noise).resize((150, 140)).save(folder / f"{number}.png")
    (folder / "notes.jpg").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def spectrum(photographs: Path) -> Spectrum:
    return spectra.measure([photographs])


def maco_plans(model: Model, spectrum: Spectrum, *texts: str) -> list[Plan]:
    recipe = Recipe.named("maco", size=32, steps=3, redirected=1, draws=2, spectrum=spectrum.hash)
    return tiny_plans(model, *texts, recipe=recipe)


def test_every_number_in_the_store_is_the_renderers(tiny: Model) -> None:
    backend, plans = MemoryBackend(), tiny_plans(tiny, "second.1", recipe=VARIED)
    store, report = build_in(backend, tiny, plans)
    assert not report.failed
    assert report.made == report.planned == 70 * 6
    layer, prepared = atlas.open(backend).layer("second.1"), prepare(tiny, "second.1")
    units = [0, 31, 32, 69]
    made = render_units(prepared, units, VARIED, plans[0].numerics)
    mean, peak = score_pictures(prepared, as_stored(made.pictures, 90), units, VARIED, plans[0].numerics)
    expected = {
        "objective": mean,
        "objective_peak": peak,
        "status": made.status,
        "attempt": made.attempt,
        "agreement": made.agreement,
    }
    for name, values in expected.items():
        assert np.array_equal(getattr(layer, name)[units].astype(float), np.asarray(values, float), equal_nan=True), (
            name
        )
    for row, unit in enumerate(units):
        for place, variant in enumerate(VARIANTS):
            stored = np.asarray(layer[unit].picture(variant))
            assert np.array_equal(stored, as_stored(made.pictures[row, place], 90))
    assert len(set(layer.attempt.ravel())) == 2
    assert verify(store).findings == ()


def test_a_unit_knows_all_its_pictures(tiny: Model) -> None:
    backend = MemoryBackend()
    order = ("positive", "diverse-2", "diverse-1", "neuron")
    build_in(backend, tiny, tiny_plans(tiny, "head", recipe=replace(VARIED, variants=order)))
    unit = atlas.open(backend).unit("head:3")
    assert [np.asarray(picture).tobytes() for picture in unit.diverse] == [
        np.asarray(unit.picture(name)).tobytes() for name in ("diverse-1", "diverse-2")
    ]
    assert unit.neuron.size == (32, 32)
    assert -1 <= unit.agreement <= 1
    assert unit.attempt in (0, 1)
    assert all(f"<figcaption>{name}" in unit._repr_html_() for name in order)
    with pytest.raises(UnknownName, match="no variant 'negative'"):
        _ = unit.negative
    (row,) = atlas.open(backend).sql("select agreement, objective from units where unit = 'head:3'")
    assert row == (pytest.approx(unit.agreement), pytest.approx(unit.objective))


def test_what_was_not_asked_for_is_not_there(tiny: Model) -> None:
    backend = MemoryBackend()
    build_in(backend, tiny, tiny_plans(tiny, "head"))
    unit = atlas.open(backend).unit("head:3")
    assert unit.diverse == []
    assert np.isnan(unit.agreement)
    assert unit.attempt == 0
    assert not [key for key in backend.list() if key.endswith(("/attempt/zarr.json", "/agreement/zarr.json"))]
    with pytest.raises(UnknownName, match="no variant 'neuron'"):
        _ = unit.neuron
    with pytest.raises(StoreError, match="no readable array"):
        unit.layer.array("agreement")
    assert atlas.open(backend).sql("select agreement from units where unit = 'head:3'")[0] == (None,)


def test_the_same_bytes_on_ray_and_after_a_stop(
    tiny: Model, spectrum: Spectrum, tmp_path: Path, ray_cluster: None, ray_folder: Path
) -> None:
    plans = [*tiny_plans(tiny, "second.1:0-63", recipe=VARIED), *maco_plans(tiny, spectrum, "first.1")]
    plain, stopped, on_ray = MemoryBackend(), MemoryBackend(), LocalBackend(tmp_path / "ray")
    for backend, executor in ((plain, InProcess()), (on_ray, OnRay(plans[0].numerics, 2))):
        store = Store.create(backend, tiny.identity, describe(tiny))
        assert not build(store, tiny, plans, executor, spectrum=spectrum).failed
    store = Store.create(stopped, tiny.identity, describe(tiny))

    def stop(event: Event) -> None:
        if isinstance(event, ShardDone):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(store, tiny, plans, InProcess(), spectrum=spectrum, watch=stop)
    assert not build(store, tiny, plans, InProcess()).failed  # the store holds the spectrum by now
    assert contents(stopped) == contents(on_ray) == contents(plain)


def test_another_number_of_tries_is_another_plan(tiny: Model) -> None:
    backend = MemoryBackend()
    build_in(backend, tiny, tiny_plans(tiny, "head", recipe=VARIED))
    with pytest.raises(PlanMismatch, match=r"recipe.restarts: 2 here, 3 asked"):
        build_in(backend, tiny, tiny_plans(tiny, "head", recipe=replace(VARIED, restarts=3)))


def test_a_spectrum_is_measured_on_what_can_be_decoded(photographs: Path, spectrum: Spectrum, tmp_path: Path) -> None:
    images = [np.asarray(Image.open(photographs / f"{number}.png")) for number in range(2)]
    assert spectrum.hash == measured(images).hash
    told: list[int] = []
    spectra.measure([photographs], told.append)
    assert told == [1, 2, 3]
    (tmp_path / "broken.jpg").write_text("no image")
    with pytest.raises(ImagesError, match="No images to measure"):
        spectra.measure([tmp_path])


def test_a_plan_of_maco_is_made_again_from_the_store_alone(tiny: Model, spectrum: Spectrum) -> None:
    backend = MemoryBackend()
    store = Store.create(backend, tiny.identity, describe(tiny))
    build(store, tiny, maco_plans(tiny, spectrum, "head"), InProcess(), spectrum=spectrum)
    held = Spectrum(np.asarray(atlas.open(backend).layer("head").array("spectrum")[:]))
    assert held.hash == spectrum.hash == store.plans()[0].rendering.spectrum
    build(store, tiny, maco_plans(tiny, spectrum, "first.1"), InProcess())  # another layer, no images at hand
    assert verify(store).findings == ()
    assert atlas.open(backend).layer("first.1").done == 40


def test_a_spectrum_that_nobody_has_is_asked_for_before_anything_is_written(tiny: Model, spectrum: Spectrum) -> None:
    backend = MemoryBackend()
    store = Store.create(backend, tiny.identity, describe(tiny))
    before = contents(backend)
    with pytest.raises(AtlasError, match=r"does not hold the spectrum .*`spectrum=IMAGES`"):
        build(store, tiny, maco_plans(tiny, spectrum, "head"), InProcess())
    assert contents(backend) == before


@pytest.mark.parametrize("damage", ["gone", "short", "altered"])
def test_a_damaged_spectrum_is_found_and_mended(tiny: Model, spectrum: Spectrum, damage: str) -> None:
    backend, plans = MemoryBackend(), maco_plans(tiny, spectrum, "head")
    store = Store.create(backend, tiny.identity, describe(tiny))
    build(store, tiny, plans, InProcess(), spectrum=spectrum)
    before, key = contents(backend), "layers/head/features/spectrum/c/0/0/0"
    whole = backend.get(key) or b""
    backend.delete(key)
    if damage != "gone":
        backend.put(key, whole[:100] if damage == "short" else whole[:-4] + b"\0\0\x80?")
    found = verify(store)
    assert [finding.key for finding in found.damage] == [key]
    with pytest.raises(StoreError, match="`spectrum=IMAGES`"):
        spectra.read(store, plans[0])
    repair(store, found.findings)
    with pytest.raises(AtlasError, match="`spectrum=IMAGES`"):
        build(store, tiny, plans, InProcess())
    build(store, tiny, plans, InProcess(), spectrum=spectrum)
    assert contents(backend) == before
    assert verify(store).findings == ()


def test_a_dead_unit_is_dead_in_every_variant() -> None:
    backend, dead = MemoryBackend(), load_model("tests.networks:dead")
    recipe = replace(VARIED, steps=40, eval_draws=1, variants=("positive", "neuron", "diverse-1", "diverse-2"))
    build_in(backend, dead, tiny_plans(dead, "second.2:0-31", recipe=recipe))
    layer = atlas.open(backend).layer("second.2")
    assert (layer.status[:2] == Status.UNSTARTED).all()
    assert np.isnan(layer.agreement[:2]).all()
    fine = (layer.status[3:32] == Status.OK).all(axis=1)
    assert fine.sum() > 10, "the others are as good as they would be without it"
    assert np.isfinite(layer.agreement[3:32][fine]).mean() > 0.8, "but where the other seed's picture fails"


def test_a_plan_says_what_tries_and_agreement_cost(tiny: Model) -> None:
    (once,), (often,) = (
        tiny_plans(tiny, "head", recipe=recipe) for recipe in (HASTY, replace(HASTY, restarts=3, agreement=True))
    )
    assert often.flops == pytest.approx(6 * once.flops, rel=1e-6)
