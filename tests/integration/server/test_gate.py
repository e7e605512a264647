"""The gate: a stranger's commit starts nothing until somebody has approved it, whatever asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines.plan import Group
from pipelines.progress import State
from server.actions import ConflictError
from server.store import approvals, groups, retention, runs, statuses
from server.store.gate import HELD_SENTENCE
from server.store.rows import ApprovalRow, NewRun, RunRow, Verdict
from tests.builders import SHA, House, event, plan

MALLORY = "666"
OTHER_SHA = "f" * 40
PULL = {
    "kind": "pull_request",
    "ref": "refs/pull/7/head",
    "pull_request": 7,
    "from_fork": True,
    "author_id": MALLORY,
    "author": "Ada",
}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.close()


def stranger(house: House, sha: str = SHA, person: str = MALLORY) -> RunRow:
    """A run of a stranger's pull request, as intake writes it down."""
    return house.run(happening=event(**{**PULL, "sha": sha}), stranger=person)


def approve(house: House, run: RunRow, by: str = "ada") -> None:
    asyncio.run(house.actions.approve(run.id, by=by))


def taken(house: House) -> list[int]:
    """The runs that a worker takes now."""
    found = []
    while attempt := house.database.run(runs.claim_attempt, at=house.clock()):
        found.append(attempt.run)
    return found


def asked(house: House, run: RunRow) -> list[ApprovalRow]:
    return house.database.run(approvals.approvals_of, run.id)


def again(house: House, run: RunRow, **how: object) -> RunRow:
    asyncio.run(house.actions.rerun(run.id, by="ada", **how))  # type: ignore[arg-type]
    return house.fresh(run.id)


def declined(house: House) -> RunRow:
    run = stranger(house)
    asyncio.run(house.actions.decline(run.id, by="ada"))
    return run


def first_attempt(house: House) -> RunRow:
    return stranger(house)


def another_pipeline(house: House) -> RunRow:
    stranger(house)
    return stranger(house)


def rerun_after_a_cancel(house: House) -> RunRow:
    run = stranger(house)
    asyncio.run(house.actions.cancel(run.id, by="ada"))
    return again(house, run)


def rerun_after_a_decline(house: House) -> RunRow:
    return again(house, declined(house))


def rerun_of_what_failed(house: House) -> RunRow:
    return again(house, declined(house), only_failed=True)


def rerun_from_a_step(house: House) -> RunRow:
    return again(house, declined(house), start="test.unit")


def read_again(house: House) -> RunRow:
    """A commit that could not be had at first, and now can."""
    happening = event(**PULL)
    new = NewRun(pipeline="web", file=".lading.yml", definition="", plan=None, sentence="gone")
    run = house.run(happening=happening, stranger=MALLORY, new=new)
    whole = new.model_copy(update={"plan": plan(), "sentence": ""})
    house.database.run(
        runs.read_again, run.id, event=happening, new=whole, reason="re-run", at=house.clock()
    )
    return house.fresh(run.id)


def by_hand(house: House) -> RunRow:
    """A person names a commit that is on no branch of the repository."""
    return house.run(happening=event(kind="manual", branch=None, from_fork=True), stranger="")


def by_a_schedule(house: House) -> RunRow:
    return house.run(happening=event(kind="schedule", from_fork=True), stranger="")


