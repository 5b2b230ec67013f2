"""Weights and labels that lie in an object store are the same as from a file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from atlas.errors import ModelError, WeightsError
from atlas.models import load_model
from atlas.store import backend_at, fetching
from tests.networks import tiny
from tests.object_stores import moto

pytestmark = pytest.mark.builder

NAMES = [f"class {number}" for number in range(10)]


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A bucket with two checkpoints of the tiny network, one of two sets of weights, and labels."""
    file = tmp_path_factory.mktemp("weights") / "run.pt"
    network, _ = tiny()
    state = {name: value + 1 for name, value in network.state_dict().items()}
    with moto() as server, server.reached():
        backend = backend_at(server.bucket)
        torch.save(state, file)
        backend.put("runs/run.pt", file.read_bytes())
        torch.save({"last": network.state_dict(), "ema": state}, file)
        backend.put("runs/both.pt", file.read_bytes())
        backend.put("labels.txt", "\n".join(NAMES).encode())
        yield server.bucket


def test_weights_and_labels_are_those_of_the_objects(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "PIECE", 1000)  # it comes in many pieces
    model = load_model("tests.networks:tiny", weights=f"{bucket}/runs/run.pt", labels=f"{bucket}/labels.txt")
    plain, _ = tiny()
    assert all(torch.equal(value, plain.state_dict()[name] + 1) for name, value in model.state.items())
    assert list(model.labels or ()) == NAMES
    chosen = load_model("tests.networks:tiny", weights=f"{bucket}/runs/both.pt#ema")
    assert chosen.weights_hash == model.weights_hash


def test_what_is_not_there_is_one_line(bucket: str) -> None:
    with pytest.raises(WeightsError, match=r"runs/none\.pt is not there") as raised:
        load_model("tests.networks:tiny", weights=f"{bucket}/runs/none.pt")
    assert len(str(raised.value).splitlines()) == 1
    with pytest.raises(ModelError, match=r"none\.txt is not there"):
        load_model("tests.networks:tiny", labels=f"{bucket}/none.txt")
    with pytest.raises(WeightsError, match="s3://BUCKET/NAME"):
        load_model("tests.networks:tiny", weights="s3://")


def test_what_was_fetched_is_gone_with_the_process(bucket: str) -> None:

    code = f"from atlas.store.fetching import at_hand; print(at_hand({bucket + '/labels.txt'!r}))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert Path(ran.stdout.strip()).name == "labels.txt"
    assert not Path(ran.stdout.strip()).parent.parent.exists()
