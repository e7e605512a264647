"""How much room is too little, and what is said then."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from server import disks
from server.config import DiskSettings, Room, parse_room
from server.disks import Disk, DiskWatch
from server.notices import Board, Level

GIB = 2**30
NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "room"),
    [
        ("1GiB", Room(GIB, None)),
        ("2%", Room(None, 2.0)),
        ("1GiB or 2%", Room(GIB, 2.0)),
        ("2.5 % or 1GiB", Room(GIB, 2.5)),
    ],
)
def test_room_is_read_as_it_is_written(text: str, room: Room) -> None:
    assert parse_room(text) == room


@pytest.mark.parametrize("text", ["", "much", "1GiB or 2GiB", "2% or 3%", "101%", "1GiB and 2%"])
def test_what_is_no_room_is_told_with_how_to_write_it(text: str) -> None:
    with pytest.raises(ValueError, match="write it like 1GiB, 2% or 1GiB or 2%"):
        parse_room(text)


def test_of_size_and_percent_the_less_counts_so_that_small_and_large_disks_work() -> None:
    room = parse_room("1GiB or 2%")

    assert room.of(16 * 2**20) == int(16 * 2**20 * 0.02)
    assert room.of(10_000 * GIB) == GIB


def test_folders_on_one_disk_are_one_disk(tmp_path: Path) -> None:
    folders = {"database": tmp_path, "logs": tmp_path / "logs"}

    (disk,) = disks.look(folders, DiskSettings())

    assert disk.holds == ("database", "logs")
    assert 0 < disk.free <= disk.total


def level(settings: DiskSettings, tmp_path: Path) -> Level | None:
    (disk,) = disks.look({"database": tmp_path}, settings)
    return disk.level


def test_between_warn_and_pause_it_is_only_told(tmp_path: Path) -> None:
    huge = "9000GiB"
    assert level(DiskSettings(warn="1MiB", pause="1MiB"), tmp_path) is None
    assert level(DiskSettings(warn=huge, pause="1MiB"), tmp_path) is Level.WARNING
    assert level(DiskSettings(warn=huge, pause=huge), tmp_path) is Level.PAUSE


def test_a_notice_stays_the_same_while_the_free_bytes_change() -> None:
    settings = DiskSettings()
    said = {
        disks.words(
            Disk(holds=("logs",), path="/", free=free, total=GIB, level=Level.PAUSE), settings
        )
        for free in (1, 2)
    }
    assert len(said) == 1


def test_the_end_of_a_pause_is_told_to_who_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    board = Board()
    watch = DiskWatch(
        folders={"logs": tmp_path},
        settings=DiskSettings(),
        board=board,
        clock=lambda: NOW,
        room_again=lambda: told.append("room"),
    )

    def levels(*now: Level | None) -> None:
        found = [Disk(holds=("logs",), path="/", free=1, total=2, level=one) for one in now]
        monkeypatch.setattr(disks, "look", lambda *_: found)
        asyncio.run(watch.look())

    levels(Level.WARNING, Level.PAUSE)
    assert board.paused
    levels(Level.WARNING)
    assert (board.paused, told) == (False, ["room"])
    levels(None)
    assert board.notices == ()
