"""Verbs on what steps leave: how much of it, until when, and what their tests came to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from pipelines.events import EventKind
from pipelines.progress import Kept, State, Tests
from pipelines.values import Value
from server.store.rows import KeptRow, RunRow
from server.store.tables import kept, repositories, runs


class Place(Value):
    """The step of an attempt whose files are meant."""

    run: int
    attempt: int
    step: str


def record_kept(
    conn: Connection, place: Place, what: Kept, *, at: datetime, expires_at: datetime
) -> None:
    """Write down what a step left; what an earlier process wrote of the same step is replaced."""
    own = _own(place)
    conn.execute(sa.delete(kept).where(own))
    counts = dict.fromkeys(Tests.model_fields) if what.tests is None else what.tests.model_dump()
    conn.execute(
        sa.insert(kept).values(
            run=place.run,
            attempt=place.attempt,
            step=place.step,
            files=what.files,
            size=what.size,
            stored=what.stored,
            notes=list(what.notes),
            created_at=at,
            expires_at=expires_at,
            **counts,
        )
    )


def kept_of_run(conn: Connection, run: int) -> list[KeptRow]:
    """What the steps of all attempts of a run left."""
    query = sa.select(kept).where(kept.c.run == run).order_by(kept.c.attempt, kept.c.step)
    return [_row(row) for row in conn.execute(query)]


def kept_of_step(conn: Connection, place: Place) -> KeptRow | None:
    """What one step left; None where that is nothing."""
    row = conn.execute(sa.select(kept).where(_own(place))).one_or_none()
    return None if row is None else _row(row)


def baseline(conn: Connection, run: RunRow, step: str) -> Place | None:
    """The newest test report of a step on the default branch before a run."""
    query = (
        sa.select(kept.c.run, kept.c.attempt, kept.c.step)
        .join(runs, runs.c.id == kept.c.run)
        .where(
            runs.c.repository == run.repository,
            runs.c.pipeline == run.pipeline,
            runs.c.id < run.id,
            runs.c.branch == run.event.default_branch,
            runs.c.event["kind"].as_string() != EventKind.PULL_REQUEST,
            kept.c.step == step,
            kept.c.total.is_not(None),
        )
        .order_by(kept.c.run.desc(), kept.c.attempt.desc())
        .limit(1)
    )
    row = conn.execute(query).one_or_none()
    return None if row is None else Place(**row._mapping)  # noqa: SLF001


def latest_artifacts(
    conn: Connection, *, repository: str, branch: str, pipeline: str, step: str
) -> KeptRow | None:
    """What a step left in the newest run of a branch that passed; None where nothing is kept."""
    query = (
        sa.select(kept)
        .join(runs, runs.c.id == kept.c.run)
        .join(repositories, repositories.c.id == runs.c.repository)
        .where(
            repositories.c.full_name == repository,
            runs.c.branch == branch,
            runs.c.event["kind"].as_string() != EventKind.PULL_REQUEST,
            runs.c.pipeline == pipeline,
            runs.c.state == State.SUCCESS,
            kept.c.step == step,
            kept.c.files > 0,
            kept.c.removed_at.is_(None),
        )
        .order_by(kept.c.run.desc(), kept.c.attempt.desc())
        .limit(1)
    )
    row = conn.execute(query).one_or_none()
    return None if row is None else _row(row)


def stored_bytes(conn: Connection) -> int:
    """Bytes that all artifacts take on the disk."""
    query = sa.select(sa.func.coalesce(sa.func.sum(kept.c.stored), 0))
    return int(conn.execute(query.where(kept.c.removed_at.is_(None))).scalar_one())


def expired(conn: Connection, *, now: datetime, after: Place | None, limit: int) -> list[KeptRow]:
    """Artifacts whose time is over."""
    query = sa.select(kept).where(
        kept.c.files > 0, kept.c.removed_at.is_(None), kept.c.expires_at <= now
    )
    if after is not None:
        key = sa.tuple_(kept.c.run, kept.c.attempt, kept.c.step)
        query = query.where(key > sa.tuple_(after.run, after.attempt, after.step))
    query = query.order_by(kept.c.run, kept.c.attempt, kept.c.step).limit(limit)
    return [_row(row) for row in conn.execute(query)]


def artifacts_removed(conn: Connection, places: Sequence[Place], *, at: datetime) -> None:
    """Note that the artifacts of some steps are gone."""
    for place in places:
        conn.execute(sa.update(kept).where(_own(place)).values(removed_at=at))


def _own(place: Place) -> sa.ColumnElement[bool]:
    return sa.and_(
        kept.c.run == place.run, kept.c.attempt == place.attempt, kept.c.step == place.step
    )


def _row(row: Row[Any]) -> KeptRow:
    found = dict(row._mapping)  # noqa: SLF001
    counts = {name: found.pop(name) for name in Tests.model_fields}
    return KeptRow(**found, tests=None if counts["total"] is None else Tests(**counts))
