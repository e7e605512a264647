"""Strangers' text is harmless to look at, and otherwise left alone."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.ui.text import LINE_SHOWN, clean, clean_line, coded, local_path, web_address


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        (b"\x1b[31mred\x1b[0m plain", "red plain"),
        (b"\x1b[38;5;196mred\x1b[m", "red"),
        (b"\x1b]8;;javascript:alert(1)\x07click\x1b]8;;\x07", "click"),
        (b"\x1b]8;;javascript:alert(1)\x1b\\click\x1b]8;;\x1b\\", "click"),
        (b"\x1b]52;c;ZXZpbA==\x07after", "after"),
        (b"\x1b]0;a title\x07after", "after"),
        (b"\x1b]52;c;never ended", ""),
        (b"\x1bP+q544e\x1b\\after", "after"),
        (b"\xc2\x9b31mred", "red"),
        (b"\xc2\x9d8;;x\xc2\x9cafter", "after"),
        (b"ding\x07dong", "dingdong"),
        (b"a\x08b\x00c\x7f", "abc"),
        (b" 10%\r 50%\r100%", "100%"),
        (b"windows\r\n", "windows"),
        (b"tab\there", "tab\there"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        ("left \u202eright".encode(), "left right"),
        (b"<img src=x onerror=alert(1)>", "<img src=x onerror=alert(1)>"),
        (b"\x1b", ""),
        (b"\x1b[", ""),
    ],
)
def test_a_line_is_shown_as_a_terminal_would_leave_it(written: bytes, seen: str) -> None:
    assert clean_line(written) == seen


@given(st.binary(max_size=300))
def test_no_control_character_is_left_of_any_line(data: bytes) -> None:
    seen = clean_line(data)

    assert not [c for c in seen if unicodedata.category(c) == "Cc" and c not in "\t\n"]
    assert "\x1b" not in seen


@given(st.text(st.characters(categories=("L", "N", "P", "S", "Zs")), max_size=200))
def test_plain_text_is_left_alone(text: str) -> None:
    assert clean(text) == text


def test_a_lone_surrogate_is_taken_out() -> None:
    assert clean("a\ud800b") == "ab"


def test_a_long_line_is_cut_and_says_so() -> None:
    seen = clean_line(b"x" * (LINE_SHOWN + 12))

    assert seen == "x" * LINE_SHOWN + " … (12 more characters in the plain text)"


def test_escapes_without_end_take_no_time() -> None:
    assert clean("\x1b]" * 200_000) == ""
    assert clean("\x1b[" + "0;" * 500_000) == ""


@pytest.mark.parametrize(
    "address",
    ["javascript:alert(1)", "data:text/html,x", "//evil.test", "/local", "http:", "http://[", ""],
)
def test_only_web_addresses_become_links(address: str) -> None:
    assert web_address(address) is None


def test_a_web_address_is_kept() -> None:
    assert web_address("https://git.test/acme/web/commit/1") is not None


@pytest.mark.parametrize(
    "target",
    [
        "//evil.test",
        "/\\evil.test",
        "\\\\evil.test",
        "https://evil.test",
        "javascript:alert(1)",
        "/a\r\nSet-Cookie: x=y",
        "/a\\b",
        "/ä",
        "/a b",
        "evil",
        "",
        None,
    ],
)
def test_after_signing_in_nobody_is_sent_elsewhere(target: str | None) -> None:
    assert local_path(target) == "/"


@pytest.mark.parametrize("target", ["/", "/runs/1?step=test.unit", "/deliveries/0a"])
def test_after_signing_in_one_is_back_where_one_was(target: str) -> None:
    assert local_path(target) == target


def test_what_stands_between_backticks_is_code_and_everything_else_is_text() -> None:
    assert coded("run `lading <x>` & <b>`") == (
        "run <code>lading &lt;x&gt;</code> &amp; &lt;b&gt;`"
    )
