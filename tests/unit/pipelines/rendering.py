"""Builds rendered in memory, and a reading of Dockerfiles that owes nothing to the rendering.

Run as a module it writes the Dockerfiles of `tests/corpus/recipes` anew, for a person to look at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import yaml

from pipelines.parsing import Parsed, parse
from pipelines.recipes import (
    BuilderFeatures,
    Catalogue,
    Files,
    built_in,
    render_builds,
)

CORPUS = Path(__file__).parents[2] / "corpus" / "recipes"
CACHED = BuilderFeatures(cache_mounts=True)


def parsed(build: Mapping[str, object], catalogue: Catalogue | None = None) -> Parsed:
    """A pipeline whose one build is `web`. JSON is YAML, and quotes every text."""
    return parse(json.dumps({"build": {"web": build}}), ".lading.yml", catalogue)


def rendered(
    build: Mapping[str, object],
    files: Mapping[str, str] | None = None,
    *,
    features: BuilderFeatures | None = None,
    catalogue: Catalogue | None = None,
) -> str:
    """The Dockerfile of a build, over a commit with these files."""
    read = parsed(build, catalogue)
    assert read.definition is not None, "\n".join(map(str, read.problems))
    there = Files(paths=frozenset(files or ()), texts=dict(files or {}))
    known = catalogue or built_in()
    return render_builds(read.definition, known, there, features)["web"].text


class Case(NamedTuple):
    """One folder of the corpus."""

    build: dict[str, object]
    files: dict[str, str]
    dockerfile: Path


def case(folder: Path) -> Case:
    """A build as its file has it, each value read as text first, like a pipeline's."""
    loaded = {
        name: yaml.load((folder / f"{name}.yml").read_text(), yaml.BaseLoader)
        for name in ("build", "files")
    }
    return Case(loaded["build"], loaded["files"], folder / "Dockerfile")


CASES = {folder.name: case(folder) for folder in sorted(CORPUS.iterdir())}

_HEREDOC = re.compile(r"^\d*<<-?['\"]?[A-Za-z_]")


class Instruction(NamedTuple):
    """One instruction, its continued lines joined."""

    word: str
    rest: str


def instructions(text: str) -> list[Instruction]:
    """As https://docs.docker.com/reference/dockerfile/#format has it."""
    return list(_instructions(iter(text.split("\n"))))


def _instructions(lines: Iterator[str]) -> Iterator[Instruction]:
    whole = ""
    for line in lines:
        if line.lstrip().startswith("#") or not line.strip():
            continue
        if line.rstrip().endswith("\\"):
            whole += line.rstrip()[:-1]
            continue
        word, _, rest = (whole + line).strip().partition(" ")
        whole = ""
        yield Instruction(word, rest.strip())
        for part in rest.split() if word in ("RUN", "COPY", "ADD") and rest[:1] != "[" else ():
            if _HEREDOC.match(part):
                end = part.lstrip("0123456789<-").strip("'\"")
                for within in lines:
                    if within.strip() == end:
                        break
    assert not whole, "the last line goes on"


def main() -> None:
    """Write the Dockerfiles of the corpus."""
    for one in CASES.values():
        one.dockerfile.write_text(rendered(one.build, one.files))


if __name__ == "__main__":
    main()
