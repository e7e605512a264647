"""Ends the server again and again, starts it at once, and measures how soon work goes on."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from server.log_index import RECORD
from server.store import runs
from server.store.rows import DeliveryState
from server.store.tables import attempts, decisions, deliveries
from tests.parts.process import LadingProcess

BY_POINT, BY_SIGTERM = 0.4, 0.12
"""How many of the ends are at a named point, and how many are polite."""
YOUNG = 0.2
"""How many of the ends come before it could answer, or soon after."""
LONG = 5.0
"""Seconds after which the server must have gone on with what it found."""
_TICK = 0.02

Running = tuple[int, int]
"""A run and the number of its attempt."""


@dataclass(kw_only=True)
class Ends:
    """How often the server ended in which way, and how soon work went on afterwards."""

    kills: int = 0
    at_points: dict[str, int] = field(default_factory=dict)
    polite: int = 0
    answering: list[float] = field(default_factory=list)
    """Seconds from each start to the first answer."""
    waiting: list[float] = field(default_factory=list)
    """Seconds from each start after which something waited, to that going on."""
    adopted: list[float] = field(default_factory=list)
    """Seconds from each start to new output, or the end, of a step that ran before."""
    unhappy: list[str] = field(default_factory=list)
    """Ends nobody asked for."""


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What the rows say while no server runs."""

    at: float
    waits: Sequence[Running]
    undecided: Sequence[str]
    talking: Sequence[Running]
    """Attempts whose step writes without a pause, and was being followed."""


class Killer:
    """Starts and ends one server.

    Args:
        points: Where it may be made to end.
        longest: Seconds that it lives at most once it answers; where it is to end at a point, it
            gets twice as long to reach that.
        talks: Whether a run's one step never falls silent.
        step: The key of that step.
    """

    def __init__(
        self,
        server: LadingProcess,
        *,
        points: Sequence[str],
        seed: int,
        longest: float,
        slots: int,
        talks: Callable[[int], bool],
        step: str,
    ) -> None:
        self._server = server
        self._points = points
        self._random = random.Random(seed)
        self._longest = longest
        self._slots = slots
        self._talks = talks
        self._step = step
        self.ends = Ends()
        server.start()  # until all tables are there
        server.kill()

    def start(self) -> Callable[[], None]:
        """Start it for good; what is given measures how it went on, once it has."""
        found = self._look()
        self._server.launch()
        self._await_answer(found.at, 30.0)
        return lambda: self._measure(found)

    def live_and_die(self) -> None:
        """One start, some life, and one end."""
        found = self._look()
        point = self._random.choice(self._points) if self._random.random() < BY_POINT else None
        times = self._random.choice((1, 1, 1, 2, 3, 8))
        self._server.launch(crash_at=point and f"{point}:{times}")
        if self._random.random() < YOUNG:
            self._live(self._random.uniform(0.0, 1.5))
        else:
            self._await_answer(found.at, 30.0)
            self._live(self._random.uniform(0.0, self._longest * (1 if point is None else 2)))
        self._end(point)
        self._measure(found)

    def _live(self, seconds: float) -> None:
        until = time.time() + seconds
        while self._server.alive and time.time() < until:
            time.sleep(_TICK)

    def _await_answer(self, since: float, within: float) -> None:
        until = time.time() + within
        while self._server.alive and time.time() < until:
            if self._server.answers():
                self.ends.answering.append(time.time() - since)
                return
            time.sleep(_TICK)

    def _end(self, point: str | None) -> None:
        if not self._server.alive:
            code = self._server.exit_code()
            if point is None or code != 9:
                self.ends.unhappy.append(
                    f"exit code {code}: {self._server.log.read_text()[-1500:]}"
                )
            self.ends.kills += 1
            self.ends.at_points[str(point)] = self.ends.at_points.get(str(point), 0) + 1
        elif point is None and self._random.random() < BY_SIGTERM / (1 - BY_POINT):
            self.ends.polite += 1
            if (code := self._server.stop()) not in (0, -15):  # -15: before it had a handler
                self.ends.unhappy.append(
                    f"SIGTERM gave {code}: {self._server.log.read_text()[-1500:]}"
                )
        else:
            self.ends.kills += 1
            self._server.kill()

    def _look(self) -> _Found:
        running = [(one.run, one.number) for one in self._server.read(runs.unfinished_attempts)]
        free = len(running) < self._slots
        return _Found(
            at=time.time(),
            waits=self._server.read(_waiting_attempts) if free else (),
            undecided=self._server.read(_undecided),
            talking=[one for one in running if self._talks(one[0]) and self._written(one)],
        )

    def _measure(self, found: _Found) -> None:
        """What was found, and when it went on; a server that died before counts only if slow."""
        lived = time.time() - found.at
        went_on = self._server.read(_began, found.waits, found.undecided)
        if found.waits or found.undecided:
            self._count(self.ends.waiting, went_on - found.at if went_on else None, lived)
        for one in found.talking:
            signs = [at - found.at for at in self._signs(one) if at > found.at]
            self._count(self.ends.adopted, min(signs, default=None), lived)

    @staticmethod
    def _count(into: list[float], took: float | None, lived: float) -> None:
        if took is not None:
            into.append(took)
        elif lived > LONG:
            into.append(lived)

    def _signs(self, one: Running) -> list[float]:
        """When the step was seen to live: its output, and its end where no output was left."""
        step = self._server.read(runs.step, *one, self._step)
        ended = [] if step is None or step.ended_at is None else [step.ended_at.timestamp()]
        return [*self._written(one), *ended]

    def _written(self, one: Running) -> list[float]:
        """When the step's pieces of output were stored, in seconds since 1970."""
        path = self._server.data / "logs" / str(one[0]) / str(one[1]) / f"{self._step}.idx"
        if not path.exists():
            return []
        data = path.read_bytes()
        whole = len(data) - len(data) % RECORD.size
        return [record[0] / 1e9 for record in RECORD.iter_unpack(data[:whole])]


def _undecided(conn: sa.Connection) -> list[str]:
    """Some deliveries that no decision was made about."""
    query = sa.select(deliveries.c.id).where(deliveries.c.state == DeliveryState.WAITING).limit(20)
    return [str(id_) for id_ in conn.execute(query).scalars()]


def _waiting_attempts(conn: sa.Connection) -> list[Running]:
    query = sa.select(attempts.c.run, attempts.c.number).where(attempts.c.state == "waiting")
    return [(run, number) for run, number in conn.execute(query)]


def _began(conn: sa.Connection, waits: Sequence[Running], undecided: Sequence[str]) -> float | None:
    """When the first of them was taken."""
    started = sa.select(sa.func.min(attempts.c.started_at)).where(
        sa.tuple_(attempts.c.run, attempts.c.number).in_(waits)
    )
    first = conn.execute(started).scalar_one() if waits else None
    decided = sa.select(sa.func.min(decisions.c.decided_at)).where(
        decisions.c.delivery.in_(undecided)
    )
    other = conn.execute(decided).scalar_one() if undecided else None
    times = [at.timestamp() for at in (first, other) if at is not None]
    return min(times, default=None)
