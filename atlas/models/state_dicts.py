"""Which of the weights in a checkpoint a network is to have.

what a file holds, the network's own names -> StateDict, under these names

Training keeps weights under many names: wrapped once or twice, with a prefix, beside their running average, beside a
teacher's. What fits is found by the network's names and shapes, so that a part called `module` stays what it is. Where
several that differ fit equally well none is taken: the user says which.
"""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from atlas.errors import WeightsError
from atlas.words import parameter

WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Parts of names that torch's own wrappers put in: parallel, compiled, sharded, checkpointed."""
COUNTER = ".num_batches_tracked"
"""What batch normalisations count while they are trained; files from before torch 0.4.1 lack it."""
OLD_DENSE = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.(?=[12]\.)")
"""How torchvision's published DenseNets call what is `denselayer1.norm1` since torch forbade dots in names."""
EXTRA = "_extra_state"
"""What torch calls a module's state that may be no tensor."""
DEEP = 6
"""How deep state dicts lie in a checkpoint at most."""
NAMED = 4
"""Names that a message lists."""


@dataclass(frozen=True, eq=False)
class StateDict:
    """Weights in a checkpoint that a network could have."""

    name: str
    """Where they are: keys, and the prefix of their names; empty where they are the file itself."""
    state: Mapping[str, Tensor]
    """Under the network's own names where it has such."""
    matched: frozenset[str] = frozenset()
    """Which of the network's weights they give."""
    left: tuple[str, ...] = ()
    """What lies beside them in the same mapping, and other sets of weights of the same network, as averaged ones."""


def find(data: Any, wanted: Mapping[str, Tensor], file: str, said: str | None = None) -> StateDict:
    """The weights in `data` for a network whose own are `wanted`; `said` is where the user says they are.

    Raises `WeightsError` where there are none, or several that differ and fit equally well.
    """
    mappings = ((path, value) for path, value in _walk(data) if isinstance(value, Mapping) and _tensors(value.items()))
    found = [one for path, mapping in mappings for one in _in(path, mapping, wanted)]
    if not found:
        raise WeightsError(f"{file} holds no state dict (names and tensors). Save one: torch.save(model.state_dict()).")
    able = found if said is None else _called(said, found)
    if not able:
        raise WeightsError(f"{file} holds no weights called {said!r}. There are: {_listed(found)}.")
    best = max(len(one.matched) for one in able)
    if best == 0:  # of another network: loading says what is missing
        return max(able, key=lambda one: len(one.state))
    different: list[StateDict] = []
    for one in able:
        if len(one.matched) == best and not any(_same(one, other) for other in different):
            different.append(one)
    if len(different) > 1:
        raise WeightsError(
            f"{file} holds several sets of weights that fit alike and differ, as averaged ones beside those that are "
            f"not: {_listed(different)}. Say which: {parameter('weights', f'{file}#{different[-1].name}')}"
        )
    chosen = different[0]
    others = (one.name or "the file itself" for one in found if said is None and _is_other(one, chosen))
    return replace(chosen, left=tuple(dict.fromkeys((*chosen.left, *others))))


def _is_other(one: StateDict, chosen: StateDict) -> bool:
    """Whether `one` holds other values for much of what is `chosen`: averages are often of parameters alone."""
    shared = one.matched & chosen.matched
    if 3 * len(shared) < len(chosen.matched):
        return False
    return not all(_equal(one.state[name], chosen.state[name]) for name in shared)


BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""What numbers of so many bytes are, bit by bit."""


def unnamed(data: Any) -> list[str]:
    """Where in a checkpoint lists of tensors lie, which have no names: some libraries keep averages so."""
    return [path for path, value in _walk(data) if len(_tensors(_numbered(value))) > 1]


def _numbered(value: Any) -> Iterable[tuple[Any, Any]]:
    """The pairs of a list, or of a mapping that is one but for its kind."""
    if isinstance(value, Mapping):
        return value.items() if all(str(key).isdecimal() for key in value) else ()
    return enumerate(value) if isinstance(value, list | tuple) else ()


def _walk(data: Any) -> Iterator[tuple[str, Any]]:
    """Nested mappings and lists, each once, with the keys that lead to them."""
    seen: set[int] = set()
    waiting: deque[tuple[tuple[str, ...], Any]] = deque([((), data)])
    while waiting:
        path, value = waiting.popleft()
        yield ".".join(path), value
        if isinstance(value, Mapping | list | tuple) and id(value) not in seen and len(path) < DEEP:
            seen.add(id(value))
            pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
            inner = ((str(key), one) for key, one in pairs if isinstance(one, Mapping | list | tuple))
            waiting.extend(((*path, key), one) for key, one in inner)


def _tensors(pairs: Iterable[tuple[Any, Any]]) -> dict[str, Tensor]:
    """Those of some pairs that are plain tensors: with values, and one for every place."""
    return {
        str(key): value
        for key, value in pairs
        if isinstance(value, Tensor) and value.layout == torch.strided and not (value.is_meta or value.is_nested)
    }


def _plain(key: str) -> str:
    """Without what wrappers put in, wherever it stands."""
    return ".".join(part for part in OLD_DENSE.sub(r"\1", key).split(".") if part not in WRAPPERS)


def _flat(key: str) -> str:
    """As OpenMMLab keeps averages: `ema_backbone_conv1_weight` beside `backbone.conv1.weight`."""
    return key.replace(".", "_")


@dataclass(frozen=True)
class _Match:
    """A prefix of the names in a mapping, spelt one way, behind which a network's own names are."""

    spell: Callable[[str], str]
    prefix: str
    keys: dict[str, str]
    """The network's name -> the mapping's, where the shapes agree."""


