"""What steps leave: their artifacts and their test reports, as files below one folder.

The artifacts of one step are one zip file, `<run>/<attempt>/<step>.zip`: strangers' names stand in
it and are never names on this disk. It appears under its name when it is whole and on the disk.
Beside it, `<step>.tests.json` is what the step's tests reported.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from pipelines.crashing import reach
from pipelines.durations import format_size
from pipelines.reports import Report
from pipelines.taking import Bounds, Taken
from pipelines.values import Value

MAX_FILES = 10_000
"""Files of one step."""
PIECE = 256 * 1024
"""Bytes read at once."""

_STEP = re.compile(r"^[a-z]+\.[^/\x00]{1,150}$")
_GONE = (FileNotFoundError, zipfile.BadZipFile)
"""Also what somebody has damaged is there no more, for whoever wants it."""
_LEVEL = 1
"""Of compression: what is kept is mostly packed already, or text, for which this does."""
_FIRST, _LAST = datetime(1980, 1, 1, tzinfo=UTC), datetime(2107, 12, 31, tzinfo=UTC)
"""The times that a zip file can tell."""


class StoredFile(Value):
    """A file that is kept."""

    path: str
    size: int
    """Bytes."""


class ZipShelf:
    """Where one step's files go; see `pipelines.keeping.Shelf`."""

    def __init__(self, path: Path, report: Path, bounds: Bounds) -> None:
        self.bounds = bounds
        self._path = path
        self._report = report
        self._part = path.with_name(f"{path.name}.part")
        self._file: BinaryIO | None = None
        self._zip: zipfile.ZipFile | None = None

    def add(self, file: Taken, pieces: Iterator[bytes]) -> None:
        """See `Shelf.add`."""
        entry = zipfile.ZipInfo(file.path, _time(file.modified))
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry.external_attr = (stat.S_IFREG | (0o755 if file.executable else 0o644)) << 16
        entry.file_size = file.size
        with self._open().open(entry, "w") as target:
            for piece in pieces:
                target.write(piece)

    def _open(self) -> zipfile.ZipFile:
        if self._zip is None:
            self._file = self._part.open("wb")
            self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL)
        return self._zip

    def report(self, report: Report) -> None:
        """See `Shelf.report`."""
        part = self._report.with_name(f"{self._report.name}.part")
        with part.open("wb") as file:
            file.write(report.model_dump_json(exclude_defaults=True).encode())
            _to_disk(file)
        part.replace(self._report)
        _names_to_disk(self._report.parent)

    def keep(self) -> int:
        """See `Shelf.keep`."""
        archive, file = self._open(), self._file
        archive.close()
        if file is None:  # pragma: no cover - it was opened with the archive
            raise AssertionError
        _to_disk(file)
        size = file.tell()
        file.close()
        reach("artifacts.written")
        self._part.replace(self._path)
        _names_to_disk(self._path.parent)
        return size

    def close(self) -> None:
        """Let go; what was not kept is gone."""
        file = self._file
        if file is not None and not file.closed:
            # The archive must not write its end into a file that nobody wants.
            file.close()
            with contextlib.suppress(ValueError, OSError):
                self._open().close()
        self._part.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # something is kept there
            self._path.parent.rmdir()


class ArtifactStore:
    """The files of every step.

    Args:
        folder: Made when missing.
        limit: Bytes of one step's artifacts.
        room: Bytes of all of them together.
    """

    def __init__(self, folder: Path, *, limit: int, room: int) -> None:
        self._folder = folder
        self._limit = limit
        self._room = room

    @contextlib.contextmanager
    def shelf(self, run: int, attempt: int, step: str, *, used: int) -> Iterator[ZipShelf]:
        """A place for one step's files, in place of what is there of it; `used`: bytes of all."""
        path = self._path(run, attempt, step)
        path.parent.mkdir(parents=True, exist_ok=True)
        shelf = ZipShelf(path, _report(path), self._bounds(used))
        try:
            yield shelf
        finally:
            shelf.close()

    def _bounds(self, used: int) -> Bounds:
        left = max(self._room - used, 0)
        if left >= self._limit:
            return Bounds(size=self._limit, files=MAX_FILES)
        all_ = f"`artifacts.room`, {format_size(self._room)}"
        advice = f"that is what is left of the server's room for artifacts ({all_})"
        return Bounds(size=left, files=MAX_FILES, advice=advice)

    def files(self, run: int, attempt: int, step: str) -> list[StoredFile]:
        """A step's artifacts, by path. Blocking."""
        try:
            with zipfile.ZipFile(self._path(run, attempt, step)) as archive:
                found = [StoredFile(path=e.filename, size=e.file_size) for e in archive.infolist()]
        except _GONE:
            return []
        return sorted(found, key=lambda file: file.path)

    def archive(self, run: int, attempt: int, step: str) -> Path | None:
        """The zip file of a step's artifacts; None where there is none."""
        path = self._path(run, attempt, step)
        return path if path.is_file() else None

    def read(
        self, run: int, attempt: int, step: str, path: str
    ) -> tuple[int, Iterator[bytes]] | None:
        """One artifact's size and content, in pieces; None where there is none. Blocking."""
        with contextlib.ExitStack() as held:
            try:
                archive = held.enter_context(zipfile.ZipFile(self._path(run, attempt, step)))
                entry = archive.getinfo(path)
            except (*_GONE, KeyError):
                return None
            return entry.file_size, _pieces(archive, entry, held.pop_all())

    def report(self, run: int, attempt: int, step: str) -> Report | None:
        """What a step's tests reported; None where that is not there. Blocking."""
        try:
            data = _report(self._path(run, attempt, step)).read_bytes()
            return Report.model_validate_json(data)
        except (FileNotFoundError, ValidationError):
            return None

    def remove_artifacts(self, run: int, attempt: int, step: str) -> None:
        """Delete a step's artifacts; its test report stays. Blocking."""
        self._path(run, attempt, step).unlink(missing_ok=True)

    def remove(self, run: int) -> int:
        """Delete all of a run; the bytes that are free again. Blocking."""
        freed = self.bytes_of(run)
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self._folder / str(run))
        return freed

    def bytes_of(self, run: int) -> int:
        """Bytes that all of a run takes on the disk. Blocking."""
        files = (path for path in (self._folder / str(run)).rglob("*") if path.is_file())
        return sum(path.stat().st_blocks * 512 for path in files)

    def runs(self, *, before: float) -> list[int]:
        """Runs that have a folder nothing was put into since `before` (seconds since 1970)."""
        if not self._folder.is_dir():
            return []
        found = (p for p in self._folder.iterdir() if p.name.isascii() and p.name.isdigit())
        return sorted(int(path.name) for path in found if path.stat().st_mtime < before)

    def _path(self, run: int, attempt: int, step: str) -> Path:
        if not _STEP.match(step):
            message = f"{step!r} is no step key"
            raise ValueError(message)
        return self._folder / str(run) / str(attempt) / f"{step}.zip"


def _report(archive: Path) -> Path:
    return archive.with_suffix(".tests.json")


def _pieces(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, held: contextlib.ExitStack
) -> Iterator[bytes]:
    with held, archive.open(entry) as file:
        while data := file.read(PIECE):
            yield data


def _time(seconds: float) -> tuple[int, int, int, int, int, int]:
    try:
        at = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        at = _FIRST
    at = min(max(at, _FIRST), _LAST)
    return at.year, at.month, at.day, at.hour, at.minute, at.second


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _names_to_disk(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
