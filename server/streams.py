"""Output as it comes: a step's log from some byte on, until the step and its log have ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, TypeVar

from server.logs import LogStore
from server.store import Database
from server.store import runs as run_verbs

T = TypeVar("T")

POLL = 0.5  # seconds between looks at rows that change rarely


async def ticking(
    source: AsyncIterator[T], stopping: asyncio.Event, *, every: float
) -> AsyncGenerator[T | None, None]:
    """The items of `source`, and None each time nothing came for `every` seconds.

    Ends with the source, or as soon as `stopping` is set.
    """
    stop = asyncio.ensure_future(stopping.wait())
    coming: asyncio.Future[T] | None = None
    try:
        while not stopping.is_set():
            if coming is None:
                coming = asyncio.ensure_future(anext(source))
            both: set[asyncio.Future[Any]] = {coming, stop}
            await asyncio.wait(both, timeout=every, return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                if not stop.done():
                    yield None
                continue
            done, coming = coming, None
            try:
                item = done.result()
            except StopAsyncIteration:
                return
            yield item
    finally:
        stop.cancel()
        if coming is not None:
            coming.cancel()
            with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration):
                await coming


async def step_ended(database: Database, run: int, attempt: int, key: str) -> bool:
    """Whether the step's row says that it is over."""
    step = await database.read(run_verbs.step, run, attempt, key)
    return step is None or step.state.ended


async def output(
    database: Database, logs: LogStore, run: int, attempt: int, key: str, *, start: int
) -> AsyncGenerator[bytes, None]:
    """A step's output from byte `start`, until the step has ended.

    A step that has not begun has no log yet: this waits for it.
    """
    while True:
        ended = await step_ended(database, run, attempt, key)
        async with contextlib.aclosing(_follow(logs, run, attempt, key, start)) as pieces:
            async for piece in pieces:
                start += len(piece)
                yield piece
        if ended:
            return
        await asyncio.sleep(POLL)


async def _follow(
    logs: LogStore, run: int, attempt: int, key: str, start: int
) -> AsyncGenerator[bytes, None]:
    async for piece in logs.follow(run, attempt, key, start=start):
        yield piece
