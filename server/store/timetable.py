"""Verbs on the timetable: the schedules of every repository, and when each one comes next."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from server.store import runs as run_verbs
from server.store.rows import NewSchedule, RunRow, ScheduleRow
from server.store.tables import repositories, timetable


def set_schedules(conn: Connection, repository: int, wanted: Sequence[NewSchedule]) -> None:
    """Make these the schedules of a repository; what stays as it was keeps its next time."""
    known = {
        (row.file, row.cron, row.timezone): row
        for row in conn.execute(sa.select(timetable).where(timetable.c.repository == repository))
    }
    for new in wanted:
        row = known.pop((new.file, new.cron, new.timezone), None)
        if row is None:
            conn.execute(sa.insert(timetable).values(repository=repository, **new.model_dump()))
        elif (row.pipeline, row.missed) != (new.pipeline, new.missed):
            conn.execute(
                sa.update(timetable)
                .where(timetable.c.id == row.id)
                .values(pipeline=new.pipeline, missed=new.missed)
            )
    for row in known.values():
        conn.execute(sa.delete(timetable).where(timetable.c.id == row.id))


def due_schedules(conn: Connection, now: datetime) -> list[ScheduleRow]:
    """Schedules whose next time has come, the earliest first."""
    query = _schedules().where(timetable.c.next_at <= now).order_by(timetable.c.next_at)
    return [ScheduleRow(**row._mapping) for row in conn.execute(query)]  # noqa: SLF001


def all_schedules(conn: Connection) -> list[ScheduleRow]:
    """Every schedule, the next one first."""
    query = _schedules().order_by(timetable.c.next_at)
    return [ScheduleRow(**row._mapping) for row in conn.execute(query)]  # noqa: SLF001


def schedule(conn: Connection, id: int) -> ScheduleRow | None:  # noqa: A002
    """One schedule."""
    row = conn.execute(_schedules().where(timetable.c.id == id)).one_or_none()
    return None if row is None else ScheduleRow(**row._mapping)  # noqa: SLF001


def last_runs(conn: Connection, rows: Sequence[ScheduleRow]) -> dict[int, RunRow]:
    """The newest run that each schedule started, by the schedule's id."""
    found = {
        row.id: run_verbs.newest_of_schedule(
            conn, row.repository, file=row.file, cron=row.cron, timezone=row.timezone
        )
        for row in rows
    }
    return {id_: run for id_, run in found.items() if run is not None}


def set_next(conn: Connection, id: int, next_at: datetime) -> None:  # noqa: A002
    """The next time of a schedule."""
    conn.execute(sa.update(timetable).where(timetable.c.id == id).values(next_at=next_at))


def _schedules() -> sa.Select[tuple[object, ...]]:
    known = (repositories.c.host, repositories.c.full_name, repositories.c.default_branch)
    return sa.select(timetable, *known).join(
        repositories, repositories.c.id == timetable.c.repository
    )
