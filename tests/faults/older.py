"""A database as an older version of Lading left it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from server.store.database import sqlite_url
from server.store.migrations import run

FIRST = "0001"
"""The revision of Lading 0.1.0."""


def older_copy(source: Path, target: Path, revision: str = FIRST) -> None:
    """Copy every row of a database into a new one that stands at an older revision."""
    run(sqlite_url(target), revision)
    with closing(sqlite3.connect(target)) as conn:
        conn.execute("ATTACH ? AS newer", (str(source),))
        query = (
            "SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        )
        for (table,) in conn.execute(query).fetchall():
            if table in {"alembic_version", "sqlite_sequence"}:  # filled by themselves
                continue
            columns = [row[1] for row in conn.execute(f"PRAGMA main.table_info({table})")]
            listed = ", ".join(f'"{column}"' for column in columns)
            conn.execute(f"INSERT INTO main.{table} ({listed}) SELECT {listed} FROM newer.{table}")
        conn.commit()
