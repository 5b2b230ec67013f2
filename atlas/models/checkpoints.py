"""Weights files that hold no code.

file -> {key: Tensor}        file, network -> network with these weights

Whoever reads the file, this module or a library out of its cache, torch builds tensors from it and nothing else.
"""

from __future__ import annotations

import os
import pickle
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from atlas.errors import WeightsError

WRAPPINGS = ("state_dict", "model_state_dict", "model", "model_ema", "net")
"""Keys under which training scripts keep the state dict itself."""

PICKLES = {b"PK", *(bytes([0x80, protocol]) for protocol in range(2, 6))}
"""How the files of `torch.save` and bare pickles begin."""

SAFE, UNSAFE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
"""Variables of the environment by which torch refuses code in every file, or in none. The first is binding."""

COUNTER = ".num_batches_tracked"
"""What batch normalisations count while they are trained; files from before torch 0.4.1 lack it."""

TRAINING_HEADS = ("aux1", "aux2", "AuxLogits", "aux_classifier")
"""Heads that networks of torchvision have while they are trained; published weights hold them."""

OLD_DENSE = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.(?=[12]\.)")
"""How torchvision's published DenseNets call what is `denselayer1.norm1` since torch forbade dots in names."""


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
    from safetensors.torch import load_file

    try:
        return dict(load_file(file))
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 - a damaged file fails wherever its damage is met
        raise WeightsError(f"{file} is not a whole safetensors file: {_line(error)}") from None


def _read_torch(file: Path) -> Any:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 - a damaged file fails wherever its damage is met
        if isinstance(error, pickle.UnpicklingError) and file.read_bytes()[:2] in PICKLES:
            raise WeightsError(
                f"{file} is a pickle with code in it, or with more than tensors. Not loaded. "
                "Save its state dict alone: torch.save(model.state_dict(), FILE), or as safetensors."
            ) from None
        raise WeightsError(f"{file} is not a checkpoint that torch can read: {_line(error)}") from None


def _line(error: BaseException) -> str:
    """The beginning of what an error of somebody else's says, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"


@contextmanager
def fetched(spec: str, weights: str = "") -> Iterator[None]:
    """Around the code of a library that fetches its trained weights, or finds them in its cache.

    torchvision has torch build whatever a file asks for, and so run what code it holds; timm once did. Here torch
    builds tensors alone. Raises `WeightsError` for all that fails.
    """
    before = {name: os.environ.pop(name, None) for name in (SAFE, UNSAFE)}
    os.environ[SAFE] = "1"
    try:
        yield
    except Exception as error:
        code = any(isinstance(cause, pickle.UnpicklingError) for cause in _causes(error))
        reason = "the file is damaged or holds more than tensors, perhaps code; not loaded" if code else _line(error)
        raise WeightsError(
            f"{spec}: its trained weights{weights and ' ' + weights} cannot be had ({reason}). "
            f"Give a file of them with --weights, or take {spec.partition('@')[0]}@random, untrained."
        ) from error
    finally:
        os.environ.pop(SAFE, None)
        os.environ.update({name: value for name, value in before.items() if value is not None})


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """`error`, what it came from, what that came from, ..."""
    while error:
        yield error
        error = error.__cause__ or error.__context__


def _state_dict(data: Any, file: Path) -> dict[str, Tensor]:
    """The state dict in what was read, unwrapped, without the prefix of `DataParallel`."""
    for key in WRAPPINGS:
        if isinstance(data, Mapping) and isinstance(data.get(key), Mapping):
            data = data[key]
            break
    if not isinstance(data, Mapping) or not data or not all(isinstance(value, Tensor) for value in data.values()):
        raise WeightsError(f"{file} holds no state dict (names and tensors). Save one: torch.save(model.state_dict()).")
    state = OrderedDict((str(key).removeprefix("module."), value) for key, value in data.items())
    if isinstance(versions := getattr(data, "_metadata", None), Mapping):
        names = {key: "" if key == "module" else str(key).removeprefix("module.") for key in versions}
        vars(state)["_metadata"] = {names[key]: value for key, value in versions.items()}
    return state


def load_weights(network: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """Put `state` into `network`. Raises `WeightsError` naming the keys where it does not fit.

    Takes what torch and torchvision take: older names of keys, no counters, heads that only training needs.
    """
    wanted = network.state_dict()
    given = {key if key in wanted else OLD_DENSE.sub(r"\1", key): value for key, value in state.items()}
    shapes = {
        key: f"{key} is {list(given[key].shape)}, the network's {list(value.shape)}"
        for key, value in wanted.items()
        if key in given and isinstance(value, Tensor) and given[key].shape != value.shape
    }
    fitting = OrderedDict((key, value) for key, value in given.items() if key not in shapes)
    # By its modules' versions torch knows older names; where a file has none, they are taken to be today's.
    vars(fitting)["_metadata"] = getattr(state, "_metadata", None) or getattr(wanted, "_metadata", {})
    try:
        left = network.load_state_dict(fitting, strict=False)
    except Exception as error:  # noqa: BLE001 - a foreign network may read its weights as it likes
        raise WeightsError(f"{origin} does not fit the network: {_line(error)}") from None
    missing = {key for key in left.missing_keys if key not in shapes and not key.endswith(COUNTER)}
    unexpected = {key for key in left.unexpected_keys if not _is_of_dropped_head(network, key)}
    problems = [
        _listed("missing", missing),
        _listed("unexpected", unexpected),
        _listed("of another shape", shapes.values()),
    ]
    if any(problems):
        raise WeightsError(f"{origin} does not fit the network: {'; '.join(filter(None, problems))}.")


def _is_of_dropped_head(network: nn.Module, key: str) -> bool:
    """Whether `key` is of a head that training alone needs, and that this network was built without."""
    head = key.partition(".")[0]
    return head in TRAINING_HEADS and getattr(network, head, network) is None


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
