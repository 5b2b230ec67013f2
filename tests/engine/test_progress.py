"""Lines about progress where nobody watches a bar."""

from __future__ import annotations

import pytest

from atlas.engine.events import Advanced
from atlas.engine.progress import Progress
from atlas.store import MemoryBackend
from tests.stores import made_layer, make_store, plan_of

pytestmark = pytest.mark.builder


def test_a_pace_is_told_once_work_was_watched_for_a_while(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Work of one kind may begin long after that of others, and its first parts are heard of all at once."""
    times = [0.0]
    monkeypatch.setattr("atlas.engine.progress.time.monotonic", lambda: times[-1])
    plan = plan_of(made_layer("late", 640))
    store = make_store(MemoryBackend(), layers={"early": 32})
    with Progress() as shown:
        watch = shown.watch(store, [plan])
        for now in (100.0, 100.00001, 120.0, 140.0):
            times.append(now)
            watch(Advanced("features", "late", 16))
    (line,) = capfd.readouterr().err.splitlines()
    assert line == "64 of 1,280 pictures, 1.20 pictures/s, about 1013 s left"
