"""API tokens, and the one check of who may do what."""

from __future__ import annotations

import hashlib
import re
import secrets
from enum import StrEnum

from pipelines.problems import LadingError
from pipelines.values import Value
from server.clock import Clock
from server.store import Database
from server.store import tokens as token_verbs

PREFIX = "lading_"
"""Lets secret scanners know a token of ours in a repository or a log."""
_TOKEN = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}", re.ASCII)


class Need(StrEnum):
    """What somebody wants to do."""

    READ = "read"
    CHANGE = "change"
    """Start, re-run or cancel something."""


class Grant(Value):
    """Somebody may do what they asked for."""

    name: str | None
    """The token's name, which stands in reasons and records; None for a visitor without one."""


class NotPermittedError(LadingError):
    """A token is missing, unknown or expired; the message says which and what to do."""


def make_token() -> str:
    """A new token's text: `lading_` and 43 characters, 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def token_hash(text: str) -> str:
    """What is stored of a token: SHA-256 in hex. A random text of 256 bits needs no salt."""
    return hashlib.sha256(text.encode()).hexdigest()


class Gate:
    """The one place that decides who may do what; whatever it does not allow is refused.

    A token is found by its hash, so no comparison of secrets can be timed.
    """

    def __init__(self, *, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def permit(self, token: str | None, need: Need, *, public: bool) -> Grant:
        """Allow it, or refuse it.

        Args:
            token: The token's text as it came, whatever it is; None where none came.
            need: What somebody wants to do.
            public: Whether reading is open to people without a token. Changes never are.

        Raises:
            NotPermittedError: Not without a token, or not with this one.
        """
        if token is None:
            if public and need is Need.READ:
                return Grant(name=None)
            raise NotPermittedError(
                "this needs an API token: make one on the server with `lading token create NAME`"
            )
        row = None
        if _TOKEN.fullmatch(token):
            row = await self._database.read(
                token_verbs.token_by_hash, token_hash(token), now=self._clock()
            )
        if row is None:
            raise NotPermittedError(
                "this token is unknown or has expired: see `lading token list` on the server, "
                "and make a new one with `lading token create NAME`"
            )
        return Grant(name=row.name)
