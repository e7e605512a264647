"""F38: a cancel outlives the server; whoever starts next stops the run with its grace, once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from server.store import runs
from tests.doubles.base import wait_until
from tests.faults.parts import CONTEXT, World, commands, world
from tests.parts.process import LadingProcess

POLITE = (
    "trap 'sleep 0.3; echo cleaned; exit 0' TERM",
    "echo up",
    "while :; do sleep 0.05; done",
)
STUBBORN = ("trap '' TERM", "echo up", "while :; do sleep 0.05; done")
ENDS: dict[str, Callable[[LadingProcess], object]] = {
    "killed": LadingProcess.kill,
    "told to stop": LadingProcess.stop,
}


@pytest.fixture
def place(tmp_path: Path, engine_url: str) -> Iterator[World]:
    with world(tmp_path, engine_url) as made:
        made.server.start()
        yield made


def is_cancelled(place: World, sha: str, by: str) -> None:
    """It ended once, its host shows it, and nothing is left."""
    place.server.wait_for_run(1, "cancelled", attempt=1)
    run = place.server.get("/runs/1").json()
    assert run["sentence"] == f"cancelled by {by}"
    assert {step["state"] for step in run["steps"]} == {"cancelled"}
    place.github.wait_for("acme/web", sha, CONTEXT, "error")
    told = [one.description for one in place.github.history("acme/web", sha, CONTEXT)]
    assert told.count(f"cancelled by {by}") == 1
    assert told[-1] == f"cancelled by {by}"
    wait_until(lambda: place.left() == [], "nothing is left", 20)


@pytest.mark.parametrize(
    ("script", "last"), [(POLITE, "cleaned\n"), (STUBBORN, "up\n")], ids=["polite", "stubborn"]
)
def test_a_step_whose_server_died_right_after_the_cancel_was_stored_is_stopped_with_its_grace(
    place: World, busybox_image: str, script: tuple[str, ...], last: str
) -> None:
    sha = place.push(commands(busybox_image, *script))
    place.wait_for_output(1, "test.unit", "up\n")
    place.server.kill()
    place.write(runs.request_cancel, 1, by="ada", at=datetime.now(UTC))
    assert len(place.containers(running=True)) == 1

    place.server.start()

    is_cancelled(place, sha, "ada")
    assert place.log(1, "test.unit").endswith(last)


@pytest.mark.parametrize("end", sorted(ENDS))
def test_a_step_whose_server_ended_while_it_had_its_grace_is_gone_after_the_next_start(
    place: World, busybox_image: str, end: str
) -> None:
    sha = place.push(commands(busybox_image, *STUBBORN))
    place.wait_for_output(1, "test.unit", "up\n")
    assert place.server.post("/runs/1/cancel").status_code == 202
    ENDS[end](place.server)

    place.server.start()

    is_cancelled(place, sha, "test")


def test_a_step_that_ended_by_itself_meanwhile_was_cancelled_all_the_same(
    place: World, busybox_image: str
) -> None:
    sha = place.push(commands(busybox_image, "echo up", "sleep 1", "echo over"))
    place.wait_for_output(1, "test.unit", "up\n")
    place.server.kill()
    place.write(runs.request_cancel, 1, by="ada", at=datetime.now(UTC))
    wait_until(lambda: not place.containers(running=True), "the step has ended", 20)

    place.server.start()

    is_cancelled(place, sha, "ada")
    assert place.log(1, "test.unit").endswith("over\n")


def test_a_build_that_was_cut_off_and_cancelled_is_not_begun_anew(
    place: World, busybox_image: str
) -> None:
    recipe = f"FROM {busybox_image}\nRUN echo up; sleep 5\n"
    definition = "build:\n  web:\n    dockerfile: Dockerfile\n"
    sha = place.push({".lading.yml": definition, "Dockerfile": recipe})
    place.wait_for_output(1, "build.web", "RUN echo up")
    place.server.kill()
    place.write(runs.request_cancel, 1, by="ada", at=datetime.now(UTC))

    place.server.start()

    is_cancelled(place, sha, "ada")
    assert "begins anew" not in place.log(1, "build.web")
