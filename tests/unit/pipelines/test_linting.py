from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipelines.codes import CODES, documented
from pipelines.linting import lint
from pipelines.problems import Problem
from tests.unit.docs import pages

GOOD = b"test:\n  unit: {image: busybox, commands: [a]}\n"
WORDS = st.sampled_from(
    [
        *("test:", "build:", "push:", "  unit:", "    image: x", "    commands: [a]", "{}", "*a"),
        *("when:", "- event: tag", "    needs: [test.unit]", "\t", "${tag}", "'", "&a"),
        "    matrix: {a: [b]}",
    ]
)


def codes(
    files: dict[str, bytes], unreadable: dict[str, str] | None = None
) -> dict[str, list[str]]:
    return {
        each.file: [problem.code for problem in each.problems] for each in lint(files, unreadable)
    }


def problems(text: str) -> tuple[Problem, ...]:
    return lint({".lading.yml": text.encode()})[0].problems


@given(st.text() | st.binary() | st.lists(WORDS).map("\n".join))
def test_no_text_makes_it_raise_and_every_problem_is_explained_somewhere(text: str | bytes) -> None:
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")

    for linted in lint({".lading.yml": raw, ".lading/b.yml": raw}):
        for problem in linted.problems:
            assert problem.file == linted.file
            assert problem.code in CODES
            assert (problem.line is None) == (problem.column is None)


def test_files_are_told_in_the_order_of_their_names() -> None:
    assert list(codes({".lading/b.yml": GOOD, ".lading/a.yml": b""})) == [
        ".lading/a.yml",
        ".lading/b.yml",
    ]


def test_the_second_file_of_a_name_is_told() -> None:
    named = b"name: web\n" + GOOD

    assert codes({".lading/a.yml": named, ".lading/b.yml": named}) == {
        ".lading/a.yml": [],
        ".lading/b.yml": ["P090"],
    }


def test_files_of_other_names_stand_beside_each_other() -> None:
    assert codes({".lading/a.yml": GOOD, ".lading/b.yml": GOOD}) == {
        ".lading/a.yml": [],
        ".lading/b.yml": [],
    }


def test_a_file_that_is_not_read_is_a_problem_of_its_own() -> None:
    assert codes({".lading.yml": GOOD}, {".lading.yaml": "is not read"}) == {
        ".lading.yaml": ["P091"],
        ".lading.yml": [],
    }


def test_an_image_without_a_name_for_an_event_is_told_before_the_event_comes() -> None:
    found = problems("test:\n  a: {image: 'x:${tag}', commands: [a]}\n")

    assert [(each.code, each.line, each.column) for each in found] == [("P040", 2, 14)] * 2
    assert "for this push" in found[0].message
    assert "for this pull_request" in found[1].message


def test_an_image_is_not_tried_with_events_that_start_nothing() -> None:
    assert not problems("when: {event: tag}\ntest:\n  a: {image: 'x:${tag}', commands: [a]}\n")


def test_an_image_is_not_tried_with_events_that_leave_its_step_out() -> None:
    assert not problems("test:\n  a: {image: 'x:${tag}', commands: [a], when: {event: tag}}\n")


def test_an_image_of_a_matrix_is_placed_at_the_steps_own_image() -> None:
    found = problems(
        "when: {event: push}\ntest:\n  ab: {image: x, commands: [a]}\n"
        "  a: {image: 'x:${tag}', commands: [a], matrix: {v: [c]}}\n"
    )

    assert [(each.line, each.column) for each in found] == [(4, 14)]


def test_every_code_is_documented_where_the_problem_says() -> None:
    from tests.conftest import ROOT

    for code in CODES:
        path, _, anchor = documented(code).partition("#")
        assert anchor in pages.read(ROOT, ROOT / path).anchors
