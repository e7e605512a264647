"""`lading backup` and `lading restore`, and what happens after an unclean stop."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.parts.process import LadingProcess


@pytest.fixture
def server(tmp_path: Path) -> LadingProcess:
    """One that was not started; it has a token named test."""
    made = LadingProcess(tmp_path, engine="unix:///nowhere/docker.sock", git=tmp_path)
    assert made.token
    return made


def database(server: LadingProcess) -> Path:
    return server.folder / "data" / "lading.db"


def tokens(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as conn:
        return [name for (name,) in conn.execute("SELECT name FROM tokens ORDER BY id")]


def corrupt(path: Path) -> None:
    """Overwrite the page at which the deliveries begin."""
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (size,) = conn.execute("PRAGMA page_size").fetchone()
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'deliveries'"
        (page,) = conn.execute(query).fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)


def serve(server: LadingProcess) -> subprocess.CompletedProcess[str]:
    """Start it where it is expected to refuse."""
    return server.command("serve")


def back_up(server: LadingProcess, name: str = "copy.db", *more: str) -> Path:
    target = server.folder / name
    result = server.command("backup", str(target), *more)
    assert result.returncode == 0, result.stderr
    return target


def test_a_backup_while_serving_has_what_was_written_before_it(server: LadingProcess) -> None:
    server.start()
    try:
        server.command("token", "create", "ada")
        target = server.folder / "copy.db"
        result = server.command("backup", str(target))
    finally:
        server.kill()

    assert result.returncode == 0, result.stderr
    assert tokens(target) == ["test", "ada"]
    assert "checked and on disk" in result.stderr
    assert "the database alone" in result.stderr
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert not list(server.folder.glob(".copy.db*"))


def test_a_backup_replaces_a_file_only_when_told_to(server: LadingProcess) -> None:
    target = back_up(server)
    before = target.read_bytes()
    server.command("token", "create", "ada")

    refused = server.command("backup", str(target))

    assert refused.returncode == 1
    assert "--force" in refused.stderr
    assert target.read_bytes() == before
    assert tokens(back_up(server, "copy.db", "--force")) == ["test", "ada"]


def test_a_backup_of_a_damaged_database_leaves_no_file(server: LadingProcess) -> None:
    corrupt(database(server))

    result = server.command("backup", str(server.folder / "copy.db"))

    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert not list(server.folder.glob("*copy.db*"))


def test_a_backup_never_overwrites_the_database_itself(server: LadingProcess) -> None:
    result = server.command("backup", str(database(server)), "--force")

    assert result.returncode == 1
    assert tokens(database(server)) == ["test"]


def test_restoring_brings_back_the_rows_and_keeps_the_present_ones_to_go_back_to(
    server: LadingProcess,
) -> None:
    copy = back_up(server)
    server.command("token", "create", "later")

    result = server.command("restore", str(copy))

    assert result.returncode == 0, result.stderr
    assert tokens(database(server)) == ["test"]
    (kept,) = database(server).parent.glob("lading.db.*")
    assert f"lading restore {kept}" in result.stderr
    assert server.command("restore", str(kept)).returncode == 0
    assert tokens(database(server)) == ["test", "later"]


def test_what_only_the_write_ahead_log_holds_is_kept_at_a_restore(server: LadingProcess) -> None:
    copy = back_up(server)
    server.start()
    server.command("token", "create", "later")
    server.kill()
    assert database(server).with_name("lading.db-wal").stat().st_size > 0

    server.command("restore", str(copy))

    (kept,) = database(server).parent.glob("lading.db.*Z")
    assert tokens(kept) == ["test", "later"]
    assert tokens(database(server)) == ["test"]


def test_the_write_ahead_log_of_a_damaged_database_is_not_played_into_the_restored_one(
    server: LadingProcess,
) -> None:
    copy = back_up(server)
    server.start()
    server.command("token", "create", "later")
    server.kill()
    log = database(server).with_name("lading.db-wal").read_bytes()
    database(server).write_bytes(b"no database any more" * 1000)

    result = server.command("restore", str(copy))

    assert result.returncode == 0, result.stderr
    (kept,) = database(server).parent.glob("lading.db.*Z-wal")
    assert kept.read_bytes() == log
    assert not database(server).with_name("lading.db-wal").exists()
    assert tokens(database(server)) == ["test"]


def test_nothing_is_restored_while_a_server_runs(server: LadingProcess) -> None:
    copy = back_up(server)
    server.start()
    try:
        result = server.command("restore", str(copy))
    finally:
        server.kill()

    assert result.returncode == 1
    assert "another Lading (process" in result.stderr
    assert not list(database(server).parent.glob("lading.db.*"))


def test_a_restored_database_belongs_to_whom_the_one_before_belonged(
    server: LadingProcess,
) -> None:
    copy = back_up(server)
    if os.geteuid() == 0:  # nobody else can give a file away
        os.chown(database(server), 12345, 12345)
    before = database(server).stat()

    server.command("restore", str(copy))

    after = database(server).stat()
    assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino


@pytest.mark.parametrize("what", ["logs", "artifacts"])
def test_new_runs_after_a_restore_get_numbers_that_no_output_has(
    server: LadingProcess, what: str
) -> None:
    copy = back_up(server)
    (server.folder / "data" / what / "41").mkdir(parents=True)

    server.command("restore", str(copy))

    with closing(sqlite3.connect(database(server))) as conn:
        query = "SELECT seq FROM sqlite_sequence WHERE name = 'runs'"
        assert conn.execute(query).fetchall() == [(41,)]


@pytest.mark.parametrize(
    ("make", "why"),
    [
        ("", "there is no file"),
        ("text", "no database that can be used"),
        ("CREATE TABLE other (a)", "none of Lading"),
        ("CREATE TABLE alembic_version AS SELECT '9999' AS version_num", "revision 9999"),
    ],
)
def test_what_is_no_database_of_ours_is_not_restored(
    server: LadingProcess, make: str, why: str
) -> None:
    source = server.folder / "source.db"
    if make == "text":
        source.write_text("These are notes, and no database at all. " * 50)
    elif make:
        with closing(sqlite3.connect(source)) as conn:
            conn.executescript(make)

    result = server.command("restore", str(source))

    assert result.returncode == 1
    assert why in result.stderr
    assert tokens(database(server)) == ["test"]
    assert not list(database(server).parent.glob("lading.db.*"))


def test_a_damaged_database_is_refused_after_an_unclean_stop_until_a_backup_is_restored(
    server: LadingProcess,
) -> None:
    copy = back_up(server)
    server.start()
    server.kill()
    corrupt(database(server))

    for _ in range(2):
        refused = serve(server)
        assert refused.returncode == 1
        assert "is damaged" in refused.stderr
        assert "lading restore FILE" in refused.stderr
        assert "Traceback" not in refused.stderr

    restored = server.command("restore", str(copy))
    assert restored.returncode == 0, restored.stderr
    server.start()
    assert server.get("/runs").status_code == 200
    assert server.stop() == 0


def test_what_is_no_database_at_all_is_refused_in_a_sentence_after_any_stop(
    server: LadingProcess,
) -> None:
    database(server).write_bytes(b"no database any more" * 1000)

    refused = serve(server)

    assert refused.returncode == 1
    assert "lading restore FILE" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_check_is_left_out_after_a_clean_stop(server: LadingProcess) -> None:
    marker = server.folder / "data" / "running"
    server.start()
    assert marker.exists()
    assert server.stop() == 0
    assert not marker.exists()

    server.start()
    server.kill()
    server.start()
    server.stop()

    said = [(server.folder / f"server-{n}.log").read_text() for n in (1, 2, 3)]
    assert ["the database is checked first" in text for text in said] == [False, False, True]
