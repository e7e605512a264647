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
        "engine.services": "A step's services were started; its commands were not.",
        "engine.cached": "A cache's files were copied; the one before is still there.",
        "steps.retried": "A failed try is on disk; what it left is there, and no other began.",
        "keeping.begun": "A step's commands have ended; none of its files is kept yet.",
        "artifacts.written": "A step's artifacts are on the disk, under no name of their own yet.",
        "keeping.kept": "A step's files are kept; that it has ended is not stored.",
        "build.output": "The engine is building an image, and has just said something.",
        "push.output": "The engine is pushing an image, and has just said something.",
        "push.sent": "We are pushing an image, and the registry has got some of it.",
        "logs.bytes": "A piece of output is in a log; its index does not know it.",
        "runs.parked": "A run waits for a person, on disk; the engine is let go, nobody was told.",
        "actions.answered": "A person's approval is on disk; nobody was woken for it.",
        "runs.ended": "A run's result is on disk; its last status waits to be told.",
        "releases.begun": "A channel's move is on disk; the registry was not asked.",
        "releases.put": "The registry has a channel's move; that it has is not stored.",
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
