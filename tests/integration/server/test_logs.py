"""The log store on a real disk."""

from __future__ import annotations

import asyncio
import itertools
import os
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.executor import OWN, STDERR, STDOUT
from server.logs import COUNTED, LogStore

STEP = (1, 1, "test.unit")


def store(folder: Path, *, limit: int = 1 << 20) -> LogStore:
    return LogStore(folder, limit=limit)


def test_bytes_come_back_as_they_were_written(tmp_path: Path) -> None:
    logs = store(tmp_path)
    writer = logs.open(*STEP)
    writer.write(STDOUT, b"one\n\x00\xff")
    writer.write(STDERR, b"two\n")
    writer.close()

    assert logs.read(*STEP, start=0, limit=100) == b"one\n\x00\xfftwo\n"
    assert logs.read(*STEP, start=4, limit=2) == b"\x00\xff"


def test_a_log_that_was_never_written_is_empty(tmp_path: Path) -> None:
    assert store(tmp_path).read(*STEP, start=0, limit=10) == b""


def test_a_step_key_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no step key"):
        store(tmp_path).open(1, 1, "../../etc/passwd")


REACHED = (
    b"\n[lading] the output limit of 1 MiB is reached: the step goes on, what it writes from here "
    b"on is not kept\n"
)


def test_the_line_about_the_limit_comes_when_it_is_reached_and_the_count_at_the_end(
    tmp_path: Path,
) -> None:
    logs = store(tmp_path, limit=1 << 20)
    writer = logs.open(*STEP)
    writer.write(STDOUT, b"x" * (1 << 20))
    assert logs.size(*STEP) == 1 << 20

    writer.write(STDERR, b"y" * 1000)
    assert logs.read(*STEP, start=1 << 20, limit=1000) == REACHED

    writer.write(STDOUT, b"x" * 500)
    writer.close()
    last = b"[lading] 1,500 bytes of output were not kept\n"
    assert logs.read(*STEP, start=1 << 20, limit=1000) == REACHED + last


def test_what_was_not_kept_counts_as_taken(tmp_path: Path) -> None:
    logs = store(tmp_path, limit=10)
    writer = logs.open(*STEP)
    writer.write(STDOUT, b"12345678")
    writer.write(STDERR, b"1234")
    writer.write(STDOUT, b"9")
    writer.pause()

    taken = logs.taken(*STEP)
    assert (taken[STDOUT], taken[STDERR]) == (9, 4)


def test_bytes_dropped_before_a_kill_are_counted_but_for_the_last_few(tmp_path: Path) -> None:
    logs = store(tmp_path, limit=10)
    writer = logs.open(*STEP)
    for _ in range(30):
        writer.write(STDOUT, b"x" * (1 << 20))

    taken = logs.taken(*STEP)[STDOUT]  # as kill -9 would leave it
    writer.pause()

    assert 30 * 2**20 - COUNTED <= taken <= 30 * 2**20


def test_going_on_with_a_full_log_neither_repeats_a_line_nor_keeps_more(tmp_path: Path) -> None:
    output = b"".join(b"line %d\n" % number for number in range(100))
    first = store(tmp_path, limit=80).open(*STEP)
    first.write(STDOUT, output[:300])
    first.pause()

    logs = store(tmp_path, limit=80)
    second = logs.open(*STEP)
    second.write(STDOUT, output[logs.taken(*STEP)[STDOUT] :])
    second.close()
    third = logs.open(*STEP)  # as after a kill before the step's end was stored
    third.close()

    written = logs.read(*STEP, start=0, limit=1000)
    assert written.startswith(output[:80])
    assert written[80:].count(b"is reached") == 1
    assert written.endswith(b"at least %d bytes of output were not kept\n" % (len(output) - 80))
    assert written.count(b"were not kept") == 1
    ends = [number for number, byte in enumerate(written, 1) if byte == ord("\n")]
    assert [logs.offset_of_line(*STEP, line) for line in range(1, len(ends) + 1)] == ends


def test_a_full_log_stays_full_when_the_limit_is_raised(tmp_path: Path) -> None:
    first = store(tmp_path, limit=4).open(*STEP)
    first.write(STDOUT, b"123456")
    first.pause()

    logs = store(tmp_path, limit=1000)
    second = logs.open(*STEP)
    second.write(STDOUT, b"789")
    second.close()

    assert b"789" not in logs.read(*STEP, start=0, limit=1000)


def test_an_index_of_a_million_records_is_read_without_holding_it(tmp_path: Path) -> None:
    logs = store(tmp_path)
    writer = logs.open(*STEP)
    writer.write(STDOUT, b"x\n")
    writer.close()
    index = tmp_path / "1" / "1" / "test.unit.idx"
    index.write_bytes(index.read_bytes() * 1_000_000)

    tracemalloc.start()
    taken = logs.taken(*STEP)
    logs.lines(*STEP)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert taken == {STDOUT: 2_000_000}
    assert peak < 2 * 2**20


