"""Windows on a step's output, also where a line is longer than any window."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.executor import STDOUT
from server.logs import LogStore
from server.ui.tail import WINDOW_BYTES, Window, tail, window

STEP = (1, 1, "test.unit")
LONG = 100_000_000
MIB = 2**20


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> LogStore:
    """A line, one of 100 MB, and a last one."""
    logs = LogStore(tmp_path_factory.mktemp("logs"), limit=2 * LONG)
    writer = logs.open(*STEP)
    writer.write(STDOUT, b"first\n")
    piece = b"\x00\xff\xe2" + b"x" * (LONG // 400 - 3)
    for _ in range(400):
        writer.write(STDOUT, piece)
    writer.write(STDOUT, b"\nlast\n")
    writer.close()
    return logs


VIEWS: dict[str, Callable[[LogStore], Window]] = {
    "the tail": lambda logs: tail(logs, *STEP, ended=True),
    "the tail while it runs": lambda logs: tail(logs, *STEP, ended=False),
    "from the first line": lambda logs: window(logs, *STEP, first=1),
    "from the long line": lambda logs: window(logs, *STEP, first=2),
    "from the last line": lambda logs: window(logs, *STEP, first=3),
}


@pytest.mark.parametrize("view", VIEWS)
def test_no_window_loads_a_long_line_whole(logs: LogStore, view: str) -> None:
    tracemalloc.start()
    seen = VIEWS[view](logs)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 8 * MIB
    assert seen.lines
    assert all(len(line.text) < 5_000 for line in seen.lines)


def test_a_long_line_says_how_much_of_it_is_elsewhere(logs: LogStore) -> None:
    (line,) = window(logs, *STEP, first=2).lines

    assert line.text.startswith("\ufffd\ufffdxxx")
    assert line.text.endswith(" more bytes in the plain text)")


def test_what_comes_after_a_long_line_can_be_reached(logs: LogStore) -> None:
    first = window(logs, *STEP, first=1)
    second = window(logs, *STEP, first=first.next)
    third = window(logs, *STEP, first=second.next)

    assert [line.text for line in first.lines] == ["first"]
    assert [(line.number, line.text) for line in third.lines] == [(3, "last")]
    assert third.end == logs.size(*STEP)


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_of_a_long_last_line_the_end_is_shown(tmp_path: Path, end: bytes) -> None:
    logs = LogStore(tmp_path, limit=MIB * 10)
    writer = logs.open(*STEP)
    writer.write(STDOUT, b"first\n" + b"x" * (WINDOW_BYTES + 10) + end)
    writer.close()

    (line,) = tail(logs, *STEP, ended=True).lines

    assert line.number == 2
    assert line.text.startswith("… xxx")
