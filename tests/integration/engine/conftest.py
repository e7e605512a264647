from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from pipelines.images.exact.shelf import Shelf
from pipelines.source import GitSource
from tests.integration.engine.bench import Bench, commit, engine_at


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory: many small files are slow on a disk."""
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with TemporaryDirectory(prefix="lading-test-", dir=place) as name:
        yield Path(name)


@pytest.fixture
def source(folder: Path) -> GitSource:
    """A commit with a Dockerfile, a script and a file."""
    return commit(
        folder / "plain",
        {"Dockerfile": "FROM scratch\n", "check.sh*": "#!/bin/sh\necho checked\n", "a.txt": "a\n"},
    )


@pytest.fixture
def bench(engine_url: str, source: GitSource, folder: Path) -> Iterator[Bench]:
    """Executors on the real engine, for a server of its own that must leave nothing behind."""
    with engine_at(engine_url) as engine:
        bench = Bench(
            engine=engine,
            server=f"test-{uuid.uuid4().hex[:8]}",
            source=source,
            shelf=Shelf(folder / "layers"),
        )
        yield bench
        if engine.is_connected:
            assert bench.left() == []


@pytest.fixture
def made(folder: Path) -> Callable[[dict[str, str]], GitSource]:
    """Makes a commit of these files."""
    return lambda files: commit(folder / uuid.uuid4().hex, files)
