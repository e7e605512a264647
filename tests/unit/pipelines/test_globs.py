from __future__ import annotations

import time

import pytest

from pipelines.globs import Glob, Globs


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("main", "main"),
        ("release/*", "release/1"),
        ("**", "a/b/c"),
        ("src/**", "src/a/b.py"),
        ("src/", "src/a/b.py"),
        ("**/*.md", "README.md"),
        ("**/*.md", "docs/a/b.md"),
        ("a/**/b/**/c", "a/x/b/y/b/z/c"),
        ("v[0-9]?", "v1x"),
    ],
)
def test_a_pattern_matches(pattern: str, name: str) -> None:
    assert Glob(pattern).matches(name)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("main", "maintenance"),
        ("main", "feature/main"),
        ("release/*", "release/1/fix"),
        ("*", "a/b"),
        ("src/**", "lib/src/a"),
        ("**/*.md", "a.mdx"),
        ("a/**/b", "a/x/c"),
        ("a/b", "a"),
        ("Main", "main"),
    ],
)
def test_a_pattern_does_not_match(pattern: str, name: str) -> None:
    assert not Glob(pattern).matches(name)


def test_one_of_several_patterns_is_enough() -> None:
    assert Globs(["a", "b"]).match("b")
    assert not Globs([]).match("b")


@pytest.mark.parametrize(
    ("pattern", "name"), [("*a" * 90 + "b", "a" * 4000), ("**/a/" * 40 + "b", "a/" * 2000 + "c")]
)
def test_no_pattern_takes_long(pattern: str, name: str) -> None:
    start = time.process_time()
    assert not Glob(pattern).matches(name)
    assert time.process_time() - start < 0.5
