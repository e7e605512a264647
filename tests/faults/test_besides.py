"""The server ends while services run, a cache is kept, or a step is about to be tried again."""

from __future__ import annotations

from pipelines.progress import State
from server.store import runs
from server.store.rows import StepRow
from tests.doubles.base import wait_until
from tests.faults.conftest import Stage

SERVED = """\
test:
  unit:
    image: IMAGE
    commands: COMMANDS
    services:
      db:
        image: IMAGE
        args: [sh, -c, "echo up; exec nc -ll -p 5432 -e echo hello"]
        ready: {port: 5432}
"""
RETRIED = """\
test:
  unit:
    image: IMAGE
    commands: [echo tried, "test -e again || { touch again; exit 3; }"]
    retry: 2
"""
CACHED = """\
test:
  unit:
    image: IMAGE
    commands: [mkdir .cache, echo kept > .cache/a]
    cache: {key: tool, paths: .cache}
"""


def pushed(stage: Stage, definition: str, **words: str) -> str:
    for word, meaning in {"IMAGE": stage.image, **words}.items():
        definition = definition.replace(word, meaning)
    sha = stage.repository.pushed({".lading.yml": definition})
    stage.deliver(stage.delivery(sha))
    return sha


def step(stage: Stage) -> StepRow:
    (row,) = stage.server.read(runs.steps_of, 1, 1)
    return row


def test_services_outlive_the_server_and_the_step_goes_on_with_them(stage: Stage) -> None:
    stage.server.start(crash_at="engine.running")
    asks = "[sleep 2, nc -w 5 db 5432 < /dev/null]"
    pushed(stage, SERVED, COMMANDS=asks)
    stage.server.crashed()
    running = stage.left(running=True)
    assert len(running) == 2

    stage.server.start()

    run = stage.ended()
    assert (run.state, run.attempt) == (State.SUCCESS, 1)
    log = stage.log()
    assert log.count("hello\n") == 1
    assert log.endswith("[lading] service db wrote:\ndb | up\n")
    stage.nothing_is_left()


def test_services_whose_step_had_not_begun_are_started_anew(stage: Stage) -> None:
    stage.server.start(crash_at="engine.services")
    pushed(stage, SERVED, COMMANDS="[nc -w 5 db 5432 < /dev/null]")
    stage.server.crashed()
    (before,) = stage.left(running=True)

    stage.server.start()

    run = stage.ended()
    assert (run.state, run.attempt) == (State.SUCCESS, 1)
    assert stage.log().count("hello\n") == 1
    wait_until(lambda: before not in stage.left(), "the earlier service is gone", 30)
    stage.nothing_is_left()


def test_a_failed_try_counts_after_a_restart_and_its_container_is_nobodys(stage: Stage) -> None:
    stage.server.start(crash_at="steps.retried")
    pushed(stage, RETRIED)
    stage.server.crashed()

    stage.server.start()

    run = stage.ended()
    assert (run.state, run.attempt) == (State.SUCCESS, 1)
    row = step(stage)
    assert row.outcome is not None
    assert (row.outcome.tries, row.tried) == (2, 2)
    assert row.outcome.message == "passed at try 2 of 3"
    assert row.tries[0].outcome.exit_code == 3
    assert stage.log().count("\ntried\n") == 2
    stage.nothing_is_left()


def test_a_step_whose_second_try_runs_is_followed_with_each_line_once(stage: Stage) -> None:
    second = RETRIED.replace('exit 3; }"]', 'exit 3; }", "sleep 2", echo last]')
    stage.server.start(crash_at="engine.running:2")
    pushed(stage, second)
    stage.server.crashed()

    stage.server.start()

    assert stage.ended().state is State.SUCCESS
    log = stage.log()
    assert (log.count("\ntried\n"), log.count("\nlast\n")) == (2, 1)
    assert step(stage).tried == 2


def test_a_try_after_one_that_was_taken_up_is_taken_up_as_well(stage: Stage) -> None:
    slow = RETRIED.replace("touch again; exit 3", "touch again; sleep 2; exit 3")
    stage.server.start(crash_at="engine.running")
    pushed(stage, slow.replace('exit 3; }"]', 'exit 3; }", "sleep 2", echo last]'))
    stage.server.crashed()
    stage.server.start(crash_at="engine.running")  # it takes up the first try, and begins another
    stage.server.crashed()

    stage.server.start()

    assert stage.ended().state is State.SUCCESS
    log = stage.log()
    assert (log.count("\ntried\n"), log.count("\nlast\n")) == (2, 1)
    assert step(stage).tried == 2
    stage.nothing_is_left()


def test_a_cache_that_was_being_kept_is_kept_after_the_restart(stage: Stage) -> None:
    stage.server.start(crash_at="engine.cached")
    pushed(stage, CACHED)
    stage.server.crashed()

    stage.server.start()

    assert stage.ended().state is State.SUCCESS
    assert "[lading] cache tool: kept " in stage.log()
    stage.nothing_is_left()
