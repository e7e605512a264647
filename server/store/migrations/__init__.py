"""Bringing a database to the tables this version knows, with Alembic."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from pipelines.problems import LadingError

HEAD = "0001"
"""The newest revision in `versions/`; a test compares it with Alembic's own view."""


class SchemaTooNewError(LadingError):
    """The database was written by a newer Lading."""


def upgrade(url: str) -> None:
    """Bring the database to `HEAD`; does nothing, and loads nothing, where it is there already.

    Raises:
        SchemaTooNewError: It stands at a revision that this version does not know.
    """
    current = _current(url)
    if current == HEAD:
        return
    # Alembic takes 10 MB of memory: it is loaded only where there is something to do.
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        message = (
            f"the database stands at revision {current}, which this version of Lading does not "
            "know: start the newer version that wrote it, or restore a backup from before"
        )
        raise SchemaTooNewError(message) from error


def _current(url: str) -> str | None:
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    try:
        with engine.connect() as conn:
            if not sa.inspect(conn).has_table("alembic_version"):
                return None
            found = conn.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
            return None if found is None else str(found)
    finally:
        engine.dispose()
