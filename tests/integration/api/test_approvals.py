"""Approving and declining by the API."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from pipelines.progress import State
from tests.builders import SHA, House, event


def held(house: House) -> int:
    happening = event(kind="pull_request", ref="refs/pull/7/head", pull_request=7, from_fork=True)
    return house.run(happening=happening, stranger="666").id


def test_a_held_run_says_what_it_waits_for_and_who_was_asked(
    house: House, client: TestClient
) -> None:
    run = client.get(f"runs/{held(house)}").json()

    assert run["state"] == "held"
    assert run["waits_for"] == "waits for approval: first look at the changes, then approve"
    (asked,) = run["approvals"]
    assert (asked["sha"], asked["person"], asked["step"], asked["verdict"]) == (
        SHA,
        "666",
        None,
        None,
    )


def test_an_approval_lets_it_wait_for_a_slot_and_names_who_gave_it(
    house: House, client: TestClient
) -> None:
    run = held(house)

    response = client.post(f"runs/{run}/approve")

    assert (response.status_code, response.json()["state"]) == (200, "waiting")
    (asked,) = client.get(f"runs/{run}").json()["approvals"]
    assert (asked["verdict"], asked["answered_by"]) == ("approved", "ada")


def test_a_decline_ends_it(house: House, client: TestClient) -> None:
    run = held(house)

    response = client.post(f"runs/{run}/decline")

    assert (response.status_code, response.json()["state"]) == (200, "cancelled")
    assert response.json()["sentence"] == "declined by ada"


def test_a_step_is_named_in_the_body(house: House, client: TestClient) -> None:
    run = house.asking("live", "dev").id

    unnamed = client.post(f"runs/{run}/approve")
    named = client.post(f"runs/{run}/approve", json={"step": "deploy.dev"})

    assert unnamed.status_code == 409
    assert "deploy.live, deploy.dev" in unnamed.json()["detail"]
    assert named.status_code == 200


@pytest.mark.parametrize("verb", ["approve", "decline"])
def test_what_waits_for_nobody_is_a_conflict(house: House, client: TestClient, verb: str) -> None:
    run = house.run().id

    assert client.post(f"runs/{run}/{verb}").status_code == 409
    assert client.post(f"runs/99/{verb}").status_code == 404
    assert client.get(f"runs/{run}/{verb}").status_code == 405


@pytest.mark.parametrize("verb", ["approve", "decline"])
def test_who_has_no_token_says_nothing(house: House, stranger: TestClient, verb: str) -> None:
    run = held(house)

    assert stranger.post(f"runs/{run}/{verb}").status_code == 401
    assert house.fresh(run).state is State.HELD
