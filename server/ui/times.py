"""Times and spans of time as people read them."""

from __future__ import annotations

from datetime import datetime, timedelta

from pipelines.durations import format_duration

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def ago(at: datetime, now: datetime) -> str:
    """How long ago: "just now", "5 min ago", "3 h ago", "2 d ago", later the date."""
    seconds = (now - at).total_seconds()
    if seconds < 60:  # noqa: PLR2004 - a minute
        return "just now"
    if seconds > timedelta(days=14).total_seconds():
        return f"{at:%Y-%m-%d}"
    size, unit = next((size, unit) for size, unit in _UNITS if seconds >= size)
    return f"{int(seconds // size)} {unit} ago"


def instant(at: datetime) -> str:
    """A time in full: "2026-03-01 12:00:05 UTC"."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def seconds_between(start: datetime | None, end: datetime | None) -> float | None:
    """A span in seconds, where both ends are known; never below none."""
    if start is None or end is None:
        return None
    return max((end - start).total_seconds(), 0.0)


def span(start: datetime | None, end: datetime | None) -> str:
    """A span to read; empty where an end is not known."""
    seconds = seconds_between(start, end)
    return "" if seconds is None else format_duration(seconds)
