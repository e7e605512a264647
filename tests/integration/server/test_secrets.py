"""Secrets: sealed in the database, opened for the steps that may have them."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipelines.events import Event, EventKind
from pipelines.plan import Plan
from server.hosts.port import RepositoryRef
from server.secrets import Secrets, given, refuse_lost_keys, rotate
from server.store import Database, repositories
from server.store import secrets as secret_verbs
from server.store.database import sqlite_url
from server.store.migrations import upgrade
from server.store.rows import Bounds
from server.vault import Vault, VaultError
from tests.builders import House
from tests.unit.pipelines.building import PULL, PUSH, planned, push_to

AT = datetime(2026, 5, 4, tzinfo=UTC)
TEXT = """\
test:
  release: {image: b, commands: c, env: {TOKEN: {from_secret: npm}}}
  lint: {image: b, commands: c}
"""


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path / "keys" / "secrets.key")


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database without rows, to be copied: making one takes a process of its own."""
    path = tmp_path_factory.mktemp("empty") / "lading.db"
    upgrade(sqlite_url(path))
    return path


@pytest.fixture
def database(tmp_path: Path, empty: Path) -> Iterator[Database]:
    path = tmp_path / "lading.db"
    shutil.copy(empty, path)
    database = Database(sqlite_url(path))
    yield database
    database.close()


@pytest.fixture
def repository(database: Database) -> int:
    ref = RepositoryRef(external_id="1", full_name="acme/web")
    return database.run(repositories.remember_repository, host="github", ref=ref, at=AT).id


def keep(
    database: Database,
    vault: Vault,
    value: str,
    *,
    repository: int | None = None,
    bounds: Bounds | None = None,
) -> None:
    keeper = Secrets(database=database, vault=vault, clock=lambda: AT)
    new = keeper.sealed(
        repository=repository, name="npm", value=value, bounds=bounds or Bounds(), by="ada"
    )
    database.run(secret_verbs.set_secret, new, at=AT)


def told(
    database: Database, vault: Vault, event: Event = PUSH, plan: Plan | None = None
) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    sealed = database.run(secret_verbs.sealed_secrets, 1, ["npm"])
    found = given(event, plan or planned(TEXT), sealed, vault, repository="acme/web")
    return found.values, found.refused


def test_a_step_that_names_a_secret_gets_it_and_no_other_step_does(
    database: Database, vault: Vault, repository: int
) -> None:
    keep(database, vault, "value of npm", repository=repository)
    assert told(database, vault) == ({"test.release": {"TOKEN": "value of npm"}}, {})


SERVED = """\
test:
  unit:
    image: b
    commands: c
    services: {db: {image: d, env: {PASSWORD: {from_secret: npm}}}}
"""


def test_a_secret_of_a_service_is_the_services_alone(
    database: Database, vault: Vault, repository: int
) -> None:
    keep(database, vault, "value of npm", repository=repository)
    given_to = {"test.unit/db": {"PASSWORD": "value of npm"}}
    assert told(database, vault, plan=planned(SERVED)) == (given_to, {})


def test_a_step_whose_service_lacks_its_secret_is_refused_as_a_whole(
    database: Database, vault: Vault
) -> None:
    values, refused = told(database, vault, plan=planned(SERVED))
    assert values == {}
    assert list(refused) == ["test.unit"]


def test_a_repositorys_own_secret_goes_before_the_servers(
    database: Database, vault: Vault, repository: int
) -> None:
    keep(database, vault, "of the repository", repository=repository)
    keep(database, vault, "of the server")
    assert told(database, vault)[0] == {"test.release": {"TOKEN": "of the repository"}}


def test_a_secret_that_is_set_again_is_replaced(database: Database, vault: Vault) -> None:
    keep(database, vault, "first value")
    keep(database, vault, "second value")
    assert told(database, vault)[0] == {"test.release": {"TOKEN": "second value"}}
    assert len(database.run(secret_verbs.all_secrets)) == 1


