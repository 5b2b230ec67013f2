"""Words of others, as data: what a store, a file or a user wrote, where a person or a shell reads it.

    text -> what a terminal may print        words -> a command line to copy

A label may hold anything. Signs that steer a terminal, turn the reading direction or cannot be encoded are spelled out;
what a shell would take for its own is quoted.
"""

from __future__ import annotations

import shlex
import unicodedata

STEERING = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Kinds of signs that are spelled out: controls, invisible formats, half characters, separators of lines."""
JOINERS = "\u200c\u200d"
"""Formats that words of some scripts need, and that move nothing."""


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
