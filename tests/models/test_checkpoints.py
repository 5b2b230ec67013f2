from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from atlas.errors import WeightsError
from atlas.models import load_model
from atlas.models.checkpoints import load_weights, read_checkpoint

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


def damaged(whole: bytes, seed: int) -> bytes:
    """`whole` with a piece cut off, or some bytes changed, most of them near either end, where its structure is."""
    random = Random(seed)
    if seed % 3 == 0:
        return whole[: random.randrange(len(whole))]
    piece = bytearray(whole)
    for _ in range(random.choice([1, 4, 40])):
        near = random.randrange(min(len(piece), 1500))
        piece[random.choice([near, -1 - near, random.randrange(len(piece))])] = random.randrange(256)
    return bytes(piece)


def refused(file: Path) -> str | None:
    """The line that refuses `file`, None where it is read."""
    try:
        read_checkpoint(file)
    except WeightsError as error:
        return str(error)
    return None


@pytest.mark.parametrize("kind", ["zip.pt", "legacy.pt", "weights.safetensors"])
def test_damaged_files_are_loaded_or_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    from safetensors.torch import save

    file = tmp_path / kind
    if kind == "weights.safetensors":
        file.write_bytes(save(state()))
    else:
        torch.save(state(), file, _use_new_zipfile_serialization=kind == "zip.pt")
    whole, lines = file.read_bytes(), []
    for seed in range(150):
        file.write_bytes(damaged(whole, seed))
        lines.append(refused(file))
    assert sum(line is not None for line in lines) > 50
    assert not any("\n" in line for line in lines if line)


@pytest.mark.parametrize("data", [b"\x80\x02)R.", b"\x80\x02J\x00", b"\x80\x02Q."])
def test_pieces_of_pickles_are_refused_in_one_line(tmp_path: Path, data: bytes) -> None:
    """They ask for what was never put down, or end within a number."""
    (tmp_path / "piece.pt").write_bytes(data)
    line = refused(tmp_path / "piece.pt")
    assert line is not None
    assert "\n" not in line


def test_versions_of_modules_are_kept(tmp_path: Path) -> None:
    """By them torch knows older names of keys."""
    from torchvision.models.vision_transformer import MLPBlock

    network = MLPBlock(4, 8, 0.0)
    names = {"0": "linear_1", "3": "linear_2"}
    old = OrderedDict((f"module.{names[key[0]]}{key[1:]}", value) for key, value in network.state_dict().items())
    vars(old)["_metadata"] = {"": {"version": 1}, "module": {"version": 1}}
    torch.save(old, tmp_path / "weights.pt")
    other = MLPBlock(4, 8, 0.0)
    load_weights(other, read_checkpoint(tmp_path / "weights.pt"), "weights.pt")
    assert torch.equal(other[0].weight, network[0].weight)


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


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.float8_e5m2])
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_numbers_of_eight_bits_are_refused_as_such(kind: torch.dtype, suffix: str, tmp_path: Path) -> None:
    file, codes = tmp_path / f"weights.{suffix}", {name: value.to(kind) for name, value in state().items()}
    if suffix == "pt":
        torch.save(codes, file)
    else:
        save_file(codes, file)
    with pytest.raises(WeightsError, match=r"another kind of number \(.* is float8_.*Codes are no weights"):
        load_model("tests.networks:tiny", weights=file)


@pytest.mark.parametrize("wrapped", [False, True])
def test_numbers_in_place_of_names_are_said(wrapped: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file, numbered = tmp_path / "weights.pt", dict(enumerate(state().values()))
    torch.save({"state_dict": numbered} if wrapped else numbered, file)
    with pytest.raises(WeightsError, match=r"weights.pt: its weights have numbers \(0, 1, 2, ...\) in place of names"):
        load_model("tests.networks:tiny", weights=file)
    assert "Left out" not in caplog.text


def test_weights_that_are_nan_are_not_said_to_be_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "weights.pt"
    torch.save({name: value * torch.nan for name, value in state().items()}, file)
    with pytest.raises(WeightsError, match="hold NaN"):
        load_model("tests.networks:tiny", weights=file)
    assert "Left out" not in caplog.text
