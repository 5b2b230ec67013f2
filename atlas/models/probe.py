"""What activations a network has, and what their axes are, found by dry runs.

network, preprocessing -> [Layer] in order of execution

One pass lists the activations. A second, with other images beside the same ones, shows which axis is that of the images
and that an answer depends on its own image alone. Passes at other input sizes and, where those leave it open, a pass
over images of which parts were changed establish the other axes. What stays open is left out, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import takewhile
from math import prod
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from atlas.errors import DryRunError, ModelError, UnknownName
from atlas.models.axes import (
    SAID,
    Axes,
    Floats,
    Shape,
    Size,
    alone,
    by_all,
    by_sizes,
    lies_turned,
    no_sides,
    one_side,
    out_of_proportion,
    said,
)
from atlas.models.foreign import Bounded
from atlas.models.kept import SEEDS, Chance, as_it_was
from atlas.models.kinds import by_module, keeps_axes, keeps_order, keeps_tokens, mixes_channels
from atlas.models.observe import INPUT, Arrival, Failed, module_by_module, observe
from atlas.models.outputs import Place
from atlas.models.preprocessing import Preprocessing
from atlas.models.spots import in_order, spotted
from atlas.models.steady import ABSENT, BATCH, RANDOM, differ, mark
from atlas.units import Kind, Layer
from atlas.words import parameter

__all__ = ["Discovery", "beside", "by_reason", "discover", "dry_input", "module_by_module", "noise"]

Measured = TypeVar("Measured")

IMAGES = 2
"""Images in the first pass; the second has one more."""
BANDED = (3, 6, 7)
"""Seeds of the pictures whose bands are changed: what follows the bands of one by chance does not in all."""
BANDS = 4
"""Bands of the image that are changed, one after the other, from top to bottom and from left to right."""
PATCH = 4
"""Sides of the patches of colour of the picture that is put beside others."""
UNPLACED = (
    "nothing shows that its tokens lie row by row in the image (after class tokens, if any), so they have no "
    f"positions. If they do, set {parameter('layout', 'LAYER=ntc+1')} for one class token in front"
)
NO_SIDES = (
    "parts of the image that change show that two of its axes grow with the image but are not its height and width: "
    "rows follow each other along one of them, as in windows"
)
KINDS: dict[int, Kind] = {2: "linear", 3: "tokens", 4: "conv"}
"""By how many axes an activation has."""
REPEATS = 4
"""How often a network that draws random numbers is asked again before they are believed to change nothing."""


def dry_input(preprocessing: Preprocessing, images: int = IMAGES) -> Tensor:
    """The pictures [images,3,h,w] that dry runs show."""
    return noise(images, preprocessing.size, 0)


def beside(images: Tensor) -> Tensor:
    """`images` [n,3,h,w] in reverse, behind one that is unlike them: their answers must not change by it."""
    return torch.cat([_unlike((images.shape[2], images.shape[3])), images.flip(0)])


def noise(images: int, size: Size, seed: int) -> Tensor:
    """Pictures [images,3,h,w] of uniform noise in [0,1], always the same."""
    found: Tensor = torch.rand(images, 3, *size, generator=torch.Generator().manual_seed(seed))
    return found


@dataclass(frozen=True)
class Discovery:
    """What dry runs found."""

    layers: list[Layer]
    """In order of execution."""
    left_out: dict[str, str]
    """Activations that are no layers, each with the reason: no axis is the images, no real numbers."""
    doubtful: dict[str, str]
    """Activations that would be layers, each with what is not known of it or is wrong with it."""
    unplaced: dict[str, str] = field(default_factory=dict)
    """Layers of tokens of which nobody knows where in the image they lie, each with the reason."""
    warnings: tuple[str, ...] = ()
    """What the user should know of the network as a whole."""


def by_reason(reasons: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Each reason once, with the names it is of, of many the first.

    >>> list(by_reason({"a": "odd", "b": "odd", "c": "odd", "d": "even"}))
    [('odd', '3 layers (a, b, ...)'), ('even', 'd')]
    """
    names: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        names.setdefault(reason, []).append(name)
    for reason, some in names.items():
        shown = ", ".join(some[:2]) + (", ..." if len(some) > 2 else "")
        yield reason, f"{len(some)} layers ({shown})" if len(some) > 1 else shown


@dataclass(frozen=True)
class _Seen:
    """One activation, of one pass."""

    arrival: Arrival
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    marks: Mapping[int, Tensor]
    """For each axis that can be the images': a sample of each image's numbers."""
    flops: int


