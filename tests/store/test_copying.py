"""Copying a store to another place: the same bytes, gone on with, merged, and never over what is there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from atlas import copying
from atlas.catalogue import write_index, write_tables
from atlas.errors import AtlasError, NotAStore, PlanMismatch
from atlas.store import LocalBackend, MemoryBackend, Store, verify
from atlas.store.copying import copy
from atlas.store.layout import scratch_objects
from tests.charted import chart_into
from tests.collected import collect_into
from tests.stores import make_store

pytestmark = pytest.mark.builder


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with pictures, images, statistics, an atlas and tables."""
    place = tmp_path_factory.mktemp("source") / "s"
    store = make_store(place, layers={"a": 40, "b": 3}, size=16)
    collecting = collect_into(store)
    collection = next(plan.collection for plan in collecting if plan.stage == "images")
    chart_into(store, store.plans_of("features")[0].on, collection)
    store.put_labels(["cat", "dog"])
    for plan in store.plans():
        store.fold(plan)
    write_tables(store)
    write_index(store)
    return store


def whole(store: Store) -> dict[str, bytes]:
    return {key: store.backend.get(key) or b"" for key in store.backend.list()}


def test_a_copy_has_every_byte(source: Store, tmp_path: Path) -> None:
    found = copy(source, tmp_path / "c")
    write_index(found.store)
    assert found.damaged == ()
    assert whole(found.store) == whole(source)
    derived = {key for key in source.backend.list("layers/") if "/derived/" in key}
    data = {key for key in source.backend.list() if "/c/" in key}
    assert found.objects == len(data | derived | set(source.backend.list("tables/")))
    again = copy(source, tmp_path / "c")
    assert (again.objects, again.bytes) == (0, 0)


def test_a_copy_that_stopped_is_a_store_and_goes_on(source: Store) -> None:
    merged = {key for plan in source.plans() for key in scratch_objects(plan, 0)}
    for stop in (1, 7, *range(20, 200, 9)):
        backend = Stopping(stop)
        with pytest.raises(KeyboardInterrupt):
            copy(source, backend)
        backend.left = 10**9
        # Nothing but what comes next is missing: data without a receipt, metadata of plans, the merge of what went.
        found = [each for each in verify(Store.open(backend)).findings if each.kind != "unfinished"]
        assert all(each.key.endswith("zarr.json") or each.key in merged for each in found), stop
        copied = copy(source, backend)
        write_index(copied.store)
        assert whole(copied.store) == whole(source)


class Stopping(MemoryBackend):
    """Stops whoever writes more than so many objects."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self.left = left

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt

    def put(self, key: str, value: bytes) -> None:
        self._count()
        super().put(key, value)

    def put_new(self, key: str, value: bytes) -> bool:
        self._count()
        return super().put_new(key, value)


def test_two_copies_to_one_place_at_once_are_one(source: Store, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        both = [*pool.map(lambda place: copy(source, place), [tmp_path / "c"] * 2)]
    assert [one.damaged for one in both] == [(), ()]
    write_index(both[0].store)
    assert whole(both[0].store) == whole(source)


def test_what_is_damaged_is_left_out_and_named(source: Store, tmp_path: Path) -> None:
    torn = copy(source, MemoryBackend()).store
    key = next(key for key in torn.backend.list("layers/a/features/image/c/"))
    torn.backend.put(key, (torn.backend.get(key) or b"")[:-1])
    found = copy(torn, tmp_path / "c")
    assert found.damaged == (key,)
    assert verify(found.store).damage == []
    assert copy(source, tmp_path / "c").damaged == ()
    write_index(found.store)
    assert whole(found.store) == whole(source)


def test_nothing_of_others_is_replaced(source: Store, tmp_path: Path) -> None:
    make_store(tmp_path / "other", layers={"a": 40}, size=32)
    other = Store.open(tmp_path / "other")
    before = whole(other)
    with pytest.raises(PlanMismatch):
        copy(source, other.backend)
    assert whole(other) == before
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "mine.txt").write_text("mine")
    with pytest.raises(NotAStore):
        copy(source, tmp_path / "files")
    assert list(LocalBackend(tmp_path / "files").list()) == ["mine.txt"]


def test_what_changed_since_is_brought_up_to_date(source: Store, tmp_path: Path) -> None:
    part = copy(source, tmp_path / "part").store
    part.put_labels(["tac", "god"])
    plan = next(plan for plan in part.plans() if plan.stage == "features" and plan.layer_name == "a")
    part.forget(plan, {1})
    write_tables(part)
    older = copy(part, tmp_path / "c").store
    assert older.labels == ["tac", "god"]
    newer = copy(source, tmp_path / "c").store
    write_index(newer)
    assert whole(newer) == whole(source)


def test_what_a_copy_that_has_more_was_told_last_stays(tmp_path: Path) -> None:
    part, more = (make_store(MemoryBackend(), layers=layers, size=16) for layers in ({"a": 40}, {"a": 40, "b": 3}))
    part.put_pipeline({"layers": ["a"]}, [])
    more.put_pipeline({"layers": ["a", "b"]}, [])
    copy(part, more.backend)
    assert (more.pipeline or {})["options"] == {"layers": ["a", "b"]}
    fewer = copy(part, tmp_path / "c").store
    part.put_pipeline({"layers": ["a", "a"]}, [])
    copy(part, fewer.backend)
    assert (fewer.pipeline or {})["options"] == {"layers": ["a", "a"]}


def test_what_is_built_meanwhile_is_copied_as_far_as_it_is(source: Store, tmp_path: Path) -> None:
    part = copy(source, tmp_path / "part").store
    plan = next(plan for plan in part.plans() if plan.stage == "features" and plan.layer_name == "a")
    part.forget(plan, {1})
    found = copy(part, tmp_path / "c")
    assert set(found.store.receipts(plan)) == {0}
    assert copy(source, tmp_path / "c").objects > 0
    assert set(found.store.receipts(plan)) == {0, 1}


def test_a_copy_into_the_store_itself_is_refused(source: Store, tmp_path: Path) -> None:
    copied = copying.copy(source, tmp_path / "a.atlas").store
    before = sorted(copied.backend.list())
    for place in (tmp_path / "a.atlas", tmp_path / "a.atlas" / "inner"):
        for take in (copying.copy, copying.publish):
            with pytest.raises(AtlasError, match="lies in the store"):
                take(copied, place)
    assert sorted(copied.backend.list()) == before


def test_nothing_is_published_among_other_files(source: Store, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"a photograph")
    with pytest.raises(NotAStore, match=r"a\.jpg"):
        copying.publish(source, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]


def test_two_places_in_memory_are_two(source: Store) -> None:
    first, second = MemoryBackend(), MemoryBackend()
    copying.copy(source, first)
    assert whole(copying.copy(first, second).store).keys() == whole(Store.open(first)).keys()
