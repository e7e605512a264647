"""Whose turn it is: runs of one repository deploy to one name one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

Place = tuple[int, str]
"""A repository, and the key of a step."""


class Turns:
    """Which run has each place; the others wait."""

    def __init__(self) -> None:
        self._holders: dict[Place, int] = {}
        self._left = asyncio.Event()

    def hold(self, place: Place, run: int) -> None:
        """Give a place to a run that an earlier process left there."""
        self._holders[place] = run

    @asynccontextmanager
    async def at(self, place: Place, run: int, given_up: asyncio.Event) -> AsyncIterator[bool]:
        """The run's turn at a place; False where `given_up` was set before it came."""
        came = await self._wait(place, run, given_up)
        try:
            yield came
        finally:
            if came:
                self._leave(place, run)

    async def _wait(self, place: Place, run: int, given_up: asyncio.Event) -> bool:
        while self._holders.get(place, run) != run:
            if given_up.is_set():
                return False
            left = self._left
            either = [asyncio.ensure_future(event.wait()) for event in (left, given_up)]
            try:
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for one in either:
                    one.cancel()
        self._holders[place] = run
        return True

    def leave_all(self, run: int) -> None:
        """Take a run's places away, also those that were kept for it and that it never took."""
        for place in [place for place, holder in self._holders.items() if holder == run]:
            self._leave(place, run)

    def _leave(self, place: Place, run: int) -> None:
        if self._holders.get(place) == run:
            del self._holders[place]
        self._left.set()
        self._left = asyncio.Event()
