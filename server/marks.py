"""Files in the data folder by which the server and commands beside it tell each other something.

Not rows: a command that only wants to say that it was here should not write the database beside the
server, whose own connection is the one that writes (`store/database.py`).
"""

from __future__ import annotations

import fcntl
from datetime import UTC, datetime
from pathlib import Path

_BACKUP = "last-backup"
_CLEANUP = "cleanup-wanted"
_LOCK = "lock"


def note_backup(data: Path, at: datetime) -> None:
    """A backup was made."""
    (data / _BACKUP).write_text(at.isoformat())


def last_backup(data: Path) -> datetime | None:
    """When the last backup was made; None where none was, or nothing tells."""
    try:
        at = datetime.fromisoformat((data / _BACKUP).read_text())
    except (OSError, ValueError):
        return None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def want_cleanup(data: Path) -> None:
    """Have the server that runs keep house now."""
    (data / _CLEANUP).touch()


def cleanup_wanted(data: Path) -> bool:
    """Whether somebody has asked for it; asking is over with that."""
    try:
        (data / _CLEANUP).unlink()
    except FileNotFoundError:
        return False
    return True


def server_process(data: Path) -> str | None:
    """The process that serves this data folder; None where none does."""
    try:
        with (data / _LOCK).open("r") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read().strip() or "unknown"
    except OSError:
        return None
    return None
