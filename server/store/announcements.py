"""Verbs on who was told of which move of a channel."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.values import Value
from server.store.channels import MoveRow, MoveState
from server.store.tables import announcements, channel_moves

_MET = 0
"""In the place of a move: when somebody was first to be told of any."""


class Due(Value):
    """A move that somebody is to be told of now."""

    name: str
    move: MoveRow
    tries: int
    """That failed."""


def meet(conn: Connection, names: Sequence[str], *, at: datetime) -> None:
    """Note who is to be told from now on; of what was before, nobody is."""
    known = set(
        conn.execute(sa.select(announcements.c.name).where(announcements.c.move == _MET)).scalars()
    )
    for name in names:
        if name not in known:
            conn.execute(sa.insert(announcements).values(name=name, move=_MET, tries=0, told_at=at))


def due(conn: Connection, names: Sequence[str], *, now: datetime, since: datetime) -> list[Due]:
    """Of each channel the newest move that ended since, where one of those is to be told now."""
    newest = (
        sa.select(sa.func.max(channel_moves.c.id))
        .where(channel_moves.c.state == MoveState.MOVED, channel_moves.c.ended_at >= since)
        .group_by(channel_moves.c.image, channel_moves.c.channel)
    )
    met, tried = announcements.alias("met"), announcements.alias("tried")
    query = (
        sa.select(met.c.name, sa.func.coalesce(tried.c.tries, 0).label("tries"), channel_moves)
        .select_from(
            channel_moves.join(
                met,
                sa.and_(met.c.move == _MET, met.c.told_at <= channel_moves.c.ended_at),
            ).join(
                tried,
                sa.and_(tried.c.name == met.c.name, tried.c.move == channel_moves.c.id),
                isouter=True,
            )
        )
        .where(
            channel_moves.c.id.in_(newest),
            met.c.name.in_(list(names)),
            tried.c.told_at.is_(None),
            sa.or_(tried.c.due_at.is_(None), tried.c.due_at <= now),
        )
        .order_by(channel_moves.c.id)
    )
    found = []
    for row in conn.execute(query).mappings():
        fields = {name: row[name] for name in channel_moves.c.keys()}  # noqa: SIM118 - no dict
        found.append(Due(name=row["name"], tries=row["tries"], move=MoveRow(**fields)))
    return found


def told(conn: Connection, one: Due, *, at: datetime) -> None:
    """Somebody has taken it."""
    _note(conn, one, told_at=at, due_at=None, error=None)


def refused(conn: Connection, one: Due, *, error: str, due_at: datetime) -> None:
    """Somebody has not; it is told again at `due_at`."""
    _note(conn, one, told_at=None, due_at=due_at, error=error)


def _note(conn: Connection, one: Due, **values: object) -> None:
    same = announcements.c.name == one.name, announcements.c.move == one.move.id
    told = {**values, "tries": one.tries + 1}
    if conn.execute(sa.update(announcements).where(*same).values(**told)).rowcount == 0:
        conn.execute(sa.insert(announcements).values(name=one.name, move=one.move.id, **told))
