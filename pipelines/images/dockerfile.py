"""The little that must be known of a Dockerfile before the builder reads it."""

from __future__ import annotations

import re

# https://docs.docker.com/reference/dockerfile/#from
_FROM = re.compile(r"^\s*FROM\s+(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?\s*$", re.IGNORECASE)
_ESCAPE = re.compile(r"^#\s*escape\s*=\s*(\S)\s*$", re.IGNORECASE)


def base_images(text: str) -> tuple[str, ...]:
    """Names of images that the stages start from, as far as they stand there in plain words.

    Names with variables are left to the builder, like `COPY --from=<image>`.
    """
    stages: set[str] = set()
    bases: dict[str, None] = {}
    for line in text.splitlines():
        found = _FROM.match(line)
        if found is None:
            continue
        base, stage = found.groups()
        if base.lower() not in stages and base.lower() != "scratch" and "$" not in base:
            bases[base] = None
        if stage:
            stages.add(stage.lower())
    return tuple(bases)


def instruction_lines(text: str) -> tuple[int, ...]:
    """The line, from 1, on which each instruction begins: the builder tells only its number."""
    lines = text.splitlines()
    escape = next((m[1] for line in lines[:1] if (m := _ESCAPE.match(line))), "\\")
    starts: list[int] = []
    continued = False
    for number, line in enumerate(lines, 1):
        words = line.strip()
        if not words or words.startswith("#"):
            continue
        if not continued:
            starts.append(number)
        continued = words.endswith(escape)
    return tuple(starts)
