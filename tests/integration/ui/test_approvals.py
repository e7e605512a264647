"""Approving and declining on a run's page."""

from __future__ import annotations

from starlette.testclient import TestClient

from pipelines.progress import State
from tests.builders import House, event

PULL = "https://github.com/acme/web/pull/7"


def held(house: House) -> int:
    happening = event(
        kind="pull_request", ref="refs/pull/7/head", pull_request=7, from_fork=True, url=PULL
    )
    return house.run(happening=happening, stranger="666").id


def test_a_held_run_leads_to_the_changes_and_has_both_buttons(
    house: House, person: TestClient
) -> None:
    run = held(house)

    page = person.get(f"/runs/{run}").text

    assert "A stranger&#39;s commit waits for approval" in page or "stranger's commit" in page
    assert f'<a href="{PULL}" rel="noopener noreferrer">the changes</a>' in page
    assert f'action="/runs/{run}/approve"' in page
    assert f'action="/runs/{run}/decline"' in page


def test_the_button_approves_in_the_persons_name(house: House, person: TestClient) -> None:
    run = held(house)

    response = person.post(f"/runs/{run}/approve", data={"step": ""})

    assert (response.status_code, response.headers["location"]) == (303, f"/runs/{run}")
    assert house.fresh(run).state is State.WAITING
    assert "the commit: approved by ada" in person.get(f"/runs/{run}").text


def test_a_steps_prompt_is_shown_as_text_with_its_buttons(house: House, person: TestClient) -> None:
    run = house.asking("live", "<img src=x>").id

    page = person.get(f"/runs/{run}").text
    response = person.post(f"/runs/{run}/decline", data={"step": "deploy.live"})

    assert "Ship &lt;img src=x&gt;?" in page
    assert "<img src=x>" not in page
    assert '<button name="step" value="deploy.live">Approve</button>' in page
    assert response.status_code == 303
    assert "deploy.live: declined by ada" in person.get(f"/runs/{run}").text


def test_a_visitor_of_an_open_server_sees_the_question_and_no_buttons(
    house: House, visitor: TestClient
) -> None:
    run = house.asking().id

    page = visitor.get(f"/runs/{run}").text

    assert "Ship live?" in page
    assert "/approve" not in page


def test_held_runs_can_be_listed(house: House, person: TestClient) -> None:
    held(house)

    assert "/runs/1" in person.get("/?state=held").text
    assert "/runs/1" not in person.get("/?state=waiting").text
