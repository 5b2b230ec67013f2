"""What follows from stored numbers: the rules, and the arrays that the store holds of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import atlas
import tests.collected
from atlas.catalogue import derived, write_index, write_tables
from atlas.catalogue.derived_arrays import made_up
from atlas.catalogue.mending import examine, mend
from atlas.errors import StoreError
from atlas.plans import Plan
from atlas.stages import CELLS, FEATURES, ICONS, STATISTICS
from atlas.stages.dataset import LEVELS
from atlas.store import MemoryBackend, Receipt, Store, Stored, cure, verify
from atlas.store.layout import columns_receipt, derived_receipt, group_key
from atlas.store.removal import keys_of, remove
from atlas.units import Status, encode
from tests.charted import chart_into
from tests.collected import collect_into
from tests.store.make_fixture import FIXTURES
from tests.stores import STRANGE, make_shard, make_store

pytestmark = pytest.mark.builder
NAN = float("nan")
VARIANTS = ("positive", "negative", "neuron", "diverse-1", "diverse-2")
LAYERS = {"features.3": 70, STRANGE: 33, "signed": 24}
Numbers = np.ndarray[Any, Any]


def floats(*values: float) -> Numbers:
    return np.array(values, np.float32)


# -- the rules ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variant", "peak", "best", "expected"),
    [
        ("positive", 3, 2, 1.5),
        ("positive", -3, 2, -1.5),
        ("positive", 3, 0, NAN),
        ("positive", 3, -0.0, NAN),
        ("positive", 3, -2, NAN),
        ("positive", 3, NAN, NAN),
        ("positive", NAN, 2, NAN),
        ("negative", -3, -2, 1.5),
        ("negative", 3, -2, -1.5),
        ("negative", -3, 0, NAN),
        ("negative", -3, 2, NAN),
        ("negative", -3, NAN, NAN),
        ("neuron", 3, 2, 1.5),
        ("diverse-2", 3, -2, NAN),
    ],
)
def test_a_ratio_is_of_the_best_example_of_its_sign(variant: str, peak: float, best: float, expected: float) -> None:
    examples = np.full((1, 2, 9), 77, np.float32)
    examples[0, int(variant == "negative"), 0] = best
    found = derived.ratio(variant, floats(peak), examples)
    assert found.dtype == np.float32
    assert np.array_equal(found, floats(expected), equal_nan=True)
    both = derived.ratios(("positive", variant), np.array([[1, peak]], np.float32), examples)
    assert np.array_equal(both[:, 1], found, equal_nan=True)


def test_a_ratio_that_is_none_has_the_same_bits_everywhere() -> None:
    examples = np.full((4, 2, 9), np.inf, np.float32)
    odd = np.array([0x7FC00001, 0xFFC00000, 0x7F800000, 0x7FC00000], np.uint32).view(np.float32)  # NaNs, and infinity
    assert derived.ratio("positive", odd, examples).tobytes() == floats(NAN, NAN, NAN, NAN).tobytes()


def test_a_unit_that_never_rises_above_zero_is_dead_and_one_of_nan_is_not() -> None:
    value = np.array(
        [[[1.0], [1.0]], [[0.0], [-2.0]], [[np.nan], [np.nan]], [[0.0], [0.0]], [[-0.0], [0.0]]], np.float32
    )
    least, largest = floats(0, 0, NAN, 0, 0), floats(2, 0, NAN, 0, 3)
    assert derived.dead(value, least, largest).tolist() == [False, True, False, True, True]


def test_where_values_lie_on_both_sides_of_zero_only_constant_units_are_dead() -> None:
    value = np.array([[[-0.1], [-0.3]], [[-1.0], [-1.0]], [[0.5], [-0.5]], [[0.0], [0.0]]], np.float32)
    least, largest = value[:, 1, 0], value[:, 0, 0]
    assert derived.dead(value, least, largest).tolist() == [False, True, False, True]


@pytest.mark.parametrize(
    ("pictures", "reliable"), [(1, [0]), (49, [0]), (100, [0, 1]), (149, [0, 1]), (150, [0, 1, 2]), (200, [0, 1, 2, 3])]
)
def test_pictures_among_the_best_fiftieth_are_reliable(pictures: int, reliable: list[int]) -> None:
    rank, status = np.arange(pictures) - 1, np.full(pictures, Status.OK)
    found = derived.picture_reliable(status, rank)
    assert rank[found].tolist() == reliable[: pictures - 1], "one without a rank has -1"
    assert not derived.picture_reliable(np.full(pictures, Status.NAN), rank).any()


def test_labels_of_enough_samples_that_hold_are_reliable() -> None:
    stability = floats(NAN, 0, 0.79, 0.8, 1)
    for count, reliable in ((0, 0), (4, 0), (5, 2), (60, 2)):
        assert derived.label_reliable(count, stability).tolist() == [False] * (5 - reliable) + [True] * reliable


# -- the arrays --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with pictures of five variants, of some units none; a signed layer, NaN; an atlas of two grids."""
    place = tmp_path_factory.mktemp("derived") / "made.atlas"
    store = make_store(place, layers=LAYERS, size=16, variants=VARIANTS, absent={"features.3": [1]})
    columns, lows = tests.collected._columns, {}

    def signed(plan: Plan, maxima: Numbers, numbers: Numbers) -> dict[str, Any]:
        data = columns(plan, maxima, numbers)
        if plan.layer_name == "signed":
            data["example_value"][:, 1] -= 9
            data["example_value"][4, 0], data["example_value"][5] = -1, 0
            data["example_value"][7] = np.nan
            data["least"] = data["example_value"][:, 1, 0].copy()
            data["largest"][5] = data["least"][5]
            lows[plan.layer_name] = data["least"]
        return data

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tests.collected, "_columns", signed)
        plans = collect_into(store, layers=[plan.on for plan in store.plans_of(FEATURES.name)])
    assert lows, "a layer is signed"
    chart_into(store, store.plans_of(FEATURES.name)[0].on, plans[0].collection)
    write_tables(store)
    return place


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Store:
    """A copy of it to damage."""
    shutil.copytree(made, tmp_path / "copy.atlas")
    return Store.open(tmp_path / "copy.atlas")


