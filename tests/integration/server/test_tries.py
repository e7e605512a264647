"""Rows of a step that is tried again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.progress import (
    Fact,
    Outcome,
    State,
    StepEnded,
    StepRetried,
    StepRunning,
    StepStarted,
)
from server.runs import stored_progress
from server.store import runs
from server.store.rows import StepRow
from tests.builders import House

FAILED = Outcome(state=State.FAILURE, exit_code=3, message="exit code 3")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.close()


def row(house: House, run: int) -> StepRow:
    return {each.key: each for each in house.database.run(runs.steps_of, run, 1)}["test.unit"]


def tried(house: House, times: int) -> int:
    """A run whose step has failed so often, and runs again."""
    run = house.run().id
    house.take()
    at = house.clock()
    facts: list[Fact] = [StepStarted(step="test.unit", at=at), StepRunning(step="test.unit", at=at)]
    house.database.run(runs.record_facts, run, 1, facts)
    for number in range(times):
        retried = StepRetried(step="test.unit", at=at, outcome=FAILED, taken={1: number, 2: 7})
        house.database.run(runs.record_facts, run, 1, [retried])
    return run


def test_each_failed_try_is_kept_with_how_it_ended_and_what_it_wrote(house: House) -> None:
    found = row(house, tried(house, 2))
    assert [(one.outcome.exit_code, one.taken) for one in found.tries] == [
        (3, {1: 0, 2: 7}),
        (3, {1: 1, 2: 7}),
    ]
    assert (found.state, found.tried, found.running_at) == (State.RUNNING, 3, None)
    assert found.tries[0].running_at == found.started_at


def test_a_step_that_was_never_tried_again_has_no_tries(house: House) -> None:
    found = row(house, tried(house, 0))
    assert (found.tries, found.tried) == ((), 1)


def test_an_earlier_process_tries_come_back_as_progress(house: House) -> None:
    run = tried(house, 2)
    stored = house.database.run(runs.run, run)
    assert stored is not None
    assert stored.plan is not None
    progress = stored_progress(stored.plan, house.database.run(runs.steps_of, run, 1))
    assert len(progress.steps["test.unit"].tries) == 2


def test_a_try_that_is_told_after_the_steps_end_changes_nothing(house: House) -> None:
    run = tried(house, 1)
    ended = StepEnded(step="test.unit", at=house.clock(), outcome=FAILED)
    late = StepRetried(step="test.unit", at=house.clock(), outcome=FAILED)
    house.database.run(runs.record_facts, run, 1, [ended, late])
    assert len(row(house, run).tries) == 1
    assert row(house, run).state is State.FAILURE
