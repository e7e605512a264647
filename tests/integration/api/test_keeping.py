"""Secrets, schedules and who asks, over the API."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import pytest
from openapi_core import OpenAPI
from starlette.testclient import TestClient

from pipelines.definition.fields import Missed
from pipelines.events import EventKind, Slot
from server.store import secrets as secret_verbs
from server.store import timetable
from server.store.rows import NewSchedule, SecretRow
from server.version import VERSION
from tests.builders import House, event
from tests.integration.api.test_document import check, openapi

__all__ = ["openapi"]

VALUE = "correct horse battery staple"
AT = datetime(2026, 5, 5, 1, tzinfo=UTC)


def stored(house: House) -> list[SecretRow]:
    return house.database.run(secret_verbs.all_secrets)


def test_a_secret_is_stored_sealed_and_its_value_is_never_given_back(
    house: House, client: TestClient
) -> None:
    house.repository()
    body = {"value": VALUE, "repository": "acme/web", "branches": ["main"], "steps": ["push.*"]}

    put = client.put("secrets/npm", json=body)
    listed = client.get("secrets")

    assert put.status_code == 200
    assert VALUE not in put.text + listed.text
    assert listed.json()["items"] == [
        {
            "name": "npm",
            "repository": {"host": "forge", "name": "acme/web"},
            "events": [],
            "branches": ["main"],
            "steps": ["push.*"],
            "created_at": put.json()["created_at"],
            "changed_at": put.json()["changed_at"],
            "changed_by": "ada",
        }
    ]
    (row,) = house.database.run(secret_verbs.every_sealed)
    assert VALUE.encode() not in row.sealed


def test_the_value_stands_in_no_line_of_the_servers_log(
    client: TestClient,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with caplog.at_level(logging.DEBUG):
        client.put("secrets/npm", json={"value": VALUE})
        client.put("secrets/npm", json={"value": VALUE, "events": ["merge"]})

    said = caplog.text + "".join(capsys.readouterr())
    assert VALUE not in said
    assert "secret set" in said
    assert "by=ada" in said


def test_the_same_name_again_replaces_it_and_says_by_whom(house: House, client: TestClient) -> None:
    client.put("secrets/npm", json={"value": VALUE, "events": ["push"]})
    headers = {"Authorization": f"Bearer {house.token('bob')}"}
    client.put("secrets/npm", json={"value": "another one", "events": []}, headers=headers)

    (row,) = stored(house)
    assert (row.changed_by, row.events) == ("bob", ())


def test_the_servers_and_a_repositorys_secret_of_one_name_are_two(
    house: House, client: TestClient
) -> None:
    house.repository()
    client.put("secrets/npm", json={"value": VALUE})
    client.put("secrets/npm", json={"value": VALUE, "repository": "acme/web"})

    assert client.delete("secrets/npm").json() == {"name": "npm"}
    assert [row.full_name for row in stored(house)] == ["acme/web"]
    assert client.delete("secrets/npm").status_code == 404
    only = client.get("secrets", params={"repository": "acme/web"}).json()["items"]
    assert [one["name"] for one in only] == ["npm"]


def test_a_short_secret_is_stored_and_said_not_to_be_hidden(client: TestClient) -> None:
    assert client.put("secrets/pin", json={"value": "1234"}).json()["hidden"] is False
    assert client.put("secrets/npm", json={"value": VALUE}).json()["hidden"] is True


def test_where_two_hosts_have_the_repository_one_must_be_named(
    house: House, client: TestClient
) -> None:
    house.repository(host="forge")
    house.repository(host="other")
    body = {"value": VALUE, "repository": "acme/web"}

    refused = client.put("secrets/npm", json=body)
    assert refused.status_code == 404
    assert "(forge, other)" in refused.json()["detail"]
    assert client.put("secrets/npm", json={**body, "host": "other"}).status_code == 200
    assert [row.host for row in stored(house)] == ["other"]


@pytest.mark.parametrize(
    "asked",
    [
        ("Big", {"value": VALUE}, 422),
        ("npm", {"value": ""}, 422),
        ("npm", {"value": "a\0b"}, 422),
        ("npm", {"value": "x" * 65_537}, 422),
        ("npm", {}, 422),
        ("npm", {"value": VALUE, "events": ["merge"]}, 422),
        ("npm", {"value": VALUE, "branches": [""]}, 422),
        ("npm", {"value": VALUE, "steps": ["x" * 201]}, 422),
        ("npm", {"value": VALUE, "repository": "acme/none"}, 404),
        ("npm", {"value": [VALUE]}, 422),
        ("npm", {"value": VALUE, "more": VALUE}, 422),
        ("npm", {"value": "x" * 600_000}, 413),
    ],
)
def test_what_cannot_be_a_secret_is_refused_without_saying_it(
    house: House, client: TestClient, openapi: OpenAPI, asked: tuple[str, object, int]
) -> None:
    name, body, status = asked
    response = client.put(f"secrets/{name}", json=body)

    assert response.status_code == status, response.text
    assert VALUE not in response.text
    assert stored(house) == []
    check(openapi, response)


def test_the_largest_secret_may_be_written_in_the_longest_way(
    house: House, client: TestClient
) -> None:
    escaped = '{"value": "' + "\\u0061" * 65_536 + '"}'
    headers = {"Content-Type": "application/json"}

    assert client.put("secrets/npm", content=escaped, headers=headers).status_code == 200
    assert len(stored(house)) == 1


def test_changes_of_secrets_need_a_token(house: House, stranger: TestClient) -> None:
    house.repository()

    assert stranger.put("secrets/npm", json={"value": VALUE}).status_code == 401
    assert stranger.delete("secrets/npm").status_code == 401
    assert stranger.get("secrets").status_code == 401
    assert stored(house) == []


def test_a_key_file_that_cannot_be_used_is_told(house: House, client: TestClient) -> None:
    (house.data / "secrets.key").write_text("no key")

    response = client.put("secrets/npm", json={"value": VALUE})

    assert response.status_code == 503
    assert "put the file back" in response.json()["detail"]


def test_answers_about_secrets_are_as_described(
    house: House, client: TestClient, openapi: OpenAPI
) -> None:
    house.repository()
    body = {"value": VALUE, "repository": "acme/web", "events": ["push", "tag"]}
    for response in (
        client.put("secrets/npm", json=body),
        client.get("secrets"),
        client.delete("secrets/npm", params={"repository": "acme/web"}),
    ):
        assert response.status_code == 200, response.text
        check(openapi, response)


def nightly(house: House) -> NewSchedule:
    new = NewSchedule(
        file=".lading.yml",
        pipeline="web",
        cron="0 3 * * *",
        timezone="Europe/Berlin",
        missed=Missed.LATEST,
        next_at=AT,
    )
    house.database.run(timetable.set_schedules, house.repository().id, [new])
    return new


def test_a_schedule_is_listed_with_its_next_time_and_the_run_it_started_last(
    house: House, client: TestClient, openapi: OpenAPI
) -> None:
    new = nightly(house)
    slot = Slot(file=new.file, cron=new.cron, timezone=new.timezone, at=AT)
    other = slot.model_copy(update={"cron": "0 4 * * *"})
    first = house.run(happening=event(kind=EventKind.SCHEDULE, slot=slot))
    last = house.run(happening=event(kind=EventKind.SCHEDULE, slot=slot))
    house.run(happening=event(kind=EventKind.SCHEDULE, slot=other))
    house.run()

    response = client.get("schedules")

    (told,) = response.json()["items"]
    assert told["last_run"]["id"] == last.id
    assert last.id > first.id
    assert (told["repository"]["name"], told["ref"], told["pipeline"]) == (
        *("acme/web", "main", "web"),
    )
    assert (told["cron"], told["timezone"], told["next_at"]) == (
        *("0 3 * * *", "Europe/Berlin", "2026-05-05T01:00:00Z"),
    )
    check(openapi, response)


def test_a_schedule_that_has_not_come_yet_has_no_last_run(house: House, client: TestClient) -> None:
    nightly(house)
    house.run()

    (told,) = client.get("schedules", params={"repository": "acme/web"}).json()["items"]
    assert told["last_run"] is None
    assert client.get("schedules", params={"repository": "acme/none"}).json()["items"] == []


def test_whose_token_it_is_is_told_with_the_version(
    client: TestClient, stranger: TestClient
) -> None:
    assert client.get("me").json() == {"name": "ada", "version": VERSION}
    assert stranger.get("me").status_code == 401


@pytest.mark.parametrize(
    ("query", "text"),
    [("follow=true&from_byte=4", b"56789"), ("follow=true&from_byte=99", b"")],
)
def test_output_can_be_followed_from_a_byte_on(
    house: House, client: TestClient, query: str, text: bytes
) -> None:
    run = house.failed(b"0123\x3456789"[:4] + b"56789")

    response = client.get(f"runs/{run.id}/steps/test.unit/log?{query}")

    assert response.content == text


@pytest.mark.parametrize("query", ["from_byte=4", "follow=true&from_byte=4&from=1"])
def test_a_byte_goes_with_following_alone(house: House, client: TestClient, query: str) -> None:
    run = house.failed()

    assert client.get(f"runs/{run.id}/steps/test.unit/log?{query}").status_code == 400