def ours(store: Store) -> dict[str, bytes]:
    """All that is derived of layers, with its receipts."""
    parts = ("/derived/", "receipts/derived/")
    return {key: store.backend.get(key) or b"" for key in store.backend.list() if any(part in key for part in parts)}


def test_what_the_store_holds_is_what_python_and_the_tables_say(made: Path) -> None:
    cat = atlas.open(made)
    kept = {True: 0, False: 0}
    for layer in cat:
        group = zarr.open_group(made / "layers" / layer.layer.key / "derived", mode="r", use_consolidated=False)
        dead, ratio = np.asarray(group["dead"]), np.asarray(group["ratio"])
        assert (str(dead.dtype), str(ratio.dtype), ratio.shape) == ("uint8", "float32", (layer.channels, len(VARIANTS)))
        assert np.array_equal(dead, layer.dead)
        assert np.array_equal(ratio, layer.ratio, equal_nan=True)
        for unit in layer:
            assert unit.dead == bool(dead[unit.index])
            told = [unit.ratio_of(variant) for variant in VARIANTS]
            assert np.array_equal(np.array(told, np.float32), ratio[unit.index], equal_nan=True)
        text = "select index, dead, ratio, negative_ratio from units where layer = $layer order by index"
        for index, is_dead, *ratios in cat.sql(text, layer=layer.name):
            assert is_dead == bool(dead[index])
            for found, stored in zip(ratios, ratio[index, :2], strict=True):
                assert (found is None) == np.isnan(stored)
                assert found is None or np.float32(found) == stored
                kept[found is None] += 1
    assert min(kept.values()) > 50
    assert np.flatnonzero(cat.layer("signed").dead).tolist() == [5], "of a signed layer the constant unit alone"
    assert np.isfinite(cat.layer("signed").ratio[:, 1]).sum() > 10, "negatives of a signed layer have one"
    assert np.isnan(cat.layer("signed").ratio[7]).all()


