"""A test report held against earlier ones: what is new, what was known, what is mended. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from pipelines.reports.model import Case, CaseState, Report
from pipelines.values import Value

SLOWEST = 10


class Since(StrEnum):
    """Whether a test failed before."""

    NEW = "new"
    """It does not fail on the default branch."""
    KNOWN = "known"
    """It fails there, too."""


class Failed(Value):
    """A test that did not pass."""

    case: Case
    since: Since | None
    """None: there is nothing to hold it against."""
    flaky: bool = False
    """Whether it passed in another attempt on the same commit."""


class Compared(Value):
    """A report as people want to read it."""

    failed: tuple[Failed, ...] = ()
    """New ones first, then known ones; within each in the report's order."""
    flaky: tuple[Case, ...] = ()
    """Passed, but not in every attempt on the same commit, or not at the first try."""
    fixed: tuple[Case, ...] = ()
    """Passed, and failed in what it is held against."""
    slowest: tuple[Case, ...] = ()
    """That took longest, the longest first."""

    @property
    def new(self) -> int:
        """How many fail newly."""
        return sum(one.since is Since.NEW for one in self.failed)


_Id = tuple[str, str, str]


def compare(
    report: Report,
    *,
    baseline: Report | None = None,
    attempts: Sequence[Report] = (),
    slowest: int = SLOWEST,
) -> Compared:
    """Hold a report against earlier ones of the same step.

    Args:
        report: What is looked at.
        baseline: The latest one of the default branch before it; None where there is none.
        attempts: Those of other attempts on the same commit.
        slowest: How many of the slowest tests to name.
    """
    before = None if baseline is None else _bad(baseline)
    failed_elsewhere = frozenset[_Id]().union(*(_bad(one) for one in attempts))
    passed_elsewhere = frozenset[_Id]().union(*(_passed(one) for one in attempts))
    bad = _bad(report)
    passed = [
        case for case in report.cases if case.state is CaseState.PASSED and case.id not in bad
    ]
    failed = [
        Failed(
            case=case,
            since=_since(case, before),
            flaky=case.flaky or case.id in passed_elsewhere,
        )
        for case in report.cases
        if case.state.bad
    ]
    ran = [case for case in report.cases if case.state is not CaseState.SKIPPED and case.seconds]
    return Compared(
        failed=tuple(sorted(failed, key=lambda one: one.since is Since.KNOWN)),
        flaky=tuple(case for case in passed if case.flaky or case.id in failed_elsewhere),
        fixed=tuple(case for case in passed if case.id in (before or ())),
        slowest=tuple(sorted(ran, key=lambda case: -case.seconds)[:slowest]),
    )


def _since(case: Case, before: frozenset[_Id] | None) -> Since | None:
    if before is None:
        return None
    return Since.KNOWN if case.id in before else Since.NEW


def _bad(report: Report) -> frozenset[_Id]:
    return frozenset(case.id for case in report.cases if case.state.bad)


def _passed(report: Report) -> frozenset[_Id]:
    """Tests that passed; one that stands twice and failed once is none."""
    passed = {case.id for case in report.cases if case.state is CaseState.PASSED}
    return frozenset(passed - _bad(report))
