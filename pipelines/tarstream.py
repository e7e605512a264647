"""Tar archives changed while they flow: no file on disk, no archive in memory."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterable, Iterator
from typing import IO, BinaryIO, cast

CHUNK = 256 * 1024
"""Bytes handed on at once."""

_PADDING = bytes(tarfile.BLOCKSIZE)
_END = bytes(tarfile.BLOCKSIZE * 2)

Change = Callable[[tarfile.TarInfo], tarfile.TarInfo | None]
"""Gives an entry to write in place of the one read; None drops it."""


def rewritten(
    source: IO[bytes], change: Change, extra: Iterable[tuple[tarfile.TarInfo, bytes]] = ()
) -> Iterator[bytes]:
    """The tar stream `source` with each entry changed, and `extra` files behind them.

    Raises:
        tarfile.TarError: The source is no tar archive, or ends too soon.
    """
    with tarfile.open(fileobj=source, mode="r|") as archive:
        for entry in archive:
            kept = change(entry)
            if kept is None:
                continue
            yield _header(kept)
            content = archive.extractfile(entry) if entry.isreg() else None
            if content is not None:
                yield from _content(content, entry.size)
    for entry, data in extra:
        yield _header(entry)
        yield from _content(io.BytesIO(data), len(data))
    yield _END


def chunks(stream: IO[bytes]) -> Iterator[bytes]:
    """A stream in large pieces (a file's own iterator would give lines)."""
    while data := stream.read(CHUNK):
        yield data


class IteratorFile(io.RawIOBase):
    """A readable file over an iterator of bytes."""

    def __init__(self, source: Iterable[bytes]) -> None:
        self._source = iter(source)
        self._left = memoryview(b"")

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed's own Buffer is wider
        """Fill the buffer with what is at hand; 0 at the end."""
        while not self._left:
            data = next(self._source, None)
            if data is None:
                return 0
            self._left = memoryview(data)
        taken = min(len(buffer), len(self._left))
        buffer[:taken] = self._left[:taken]
        self._left = self._left[taken:]
        return taken


def as_file(source: Iterable[bytes]) -> BinaryIO:
    """A buffered readable file over an iterator of bytes."""
    return cast("BinaryIO", io.BufferedReader(IteratorFile(source), CHUNK))


def _header(entry: tarfile.TarInfo) -> bytes:
    return entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _content(content: IO[bytes], size: int) -> Iterator[bytes]:
    yield from chunks(content)
    if rest := size % tarfile.BLOCKSIZE:
        yield _PADDING[rest:]
