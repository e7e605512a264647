"""Verbs on deliveries and the decisions about them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Connection, Row

from pipelines.events import Event, EventKind
from server.store.keys import new_key
from server.store.rows import (
    DecisionOutcome,
    DecisionRow,
    DeliveryRow,
    DeliveryState,
    Found,
    Lane,
    NewDelivery,
    PipelineDecision,
)
from server.store.tables import asked_deliveries, decisions, deliveries, runs

_ADD = sqlite.insert(deliveries).on_conflict_do_nothing()
_STORED = sa.select(deliveries.c.id).where(deliveries.c.id.in_(sa.bindparam("ids", expanding=True)))
_EARLIER = sa.select(deliveries.c.id).where(
    deliveries.c.host == sa.bindparam("host"),
    deliveries.c.delivery_id == sa.bindparam("delivery_id"),
)

_DIGITS = 20
_BITS = 16


class DeliveryIds:
    """Makes the ids of deliveries, which sort in the order in which they came.

    An id is the time in nanoseconds since 1970, and 16 bits more; where the clock stands still or
    has gone back, also while nobody served, it is the next one after the last.

    Args:
        after: The newest id that is stored; None where none is.
        clock: Nanoseconds since 1970.
    """

    def __init__(self, after: str | None, *, clock: Callable[[], int] = time.time_ns) -> None:
        self._last = 0 if after is None else int(after, 16)
        self._clock = clock

    def new(self) -> str:
        """The next id. From one thread."""
        self._last = max(self._last + 1, self._clock() << _BITS)
        return f"{self._last:0{_DIGITS}x}"


def newest_id(conn: Connection) -> str | None:
    """The id of the delivery that came last; None where none has come."""
    newest: str | None = conn.execute(sa.select(sa.func.max(deliveries.c.id))).scalar_one()
    return newest


def add_deliveries(conn: Connection, items: Sequence[NewDelivery]) -> Sequence[str]:
    """Store deliveries; one that is stored already stays as it is.

    Returns:
        For each item the id of the stored row: another than its own where it was a duplicate.
    """
    conn.execute(
        _ADD,
        [
            {
                "id": item.id,
                "host": item.host,
                "delivery_id": item.delivery_id,
                "event_type": item.event_type,
                "headers": item.headers,
                "body": item.body,
                "received_at": item.received_at,
                "repository": item.repository,
                "state": "waiting",
                "tries": 0,
                "found": item.found,
            }
            for item in items
        ],
    )
    stored = set(conn.execute(_STORED, {"ids": [item.id for item in items]}).scalars())
    return [item.id if item.id in stored else _earlier(conn, item) for item in items]


def _earlier(conn: Connection, item: NewDelivery) -> str:
    """The id of the row that stands in the way of a delivery told before."""
    same = {"host": item.host, "delivery_id": item.delivery_id}
    return str(conn.execute(_EARLIER, same).scalar_one())


def waiting_lanes(
    conn: Connection,
    limit: int,
    *,
    without: Collection[Lane] = (),
    without_hosts: Collection[str] = (),
) -> list[Lane]:
    """Repositories with deliveries that no decision was made about, the longest waiting first.

    Args:
        conn: The connection.
        limit: How many.
        without: Those that are being read.
        without_hosts: Hosts of which no more are read now.
    """
    query = (
        sa.select(deliveries.c.host, deliveries.c.repository)
        .where(
            deliveries.c.state == DeliveryState.WAITING,
            deliveries.c.host.not_in(without_hosts),
        )
        .group_by(deliveries.c.host, deliveries.c.repository)
        .order_by(sa.func.min(deliveries.c.id))
        .limit(limit + len(without))
    )
    lanes = [Lane(host=row.host, repository=row.repository) for row in conn.execute(query)]
    return [lane for lane in lanes if lane not in without][:limit]


def waiting_deliveries(conn: Connection, lane: Lane, limit: int) -> list[DeliveryRow]:
    """The oldest deliveries of a lane that no decision was made about."""
    query = (
        sa.select(deliveries)
        .where(
            deliveries.c.state == DeliveryState.WAITING,
            deliveries.c.host == lane.host,
            deliveries.c.repository.is_not_distinct_from(lane.repository),
        )
        .order_by(deliveries.c.id)
        .limit(limit)
    )
    return [_delivery(row) for row in conn.execute(query)]


def delivery(conn: Connection, id: str) -> DeliveryRow | None:  # noqa: A002
    """One delivery."""
    row = conn.execute(sa.select(deliveries).where(deliveries.c.id == id)).one_or_none()
    return None if row is None else _delivery(row)


def deliveries_page(
    conn: Connection, *, before: str | None = None, limit: int = 50
) -> list[DeliveryRow]:
    """Deliveries, newest first, older than the id `before`; bodies are left empty."""
    columns = [column for column in deliveries.c if column.name != "body"]
    query = sa.select(*columns, sa.literal(b"").label("body"))
    if before is not None:
        query = query.where(deliveries.c.id < before)
    query = query.order_by(deliveries.c.id.desc()).limit(limit)
    return [_delivery(row) for row in conn.execute(query)]


def count_waiting(conn: Connection) -> tuple[int, datetime | None]:
    """How many deliveries wait, and when the oldest of them came."""
    query = sa.select(sa.func.count(), sa.func.min(deliveries.c.received_at)).where(
        deliveries.c.state == DeliveryState.WAITING
    )
    count, oldest = conn.execute(query).one()
    return count, oldest


def note_failed_try(conn: Connection, id: str, *, error: str, quarantine_after: int) -> int:  # noqa: A002
    """Count a failed try to read a delivery; after some it is set aside. Returns the tries."""
    tries = deliveries.c.tries + 1
    row = conn.execute(
        sa.update(deliveries)
        .where(deliveries.c.id == id)
        .values(
            tries=tries,
            error=error,
            state=sa.case(
                (tries >= quarantine_after, DeliveryState.QUARANTINED.value),
                else_=deliveries.c.state,
            ),
        )
        .returning(deliveries.c.tries)
    ).one()
    return int(row.tries)


def count_quarantined(conn: Connection) -> tuple[int, datetime | None]:
    """How many deliveries are set aside, and when the oldest of them came."""
    query = sa.select(sa.func.count(), sa.func.min(deliveries.c.received_at)).where(
        deliveries.c.state == DeliveryState.QUARANTINED
    )
    count, oldest = conn.execute(query).one()
    return count, oldest


def requeue_delivery(conn: Connection, id: str) -> bool:  # noqa: A002
    """Have a delivery that was decided or set aside read once more.

    False where it waits already, and where what was received is no longer kept.

    The decision about it stays, but no longer speaks for it. One that started runs keeps its
    event's key, so that nothing starts twice; one that started nothing gives the key up, and so
    does the decision it repeats.
    """
    bound = conn.execute(
        sa.select(decisions.c.id, decisions.c.duplicate_of).where(decisions.c.delivery == id)
    ).one_or_none()
    requeued = conn.execute(
        sa.update(deliveries)
        .where(
            deliveries.c.id == id,
            deliveries.c.state != DeliveryState.WAITING,
            deliveries.c.emptied_at.is_(None),
        )
        .values(state=DeliveryState.WAITING, tries=0, error=None)
    )
    if requeued.rowcount == 0:
        return False
    if bound is not None:
        conn.execute(sa.update(decisions).where(decisions.c.id == bound.id).values(delivery=None))
        conn.execute(
            sa.update(decisions)
            .where(
                decisions.c.id.in_([bound.id, bound.duplicate_of]),
                ~sa.exists().where(runs.c.decision == decisions.c.id),
            )
            .values(event_key=None, ref=None, sha=None)
        )
    return True


def add_decision(
    conn: Connection,
    *,
    delivery: str | None,
    repository: int | None,
    event: Event | None,
    event_key: str | None,
    outcome: DecisionOutcome,
    reason: str,
    pipelines: Sequence[PipelineDecision] = (),
    duplicate_of: int | None = None,
    ref: str | None = None,
    sha: str | None = None,
    at: datetime,
) -> int:
    """Write a decision down and take its delivery off the waiting ones.

    `ref` and `sha` say what it is about where there is no event to say so.
    """
    inserted = conn.execute(
        sa.insert(decisions).values(
            delivery=delivery,
            repository=repository,
            event_key=event_key,
            outcome=outcome,
            reason=reason,
            event=None if event is None else event.model_dump(mode="json"),
            pipelines=[pipeline.model_dump(mode="json") for pipeline in pipelines],
            duplicate_of=duplicate_of,
            ref=ref if event is None else event.ref,
            sha=sha if event is None else event.sha,
            decided_at=at,
        )
    )
    if delivery is not None:
        conn.execute(
            sa.update(deliveries)
            .where(deliveries.c.id == delivery)
            .values(state=DeliveryState.DECIDED, found=_found())
        )
    return new_key(inserted)


def _found() -> sa.ColumnElement[str | None]:
    """How the delivery was found; one that its host was asked for says so from now on."""
    asked = sa.exists().where(
        asked_deliveries.c.host == deliveries.c.host,
        asked_deliveries.c.delivery_id == deliveries.c.delivery_id,
    )
    return sa.case(
        (sa.and_(deliveries.c.found.is_(None), asked), Found.LISTED.value),
        else_=deliveries.c.found,
    )


def set_decision_pipelines(
    conn: Connection,
    id: int,  # noqa: A002
    pipelines: Sequence[PipelineDecision],
) -> None:
    """Replace what a decision says of each pipeline (once the runs have numbers)."""
    conn.execute(
        sa.update(decisions)
        .where(decisions.c.id == id)
        .values(pipelines=[pipeline.model_dump(mode="json") for pipeline in pipelines])
    )


def decide_again(
    conn: Connection,
    id: int,  # noqa: A002
    *,
    event: Event,
    event_key: str,
    outcome: DecisionOutcome,
    reason: str,
    pipelines: Sequence[PipelineDecision],
) -> None:
    """Put what a commit says in the place of a decision that was made without having read it."""
    conn.execute(
        sa.update(decisions)
        .where(decisions.c.id == id)
        .values(
            event=event.model_dump(mode="json"),
            event_key=event_key,
            ref=event.ref,
            sha=event.sha,
            outcome=outcome,
            reason=reason,
            pipelines=[pipeline.model_dump(mode="json") for pipeline in pipelines],
        )
    )


def decision_of_event(conn: Connection, repository: int, event_key: str) -> DecisionRow | None:
    """The decision that was made about the same happening earlier."""
    query = sa.select(decisions).where(
        decisions.c.repository == repository, decisions.c.event_key == event_key
    )
    row = conn.execute(query).one_or_none()
    return None if row is None else _decision(row)


def push_decided(
    conn: Connection, repository: int, ref: str, sha: str, *, found: Found | None = None
) -> DecisionRow | None:
    """The newest decision that a commit's being on a branch or tag led to.

    With `found`, only one whose delivery was found in that way.
    """
    query = _pushes(repository, ref).where(decisions.c.sha == sha)
    if found is not None:
        query = query.join(deliveries, deliveries.c.id == decisions.c.delivery).where(
            deliveries.c.found == found
        )
    row = conn.execute(query).one_or_none()
    return None if row is None else _decision(row)


def _pushes(repository: int, ref: str) -> sa.Select[Any]:
    """Decisions that stand for what was pushed: neither repeats nor what people asked for."""
    kind = sa.func.coalesce(decisions.c.event["kind"].as_string(), "")
    return (
        sa.select(decisions)
        .where(
            decisions.c.repository == repository,
            decisions.c.ref == ref,
            decisions.c.outcome != DecisionOutcome.DUPLICATE,
            kind != EventKind.MANUAL,
        )
        .order_by(decisions.c.id.desc())
        .limit(1)
    )


def delivery_of_decision(conn: Connection, id: int) -> DeliveryRow | None:  # noqa: A002
    """The delivery that speaks for a decision; after a redelivery the one whose repeat names it.

    Its body is left empty.
    """
    columns = [column for column in deliveries.c if column.name != "body"]
    query = (
        sa.select(*columns, sa.literal(b"").label("body"))
        .join(decisions, decisions.c.delivery == deliveries.c.id)
        .where(sa.or_(decisions.c.id == id, decisions.c.duplicate_of == id))
        .order_by(decisions.c.id)
        .limit(1)
    )
    row = conn.execute(query).one_or_none()
    return None if row is None else _delivery(row)


def decision(conn: Connection, id: int) -> DecisionRow | None:  # noqa: A002
    """One decision."""
    row = conn.execute(sa.select(decisions).where(decisions.c.id == id)).one_or_none()
    return None if row is None else _decision(row)


def decisions_of(conn: Connection, delivery_ids: Sequence[str]) -> dict[str, DecisionRow]:
    """The decisions about some deliveries, by delivery."""
    query = sa.select(decisions).where(decisions.c.delivery.in_(delivery_ids))
    return {row.delivery: _decision(row) for row in conn.execute(query)}


def _delivery(row: Row[*tuple[Any, ...]]) -> DeliveryRow:
    return DeliveryRow(**row._mapping)  # noqa: SLF001 - the documented name of a row's mapping


def _decision(row: Row[Any]) -> DecisionRow:
    fields = dict(row._mapping)  # noqa: SLF001 - the documented name of a row's mapping
    fields.pop("event_key")
    return DecisionRow(**fields)
