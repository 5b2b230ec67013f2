"""Weights files that hold no code.

file -> {key: Tensor}        file, network -> network with these weights
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from atlas.errors import WeightsError

WRAPPINGS = ("state_dict", "model_state_dict", "model", "model_ema", "net")
"""Keys under which training scripts keep the state dict itself."""

PICKLES = {b"PK", *(bytes([0x80, protocol]) for protocol in range(2, 6))}
"""How the files of `torch.save` and bare pickles begin."""


def read_checkpoint(file: Path | str) -> dict[str, Tensor]:
    """The state dict in `file`: safetensors by its ending, otherwise what `torch.save` wrote.

    Raises `WeightsError` where the file is missing or broken, holds no state dict, or holds code.
    """
    file = Path(file)
    try:
        data = _read_safetensors(file) if file.suffix == ".safetensors" else _read_torch(file)
    except OSError as error:
        raise WeightsError(f"{file} cannot be read: {error.strerror or error}") from None
    return _state_dict(data, file)


def _read_safetensors(file: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(file))
    except SafetensorError as error:
        raise WeightsError(f"{file} is not a whole safetensors file: {error}") from None


def _read_torch(file: Path) -> Any:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        if isinstance(error, pickle.UnpicklingError) and file.read_bytes()[:2] in PICKLES:
            raise WeightsError(
                f"{file} is a pickle with code in it, or with more than tensors. Not loaded. "
                "Save its state dict alone: torch.save(model.state_dict(), FILE), or as safetensors."
            ) from None
        text = " ".join(str(error).split())[:120]
        raise WeightsError(f"{file} is not a checkpoint that torch can read: {text}") from None


def _state_dict(data: Any, file: Path) -> dict[str, Tensor]:
    """The state dict in what was read, unwrapped, without the prefix of `DataParallel`."""
    for key in WRAPPINGS:
        if isinstance(data, Mapping) and isinstance(data.get(key), Mapping):
            data = data[key]
            break
    if not isinstance(data, Mapping) or not data or not all(isinstance(value, Tensor) for value in data.values()):
        raise WeightsError(f"{file} holds no state dict (names and tensors). Save one: torch.save(model.state_dict()).")
    return {str(key).removeprefix("module."): value for key, value in data.items()}


def load_weights(network: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """Put `state` into `network`. Raises `WeightsError` naming the keys where it does not fit."""
    wanted = network.state_dict()
    shapes = [
        f"{key} is {list(state[key].shape)}, the network's {list(value.shape)}"
        for key, value in wanted.items()
        if key in state and isinstance(value, Tensor) and state[key].shape != value.shape
    ]
    problems = [
        _listed("missing", wanted.keys() - state.keys()),
        _listed("unexpected", state.keys() - wanted.keys()),
        _listed("of another shape", shapes),
    ]
    if any(problems):
        raise WeightsError(f"{origin} does not fit the network: {'; '.join(filter(None, problems))}.")
    network.load_state_dict(state)


def _listed(what: str, keys: Iterable[str]) -> str:
    """`2 missing (fc.bias, fc.weight)`, the first three by name; empty where there are none."""
    names = sorted(keys)
    more = ", ..." if len(names) > 3 else ""
    return f"{len(names)} {what} ({', '.join(names[:3])}{more})" if names else ""


def refuse_nan(network: nn.Module, origin: str) -> None:
    """Raises `WeightsError` naming the first weights that hold NaN, or infinity where they are no buffer."""
    buffers = {key for key, _ in network.named_buffers()}  # an attention mask may well be infinite
    for key, value in network.state_dict().items():
        if not isinstance(value, Tensor) or not value.is_floating_point():
            continue
        if bool(value.isnan().any() if key in buffers else (~value.isfinite()).any()):
            raise WeightsError(
                f"{origin}: the weights {key!r} hold NaN or infinity. Load a checkpoint from before training broke."
            )
