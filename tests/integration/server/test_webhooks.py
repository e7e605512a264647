"""The door, with the real hosts and a real database."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.testclient import TestClient

from server import clock
from server.config import (
    GitHubRepositorySettings,
    GitHubSettings,
    GitLabSettings,
    GitSettings,
    Settings,
)
from server.hosts.factory import make_hosts
from server.store import Database
from server.store import deliveries as delivery_verbs
from server.store.database import sqlite_url
from server.store.migrations import run as upgrade
from server.store.rows import DecisionOutcome, DeliveryRow
from server.webhooks import MAX_BODY, Pressure, Webhooks

SECRET = "It's a Secret to Everybody"
REPOSITORY_SECRET = "only the web repository"
KEY = base64.b64encode(b"k" * 32).decode()


class Door:
    """A client, and what came of its calls."""

    def __init__(self, folder: Path) -> None:
        url = sqlite_url(folder / "lading.db")
        upgrade(url)
        self.database = Database(url, patience=0.3)
        self.woken = 0
        self.answers: list[tuple[str, int]] = []
        configured = Settings(
            hosts={
                "github": GitHubSettings(
                    kind="github",
                    webhook_secret=SecretStr(SECRET),
                    repositories={
                        "acme/web": GitHubRepositorySettings(
                            webhook_secret=SecretStr(REPOSITORY_SECRET)
                        )
                    },
                ),
                "gitlab": GitLabSettings(
                    kind="gitlab",
                    webhook_secret=SecretStr(SECRET),
                    signing_token=SecretStr(f"whsec_{KEY}"),
                ),
                "git": GitSettings(
                    kind="git", url="/srv/git", webhook_secret=SecretStr(f"whsec_{KEY}")
                ),
            }
        )
        webhooks = Webhooks(
            hosts=make_hosts(configured),
            database=self.database,
            clock=clock.now,
            pressure=Pressure(),
            new_id=delivery_verbs.DeliveryIds(None).new,
            wake=self._wake,
            count=lambda host, status: self.answers.append((host, status)),
            url="https://ci.example",
        )
        self.client = TestClient(Starlette(routes=list(webhooks.routes())))

    def _wake(self) -> None:
        self.woken += 1

    def stored(self) -> list[DeliveryRow]:
        lanes = self.database.run(delivery_verbs.waiting_lanes, 100)
        found = [self.database.run(delivery_verbs.waiting_deliveries, one, 100) for one in lanes]
        return sorted((row for lane in found for row in lane), key=lambda row: row.id)


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    door = Door(tmp_path)
    with door.client:
        yield door
    door.database.close()


def push(repository: str = "acme/web") -> bytes:
    return json.dumps({"repository": {"id": 1, "full_name": repository}}).encode()


def github(body: bytes, *, secret: str = SECRET, delivery: str = "a-guid") -> dict[str, str]:
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": delivery,
        "X-Hub-Signature-256": f"sha256={signature}",
        "Content-Type": "application/json",
    }


def standard(body: bytes, *, id: str = "msg_1") -> dict[str, str]:  # noqa: A002
    at = str(int(time.time()))
    text = f"{id}.{at}.".encode() + body
    signature = base64.b64encode(hmac.new(b"k" * 32, text, hashlib.sha256).digest()).decode()
    return {
        "webhook-id": id,
        "webhook-timestamp": at,
        "webhook-signature": f"v1,{signature}",
        "Content-Type": "application/json",
    }


def test_a_signed_delivery_is_stored_as_received_before_the_202(door: Door) -> None:
    body = push()

    answer = door.client.post("/webhooks/github", content=body, headers=github(body))

    assert answer.status_code == 202
    (row,) = door.stored()
    assert row.body == body
    assert row.headers["x-github-event"] == "push"
    assert answer.json() == {
        "delivery": row.id,
        "duplicate": False,
        "url": f"https://ci.example/deliveries/{row.id}",
    }
    assert door.woken == 1


def test_the_same_delivery_id_again_is_accepted_and_stored_once(door: Door) -> None:
    body = push()
    first = door.client.post("/webhooks/github", content=body, headers=github(body)).json()

    again = door.client.post("/webhooks/github", content=body, headers=github(body))

    assert again.status_code == 202
    assert again.json() == {**first, "duplicate": True}
    assert len(door.stored()) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Hub-Signature-256": ""},
        {"X-Hub-Signature-256": "sha256=" + "0" * 64},
        {"X-Hub-Signature-256": "sha256=é"},
        {"X-Hub-Signature": "sha1=" + "0" * 40},
    ],
)
def test_a_wrong_signature_gets_401_and_leaves_no_row(door: Door, headers: dict[str, str]) -> None:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]

    answer = door.client.post("/webhooks/github", content=b"[" * 100_000, headers=raw)

    assert answer.status_code == 401
    assert door.stored() == []
    assert door.answers == [("github", 401)]


def test_a_body_that_is_no_json_gets_400(door: Door) -> None:
    answer = door.client.post("/webhooks/github", content=b"hello", headers=github(b"hello"))

    assert answer.status_code == 400
    assert door.stored() == []


def test_a_bomb_of_brackets_gets_400_and_not_500(door: Door) -> None:
    body = b"[" * 1_000_000

    answer = door.client.post("/webhooks/github", content=body, headers=github(body))

    assert answer.status_code == 400


def test_a_repository_secret_signs_for_its_own_repository(door: Door) -> None:
    body = push("acme/web")
    headers = github(body, secret=REPOSITORY_SECRET)

    assert door.client.post("/webhooks/github", content=body, headers=headers).status_code == 202


def test_a_repository_secret_does_not_sign_for_another_repository(door: Door) -> None:
    body = push("acme/other")
    headers = github(body, secret=REPOSITORY_SECRET)

    answer = door.client.post("/webhooks/github", content=body, headers=headers)

    assert answer.status_code == 403
    assert "acme/other" not in answer.text
    assert door.stored() == []


def test_an_announced_length_over_25_mb_gets_413_unread(door: Door) -> None:
    answer = door.client.post(
        "/webhooks/github",
        content=b"x",
        headers={**github(b"x"), "Content-Length": str(MAX_BODY + 1)},
    )

    assert answer.status_code == 413


def test_a_body_without_length_is_cut_off_at_25_mb(door: Door) -> None:
    sent = 0

    def chunks() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(40):
            sent += 1
            yield b"x" * (1 << 20)

    answer = door.client.post("/webhooks/github", content=chunks(), headers=github(b""))

    assert answer.status_code == 413


def test_an_unknown_host_gets_404(door: Door) -> None:
    answer = door.client.post("/webhooks/nowhere", content=b"{}")

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert door.answers == [("unknown", 404)]


def test_a_get_is_not_allowed(door: Door) -> None:
    assert door.client.get("/webhooks/github").status_code == 405


def test_gitlabs_token_is_not_stored(door: Door) -> None:
    body = json.dumps(
        {"object_kind": "push", "project": {"id": 1, "path_with_namespace": "acme/web"}}
    ).encode()

    answer = door.client.post(
        "/webhooks/gitlab",
        content=body,
        headers={"X-Gitlab-Token": SECRET, "X-Gitlab-Event": "Push Hook"},
    )

    assert answer.status_code == 202
    assert SECRET not in str(door.stored()[0])


def test_a_bad_gitlab_signature_is_not_saved_by_a_good_token(door: Door) -> None:
    headers = {**standard(b"{}"), "X-Gitlab-Token": SECRET, "webhook-signature": "v1,AAAA"}

    answer = door.client.post("/webhooks/gitlab", content=b"{}", headers=headers)

    assert answer.status_code == 401


def test_a_locked_database_gets_503_with_a_time_to_come_back(door: Door, tmp_path: Path) -> None:
    blocker = sqlite3.connect(tmp_path / "lading.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    body = push()

    answer = door.client.post("/webhooks/github", content=body, headers=github(body))

    blocker.execute("ROLLBACK")
    blocker.close()
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "10"
    assert door.stored() == []


def test_the_hook_learns_what_became_of_its_delivery(door: Door) -> None:
    body = json.dumps({"type": "push", "repository": "acme/web"}).encode()
    stored = door.client.post("/webhooks/git", content=body, headers=standard(body)).json()

    waiting = door.client.get(f"/webhooks/git/{stored['delivery']}", headers=standard(b"")).json()
    door.database.run(
        delivery_verbs.add_decision,
        delivery=stored["delivery"],
        repository=None,
        event=None,
        event_key=None,
        outcome=DecisionOutcome.NOTHING,
        reason="no pipeline",
        at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    decided = door.client.get(f"/webhooks/git/{stored['delivery']}", headers=standard(b"")).json()

    assert (waiting["state"], waiting["final"]) == ("waiting", False)
    assert (decided["state"], decided["reason"], decided["runs"]) == ("decided", "no pipeline", [])


def test_an_unsigned_question_about_a_delivery_gets_401(door: Door) -> None:
    assert door.client.get("/webhooks/git/msg_1").status_code == 401


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["repository", "project", "id", "full_name", "ref", "type", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(content=st.binary(max_size=64) | JSON.map(lambda value: json.dumps(value).encode()))
def test_no_signed_body_whatever_is_in_it_gets_a_500(door: Door, content: bytes) -> None:
    signed = github(content, delivery=hashlib.sha256(content).hexdigest())

    answers = [
        door.client.post("/webhooks/github", content=content, headers=signed),
        door.client.post("/webhooks/git", content=content, headers=standard(content)),
        door.client.post("/webhooks/gitlab", content=content, headers={"X-Gitlab-Token": SECRET}),
    ]

    assert {answer.status_code for answer in answers} <= {202, 400}


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.sampled_from(
        ["X-Hub-Signature-256", "X-Gitlab-Token", "webhook-signature", "webhook-timestamp"]
    ),
    value=st.binary(max_size=80).filter(lambda raw: not {0, 10, 13} & set(raw)),
)
def test_no_header_whatever_is_in_it_gets_anything_but_a_401(
    door: Door, name: str, value: bytes
) -> None:
    for host in ("github", "gitlab", "git"):
        answer = door.client.post(
            f"/webhooks/{host}", content=b"{}", headers=[(name.encode(), value)]
        )
        assert answer.status_code == 401
