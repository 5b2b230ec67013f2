"""`atlas query`, with the reader's install alone."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from atlas import terminal
from atlas.catalogue.columns import TABLES
from atlas.terminal import console
from tests.cli.conftest import Ran
from tests.collected import collect_into
from tests.stores import STRANGE, make_store

Command = Callable[..., Ran]
SOME = "select unit, layer, objective, negative_objective, dead, 1/0 as huge from units where index in (2, 5)"


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
    assert lines[0].split() == ["unit", "layer", "objective", "negative_objective", "dead", "huge"]
    assert lines[2].split() == ["features.3:5", "features.3", "5", "NULL", "False", "inf"]
    assert any("späte schicht%2F0@2#1%25:2" in line for line in lines)


def test_an_answer_as_csv(run: Command, store: Path) -> None:
    head, *rows = csv.reader(io.StringIO(run("query", store, SOME, "--format", "csv").out))
    assert head == ["unit", "layer", "objective", "negative_objective", "dead", "huge"]
    assert rows[1] == ["features.3:5", "features.3", "5.0", "", "False", "inf"]
    assert [row[1] for row in rows] == ["features.3"] * 2 + [STRANGE] * 2 + ["classifier.1"] * 2


def test_an_answer_as_json(run: Command, store: Path) -> None:
    rows = json.loads(run("query", store, SOME, "--format", "json").out)
    assert (rows[1]["negative_objective"], rows[1]["huge"]) == (None, "Infinity")
    lines = run("query", store, SOME, "--format", "jsonl").out.splitlines()
    assert [json.loads(line) for line in lines] == rows
    assert json.loads(run("query", store, f"{SOME} and false", "--format", "json").out) == []
    assert run("query", store, f"{SOME} and false", "--format", "jsonl").out == ""


def test_a_wide_answer_is_told_row_by_row_in_a_terminal(
    run: Command, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = console(width=100)
    monkeypatch.setattr(screen, "_force_terminal", True)
    monkeypatch.setattr(terminal, "out", screen)
    told = run("query", store, "select * from units where index = 5 limit 2").out
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).split() for line in told.splitlines()]
    assert lines[0] == ["row", "1"]
    assert ["unit", "features.3:5"] in lines
    assert ["row", "2"] in lines
    assert len(lines) == 2 * (len(TABLES["units"]) + 1)
    narrow = run("query", store, SOME).out.splitlines()
    assert len(narrow) == 7, "what fits is a table"
    listed = run("query", store).out
    assert not re.search(r"^row 1", listed), "words are folded before that"
    assert max(map(len, listed.splitlines())) <= 100


def test_a_wide_answer_in_a_pipe_is_a_line_a_row(run: Command, store: Path) -> None:
    head, *rows = run("query", store, "select * from units where index = 5").out.splitlines()
    assert head.split() == [column.name for column in TABLES["units"]]
    assert len(rows) == 3
    assert all(len(row.split()) >= len(TABLES["units"]) for row in rows)


def test_the_table_of_classes_says_which_classes_it_knows(run: Command, store: Path) -> None:
    question = "select * from classes where label = 'no such class'"
    ran = run("query", store, question)
    assert ran.code == 0
    assert "knows 10 of 10 classes" in ran.err
    assert run("query", store, "select * from units where false").err == ""
    meanings = {row["column"]: row["meaning"] for row in _listed(run, store) if row["table"] == "classes"}
    assert "the network predicts for no image" in meanings["class"]


def _listed(run: Command, store: Path) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(run("query", store, "--format", "json").out)
    return found


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


def test_an_old_column_is_answered_and_its_new_name_said(run: Command, store: Path) -> None:
    ran = run("query", store, "select unit, peak from units where not silent order by peak desc", "--format", "csv")
    new = "select unit, objective_peak as peak from units where not dead order by objective_peak desc"
    assert (ran.code, ran.out) == (0, run("query", store, new, "--format", "csv").out)
    assert "The column peak is called objective_peak now." in ran.err
    assert "The column silent is called dead now." in ran.err


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("select * frm units", "syntax error"),
        ("select objective_pek from units", '"objective_peak"'),
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


@pytest.mark.parametrize("shape", ["json", "jsonl"])
@pytest.mark.parametrize(
    ("sql", "row"),
    [
        ("select 1 a, 2 a", {"a": 1, "a_1": 2}),
        ("select 1 a, 2 a, 3 a_1, 4 a", {"a": 1, "a_2": 2, "a_1": 3, "a_3": 4}),
        ("select 'nan'::float a, 1/0 b, -1/0 c, null d", {"a": "NaN", "b": "Infinity", "c": "-Infinity", "d": None}),
        ("select [1.5::double, 'nan'] a, {'x': 1/0} b", {"a": [1.5, "NaN"], "b": {"x": "Infinity"}}),
        ("select '\\x00\\xFF'::blob a", {"a": "00ff"}),
    ],
)
def test_json_loses_no_column_and_no_value(run: Command, store: Path, sql: str, row: object, shape: str) -> None:
    told = json.loads(run("query", store, sql, "--format", shape).out)
    assert (told[0] if shape == "json" else told) == row


@pytest.mark.parametrize("sql", ["-- hi\nselect 7 x", "--hi there\nselect 7 x", "/* hi */ select 7 x"])
def test_a_question_may_begin_with_a_comment(run: Command, store: Path, sql: str) -> None:
    assert run("query", store, sql, "--format", "csv").out == "x\n7\n"


@pytest.mark.parametrize("command", ["query", "status", "verify", "serve"])
def test_an_empty_place_is_refused_by_its_name(run: Command, command: str) -> None:
    ran = run(command, "")
    assert ran.code == 2
    assert "STORE" in ran.err
    assert "empty" in ran.err
