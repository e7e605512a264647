"""How the server is doing, from its rows and files; it need not run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from pipelines.engine.client import connect
from server import clock, disks, marks, telling
from server.cli.tokens import opened
from server.config import Settings
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
    found = await asyncio.to_thread(disks.look, disk_folders(settings), settings.disk)
    notice = disks.notice(found, settings.disk, clock.now())
    if notice is not None:
        board.put(notice)
    return await Operations(
        database=database,
        engine_answers=lambda: asyncio.to_thread(_engine, settings.engine.url),
        board=board,
        disks=lambda: found,
        data=settings.server.data,
        clock=clock.now,
    ).report()


def _engine(url: str | None) -> None:
    connect(url, timeout=5).close()
