"""Which repositories' deliveries are read at the same time: so many of each host, none for others.

A lane is one repository, whose deliveries are read one after the other.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator

from server.store.rows import Lane

AT_ONCE = 8  # lanes of one host that are served side by side
HELD = 64  # lanes of one host taken at most, with those that rest


class Lanes:
    """The lanes that are taken, by host.

    One that waits for its repository's turn, or for the next try to fetch a commit, rests: it is
    held, but takes up no place.

    Args:
        serve: Reads some deliveries of a lane.
        changed: Called when there may be room again.
    """

    def __init__(
        self, serve: Callable[[Lane], Awaitable[None]], changed: Callable[[], None]
    ) -> None:
        self._serve = serve
        self._changed = changed
        self._held: defaultdict[str, set[Lane]] = defaultdict(set)
        self._resting: set[Lane] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def held(self) -> frozenset[Lane]:
        """What is taken."""
        return frozenset(lane for lanes in self._held.values() for lane in lanes)

    @property
    def at_work(self) -> int:
        """How many are being served, of all hosts."""
        return len(self.held) - len(self._resting)

    def full(self) -> list[str]:
        """The hosts of which none more is taken."""
        return [host for host in self._held if not self._room(host)]

    def take(self, lanes: Iterable[Lane]) -> bool:
        """Start serving those for which there is room; False where there was none to serve."""
        taken = False
        for lane in lanes:
            if self._room(lane.host):
                taken = True
                self._held[lane.host].add(lane)
                task = asyncio.create_task(self._to_its_end(lane))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        return taken

    @contextlib.contextmanager
    def resting(self, lane: Lane) -> Iterator[None]:
        """While the block waits for something, the lane leaves its place to others."""
        if lane in self._resting:
            yield
            return
        self._resting.add(lane)
        self._changed()
        try:
            yield
        finally:
            self._resting.discard(lane)

    async def stop(self) -> None:
        """Break off; what is not decided stays waiting."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _room(self, host: str) -> bool:
        held = self._held[host]
        return len(held) < HELD and len(held - self._resting) < AT_ONCE

    async def _to_its_end(self, lane: Lane) -> None:
        try:
            await self._serve(lane)
        finally:
            self._held[lane.host].discard(lane)
            self._changed()
