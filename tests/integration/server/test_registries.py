"""Stored registries: sealed, tried at a real registry, never shown."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Coroutine, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import pytest

from pipelines.registries.limits import RateLimit
from scripts.parts.registry import Registry
from server.actions import AwayError, ConflictError, InputsError, NotFoundError
from server.config.models import RegistrySettings
from server.registries import Login, Registries
from server.registries.accounts import Source
from server.secrets import refuse_lost_keys, rotate
from server.store import registries as verbs
from server.vault import Vault, VaultError
from tests.builders import House
from tests.parts.proxy import Proxy, proxy

T = TypeVar("T")
PASSWORD = "correct horse battery"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.close()


@pytest.fixture
def way(registry: Registry) -> Iterator[Proxy]:
    with proxy(registry.address) as way:
        yield way


def do(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def login(host: str, **changes: object) -> Login:
    known = {"host": host, "username": "lading", "password": PASSWORD, "probe": "acme/web"}
    return Login.model_validate({**known, **changes})


def test_a_login_is_stored_sealed_and_runs_have_it(house: House, registry: Registry) -> None:
    place = do(house.registries.add(login(registry.address), by="ada", guarded=False))

    assert place.checked_at == house.clock()
    assert house.registries.logins[registry.address].password == PASSWORD
    for path in house.data.glob("lading.db*"):
        assert PASSWORD.encode() not in path.read_bytes()
    assert PASSWORD not in f"{place!r} {place}"


def test_a_login_that_may_not_push_is_not_stored(house: House, registry: Registry) -> None:
    with pytest.raises(ConflictError, match="refused the login"):
        do(
            house.registries.add(
                login(registry.address, password="wrong password"), by="ada", guarded=False
            )
        )

    assert do(house.registries.places()) == {}


def test_a_registry_that_does_not_answer_is_told_from_one_that_refuses(
    house: House, way: Proxy
) -> None:
    way.go_down()

    with pytest.raises(AwayError, match="unavailable"):
        do(house.registries.add(login(way.address), by="ada", guarded=False))


def test_a_login_can_be_stored_unasked(house: House, way: Proxy) -> None:
    way.go_down()

    place = do(house.registries.add(login(way.address), by="ada", guarded=False, check=False))

    assert place.checked_at is None


def test_trying_begins_an_upload_and_gives_it_up(house: House, way: Proxy) -> None:
    do(house.registries.add(login(way.address), by="ada", guarded=False))

    posted, deleted = [line.split(" ") for line in way.requests[-2:]]
    assert posted == ["POST", "/v2/acme/web/blobs/uploads/"]
    assert deleted[0] == "DELETE"
    assert deleted[1].startswith("/v2/acme/web/blobs/uploads/")


def test_a_login_that_is_refused_later_is_seen_in_the_list(house: House, way: Proxy) -> None:
    do(house.registries.add(login(way.address), by="ada", guarded=False))
    do(
        house.registries.add(
            login(way.address, password="changed since"), by="ada", guarded=False, check=False
        )
    )

    with pytest.raises(ConflictError):
        do(house.registries.test(way.address))

    assert "refused the login" in str(do(house.registries.places())[way.address].fault)


def test_where_nothing_was_pushed_yet_a_repository_must_be_named(
    house: House, registry: Registry
) -> None:
    with pytest.raises(InputsError, match="--repository"):
        do(house.registries.add(login(registry.address, probe=None), by="ada", guarded=False))


@pytest.mark.parametrize(
    "host", ["", "ghcr", "https://ghcr.io", "ghcr.io/acme", "ada@ghcr.io", "ghcr.io:x", "a b.io"]
)
def test_what_is_no_host_is_refused(house: House, host: str) -> None:
    with pytest.raises(InputsError, match="no registry's host"):
        do(house.registries.add(login(host), by="ada", guarded=False, check=False))


@pytest.mark.parametrize("host", ["127.0.0.1:9", "localhost:9", "[::1]:9", "169.254.169.254:80"])
def test_a_host_that_a_stranger_names_must_not_lead_inside(house: House, host: str) -> None:
    registries = Registries(
        database=house.database,
        vault=Vault(house.data / "secrets.key"),
        clock=house.clock,
        settings={},
    )

    with pytest.raises(InputsError, match=r"network\.private"):
        do(registries.add(login(host), by="ada", guarded=True, check=False))


def test_a_private_network_that_the_configuration_allows_is_no_fault(
    house: House, registry: Registry
) -> None:
    do(house.registries.add(login(registry.address), by="ada", guarded=True))

    assert do(house.registries.test(registry.address)).endswith("may push to acme/web")


def test_the_configuration_wins_and_cannot_be_changed_from_here(
    house: House, registry: Registry
) -> None:
    do(house.registries.add(login(registry.address, username="x"), by="ada", guarded=False,
                            check=False))  # fmt: skip
    settings = RegistrySettings.model_validate({"username": "lading", "password": PASSWORD})
    registries = Registries(
        database=house.database,
        vault=Vault(house.data / "secrets.key"),
        clock=house.clock,
        settings={registry.address: settings},
    )

    do(registries.refresh())

    assert registries.logins[registry.address].username == "lading"
    assert do(registries.places())[registry.address].source is Source.CONFIG
    for change in (
        registries.add(login(registry.address), by="ada", guarded=False),
        registries.remove(registry.address),
    ):
        with pytest.raises(ConflictError, match=r"config\.toml"):
            do(change)


def test_a_login_that_is_removed_is_gone(house: House, registry: Registry) -> None:
    do(house.registries.add(login(registry.address), by="ada", guarded=False))

    do(house.registries.remove(registry.address))

    assert registry.address not in house.registries.logins
    with pytest.raises(NotFoundError):
        do(house.registries.remove(registry.address))
    with closing(sqlite3.connect(house.data / "lading.db")) as conn:
        assert conn.execute("SELECT count(*) FROM registries").fetchone() == (0,)


def test_a_new_key_opens_a_registrys_login_and_the_old_one_does_not(
    house: House, registry: Registry
) -> None:
    do(house.registries.add(login(registry.address), by="ada", guarded=False))
    vault = Vault(house.data / "secrets.key")
    (before,) = house.database.run(verbs.all_registries)

    vault.add_key()
    assert house.database.run(rotate, vault) == 1
    vault.drop_old_keys()

    (after,) = house.database.run(verbs.all_registries)
    assert after.key != before.key
    assert do(house.registries.places())[registry.address].account.password == PASSWORD
    with pytest.raises(VaultError):
        vault.open(before.key, before.sealed)


def test_a_start_without_the_key_of_a_login_is_refused(house: House, registry: Registry) -> None:
    do(house.registries.add(login(registry.address), by="ada", guarded=False))
    (house.data / "secrets.key").unlink()

    with pytest.raises(VaultError, match="lading registry"):
        house.database.run(refuse_lost_keys, Vault(house.data / "secrets.key"))


def test_a_rate_limit_is_kept_for_showing(house: House, registry: Registry) -> None:
    do(house.registries.add(login(registry.address), by="ada", guarded=False))
    limit = RateLimit(limit=200, remaining=180, window=21600)
    house.database.run(verbs.limit_seen, registry.address, limit, at=house.clock())

    shown = do(house.registries.places())[registry.address].limit

    assert shown is not None
    assert shown.sentence == "180 of 200 pulls left in 6 h"
