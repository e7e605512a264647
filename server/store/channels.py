"""Verbs on channels and their moves; every move is a row that stays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from pydantic import AwareDatetime
from sqlalchemy.engine import Connection

from pipelines.registries.contents import Part
from pipelines.values import Value
from server.store.keys import new_key
from server.store.tables import channel_moves, channels, image_contents, image_versions

LATEST = "latest"
"""The channel that pushes make by themselves."""


class MoveKind(StrEnum):
    """Who moved a channel."""

    PROMOTE = "promote"
    """Somebody chose the version."""
    ROLLBACK = "rollback"
    """Somebody went back to an earlier one."""
    DEPLOY = "deploy"
    """A run's deploy step."""
    PUSH = "push"
    """A run's push, which has the channel among its tags."""


class MoveState(StrEnum):
    """How far a move has come."""

    MOVING = "moving"
    """The registry is asked."""
    MOVED = "moved"
    FAILED = "failed"
    """The channel stayed where it was; the error says why."""


class ChannelRow(Value):
    """A moving tag of an image, and where it points."""

    id: int
    image: str
    name: str
    digest: str
    moved_at: AwareDatetime
    paused_at: AwareDatetime | None
    """Since when runs may not move it; None: they may."""
    paused_by: str | None


class NewMove(Value):
    """A move that is about to be made."""

    image: str
    channel: str
    kind: MoveKind
    digest: str
    """Where to."""
    run: int | None = None
    """The run that asked, or that made the version."""
    by: str
    why: str = ""


class MoveRow(NewMove):
    """A move as it stands in the records."""

    id: int
    from_digest: str | None
    """Where the channel pointed before; None: nowhere."""
    state: MoveState
    error: str | None
    at: AwareDatetime
    ended_at: AwareDatetime | None


def all_channels(conn: Connection, *, image: str | None = None) -> list[ChannelRow]:
    """Every channel, or an image's, by image and name."""
    query = sa.select(channels).order_by(channels.c.image, channels.c.name)
    if image is not None:
        query = query.where(channels.c.image == image)
    return [ChannelRow(**row._mapping) for row in conn.execute(query)]  # noqa: SLF001


def channel(conn: Connection, image: str, name: str) -> ChannelRow | None:
    """One channel; None: there is none of that name."""
    query = sa.select(channels).where(_of(channels, image, name))
    row = conn.execute(query).one_or_none()
    return None if row is None else ChannelRow(**row._mapping)  # noqa: SLF001


def paused_channels(conn: Connection, image: str) -> set[str]:
    """The names of an image's channels that runs may not move: also while one is rolled back."""
    paused = sa.select(channels.c.name).where(
        channels.c.image == image, channels.c.paused_at.is_not(None)
    )
    now = sa.select(channel_moves.c.channel).where(
        channel_moves.c.image == image,
        channel_moves.c.state == MoveState.MOVING,
        channel_moves.c.kind == MoveKind.ROLLBACK,
    )
    return set(conn.execute(sa.union(paused, now)).scalars())


