"""The gate: whether an attempt may start, or is held until somebody has looked at its commit.

Every way to start one - a delivery, its being read again, the API, a re-run, a schedule, recovery -
writes an attempt down, and whoever writes one down asks here first.
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.progress import State
from pipelines.values import Value
from server.store.rows import Verdict
from server.store.tables import approvals

HELD_SENTENCE = "waits for approval: first look at the changes, then approve"


class Asked(Value):
    """An attempt that somebody or something wants to start."""

    run: int
    attempt: int
    repository: int
    sha: str
    stranger: str | None
    """As in `RunRow.stranger`."""


def first_state(conn: Connection, asked: Asked, at: datetime) -> State:
    """`waiting` where the attempt may start; else `held`, and it is written down who must answer.

    An approval is for one commit of one person. A commit that nobody is known for was named by
    somebody who may change things here: then an approval of that commit counts, whosever it was.
    """
    if asked.stranger is None or _approved(conn, asked):
        return State.WAITING
    conn.execute(
        sa.insert(approvals).values(
            run=asked.run,
            attempt=asked.attempt,
            step=None,
            repository=asked.repository,
            sha=asked.sha,
            stranger=asked.stranger,
            prompt=HELD_SENTENCE.partition(": ")[2],
            asked_at=at,
        )
    )
    return State.HELD


def _approved(conn: Connection, asked: Asked) -> bool:
    """What was said last counts."""
    query = sa.select(approvals.c.verdict).where(
        approvals.c.repository == asked.repository,
        approvals.c.sha == asked.sha,
        approvals.c.step.is_(None),
        approvals.c.verdict.is_not(None),
    )
    if asked.stranger:
        query = query.where(approvals.c.stranger == asked.stranger)
    last = conn.execute(query.order_by(approvals.c.answered_at.desc(), approvals.c.id.desc()))
    return last.scalars().first() == Verdict.APPROVED
