"""The clock: what is done from time to time, on APScheduler.

APScheduler goes by the wall clock, so we look whether that was set. Set forwards, all that was due
in between is done once. Set back, a time of day that has been is not done again when it comes
round, and what is done every so often must not wait until the old time is reached again. All times
are UTC: summer time changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger

from server.clock import Jumps

log = structlog.get_logger(__name__)

SWEEP_SECONDS = 60
SOON_SECONDS = 180
START_SECONDS = 2  # after the start, when the doors are open
QUIET_HOUR = 3  # UTC
LOOK_SECONDS = 5.0  # between two looks at what may change quickly: a disk, the clock

Job = Callable[[], Awaitable[object]]


class Every(IntervalTrigger):  # type: ignore[misc] # APScheduler 3 ships no types
    """Every so many seconds after the last time.

    APScheduler's own counts up every time that was missed: after a clock that stood at 1970 was set
    these are millions, in the event loop.
    """

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime | None:
        """The next time; how it is asked for is APScheduler's."""
        found: datetime | None = super().get_next_fire_time(None, now)
        return found if previous is None else now + self.interval


def every_minute() -> BaseTrigger:
    """For what must not wait long."""
    return Every(seconds=SWEEP_SECONDS, timezone=UTC)


def every_few_seconds() -> BaseTrigger:
    """For looks that cost nothing, at what may change quickly."""
    return Every(seconds=LOOK_SECONDS, timezone=UTC)


def now_and_then() -> BaseTrigger:
    """For what waits for a quiet moment."""
    return Every(minutes=10, timezone=UTC)


def soon() -> BaseTrigger:
    """Once, a while after the start, when what waited then has been taken up."""
    return DateTrigger(datetime.now(UTC) + timedelta(seconds=SOON_SECONDS), timezone=UTC)


def now_and_every(*, minutes: float) -> BaseTrigger:
    """For what an earlier process may have left behind: soon after the start, and then so often."""
    start = datetime.now(UTC) + timedelta(seconds=START_SECONDS)
    return Every(seconds=round(minutes * 60), start_date=start, timezone=UTC)


def every_night() -> BaseTrigger:
    """For what is slow and can wait for a quiet hour."""
    return CronTrigger(hour=QUIET_HOUR, jitter=600, timezone=UTC)


@contextlib.asynccontextmanager
async def ticking(
    jobs: Mapping[str, tuple[BaseTrigger, Job]],
    *,
    jumps: Jumps | None = None,
    look: float = LOOK_SECONDS,
) -> AsyncIterator[None]:
    """Run each job when its trigger says so, until the block ends.

    A job that still runs when its next time comes is not started beside itself; one that fails is
    logged and runs again at its next time.

    Args:
        jobs: Triggers and what to do, by name.
        jumps: Notices that the clock was set.
        look: Seconds between two looks whether it was.
    """
    scheduler = AsyncIOScheduler(timezone=UTC)
    for name, (trigger, job) in jobs.items():
        scheduler.add_job(
            _told, trigger, args=(name, job), id=name, coalesce=True, misfire_grace_time=None
        )
    scheduler.start()
    looking = asyncio.create_task(_look(scheduler, jumps or Jumps(), look))
    try:
        yield
    finally:
        looking.cancel()
        scheduler.shutdown(wait=False)


async def _look(scheduler: AsyncIOScheduler, jumps: Jumps, every: float) -> None:
    """Set the next times right after the clock was set."""
    while True:
        await asyncio.sleep(every)
        jump = jumps.look()
        if not jump:
            continue
        log.warning("the clock was set", seconds=round(jump.total_seconds(), 1))
        for job in scheduler.get_jobs():
            if isinstance(job.trigger, IntervalTrigger) and jump.total_seconds() < 0:
                job.modify(next_run_time=job.next_run_time + jump)
        scheduler.wakeup()


async def _told(name: str, job: Job) -> None:
    try:
        await job()
    except Exception:
        log.exception("scheduled job failed and runs again at its next time", job=name)
