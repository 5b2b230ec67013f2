"""What the axes of an activation are, by evidence that cannot be coincidence.

    shapes at other input sizes, answers to patches that move, the module's own kind -> Axes, or why nobody knows

An activation's shape alone says nothing: 96 channels of 96x96 look alike from every side. But a map grows with the
input and its channels do not; where a part of the image changes, the answer changes in the same part of a map and in no
part of the channels; and a convolution's channels are its second axis whatever the numbers.

Axes are told by letters: c channels, h and w the height and width of a map, t a row of tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from math import isqrt, log

import numpy as np
from numpy.typing import NDArray

Size = tuple[int, int]
Floats = NDArray[np.float64]

SAID = "said"
"""Evidence of what the user says."""
PREFIX = 16
"""Most leading tokens that are taken for class tokens and registers."""
CLEAR = 0.08
"""How far along an axis, as a part of it, the answer must move while the changed band crosses the whole image."""
STILL = 1 / 3
"""How much less the channels may move, beside the axis that follows the band."""
TOLD_APART = 4
"""Positions by which both sides of a map must grow before height is told from width by it."""
TURNED = 0.2
"""How much nearer to the half that changed the middle of the change must be, as a part of the axis."""
FITS = 0.6
"""Correlation from which on tokens are believed to lie in a grid."""
BEATS = 0.05
"""By how much the best grid must be more alike than the next."""
ACROSS = 0.45
"""How much an axis that is a side of the image may tell bands across it apart, as a part of how much it tells its own.

