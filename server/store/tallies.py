"""Verbs on tallies: how often something happened, over all restarts."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Connection

from server.store.rows import TallyRow
from server.store.tables import tallies


class Tally(StrEnum):
    """What is counted."""

    STARTS = "starts"
    """Starts of the server."""
    UNCLEAN_STOPS = "unclean stops"
    """Starts that found that the server before had not stopped by itself."""
    ADOPTED = "attempts adopted"
    """Attempts that an earlier process had begun and a later one took up."""
    LOST = "attempts lost"
    """Attempts that ended because something of theirs was gone: container, engine, push."""
    CLEANUPS = "cleanups"
    """Times the house was kept; the note tells what went."""


def count(conn: Connection, name: Tally, *, at: datetime, by: int = 1, note: str = "") -> None:
    """Count something that has just happened."""
    fresh = {"last_at": at, "note": note}
    conn.execute(
        sqlite.insert(tallies)
        .values(name=name, count=by, **fresh)
        .on_conflict_do_update(
            index_elements=["name"], set_={"count": tallies.c.count + by, **fresh}
        )
    )


def all_tallies(conn: Connection) -> dict[Tally, TallyRow]:
    """Everything that was counted; what never happened is not in it."""
    known = frozenset(Tally)
    rows = conn.execute(sa.select(tallies).where(tallies.c.name.in_(known)))
    return {Tally(row.name): TallyRow(**row._mapping) for row in rows}  # noqa: SLF001
