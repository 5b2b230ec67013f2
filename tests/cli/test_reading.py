"""Commands that read a store, with the reader's install alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import atlas
from atlas.store.layout import VERSION
from tests.cli.conftest import Ran
from tests.stores import make_store

Command = Callable[..., Ran]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    make_store(tmp_path / "made.atlas")
    return tmp_path / "made.atlas"


def test_every_command_has_a_help_text(run: Command) -> None:
    listed = run("--help")
    assert listed.code == 0
    for name in ("layers", "check", "plan", "build", "demo", "status", "verify", "serve"):
        assert name in listed.out
        assert "Usage" in run(name, "--help").out


def test_the_version_is_told(run: Command) -> None:
    ran = run("--version")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"atlas-builder {atlas.__version__}, writes stores of version {VERSION}\n"


def test_status_of_a_finished_store(run: Command, store: Path) -> None:
    ran = run("status", store)
    assert ran.code == 0
    assert "features.3" in ran.out


def test_verify_a_whole_store_and_a_damaged_one(run: Command, store: Path) -> None:
    assert run("verify", store).code == 0
    picture = store / "layers/features.3/features/image/c/0/0/0/0/0"
    picture.write_bytes(picture.read_bytes()[:-1])
    ran = run("verify", store)
    assert ran.code == 1
    assert "torn" in ran.out
    assert len(ran.complaints) == 1
    assert "--repair" in ran.complaints[0]
    assert "1 shards will be made again" in run("verify", "--repair", store).out
    assert run("verify", store).code == 0
    (store / "layers" / "notes.txt").write_text("mine")
    for again in (run("verify", store), run("verify", "--repair", store)):
        assert again.code == 1
        assert "0 damaged" in again.out
        assert "1 files in it belong to no plan" in again.err


@pytest.mark.parametrize("command", ["status", "verify", "serve"])
def test_no_store_is_one_line(run: Command, tmp_path: Path, command: str) -> None:
    ran = run(command, tmp_path)
    assert ran.code == 1
    assert len(ran.err.splitlines()) == 1
    assert "is no atlas store" in ran.err


def test_a_store_of_a_newer_major_version_names_what_to_install(run: Command, store: Path) -> None:
    metadata = store / "zarr.json"
    text = metadata.read_text().replace(f'"encoding-version": "{VERSION}"', '"encoding-version": "2.0"', 1)
    metadata.write_text(text.replace("atlas-builder 0.1.0", "atlas-builder 3.2.1"))
    ran = run("status", store)
    assert ran.code == 1
    assert len(ran.err.splitlines()) == 1
    assert "atlas-builder>=3.2.1" in ran.err


def test_an_unknown_command_or_option_is_a_usage_error(run: Command) -> None:
    assert run("bild").code == 2
    assert run("status").code == 2


def test_a_plan_that_is_gone_is_told_of_by_status_verify_and_query(run: Command, store: Path) -> None:
    plan = store / "plans" / "features" / "features.3.json"
    whole = plan.read_bytes()
    plan.unlink()
    for command in (("status", store), ("query", store, "select count(*) from units"), ("verify", store)):
        ran = run(*command)
        assert (ran.code, len(ran.complaints)) == (1, 1)
        assert f"Repair it{', then' if command[0] == 'verify' else ':'}" in ran.complaints[0]
    listed = [line.split() for line in run("status", store).out.splitlines()]
    assert ["features", "features.3", "gone", "?", "?", "?", "gone"] in listed
    out = run("verify", store).out
    assert out.count("features.3") == 2, "the plan, and what is of it"
    assert out.startswith("missing    plans/features/features.3.json: ")
    assert "1 damaged" in out
    assert "restored" in run("verify", "--repair", store).out
    assert plan.read_bytes() == whole
    assert run("status", store).code == 0


def test_one_that_a_repair_cannot_tell_is_told_of_after_it(run: Command, store: Path) -> None:
    (store / "plans" / "features" / "features.3.json").unlink()
    (store / "layers" / "features.3" / "features" / "zarr.json").unlink()
    for command in (("verify", "--repair", store), ("status", store)):
        ran = run(*command)
        assert ran.code == 1
        assert "features.3.json is gone. The atlas build that made it brings it back." in ran.complaints[0]
