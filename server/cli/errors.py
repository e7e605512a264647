"""What a command may be asked for and cannot do."""

from __future__ import annotations

from pipelines.problems import LadingError


class UsageError(LadingError):
    """A command was asked for something that cannot be; the message says what can."""
