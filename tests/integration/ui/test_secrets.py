"""The pages of secrets and schedules."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from starlette.testclient import TestClient

from pipelines.definition.fields import Missed
from server.store import secrets as secret_verbs
from server.store import timetable
from server.store.rows import NewSchedule, SecretRow
from tests.builders import House

VALUE = "correct horse battery staple"


def stored(house: House) -> list[SecretRow]:
    return house.database.run(secret_verbs.all_secrets)


def opened(house: House) -> str:
    (row,) = house.database.run(secret_verbs.every_sealed)
    return house.secrets._vault.open(row.key, row.sealed)


def test_a_secret_is_set_and_removed_by_forms_and_its_value_never_shown(
    house: House, person: TestClient
) -> None:
    house.repository()
    form = {
        "name": "npm",
        "value": VALUE,
        "repository": "acme/web",
        "events": "push, tag",
        "branches": "main release/*",
        "steps": "",
    }

    done = person.post("/secrets", data=form)
    page = person.get("/secrets").text

    assert (done.status_code, done.headers["location"]) == (303, "/secrets")
    (row,) = stored(house)
    assert (row.name, row.full_name, row.changed_by) == ("npm", "acme/web", "ada")
    assert (row.events, row.branches, row.steps) == (("push", "tag"), ("main", "release/*"), ())
    assert "branch <bdi>release/*</bdi>" in page
    assert "by <bdi>ada</bdi>" in page
    assert VALUE not in page

    gone = person.post("/secrets/npm/remove", data={"repository": "acme/web", "host": "forge"})
    assert gone.status_code == 303
    assert stored(house) == []


def test_a_value_of_several_lines_is_kept_as_it_was_typed(house: House, person: TestClient) -> None:
    person.post("/secrets", data={"name": "key", "value": "-----BEGIN\r\nabc\r\n"})

    assert opened(house) == "-----BEGIN\nabc\n"


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"name": "Big Name", "value": VALUE}, "cannot be a secret&#39;s name"),
        ({"name": "npm", "value": ""}, "1 to 65536 bytes"),
        ({"name": "npm", "value": VALUE, "events": "merge"}, "&#39;merge&#39; is no event"),
    ],
)
def test_what_cannot_be_stored_is_told_above_the_form_which_keeps_all_but_the_value(
    house: House, person: TestClient, form: dict[str, str], said: str
) -> None:
    response = person.post("/secrets", data={**form, "steps": "push.*"})

    assert response.status_code == 422
    assert said in response.text
    assert 'value="push.*"' in response.text
    assert VALUE not in response.text
    assert stored(house) == []


def test_an_unknown_repository_is_told(person: TestClient) -> None:
    form = {"name": "npm", "value": VALUE, "repository": "acme/none"}

    response = person.post("/secrets", data=form)

    assert response.status_code == 422
    assert "becomes known with its first delivery" in response.text


def test_a_short_secret_is_said_to_be_so(person: TestClient) -> None:
    done = person.post("/secrets", data={"name": "pin", "value": "1234"})

    assert "too short to be taken out" in person.get(done.headers["location"]).text
    assert "too short" not in person.get("/secrets?short=<b>Not a name</b>").text


def test_removing_what_is_gone_is_told(person: TestClient) -> None:
    response = person.post("/secrets/npm/remove")

    assert response.status_code == 404
    assert "the server has no secret &#39;npm&#39;" in response.text


def test_a_visitor_of_an_open_server_learns_of_no_secret(
    visitor: TestClient, person: TestClient
) -> None:
    person.post("/secrets", data={"name": "npm", "value": VALUE})

    response = visitor.get("/secrets")

    assert response.status_code == 303
    assert response.headers["location"].startswith("/login")
    assert visitor.post("/secrets", headers={"Origin": "http://lading.test"}).status_code == 401


def test_a_form_of_another_site_sets_no_secret(house: House, person: TestClient) -> None:
    form = {"name": "npm", "value": VALUE}

    response = person.post("/secrets", data=form, headers={"Origin": "http://evil.test"})

    assert response.status_code == 403
    assert stored(house) == []


def nightly(house: House) -> int:
    new = NewSchedule(
        file=".lading.yml",
        pipeline="web",
        cron="0 3 * * *",
        timezone="Europe/Berlin",
        missed=Missed.SKIP,
        next_at=datetime(2026, 5, 5, 1, tzinfo=UTC),
    )
    house.database.run(timetable.set_schedules, house.repository().id, [new])
    return house.database.run(timetable.all_schedules)[0].id


def test_a_schedule_is_shown_and_started_by_a_button(house: House, person: TestClient) -> None:
    schedule = nightly(house)

    page = person.get("/schedules").text
    assert "0 3 * * *" in page
    assert "2026-05-05 01:00:00 UTC" in page
    assert "missed times are left out" in page

    asked = person.post(f"/schedules/{schedule}/start")
    assert asked.status_code == 409  # this house starts nothing, and says what it was asked for
    assert "nothing was started: ada asked for web at main of forge" in asked.text


def test_a_visitor_sees_schedules_without_buttons(house: House, visitor: TestClient) -> None:
    nightly(house)

    page = visitor.get("/schedules").text

    assert "0 3 * * *" in page
    assert "Run now" not in page


def test_a_schedule_that_is_gone_is_told(person: TestClient) -> None:
    response = person.post("/schedules/7/start")

    assert response.status_code == 404
    assert "a push may have changed it" in response.text


def test_without_any_the_pages_say_how_to_begin(person: TestClient) -> None:
    assert "No schedule yet" in person.get("/schedules").text
    assert "No secret yet" in person.get("/secrets").text
