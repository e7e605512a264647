"""Named points at which the process can be made to end at once, as `kill -9` would end it.

What must survive that is a promise; tests keep it by starting the server with `CRASH_AT=name`, or
`CRASH_AT=name:3` for the third time the point is reached. Unset, a point costs next to nothing.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Mapping
from types import MappingProxyType

VARIABLE = "CRASH_AT"
EXIT_CODE = 9

POINTS: Mapping[str, str] = MappingProxyType(
    {
        "webhooks.taken": "A delivery was read and found good; nothing of it is stored.",
        "webhooks.stored": "A delivery is on disk; its sender has no answer yet.",
        "store.committing": "The verbs of a group have run; their commit has not.",
        "intake.began": "A stored delivery was picked up to be read.",
        "mirrors.fetched": "git has fetched a commit; it is not marked as whole yet.",
        "intake.recorded": "Decision, runs and first statuses are on disk; nobody was told.",
        "worker.claimed": "An attempt is marked as running; nothing of it is on the engine.",
        "engine.created": "A step's container was made; it was not started.",
        "engine.started": "A step's container was started; that it runs is not stored.",
        "engine.running": "A step's commands run, and that is on its way to the disk.",
        "build.output": "The engine is building an image, and has just said something.",
        "push.output": "The engine is pushing an image, and has just said something.",
        "push.sent": "We are pushing an image, and the registry has got some of it.",
        "logs.bytes": "A piece of output is in a log; its index does not know it.",
        "runs.ended": "A run's result is on disk; its last status waits to be told.",
        "engine.clearing": "Of what an attempt left on the engine, the containers are removed.",
        "reporting.taken": "A host took a status; that it did is not stored.",
    }
)


class _Fuse:
    """Burns down at one point."""

    def __init__(self, wanted: str) -> None:
        self._point, _, times = wanted.partition(":")
        self._left = itertools.count(int(times or 1) - 1, -1)  # counts in one step, for any thread

    def reached(self, point: str) -> None:
        if point == self._point and next(self._left) == 0:
            os._exit(EXIT_CODE)


@functools.cache
def _fuse() -> _Fuse | None:
    wanted = os.environ.get(VARIABLE)
    return _Fuse(wanted) if wanted else None


def reach(point: str) -> None:
    """End the process here and now, where the environment says so."""
    fuse = _fuse()
    if fuse is not None:
        fuse.reached(point)
