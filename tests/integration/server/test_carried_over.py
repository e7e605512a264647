"""Rows of an attempt that carries over what passed in the one before."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from pipelines.progress import State, StepRenewed
from server.store import runs
from server.store.rows import StepRow
from tests.builders import House


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.close()


def again(house: House, run: int, *keep: str, after: int = 1) -> int | None:
    return house.database.run(
        runs.add_attempt, run, after, reason="re-run", at=house.clock(), keep=keep
    )


def steps(house: House, run: int, attempt: int) -> dict[str, StepRow]:
    return {row.key: row for row in house.database.run(runs.steps_of, run, attempt)}


def with_images(house: House, **ago: float) -> list[tuple[int, int]]:
    since = house.clock() - timedelta(**ago)
    return house.database.run(runs.attempts_with_images, since=since)


def test_a_step_carried_over_twice_tells_the_attempt_that_did_it(house: House) -> None:
    run = house.failed().id
    again(house, run, "build.web")
    house.take()
    house.end(run, "test.unit", State.FAILURE, attempt=2)
    house.finish(run, State.FAILURE, "test.unit failed", attempt=2)

    again(house, run, "build.web", after=2)

    row = steps(house, run, 3)["build.web"]
    assert (row.state, row.carried_from, row.done_in) == (State.SUCCESS, 1, 1)
    assert row.outcome == steps(house, run, 1)["build.web"].outcome
    assert steps(house, run, 3)["test.unit"].state is State.WAITING


def test_only_what_passed_can_be_carried_over(house: House) -> None:
    run = house.failed().id

    again(house, run, "build.web", "test.unit")

    assert steps(house, run, 2)["test.unit"].state is State.WAITING


def test_a_second_rerun_of_the_same_attempt_starts_nothing(house: House) -> None:
    run = house.failed().id
    assert again(house, run) == 2
    house.take()
    house.finish(run, State.FAILURE, "", attempt=2)

    assert again(house, run) is None


def test_what_was_carried_over_and_is_gone_waits_again(house: House) -> None:
    run = house.failed().id
    again(house, run, "build.web")
    renewed = StepRenewed(step="build.web", at=house.clock())

    house.database.run(runs.record_facts, run, 2, [renewed])
    house.database.run(runs.record_facts, run, 1, [renewed])

    row = steps(house, run, 2)["build.web"]
    assert (row.state, row.outcome, row.carried_from, row.ended_at) == (
        State.WAITING,
        None,
        None,
        None,
    )
    assert steps(house, run, 1)["build.web"].state is State.SUCCESS


def test_a_cancel_leaves_what_was_carried_over(house: House) -> None:
    run = house.failed().id
    again(house, run, "build.web")

    house.database.run(runs.request_cancel, run, by="ada", at=house.clock())

    states = {key: row.state for key, row in steps(house, run, 2).items()}
    assert states["build.web"] is State.SUCCESS
    assert states["test.unit"] is State.CANCELLED


def test_images_are_wanted_for_a_while_of_what_did_not_succeed(house: House) -> None:
    run = house.failed().id
    house.succeeded()

    assert with_images(house, days=1) == [(run, 1)]
    assert with_images(house, days=-1) == []


def test_images_of_an_attempt_are_wanted_until_a_later_one_succeeded(house: House) -> None:
    run = house.failed().id
    again(house, run, "build.web")
    house.take()
    assert with_images(house, days=1) == [(run, 1)]

    house.finish(run, State.SUCCESS, "", attempt=2)

    assert with_images(house, days=1) == []
