"""`lading registry`, `promote`, `rollback`, `images` and `channels`, as a person runs them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.progress import Pushed
from scripts.parts.registry import Registry
from scripts.parts.registry import registry as running_registry
from server.store import images as image_verbs
from tests.builders import House
from tests.integration.cli.test_secret_command import lading
from tests.parts.images import put_image

PASSWORD = "correct horse battery"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with running_registry(tmp_path / "r", username="lading", password=PASSWORD) as registry:
        yield registry


def add(folder: Path, registry: Registry, password: str = PASSWORD) -> tuple[int, str]:
    done = lading(
        folder,
        *("registry", "add", registry.address),
        *("--username", "lading", "--repository", "acme/web"),
        told=f"{password}\n",
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_a_login_is_added_listed_tried_and_removed_and_never_shown(
    tmp_path: Path, registry: Registry
) -> None:
    code, said = add(tmp_path, registry)
    assert (code, "the registry took it" in said) == (0, True)

    listed = lading(tmp_path, "registry", "list").stdout
    tried = lading(tmp_path, "registry", "test", registry.address).stdout
    assert registry.address in listed
    assert "may push to acme/web" in tried
    doctor = lading(tmp_path, "doctor").stdout
    assert f"ok     registry {registry.address}: {registry.address} takes the login" in doctor
    assert PASSWORD not in said + listed + tried + doctor

    assert lading(tmp_path, "registry", "remove", registry.address).returncode == 0
    assert lading(tmp_path, "registry", "test", registry.address).returncode == 1


def test_a_wrong_login_is_not_stored(tmp_path: Path, registry: Registry) -> None:
    code, said = add(tmp_path, registry, "wrong password")

    assert code == 1
    assert "refused the login of lading" in said
    assert "Traceback" not in said
    assert registry.address not in lading(tmp_path, "registry", "list").stdout


def test_a_version_is_promoted_and_rolled_back_from_the_command_line(
    tmp_path: Path, registry: Registry
) -> None:
    (tmp_path / "data").mkdir()
    house = House(tmp_path / "data")
    image = f"{registry.address}/acme/web"
    made = {}
    for text in ("old", "new"):
        made[text] = put_image(registry, "acme/web", text, content=text)
        pushed = Pushed(repository=image, digest=made[text].digest, size=1, tags=(text,))
        house.database.run(
            image_verbs.add_image_version,
            run=house.run(),
            attempt=1,
            step="push.web",
            pushed=pushed,
            at=house.clock.forward(minutes=1),
        )
    house.close()
    add(tmp_path, registry)

    for version in ("old", "new"):
        moved = lading(tmp_path, "promote", "acme/web", "production", version)
        assert f"leads to {made[version].digest} now" in moved.stdout, moved.stderr
        assert (len(moved.stdout.splitlines()), moved.stderr) == (1, "")
    back = lading(tmp_path, "rollback", "acme/web", "production", "--why", "it broke")
    assert f"leads to {made['old'].digest} now; before: {made['new'].digest}" in back.stdout

    versions = lading(tmp_path, "images", "acme/web").stdout.splitlines()
    assert [line.split()[0] for line in versions[1:]] == [
        made["new"].digest[:19],
        made["old"].digest[:19],
    ]
    assert "production" in versions[2]
    assert lading(tmp_path, "images").stdout == f"{image}\n"
    assert "rolled back by the command line" in lading(tmp_path, "channels").stdout
    assert lading(tmp_path, "channel", "resume", "acme/web", "production").returncode == 0
    assert "may move it" in lading(tmp_path, "channels").stdout
    refused = lading(tmp_path, "promote", "acme/web", "v1", "old")
    assert (refused.returncode, "cannot be a channel" in refused.stderr) == (1, True)
