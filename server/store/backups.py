"""Copies of a SQLite database that can be trusted, and putting one back in its place."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from pipelines.problems import LadingError
from pipelines.values import Value
from server.store.migrations import known_revisions
from server.store.soundness import damage, sync_folder

BUSY_SECONDS = 30.0
_BESIDE = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a database."""


class BackupError(LadingError):
    """No copy could be made, or none that can be trusted."""


class RestoreError(LadingError):
    """The file cannot take the database's place; nothing was changed."""


class Copied(Value):
    """A copy that was made."""

    path: Path
    size: int
    """Bytes."""
    seconds: float


class Restored(Value):
    """A database that was put in place."""

    kept: Path | None
    """The database that stood there before; None where there was none."""


def back_up(database: Path, target: Path, *, replace: bool) -> Copied:
    """Write a copy of a database, of one moment, while others read and write it.

    The file appears under its name when it is whole, checked and on disk; only its owner may read
    it.

    Raises:
        BackupError: There is no database, the file is there and `replace` is false, or the copy
            could not be written or is damaged.
    """
    start = time.monotonic()
    if not database.is_file():
        raise BackupError(f"there is no database at {database}: nothing to copy")
    if target.exists() and (target.is_dir() or target.samefile(database)):
        raise BackupError(f"{target} cannot be written over: name another file for the copy")
    _refuse_taken(target, replace=replace)
    try:
        with _copy(database, target) as made:
            found = damage(made)
            if found:
                raise BackupError(
                    f"the copy of {database} is damaged ({found}), and was not kept: the database "
                    "itself may be; `lading doctor` checks it"
                )
            _refuse_taken(target, replace=replace)
            made.replace(target)
        sync_folder(target.absolute().parent)
    except (sqlite3.Error, OSError) as error:
        raise BackupError(
            f"no copy of {database} could be written to {target} ({error}): see that the folder is "
            "there, has room and may be written; run this as the user who runs the server"
        ) from error
    return Copied(path=target, size=target.stat().st_size, seconds=time.monotonic() - start)


def restore(source: Path, database: Path, *, at: datetime, least_run: int) -> Restored:
    """Put a copy in the database's place; no server may use it meanwhile.

    Args:
        source: A database of Lading.
        database: Where it shall stand.
        at: Now, for the name under which the present database is kept.
        least_run: New runs get higher numbers: their output must not meet an older run's.

    Raises:
        RestoreError: The file is none that can be used, or could not be put in place.
    """
    _refuse_unusable(source, database)
    kept = free_name(database.with_name(f"{database.name}.{at:%Y%m%dT%H%M%SZ}"))
    database.parent.mkdir(parents=True, exist_ok=True)
    there = database.exists()
    try:
        with _copy(source, database) as made:
            _number_runs_from(made, least_run)
            _give_to_owner_of(database if there else database.parent, made)
            if there:
                _put_aside(database, kept)
            made.replace(database)
        sync_folder(database.absolute().parent)
    except (sqlite3.Error, OSError) as error:
        raise RestoreError(
            f"{source} could not be put in place of {database} ({error}): see that the disk has "
            "room, and run this as the user who runs the server"
        ) from error
    return Restored(kept=kept if there else None)


def free_name(dated: Path) -> Path:
    """A name that nothing has yet: two copies may fall into one second."""
    free = dated
    for number in itertools.count(2):
        if not free.exists():
            break
        free = dated.with_name(f"{dated.name}-{number}")
    return free


def _refuse_taken(target: Path, *, replace: bool) -> None:
    if target.exists() and not replace:
        raise BackupError(f"{target} is there already: name another file, or add --force")


def _refuse_unusable(source: Path, database: Path) -> None:
    if not source.is_file():
        raise RestoreError(f"there is no file {source}: name what `lading backup` wrote")
    if database.exists() and source.samefile(database):
        raise RestoreError(f"{source} is the database in use: name a backup of it")
    found = damage(source)
    if found:
        raise RestoreError(f"{source} is no database that can be used ({found}): take another one")
    revision = _revision(source)
    if revision is None:
        raise RestoreError(f"{source} is a database, but none of Lading: take another file")
    if revision not in known_revisions():
        raise RestoreError(
            f"{source} stands at revision {revision}, which this version of Lading does not know: "
            "restore it with the version that wrote it"
        )


def _revision(database: Path) -> str | None:
    with contextlib.closing(sqlite3.connect(database)) as conn:
        try:
            found = conn.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError:
            return None
    return None if found is None else str(found[0])


@contextlib.contextmanager
def _copy(source: Path, target: Path) -> Iterator[Path]:
    """A copy on disk beside the target, under another name; it is gone after, unless renamed."""
    # Made by us and empty, so that it is readable by its owner alone; SQLite fills it.
    descriptor, name = tempfile.mkstemp(dir=target.absolute().parent, prefix=f".{target.name}.")
    made = Path(name)
    try:
        with contextlib.closing(sqlite3.connect(source, timeout=BUSY_SECONDS)) as conn:
            conn.execute("VACUUM INTO ?", (name,))
        os.fsync(descriptor)
        yield made
    finally:
        os.close(descriptor)
        for path in (made, *(Path(name + suffix) for suffix in _BESIDE)):
            path.unlink(missing_ok=True)


def _number_runs_from(database: Path, least: int) -> None:
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as conn:
        conn.execute("PRAGMA synchronous=FULL")
        changed = conn.execute(
            "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'runs'", (least,)
        )
        if changed.rowcount == 0:
            conn.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('runs', ?)", (least,))


def _give_to_owner_of(other: Path, made: Path) -> None:
    """Root may restore; the server, which is not root, must be able to use the file."""
    owner = other.stat()
    with contextlib.suppress(PermissionError):  # only root can give a file away
        os.chown(made, owner.st_uid, owner.st_gid)


def _put_aside(database: Path, kept: Path) -> None:
    """Keep the present database under another name, with what SQLite has not moved into it yet."""
    with (
        contextlib.suppress(sqlite3.DatabaseError),  # damaged: its log is kept beside it
        contextlib.closing(sqlite3.connect(database)) as conn,
    ):
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    try:
        os.link(database, kept)
    except OSError:  # a file system without links
        shutil.copy2(database, kept)
    for suffix in _BESIDE:
        # What is left here would be played into the database that takes the place.
        left = database.with_name(database.name + suffix)
        if left.exists():
            left.replace(kept.with_name(kept.name + suffix))
