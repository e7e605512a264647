"""What lies in a folder, as far as it takes to see what it is; bounded, whatever lies there."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

_MOST_BYTES = 1024 * 1024
"""Of one file."""
_MOST_FILES = 5000
_DEEPEST = 4
_NOT_OURS = frozenset(
    {
        *("node_modules", "venv", "env", "target", "build", "dist", "vendor", "__pycache__"),
        *("site-packages", "out", "coverage"),
    }
)


class Files:
    """A folder's files. What cannot be read is as if it were not there."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """Paths of files from the root, those near it first; hidden folders are left out."""
        return tuple(path for path, _ in zip(self._walk(), range(_MOST_FILES), strict=False))

    def _walk(self) -> Iterator[str]:
        level = [self._root]
        for _ in range(_DEEPEST):
            below: list[Path] = []
            for folder in level:
                for entry in _entries(folder):
                    if not entry.is_dir(follow_symlinks=False):
                        yield Path(entry.path).relative_to(self._root).as_posix()
                    elif not entry.name.startswith(".") and entry.name not in _NOT_OURS:
                        below.append(Path(entry.path))
            level = below

    def has(self, *names: str) -> str | None:
        """The first of these files that is there."""
        return next((name for name in names if (self._root / name).is_file()), None)

    def folder(self, name: str) -> bool:
        """Whether there is such a folder."""
        return (self._root / name).is_dir()

    def text(self, name: str) -> str:
        """A file's text, or its beginning; empty where there is none."""
        try:
            with (self._root / name).open("rb") as file:
                return file.read(_MOST_BYTES).decode("utf-8-sig", "replace")
        except OSError:
            return ""

    def toml(self, name: str) -> Mapping[str, Any]:
        """A TOML file's content; empty where it is none."""
        try:
            return tomllib.loads(self.text(name))
        except (tomllib.TOMLDecodeError, RecursionError):
            return {}

    def json(self, name: str) -> Mapping[str, Any]:
        """A JSON object's content; empty where it is none."""
        try:
            found = json.loads(self.text(name))
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError:
        return []


def table(data: object, *keys: str) -> Mapping[str, Any]:
    """The table at that path of someone's data; empty where there is none."""
    for key in keys:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data if isinstance(data, Mapping) else {}


def texts(data: object) -> list[str]:
    """The texts of a list; none where it is no list."""
    return [each for each in data if isinstance(each, str)] if isinstance(data, list) else []