def test_what_the_store_holds_of_cells_is_what_python_and_the_tables_say(made: Path) -> None:
    cat = atlas.open(made)
    shown = cat.layer("features.3").atlas
    seen = {True: 0, False: 0}
    for side in shown.grids:
        grid = shown.grid(side)
        path = f"layers/features.3/derived/atlas/all/{side}"
        picture, label = (cat.store.read(f"{path}/{name}") for name in ("picture_reliable", "label_reliable"))
        assert (picture.shape, label.shape) == ((side**2,), (side**2, 5))
        assert not picture[len(grid) :].any()
        assert not label[len(grid) :].any()
        assert np.array_equal(picture[: len(grid)], grid.picture_reliable)
        rows = cat.sql(
            "select picture_reliable, label_reliable from atlas_cells where side = $side order by cell", side=side
        )
        for cell, told in zip(grid, rows, strict=True):
            assert told == (bool(picture[cell.row]), bool(label[cell.row, 0]))
            assert [one.reliable for one in cell.labels] == label[cell.row, : len(cell.labels)].astype(bool).tolist()
        for flag in (*label[: len(grid)].ravel(), *picture[: len(grid)]):
            seen[bool(flag)] += 1
    assert min(seen.values()) > 0


def test_the_group_tells_of_all_its_arrays_and_of_the_rules_constants(made: Path) -> None:
    group = zarr.open_group(made / "layers/features.3/derived", mode="r", use_consolidated=True)
    assert group.metadata.consolidated_metadata is not None
    assert set(group.metadata.consolidated_metadata.metadata) >= {"dead", "ratio", "atlas"}
    assert group.attrs["quantiles"] == list(LEVELS)
    assert group.attrs["reliable"] == {"rank": derived.TOP, "samples": derived.SAMPLES, "stability": derived.HOLDS}
    assert np.asarray(zarr.open(made, mode="r")["layers/features.3/derived/dead"]).shape == (70,)  # type: ignore[index]
    plain = [b'"codecs":[{"name":"bytes"', b'"codecs": [{"name": "bytes"']
    metadata = b"".join((made / "layers/features.3/derived/ratio/zarr.json").read_bytes().split())
    assert plain[0] in metadata, "rows are read by their ranges"


def test_an_array_is_there_as_soon_as_what_it_follows_from_is() -> None:
    pictured = make_store(MemoryBackend(), layers={"a": 40, "b": 3}, size=16)
    assert ours(pictured) == {}
    half = make_store(MemoryBackend(), layers={"a": 40}, size=16, columns=False)
    collect_into(half)
    assert "layers/a/derived/dead/c/0" in ours(half)
    assert not [key for key in ours(half) if "/ratio/" in key]
    (plan,) = half.plans_of(FEATURES.name)
    from atlas.engine.work import reduce

    reduce(half, plan)
    write_index(half)
    assert "layers/a/derived/ratio/c/0/0" in ours(half)
    half.backend.delete(columns_receipt(half.plans_of(STATISTICS.name)[0]))
    write_index(half)
    assert ours(half) == {}, "and goes with it"


