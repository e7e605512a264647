"""F37: tables change in one go or not at all, with rows kept and a way back."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from server.alone import alone
from server.store.backups import BackupError, restore
from server.store.database import sqlite_url
from server.store.migrations import HEAD, SchemaTooNewError, current_revision, run
from server.store.soundness import damage
from server.store.upgrading import bring_up_to_date, is_current
from server.version import VERSION
from tests.builders import House
from tests.faults.older import FIRST, older_copy
from tests.parts.process import ROOT, LadingProcess

CHAIN = Path(__file__).parent / "chain"
STATEMENTS = 15  # of `chain/rev_9002`
AT = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)


@pytest.fixture
def used(tmp_path: Path) -> Path:
    """A database in use: two runs, a delivery, a token, a status; nobody has it open."""
    house = House(tmp_path)
    house.token("ada")
    house.nothing(house.delivery(), "no pipeline wants this branch")
    house.succeeded()
    house.failed()
    house.close()
    return tmp_path / "lading.db"


@pytest.fixture
def old(used: Path) -> Path:
    """The same as the first version of Lading left it."""
    path = used.with_name("old.db")
    older_copy(used, path)
    return path


def rows(database: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table, by table."""
    with closing(sqlite3.connect(database)) as conn:
        query = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
        names = [name for (name,) in conn.execute(query)]
        return {name: sorted(conn.execute(f"SELECT * FROM {name}"), key=repr) for name in names}


def shape(database: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(database)) as conn:
        return conn.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()


def migrate(database: Path, *, dies_before: int | None = None) -> int:
    """Bring it to the end of the test's own chain, in a process that may die on the way."""
    program = "import sys, pathlib; from server.store.migrations import run; "
    program += "run(sys.argv[1], versions=pathlib.Path(sys.argv[2]))"
    environ = {**os.environ} | ({} if dies_before is None else {"DIES_BEFORE": str(dies_before)})
    done = subprocess.run(
        [sys.executable, "-c", program, sqlite_url(database), str(CHAIN)],
        cwd=ROOT,
        env=environ,
        check=False,
    )
    return done.returncode


@pytest.mark.parametrize("statement", [1, 7, STATEMENTS])
def test_a_migration_killed_half_way_leaves_the_one_before_whole_and_is_done_at_the_next_try(
    used: Path, statement: int
) -> None:
    whole = Path(shutil.copy(used, used.with_name("whole.db")))
    run(sqlite_url(whole), "9001", versions=CHAIN)
    before = rows(whole)

    assert migrate(used, dies_before=statement) == -signal.SIGKILL

    assert damage(used) == ""
    assert current_revision(sqlite_url(used)) == "9001"
    assert shape(used) == shape(whole)
    assert rows(used).keys() == before.keys()
    assert all(rows(used)[table] == before[table] for table in before.keys() - {"upgrades"})

    assert migrate(used) == 0
    after = rows(used)
    assert current_revision(sqlite_url(used)) == "9002"
    assert after["many_5"] == [(1,), (2,), (3,)]
    assert after["steps"] == before["steps"]


def test_an_upgrade_from_the_first_version_keeps_every_row(old: Path, used: Path) -> None:
    before = rows(old)
    assert current_revision(sqlite_url(old)) == FIRST

    bring_up_to_date(sqlite_url(old), at=AT)

    after = rows(old)
    for table in before.keys() - {"alembic_version", "sqlite_sequence"}:
        kept = [row[: len(before[table][0])] for row in after[table]] if before[table] else []
        assert kept == before[table], table
    assert after["sqlite_sequence"] == before["sqlite_sequence"]
    assert rows(used).keys() == after.keys()


def test_the_database_is_copied_before_it_is_changed_and_the_copy_is_a_way_back(old: Path) -> None:
    before = rows(old)

    bring_up_to_date(sqlite_url(old), at=AT)

    (kept,) = old.parent.glob("old.db.before-*")
    assert kept.name == f"old.db.before-{HEAD}.20261120T030000Z"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert rows(kept) == before
    restore(kept, old, at=AT, least_run=0)
    assert current_revision(sqlite_url(old)) == FIRST


def test_a_new_database_and_one_that_is_current_are_not_copied(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "new.db")

    bring_up_to_date(url, at=AT)
    bring_up_to_date(url, at=AT)

    assert is_current(url)
    assert not list(tmp_path.glob("*before*"))


@contextmanager
def little_room() -> Iterator[None]:
    """No file may grow beyond 64 kB, as on a full disk."""
    was = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, was[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, was)


def test_where_no_copy_can_be_made_nothing_is_changed(old: Path) -> None:
    before = shape(old)

    with little_room(), pytest.raises(BackupError, match="has room"):
        bring_up_to_date(sqlite_url(old), at=AT)

    assert shape(old) == before
    assert not list(old.parent.glob("*before*"))


def test_a_database_of_a_newer_version_is_refused_with_both_versions_and_what_to_do(
    used: Path,
) -> None:
    with closing(sqlite3.connect(used)) as conn:
        conn.execute("UPDATE alembic_version SET version_num = '9999'")
        conn.execute("INSERT INTO upgrades VALUES ('9999', '9.1.0', 0)")
        conn.commit()

    with pytest.raises(SchemaTooNewError) as refused:
        bring_up_to_date(sqlite_url(used), at=AT)

    said = str(refused.value)
    assert "revision 9999, made by Lading 9.1.0" in said
    assert f"this is Lading {VERSION}, which knows revisions up to {HEAD}" in said
    assert "start Lading 9.1.0 again" in said
    assert "`lading restore` a copy from before the upgrade" in said


def test_who_changed_the_tables_is_written_down_with_the_change(used: Path) -> None:
    noted = [(revision, version) for revision, version, _ in rows(used)["upgrades"]]
    assert noted[-1] == (HEAD, VERSION)


def test_a_command_never_changes_the_tables_under_a_server_that_runs(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    run(sqlite_url(data / "lading.db"), FIRST)
    with alone(data, data / "lading.db"):
        server = LadingProcess(tmp_path, engine="unix:///nowhere/docker.sock", git=tmp_path)
        refused = server.command("token", "list")

    assert refused.returncode == 1
    assert "older than this command" in refused.stderr
    assert "restart the server" in refused.stderr
    assert current_revision(sqlite_url(data / "lading.db")) == FIRST
    assert server.command("token", "list").returncode == 0
    assert current_revision(sqlite_url(data / "lading.db")) == HEAD
