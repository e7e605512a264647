"""Real repositories, in memory where the machine has a place for it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parts.git_server import Repository

MEMORY = Path("/dev/shm")


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder: many small files cost much on a slow disk."""
    place = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="lading-git-", dir=place) as made:
        yield Path(made).resolve()


@pytest.fixture
def repository(folder: Path) -> Repository:
    """A bare repository without commits, and a work tree for it."""
    return Repository(folder)