class Counting(MemoryBackend):
    """Notes what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []

    def put(self, key: str, value: bytes) -> None:
        self.written.append(key)
        super().put(key, value)

    def put_new(self, key: str, value: bytes) -> bool:
        self.written.append(key)
        return super().put_new(key, value)

    def put_if(self, key: str, value: bytes, there: bytes | None) -> bool:
        self.written.append(key)
        return super().put_if(key, value, there)


def test_it_is_written_anew_only_where_what_it_follows_from_changed() -> None:
    backend = Counting()
    store = make_store(backend, layers={"a": 40, "b": 40}, size=16, absent={"a": [1]})
    collect_into(store)
    before, backend.written = ours(store), []
    write_index(store)
    assert (ours(store), [key for key in backend.written if "derived" in key]) == (before, [])
    plan = next(plan for plan in store.plans_of(FEATURES.name) if plan.layer_name == "a")
    make_shard(store, plan, plan.shard(1))
    from atlas.engine.work import reduce

    reduce(store, plan)
    assert examine(store).damage == []
    assert {(each.kind, each.key) for each in examine(store).findings} == {("unfinished", derived_receipt("a"))}
    write_index(store)
    assert examine(store).findings == ()
    assert {key for key in ours(store) if ours(store)[key] != before[key]} == {
        derived_receipt("a"),
        "layers/a/derived/ratio/c/0/0",
    }
    assert {key.split("/")[1] for key in backend.written if "/derived/" in key and key.startswith("layers/")} == {"a"}
    assert np.array_equal(
        store.read("layers/a/derived/ratio"), atlas.open(store.backend).layer("a").ratio, equal_nan=True
    )


def test_no_plan_receipt_or_group_knows_of_it(store: Store) -> None:
    before, derived_of = {key: store.backend.get(key) or b"" for key in store.backend.list()}, ours(store)
    for key in derived_of:
        store.backend.delete(key)
    write_index(store)
    assert {key: store.backend.get(key) for key in store.backend.list()} == before
    assert not [key for key, data in before.items() if key not in derived_of and b"derived" in data]


# -- damage ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["flip", "cut", "lose"])
@pytest.mark.parametrize("which", ["objects", "receipts"])
def test_damage_of_any_object_is_found_and_mended(store: Store, which: str, how: str) -> None:
    whole = {key: store.backend.get(key) for key in store.backend.list()}
    damaged = {key: data for key, data in ours(store).items() if key.startswith("receipts/") == (which == "receipts")}
    for key, data in damaged.items():
        at = len(data) // 2
        if how == "lose":
            store.backend.delete(key)
        else:
            store.backend.put(key, data[:at] + (bytes([data[at] ^ 4]) + data[at + 1 :] if how == "flip" else b""))
    found = examine(store)
    lost = {each.key for each in found.findings}
    if (which, how) == ("receipts", "lose"):  # as a build leaves it that was stopped there
        assert (lost, found.damage) == (set(ours(store)), [])
    else:
        assert lost >= damaged.keys()
        assert damaged.keys() <= {each.key for each in found.damage}
        assert damaged.keys() <= {each.key for each in verify(store).damage}
    assert {cure(each) for each in found.findings} == {"derived, and made anew"}
    assert mend(store, found.findings) == []
    assert {key: store.backend.get(key) for key in store.backend.list()} == whole


def test_without_its_receipt_it_is_written_anew(store: Store) -> None:
    before = ours(store)
    store.backend.delete(derived_receipt("signed"))
    found = examine(store)
    assert found.damage == []
    assert {each.key.split("/")[1] for each in found.findings} == {"signed"}
    assert {cure(each) for each in found.findings} == {"derived, and made anew"}
    write_index(store)
    assert ours(store) == before
    assert examine(store).findings == ()


def test_what_is_not_what_the_numbers_say_is_found_though_its_receipt_names_it(store: Store) -> None:
    before, key, receipt_key = ours(store), "layers/signed/derived/dead/c/0", derived_receipt("signed")
    data = bytes(24)
    store.backend.put(key, data)
    receipt = store.reduced(receipt_key)
    assert receipt is not None
    objects = tuple(Stored.of(key, data) if one.key == key else one for one in receipt.objects)
    store.backend.put(receipt_key, Receipt(receipt.plan, 0, receipt.units, objects).to_bytes())
    assert verify(store).findings == ()
    (named,) = examine(store).findings
    assert (named.kind, named.key) == ("torn", key)
    mend(store, (named,))
    assert ours(store) == before


def test_a_stray_file_among_it_is_taken_out(store: Store) -> None:
    before = ours(store)
    store.backend.put("layers/signed/derived/junk/c/0", b"junk")
    (named,) = examine(store).findings
    assert named.key == "layers/signed/derived/junk/c/0"
    mend(store, (named,))
    assert ours(store) == before


def test_where_a_number_is_damaged_it_stays_as_it_was(store: Store) -> None:
    before = ours(store)
    (plan,) = (plan for plan in store.plans_of(STATISTICS.name) if plan.layer_name == "signed")
    key = f"{group_key(plan)}/example_value/c/0/0/0"
    whole = store.backend.get(key) or b""
    store.backend.put(key, whole[:-9])
    store.backend.delete(derived_receipt("signed"))
    write_index(store)
    assert {each.key for each in examine(store).damage} == {key}
    store.backend.put(key, whole)
    write_index(store)
    assert ours(store) == before


@pytest.mark.parametrize("number", [-2, 10**6])
def test_a_cell_that_the_grid_does_not_have_is_found_and_no_traceback(store: Store, number: int) -> None:
    plan = store.plans_of(CELLS.name)[0]
    (key,) = store.backend.list(f"{group_key(plan)}/cell/c/")
    cells = np.frombuffer(store.backend.get(key) or b"", "<i4").copy()
    cells[0] = number
    store.backend.put(key, cells.tobytes())
    store.backend.delete(derived_receipt(plan.layer_name))
    write_index(store)
    assert {each.key for each in examine(store).damage} == {key}
    with pytest.raises(StoreError, match="names cells that the grid does not have"):
        made_up(store, f"layers/{encode(plan.layer_name)}/derived")


def test_a_layer_takes_what_is_derived_of_it_along(store: Store) -> None:
    gone = set(keys_of(store, "signed"))
    assert gone > {key for key in ours(store) if "/signed" in key} != set()
    remove(store, "signed")
    assert not [key for key in ours(store) if "signed" in key]
    assert [key for key in ours(store) if "features.3" in key]


# -- stores of before --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", sorted(path.name for path in FIXTURES.iterdir()))
@pytest.mark.parametrize("how", ["index", "repair", "copy"])
def test_a_store_of_before_gets_it_beside_what_it_has(version: str, how: str, tmp_path: Path) -> None:
    place = tmp_path / version
    shutil.copytree(FIXTURES / version, place)
    store = Store.open(place)
    before = {key: store.backend.get(key) for key in store.backend.list()}
    assert ours(store) == {}
    ways: dict[str, Callable[[], Any]] = {
        "index": lambda: write_index(store),
        "repair": lambda: mend(store, ()),
        "copy": lambda: atlas.copy(place, tmp_path / "copied"),
    }
    ways[how]()
    written = Store.open(tmp_path / "copied" if how == "copy" else place)
    assert bool(ours(written)) == (version != "1.0"), "which has statistics"
    if how == "index":
        after = {key: written.backend.get(key) for key in written.backend.list()}
        assert {key for key in after if after[key] != before.get(key)} <= {*ours(written), "catalogue.json"}
        assert before.keys() <= after.keys()
    if how == "copy":
        assert ours(store) == {}
    assert examine(written).findings == ()
    for layer in atlas.open(written.backend):
        if version != "1.0":
            path = f"layers/{layer.layer.key}/derived"
            assert np.array_equal(written.read(f"{path}/ratio"), layer.ratio, equal_nan=True)
            assert np.array_equal(written.read(f"{path}/dead"), layer.dead)
    stages = {plan.stage for plan in written.plans()}
    assert bool(stages & {CELLS.name, ICONS.name}) == any("/picture_reliable/" in key for key in ours(written))
