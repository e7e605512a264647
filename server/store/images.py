"""Verbs on image versions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Connection

from pipelines.locks import Level
from pipelines.progress import Pushed
from server.store import channels as channel_verbs
from server.store.channels import MoveState
from server.store.rows import ImageVersionRow, RunRow
from server.store.tables import channel_moves, channels, image_versions, repositories


def is_kept(version: sa.FromClause, *, moves: int) -> sa.ColumnElement[bool]:
    """Whether a version's row, and with it its run, must stay whatever its age.

    What a channel points at stays, and what it pointed at before its last moves: it may be rolled
    back to. Of an image without any channel every version does: nobody has said what is deployed.

    Args:
        version: `image_versions`, or an alias of it.
        moves: How many moves of each channel are looked at.
    """
    newest = sa.select(
        channel_moves.c.image,
        channel_moves.c.digest,
        channel_moves.c.from_digest,
        sa.func.row_number()
        .over(
            partition_by=(channel_moves.c.image, channel_moves.c.channel),
            order_by=channel_moves.c.id.desc(),
        )
        .label("back"),
    ).where(channel_moves.c.state == MoveState.MOVED)
    recent = newest.subquery()
    in_reach = sa.exists().where(
        recent.c.back <= moves,
        recent.c.image == version.c.image,
        sa.or_(recent.c.digest == version.c.digest, recent.c.from_digest == version.c.digest),
    )
    of_image = channels.c.image == version.c.image
    pointed_at = sa.exists().where(of_image, channels.c.digest == version.c.digest)
    return sa.or_(pointed_at, in_reach, ~sa.exists().where(of_image))


def add_image_version(
    conn: Connection, *, run: RunRow, attempt: int, step: str, pushed: Pushed, at: datetime
) -> None:
    """Write down what a push step put into a registry, and which channels it moved."""
    made = conn.execute(
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
        .returning(image_versions.c.id)
    ).scalar()
    if made is not None:
        channel_verbs.pushed(
            conn,
            image=pushed.repository,
            tags=pushed.tags,
            digest=pushed.digest,
            run=run.id,
            at=at,
        )


def versions_like(
    conn: Connection, image: str, wanted: str, *, limit: int
) -> list[ImageVersionRow]:
    """Versions of an image, newest first, of which a text may be digest, tag or commit."""
    query = (
        sa.select(image_versions, repositories.c.full_name)
        .join(repositories, repositories.c.id == image_versions.c.repository)
        .where(
            image_versions.c.image == image,
            sa.or_(
                image_versions.c.digest.startswith(wanted, autoescape=True),
                image_versions.c.sha.startswith(wanted, autoescape=True),
                sa.cast(image_versions.c.tags, sa.Text).contains(f'"{wanted}"', autoescape=True),
            ),
        )
        .order_by(image_versions.c.id.desc())
        .limit(limit)
    )
    return [ImageVersionRow(**row._mapping) for row in conn.execute(query)]  # noqa: SLF001


def written(conn: Connection, image: str, tags: Sequence[str]) -> dict[str, str]:
    """Of some tags of an image those that were pushed already, with the digest of the first time.

    Asked of tags that are written once, for which no row says anything else later.
    """
    found: dict[str, str] = {}
    if not tags:
        return found
    query = (
        sa.select(image_versions.c.tags, image_versions.c.digest)
        .where(image_versions.c.image == image)
        .order_by(image_versions.c.id)
    )
    for row in conn.execute(query):
        for tag in set(row.tags).intersection(tags):
            found.setdefault(tag, row.digest)
    return found


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
