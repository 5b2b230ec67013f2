"""What a store says is data: in a terminal, in SQL, in a suggested command, in a notebook."""

from __future__ import annotations

import csv
import io
import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import atlas
from atlas.catalogue import Catalogue, write_tables
from atlas.errors import AtlasError
from atlas.terminal import console, line
from atlas.words import command, quoted, shown
from tests.cli.conftest import Ran
from tests.collected import collect_into
from tests.stores import IDENTITY, make_store

Command = Callable[..., Ran]
MARKUP = "a\\[/b] [/c] [red]d[/red] :factory: {task.id} %s $layers"
STEERING = "\x1b[2J\x1b]52;c;ZXZpbA==\x07 \x9b31m \u202egpj\u2069 \r\n\t\b\x00 \ud800 \u2028"
HTML = "<script>alert(1)</script>' onload='alert(1) \" onerror=\"x &amp;"
SHELL = "squeezenet; touch pwned $(touch pwned) `touch pwned` 'x' \"y\""
HOSTILE = f"{MARKUP} {HTML} '); drop table units; --"
LAYER = "[/b]:factory:<script>' \"); drop table units; $x"
"""As above, as long as a file's name may be."""
LABELS = [MARKUP, STEERING, HTML, SHELL, "=cmd|' /C calc'!A0", "+1", "@x", "-2", "späte ملف", "'; drop table units; --"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store all of whose words are hostile, one shard of which failed with a reason as hostile."""
    place = tmp_path_factory.mktemp("made") / "it's; $(touch pwned) [/b].atlas"
    identity = replace(IDENTITY, model=f"{SHELL} {STEERING.encode(errors='ignore').decode()}")
    words = STEERING.replace("\ud800", "")
    made = make_store(
        place,
        layers={LAYER: 40, "b \x1b[2J\u202e": 3},
        absent={LAYER: [1]},
        size=16,
        identity=identity,
        title=f"{HOSTILE} {words}",
        note=f"{HOSTILE} {words}",
    )
    made.put_labels(LABELS)
    collect_into(made, images=20)
    made.put_labels(LABELS)
    write_tables(made)
    (plan, *_) = made.plans_of("features")
    event = {"failed": str(plan.shard(1)), "reason": f"{HOSTILE} {words}", "trace": ""}
    made.put_json("logs/20260101T000000000000Z-abcdef.json", {"seconds": 1.0, "events": [event]})
    return place


@pytest.fixture
def cat(store: Path) -> Catalogue:
    return atlas.open(store)


def harmless(text: str) -> None:
    """Nothing in `text` but letters and line ends."""
    assert not [sign for sign in text if not sign.isprintable() and sign != "\n"]


def test_every_command_prints_words_as_they_are(run: Command, store: Path) -> None:
    asked = [
        ("status", store),
        ("verify", store),
        ("query", store, "select * from units"),
        ("query", store, "select distinct label from classes"),
        ("query", store, "select distinct layer, unit from units", "--format", "json"),
        ("query", store, f'select 1 as "{MARKUP}"'),
        ("query", store, "select * from [/b] :factory: \x1b[2J"),
        ("query", store, "select '\x1b[2J' as x, chr(155) as y", "--format", "jsonl"),
    ]
    for arguments in asked:
        ran = run(*arguments)
        assert ran.code in (0, 1), ran.err
        harmless(ran.out + ran.err)
    labels = run("query", store, "select distinct label from classes").out
    assert ":factory:" in labels
    assert "[/b] [/c] [red]d[/red]" in labels
    assert "\\x1b[2J" in labels
    assert "ملف" in labels


def test_a_failures_reason_is_printed_as_it_is(run: Command, store: Path) -> None:
    ran = run("status", store)
    assert ran.code == 1
    assert [MARKUP in each for each in ran.complaints] == [True, False]
    assert len(ran.err.splitlines()) == 2


def test_csv_and_json_hold_the_very_words(run: Command, store: Path) -> None:
    question = "select distinct label, class from classes order by class"
    rows = list(csv.reader(io.StringIO(run("query", store, question, "--format", "csv").out, newline="")))[1:]
    stored = [label.encode(errors="replace").decode() if label == STEERING else label for label in LABELS]
    assert [row[0] for row in rows if row[1] != "1"] == [label for label in stored if label != stored[1]]
    told = json.loads(run("query", store, question, "--format", "json").out)
    assert [row["label"] for row in told if row["class"] != 1] == [row[0] for row in rows if row[1] != "1"]


def test_csv_in_a_terminal_steers_nothing(run: Command, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    harmless(run("query", store, "select label from classes", "--format", "csv").out)


def test_a_suggested_command_is_one_command(store: Path, cat: Catalogue) -> None:
    words = shlex.split(str(cat.command(f"--layers {quoted(LAYER)}")))
    assert words == ["atlas", "build", cat.model["spec"], "--layers", LAYER, "--store", str(store)]
    with pytest.raises(AtlasError) as caught:
        _ = cat.unit(f"{cat.layer(LAYER)[33]}").image
    told = str(caught.value)
    harmless(told)
    assert shlex.split(told.partition("Build it: ")[2])[:2] == ["atlas", "build"]
    assert ";" not in shlex.split(told.partition("Build it: ")[2])


def test_what_to_do_after_verify_can_be_copied(run: Command, tmp_path: Path) -> None:
    place = tmp_path / "a b; c.atlas"
    make_store(place, layers={"a": 3}, size=16)
    picture = place / "layers/a/features/image/c/0/0/0/0/0"
    picture.write_bytes(b"x")
    (told,) = run("verify", place).complaints
    assert command("atlas", "verify", "--repair", place) in told
    assert shlex.split(command("atlas", "verify", "--repair", place))[-1] == str(place)


def test_what_to_install_is_one_word(run: Command, store: Path, tmp_path: Path) -> None:
    root = json.loads((store / "zarr.json").read_text())
    root["attributes"] |= {"encoding-version": "9.0", "written-by": "x'; touch pwned; '"}
    (tmp_path / "zarr.json").write_text(json.dumps(root))
    (told,) = run("status", tmp_path).complaints
    assert shlex.split(told.partition("pip install ")[2]) == ["x';>=touch>=pwned;>='"]


class Tags(HTMLParser):
    """Collects what a browser would make of a text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.names |= {name for name, _ in attrs}


def test_a_notebook_shows_words_and_runs_none(cat: Catalogue) -> None:
    layer = cat.layer(LAYER)
    views: list[Any] = [cat, layer, *layer.units[:3], cat.images[1], cat.sql("select * from classes"), layer[33]]
    for view in views:
        found = Tags(view._repr_html_())
        assert "script" not in found.tags
        assert found.names <= {"alt", "src", "style", "title"}
        harmless(repr(view))
    for view in (*layer[0].examples, *layer[0].classes, *layer[0].similar, cat.similar(layer[0])):
        harmless(repr(view).replace("\n", ""))


def test_names_from_a_store_are_values_in_sql(cat: Catalogue) -> None:
    assert len(cat.find(layer=LAYER)) == 40
    assert cat.sql("select count(*) from classes where label = $label", label=LABELS[-1]).rows[0][0] > 0
    assert cat.units_of(LABELS[-1])
    assert len(cat.sql("select * from units")) == 43


def test_an_error_of_ours_steers_no_terminal() -> None:
    harmless(str(AtlasError(STEERING)))
    assert str(AtlasError("späte ملف 画像 👩\u200d🔬")) == "späte ملف 画像 👩\u200d🔬"


def test_progress_is_told_in_plain_words() -> None:
    told = io.StringIO()
    screen = console()
    screen.file = told
    screen.print(line(("failed", "red"), f" {MARKUP}: {STEERING}"))
    harmless(told.getvalue())
    assert MARKUP in told.getvalue()
    assert shown(MARKUP) == MARKUP


def test_a_terminal_without_the_letters_is_no_traceback(store: Path) -> None:
    program = [sys.executable, "-m", "atlas", "query", str(store), "select distinct label from classes"]
    for encoding in ("ascii", "latin-1"):
        ran = subprocess.run(
            program,
            capture_output=True,
            check=False,
            env={"PYTHONIOENCODING": encoding, "PYTHONPATH": ":".join(sys.path)},
        )
        assert (ran.returncode, ran.stderr) == (0, b"")
        assert b"\\u0645" in ran.stdout
