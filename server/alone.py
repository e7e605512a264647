"""One server for one data folder and one database: whoever comes second is told, and goes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from pipelines.problems import LadingError

BUSY_SECONDS = 10.0
"""Seconds for which somebody else may write when we come; a command beside us takes less."""


class AlreadyRunningError(LadingError):
    """Another process uses the same data folder or the same database."""


@contextlib.contextmanager
def alone(data: Path, database: Path | None = None) -> Iterator[None]:
    """Hold the data folder and the database; two servers on one would take each other's work.

    Each has a lock of its own: folders may differ where `database.url` is the same file. A lock
    ends with its process, however that ends; the files stay, and tell who held them last.

    Args:
        data: Made when missing.
        database: A SQLite file that need not be there yet; None where the database is none.

    Raises:
        AlreadyRunningError: Another process holds one of them, or writes to the database.
    """
    with contextlib.ExitStack() as held:
        data.mkdir(parents=True, exist_ok=True)
        holder = held.enter_context(_locked(data / "lock", f"uses {data}", "`server.data`"))
        if database is not None:
            name = database.resolve()
            mine = held.enter_context(
                _locked(
                    name.with_name(f"{name.name}-lock"),
                    f"uses the database {database}",
                    "`database.url`",
                )
            )
            _sign(mine, f"{os.getpid()}, data in {data.resolve()}")
            _refuse_written(database)
        _sign(holder, str(os.getpid()))
        yield


@contextlib.contextmanager
def _locked(path: Path, what: str, setting: str) -> Iterator[TextIO]:
    """Hold a lock file, open for our name."""
    # Not the database itself: to close it would end SQLite's own locks of this process.
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            message = (
                f"another Lading (process {holder}) {what}: two would take each other's work. Stop "
                f"it first, or set {setting} to another place"
            )
            raise AlreadyRunningError(message) from error
        yield file


def _sign(file: TextIO, text: str) -> None:
    file.truncate(0)
    file.write(text)
    file.flush()


def _refuse_written(database: Path) -> None:
    """Refuse a database that somebody who knows nothing of our locks holds for writing.

    Raises:
        AlreadyRunningError: It stayed locked for `BUSY_SECONDS`.
    """
    if not database.exists():
        return
    with (
        contextlib.suppress(sqlite3.DatabaseError),  # damaged: `soundness` has the words for it
        contextlib.closing(
            sqlite3.connect(database, timeout=BUSY_SECONDS, isolation_level=None)
        ) as conn,
    ):
        try:
            conn.execute("BEGIN EXCLUSIVE")
            conn.execute("ROLLBACK")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:  # without its reason
                raise
            message = (
                f"another program holds the database {database} for writing, and has not let go of "
                f"it for {BUSY_SECONDS:.0f} s: see who has it open (`fuser {database}`), and end it"
            )
            raise AlreadyRunningError(message) from error
