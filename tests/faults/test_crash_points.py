"""The server ends at a named point, is started again, and nothing is lost: faults F1 to F12."""

from __future__ import annotations

import pytest

from pipelines.progress import State
from tests.faults.conftest import ENDS, Stage

LINES = (
    "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo line-$i; "
    "[ $((i % 30)) -ne 0 ] || usleep 9000; done"
)
WHOLE = "".join(f"line-{number}\n" for number in range(1, 301))


@pytest.mark.parametrize(
    "point",
    [
        pytest.param("intake.began", id="F3-intake.began"),
        pytest.param("mirrors.fetched", id="F4-mirrors.fetched"),
        pytest.param("intake.recorded", id="F5-intake.recorded"),
        pytest.param("worker.claimed", id="F6-worker.claimed"),
        pytest.param("engine.created", id="F7-engine.created"),
        "engine.started",
        pytest.param("engine.running", id="F8-engine.running"),
        "logs.bytes",
        "logs.bytes:3",
        pytest.param("runs.ended", id="F11-runs.ended"),
        pytest.param("engine.clearing", id="F12-engine.clearing"),
        "reporting.taken",
        "reporting.taken:2",
    ],
)
def test_a_push_is_run_once_and_told_rightly_wherever_the_server_ends(
    stage: Stage, point: str
) -> None:
    stage.server.start(crash_at=point)
    sha = stage.push(LINES)
    stage.deliver(stage.delivery(sha))
    stage.server.crashed()

    stage.server.start()

    run = stage.ended()
    assert (run.state, run.attempt) == (State.SUCCESS, 1)
    told = stage.told(sha, "success")
    assert told == sorted(told, key=ENDS.__contains__)
    assert stage.log().partition("\n")[2] == WHOLE
    stage.nothing_is_left()
