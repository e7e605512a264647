"""Windows on a step's output: some of its lines, ready to be shown."""

from __future__ import annotations

from pipelines.values import Value
from server.logs import LogStore
from server.ui.text import clean_line

TAIL_LINES = 500
WINDOW_LINES = 1_000
WINDOW_BYTES = 512 * 1024


class Line(Value):
    """One line."""

    number: int
    """From 1."""
    text: str


class Window(Value):
    """Lines that follow one another."""

    lines: tuple[Line, ...]
    total: int
    """Line ends stored so far."""
    end: int
    """The byte behind the last line shown."""

    @property
    def before(self) -> int:
        """How many lines stand before the first one shown."""
        return self.lines[0].number - 1 if self.lines else 0

    @property
    def next(self) -> int:
        """The number of the line that comes after."""
        return self.lines[-1].number + 1 if self.lines else 1


def tail(logs: LogStore, run: int, attempt: int, key: str, *, ended: bool) -> Window:
    """The last lines; one that is not complete is left to whoever follows, unless all is over.

    Blocks: to be called in a thread.
    """
    total = logs.lines(run, attempt, key)
    size = logs.size(run, attempt, key)
    start = logs.offset_of_line(run, attempt, key, max(total - TAIL_LINES, 0))
    skip = size - start > WINDOW_BYTES
    if skip:
        start = size - WINDOW_BYTES
    data = logs.read(run, attempt, key, start=start, limit=size - start)
    # Not the end of the very last line: of one that is longer than a window the end is shown.
    cut = data.find(b"\n", 0, -1) + 1 if skip else 0
    data, start = data[cut:], start + cut
    if not ended:
        data = data[: data.rfind(b"\n") + 1]
    first = total - data.count(b"\n") + 1
    shown = _window(data, first=max(first, 1), start=start, total=total)
    return _begun_before(shown) if skip and not cut else shown


def window(logs: LogStore, run: int, attempt: int, key: str, *, first: int) -> Window:
    """Lines from number `first` (from 1) on. Blocks: to be called in a thread."""
    start = logs.offset_of_line(run, attempt, key, first - 1)
    end = logs.offset_of_line(run, attempt, key, first - 1 + WINDOW_LINES)
    data = logs.read(run, attempt, key, start=start, limit=min(end - start, WINDOW_BYTES))
    total = logs.lines(run, attempt, key)
    if start + len(data) < end and b"\n" in data:
        data = data[: data.rfind(b"\n") + 1]
    elif start + len(data) < end:  # one line that is longer than any window
        end = logs.offset_of_line(run, attempt, key, first)
        line = Line(number=first, text=clean_line(data, unread=end - start - len(data)))
        return Window(lines=(line,), total=total, end=end)
    return _window(data, first=first, start=start, total=total)


def _window(data: bytes, *, first: int, start: int, total: int) -> Window:
    parts = data.split(b"\n")
    if not parts[-1]:
        parts.pop()
    lines = tuple(
        Line(number=number, text=clean_line(part)) for number, part in enumerate(parts, first)
    )
    return Window(lines=lines, total=total, end=start + len(data))


def _begun_before(window: Window) -> Window:
    """The window whose first line is the end of a line that is longer than any window."""
    if not window.lines:
        return window
    first = window.lines[0]
    marked = first.model_copy(update={"text": f"… {first.text}"})
    return window.model_copy(update={"lines": (marked, *window.lines[1:])})
