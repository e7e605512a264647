"""Keeping house when somebody asks: by the server where one runs, else by the command itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

from pipelines.engine.client import Engine
from server import clock, logging, marks
from server.alone import alone
from server.artifacts import ArtifactStore
from server.cli.tokens import opened
from server.config import Settings
from server.housekeeping import BuildCache, Gone, Housekeeping
from server.logs import LogStore
from server.store import Database, tallies
from server.store.rows import TallyRow
from server.store.tallies import Tally

PATIENCE = 120.0
"""Seconds for which a server that was asked is waited for."""
_LOOK = 0.5


def would_go(settings: Settings) -> Iterator[str]:
    """What a cleanup would remove; nothing is changed."""
    logging.configure(settings.server.log_format)
    with opened(settings) as database:
        gone = asyncio.run(_look(settings, database))
    yield f"Would go: {gone.sentence}"
    yield from (f"  image {image}" for image in gone.images)
    yield from (f"  cache {cache}" for cache in gone.caches)


def clean(settings: Settings) -> Iterator[str]:
    """Remove what is old enough.

    Beside a server it is the server that does it: one process writes the database.
    """
    logging.configure(settings.server.log_format)
    data = settings.server.data
    process = marks.server_process(data)
    if process is None:
        with alone(data), opened(settings) as database:
            gone = asyncio.run(_keep(settings, database))
        yield f"Gone: {gone.sentence}"
        return
    yield f"The server (process {process}) is asked to do it."
    with opened(settings) as database:
        note = asyncio.run(_asked(settings, database))
    yield f"Gone: {note}" if note else "It is not done yet: `lading status` tells when it is."


async def _asked(settings: Settings, database: Database) -> str:
    """Have the server do it; what it notes when it has, empty where that takes long."""
    before = await _last(database)
    marks.want_cleanup(settings.server.data)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            return await _next(database, before)
    return ""


async def _next(database: Database, before: TallyRow | None) -> str:
    """What is noted once another process has noted something."""
    while True:
        last = await _last(database)
        if last is not None and last != before:
            return last.note
        await asyncio.sleep(_LOOK)


async def _last(database: Database) -> TallyRow | None:
    return (await database.read(tallies.all_tallies)).get(Tally.CLEANUPS)


async def _look(settings: Settings, database: Database) -> Gone:
    async with _house(settings, database) as house:
        return await house.look()


async def _keep(settings: Settings, database: Database) -> Gone:
    async with _house(settings, database) as house:
        return await house.keep_all()


def _server_id(settings: Settings) -> str:
    """The name of its own that the server has on the engine; empty where it was never started."""
    path = settings.server.data / "server-id"
    return path.read_text() if path.exists() else ""


@contextlib.asynccontextmanager
async def _house(settings: Settings, database: Database) -> AsyncIterator[Housekeeping]:
    with ThreadPoolExecutor(2, thread_name_prefix="engine") as threads:
        engine = Engine(settings.engine.url, threads)
        with contextlib.closing(engine):
            yield Housekeeping(
                database=database,
                logs=LogStore(settings.server.data / "logs", limit=settings.worker.log_limit),
                artifacts=ArtifactStore(
                    settings.server.data / "artifacts",
                    limit=settings.artifacts.limit,
                    room=settings.artifacts.room,
                ),
                engine=BuildCache(engine, server=_server_id(settings)),
                settings=settings.retention,
                clock=clock.now,
                # A server that was stopped may have left steps running; builds end with it.
                busy=lambda: False,
            )
