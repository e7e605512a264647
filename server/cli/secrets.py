"""Setting, listing and removing secrets, and giving them a new key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipelines.events import EventKind
from pipelines.problems import LadingError
from server import clock
from server.cli.secret_words import HEAD, TOO_SHORT, is_set
from server.cli.settings import UsageError
from server.cli.tokens import opened
from server.config import Settings
from server.secrets import (
    NoOwnerError,
    SecretNameError,
    Secrets,
    is_hidden,
    no_such_secret,
    owner_of,
    rotate,
)
from server.store import Database
from server.store import secrets as secret_verbs
from server.store.rows import Bounds, SecretRow
from server.vault import Vault

BY = "the command line"


class SecretError(LadingError):
    """There is no such secret."""


def put(
    settings: Settings,
    name: str,
    value: str,
    *,
    repository: str | None,
    host: str | None,
    bounds: Bounds,
) -> Iterator[str]:
    """Store a secret; what is to be said about it.

    Raises:
        UsageError: The name cannot be one, or the repository is not known.
        SecretRefusedError: The value cannot be stored.
        VaultError: The key file cannot be used.
    """
    with opened(settings) as database:
        owner = _repository(database, repository, host)
        keeper = Secrets(database=database, vault=Vault(settings.key_file), clock=clock.now)
        try:
            new = keeper.sealed(repository=owner, name=name, value=value, bounds=bounds, by=BY)
        except SecretNameError as error:
            raise UsageError(str(error)) from error
        database.run(secret_verbs.set_secret, new, at=clock.now())
    yield is_set(name, repository)
    if not is_hidden(value):
        yield TOO_SHORT


def listed(settings: Settings) -> Iterator[str]:
    """A line for each secret, without what it holds."""
    with opened(settings) as database:
        rows = database.run(secret_verbs.all_secrets)
    table = [HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(HEAD) - 1)]
    for line in table:
        padded = [f"{cell:<{width}}" for cell, width in zip(line, widths, strict=False)]
        yield "  ".join([*padded, line[-1]]).rstrip()


def remove(settings: Settings, name: str, *, repository: str | None, host: str | None) -> None:
    """Remove a secret.

    Raises:
        UsageError: The repository is not known.
        SecretError: There is none of that name.
    """
    with opened(settings) as database:
        owner = _repository(database, repository, host)
        if not database.run(secret_verbs.remove_secret, name=name, repository=owner):
            raise SecretError(no_such_secret(name, repository))


def renew_key(settings: Settings) -> str:
    """Seal every secret with a new key, and forget the old ones.

    Raises:
        VaultError: The key file cannot be used, or does not open a secret.
    """
    vault = Vault(settings.key_file)
    with opened(settings) as database:
        # The new key is on disk before anything is sealed with it, the old until nothing is.
        vault.add_key()
        count = database.run(rotate, vault)
        vault.drop_old_keys()
    sealed = "1 secret is" if count == 1 else f"{count} secrets are"
    return f"{sealed} sealed with a new key in {vault.path}: keep a copy of that file."


def bounds(events: Sequence[str], branches: Sequence[str], steps: Sequence[str]) -> Bounds:
    """Where a secret may go, from a command's options.

    Raises:
        UsageError: An event is none.
    """
    unknown = [event for event in events if event not in tuple(EventKind)]
    if unknown:
        raise UsageError(f"{unknown[0]!r} is no event: one of {', '.join(EventKind)}")
    return Bounds(
        events=tuple(EventKind(event) for event in events),
        branches=tuple(branches),
        steps=tuple(steps),
    )


def _repository(database: Database, name: str | None, host: str | None) -> int | None:
    try:
        owner = database.run(owner_of, name, host)
    except NoOwnerError as error:
        raise UsageError(str(error)) from error
    return None if owner is None else owner.id


def _cells(row: SecretRow) -> tuple[str, ...]:
    only = [*row.events, *row.branches, *row.steps]
    return (
        row.name,
        "the server" if row.full_name is None else f"{row.host}/{row.full_name}",
        ", ".join(only) or "-",
        f"{row.changed_at:%Y-%m-%d %H:%M}",
        row.changed_by,
    )
