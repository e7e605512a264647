"""Making, listing and revoking API tokens."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from datetime import timedelta

import sqlalchemy as sa

from pipelines.durations import parse_duration
from pipelines.problems import LadingError
from pipelines.values import Value
from server import clock
from server.alone import AlreadyRunningError, alone
from server.auth import make_token, token_hash
from server.cli.settings import UsageError
from server.config import Settings
from server.store import Database, DatabaseBusyError, soundness
from server.store import tokens as token_verbs
from server.store.database import sqlite_path
from server.store.upgrading import bring_up_to_date, is_current

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@ -]{0,99}", re.ASCII)


class TokenError(LadingError):
    """The token cannot be made or found."""


class MadeToken(Value):
    """A token just made."""

    text: str
    until: str


def create(settings: Settings, *, name: str, expires: str | None) -> MadeToken:
    """Make a token.

    Raises:
        UsageError: The name or the duration cannot be used.
        TokenError: The name is taken.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name for a token: up to 100 letters, digits, blanks and . _ @ -"
        )
    now = clock.now()
    try:
        lasts = None if expires is None else timedelta(seconds=parse_duration(expires))
        expires_at = None if lasts is None else now + lasts
    except (ValueError, OverflowError) as error:
        raise UsageError(f"--expires: {error}") from error
    text = make_token()
    with opened(settings) as database:
        try:
            database.run(
                token_verbs.add_token,
                name=name,
                token_hash=token_hash(text),
                at=now,
                expires_at=expires_at,
            )
        except sa.exc.IntegrityError as error:
            raise TokenError(
                f"there is a token {name} already: take another name, or revoke that one with "
                f"`lading token remove {name}`"
            ) from error
    until = "good for ever" if expires_at is None else f"good until {expires_at:%Y-%m-%d %H:%M} UTC"
    return MadeToken(text=text, until=until)


def listed(settings: Settings) -> Iterator[str]:
    """A line for each token."""
    with opened(settings) as database:
        rows = database.run(token_verbs.all_tokens)
    now = clock.now()
    width = max((len(row.name) for row in rows), default=4)
    yield f"{'NAME':<{width}}  CREATED     EXPIRES"
    for row in rows:
        end = "never" if row.expires_at is None else f"{row.expires_at:%Y-%m-%d}"
        if row.expires_at is not None and row.expires_at <= now:
            end += " (over)"
        yield f"{row.name:<{width}}  {row.created_at:%Y-%m-%d}  {end}"


def remove(settings: Settings, *, name: str) -> None:
    """Revoke a token.

    Raises:
        TokenError: There is none of that name.
    """
    with opened(settings) as database:
        if not database.run(token_verbs.remove_token, name):
            raise TokenError(f"there is no token {name!r}: `lading token list` names them all")


@contextlib.contextmanager
def opened(settings: Settings) -> Iterator[Database]:
    """The database, brought up to date.

    Raises:
        AlreadyRunningError: It is not, and a server uses it.
        DatabaseDamagedError: SQLite met damage in it.
        DatabaseBusyError: It cannot be opened or written.
        SchemaTooNewError: A newer Lading wrote it.
    """
    url = settings.database_url
    try:
        settings.server.data.mkdir(parents=True, exist_ok=True)
        if not is_current(url):
            _upgrade(settings)
        database = Database(url)
        try:
            yield database
        finally:
            database.close()
    except (sa.exc.OperationalError, OSError) as error:
        why = error.orig if isinstance(error, sa.exc.OperationalError) else error
        raise DatabaseBusyError(
            f"the database in {settings.server.data} cannot be used ({why}): run this as the user "
            "who runs the server, and see that the disk has room"
        ) from error
    except sa.exc.DatabaseError as error:
        path = sqlite_path(url)
        if path is None or not soundness.tells_of_damage(error.orig):
            raise
        raise soundness.damaged(path, str(error.orig)) from error


def _upgrade(settings: Settings) -> None:
    """Change the tables, but never under a server that runs: it is of the version before."""
    url = settings.database_url
    try:
        with alone(settings.server.data, sqlite_path(url)):
            bring_up_to_date(url, at=clock.now())
    except AlreadyRunningError as error:
        raise AlreadyRunningError(
            "the server that runs here is older than this command, which may not change the "
            f"database under it: restart the server, then try again ({error})"
        ) from error
