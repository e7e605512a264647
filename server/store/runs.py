"""Verbs on runs, their attempts and steps."""

from __future__ import annotations

from collections.abc import Collection, Sequence
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
    StepRenewed,
    StepRetried,
    StepRunning,
    StepStarted,
    Try,
)
from server.store.gate import HELD_SENTENCE, Asked, first_state
from server.store.keys import new_key
from server.store.rows import AttemptRow, NewRun, RunRow, StepRow
from server.store.tables import Instant, attempts, repositories, runs, steps

_ACTIVE = (State.WAITING, State.HELD, State.RUNNING)

# Made once: a burst of pushes says each for every one, and making it costs more than its work.
_SUPERSEDE = (
    sa.update(attempts)
    .where(
        attempts.c.run == sa.bindparam("stopped"),
        attempts.c.number
        == sa.select(runs.c.attempt).where(runs.c.id == sa.bindparam("stopped")).scalar_subquery(),
        attempts.c.state.in_(_ACTIVE),
        attempts.c.cancelled_at.is_(None),
    )
    .values(cancelled_at=sa.bindparam("at"), superseded_by=sa.bindparam("by"))
    .returning(*attempts.c)
)
_STOPPED = (attempts.c.run == sa.bindparam("stopped"), attempts.c.number == sa.bindparam("which"))
_END_WAITING = sa.update(attempts).where(*_STOPPED)
_END_WAITING_STEPS = sa.update(steps).where(
    steps.c.run == sa.bindparam("stopped"),
    steps.c.attempt == sa.bindparam("which"),
    steps.c.state == State.WAITING,
)
_END_RUN = sa.update(runs).where(
    runs.c.id == sa.bindparam("stopped"), runs.c.attempt == sa.bindparam("which")
)


def add_run(
    conn: Connection,
    *,
    repository: int,
    decision: int,
    event: Event,
    new: NewRun,
    at: datetime,
    stranger: str | None = None,
) -> int:
    """Write a run and its first attempt down; returns the run's number.

    A run without a plan has ended before it began: its state is `error`. One of a stranger's commit
    (`RunRow.stranger`) is held until somebody has approved that.
    """
    broken = new.plan is None
    group = group_key(repository, new.plan)
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
            group_key=group,
            group_ref=event.moved_ref if group else None,
            stranger=stranger,
        )
    )
    run = new_key(inserted)
    asked = Asked(run=run, attempt=1, repository=repository, sha=event.sha, stranger=stranger)
    _add_attempt(conn, asked, new.plan, group=group, reason=str(event.kind), at=at)
    if broken:
        _end_attempt(conn, run, 1, state=State.ERROR, sentence=new.sentence, at=at)
    return run


def group_key(repository: int, plan: Plan | None) -> str | None:
    """Groups are a repository's own: strangers who choose the same name share nothing."""
    return None if plan is None or plan.group is None else f"{repository}/{plan.group.name}"


def add_attempt(
    conn: Connection, run: int, after: int, *, reason: str, at: datetime, keep: Collection[str] = ()
) -> int | None:
    """Start a new attempt of a run that has ended; None while it has not, or where no plan is.

    Args:
        conn: The connection.
        run: The run's number.
        after: The newest attempt; None is the answer, too, where that is another one by now.
        reason: Why, in words.
        at: Now.
        keep: Keys of steps that passed in it and are carried over.
    """
    row = conn.execute(sa.select(runs).where(runs.c.id == run)).one_or_none()
    if row is None or row.plan is None or not State(row.state).ended or row.attempt != after:
        return None
    number = after + 1
    plan = Plan.model_validate(row.plan)
    conn.execute(
        sa.update(runs)
        .where(runs.c.id == run)
        .values(attempt=number, state=State.WAITING, sentence="", started_at=None, ended_at=None)
    )
    _add_attempt(conn, _asked(row, number), plan, group=row.group_key, reason=reason, at=at)
    if keep:
        _carry_over(conn, run, number, keep, at)
    return number


