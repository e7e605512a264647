"""Steps, builds and pushes that were under way when the server ended."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler

import pytest

from pipelines.progress import State
from scripts.parts.registry import Registry
from server.store import runs
from server.store.rows import RunRow
from tests.doubles.base import wait_until
from tests.faults.conftest import Stage
from tests.parts.git_server import http_server

BUILD = "build:\n  web: {}\n"


def dockerfile(stage: Stage) -> dict[str, str]:
    return {"Dockerfile": f"FROM {stage.image}\nRUN echo one\nRUN echo two\n"}


def exit_code(stage: Stage) -> int | None:
    """Of the one step of the one run."""
    (step,) = stage.server.read(runs.steps_of, 1, 1)
    assert step.outcome is not None
    return step.outcome.exit_code


def test_a_step_that_ended_while_nobody_watched_is_read_as_it_ended(stage: Stage) -> None:  # F9
    stage.server.start(crash_at="engine.running")
    sha = stage.push("echo first; sleep 0.5; echo last; exit 7")
    stage.deliver(stage.delivery(sha))
    stage.server.crashed()
    wait_until(lambda: stage.left(running=True) == [], "the step has ended", 20)

    stage.server.start()

    assert stage.ended().state is State.FAILURE
    assert exit_code(stage) == 7
    assert stage.log().endswith("first\nlast\n")
    stage.told(sha, "failure")
    stage.nothing_is_left()


def test_a_container_that_was_made_and_not_started_is_started_once(stage: Stage) -> None:  # F7
    stage.server.start(crash_at="engine.created")
    sha = stage.push("echo once")
    stage.deliver(stage.delivery(sha))
    stage.server.crashed()
    assert stage.left(running=True) == []

    stage.server.start()

    assert stage.ended().state is State.SUCCESS
    assert stage.log() == "$ echo once\nonce\n"
    stage.nothing_is_left()


@pytest.mark.parametrize("point", ["build.output:2", "build.output:6"])
def test_a_build_that_was_cut_off_is_done_again_in_the_same_attempt(
    stage: Stage, point: str
) -> None:  # F8
    stage.server.start(crash_at=point)
    sha = stage.repository.pushed({".lading.yml": BUILD, **dockerfile(stage)})
    stage.deliver(stage.delivery(sha))
    stage.server.crashed()

    stage.server.start()

    run = stage.ended()
    assert (run.state, run.attempt) == (State.SUCCESS, 1)
    stage.told(sha, "success")
    stage.nothing_is_left()


@pytest.mark.parametrize(
    ("point", "build"), [("push.sent", "{}"), ("push.output", "{reproducible: false}")]
)
def test_a_push_that_was_cut_off_is_not_begun_again_and_names_its_registry(
    stage: Stage, registry: Registry, point: str, build: str
) -> None:  # F10
    table = f'[registries."{registry.address}"]\n'
    table += f'username = "{registry.username}"\npassword = "{registry.password}"\n'
    stage.server.config.write_text(stage.server.config.read_text() + table)
    stage.server.start(crash_at=point)
    to = f"{registry.address}/acme/cut-off-{len(build)}"
    definition = f"build:\n  web: {build}\npush:\n  web:\n    to: {to}\n"
    sha = stage.repository.pushed({".lading.yml": definition, **dockerfile(stage)})
    stage.deliver(stage.delivery(sha))
    stage.server.crashed()

    stage.server.start()

    run = stage.ended()
    assert (run.state, run.attempt) == (State.ERROR, 1)
    assert registry.address in run.sentence
    assert stage.log("push.web").count("Pushing ") == 1
    stage.told(sha, "error")
    stage.nothing_is_left()


class Holding:
    """A registry that lets everybody wait, and then refuses."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.let_go = threading.Event()
        self.address = ""


@pytest.fixture
def holding() -> Iterator[Holding]:
    held = Holding()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            held.asked.set()
            held.let_go.wait(30)
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="held"')
            self.end_headers()

        do_HEAD = do_GET  # noqa: N815 - the base's name

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            pass

    with http_server(Handler) as url:
        held.address = url.removeprefix("http://")
        yield held
        held.let_go.set()


def test_the_door_is_open_while_work_is_handed_over(stage: Stage, holding: Holding) -> None:  # F13
    stage.server.start()
    definition = f"{BUILD}push:\n  web:\n    to: {holding.address}/acme/web\n"
    first = stage.repository.pushed({".lading.yml": definition, **dockerfile(stage)})
    stage.deliver(stage.delivery(first))
    assert holding.asked.wait(30)

    with ThreadPoolExecutor(1) as threads:
        stopping = threads.submit(stage.server.stop)
        wait_until(lambda: "hands over" in stage.server.log.read_text(), "it hands over", 10)
        second = stage.push("true")
        answer = stage.deliver(stage.delivery(second))
        assert not stopping.done()
        holding.let_go.set()
        assert stopping.result(30) == 0
    assert answer == 202
    stage.server.start()

    def of_the_second() -> list[RunRow]:
        return [run for run in stage.runs() if run.sha == second and run.state.ended]

    wait_until(lambda: len(of_the_second()) == 1, "the second push has its run", 30)
    assert of_the_second()[0].state is State.SUCCESS


def test_a_server_that_is_asked_to_stop_while_it_starts_ends_at_once(stage: Stage) -> None:
    stage.server.launch()
    wait_until((stage.server.data / "lock").exists, "it has begun to start", 30)

    assert stage.server.stop(within=20) == 0

    assert "lading serves" not in stage.server.log.read_text()


def test_sigterm_hands_a_running_step_over_and_no_answer_of_202_is_lost(
    stage: Stage,
) -> None:  # F13
    stage.server.start()
    sha = stage.push("echo first; sleep 2; echo last")
    assert stage.deliver(stage.delivery(sha)) == 202
    wait_until(lambda: stage.left(running=True) != [], "the step runs", 30)
    pushes = [stage.delivery(stage.push("true")) for _ in range(12)]

    with ThreadPoolExecutor(1) as threads:
        stopping = threads.submit(stage.server.stop)
        answers = [stage.deliver(delivery) for delivery in pushes]
        assert stopping.result(30) == 0
    stage.server.start()

    wait_until(
        lambda: (
            all(row.state.ended for row in stage.runs()) and len(stage.runs()) > answers.count(202)
        ),
        "every answered push has its run, and all have ended",
        60,
    )
    assert {row.state for row in stage.runs()} == {State.SUCCESS}
    assert {row.attempt for row in stage.runs()} == {1}
    assert set(answers) <= {202, 503, None}