WAYS: list[Callable[[House], RunRow]] = [
    first_attempt,
    another_pipeline,
    rerun_after_a_cancel,
    rerun_after_a_decline,
    rerun_of_what_failed,
    rerun_from_a_step,
    read_again,
    by_hand,
    by_a_schedule,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_whatever_starts_it_an_unapproved_commit_is_held(
    house: House, way: Callable[[House], RunRow]
) -> None:
    run = way(house)

    assert (run.state, run.sentence) == (State.HELD, HELD_SENTENCE)
    assert run.id not in taken(house)
    assert asked(house, run)[-1].verdict is None


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_whatever_starts_it_an_approved_commit_goes_on(
    house: House, way: Callable[[House], RunRow]
) -> None:
    run = way(house)

    approve(house, run)

    assert run.id in taken(house)


def test_an_approval_is_written_down_with_who_when_and_which_commit(house: House) -> None:
    run = stranger(house)
    at = house.clock.forward(minutes=3)

    approve(house, run)

    (row,) = asked(house, run)
    assert (row.verdict, row.answered_by, row.answered_at) == (Verdict.APPROVED, "ada", at)
    assert (row.sha, row.stranger, row.run) == (SHA, MALLORY, run.id)


def test_a_new_commit_of_an_approved_pull_request_is_held_again(house: House) -> None:
    approve(house, stranger(house))

    assert stranger(house, OTHER_SHA).state is State.HELD


def test_the_same_commit_of_the_same_person_is_not_asked_for_twice(house: House) -> None:
    approve(house, stranger(house))

    assert stranger(house).state is State.WAITING


def test_an_approval_of_one_person_is_none_of_another(house: House) -> None:
    approve(house, stranger(house))

    assert stranger(house, person="667").state is State.HELD


def test_a_commit_named_by_hand_needs_no_second_approval(house: House) -> None:
    approve(house, stranger(house))

    assert by_hand(house).state is State.WAITING


def test_what_was_approved_by_hand_is_no_approval_of_a_person(house: House) -> None:
    approve(house, by_hand(house))

    assert stranger(house).state is State.HELD


def test_one_look_at_a_commit_is_enough_for_all_runs_that_wait_for_it(house: House) -> None:
    first, second = stranger(house), stranger(house)
    other = stranger(house, OTHER_SHA)

    approve(house, first)

    assert taken(house) == [first.id, second.id]
    assert house.fresh(other.id).state is State.HELD
    assert asked(house, second)[0].answered_by == "ada"


def test_a_declined_run_is_cancelled_and_its_status_says_by_whom(house: House) -> None:
    run = stranger(house)

    asyncio.run(house.actions.decline(run.id, by="ada"))

    row = house.fresh(run.id)
    assert (row.state, row.sentence) == (State.CANCELLED, "declined by ada")
    (status,) = house.database.run(statuses.statuses_of_run, run.id)
    assert (status.state, status.description) == ("cancelled", "declined by ada")
    steps = house.database.run(runs.steps_of, run.id, 1)
    assert {step.state for step in steps} == {State.CANCELLED}


def test_what_waits_for_nobody_cannot_be_approved(house: House) -> None:
    run = house.run()

    with pytest.raises(ConflictError, match=f"run {run.id} waits for no approval: it is waiting"):
        approve(house, run)


def test_an_answer_is_given_once(house: House) -> None:
    run = stranger(house)
    approve(house, run)

    with pytest.raises(ConflictError):
        asyncio.run(house.actions.decline(run.id, by="eve"))

    assert asked(house, run)[0].verdict is Verdict.APPROVED


def test_a_cancelled_run_that_was_held_is_over(house: House) -> None:
    run = stranger(house)

    asyncio.run(house.actions.cancel(run.id, by="ada"))

    assert house.fresh(run.id).sentence == "cancelled by ada"
    with pytest.raises(ConflictError):
        approve(house, run)


def test_what_is_held_stands_in_nobodys_way(house: House) -> None:
    grouped = plan().model_copy(update={"group": Group(name="web")})
    house.run(happening=event(**PULL), stranger=MALLORY, of=grouped)
    other = house.run(of=grouped)

    assert house.database.run(groups.turn_of, other.id) is None
    assert taken(house) == [other.id]


def test_a_run_from_before_there_were_approvals_is_held_by_nobody(house: House) -> None:
    assert house.run(happening=event(**PULL)).state is State.WAITING


def test_an_answer_outlives_its_run_and_a_question_does_not(house: House) -> None:
    answered, unanswered = stranger(house), stranger(house, OTHER_SHA)
    asyncio.run(house.actions.decline(answered.id, by="ada"))
    asyncio.run(house.actions.cancel(unanswered.id, by="ada"))
    before = house.clock.forward(days=365)

    gone = house.database.run(retention.remove_runs, [answered.id, unanswered.id], before=before)

    assert gone == [answered.id, unanswered.id]
    assert [row.answered_by for row in asked(house, answered)] == ["ada"]
    assert asked(house, unanswered) == []
