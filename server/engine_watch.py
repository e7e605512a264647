"""Watches the container engine, so that nothing is begun while it does not answer.

Whatever waits keeps waiting then, instead of being begun and ended as an error one after the other;
a notice says so. Attempts that run have a patience of their own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime

import structlog

from pipelines.problems import ExecutorUnavailableError
from pipelines.progress import State
from server.clock import Clock
from server.notices import Board, Level, Notice
from server.store import Database
from server.store import runs as run_verbs

log = structlog.get_logger(__name__)

PART = "engine"
FRESH = 1.0  # seconds for which an answer is good
LOOK = 5.0  # seconds between two looks while nobody asks
FIRST, LONGEST = 1.0, 10.0  # seconds between two tries to reach an engine that is away


class EngineWatch:
    """Whether the engine answers.

    Args:
        answers: Raises an `ExecutorUnavailableError` where the engine does not answer.
        board: Takes the notice.
        again: Called when the engine is back.
    """

    def __init__(
        self,
        *,
        answers: Callable[[], Awaitable[None]],
        board: Board,
        database: Database,
        clock: Clock,
        again: Callable[[], None],
    ) -> None:
        self._answers = answers
        self._board = board
        self._database = database
        self._clock = clock
        self._again = again
        self._away_since: datetime | None = None
        self._good_until = 0.0
        self._asked = asyncio.Event()

    @property
    def _away(self) -> bool:
        return self._away_since is not None

    async def ready(self) -> bool:
        """Whether something may be begun now; where not, `run` finds out when."""
        if not self._away and time.monotonic() >= self._good_until:
            await self._look()
        return not self._away

    async def run(self) -> None:
        """Look now and then until cancelled, and more often while the engine is away."""
        pause = FIRST
        while True:
            await self._look()
            pause = min(2 * pause, LONGEST) if self._away else FIRST
            self._asked.clear()
            try:
                await asyncio.wait_for(self._asked.wait(), pause if self._away else LOOK)
            except TimeoutError:
                continue
            pause = FIRST  # it has just gone

    async def _look(self) -> None:
        try:
            await self._answers()
        except ExecutorUnavailableError as error:
            await self._gone(str(error))
        else:
            self._back()

    async def _gone(self, why: str) -> None:
        if self._away_since is None:
            self._away_since = self._clock()
            self._asked.set()
            log.warning("no run is begun while the engine is away", why=why)
        states = await self._database.read(run_verbs.count_by_state)
        text = f"{why}. {_waiting(states.get(State.WAITING, 0))}"
        self._board.put(Notice(part=PART, level=Level.PAUSE, text=text, since=self._away_since))

    def _back(self) -> None:
        self._good_until = time.monotonic() + FRESH
        if self._away:
            self._away_since = None
            self._board.take_down(PART)
            log.info("the engine answers again")
            self._again()


def _waiting(count: int) -> str:
    if count == 0:
        return "No run waits for it"
    return f"{count} runs wait for it" if count > 1 else "1 run waits for it"
