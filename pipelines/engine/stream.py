"""A container's output from the engine's multiplexed stream.

https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerAttach
(Stream format: 8 bytes of header - stream, three zeros, length in four bytes - and the payload.)
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from pipelines.engine.rereading import Rereading
from pipelines.executor import Output
from pipelines.problems import LadingError
from pipelines.progress import Outcome, State
from pipelines.redaction import RedactedOutput, Redactor

READ = 256 * 1024
"""Bytes asked of the socket at once: a read per frame would cost more than the copying."""

_HEADER = 8
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_SPACE = os.strerror(errno.ENOSPC).encode()
_TAIL = 2048
"""Bytes of the last output, in which commands that fail say why."""

Write = Callable[[int, bytes], None]


class OutputError(LadingError):
    """What a step wrote could not be stored."""


class StoredOutput:
    """An output without secrets, whose own troubles are not mistaken for the engine's."""

    def __init__(self, output: Output, redactor: Redactor | None = None) -> None:
        self._output = output
        self._clean = RedactedOutput(redactor or Redactor(()), output.write)
        self._tail = b""
        # The step's own output comes from one thread, what is told of its services from another.
        self._lock = threading.Lock()

    def explained(self, outcome: Outcome) -> Outcome:
        """The outcome, with the reason that commands have only written down: a full disk."""
        if outcome.state is not State.FAILURE or _NO_SPACE not in self._tail:
            return outcome
        message = f"a disk was full ({_NO_SPACE.decode()}), {outcome.message}"
        return outcome.model_copy(update={"message": message})

    def write(self, stream: int, data: bytes) -> None:
        """See `Output.write`; raises OutputError where the bytes could not be stored."""
        last = data[-_TAIL:]
        with self._lock:
            self._tail = last if len(last) == _TAIL else (self._tail + last)[-_TAIL:]
            try:
                self._clean.write(stream, data)
            except OSError as error:
                raise OutputError(_trouble(error)) from error

    def flush(self) -> None:
        """Give out what might have begun a secret; the output has ended.

        Raises:
            OutputError: It could not be stored.
        """
        try:
            self._clean.flush()
        except OSError as error:
            raise OutputError(_trouble(error)) from error

    @property
    def full(self) -> bool:
        """See `Output.full`."""
        return self._output.full


def _trouble(error: OSError) -> str:
    """What is wrong, in words that name the disk: first what a commit's status has room for."""
    if error.errno in _FULL:
        return (
            "the disk of Lading's logs is full, so output could not be stored: make room there"
            f" ({error.filename or error}), then re-run"
        )
    return f"the step's output could not be stored: {error}"


class Raw(Protocol):
    """An unbuffered readable: what the SDK's `attach_socket` gives."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill the buffer with what has come; 0 at the end."""


class Demultiplexer:
    """Cuts the multiplexed bytes into runs of one stream and hands on what is new of them.

    Args:
        write: Takes the bytes.
        known: What of them was handed on before.
    """

    def __init__(self, write: Write, known: Rereading | None = None) -> None:
        self._write = write
        self._known = known or Rereading()
        self._header = bytearray()
        self._stream = 0
        self._left = 0

    @property
    def taken(self) -> dict[int, int]:
        """Bytes of each stream that were handed on, also earlier."""
        return self._known.taken

    def again(self, begins: bytes = b"", *, follows: bool = False) -> Demultiplexer:
        """One for the same output read again from its start, which is known to begin so."""
        return Demultiplexer(self._write, self._known.again(begins, follows=follows))

    def onward(self) -> Demultiplexer:
        """One for what comes from now on."""
        return Demultiplexer(self._write)

    def feed(self, data: memoryview) -> None:
        """Take what one read gave."""
        at, end = 0, len(data)
        run: list[memoryview] = []
        run_stream = self._stream
        while at < end:
            if not self._left:
                missing = _HEADER - len(self._header)
                self._header += data[at : at + missing]
                at += missing
                if len(self._header) < _HEADER:
                    break
                self._stream = self._header[0]
                self._left = int.from_bytes(self._header[4:], "big")
                self._header.clear()
                if self._stream != run_stream:
                    self._hand_on(run_stream, run)
                    run, run_stream = [], self._stream
                continue
            piece = data[at : at + self._left]
            run.append(piece)
            at += len(piece)
            self._left -= len(piece)
        self._hand_on(run_stream, run)

    def _hand_on(self, stream: int, run: list[memoryview]) -> None:
        if not run:
            return
        data = bytes(run[0]) if len(run) == 1 else b"".join(run)
        for of, new in self._known.new(stream, data):
            self._write(of, new)


def pump(pieces: Iterable[memoryview], output: Demultiplexer) -> None:
    """Hand on everything that comes. Blocking."""
    for piece in pieces:
        output.feed(piece)


def read_pieces(raw: Raw) -> Iterator[memoryview]:
    """What an unbuffered stream gives, in large pieces; each is good until the next is asked for.

    A broken connection counts as the end: only the container itself can say whether it is one.
    """
    buffer = memoryview(bytearray(READ))
    try:
        while count := raw.readinto(buffer):
            yield buffer[:count]
    except (OSError, ValueError):
        return
