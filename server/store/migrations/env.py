"""Alembic's entry: one connection, one transaction for each migration."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context

from server.store.tables import metadata


def _run() -> None:
    url = context.config.get_main_option("sqlalchemy.url")
    engine = sa.create_engine(str(url), poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=metadata,
            render_as_batch=True,
            transactional_ddl=True,
            transaction_per_migration=True,
        )
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


_run()
