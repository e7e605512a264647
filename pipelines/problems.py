"""Errors for programs, problems for people."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from pipelines.values import Value


class Severity(StrEnum):
    """How much a problem weighs."""

    ERROR = "error"
    """Nothing can run until it is mended."""
    WARNING = "warning"
    """It runs, but probably not as meant."""


class Problem(Value):
    """A user's mistake, with the place to mend it."""

    severity: Severity = Severity.ERROR
    code: str
    """Stable, like `P012`; the reference explains each."""
    message: str
    """What is wrong, as one sentence without a full stop."""
    hint: str | None = None
    """What would be right."""
    file: str | None = None
    line: int | None = None
    """From 1."""
    column: int | None = None
    """From 1."""

    def __str__(self) -> str:
        """`.lading.yml:12:5 unknown key 'script' (P010): here it is 'commands'`."""
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        hint = f": {self.hint}" if self.hint else ""
        return f"{place} {self.message} ({self.code}){hint}".strip()


class LadingError(Exception):
    """Something went wrong that the caller may want to handle."""


class DefinitionInvalidError(LadingError):
    """A definition cannot be used; `problems` tells every reason."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class ExecutorUnavailableError(LadingError):
    """The engine cannot be reached or has no room; the message says which and what to do."""


class SourceError(LadingError):
    """The commit, or a path in it, cannot be read."""
