from __future__ import annotations

import subprocess
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.hosts import reading
from server.hosts.port import PayloadInvalidError

SHA = "6113728f27ae82c7b1a177c8d03f9e96e0adf246"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a":' * 100_000,
        b"[" * 100_000,
        b'{"a": "\xc3\x28"}',
    ],
)
def test_a_body_that_is_no_json_object_is_told_as_such(body: bytes) -> None:
    with pytest.raises(PayloadInvalidError):
        reading.json_object(body)


@pytest.mark.parametrize(
    "odd",
    [
        None,
        True,
        1,
        1.5,
        [],
        {},
        "",
        SHA[:39],
        SHA.upper(),
        SHA + "\n",
        "--upload-pack=x",
        "g" * 40,
    ],
)
def test_only_lower_case_hex_of_40_to_64_digits_is_a_commit(odd: object) -> None:
    with pytest.raises(PayloadInvalidError, match="at `after`"):
        reading.sha({"after": odd}, "after")


def test_the_all_zero_commit_is_none() -> None:
    assert reading.maybe_sha({"after": "0" * 40}, "after") is None
    assert reading.maybe_sha({"after": "0" * 64}, "after") is None


@pytest.mark.parametrize(
    "odd",
    [
        "--upload-pack=touch pwned",
        "-oProxyCommand=x",
        "refs/heads/-x",
        "refs/heads/a..b",
        "refs/heads/a b",
        "refs/heads/a\nb",
        "refs/heads/a\x00b",
        "refs/heads/a\x7fb",
        "refs/heads/a^{}",
        "refs/heads/a:b",
        "refs/heads/.a",
        "refs/heads/a.lock",
        "refs/heads/a.lock/b",
        "refs/heads//a",
        "refs/heads/a/",
        "refs/heads/a@{1}",
        "refs/heads/\ud800",
        "../etc",
        "/etc",
        "@",
        "",
        "x" * 2000,
        None,
        7,
        ["refs/heads/main"],
    ],
)
def test_a_ref_that_git_or_a_tool_could_misread_is_refused(odd: object) -> None:
    with pytest.raises(PayloadInvalidError, match="at `ref`"):
        reading.ref({"ref": odd}, "ref")


@pytest.mark.parametrize(
    "fine",
    [
        "refs/heads/main",
        "refs/heads/feature/-x",
        'refs/heads/zzz";echo${IFS}"hello";#',
        "refs/tags/v1.0.0-rc.1+build",
        "refs/heads/größe",
        "refs/heads/😀",
    ],
)
def test_a_ref_that_git_allows_is_taken(fine: str) -> None:
    assert reading.ref({"ref": fine}, "ref") == fine


@settings(max_examples=60, deadline=None)
@given(name=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12))
def test_no_ref_is_taken_that_git_itself_would_refuse(name: str) -> None:
    full = f"refs/heads/{name}"
    if reading.is_ref(full):
        subprocess.run(["git", "check-ref-format", full], check=True)


@pytest.mark.parametrize(
    "odd",
    [
        "web",
        "acme/",
        "/web",
        "acme/..",
        "../web",
        "./web",
        "acme/web/../../x",
        "acme//web",
        "-acme/web",
        "acme/web?x",
        "acme/web#x",
        "acme/web\n",
        "acme/wéb",
        "acme/%2e%2e",
        "user@evil/web",
        "a/" * 2000 + "b",
        None,
        3,
    ],
)
def test_a_repository_name_that_could_lead_elsewhere_is_refused(odd: object) -> None:
    with pytest.raises(PayloadInvalidError, match=r"at `repository\.full_name`"):
        reading.full_name({"repository": {"full_name": odd}}, "repository", "full_name")


@pytest.mark.parametrize("fine", ["acme/web", "acme/.github", "a/b/c_d/e-f", "Octo-cat/x.y"])
def test_a_plain_repository_name_is_taken(fine: str) -> None:
    assert reading.full_name({"name": fine}, "name") == fine


@pytest.mark.parametrize("odd", [None, True, 0, -1, 1.0, "7", 2**63, [], {}])
def test_an_id_is_a_positive_whole_number_that_fits_a_database(odd: object) -> None:
    with pytest.raises(PayloadInvalidError, match="at `id`"):
        reading.number({"id": odd}, "id")


def test_prose_loses_what_a_database_cannot_hold() -> None:
    found = reading.prose({"title": "a\0b\ud800c"}, "title")

    assert found == "a�b?c"


def test_prose_is_cut() -> None:
    assert len(reading.prose({"title": "x" * 10_000}, "title")) == reading.MAX_LINE


@pytest.mark.parametrize("data", [{}, {"a": None}, {"a": []}, {"a": "b"}, {"a": 7}])
def test_nothing_on_the_way_to_a_field_breaks_the_reader(data: dict[str, Any]) -> None:
    assert reading.value(data, "a", "b", "c") is None
