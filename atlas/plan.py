"""What is to be done, decided before anything is: pure values, no effects.

    (identity, layer, recipe, numerics) -> Plan -> ordered shards

A plan is one stage on one layer. It owns that layer's outputs of that stage in a store. Its id is a
hash of its content: never of host names, paths, worker counts, task sizes or dates.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from atlas.errors import UnknownName
from atlas.recipe import Numerics, Recipe
from atlas.units import Layer, Unit, decode, encode

SHARD = 32
"""Units a shard: the unit of storage, receipt, retry and resume. Fixed by the schema, never by speed."""


ENGINE = 1
"""Rises with every change of the renderer that changes pictures: an old store is not gone on with in another hand."""


def fingerprint(value: Any) -> str:
    """The sha256 of `value` as canonical JSON, in hex."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Identity:
    """Which network a store is about."""

    model: str
    """The model's spec, as the user gave it: `torchvision:resnet50`."""
    weights: str
    """sha256 of the state dict, in key order."""
    preprocessing: dict[str, Any] = field(hash=False)
    """From an image in [0,1] to the network's input; see `atlas.models.Preprocessing`."""

    def to_dict(self) -> dict[str, Any]:
        return {"model": self.model, "weights": self.weights, "preprocessing": self.preprocessing}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Identity:
        return cls(data["model"], data["weights"], data["preprocessing"])


@dataclass(frozen=True, order=True)
class Shard:
    """At most 32 consecutive units of one layer."""

    stage: str
    layer: str
    index: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def __str__(self) -> str:
        return f"{self.stage} {self.layer}:{self.start}-{self.stop - 1}"

    @property
    def key(self) -> str:
        """Where its receipt lies in a store, under `receipts/`."""
        return f"{self.stage}/{encode(self.layer)}/{self.index:05d}.json"

    @classmethod
    def of_key(cls, key: str, channels: int) -> Shard:
        """The shard of a layer of `channels` units whose receipt lies at `key`."""
        stage, layer, name = key.split("/")
        index = int(name.removesuffix(".json"))
        return cls(stage, decode(layer), index, index * SHARD, min((index + 1) * SHARD, channels))


@dataclass(frozen=True)
class Plan:
    """One stage on one layer: what it owns, how it is made, and which shards were asked for."""

    stage: str
    identity: Identity
    layer: Layer
    recipe: Recipe
    numerics: Numerics
    engine: int = ENGINE
    """Of the renderer that makes the pictures."""
    wanted: tuple[int, ...] = ()
    """Indices of the shards asked for, rising; more can be asked for later, so they are not part of the id."""

    @classmethod
    def of(
        cls, stage: str, identity: Identity, layer: Layer, recipe: Recipe, numerics: Numerics, units: Iterable[int] = ()
    ) -> Plan:
        """The plan of `layer` for the shards that hold `units` (all where none are named).

        Raises `UnknownName` for a unit that the layer does not have.
        """
        units = sorted(set(units))
        for unit in units[:1] + units[-1:]:
            if not 0 <= unit < layer.channels:
                has = f"{layer.name} has the units 0 to {layer.channels - 1}"
                raise UnknownName(f"There is no unit '{Unit(layer.name, unit)}': {has}.")
        wanted = tuple(sorted({unit // SHARD for unit in units}))
        plan = cls(stage, identity, layer, recipe, numerics, wanted=wanted)
        return plan if wanted else plan.complete

    def asking(self, more: Iterable[int]) -> Plan:
        """This plan, asking for the shards `more` as well."""
        return replace(self, wanted=tuple(sorted({*self.wanted, *more})))

    @property
    def complete(self) -> Plan:
        """This plan, asking for the whole layer."""
        return self.asking(range(-(-self.layer.channels // SHARD)))

    @property
    def content(self) -> dict[str, Any]:
        """What two plans are compared by."""
        recipe = {name: value for name, value in self.recipe.to_dict().items() if name != "name"}
        layer = {name: value for name, value in self.layer.to_dict().items() if name != "flops"}
        return {
            "stage": self.stage,
            "identity": self.identity.to_dict(),
            "layer": layer,
            "recipe": recipe,
            "numerics": self.numerics.to_dict(),
            "engine": self.engine,
        }

    @property
    def id(self) -> str:
        return fingerprint(self.content)

    @property
    def key(self) -> str:
        """Where it lies in a store, under `plans/`."""
        return f"{self.stage}/{self.layer.key}.json"

    @property
    def shards(self) -> list[Shard]:
        """The shards asked for, in order."""
        return [self.shard(index) for index in self.wanted]

    def shard(self, index: int) -> Shard:
        """Shard `index` of the layer, asked for or not."""
        stop = min((index + 1) * SHARD, self.layer.channels)
        return Shard(self.stage, self.layer.name, index, index * SHARD, stop)

    @property
    def pictures(self) -> int:
        return sum(map(len, self.shards)) * len(self.recipe.variants)

    @property
    def flops(self) -> int:
        """Floating point operations of the whole plan: a forward pass and a backward twice as dear, each step."""
        height, width = self.identity.preprocessing["size"]
        scale = self.recipe.size**2 / (height * width)
        return int(self.pictures * self.recipe.steps * 3 * self.layer.flops * scale)

    @property
    def bytes(self) -> int:
        """Expected size in the store: a rendered picture at quality 90 takes about 4.2 bits a pixel."""
        return int(self.pictures * (self.recipe.size**2 * 0.52 + 5_000))

    def to_dict(self) -> dict[str, Any]:
        return self.content | {
            "recipe": self.recipe.to_dict(),
            "layer": self.layer.to_dict(),
            "wanted": list(self.wanted),
            "id": self.id,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Plan:
        return cls(
            data["stage"],
            Identity.from_dict(data["identity"]),
            Layer.from_dict(data["layer"]),
            Recipe.from_dict(data["recipe"]),
            Numerics.from_dict(data["numerics"]),
            data["engine"],
            tuple(data["wanted"]),
        )


def differences(ours: dict[str, Any], theirs: dict[str, Any], path: str = "") -> list[str]:
    """The fields in which two plans or identities differ, a line each: `recipe.steps: 64 here, 128 asked`.

    >>> differences({"recipe": {"steps": 64, "seed": 0}}, {"recipe": {"steps": 128, "seed": 0}})
    ['recipe.steps: 64 here, 128 asked']
    """
    lines = []
    for name in sorted(ours.keys() | theirs.keys()):
        mine, other, where = ours.get(name), theirs.get(name), f"{path}{name}"
        if isinstance(mine, dict) and isinstance(other, dict):
            lines += differences(mine, other, f"{where}.")
        elif mine != other:
            lines.append(f"{where}: {_short(mine)} here, {_short(other)} asked")
    return lines


def _short(value: Any) -> str:
    """`value` in a few letters: hashes by their first twelve."""
    text = str(value)
    return f"{text[:12]}…" if len(text) == 64 else text
