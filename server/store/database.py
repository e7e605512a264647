"""The database: one writer that groups commits, readers apart.

On SQLite with `synchronous=FULL` a commit waits for the disk, so the writer thread takes every
verb that waits and commits them together. Verbs touch nothing but their connection: when one of a
group fails, the group is rolled back and each verb runs once more in a transaction of its own.

While somebody else holds the database, each write waits for so long as was promised to whoever
asked for it, and is then told so; the promise counts from the asking.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from pipelines.crashing import reach
from pipelines.problems import LadingError

log = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
Item = TypeVar("Item")

Verb = Callable[Concatenate[Connection, P], T]
BatchVerb = Callable[[Connection, Sequence[Item]], Sequence[T]]

GROUP = 256  # verbs in one commit at most: bounds the time a single one waits
READERS = 4
PATIENCE = 8.0  # seconds that a write waits; less than the 10 s in which GitHub wants its answer
_AGAIN = 2.0  # seconds between two tries of a write that must come to pass
_LEAST = 0.05  # seconds that a write waits for the database, however long it has waited for us


class DatabaseBusyError(LadingError):
    """The database cannot be used now: locked, or the disk is full."""


@dataclass(slots=True)
class _Job(Generic[T]):
    """A verb that waits for the writer; `item` is set when it may be batched with its like."""

    verb: Callable[..., Any]
    item: Any
    future: asyncio.Future[T]
    batched: bool
    since: float = field(default_factory=time.monotonic)


class Database:
    """Verbs in, results out.

    Args:
        url: SQLAlchemy URL; `sqlite:///…` today.
        patience: Seconds that a write waits while somebody else holds the database.
    """

    def __init__(self, url: str, *, patience: float = PATIENCE) -> None:
        self._patience = self._waits = patience
        self._closing = threading.Event()
        self._writing = _engine(url, begin="BEGIN IMMEDIATE", connections=2, patience=patience)
        self._reading = _engine(url, begin="BEGIN", connections=READERS, patience=patience)
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

    async def write_patiently(self, verb: Verb[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Like `write`, again and again until it is on disk: for what has happened already.

        A status that a host has taken, or a step that has ended, cannot be taken back because the
        database was locked or its disk full just then.
        """
        while True:
            try:
                return await self.write(verb, *args, **kwargs)
            except DatabaseBusyError as error:
                log.warning("what happened is written down later", why=str(error))
                await asyncio.sleep(_AGAIN)

    def post(self, verb: Verb[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Like `write`, in the order of the calls; the future is done when it is on disk."""

        def call(conn: Connection) -> T:
            return verb(conn, *args, **kwargs)

        return self._submit(_Job[T](verb=call, item=None, future=_future(), batched=False))

    async def write_batched(self, verb: BatchVerb[Item, T], item: Item) -> T:
        """Like `write`, for a verb that takes many items of waiting callers at once."""
        return await self._submit(_Job[T](verb=verb, item=item, future=_future(), batched=True))

    async def read(self, verb: Verb[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a verb that changes nothing.

        Raises:
            DatabaseBusyError: The database cannot be read now.
        """
        loop = asyncio.get_running_loop()

        def call() -> T:
            try:
                with self._reading.connect() as conn:
                    return verb(conn, *args, **kwargs)
            except sa.exc.OperationalError as error:
                raise DatabaseBusyError(f"the database cannot be read now: {error.orig}") from error

        return await loop.run_in_executor(self._pool, call)

    def run(self, verb: Verb[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a verb from a thread without an event loop (the command line)."""
        with self._writing.begin() as conn:
            return verb(conn, *args, **kwargs)

    def close(self) -> None:
        """Finish what waits and close every connection."""
        self._closing.set()
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
        self._limit_wait(conn, since=group[0].since)
        try:
            with conn.begin():
                results = list(_run_group(conn, group))
                reach("store.committing")
        except Exception as error:  # noqa: BLE001 - handed to the callers below
            if _is_locked(error):
                self._commit_later(conn, group, _translated(error))
                return
            if len(group) == 1:
                _settle([(group[0], None, _translated(error))])
                return
            for job in group:
                self._commit(conn, [job])
            return
        _settle([(job, result, None) for job, result in results])

    def _limit_wait(self, conn: Connection, *, since: float) -> None:
        """Wait for whoever holds the database only for what is left of the oldest's patience."""
        waited = time.monotonic() - since
        wait = self._patience if waited < _LEAST else max(self._patience - waited, _LEAST)
        if wait != self._waits:
            conn.connection.cursor().execute(f"PRAGMA busy_timeout={round(wait * 1000)}")
            self._waits = wait

    def _commit_later(self, conn: Connection, group: list[_Job[Any]], error: Exception) -> None:
        """Somebody else holds the database: give up what has waited long enough, try the rest."""
        latest = time.monotonic() - self._patience + _LEAST
        overdue = [job for job in group if job.since <= latest or self._closing.is_set()]
        _settle([(job, None, error) for job in overdue])
        rest = [job for job in group if job not in overdue]
        if not rest:
            return
        if not overdue:  # refused without having waited
            self._closing.wait(_LEAST)
        self._commit(conn, rest)


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


def _is_locked(error: Exception) -> bool:
    """Whether somebody else holds the database, so that no verb of a group can be written."""
    if not isinstance(error, sa.exc.OperationalError):
        return False
    code = getattr(error.orig, "sqlite_errorcode", None)
    return code is not None and code & 0xFF == sqlite3.SQLITE_BUSY


def _translated(error: Exception) -> Exception:
    if isinstance(error, sa.exc.OperationalError) and isinstance(error.orig, sqlite3.Error):
        return DatabaseBusyError(f"the database cannot take a write now: {error.orig}")
    return error


def _engine(url: str, *, begin: str, connections: int, patience: float) -> Engine:
    engine = sa.create_engine(
        url,
        poolclass=sa.pool.QueuePool,
        pool_size=connections,
        max_overflow=0,
        connect_args={"check_same_thread": False, "timeout": patience},
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
