"""What was found, and which hosts are left alone: on the pages, in the API, by the doctor."""

from __future__ import annotations

from datetime import timedelta

import pytest
from starlette.testclient import TestClient

from server.store import pauses
from server.store.rows import Found, PauseKind
from tests.builders import House

SENTENCE = "found by comparing branch heads: no webhook came"


def pause(house: House, kind: PauseKind, *, repository: int = 0) -> None:
    house.database.run(
        pauses.pause,
        "forge",
        kind=kind,
        repository=repository,
        reason="because of <b>this</b>",
        now=house.clock(),
        until=house.clock() + timedelta(minutes=5),
    )


def test_a_found_push_says_so_on_its_runs_page_and_its_own(
    house: House, person: TestClient
) -> None:
    delivery = house.delivery(found=Found.HEADS)
    run = house.run(delivery=delivery)

    assert SENTENCE in person.get(f"/runs/{run.id}").text
    assert SENTENCE in person.get(f"/deliveries/{delivery.id}").text


def test_a_push_that_a_webhook_told_of_says_nothing_of_the_kind(
    house: House, person: TestClient
) -> None:
    run = house.run(delivery=house.delivery())

    assert "found" not in person.get(f"/runs/{run.id}").text


@pytest.mark.parametrize("page", ["/", "/deliveries"])
def test_a_host_that_asks_for_quiet_is_told_with_the_statuses_that_wait(
    house: House, person: TestClient, page: str
) -> None:
    house.succeeded()
    pause(house, PauseKind.QUIET)

    text = person.get(page).text

    assert "forge asks for quiet until 2026-03-01 12:0" in text
    assert "1 status waits" in text
    assert "because of &lt;b&gt;this" in text
    house.clock.forward(minutes=10)
    assert "asks for quiet" not in person.get(page).text


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (PauseKind.REFUSED, "acme/web on forge: the token is refused"),
        (PauseKind.FETCH, "acme/web on forge cannot be read"),
        (PauseKind.HOOKS, "acme/web on forge: missed deliveries cannot be looked for"),
    ],
)
def test_a_repository_that_is_left_alone_is_flagged(
    house: House, person: TestClient, kind: PauseKind, said: str
) -> None:
    pause(house, kind, repository=house.repository().id)

    assert said in person.get("/deliveries").text


def test_a_run_whose_commit_could_not_be_read_may_be_run_again(
    house: House, person: TestClient
) -> None:
    run = house.unreadable()

    assert "Run again" in person.get(f"/runs/{run.id}").text


def test_strangers_do_not_see_what_hosts_refuse(house: House, visitor: TestClient) -> None:
    pause(house, PauseKind.REFUSED, repository=house.repository().id)

    assert "the token is refused" not in visitor.get("/deliveries").text
