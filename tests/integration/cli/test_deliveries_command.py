"""`lading deliveries` and `lading redeliver`, beside a server that runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.cli.deliveries import listed
from server.config import ServerSettings, Settings
from server.hosts.git import hook
from tests.builders import House
from tests.doubles.base import wait_until
from tests.parts.git_server import Repository
from tests.parts.process import KEY, LadingProcess

PIPELINE = "test:\n  unit:\n    image: busybox\n    commands: ['true']\n"


@pytest.fixture
def pushed(tmp_path: Path) -> Iterator[tuple[LadingProcess, str]]:
    """A server without an engine, and the id of a delivery whose run waits."""
    git = tmp_path / "git"
    git.mkdir()
    repository = Repository(git, "web")
    repository.commit({".lading.yml": PIPELINE})
    server = LadingProcess(tmp_path, engine="unix:///nowhere/docker.sock", git=git)
    server.start()
    try:
        hook.install(
            repository.bare, server_url=server.url, host_name="git", secret=KEY, name="web"
        )
        repository.push("HEAD:refs/heads/main")
        wait_until(lambda: len(outcomes(server)) == 1, "the push is decided", 30)
        (delivery,) = outcomes(server)
        yield server, delivery
    finally:
        server.kill()


def outcomes(server: LadingProcess) -> dict[str, str]:
    """Outcome by delivery, of those that were decided."""
    items = server.get("/deliveries").json()["items"]
    return {item["id"]: item["outcome"] for item in items if item["outcome"]}


def test_a_redelivery_of_what_has_started_starts_nothing_twice(
    pushed: tuple[LadingProcess, str],
) -> None:
    server, delivery = pushed
    assert outcomes(server) == {delivery: "started"}

    result = server.command("redeliver", delivery)

    assert (result.returncode, result.stdout) == (0, "")
    wait_until(lambda: outcomes(server) == {delivery: "duplicate"}, "it is decided again", 30)
    assert [run["id"] for run in server.get("/runs").json()["items"]] == [1]


def test_deliveries_are_listed_with_what_was_decided(pushed: tuple[LadingProcess, str]) -> None:
    server, delivery = pushed

    result = server.command("deliveries", "--limit", "5")

    head, line = result.stdout.splitlines()
    assert head.split() == ["ID", "RECEIVED", "(UTC)", "HOST", "EVENT", "OUTCOME", "WHY"]
    assert re.match(rf"{delivery}  \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d  git +push +started  \S", line)


def test_a_delivery_that_is_not_there_is_told_with_where_to_look(
    pushed: tuple[LadingProcess, str],
) -> None:
    server, _ = pushed

    result = server.command("redeliver", "none")

    assert result.returncode == 2
    assert "there is no delivery 'none': `lading deliveries`" in result.stderr


def test_what_strangers_wrote_cannot_steer_the_terminal_that_lists_it(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    house = House(tmp_path / "data")
    delivery = house.delivery(event_type="\x1b[31mpush\nnext")
    house.nothing(delivery, "No run:\x07 " + "x" * 1000)
    house.delivery("d-2")
    house.close()

    lines = list(listed(Settings(server=ServerSettings(data=tmp_path / "data")), limit=10))

    assert len(lines) == 3
    assert all(line.isprintable() and len(line) < 350 for line in lines)
    assert " waiting" in lines[1]
