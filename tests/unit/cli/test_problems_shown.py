from __future__ import annotations

import re
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from pipelines.linting import lint
from pipelines.problems import Problem, Severity
from server.cli.problems import as_annotations, as_data, as_text, counted
from server.cli.terminal import Paint, width

PLAIN = Paint(on=False)
FILE = ".lading.yml"


def problem(line: int | None = 1, column: int | None = 1, **changes: object) -> Problem:
    fields = {"code": "P010", "message": "unknown key `x`", "file": FILE}
    return Problem.model_validate({**fields, "line": line, "column": column, **changes})


def shown(text: str, *problems: Problem, paint: Paint = PLAIN) -> list[str]:
    return list(as_text(problems, {FILE: text.encode()}, paint))


def carets(lines: Sequence[str]) -> str:
    """What stands above the carets."""
    at = next(number for number, line in enumerate(lines) if set(line.strip(" |")) == {"^"})
    start, end = lines[at].index("^"), len(lines[at])
    return lines[at - 1][start:end]


def test_a_problem_is_shown_with_its_line_a_caret_its_hint_and_its_page() -> None:
    found = shown(
        "test:\n  unit:\n    script: [pytest -q]\n", problem(3, 5, hint="here it is `commands`")
    )

    assert found == [
        ".lading.yml:3:5: error: unknown key `x` (P010)",
        "   |",
        " 3 |     script: [pytest -q]",
        "   |     ^^^^^^",
        "  = hint: here it is `commands`",
        "  = see docs/reference/problems.md#p010-unknown-key",
        "",
    ]


def test_the_caret_marks_a_quoted_text_as_a_whole() -> None:
    assert carets(shown('a: "one two", b', problem(1, 4))) == '"one two"'


def test_the_caret_stands_below_wide_letters() -> None:
    lines = shown("漢字: [漢]\n", problem(1, 6))

    assert lines[3].index("^") == 5 + len("漢字: [") + 2
    assert lines[3].count("^") == 2


def test_the_place_is_in_sight_of_a_line_that_is_too_long() -> None:
    line = "a" * 500 + " here " + "b" * 500

    lines = shown(line, problem(1, 502))

    assert carets(lines) == "here"
    assert max(map(len, lines)) < 120


def test_a_problem_without_a_place_has_no_excerpt() -> None:
    found = shown("a: b\n", problem(None, None))

    assert found[0] == ".lading.yml: error: unknown key `x` (P010)"
    assert len(found) == 3


def test_a_place_behind_the_end_is_no_trouble() -> None:
    assert shown("a: b\n", problem(9, 9))[0].startswith(".lading.yml:9:9")


def test_a_warning_is_called_one() -> None:
    found = shown("a: b\n", problem(severity=Severity.WARNING))

    assert found[0] == ".lading.yml:1:1: warning: unknown key `x` (P010)"


def test_lines_are_counted_as_yaml_counts_them() -> None:
    assert carets(shown("a: 1\r\nb: 2\rc: 3\u2028d: 4", problem(4, 1))) == "d"


def test_nothing_in_a_file_reaches_the_terminal_as_a_command() -> None:
    found = shown("a: \x1b[2J\x07\u202e\n", problem(1, 4, message="\x1b[31m", file=FILE))

    assert not any(letter in "".join(found) for letter in "\x1b\x07\u202e")


def test_colours_are_put_around_the_same_text() -> None:
    text, found = "a: [b\n", problem(1, 4, hint="so")
    painted = shown(text, found, paint=Paint(on=True))

    assert any("\x1b[1;31m^" in line for line in painted)
    assert [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in painted] == shown(text, found)


@given(st.text() | st.binary())
def test_whatever_the_file_its_problems_can_be_shown(text: str | bytes) -> None:
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    problems = lint({FILE: raw})[0].problems

    lines = list(as_text(problems, {FILE: raw}, PLAIN))

    assert len(lines) >= 3 * len(problems)
    assert not any("\n" in line or "\x1b" in line for line in lines)
    assert all("\n" not in line for line in as_annotations(problems))


def test_annotations_are_as_github_reads_them() -> None:
    odd = problem(
        2, 3, file="a,b:c.yml", message="100% wrong\r\n::error::", hint="be good", code="P020"
    )

    assert "\n".join(as_annotations([odd])) == (
        "::error file=a%2Cb%3Ac.yml,line=2,col=3,title=P020 bad duration"
        "::100%25 wrong%0D%0A::error::: be good"
    )


def test_a_problem_for_programs_says_where_it_is_documented() -> None:
    assert as_data(problem())["documentation"].endswith("problems.md#p010-unknown-key")


def test_one_is_told_from_several() -> None:
    assert [counted(1, "problem"), counted(2, "problem")] == ["1 problem", "2 problems"]


def test_widths_are_a_terminals() -> None:
    assert [width(text) for text in ("ab", "漢", "e\u0301")] == [2, 2, 1]