def test_a_secret_that_is_not_there_is_told_with_the_command_that_sets_it(
    database: Database, vault: Vault
) -> None:
    assert told(database, vault) == (
        {},
        {
            "test.release": "test.release cannot run: there is no secret npm: "
            "`lading secret set npm --repository acme/web`"
        },
    )


@pytest.mark.parametrize(
    ("bounds", "event", "allowed"),
    [
        (Bounds(events=(EventKind.PUSH,)), PUSH, True),
        (Bounds(events=(EventKind.TAG,)), PUSH, False),
        (Bounds(branches=("main", "release/*")), push_to("release/1"), True),
        (Bounds(branches=("main",)), push_to("dev"), False),
        (Bounds(branches=("main",)), PULL, False),
        (Bounds(steps=("test.rel*",)), PUSH, True),
        (Bounds(steps=("push.*",)), PUSH, False),
    ],
)
def test_a_secret_goes_no_further_than_its_bounds(
    database: Database, vault: Vault, bounds: Bounds, event: Event, *, allowed: bool
) -> None:
    keep(database, vault, "value of npm", bounds=bounds)
    values, refused = told(database, vault, event)
    assert bool(values) is allowed
    assert bool(refused) is not allowed


def test_a_pull_request_from_a_fork_gets_none(tmp_path: Path, vault: Vault) -> None:
    house = House(tmp_path)
    fork = PULL.model_copy(update={"from_fork": True})
    run = house.run(happening=fork)
    keep(house.database, vault, "value of npm")
    keeper = Secrets(database=house.database, vault=vault, clock=house.clock)

    found = asyncio.run(keeper.of(run, planned(TEXT)))

    assert found.values == {}
    assert "a pull request from a fork gets no secrets" in found.refused["test.release"]
    house.close()


def test_the_database_holds_no_secret_in_clear(
    database: Database, vault: Vault, tmp_path: Path
) -> None:
    keep(database, vault, "correct horse battery staple")
    database.close()
    for path in tmp_path.glob("lading.db*"):
        assert b"correct horse" not in path.read_bytes()


def test_the_key_file_is_its_owners_alone(database: Database, vault: Vault) -> None:
    keep(database, vault, "value of npm")
    assert vault.path.stat().st_mode & 0o077 == 0


def test_after_a_rotation_the_old_key_opens_nothing_and_the_new_one_all(
    database: Database, vault: Vault, tmp_path: Path
) -> None:
    keep(database, vault, "value of npm")
    old = Vault(tmp_path / "old.key")
    old.path.write_text(vault.path.read_text())

    vault.add_key()
    assert database.run(rotate, vault) == 1
    assert vault.drop_old_keys() == 1

    assert told(database, vault)[0] == {"test.release": {"TOKEN": "value of npm"}}
    with pytest.raises(VaultError, match="does not hold the key"):
        told(database, old)


def test_a_rotation_that_was_cut_off_anywhere_leaves_every_secret_readable(
    database: Database, vault: Vault
) -> None:
    keep(database, vault, "value of npm")
    vault.add_key()
    assert told(database, vault)[0] == {"test.release": {"TOKEN": "value of npm"}}
    database.run(rotate, vault)
    assert told(database, vault)[0] == {"test.release": {"TOKEN": "value of npm"}}


def test_a_key_file_that_is_lost_is_told_before_anything_runs(
    database: Database, vault: Vault
) -> None:
    keep(database, vault, "value of npm")
    database.run(refuse_lost_keys, vault)
    vault.path.unlink()
    with pytest.raises(VaultError, match="put the key file back"):
        database.run(refuse_lost_keys, vault)


def test_a_secret_that_was_changed_in_the_database_is_not_opened(
    database: Database, vault: Vault
) -> None:
    keep(database, vault, "value of npm")
    (sealed,) = database.run(secret_verbs.every_sealed)
    forged = sealed.sealed[:-1] + bytes([sealed.sealed[-1] ^ 1])
    database.run(secret_verbs.reseal, sealed.id, key=sealed.key, sealed=forged)
    with pytest.raises(VaultError, match="changed from outside"):
        told(database, vault)
