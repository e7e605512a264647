"""The pages over a real database and a real log store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from server import ui
from tests.builders import House

BASE = "http://lading.test"
MakeApp = Callable[..., Starlette]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.close()


@pytest.fixture
def make_app(house: House) -> MakeApp:
    def make(*, public: bool = False, base_url: str = BASE) -> Starlette:
        routes = ui.routes(
            database=house.database,
            logs=house.logs,
            artifacts=house.artifacts,
            actions=house.actions,
            clock=house.clock,
            base_url=base_url,
            public=public,
            stopping=house.stopping,
            operations=house.operations,
            secrets=house.secrets,
            releases=house.releases,
            dockerfiles=house.dockerfiles,
        )
        return Starlette(routes=routes)

    return make


@pytest.fixture
def stranger(make_app: MakeApp) -> TestClient:
    """Somebody who has not signed in."""
    return TestClient(make_app(), base_url=BASE, follow_redirects=False)


@pytest.fixture
def visitor(make_app: MakeApp) -> TestClient:
    """Somebody who has not signed in, where reading is open to all."""
    return TestClient(make_app(public=True), base_url=BASE, follow_redirects=False)


@pytest.fixture
def person(make_app: MakeApp, house: House) -> TestClient:
    """Somebody who has signed in as ada; their browser names the origin of forms."""
    client = TestClient(make_app(), base_url=BASE, follow_redirects=False, headers={"Origin": BASE})
    client.post("/login", data={"token": house.token("ada"), "next": "/"})
    return client
