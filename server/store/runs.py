"""Verbs on runs, their attempts and steps."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from pipelines.events import Event
from pipelines.plan import Plan
from pipelines.progress import (
    Fact,
    State,
    StepEnded,
    StepReady,
    StepRunning,
    StepStarted,
)
from server.store.keys import new_key
from server.store.rows import AttemptRow, NewRun, RunRow, StepRow
from server.store.tables import Instant, attempts, repositories, runs, steps

_ACTIVE = (State.WAITING, State.RUNNING)


def add_run(
    conn: Connection, *, repository: int, decision: int, event: Event, new: NewRun, at: datetime
) -> int:
    """Write a run and its first attempt down; returns the run's number.

    A run without a plan has ended before it began: its state is `error`.
    """
    broken = new.plan is None
    inserted = conn.execute(
        sa.insert(runs).values(
            repository=repository,
            decision=decision,
            pipeline=new.pipeline,
            event=event.model_dump(mode="json"),
            sha=event.sha,
            branch=event.branch,
            definition_file=new.file,
            definition=new.definition,
            plan=None if new.plan is None else new.plan.model_dump(mode="json"),
            problems=[problem.model_dump(mode="json") for problem in new.problems],
            attempt=1,
            state=State.ERROR if broken else State.WAITING,
            sentence=new.sentence,
            created_at=at,
            ended_at=at if broken else None,
        )
    )
    run = new_key(inserted)
    _add_attempt(conn, run, 1, new.plan, reason=str(event.kind), at=at)
    if broken:
        _end_attempt(conn, run, 1, state=State.ERROR, sentence=new.sentence, at=at)
    return run


def add_attempt(conn: Connection, run: int, *, reason: str, at: datetime) -> int | None:
    """Start a new attempt of a run that has ended; None while it has not, or where no plan is."""
    row = conn.execute(sa.select(runs).where(runs.c.id == run)).one_or_none()
    if row is None or row.plan is None or not State(row.state).ended:
        return None
    number = int(row.attempt) + 1
    _add_attempt(conn, run, number, Plan.model_validate(row.plan), reason=reason, at=at)
    conn.execute(
        sa.update(runs)
        .where(runs.c.id == run)
        .values(attempt=number, state=State.WAITING, sentence="", started_at=None, ended_at=None)
    )
    return number


def read_again(
    conn: Connection, run: int, *, event: Event, new: NewRun, reason: str, at: datetime
) -> int | None:
    """Give a run that never had a plan what its commit says now, as a new attempt.

    None where it has a plan by now, or has not ended.
    """
    row = conn.execute(sa.select(runs).where(runs.c.id == run)).one_or_none()
    if row is None or row.plan is not None or not State(row.state).ended:
        return None
    number = int(row.attempt) + 1
    _add_attempt(conn, run, number, new.plan, reason=reason, at=at)
    conn.execute(
        sa.update(runs)
        .where(runs.c.id == run)
        .values(
            pipeline=new.pipeline,
            event=event.model_dump(mode="json"),
            sha=event.sha,
            branch=event.branch,
            definition_file=new.file,
            definition=new.definition,
            plan=None if new.plan is None else new.plan.model_dump(mode="json"),
            problems=[problem.model_dump(mode="json") for problem in new.problems],
            attempt=number,
            state=State.WAITING,
            sentence="",
            started_at=None,
            ended_at=None,
        )
    )
    if new.plan is None:
        _end_attempt(conn, run, number, state=State.ERROR, sentence=new.sentence, at=at)
    return number


def claim_attempt(conn: Connection, *, at: datetime) -> AttemptRow | None:
    """Take the oldest waiting attempt and mark it running."""
    oldest = (
        sa.select(attempts.c.run, attempts.c.number)
        .where(attempts.c.state == State.WAITING)
        .order_by(attempts.c.created_at, attempts.c.run)
        .limit(1)
    )
    found = conn.execute(oldest).one_or_none()
    if found is None:
        return None
    row = conn.execute(
        sa.update(attempts)
        .where(attempts.c.run == found.run, attempts.c.number == found.number)
        .values(state=State.RUNNING, started_at=at)
        .returning(*attempts.c)
    ).one()
    conn.execute(
        sa.update(runs).where(runs.c.id == found.run).values(state=State.RUNNING, started_at=at)
    )
    return _attempt(row)


def record_facts(conn: Connection, run: int, attempt: int, facts: Sequence[Fact]) -> None:
    """Fold facts into the rows of an attempt's steps; an ended step never changes again."""
    for fact in facts:
        conn.execute(
            sa.update(steps)
            .where(
                steps.c.run == run,
                steps.c.attempt == attempt,
                steps.c.key == fact.step,
                steps.c.state.in_(_ACTIVE),
            )
            .values(**_changes(fact))
        )


