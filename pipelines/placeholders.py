"""`${branch}` and its like: a look-up in a fixed table, never an expression."""

from __future__ import annotations

import re
from collections.abc import Mapping

PLACEHOLDERS: dict[str, str] = {
    "branch": "the branch pushed to; in tags and image names its slug. "
    "Nothing for a tag or a pull request, so that neither can move a branch's tag",
    "tag": "the git tag; in tags and image names with `-` for what a tag may not hold. "
    "Nothing but for a tag",
    "sha": "the commit, 40 digits",
    "short_sha": "the first 12 digits of the commit",
    "run": "the number of the run",
}
"""Every placeholder and what it stands for."""

MATRIX = "matrix."
"""How the names begin of a step's own matrix values: `${matrix.python}`."""
INPUTS = "inputs."
"""How the names begin of what a person gave: `${inputs.level}`."""

RUN = "${run}"
"""Stays in a plan until `planning.bind`, because a run has no number before it is stored."""

_PLACEHOLDER = re.compile(r"\$\{([^{}]*)\}")


def names(text: str) -> tuple[str, ...]:
    """The names between `${` and `}`, known or not."""
    return tuple(_PLACEHOLDER.findall(text))


def fill(text: str, values: Mapping[str, str | None]) -> str | None:
    """The text with each placeholder replaced; None where one has no value here.

    Raises:
        KeyError: A placeholder is not in the table.
    """
    if any(values[name] is None for name in names(text)):
        return None
    return _PLACEHOLDER.sub(lambda found: values[found[1]] or "", text)