Maps of networks do so by a third at most, and an axis of rows that follow each other by more than a half.
"""


@dataclass(frozen=True)
class Axes:
    """The axes of an activation, without that of the images."""

    letters: str
    """`chw`, `hwc`, ...; `tc`, `ct`; `c`."""
    size: tuple[int, ...] = ()
    """Height and width of the map, or of the grid that the tokens after `prefix` lie in; () where it is not known."""
    prefix: int = 0
    evidence: str = ""
    told: bool = field(default=True, compare=False)
    """Whether height is told from width; else height comes first, unless parts of the image show that it does not."""

    @property
    def turned(self) -> Axes:
        """The same with height for width."""
        letters = self.letters.translate(str.maketrans("hw", "wh"))
        evidence = f"{self.evidence}, parts of the image that change"
        return replace(self, letters=letters, size=self.size[::-1], evidence=evidence, told=True)


@dataclass(frozen=True)
class Shape:
    """The shape of an activation, without the axis of the images, for an input of a known size."""

    shape: tuple[int, ...]
    input: Size
    map: Size | tuple[()] = ()
    """The size of the last map before it, in the same pass."""


def said(letters: str, one: Shape, prefix: int) -> Axes | None:
    """The axes that the user names; None where they cannot be those of the shape."""
    if sorted(letters) == ["c", "h", "w"] and not prefix:
        return replace(_named(letters, one.shape), evidence=SAID)
    if sorted(letters) == ["c", "t"] and prefix < one.shape[letters.index("t")]:
        tokens = one.shape[letters.index("t")]
        grids = (size for size in _grids(tokens, one) if tokens - size[0] * size[1] == prefix)
        return Axes(letters, next(grids, ()), prefix, SAID)
    return Axes("c", evidence=SAID) if letters == "c" and not prefix else None


def by_sizes(one: Shape, other: Shape) -> Axes | str | None:
    """The axes by how an activation grows with its input; a sentence where it has no channels; None for no answer."""
    changed = [axis for axis, (a, b) in enumerate(zip(one.shape, other.shape, strict=True)) if a != b]
    if len(changed) == len(one.shape):
        return "every axis of it grows with the image, so that none is its channels"
    found = _tokens(one, other, changed) if len(one.shape) == 2 else _map(one, other, changed)
    if isinstance(found, Axes):
        low, high = ("x".join(map(str, each.input)) for each in (one, other))
        return replace(found, evidence=f"inputs of {low} and {high}")
    return found


def _map(one: Shape, other: Shape, changed: list[int]) -> Axes | str | None:
    if len(changed) == 1 and one.shape[changed[0]] == 1:  # of one position, of which one side is too short to grow
        changed = [axis for axis, side in enumerate(one.shape) if side == 1]
    if len(changed) != 2:
        return None
    first, second = ((one.shape[axis], other.shape[axis]) for axis in changed)
    heights, widths = ((one.input[side], other.input[side]) for side in (0, 1))
    upright = max(_grows(*first, *heights), _grows(*second, *widths)) <= 1
    turned = max(_grows(*first, *widths), _grows(*second, *heights)) <= 1
    if not (upright or turned) or _stays_square(first, second, heights, widths):
        return None  # as the weights of an attention, whose axes grow as the image's area does, or as one side
    names = "hw" if upright and not (turned and _lies(first, second, heights, widths)) else "wh"
    letters = ["c"] * 3
    for axis, name in zip(changed, names, strict=True):
        letters[axis] = name
    alike = heights[1] * widths[0] == widths[1] * heights[0]  # as of a network of square images alone
    told = not alike and min(abs(first[1] - first[0]), abs(second[1] - second[0])) >= TOLD_APART
    return replace(_named(letters, one.shape), told=told)


def _stays_square(first: Size, second: Size, heights: Size, widths: Size) -> bool:
    """Whether two axes are equal at both input sizes, where the sides of a map would not be."""
    expected = first[0] * heights[1] / heights[0] - second[0] * widths[1] / widths[0]
    return first == second and abs(expected) >= 1


def _lies(first: Size, second: Size, heights: Size, widths: Size) -> bool:
    """Whether two axes are width and height, not height and width: steps are then more alike along both.

    Each pair is a length at one input size and at the other.
    """
    (one, other), (high, wide) = (
        (pair[1] - pair[0] for pair in pairs) for pairs in ((first, second), (heights, widths))
    )
    if min(abs(one), abs(other)) < TOLD_APART:
        return False
    upright, turned = abs(log(one / high / (other / wide))), abs(log(one / wide / (other / high)))
    return turned < upright - 0.5


def _named(letters: Sequence[str], shape: tuple[int, ...]) -> Axes:
    return Axes("".join(letters), (shape[letters.index("h")], shape[letters.index("w")]))


def alone(one: Shape, pictures: Sequence[Sequence[Floats]]) -> Axes | None:
    """The axes of what is of one shape whatever the input's size, where it is a map of one position; None where not.

    Its channels are the axis that is not 1, unless that follows bands of the image, of any of `pictures`: then it is
    a row of positions. For the answers see `by_bands`.
    """
    wide = [axis for axis, side in enumerate(one.shape) if side > 1]
    if len(one.shape) != 3 or len(wide) > 1:
        return None
    moves = [_moves(answers) for answers in pictures]
    if moves and any(all(each[axis][side] > CLEAR for each in moves) for axis in wide for side in (0, 1)):
        return None
    letters = ["h", "w"]
    letters.insert(wide[0] if wide else 0, "c")
    return replace(_named(letters, one.shape), evidence="one position whatever the input's size")


def _grows(one: int, other: int, side: int, other_side: int) -> float:
    """How far an axis is from growing in proportion to a side of the input; above 1 it does not.

    Borders that are not padded make maps smaller by the same number at every size, which counts as half the growth.
    """
    expected = one * other_side / side
    return abs(other - expected) / (1.5 + 0.5 * abs(other - one))


def _tokens(one: Shape, other: Shape, changed: list[int]) -> Axes | str | None:
    if not changed:  # one token alone does not grow, nor do slots
        return None
    letters = "tc" if changed == [0] else "ct"
    (axis,) = changed
    count, grown = one.shape[axis], other.shape[axis]
    for size in _grids(count, one):
        prefix = count - size[0] * size[1]
        if any(grown - taller[0] * taller[1] == prefix for taller in _grown(size, one, other)):
            return Axes(letters, size, prefix)
    rows, columns = (_grows(count, grown, one.input[side], other.input[side]) for side in (0, 1))
    if one.input[0] / other.input[0] != one.input[1] / other.input[1] and min(rows, columns) <= 1:
        line = (count, 1) if rows < columns else (1, count)
        return Axes(letters, line if _fits(line, one) else ())
    return Axes(letters)


def _grids(tokens: int, seen: Shape) -> Iterator[Size]:
    """The grids that so many tokens can lie in, prefix tokens apart: that of the last map first, then the image's."""
    if seen.map and 0 <= tokens - seen.map[0] * seen.map[1] <= PREFIX:
        yield seen.map[0], seen.map[1]
    height, width = seen.input
    for rows in range(isqrt(tokens * height // max(width, 1)) + 1, 0, -1):
        for columns in {rows * width // height, -(-rows * width // height)}:
            if columns and 0 <= tokens - rows * columns <= PREFIX:
                yield rows, columns


def _fits(grid: Size, seen: Shape) -> bool:
    """Whether the image has a pixel for each row and column."""
    return grid[0] <= seen.input[0] and grid[1] <= seen.input[1]


def _grown(size: Size, one: Shape, other: Shape) -> Iterator[Size]:
    """What a grid at one input size can be at another: as the last map is there, or in proportion."""
    if other.map:
        yield other.map[0], other.map[1]
    rows, columns = (
        {old * new // side, -(-old * new // side)} for old, side, new in zip(size, one.input, other.input, strict=True)
    )
    yield from product(rows, columns)


def lies_turned(upper: tuple[float, float], left: tuple[float, float]) -> bool:
    """Whether what seems a map's height is its width.

    `upper` is where the middle of the change lies along the axes taken for height and for width, 0 to 1, when the upper
    half of the image changes; `left` the same for its left half.
    """
    return upper[1] < upper[0] - TURNED and left[0] < left[1] - TURNED


# -- answers to parts of the image that change ---------------------------------------------------------------------


def by_bands(one: Shape, answers: Sequence[Floats]) -> Axes | None:
    """The axes by where an activation answers to a band of the image that changes; None for no answer.

    `answers` holds for each axis the size of the change [2,2*bands,m] along it, for either half of the other entries:
    first for bands that cross the image from top to bottom, then for bands that cross it from left to right.
    """
    moves, whole = _moves(answers), [answer.sum(0) for answer in answers]
    found = _tokens_by(one, whole, moves) if len(answers) == 2 else _map_by(one, whole, moves)
    return found and replace(found, evidence="parts of the image that change")


def by_all(one: Shape, pictures: Sequence[Sequence[Floats]]) -> Axes | None:
    """The axes that several pictures tell alike by bands; without a grid where they differ in that, None in more.

    A map's sides are sides by all pictures together.
    """
    first, *others = (by_bands(one, answers) for answers in pictures)
    if first is None or any(other is None or other.letters != first.letters for other in others):
        return None
    if len(first.letters) == 3:
        wide = [(first.letters.index(name), side) for side, name in enumerate("hw") if first.size[side] > 1]
        return first if all(_is_side(pictures, axis, side) for axis, side in wide) else None
    return first if all(other == first for other in others) else Axes(first.letters, evidence=first.evidence)


def _shift(answers: Floats) -> float:
    """How far the middle of the change moves along an axis, -1 to 1, while the band moves; 0 where it does not follow.

    answers [bands,m]
    """
    count = answers.shape[1]
    total = answers.sum(1)
    if count < 2 or not (total > 0).all() or not np.isfinite(total).all():
        return 0.0
    middle = answers @ np.arange(count) / total / (count - 1)
    steps = np.diff(middle)
    shift = float(middle[-1] - middle[0])
    return shift if (steps >= -0.02 * abs(shift)).all() else 0.0


def _moves(answers: Sequence[Floats]) -> list[tuple[float, float]]:
    """How far the middle of the change moves along each axis with bands from top to bottom, and from left to right.

    What follows a band by chance does not do so in both halves of the other entries.
    """
    bands = answers[0].shape[1] // 2
    return [
        (min(_shift(half[:bands]) for half in answer), min(_shift(half[bands:]) for half in answer))
        for answer in answers
    ]


def _follows(moves: Sequence[float]) -> int | None:
    """The one axis that follows the bands, so much more than any other that it is no coincidence."""
    best = max(range(len(moves)), key=moves.__getitem__)
    others = [abs(move) for axis, move in enumerate(moves) if axis != best]
    return best if moves[best] > CLEAR and max(others) < STILL * moves[best] else None


def _map_by(one: Shape, answers: Sequence[Floats], moves: Sequence[tuple[float, float]]) -> Axes | None:
    height, width = (_follows([move[side] for move in moves]) for side in (0, 1))
    known = {axis: name for axis, name in ((height, "h"), (width, "w")) if axis is not None}
    rest = [axis for axis in range(3) if axis not in known]
    if len(rest) == 2:  # one side of the map is a single position, which cannot move
        single = [axis for axis in rest if one.shape[axis] == 1]
        (axis,) = known or (None,)
        if len(single) != 1 or axis is None or not _is_line(answers[axis], known[axis], one):
            return None
        known[single[0]] = "w" if "h" in known.values() else "h"
        rest.remove(single[0])
    if len(rest) != 1:
        return None
    return _named([known.get(axis, "c") for axis in range(3)], one.shape)


def _is_side(pictures: Sequence[Sequence[Floats]], axis: int, side: int) -> bool:
    """Whether an axis that follows bands goes along that side of the image (0 height, 1 width), and goes so once.

    Where rows follow each other in it, as in windows, it goes along the width several times, and along both sides.
    """
    shares = np.mean([_shares(answers[axis].sum(0)) for answers in pictures], axis=0)
    bands, count = shares.shape[1], shares.shape[2]
    own, across = (np.std(shares[one], axis=1).mean() for one in (side, 1 - side))
    lengths = [length for length in range(2, count + 1) if count % length == 0]
    once, *several = (
        _cosine(shares[side], _overlap(bands, length)[:, np.arange(count) % length]) for length in lengths[::-1]
    )
    return across <= ACROSS * own and not any(other > FITS and other > once + BEATS for other in several)


def _shares(answer: Floats) -> Floats:
    """How each entry's answer [2*bands,m] is shared among bands from top to bottom, and from left to right.

    [2,bands,m], less the mean
    """
    bands = len(answer) // 2
    halves = answer.reshape(2, bands, -1)
    found: Floats = halves / np.maximum(halves.sum(1, keepdims=True), 1e-30) - 1 / bands
    return found


def _cosine(shares: Floats, expected: Floats) -> float:
    """How alike shares [bands,m], less their mean, are those expected, -1 to 1."""
    expected = expected - 1 / len(expected)
    scale = np.sqrt((shares**2).sum() * (expected**2).sum())
    return float((shares * expected).sum() / scale) if scale > 0 else 0.0


def no_sides(pictures: Sequence[Sequence[Floats]], letters: str) -> bool:
    """Whether pictures show that one of the axes taken for height and width follows bands, but not as a side does.

    For the answers see `by_bands`.
    """
    if not pictures:
        return False
    moves = [_moves(answers) for answers in pictures]
    sides = [(letters.index(name), side) for side, name in enumerate("hw")]
    follow = [(axis, side) for axis, side in sides if all(each[axis][side] > CLEAR for each in moves)]
    return not all(_is_side(pictures, axis, side) for axis, side in follow)


def one_side(pictures: Sequence[Sequence[Floats]], letters: str) -> bool:
    """Whether all pictures show that but one of the axes taken for height and width is a side: no band moves the other.

    For the answers see `by_bands`.
    """

    def alone_in(answers: Sequence[Floats]) -> bool:
        moves, sides = _moves(answers), [letters.index(side) for side in "hw"]
        follows = [moves[axis][side] > CLEAR for side, axis in enumerate(sides)]
        still = [answers[axis].shape[2] > 1 and max(moves[axis]) <= 0 for axis in sides]
        return (follows[0] and still[1]) or (follows[1] and still[0])

    return bool(pictures) and all(map(alone_in, pictures))


def out_of_proportion(axes: Axes, size: Size) -> bool:
    """Whether a map's sides are not as those of the image, up to what borders take."""
    (rows, columns), (height, width) = axes.size, size
    return abs(rows * width - columns * height) > 2 * max(height, width)


def _is_line(answer: Floats, name: str, one: Shape) -> bool:
    """Whether an axis is the one side of a map that it seems to be, not a grid row by row: a block of tokens, say."""
    count = answer.shape[1]
    return _grid_by(answer, one)[0] == ((count, 1) if name == "h" else (1, count))


def _tokens_by(one: Shape, answers: Sequence[Floats], moves: Sequence[tuple[float, float]]) -> Axes | None:
    row, column = (_follows([move[side] for move in moves]) for side in (0, 1))
    axis = row if row is not None else column
    if axis is None or (column is not None and column != axis):
        return None
    letters = "tc" if axis == 0 else "ct"
    size, prefix = _grid_by(answers[axis], one)
    return Axes(letters, size, prefix)


def _grid_by(answer: Floats, one: Shape) -> tuple[tuple[int, ...], int]:
    """The grid and the prefix that say best which band each token answers to; () and 0 where none does clearly.

    answer [2*bands,t]
    """
    bands, tokens = len(answer) // 2, answer.shape[1]
    grids = {*_grids(tokens, one), *(line for line in ((1, tokens), (tokens, 1)) if _fits(line, one))}
    if not grids:
        return (), 0
    ranked = sorted(((_alike(answer, size, bands), size) for size in grids), reverse=True)
    best, size = ranked[0]
    clear = best > FITS and (len(ranked) == 1 or best - ranked[1][0] > BEATS)
    return (size, tokens - size[0] * size[1]) if clear else ((), 0)


def _alike(answer: Floats, size: Size, bands: int) -> float:
    """Correlation of what tokens answer to bands with what they would if they lay in a grid, -1 to 1."""
    rows, columns = np.divmod(np.arange(size[0] * size[1]), size[1])
    prefix = answer.shape[1] - len(rows)
    expected = np.full_like(answer, 1 / bands)
    expected[:bands, prefix:] = _overlap(bands, size[0])[:, rows]
    expected[bands:, prefix:] = _overlap(bands, size[1])[:, columns]
    seen = _shares(answer).reshape(answer.shape)
    expected -= 1 / bands
    scale = np.sqrt((seen**2).sum() * (expected**2).sum())
    return float((seen * expected).sum() / scale) if scale > 0 else 0.0


def _overlap(bands: int, cells: int) -> Floats:
    """What part [bands,cells] of each cell of a row lies in each band."""
    edges, borders = np.arange(bands + 1) / bands, np.arange(cells + 1) / cells
    low = np.maximum(edges[:-1, None], borders[None, :-1])
    high = np.minimum(edges[1:, None], borders[None, 1:])
    found: Floats = np.maximum(high - low, 0) * cells
    return found
