"""Verbs that say what is old enough to go, and take it away in portions.

What is found is read, by connections that hold up nobody; each portion is small, so that the one
writer is never held for long. A portion asks once more whether what it takes away may go.

The newest decision about each branch and tag stays whatever its age, with its run: whoever compares
a repository's heads with what was built must find it, or old commits would be built anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.events import EventKind
from pipelines.progress import State
from pipelines.values import Value
from server.store.images import is_kept
from server.store.rows import DeliveryState
from server.store.tables import (
    approvals,
    attempts,
    decisions,
    deliveries,
    image_versions,
    kept,
    repositories,
    runs,
    statuses,
    steps,
)

MOVES = 10
"""Moves of each channel whose versions stay, where nothing else is said."""
_ENDED = tuple(state for state in State if state.ended)


class OldRun(Value):
    """A run that may go."""

    id: int


class OldOutput(Value):
    """An attempt whose output may go."""

    run: int
    attempt: int


class OldDelivery(Value):
    """A delivery whose headers and body may go."""

    id: str
    size: int
    """Bytes of its body."""


class OldDecision(Value):
    """A decision without a run, or a delivery that none was made about, that may go."""

    id: int
    delivery: str | None


def _newest_of_refs() -> sa.Select[Any]:
    """The decision made last about each branch and tag, and the one that it repeats."""
    newest = (
        sa.select(sa.func.max(decisions.c.id))
        .where(decisions.c.event["kind"].as_string() != EventKind.PULL_REQUEST)
        .group_by(decisions.c.repository, decisions.c.event["ref"].as_string())
    )
    repeated = sa.select(decisions.c.duplicate_of).where(
        decisions.c.id.in_(newest), decisions.c.duplicate_of.is_not(None)
    )
    return sa.union_all(newest, repeated).subquery().select()


def repositories_with_more(conn: Connection, runs_each: int) -> dict[int, int]:
    """Repositories that have more runs than so many, each with the oldest of its newest ones."""
    found = {}
    counted = sa.select(runs.c.repository).group_by(runs.c.repository)
    crowded = counted.having(sa.func.count() > runs_each)
    for repository in conn.execute(crowded).scalars():
        nth = (
            sa.select(runs.c.id)
            .where(runs.c.repository == repository)
            .order_by(runs.c.id.desc())
            .limit(1)
            .offset(max(runs_each - 1, 0))
        )
        newest = conn.execute(nth).scalar_one()
        found[repository] = int(newest) if runs_each else int(newest) + 1
    return found


def old_runs(
    conn: Connection,
    repository: int,
    *,
    below: int,
    before: datetime,
    after: int,
    limit: int,
    moves: int = MOVES,
) -> list[OldRun]:
    """Runs of a repository that may go: ended before `before`, numbered below `below`.

    A run stays for an image version that a channel may be rolled back to by its last `moves`.
    """
    query = (
        sa.select(runs.c.id)
        .where(
            runs.c.repository == repository,
            runs.c.id > after,
            runs.c.id < below,
            _may_go(before),
            ~_has_kept_version(moves),
            runs.c.decision.not_in(_newest_of_refs()),
        )
        .order_by(runs.c.id)
        .limit(limit)
    )
    return [OldRun(id=run) for run in conn.execute(query).scalars()]


def _has_kept_version(moves: int) -> sa.ColumnElement[bool]:
    of_run = image_versions.c.run == runs.c.id
    return sa.exists().where(of_run, is_kept(image_versions, moves=moves))


def _may_go(before: datetime) -> sa.ColumnElement[bool]:
    return sa.and_(runs.c.state.in_(_ENDED), runs.c.ended_at < before)


def remove_runs(
    conn: Connection, ids: Sequence[int], *, before: datetime, moves: int = MOVES
) -> list[int]:
    """Take runs away with all that is only theirs; one that was started again meanwhile stays."""
    query = sa.select(runs.c.id, runs.c.decision).where(
        runs.c.id.in_(ids), _may_go(before), ~_has_kept_version(moves)
    )
    found = conn.execute(query).all()
    gone = [row.id for row in found]
    for table in (kept, steps, attempts, statuses, image_versions):
        conn.execute(sa.delete(table).where(table.c.run.in_(gone)))
    # Who approved what is kept for ever; that somebody was asked and nobody answered is not.
    conn.execute(
        sa.delete(approvals).where(approvals.c.run.in_(gone), approvals.c.verdict.is_(None))
    )
    conn.execute(sa.delete(runs).where(runs.c.id.in_(gone)))
    _remove_decisions(conn, [row.decision for row in found], before=before)
    return gone


def _speaks_for_nothing(before: datetime) -> sa.ColumnElement[bool]:
    """No run is left of a decision, and nothing has repeated it lately."""
    repeat = decisions.alias("repeat")
    return sa.and_(
        ~sa.exists().where(runs.c.decision == decisions.c.id),
        ~sa.exists().where(repeat.c.duplicate_of == decisions.c.id, repeat.c.decided_at >= before),
    )


def _remove_decisions(conn: Connection, ids: Sequence[int], *, before: datetime) -> None:
    """Take decisions away with those that repeat them, and the deliveries of all."""
    may_go = sa.select(decisions.c.id).where(decisions.c.id.in_(ids), _speaks_for_nothing(before))
    gone = list(conn.execute(may_go).scalars())
    same = sa.select(decisions.c.id, decisions.c.delivery).where(
        sa.or_(decisions.c.id.in_(gone), decisions.c.duplicate_of.in_(gone))
    )
    found = conn.execute(same).all()
    told = [row.delivery for row in found if row.delivery is not None]
    repeats = [row.id for row in found if row.id not in set(gone)]
    for some in (repeats, gone):
        conn.execute(sa.delete(decisions).where(decisions.c.id.in_(some)))
    conn.execute(sa.delete(deliveries).where(deliveries.c.id.in_(told)))


def old_decisions(
    conn: Connection, *, before: datetime, after: int, limit: int
) -> list[OldDecision]:
    """Decisions made before `before` that started nothing; what repeats another goes with it."""
    query = (
        sa.select(decisions.c.id, decisions.c.delivery)
        .where(
            decisions.c.id > after,
            decisions.c.decided_at < before,
            decisions.c.duplicate_of.is_(None),
            _speaks_for_nothing(before),
            decisions.c.id.not_in(_newest_of_refs()),
        )
        .order_by(decisions.c.id)
        .limit(limit)
    )
    return [OldDecision(**row._mapping) for row in conn.execute(query)]  # noqa: SLF001


def remove_decisions(conn: Connection, ids: Sequence[int], *, before: datetime) -> None:
    """Take decisions away that started nothing, with their deliveries."""
    _remove_decisions(conn, ids, before=before)


def old_unbound_deliveries(
    conn: Connection, *, before: datetime, after: str, limit: int
) -> list[str]:
    """Deliveries set aside before `before`, which nobody had read again; by id."""
    query = (
        sa.select(deliveries.c.id)
        .where(
            deliveries.c.state == DeliveryState.QUARANTINED,
            deliveries.c.id > after,
            deliveries.c.received_at < before,
            ~sa.exists().where(decisions.c.delivery == deliveries.c.id),
        )
        .order_by(deliveries.c.id)
        .limit(limit)
    )
    return list(conn.execute(query).scalars())


def remove_unbound_deliveries(conn: Connection, ids: Sequence[str]) -> None:
    """Take set-aside deliveries away; one that waits to be read again stays."""
    conn.execute(
        sa.delete(deliveries).where(
            deliveries.c.id.in_(ids),
            deliveries.c.state == DeliveryState.QUARANTINED,
            ~sa.exists().where(decisions.c.delivery == deliveries.c.id),
        )
    )


def old_deliveries(
    conn: Connection, *, before: datetime, after: str, limit: int
) -> list[OldDelivery]:
    """Decided deliveries of before `before` that still hold what was received."""
    query = (
        sa.select(deliveries.c.id, sa.func.length(deliveries.c.body).label("size"))
        .where(
            deliveries.c.state == DeliveryState.DECIDED,
            deliveries.c.id > after,
            deliveries.c.received_at < before,
            deliveries.c.emptied_at.is_(None),
        )
        .order_by(deliveries.c.id)
        .limit(limit)
    )
    return [OldDelivery(**row._mapping) for row in conn.execute(query)]  # noqa: SLF001


def empty_deliveries(conn: Connection, ids: Sequence[str], *, at: datetime) -> None:
    """Drop headers and bodies; that they came, and what was decided, stays."""
    conn.execute(
        sa.update(deliveries)
        .where(deliveries.c.id.in_(ids), deliveries.c.state == DeliveryState.DECIDED)
        .values(headers={}, body=b"", emptied_at=at)
    )


def old_outputs(
    conn: Connection, *, before: datetime, after: tuple[int, int], limit: int
) -> list[OldOutput]:
    """Attempts that ended before `before` and still have their output."""
    query = (
        sa.select(attempts.c.run, attempts.c.number.label("attempt"))
        .where(
            sa.tuple_(attempts.c.run, attempts.c.number) > sa.tuple_(*after),
            attempts.c.state.in_(_ENDED),
            attempts.c.ended_at < before,
            attempts.c.output_removed_at.is_(None),
        )
        .order_by(attempts.c.run, attempts.c.number)
        .limit(limit)
    )
    return [OldOutput(**row._mapping) for row in conn.execute(query)]  # noqa: SLF001


def outputs_removed(conn: Connection, outputs: Sequence[OldOutput], *, at: datetime) -> None:
    """Note that the output of some attempts is gone."""
    for one in outputs:
        conn.execute(
            sa.update(attempts)
            .where(attempts.c.run == one.run, attempts.c.number == one.attempt)
            .values(output_removed_at=at)
        )


def known_runs(conn: Connection, ids: Sequence[int]) -> set[int]:
    """Those of some numbers that are a run's."""
    return set(conn.execute(sa.select(runs.c.id).where(runs.c.id.in_(ids))).scalars())


def repository_names(conn: Connection) -> list[str]:
    """The full names of all repositories."""
    return list(conn.execute(sa.select(repositories.c.full_name)).scalars())
