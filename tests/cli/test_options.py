"""What the arguments that commands share are read as."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.cli.conftest import Ran

pytestmark = pytest.mark.builder

Command = Callable[..., Ran]
TINY = "tests.networks:tiny"


def test_preprocessing_is_text_or_json_or_a_file_of_it(run: Command, tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text('{"size": [64, 48], "mean": [0.5, 0.5, 0.5]}')
    for text in ("size=64,48 mean=0.5,0.5,0.5", file.read_text(), file):
        ran = run("layers", TINY, "--preprocessing", text)
        assert ran.code == 0, ran.err
        assert "32x24" in ran.out


@pytest.mark.parametrize("text", ['{"size": "abc"}', '{"mean": 0.5}', '{"size": 64, "mena": 1}', "size=x", "none.json"])
def test_preprocessing_that_cannot_be_is_one_line(run: Command, text: str) -> None:
    ran = run("layers", TINY, "--preprocessing", text)
    assert ran.code == 1
    assert len(ran.err.splitlines()) == len(ran.complaints) == 1


def test_what_is_assumed_of_a_weights_file_is_said(tmp_path: Path) -> None:
    from atlas.models import load_model

    torch.save(load_model("timm:test_resnet@random").state, tmp_path / "mine.pt")
    command = [sys.executable, "-m", "atlas", "layers", "timm:test_resnet", "--weights", str(tmp_path / "mine.pt")]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "preprocessing is that of timm's r160_in1k" in ran.stderr
    assert "--preprocessing" not in ran.stdout
