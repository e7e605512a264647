"""What the server does for its own sake, on the clock: disks, housekeeping, counting its starts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

from apscheduler.triggers.base import BaseTrigger

from server import marks, schedules
from server.clock import Clock
from server.config import Settings
from server.disks import DiskWatch
from server.housekeeping import Housekeeping
from server.store import Database, tallies
from server.store.database import sqlite_path
from server.store.tallies import Tally


def disk_folders(settings: Settings) -> dict[str, Path]:
    """The folders whose disks must not fill up, by what they hold."""
    data = settings.server.data
    database = sqlite_path(settings.database_url)
    return {
        "database": data if database is None else database.parent,
        "logs": data / "logs",
        "mirrors": data / "mirrors",
    }


class Upkeep:
    """The jobs of a server that look after itself.

    Args:
        data: The data folder, where commands leave word.
        engine_folder: Where a local engine keeps its images; None: not known, or elsewhere.
        unclean: Whether the server before did not stop by itself.
    """

    def __init__(
        self,
        *,
        database: Database,
        disks: DiskWatch,
        housekeeping: Housekeeping,
        clock: Clock,
        data: Path,
        engine_folder: Callable[[], str | None],
        unclean: bool,
    ) -> None:
        self._database = database
        self._disks = disks
        self._housekeeping = housekeeping
        self._clock = clock
        self._data = data
        self._engine_folder = engine_folder
        self._unclean = unclean

    def jobs(self) -> Mapping[str, tuple[BaseTrigger, schedules.Job]]:
        """By name, each with its time."""
        keep = self._housekeeping.keep
        return {
            "disks": (schedules.every_few_seconds(), self.look_at_disks),
            "cleanup": (schedules.every_few_seconds(), self.keep_house_if_asked),
            "retention": (schedules.every_night(), keep),
            "first retention": (schedules.soon(), keep),
            "build cache": (schedules.now_and_then(), self._housekeeping.keep_engine),
        }

    async def look_at_disks(self) -> None:
        """Put up or take down the notice of a disk that is nearly full."""
        folder = self._engine_folder()
        # In a container of our own the engine's folder is another machine's, in effect.
        if folder is not None and await asyncio.to_thread(Path(folder).exists):
            self._disks.add("engine", Path(folder))
        await self._disks.look()

    async def keep_house_if_asked(self) -> None:
        """Do what `lading cleanup` has asked for."""
        if await asyncio.to_thread(marks.cleanup_wanted, self._data):
            await self._housekeeping.keep_all()

    async def count_start(self) -> None:
        """Write down that the server has started."""
        names = [Tally.STARTS, *([Tally.UNCLEAN_STOPS] if self._unclean else [])]
        for name in names:
            await self._database.write_patiently(tallies.count, name, at=self._clock())
