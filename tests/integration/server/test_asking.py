"""Steps that ask for approval, in the rows: asked, parked, answered, expired."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.answers import Answer
from pipelines.progress import State
from server.actions import ConflictError
from server.store import approvals, runs, statuses
from server.store.rows import Verdict
from tests.builders import House, deploy_plan


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.close()


def test_a_run_that_only_asks_is_held_and_says_for_what(house: House) -> None:
    run = house.asking()

    assert run.state is State.HELD
    assert run.sentence == "deploy.live waits for approval: Ship live?"
    (status,) = house.database.run(statuses.statuses_of_run, run.id)
    assert (status.state, status.description) == ("pending", run.sentence)


def test_what_it_has_on_the_engine_is_kept_while_it_waits(house: House) -> None:
    run = house.asking()

    kept = house.database.run(runs.begun_attempts)
    assert [(one.run, one.number) for one in kept] == [(run.id, 1)]
    assert house.database.run(runs.unfinished_attempts) == []


def test_an_approved_step_lets_the_same_attempt_wait_for_a_slot(house: House) -> None:
    run = house.asking()
    started = run.started_at

    asyncio.run(house.actions.approve(run.id, by="ada"))

    assert house.fresh(run.id).state is State.WAITING
    claimed = house.database.run(runs.claim_attempt, at=house.clock.forward(hours=1))
    assert claimed is not None
    assert (claimed.run, claimed.number, claimed.started_at) == (run.id, 1, started)
    assert house.database.run(approvals.answers_of, run.id, 1) == {"deploy.live": Answer()}
    assert house.woken > 0


def test_a_declined_step_is_told_to_whoever_goes_on(house: House) -> None:
    run = house.asking()

    asyncio.run(house.actions.decline(run.id, by="ada"))

    refused = Answer(refused="declined by ada")
    assert house.fresh(run.id).state is State.WAITING
    assert house.database.run(approvals.answers_of, run.id, 1) == {"deploy.live": refused}
    assert house.answered == [(run.id, 1, {"deploy.live": refused})]


def test_where_several_wait_one_must_be_named(house: House) -> None:
    run = house.asking("live", "dev")
    assert run.sentence == "deploy.live waits for approval: Ship live? (and 1 more)"

    with pytest.raises(ConflictError, match=r"name one of deploy\.live, deploy\.dev"):
        asyncio.run(house.actions.approve(run.id, by="ada"))
    with pytest.raises(ConflictError, match=r"'deploy\.prod' waits for no approval"):
        asyncio.run(house.actions.approve(run.id, by="ada", step="deploy.prod"))
    asyncio.run(house.actions.approve(run.id, by="ada", step="deploy.dev"))

    rows = house.database.run(approvals.approvals_of, run.id)
    assert {row.step: row.verdict for row in rows} == {
        "deploy.live": None,
        "deploy.dev": Verdict.APPROVED,
    }


def test_a_wait_that_nobody_ends_in_time_ends_by_itself(house: House) -> None:
    run = house.asking()
    house.clock.forward(seconds=3599)
    asyncio.run(house.actions.expire_approvals())
    assert house.fresh(run.id).state is State.HELD

    house.clock.forward(seconds=2)
    asyncio.run(house.actions.expire_approvals())

    said = house.database.run(approvals.answers_of, run.id, 1)
    assert said == {"deploy.live": Answer(refused="nobody approved it within 1 h")}
    assert house.fresh(run.id).state is State.WAITING


def test_an_answer_in_the_moment_of_parking_is_not_lost(house: House) -> None:
    run = house.asking()
    house.database.run(approvals._set, run.id, 1, State.RUNNING, "")
    asyncio.run(house.actions.approve(run.id, by="ada"))
    assert house.fresh(run.id).state is State.RUNNING

    state = house.database.run(approvals.park, run, 1, url="", at=house.clock())

    assert state is State.WAITING
    assert house.fresh(run.id).state is State.WAITING


def test_cancelling_a_held_run_ends_its_wait(house: House) -> None:
    run = house.asking()

    asyncio.run(house.actions.cancel(run.id, by="ada"))

    assert house.fresh(run.id).state is State.CANCELLED
    steps = {step.key: step.state for step in house.database.run(runs.steps_of, run.id, 1)}
    assert steps == {"test.unit": State.SUCCESS, "deploy.live": State.CANCELLED}
    with pytest.raises(ConflictError):
        asyncio.run(house.actions.approve(run.id, by="ada"))
    house.clock.forward(days=1)
    asyncio.run(house.actions.expire_approvals())
    assert house.fresh(run.id).state is State.CANCELLED


def test_a_step_asks_once_in_an_attempt_and_anew_in_the_next(house: House) -> None:
    run = house.asking()
    step = deploy_plan().steps[1]
    house.database.run(approvals.ask, run, 1, step, house.clock())
    assert len(house.database.run(approvals.approvals_of, run.id)) == 1

    house.database.run(approvals.ask, run, 2, step, house.clock())

    assert len(house.database.run(approvals.approvals_of, run.id)) == 2
