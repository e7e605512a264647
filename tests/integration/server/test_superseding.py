"""Runs that take turns, and which of two pushes is the newer, on real rows and real git."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import Connection

from pipelines.planning import PlanDefaults
from pipelines.progress import State
from server.config import GitSettings
from server.hosts.git import GitHost
from server.hosts.port import StatusState
from server.intake import Intake
from server.intake import intake as intake_room
from server.mirrors import Mirrors
from server.store import deliveries, groups, runs, statuses
from server.store.rows import AttemptRow, DecisionRow, NewRun, RunRow
from server.webhooks import Pressure
from tests.builders import House
from tests.doubles.base import wait_until
from tests.parts.git_server import Repository, git

MAIN = "refs/heads/main"
STEPS = "test:\n  unit: {image: busybox, commands: ['true']}\n"
SUPERSEDING = "concurrency: {cancel_in_progress: true}\n" + STEPS
KEEPING = "concurrency: {group: web}\n" + STEPS


class Desk:
    """Intake over real rows and a real repository; nobody takes what waits but the test."""

    def __init__(self, folder: Path) -> None:
        (folder / "acme").mkdir()
        self.repository = Repository(folder / "acme")
        self.house = House(folder)
        host = GitHost("forge", GitSettings.model_validate({"kind": "git", "url": str(folder)}))
        self.intake = Intake(
            hosts={"forge": host},
            database=self.house.database,
            mirrors=Mirrors(folder / "mirrors"),
            clock=self.house.clock,
            pressure=Pressure(),
            defaults=PlanDefaults(timeout=60),
            wake=lambda: None,
            tell=lambda: None,
            interrupt=lambda run, attempt: self.house.interrupted.append((run, attempt)),
            run_url=lambda run: f"http://lading.test/runs/{run}",
        )
        self.moved: set[str] = set()
        self.runner = asyncio.Runner()

    def commit(self, definition: str = SUPERSEDING) -> str:
        """A new commit on top of the work tree's; on the host, but on no branch there yet."""
        sha = self.repository.commit({".lading.yml": definition})
        self.repository.push(f"HEAD:refs/keep/{sha}")
        return sha

    def move(self, ref: str, sha: str) -> None:
        """Have the host's ref point at a commit, whatever is told of it."""
        self.moved.add(ref)
        self.repository.push(f"+{sha}:{ref}")

    def told(self, sha: str, *, before: str = "0" * 40, ref: str = MAIN) -> RunRow:
        """The run of a push whose delivery arrives now; the host's ref points at it."""
        if ref not in self.moved:
            self.repository.push(f"+{sha}:{ref}")
        body = {"type": "push", "repository": "acme/web", "ref": ref, "before": before}
        raw = json.dumps({**body, "after": sha, "default_branch": "main"}).encode()
        self.house.clock.forward(seconds=1)
        delivery = self.house.delivery(f"d-{self.house.delivery_ids.new()}", body=raw).id
        self.runner.run(self._read_until_decided(delivery))
        found = self._decisions(delivery)[delivery]
        (started,) = found.pipelines
        assert started.run is not None, found.reason
        return self.run(started.run)

    async def _read_until_decided(self, delivery: str) -> None:
        reading = asyncio.create_task(self.intake.run())
        await asyncio.to_thread(
            wait_until, lambda: delivery in self._decisions(delivery), "it is decided", 20
        )
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading

    def _decisions(self, delivery: str) -> dict[str, DecisionRow]:
        return self.house.database.run(deliveries.decisions_of, [delivery])

    def asked(self, ref: str) -> RunRow:
        """The run that a person asks for now."""
        self.house.clock.forward(seconds=1)
        decision = self.runner.run(
            self.intake.start(
                repository="acme/web", ref=ref, by="ada", host=None, pipeline=None, inputs={}
            )
        )
        (started,) = decision.pipelines
        assert started.run is not None
        return self.run(started.run)

    def rerun(self, run: int) -> None:
        """A person runs it again."""
        self.house.clock.forward(seconds=1)
        self.runner.run(self.house.actions.rerun(run, by="ada"))

    def take(self) -> AttemptRow | None:
        """What a worker with a free slot gets."""
        return self.house.database.run(runs.claim_attempt, at=self.house.clock())

    def end(self, run: int, *, attempt: int = 1) -> None:
        """The run ends well."""
        self.house.finish(run, State.SUCCESS, "1 step passed", attempt=attempt)

    def run(self, run: int) -> RunRow:
        """A run as it stands."""
        return self.house.fresh(run)

    def ended(self, run: int) -> tuple[State, str]:
        """A run's state and sentence."""
        row = self.run(run)
        return row.state, row.sentence

    def line(self) -> list[str]:
        """What waits, in the queue's order, and for what."""
        waiting = self.house.database.run(groups.queue, limit=100)
        return [f"{one.run.id}: {one.turn.sentence if one.turn else 'a slot'}" for one in waiting]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    memory = Path("/dev/shm")
    place = memory if memory.is_dir() else tmp_path
    with tempfile.TemporaryDirectory(prefix="lading-desk-", dir=place) as folder:
        made = Desk(Path(folder).resolve())
        with made.runner:
            yield made
        made.house.close()


