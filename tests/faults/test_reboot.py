"""F40: the power goes, the machine starts again, and nobody lifts a finger."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest
from sqlalchemy.engine import Connection

from pipelines.progress import State
from scripts.parts import base_image
from server.store import runs
from tests.doubles.base import wait_until
from tests.faults.machine import Machine, machine
from tests.faults.parts import CONTEXT, World, commands, world
from tests.parts.process import ROOT


@pytest.fixture(scope="module")
def rebooting() -> Iterator[Machine]:
    with machine(ROOT / ".lading" / "rebooting") as made:
        yield made


@pytest.fixture
def place(tmp_path: Path, rebooting: Machine) -> Iterator[World]:
    with world(tmp_path, rebooting.url) as made:
        one_slot = made.server.config.read_text().replace("[worker]\n", "[worker]\nslots = 1\n")
        made.server.config.write_text(one_slot)
        made.server.start()
        yield made


def leave_locks(place: World) -> list[Path]:
    """What git leaves when it dies while it packs."""
    locks = [
        folder / "packed-refs.lock"
        for folder in (place.server.folder / "data" / "mirrors").rglob("*")
        if (folder / "HEAD").is_file() and (folder / "objects").is_dir()
    ]
    for lock in locks:
        lock.touch()
    return locks


def test_after_a_power_cut_what_ran_says_why_it_ended_and_what_waited_goes_on_by_itself(
    place: World, rebooting: Machine
) -> None:
    image = base_image.busybox(rebooting.url)
    ran = place.push(commands(image, "echo up", "sleep 600"))
    place.wait_for_output(1, "test.unit", "up\n")
    waits = place.push(commands(image, "cat unit.sh", "echo done"))
    place.server.wait_for_run(2, "waiting")

    place.server.kill()
    rebooting.cut_power()
    assert leave_locks(place)
    (place.server.folder / "data" / "lock").write_text("1")  # whoever that is now
    place.server.start()  # before the engine is there
    assert httpx2.get(f"{place.server.url}/healthz", timeout=5).status_code == 200
    assert place.server.get("/runs/1").json()["state"] == "running"
    rebooting.boot()

    place.server.wait_for_run(2, "success", attempt=1)
    place.server.wait_for_run(1, "error", attempt=1)
    sentence = place.server.get("/runs/1").json()["sentence"]
    assert "the container engine was stopped or restarted while the step ran" in sentence
    assert place.log(1, "test.unit").endswith("up\n")
    assert place.log(2, "test.unit").endswith("done\n")
    place.github.wait_for("acme/web", ran, CONTEXT, "error")
    place.github.wait_for("acme/web", waits, CONTEXT, "success")
    wait_until(lambda: place.left() == [], f"nothing is left, but {place.left()}", 30)
    again = place.push({"more": "1"})
    place.github.wait_for("acme/web", again, CONTEXT, "success")


def test_an_attempt_of_which_nothing_had_begun_begins_once_the_engine_is_there(
    place: World, rebooting: Machine
) -> None:
    image = base_image.busybox(rebooting.url)
    place.push(commands(image, "echo up", "sleep 600"))
    place.wait_for_output(1, "test.unit", "up\n")
    sha = place.push(commands(image, "echo fine"))
    place.server.wait_for_run(2, "waiting")
    place.server.kill()
    place.write(_end_first_and_take_second)
    rebooting.cut_power()

    place.server.start()
    rebooting.boot()

    place.server.wait_for_run(2, "success", attempt=1)
    place.github.wait_for("acme/web", sha, CONTEXT, "success")


def _end_first_and_take_second(conn: Connection) -> None:
    """As if the power had gone right after the second run was taken."""
    now = datetime.now(UTC)
    runs.end_attempt(conn, 1, 1, state=State.ERROR, sentence="over", at=now)
    taken = runs.claim_attempt(conn, at=now)
    assert taken is not None
    assert taken.run == 2
