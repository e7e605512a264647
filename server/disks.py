"""The disks that Lading lives on: how much is free, and what is done when that is too little."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import structlog

from pipelines.durations import format_size
from pipelines.values import Value
from server.clock import Clock
from server.config import DiskSettings, parse_room
from server.notices import Board, Level, Notice

log = structlog.get_logger(__name__)

PART = "disk"


class Disk(Value):
    """One disk, as it is now."""

    holds: tuple[str, ...]
    """What of Lading's is on it: `database`, `logs`, `mirrors`, `engine`."""
    path: str
    """A folder on it."""
    free: int
    """Bytes that Lading may still write."""
    total: int
    level: Level | None = None
    """None: there is room enough."""

    @property
    def percent(self) -> float:
        """How much of it is free."""
        return 100 * self.free / self.total if self.total else 0.0

    def __str__(self) -> str:
        """`the disk of database and logs: 12 GiB of 40 GiB free (30 %)`."""
        free, total = format_size(self.free), format_size(self.total)
        return f"the disk of {_listed(self.holds)}: {free} of {total} free ({self.percent:.0f} %)"


def _listed(words: tuple[str, ...]) -> str:
    *some, last = words
    return f"{', '.join(some)} and {last}" if some else last


def look(folders: Mapping[str, Path], settings: DiskSettings) -> list[Disk]:
    """The disks of some folders, each once, the fullest first. Blocking.

    Args:
        folders: Folders by what they hold; one that is not there counts as its parent.
        settings: How much room is too little.
    """
    found: dict[int, tuple[list[str], Path]] = {}
    for name, folder in folders.items():
        there = _existing(folder)
        if there is not None:
            found.setdefault(there.stat().st_dev, ([], there))[0].append(name)
    disks = [_disk(tuple(names), folder, settings) for names, folder in found.values()]
    return sorted(disks, key=lambda disk: disk.percent)


def _existing(folder: Path) -> Path | None:
    """The folder or what of its parents is there; None where we may not look."""
    whole = folder.absolute()
    try:
        return next(path for path in (whole, *whole.parents) if path.exists())
    except PermissionError:
        return None


def _disk(holds: tuple[str, ...], folder: Path, settings: DiskSettings) -> Disk:
    figures = os.statvfs(folder)
    free, total = figures.f_bavail * figures.f_frsize, figures.f_blocks * figures.f_frsize
    level = None
    if _is_below(settings.pause, free, total):
        level = Level.PAUSE
    elif _is_below(settings.warn, free, total):
        level = Level.WARNING
    return Disk(holds=holds, path=str(folder), free=free, total=total, level=level)


def _is_below(room: str, free: int, total: int) -> bool:
    # A disk without blocks of its own (some kinds of FUSE) tells nothing.
    return total > 0 and free < parse_room(room).of(total)


def words(disk: Disk, settings: DiskSettings) -> str:
    """What a notice says of a disk that is nearly full."""
    what = f"the disk of {_listed(disk.holds)}"
    warn, pause = parse_room(settings.warn), parse_room(settings.pause)
    do = (
        "make room there, or let `lading cleanup` do it (`--dry-run` tells what would go)"
        if disk.holds != ("engine",)
        else "remove images and volumes that nobody needs, or let `lading cleanup` do it"
    )
    if disk.level is Level.PAUSE:
        return (
            f"No new run starts: {what} is nearly full (less than {pause} free). What "
            f"runs goes on, and pushes are taken and wait. To go on, {do}."
        )
    return (
        f"{what[0].upper()}{what[1:]} is filling up (less than {warn} free). Below "
        f"{pause} no new run starts: {do}."
    )


def notice(disks: Sequence[Disk], settings: DiskSettings, at: datetime) -> Notice | None:
    """What people must know of these disks; None where all have room."""
    scarce = [disk for disk in disks if disk.level is not None]
    if not scarce:
        return None
    worst = min(scarce, key=lambda disk: disk.level is Level.WARNING)
    level = worst.level or Level.WARNING
    return Notice(part=PART, level=level, text=words(worst, settings), since=at)


class DiskWatch:
    """Looks at the disks and puts up a notice while one is nearly full.

    Args:
        folders: Folders by what they hold; may grow when the engine tells of its own.
        room_again: Called when a pause is over.
    """

    def __init__(
        self,
        *,
        folders: dict[str, Path],
        settings: DiskSettings,
        board: Board,
        clock: Clock,
        room_again: Callable[[], None],
    ) -> None:
        self._folders = folders
        self._settings = settings
        self._board = board
        self._clock = clock
        self._room_again = room_again
        self.disks: list[Disk] = []
        """As they were at the last look."""

    def add(self, name: str, folder: Path) -> None:
        """Look at one more folder from now on."""
        self._folders[name] = folder

    async def look(self) -> None:
        """Look once, and put the notice up or take it down."""
        was_paused = self._board.paused
        self.disks = await asyncio.to_thread(look, dict(self._folders), self._settings)
        told = notice(self.disks, self._settings, self._clock())
        shown = [str(disk) for disk in self.disks]
        if told is not None:
            if self._board.put(told):
                log.warning(told.text, level=str(told.level), disks=shown)
        elif self._board.take_down(PART):
            log.info("the disks have room again", disks=shown)
        if was_paused and not self._board.paused:
            self._room_again()
