"""`atlas query`, with the reader's install alone."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Ran
from tests.collected import collect_into
from tests.stores import STRANGE, make_store

Command = Callable[..., Ran]
SOME = "select unit, layer, mean, negative_mean, silent, 1/0 as huge from units where index in (2, 5)"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("made") / "made.atlas"
    collect_into(make_store(place))
    return place


def test_without_a_question_the_tables_are_listed(run: Command, store: Path) -> None:
    ran = run("query", store)
    assert ran.code == 0
    for words in (["units", "ratio", "FLOAT"], ["examples", "crop", "INTEGER"], ["images", "sha256", "VARCHAR"]):
        assert any(line.split()[:3] == words for line in ran.out.splitlines())
    rows = json.loads(run("query", store, "--format", "json").out)
    assert {row["table"] for row in rows} == {"units", "examples", "classes", "images", "atlas_cells"}


def test_an_answer_as_a_table(run: Command, store: Path) -> None:
    lines = run("query", store, SOME).out.splitlines()
    assert lines[0].split() == ["unit", "layer", "mean", "negative_mean", "silent", "huge"]
    assert lines[2].split() == ["features.3:5", "features.3", "5", "NULL", "False", "inf"]
    assert any("späte schicht%2F0@2#1%25:2" in line for line in lines)


def test_an_answer_as_csv(run: Command, store: Path) -> None:
    head, *rows = csv.reader(io.StringIO(run("query", store, SOME, "--format", "csv").out))
    assert head == ["unit", "layer", "mean", "negative_mean", "silent", "huge"]
    assert rows[1] == ["features.3:5", "features.3", "5.0", "", "False", "inf"]
    assert [row[1] for row in rows] == ["features.3"] * 2 + [STRANGE] * 2 + ["classifier.1"] * 2


def test_an_answer_as_json(run: Command, store: Path) -> None:
    rows = json.loads(run("query", store, SOME, "--format", "json").out)
    assert rows[1]["negative_mean"] is rows[1]["huge"] is None
    lines = run("query", store, SOME, "--format", "jsonl").out.splitlines()
    assert [json.loads(line) for line in lines] == rows
    assert json.loads(run("query", store, f"{SOME} and false", "--format", "json").out) == []
    assert run("query", store, f"{SOME} and false", "--format", "jsonl").out == ""


def test_a_limit(run: Command, store: Path) -> None:
    everything = run("query", store, "select unit from units")
    assert len(everything.out.splitlines()) == 101
    assert "first 100 rows" in everything.err
    assert "error" not in everything.err
    assert len(run("query", store, "select unit from units", "--limit", 113).out.splitlines()) == 114
    for kind, lines in {"table": 4, "csv": 4, "jsonl": 3, "json": 5}.items():
        ran = run("query", store, "select unit from units", "--limit", 3, "--format", kind)
        assert (len(ran.out.splitlines()), ran.err) == (lines, "")
    assert len(run("query", store, "select unit from units", "--format", "csv").out.splitlines()) == 114
    assert run("query", store, "select 1", "--limit", -1).code == 2


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("select * frm units", "syntax error"),
        ("select pek from units", '"peak"'),
        ("select * from pictures", "There are: units, examples, classes, images"),
        ("delete from units", "read, not changed"),
    ],
)
def test_a_mistake_is_one_line(run: Command, store: Path, text: str, line: str) -> None:
    ran = run("query", store, text)
    assert (ran.code, ran.out) == (1, "")
    assert len(ran.err.splitlines()) == len(ran.complaints) == 1
    assert line in ran.err


def test_no_store_is_one_line(run: Command, tmp_path: Path) -> None:
    ran = run("query", tmp_path, "select 1")
    assert (ran.code, len(ran.err.splitlines())) == (1, 1)
    assert "is no atlas store" in ran.err
