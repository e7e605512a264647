"""Why a server could not be asked, or said no."""

from __future__ import annotations

from pipelines.problems import LadingError


class ClientError(LadingError):
    """No answer that helps; the message says why and what to do."""


class UnreachableError(ClientError):
    """Nobody answers now: it may pass."""


class TrustError(ClientError):
    """Who answers cannot prove to be who was asked."""


class RefusedError(ClientError):
    """The server said no.

    Args:
        status: The HTTP status.
        message: For people.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class StrangeAnswerError(ClientError):
    """What answers is no Lading, or one of another version."""
