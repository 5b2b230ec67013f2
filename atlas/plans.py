"""What is to be done, decided before anything is: pure values, no effects.

    (identity, layer, recipe, numerics) -> Plan -> ordered shards

A plan is one stage on one layer (or, for `images`, on the network as a whole; of an activation atlas, on one of a
layer's maps, or on one grid of it). It owns the outputs of that stage there in a store. Its id is a hash of its
content: never of host names, paths, worker counts, task sizes or dates.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import IntEnum
from functools import cached_property
from typing import Any, Literal

from atlas.arrays import Array, Writer
from atlas.errors import UnknownName
from atlas.recipe import AtlasRecipe, Collection, Numerics, Recipe, Sampling
from atlas.units import Layer, Unit, decode, encode, shown_map

SHARD = 32
"""Units a shard: the unit of storage, receipt, retry and resume. Fixed by the schema, never by speed."""
SAMPLES = 1024
"""Images a shard, of the stages that pass images through the network."""

ENGINE = 2
"""Rises with every change of the renderer that changes pictures: an old store is not gone on with in another hand."""


Made = Recipe | Collection | AtlasRecipe
"""How a stage is done."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A kind of work: all that is known of it but how it is done. See `atlas.stages`."""

    name: str
    over: Literal["units", "images", "cells", "whole"]
    """What its shards are ranges of; `whole` has no shards, and one reduce that makes all of it."""
    shard: int = SHARD
    """How many of them a shard holds."""
    engine: int = 1
    """Rises with every change of our own that changes its results."""
    after: str = ""
    """The stage it rests on: it begins when that is whole, so that nothing of it is ever stale."""
    parts: int = 0
    """Words by which it is told apart on one layer: none, the map, or the map and the side of its grid."""
    recipe: type[Made]
    """What configures it."""
    divisible: bool = False
    """Whether some units of a shard can be made without the others (`Piece.rows`), where one of them cannot be."""
    renders: bool = False
    """Whether it ascends to pictures, steps by step as its `Recipe` says: these are counted, priced and timed."""
    arrays: Callable[[Plan], Iterable[Array]]
    """What it writes."""
    attributes: Callable[[Plan], dict[str, Any]] = lambda _: {}
    """What its group says of itself, beside recipe, numerics and plan."""
    folder: str | None = None
    """Where its arrays lie, below the layer or the part of its atlas: under its name unless said."""
    statuses: type[IntEnum] | None = None
    """What the `status` of its receipts is one of."""
    work: str = ""
    """What people call its work, as the progress bar does; stages over images of one work share a pass."""
    items: str = ""
    """What that is counted in."""
    each: Callable[[Plan], int] = lambda _: 1
    """How many of these a unit, an image or a cell has."""
    done: str = "{}"
    """What is said of a layer's results, in numbers of them."""
    results: Callable[[Plan], int] = lambda _: 1
    """How many results a unit, an image or a cell has."""
    priced: Callable[[Plan], str] | None = None
    """What one plan of it makes and costs, for people; None where that is told of all its plans together."""
    told: str = ""
    """What the catalogue's index says of a grid that has it."""
    module: str = ""
    """Where it is done: `make` for its shards, `reduce` for what follows them; in `atlas.engine.stages` unless said."""


STAGES: dict[str, Stage] = {}
"""Every stage by its name, in the order in which plans are listed; `atlas.stages` fills it."""


def declare(*stages: Stage) -> None:
    """Make stages known."""
    STAGES.update({stage.name: stage for stage in stages})


def codes(kind: type[IntEnum]) -> dict[str, int]:
    """The numbers of some statuses by their names, as a store tells of them."""
    return {status.name.lower(): int(status) for status in kind}


Key = tuple[str, str, tuple[str, ...]]
"""What tells a plan apart from every other of a store: stage, layer, part."""


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


@dataclass(frozen=True, order=True, slots=True)
class Shard:
    """At most 32 consecutive units of one layer, or cells of a grid; or a range of images."""

    stage: str
    layer: str
    """Empty where the stage is about the network as a whole."""
    index: int
    start: int
    stop: int
    part: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def names(self) -> Key:
        """What tells its plan apart from every other of a store."""
        return self.stage, self.layer, self.part

    def __str__(self) -> str:
        span = f"{self.start}-{self.stop - 1}"
        if not self.layer:
            return f"{self.stage} {span}"
        between = {"images": " images ", "cells": " cells "}.get(known(self.stage).over, ":")
        return f"{self.stage} {called(self.layer, self.part)}{between}{span}"

    @property
    def key(self) -> str:
        """Where its receipt lies in a store, under `receipts/`."""
        return f"{place(*self.names)}/{self.index:05d}.json"


def known(stage: str) -> Stage:
    """What a stage is; of one that a newer version wrote only that it goes over units."""
    return STAGES.get(stage) or Stage(name=stage, over="units", recipe=Recipe, arrays=lambda _: ())


