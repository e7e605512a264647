"""F35: one server for one data folder and one database; commands that may work beside it do.

That a second server on the same folder refuses: `tests/acceptance/test_restart.py`. That nothing is
restored under a server that runs, and that a backup may be made: `tests/integration/cli`.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import server.alone as room
from server.alone import AlreadyRunningError, alone
from tests.parts.process import LadingProcess


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LadingProcess]:
    """A server that runs."""
    folder = tmp_path_factory.mktemp("first")
    made = LadingProcess(folder, engine="unix:///nowhere/docker.sock", git=folder)
    made.start()
    yield made
    made.kill()


@pytest.fixture
def second(first: LadingProcess, tmp_path: Path) -> LadingProcess:
    """Another with a data folder of its own, and the first one's database by another name."""
    other_name = tmp_path / "shared.db"
    other_name.symlink_to(first.folder / "data" / "lading.db")
    made = LadingProcess(tmp_path, engine="unix:///nowhere/docker.sock", git=tmp_path)
    with made.config.open("a") as config:
        config.write(f'[database]\nurl = "sqlite:///{other_name}"\n')
    return made


def test_a_second_server_on_the_same_database_refuses_and_names_the_first(
    first: LadingProcess, second: LadingProcess
) -> None:
    refused = second.command("serve")

    assert refused.returncode == 1
    assert "another Lading (process " in refused.stderr
    assert f"data in {first.folder / 'data'})" in refused.stderr
    assert "uses the database" in refused.stderr
    assert "Stop it first, or set `database.url` to another place" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert first.get("/runs").status_code == 200


def test_nothing_is_restored_over_a_database_that_another_servers_folder_holds(
    second: LadingProcess,
) -> None:
    copy = second.folder / "copy.db"
    assert second.command("backup", str(copy)).returncode == 0

    refused = second.command("restore", str(copy))

    assert refused.returncode == 1
    assert "uses the database" in refused.stderr


@pytest.mark.parametrize("command", [("token", "list"), ("deliveries",), ("token", "create", "b")])
def test_commands_that_read_or_write_a_row_work_beside_a_server(
    second: LadingProcess, command: tuple[str, ...]
) -> None:
    done = second.command(*command)

    assert done.returncode == 0, done.stderr


def test_a_database_that_a_stranger_holds_for_writing_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "BUSY_SECONDS", 0.1)
    database = tmp_path / "lading.db"
    with closing(sqlite3.connect(database, isolation_level=None)) as stranger:
        stranger.execute("PRAGMA journal_mode=WAL")
        stranger.execute("CREATE TABLE some (a)")
        stranger.execute("BEGIN IMMEDIATE")

        with pytest.raises(AlreadyRunningError, match="fuser"), alone(tmp_path, database):
            pytest.fail("held it all the same")

        stranger.execute("ROLLBACK")
        with alone(tmp_path, database):  # one that only has it open does no harm
            pass


def test_what_a_server_that_is_gone_left_in_its_lock_files_stops_nobody(tmp_path: Path) -> None:
    database = tmp_path / "lading.db"
    (tmp_path / "lock").write_text("1")  # a process that lives, but holds nothing
    (tmp_path / "lading.db-lock").write_text("1, data in /elsewhere")

    with alone(tmp_path, database):
        assert (tmp_path / "lock").read_text() == str(os.getpid())
