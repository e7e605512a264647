"""Verbs on approvals: whom a run waits for, what they said, and what follows for its attempt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.answers import Answer
from pipelines.plan import Step
from pipelines.problems import LadingError
from pipelines.progress import State
from pipelines.values import Value
from server.hosts.port import StatusState
from server.store import runs as run_verbs
from server.store import statuses as status_verbs
from server.store.rows import ApprovalRow, AttemptRow, RunRow, Verdict
from server.store.tables import approvals, attempts, runs, steps


class NothingToApproveError(LadingError):
    """The run waits for nobody's word, or not for that one; the message says what it waits for."""


class Answered(Value):
    """What an answer came to."""

    run: int
    attempt: int
    answers: dict[str, Answer] = {}
    """By step, for an attempt that runs."""


RunUrl = Callable[[int], str]


def ask(conn: Connection, run: RunRow, attempt: int, step: Step, at: datetime) -> None:
    """Write down that a step asks for approval; one that has asked before does not ask again."""
    asked = step.approval
    own = sa.and_(
        approvals.c.run == run.id, approvals.c.attempt == attempt, approvals.c.step == step.key
    )
    if asked is None or conn.execute(sa.select(approvals.c.id).where(own)).first() is not None:
        return
    conn.execute(
        sa.insert(approvals).values(
            run=run.id,
            attempt=attempt,
            step=step.key,
            repository=run.repository,
            sha=run.sha,
            stranger=run.stranger,
            prompt=asked.prompt,
            asked_at=at,
            expires_at=at + timedelta(seconds=asked.timeout),
        )
    )


def approvals_of(conn: Connection, run: int) -> list[ApprovalRow]:
    """Everything a run has asked for, the first one first."""
    query = sa.select(approvals).where(approvals.c.run == run).order_by(approvals.c.id)
    return [ApprovalRow(**row._mapping) for row in conn.execute(query)]  # noqa: SLF001


def open_of(conn: Connection, run: int, attempt: int) -> list[ApprovalRow]:
    """What an attempt waits for now."""
    open_ = _ended_steps(conn, run, attempt)
    return [
        row
        for row in approvals_of(conn, run)
        if row.attempt == attempt and row.verdict is None and row.step not in open_
    ]


def answers_of(conn: Connection, run: int, attempt: int) -> dict[str, Answer]:
    """What was said to the steps of an attempt."""
    return {
        row.step: _answer(row)
        for row in approvals_of(conn, run)
        if row.attempt == attempt and row.step is not None and row.verdict is not None
    }


def park(conn: Connection, run: RunRow, attempt: int, *, url: str, at: datetime) -> State:
    """Leave an attempt of which all that is left waits for a person; gives its new state.

    It waits for a slot instead where somebody has answered in this very moment.
    """
    ended = _ended_steps(conn, run.id, attempt)
    said = [step for step in answers_of(conn, run.id, attempt) if step not in ended]
    if said:
        _set(conn, run.id, attempt, State.WAITING, "")
        return State.WAITING
    waits = open_of(conn, run.id, attempt)
    more = f" (and {len(waits) - 1} more)" if len(waits) > 1 else ""
    sentence = f"{waits[0].step} {waits[0].sentence}{more}" if waits else "waits for approval"
    _set(conn, run.id, attempt, State.HELD, sentence)
    _tell(conn, run, attempt, sentence, url=url, at=at)
    return State.HELD


def answer(
    conn: Connection,
    number: int,
    *,
    verdict: Verdict,
    by: str,
    at: datetime,
    url: RunUrl,
    step: str | None = None,
) -> list[Answered]:
    """Approve or decline what a run waits for; gives what follows, for it and for other runs.

    Args:
        conn: The connection.
        number: The run's number.
        verdict: Approved or declined.
        by: Who says so.
        at: Now.
        url: A run's page, by its number.
        step: Which step is meant, where several wait.

    Raises:
        NothingToApproveError: The run waits for no such word.
    """
    run = run_verbs.run(conn, number)
    if run is None:
        raise NothingToApproveError(f"there is no run {number}")
    asked = _chosen(run, open_of(conn, number, run.attempt), step)
    if asked.step is not None:
        return [_answer_step(conn, run, asked, verdict=verdict, by=by, at=at, url=url)]
    # The look was at the commit: every run of it that waits for one has been looked at.
    return [
        _answer_hold(conn, row, each, verdict=verdict, by=by, at=at, url=url)
        for row, each in _held_alike(conn, run)
    ]


def expire(conn: Connection, *, at: datetime, url: RunUrl) -> list[Answered]:
    """End the waits whose time is over."""
    query = (
        sa.select(approvals)
        .where(approvals.c.verdict.is_(None), approvals.c.expires_at <= at)
        .limit(100)
    )
    over = [ApprovalRow(**row._mapping) for row in conn.execute(query)]  # noqa: SLF001
    answered = []
    for each in over:
        run = run_verbs.run(conn, each.run)
        if run is None or run.attempt != each.attempt or run.state.ended:
            _write(conn, each, verdict=Verdict.EXPIRED, by=None, at=at)
        else:
            answered.append(
                _answer_step(conn, run, each, verdict=Verdict.EXPIRED, by=None, at=at, url=url)
            )
    return answered


