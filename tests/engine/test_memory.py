"""What is free of a machine and of the control groups around a process, and what is said where a build does not fit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from atlas.engine import memory

pytestmark = pytest.mark.builder

PAGE = os.sysconf("SC_PAGE_SIZE")
GB = 10**9


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 16 GB free, and a process of half a GB in no group with a limit."""
    monkeypatch.setattr(memory, "PROC", tmp_path / "proc")
    monkeypatch.setattr(memory, "CGROUPS", tmp_path / "groups")
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable: {16 * GB // 1024} kB\n")
    (tmp_path / "proc" / "self" / "statm").write_text(f"99999999 {GB // 2 // PAGE + 70} 70 1 0 1 0")
    (tmp_path / "proc" / "self" / "cgroup").write_text("0::/\n")
    return tmp_path


def group(folder: Path, names: tuple[str, str], limit: str, used: int, stat: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1\n{stat}\n")


def test_a_machine_without_limits(system: Path) -> None:
    assert memory.available() == 16 * GB // 1024 * 1024
    assert memory.shortage(8) is None
    assert "40 tasks side by side need 20.4 GB at least, 16.0 GB are free here. Try `workers=31`" in str(
        memory.shortage(40)
    )


def test_the_narrowest_group_around_a_process_counts(system: Path) -> None:
    (system / "proc" / "self" / "cgroup").write_text("0::/a/b\n")
    names = ("memory.max", "memory.current")
    group(system / "groups" / "a" / "b", names, "max", GB, "inactive_file 0")
    group(system / "groups" / "a", names, f"{3 * GB}", 2 * GB, f"inactive_file {GB // 2}")
    assert memory.available() == 3 * GB // 2
    assert memory.shortage(2) is None
    assert "Try `workers=2`" in str(memory.shortage(3))


def test_groups_of_the_first_version_seen_from_a_container(system: Path) -> None:
    """The path is the host's, and the container's own group lies at the root."""
    (system / "proc" / "self" / "cgroup").write_text("12:cpu:/x\n4:memory:/docker/abc\n")
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
    group(system / "groups" / "memory", names, f"{13 * GB // 10}", GB // 2, "total_inactive_file 0")
    assert memory.available() == 8 * GB // 10
    assert "Try `local=yes`" in str(memory.shortage(2))
    assert memory.shortage(0) is None


def test_a_build_in_one_process_that_has_no_room_left(system: Path) -> None:
    names = ("memory.max", "memory.current")
    group(system / "groups", names, f"{GB}", GB - 10**8, "inactive_file 0")
    assert "a build needs 0.2 GB at least, 0.1 GB are free here" in str(memory.shortage(0))


def test_a_system_that_says_nothing(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "PROC", system / "nowhere")
    assert memory.available() is None
    assert memory.shortage() is None


def test_this_very_machine_says_something() -> None:
    assert (memory.resident() or 0) > 0
    assert (memory.available() or 0) > 0
