"""The time, as something that tests can hand in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Gives an aware time in UTC."""


def now() -> datetime:
    """The time of the machine's own clock."""
    return datetime.now(UTC)
