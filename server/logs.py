"""The log store: append, read a range, follow.

One step's output is one file of raw bytes, `<run>/<attempt>/<step>.log`, and beside it an index
`<step>.idx` of fixed 32-byte records, one for each piece as it was written: when, at which byte,
how many lines stood before, how long, which stream. The index finds a line without reading the
file, and tells after a crash how many bytes of each stream are kept. A crash may come between the
bytes and their record: what only one of the two tells of is cut off before anything is added.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import shutil
import struct
import threading
import time
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from pipelines.executor import OWN
from pipelines.values import Value

RECORD = struct.Struct("<QQQIB3x")
_STEP = re.compile(r"^[a-z]+\.[^/\x00]{1,150}$")
PIECE = 256 * 1024  # bytes read at once while following
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Piece(Value):
    """One index record."""

    at: int
    """Nanoseconds since 1970."""
    offset: int
    lines_before: int
    length: int
    stream: int


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
        limit: Bytes kept; what comes after is counted and dropped, and a last line says so.
    """

    def __init__(self, path: Path, *, limit: int, wake: Callable[[], None]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        _mend(path)
        self._log: BinaryIO = path.open("ab", buffering=0)
        self._index: BinaryIO = path.with_suffix(".idx").open("ab", buffering=0)
        self._wake = wake
        self._limit = limit
        self._offset = self._log.tell()
        self._lines = _lines_in(path)
        self._last = _byte_before(path, self._offset)
        self.dropped = 0

    def write(self, stream: int, data: bytes) -> None:
        """Take bytes as they came."""
        room = self._limit - self._offset
        if room <= 0 or len(data) > room:
            kept = data[: max(room, 0)]
            self.dropped += len(data) - len(kept)
            data = kept
        if data:
            self._append(stream, data)

    def _append(self, stream: int, data: bytes) -> None:
        _write_all(self._log, data)
        record = RECORD.pack(time.time_ns(), self._offset, self._lines, len(data), stream)
        _write_all(self._index, record)
        self._offset += len(data)
        self._lines += data.count(b"\n")
        self._last = data[-1:]
        self._wake()

    def note(self, text: str) -> None:
        """Add a line of Lading's own, whatever the limit."""
        line = b"" if self._last == b"\n" else b"\n"
        self._append(OWN, line + text.encode() + b"\n")

    def close(self) -> None:
        """Say what was dropped, and end."""
        if self.dropped:
            self.note(
                f"[lading] output limit of {self._limit // (1024 * 1024)} MiB reached: "
                f"{self.dropped} more bytes were not kept"
            )
        self.pause()

    def pause(self) -> None:
        """Leave it, without a last word, to whoever goes on with it."""
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
    """

    def __init__(self, folder: Path, *, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self._channels: dict[Path, _Channel] = {}
        self._lock = threading.Lock()

    def open(self, run: int, attempt: int, step: str) -> LogWriter:
        """A writer for one step's output; `end` tells followers that no more will come."""
        path = self._path(run, attempt, step)
        with self._lock:
            channel = self._channels.setdefault(path, _Channel())
        return LogWriter(path, limit=self._limit, wake=lambda: _wake(channel))

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
        """Bytes stored of each stream."""
        taken: dict[int, int] = {}
        pieces = _Index(self._path(run, attempt, step).with_suffix(".idx"))
        for position in range(len(pieces)):
            piece = pieces[position]
            taken[piece.stream] = taken.get(piece.stream, 0) + piece.length
        return taken

    def read(self, run: int, attempt: int, step: str, *, start: int, limit: int) -> bytes:
        """At most `limit` bytes from byte `start`; fewer, or none, where the log ends."""
        try:
            with self._path(run, attempt, step).open("rb") as file:
                return os.pread(file.fileno(), limit, start)
        except FileNotFoundError:
            return b""

    def offset_of_line(self, run: int, attempt: int, step: str, line: int) -> int:
        """The byte at which a line (from 0) starts; the log's size where it has fewer."""
        path = self._path(run, attempt, step)
        pieces = _Index(path.with_suffix(".idx"))
        if line <= 0 or not len(pieces):
            return 0
        position = max(bisect_right(pieces, line - 1, key=lambda piece: piece.lines_before) - 1, 0)
        piece = pieces[position]
        data = self.read(run, attempt, step, start=piece.offset, limit=piece.length)
        offset = 0
        for _ in range(line - piece.lines_before):
            found = data.find(b"\n", offset)
            if found < 0:
                return self.size(run, attempt, step)
            offset = found + 1
        return piece.offset + offset

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


class _Index:
    """The records of an index file, as a sequence that reads only what is asked for."""

    def __init__(self, path: Path) -> None:
        try:
            self._data = path.read_bytes()
        except FileNotFoundError:
            self._data = b""

    def __len__(self) -> int:
        return len(self._data) // RECORD.size

    def __getitem__(self, position: int) -> Piece:
        if not 0 <= position < len(self):
            raise IndexError(position)
        at, offset, lines, length, stream = RECORD.unpack_from(self._data, position * RECORD.size)
        return Piece(at=at, offset=offset, lines_before=lines, length=length, stream=stream)


def _lines_in(path: Path) -> int:
    pieces = _Index(path.with_suffix(".idx"))
    if not len(pieces):
        return 0
    last = pieces[len(pieces) - 1]
    with path.open("rb") as file:
        return last.lines_before + os.pread(file.fileno(), last.length, last.offset).count(b"\n")


def _mend(path: Path) -> None:
    """Cut a log and its index to what both tell of."""
    index = path.with_suffix(".idx")
    pieces = _Index(index)
    size = path.stat().st_size if path.exists() else 0
    count = len(pieces)
    while count and pieces[count - 1].offset >= size:
        count -= 1
    end = 0
    if count:
        last = pieces[count - 1]
        end = min(size, last.offset + last.length)
        if end < last.offset + last.length:
            short = RECORD.pack(
                last.at, last.offset, last.lines_before, end - last.offset, last.stream
            )
            with index.open("r+b") as file:
                file.seek((count - 1) * RECORD.size)
                file.write(short)
    if index.exists() and index.stat().st_size != count * RECORD.size:
        os.truncate(index, count * RECORD.size)
    if size != end:
        os.truncate(path, end)


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
