"""A network as its author left it, made one that can be looked into.

nn.Module -> the network itself, unwrapped -> in evaluation, frozen, in float32       run(network, x) -> its answer

All that runs the author's code is in one line where it fails. Networks that are no longer plain modules are unwrapped
where that gives the module itself, and refused with what to do where it does not.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from atlas.errors import ModelError
from atlas.factories import guarded, switches_kept, told
from atlas.models.kept import as_it_was

NARROW = (torch.float16, torch.bfloat16, torch.float64)
"""What weights may be in besides float32, which everything is computed in where the network lets it."""
MOST = 4
"""Numbers of channels that are tried."""
SMALL = 10_000_000
"""Entries of a tensor that are never too many: other sizes are many times that of images of a few pixels."""
BEFORE = "Return the nn.Module itself, as it was before"


class Enough(BaseException):
    """What was wanted of a pass is known. No `Exception`, so that no network swallows it."""


class Endless(BaseException):
    """A pass does not come to an end. No `Exception`, so that no network swallows it."""


class Bounded(TorchFunctionMode):
    """Counts what a pass asks of torch, and ends one that asks far more than another, `own`, did.

    A network that halves its maps until they are of one size never is done with images of other sizes. A pass over
    some times as many pixels calls no more functions, but for loops over parts, and makes tensors that grow by the
    square of that at most.
    """

    def __init__(self, own: Bounded | None = None) -> None:
        super().__init__()
        self.calls, self.entries = 0, 0
        self._most = (10 * own.calls + 1000, 50 * own.entries + SMALL) if own else None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        self.calls += 1
        if isinstance(found, Tensor):
            self.entries = max(self.entries, found.numel())
        if self._most and (self.calls > self._most[0] or self.entries > self._most[1]):
            raise Endless("it does not end: it takes far more steps than with images of its own size")
        return found


def run(network: nn.Module, network_input: Tensor) -> Any:
    """What `network` answers to `network_input`, module by module as it is written, whatever of it was compiled.

    Raises what the network raises, but `ModelError` where it asks for the end of the process.
    """
    try:
        with _uncompiled(), switches_kept():
            return network(network_input)
    except (Exception, KeyboardInterrupt, GeneratorExit, Enough, Endless):
        raise
    except BaseException as failure:
        raise ModelError(f"The network's forward pass failed: {told(failure)}") from failure


def _uncompiled() -> AbstractContextManager[None]:
    """Compiled functions run as they were written: once they are traced, hooks inside them are not called."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


def plain(network: nn.Module, spec: str) -> nn.Module:
    """`network` without `DataParallel` and `torch.compile` around it or its parts, so that layers have their own names.

    Raises `ModelError` for what cannot be looked into: scripted, traced, exported, quantised and lazy modules.
    """
    with guarded(f"{spec}: the network's modules cannot be listed", ModelError):
        network = _inside(network)
        for module in list(network.modules()):
            for name, child in list(module.named_children()):
                if (inner := _inside(child)) is not child:
                    module._modules[name] = inner
        for path, module in network.named_modules():
            if reason := _refused(module):
                part = f"its part {path!r} is" if path else "the network is"
                raise ModelError(f"{spec}: {part} {reason}.")
    return network


def _inside(network: nn.Module) -> nn.Module:
    """What wrappers that answer as the module inside them are around."""
    while True:
        if isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
            network = network.module
        elif isinstance(compiled := vars(network).get("_modules"), dict) and "_orig_mod" in compiled:
            network = compiled["_orig_mod"]
        else:
            return network


def _refused(module: nn.Module) -> str | None:
    """Why `module` cannot be looked into, and what to do; None where it can."""
    home = type(module).__module__
    if isinstance(module, torch.jit.ScriptModule):
        return f"scripted or traced (TorchScript), which takes no hooks. {BEFORE} torch.jit"
    if _is_exported(module):
        return f"exported, so that its modules are gone. {BEFORE} torch.export"
    tensors = [value for value in (*module._parameters.values(), *module._buffers.values()) if value is not None]
    if ".quantized" in home or any(value.is_quantized for value in tensors):
        return f"quantised ({type(module).__name__}), which has no gradient. {BEFORE} quantisation"
    if any(map(is_lazy, tensors)):
        return "lazy: it has no weights yet. Pass a batch of images through it in the factory"
    if any(value.is_meta for value in tensors):
        return "on the device `meta`: it has no weights. Load them in the factory"
    return None