def _changes(fact: Fact) -> dict[str, Any]:
    match fact:
        case StepReady():
            return {"ready_at": fact.at}
        case StepStarted():
            return {"started_at": fact.at, "state": State.RUNNING}
        case StepRunning():
            return {"running_at": fact.at}
        case StepEnded():
            return {
                "ended_at": fact.at,
                "state": fact.outcome.state,
                "outcome": fact.outcome.model_dump(mode="json"),
            }


def end_attempt(
    conn: Connection, run: int, attempt: int, *, state: State, sentence: str, at: datetime
) -> bool:
    """End an attempt once; False where it has ended already."""
    return _end_attempt(conn, run, attempt, state=state, sentence=sentence, at=at)


def request_cancel(conn: Connection, run: int, *, by: str, at: datetime) -> AttemptRow | None:
    """Ask the newest attempt of a run to stop; None where it has ended.

    One that still waits ends at once; one that runs is ended by its worker.
    """
    number = sa.select(runs.c.attempt).where(runs.c.id == run).scalar_subquery()
    row = conn.execute(
        sa.update(attempts)
        .where(
            attempts.c.run == run,
            attempts.c.number == number,
            attempts.c.state.in_(_ACTIVE),
        )
        .values(
            cancelled_at=sa.func.coalesce(attempts.c.cancelled_at, sa.literal(at, Instant)),
            cancelled_by=sa.func.coalesce(attempts.c.cancelled_by, by),
        )
        .returning(*attempts.c)
    ).one_or_none()
    if row is None:
        return None
    if row.state == State.WAITING:
        conn.execute(
            sa.update(steps)
            .where(steps.c.run == run, steps.c.attempt == row.number)
            .values(state=State.CANCELLED, ended_at=at)
        )
        _end_attempt(
            conn, run, row.number, state=State.CANCELLED, sentence=f"cancelled by {by}", at=at
        )
    fresh = conn.execute(
        sa.select(attempts).where(attempts.c.run == run, attempts.c.number == row.number)
    ).one()
    return _attempt(fresh)


def cancelled_by(conn: Connection, run: int, attempt: int) -> str | None:
    """Who asked an attempt to stop; None where nobody did."""
    query = sa.select(attempts.c.cancelled_by).where(
        attempts.c.run == run, attempts.c.number == attempt
    )
    by: str | None = conn.execute(query).scalar_one()
    return by


def unfinished_attempts(conn: Connection) -> list[AttemptRow]:
    """Attempts that were running when the rows were last written."""
    query = sa.select(attempts).where(attempts.c.state == State.RUNNING)
    return [_attempt(row) for row in conn.execute(query)]


def run(conn: Connection, id: int) -> RunRow | None:  # noqa: A002
    """One run."""
    row = conn.execute(_runs().where(runs.c.id == id)).one_or_none()
    return None if row is None else _run(row)


