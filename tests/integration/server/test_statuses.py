"""The outbox of commit statuses: only the newest, never backwards, until the host has taken it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from server.hosts.port import RepositoryRef, StatusState
from server.store import Database, deliveries, pauses, repositories, runs, statuses
from server.store.database import sqlite_url
from server.store.migrations import run as upgrade
from server.store.rows import DecisionOutcome, NewRun, PauseKind, RunRow, StatusRow
from tests.builders import NOW, event, plan


class Outbox:
    """Two runs of one pipeline on one commit, and their one status."""

    def __init__(self, folder: Path) -> None:
        url = sqlite_url(folder / "lading.db")
        upgrade(url)
        self.database = Database(url)
        self.repository = self.database.run(
            repositories.remember_repository,
            host="github",
            ref=RepositoryRef(external_id="1", full_name="acme/web"),
            at=NOW,
        )
        self.first, self.second = self._run("a"), self._run("b")

    def _run(self, key: str) -> RunRow:
        decision = self.database.run(
            deliveries.add_decision,
            delivery=None,
            repository=self.repository.id,
            event=event(),
            event_key=key,
            outcome=DecisionOutcome.STARTED,
            reason="",
            at=NOW,
        )
        new = NewRun(pipeline="web", file=".lading.yml", definition="", plan=plan())
        number = self.database.run(
            runs.add_run,
            repository=self.repository.id,
            decision=decision,
            event=event(),
            new=new,
            at=NOW,
        )
        row = self.database.run(runs.run, number)
        assert row is not None
        return row

    def want(
        self, state: StatusState, *, run: RunRow | None = None, attempt: int = 1, text: str = ""
    ) -> bool:
        return self.database.run(
            statuses.want_status,
            run=run or self.first,
            attempt=attempt,
            state=state,
            description=text,
            target_url="https://ci.example/runs/1",
            at=NOW,
        )

    def due(self, at: datetime = NOW) -> list[StatusRow]:
        return self.database.run(statuses.due_statuses, "github", now=at, limit=10)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    outbox = Outbox(tmp_path)
    yield outbox
    outbox.database.close()


def test_only_the_newest_state_of_a_context_is_due(outbox: Outbox) -> None:
    outbox.want(StatusState.PENDING)
    outbox.want(StatusState.RUNNING)
    outbox.want(StatusState.SUCCESS, text="3 steps passed")

    (due,) = outbox.due()
    assert (due.state, due.description, due.version) == (StatusState.SUCCESS, "3 steps passed", 3)


@pytest.mark.parametrize(
    ("later", "earlier"),
    [
        (StatusState.RUNNING, StatusState.PENDING),
        (StatusState.SUCCESS, StatusState.RUNNING),
        (StatusState.SUCCESS, StatusState.FAILURE),
        (StatusState.PENDING, StatusState.PENDING),
    ],
)
def test_a_status_never_goes_backwards(
    outbox: Outbox, later: StatusState, earlier: StatusState
) -> None:
    outbox.want(later)

    assert not outbox.want(earlier)
    assert [status.state for status in outbox.due()] == [later]


def test_a_new_attempt_begins_anew(outbox: Outbox) -> None:
    outbox.want(StatusState.FAILURE)

    assert outbox.want(StatusState.PENDING, attempt=2)
    assert not outbox.want(StatusState.SUCCESS, attempt=1)


def test_an_older_run_does_not_overwrite_a_newer_one(outbox: Outbox) -> None:
    outbox.want(StatusState.PENDING, run=outbox.second)

    assert not outbox.want(StatusState.SUCCESS, run=outbox.first)
    assert outbox.want(StatusState.FAILURE, run=outbox.second)


def test_a_status_that_changed_while_it_was_told_stays_due(outbox: Outbox) -> None:
    outbox.want(StatusState.PENDING)
    (told,) = outbox.due()
    outbox.want(StatusState.SUCCESS)

    outbox.database.run(statuses.status_sent, told.id, version=told.version)

    (due,) = outbox.due()
    assert due.state is StatusState.SUCCESS
    outbox.database.run(statuses.status_sent, due.id, version=due.version)
    assert outbox.due() == []


def test_a_failed_one_is_due_again_when_its_wait_is_over(outbox: Outbox) -> None:
    outbox.want(StatusState.SUCCESS)
    (status,) = outbox.due()
    later = NOW + timedelta(seconds=30)

    outbox.database.run(
        statuses.status_failed, status.id, version=1, error="502", now=NOW, due_at=later
    )

    assert outbox.due(later - timedelta(seconds=1)) == []
    (again,) = outbox.due(later)
    assert (again.tries, again.error) == (1, "502")


def test_a_failure_of_an_old_version_does_not_hold_up_the_new_one(outbox: Outbox) -> None:
    outbox.want(StatusState.PENDING)
    (status,) = outbox.due()
    outbox.want(StatusState.SUCCESS)

    outbox.database.run(
        statuses.status_failed,
        status.id,
        version=status.version,
        error="502",
        now=NOW,
        due_at=NOW + timedelta(hours=1),
    )

    assert [one.state for one in outbox.due()] == [StatusState.SUCCESS]


def pause(outbox: Outbox, kind: PauseKind, *, repository: int = 0, minutes: int = 5) -> bool:
    return outbox.database.run(
        pauses.pause,
        "github",
        kind=kind,
        repository=repository,
        reason="because",
        now=NOW,
        until=NOW + timedelta(minutes=minutes),
    )


def test_a_host_that_wants_quiet_gets_it_and_nothing_is_forgotten(outbox: Outbox) -> None:
    outbox.want(StatusState.PENDING)
    pause(outbox, PauseKind.QUIET)
    outbox.want(StatusState.SUCCESS)  # what comes meanwhile waits as well

    assert outbox.due(NOW + timedelta(minutes=4)) == []
    assert outbox.database.run(statuses.next_due, "github") == NOW + timedelta(minutes=5)
    (due,) = outbox.due(NOW + timedelta(minutes=5))
    assert due.state is StatusState.SUCCESS


def test_a_repository_whose_token_is_refused_waits_and_others_do_not(outbox: Outbox) -> None:
    outbox.want(StatusState.SUCCESS)
    pause(outbox, PauseKind.REFUSED, repository=outbox.repository.id + 1)

    assert len(outbox.due()) == 1
    pause(outbox, PauseKind.REFUSED, repository=outbox.repository.id)
    assert outbox.due() == []
    outbox.database.run(
        pauses.resume, "github", outbox.repository.id, [PauseKind.QUIET, PauseKind.REFUSED]
    )
    assert len(outbox.due()) == 1


def test_lists_that_cannot_be_read_hold_up_no_status(outbox: Outbox) -> None:
    outbox.want(StatusState.SUCCESS)
    pause(outbox, PauseKind.HOOKS, repository=outbox.repository.id)
    pause(outbox, PauseKind.FETCH, repository=outbox.repository.id)

    assert len(outbox.due()) == 1


def test_a_pause_tells_whom_since_when_and_how_many_statuses_wait(outbox: Outbox) -> None:
    outbox.want(StatusState.SUCCESS)

    assert pause(outbox, PauseKind.REFUSED, repository=outbox.repository.id)
    assert not pause(outbox, PauseKind.REFUSED, repository=outbox.repository.id, minutes=9)

    (found,) = outbox.database.run(pauses.all_pauses, now=NOW)
    assert (found.of, found.statuses, found.since) == ("acme/web on github", 1, NOW)
    assert found.until == NOW + timedelta(minutes=9)


def test_a_quiet_time_that_is_over_is_told_no_more(outbox: Outbox) -> None:
    pause(outbox, PauseKind.QUIET)

    assert outbox.database.run(pauses.all_pauses, now=NOW + timedelta(minutes=5)) == []


def test_ends_are_told_before_what_only_began(outbox: Outbox) -> None:
    outbox.want(StatusState.PENDING)
    other = outbox.second.model_copy(update={"pipeline": "docs"})
    outbox.want(StatusState.SUCCESS, run=other)

    assert [status.state for status in outbox.due()] == [
        StatusState.SUCCESS,
        StatusState.PENDING,
    ]
