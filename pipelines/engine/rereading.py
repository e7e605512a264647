"""What of an output is known when it is read again from its start, and whether that start is there.

The engine keeps only so much of a container's output, and turns over what it keeps. Then the bytes
that are known cannot be told by counting any more. Two checks find that out: how the output is
known to begin, and whether a second reading is the same as the first one as far as that went (an
output that is followed while the engine turns it over may jump). Both are told of in the output.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from zlib import crc32

from pipelines.executor import OWN, STDOUT

BEGINNING_GONE = (
    b"\n[lading] this step wrote more than the engine keeps while Lading was away: here lines may "
    b"be missing, or come a second time\n"
)
JUMPED = (
    b"\n[lading] this step wrote faster than its output could be read after Lading was restarted: "
    b"above lines are missing\n"
)


class Rereading:
    """One reading from the start, and what earlier ones handed on.

    `taken` counts the bytes of each stream that were handed on, in this reading and before. The
    order in which two streams interleave may differ between readings, so each counts for itself.

    Args:
        taken: Bytes of each stream that are known already.
        begins: How the first stream is known to begin; empty: not known.
        before: Length and checksum of each stream in the reading before this one.
    """

    def __init__(
        self,
        taken: Mapping[int, int] | None = None,
        *,
        begins: bytes = b"",
        before: Mapping[int, tuple[int, int]] | None = None,
    ) -> None:
        self.taken = dict(taken or {})
        self._skip = dict(self.taken)
        self._begins = begins
        self._checked = bool(begins)
        self._before = dict(before or {})
        self._read: dict[int, tuple[int, int]] = {}
        self._beginning_gone = False
        self._jumped = False

    def again(self, begins: bytes = b"") -> Rereading:
        """One more reading from the start."""
        if self._beginning_gone:  # its start is none: what this reading saw is what is known
            return Rereading({stream: length for stream, (length, _) in self._read.items()})
        return Rereading(self.taken, begins=begins, before=self._read)

    def new(self, stream: int, data: bytes) -> Iterator[tuple[int, bytes]]:
        """What is not known yet of the next bytes, and what is to be said about them."""
        if self._begins and stream == STDOUT and not self._begins_so(data):
            self._beginning_gone = True
            self._skip.clear()
            self._before.clear()
            yield OWN, BEGINNING_GONE
        if self._checked and not self._as_before(stream, data):
            self._jumped = True
            yield OWN, JUMPED
        if self._jumped:
            return
        if known := self._skip.get(stream, 0):
            self._skip[stream] = max(0, known - len(data))
            data = data[known:]
        if data:
            self.taken[stream] = self.taken.get(stream, 0) + len(data)
            yield stream, data

    def _begins_so(self, data: bytes) -> bool:
        begins, self._begins = self._begins, b""
        length = min(len(begins), len(data))
        return data[:length] == begins[:length]

    def _as_before(self, stream: int, data: bytes) -> bool:
        """Take down what was read; False where the reading before had something else here."""
        length, checksum = self._read.get(stream, (0, 0))
        self._read[stream] = (length + len(data), crc32(data, checksum))
        end, wanted = self._before.get(stream, (0, 0))
        if not length < end <= length + len(data):
            return True
        return crc32(data[: end - length], checksum) == wanted
