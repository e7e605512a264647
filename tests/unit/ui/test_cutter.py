"""Output is cut into lines, with offsets from which a reader can go on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.ui.events import LINES, Cutter


def test_lines_are_handed_out_when_they_are_complete() -> None:
    cutter = Cutter(10)

    assert list(cutter.take(b"one\ntw")) == [(14, ["one"])]
    assert list(cutter.take(b"o\n")) == [(18, ["two"])]


def test_a_rest_without_line_end_comes_last() -> None:
    cutter = Cutter(0)
    assert list(cutter.take(b"$ ")) == []

    assert list(cutter.flush()) == [(2, ["$ "])]
    assert list(cutter.flush()) == []


def test_a_message_holds_a_limited_number_of_lines() -> None:
    sizes = [len(lines) for _, lines in Cutter(0).take(b"x\n" * (2 * LINES + 1))]

    assert sizes == [LINES, LINES, 1]


def test_a_line_without_end_is_not_kept_for_ever() -> None:
    cutter = Cutter(0)

    given_out = [list(cutter.take(b"x" * 50_000)) for _ in range(2)]

    assert given_out[0] == []
    assert given_out[1][0][0] == 100_000


@given(st.lists(st.binary(max_size=50), max_size=20), st.data())
def test_going_on_from_any_offset_gives_the_same_lines(
    pieces: list[bytes], data: st.DataObject
) -> None:
    whole = b"".join(pieces)
    cutter = Cutter(0)
    messages = [message for piece in pieces for message in cutter.take(piece)]
    messages += cutter.flush()
    stop = data.draw(st.integers(0, len(messages)))
    offset = messages[stop - 1][0] if stop else 0

    again = Cutter(offset)
    rest = [*again.take(whole[offset:]), *again.flush()]

    before = [line for _, lines in messages[stop:] for line in lines]
    assert [line for _, lines in rest for line in lines] == before
    assert cutter.offset == again.offset == len(whole)