def any_expires(conn: Connection, *, at: datetime) -> bool:
    """Whether some wait's time is over."""
    query = sa.select(approvals.c.id).where(
        approvals.c.verdict.is_(None), approvals.c.expires_at <= at
    )
    return conn.execute(query.limit(1)).first() is not None


def _chosen(run: RunRow, asked: Sequence[ApprovalRow], step: str | None) -> ApprovalRow:
    if run.state.ended or not asked:
        raise NothingToApproveError(f"run {run.id} waits for no approval: it is {run.state}")
    found = [row for row in asked if step in (None, row.step)]
    names = ", ".join(row.step or "the run itself" for row in asked)
    if not found:
        shown = str(step)[:150]
        message = f"{shown!r} waits for no approval in run {run.id}: {names} does"
        raise NothingToApproveError(message)
    if len(found) > 1:
        raise NothingToApproveError(f"several steps of run {run.id} wait: name one of {names}")
    return found[0]


def _held_alike(conn: Connection, run: RunRow) -> list[tuple[RunRow, ApprovalRow]]:
    """The runs that are held for the same commit of the same person, the run among them."""
    query = (
        sa.select(approvals)
        .join(runs, sa.and_(runs.c.id == approvals.c.run, runs.c.attempt == approvals.c.attempt))
        .where(
            approvals.c.repository == run.repository,
            approvals.c.sha == run.sha,
            approvals.c.stranger == run.stranger,
            approvals.c.step.is_(None),
            approvals.c.verdict.is_(None),
            runs.c.state == State.HELD,
        )
        .order_by(approvals.c.id)
    )
    asked = [ApprovalRow(**row._mapping) for row in conn.execute(query)]  # noqa: SLF001
    found = [(run_verbs.run(conn, each.run), each) for each in asked]
    return [(row, each) for row, each in found if row is not None]


def _answer_hold(
    conn: Connection,
    run: RunRow,
    asked: ApprovalRow,
    *,
    verdict: Verdict,
    by: str,
    at: datetime,
    url: RunUrl,
) -> Answered:
    said = _write(conn, asked, verdict=verdict, by=by, at=at)
    if verdict is Verdict.APPROVED:
        _set(conn, run.id, run.attempt, State.WAITING, "")
        _tell(conn, run, run.attempt, f"{said.sentence}, waits for a slot", url=url(run.id), at=at)
    else:
        run_verbs.end_attempt(
            conn, run.id, run.attempt, state=State.CANCELLED, sentence=said.sentence, at=at
        )
        status_verbs.want_status(
            conn,
            run=run,
            attempt=run.attempt,
            state=StatusState.CANCELLED,
            description=said.sentence,
            target_url=url(run.id),
            at=at,
        )
    return Answered(run=run.id, attempt=run.attempt)


def _answer_step(
    conn: Connection,
    run: RunRow,
    asked: ApprovalRow,
    *,
    verdict: Verdict,
    by: str | None,
    at: datetime,
    url: RunUrl,
) -> Answered:
    """The step goes on, or ends, once the worker has the attempt in hand again."""
    said = _write(conn, asked, verdict=verdict, by=by, at=at)
    if run.state is State.HELD:
        _set(conn, run.id, run.attempt, State.WAITING, "")
        told = f"{said.step}: {said.sentence}, waits for a slot"
        _tell(conn, run, run.attempt, told, url=url(run.id), at=at)
    step = str(said.step)
    return Answered(run=run.id, attempt=run.attempt, answers={step: _answer(said)})


def _answer(row: ApprovalRow) -> Answer:
    return Answer(refused=None if row.verdict is Verdict.APPROVED else row.sentence)


def _write(
    conn: Connection, asked: ApprovalRow, *, verdict: Verdict, by: str | None, at: datetime
) -> ApprovalRow:
    """The first answer counts."""
    said = {"verdict": verdict, "answered_by": by, "answered_at": at}
    conn.execute(
        sa.update(approvals)
        .where(approvals.c.id == asked.id, approvals.c.verdict.is_(None))
        .values(**said)
    )
    return asked.model_copy(update=said)


def _set(conn: Connection, run: int, attempt: int, state: State, sentence: str) -> None:
    changed = {"state": state, "sentence": sentence}
    conn.execute(
        sa.update(attempts)
        .where(attempts.c.run == run, attempts.c.number == attempt)
        .values(**changed)
    )
    conn.execute(
        sa.update(runs).where(runs.c.id == run, runs.c.attempt == attempt).values(**changed)
    )


def _tell(
    conn: Connection, run: RunRow, attempt: int, description: str, *, url: str, at: datetime
) -> None:
    status_verbs.want_status(
        conn,
        run=run,
        attempt=attempt,
        state=StatusState.PENDING,
        description=description,
        target_url=url,
        at=at,
        again=True,
    )


def _ended_steps(conn: Connection, run: int, attempt: int) -> set[str]:
    ended = tuple(state for state in State if state.ended)
    query = sa.select(steps.c.key).where(
        steps.c.run == run, steps.c.attempt == attempt, steps.c.state.in_(ended)
    )
    return set(conn.execute(query).scalars())


def waiting_of(conn: Connection, attempt: AttemptRow) -> list[ApprovalRow]:
    """What an attempt waits for now; nothing where it has ended."""
    return [] if attempt.state.ended else open_of(conn, attempt.run, attempt.number)
