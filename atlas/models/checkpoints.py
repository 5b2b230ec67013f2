"""Weights files that hold no code.

file -> {key: Tensor}        file, network -> network with these weights

Whoever reads the file, this module or a library out of its cache, torch builds tensors from it and nothing else.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from atlas.errors import WeightsError
from atlas.models.state_dicts import COUNTER, OLD_DENSE, find, unnamed
from atlas.models.weights_files import one_line, read_file
from atlas.places import local
from atlas.store.fetching import at_hand
from atlas.words import parameter

log = logging.getLogger(__name__)

SAFE, UNSAFE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
"""Variables of the environment by which torch refuses code in every file, or in none. The first is binding."""

Shapes = Mapping[str, tuple[list[int], list[int]]]
"""Of weights by their names: the file's, and the network's."""
TRAINING_HEADS = ("aux1", "aux2", "AuxLogits", "aux_classifier")
"""Heads that networks of torchvision have while they are trained; published weights hold them."""


def read_checkpoint(file: Path | str, network: nn.Module | None = None) -> Mapping[str, Tensor]:
    """The state dict in `file`, or in `FILE#KEY` the one called KEY, under the names of `network` where one is given.

    Raises `WeightsError` where the file is missing or broken, holds no state dict, several that fit, or code.
    """
    path, said = _split(file)
    own = {} if network is None else network.state_dict()
    wanted = {name: value for name, value in own.items() if isinstance(value, Tensor)}
    data = read_file(path, sum(value.nbytes for value in wanted.values()))
    chosen = find(data, wanted, str(path), said)
    names = [str(name) for name in chosen.state]
    if wanted and names and all(map(str.isdecimal, names)) and not chosen.state.keys() & own:
        raise WeightsError(
            f"{path}: its weights have numbers ({listed(names)}) in place of names. Save them with the network's own "
            "names: torch.save(model.state_dict(), FILE)."
        )
    beside = [*chosen.left, *(place for place in unnamed(data) if place != chosen.name)] if wanted else []
    if beside:
        taken = f"those called {chosen.name!r}" if chosen.name else "those of the file itself"
        log.warning("%s: of its weights %s are taken. Left out: %s.", path, taken, listed(beside))
    return chosen.state


def _split(file: Path | str) -> tuple[Path, str | None]:
    """`FILE#KEY` -> FILE, KEY; a file that is there by its whole name is taken as it is."""
    whole = local(at_hand(file, WeightsError), WeightsError)
    name, mark, key = str(whole).rpartition("#")
    return (Path(name), key) if mark and not whole.exists() else (whole, None)


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
        reason = "the file is damaged or holds more than tensors, perhaps code; not loaded" if code else one_line(error)
        raise WeightsError(
            f"{spec}: its trained weights{weights and ' ' + weights} cannot be had ({reason}). "
            f"Give a file of them as {parameter('weights')}, or take {spec.partition('@')[0]}@random, untrained."
        ) from error
    finally:
        os.environ.pop(SAFE, None)
        os.environ.update({name: value for name, value in before.items() if value is not None})


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """`error`, what it came from, what that came from, ..."""
    while error:
        yield error
        error = error.__cause__ or error.__context__


def load_weights(network: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """Put `state` into `network`. Raises `WeightsError` naming the keys where it does not fit.

    Takes what torch and torchvision take: older names of keys, no counters, heads that only training needs.
    """
    wanted = network.state_dict()
    given = {key if key in wanted else OLD_DENSE.sub(r"\1", key): value for key, value in state.items()}
    both = {key: (given[key], value) for key, value in wanted.items() if key in given and isinstance(value, Tensor)}
    shapes = {key: (list(a.shape), list(b.shape)) for key, (a, b) in both.items() if a.shape != b.shape}
    others = [f"{key} is {theirs}, the network's {ours}" for key, (theirs, ours) in shapes.items()]
    kinds = [
        f"{key} is {_dtype(theirs)}, the network's {_dtype(ours)}"
        for key, (theirs, ours) in both.items()
        if key not in shapes and not _keeps(theirs, ours.dtype)
    ]
    if kinds:  # torch would copy them without a word
        raise WeightsError(
            f"{origin} does not fit the network: {_listed('of another kind of number', kinds)}. Codes are no weights "
            "without their scale: save the weights as float16, bfloat16 or float32."
        )
    fitting = OrderedDict((key, value) for key, value in given.items() if key not in shapes)
    # By its modules' versions torch knows older names; where a file has none, they are taken to be today's.
    vars(fitting)["_metadata"] = getattr(state, "_metadata", None) or getattr(wanted, "_metadata", {})
    try:
        left = network.load_state_dict(fitting, strict=False)
    except Exception as error:  # noqa: BLE001 - a foreign network may read its weights as it likes
        raise WeightsError(f"{origin} does not fit the network: {one_line(error)}") from None
    missing = {key for key in left.missing_keys if key not in shapes and not key.endswith(COUNTER)}
    unexpected = {key for key in left.unexpected_keys if not _is_of_dropped_head(network, key)}
    problems = [
        _listed("missing", missing),
        _listed("unexpected", unexpected),
        _listed("of another shape", others),
    ]
    if any(problems):
        hint = "" if missing or unexpected else f" {_advice(shapes, wanted)}"
        raise WeightsError(f"{origin} does not fit the network: {'; '.join(filter(None, problems))}.{hint}")


def _keeps(value: Tensor, dtype: torch.dtype) -> bool:
    """Whether `value` means the same as a tensor of `dtype`.

    Numbers of eight bits and fewer are left out, floating ones too: their scale is kept elsewhere, nobody knows where.
    """
    if value.dtype == dtype:
        return True
    wide = value.is_floating_point() and value.dtype.itemsize > 1
    if dtype.is_floating_point or dtype.is_complex:
        return wide or (value.is_complex() and dtype.is_complex)
    if value.is_quantized or value.is_complex() or not (wide or not value.is_floating_point()):
        return False
    return torch.equal(value.to(dtype).to(value.dtype), value)  # counters and indices, whatever they are kept as


def _dtype(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def _advice(shapes: Shapes, names: Iterable[str]) -> str:
    """What to do about weights of other shapes than the network's own; it has `names`."""
    if all(sorted(theirs) == sorted(ours) for theirs, ours in shapes.values()):
        return "Their axes seem to be in another order, as TensorFlow and JAX have them: convert the file first."
    if _are_of_head(shapes, names):
        return f"Build the network as it was trained: with as many classes ({next(iter(shapes.values()))[0][0]})."
    return (
        "Build the network as it was trained: of the same width and kernels, for images of the same size and channels."
    )


def _are_of_head(shapes: Shapes, names: Iterable[str]) -> bool:
    """Whether all that differs is how many numbers a last layer makes: of one within, others take as many."""
    layers = {key.rpartition(".")[0] for key in shapes}
    whole = all(name in shapes for name in names if name.rpartition(".")[0] in layers)
    last = all(theirs[1:] == ours[1:] and set(ours[2:]) <= {1} for theirs, ours in shapes.values())
    return whole and last and len(layers) == 1 and any(len(ours) > 1 for _, ours in shapes.values())


def _is_of_dropped_head(network: nn.Module, key: str) -> bool:
    """Whether `key` is of a head that training alone needs, and that this network was built without."""
    head = key.partition(".")[0]
    return head in TRAINING_HEADS and getattr(network, head, network) is None


def _listed(what: str, keys: Iterable[str]) -> str:
    """`2 missing (fc.bias, fc.weight)`, the first three by name; empty where there are none."""
    names = sorted(keys)
    return f"{len(names)} {what} ({listed(names)})" if names else ""


def listed(names: Sequence[str]) -> str:
    """The first three names."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


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
