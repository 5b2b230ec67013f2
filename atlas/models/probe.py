"""What activations a network has, found by one dry run.

network, preprocessing -> [Layer] in order of execution
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from atlas.errors import DryRunError
from atlas.models.outputs import Place, items
from atlas.models.preprocessing import Preprocessing
from atlas.units import Layer

IMAGES = 2
"""Images in the dry run: more than one, so that the batch axis can be told from an axis that happens to be 1."""
PREFIX = 16
"""Most leading tokens that are taken for class tokens and registers."""
CHANNELS_FIRST = (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.GroupNorm, nn.MaxPool2d, nn.AvgPool2d)


def dry_input(preprocessing: Preprocessing, images: int = IMAGES) -> Tensor:
    """Pictures [images,3,h,w] of uniform noise in [0,1], always the same."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(images, 3, *preprocessing.size, generator=generator)


def discover(network: nn.Module, preprocessing: Preprocessing, spec: str) -> list[Layer]:
    """Every activation of `network` that has a batch axis and channels, in order of execution.

    Plain containers repeat their last member and are left out, as are modules that hand their input through. Raises
    `DryRunError` with the network's own error and the layer it was in.
    """
    flops = FlopCounterMode(display=False)
    probe = _Probe(preprocessing.size, flops.get_total_flops, spec)
    try:
        with torch.no_grad(), module_by_module(), probe.watching(network), flops:
            network(preprocessing.normalise(dry_input(preprocessing)))
    except Exception as error:
        raise DryRunError(probe.failure(error)) from error
    if not probe.layers:
        raise DryRunError(f"{spec}: no module of the network gives an activation of each image: nothing to look into.")
    return probe.layers


@contextmanager
def module_by_module() -> Iterator[None]:
    """Without the fused path of torch's transformers, which runs past the modules inside them."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


class _Probe:
    """Notes the layers of one forward pass as the modules are called."""

    def __init__(self, size: tuple[int, int], flops: Callable[[], int], spec: str) -> None:
        self.layers: list[Layer] = []
        self._size, self._flops, self._spec = size, flops, spec
        self._calls: Counter[str] = Counter()
        self._entered: list[tuple[str, nn.Module]] = []
        self._inputs: list[tuple[Tensor, int] | None] = []
        self._patches: tuple[int, ...] = ()
        self._strides: dict[int, float] = {size[0]: 1.0}
        self._channels_last = False

    def watching(self, network: nn.Module) -> ExitStack:
        """A context in which the calls of the network's modules are noted."""
        stack = ExitStack()
        for path, module in network.named_modules():
            if path:
                stack.enter_context(module.register_forward_pre_hook(self._enter(path)))
                stack.enter_context(module.register_forward_hook(self._leave(path)))
        return stack

    def failure(self, error: Exception) -> str:
        """One line: what the network raised, and where it was."""
        where = "outside of any module"
        if self._entered:
            path, module = self._entered[-1]
            where = f"in layer {path!r} ({type(module).__name__})"
        text = " ".join(str(error).split())[:300]
        height, width = self._size
        return f"{self._spec}: the dry run with {height}x{width} images failed {where}: {type(error).__name__}: {text}"

    def _enter(self, path: str) -> Callable[[nn.Module, Any], None]:
        def enter(module: nn.Module, args: Any) -> None:
            self._entered.append((path, module))
            first = args[0] if args and isinstance(args[0], Tensor) else None
            self._inputs.append(None if first is None else (first, first._version))

        return enter

    def _leave(self, path: str) -> Callable[[nn.Module, Any, Any], None]:
        def leave(module: nn.Module, _: Any, output: Any) -> None:
            self._entered.pop()
            given = self._inputs.pop()
            self._calls[path] += 1
            untouched = given is not None and output is given[0] and given[0]._version == given[1]
            if type(module) is not nn.Sequential and not untouched:
                for item, value in items(output):
                    self._note(str(Place(path, self._calls[path], item)), module, value)

        return leave

    def _note(self, name: str, module: nn.Module, value: Tensor) -> None:
        """Add the layer `name`, unless `value` is no activation: no batch axis, no floats, an odd rank."""
        if not value.is_floating_point() or value.dim() not in (2, 3, 4) or value.shape[0] != IMAGES:
            return
        self.layers.append(self._layer(name, module, tuple(value.shape[1:])))

    def _layer(self, name: str, module: nn.Module, shape: tuple[int, ...]) -> Layer:
        flops = self._flops() // IMAGES
        if len(shape) == 1:
            return Layer(name, "linear", shape[0], (), 0.0, flops)
        if len(shape) == 2:
            size = self._grid(shape[0])
            prefix = shape[0] - size[0] * size[1] if size else 0
            return Layer(name, "tokens", shape[1], size, self._stride(size), flops, prefix=prefix)
        last = self._channels_last = self._is_channels_last(module, shape)
        channels, size = (shape[2], shape[:2]) if last else (shape[0], shape[1:])
        layer = Layer(name, "conv", channels, size, self._stride(size), flops, channels_last=last)
        self._patches = size
        return layer

    def _stride(self, size: tuple[int, ...]) -> float:
        """Input pixels a position. A step from one map to the next is a whole factor, whatever padding left over."""
        if not size:
            return 0.0
        height, last = size[0], (self._patches or self._size)[0]
        if height not in self._strides:
            step = last / height
            self._strides[height] = self._strides[last] * (round(step) if step >= 1 else 1 / round(1 / step))
        return self._strides[height]

    def _grid(self, tokens: int) -> tuple[int, ...]:
        """The patch grid of so many tokens: that of the last map before them, or else a square; () if neither."""
        if self._patches:
            height, width = self._patches
            if 0 <= tokens - height * width <= PREFIX:
                return self._patches
        side = isqrt(tokens)
        return (side, side) if side > 1 and side * side == tokens else ()

    def _is_channels_last(self, module: nn.Module, shape: tuple[int, ...]) -> bool:
        """Whether a map is [h,w,c], not [c,h,w]: by its shape; where that is square all round, by what made it."""
        if isinstance(module, CHANNELS_FIRST):
            return False
        if type(module) in (nn.Linear, nn.LayerNorm):
            return True
        first, last = self._odd(shape[1:]), self._odd(shape[:2])
        return self._channels_last if first == last else last < first

    def _odd(self, size: tuple[int, ...]) -> float:
        """How far a spatial size is from the shape of the input: 0 for the same proportions."""
        height, width = self._size
        return abs(size[0] * width - size[1] * height) / max(size[0] * width, size[1] * height)
