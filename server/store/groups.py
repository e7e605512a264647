"""Verbs on groups: runs of one repository that take turns, and may supersede one another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from pipelines.progress import State
from server.store.rows import COUNTED, Queued, Rival, Turn
from server.store.runs import run
from server.store.tables import Instant, attempts, runs

_ACTIVE = (State.WAITING, State.HELD, State.RUNNING)

_UNFINISHED = (
    sa.select(runs.c.id, runs.c.event)
    .join(attempts, attempts.c.run == runs.c.id)
    .where(
        attempts.c.group_key == sa.bindparam("key"),
        attempts.c.state.in_(_ACTIVE),
        attempts.c.cancelled_at.is_(None),
        runs.c.group_ref == sa.bindparam("ref"),
    )
    .order_by(runs.c.id.desc())
)
_WAITING = (
    sa.select(attempts.c.group_key, attempts.c.created_at, runs.c.plan)
    .join(runs, sa.and_(runs.c.id == attempts.c.run, runs.c.attempt == attempts.c.number))
    .where(attempts.c.run == sa.bindparam("waiting"), attempts.c.state == State.WAITING)
)
_BEFORE = sa.and_(
    attempts.c.group_key == sa.bindparam("key"),
    sa.or_(
        attempts.c.state == State.RUNNING,
        sa.and_(
            attempts.c.state == State.WAITING,
            sa.tuple_(attempts.c.created_at, attempts.c.run)
            < sa.tuple_(sa.bindparam("created", type_=Instant), sa.bindparam("waiting")),
        ),
    ),
)
_AHEAD = sa.select(sa.func.count()).select_from(
    sa.select(attempts.c.run).where(_BEFORE).limit(COUNTED).subquery()
)


def _oldest(state: State) -> sa.ScalarSelect[int]:
    return (
        sa.select(attempts.c.run)
        .where(attempts.c.group_key == sa.bindparam("key"), attempts.c.state == state)
        .order_by(attempts.c.created_at, attempts.c.run)
        .limit(1)
        .scalar_subquery()
    )


_FIRST = sa.select(sa.func.coalesce(_oldest(State.RUNNING), _oldest(State.WAITING)))


def newest_rival(conn: Connection, *, group_key: str, group_ref: str) -> Rival | None:
    """The run of the newest push so far, whether it has ended or not.

    It is the newest run, but where that came late: then it was superseded by the one wanted here.
    """
    query = (
        sa.select(runs.c.id, runs.c.event, _superseded_by())
        .where(runs.c.group_key == group_key, runs.c.group_ref == group_ref)
        .order_by(runs.c.id.desc())
        .limit(1)
    )
    row = conn.execute(query).one_or_none()
    while row is not None and row.superseded_by is not None and row.superseded_by < row.id:
        earlier = sa.select(runs.c.id, runs.c.event, _superseded_by())
        row = conn.execute(earlier.where(runs.c.id == row.superseded_by)).one_or_none()
    return None if row is None else _rival(row)


def unfinished_rivals(conn: Connection, *, group_key: str, group_ref: str) -> list[Rival]:
    """Runs that wait or run and that nothing superseded, the newest first."""
    found = conn.execute(_UNFINISHED, {"key": group_key, "ref": group_ref})
    return [_rival(row) for row in found]


def turn_of(conn: Connection, run: int) -> Turn | None:
    """What the newest attempt of a run waits for beside a slot; None for nothing."""
    row = conn.execute(_WAITING, {"waiting": run}).one_or_none()
    if row is None or row.group_key is None:
        return None
    before = {"key": row.group_key, "created": row.created_at, "waiting": run}
    ahead = conn.execute(_AHEAD, before).scalar_one()
    if ahead == 0:
        return None
    first = conn.execute(_FIRST, {"key": row.group_key}).scalar_one()
    return Turn(group=row.plan["group"]["name"], run=first, ahead=ahead)


def queue(conn: Connection, *, limit: int) -> list[Queued]:
    """The attempts that wait longest, in the order they will be taken."""
    query = (
        sa.select(attempts)
        .where(attempts.c.state == State.WAITING)
        .order_by(attempts.c.created_at, attempts.c.run)
        .limit(limit)
    )
    waiting = conn.execute(query).all()
    running = conn.execute(sa.select(attempts).where(attempts.c.state == State.RUNNING)).all()
    return list(_queued(conn, waiting, running))


def _queued(
    conn: Connection, waiting: Iterable[Row[Any]], running: Iterable[Row[Any]]
) -> Iterable[Queued]:
    """Nobody waits for one behind it, so one walk from the front tells what each waits for."""
    first: dict[str, int] = {}
    ahead: Counter[str] = Counter()
    for row in (*running, *waiting):
        key = row.group_key
        if row.state == State.WAITING and (found := run(conn, row.run)) is not None:
            turn = None
            if key in first and found.plan is not None and found.plan.group is not None:
                turn = Turn(
                    group=found.plan.group.name, run=first[key], ahead=min(ahead[key], COUNTED)
                )
            yield Queued(run=found, attempt=row.number, since=row.created_at, turn=turn)
        if key is not None:
            first.setdefault(key, row.run)
            ahead[key] += 1


def _superseded_by() -> sa.ColumnElement[int | None]:
    """The run that superseded the first attempt, if one did."""
    return (
        sa.select(attempts.c.superseded_by)
        .where(attempts.c.run == runs.c.id, attempts.c.number == 1)
        .scalar_subquery()
        .label("superseded_by")
    )


def _rival(row: Row[*tuple[Any, ...]]) -> Rival:
    return Rival(run=row.id, event=row.event)