def _is_exported(module: nn.Module) -> bool:
    """Whether it is a graph of operators, as torch.export leaves one, not of modules as torch.fx does."""
    if type(module).__module__.startswith("torch.export"):
        return True
    graph = module.graph if isinstance(module, torch.fx.GraphModule) else None
    return graph is not None and any(isinstance(node.target, torch._ops.OpOverload) for node in graph.nodes)


def settled(network: nn.Module, spec: str, tried: Callable[[], Tensor]) -> list[str]:
    """Set `network` to evaluation, frozen, on the CPU and in float32 where it runs so; in place.

    Gives a sentence for each thing that its author may not expect. `tried()` is a network input. Raises `ModelError`
    where the network's own code fails at it.
    """
    notes = []
    with guarded(f"{spec}: the network cannot be set to evaluation", ModelError):
        network.eval()  # what it returns is the author's affair
        if awake := [path or "itself" for path, module in network.named_modules() if module.training]:
            more = f" and {len(awake) - 3} more" if len(awake) > 3 else ""
            names = f"{', '.join(awake[:3])}{more}"
            notes.append(f"What stays in training mode by its own code is set to evaluation: {names}")
        for module in network.modules():
            module.training = False
        _leave_inference(network)
        for weights in network.parameters():
            weights.requires_grad_(False)
        if any(value.device.type != "cpu" for value in _tensors(network)):
            network.to("cpu")
    with guarded(f"{spec}: its weights cannot be converted to float32", ModelError):
        if kind := _precision(network):
            how = "computed in float32" if _widened(network, tried) else "computed so, since its code takes no float32"
            notes.append(f"Its weights are {kind}; it is {how}")
    return notes


def _leave_inference(network: nn.Module) -> None:
    """Weights made in inference mode allow no gradient: copies take their places, of one that is tied the same."""
    copies: dict[int, tuple[Tensor, Tensor]] = {}
    for module in network.modules():
        stores: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
        for held in stores:
            for name, value in held.items():
                if value is not None and value.is_inference():
                    copy = value.detach().clone()
                    found = nn.Parameter(copy) if isinstance(value, nn.Parameter) else copy
                    held[name] = copies.setdefault(id(value), (value, found))[1]


def _precision(network: nn.Module) -> str:
    """The precision of weights that are not in float32: `float16`; empty where all of them are."""
    kinds = {str(value.dtype).removeprefix("torch.") for value in _tensors(network) if value.dtype in NARROW}
    return " and ".join(sorted(kinds))


def _widened(network: nn.Module, tried: Callable[[], Tensor]) -> bool:
    """Whether weights of another precision are in float32 now: they stay as they were where it runs only so."""
    narrow = [value for value in _tensors(network) if value.dtype in NARROW]
    before = [value.data for value in narrow]
    for value in narrow:
        value.data = value.data.float()
    if _runs(network, x := tried()) or channels_wanted(network, x):
        return True
    for value, data in zip(narrow, before, strict=True):
        value.data = data
    return False


def _runs(network: nn.Module, network_input: Tensor) -> bool:
    try:
        with torch.no_grad(), as_it_was(network):
            return not isinstance(run(network, network_input), Generator)  # one has not begun to run
    except Exception:  # noqa: BLE001 - a foreign network may raise anything
        return False


def channels_wanted(network: nn.Module, network_input: Tensor) -> int | None:
    """How many channels the images have that `network` takes, where it fails on those of `network_input` [n,3,h,w].

    Tried, not read off: None where it runs on none that its convolutions take either.
    """
    counts = dict.fromkeys(module.in_channels for module in network.modules() if isinstance(module, nn.Conv2d))
    other = [count for count in counts if count != network_input.shape[1]][:MOST]
    return next((n for n in other if _runs(network, network_input[:, :1].expand(-1, n, -1, -1))), None)


def _tensors(network: nn.Module) -> Iterator[Tensor]:
    yield from network.parameters()
    yield from network.buffers()
