from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from atlas.errors import WeightsError
from atlas.models import load_model
from atlas.models.checkpoints import read_checkpoint

pytestmark = pytest.mark.builder

TINY = "tests.networks:tiny"


class Code:
    """Runs code when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


def state() -> dict[str, Tensor]:
    """Weights that are not the tiny network's own."""
    return {key: value + 1 for key, value in load_model(TINY).state.items()}


def test_a_state_dict_is_loaded(tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "weights.pt")
    model = load_model(TINY, weights=tmp_path / "weights.pt")
    assert all(torch.equal(value, state()[key]) for key, value in model.state.items())
    assert model.weights_hash != load_model(TINY).weights_hash
    assert not model.random


def test_safetensors_are_loaded(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file(state(), tmp_path / "weights.safetensors")
    torch.save(state(), tmp_path / "weights.pt")
    hashes = {load_model(TINY, weights=tmp_path / f"weights.{end}").weights_hash for end in ("safetensors", "pt")}
    assert len(hashes) == 1


@pytest.mark.parametrize("wrapping", ["state_dict", "model"])
def test_training_checkpoints_are_unwrapped(tmp_path: Path, wrapping: str) -> None:
    parallel = {f"module.{key}": value for key, value in state().items()}
    torch.save({wrapping: parallel, "epoch": 3, "optimizer": {"lr": 0.1}}, tmp_path / "weights.pt")
    assert read_checkpoint(tmp_path / "weights.pt").keys() == state().keys()


def test_code_is_never_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    torch.save({"weight": Code(marker)}, tmp_path / "zip.pt")
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps({"weight": Code(marker)}))
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")
    for name in ("zip.pt", "plain.pkl", "module.pt"):
        with pytest.raises(WeightsError, match=r"pickle with code in it.*Not loaded"):
            load_model(TINY, weights=tmp_path / name)
    assert not marker.exists()


@pytest.mark.parametrize("name", ["text.pt", "torn.pt", "torn.safetensors", "missing.pt", "list.pt", "empty.pt"])
def test_what_is_no_checkpoint_is_one_line(tmp_path: Path, name: str) -> None:
    whole = tmp_path / "whole"
    torch.save(state(), whole)
    (tmp_path / "text.pt").write_text("hello")
    (tmp_path / "torn.pt").write_bytes(whole.read_bytes()[:5000])
    (tmp_path / "torn.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    (tmp_path / "empty.pt").write_bytes(b"")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(WeightsError, match=name) as caught:
        load_model(TINY, weights=tmp_path / name)
    assert "\n" not in str(caught.value)


def test_weights_that_do_not_fit_name_the_keys(tmp_path: Path) -> None:
    wrong = state()
    del wrong["head.bias"]
    wrong["neck.weight"] = torch.zeros(3)
    wrong["first.0.weight"] = torch.zeros(40, 1, 3, 3)
    torch.save(wrong, tmp_path / "weights.pt")
    with pytest.raises(WeightsError) as caught:
        load_model(TINY, weights=tmp_path / "weights.pt")
    message = str(caught.value)
    assert "1 missing (head.bias)" in message
    assert "1 unexpected (neck.weight)" in message
    assert "first.0.weight is [40, 1, 3, 3], the network's [40, 3, 3, 3]" in message


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_broken_weights_name_the_key(tmp_path: Path, value: float) -> None:
    broken = state()
    broken["second.0.weight"][3, 2, 1, 0] = value
    torch.save(broken, tmp_path / "weights.pt")
    with pytest.raises(WeightsError, match=r"weights\.pt.*'second\.0\.weight' hold NaN or infinity"):
        load_model(TINY, weights=tmp_path / "weights.pt")
