"""Bringing a database that is in use to this version's tables, with a way back."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import structlog

from pipelines.durations import format_size
from server.store.backups import back_up, free_name
from server.store.database import sqlite_path
from server.store.migrations import HEAD, current_revision, known_revisions, too_new, upgrade

log = structlog.get_logger(__name__)


def is_current(url: str) -> bool:
    """Whether the database has this version's tables.

    Raises:
        SchemaTooNewError: It has a newer version's.
    """
    current = current_revision(url)
    if current is not None and current not in known_revisions():
        raise too_new(url, current)
    return current == HEAD


def bring_up_to_date(url: str, *, at: datetime) -> None:
    """Bring the database to this version's tables; nobody else may use it meanwhile.

    One that has rows is copied first: that copy and the older version are the way back.

    Raises:
        SchemaTooNewError: It stands at a revision that this version does not know.
        BackupError: The copy could not be made; nothing was changed.
        MigrationError: Alembic could not do it; the database stands at the last whole revision.
    """
    if is_current(url):
        return
    before = current_revision(url)
    database = sqlite_path(url)
    if before is not None and database is not None:
        _keep(database, before, at)
    upgrade(url)
    if before is not None:
        log.info("the database was brought up to date", before=before, now=HEAD)


def _keep(database: Path, revision: str, at: datetime) -> None:
    name = database.with_name(f"{database.name}.before-{HEAD}.{at:%Y%m%dT%H%M%SZ}")
    kept = back_up(database, free_name(name), replace=False)
    log.info(
        "the database was copied before its tables change",
        copy=str(kept.path),
        size=format_size(kept.size),
        revision=revision,
        delete_it="once this version has proved itself",
    )
