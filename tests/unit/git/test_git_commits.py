"""Commits and git's own words, read without git."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.mirrors.failures import failure, scrub
from server.mirrors.objects import parse_commit

TOKEN = "dG9wOnNlY3JldA=="


def test_a_commit_in_another_encoding_is_read() -> None:
    raw = (
        b"tree " + b"0" * 40 + b"\nauthor Ren\xe9 <r@x> 1700000000 +0100\n"
        b"committer Ren\xe9 <r@x> 1700000000 +0100\nencoding iso-8859-1\n\n\xc9t\xe9\n"
    )

    found = parse_commit(raw)

    assert (found.author, found.title) == ("René", "Été")
    assert found.committed_at == datetime.fromtimestamp(1_700_000_000, UTC)


@pytest.mark.parametrize("seconds", [b"99999999999999999999", b"-99999999999999999999", b"soon"])
def test_a_time_that_is_no_time_is_the_epoch(seconds: bytes) -> None:
    found = parse_commit(b"committer A <a@x> " + seconds + b" +0000\n\nx")

    assert found.committed_at == datetime.fromtimestamp(0, UTC)


@given(st.binary())
def test_any_bytes_are_read_as_some_commit(raw: bytes) -> None:
    assert "\0" not in parse_commit(raw).message


@given(st.sampled_from([b"utf-16", b"rot13", b"zlib", b"idna", b"\xff", b"punycode"]), st.binary())
def test_any_encoding_is_survived(encoding: bytes, body: bytes) -> None:
    assert isinstance(parse_commit(b"encoding " + encoding + b"\n\n" + body).title, str)


def test_no_credential_stands_in_an_error() -> None:
    url = "https://ada:pw@git.test/web.git"
    err = f"fatal: unable to access '{url}/': sent Authorization: Basic {TOKEN}\x1b[2J"

    text = str(failure("fetching", err, url=url, secrets={"V": f"Authorization: Basic {TOKEN}"}))

    assert TOKEN not in text
    assert "pw@" not in text
    assert "\x1b" not in text
    assert "git.test/web.git" in text


def test_short_values_of_the_environment_leave_the_text_alone() -> None:
    assert scrub("line 1 of 12", secrets={"GIT_CONFIG_COUNT": "1"}) == "line 1 of 12"


@pytest.mark.parametrize(
    ("err", "permanent"),
    [
        ("remote: Repository not found.\nfatal: repository 'x' not found", True),
        ("fatal: Authentication failed for 'x'", True),
        ("git@h: Permission denied (publickey).\nfatal: Could not read", True),
        ("Host key verification failed.\nfatal: Could not read from remote", True),
        ("fatal: unable to access 'x': Could not resolve host: h", False),
        ("fatal: unable to access 'x': The requested URL returned error: 502", False),
        ("fatal: write error: No space left on device", False),
        ("", False),
    ],
)
def test_a_failure_says_whether_another_try_can_help(err: str, permanent: bool) -> None:
    found = failure("fetching the repository", err)

    assert found.permanent is permanent
    assert str(found).startswith("fetching the repository failed")


def test_damage_that_the_other_end_tells_of_is_not_ours() -> None:
    assert not failure("fetching", "remote: fatal: bad object abc\nfatal: early EOF").damaged
    assert failure("fetching", "fatal: bad object abc").damaged
