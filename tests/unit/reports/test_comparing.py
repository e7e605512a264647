from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipelines.reports import Case, CaseState, Report, compare
from pipelines.reports.comparing import Since

PASSED, FAILED, SKIPPED = CaseState.PASSED, CaseState.FAILED, CaseState.SKIPPED

states = st.sampled_from(CaseState)
reports = st.dictionaries(st.sampled_from("abcdefgh"), st.tuples(states, st.booleans())).map(
    lambda found: report(
        *(Case(name=name, state=state, flaky=flaky) for name, (state, flaky) in found.items())
    )
)


def report(*cases: Case) -> Report:
    return Report(cases=cases, total=len(cases))


def case(name: str, state: CaseState = PASSED, seconds: float = 0.0) -> Case:
    return Case(name=name, class_name="tests", state=state, seconds=seconds)


def test_a_failure_that_the_default_branch_has_is_known_and_comes_last() -> None:
    now = report(case("old", FAILED), case("young", FAILED), case("fine"))
    before = report(case("old", FAILED), case("young"))

    found = compare(now, baseline=before)

    assert [(one.case.name, one.since) for one in found.failed] == [
        ("young", Since.NEW),
        ("old", Since.KNOWN),
    ]
    assert found.new == 1


def test_a_failure_of_a_test_that_is_new_itself_is_new() -> None:
    found = compare(report(case("a", FAILED)), baseline=report(case("b")))
    assert [one.since for one in found.failed] == [Since.NEW]


def test_without_anything_to_hold_it_against_a_failure_is_neither() -> None:
    (failed,) = compare(report(case("a", FAILED))).failed
    assert failed.since is None


def test_what_failed_before_and_passes_now_is_fixed() -> None:
    now = report(case("a"), case("b"), case("c", SKIPPED))
    before = report(case("a", CaseState.ERROR), case("b"), case("c", FAILED))

    assert [one.name for one in compare(now, baseline=before).fixed] == ["a"]


def test_what_failed_in_another_attempt_and_passes_now_is_flaky() -> None:
    found = compare(report(case("a"), case("b")), attempts=[report(case("a", FAILED), case("b"))])
    assert [one.name for one in found.flaky] == ["a"]


def test_a_failure_that_passed_in_another_attempt_is_flaky_too() -> None:
    found = compare(
        report(case("a", FAILED), case("b", FAILED)),
        attempts=[report(case("a"), case("b", FAILED))],
    )
    assert [(one.case.name, one.flaky) for one in found.failed] == [("a", True), ("b", False)]


def test_a_test_that_stands_twice_and_failed_once_has_not_passed() -> None:
    found = compare(
        report(case("a"), case("a", FAILED)), baseline=report(case("a"), case("a", FAILED))
    )
    assert found.fixed == ()
    assert [one.since for one in found.failed] == [Since.KNOWN]


def test_a_test_that_stands_twice_in_another_attempt_and_failed_once_did_not_pass_there() -> None:
    other = report(case("a"), case("a", FAILED))
    (failed,) = compare(report(case("a", FAILED)), attempts=[other]).failed
    assert not failed.flaky


def test_the_slowest_come_first_and_skipped_tests_are_not_among_them() -> None:
    now = report(*(case(str(number), seconds=number) for number in range(5)))
    skipped = report(*now.cases, case("skipped", SKIPPED, seconds=9))

    assert [one.name for one in compare(skipped, slowest=3).slowest] == ["4", "3", "2"]


@given(now=reports, before=st.none() | reports, attempts=st.lists(reports, max_size=3))
def test_every_failure_is_told_once_and_nothing_else_is(
    now: Report, before: Report | None, attempts: list[Report]
) -> None:
    found = compare(now, baseline=before, attempts=attempts)

    bad = sorted(one.name for one in now.cases if one.state.bad)
    passed = {one.name for one in now.cases if one.state is PASSED}
    assert sorted(one.case.name for one in found.failed) == bad
    assert {one.name for one in (*found.fixed, *found.flaky)} <= passed
    assert all((one.since is None) == (before is None) for one in found.failed)


@given(now=reports)
def test_a_report_held_against_itself_has_nothing_new_and_nothing_fixed(now: Report) -> None:
    found = compare(now, baseline=now, attempts=[now])

    assert found.new == 0
    assert found.fixed == ()
    assert {one.name for one in found.flaky} == {
        one.name for one in now.cases if one.flaky and one.state is PASSED
    }


@given(now=reports, before=reports)
def test_what_is_fixed_one_way_is_new_the_other_way(now: Report, before: Report) -> None:
    there, back = compare(now, baseline=before), compare(before, baseline=now)

    new = {one.case.name for one in back.failed if one.since is Since.NEW}
    assert {one.name for one in there.fixed} <= new