def _asked(row: Row[Any], number: int) -> Asked:
    """An attempt of a run, for the gate."""
    return Asked(
        run=row.id,
        attempt=number,
        repository=row.repository,
        sha=row.sha,
        stranger=row.stranger,
    )


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
    group = group_key(row.repository, new.plan)
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
            group_key=group,
            group_ref=event.moved_ref if group else None,
        )
    )
    asked = _asked(row, number).model_copy(update={"sha": event.sha})
    _add_attempt(conn, asked, new.plan, group=group, reason=reason, at=at)
    if new.plan is None:
        _end_attempt(conn, run, number, state=State.ERROR, sentence=new.sentence, at=at)
    return number


def claim_attempt(conn: Connection, *, at: datetime) -> AttemptRow | None:
    """Take the oldest waiting attempt whose group is free, and mark it running.

    Groups of which one runs are few, because slots are; of every other group the oldest that waits
    comes first of itself. So it is one walk along an index, however many wait.
    """
    busy = sa.select(attempts.c.group_key).where(
        attempts.c.state == State.RUNNING, attempts.c.group_key.is_not(None)
    )
    oldest = (
        sa.select(attempts.c.run, attempts.c.number)
        .where(
            attempts.c.state == State.WAITING,
            sa.or_(attempts.c.group_key.is_(None), attempts.c.group_key.not_in(busy)),
        )
        .order_by(attempts.c.created_at, attempts.c.run)
        .limit(1)
    )
    found = conn.execute(oldest).one_or_none()
    if found is None:
        return None
    row = conn.execute(
        sa.update(attempts)
        .where(attempts.c.run == found.run, attempts.c.number == found.number)
        .values(state=State.RUNNING, started_at=_first(attempts.c.started_at, at))
        .returning(*attempts.c)
    ).one()
    conn.execute(
        sa.update(runs)
        .where(runs.c.id == found.run)
        .values(state=State.RUNNING, started_at=_first(runs.c.started_at, at))
    )
    return _attempt(row)


def _first(column: sa.Column[Any], at: datetime) -> sa.ColumnElement[Any]:
    """What the column says, or now: an attempt that was held on its way goes on."""
    return sa.func.coalesce(column, sa.literal(at, Instant))


def record_facts(conn: Connection, run: int, attempt: int, facts: Sequence[Fact]) -> None:
    """Fold facts into the rows of an attempt's steps; one that ended here never changes again."""
    for fact in facts:
        own = sa.and_(steps.c.run == run, steps.c.attempt == attempt, steps.c.key == fact.step)
        open_ = (
            steps.c.carried_from.is_not(None)
            if isinstance(fact, StepRenewed)
            else steps.c.state.in_(_ACTIVE)
        )
        changes = _changes(fact)
        if isinstance(fact, StepRetried):
            before = conn.execute(sa.select(steps.c.tries, steps.c.running_at).where(own)).one()
            this = Try.told(fact, before.running_at)
            changes |= {"tries": [*(before.tries or ()), this.model_dump(mode="json")]}
        conn.execute(sa.update(steps).where(own, open_).values(**changes))


def _changes(fact: Fact) -> dict[str, Any]:
    match fact:
        case StepRenewed():
            fresh = {"state": State.WAITING, "outcome": None, "carried_from": None}
            return {**fresh, "ended_at": None}
        case StepReady():
            return {"ready_at": fact.at}
        case StepStarted():
            uptime = {} if fact.uptime is None else {"started_uptime": fact.uptime.model_dump()}
            return {"started_at": fact.at, "state": State.RUNNING, **uptime}
        case StepRunning():
            return {"running_at": fact.at}
        case StepRetried():
            return {"running_at": None}
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
    return _stopped(conn, _attempt(row), at)


def supersede(conn: Connection, run: int, *, by: int, at: datetime) -> AttemptRow | None:
    """Stop the newest attempt of a run because another run takes its place; None where it is over.

    One that still waits ends at once; one that runs is ended by its worker.
    """
    row = conn.execute(_SUPERSEDE, {"stopped": run, "by": by, "at": at}).one_or_none()
    return None if row is None else _stopped(conn, _attempt(row), at)


