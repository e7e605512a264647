"""Signing in to servers, and which of them is meant."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from server.cli.errors import UsageError
from server.client.answers import Me
from server.client.connection import Server
from server.client.servers import (
    AddressError,
    Servers,
    UnknownServerError,
    address,
    goes_in_clear,
    name_for,
)

_TOKEN_BYTES = 4096


@contextlib.contextmanager
def wrong_use() -> Iterator[None]:
    """What a person named and is not there, as wrong use."""
    try:
        yield
    except (AddressError, UnknownServerError) as error:
        raise UsageError(str(error)) from error


@contextlib.contextmanager
def connected(name: str | None) -> Iterator[Server]:
    """The server somebody means.

    Raises:
        UsageError: None is known.
    """
    with wrong_use():
        known = Servers.of(os.environ).chosen(name, os.environ)
    with Server(known.url, known.token.get_secret_value()) as server:
        yield server


def login(url: str, *, name: str | None, token_file: str | None) -> Iterator[str]:
    """Know a server from now on; what is to be said about it.

    Raises:
        UsageError: The address, name or token cannot be one.
        ClientError: The server cannot be asked, or refuses the token.
    """
    with wrong_use():
        where = address(url)
        called = name_for(where, name)
    token = _token(where, token_file)
    if goes_in_clear(where):
        yield (
            f"{where} is not https: everybody on the way there can read the token. Put TLS before "
            "the server"
        )
    with Server(where, token) as server:
        me = server.get(Me, "/me")
    servers = Servers.of(os.environ)
    servers.add(called, where, token)
    yield f"{called}: Lading {me.version} at {where} knows you as {me.name}. It is the current one."
    if os.environ.get("LADING_URL"):
        yield "LADING_URL is set, and goes before it."


def logout(name: str | None) -> str:
    """Forget a server.

    Raises:
        UsageError: There is none of that name.
    """
    with wrong_use():
        gone = Servers.of(os.environ).forget(name)
    return (
        f"{gone} is forgotten here. The token stays good until `lading token remove` on the server."
    )


def use(name: str) -> str:
    """Make a server the current one.

    Raises:
        UsageError: There is none of that name.
    """
    with wrong_use():
        server = Servers.of(os.environ).use(name)
    return f"{name} ({server.url}) is the current one."


def listed() -> Iterator[str]:
    """A line for each server, the current one marked."""
    known = Servers.of(os.environ).read()
    if not known.servers:
        yield "No server is known yet: `lading login URL` signs in to one."
    room = max((len(name) for name in known.servers), default=0)
    for name, server in sorted(known.servers.items()):
        yield f"{'*' if name == known.current else ' '} {name:<{room}}  {server.url}"


def _token(where: str, file: str | None) -> str:
    """The token's text, from a file, from standard input, or asked for without showing it."""
    if file is None and sys.stdin.isatty():
        import getpass

        text = getpass.getpass(f"API token for {where} (it is not shown): ")
    elif file in (None, "-"):
        text = sys.stdin.read(_TOKEN_BYTES)
    else:
        try:
            text = Path(file or "").read_text(encoding="utf-8")[:_TOKEN_BYTES]
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--token-file: {file} cannot be read ({error})") from error
    token = text.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(
            "that is no API token: whoever runs the server makes one with "
            "`lading token create NAME`"
        )
    return token
