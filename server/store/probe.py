"""Verbs that look after the health of the database itself."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection


def write_something(conn: Connection) -> None:
    """Write a value over itself: takes the lock and the disk, and changes nothing."""
    conn.execute(sa.text("UPDATE alembic_version SET version_num = version_num"))


def damage(conn: Connection) -> str:
    """What the database's own check finds wrong; empty when all is well."""
    if conn.dialect.name != "sqlite":
        return ""
    found = str(conn.exec_driver_sql("PRAGMA quick_check(1)").scalar_one())
    return "" if found == "ok" else found