def superseded(by: int) -> tuple[State, str]:
    return State.CANCELLED, f"superseded by run {by}"


def test_a_newer_push_supersedes_the_run_that_waits_and_says_so_beside_its_commit(
    desk: Desk,
) -> None:
    old = desk.commit()
    first = desk.told(old)
    second = desk.told(desk.commit(), before=old)

    assert desk.ended(first.id) == superseded(second.id)
    assert desk.run(second.id).state is State.WAITING
    steps = desk.house.database.run(runs.steps_of, first.id, 1)
    assert {step.state for step in steps} == {State.CANCELLED}
    (status,) = desk.house.database.run(statuses.statuses_of_run, first.id)
    assert status.state is StatusState.CANCELLED
    assert status.description == f"superseded by run {second.id}"


def test_a_newer_push_asks_the_run_that_runs_to_stop_and_waits_for_its_end(desk: Desk) -> None:
    old = desk.commit()
    first = desk.told(old)
    desk.take()
    second = desk.told(desk.commit(), before=old)

    assert desk.house.interrupted == [(first.id, 1)]
    attempt = desk.house.database.run(runs.one_attempt, first.id, 1)
    assert attempt.state is State.RUNNING
    assert attempt.why_cancelled == f"superseded by run {second.id}"
    assert desk.take() is None
    desk.house.finish(first.id, State.CANCELLED, str(attempt.why_cancelled))
    taken = desk.take()
    assert taken is not None
    assert taken.run == second.id


