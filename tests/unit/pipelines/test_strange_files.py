"""What strangers may write for YAML: broken, hostile, or anything at all."""

from __future__ import annotations

import time

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.definition import tree
from pipelines.parsing import parse
from tests.unit.pipelines.building import said

SMALLEST = "build: {web: {}}\n"


def test_a_duplicate_key_is_an_error_and_names_the_first() -> None:
    assert said("build:\n  web: {}\n  web: {}\n") == [
        "3:3 P006 duplicate key `web`: it stands in line 2 too"
    ]


def test_a_yaml_fault_and_a_duplicate_are_told_together() -> None:
    assert [line[:8] for line in said("a: {b: 1, b: 2}\n\tb: c\n")] == ["1:11 P00", "2:1 P001"]


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("build: [a\n", "2:1 P001"),
        ("build: {a: b: c}", "1:13 P001"),
        ("a: 'b", "1:6 P001"),
        ("a: *b", "1:4 P001 alias `*b` stands for nothing"),
        ("a: &a [*a]", "1:8 P001 alias `*a` stands for nothing"),
        ("a: !!python/object/apply:os.system [ls]", "1:4 P005 the YAML tag"),
        ("a: !!int 3", "1:4 P005"),
        ("build: {w: }\n---\na: b\n---\nc: d", "2:1 P005 a second YAML document"),
        ("? [a]\n: b", "1:3 P005 a list or map as a key"),
        ("a\nb: \x07", "2:4 P004 character U+0007 is not text"),
        ("a: \ud800", "1:4 P004"),
        ('a: "\\0"', "1:4 P004 a character that is not text"),
        (b"a: b\nc: \xff", "2:4 P004 the file is not UTF-8 text"),
    ],
)
def test_what_is_no_plain_yaml_is_told_with_its_place(text: str | bytes, start: str) -> None:
    assert any(line.startswith(start) for line in said(text))


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert said(b"\xef\xbb\xbfbuild: {web: }") == []
    assert said("\ufeffbuild: {web: }") == []


LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (LAUGHS, "P003"),
        ("a" * 10_000_000, "P002"),
        (b"a" * 10_000_000, "P002"),
        ("[" * 100_000, "P003"),
        ("{a: " * 60_000, "P003"),
        ("- " * 100_000, "P003"),
        ("? " * 100_000, "P003"),
        ("x: [" + "a," * 100_000 + "]", "P003"),
        ("{" + ",".join(f"k{n}: " for n in range(9_000)) + "}", "P010"),
        ("build: {" + ",".join(f"k{n}: {{x: }}" for n in range(4_000)) + "}", "P010"),
        ("x" * 200_000 + ": ", "P001"),
    ],
    ids=[
        "laughs",
        "10 MB",
        "10 MB bytes",
        "[",
        "{",
        "-",
        "?",
        "list",
        "keys",
        "builds",
        "long key",
    ],
)
def test_a_pathological_file_is_refused_at_once(text: str | bytes, code: str) -> None:
    start = time.process_time()
    problems = parse(text, ".lading.yml").problems
    took = time.process_time() - start
    assert problems[0].code == code
    assert len(problems) <= tree.MAX_PROBLEMS
    assert took < 1  # below 0.1 s here; a slow machine or a tracer shall not fail for it


def test_without_the_c_parser_the_same_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with_c = [parse(text, "f").model_dump() for text in (SMALLEST, "a: [b", LAUGHS, "a: &x [*x]")]
    monkeypatch.setattr(tree, "_LOADER", yaml.BaseLoader)
    start = time.process_time()
    without = [parse(text, "f").model_dump() for text in (SMALLEST, "a: [b", LAUGHS, "a: &x [*x]")]
    assert parse("[" * 100_000, "f").problems[0].code == "P003"
    assert time.process_time() - start < 2
    assert [each["definition"] for each in with_c] == [each["definition"] for each in without]
    codes = [[[p["code"] for p in each["problems"]] for each in run] for run in (with_c, without)]
    assert codes[0] == codes[1]


@given(st.text() | st.binary())
@example("\x85\u2028\ufeff: ")
@example("&a : *a")
def test_parsing_never_raises_for_any_text(text: str | bytes) -> None:
    parsed = parse(text, ".lading.yml")
    assert (parsed.definition is None) == bool(parsed.problems)


KEYS = st.sampled_from(
    [
        "name",
        "when",
        "env",
        "timeout",
        "build",
        "test",
        "push",
        "event",
        "branch",
        "tag",
        "path",
        "include",
        "exclude",
        "image",
        "from",
        "commands",
        "needs",
        "to",
        "tags",
        "args",
        "context",
        "dockerfile",
        "target",
        "services",
        "script",
        "unit",
        "web",
        "[key]",
        "text",
    ]
)
VALUES = st.sampled_from(
    ["web", "build.web", "30m", "push", "${x}", "${tag}", "", "..", "ghcr.io/a/b"]
)
TREES = st.recursive(
    st.none() | VALUES | st.text(max_size=5) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=25,
)


@given(st.dictionaries(KEYS, TREES, max_size=5))
@settings(max_examples=300)
def test_parsing_never_raises_for_any_tree_and_places_every_problem(
    data: dict[str, object],
) -> None:
    parsed = parse(yaml.safe_dump(data), ".lading.yml")
    assert (parsed.definition is None) == bool(parsed.problems)
    assert all(problem.line and problem.column for problem in parsed.problems)
