"""What a file of names holds besides names: numbers of its lines, and the syntax of other formats.

text -> list or mapping        names, one a line -> names
"""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from atlas.errors import ModelError

INSTEAD = "Write one name a line and nothing else, or a JSON list of the names in a file that ends in .json."
"""What to do about lines that are not taken for names."""
HEADING = "a heading"
SYNTAX = {
    "a comment": r"(#|//|/\*|<!--|%|;|--)\s*\w.*|<!--.*",
    HEADING: r"(?i)(?=.*(class|label|name|categor))"
    r"[\W_]*((class|label|name|categor(y|ies)|index|idx|id|number|target|synset|wnid|code|description|e?s\b)[\W_]*)+",
    "written as in Python, JSON, YAML or XML": "|".join(
        (
            r".+[,;{\[(\\]",  # goes on in the next line
            r"""([\[{(]+\s*)?(["'`]).*\2[\s\]}),;]*""",  # in quotes
            r"[^{]*\}|[^\[]*\]|\)|\{.*[:,].*\}|\[.*,.*\]",  # the brackets of a list or an object
            r"[-*+•]\s.+|---.*|\.\.\.|```.*",  # an item, a document
            r"[\w\s.-]*\w\s*[:=]\s*[|>]?|[a-zA-Z_]\w*\s*[:=]\s*[\[{].*|\|.*\|",  # a key whose value follows, a row
            r"<[/?!].*|<(\w+)[^<>]*>.*</\3>|.*/>",
        )
    ),
}
"""Lines that are no names, by what they are. A sign alone is a name: networks that read have classes of them."""
NUMBER = r"(?P<number>((?<!\S)-)?\d{1,9})"
GAP = (
    r"""(?P<gap>["'`()\[\]{}<>]\s*([-=]*>[-=]*|[-:;,=|])?\s*|\s*\t\s*"""
    r"""|\s*([-=]*>[-=]*|[:;,=|]|([^\w\s"'`()\[\]{}<>]|_)+)?\s*)"""
)
"""What may stand between a number and its name: a bracket or quote, one sign and blanks; what follows is the name's."""
FRONT = re.compile(rf"(?P<word>\D*?){NUMBER}(?P<tag>)(?!\s*[-–.]\s*\d)(?=[\W_]|\Z){GAP}(?P<rest>.*)")
"""A line with a number in front, behind a word or a bracket: `3 dog`, `class3: dog`; `2-4 years` has none."""
BEHIND = re.compile(FRONT.pattern.replace("(?P<tag>)", r"(?P<tag>[a-zA-Z]*)"))
"""A line turned about, with a number behind: `dog,3`, `dog (3)`, `dog: class3`."""
SECOND = re.compile(rf"(?P<rest>[^\s,;|]+)(?P<word>)(?P<gap>[\s,;|]\s*){NUMBER}(?P<tag>)[\s,;|]")
"""A line whose second column is a number."""
FIRM = re.compile(r"[:;,=|\t)\]}>]")
"""What divides columns, and hardly the words of a name."""
PLAIN = re.compile(r"[a-zA-Z_\s]*[(\[<]?|[)\]>]?")
"""What may stand beside a number that is taken off its name."""
MOST = 0.8
"""Lines with a number, as a part of all, where the others only lack theirs."""
LONG = 400
"""Characters of a line, half of them at each end, that tell what it is."""
USUAL = 999
"""Largest number that lines may begin with and be meant to be numbered: years and models of cars are larger."""


@dataclass(frozen=True)
class Numbered:
    """A line and the number it carries."""

    number: int
    word: str
    """What stands about the number, but for its name: `class`, a bracket."""
    firm: bool
    """Whether what divides the number from its name is more than the space between two words."""
    name: str


def literal(text: str, where: str) -> Any:
    """The list or mapping that `text` is as a whole, in Python or JSON; None where it is neither."""
    if not text.lstrip().startswith(("[", "{", "(")):
        return None
    try:
        return json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError):  # Python it may still be
        pass
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(text.strip(), mode="eval").body
            if isinstance(tree, ast.Dict):
                keys = [str(ast.literal_eval(key or tree)) for key in tree.keys]
                found = list(zip(keys, map(ast.literal_eval, tree.values), strict=True))
            else:
                found = ast.literal_eval(tree)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    _refuse_joined(text.strip(), where)
    if not isinstance(tree, ast.Dict):
        return found if isinstance(found, list | tuple | set) else None
    try:
        return once(found)
    except ValueError as error:
        raise ModelError(f"{where}: {error}.") from None


