"""What registries answer through the engine, sorted by what can be done about it."""

from __future__ import annotations

import re
from enum import StrEnum

from pipelines.engine.client import Login
from pipelines.problems import LadingError


class Refusal(StrEnum):
    """Why a registry did not do what was asked."""

    NOT_FOUND = "not found"
    DENIED = "denied"
    UNAVAILABLE = "unavailable"
    """Trying again later may help."""
    OTHER = "other"


# The engine wraps a registry's answer in free text; codes where the distribution specification
# gives them: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes
_SIGNS: tuple[tuple[Refusal, str], ...] = (
    (Refusal.UNAVAILABLE, r"toomanyrequests|too many requests|\b429\b|rate limit"),
    (Refusal.NOT_FOUND, r"manifest unknown|manifest for .* not found|name unknown"),
    (Refusal.NOT_FOUND, r"repository does not exist|no such image|not found: "),
    (Refusal.DENIED, r"unauthorized|authentication required|no basic auth credentials"),
    (Refusal.DENIED, r"incorrect username|denied|\b40[13]\b|forbidden"),
    (Refusal.UNAVAILABLE, r"connection refused|connection reset|broken pipe|time(d )?-?out"),
    (Refusal.UNAVAILABLE, r"no such host|temporary failure|no route to host|is unreachable"),
    (Refusal.UNAVAILABLE, r"\bEOF\b|\b50[0234]\b|bad gateway|service unavailable"),
)


def read_refusal(message: str) -> Refusal:
    """What an error message of the engine about a registry means."""
    found = (kind for kind, sign in _SIGNS if re.search(sign, message, re.IGNORECASE))
    return next(found, Refusal.OTHER)


class RegistryError(LadingError):
    """A registry did not do what was asked; the message is a sentence for people."""

    def __init__(self, refusal: Refusal, message: str) -> None:
        super().__init__(message)
        self.refusal = refusal

    @property
    def worth_retrying(self) -> bool:
        """Whether the same may go well in a moment."""
        return self.refusal is Refusal.UNAVAILABLE


def explain(what: str, host: str, login: Login | None, message: str) -> RegistryError:
    """The error for a refused `what` ("push of …", "pull of …")."""
    refusal = read_refusal(message)
    setting = f'registries."{host}" in config.toml'
    match refusal:
        case Refusal.DENIED if login is not None:
            sentence = (
                f"registry {host} refused the login of {login.username} for the {what}: "
                f"check {setting}, and what that user may do there"
            )
        case Refusal.DENIED:
            sentence = f"registry {host} wants a login for the {what}: set {setting}"
        case Refusal.NOT_FOUND:
            private = "" if login else f"; if it is private, set {setting}"
            sentence = f"{what} failed: registry {host} has no such image; check its name{private}"
        case Refusal.UNAVAILABLE:
            sentence = f"registry {host} unavailable for the {what}: {_short(message)}"
        case Refusal.OTHER:
            sentence = f"{what} failed: registry {host} answered: {_short(message)}"
    return RegistryError(refusal, sentence)


def _short(message: str) -> str:
    first = " ".join(message.split())
    return first if len(first) <= 300 else first[:299] + "…"  # noqa: PLR2004 - fits a page's line