@dataclass
class _Pass:
    """What one pass over `images` images of a size saw."""

    images: int
    size: Size
    seen: dict[str, _Seen] = field(default_factory=dict)
    drew: bool = False
    """The network drew random numbers."""
    failure: str = ""


def discover(
    network: nn.Module, preprocessing: Preprocessing, spec: str, layouts: Mapping[str, str] | None = None
) -> Discovery:
    """Every activation of `network` that has an axis of images and one of channels.

    `layouts` are the user's own words for the axes of layers, by name or glob: `nhwc`, `ntc+1` (see `Layer.layout`;
    the number counts prefix tokens). Raises `DryRunError` with the network's own error and the layer it was in, and
    `ModelError` for a layout that cannot be.
    """
    with as_it_was(network):
        return _Probe(network, preprocessing, spec, dict(layouts or {})).found()


class _Probe:
    """The passes over one network, and what follows from them."""

    def __init__(self, network: nn.Module, preprocessing: Preprocessing, spec: str, layouts: dict[str, str]) -> None:
        self._network, self._preprocessing, self._spec, self._layouts = network, preprocessing, spec, layouts
        self._size = preprocessing.size
        self._left_out: dict[str, str] = {}
        self._doubtful: dict[str, str] = {}
        self._axes: dict[str, Axes | str] = {}
        self._batch: dict[str, int] = {}
        self._used: set[str] = set()
        self._unplaced: set[str] = set()
        self._contradicted: set[str] = set()
        """What works on something else than channels, against its module's kind."""
        self._no_map: set[str] = set()
        """What grows with the image otherwise than a map, or a row of tokens, does."""
        self._fixed: set[str] = set()
        """What is of one shape whatever the image's size."""
        self._came: dict[str, list[list[Floats]]] = {}
        """How what came into modules answers to bands, picture by picture, where their answers' axes are not known."""
        self._chance = Chance(network)
        self._own: Bounded | None = None
        """What a pass over images of the network's own size does."""

    def found(self) -> Discovery:
        images = dry_input(self._preprocessing)
        flops = FlopCounterMode(display=False)
        first = self._must(self._pass(images, flops))
        second = self._must(self._pass(beside(images)))
        self._find_batch(first, second)
        warnings = self._leave_out_unsteady(first, second, images)
        self._find_axes(first)
        for pattern in self._layouts.keys() - self._used:
            raise UnknownName.among("layer", pattern, self._batch, hint=f"It is named by {parameter('layout')}.")
        layers = _layers(first, self._batch, self._axes)
        if not layers and not self._doubtful:
            raise DryRunError(
                f"{self._spec}: no module of the network gives an activation of each image: nothing to look into. "
                f"{_nothing(first)}"
            )
        unplaced = {layer.name: UNPLACED for layer in layers if layer.name in self._unplaced and layer.evidence != SAID}
        return Discovery(layers, self._left_out, self._doubtful, unplaced, warnings)

    def _pass(self, images: Tensor, flops: FlopCounterMode | None = None) -> _Pass:
        """One pass over `images` [n,3,h,w]; what was seen before it failed is kept.

        It ends, and what it changes in the network where the images are of another size than its own is undone.
        """
        done = _Pass(len(images), (images.shape[2], images.shape[3]))

        def take(arrival: Arrival) -> None:
            value = arrival.value
            axes = [axis for axis in (0, 1) if axis < value.dim() and value.shape[axis] == len(images)]
            marks = {axis: mark(value, axis) for axis in axes} if value.is_floating_point() else {}
            spent = flops.get_total_flops() // len(images) if flops else 0
            bare = replace(arrival, value=value.new_empty(0), came=None)
            done.seen[arrival.name] = _Seen(bare, tuple(value.shape), value.stride(), marks, spent)

        before, bounded = self._chance.told(), Bounded(self._own)
        try:
            with ExitStack() as stack:
                if done.size != self._size:
                    stack.enter_context(as_it_was(self._network))
                stack.enter_context(bounded)
                if flops:
                    stack.enter_context(flops)
                observe(self._network, self._preprocessing.normalise(images), take)
        except Failed as failure:
            height, width = done.size
            done.failure = f"{self._spec}: the dry run with {len(images)} images of {height}x{width} {failure}"
        self._own = self._own or bounded
        done.drew = before != self._chance.told()
        return done

    @staticmethod
    def _must(done: _Pass) -> _Pass:
        if done.failure:
            raise DryRunError(done.failure)
        return done

    # -- which axis is that of the images ----------------------------------------------------------------------------

    def _find_batch(self, first: _Pass, second: _Pass) -> None:
        for name, seen in first.seen.items():
            if not seen.arrival.value.is_floating_point():
                self._left_out[name] = f"holds {str(seen.arrival.value.dtype).removeprefix('torch.')}, no real numbers"
            elif name not in second.seen:
                self._absent(name, seen)
            elif (axis := _batch_axis(seen.shape, second.seen[name].shape)) is None:
                self._left_out[name] = f"no axis of it is the images ({_entries(seen.shape)} for {IMAGES})"
            elif not 1 <= len(seen.shape) - 1 <= 3:
                self._left_out[name] = f"has {len(seen.shape)} axes; 2 to 4 are understood"
            else:
                self._batch[name] = axis
        for name in second.seen.keys() - first.seen.keys():
            self._absent(name, second.seen[name])

    def _absent(self, name: str, seen: _Seen) -> None:
        """Note what is not in every pass: a layer to be named, if one of its axes is the images."""
        if 0 in seen.marks:
            self._doubtful[name] = ABSENT
        else:
            self._left_out[name] = "is not there in every pass"

    # -- whether it is a function of one image -----------------------------------------------------------------------

    def _leave_out_unsteady(self, first: _Pass, second: _Pass, images: Tensor) -> tuple[str, ...]:
        """Leave out what is no function of one image; what there is to be said of the network."""
        apart = self._changed(first, second, again=False)
        drew = first.drew or second.drew
        passes = [self._pass(images)]
        for number in range(REPEATS - 1 if drew else 0):
            if number < len(SEEDS):
                self._chance.seed(SEEDS[number])
            passes.append(self._pass(images))
        random = {name for again in passes for name in self._changed(first, again, again=True)}
        for again in passes:
            for name in (self._batch.keys() - again.seen.keys()) | (again.seen.keys() - first.seen.keys()):
                self._batch.pop(name, None)
                self._absent(name, (first if name in first.seen else again).seen[name])
        for name in list(self._batch):
            if name in random | apart:
                self._doubt(name, RANDOM if name in random else BATCH)
        if drew and not random:
            return (f"{self._spec} draws random numbers; in {REPEATS + 1} passes they changed no answer.",)
        return ()

    def _changed(self, first: _Pass, other: _Pass, *, again: bool) -> set[str]:
        """What differs between two passes over the same images: in the same batch `again`, or else behind another."""
        order = [0, 1] if again else [2, 1]  # where the images of the first pass are in the other
        return {
            name
            for name, axis in self._batch.items()
            if name not in other.seen
            or axis not in other.seen[name].marks
            or differ(first.seen[name].marks[axis], other.seen[name].marks[axis][order], again=again)
        }

    def _doubt(self, name: str, reason: str) -> None:
        self._doubtful[name] = reason
        del self._batch[name]

    # -- which axis is that of the channels --------------------------------------------------------------------------

    def _find_axes(self, first: _Pass) -> None:
        names = list(self._batch)
        self._settle(names, lambda name: Axes("c", evidence="one axis") if len(first.seen[name].shape) == 2 else None)
        for size in self._sizes():
            other = self._pass(noise(1, size, 1))
            self._settle(names, lambda name, other=other: self._by_sizes(name, first, other))  # type: ignore[misc]
            if not other.failure or all(name in self._axes for name in names):
                break
        self._turn([name for name, axes in self._axes.items() if isinstance(axes, Axes) and not axes.told])
        unknown, odd = [name for name in names if name not in self._axes], self._out_of_proportion()
        pictures = self._answers_to_bands([*unknown, *odd], first) if unknown or odd else []
        self._axes |= {name: NO_SIDES for name, axes in odd.items() if no_sides(_of(pictures, name), axes.letters)}
        self._settle(
            unknown,
            lambda name: (
                self._inherited(name, first)
                or self._by_bands(name, first, pictures)
                or self._alone(name, first, pictures)
            ),
        )
        self._settle(names, lambda name: self._by_module(name, first))
        self._settle(names, lambda name: self._inherited(name, first))
        self._settle(reversed(names), lambda name: self._by_takers(name, first))
        self._settle(names, lambda name: self._inherited(name, first))
        self._prove_grids(first)
        for name in names:
            self._settle_by_user(name, first)
            if not isinstance(known := self._axes.get(name), Axes):
                self._doubt(name, known or _open(first.seen[name].shape, self._batch[name]))

    def _settle(self, names: Iterable[str], answer: Callable[[str], Axes | str | None]) -> None:
        """Ask for the axes of what has none yet."""
        for name in names:
            if name not in self._axes and (found := answer(name)) is not None:
                self._axes[name] = found

    def _sizes(self) -> tuple[Size, ...]:
        """Other input sizes: most networks take any; those of windows a multiple, those of columns another width."""
        height, width = self._size
        return (height + 32, width + 64), (2 * height, 3 * width), (2 * height, 2 * width), (height, 2 * width)

    def _by_sizes(self, name: str, first: _Pass, other: _Pass) -> Axes | str | None:
        seen = other.seen.get(name)
        if seen is None or len(seen.shape) != len(first.seen[name].shape):
            return None
        if seen.shape[self._batch[name]] != other.images:
            return None
        one, grown = self._shape(name, first), self._shape(name, other)
        if one.shape == grown.shape:
            self._fixed.add(name)
            single = len(one.shape) == 3 and sum(side > 1 for side in one.shape) <= 1
            return self._by_module(name, first) or self._inherited(name, first) if single else None
        found = by_sizes(one, grown)
        if found is None and all(a != b for a, b in zip(one.input, grown.input, strict=True)):
            self._no_map.add(name)
        return found

    def _out_of_proportion(self) -> dict[str, Axes]:
        """Maps whose sides are not as those of the image: rows may follow each other along one of them."""
        maps = {name: axes for name, axes in self._axes.items() if isinstance(axes, Axes) and len(axes.letters) == 3}
        return {name: axes for name, axes in maps.items() if out_of_proportion(axes, self._size)}

    def _answers_to_bands(self, names: Sequence[str], first: _Pass) -> list[dict[str, list[Floats]]]:
        """How activations answer to bands that change, for each of several pictures; of what came into modules too."""
        given = [_came_in(name) for name in names if self._claims(name, first)]
        pictures = [
            self._changes(_banded(self._size, seed), [*names, *given], lambda _, change: _along_axes(change))
            for seed in BANDED
        ]
        self._came = {name: _of(pictures, _came_in(name)) for name in names}
        return pictures

    def _claims(self, name: str, first: _Pass) -> Axes | None:
        """What the kind of its module says of an activation, whatever speaks against it."""
        if self._batch[name] > 0:
            return None
        return by_module(first.seen[name].arrival.module, Place.parse(name).item, self._bare(name, first))

    def _alone(self, name: str, first: _Pass, pictures: Sequence[Mapping[str, list[Floats]]]) -> Axes | None:
        return alone(self._shape(name, first), _of(pictures, name)) if name in self._fixed else None

    def _bare(self, name: str, done: _Pass) -> tuple[int, ...]:
        """The sides of an activation in a pass, without the axis of the images."""
        shape, axis = done.seen[name].shape, self._batch[name]
        return shape[:axis] + shape[axis + 1 :]

    def _shape(self, name: str, done: _Pass) -> Shape:
        bare = self._bare(name, done)
        return Shape(bare, done.size, self._map_before(name, done) if len(bare) == 2 else ())

    def _map_before(self, name: str, done: _Pass) -> Size | tuple[()]:
        """The size of the last map that came before an activation in a pass."""
        found: Size | tuple[()] = ()
        for earlier, seen in done.seen.items():
            if earlier == name:
                break
            axes = self._axes.get(earlier)
            if isinstance(axes, Axes) and len(axes.letters) == 3:
                letters = _with_images(axes.letters, self._batch[earlier])
                found = seen.shape[letters.index("h")], seen.shape[letters.index("w")]
        return found

    def _changes(
        self, pictures: Tensor, names: Collection[str], measure: Callable[[str, Tensor], Measured]
    ) -> dict[str, Measured]:
        """What `measure` makes of how activations of `names` change from the first of `pictures` to each other one."""
        found: dict[str, Measured] = {}

        def take(arrival: Arrival) -> None:
            for name, value, axis in (
                (arrival.name, arrival.value, self._batch.get(arrival.name, 0)),
                (_came_in(arrival.name), arrival.came, 0),
            ):
                if name in names and value is not None and value.dim() > axis and value.shape[axis] == len(pictures):
                    rows = value.detach().movedim(axis, 0)
                    found[name] = measure(name, rows[1:] - rows[:1])

        with suppress(Failed):
            observe(self._network, self._preprocessing.normalise(pictures), take)
        return found

    def _by_bands(self, name: str, first: _Pass, pictures: Sequence[Mapping[str, list[Floats]]]) -> Axes | None:
        """The axes by the bands of all pictures, where the module's kind leaves a doubt which are the channels."""
        answers = _of(pictures, name)
        found = by_all(self._shape(name, first), answers) if answers else None
        if not mixes_channels(first.seen[name].arrival.module):
            return found
        computed = self._by_module(name, first)
        agree = found and computed and found.letters.index("c") == computed.letters.index("c")
        return found if agree else computed

    def _by_module(self, name: str, first: _Pass) -> Axes | None:
        if self._batch[name] > 0:
            return None
        arrival, found = first.seen[name].arrival, self._claims(name, first)
        doubted = arrival.source in self._contradicted if found is None else self._speaks_against(name, found, first)
        if doubted and (found or keeps_order(arrival.module)):
            self._contradicted.add(name)
        elif not doubted:  # more is known by now
            self._contradicted.discard(name)
        came = self._came_axes(name, arrival.given[1:]) if found else None
        if found and came and came.turned.letters == found.letters:
            found = found.turned
        return None if doubted else found

    def _speaks_against(self, name: str, found: Axes, first: _Pass) -> bool:
        """Whether something speaks against what a module's kind says: it may work on what is no channels to it.

        As where tokens are mixed: what comes in has the shape of a layer, but the axis that is mixed is not that of its
        channels.
        """
        arrival, axis = first.seen[name].arrival, found.letters.index("c")
        given = arrival.given[1:]
        if "t" not in found.letters and (name in self._no_map or self._is_of_pairs(name, first)):
            return True
        if came := self._came_axes(name, given):
            return len(came.letters) == len(found.letters) and came.letters.index("c") != axis
        answers = self._came.get(name, []) if len(given) == len(found.letters) == 3 else []
        if no_sides(answers, found.letters) or one_side(answers, found.letters):
            return True
        square = len(set(given)) == 1 and arrival.source not in self._axes
        if "t" in found.letters and (arrival.source in self._contradicted or square):
            return True
        shapes = list(self._by_shapes(name, found, first))
        if not shapes and len(found.letters) == len(given) == 3:
            return self._unlike_any(given[1:], name, first)
        return not any(shapes or [True])

    def _by_shapes(self, name: str, found: Axes, first: _Pass) -> Iterator[bool]:
        """Whether the axis that a module's kind takes for channels is so of what came before and has the same shape.

        That is the shape of what comes in or out, in that order of axes or another.
        """
        bare, given, axis = self._bare(name, first), first.seen[name].arrival.given[1:], found.letters.index("c")
        for other, axes in self._earlier(name, first):
            shape = self._bare(other, first)
            channels = shape[axes.letters.index("c")]
            rows = (channels, prod(shape) // max(channels, 1))  # a map with its positions in a row
            if "t" in found.letters and sorted(shape) == sorted(bare) and bare.count(channels) == 1:
                yield bare[axis] == channels
            if shape == given:
                yield axes.letters.index("c") == axis
            elif sorted(given) in (sorted(shape), sorted(rows)) and given.count(channels) == 1:
                yield given[axis] == channels

    def _came_axes(self, name: str, given: tuple[int, ...]) -> Axes | None:
        """The axes of what came into a module, by bands."""
        answers = self._came.get(name, []) if len(given) in (2, 3) else []
        return by_all(Shape(given, self._size), answers) if answers else None

    def _unlike_any(self, sides: tuple[int, ...], name: str, first: _Pass) -> bool:
        """Whether what is given to a module as a map has sides neither as those of the image nor of an earlier map."""
        maps = (axes.size for _, axes in self._earlier(name, first) if len(axes.letters) == 3)
        taken = Axes("chw", sides)
        return all(out_of_proportion(taken, (size[0], size[1])) for size in (self._size, *maps))

    def _is_of_pairs(self, name: str, first: _Pass) -> bool:
        """Whether what seems a map has a side of as many as there are tokens, twice: one for each pair of these."""
        _, *sides = self._bare(name, first)
        rows = ((self._bare(other, first), axes) for other, axes in self._earlier(name, first))
        counts = {shape[axes.letters.index("t")] for shape, axes in rows if "t" in axes.letters}
        return sides[0] == sides[1] and sides[0] > 1 and sides[0] in counts

    def _earlier(self, name: str, first: _Pass) -> Iterator[tuple[str, Axes]]:
        """What came before an activation and is known."""
        for other in takewhile(lambda other: other != name, first.seen):
            axes = self._axes.get(other)
            if isinstance(axes, Axes) and self._batch[other] == self._batch[name]:
                yield other, axes

    def _inherited(self, name: str, first: _Pass) -> Axes | None:
        """The axes of the activation that this one is, or whose axes its module keeps."""
        arrival, bare = first.seen[name].arrival, self._bare(name, first)
        same, source = self._axes.get(arrival.same), self._axes.get(arrival.source)
        if isinstance(same, Axes) and self._is_same(name, arrival.same, first):
            return replace(same, evidence=f"as {arrival.same}")
        if not isinstance(source, Axes) or not keeps_order(arrival.module) or len(bare) != len(source.letters):
            return None
        if self._batch[arrival.source] != self._batch[name]:
            return None
        found = replace(source, evidence=f"as {arrival.source}")
        if keeps_axes(arrival.module):
            return found
        size = tuple(bare[found.letters.index(side)] for side in "hw") if len(bare) == 3 else ()
        return replace(found, size=size, prefix=0)

    def _by_takers(self, name: str, first: _Pass) -> Axes | None:
        """The axes of what a module makes of an activation, position by position: the norm of a sum, say."""
        bare = self._bare(name, first)
        for other, seen in first.seen.items() if name not in self._contradicted else ():
            arrival, known = seen.arrival, self._axes.get(other)
            if arrival.source != name or not arrival.untouched or not isinstance(known, Axes):
                continue
            alike = len(known.letters) == len(bare) and self._batch[other] == self._batch[name]
            if alike and keeps_tokens(arrival.module, "tc" if known.letters[-1] == "c" else ""):
                return replace(known, size=known.size if len(bare) == 3 else (), prefix=0, evidence=f"as {other}")
        return None

    def _is_same(self, name: str, other: str, first: _Pass) -> bool:
        """Whether two names of one tensor are of the same numbers in the same order: it may be turned in place."""
        one, there = first.seen[name], first.seen[other]
        return one.shape == there.shape and one.strides == there.strides and self._batch[other] == self._batch[name]

    def _turn(self, names: Collection[str]) -> None:
        """Turn those of `names`, maps of which height was not told from width, that halves of the image show to lie."""

        def middles(name: str, change: Tensor) -> Floats:
            """Where the change lies along height and width [2 halves,2], 0 to 1."""
            letters, sizes, found = self._axes[name].letters, change.abs().double(), []  # type: ignore[union-attr]
            for side in "hw":
                rows = sizes.movedim(letters.index(side) + 1, -1).flatten(1, -2).sum(1)
                steps = torch.linspace(0, 1, rows.shape[1], dtype=rows.dtype) if rows.shape[1] > 1 else torch.zeros(1)
                found.append((rows * steps).sum(1) / rows.sum(1).clamp(min=1e-300))
            middle: Floats = torch.stack(found, 1).numpy()
            return middle

        if names:
            answers = [self._changes(_halved(self._size, seed), names, middles) for seed in BANDED]
            for name in names:
                seen = [answer[name] for answer in answers if name in answer]
                known = self._axes[name]
                if isinstance(known, Axes) and len(seen) == len(BANDED):
                    turned = all(lies_turned(tuple(upper), tuple(left)) for upper, left in seen)
                    self._axes[name] = known.turned if turned else known

    # -- where tokens lie --------------------------------------------------------------------------------------------

    def _prove_grids(self, first: _Pass) -> None:
        """Keep the grids that spots of the image prove: of tokens with none of their own those of as many before."""
        tokens = {
            name: (axes, self._bare(name, first)[axes.letters.index("t")])
            for name in self._batch
            if isinstance(axes := self._axes.get(name), Axes) and len(axes.letters) == 2
        }

        def moved(name: str, change: Tensor) -> tuple[Floats, Floats]:
            """How far each token moves, and how far besides what all of them do alike, as in attention."""
            turned = change.double().movedim(tokens[name][0].letters.index("c") + 1, 2)
            whole, own = (one.square().sum(2).sqrt().numpy() for one in (turned, turned - turned.mean(1, keepdim=True)))
            return whole, own

        moves = self._changes(spotted(noise(1, self._size, 5)), tokens, moved) if tokens else {}
        proven: dict[int, tuple[tuple[int, ...], int]] = {}
        for name, (axes, count) in tokens.items():
            told = self._place_given(name, axes, first)
            if told is not None:
                size, prefix = told
                lies: bool | None = bool(size)
            else:
                size, prefix = (axes.size, axes.prefix) if axes.size else proven.get(count, ((), 0))
                answers = (in_order(one, size, prefix) for one in moves.get(name, ()) if size)
                lies = next((answer for answer in answers if answer is not None), None)
            if lies:
                proven[count] = size, prefix
            if axes.size and not lies:
                self._unplaced.add(name)
            self._axes[name] = replace(axes, size=size, prefix=prefix) if lies else replace(axes, size=(), prefix=0)

    def _place_given(self, name: str, axes: Axes, first: _Pass) -> tuple[tuple[int, ...], int] | None:
        """The grid and the prefix of what a module was given that leaves each token in its place."""
        arrival = first.seen[name].arrival
        kept = arrival.source if arrival.untouched and keeps_tokens(arrival.module, axes.letters) else ""
        for source in (arrival.same if arrival.same_untouched else "", kept):
            known = self._axes.get(source)
            if isinstance(known, Axes) and known.letters == axes.letters and self._batch[source] == self._batch[name]:
                counts = {self._bare(one, first)[axes.letters.index("t")] for one in (name, source)}
                if len(counts) == 1:
                    return known.size, known.prefix
        return None

    # -- what the user says ------------------------------------------------------------------------------------------

    def _settle_by_user(self, name: str, first: _Pass) -> None:
        for pattern, layout in self._layouts.items():
            if name != pattern and not fnmatchcase(name, pattern):
                continue
            self._used.add(pattern)
            told, known = self._told(name, layout, first), self._axes.get(name)
            other = isinstance(known, Axes) and (told is None or known.letters != told.letters)
            if told is not None and not other:
                self._axes[name] = told
            elif name == pattern or not other:  # of a glob, what is established stays: it means the others
                raise ModelError(f"{parameter('layout', f'{name}={layout}')} {self._unfit(name, told, first)}")

    def _unfit(self, name: str, told: Axes | None, first: _Pass) -> str:
        """Why axes that a user names are not those of an activation."""
        axis, known = self._batch[name], self._axes.get(name)
        if told is not None and isinstance(known, Axes):
            return f"is wrong: the axes of {name} are {_with_images(known.letters, axis)}, known by: {known.evidence}."
        return (
            f"does not fit {name}, whose shape is {_drawn(first.seen[name].shape, axis)} (n images). Say a letter for "
            "each axis: n images, c channels, h and w a map's height and width, t tokens; +1 for one token that is no "
            "patch. For example: nchw, nhwc, ntc+1"
        )

    def _told(self, name: str, layout: str, first: _Pass) -> Axes | None:
        """The axes that a user names; None where they cannot be those of the activation."""
        letters, _, prefix = layout.partition("+")
        axis, seen = self._batch[name], first.seen[name].shape
        if len(letters) != len(seen) or letters.find("n") != axis or not (prefix or "0").isdigit():
            return None
        return said(letters.replace("n", "", 1), self._shape(name, first), int(prefix or 0))


def _came_in(name: str) -> str:
    """What is asked for where what came into the module of an activation is meant."""
    return f"{INPUT} of {name}"


def _of(pictures: Sequence[Mapping[str, Measured]], name: str) -> list[Measured]:
    """What every picture says of an activation; nothing where one says nothing."""
    return [answers[name] for answers in pictures] if all(name in answers for answers in pictures) else []


def _open(shape: tuple[int, ...], axis: int) -> str:
    one, other = (_with_images(letters, axis) for letters in (("chw", "hwc") if len(shape) == 4 else ("tc", "ct")))
    return (
        f"which axis of {_drawn(shape, axis)} holds its channels is not known; say it: "
        f"{parameter('layout', f'LAYER={one}')} or {other}"
    )


def _layers(first: _Pass, batch: Mapping[str, int], axes: Mapping[str, Axes | str]) -> list[Layer]:
    """Layers of the activations whose axes are known, in order of execution."""
    layers: list[Layer] = []
    last = first.size[0]
    strides = {last: 1.0}
    for name, axis in batch.items():
        found, seen = axes.get(name), first.seen[name]
        if not isinstance(found, Axes):
            continue
        letters = _with_images(found.letters, axis)
        kind, channels = KINDS[len(letters)], seen.shape[letters.index("c")]
        if found.size and found.size[0] not in strides:
            strides[found.size[0]] = strides[last] * _step(last / found.size[0])
        stride = strides[found.size[0]] if found.size else 0.0
        layer = Layer(
            *(name, kind, channels, found.size, stride, seen.flops),
            channels_last=letters == "nhwc",
            prefix=found.prefix,
            axes="" if letters in ("nchw", "nhwc", "ntc", "nc") else letters,
            evidence=found.evidence,
        )
        layers.append(layer)
        if kind == "conv":
            last = found.size[0]
    return layers


def _step(step: float) -> float:
    """How many positions of a map are one of the next: a whole factor, whatever padding left over."""
    return round(step) if step >= 1 else 1 / round(1 / step)


def _entries(shape: tuple[int, ...]) -> str:
    """`4 entries`"""
    first = shape[0] if shape else 0
    return f"{first} entr{'y' if first == 1 else 'ies'}"


def _nothing(first: _Pass) -> str:
    """Which modules gave what instead of an entry for each image, why that may be, and what to do."""
    shapes = {name: seen.shape for name, seen in first.seen.items()}
    if not shapes:
        return "Its modules return no tensors. Pass the network that contains the modules that compute them."
    gave: dict[str, list[str]] = {}
    for name, shape in shapes.items():
        gave.setdefault(_entries(shape), []).append(name)
    told = ", ".join(
        f"{size} from {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
        for size, names in gave.items()
    )
    alone = all(shape[:1] == (1,) for shape in shapes.values())
    why = "each image is passed alone" if alone else "it makes other batches of them, of flips, tiles or crops perhaps"
    paths = [Place.parse(name).path.split(".") for name in shapes]
    inner = ".".join(parts[0] for parts in takewhile(lambda parts: len(set(parts)) == 1, zip(*paths, strict=False)))
    return (
        f"For {IMAGES} images there are {told}: {why}. Return the network that is inside"
        f"{f', {inner!r},' if inner else ''} from the factory."
    )


def _batch_axis(one: tuple[int, ...], other: tuple[int, ...]) -> int | None:
    """The axis that holds the images, in shapes of passes over `IMAGES` and one more; None where there is none."""
    if len(one) != len(other):
        return None
    changed = [axis for axis, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
    if len(changed) != 1 or changed[0] > 1:
        return None
    return changed[0] if (one[changed[0]], other[changed[0]]) == (IMAGES, IMAGES + 1) else None


def _with_images(letters: str, axis: int) -> str:
    return letters[:axis] + "n" + letters[axis:]


def _drawn(shape: tuple[int, ...], axis: int) -> str:
    """`n x 96 x 96`"""
    return " x ".join("n" if at == axis else str(side) for at, side in enumerate(shape))


def _unlike(size: Size) -> Tensor:
    """A picture [1,3,h,w] of black, specks and patches of full colours: what mixes images shows beside it."""
    rows, columns = (-(-side // PATCH) for side in size)
    patches = noise(1, (rows, columns), 2).round().repeat_interleave(PATCH, 2).repeat_interleave(PATCH, 3)
    picture = patches[..., : size[0], : size[1]].clone()
    picture[..., size[1] // 2 :] = noise(1, size, 4).round()[..., size[1] // 2 :]
    picture[..., : size[0] // 2, size[1] // 2 :] = 0
    return picture


def _along_axes(change: Tensor) -> list[Floats]:
    """How much an answer changes along each axis [bands,...], for each band that is changed."""
    sizes = change.abs().double()
    return [_halves(sizes, along) for along in range(1, sizes.dim())]


def _halves(change: Tensor, along: int) -> Floats:
    """How large `change` [bands,...] is along an axis, for either half of the other entries: [2,bands,m]."""
    rows = change.movedim(along, -1).flatten(1, -2)
    halves: Floats = torch.stack([rows[:, half::2].sum(1) for half in (0, min(1, rows.shape[1] - 1))]).numpy()
    return halves


def _halved(size: Size, seed: int) -> Tensor:
    """A picture of noise, the same with its upper half changed, and with its left half changed."""
    picture, other = noise(2, size, seed)
    found: Tensor = picture.repeat(3, 1, 1, 1)
    found[1, :, : size[0] // 2] = other[:, : size[0] // 2]
    found[2, :, :, : size[1] // 2] = other[:, :, : size[1] // 2]
    return found


def _banded(size: Size, seed: int) -> Tensor:
    """A picture of noise, the same with each of `BANDS` bands from top to bottom changed, and from left to right."""
    picture, other = noise(2, size, seed)
    found: Tensor = picture.repeat(2 * BANDS + 1, 1, 1, 1)
    for band in range(BANDS):
        rows, columns = (slice(band * side // BANDS, (band + 1) * side // BANDS) for side in size)
        found[1 + band, :, rows] = other[:, rows]
        found[1 + BANDS + band, :, :, columns] = other[:, :, columns]
    return found