def _refuse_joined(text: str, where: str) -> None:
    """Two strings with no comma between them are one to Python: all names behind them would be of other classes."""
    left_out = (tokenize.NL, tokenize.COMMENT, tokenize.NEWLINE)
    tokens = [token for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type not in left_out]
    for one, other in pairwise(tokens):
        if one.type == other.type == tokenize.STRING:
            raise ModelError(f"{where}: a comma is missing between the names {one.string} and {other.string}.")


def once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are there once. Raises `ValueError` for others: the last one would win."""
    made = dict(pairs)
    if len(made) < len(pairs):
        count = Counter(key for key, _ in pairs)
        raise ValueError(f"{next(key for key in made if count[key] > 1)!r} is there twice")
    return made


def names_alone(names: tuple[str, ...], where: str) -> tuple[str, ...]:
    """The names of the lines `names`, without numbers that plainly are no part of them.

    Raises `ModelError` for lines that are numbered in another order than theirs, and for lines that are no names.
    """
    _refuse_syntax(names, where)
    for side in ("front", "behind", "second"):
        names = _unnumbered(names, side, where)
    _refuse_syntax(names, where)
    return names


def _refuse_syntax(names: Sequence[str], where: str) -> None:
    for line, name in enumerate(names, start=1):
        ends = name if len(name) <= LONG else name[: LONG // 2] + name[-LONG // 2 :]
        for kind, pattern in SYNTAX.items():
            if len(name) > 1 and (line == 1 or kind != HEADING) and re.fullmatch(pattern, ends):
                raise ModelError(f"{where}: line {line} is {kind}, not a name: {name[:60]!r}. {INSTEAD}")


def _unnumbered(names: tuple[str, ...], side: str, where: str) -> tuple[str, ...]:
    lines = {place: found for place, name in enumerate(names) if (found := _numbered(name, side))}
    usual = Counter(one.word for one in lines.values()).most_common(1)
    lines = {place: one for place, one in lines.items() if one.word == usual[0][0]}
    if not _is_index(list(lines.values()), len(names), side):
        return names
    for place, one in lines.items():
        if not one.name:
            raise ModelError(f"{where}: line {place + 1} is a number without a name: {names[place]!r}.")
    _refuse_disorder({place: one.number for place, one in lines.items()}, len(names), where)
    plain = len(lines) == len(names) and all(one.firm and PLAIN.fullmatch(one.word) for one in lines.values())
    return tuple(one.name for one in lines.values()) if plain and side != "second" else names


def _numbered(name: str, side: str) -> Numbered | None:
    if len(name) > LONG:
        return None
    turn = -1 if side == "behind" else 1
    found = {"front": FRONT, "behind": BEHIND, "second": SECOND}[side].match(name[::turn])
    if found is None:
        return None
    word, number, tag, gap, rest = (found[key][::turn] for key in ("word", "number", "tag", "gap", "rest"))
    return Numbered(int(number), (tag + word).strip().lower(), bool(FIRM.search(gap)), rest.strip())


def _is_index(lines: Sequence[Numbered], count: int, side: str) -> bool:
    """Whether the numbers of `lines`, of `count` in all, are theirs and no part of the names: `digit 3`, `Audi 100`."""
    names = {one.name for one in lines}
    if count < 2 or len(lines) < MOST * count or 2 * len(names) <= len(lines):  # it is the number that tells them apart
        return False
    firm, worded = all(one.firm for one in lines), any(one.word.strip("()[]<>\"'#") for one in lines)
    if firm and not worded:
        return True
    far = 2 * count if not firm and (worded or side != "front") else max(2 * count, USUAL)
    return max(one.number for one in lines) <= far


def _refuse_disorder(numbers: Mapping[int, int], count: int, where: str) -> None:
    """Raise `ModelError` where line after line has not the numbers from 0, or from 1."""
    first = 0 if min(numbers.values()) <= 0 else 1
    wrong = [place for place, number in numbers.items() if number != place + first]
    if not wrong or all(number == place for place, number in numbers.items()):
        return
    if 0 not in numbers and all(number == place - 1 for place, number in numbers.items()):
        raise ModelError(f"{where}: line 1 is {HEADING}, not a name. {INSTEAD}")
    whole = sorted(numbers.values()) == list(range(first, count + first))
    do = "Sort them by their numbers" if whole else "Give every line its number, from 0 or from 1 and without a gap"
    raise ModelError(
        f"{where}: its lines are numbered, but not in order: line {wrong[0] + 1} is of class {numbers[wrong[0]]}. "
        f"{do}; where the numbers are part of the names, write these as a JSON list in a file that ends in .json."
    )