def test_what_is_superseded_and_what_supersedes_it_are_one_transaction(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = desk.commit()
    first = desk.told(old)
    monkeypatch.setattr(intake_room, "POLL", 0.01)
    supersede = runs.supersede

    def broken(*args: object, **kwargs: object) -> AttemptRow | None:
        supersede(*args, **kwargs)  # type: ignore[arg-type] # handed on as it came
        monkeypatch.setattr(runs, "supersede", supersede)
        raise ZeroDivisionError

    monkeypatch.setattr(runs, "supersede", broken)
    seen: list[State] = []
    note = deliveries.note_failed_try

    def noted(*args: object, **kwargs: object) -> int:
        seen.extend(row.state for row in runs.runs_page(args[0]))  # type: ignore[arg-type] # same
        return note(*args, **kwargs)  # type: ignore[arg-type] # handed on as it came

    monkeypatch.setattr(deliveries, "note_failed_try", noted)
    second = desk.told(desk.commit(), before=old)

    assert seen == [State.WAITING]  # the old run alone, untouched
    assert desk.ended(first.id) == superseded(second.id)


def test_another_branch_or_tag_is_not_superseded(desk: Desk) -> None:
    sha = desk.commit("concurrency: {group: web, cancel_in_progress: true}\n" + STEPS)
    first = desk.told(sha)
    tagged = desk.told(sha, ref="refs/tags/v1")
    desk.told(desk.commit(), before=sha, ref="refs/heads/dev")

    assert desk.run(first.id).state is State.WAITING
    assert desk.run(tagged.id).state is State.WAITING


def test_a_group_of_the_same_name_in_another_repository_is_another_group(desk: Desk) -> None:
    desk.told(desk.commit(KEEPING))
    desk.take()
    desk.house.database.run(
        runs.add_run,
        repository=desk.house.repository("acme/other").id,
        decision=1,
        event=desk.run(1).event,
        new=_as_new(desk.run(1)),
        at=desk.house.clock(),
    )
    assert desk.take() is not None


def test_a_group_that_keeps_every_run_runs_them_one_at_a_time_in_their_order(desk: Desk) -> None:
    shas = [desk.commit(KEEPING) for _ in range(3)]
    ids = [desk.told(sha).id for sha in shas]

    taken = []
    while (attempt := desk.take()) is not None:
        assert desk.take() is None  # one at a time
        taken.append(attempt.run)
        desk.end(attempt.run)

    assert taken == ids
    assert {desk.run(one).state for one in ids} == {State.SUCCESS}


def test_a_run_without_a_group_waits_for_nobody_behind_a_busy_group(desk: Desk) -> None:
    desk.told(desk.commit(KEEPING))
    desk.told(desk.commit(KEEPING))
    free = desk.told(desk.commit(STEPS))

    assert [desk.take(), desk.take(), desk.take()][1:] != [None, None]
    assert desk.run(free.id).state is State.RUNNING


def test_a_waiting_run_tells_what_it_waits_for(desk: Desk) -> None:
    ids = [desk.told(desk.commit(KEEPING)).id for _ in range(4)]
    desk.take()
    desk.told(desk.commit(STEPS))

    assert desk.line() == [
        f"{ids[1]}: waits for run {ids[0]} of group web",
        f"{ids[2]}: waits for run {ids[0]} of group web, and 1 more before it",
        f"{ids[3]}: waits for run {ids[0]} of group web, and 2 more before it",
        f"{ids[3] + 1}: a slot",
    ]
    alone = [desk.house.database.run(groups.turn_of, run) for run in (ids[0], ids[3])]
    assert alone[0] is None
    assert alone[1] is not None
    assert alone[1].sentence == desk.line()[2].partition(": ")[2]


def test_a_push_that_arrives_late_is_superseded_by_the_newer_one_that_waits(desk: Desk) -> None:
    base, old, new = desk.commit(), desk.commit(), desk.commit()
    newer = desk.told(new, before=old)
    late = desk.told(old, before=base)

    assert desk.ended(late.id) == superseded(newer.id)
    assert desk.run(newer.id).state is State.WAITING


def test_a_push_that_arrives_late_never_stops_the_newer_one_that_runs(desk: Desk) -> None:
    shas = [desk.commit() for _ in range(4)]
    newer = desk.told(shas[3], before=shas[2])
    desk.take()
    late = desk.told(shas[1], before=shas[0])  # two pushes earlier: only history tells

    assert desk.ended(late.id) == superseded(newer.id)
    assert desk.house.interrupted == []
    assert desk.house.database.run(runs.one_attempt, newer.id, 1).cancelled_at is None


def test_a_push_that_arrives_when_the_newer_one_has_ended_is_still_late(desk: Desk) -> None:
    shas = [desk.commit() for _ in range(3)]
    newer = desk.told(shas[2], before=shas[1])
    desk.take()
    desk.end(newer.id)

    first_late = desk.told(shas[1], before=shas[0])
    second_late = desk.told(shas[0])

    assert desk.ended(first_late.id) == superseded(newer.id)
    assert desk.ended(second_late.id) == superseded(newer.id)


def test_a_late_push_is_kept_where_the_group_keeps_every_run(desk: Desk) -> None:
    old, new = desk.commit(KEEPING), desk.commit(KEEPING)
    desk.told(new, before=old)
    late = desk.told(old)

    assert desk.run(late.id).state is State.WAITING


def test_a_branch_that_is_moved_back_supersedes_the_run_of_where_it_was(desk: Desk) -> None:
    old, new = desk.commit(), desk.commit()
    forward = desk.told(new, before=old)
    back = desk.told(old, before=new)

    assert desk.ended(forward.id) == superseded(back.id)
    assert desk.run(back.id).state is State.WAITING


def test_a_branch_moved_back_from_further_than_was_told_supersedes_too(desk: Desk) -> None:
    old, new, further = desk.commit(), desk.commit(), desk.commit()
    forward = desk.told(new, before=old)
    back = desk.told(old, before=further)  # the push new..further has not been told yet

    assert desk.ended(forward.id) == superseded(back.id)


@pytest.mark.parametrize("host_has", ["first", "second"])
def test_where_histories_parted_the_host_says_which_is_the_newer(desk: Desk, host_has: str) -> None:
    base = desk.commit()
    first = desk.commit()
    git(desk.repository.work, "reset", "--quiet", "--hard", base)
    second = desk.commit(SUPERSEDING + "# otherwise\n")
    desk.move(MAIN, {"first": first, "second": second}[host_has])

    earlier = desk.told(first, before=base)
    later = desk.told(second, before="e" * 40)  # a forced push whose `before` is gone

    if host_has == "first":
        assert desk.ended(later.id) == superseded(earlier.id)
        assert desk.run(earlier.id).state is State.WAITING
    else:
        assert desk.ended(earlier.id) == superseded(later.id)


def test_a_run_by_hand_supersedes_what_is_there_and_is_never_late(desk: Desk) -> None:
    old, new = desk.commit(), desk.commit()
    desk.move(MAIN, old)
    waiting = desk.told(old)
    by_hand = desk.asked("main")
    assert desk.ended(waiting.id) == superseded(by_hand.id)

    newer = desk.told(new, before=old)
    again = desk.asked("main")  # of the old commit still: the host has not moved

    assert desk.ended(by_hand.id) == superseded(newer.id)
    assert desk.run(again.id).state is State.WAITING
    assert desk.run(newer.id).state is State.WAITING


def test_a_run_by_hand_of_a_commit_supersedes_nothing_and_takes_its_turn(desk: Desk) -> None:
    old, new = desk.commit(), desk.commit()
    desk.move(MAIN, new)
    waiting = desk.told(new, before=old)
    by_hand = desk.asked(old)

    assert desk.run(waiting.id).state is State.WAITING
    assert desk.line()[1].startswith(f"{by_hand.id}: waits for run {waiting.id}")


def test_a_rerun_is_not_superseded_by_a_push_that_is_older_than_what_is_there(desk: Desk) -> None:
    shas = [desk.commit() for _ in range(3)]
    first = desk.told(shas[0])
    newer = desk.told(shas[2], before=shas[1])
    desk.take()
    desk.end(newer.id)
    desk.rerun(first.id)

    late = desk.told(shas[1], before=shas[0])

    assert desk.ended(late.id) == superseded(newer.id)
    assert desk.run(first.id).state is State.WAITING


def test_a_rerun_is_superseded_by_a_push_that_comes_after_it(desk: Desk) -> None:
    old = desk.commit()
    first = desk.told(old)
    desk.take()
    desk.end(first.id)
    desk.rerun(first.id)

    newer = desk.told(desk.commit(), before=old)

    assert desk.ended(first.id) == superseded(newer.id)


def test_a_rerun_stands_behind_what_waits_already(desk: Desk) -> None:
    first, second = desk.told(desk.commit(KEEPING)), desk.told(desk.commit(KEEPING))
    desk.take()
    desk.end(first.id)
    desk.rerun(first.id)

    taken = desk.take()
    assert taken is not None
    assert (taken.run, desk.take()) == (second.id, None)


def test_the_oldest_free_attempt_of_many_is_found_in_an_index_alone(desk: Desk) -> None:
    desk.told(desk.commit(KEEPING))
    plan = _plan_of_the_claim(desk)
    assert any("COVERING INDEX ix_attempts_state_created_at" in line for line in plan), plan
    assert not any("TEMP B-TREE FOR ORDER BY" in line for line in plan), plan


def _plan_of_the_claim(desk: Desk) -> list[str]:
    """How SQLite finds the attempt to take."""
    asked: list[str] = []

    def look(conn: Connection) -> list[str]:
        raw = conn.connection.driver_connection
        assert raw is not None
        raw.set_trace_callback(asked.append)
        runs.claim_attempt(conn, at=desk.house.clock())
        raw.set_trace_callback(None)
        found = next(one for one in asked if one.lstrip().startswith("SELECT"))
        return [str(row[3]) for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {found}")]

    return desk.house.database.run(look)


def _as_new(run: RunRow) -> NewRun:
    return NewRun(
        pipeline=f"{run.pipeline}-copy",
        file=run.definition_file,
        definition=run.definition,
        plan=run.plan,
    )
