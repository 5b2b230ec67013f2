"""`atlas rm`, with the reader's install alone."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import atlas
from atlas.store import LocalBackend, builders
from atlas.store.builders import BUILDERS, Builder
from tests.cli.conftest import Ran
from tests.stores import make_store

Command = Callable[..., Ran]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    place = tmp_path / "made.atlas"
    make_store(place, layers={"a": 40, "b": 3}, size=16)
    return place


def test_a_layer_is_taken_out(run: Command, store: Path) -> None:
    ran = run("rm", store, "a", "--yes")
    assert (ran.code, ran.err) == (0, "")
    assert "a: " in ran.out
    assert list(atlas.open(store).layers) == ["b"]
    assert run("verify", store).code == 0
    assert {row[0] for row in atlas.open(store).sql("select layer from units")} == {"b"}


def test_nothing_goes_unless_it_is_said(run: Command, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = run("rm", store, "a")
    assert ran.code == 1
    assert "--yes" in ran.complaints[0]
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", lambda _: False)
    assert run("rm", store, "a").out == "Nothing was removed.\n"
    assert list(atlas.open(store).layers) == ["a", "b"]
    monkeypatch.setattr("typer.confirm", lambda _: True)
    assert run("rm", store, "a").code == 0
    assert list(atlas.open(store).layers) == ["b"]


def test_a_layer_that_is_not_there_is_one_line_and_nothing_goes(run: Command, store: Path) -> None:
    ran = run("rm", store, "b", "aa", "--yes")
    assert (ran.code, len(ran.err.splitlines())) == (1, 1)
    assert "Did you mean 'a'" in ran.err
    assert list(atlas.open(store).layers) == ["a", "b"]


def test_a_store_that_is_built_is_left_alone(run: Command, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builders, "BEAT", 0.02)
    monkeypatch.setattr(builders, "PATIENCE", 0.4)
    with Builder(LocalBackend(store), ["1" * 64]):
        ran = run("rm", store, "a", "--yes")
        (left,) = (store / BUILDERS).iterdir()
        data = left.read_bytes()
    assert (ran.code, len(ran.err.splitlines())) == (1, 1)
    assert "a build of this store is running" in ran.err
    assert list(atlas.open(store).layers) == ["a", "b"]
    left.write_bytes(data)  # as one that was killed leaves it
    assert run("rm", store, "a", "--yes").code == 0
    assert "1 records of dead builds" in run("gc", store).out
