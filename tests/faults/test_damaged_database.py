"""F42: a damaged database is refused with the way out, and after it everything goes on.

The parts of it (which stops are checked, what a restore keeps): `tests/integration/cli`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.parts import CONTEXT, World, commands, world
from tests.parts.process import LadingProcess


@pytest.fixture
def place(tmp_path: Path, engine_url: str) -> Iterator[World]:
    with world(tmp_path, engine_url) as made:
        made.server.start()
        yield made


def corrupt(database: Path, table: str) -> None:
    """Overwrite the page at which a table begins, as a failing disk may."""
    with closing(sqlite3.connect(database)) as conn:
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (size,) = conn.execute("PRAGMA page_size").fetchone()
        query = "SELECT rootpage FROM sqlite_master WHERE name = ?"
        (page,) = conn.execute(query, (table,)).fetchone()
    with database.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)


def test_a_corrupt_page_is_refused_a_backup_restored_and_pushes_are_built_again(
    place: World, busybox_image: str
) -> None:
    first = place.push(commands(busybox_image, "echo first"))
    place.github.wait_for("acme/web", first, CONTEXT, "success")
    copy = place.server.folder / "copy.db"
    assert place.server.command("backup", str(copy)).returncode == 0
    lost = place.push(commands(busybox_image, "echo after the backup"))
    place.github.wait_for("acme/web", lost, CONTEXT, "success")
    place.server.kill()
    corrupt(place.database, "runs")

    refused = place.server.command("serve")

    assert refused.returncode == 1
    assert "is damaged" in refused.stderr
    assert "`lading restore FILE`" in refused.stderr
    assert place.server.command("restore", str(copy)).returncode == 0
    place.server.start()
    assert place.server.get("/runs/1").json()["state"] == "success"
    assert "first" in place.log(1, "test.unit")
    assert place.server.get("/runs/2").status_code == 404  # newer than the backup
    after = place.push(commands(busybox_image, "echo goes on"))
    place.github.wait_for("acme/web", after, CONTEXT, "success")
    assert "goes on" in place.log(3, "test.unit")  # its number is above every log's


@pytest.mark.parametrize("command", [("token", "list"), ("doctor",)])
def test_commands_tell_of_the_damage_and_of_the_way_out(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    server = LadingProcess(tmp_path, engine="unix:///nowhere/docker.sock", git=tmp_path)
    (tmp_path / "data" / "lading.db").write_bytes(b"no database any more" * 1000)

    refused = server.command(*command)

    assert refused.returncode == 1
    assert "lading restore FILE" in refused.stderr + refused.stdout
    assert "Traceback" not in refused.stderr
