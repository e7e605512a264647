"""Why a registry did not do what was asked, in a sentence that says what to do about it."""

from __future__ import annotations

from enum import StrEnum

from pipelines.problems import LadingError
from pipelines.registries.logins import Login


class Refusal(StrEnum):
    """Why a registry did not do what was asked."""

    NOT_FOUND = "not found"
    DENIED = "denied"
    UNAVAILABLE = "unavailable"
    """Trying again later may help."""
    NOWHERE = "nowhere"
    """No name service knows it: a moment's trouble, or a name that is wrong."""
    OTHER = "other"


class RegistryError(LadingError):
    """A registry did not do what was asked; the message is a sentence for people."""

    def __init__(self, refusal: Refusal, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.refusal = refusal
        self.retry_after = retry_after
        """Seconds that the registry wants to be left alone."""

    @property
    def worth_retrying(self) -> bool:
        """Whether the same may go well in a moment."""
        return self.refusal in (Refusal.UNAVAILABLE, Refusal.NOWHERE)


def refused(
    what: str,
    host: str,
    login: Login | None,
    refusal: Refusal,
    told: str,
    *,
    retry_after: float | None = None,
) -> RegistryError:
    """The error for a refused `what` ("push of …", "pull of …"), and what the registry told."""
    setting = f'registries."{host}" in config.toml, or `lading registry add {host}`'
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
            sentence = f"registry {host} unavailable for the {what}: {_short(told)}"
        case Refusal.NOWHERE:
            sentence = (
                f"registry {host} unavailable for the {what}: no such host; check its name, and "
                "the name service of the engine's machine"
            )
        case Refusal.OTHER:
            sentence = f"{what} failed: registry {host} answered: {_short(told)}"
    return RegistryError(refusal, sentence, retry_after=retry_after)


def _short(message: str) -> str:
    first = " ".join(message.split())
    return first if len(first) <= 300 else first[:299] + "…"  # noqa: PLR2004 - fits a page's line
