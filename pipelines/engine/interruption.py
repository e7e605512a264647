"""Ending a step's long call on the engine from outside, and noticing an engine that is gone."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from pipelines.engine.client import unavailable
from pipelines.problems import ExecutorUnavailableError, LadingError
from pipelines.values import Value

if TYPE_CHECKING:
    from pipelines.engine.client import Engine, Stream

T = TypeVar("T")

_KNOCKING = 1.0
"""Seconds between two tries to reach an engine that is not there yet."""
_LET_GO = 2.0
"""Seconds in which a stream that was cut must have ended for the thread that reads it."""


class Patience(Value):
    """How closely an engine is watched while it is silent."""

    every: float = 10.0
    """Seconds of waiting between two questions whether it is alive."""
    silence: float = 60.0
    """Seconds without an answer after which its steps are given up."""
    beginning: float = math.inf
    """Seconds that an attempt of which nothing has begun waits for an answer."""


class StoppedError(LadingError):
    """The step was asked to stop while it was prepared, built or pushed."""


class Interruption:
    """One step's wish to stop, and what has to be cut for it."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._lock = threading.Lock()
        self._stream: Stream | None = None

    @property
    def requested(self) -> bool:
        """Whether the step shall stop."""
        return self._event.is_set()

    def request(self) -> None:
        """Ask for the stop; also ends the stream that is being read. On the event loop."""
        self._event.set()
        self.cut()

    def cut(self) -> None:
        """End the stream that is being read, if one is."""
        with self._lock:
            if self._stream is not None:
                self._stream.cut()

    def check(self) -> None:
        """Raise StoppedError where a stop was asked for."""
        if self.requested:
            raise StoppedError("the step was stopped")

    @contextlib.contextmanager
    def reading(self, stream: Stream) -> Iterator[None]:
        """While inside, a request cuts the stream; after, it is closed. In the reading thread."""
        with self._lock:
            self._stream = stream
        try:
            self.check()
            yield
        finally:
            with self._lock:
                self._stream = None
            stream.close()

    async def asked(self) -> None:
        """Wait until the step shall stop."""
        await self._event.wait()

    async def sleep(self, seconds: float) -> None:
        """Wait, but not when asked to stop: then raise StoppedError."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), seconds)
        self.check()

    async def unless_requested(self, work: asyncio.Future[T]) -> T:
        """The result of `work`, which is given up when asked to stop: then raise StoppedError."""
        asked = asyncio.ensure_future(self._event.wait())
        try:
            either: set[asyncio.Future[Any]] = {work, asked}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            asked.cancel()
        self.check()
        return work.result()


class Watchdog:
    """Asks now and then whether the engine is alive, and gives up when patience is over."""

    def __init__(self, engine: Engine, patience: Patience) -> None:
        self._engine = engine
        self.every = patience.every
        self._silence = patience.silence
        self._silent_since: float | None = None

    async def look(self) -> bool:
        """Whether the engine answers now.

        Raises:
            ExecutorUnavailableError: It has not for too long.
        """
        loop = asyncio.get_running_loop()
        if await self._engine.alive():
            self._silent_since = None
            return True
        if self._silent_since is None:
            self._silent_since = loop.time()
        if loop.time() - self._silent_since >= self._silence:
            raise unavailable(self._engine.url)
        return False

    async def answered(self, within: float | None = None) -> None:
        """Wait until the engine answers: after the host's own start it may come later than we.

        Args:
            within: Seconds; None: as long as one has patience with a silent one.

        Raises:
            ExecutorUnavailableError: It has not for too long.
        """
        patience = self._silence if within is None else within
        until = asyncio.get_running_loop().time() + patience
        while True:
            try:
                return await self._engine.connected()
            except ExecutorUnavailableError:
                if asyncio.get_running_loop().time() >= until:
                    raise
            await asyncio.sleep(min(self.every, _KNOCKING))

    async def watch(self, work: asyncio.Future[T], interruption: Interruption) -> T:
        """The result of `work`, a call in a thread that reads a stream of the engine.

        Raises:
            ExecutorUnavailableError: The engine is gone; the stream was cut.
            StoppedError: The step shall stop, and the engine has not begun to answer: it waits for
                a registry. The thread is left to find out, and reads nothing then.
        """
        asked = asyncio.ensure_future(interruption.asked())
        either: set[asyncio.Future[Any]] = {work, asked}
        try:
            while not work.done():
                await asyncio.wait(either, timeout=self.every, return_when=asyncio.FIRST_COMPLETED)
                if asked.done():
                    await asyncio.wait({work}, timeout=_LET_GO)
                    if not work.done():
                        raise StoppedError("the step was stopped")
                elif not work.done():
                    await self._look_or_cut(interruption)
        finally:
            asked.cancel()
        return work.result()

    async def _look_or_cut(self, interruption: Interruption) -> None:
        try:
            await self.look()
        except LadingError:
            interruption.cut()
            raise
