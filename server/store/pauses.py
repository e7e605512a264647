"""Verbs on hosts and repositories that are left alone for a while, and why."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from server.store.rows import PauseKind, PauseRow
from server.store.tables import pauses, repositories, statuses

WHOLE_HOST = 0
"""Stands for every repository of a host."""


def pause(
    conn: Connection,
    host: str,
    *,
    kind: PauseKind,
    reason: str,
    now: datetime,
    until: datetime,
    repository: int = WHOLE_HOST,
) -> bool:
    """Leave a host or a repository alone until then; True where that is news."""
    same = _one(host, repository, [kind])
    known = conn.execute(sa.select(pauses).where(same)).one_or_none()
    if known is None:
        conn.execute(
            sa.insert(pauses).values(
                host=host, repository=repository, kind=kind, reason=reason, since=now, until=until
            )
        )
        return True
    # A quiet that is over was another one; whatever else stands here was never seen to work since.
    # One that began in the future did so by a clock that was wrong.
    over = bool((kind is PauseKind.QUIET and known.until <= now) or known.since > now)
    since = now if over else known.since
    conn.execute(sa.update(pauses).where(same).values(reason=reason, since=since, until=until))
    return over


def resume(conn: Connection, host: str, repository: int, kinds: Collection[PauseKind]) -> bool:
    """A call has worked: the repository and its host are no longer left alone for these reasons."""
    gone = sa.or_(_one(host, repository, kinds), _one(host, WHOLE_HOST, kinds))
    return bool(conn.execute(sa.delete(pauses).where(gone)).rowcount)


def try_again(conn: Connection, *, now: datetime) -> None:
    """Let everything be tried at once that a new configuration may have mended."""
    conn.execute(
        sa.update(pauses)
        .where(pauses.c.kind != PauseKind.QUIET, pauses.c.until > now)
        .values(until=now)
    )


def paused(
    conn: Connection, host: str, kinds: Collection[PauseKind], *, now: datetime
) -> frozenset[int]:
    """The repositories to be left alone now for one of these reasons, WHOLE_HOST among them."""
    query = sa.select(pauses.c.repository).where(
        pauses.c.host == host, pauses.c.kind.in_(kinds), pauses.c.until > now
    )
    return frozenset(conn.execute(query).scalars())


def all_pauses(conn: Connection, *, now: datetime) -> list[PauseRow]:
    """Every pause; of quiet times those that last."""
    waiting = (
        sa.select(sa.func.count())
        .where(
            statuses.c.host == pauses.c.host,
            statuses.c.due_at.is_not(None),
            pauses.c.repository.in_([WHOLE_HOST, statuses.c.repository]),
            pauses.c.kind.in_([PauseKind.QUIET, PauseKind.REFUSED]),
        )
        .correlate(pauses)
        .scalar_subquery()
    )
    query = (
        sa.select(pauses, repositories.c.full_name, waiting.label("statuses"))
        .outerjoin(repositories, repositories.c.id == pauses.c.repository)
        .where(sa.or_(pauses.c.kind != PauseKind.QUIET, pauses.c.until > now))
        .order_by(pauses.c.host, pauses.c.repository, pauses.c.kind)
    )
    return [PauseRow(**row._mapping) for row in conn.execute(query)]  # noqa: SLF001


def _one(host: str, repository: int, kinds: Collection[PauseKind]) -> sa.ColumnElement[bool]:
    return sa.and_(
        pauses.c.host == host, pauses.c.repository == repository, pauses.c.kind.in_(kinds)
    )
