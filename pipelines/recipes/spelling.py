"""Values as a Dockerfile takes them: whatever they hold, they stay the value that they are.

Only what is spelled here, or was checked to be a plain word, may stand in a rendered Dockerfile.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence

# One line that the builder hands to the shell as it stands: no `[` or `--` at its start, no
# backslash (it may join lines), no here-document.
_SHELL = re.compile(r"[A-Za-z0-9_./$\"'({!:][\x20-\x5b\x5d-\x7e]*", re.ASCII)
_HEREDOC = "<<"


class Plain(str):
    """Text that may stand in a Dockerfile as it is."""

    __slots__ = ()


def shell(command: str) -> Plain:
    """A shell command behind `RUN`: as it stands where that is safe, else in JSON."""
    if _SHELL.fullmatch(command) and _HEREDOC not in command and command == command.strip():
        return Plain(command)
    return array(["/bin/sh", "-ec", command])


def array(words: Sequence[str]) -> Plain:
    """The JSON form of `RUN`, `CMD` and `COPY`: one line, whatever the words hold."""
    # Escapes keep `<<` from looking like a here-document, and every line's end inside.
    return Plain(json.dumps([str(word) for word in words]).replace("<", "\\u003c"))


def program(command: str | Sequence[str]) -> Plain:
    """A program behind `CMD`: a list as it is, a line for a shell."""
    return array(["/bin/sh", "-c", command] if isinstance(command, str) else command)


def quoted(text: str) -> Plain:
    """A value of `ENV` or `LABEL`, of which the builder replaces nothing."""
    escaped = re.sub(r'(["\\$])', r"\\\1", text)
    return Plain(f'"{escaped}"')


def pairs(instruction: str, values: Mapping[str, str]) -> Plain:
    """`ENV A="1"` with a line for each; nothing where there are none."""
    if not values:
        return Plain("")
    lines = [f"{name}={quoted(value)}" for name, value in values.items()]
    return Plain(f"{instruction} " + " \\\n    ".join(lines))


def joined(words: Iterable[str], between: str = " ") -> Plain:
    """Plain words in a row.

    Raises:
        TypeError: One was not checked.
    """
    checked = tuple(words)
    if not all(isinstance(word, Plain) for word in checked):
        raise TypeError("a word that nobody has checked")
    return Plain(between.join(checked))


def lines(each: Iterable[str]) -> Plain:
    """Instructions below each other, without the empty ones."""
    return Plain("\n".join(line for line in each if line))