def runs_page(
    conn: Connection,
    *,
    repository: str | None = None,
    branch: str | None = None,
    state: State | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[RunRow]:
    """Runs, newest first, numbered below `before`, that meet every condition given."""
    query = _runs()
    if repository is not None:
        query = query.where(repositories.c.full_name == repository)
    if branch is not None:
        query = query.where(runs.c.branch == branch)
    if state is not None:
        query = query.where(runs.c.state == state)
    if before is not None:
        query = query.where(runs.c.id < before)
    return [_run(row) for row in conn.execute(query.order_by(runs.c.id.desc()).limit(limit))]


def runs_of_decision(conn: Connection, decision: int) -> list[RunRow]:
    """The runs that a decision started."""
    query = _runs().where(runs.c.decision == decision).order_by(runs.c.id)
    return [_run(row) for row in conn.execute(query)]


def attempts_of(conn: Connection, run: int) -> list[AttemptRow]:
    """Every attempt of a run, the first one first."""
    query = sa.select(attempts).where(attempts.c.run == run).order_by(attempts.c.number)
    return [_attempt(row) for row in conn.execute(query)]


def steps_of(conn: Connection, run: int, attempt: int) -> list[StepRow]:
    """The steps of an attempt, in the plan's order."""
    query = (
        sa.select(steps)
        .where(steps.c.run == run, steps.c.attempt == attempt)
        .order_by(steps.c.position)
    )
    return [StepRow(**row._mapping) for row in conn.execute(query)]  # noqa: SLF001


def step(conn: Connection, run: int, attempt: int, key: str) -> StepRow | None:
    """One step of an attempt."""
    query = sa.select(steps).where(
        steps.c.run == run, steps.c.attempt == attempt, steps.c.key == key
    )
    row = conn.execute(query).one_or_none()
    return None if row is None else StepRow(**row._mapping)  # noqa: SLF001


def count_by_state(conn: Connection) -> dict[State, int]:
    """How many runs there are in each state."""
    query = sa.select(runs.c.state, sa.func.count()).group_by(runs.c.state)
    return {State(state): count for state, count in conn.execute(query)}


def oldest_waiting(conn: Connection) -> datetime | None:
    """When the attempt that waits longest began to wait."""
    query = sa.select(sa.func.min(attempts.c.created_at)).where(attempts.c.state == State.WAITING)
    oldest: datetime | None = conn.execute(query).scalar_one()
    return oldest


def _add_attempt(
    conn: Connection, run: int, number: int, plan: Plan | None, *, reason: str, at: datetime
) -> None:
    conn.execute(
        sa.insert(attempts).values(
            run=run,
            number=number,
            state=State.WAITING,
            reason=reason,
            sentence="",
            created_at=at,
        )
    )
    if plan is None or not plan.steps:
        return
    conn.execute(
        sa.insert(steps),
        [
            {
                "run": run,
                "attempt": number,
                "key": step.key,
                "position": position,
                "stage": step.stage,
                "name": step.name,
                "state": State.WAITING,
            }
            for position, step in enumerate(plan.steps)
        ],
    )


def _end_attempt(
    conn: Connection, run: int, attempt: int, *, state: State, sentence: str, at: datetime
) -> bool:
    ended = {"state": state, "sentence": sentence, "ended_at": at}
    changed = conn.execute(
        sa.update(attempts)
        .where(attempts.c.run == run, attempts.c.number == attempt, attempts.c.state.in_(_ACTIVE))
        .values(**ended)
    )
    if changed.rowcount == 0:
        return False
    _end_open_steps(conn, run, attempt, state, at)
    conn.execute(sa.update(runs).where(runs.c.id == run, runs.c.attempt == attempt).values(**ended))
    return True


def _end_open_steps(conn: Connection, run: int, attempt: int, state: State, at: datetime) -> None:
    """Steps that no fact ended: what ran ends as the attempt does, what waited never started."""
    for was, becomes in ((State.RUNNING, state), (State.WAITING, State.SKIPPED)):
        conn.execute(
            sa.update(steps)
            .where(steps.c.run == run, steps.c.attempt == attempt, steps.c.state == was)
            .values(state=becomes, ended_at=at)
        )


def _runs() -> sa.Select[Any]:
    return sa.select(runs, repositories.c.host, repositories.c.full_name).join(
        repositories, repositories.c.id == runs.c.repository
    )


def _run(row: Row[Any]) -> RunRow:
    return RunRow(**row._mapping)  # noqa: SLF001 - the documented name of a row's mapping


def _attempt(row: Row[Any]) -> AttemptRow:
    return AttemptRow(**row._mapping)  # noqa: SLF001 - the documented name of a row's mapping
