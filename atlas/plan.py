"""What is to be done, decided before anything is: pure values, no effects.

    (identity, layer, recipe, numerics) -> Plan -> ordered shards

A plan is one stage on one layer (or, for `images`, on the network as a whole). It owns the outputs of that stage
there in a store. Its id is a hash of its content: never of host names, paths, worker counts, task sizes or dates.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from atlas.errors import UnknownName
from atlas.recipe import Collection, Numerics, Recipe
from atlas.units import Layer, Unit, encode

SHARD = 32
"""Units a shard: the unit of storage, receipt, retry and resume. Fixed by the schema, never by speed."""
SAMPLES = 1024
"""Images a shard, of the stages that pass images through the network."""

ENGINE = 2
"""Rises with every change of the renderer that changes pictures: an old store is not gone on with in another hand."""


@dataclass(frozen=True)
class Stage:
    """A kind of work: what it goes over, and what decides how it is done."""

    name: str
    over: Literal["units", "images"]
    """What its shards are ranges of."""
    shard: int
    """How many of them a shard holds."""
    engine: int
    """Rises with every change of our own that changes its results."""


FEATURES = Stage("features", "units", SHARD, ENGINE)
"""A picture of what each unit looks for."""
IMAGES = Stage("images", "images", SAMPLES, 1)
"""What each image is: whether it can be shown, its thumbnail, its classes."""
STATISTICS = Stage("statistics", "images", SAMPLES, 1)
"""What a layer's channels answered to the images."""
EXAMPLES = Stage("examples", "units", SHARD, 1)
"""What the units saw of the images that drive them most."""
STAGES = {stage.name: stage for stage in (FEATURES, IMAGES, STATISTICS, EXAMPLES)}


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
    """At most 32 consecutive units of one layer, or a range of images."""

    stage: str
    layer: str
    """Empty where the stage is about the network as a whole."""
    index: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def __str__(self) -> str:
        span = f"{self.start}-{self.stop - 1}"
        if not self.layer:
            return f"{self.stage} {span}"
        of_images = self.stage in STAGES and STAGES[self.stage].over == "images"
        return f"{self.stage} {self.layer}{' images ' if of_images else ':'}{span}"

    @property
    def key(self) -> str:
        """Where its receipt lies in a store, under `receipts/`."""
        return f"{place(self.stage, self.layer)}/{self.index:05d}.json"


def place(stage: str, layer: str) -> str:
    """Where a stage's records of a layer lie, below `plans/`, `receipts/` and `manifests/`."""
    return f"{stage}/{encode(layer)}" if layer else stage


