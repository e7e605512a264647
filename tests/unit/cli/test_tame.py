from __future__ import annotations

import io

import pytest

from server.cli.watching import Ending, Tame


def shown(*pieces: bytes, terminal: bool = True) -> bytes:
    stream = io.BytesIO()
    out = Tame(stream, terminal=terminal)
    for piece in pieces:
        out.write(piece)
    out.finish()
    return stream.getvalue()


HOSTILE = b"\xff\x00\x1b[2J\x1b]0;title\x07\x07\x9b\xc2\x9b1A\r\n"


def test_what_is_no_terminal_gets_every_byte() -> None:
    assert shown(HOSTILE, b"x", terminal=False) == HOSTILE + b"x"


@pytest.mark.parametrize(
    ("pieces", "seen"),
    [
        ((b"plain\n",), b"plain\n"),
        ((b"\x1b[31mred\x1b[0m\n",), b"\x1b[31mred\x1b[0m\x1b[0m\n"),
        ((b"\x1b[2Jgone\n",), b"gone\x1b[0m\n"),
        ((b"a\x1b[2", b"Jb\n"), b"ab\x1b[0m\n"),
        ((b"\x1b]52;c;", b"YQ==\x07x\n"), b"x\x1b[0m\n"),
        ((b"bell\x07 back\x08 \xc2\x9b1A\n",), b"bell back 1A\n"),
        ((b"50%\r", b"100%\n"), b"50%\r100%\n"),
        ((b"no end",), b"no end\n"),
    ],
)
def test_a_terminal_gets_nothing_that_it_would_obey_but_colours(
    pieces: tuple[bytes, ...], seen: bytes
) -> None:
    assert shown(*pieces) == seen


def test_a_sequence_that_never_ends_holds_nothing_back_for_ever() -> None:
    assert b"y" * 4999 in shown(b"\x1b[", b"y" * 5000)


def test_text_without_a_line_end_is_shown_at_once() -> None:
    stream = io.BytesIO()
    Tame(stream, terminal=True).write(b"Continue? ")

    assert stream.getvalue() == b"Continue? "


@pytest.mark.parametrize(
    ("state", "code"),
    [("success", 0), ("failure", 1), ("error", 3), ("cancelled", 3), ("skipped", 3), ("new", 3)],
)
def test_the_exit_code_says_how_it_ended(state: str, code: int) -> None:
    assert Ending.of(state) == code
