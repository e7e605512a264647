"""Verbs on image versions."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Connection

from pipelines.locks import Level
from pipelines.progress import Pushed
from server.store.rows import ImageVersionRow, RunRow
from server.store.tables import image_versions, repositories


def is_kept(version: sa.FromClause) -> sa.ColumnElement[bool]:  # noqa: ARG001 - see below
    """Whether a version's row, and with it its run, must stay whatever its age.

    Every version does for now. Channels will say here which: what a channel points at, and what
    it may be rolled back to, is never removed.

    Args:
        version: `image_versions`, or an alias of it.
    """
    return sa.true()


def add_image_version(
    conn: Connection, *, run: RunRow, attempt: int, step: str, pushed: Pushed, at: datetime
) -> None:
    """Write down what a push step put into a registry."""
    conn.execute(
        sqlite.insert(image_versions)
        .values(
            repository=run.repository,
            run=run.id,
            attempt=attempt,
            step=step,
            image=pushed.repository,
            digest=pushed.digest,
            tags=list(pushed.tags),
            sha=run.sha,
            branch=run.branch,
            size=pushed.size,
            created_at=at,
            lock=None if pushed.lock is None else pushed.lock.model_dump(mode="json"),
            level=None if pushed.lock is None else pushed.lock.level.value,
        )
        .on_conflict_do_nothing()
    )


def image_versions_page(
    conn: Connection,
    *,
    image: str | None = None,
    repository: str | None = None,
    run: int | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[ImageVersionRow]:
    """Image versions, newest first, that meet every condition given."""
    query = sa.select(image_versions, repositories.c.full_name).join(
        repositories, repositories.c.id == image_versions.c.repository
    )
    if image is not None:
        query = query.where(image_versions.c.image == image)
    if repository is not None:
        query = query.where(repositories.c.full_name == repository)
    if run is not None:
        query = query.where(image_versions.c.run == run)
    if before is not None:
        query = query.where(image_versions.c.id < before)
    query = query.order_by(image_versions.c.id.desc()).limit(limit)
    return [ImageVersionRow(**row._mapping) for row in conn.execute(query)]  # noqa: SLF001


def image_version_named(
    conn: Connection, image: str, *, digest: str | None = None, tag: str | None = None
) -> ImageVersionRow | None:
    """The newest version of an image with that digest or tag."""
    query = sa.select(image_versions, repositories.c.full_name).join(
        repositories, repositories.c.id == image_versions.c.repository
    )
    query = query.where(image_versions.c.image == image).order_by(image_versions.c.id.desc())
    if digest is not None:
        query = query.where(image_versions.c.digest == digest)
    for row in conn.execute(query):
        found = ImageVersionRow(**row._mapping)  # noqa: SLF001
        if tag is None or tag in found.tags:
            return found
    return None


def version_verified(conn: Connection, version: int, *, level: Level, at: datetime) -> None:
    """Write down that a version was made again, and how far it was the same."""
    conn.execute(
        sa.update(image_versions)
        .where(image_versions.c.id == version)
        .values(level=level.value, verified_at=at)
    )
