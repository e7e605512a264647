"""The machine's own clock, which nobody sets: how long something took, also across processes.

The wall clock may be set while something goes on: by hand, by NTP, by a machine that woke up with a
flat battery. What is measured with it then took an hour too long, or less than nothing. This one
only counts; it begins anew at each boot.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from pipelines.values import Value

_BOOT = Path("/proc/sys/kernel/random/boot_id")
"""Linux's name for the time since it was started (random(4))."""


class Uptime(Value):
    """A moment, as seconds since the boot it fell into. Time asleep does not count."""

    boot: str
    seconds: float

    def since(self, earlier: Uptime | None) -> float | None:
        """Seconds from an earlier moment to this one; None where that cannot be known."""
        if earlier is None or earlier.boot != self.boot:
            return None
        return max(0.0, self.seconds - earlier.seconds)


def uptime() -> Uptime | None:
    """Now; None on a system that does not name its boots."""
    with contextlib.suppress(OSError):
        return Uptime(boot=_BOOT.read_text().strip(), seconds=time.monotonic())
    return None
