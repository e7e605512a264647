"""The log store: append, read a range, follow.

One step's output is one file of raw bytes, `<run>/<attempt>/<step>.log`, and beside it its index
`<step>.idx` (`server.log_index`). The index finds a line without reading the file, and tells after
a crash how many bytes of each stream came. A crash may come between the bytes and their record:
what only one of the two tells of is cut off before anything is added.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import shutil
import threading
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from pipelines.crashing import reach
from pipelines.executor import OWN
from server.log_index import LONGEST, Index, Piece, index_of, mend

_STEP = re.compile(r"^[a-z]+\.[^/\x00]{1,150}$")
PIECE = 256 * 1024  # bytes read at once
COUNTED = 4 * 1024 * 1024  # bytes dropped between two records that tell of them
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(slots=True)
class _Follower:
    loop: asyncio.AbstractEventLoop
    event: asyncio.Event
    notified: bool = False


@dataclass(slots=True)
class _Channel:
    """Who follows one step's log, and whether more may come."""

    open: bool = True
    followers: list[_Follower] = field(default_factory=list)


class LogWriter:
    """Appends one step's output; every method may be called from one thread at a time.

    Args:
        limit: Bytes kept. Where more comes, a line says so at once; from then on bytes are counted
            and dropped, and a last line tells how many.
        clock: Nanoseconds since 1970.
    """

    def __init__(
        self,
        path: Path,
        *,
        limit: int,
        wake: Callable[[], None],
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        mend(path)
        self._log: BinaryIO = path.open("ab", buffering=0)
        self._index: BinaryIO = index_of(path).open("ab", buffering=0)
        self._wake = wake
        self._limit = limit
        self._offset = self._log.tell()
        self._lines = _lines_in(path)
        self._last = _byte_before(path, self._offset)
        self._clock = clock
        self._at = 0
        self._uncounted: dict[int, int] = {}
        self.full = False
        """Whether the limit is reached."""
        self.dropped = 0
        self._go_on(path)

    def _go_on(self, path: Path) -> None:
        """Find what an earlier writer dropped, and whether it said so."""
        with Index(index_of(path)) as pieces:
            last = pieces.last()
            own_beyond = last is not None and last.stream == OWN and last.offset >= self._limit
            self.full = last is not None and (own_beyond or not last.kept)
            self.dropped = sum(pieces.counts()[1].values()) if self.full else 0
            self._unsaid = last is not None and not last.kept
            self._gone_on = last is not None
            self._at = 0 if last is None else last.at

    def write(self, stream: int, data: bytes) -> None:
        """Take bytes as they came."""
        room = 0 if self.full else max(self._limit - self._offset, 0)
        kept = data[:room]
        if kept:
            self._append(stream, kept)
        if len(kept) < len(data):
            self._drop(stream, len(data) - len(kept))

    def _append(self, stream: int, data: bytes) -> None:
        _write_all(self._log, data)
        reach("logs.bytes")
        self._record(stream, len(data))
        self._offset += len(data)
        self._lines += data.count(b"\n")
        self._last = data[-1:]
        self._wake()

    def _drop(self, stream: int, count: int) -> None:
        if not self.full:
            self.full = True
            self.note(
                f"[lading] the output limit of {_size(self._limit)} is reached: the step goes on, "
                "what it writes from here on is not kept"
            )
        first = not self.dropped
        self.dropped += count
        self._unsaid = True
        self._uncounted[stream] = self._uncounted.get(stream, 0) + count
        if first or sum(self._uncounted.values()) >= COUNTED:
            self._count()

    def _count(self) -> None:
        """Write down how much was dropped, so that whoever goes on does not take it again."""
        for stream, count in self._uncounted.items():
            for start in range(0, count, LONGEST):
                self._record(stream, min(LONGEST, count - start), kept=False)
        self._uncounted.clear()

    def _record(self, stream: int, length: int, *, kept: bool = True) -> None:
        self._at = max(self._at, self._clock())  # within a log, time never goes back
        piece = Piece(
            at=self._at,
            offset=self._offset,
            lines_before=self._lines,
            length=length,
            stream=stream,
            kept=kept,
        )
        _write_all(self._index, piece.packed())

    def note(self, text: str) -> None:
        """Add a line of Lading's own, whatever the limit."""
        line = b"" if self._last == b"\n" else b"\n"
        self._append(OWN, line + text.encode() + b"\n")

    def close(self) -> None:
        """Say what was dropped, and end."""
        if self._unsaid:
            self._count()
            # What came while no server ran may have left the engine's own log, too.
            least = "at least " if self._gone_on else ""
            self.note(f"[lading] {least}{self.dropped:,} bytes of output were not kept")
        self.pause()

    def pause(self) -> None:
        """Leave it, without a last word, to whoever goes on with it."""
        with contextlib.suppress(OSError):  # what is not counted is taken from the engine again
            self._count()
        self._log.close()
        self._index.close()
        self._wake()


def trouble(error: OSError) -> str:
    """What is wrong with a disk, in words that name it."""
    where = f" of {error.filename}" if error.filename else ""
    if error.errno in _FULL:
        return f"the disk{where} is full"
    return f"the disk{where} cannot be used ({error.strerror or error})"


class LogStore:
    """Every step's output, below one folder.

    Args:
        folder: Made when missing.
        limit: Bytes kept of one step's output.
        clock: Nanoseconds since 1970.
    """

    def __init__(
        self, folder: Path, *, limit: int, clock: Callable[[], int] = time.time_ns
    ) -> None:
        self._folder = folder
        self._limit = limit
        self._clock = clock
        self._channels: dict[Path, _Channel] = {}
        self._lock = threading.Lock()

    def open(self, run: int, attempt: int, step: str) -> LogWriter:
        """A writer for one step's output; `end` tells followers that no more will come."""
        path = self._path(run, attempt, step)
        with self._lock:
            channel = self._channels.setdefault(path, _Channel())
        return LogWriter(path, limit=self._limit, wake=lambda: _wake(channel), clock=self._clock)

    def expect(self, run: int, attempt: int, step: str) -> None:
        """Something will be written to this log: who follows it from now on waits for that."""
        with self._lock:
            self._channels.setdefault(self._path(run, attempt, step), _Channel())

    def end(self, run: int, attempt: int, step: str) -> None:
        """No more will be written to this log."""
        with self._lock:
            channel = self._channels.pop(self._path(run, attempt, step), None)
        if channel is not None:
            channel.open = False
            _wake(channel)

    def size(self, run: int, attempt: int, step: str) -> int:
        """Bytes stored."""
        try:
            return self._path(run, attempt, step).stat().st_size
        except FileNotFoundError:
            return 0

    def taken(self, run: int, attempt: int, step: str) -> dict[int, int]:
        """Bytes of each stream that came so far, also those that were not kept."""
        with Index(index_of(self._path(run, attempt, step))) as pieces:
            kept, dropped = pieces.counts()
        return dict(Counter(kept) + Counter(dropped))

    def read(self, run: int, attempt: int, step: str, *, start: int, limit: int) -> bytes:
        """At most `limit` bytes from byte `start`; fewer, or none, where the log ends."""
        try:
            with self._path(run, attempt, step).open("rb") as file:
                return os.pread(file.fileno(), limit, start)
        except FileNotFoundError:
            return b""

    def offset_of_line(self, run: int, attempt: int, step: str, line: int) -> int:
        """The byte at which a line (from 0) starts; the log's size where it has fewer."""
        with Index(index_of(self._path(run, attempt, step))) as pieces:
            if line <= 0 or not len(pieces):
                return 0
            found = bisect_right(pieces, line - 1, key=lambda piece: piece.lines_before)
            piece = pieces[max(found - 1, 0)]
        missing = line - piece.lines_before
        for start in range(piece.offset, piece.end, PIECE):
            limit = min(PIECE, piece.end - start)
            data = self.read(run, attempt, step, start=start, limit=limit)
            ends = data.count(b"\n")
            if ends >= missing:
                return start + _behind(data, missing)
            missing -= ends
        return self.size(run, attempt, step)

    def lines(self, run: int, attempt: int, step: str) -> int:
        """How many line ends are stored."""
        return _lines_in(self._path(run, attempt, step))

    async def follow(
        self, run: int, attempt: int, step: str, *, start: int = 0
    ) -> AsyncIterator[bytes]:
        """Everything from byte `start`, and what comes, until the log's end.

        A reader that is slow holds nobody up: it reads from the file at its own pace.
        """
        path = self._path(run, attempt, step)
        follower = _Follower(asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            channel = self._channels.get(path)
            if channel is not None:
                channel.followers.append(follower)
        try:
            while True:
                follower.event.clear()
                follower.notified = False
                more = channel is not None and channel.open
                data = await asyncio.to_thread(
                    self.read, run, attempt, step, start=start, limit=PIECE
                )
                if data:
                    start += len(data)
                    yield data
                elif not more:
                    return
                else:
                    await follower.event.wait()
        finally:
            if channel is not None:
                with self._lock:
                    channel.followers.remove(follower)

    def remove(self, run: int, attempt: int | None = None) -> int:
        """Delete the output of a run or of one attempt; the bytes that are free again. Blocking."""
        folder = self._folder / str(run)
        gone = folder if attempt is None else folder / str(attempt)
        freed = self.bytes_of(run, attempt)
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(gone)
        with contextlib.suppress(OSError):  # other attempts have theirs in it
            folder.rmdir()
        return freed

    def bytes_of(self, run: int, attempt: int | None = None) -> int:
        """Bytes that the output of a run or of one attempt takes on the disk. Blocking."""
        folder = self._folder / str(run)
        if attempt is not None:
            folder /= str(attempt)
        files = (path for path in folder.rglob("*") if path.is_file())
        return sum(path.stat().st_blocks * 512 for path in files)

    def runs(self, *, before: float) -> list[int]:
        """Runs that have a folder nothing was put into since `before` (seconds since 1970)."""
        if not self._folder.is_dir():
            return []
        named = (path for path in self._folder.iterdir() if path.name.isascii())
        found = (path for path in named if path.name.isdigit())
        return sorted(int(path.name) for path in found if path.stat().st_mtime < before)

    def is_open(self, run: int, attempt: int, step: str) -> bool:
        """Whether more may come."""
        return self._path(run, attempt, step) in self._channels

    def _path(self, run: int, attempt: int, step: str) -> Path:
        if not _STEP.match(step):
            message = f"{step!r} is no step key"
            raise ValueError(message)
        return self._folder / str(run) / str(attempt) / f"{step}.log"


def _behind(data: bytes, line_ends: int) -> int:
    """Where the data goes on behind so many line ends, all of which it has."""
    offset = 0
    for _ in range(line_ends):
        offset = data.index(b"\n", offset) + 1
    return offset


def _lines_in(path: Path) -> int:
    with Index(index_of(path)) as pieces:
        last = pieces.last()
    if last is None:
        return 0
    lines = last.lines_before
    with path.open("rb") as file:
        for start in range(last.offset, last.end, PIECE):
            data = os.pread(file.fileno(), min(PIECE, last.end - start), start)
            lines += data.count(b"\n")
    return lines


def _size(count: int) -> str:
    return f"{count // 2**20} MiB" if count >= 2**20 else f"{count} bytes"


def _byte_before(path: Path, offset: int) -> bytes:
    """The last byte of a log; an empty one counts as ended."""
    with path.open("rb") as file:
        return os.pread(file.fileno(), 1, offset - 1) if offset else b"\n"


def _write_all(file: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    try:
        while view:
            view = view[file.write(view) :]
    except OSError as error:
        # A write does not say to which file; whoever must make room wants to know.
        raise OSError(error.errno, error.strerror, str(file.name)) from error


def _wake(channel: _Channel) -> None:
    for follower in list(channel.followers):
        if not follower.notified:
            follower.notified = True
            try:
                follower.loop.call_soon_threadsafe(follower.event.set)
            except RuntimeError:  # its loop is closed: nobody waits any more
                continue
