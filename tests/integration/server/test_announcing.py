"""A deployment is told of each move, signed, until it has taken it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from server.config.models import AnnounceSettings
from server.hosts.signing import Candidate, key, verify
from server.releases import Announcing
from server.releases.announcing import LONGEST, wait
from server.store import channels as verbs
from server.store.channels import MoveKind, NewMove
from tests.builders import House
from tests.doubles.base import serve

SECRET = "whsec_" + "bm90IGEgc2VjcmV0IGJ1dCBsb25nIGVub3VnaCBmb3Igb25l"
IMAGE = "registry.test/web"


class Deployment:
    """Takes what is announced, or answers as it is told to."""

    def __init__(self) -> None:
        self.status = 204
        self.taken: list[tuple[dict[str, str], bytes]] = []
        self.app = Starlette(routes=[Route("/hook", self._take, methods=["POST"])])

    async def _take(self, request: Request) -> Response:
        self.taken.append((dict(request.headers), await request.body()))
        return Response(status_code=self.status, headers={"Location": "http://127.0.0.1:9/"})

    def told(self) -> list[dict[str, Any]]:
        return [json.loads(body)["data"] for _, body in self.taken]


@pytest.fixture
def deployment() -> Deployment:
    return Deployment()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.close()


@pytest.fixture
def announcing(house: House, deployment: Deployment) -> Iterator[Announcing]:
    with serve(deployment.app) as url:
        settings = AnnounceSettings.model_validate({"url": f"{url}/hook", "secret": SECRET})
        made = Announcing(
            database=house.database,
            clock=house.clock,
            settings={"deployment": settings},
            base_url="http://lading.test",
        )
        asyncio.run(made.look())  # it is known from now on
        yield made


def move(house: House, letter: str, channel: str = "production") -> int:
    new = NewMove(
        image=IMAGE,
        channel=channel,
        kind=MoveKind.PROMOTE,
        digest=f"sha256:{letter * 64}",
        run=7,
        by="ada",
        why="it is good",
    )
    begun = house.database.run(verbs.begin_move, new, at=house.clock.forward(seconds=1))
    assert begun is not None
    house.database.run(
        verbs.end_move, begun, from_digest=None, pause=False, parts=(), at=house.clock()
    )
    return begun.id


def test_a_move_is_told_once_and_signed(
    house: House, deployment: Deployment, announcing: Announcing
) -> None:
    number = move(house, "a")

    asyncio.run(announcing.look())
    asyncio.run(announcing.look())

    ((headers, body),) = deployment.taken
    candidate = Candidate(repository=None, key=key(SECRET))
    assert verify([candidate], headers, body, house.clock()) == candidate
    assert headers["webhook-id"] == f"move-{number}"
    assert json.loads(body)["type"] == "channel.moved"
    assert deployment.told() == [
        {
            "image": IMAGE,
            "channel": "production",
            "kind": "promote",
            "digest": f"sha256:{'a' * 64}",
            "from_digest": None,
            "by": "ada",
            "why": "it is good",
            "run": "http://lading.test/runs/7",
            "reference": f"{IMAGE}@sha256:{'a' * 64}",
        }
    ]


@pytest.mark.parametrize("status", [500, 404, 307])
def test_what_is_not_taken_is_told_again_under_the_same_id_when_its_time_has_come(
    house: House, deployment: Deployment, announcing: Announcing, status: int
) -> None:
    deployment.status = status
    move(house, "a")
    asyncio.run(announcing.look())
    asyncio.run(announcing.look())
    assert len(deployment.taken) == 1

    deployment.status = 204
    house.clock.forward(seconds=wait(0).total_seconds())
    asyncio.run(announcing.look())
    asyncio.run(announcing.look())

    assert len({headers["webhook-id"] for headers, _ in deployment.taken}) == 1
    assert len(deployment.taken) == 2


def test_a_deployment_that_was_away_is_told_of_the_newest_move_of_each_channel_alone(
    house: House, deployment: Deployment, announcing: Announcing
) -> None:
    deployment.status = 503
    move(house, "a")
    asyncio.run(announcing.look())
    move(house, "b")
    move(house, "c", "staging")
    deployment.status = 204
    deployment.taken.clear()
    house.clock.forward(hours=1)

    asyncio.run(announcing.look())

    assert [(one["channel"], one["digest"][7]) for one in deployment.told()] == [
        ("production", "b"),
        ("staging", "c"),
    ]


def test_who_is_new_is_not_told_of_what_was_before(
    house: House, deployment: Deployment, announcing: Announcing
) -> None:
    move(house, "a")
    asyncio.run(announcing.look())
    house.clock.forward(seconds=5)
    with serve(deployment.app) as url:
        settings = AnnounceSettings.model_validate({"url": f"{url}/hook", "secret": SECRET})
        other = Announcing(
            database=house.database,
            clock=house.clock,
            settings={"other": settings},
            base_url="http://lading.test",
        )
        asyncio.run(other.look())

    assert len(deployment.taken) == 1


def test_what_nobody_took_for_days_is_given_up(
    house: House, deployment: Deployment, announcing: Announcing
) -> None:
    deployment.status = 500
    move(house, "a")
    house.clock.forward(days=4)

    asyncio.run(announcing.look())

    assert deployment.taken == []


def test_waits_grow_to_an_hour() -> None:
    waits = [wait(tries) for tries in range(12)]

    assert waits == sorted(waits)
    assert waits[0] == timedelta(seconds=5)
    assert waits[-1] == LONGEST
    assert wait(10_000) == LONGEST
