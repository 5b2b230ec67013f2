"""`atlas rm`, with the reader's install alone."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import atlas
from atlas.store.backends import PARTIAL
from tests.cli.conftest import Ran
from tests.stores import make_store

Command = Callable[..., Ran]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    place = tmp_path / "made.atlas"
    make_store(place, layers={"a": 40, "b": 3}, size=16)
    long_ago(place)
    return place


def long_ago(place: Path) -> None:
    """As if the last write was an hour ago."""
    then = time.time() - 3600
    os.utime(place / PARTIAL, (then, then))


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
    assert run("rm", store, "a").out == "Nothing was taken out.\n"
    assert list(atlas.open(store).layers) == ["a", "b"]
    monkeypatch.setattr("typer.confirm", lambda _: True)
    assert run("rm", store, "a").code == 0
    assert list(atlas.open(store).layers) == ["b"]


def test_a_layer_that_is_not_there_is_one_line_and_nothing_goes(run: Command, store: Path) -> None:
    ran = run("rm", store, "b", "aa", "--yes")
    assert (ran.code, len(ran.err.splitlines())) == (1, 1)
    assert "Did you mean 'a'" in ran.err
    assert list(atlas.open(store).layers) == ["a", "b"]


def test_a_store_that_may_be_built_is_left_alone(run: Command, store: Path) -> None:
    (store / PARTIAL / "x").touch()
    (store / PARTIAL / "x").unlink()
    ran = run("rm", store, "a", "--yes")
    assert (ran.code, len(ran.err.splitlines())) == (1, 1)
    assert "--force" in ran.err
    assert list(atlas.open(store).layers) == ["a", "b"]
    assert run("rm", store, "a", "--yes", "--force").code == 0
