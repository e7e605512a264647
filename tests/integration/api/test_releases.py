"""Registries, channels and moves over the API, at a real registry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from pipelines.progress import Pushed
from scripts.parts.registry import Registry
from scripts.parts.registry import registry as running_registry
from server.store import images as image_verbs
from tests.builders import House
from tests.parts.images import Image, put_image

PASSWORD = "correct horse battery"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with running_registry(tmp_path / "r", username="lading", password=PASSWORD) as registry:
        yield registry


@pytest.fixture
def stored(client: TestClient, registry: Registry) -> dict[str, Any]:
    """The registry's login, stored."""
    answer = client.post("registries", json=login(registry))
    assert answer.status_code == 201, answer.text
    told: dict[str, Any] = answer.json()
    return told


def login(registry: Registry, **changes: object) -> dict[str, object]:
    known = {
        "host": registry.address,
        "username": "lading",
        "password": PASSWORD,
        "probe": "acme/web",
    }
    return {**known, **changes}


def pushed(house: House, registry: Registry, text: str) -> Image:
    image = put_image(registry, "acme/web", text, content=text)
    house.database.run(
        image_verbs.add_image_version,
        run=house.run(),
        attempt=1,
        step="push.web",
        pushed=Pushed(
            repository=f"{registry.address}/acme/web", digest=image.digest, size=1, tags=(text,)
        ),
        at=house.clock(),
    )
    return image


def test_a_login_goes_in_and_never_comes_out(
    client: TestClient, registry: Registry, stored: dict[str, Any]
) -> None:
    assert stored["checked_at"] is not None
    listed = client.get("registries")
    assert [one["host"] for one in listed.json()["items"]] == [registry.address]
    for answer in (listed.text, str(stored)):
        assert PASSWORD not in answer
        assert "password" not in answer


def test_a_login_that_is_refused_is_a_conflict_and_not_stored(
    client: TestClient, registry: Registry
) -> None:
    answer = client.post("registries", json=login(registry, password="wrong password"))

    assert answer.status_code == 409
    assert "refused the login" in answer.json()["detail"]
    assert "wrong password" not in answer.text
    assert client.get("registries").json()["items"] == []


def test_an_address_inside_that_the_configuration_does_not_allow_is_refused(
    client: TestClient,
) -> None:
    for host in ("169.254.169.254:80", "10.0.0.1:5000"):
        answer = client.post("registries", json={**login(Registry(host, "a", "b"))})

        assert answer.status_code == 422
        assert "network.private" in answer.json()["detail"]


def test_a_login_is_tried_and_forgotten(client: TestClient, stored: dict[str, Any]) -> None:
    host = stored["host"]

    tried = client.post(f"registries/{host}/test")
    assert tried.json()["message"].endswith("may push to acme/web")
    assert client.post(f"registries/{host}/remove").status_code == 200
    assert client.post(f"registries/{host}/test").status_code == 404


@pytest.mark.usefixtures("stored")
def test_a_version_is_promoted_and_rolled_back(
    house: House, client: TestClient, registry: Registry
) -> None:
    old, new = pushed(house, registry, "old"), pushed(house, registry, "new")
    image = f"{registry.address}/acme/web"
    for version in ("old", "new"):
        asked = {"image": "acme/web", "channel": "production", "version": version, "why": "good"}
        moved = client.post("promotions", json=asked)
        assert moved.status_code == 201, moved.text

    back = client.post("rollbacks", json={"image": image, "channel": "production"})

    assert (back.json()["from_digest"], back.json()["digest"]) == (new.digest, old.digest)
    (channel,) = client.get("channels", params={"image": image}).json()["items"]
    assert (channel["digest"], channel["paused_by"]) == (old.digest, "ada")
    resumed = client.post("channels/resume", json={"image": image, "channel": "production"})
    assert resumed.json()["paused_at"] is None

    told = client.get("moves", params={"limit": 2}).json()
    assert [move["kind"] for move in told["items"]] == ["rollback", "promote"]
    (first,) = client.get(told["next"]).json()["items"]
    assert (first["by"], first["why"], first["from_digest"]) == ("ada", "good", None)


@pytest.mark.usefixtures("stored")
def test_what_cannot_be_moved_says_why(
    house: House, client: TestClient, registry: Registry
) -> None:
    pushed(house, registry, "old")
    for path, body, status in (
        ("promotions", {"image": "web", "channel": "production", "version": "none"}, 404),
        ("promotions", {"image": "none", "channel": "production", "version": "old"}, 404),
        ("promotions", {"image": "web", "channel": "v1", "version": "old"}, 422),
        ("promotions", {"image": "web", "channel": "production"}, 422),
        ("rollbacks", {"image": "web", "channel": "production"}, 404),
        ("channels/resume", {"image": "web", "channel": "production"}, 404),
    ):
        answer = client.post(path, json=body)
        assert answer.status_code == status, path
        assert answer.json()["detail"]
