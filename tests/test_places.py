"""Places that a person names: of this machine, or refused in one line before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import atlas
from atlas.dataset import open_images
from atlas.errors import AtlasError, ImagesError, NotAStore
from atlas.places import local
from atlas.server import app_of
from atlas.store import Store
from tests.stores import IDENTITY, make_store

OBJECT_STORES = ["s3://bucket/x.atlas", "gs://bucket/x", "az://container/x"]
ELSEWHERE = [
    "abfss://container@account/x",
    "https://example.com/x.pt",
    "HF://datasets/x",
    "simplecache::s3://bucket/x",
    "user@host:/data/x",
    "file://host/x",
    "file:/x",
]
TAKERS: dict[str, tuple[Callable[[str], object], type[AtlasError]]] = {
    "atlas.open": (atlas.open, NotAStore),
    "Store.open": (Store.open, NotAStore),
    "Store.create": (lambda place: Store.create(place, IDENTITY, {}), NotAStore),
    "a page": (app_of, NotAStore),
    "images": (open_images, ImagesError),
    "several images": (lambda place: open_images(["photos", place]), ImagesError),
    "a path": (lambda place: Store.create(Path(place), IDENTITY, {}), NotAStore),
}


CASES = [(taker, place) for taker in TAKERS for place in ELSEWHERE]
# Stores and images may lie there; a `Path` of such an address has lost a slash.
CASES += [("a path", place) for place in OBJECT_STORES]
CASES += [(taker, place.replace("//", "/")) for taker in ("images", "several images") for place in OBJECT_STORES]


@pytest.mark.parametrize(("taker", "place"), CASES)
def test_an_address_of_elsewhere_is_refused(
    taker: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    take, kind = TAKERS[taker]
    with pytest.raises(kind) as caught:
        take(place)
    assert len(str(caught.value).splitlines()) == 1
    assert any(what in str(caught.value) for what in ("local path", "just a path", "://BUCKET/NAME"))
    assert [path.name for path in tmp_path.iterdir()] == ["photos"], "nothing is written"


def test_a_file_of_this_machine_is_the_same_by_its_address_and_by_its_path(tmp_path: Path) -> None:
    place = tmp_path / "my store.atlas"
    make_store(place, layers={"a": 3}, size=16)
    for name in (place, str(place), place.as_uri(), place.as_uri().replace("//", "//localhost", 1)):
        assert str(Store.open(name)) == str(place)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"")
    assert len(open_images((tmp_path / "photos").as_uri()).entries) == 1


@pytest.mark.parametrize("name", ["C:/stores/x", "x:y", "a/b:/c", "photos", "s3", "package.module:factory"])
def test_what_only_looks_like_an_address_is_a_path(name: str) -> None:
    assert local(name) == Path(name)
