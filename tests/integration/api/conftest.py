"""The API over a real database and a real log store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from server import api
from tests.builders import House

BASE = "http://lading.test"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.close()


@pytest.fixture
def app(house: House) -> Starlette:
    routes = api.routes(
        database=house.database,
        logs=house.logs,
        artifacts=house.artifacts,
        actions=house.actions,
        clock=house.clock,
        base_url=BASE,
        stopping=house.stopping,
        operations=house.operations,
        secrets=house.secrets,
        registries=house.registries,
        releases=house.releases,
        dockerfiles=house.dockerfiles,
    )
    return Starlette(routes=[Mount("/api/v1", routes=routes)])


@pytest.fixture
def stranger(app: Starlette) -> TestClient:
    """Somebody without a token."""
    return TestClient(app, base_url=f"{BASE}/api/v1")


@pytest.fixture
def client(app: Starlette, house: House) -> TestClient:
    """Somebody with a token named ada."""
    headers = {"Authorization": f"Bearer {house.token('ada')}"}
    return TestClient(app, base_url=f"{BASE}/api/v1", headers=headers)
