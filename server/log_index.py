"""The index beside a step's output: a record of 32 bytes for each piece as it was written.

It tells of a piece when it came, at which byte, how many lines stood before, how long it is and of
which stream. Of bytes that came and were not kept it tells, too, how many there were: whoever goes
on with the output must not take them again. An index may have millions of records, so nothing here
holds more of one than a block.
"""

from __future__ import annotations

import os
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from pipelines.values import Value

RECORD = struct.Struct("<QQQIB3x")
_COUNTED = struct.Struct("<24xIB3x")  # length and stream of the same record
_NOT_KEPT = 0x80  # beside the stream
_BLOCK = 16_384  # records
LONGEST = 2**32 - 1
"""Bytes that one record can tell of."""


class Piece(Value):
    """One record."""

    at: int
    """Nanoseconds since 1970."""
    offset: int
    lines_before: int
    length: int
    stream: int
    kept: bool = True

    @property
    def end(self) -> int:
        """The byte behind it in the log."""
        return self.offset + self.length if self.kept else self.offset

    def packed(self) -> bytes:
        """As it stands in the file."""
        stream = self.stream if self.kept else self.stream | _NOT_KEPT
        return RECORD.pack(self.at, self.offset, self.lines_before, self.length, stream)


class Index:
    """The records of an index file, as a sequence that reads only what is asked for.

    A file that is not there has none.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            self._file = -1
        self._count = 0 if self._file < 0 else os.fstat(self._file).st_size // RECORD.size

    def __enter__(self) -> Self:
        """Itself, until the block ends."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, position: int) -> Piece:
        if not 0 <= position < self._count:
            raise IndexError(position)
        data = os.pread(self._file, RECORD.size, position * RECORD.size)
        at, offset, lines, length, stream = RECORD.unpack(data)
        return Piece(
            at=at,
            offset=offset,
            lines_before=lines,
            length=length,
            stream=stream & ~_NOT_KEPT,
            kept=not stream & _NOT_KEPT,
        )

    def last(self) -> Piece | None:
        """The newest record."""
        return self[self._count - 1] if self._count else None

    def counts(self) -> tuple[dict[int, int], dict[int, int]]:
        """Bytes of each stream: those kept, and those that were not."""
        totals: Counter[int] = Counter()
        for block in self._blocks():
            for length, stream in _COUNTED.iter_unpack(block):
                totals[stream] += length
        kept = {stream: count for stream, count in totals.items() if not stream & _NOT_KEPT}
        dropped = {
            stream & ~_NOT_KEPT: count for stream, count in totals.items() if stream & _NOT_KEPT
        }
        return kept, dropped

    def _blocks(self) -> Iterator[bytes]:
        size = _BLOCK * RECORD.size
        end = self._count * RECORD.size
        for start in range(0, end, size):
            yield os.pread(self._file, min(size, end - start), start)


def index_of(log: Path) -> Path:
    """The index beside a log."""
    return log.with_suffix(".idx")


def mend(log: Path) -> None:
    """Cut a log and its index to what both tell of: a crash may come between the two."""
    index = index_of(log)
    size = log.stat().st_size if log.exists() else 0
    with Index(index) as pieces:
        count = len(pieces)
        while count and not _stands(pieces[count - 1], size):
            count -= 1
        last = pieces[count - 1] if count else None
    end = min(size, last.end) if last else 0
    if last and end < last.end:
        short = last.model_copy(update={"length": end - last.offset})
        with index.open("r+b") as file:
            file.seek((count - 1) * RECORD.size)
            file.write(short.packed())
    if index.exists() and index.stat().st_size != count * RECORD.size:
        os.truncate(index, count * RECORD.size)
    if size != end:
        os.truncate(log, end)


def _stands(piece: Piece, size: int) -> bool:
    """Whether a log of this size has something of what the record tells."""
    return piece.offset < size if piece.kept else piece.offset <= size