def test_a_writer_that_opens_an_old_log_goes_on_where_it_ended(tmp_path: Path) -> None:
    first = store(tmp_path).open(*STEP)
    first.write(STDOUT, b"one\ntwo\n")
    first.close()
    logs = store(tmp_path)
    second = logs.open(*STEP)
    second.write(STDOUT, b"three\n")
    second.close()

    assert logs.lines(*STEP) == 3
    assert logs.offset_of_line(*STEP, 2) == len(b"one\ntwo\n")


def test_the_index_tells_how_much_of_each_stream_is_stored(tmp_path: Path) -> None:
    logs = store(tmp_path)
    writer = logs.open(*STEP)
    for stream, data in ((OWN, b"Pulling x\n"), (STDOUT, b"abc"), (STDERR, b"de"), (STDOUT, b"f")):
        writer.write(stream, data)
    writer.note("a word of ours")
    writer.close()

    assert logs.taken(*STEP) == {OWN: 10 + len(b"\na word of ours\n"), STDOUT: 4, STDERR: 2}


@pytest.mark.parametrize("lost", range(5))
@pytest.mark.parametrize("file", ["test.unit.log", "test.unit.idx"])
def test_what_a_crash_tore_apart_fits_together_again(tmp_path: Path, file: str, lost: int) -> None:
    first = store(tmp_path).open(*STEP)
    first.write(STDOUT, b"one\n")
    first.write(STDERR, b"two\n")
    first.pause()
    path = tmp_path / "1" / "1" / file
    os.truncate(path, path.stat().st_size - lost)

    logs = store(tmp_path)
    second = logs.open(*STEP)
    taken = logs.taken(*STEP)
    for stream, data in ((STDOUT, b"one\n"), (STDERR, b"two\n")):
        second.write(stream, data[taken.get(stream, 0) :])
    second.close()

    assert logs.read(*STEP, start=0, limit=100) == b"one\ntwo\n"
    assert logs.offset_of_line(*STEP, 1) == 4


def test_a_log_that_is_left_to_somebody_else_gets_no_last_word(tmp_path: Path) -> None:
    logs = store(tmp_path, limit=4)
    first = logs.open(*STEP)
    first.write(STDOUT, b"123456")
    first.pause()
    assert b"were not kept" not in logs.read(*STEP, start=0, limit=1000)

    logs.open(*STEP).close()
    assert b"at least 2 bytes of output were not kept" in logs.read(*STEP, start=0, limit=1000)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(pieces=st.lists(st.text("ab\n", min_size=1, max_size=12).map(str.encode), max_size=12))
def test_every_line_is_found_where_it_starts(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]
) -> None:
    logs = store(tmp_path_factory.mktemp("log"))
    writer = logs.open(*STEP)
    for piece in pieces:
        writer.write(STDOUT, piece)
    writer.close()

    whole = b"".join(pieces)
    lines = whole.split(b"\n")
    starts = [0, *itertools.accumulate(len(line) + 1 for line in lines[:-1])]
    for number, start in enumerate(starts):
        assert logs.offset_of_line(*STEP, number) == start
    assert logs.offset_of_line(*STEP, len(starts)) == len(whole)


def test_who_follows_gets_the_earlier_bytes_then_the_new_ones_then_the_end(
    tmp_path: Path,
) -> None:
    async def follow() -> list[bytes]:
        logs = store(tmp_path)
        writer = logs.open(*STEP)
        await asyncio.to_thread(writer.write, STDOUT, b"before\n")
        got: list[bytes] = []
        async for data in logs.follow(*STEP):
            got.append(data)
            if data == b"before\n":
                await asyncio.to_thread(writer.write, STDOUT, b"after\n")
            else:
                writer.close()
                logs.end(*STEP)
        return got

    assert asyncio.run(asyncio.wait_for(follow(), 10)) == [b"before\n", b"after\n"]


def test_who_follows_a_step_that_has_not_begun_waits_for_it(tmp_path: Path) -> None:
    async def follow() -> bytes:
        logs = store(tmp_path)
        logs.expect(*STEP)

        async def collect() -> bytes:
            return b"".join([data async for data in logs.follow(*STEP)])

        reader = asyncio.create_task(collect())
        await asyncio.sleep(0)
        writer = logs.open(*STEP)
        writer.write(STDOUT, b"late\n")
        writer.close()
        logs.end(*STEP)
        return await reader

    assert asyncio.run(asyncio.wait_for(follow(), 10)) == b"late\n"


def test_following_a_log_that_has_ended_gives_it_whole_and_returns(tmp_path: Path) -> None:
    async def follow() -> bytes:
        logs = store(tmp_path)
        writer = logs.open(*STEP)
        writer.write(STDOUT, b"all\n")
        writer.close()
        logs.end(*STEP)
        return b"".join([data async for data in logs.follow(*STEP, start=1)])

    assert asyncio.run(asyncio.wait_for(follow(), 10)) == b"ll\n"
