"""Verbs on the outbox of commit statuses: one row for each context of a commit."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from server.hosts.port import StatusState
from server.store.pauses import WHOLE_HOST
from server.store.rows import PauseKind, RunRow, StatusRow
from server.store.tables import Instant, pauses, runs, statuses


def want_status(
    conn: Connection,
    *,
    run: RunRow,
    attempt: int,
    state: StatusState,
    description: str,
    target_url: str,
    at: datetime,
    again: bool = False,
) -> bool:
    """Say what the host shall show; False where it already shall show something newer.

    Newer is a later run, a later attempt, or a higher rank of the same attempt. With `again` an
    attempt that has not ended may say something new, and so wait once more after it ran.
    """
    same = sa.and_(
        statuses.c.repository == run.repository,
        statuses.c.sha == run.sha,
        statuses.c.context == run.context,
    )
    known = conn.execute(sa.select(statuses).where(same)).one_or_none()
    order = (run.id, attempt, state.rank)
    if known is not None:
        shown = (known.run, known.attempt, known.rank)
        goes_on = shown[:2] == order[:2] and known.rank < StatusState.SUCCESS.rank
        if shown >= order and not (again and goes_on):
            return False
    wanted = {
        "ref": run.event.tag or run.event.source_branch or run.event.branch,
        "run": run.id,
        "attempt": attempt,
        "state": state,
        "rank": state.rank,
        "description": description[:140],
        "target_url": target_url,
        "due_at": at,
        "waits_since": at,
        "changed_at": at,
        "tries": 0,
        "error": None,
    }
    if known is not None:
        conn.execute(
            sa.update(statuses).where(same).values(version=statuses.c.version + 1, **wanted)
        )
        return True
    conn.execute(
        sa.insert(statuses).values(
            repository=run.repository,
            sha=run.sha,
            context=run.context,
            host=run.host,
            version=1,
            sent_version=0,
            **wanted,
        )
    )
    return True


def due_statuses(conn: Connection, host: str, *, now: datetime, limit: int) -> list[StatusRow]:
    """Statuses that the host shall be told now: ends first, then the longest due.

    One that has waited since a time that has not come yet is due, too: the clock went back, and
    nobody knows how much of its wait is over. One try too many is better than an hour lost.
    """
    query = (
        sa.select(statuses)
        .where(
            statuses.c.host == host,
            statuses.c.due_at.is_not(None),
            sa.or_(statuses.c.due_at <= now, statuses.c.waits_since > now),
            ~sa.exists().where(_pause(), pauses.c.since <= now, pauses.c.until > now),
        )
        .order_by(statuses.c.rank.desc(), statuses.c.due_at)
        .limit(limit)
    )
    return [StatusRow(**row._mapping) for row in conn.execute(query)]  # noqa: SLF001


def next_due(conn: Connection, host: str) -> datetime | None:
    """When the next status is due and may be told."""
    query = sa.select(sa.func.min(_may_be_told(), type_=Instant)).where(
        statuses.c.host == host, statuses.c.due_at.is_not(None)
    )
    due: datetime | None = conn.execute(query).scalar_one()
    return due


def _may_be_told() -> sa.ColumnElement[datetime]:
    """When a status that is due may be told: its own time, or the end of the longest pause."""
    longest = sa.select(sa.func.max(pauses.c.until, type_=Instant)).where(_pause())
    paused = longest.correlate(statuses).scalar_subquery()
    return sa.case((paused > statuses.c.due_at, paused), else_=statuses.c.due_at)


def _pause() -> sa.ColumnElement[bool]:
    """A pause that holds a status up: of its host, or of its repository."""
    return sa.and_(
        pauses.c.host == statuses.c.host,
        pauses.c.repository.in_([WHOLE_HOST, statuses.c.repository]),
        pauses.c.kind.in_([PauseKind.QUIET, PauseKind.REFUSED]),
    )


def status_sent(conn: Connection, id: int, *, version: int) -> None:  # noqa: A002
    """The host took that version; a newer one stays due."""
    conn.execute(
        sa.update(statuses).where(statuses.c.id == id).values(sent_version=version, tries=0)
    )
    conn.execute(
        sa.update(statuses)
        .where(statuses.c.id == id, statuses.c.version == version)
        .values(due_at=None, error=None)
    )


def status_failed(
    conn: Connection,
    id: int,  # noqa: A002
    *,
    version: int,
    error: str,
    now: datetime,
    due_at: datetime | None,
) -> None:
    """The host did not take that version; try again at `due_at`, or never where it is None."""
    conn.execute(
        sa.update(statuses)
        .where(statuses.c.id == id, statuses.c.version == version)
        .values(due_at=due_at, waits_since=now, error=error, tries=statuses.c.tries + 1)
    )


def statuses_of_run(conn: Connection, run: int) -> list[StatusRow]:
    """What the host shall show for a run's commit."""
    query = (
        sa.select(statuses)
        .join(
            runs,
            sa.and_(runs.c.repository == statuses.c.repository, runs.c.sha == statuses.c.sha),
        )
        .where(runs.c.id == run, statuses.c.run == run)
    )
    return [StatusRow(**row._mapping) for row in conn.execute(query)]  # noqa: SLF001


def count_due(conn: Connection) -> tuple[int, datetime | None]:
    """How many statuses wait to be told, and since when the oldest does."""
    query = sa.select(sa.func.count(), sa.func.min(statuses.c.changed_at)).where(
        statuses.c.due_at.is_not(None)
    )
    count, oldest = conn.execute(query).one()
    return count, oldest


def waiting_by_host(conn: Connection) -> dict[str, tuple[int, datetime]]:
    """Hosts that have not taken some statuses: how many, and when the next one is tried."""
    next_try = sa.func.min(_may_be_told(), type_=Instant)
    query = (
        sa.select(statuses.c.host, sa.func.count(), next_try)
        .where(statuses.c.due_at.is_not(None))
        .group_by(statuses.c.host)
    )
    return {host: (count, due) for host, count, due in conn.execute(query)}
