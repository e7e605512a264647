"""How the whole server is doing: what waits, what was lost, what is full, and what is paused.

The same report for `/metrics`, the API, the page and `lading status`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path

from pydantic import AwareDatetime

from pipelines.problems import LadingError
from pipelines.progress import State
from pipelines.values import Value
from server import marks
from server.clock import Clock
from server.disks import Disk
from server.notices import Board, Notice
from server.store import Database, probe
from server.store import deliveries as delivery_verbs
from server.store import runs as run_verbs
from server.store import statuses as status_verbs
from server.store import tallies as tally_verbs
from server.store.rows import TallyRow
from server.store.tallies import Tally

CHECK_SECONDS = 5.0
"""How long one part may take to answer before it counts as not ready."""
REMEMBERED = 2.0
"""Seconds for which an answer is given again: strangers may ask, disks are slow."""

EngineAnswers = Callable[[], Awaitable[None]]


class Backlog(Value):
    """How many things wait, and how many seconds the oldest has waited."""

    count: int
    age: float

    @classmethod
    def of(cls, count: int, oldest: datetime | None, now: datetime) -> Backlog:
        """A backlog from a verb's answer."""
        age = 0.0 if oldest is None else max((now - oldest).total_seconds(), 0.0)
        return cls(count=count, age=age)


class WaitingHost(Value):
    """A host that has not taken some statuses yet."""

    host: str
    statuses: int
    next_try: AwareDatetime
    """In the past where it is being told right now."""


class Report(Value):
    """How the server is doing at one moment."""

    at: AwareDatetime
    runs: dict[State, int]
    queue: Backlog
    """Attempts that wait for a slot."""
    deliveries: Backlog
    """Deliveries that no decision was made about."""
    quarantined: Backlog
    """Deliveries set aside because reading them failed again and again."""
    outbox: Backlog
    """Commit statuses that their host has not taken."""
    hosts: tuple[WaitingHost, ...]
    tallies: dict[Tally, TallyRow]
    disks: tuple[Disk, ...]
    notices: tuple[Notice, ...]
    engine_fault: str
    """Why the engine cannot be used; empty where it can."""
    last_backup: AwareDatetime | None

    def count(self, tally: Tally) -> int:
        """How often something has happened, over all restarts."""
        row = self.tallies.get(tally)
        return 0 if row is None else row.count


class Readiness:
    """Asks each part whether it can be used; an answer is good for two seconds."""

    def __init__(self, *, database: Database, engine_answers: EngineAnswers) -> None:
        self._parts: dict[str, EngineAnswers] = {
            "database": lambda: database.write(probe.write_something),
            "engine": engine_answers,
        }
        self._locks = {name: asyncio.Lock() for name in self._parts}
        self._known: dict[str, tuple[float, str]] = {}

    async def faults(self) -> dict[str, str]:
        """The parts that cannot be used, each with the reason."""
        reasons = await asyncio.gather(*map(self.fault, self._parts))
        return {name: why for name, why in zip(self._parts, reasons, strict=True) if why}

    async def fault(self, part: str) -> str:
        """Why one part cannot be used; empty where it can."""
        async with self._locks[part]:
            until, why = self._known.get(part, (0.0, ""))
            if time.monotonic() >= until:
                why = await _reason(self._parts[part])
                self._known[part] = (time.monotonic() + REMEMBERED, why)
            return why


async def _reason(part: EngineAnswers) -> str:
    try:
        await asyncio.wait_for(part(), CHECK_SECONDS)
    except TimeoutError:
        return f"does not answer within {CHECK_SECONDS:.0f} s"
    except LadingError as error:
        return str(error)
    return ""


class Operations:
    """Looks at everything an operator wants to know.

    Args:
        database: Whose rows.
        engine_answers: Raises a `LadingError` while the engine cannot be used.
        board: What is paused or about to be.
        disks: The disks as they were at the last look.
        data: The data folder, with what commands have noted there.
        clock: For ages.
    """

    def __init__(
        self,
        *,
        database: Database,
        engine_answers: EngineAnswers,
        board: Board,
        disks: Callable[[], list[Disk]],
        data: Path,
        clock: Clock,
    ) -> None:
        self._database = database
        self._board = board
        self._disks = disks
        self._data = data
        self._clock = clock
        self._readiness = Readiness(database=database, engine_answers=engine_answers)

    @property
    def notices(self) -> tuple[Notice, ...]:
        """What people must know of, the worst first."""
        return self._board.notices

    async def faults(self) -> dict[str, str]:
        """The parts that cannot be used, each with the reason."""
        return await self._readiness.faults()

    async def report(self) -> Report:
        """Everything, as it is now."""
        read, now = self._database.read, self._clock()
        runs = await read(run_verbs.count_by_state)
        oldest_run = await read(run_verbs.oldest_waiting)
        hosts = await read(status_verbs.waiting_by_host)
        return Report(
            at=now,
            runs=runs,
            queue=Backlog.of(runs.get(State.WAITING, 0), oldest_run, now),
            deliveries=Backlog.of(*await read(delivery_verbs.count_waiting), now),
            quarantined=Backlog.of(*await read(delivery_verbs.count_quarantined), now),
            outbox=Backlog.of(*await read(status_verbs.count_due), now),
            hosts=tuple(
                WaitingHost(host=host, statuses=count, next_try=due)
                for host, (count, due) in sorted(hosts.items())
            ),
            tallies=await read(tally_verbs.all_tallies),
            disks=tuple(self._disks()),
            notices=self._board.notices,
            engine_fault=await self._readiness.fault("engine"),
            last_backup=await asyncio.to_thread(marks.last_backup, self._data),
        )
