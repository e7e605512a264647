"""Registries' logins, for a person at the server's own machine."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator

from server.cli.releases import registries_of
from server.cli.settings import UsageError
from server.config import Settings
from server.registries import Login

BY = "the command line"
_HEAD = ("HOST", "KIND", "LOGIN IN", "CREATES", "LAST TRIED (UTC)", "STATE")


def read_password(host: str) -> str:
    """The password from standard input, or asked for without showing it."""
    if sys.stdin.isatty():
        import getpass

        return getpass.getpass(f"Password or token for {host} (it is not shown): ")
    try:
        return sys.stdin.read().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise UsageError("the password is not UTF-8 text") from None


def add(settings: Settings, login: Login, *, check: bool) -> str:
    """Store a login; what to say about it."""
    with registries_of(settings) as (_, registries):
        place = asyncio.run(registries.add(login, by=BY, guarded=False, check=check))
    tried = "took it" if check else "was not asked"
    return f"The login for {place.host} ({place.kind}) is stored, sealed; the registry {tried}."


def listed(settings: Settings) -> Iterator[str]:
    """A line for each registry, without its login."""
    with registries_of(settings) as (_, registries):
        places = asyncio.run(registries.places())
    table = [_HEAD]
    for place in places.values():
        limit = "" if place.limit is None else f"; {place.limit.sentence}"
        tried = "-" if place.checked_at is None else f"{place.checked_at:%Y-%m-%d %H:%M}"
        table.append(
            (
                place.host,
                place.kind,
                place.source,
                "yes" if place.account.create else "no",
                tried,
                (place.fault or "well") + limit,
            )
        )
    widths = [max(len(line[column]) for line in table) for column in range(len(_HEAD) - 1)]
    for line in table:
        padded = [f"{cell:<{width}}" for cell, width in zip(line, widths, strict=False)]
        yield "  ".join([*padded, line[-1]]).rstrip()


def test(settings: Settings, host: str) -> str:
    """Try a login; what to say about it."""
    with registries_of(settings) as (_, registries):
        return asyncio.run(registries.test(host))


def remove(settings: Settings, host: str) -> str:
    """Forget a login; what to say about it."""
    with registries_of(settings) as (_, registries):
        asyncio.run(registries.remove(host))
    return f"The login for {host} is forgotten: pushes there are refused from now on."
