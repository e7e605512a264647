"""A test report held against earlier ones: what is new, what was known, what is mended. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from heapq import nlargest

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
_BAD = tuple(state for state in CaseState if state.bad)


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
    # Most tests pass, and most reports are long: only names of what failed anywhere are looked up.
    before = None if baseline is None else _bad(baseline)
    bad = _bad(report)
    elsewhere = frozenset[_Id]().union(*(_bad(one) for one in attempts))
    passed_elsewhere = frozenset[_Id]().union(*(_passed(one, bad) for one in attempts))
    failed = [
        Failed(
            case=case,
            since=_since(case, before),
            flaky=case.flaky or case.id in passed_elsewhere,
        )
        for case in report.cases
        if case.state in _BAD
    ]
    ran = (case for case in report.cases if case.seconds and case.state is not CaseState.SKIPPED)
    return Compared(
        failed=tuple(sorted(failed, key=lambda one: one.since is Since.KNOWN)),
        flaky=_passed_of(report, bad, elsewhere, flaky=True),
        fixed=_passed_of(report, bad, before or frozenset()),
        slowest=tuple(nlargest(slowest, ran, key=lambda case: case.seconds)),
    )


def _passed_of(
    report: Report, bad: frozenset[_Id], ids: frozenset[_Id], *, flaky: bool = False
) -> tuple[Case, ...]:
    """Tests that passed and are among some, or called flaky by the framework itself."""
    if not ids and not flaky:
        return ()
    return tuple(
        case
        for case in report.cases
        if case.state is CaseState.PASSED
        and ((flaky and case.flaky) or (ids and case.id in ids))
        and case.id not in bad
    )


def _since(case: Case, before: frozenset[_Id] | None) -> Since | None:
    if before is None:
        return None
    return Since.KNOWN if case.id in before else Since.NEW


def _bad(report: Report) -> frozenset[_Id]:
    return frozenset(case.id for case in report.cases if case.state in _BAD)


def _passed(report: Report, ids: frozenset[_Id]) -> frozenset[_Id]:
    """Those of some tests that passed; one that stands twice and failed once did not."""
    if not ids:
        return ids
    passed = {case.id for case in report.cases if case.state is CaseState.PASSED and case.id in ids}
    return frozenset(passed - _bad(report))
