"""What a registry wants to see before it answers, and how to get it.

https://distribution.github.io/distribution/spec/auth/token/
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Mapping
from urllib.parse import urlsplit

from pipelines.registries.logins import Login
from pipelines.values import Value

# https://www.rfc-editor.org/rfc/rfc9110#name-www-authenticate
_SCHEME = re.compile(r"(?:^|,)\s*(bearer|basic)(?=\s|,|$)\s*", re.IGNORECASE)
_PARAMETER = re.compile(r'(\w+)="([^"]*)"|(\w+)=([^\s,"]+)')


class Challenge(Value):
    """One `WWW-Authenticate` header."""

    scheme: str
    """`bearer` or `basic`; empty where it is neither."""
    realm: str = ""
    service: str | None = None


def read_challenge(headers: Mapping[str, str]) -> Challenge:
    """The challenge of a 401."""
    text = headers.get("WWW-Authenticate", "")
    found = list(_SCHEME.finditer(text))
    # Where both are offered, a token is what names the repository and ends by itself.
    for match in sorted(found, key=lambda each: each[1].lower() != "bearer"):
        following = (each.start() for each in found if each.start() > match.start())
        part = text[match.end() : next(following, len(text))]
        told = {
            (each[1] or each[3]).lower(): each[2] or each[4] for each in _PARAMETER.finditer(part)
        }
        return Challenge(
            scheme=match[1].lower(), realm=told.get("realm") or "", service=told.get("service")
        )
    return Challenge(scheme="")


def basic(login: Login) -> str:
    """The login as an `Authorization` header."""
    return "Basic " + b64encode(f"{login.username}:{login.password}".encode()).decode()


def read_token(body: bytes) -> str | None:
    """The token in the answer of a realm; None where there is none that can be sent on."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return None
    token = (told.get("token") or told.get("access_token")) if isinstance(told, dict) else None
    sendable = isinstance(token, str) and token.isascii() and token.isprintable()
    return token if sendable else None


def may_have_the_login(realm: str, *, asked: str) -> bool:
    """Whether a realm that the answer to `asked` named may be asked, with the login, for a token.

    The realm is often another host (Docker Hub's, GitLab's): the registry, which had to prove who
    it is, says so, and would get the same login itself. What must not be is that a login, or a
    token, which goes by TLS to the registry goes in clear to the realm, or that a registry nobody
    has proven sends it elsewhere.
    """
    there, here = urlsplit(realm), urlsplit(asked)
    if there.username or not there.hostname:
        return False
    if here.scheme == "https":
        return there.scheme == "https"
    return there.hostname == here.hostname and there.scheme in ("http", "https")
