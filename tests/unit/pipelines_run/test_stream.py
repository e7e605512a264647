from __future__ import annotations

import errno
import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.engine.rereading import BEGINNING_GONE, JUMPED, Rereading
from pipelines.engine.stream import Demultiplexer, OutputError, StoredOutput, pump, read_pieces
from pipelines.progress import Outcome, State
from pipelines.testing import MemoryOutput

Frames = list[tuple[int, bytes]]

frames = st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=40)), max_size=30)


def wire(parts: Frames) -> bytes:
    return b"".join(struct.pack(">BxxxL", stream, len(data)) + data for stream, data in parts)


def of(parts: Frames, stream: int) -> bytes:
    return b"".join(data for written, data in parts if written == stream)


@given(frames, st.lists(st.integers(1, 50), min_size=1))
def test_bytes_arrive_whole_and_in_order_however_the_reads_cut_them(
    parts: Frames, cuts: list[int]
) -> None:
    output = MemoryOutput()
    demultiplexer = Demultiplexer(output.write)
    data, at, turn = memoryview(wire(parts)), 0, 0
    while at < len(data):
        size = cuts[turn % len(cuts)]
        demultiplexer.feed(data[at : at + size])
        at, turn = at + size, turn + 1
    assert b"".join(d for _, d in output.writes) == b"".join(d for _, d in parts)
    assert (output.of(1), output.of(2)) == (of(parts, 1), of(parts, 2))


@given(frames, st.integers(0, 200), st.integers(0, 200))
def test_a_second_reading_gives_only_what_the_first_had_not(
    parts: Frames, first: int, second: int
) -> None:
    known = {1: min(first, len(of(parts, 1))), 2: min(second, len(of(parts, 2)))}
    output = MemoryOutput()
    demultiplexer = Demultiplexer(output.write, Rereading(known))
    demultiplexer.feed(memoryview(wire(parts)))
    assert output.of(1) == of(parts, 1)[known[1] :]
    assert output.of(2) == of(parts, 2)[known[2] :]
    assert demultiplexer.taken == known | {
        stream: len(of(parts, stream)) for stream in (1, 2) if of(parts, stream)
    }


def test_frames_of_one_stream_in_one_read_are_handed_on_at_once() -> None:
    output = MemoryOutput()
    Demultiplexer(output.write).feed(memoryview(wire([(1, b"a"), (1, b"b"), (2, b"c"), (1, b"d")])))
    assert output.writes == [(1, b"ab"), (2, b"c"), (1, b"d")]


def test_the_pump_reads_to_the_end() -> None:
    output = MemoryOutput()
    sent: Frames = [(1, b"x" * 300_000), (2, b"y" * 300_000)]
    pump(read_pieces(io.BytesIO(wire(sent))), Demultiplexer(output.write))
    assert (output.of(1), output.of(2)) == (sent[0][1], sent[1][1])


def test_a_full_disk_is_not_taken_for_a_broken_engine() -> None:
    class Full:
        full = False

        def write(self, stream: int, data: bytes) -> None:
            del stream, data
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError, match="the disk of Lading's logs is full"):
        StoredOutput(Full()).write(1, b"x")


def read_again(output: MemoryOutput, first: bytes, second: bytes, *, begins: bytes) -> None:
    """Two readings of what should be the same output, as after a restart."""
    reading = Demultiplexer(output.write, Rereading({1: 2}, begins=begins))
    reading.feed(memoryview(wire([(1, first)])))
    reading.again(begins).feed(memoryview(wire([(1, second)])))


def test_what_begins_otherwise_than_it_must_is_handed_on_with_a_warning() -> None:
    output = MemoryOutput()
    read_again(output, b"5\n6\n", b"5\n6\n7\n", begins=b"$ seq\n")

    assert output.writes == [(0, BEGINNING_GONE), (1, b"5\n6\n"), (1, b"7\n")]


def test_a_reading_that_is_not_as_the_one_before_ends_with_a_warning() -> None:
    output = MemoryOutput()
    read_again(output, b"$ seq\n1\n5\n", b"$ seq\n1\n2\n3\n4\n5\n", begins=b"$ seq\n")

    assert output.writes == [(1, b"seq\n1\n5\n"), (0, JUMPED)]


def test_a_reading_that_goes_further_than_the_one_before_gives_the_rest() -> None:
    output = MemoryOutput()
    read_again(output, b"$ seq\n1\n", b"$ seq\n1\n2\n", begins=b"$ seq\n")

    assert output.writes == [(1, b"seq\n1\n"), (1, b"2\n")]


@pytest.mark.parametrize(
    "pieces", [(b"cp: No space left on device\n",), (b"No space", b" left on device")]
)
def test_a_step_that_failed_for_want_of_room_says_so(pieces: tuple[bytes, ...]) -> None:
    output = StoredOutput(MemoryOutput())
    for piece in pieces:
        output.write(1, piece)
    failed = Outcome(state=State.FAILURE, exit_code=1, message="exit code 1")
    passed = Outcome(state=State.SUCCESS, exit_code=0)

    told = output.explained(failed)

    assert told.message == "a disk was full (No space left on device), exit code 1"
    assert output.explained(passed) == passed


def test_what_was_said_long_before_the_end_explains_no_failure() -> None:
    output = StoredOutput(MemoryOutput())
    output.write(1, b"No space left on device\n")
    output.write(1, b"x" * 3000)

    failed = Outcome(state=State.FAILURE, exit_code=1, message="exit code 1")

    assert output.explained(failed) == failed
