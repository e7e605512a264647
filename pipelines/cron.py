"""Times as crontab writes them, read by CronSim, which takes them as Debian's cron does.

Not by APScheduler, which is our clock: there weekday 1 is Tuesday, a day of the month and a day of
the week must both hold, and a time that comes twice in autumn comes for ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice, pairwise
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

LEAST = timedelta(minutes=5)
"""Between two times of one schedule."""

_FIELDS = 5
_SAMPLE = 100
_START = datetime(2024, 1, 1, tzinfo=UTC)  # a leap year


@cache
def zone(name: str) -> ZoneInfo:
    """The time zone of that name.

    Raises:
        ValueError: There is none.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"`{name[:60]}` is no time zone") from None


def check(cron: str) -> None:
    """See that a text is a crontab line whose times come, and not too often.

    Raises:
        ValueError: It is not; the message says why.
    """
    if len(cron.split()) != _FIELDS:
        raise ValueError(f"`{cron[:60]}` does not have crontab's five fields")
    try:
        first = list(islice(times_after(cron, "UTC", _START), _SAMPLE))
    except CronSimError as error:
        raise ValueError(f"`{cron[:60]}`: {str(error).lower()}") from None
    if not first:
        raise ValueError(f"`{cron[:60]}` never comes")
    if any(later - earlier < LEAST for earlier, later in pairwise(first)):
        raise ValueError(f"`{cron[:60]}` comes more often than every 5 minutes")


def times_after(cron: str, timezone: str, start: datetime) -> Iterator[datetime]:
    """The times of a schedule after `start`, in order and without end.

    A local time that the clock skips in spring comes at the first one after; one that it shows
    twice in autumn comes once, but for those that come every so many minutes or hours.
    """
    yield from CronSim(cron, start.astimezone(zone(timezone)))


def explain(cron: str) -> str:
    """The line in words: `At 03:00 every day`."""
    return str(CronSim(cron, _START).explain())