def moves(
    conn: Connection,
    *,
    image: str | None = None,
    name: str | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[MoveRow]:
    """Moves, newest first, that meet every condition given."""
    query = sa.select(channel_moves).order_by(channel_moves.c.id.desc()).limit(limit)
    if image is not None:
        query = query.where(channel_moves.c.image == image)
    if name is not None:
        query = query.where(channel_moves.c.channel == name)
    if before is not None:
        query = query.where(channel_moves.c.id < before)
    return [MoveRow(**row._mapping) for row in conn.execute(query)]  # noqa: SLF001


def one_move(conn: Connection, id: int) -> MoveRow:  # noqa: A002
    """A move that is known to be there."""
    row = conn.execute(sa.select(channel_moves).where(channel_moves.c.id == id)).one()
    return MoveRow(**row._mapping)  # noqa: SLF001


def under_way(conn: Connection, image: str, name: str) -> MoveRow | None:
    """The move of a channel that somebody is at; None: nobody is."""
    where = _moves_of(image, name), channel_moves.c.state == MoveState.MOVING
    row = conn.execute(sa.select(channel_moves).where(*where)).one_or_none()
    return None if row is None else MoveRow(**row._mapping)  # noqa: SLF001


def begun_before(conn: Connection, at: datetime) -> list[MoveRow]:
    """Moves that began before then, and whose end nobody has written."""
    query = sa.select(channel_moves).where(
        channel_moves.c.state == MoveState.MOVING, channel_moves.c.at < at
    )
    return [MoveRow(**row._mapping) for row in conn.execute(query)]  # noqa: SLF001


def begin_move(conn: Connection, new: NewMove, *, at: datetime) -> MoveRow | None:
    """Write down that a move is made now; None where somebody else is at that channel."""
    if under_way(conn, new.image, new.channel) is not None:
        return None
    before = channel(conn, new.image, new.channel)
    inserted = conn.execute(
        sa.insert(channel_moves).values(
            **new.model_dump(),
            from_digest=None if before is None else before.digest,
            state=MoveState.MOVING,
            at=at,
        )
    )
    return one_move(conn, new_key(inserted))


def end_move(
    conn: Connection,
    move: MoveRow,
    *,
    from_digest: str | None,
    pause: bool,
    parts: Sequence[Part],
    at: datetime,
) -> MoveRow:
    """Write down that the registry has it, with the channel that points there now."""
    _set_ended(conn, move.id, state=MoveState.MOVED, from_digest=from_digest, ended_at=at)
    _point(conn, move, at=at)
    if pause:
        conn.execute(
            sa.update(channels)
            .where(_of(channels, move.image, move.channel))
            .values(paused_at=at, paused_by=move.by)
        )
    if parts:
        remember_contents(conn, move.digest, parts, at=at)
    return one_move(conn, move.id)


def fail_move(conn: Connection, move: MoveRow, error: str, *, at: datetime) -> None:
    """Write down that the channel stayed where it was."""
    _set_ended(conn, move.id, state=MoveState.FAILED, error=error, ended_at=at)


def _set_ended(conn: Connection, id: int, **values: object) -> None:  # noqa: A002
    conn.execute(
        sa.update(channel_moves)
        .where(channel_moves.c.id == id, channel_moves.c.state == MoveState.MOVING)
        .values(**values)
    )


def _point(conn: Connection, move: NewMove, *, at: datetime) -> None:
    values = {"digest": move.digest, "moved_at": at}
    where = _of(channels, move.image, move.channel)
    if conn.execute(sa.update(channels).where(where).values(**values)).rowcount == 0:
        conn.execute(sa.insert(channels).values(image=move.image, name=move.channel, **values))


def pushed(
    conn: Connection, *, image: str, tags: Iterable[str], digest: str, run: int, at: datetime
) -> None:
    """Write down which channels a push has moved: those among its tags, and always `latest`."""
    known = {row.name: row for row in all_channels(conn, image=image)}
    for tag in tags:
        if tag not in known and tag != LATEST:
            continue
        before = known[tag].digest if tag in known else None
        new = NewMove(
            image=image, channel=tag, kind=MoveKind.PUSH, digest=digest, run=run, by=f"run {run}"
        )
        conn.execute(
            sa.insert(channel_moves).values(
                **new.model_dump(),
                from_digest=before,
                state=MoveState.MOVED,
                at=at,
                ended_at=at,
            )
        )
        _point(conn, new, at=at)


def resume(conn: Connection, image: str, name: str) -> bool:
    """Let runs move a channel again; False where they may already."""
    where = _of(channels, image, name), channels.c.paused_at.is_not(None)
    values = {"paused_at": None, "paused_by": None}
    return conn.execute(sa.update(channels).where(*where).values(**values)).rowcount > 0


def images(conn: Connection) -> list[str]:
    """Every image of which a version was pushed, by name."""
    query = sa.select(image_versions.c.image).distinct().order_by(image_versions.c.image)
    return list(conn.execute(query).scalars())


def known_contents(conn: Connection, digest: str) -> tuple[Part, ...]:
    """What an image is known to be made of; none where nobody has looked yet."""
    query = sa.select(image_contents.c.parts).where(image_contents.c.digest == digest)
    return tuple(Part.model_validate(part) for part in conn.execute(query).scalar() or ())


def remember_contents(
    conn: Connection, digest: str, parts: Sequence[Part], *, at: datetime
) -> None:
    """Keep what an image is made of: a digest never means anything else."""
    known = conn.execute(
        sa.select(image_contents.c.digest).where(image_contents.c.digest == digest)
    ).scalar()
    if known is None:
        told = [part.model_dump(mode="json") for part in parts]
        conn.execute(sa.insert(image_contents).values(digest=digest, parts=told, seen_at=at))


def _of(table: Any, image: str, name: str) -> sa.ColumnElement[bool]:  # noqa: ANN401 - a table
    return sa.and_(table.c.image == image, table.c.name == name)


def _moves_of(image: str, name: str) -> sa.ColumnElement[bool]:
    return sa.and_(channel_moves.c.image == image, channel_moves.c.channel == name)
