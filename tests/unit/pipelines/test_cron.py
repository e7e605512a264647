from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice

import pytest

from pipelines import cron


def times(line: str, zone: str, start: datetime, count: int = 3) -> list[str]:
    return [at.isoformat() for at in islice(cron.times_after(line, zone, start), count)]


def test_weekday_1_is_monday_as_in_crontab() -> None:
    assert times("0 3 * * 1", "UTC", datetime(2026, 3, 28, tzinfo=UTC), 1) == [
        "2026-03-30T03:00:00+00:00"
    ]


def test_a_time_that_the_clock_skips_comes_right_after() -> None:
    start = datetime(2026, 3, 28, 12, tzinfo=UTC)
    assert times("30 2 * * *", "Europe/Berlin", start, 2) == [
        "2026-03-29T03:00:00+02:00",
        "2026-03-30T02:30:00+02:00",
    ]


def test_a_time_that_the_clock_shows_twice_comes_once() -> None:
    start = datetime(2026, 10, 24, 12, tzinfo=UTC)
    assert times("30 2 * * *", "Europe/Berlin", start, 2) == [
        "2026-10-25T02:30:00+02:00",
        "2026-10-26T02:30:00+01:00",
    ]


def test_a_day_of_the_month_or_of_the_week_is_enough_as_in_crontab() -> None:
    start = datetime(2026, 5, 1, tzinfo=UTC)  # a Friday
    assert times("0 3 13 * 1", "UTC", start) == [
        "2026-05-04T03:00:00+00:00",
        "2026-05-11T03:00:00+00:00",
        "2026-05-13T03:00:00+00:00",
    ]


@pytest.mark.parametrize("line", ["*/5 * * * *", "0 3 * * *", "0 0 29 2 *", "0 9-17 * * 1-5"])
def test_usual_lines_are_taken(line: str) -> None:
    cron.check(line)


@pytest.mark.parametrize(
    "line",
    ["", "x", "* * * * *", "0,1 3 * * *", "60 3 * * *", "0 3 * * * *", "@daily", "0 0 30 2 *"],
)
def test_other_lines_are_refused(line: str) -> None:
    with pytest.raises(ValueError, match="`"):
        cron.check(line)


def test_a_line_is_told_in_words() -> None:
    assert cron.explain("0 3 * * *") == "At 03:00 every day"