def place(stage: str, layer: str, part: tuple[str, ...] = ()) -> str:
    """Where a stage's records of a layer lie, below `plans/`, `receipts/` and `manifests/`."""
    return "/".join([stage, *([encode(layer)] if layer else []), *part])


@dataclass(frozen=True)
class Plan:
    """One stage on one layer: what it owns, how it is made, and which shards were asked for."""

    stage: str
    identity: Identity
    layer: Layer | None
    """None where the stage is about the network as a whole."""
    recipe: Made
    numerics: Numerics
    engine: int = ENGINE
    """Of what does the work; see `Stage.engine`."""
    wanted: tuple[int, ...] = ()
    """Indices of the shards asked for, rising; more can be asked for later, so they are not part of the id."""
    part: tuple[str, ...] = ()
    """Of an atlas: the map (`all`, `winners-K`, `strongest-K` or `pair-A-B`), and the side of the grid."""

    @classmethod
    def of(
        cls,
        stage: str,
        identity: Identity,
        layer: Layer | None,
        recipe: Made,
        numerics: Numerics,
        units: Iterable[int] = (),
        part: tuple[str, ...] = (),
    ) -> Plan:
        """The plan of `layer` for the shards that hold `units` (all where none are named).

        Of cells none are asked for: how many there are is known once samples lie in them. Raises `UnknownName` for a
        unit that the layer does not have.
        """
        plan = cls(stage, identity, layer, recipe, numerics, STAGES[stage].engine, part=part)
        if plan.over == "cells":
            return plan
        units = sorted(set(units))
        for unit in units[:1] + units[-1:]:
            if not 0 <= unit < plan.total:
                has = f"{plan.layer_name} has the units 0 to {plan.total - 1}"
                raise UnknownName(f"There is no unit '{Unit(plan.layer_name, unit)}': {has}.")
        return plan.asking({unit // plan.kind.shard for unit in units}) if units else plan.complete

    def asking(self, more: Iterable[int]) -> Plan:
        """This plan, asking for the shards `more` as well."""
        return replace(self, wanted=tuple(sorted({*self.wanted, *more})))

    def established(self, evidence: str) -> Plan:
        """This plan, with what established the axes of its layer, where it does not say so itself."""
        if self.layer is None or self.layer.evidence or not evidence:
            return self
        return replace(self, layer=replace(self.layer, evidence=evidence))

    @property
    def count(self) -> int:
        """How many shards there can be."""
        return -(-self.total // self.kind.shard)

    @property
    def complete(self) -> Plan:
        """This plan, asking for every shard there can be."""
        return self.asking(range(self.count))

    @property
    def needed(self) -> Sequence[int]:
        """Indices of the shards without which it is not whole: of cells those that are asked for, which are filled."""
        return self.wanted if self.over == "cells" else range(self.count)

    @property
    def kind(self) -> Stage:
        """What its stage is."""
        return known(self.stage)

    @property
    def over(self) -> str:
        """What its shards are ranges of; see `Stage.over`."""
        return self.kind.over

    @property
    def names(self) -> Key:
        """What tells it apart from every other of its store."""
        return self.stage, self.layer_name, self.part

    @property
    def called(self) -> str:
        """Its layer, map and grid, as people are told of them."""
        return called(self.layer_name, self.part)

    @property
    def before(self) -> Key | None:
        """Which plan it rests on; None for a stage that rests on none."""
        after = self.kind.after
        return (after, self.layer_name, self.part[: STAGES[after].parts]) if after else None

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
        """How many units, images, or cells of the grid, filled or not, there are."""
        if self.over == "whole":
            return 0
        if self.over == "cells":
            return self.side**2
        if isinstance(self.recipe, Collection) and self.over == "images":
            return self.recipe.count
        return self.layer.channels if self.layer else 0

    @property
    def side(self) -> int:
        """Cells along each edge of its grid."""
        return int(self.part[1])

    @property
    def content(self) -> dict[str, Any]:
        """What two plans are compared by."""
        recipe = _nameless(self.recipe.to_dict())
        layer = self.layer and {name: value for name, value in self.layer.to_dict().items() if name != "flops"}
        return {
            "stage": self.stage,
            "identity": self.identity.to_dict(),
            "layer": layer,
            "recipe": recipe,
            "numerics": self.numerics.to_dict(),
            "engine": self.engine,
        } | ({"part": list(self.part)} if self.part else {})

    @property
    def spelled_out(self) -> dict[str, Any]:
        """The same, with the knobs too that are not written at their defaults: what differs is told by it."""
        return self.content | {"recipe": _nameless(asdict(self.recipe)), "numerics": asdict(self.numerics)}

    @cached_property
    def id(self) -> str:
        return fingerprint(self.content)

    @property
    def key(self) -> str:
        """Where it lies in a store, under `plans/`."""
        return key_of(self.names)

    @property
    def receipts(self) -> str:
        """Where the receipts of its shards lie in a store: the folder's key."""
        return f"receipts/{place(*self.names)}/"

    @property
    def shards(self) -> list[Shard]:
        """The shards asked for, in order."""
        return [self.shard(index) for index in self.wanted]

    def shard(self, index: int) -> Shard:
        """Shard `index` of the layer, asked for or not."""
        start = index * self.kind.shard
        return Shard(self.stage, self.layer_name, index, start, min(start + self.kind.shard, self.total), self.part)

    @property
    def rendering(self) -> Recipe:
        """How pictures are made. Raises `TypeError` for a plan that makes none."""
        if not isinstance(self.recipe, Recipe):
            raise TypeError(f"a plan of {self.stage} renders nothing")
        return self.recipe

    @property
    def collection(self) -> Collection:
        """What is shown to the network. Raises `TypeError` for a plan that shows it nothing."""
        if isinstance(self.recipe, Recipe):
            raise TypeError(f"a plan of {self.stage} collects nothing")
        return self.recipe.sampling if isinstance(self.recipe, AtlasRecipe) else self.recipe

    @property
    def sampling(self) -> Sampling:
        """Which activations are kept. Raises `TypeError` for a plan that is no part of an atlas."""
        if not isinstance(self.collection, Sampling):
            raise TypeError(f"a plan of {self.stage} samples nothing")
        return self.collection

    @property
    def charting(self) -> AtlasRecipe:
        """How an atlas is made. Raises `TypeError` for a plan that makes none."""
        if not isinstance(self.recipe, AtlasRecipe):
            raise TypeError(f"a plan of {self.stage} lays nothing out")
        return self.recipe

    @property
    def arrays(self) -> dict[str, Array]:
        """Every array that it owns, by name."""
        return {array.name: array for array in self.kind.arrays(self)}

    def written_by(self, writer: Writer) -> dict[str, Array]:
        """The arrays that `writer` fills."""
        return {name: array for name, array in self.arrays.items() if array.by == writer}

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
        ascents = self.pictures * recipe.restarts * (2 if recipe.agreement else 1)
        return int(ascents * recipe.steps * 3 * self.on.flops * scale)

    @property
    def bytes(self) -> int:
        """Expected size of all pictures: a rendered one at quality 90 takes about 4.2 bits a pixel."""
        return int(self.pictures * (self.rendering.size**2 * 0.52 + 5_000))

    def to_dict(self) -> dict[str, Any]:
        return (
            self.content
            | {
                "recipe": self.recipe.to_dict(),
                "layer": self.layer and self.layer.to_dict(),
                "wanted": list(self.wanted),
                "id": self.id,
            }
            | ({"evidence": self.layer.evidence} if self.layer and self.layer.evidence else {})
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Plan:
        return cls(
            data["stage"],
            Identity.from_dict(data["identity"]),
            Layer.from_dict(data["layer"] | {"evidence": data.get("evidence") or ""}) if data["layer"] else None,
            _recipe(data["stage"], data["recipe"]),
            Numerics.from_dict(data["numerics"]),
            data["engine"],
            tuple(data["wanted"]),
            tuple(data.get("part", ())),
        )


def _recipe(stage: str, data: dict[str, Any]) -> Made:
    """The recipe that `to_dict` wrote; of a stage that is not known, of the kind that it looks like."""
    if stage in STAGES:
        return STAGES[stage].recipe.from_dict(data)
    if "sampling" in data:
        return AtlasRecipe.from_dict(data)
    if "positions" in data:
        return Sampling.from_dict(data)
    return Collection.from_dict(data) if "images" in data else Recipe.from_dict(data)


def _nameless(knobs: dict[str, Any]) -> dict[str, Any]:
    """Knobs without the names of recipes, which are for people."""
    return {
        name: _nameless(value) if isinstance(value, dict) else value for name, value in knobs.items() if name != "name"
    }


def called(layer: str, part: Iterable[str]) -> str:
    """A layer, and a map and a grid of it, as people are told of them: `features.11 class-207 20`."""
    return " ".join([layer, *map(shown_map, part)])


def key_of(names: Key) -> str:
    """Where a plan lies in a store, under `plans/`."""
    return f"{place(*names)}.json"


def names_of(key: str) -> Key:
    """What tells the plan that lies at `key` below `plans/` apart: its stage, layer and part."""
    stage, *rest = key.removesuffix(".json").split("/")
    return stage, decode(rest[0]) if rest else "", tuple(rest[1:])


def by_layer(plans: Iterable[Plan]) -> dict[str, list[Plan]]:
    """Plans by their layers' names, in their order; those of the network as a whole by the empty one."""
    layers: dict[str, list[Plan]] = {}
    for plan in plans:
        layers.setdefault(plan.layer_name, []).append(plan)
    return layers


def columns_of(plan: Plan) -> str:
    """How a layer's reduce is called."""
    what = "columns" if plan.stage == "features" else plan.stage
    return f"{what} of {plan.called}"


def hole(plan: Plan, unit: int, reason: str) -> str:
    """A unit that could not be made, as people are told of it."""
    return f"{plan.stage} {plan.called}:{unit} could not be made: {reason}"


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
