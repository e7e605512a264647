"""Pages about images, at a real registry; they work without JavaScript."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from pipelines.progress import Pushed
from scripts.parts.registry import Registry
from scripts.parts.registry import registry as running_registry
from server.registries import Login
from server.store import channels as verbs
from server.store import images as image_verbs
from tests.builders import House
from tests.parts.images import Image, put_image, request


class Port:
    """Two versions of an image, of which `production` leads to the second."""

    def __init__(self, house: House, registry: Registry) -> None:
        self.house = house
        self.registry = registry
        self.image = f"{registry.address}/acme/web"
        login = Login(
            host=registry.address,
            username=registry.username or "",
            password=registry.password or "",
            probe="acme/web",
        )
        asyncio.run(house.registries.add(login, by="ada", guarded=False))
        self.old, self.new = self.push("old"), self.push("new")
        for version in ("old", "new"):
            asyncio.run(house.releases.promote(self.image, "production", version, by="ada"))

    def push(self, text: str) -> Image:
        made = put_image(self.registry, "acme/web", text, content=text)
        self.house.database.run(
            image_verbs.add_image_version,
            run=self.house.run(),
            attempt=1,
            step="push.web",
            pushed=Pushed(repository=self.image, digest=made.digest, size=1, tags=(text,)),
            at=self.house.clock.forward(minutes=1),
        )
        return made

    @property
    def leads_to(self) -> str:
        (channel,) = self.house.database.run(verbs.all_channels, image=self.image)
        return channel.digest


@pytest.fixture
def port(house: House, tmp_path: Path) -> Iterator[Port]:
    with running_registry(tmp_path / "r", username="lading", password="a pass word") as registry:
        yield Port(house, registry)


def sent(page: str) -> dict[str, str]:
    """What the page's last form would send."""
    form = page.rpartition('<form class="stack"')[2]
    fields = re.findall(r'<input[^>]* name="([^"]+)"(?: value="([^"]*)")?', form)
    return {name: html.unescape(value) for name, value in fields}


def test_images_are_listed_with_where_their_channels_lead(person: TestClient, port: Port) -> None:
    page = person.get("/images").text

    assert port.image in page
    assert "production" in page
    assert port.new.digest[:19] in page


def test_versions_stand_beside_their_commits_and_channels(person: TestClient, port: Port) -> None:
    page = person.get("/images", params={"image": port.image}).text

    first, second = page.split('<span class="mono title">')[1:3]
    assert first.startswith(port.new.digest[:19])
    assert "production" in first
    assert "0123456789ab" in first
    assert second.startswith(port.old.digest[:19])
    assert "production" not in second.partition("</li>")[0]


def test_the_page_that_asks_names_what_changes_and_changes_nothing(
    person: TestClient, port: Port
) -> None:
    asked = {"image": port.image, "channel": "production", "to": "old", "kind": "promote"}

    page = person.get("/images/move", params=asked).text

    assert page.index(port.new.digest) < page.index(port.old.digest)
    assert "All 3 manifests and blobs" in page
    assert port.leads_to == port.new.digest


def test_a_version_is_rolled_back_by_two_forms_alone(person: TestClient, port: Port) -> None:
    asked = {"image": port.image, "channel": "production", "kind": "rollback"}
    page = person.get("/images/move", params=asked).text

    done = person.post("/images/move", data={**sent(page), "why": "it broke"})

    assert done.status_code == 303
    assert port.leads_to == port.old.digest
    after = person.get(done.headers["location"]).text
    assert "Rolled back by <bdi>ada</bdi>" in after
    assert "it broke" in after


def test_runs_are_let_again_by_a_button(person: TestClient, port: Port) -> None:
    asyncio.run(port.house.releases.rollback(port.image, "production", by="bob"))

    person.post("/images/resume", data={"image": port.image, "channel": "production"})

    (channel,) = port.house.database.run(verbs.all_channels, image=port.image)
    assert channel.paused_at is None


def test_a_version_that_is_not_whole_gets_no_button(person: TestClient, port: Port) -> None:
    request(port.registry, "DELETE", f"acme/web/blobs/{port.old.layers[0]}")
    asked = {"image": port.image, "channel": "production", "kind": "rollback"}

    page = person.get("/images/move", params=asked).text

    assert f"layer {port.old.layers[0]}" in page
    assert "/images/move" not in page
    assert person.post("/images/move", data={**asked, "to": "old"}).status_code == 409
    assert port.leads_to == port.new.digest


def test_nobody_moves_a_channel_without_signing_in(visitor: TestClient, port: Port) -> None:
    asked = {"image": port.image, "channel": "production", "kind": "rollback"}
    page = visitor.get("/images", params={"image": port.image}).text

    assert "Roll back" not in page
    assert visitor.get("/images/move", params=asked).headers["location"].startswith("/login?")
    answer = visitor.post("/images/move", data={**asked, "to": "old"}, headers={"Origin": "x"})
    assert answer.status_code == 401
    assert port.leads_to == port.new.digest


def test_a_form_from_elsewhere_moves_nothing(person: TestClient, port: Port) -> None:
    asked = {"image": port.image, "channel": "production", "kind": "rollback", "to": "old"}

    answer = person.post("/images/move", data=asked, headers={"Origin": "https://evil.example"})

    assert answer.status_code == 403
    assert port.leads_to == port.new.digest


def test_what_somebody_wrote_into_the_records_is_text(person: TestClient, port: Port) -> None:
    asyncio.run(
        port.house.releases.promote(
            port.image, "production", "old", by="<b>eve</b>", why="<img src=x onerror=y>"
        )
    )

    page = person.get("/images", params={"image": port.image}).text

    assert "<img src=x" not in page
    assert "&lt;b&gt;eve" in page