def _stopped(conn: Connection, attempt: AttemptRow, at: datetime) -> AttemptRow:
    """An attempt that was asked to stop, as it stands now: ended, where it had not begun."""
    if attempt.state is State.RUNNING:
        return attempt
    ended = {"state": State.CANCELLED, "sentence": attempt.why_cancelled or "", "ended_at": at}
    which = {"stopped": attempt.run, "which": attempt.number}
    conn.execute(_END_WAITING_STEPS, {**which, "state": State.CANCELLED, "ended_at": at})
    conn.execute(_END_WAITING, {**which, **ended})
    conn.execute(_END_RUN, {**which, **ended})
    return attempt.model_copy(update=ended)


def one_attempt(conn: Connection, run: int, number: int) -> AttemptRow:
    """An attempt that is known to be there."""
    query = sa.select(attempts).where(attempts.c.run == run, attempts.c.number == number)
    return _attempt(conn.execute(query).one())


def unfinished_attempts(conn: Connection) -> list[AttemptRow]:
    """Attempts that were running when the rows were last written."""
    query = sa.select(attempts).where(attempts.c.state == State.RUNNING)
    return [_attempt(row) for row in conn.execute(query)]


def begun_attempts(conn: Connection) -> list[AttemptRow]:
    """Attempts that have begun and not ended, those among them that wait for a person's word."""
    query = sa.select(attempts).where(
        attempts.c.state.in_(_ACTIVE),
        sa.or_(attempts.c.state == State.RUNNING, attempts.c.started_at.is_not(None)),
    )
    return [_attempt(row) for row in conn.execute(query)]


def attempts_with_images(conn: Connection, *, since: datetime) -> list[tuple[int, int]]:
    """Attempts, as (run, number), whose images a re-run may want.

    Those that ended since then and did not succeed, nor did a later one of the same run.
    """
    query = (
        sa.select(attempts.c.run, attempts.c.number)
        .join(runs, runs.c.id == attempts.c.run)
        .where(
            attempts.c.ended_at >= since,
            attempts.c.state != State.SUCCESS,
            runs.c.state != State.SUCCESS,
        )
    )
    return [(row.run, row.number) for row in conn.execute(query)]


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


def newest_of_schedule(
    conn: Connection, repository: int, *, file: str, cron: str, timezone: str
) -> RunRow | None:
    """The newest run that a schedule of a repository's file started."""
    slot = runs.c.event["slot"]
    query = _runs().where(
        runs.c.repository == repository,
        runs.c.definition_file == file,
        slot["cron"].as_string() == cron,
        slot["timezone"].as_string() == timezone,
    )
    row = conn.execute(query.order_by(runs.c.id.desc()).limit(1)).one_or_none()
    return None if row is None else _run(row)


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
    conn: Connection,
    asked: Asked,
    plan: Plan | None,
    *,
    group: str | None,
    reason: str,
    at: datetime,
) -> None:
    """Write an attempt down: every way to start one comes through here, and so by the gate."""
    run, number = asked.run, asked.attempt
    state = State.WAITING if plan is None else first_state(conn, asked, at)
    sentence = HELD_SENTENCE if state is State.HELD else ""
    conn.execute(
        sa.insert(attempts).values(
            run=run,
            number=number,
            group_key=group,
            state=state,
            reason=reason,
            sentence=sentence,
            created_at=at,
        )
    )
    if state is State.HELD:
        held = {"state": state, "sentence": sentence}
        conn.execute(sa.update(runs).where(runs.c.id == run).values(**held))
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


def _carry_over(
    conn: Connection, run: int, number: int, keep: Collection[str], at: datetime
) -> None:
    """Copy how steps ended in the attempt before, and which attempt it was that did them."""
    for step in steps_of(conn, run, number - 1):
        if step.key in keep and step.state is State.SUCCESS:
            outcome = None if step.outcome is None else step.outcome.model_dump(mode="json")
            conn.execute(
                sa.update(steps)
                .where(steps.c.run == run, steps.c.attempt == number, steps.c.key == step.key)
                .values(
                    state=State.SUCCESS, outcome=outcome, ended_at=at, carried_from=step.done_in
                )
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
    waited = state if state is State.CANCELLED else State.SKIPPED
    for was, becomes in ((State.RUNNING, state), (State.WAITING, waited)):
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
