"""The database: one writer that groups commits, readers apart.

On SQLite with `synchronous=FULL` a commit waits for the disk, so the writer thread takes every
verb that waits and commits them together. Verbs touch nothing but their connection: when one of a
group fails, the group is rolled back and each verb runs once more in a transaction of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from pipelines.crashing import reach
from pipelines.problems import LadingError

P = ParamSpec("P")
T = TypeVar("T")
Item = TypeVar("Item")

Verb = Callable[Concatenate[Connection, P], T]
BatchVerb = Callable[[Connection, Sequence[Item]], Sequence[T]]

GROUP = 256  # verbs in one commit at most: bounds the time a single one waits
READERS = 4
BUSY_MS = 8_000  # less than the 10 s in which GitHub wants its answer


class DatabaseBusyError(LadingError):
    """The database cannot take a write now: locked, or the disk is full."""


@dataclass(slots=True)
class _Job(Generic[T]):
    """A verb that waits for the writer; `item` is set when it may be batched with its like."""

    verb: Callable[..., Any]
    item: Any
    future: asyncio.Future[T]
    batched: bool


class Database:
    """Verbs in, results out.

    Args:
        url: SQLAlchemy URL; `sqlite:///…` today.
    """

    def __init__(self, url: str) -> None:
        self._writing = _engine(url, begin="BEGIN IMMEDIATE", connections=2)
        self._reading = _engine(url, begin="BEGIN", connections=READERS)
        self._jobs: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="store-read")
        self._writer = threading.Thread(target=self._write_loop, name="store-write", daemon=True)
        self._writer.start()

    async def write(self, verb: Verb[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a verb in the next commit; returns when it is on disk.

        Raises:
            DatabaseBusyError: Locked for longer than 8 s, or no space left.
        """
        return await self.post(verb, *args, **kwargs)

    def post(self, verb: Verb[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Like `write`, in the order of the calls; the future is done when it is on disk."""

        def call(conn: Connection) -> T:
            return verb(conn, *args, **kwargs)

        return self._submit(_Job[T](verb=call, item=None, future=_future(), batched=False))

    async def write_batched(self, verb: BatchVerb[Item, T], item: Item) -> T:
        """Like `write`, for a verb that takes many items of waiting callers at once."""
        return await self._submit(_Job[T](verb=verb, item=item, future=_future(), batched=True))

    async def read(self, verb: Verb[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a verb that changes nothing."""
        loop = asyncio.get_running_loop()

        def call() -> T:
            with self._reading.connect() as conn:
                return verb(conn, *args, **kwargs)

        return await loop.run_in_executor(self._pool, call)

    def run(self, verb: Verb[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a verb from a thread without an event loop (the command line)."""
        with self._writing.begin() as conn:
            return verb(conn, *args, **kwargs)

    def close(self) -> None:
        """Finish what waits and close every connection."""
        self._jobs.put(None)
        self._writer.join()
        self._pool.shutdown()
        self._writing.dispose()
        self._reading.dispose()

    def _submit(self, job: _Job[T]) -> asyncio.Future[T]:
        self._jobs.put(job)
        return job.future

    def _write_loop(self) -> None:
        # One connection for good: taking it from the pool and giving it back costs more than a row.
        with self._writing.connect() as conn:
            # Some SQLites damage the file when one connection checkpoints as another one writes
            # (`soundness.has_wal_reset_bug`): so the one that writes is the only one to checkpoint.
            conn.connection.cursor().execute("PRAGMA wal_autocheckpoint=4000")
            self._write_groups(conn)

    def _write_groups(self, conn: Connection) -> None:
        while (first := self._jobs.get()) is not None:
            group = [first]
            stop = False
            while len(group) < GROUP:
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
                if job is None:
                    stop = True
                    break
                group.append(job)
            self._commit(conn, group)
            if stop:
                return

    def _commit(self, conn: Connection, group: list[_Job[Any]]) -> None:
        try:
            with conn.begin():
                results = list(_run_group(conn, group))
                reach("store.committing")
        except Exception as error:  # noqa: BLE001 - handed to the callers below
            if len(group) == 1:
                _settle([(group[0], None, _translated(error))])
                return
            for job in group:
                self._commit(conn, [job])
            return
        _settle([(job, result, None) for job, result in results])


def _future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


def _run_group(conn: Connection, group: list[_Job[Any]]) -> Iterator[tuple[_Job[Any], Any]]:
    batches: dict[Callable[..., Any], list[_Job[Any]]] = {}
    for job in group:
        if job.batched:
            batches.setdefault(job.verb, []).append(job)
        else:
            yield job, job.verb(conn)
    for verb, jobs in batches.items():
        yield from zip(jobs, verb(conn, [job.item for job in jobs]), strict=True)


def _settle(results: list[tuple[_Job[Any], Any, BaseException | None]]) -> None:
    """Hand results over with one wake-up for each event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Job[Any], Any, BaseException | None]]] = {}
    for entry in results:
        by_loop.setdefault(entry[0].future.get_loop(), []).append(entry)

    def set_all(entries: list[tuple[_Job[Any], Any, BaseException | None]]) -> None:
        for job, result, error in entries:
            if job.future.done():  # the caller was cancelled; the row is written all the same
                continue
            if error is not None:
                job.future.set_exception(error)
            else:
                job.future.set_result(result)

    for loop, entries in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop closed: nobody waits any more
            loop.call_soon_threadsafe(set_all, entries)


def _translated(error: Exception) -> Exception:
    if isinstance(error, sa.exc.OperationalError) and isinstance(error.orig, sqlite3.Error):
        return DatabaseBusyError(f"the database cannot take a write now: {error.orig}")
    return error


def _engine(url: str, *, begin: str, connections: int) -> Engine:
    engine = sa.create_engine(
        url,
        poolclass=sa.pool.QueuePool,
        pool_size=connections,
        max_overflow=0,
        connect_args={"check_same_thread": False, "timeout": BUSY_MS / 1000},
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "wal_autocheckpoint=0",  # the one writer's work, see _write_loop
            "journal_size_limit=67108864",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(conn: Connection) -> None:
        conn.exec_driver_sql(begin)

    return engine


def sqlite_path(url: str) -> Path | None:
    """The file that a SQLAlchemy URL names; None where it is no SQLite file."""
    named = sa.engine.make_url(url)
    if named.get_backend_name() != "sqlite" or named.database in (None, "", ":memory:"):
        return None
    return Path(str(named.database))


def sqlite_url(path: Path) -> str:
    """The SQLAlchemy URL of a SQLite file."""
    return f"sqlite:///{path}"
