"""Every file of `tests/corpus`, and the very problems that each broken one must give."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.definition import tree
from pipelines.linting import lint
from pipelines.parsing import SINGLE_FILE

CORPUS = Path(__file__).parents[2] / "corpus"
GOOD = sorted((CORPUS / "good").glob("*.yml"))
BROKEN = sorted((CORPUS / "broken").glob("*.yml"))


def said(path: Path) -> list[str]:
    (linted,) = lint({SINGLE_FILE: path.read_bytes()})
    return [str(problem) for problem in linted.problems]


def name(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", GOOD, ids=name)
def test_a_good_file_has_no_problem(path: Path) -> None:
    assert said(path) == []


@pytest.mark.parametrize("path", BROKEN, ids=name)
def test_a_broken_file_gives_exactly_its_problems(path: Path) -> None:
    wanted = path.with_suffix(".problems").read_text(encoding="utf-8").splitlines()

    assert wanted
    assert said(path) == wanted


def test_no_list_of_problems_stands_without_its_file() -> None:
    lists = {path.stem for path in (CORPUS / "broken").glob("*.problems")}
    assert lists == {path.stem for path in BROKEN}


def test_the_corpus_is_within_what_a_pipeline_may_hold() -> None:
    assert max(path.stat().st_size for path in [*GOOD, *BROKEN]) < tree.MAX_BYTES
