"""Words of others, as data: what a store, a file or a user wrote, where a person or a shell reads it.

    text -> what a terminal may print        words -> a command line to copy        numbers -> words

A label may hold anything. Signs that steer a terminal, turn the reading direction or cannot be encoded are spelled out;
what a shell would take for its own is quoted.
"""

from __future__ import annotations

import re
import shlex
import unicodedata

STEERING = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Kinds of signs that are spelled out: controls, invisible formats, half characters, separators of lines."""
JOINERS = "\u200c\u200d"
"""Formats that words of some scripts need, and that move nothing."""

ADDRESSES = re.compile(
    r"(?P<web>https?://)[^\s/?#'\"()]+(?P<path>[^\s?#'\"()]*)(\?[^\s'\"()]*[^\s'\"():;,.])?"
    r"|\b\d{1,3}(\.\d{1,3}){3}(:\d+)?\b|\[[0-9a-fA-F:.]*::?[0-9a-fA-F:.]*\]:\d+|\bip(-\d+){4}[\w.-]*"
)
"""Machines on a network, as texts of others name them: by a web address, by IP, as clouds call their hosts."""


def shown(text: object) -> str:
    r"""`text` as one line that any terminal may print.

    >>> shown("cat\x1b[2J\n")
    'cat\\x1b[2J\\n'
    """
    whole = str(text)
    return whole if whole.isprintable() else "".join(map(_shown, whole))


def steers(sign: str) -> bool:
    """Whether a sign is more than the letter that is seen."""
    return not sign.isprintable() and sign not in JOINERS and unicodedata.category(sign) in STEERING


def command(*words: object) -> str:
    """A command line of `words`, each quoted where a shell needs it.

    >>> command("atlas", "build", "squeezenet; reboot")
    "atlas build 'squeezenet; reboot'"
    """
    return shlex.join(map(str, words))


def quoted(text: object) -> str:
    """`text` as one word of a command line, between quotes whether or not a shell needs them.

    >>> print(quoted("it's"))
    'it'"'"'s'
    """
    return "'" + str(text).replace("'", """'"'"'""") + "'"


def _shown(sign: str) -> str:
    return sign.encode("unicode_escape").decode() if steers(sign) else sign


def parameter(name: str, value: object = None) -> str:
    """How a message names a parameter, or what was said by it; the command line shows it as an option of its own.

    A backtick in what was said is written twice, so that it is not taken for the end.

    >>> parameter("crops", 0), parameter("images")
    ('`crops=0`', '`images`')
    """
    return f"`{name}`" if value is None else f"`{name}={text_of(value).replace('`', '``')}`"


def text_of(value: object) -> str:
    """A value as options and settings are written."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ",".join(map(text_of, value))
    return "none" if value is None else str(value)


def without_addresses(text: str) -> str:
    """`text` without the addresses of machines in it, nor what a web address asks for: it is to be kept.

    >>> without_addresses("GET http://10.0.0.7:8333/photos/1.png?key=x: no route to 10.0.0.7:8333")
    'GET http://(address)/photos/1.png: no route to (address)'
    """
    return ADDRESSES.sub(lambda found: f"{found['web'] or ''}(address){found['path'] or ''}", text)


def brief(value: object, most: int = 80) -> str:
    """A value as `text_of`, cut where it is long: a message names it and need not hold it.

    >>> brief("a" * 10, 4)
    'aaaa...'
    """
    text = text_of(value)
    return text if len(text) <= most else f"{text[:most]}..."


def count(number: float) -> str:
    """A large number in few letters: 1.2 G, 340 M.

    >>> count(1_234_000_000)
    '1.23 G'
    """
    for size, letter in ((1e15, " P"), (1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:g}"


def duration(seconds: float) -> str:
    """A time in few letters: 42 s, 3 min 5 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    if whole < 6000:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
