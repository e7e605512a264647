"""The clock: what is done from time to time, on APScheduler."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

log = structlog.get_logger(__name__)

SWEEP_SECONDS = 60
START_SECONDS = 2  # after the start, when the doors are open
QUIET_HOUR = 3  # UTC

Job = Callable[[], Awaitable[None]]


def every_minute() -> BaseTrigger:
    """For what must not wait long."""
    return IntervalTrigger(seconds=SWEEP_SECONDS, timezone=UTC)


def now_and_every(*, minutes: float) -> BaseTrigger:
    """For what an earlier process may have left behind: soon after the start, and then so often."""
    start = datetime.now(UTC) + timedelta(seconds=START_SECONDS)
    return IntervalTrigger(seconds=round(minutes * 60), start_date=start, timezone=UTC)


def every_night() -> BaseTrigger:
    """For what is slow and can wait for a quiet hour."""
    return CronTrigger(hour=QUIET_HOUR, jitter=600, timezone=UTC)


@contextlib.asynccontextmanager
async def ticking(jobs: Mapping[str, tuple[BaseTrigger, Job]]) -> AsyncIterator[None]:
    """Run each job when its trigger says so, until the block ends.

    A job that still runs when its next time comes is not started beside itself; one that fails is
    logged and runs again at its next time.
    """
    scheduler = AsyncIOScheduler(timezone=UTC)
    for name, (trigger, job) in jobs.items():
        scheduler.add_job(
            _told, trigger, args=(name, job), id=name, coalesce=True, misfire_grace_time=None
        )
    scheduler.start()
    try:
        yield
    finally:
        scheduler.shutdown(wait=False)


async def _told(name: str, job: Job) -> None:
    try:
        await job()
    except Exception:
        log.exception("scheduled job failed and runs again at its next time", job=name)
