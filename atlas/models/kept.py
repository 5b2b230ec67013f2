"""A network, and the random numbers that it may draw, put back as they were before it was run.

    with as_it_was(network): ...        whatever passes change in it is undone

Networks resample their position embeddings in place for another input size, count passes, keep grids and caches, and
draw numbers. What dry runs change so must be in no later pass, and in no hash of the weights.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

SEEDS = ((139, 742, 3), (468, 319, 155))
"""For Python's generator, numpy's and torch's: the first number drawn in [0,1] is below 0.005, or above 0.995."""


@contextmanager
def as_it_was(network: nn.Module) -> Iterator[None]:
    """Afterwards `network` and the generators of random numbers are as they were.

    That is all that lies in its modules, and in objects of classes that are defined beside theirs: tensors and the
    numbers in them, attributes, lists and mappings. What lies in classes and modules of Python stays changed, as does
    what cannot be put back. Tensors and mappings stay the objects that they are, so that ties and hooks hold.
    """
    kept = _Kept(network)
    chance, before = Chance(network), Chance(network).states()
    try:
        yield
    finally:
        kept.put_back()
        chance.put_back(before)


class _Kept:
    """All that lies in a network, as it is now."""

    def __init__(self, network: nn.Module) -> None:
        self._undo: list[Callable[[], None]] = []
        self._homes = {type(module).__module__ for module in network.modules()}
        self._open: list[Any] = [network]
        known: dict[int, Any] = {}
        while self._open:
            value = self._open.pop()
            if id(value) not in known:
                known[id(value)] = value  # held, so that no other is taken for it
                self._keep(value)

    def put_back(self) -> None:
        for undo in self._undo:
            with suppress(Exception):  # of odd tensors and mappings, what can be put back is
                undo()

    def _keep(self, value: Any) -> None:
        if isinstance(value, Tensor):
            with suppress(Exception):
                self._undo.append(_tensor(value))
        elif isinstance(value, dict | list | set | deque):
            entries = list(value.items() if isinstance(value, dict) else value)
            self._undo.append(partial(_refill, value, entries))
            self._open += [entry[1] for entry in entries] if isinstance(value, dict) else entries
        elif isinstance(value, tuple):
            self._open += value
        elif isinstance(value, nn.Module) or type(value).__module__ in self._homes:
            self._open.append(getattr(value, "__dict__", None))


def _tensor(value: Tensor) -> Callable[[], None]:
    """What puts a tensor back: its storage, the numbers in it, whether it has a gradient."""
    data = value.data
    numbers, needs, grad = data.clone(), value.requires_grad, value.grad if value.is_leaf else None

    def undo() -> None:
        if not (value.data_ptr() == data.data_ptr() and value.shape == data.shape and value.dtype is data.dtype):
            value.data = data
        if not torch.equal(data, numbers):  # what is unchanged is not written: it may be a file's, or expanded
            with torch.no_grad():
                data.copy_(numbers)
        if value.is_leaf and (value.requires_grad is not needs or value.grad is not grad):
            value.requires_grad_(needs).grad = grad

    return undo


def _refill(value: Any, entries: list[Any]) -> None:
    if not _same(list(value.items() if isinstance(value, dict) else value), entries):
        value.clear()
        (value.extend if isinstance(value, list | deque) else value.update)(entries)


def _same(now: list[Any], entries: list[Any]) -> bool:
    """Whether these are the same objects; an entry of a mapping is a pair of them."""
    if len(now) != len(entries):
        return False
    pairs = zip(now, entries, strict=True)
    return all(a is b or (type(a) is type(b) is tuple and _same(list(a), list(b))) for a, b in pairs)


class Chance:
    """The generators of random numbers that a network may draw from: those of the process, and its own."""

    def __init__(self, network: nn.Module) -> None:
        process = (random.seed.__self__, np.random.mtrand._rand, torch.default_generator)  # type: ignore[attr-defined]
        inside = (one for module in network.modules() for one in vars(module).values())
        found = {id(one): _generator(one) for one in (*process, *inside)}
        self._all = [generator for generator in found.values() if generator]

    def states(self) -> list[Any]:
        return [generator.ask() for generator in self._all]

    def put_back(self, states: list[Any]) -> None:
        for generator, state in zip(self._all, states, strict=True):
            generator.put(state)

    def told(self) -> list[Any]:
        """Another once a number was drawn."""
        return [_plain(state) for state in self.states()]

    def seed(self, seeds: tuple[int, int, int]) -> None:
        """Begin anew, so that what is drawn first is what is drawn rarely."""
        for generator in self._all:
            generator.seed(seeds)


class _Generator(NamedTuple):
    """A generator of random numbers, whatever library it is of."""

    ask: Callable[[], Any]
    put: Callable[[Any], Any]
    seed: Callable[[tuple[int, int, int]], Any]


def _generator(one: Any) -> _Generator | None:
    match one:
        case random.Random():
            return _Generator(one.getstate, one.setstate, lambda seeds: one.seed(seeds[0]))
        case np.random.RandomState():
            return _Generator(one.get_state, one.set_state, lambda seeds: one.seed(seeds[1]))
        case torch.Generator():
            return _Generator(one.get_state, one.set_state, lambda seeds: one.manual_seed(seeds[2]))
        case np.random.Generator():
            bits = one.bit_generator
            return _Generator(lambda: bits.state, partial(setattr, bits, "state"), lambda _: None)
    return None


def _plain(state: Any) -> Any:
    """A state that can be compared: without arrays."""
    if isinstance(state, dict):
        return {key: _plain(value) for key, value in state.items()}
    if isinstance(state, tuple):
        return [_plain(value) for value in state]
    return np.asarray(state).tobytes() if isinstance(state, Tensor | np.ndarray) else state
