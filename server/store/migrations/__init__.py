"""Bringing a database to the tables this version knows, with Alembic."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import sqlalchemy as sa

from pipelines.problems import LadingError

HEAD = "0008"
"""The newest revision in `versions/`; a test compares it with Alembic's own view."""


TOO_NEW = 3
"""Exit code of `python -m server.store.migrations` for a revision it does not know."""


class MigrationError(LadingError):
    """The tables could not be changed."""


class SchemaTooNewError(LadingError):
    """The database was written by a newer Lading."""


def upgrade(url: str) -> None:
    """Bring the database to `HEAD`; does nothing where it is there already.

    Raises:
        SchemaTooNewError: It stands at a revision that this version does not know.
        MigrationError: Alembic could not do it; the database stands at the last whole revision.
    """
    current = _current(url)
    if current == HEAD:
        return
    # In a process of its own: Alembic takes 10 MB, which a server would keep for good.
    done = subprocess.run(
        [sys.executable, "-m", "server.store.migrations"],
        input=url,
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    if done.returncode == TOO_NEW:
        message = (
            f"the database stands at revision {current}, which this version of Lading does not "
            "know: start the newer version that wrote it, or restore a backup from before"
        )
        raise SchemaTooNewError(message)
    if done.returncode != 0:
        message = f"the database could not be brought up to date: {done.stderr.strip()[-2000:]}"
        raise MigrationError(message)


def known_revisions() -> frozenset[str]:
    """Every revision in `versions/`, by the names of their files; Alembic is slow to load."""
    files = (Path(__file__).parent / "versions").glob("rev_*.py")
    return frozenset(path.name.split("_")[1] for path in files)


def run(url: str) -> None:
    """Let Alembic bring the database to the newest revision, in this process.

    Raises:
        alembic.util.exc.CommandError: The database stands at a revision that is not in `versions/`.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    command.upgrade(config, "head")


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
