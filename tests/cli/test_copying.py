"""`atlas copy` and `atlas publish`, with the reader's install alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import atlas
from atlas.catalogue import write_index
from atlas.server import serving
from atlas.store import Store
from tests.cli.conftest import Ran
from tests.stores import make_store

Command = Callable[..., Ran]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    made = make_store(tmp_path / "made.atlas", layers={"a": 40, "b": 3}, size=16)
    write_index(made)
    return tmp_path / "made.atlas"


def test_a_store_is_copied_and_gone_on_with(run: Command, store: Path, tmp_path: Path) -> None:
    ran = run("copy", store, tmp_path / "c")
    assert (ran.code, ran.err) == (0, "")
    assert "MB written to" in ran.out
    assert list(atlas.open(tmp_path / "c").layers) == ["a", "b"]
    assert run("verify", tmp_path / "c").code == 0
    assert run("copy", store, tmp_path / "c").out.startswith("0 objects")


def test_what_is_damaged_is_told_of(run: Command, store: Path, tmp_path: Path) -> None:
    key = next(key for key in Store.open(store).backend.list("layers/a/") if "/c/" in key)
    (store / key).write_bytes(b"torn")
    ran = run("copy", store, tmp_path / "c")
    assert ran.code == 1
    assert key in ran.err
    assert "atlas verify --repair" in ran.err.replace("\n", " ")
    assert run("verify", tmp_path / "c").code == 0


def test_a_store_is_published_with_its_page(
    run: Command, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = tmp_path / "app"
    (app / "assets").mkdir(parents=True)
    (app / "index.html").write_text("<!doctype html>")
    (app / "assets" / "a.js").write_text("1")
    monkeypatch.setattr(serving.put_page, "__defaults__", (app,))
    assert run("publish", store, tmp_path / "site").code == 0
    assert (tmp_path / "site" / "index.html").read_text() == "<!doctype html>"
    assert (tmp_path / "site" / "assets" / "a.js").read_text() == "1"
    assert list(atlas.open(tmp_path / "site" / "store").layers) == ["a", "b"]
    assert run("publish", store, tmp_path / "site").code == 0
