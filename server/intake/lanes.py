"""Which deliveries are read at the same time: a lane for each host, so none holds up others."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator

from server.store.rows import DeliveryRow

AT_ONCE = 8  # deliveries of one host read side by side; those of one repository one after the other
HELD = 64  # deliveries of one host taken at most, with those that rest


class Lanes:
    """The deliveries that are taken, by host.

    One that waits for its repository's turn, or for the next try to fetch its commit, rests: it is
    held, but takes up no place.

    Args:
        process: Reads one delivery to its end.
        changed: Called when there may be room again.
    """

    def __init__(
        self,
        process: Callable[[DeliveryRow], Awaitable[None]],
        changed: Callable[[], None],
    ) -> None:
        self._process = process
        self._changed = changed
        self._held: defaultdict[str, set[str]] = defaultdict(set)
        self._resting: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def held(self) -> list[str]:
        """The ids of what is taken."""
        return [id_ for ids in self._held.values() for id_ in ids]

    @property
    def at_work(self) -> int:
        """How many are being read, of all hosts."""
        return len(self.held) - len(self._resting)

    def full(self) -> list[str]:
        """The hosts of which none more is taken."""
        return [host for host in self._held if not self._room(host)]

    def take(self, deliveries: Iterable[DeliveryRow]) -> bool:
        """Start reading those for which there is room; False where there was none to read."""
        taken = False
        for delivery in deliveries:
            if self._room(delivery.host):
                taken = True
                self._held[delivery.host].add(delivery.id)
                task = asyncio.create_task(self._read(delivery))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        return taken

    @contextlib.contextmanager
    def resting(self, delivery: str | None) -> Iterator[None]:
        """While the block waits for something, the delivery leaves its place to others."""
        if delivery is None or delivery in self._resting:
            yield
            return
        self._resting.add(delivery)
        self._changed()
        try:
            yield
        finally:
            self._resting.discard(delivery)

    async def stop(self) -> None:
        """Break off; what is not decided stays waiting."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _room(self, host: str) -> bool:
        held = self._held[host]
        return len(held) < HELD and len(held - self._resting) < AT_ONCE

    async def _read(self, delivery: DeliveryRow) -> None:
        try:
            await self._process(delivery)
        finally:
            self._held[delivery.host].discard(delivery.id)
            self._changed()
