"""What registries answer through the engine, sorted by what can be done about it."""

from __future__ import annotations

import re

from pipelines.registries.logins import Login
from pipelines.registries.refusals import Refusal, RegistryError, refused

# The engine wraps a registry's answer in free text; codes where the distribution specification
# gives them: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes
_SIGNS: tuple[tuple[Refusal, str], ...] = (
    (Refusal.UNAVAILABLE, r"toomanyrequests|too many requests|\b429\b|rate limit"),
    (Refusal.NOT_FOUND, r"manifest unknown|manifest for .* not found|name unknown"),
    (Refusal.NOT_FOUND, r"repository does not exist|no such image|not found: "),
    (Refusal.DENIED, r"unauthorized|authentication required|no basic auth credentials"),
    (Refusal.DENIED, r"incorrect username|denied|\b40[13]\b|forbidden"),
    (Refusal.UNAVAILABLE, r"connection refused|connection reset|broken pipe|time(d )?-?out"),
    (Refusal.UNAVAILABLE, r"temporary failure|no route to host|is unreachable"),
    (Refusal.NOWHERE, r"no such host"),
    (Refusal.UNAVAILABLE, r"\bEOF\b|\b50[0234]\b|bad gateway|service unavailable"),
)


def read_refusal(message: str) -> Refusal:
    """What an error message of the engine about a registry means."""
    found = (kind for kind, sign in _SIGNS if re.search(sign, message, re.IGNORECASE))
    return next(found, Refusal.OTHER)


def explain(what: str, host: str, login: Login | None, message: str) -> RegistryError:
    """The error for a `what` ("push of …", "pull of …") that the engine says was refused."""
    return refused(what, host, login, read_refusal(message), message)
