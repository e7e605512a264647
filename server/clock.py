"""The time, as something that tests can hand in."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]
"""Gives an aware time in UTC."""

NOTICED = timedelta(seconds=1)
"""What a clock may be off by without having been set: NTP's slewing is far slower."""


def now() -> datetime:
    """The time of the machine's own clock."""
    return datetime.now(UTC)


class Jumps:
    """Notices that the clock was set, by a clock that nobody sets.

    Args:
        clock: The one that may jump.
        steady: Seconds that only count up.
    """

    def __init__(self, clock: Clock = now, steady: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._steady = steady
        self._expected = clock() - timedelta(seconds=steady())

    def look(self) -> timedelta:
        """How far the clock was set since the last look, forwards or back; else nothing."""
        found = self._clock() - timedelta(seconds=self._steady())
        jump = found - self._expected
        self._expected = found
        return jump if abs(jump) >= NOTICED else timedelta()
