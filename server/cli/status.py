"""How the server is doing, from its rows and files; it need not run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from pipelines.engine.client import connect
from server import clock, marks, telling
from server.cli.tokens import opened
from server.config import Settings
from server.disks import DiskWatch
from server.notices import Board
from server.operations import Operations, Report
from server.store import Database
from server.telling import Told
from server.upkeep import disk_folders


def lines(settings: Settings) -> Iterator[str]:
    """A line for each part."""
    with opened(settings) as database:
        report = asyncio.run(_report(settings, database))
    for notice in report.notices:
        yield f"{notice.level.upper()}: {notice.text}"
    process = marks.server_process(settings.server.data)
    serves = "None runs on this data folder." if process is None else f"Process {process} serves."
    said = [Told(part="Server", text=serves), *telling.told(report)]
    width = max(len(one.part) for one in said)
    for one in said:
        yield f"{one.part:<{width}}  {one.text}"


async def _report(settings: Settings, database: Database) -> Report:
    board = Board()
    disks = DiskWatch(
        folders=disk_folders(settings),
        settings=settings.disk,
        board=board,
        clock=clock.now,
        room_again=lambda: None,
    )
    await disks.look()
    return await Operations(
        database=database,
        engine_answers=lambda: asyncio.to_thread(_engine, settings.engine.url),
        board=board,
        disks=lambda: disks.disks,
        data=settings.server.data,
        clock=clock.now,
    ).report()


def _engine(url: str | None) -> None:
    connect(url, timeout=5).close()
