"""The one writer: groups, order, failures."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from server.store import Database, DatabaseBusyError, deliveries
from server.store import database as room
from server.store.database import sqlite_url
from server.store.migrations import HEAD, SchemaTooNewError, upgrade
from tests.builders import SHA, event


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(sqlite_url(tmp_path / "some.db"), patience=0.4)
    database.run(_execute, "CREATE TABLE numbers (value INTEGER UNIQUE)")
    yield database
    database.close()


def _execute(conn: Connection, statement: str) -> None:
    conn.exec_driver_sql(statement)


def _add(conn: Connection, value: int) -> int:
    conn.execute(sa.text("INSERT INTO numbers VALUES (:value)"), {"value": value})
    return value


def _all(conn: Connection) -> list[int]:
    return list(conn.execute(sa.text("SELECT value FROM numbers ORDER BY rowid")).scalars())


def test_posted_verbs_are_written_in_the_order_of_the_calls(database: Database) -> None:
    async def write() -> list[int]:
        await asyncio.gather(*[database.post(_add, value) for value in (3, 1, 2)])
        return await database.read(_all)

    assert asyncio.run(write()) == [3, 1, 2]


def test_a_verb_that_fails_in_a_group_takes_no_other_with_it(database: Database) -> None:
    async def write() -> list[int | BaseException]:
        jobs = [database.post(_add, value) for value in (1, 2, 2, 3)]
        return await asyncio.gather(*jobs, return_exceptions=True)

    results = asyncio.run(write())

    assert results[:2] == [1, 2]
    assert isinstance(results[2], sa.exc.IntegrityError)
    assert results[3] == 3
    assert database.run(_all) == [1, 2, 3]


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[sqlite3.Connection]:
    """Somebody else holds the database."""
    with contextlib.closing(sqlite3.connect(folder / "some.db", isolation_level=None)) as blocker:
        blocker.execute("BEGIN IMMEDIATE")
        yield blocker


def _autocheckpoint(conn: Connection) -> int:
    return int(conn.exec_driver_sql("PRAGMA wal_autocheckpoint").scalar_one())


def test_the_one_connection_that_writes_is_the_only_one_to_checkpoint(database: Database) -> None:
    async def ask() -> tuple[int, int]:
        return await database.write(_autocheckpoint), await database.read(_autocheckpoint)

    writer, reader = asyncio.run(ask())

    assert writer > 0
    assert (reader, database.run(_autocheckpoint)) == (0, 0)


def test_batched_verbs_of_waiting_callers_become_one_call(database: Database) -> None:
    calls: list[int] = []

    def add_all(conn: Connection, values: object) -> list[int]:
        assert isinstance(values, list)
        calls.append(len(values))
        return [_add(conn, value) for value in values]

    async def write() -> list[int]:
        return await asyncio.gather(*[database.write_batched(add_all, n) for n in range(20)])

    assert asyncio.run(write()) == list(range(20))
    assert len(calls) < 20


def test_a_caller_that_was_cancelled_leaves_its_row_and_disturbs_nobody(
    database: Database,
) -> None:
    async def write() -> list[int]:
        first = asyncio.ensure_future(database.post(_add, 1))
        first.cancel()
        await database.write(_add, 2)
        return await database.read(_all)

    assert asyncio.run(write()) == [1, 2]


def test_a_database_that_is_locked_too_long_says_so(database: Database, tmp_path: Path) -> None:
    with locked(tmp_path) as blocker:

        async def write() -> None:
            with pytest.raises(DatabaseBusyError, match="locked"):
                await database.write(_add, 1)
            blocker.execute("ROLLBACK")
            await database.write(_add, 2)

        asyncio.run(write())
    assert database.run(_all) == [2]


def test_many_that_wait_for_a_locked_database_wait_no_longer_than_one(
    database: Database, tmp_path: Path
) -> None:
    async def write() -> list[float]:
        began = time.monotonic()

        async def one(value: int) -> float:
            with pytest.raises(DatabaseBusyError):
                await database.write(_add, value)
            return time.monotonic() - began

        return await asyncio.gather(*map(one, range(100)))

    with locked(tmp_path):
        waited = asyncio.run(write())

    # One after the other they would wait for 5 s at least.
    assert max(waited) < 2
    assert database.run(_all) == []


def test_who_comes_later_to_a_locked_database_is_given_up_later(
    database: Database, tmp_path: Path
) -> None:
    with locked(tmp_path) as blocker:

        async def write() -> int:
            first = database.post(_add, 1)
            await asyncio.wait({first}, timeout=0.2)
            second = database.post(_add, 2)
            with pytest.raises(DatabaseBusyError):
                await first
            blocker.execute("ROLLBACK")
            return await second

        assert asyncio.run(write()) == 2


def test_what_has_happened_is_written_down_once_the_database_is_free(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_AGAIN", 0.01)
    with locked(tmp_path) as blocker:

        async def write() -> None:
            patient = asyncio.create_task(database.write_patiently(_add, 1))
            with pytest.raises(DatabaseBusyError):
                await database.write(_add, 2)
            blocker.execute("ROLLBACK")
            await patient

        asyncio.run(write())
    assert database.run(_all) == [1]


def test_commits_wait_for_the_disk(database: Database) -> None:
    def pragmas(conn: Connection) -> tuple[object, object]:
        mode = conn.exec_driver_sql("PRAGMA journal_mode").scalar()
        return mode, conn.exec_driver_sql("PRAGMA synchronous").scalar()

    assert database.run(pragmas) == ("wal", 2)


def test_head_is_the_newest_migration() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    import server.store.migrations as room

    config = Config()
    config.set_main_option("script_location", str(Path(room.__file__).parent))

    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_migrations_make_exactly_the_tables_that_the_code_knows(tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from server.store.tables import metadata

    url = sqlite_url(tmp_path / "new.db")
    upgrade(url)
    engine = sa.create_engine(url)
    with engine.connect() as conn:
        differences = compare_metadata(MigrationContext.configure(conn), metadata)
    engine.dispose()

    assert differences == []


def test_a_database_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "new.db")
    upgrade(url)
    with sqlite3.connect(tmp_path / "new.db") as conn:
        conn.execute("UPDATE alembic_version SET version_num = '9999'")
    conn.close()

    with pytest.raises(SchemaTooNewError, match="9999"):
        upgrade(url)


def test_what_was_decided_before_heads_were_compared_is_found_by_ref_and_commit(
    tmp_path: Path,
) -> None:
    from alembic import command
    from alembic.config import Config

    import server.store.migrations as room

    path = tmp_path / "lading.db"
    config = Config()
    config.set_main_option("script_location", str(Path(room.__file__).parent))
    config.set_main_option("sqlalchemy.url", sqlite_url(path))
    command.upgrade(config, "0001")
    with contextlib.closing(sqlite3.connect(path)) as conn, conn:
        conn.execute(
            "INSERT INTO repositories (id, host, external_id, full_name, private, created_at) "
            "VALUES (1, 'forge', '1', 'acme/web', 0, 0)"
        )
        for id_, told in ((1, event().model_dump_json()), (2, "null")):
            conn.execute(
                "INSERT INTO decisions (id, repository, outcome, reason, event, pipelines, "
                "decided_at) VALUES (?, 1, 'started', '', ?, '[]', 0)",
                (id_, told),
            )

    upgrade(sqlite_url(path))

    with contextlib.closing(Database(sqlite_url(path))) as database:
        found = database.run(deliveries.push_decided, 1, "refs/heads/main", SHA)
        other = database.run(deliveries.decision, 2)
    assert found is not None
    assert found.id == 1
    assert other is not None
    assert (other.ref, other.sha) == (None, None)