@dataclass(frozen=True)
class Plan:
    """One stage on one layer: what it owns, how it is made, and which shards were asked for."""

    stage: str
    identity: Identity
    layer: Layer | None
    """None where the stage is about the network as a whole."""
    recipe: Recipe | Collection
    numerics: Numerics
    engine: int = ENGINE
    """Of what does the work; see `Stage.engine`."""
    wanted: tuple[int, ...] = ()
    """Indices of the shards asked for, rising; more can be asked for later, so they are not part of the id."""

    @classmethod
    def of(
        cls,
        stage: str,
        identity: Identity,
        layer: Layer | None,
        recipe: Recipe | Collection,
        numerics: Numerics,
        units: Iterable[int] = (),
    ) -> Plan:
        """The plan of `layer` for the shards that hold `units` (all where none are named).

        Raises `UnknownName` for a unit that the layer does not have.
        """
        plan = cls(stage, identity, layer, recipe, numerics, STAGES[stage].engine)
        units = sorted(set(units))
        for unit in units[:1] + units[-1:]:
            if not 0 <= unit < plan.total:
                has = f"{plan.layer_name} has the units 0 to {plan.total - 1}"
                raise UnknownName(f"There is no unit '{Unit(plan.layer_name, unit)}': {has}.")
        return plan.asking({unit // plan.per_shard for unit in units}) if units else plan.complete

    def asking(self, more: Iterable[int]) -> Plan:
        """This plan, asking for the shards `more` as well."""
        return replace(self, wanted=tuple(sorted({*self.wanted, *more})))

    @property
    def complete(self) -> Plan:
        """This plan, asking for the whole layer."""
        return self.asking(range(-(-self.total // self.per_shard)))

    @property
    def layer_name(self) -> str:
        """The layer's name; empty where the stage is about the network as a whole."""
        return self.layer.name if self.layer else ""

    @property
    def on(self) -> Layer:
        """The layer. Raises `TypeError` where the stage is about the network as a whole."""
        if self.layer is None:
            raise TypeError(f"a plan of {self.stage} is on no layer")
        return self.layer

    @property
    def total(self) -> int:
        """How many units, or images, there are."""
        if isinstance(self.recipe, Collection) and STAGES[self.stage].over == "images":
            return self.recipe.count
        return self.layer.channels if self.layer else 0

    @property
    def per_shard(self) -> int:
        """Units, or images, a shard."""
        return STAGES[self.stage].shard if self.stage in STAGES else SHARD

    @property
    def content(self) -> dict[str, Any]:
        """What two plans are compared by."""
        recipe = {name: value for name, value in self.recipe.to_dict().items() if name != "name"}
        layer = self.layer and {name: value for name, value in self.layer.to_dict().items() if name != "flops"}
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
        return f"{place(self.stage, self.layer_name)}.json"

    @property
    def shards(self) -> list[Shard]:
        """The shards asked for, in order."""
        return [self.shard(index) for index in self.wanted]

    def shard(self, index: int) -> Shard:
        """Shard `index` of the layer, asked for or not."""
        start = index * self.per_shard
        return Shard(self.stage, self.layer_name, index, start, min(start + self.per_shard, self.total))

    @property
    def rendering(self) -> Recipe:
        """How pictures are made. Raises `TypeError` for a plan that makes none."""
        if not isinstance(self.recipe, Recipe):
            raise TypeError(f"a plan of {self.stage} renders nothing")
        return self.recipe

    @property
    def collection(self) -> Collection:
        """What is shown to the network. Raises `TypeError` for a plan that shows it nothing."""
        if not isinstance(self.recipe, Collection):
            raise TypeError(f"a plan of {self.stage} collects nothing")
        return self.recipe

    @property
    def pictures(self) -> int:
        """Feature visualizations that are asked for."""
        return sum(map(len, self.shards)) * len(self.rendering.variants)

    @property
    def flops(self) -> int:
        """Floating point operations of all pictures: a forward pass and a backward twice as dear, each step."""
        height, width = self.identity.preprocessing["size"]
        recipe = self.rendering
        scale = recipe.size**2 / (height * width)
        ascents = self.pictures * recipe.tries * (2 if recipe.agreement else 1)
        return int(ascents * recipe.steps * 3 * self.on.flops * scale)

    @property
    def bytes(self) -> int:
        """Expected size of all pictures: a rendered one at quality 90 takes about 4.2 bits a pixel."""
        return int(self.pictures * (self.rendering.size**2 * 0.52 + 5_000))

    def to_dict(self) -> dict[str, Any]:
        return self.content | {
            "recipe": self.recipe.to_dict(),
            "layer": self.layer and self.layer.to_dict(),
            "wanted": list(self.wanted),
            "id": self.id,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Plan:
        return cls(
            data["stage"],
            Identity.from_dict(data["identity"]),
            Layer.from_dict(data["layer"]) if data["layer"] else None,
            (Collection if "images" in data["recipe"] else Recipe).from_dict(data["recipe"]),
            Numerics.from_dict(data["numerics"]),
            data["engine"],
            tuple(data["wanted"]),
        )


def columns_of(plan: Plan) -> str:
    """How a layer's reduce is called."""
    return f"columns of {plan.layer_name}" if plan.stage == FEATURES.name else f"{plan.stage} of {plan.layer_name}"


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
