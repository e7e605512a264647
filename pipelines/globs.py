"""Patterns for branches, tags and paths, in linear time.

`*`, `?` and `[a-z]` match within one part of a name, `**` any number of parts: `release/*` matches
`release/1` and not `release/1/fix`; `src/**` everything in `src`; `**/*.md` every Markdown file,
also at the root. A pattern always means the whole name from its start.

Each part is the standard library's `fnmatch`, whose expressions use atomic groups and so cannot
backtrack without bound; the parts are matched greedily, the way one matches a `*`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import translate

_Part = re.Pattern[str] | None  # None is `**`


class Glob:
    """One pattern, compiled."""

    def __init__(self, pattern: str) -> None:
        # "docs/" can only be meant as everything in it.
        whole = pattern + "**" if pattern.endswith("/") else pattern
        self._parts: tuple[_Part, ...] = tuple(
            None if part == "**" else re.compile(translate(part)) for part in whole.split("/")
        )

    def matches(self, name: str) -> bool:
        """Whether the whole name is of this pattern."""
        return _match(self._parts, name.split("/"))


class Globs:
    """Several patterns, any of which may match."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._globs = tuple(Glob(pattern) for pattern in patterns)

    def match(self, name: str) -> bool:
        """Whether one of the patterns matches the name."""
        return any(glob.matches(name) for glob in self._globs)


def _match(parts: Sequence[_Part], names: Sequence[str]) -> bool:
    """Greedy matching: on a mismatch only the latest `**` takes one name more."""
    part = name = 0
    retry: tuple[int, int] | None = None
    while name < len(names):
        if part < len(parts) and (here := parts[part]) is None:
            part += 1
            retry = (part, name)
        elif part < len(parts) and here is not None and here.match(names[name]):
            part, name = part + 1, name + 1
        elif retry is None:
            return False
        else:
            retry = (retry[0], retry[1] + 1)
            part, name = retry
    return all(rest is None for rest in parts[part:])
