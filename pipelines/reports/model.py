"""A test report, whoever wrote it."""

from __future__ import annotations

from enum import StrEnum

from pipelines.values import Value


class CaseState(StrEnum):
    """How a test ended."""

    PASSED = "passed"
    FAILED = "failed"
    """An assertion did not hold."""
    ERROR = "error"
    """The test itself broke."""
    SKIPPED = "skipped"

    @property
    def bad(self) -> bool:
        """Whether it did not pass."""
        return self in (CaseState.FAILED, CaseState.ERROR)


class Case(Value):
    """One test."""

    name: str
    suite: str = ""
    class_name: str = ""
    file: str = ""
    line: int | None = None
    seconds: float = 0.0
    state: CaseState = CaseState.PASSED
    message: str = ""
    """Why it did not pass, in a line or two."""
    details: str = ""
    """What the test framework says of it: a traceback, a diff."""
    flaky: bool = False
    """Whether the framework ran it again and it ended otherwise."""

    @property
    def id(self) -> tuple[str, str, str]:
        """By which it is found again in another report."""
        return (self.class_name or self.suite, self.name, self.file)

    @property
    def title(self) -> str:
        """`tests.test_web::test_login`: its name, with where it belongs."""
        where = self.class_name or self.file or self.suite
        return f"{where}::{self.name}" if where and where != self.name else self.name


class Report(Value):
    """The tests of one step."""

    cases: tuple[Case, ...] = ()
    total: int = 0
    failed: int = 0
    errors: int = 0
    skipped: int = 0
    seconds: float = 0.0
    """All tests together."""
    left_out: int = 0
    """Tests that were counted, and are not among the cases: there were too many."""
    problems: tuple[str, ...] = ()
    """What could not be read, and why: a sentence each."""
