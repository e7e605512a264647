"""The server ends while a run waits for a person, or has just got an answer."""

from __future__ import annotations

import httpx2
import pytest

from pipelines.progress import State
from server.store import approvals, runs
from server.store.rows import StepRow, Verdict
from tests.doubles.base import Delivery, wait_until
from tests.faults.conftest import SECRET, Stage


def asking(stage: Stage) -> str:
    """Commit and push a test and a deploy that asks; the commit's id."""
    text = stage.pipeline("echo made > made") + (
        f"deploy:\n  live:\n    image: {stage.image}\n    commands: [cat made]\n"
        "    approval: {prompt: Ship it?}\n"
    )
    return stage.repository.pushed({".lading.yml": text})


def stranger(stage: Stage, sha: str) -> Delivery:
    return stage.github.pull_request_delivery(
        stage.web,
        number=7,
        sha=sha,
        base_sha=sha,
        secret=SECRET,
        fork=stage.github.add_repository(f"mallory/{stage.web.name}"),
    )


def held(stage: Stage) -> None:
    wait_until(lambda: [run.state for run in stage.runs()] == [State.HELD], "the run is held", 60)


def approve(stage: Stage) -> None:
    done = stage.server.command("approve", "1")
    assert done.returncode == 0, done.stderr


def test_a_run_that_waits_for_a_person_outlives_a_kill_and_goes_on_with_its_files(
    stage: Stage,
) -> None:
    stage.server.start()
    sha = asking(stage)
    stage.deliver(stage.delivery(sha))
    held(stage)
    stage.server.kill()

    stage.server.start()
    approve(stage)

    run = stage.ended()
    assert (run.state, run.attempt) == (State.SUCCESS, 1), run.sentence
    assert "made\n" in stage.log("deploy.live")
    stage.told(sha, "success")
    stage.nothing_is_left()


def test_a_run_is_held_also_where_the_server_ends_the_moment_it_is(stage: Stage) -> None:
    stage.server.start(crash_at="runs.parked")
    stage.deliver(stage.delivery(asking(stage)))
    stage.server.crashed()
    held(stage)

    stage.server.start()
    approve(stage)

    assert stage.ended().state is State.SUCCESS
    stage.nothing_is_left()


@pytest.mark.parametrize("fork", [True, False], ids=["a stranger's commit", "a step"])
def test_an_approval_outlives_a_kill_between_it_and_the_start(stage: Stage, *, fork: bool) -> None:
    _ = stage.server.token
    stage.server.start(crash_at="actions.answered")
    sha = stage.push("echo hi") if fork else asking(stage)
    stage.deliver(stranger(stage, sha) if fork else stage.delivery(sha))
    held(stage)
    with pytest.raises(httpx2.TransportError):
        stage.server.post("/runs/1/approve")
    stage.server.crashed()
    (asked,) = stage.server.read(approvals.approvals_of, 1)
    assert (asked.verdict, asked.answered_by, asked.sha) == (Verdict.APPROVED, "test", sha)

    stage.server.start()

    assert stage.ended().state is State.SUCCESS
    stage.nothing_is_left()


def test_a_stranger_who_is_held_stays_held_over_a_kill(stage: Stage) -> None:
    stage.server.start()
    sha = stage.push("echo hi")
    stage.deliver(stranger(stage, sha))
    held(stage)
    stage.server.kill()

    stage.server.start()
    stage.deliver(stage.delivery(stage.push("echo trusted")))

    wait_until(lambda: stage.runs()[0].state.ended, "the push has run", 60)
    assert [run.state for run in stage.runs()] == [State.SUCCESS, State.HELD]


def test_a_deploy_keeps_its_turn_over_a_kill(stage: Stage) -> None:
    """Of two runs the later one deploys; after the start the earlier one is taken up first."""
    stage.server.start()
    deploy = f"deploy:\n  live:\n    image: {stage.image}\n    commands: [sleep 8]\n"
    for text in (stage.pipeline("sleep 3") + deploy, deploy):
        sha = stage.repository.pushed({".lading.yml": text})
        stage.deliver(stage.delivery(sha))

    def deploys() -> list[StepRow]:
        found = [stage.server.read(runs.step, run, 1, "deploy.live") for run in (1, 2)]
        return [step for step in found if step is not None]

    def earlier_one_waits() -> bool:
        ready = [step.ready_at is not None for step in deploys()]
        running = [step.running_at is not None for step in deploys()]
        return (ready, running) == ([True, True], [False, True])

    wait_until(earlier_one_waits, "the earlier run waits for the later one's deploy", 60)
    stage.server.kill()

    stage.server.start()

    wait_until(lambda: all(run.state.ended for run in stage.runs()), "both have ended", 60)
    assert [run.state for run in stage.runs()] == [State.SUCCESS, State.SUCCESS]
    earlier, later = deploys()
    assert str(later.ended_at) <= str(earlier.started_at)
