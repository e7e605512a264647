from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.reports import Case, CaseState, JUnit, Report
from pipelines.reports import junit as reading

SAMPLES = Path(__file__).parents[2] / "samples" / "junit"
BROKEN = {
    "billion-laughs": "is not read: it has a DTD or entities",
    "external-entity": "is not read: it has a DTD or entities",
    "cut-off": "is no whole XML (line 3, column 1: no element found)",
    "no-report": "is no JUnit report: its root is <html>, not <testsuites> or <testsuite>",
    "not-xml": "is no whole XML (line 1, column 1: syntax error)",
    "empty": "is no JUnit report: it is empty",
    "encoding": "is no JUnit report: unknown encoding: utf-99",
    "latin1": "is no whole XML (line 1, column 68: not well-formed (invalid token))",
    "deep": "is no JUnit report: it nests more than 64 elements",
}


def read(data: bytes, *, piece: int = 1000) -> Report:
    junit = JUnit()
    junit.read("report.xml", (data[at : at + piece] for at in range(0, len(data), piece)))
    return junit.report()


def sample(name: str) -> Report:
    return read((SAMPLES / f"{name}.xml").read_bytes())


def case(report: Report, name: str) -> Case:
    return next(one for one in report.cases if one.name == name)


def suite(*cases: str) -> bytes:
    return f"<testsuite name='s'>{''.join(cases)}</testsuite>".encode()


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("pytest", (5, 1, 1, 1)),
        ("jest", (3, 1, 0, 1)),
        ("go", (3, 1, 0, 0)),
        ("maven", (4, 0, 1, 0)),
        ("phpunit", (2, 1, 0, 0)),
    ],
)
def test_reports_of_many_frameworks_are_counted(
    name: str, counts: tuple[int, int, int, int]
) -> None:
    report = sample(name)

    assert (report.total, report.failed, report.errors, report.skipped) == counts
    assert len(report.cases) == report.total
    assert report.problems == ()


def test_a_failed_test_has_its_message_and_what_the_framework_says_of_it() -> None:
    failed = case(sample("pytest"), "test_refuses_a_wrong_password")

    assert failed.state is CaseState.FAILED
    assert failed.title == "tests.test_web.TestLogin::test_refuses_a_wrong_password"
    assert failed.message.startswith("AssertionError: assert 200 == 401")
    assert failed.details.endswith("tests/test_web.py:21: AssertionError")
    assert failed.seconds == pytest.approx(0.101)


def test_where_there_is_no_message_the_first_line_of_the_text_is_it() -> None:
    failed = case(sample("jest"), "cart sums up")

    assert failed.message == ("Error: expect(received).toBe(expected) // Object.is equality")
    assert failed.file == "src/cart.test.js"


def test_a_test_has_file_and_line_where_the_report_has_them() -> None:
    failed = case(sample("phpunit"), "testRounds")
    assert (failed.file, failed.line) == ("/workspace/tests/MoneyTest.php", 19)


def test_a_test_that_passed_at_the_second_try_is_flaky() -> None:
    tried = case(sample("maven"), "shipsAnOrder")
    assert (tried.state, tried.flaky) == (CaseState.PASSED, True)


def test_commas_between_thousands_are_no_decimal_commas() -> None:
    assert case(sample("maven"), "totalsAnOrder").seconds == pytest.approx(1200.25)


def test_the_samples_of_broken_reports_are_all_of_those_told_of() -> None:
    assert {path.stem for path in (SAMPLES / "broken").glob("*.xml")} == BROKEN.keys()


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_report_gives_a_problem_that_says_why(name: str) -> None:
    report = read((SAMPLES / "broken" / f"{name}.xml").read_bytes())
    assert report.problems == (f"report.xml {BROKEN[name]}",)


def test_what_stands_before_the_break_is_kept() -> None:
    report = read((SAMPLES / "broken" / "cut-off.xml").read_bytes())
    assert [one.name for one in report.cases] == ["one"]


@pytest.mark.parametrize("name", ["billion-laughs", "external-entity"])
def test_nothing_of_a_report_with_entities_is_read(name: str) -> None:
    assert read((SAMPLES / "broken" / f"{name}.xml").read_bytes()).cases == ()


@pytest.mark.parametrize("name", ["pytest", "maven"])
def test_a_report_is_the_same_in_whatever_pieces_it_comes(name: str) -> None:
    data = (SAMPLES / f"{name}.xml").read_bytes()
    assert read(data, piece=1) == read(data, piece=len(data))


def test_several_files_become_one_report() -> None:
    junit = JUnit()
    for name in ("go", "jest"):
        junit.read(name, [(SAMPLES / f"{name}.xml").read_bytes()])

    assert junit.report().total == 6


def test_no_secret_is_left_in_any_text() -> None:
    junit = JUnit(lambda text: text.replace("hunter2", "*******"))
    data = (
        b"<testsuite name='hunter2'><testcase name='hunter2' classname='hunter2' "
        b"file='hunter2'><failure message='hunter2'>hunter2</failure></testcase>"
    )
    junit.read("hunter2.xml", [data])

    report = junit.report()
    assert "hunter2" not in report.model_dump_json()
    assert report.failed == 1
    assert report.problems


def test_control_characters_become_blanks() -> None:
    report = read(suite("<testcase name='a&#9;b&#x85;c'/>"))
    assert report.cases[0].name == "a\tb c"


def test_texts_are_cut() -> None:
    report = read(
        suite(
            f"<testcase name='{'n' * 5000}'><failure message='{'m' * 5000}'>{'d' * 50_000}"
            "</failure></testcase>"
        )
    )

    (one,) = report.cases
    assert len(one.name) == reading.MAX_NAME
    assert len(one.message) == reading.MAX_MESSAGE
    assert len(one.details) == reading.MAX_DETAILS
    assert one.details.endswith("…")


def test_all_texts_together_are_bounded() -> None:
    failed = f"<testcase name='x'><failure>{'d' * reading.MAX_DETAILS}</failure></testcase>"
    report = read(suite(*[failed] * 400), piece=65536)

    texts = sum(len(one.details) + len(one.message) for one in report.cases)
    assert report.total == 400
    assert texts <= reading.MAX_TEXT + 2 * 400


def test_tests_beyond_the_most_are_counted_and_left_out() -> None:
    report = read(suite(*["<testcase name='x'/>"] * (reading.MAX_CASES + 7)), piece=65536)

    assert report.total == reading.MAX_CASES + 7
    assert len(report.cases) == reading.MAX_CASES
    assert report.left_out == 7


def test_memory_is_bounded_whatever_the_report_holds() -> None:
    def endless() -> Iterator[bytes]:
        yield b"<testsuite><testcase name='a'><failure>"
        for _ in range(40):
            yield b"x" * 2**20
        yield b"</failure></testcase></testsuite>"

    tracemalloc.start()
    try:
        junit = JUnit()
        junit.read("report.xml", endless())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert junit.report().failed == 1
    assert peak < 8 * 2**20
