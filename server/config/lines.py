"""On which line of a TOML file a setting stands."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping

_HEADER = re.compile(r"\s*(\[[^\[\]].*)")
_KEY = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")


def lines(text: str) -> dict[tuple[str, ...], int]:
    """The line, from 1, of each table and key of a well-formed TOML text.

    A key inside an inline table, or behind a multi-line text, may be missing.
    """
    found: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            table = _path(header[1]) or table
            found.setdefault(table, number)
        elif key := _KEY.match(line):
            found.setdefault((*table, *_path(f"{key[1]} = 0")), number)
    return found


def _path(statement: str) -> tuple[str, ...]:
    """The path that one statement opens, read by the real parser."""
    try:
        return tuple(_names(tomllib.loads(statement)))
    except tomllib.TOMLDecodeError:
        return ()


def _names(tree: object) -> Iterator[str]:
    while isinstance(tree, Mapping) and tree:
        name, tree = next(iter(tree.items()))
        yield str(name)
