"""A channel's move that the end of the process cut off is ended by what the registry has."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from pipelines.crashing import EXIT_CODE
from pipelines.progress import Pushed
from scripts.parts.registry import Registry
from scripts.parts.registry import registry as running_registry
from server import clock
from server.registries import Login
from server.releases import Releases
from server.store import channels as verbs
from server.store import images
from server.store.channels import MoveState
from tests.builders import House
from tests.parts.images import Image, put_image

ROOT = Path(__file__).parents[2]


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with running_registry(tmp_path / "r", username="lading", password="a pass word") as registry:
        yield registry


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    (tmp_path / "data").mkdir()
    made = House(tmp_path / "data")
    yield made
    made.close()


def pushed(house: House, registry: Registry) -> Image:
    """A version in the registry, and a login for it."""
    image = put_image(registry, "acme/web", "new", content="new")
    version = Pushed(
        repository=f"{registry.address}/acme/web", digest=image.digest, size=1, tags=("new",)
    )
    house.database.run(
        images.add_image_version,
        run=house.run(),
        attempt=1,
        step="push.web",
        pushed=version,
        at=house.clock(),
    )
    login = Login(
        host=registry.address,
        username=registry.username or "",
        password=registry.password or "",
        probe="acme/web",
    )
    asyncio.run(house.registries.add(login, by="ada", guarded=False))
    return image


@pytest.mark.parametrize(
    ("point", "state"),
    [("releases.begun", MoveState.FAILED), ("releases.put", MoveState.MOVED)],
)
def test_a_move_that_was_cut_off_is_ended_by_what_the_registry_has(
    tmp_path: Path, house: House, registry: Registry, point: str, state: MoveState
) -> None:
    image = pushed(house, registry)
    killed = subprocess.run(
        [sys.executable, "-m", "server.cli", "promote", "acme/web", "production", "new"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CRASH_AT": point},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert killed.returncode == EXIT_CODE, killed.stderr
    (cut_off,) = house.database.run(verbs.moves)
    assert cut_off.state is MoveState.MOVING

    later = Releases(
        database=house.database,
        registries=house.registries,
        clock=lambda: clock.now() + timedelta(minutes=11),
    )
    asyncio.run(later.settle())
    later.close()

    (move,) = house.database.run(verbs.moves)
    channels = house.database.run(verbs.all_channels)
    assert move.state is state
    assert [one.digest for one in channels] == ([image.digest] if state is MoveState.MOVED else [])
