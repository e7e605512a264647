"""Verbs for finding what no webhook told: known heads, and deliveries that hosts are asked for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from server.store.deliveries import add_deliveries
from server.store.rows import DeliveryState, NewDelivery
from server.store.tables import asked_deliveries, deliveries, heads, repositories


def known_heads(conn: Connection, repository: int) -> dict[str, str]:
    """The object that each branch and tag pointed at when it was last seen to be in order."""
    query = sa.select(heads.c.ref, heads.c.object).where(heads.c.repository == repository)
    return {row.ref: row.object for row in conn.execute(query)}


def remember_heads(
    conn: Connection,
    repository: int,
    *,
    now_at: Mapping[str, str],
    gone: Collection[str] = (),
    found: Sequence[NewDelivery] = (),
    at: datetime,
) -> None:
    """Remember heads, forget those that are gone, and hand over what was found on the way.

    In one commit: what is remembered is never looked at again.
    """
    forget = [*gone, *now_at]
    for start in range(0, len(forget), 500):
        conn.execute(
            sa.delete(heads).where(
                heads.c.repository == repository, heads.c.ref.in_(forget[start : start + 500])
            )
        )
    if now_at:
        conn.execute(
            sa.insert(heads),
            [
                {"repository": repository, "ref": ref, "object": id_, "seen_at": at}
                for ref, id_ in now_at.items()
            ],
        )
    conn.execute(sa.update(repositories).where(repositories.c.id == repository).values(heads_at=at))
    if found:
        add_deliveries(conn, found)


def held_deliveries(conn: Connection, host: str, ids: Collection[str]) -> frozenset[str]:
    """Which deliveries of a host, by the ids it gave them, are stored here."""
    query = sa.select(deliveries.c.delivery_id).where(
        deliveries.c.host == host, deliveries.c.delivery_id.in_(ids)
    )
    return frozenset(conn.execute(query).scalars())


def any_waits(conn: Connection, host: str, *, since: datetime) -> bool:
    """Whether a delivery that came before then has not been read yet."""
    query = sa.select(deliveries.c.id).where(
        deliveries.c.state == DeliveryState.WAITING,
        deliveries.c.host == host,
        deliveries.c.received_at <= since,
    )
    return conn.execute(query.limit(1)).first() is not None


def ask_for(
    conn: Connection, host: str, delivery_id: str, *, now: datetime, wait: timedelta, most: int
) -> bool | None:
    """Write down that the host is asked to send a delivery again, `most` times at most.

    `wait` lies between the first time and the second, and is doubled each time.

    Returns:
        False where it is too early to ask once more, None where it was asked for too often.
    """
    same = sa.and_(asked_deliveries.c.host == host, asked_deliveries.c.delivery_id == delivery_id)
    known = conn.execute(sa.select(asked_deliveries).where(same)).one_or_none()
    if known is None:
        conn.execute(
            sa.insert(asked_deliveries).values(
                host=host, delivery_id=delivery_id, times=1, asked_at=now
            )
        )
        return True
    if known.times >= most:
        return None
    if now < known.asked_at + wait * 2 ** (known.times - 1):
        return False
    conn.execute(
        sa.update(asked_deliveries).where(same).values(times=known.times + 1, asked_at=now)
    )
    return True


def was_asked_for(conn: Connection, host: str, delivery_id: str) -> bool:
    """Whether the host was asked to send that delivery again."""
    query = sa.select(asked_deliveries.c.times).where(
        asked_deliveries.c.host == host, asked_deliveries.c.delivery_id == delivery_id
    )
    return conn.execute(query).first() is not None


def forget_asked(conn: Connection, *, before: datetime) -> None:
    """Forget what was asked for so long ago that no host lists it any more."""
    conn.execute(sa.delete(asked_deliveries).where(asked_deliveries.c.asked_at < before))
