"""The output of several steps on one screen, and a last line that says what is waited for."""

from __future__ import annotations

import contextlib
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from pipelines.executor import OWN, Output
from server.cli.terminal import RESET, Paint, inert, width

_ROOM = 28
"""Characters of a step's key in front of its lines."""
_CLEAR = b"\r\x1b[K"
OBEYED = re.compile(
    rb"\x1b\[[0-9;:<=>?]*[ -/]*[@-ln-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -Z\\`-~]"
)
"""Escape sequences but for colours: what moves the cursor, clears the screen or sets a title."""


class Console:
    """Writes whole lines of many steps, each behind its step's key. From any thread.

    Where the stream is a terminal, an unfinished line is shown after a while too, and goes on
    where it was unless another step has written meanwhile.

    Args:
        stream: Where it goes.
        keys: The steps, for their colours and the room they need.
        paint: The colours.
        live: Whether the stream is a terminal.
        gone: Called once, from any thread, when nobody reads the stream any more.
    """

    def __init__(
        self,
        stream: BinaryIO,
        keys: Sequence[str],
        *,
        paint: Paint,
        live: bool,
        gone: Callable[[], None],
    ) -> None:
        self._stream = stream
        self._paint = paint
        self._live = live
        self._gone: Callable[[], None] | None = gone
        self._lock = threading.Lock()
        room = min(max((len(key) for key in keys), default=0), _ROOM)
        self._prefixes = {key: self._prefix(number, key, room) for number, key in enumerate(keys)}
        self._unfinished: dict[str, bytes] = {}
        self._open: str | None = None
        """The step whose unfinished line the cursor stands in."""
        self._drawn = b""
        """That line, as it stands there."""
        self._status = b""
        self._shown = b""
        """The last line as it stands there."""

    def _prefix(self, number: int, key: str, room: int) -> bytes:
        return f"{self._paint.of_step(number, inert(key).ljust(room))} | ".encode()

    @contextlib.contextmanager
    def __call__(self, key: str) -> Iterator[Output]:
        """The place for one step's output."""
        yield _StepOutput(self, key)
        self.finish(key)

    def write(self, key: str, stream: int, data: bytes) -> None:
        """Output of a step, as it comes."""
        with self._lock:
            *lines, rest = (self._unfinished.get(key, b"") + data).split(b"\n")
            self._unfinished[key] = rest
            if lines:
                own = stream == OWN
                self._put(
                    key, b"".join(self._line(key, n, line, own=own) for n, line in enumerate(lines))
                )
                self._open = None
                self._show_status()

    def _line(self, key: str, number: int, line: bytes, *, own: bool) -> bytes:
        continued = number == 0 and self._open == key
        text = self._cleaned(line)
        if own and self._paint.on:
            text = self._paint.dim(text.decode(errors="replace")).encode()
        return (b"\r" if continued else b"") + self._prefixes[key] + text + b"\n"

    def _cleaned(self, line: bytes) -> bytes:
        # Of a progress bar that goes back to the line's start, what is left at last.
        text = line.rstrip(b"\r").rpartition(b"\r")[2]
        if not self._live or b"\x1b" not in text:
            return text
        return OBEYED.sub(b"", text) + RESET.encode()

    def _put(self, key: str | None, data: bytes) -> None:
        """Write, below what stands there already."""
        before = b""
        if self._shown:
            before, self._shown = _CLEAR, b""
        elif self._open is not None and self._open != key:
            before, self._open = b"\n", None
        self._write(before + data)

    def _write(self, data: bytes) -> None:
        if self._gone is None:
            return
        try:
            self._stream.write(data)
            self._stream.flush()
        except OSError:
            gone, self._gone = self._gone, None
            gone()

    def say(self, line: str = "") -> None:
        """A line of our own."""
        with self._lock:
            self._put(None, line.encode(errors="replace") + b"\n")
            self._show_status()

    def tell(self, key: str, line: str) -> None:
        """A line of our own about a step."""
        with self._lock:
            self._flush(key)
            self._put(key, self._prefixes[key] + line.encode(errors="replace") + b"\n")
            self._open = None
            self._show_status()

    def finish(self, key: str) -> None:
        """The step writes no more."""
        with self._lock:
            self._flush(key)
            self._show_status()

    def _flush(self, key: str) -> None:
        rest = self._unfinished.pop(key, b"")
        if rest:
            self._put(key, self._line(key, 0, rest, own=False))
            self._open = None

    def tick(self, status: str) -> None:
        """Show what there is of unfinished lines, and what is waited for. On a terminal only."""
        if not self._live:
            return
        with self._lock:
            columns = shutil.get_terminal_size().columns - 1
            self._status = _cut(status, columns).encode(errors="replace")
            self._show_unfinished()
            self._show_status()

    def _show_unfinished(self) -> None:
        for key, rest in self._unfinished.items():
            if not rest or self._open not in (None, key):
                continue
            line = self._prefixes[key] + self._cleaned(rest)
            if (key, line) != (self._open, self._drawn):
                self._put(key, (b"\r" if self._open == key else b"") + line)
                self._open, self._drawn = key, line
            return

    def _show_status(self) -> None:
        if not self._live or self._open is not None:
            return
        painted = self._paint.dim(self._status.decode()).encode() if self._status else b""
        if painted != self._shown:
            self._write((_CLEAR if self._shown else b"") + painted)
            self._shown = painted

    def close(self) -> None:
        """Leave the cursor on a line of its own."""
        with self._lock:
            self._status = b""
            for key in list(self._unfinished):
                self._flush(key)
            self._put(None, b"")
            self._live = False


class _StepOutput:
    full = False

    def __init__(self, console: Console, key: str) -> None:
        self._console = console
        self._key = key

    def write(self, stream: int, data: bytes) -> None:
        """See `Output.write`."""
        self._console.write(self._key, stream, data)


def _cut(text: str, columns: int) -> str:
    while width(text) > columns:
        text = text[:-1]
    return text