def _in(path: str, mapping: Mapping[Any, Any], wanted: Mapping[str, Tensor]) -> list[StateDict]:
    """The sets of weights in one mapping that give a network all it needs; else the one that gives it most."""
    state = _tensors(mapping.items())
    needed = {name for name in wanted if not name.endswith(COUNTER)}
    matches = [match for spell in (str, _plain, _flat) for match in _matches(state, wanted, spell)]
    fitting = [match for match in reversed(matches) if needed and match.keys.keys() >= needed]
    # Each as it is spelt, where that will do.
    whole = list({frozenset(match.keys.values()): match for match in fitting}.values())
    most = max(matches, key=lambda match: len(match.keys.keys() & needed), default=_Match(str, _wrapping(state), {}))
    taken = {key for match in whole for key in match.keys.values()}
    return [_renamed(path, mapping, state, wanted, match, taken) for match in whole or [most]]


def _matches(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], spell: Callable[[str], str]
) -> Iterator[_Match]:
    """By every prefix of the names in a mapping, which of the network's weights are behind it."""
    mark, ours = "_" if spell is _flat else ".", {spell(name): name for name in wanted}
    found: dict[str, dict[str, str]] = {}
    for key in state:
        spelt = spell(key)
        if spell is _flat and "." in key:
            continue
        for start in (0, *(place.end() for place in re.finditer(re.escape(mark), spelt))):
            name = ours.get(spelt[start:])
            if name is not None and wanted[name].shape == state[key].shape:
                found.setdefault(spelt[:start], {}).setdefault(name, key)
    return (_Match(spell, prefix, keys) for prefix, keys in found.items())


def _renamed(
    path: str,
    mapping: Mapping[Any, Any],
    state: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    match: _Match,
    taken: set[str],
) -> StateDict:
    """What lies behind a prefix, under the network's names, without what is `taken` by other sets."""
    spell, prefix = match.spell, match.prefix
    ours, own = {spell(name): name for name in wanted}, {key: name for name, key in match.keys.items()}
    kept, left = OrderedDict[str, Tensor](), dict[str, None]()
    for key, value in state.items():
        inner = spell(key).removeprefix(prefix)
        if key in own:
            kept[own[key]] = value
        elif not spell(key).startswith(prefix) or key in taken or (spell is _flat and "." in key):
            left[key.partition(".")[0]] = None
        else:
            kept.setdefault(ours.get(inner, inner), value)
    for key, extra in mapping.items():  # modules' own, of any kind; they are not looked for, and not left behind
        if str(key).endswith(EXTRA) and str(key) not in state and spell(str(key)).startswith(prefix):
            kept[spell(str(key)).removeprefix(prefix)] = extra
    vars(kept)["_metadata"] = _versions(mapping, spell, prefix)
    name = ".".join(filter(None, (path, prefix.rstrip("._"))))
    return StateDict(name, kept, frozenset(match.keys), tuple(left))


def _versions(mapping: Mapping[Any, Any], spell: Callable[[str], str], prefix: str) -> dict[str, Any] | None:
    """Versions of the network's modules, by which torch knows older names of weights."""
    versions = getattr(mapping, "_metadata", None)
    if not isinstance(versions, Mapping):
        return None
    spelt = {f"{spell(str(key))}.".lstrip("."): value for key, value in versions.items()}
    return {key[len(prefix) :].rstrip("."): value for key, value in spelt.items() if key.startswith(prefix)}


def _wrapping(keys: Iterable[str]) -> str:
    """The wrappers around all of some names, of which none is the network's."""
    prefix, names = "", list(keys)
    while (head := names[0][len(prefix) :].partition(".")[0]) in WRAPPERS:
        if not all(name.startswith(f"{prefix}{head}.") for name in names):
            break
        prefix += f"{head}."
    return prefix


def _called(said: str, found: Sequence[StateDict]) -> list[StateDict]:
    """Those of that name, or else with these words in their name."""
    exact = [one for one in found if one.name == said]
    return exact or [one for one in found if said and f".{said}." in f".{one.name}."]


def _same(one: StateDict, other: StateDict) -> bool:
    """Whether two sets give a network the same."""
    pairs = ((one.state.get(name), other.state.get(name)) for name in one.matched | other.matched)
    return all(a is b or (a is not None and b is not None and _equal(a, b)) for a, b in pairs)


def _equal(one: Tensor, other: Tensor) -> bool:
    """Bit by bit: NaN is NaN, and of numbers of eight bits torch knows no other way."""
    if one.dtype == other.dtype and one.is_floating_point() and one.layout is other.layout is torch.strided:
        one, other = (value.view(BITS[value.dtype.itemsize]) for value in (one, other))
    return one.dtype == other.dtype and torch.equal(one, other)


def _listed(found: Sequence[StateDict]) -> str:
    """`'model', 'model_ema' and 3 more`; the file itself is called by what is in it."""
    names = [repr(one.name) if one.name else f"'' (the file itself: {next(iter(one.state))}, ...)" for one in found]
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
