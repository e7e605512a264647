"""Bringing a database to the tables this version knows, with Alembic."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import sqlalchemy as sa

from pipelines.problems import LadingError
from server.version import VERSION

HEAD = "0014"
"""The newest revision in `versions/`; a test compares it with Alembic's own view."""


TOO_NEW = 3
"""Exit code of `python -m server.store.migrations` for a revision it does not know."""


class MigrationError(LadingError):
    """The tables could not be changed."""


class SchemaTooNewError(LadingError):
    """The database was written by a newer Lading."""


def upgrade(url: str) -> None:
    """Bring the database to `HEAD`; does nothing where it is there already.

    Each migration is one transaction: whoever dies in the middle leaves the one before, and the
    next call goes on from there.

    Raises:
        SchemaTooNewError: It stands at a revision that this version does not know.
        MigrationError: Alembic could not do it; the database stands at the last whole revision.
    """
    current = current_revision(url)
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
        raise too_new(url, current)
    if done.returncode != 0:
        message = f"the database could not be brought up to date: {done.stderr.strip()[-2000:]}"
        raise MigrationError(message)


def too_new(url: str, revision: str | None) -> SchemaTooNewError:
    """The sentence for a database at a revision that this version does not know."""
    by = _written_by(url)
    newer = f"Lading {by}" if by else "a newer Lading"
    return SchemaTooNewError(
        f"the database stands at revision {revision}, made by {newer}, and this is Lading "
        f"{VERSION}, which knows revisions up to {HEAD}: start {newer} again. To stay with "
        f"{VERSION}, `lading restore` a copy from before the upgrade: the newer one keeps such a "
        "copy beside the database when it upgrades, named `…before-` and its first new revision; "
        "what came in since is not in it"
    )


def known_revisions() -> frozenset[str]:
    """Every revision in `versions/`, by the names of their files; Alembic is slow to load."""
    files = (Path(__file__).parent / "versions").glob("rev_*.py")
    return frozenset(path.name.split("_")[1] for path in files)


def run(url: str, to: str = "head", *, versions: Path | None = None) -> None:
    """Let Alembic bring the database to a revision, in this process.

    Args:
        url: The database's.
        to: A revision, or `head` for the newest.
        versions: One more folder of migrations, which go on where ours end.

    Raises:
        alembic.util.exc.CommandError: The database stands at a revision that is not in `versions/`.
    """
    from alembic import command
    from alembic.config import Config

    here = Path(__file__).parent
    folders = [str(here / "versions"), *([] if versions is None else [str(versions)])]
    config = Config()
    config.set_main_option("script_location", str(here))
    config.set_main_option("path_separator", "os")
    config.set_main_option("version_locations", os.pathsep.join(folders))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    command.upgrade(config, to)


def current_revision(url: str) -> str | None:
    """Where the database stands; None where it has no tables yet."""
    return _asked(url, "alembic_version", "SELECT version_num FROM alembic_version")


def _written_by(url: str) -> str | None:
    """The version of Lading that changed the tables last; None where it left no word."""
    return _asked(url, "upgrades", "SELECT version FROM upgrades ORDER BY revision DESC LIMIT 1")


def _asked(url: str, table: str, query: str) -> str | None:
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    try:
        with engine.connect() as conn:
            if not sa.inspect(conn).has_table(table):
                return None
            found = conn.execute(sa.text(query)).scalar()
            return None if found is None else str(found)
    finally:
        engine.dispose()
