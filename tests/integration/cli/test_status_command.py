"""`lading status` and `lading cleanup`, with a server and without."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from server import clock, marks
from tests.builders import House
from tests.parts.process import LadingProcess


@pytest.fixture
def server(tmp_path: Path) -> LadingProcess:
    """One that was not started."""
    return LadingProcess(tmp_path, engine="unix:///nowhere/docker.sock", git=tmp_path)


def told(server: LadingProcess) -> dict[str, str]:
    """What is said, by part."""
    done = server.command("status")
    assert done.returncode == 0, done.stderr
    pairs = (line.split("  ", 1) for line in done.stdout.splitlines())
    return {part: text.strip() for part, text in pairs}


def old_delivery(server: LadingProcess) -> None:
    """A delivery that came, and was decided, long ago."""
    assert server.command("deliveries").returncode == 0  # makes the database
    long_ago = 1_500_000_000 * 1_000_000
    with closing(sqlite3.connect(server.folder / "data" / "lading.db")) as conn, conn:
        conn.execute(
            "INSERT INTO deliveries (id, host, delivery_id, event_type, headers, body, "
            "received_at, state, tries) VALUES ('a', 'git', 'd', 'push', '{}', 'x', ?, "
            "'decided', 1)",
            (long_ago,),
        )


def body(server: LadingProcess) -> bytes | str:
    with closing(sqlite3.connect(server.folder / "data" / "lading.db")) as conn:
        found: bytes | str = conn.execute("SELECT body FROM deliveries").fetchone()[0]
    return found


def test_status_tells_of_a_server_that_does_not_run(server: LadingProcess) -> None:
    said = told(server)

    assert said["Server"] == "None runs on this data folder."
    assert said["Runs"] == "None runs; none waits."
    assert said["Deliveries"] == "None waits to be read."
    assert "does not answer" in said["Engine"]
    assert said["Disk"].startswith("The disk of database, logs and mirrors: ")
    assert said["Backup"].startswith("None was made yet")
    assert said["Restarts"].startswith("Not started yet")


def test_status_counts_starts_unclean_stops_and_backups(server: LadingProcess) -> None:
    server.start()
    server.kill()
    server.start()
    try:
        server.command("backup", str(server.folder / "copy.db"))
        said = told(server)
    finally:
        server.stop()

    assert said["Server"].endswith(" serves.")
    assert said["Restarts"].startswith("Started 2 times, last ")
    assert "after one stop that was not clean" in said["Restarts"]
    assert said["Backup"].startswith("The last one was made ")


def test_cleanup_without_a_server_tells_first_and_then_does_it(server: LadingProcess) -> None:
    old_delivery(server)

    looked = server.command("cleanup", "--dry-run")
    assert looked.stdout == "Would go: bodies of 1 delivery (1 B).\n"
    assert body(server) == "x"

    done = server.command("cleanup")
    assert done.stdout == "Gone: bodies of 1 delivery (1 B).\n", done.stderr
    assert body(server) == b""


def test_cleanup_beside_a_server_is_done_by_the_server(server: LadingProcess) -> None:
    server.start()
    try:
        old_delivery(server)
        done = server.command("cleanup")
    finally:
        server.stop()

    asked, gone = done.stdout.splitlines()
    assert asked.startswith("The server (process ")
    assert gone == "Gone: bodies of 1 delivery (1 B)."
    assert body(server) == b""


def test_what_stands_in_the_way_of_work_is_told_first(tmp_path: Path) -> None:
    server = LadingProcess(tmp_path, engine="unix:///nowhere/docker.sock", git=tmp_path)
    server.config.write_text(f'[disk]\npause = "9000GiB"\n{server.config.read_text()}')

    first = server.command("status").stdout.splitlines()[0]

    assert first.startswith("PAUSE: No new run starts: the disk of database, logs and mirrors")


def test_a_mark_of_a_backup_that_cannot_be_read_counts_as_none(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.close()
    assert marks.last_backup(tmp_path) is None
    at = clock.now()
    marks.note_backup(tmp_path, at)
    assert marks.last_backup(tmp_path) == at

    (tmp_path / "last-backup").write_text("yesterday")
    assert marks.last_backup(tmp_path) is None
