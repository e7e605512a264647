"""Starts pipelines whose time has come: each time once, whatever is restarted in between.

A time is a happening like any other: its decision has a unique key, so one that was decided and not
yet crossed off is found as decided.
"""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from pipelines import cron
from pipelines.definition.fields import Missed
from pipelines.events import Slot
from pipelines.problems import LadingError
from server.clock import Clock
from server.store import Database
from server.store import timetable as timetable_verbs
from server.store.rows import ScheduleRow

log = structlog.get_logger(__name__)

LATE = timedelta(minutes=5)
"""A time counts as missed where it comes to us later than that: the server did not run."""
AGAIN = timedelta(minutes=1)
"""Between two tries of a time whose repository cannot be read now."""


class StartSlot(Protocol):
    """Starts what a time asks for (`server.intake`)."""

    def __call__(self, repository: int, slot: Slot) -> Awaitable[None]:
        """Read the default branch's definitions and start the pipeline; a time known does nothing.

        Raises:
            LadingError: The repository cannot be read now.
        """


class Timetable:
    """Looks which times have come.

    Args:
        start: Starts a pipeline for a time.
    """

    def __init__(self, *, database: Database, clock: Clock, start: StartSlot) -> None:
        self._database = database
        self._clock = clock
        self._start = start
        self._not_before: dict[int, datetime] = {}

    async def look(self) -> None:
        """Start what is due."""
        now = self._clock()
        for row in await self._database.read(timetable_verbs.due_schedules, now):
            if now >= self._not_before.get(row.id, now):
                await self._serve(row, now)

    async def _serve(self, row: ScheduleRow, now: datetime) -> None:
        came, coming = came_and_coming(row, now)
        try:
            if row.missed is Missed.LATEST or now - came <= LATE:
                slot = Slot(file=row.file, cron=row.cron, timezone=row.timezone, at=came)
                await self._start(row.repository, slot)
            else:
                log.info("a time was missed", repository=row.full_name, cron=row.cron, at=came)
        except LadingError as error:
            self._not_before[row.id] = now + AGAIN
            log.warning("a time waits", repository=row.full_name, cron=row.cron, why=str(error))
            return
        self._not_before.pop(row.id, None)
        await self._database.write(timetable_verbs.set_next, row.id, coming)


def came_and_coming(row: ScheduleRow, now: datetime) -> tuple[datetime, datetime]:
    """The latest time of a schedule that has come, from its next one on, and the one after now."""
    came = row.next_at
    for at in cron.times_after(row.cron, row.timezone, row.next_at):
        if at > now:
            return came, at
        came = at
    raise AssertionError  # a crontab line has no last time
