"""Alembic's entry: one connection, one transaction for each migration.

Python's driver begins a transaction before a change of rows, and not before a change of tables: on
its own each `CREATE TABLE` would be committed at once, and a process that dies half-way would leave
tables that no version knows. So the driver is told to begin nothing, and we do
(https://docs.sqlalchemy.org/en/20/dialects/sqlite.html#pysqlite-serializable).
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa
from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo
from sqlalchemy import event
from sqlalchemy.engine import Connection

from server.store.tables import metadata
from server.version import VERSION


def _run() -> None:
    url = context.config.get_main_option("sqlalchemy.url")
    engine = sa.create_engine(str(url), poolclass=sa.pool.NullPool)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _leave_transactions_to_us)
        event.listen(engine, "begin", _begin)
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=metadata,
            render_as_batch=True,
            transactional_ddl=True,
            transaction_per_migration=True,
            on_version_apply=_remember,
        )
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


def _leave_transactions_to_us(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA synchronous=FULL")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _remember(
    ctx: MigrationContext,
    step: MigrationInfo,
    heads: Collection[Any],  # noqa: ARG001 - Alembic names its arguments
    run_args: Mapping[str, Any],  # noqa: ARG001
) -> None:
    """Write down, in the migration's own transaction, which Lading made it.

    An older one that meets the database then can name the version to go back to.
    """
    connection = ctx.connection
    if connection is None or not sa.inspect(connection).has_table("upgrades"):
        return
    connection.execute(
        sa.text("INSERT INTO upgrades (revision, version, at) VALUES (:revision, :version, :at)"),
        {"revision": step.up_revision_id, "version": VERSION, "at": time.time_ns() // 1000},
    )


_run()
