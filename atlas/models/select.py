"""Which layers the user means.

    network, names of layers, pattern -> {name}

`auto` is one output per block. A block is a module of several convolutions or matrix products that is not itself a row
of such modules: ResNet's bottlenecks, Inception's and SqueezeNet's modules, a transformer's encoder layers. Where a
network has none (AlexNet, VGG) its rectifiers stand in, and where it has none of these its convolutions.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from torch import nn

from atlas.errors import UnknownName
from atlas.models.found import listing
from atlas.models.outputs import Place

WEIGHTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.MultiheadAttention)


def chosen(network: nn.Module, names: list[str], pattern: str, spec: str) -> set[str]:
    """Those of `names` that `pattern` means. Raises `UnknownName` where it finds none."""
    if pattern == "auto":
        found = automatic(network, names)
    else:
        found = {name for name in names if pattern in ("all", name) or fnmatchcase(name, pattern)}
    if not found:
        raise UnknownName.among("layer", pattern, names, hint=listing(spec))
    return found


def automatic(network: nn.Module, names: list[str]) -> set[str]:
    """The names that `auto` stands for."""
    paths = {name: Place.parse(name).path for name in names}
    for wanted in (
        _all_blocks(network),
        {path for path, module in network.named_modules() if _is_activation(module)},
        {path for path, module in network.named_modules() if isinstance(module, WEIGHTED)},
        set(paths.values()),
    ):
        if found := {name for name, path in paths.items() if path in wanted}:
            return found
    return set()


def _all_blocks(network: nn.Module) -> set[str]:
    """Paths of the blocks, or none where most of the network lies outside of them."""
    blocks = set(_blocks(network, ""))
    inside = sum(_weights(network.get_submodule(path)) for path in blocks)
    return blocks if 2 * inside >= _weights(network) else set()


def _blocks(module: nn.Module, path: str) -> Iterator[str]:
    """Paths of the blocks in `module`, outermost first."""
    for name, child in module.named_children():
        where = f"{path}.{name}" if path else name
        if is_container(child) or _is_row(child):
            yield from _blocks(child, where)
        elif _is_composite(child):
            yield where


def _is_composite(module: nn.Module) -> bool:
    """Whether it holds two or more convolutions or matrix products."""
    return _weights(module) >= 2 and not isinstance(module, WEIGHTED)


def _weights(module: nn.Module) -> int:
    """Convolutions and matrix products in it."""
    return sum(isinstance(part, WEIGHTED) for part in module.modules())


def _is_row(module: nn.Module) -> bool:
    """Whether it holds a row of composite modules of one class, as a stage of blocks or a whole backbone does.

    A dictionary of modules with a forward pass of its own, as DenseNet's block, joins its members: it is no row.
    """
    parts = [*_containers(module), *([] if isinstance(module, nn.ModuleDict) else [module])]
    return any(_are_alike(list(part.children())) for part in parts)


def _are_alike(modules: list[nn.Module]) -> bool:
    """Whether they are composite modules of one class, and at least one."""
    alike = len({type(module) for module in modules}) == 1
    return alike and not is_container(modules[0]) and all(map(_is_composite, modules))


def _containers(module: nn.Module) -> Iterator[nn.Module]:
    """The plain containers in `module`, through other containers but not through other modules."""
    for child in module.children():
        if is_container(child):
            yield child
            yield from _containers(child)


def is_container(module: nn.Module) -> bool:
    """Whether it does nothing itself but run its members one after the other, or hold them."""
    return type(module) in (nn.ModuleList, nn.ModuleDict) or type(module).forward is nn.Sequential.forward


def _is_activation(module: nn.Module) -> bool:
    return type(module).__module__ == "torch.nn.modules.activation" and not isinstance(module, nn.MultiheadAttention)
