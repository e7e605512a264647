"""Copies of the database, and going back to one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipelines.durations import format_size
from server import clock, marks
from server.alone import alone
from server.cli.settings import UsageError
from server.config import Settings
from server.store import backups
from server.store.database import sqlite_path


def backup(settings: Settings, file: Path, *, force: bool) -> Iterator[str]:
    """Write a copy; yields what to tell.

    Raises:
        UsageError: The database is no file.
        BackupError: No copy could be made.
    """
    made = backups.back_up(_path(settings), file, replace=force)
    marks.note_backup(settings.server.data, clock.now())
    yield f"{made.path}: {format_size(made.size)} in {made.seconds:.1f} s, checked and on disk."
    yield (
        f"It is the database alone: output is in {settings.server.data / 'logs'}, artifacts and "
        f"test reports in {settings.server.data / 'artifacts'}, plain files that you may copy as "
        "they are; mirrors are fetched again."
    )


def restore(settings: Settings, file: Path) -> Iterator[str]:
    """Put a copy in place; yields what to tell.

    Raises:
        AlreadyRunningError: A server uses the data folder or the database.
        UsageError: The database is no file.
        RestoreError: The file cannot be used.
    """
    database = _path(settings)
    data = settings.server.data
    with alone(data, database):
        least = max(_highest_run(data / "logs"), _highest_run(data / "artifacts"))
        done = backups.restore(file, database, at=clock.now(), least_run=least)
    yield f"{database} is now what {file} holds. The server can be started."
    if done.kept is not None:
        yield f"The database before it is kept: to go back, `lading restore {done.kept}`."
    yield (
        "It is the database alone: output, artifacts and mirrors stay as they are. What came in "
        "after the backup was made is not known any more: have the git hosts send it again."
    )


def _path(settings: Settings) -> Path:
    path = sqlite_path(settings.database_url)
    if path is None:
        raise UsageError("`database.url` names no SQLite file: use that database's own tools")
    return path


def _highest_run(folder: Path) -> int:
    """The highest run that has a folder of its own there; 0 where none has."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return max((int(name) for name in names if name.isascii() and name.isdigit()), default=0)
