"""Files of a workspace out of a tar stream that strangers filled: which are wanted, within bounds.

Nothing is unpacked: each wanted file is handed on with its path, and whoever takes it never uses
that as a path of this machine. Links, devices and names that would be a danger on somebody's disk
are left out and counted.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO

from pipelines.durations import format_size
from pipelines.globs import Globs
from pipelines.problems import LadingError
from pipelines.tarstream import chunks
from pipelines.values import Value

MAX_PATH = 1000
"""Bytes of a path."""

_MAGIC = re.compile(r"[*?\[]")
_PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE)
_EXECUTABLE = 0o100
_HEADERS = 2**20
"""Bytes that a stream may hold between the contents of two files."""


class TooMuchError(LadingError):
    """More was found than may be taken; the message says of what, and what to do."""


class Bounds(Value):
    """How much may be taken, and looked at on the way."""

    size: int
    """Bytes of all files together."""
    advice: str = "name fewer"
    """What to say where there are more bytes."""
    files: int
    each: int | None = None
    """Bytes of one file; None: those of all."""
    entries: int = 200_000
    """Files, folders and links looked at."""
    scanned: int = 16 * 2**30
    """Bytes read, also of what is not wanted."""


class Taken(Value):
    """A file, as the step has left it."""

    path: str
    """From the workspace's root."""
    size: int
    """Bytes."""
    executable: bool = False
    modified: float = 0.0
    """Seconds since 1970."""


Take = Callable[[Taken, Iterator[bytes]], None]
"""Takes a file with its content, which is good until it returns."""


class Wanted:
    """The files that some paths and patterns mean: of a folder, all that is in it."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self.patterns = tuple(patterns)
        self._globs = Globs(f"{pattern.rstrip('/')}/**" for pattern in self.patterns)

    def match(self, path: str) -> bool:
        """Whether the file is one of them."""
        return self._globs.match(path)

    def places(self) -> tuple[str, ...]:
        """Files and folders in which all of them are, none below another; `` is the root."""
        found = sorted({_fixed(pattern) for pattern in self.patterns})
        if "" in found:
            return ("",)
        return tuple(
            place
            for place in found
            if not any(place.startswith(f"{other}/") for other in found if other != place)
        )


def _fixed(pattern: str) -> str:
    """The path's beginning that is no pattern."""
    parts = pattern.rstrip("/").split("/")
    fixed = 0
    while fixed < len(parts) and not _MAGIC.search(parts[fixed]):
        fixed += 1
    return "/".join(parts[:fixed])


@dataclass(kw_only=True)
class Tally:
    """What was taken so far, and what was left out."""

    bounds: Bounds
    files: int = 0
    size: int = 0
    entries: int = 0
    links: int = 0
    """Links, devices and the like among what was wanted."""
    names: int = 0
    """Files whose names are no names for other machines."""
    seen: set[str] = field(default_factory=set)

    def entry(self, size: int) -> None:
        """One more entry of so many bytes was met."""
        self.entries += 1
        if self.entries > self.bounds.entries:
            most = f"{self.bounds.entries:,}"
            raise TooMuchError(f"the folders hold more than {most} files: name a smaller one")
        if size < 0:
            raise tarfile.ReadError("an entry has a negative size")

    def file(self, taken: Taken) -> None:
        """One more file is about to be taken."""
        self.files += 1
        self.size += taken.size
        if self.files > self.bounds.files:
            raise TooMuchError(f"there are more than {self.bounds.files:,} files: name fewer")
        each = self.bounds.each
        if each is not None and taken.size > each:
            raise TooMuchError(f"{taken.path} is larger than {format_size(each)}")
        if self.size > self.bounds.size:
            most = format_size(self.bounds.size)
            raise TooMuchError(f"the files are larger than {most} together: {self.bounds.advice}")


def take_from(source: IO[bytes], place: str, wanted: Wanted, tally: Tally, take: Take) -> None:
    """Hand on each wanted file of a tar stream.

    Args:
        source: The archive of one file or folder, as container engines make it: the names in it
            begin with that one's own name.
        place: That file's or folder's path.
        wanted: What to hand on.
        tally: Counts, within its bounds; may go on from another stream.
        take: Gets the files, in the stream's order.

    Raises:
        TooMuchError: There is more than the bounds allow; what was handed on is not whole.
        tarfile.TarError: The stream is no archive, or ends too soon.
        OSError: From the source, or from `take`.
    """
    rationed = _Rationed(source, tally.bounds.scanned)
    # The copy of the buffer size is what tarfile reads at once.
    with tarfile.open(fileobj=rationed, mode="r|", bufsize=tarfile.RECORDSIZE) as archive:  # type: ignore[call-overload]  # it has all that is used of a file
        for entry in archive:
            archive.members.clear()  # else it remembers every entry it has met
            tally.entry(entry.size)
            rationed.allow(entry.size)
            path = _path(entry.name, place)
            if entry.isdir() or not wanted.match(path):
                continue
            if entry.type not in _PLAIN or entry.issparse():
                tally.links += 1
            elif not is_name(path):
                tally.names += 1
            elif path not in tally.seen:
                tally.seen.add(path)
                taken = Taken(
                    path=path,
                    size=entry.size,
                    executable=bool(entry.mode & _EXECUTABLE),
                    modified=entry.mtime,
                )
                tally.file(taken)
                content = archive.extractfile(entry)
                if content is not None:
                    take(taken, chunks(content))


def _path(name: str, place: str) -> str:
    """An entry's path from the root; its name begins with the last part of the place."""
    rest = name.strip("/").partition("/")[2]
    return "/".join(part for part in (place, rest) if part)


def is_name(path: str) -> bool:
    """Whether a path is one that may be written on anybody's disk."""
    try:
        length = len(path.encode())
    except UnicodeEncodeError:  # no UTF-8 where the step ran
        return False
    parts = path.split("/")
    return (
        0 < length <= MAX_PATH
        and path.isprintable()
        and not any(part in ("", ".", "..") for part in parts)
        and not any(sign in path for sign in "\\:")
    )


class _Rationed:
    """A stream of which only so much can be read as was allowed."""

    def __init__(self, source: IO[bytes], most: int) -> None:
        self._source = source
        self._most = most
        self._left = _HEADERS

    def allow(self, size: int) -> None:
        """So many bytes come, and what stands between them and the next."""
        self._left = size + tarfile.BLOCKSIZE + _HEADERS

    def read(self, size: int) -> bytes:
        """Like a file's."""
        data = self._source.read(size)
        self._left -= len(data)
        self._most -= len(data)
        if self._left < 0:
            raise TooMuchError("the archive of the files has a header that is too long")
        if self._most < 0:
            raise TooMuchError("the folders hold too much to be looked through: name smaller ones")
        return data
