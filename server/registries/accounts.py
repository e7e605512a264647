"""What is known of one registry, and how its login is kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from pipelines.references import is_repository
from pipelines.registries.kinds import Account, kind_of
from pipelines.registries.limits import RateLimit
from pipelines.registries.names import Repository
from pipelines.values import Value
from server.actions import InputsError
from server.config.models import RegistrySettings
from server.store.registries import NewRegistry, RegistryRow
from server.vault import Vault

MOST = 16 * 1024
"""Bytes of a login."""


class Source(StrEnum):
    """Where a login stands."""

    CONFIG = "config.toml"
    STORED = "stored"


class Login(Value):
    """A login as somebody gives it, to be stored."""

    host: str
    kind: str | None = None
    """None: as the host's name tells."""
    username: str = ""
    password: str = ""
    creates: bool = False
    insecure: bool = False
    probe: str | None = None
    """A repository that it may push to, without the host."""

    def __repr__(self) -> str:
        """Without the password: values end up in logs."""
        return f"Login(host={self.host!r})"

    __str__ = __repr__


class Place(Value):
    """One registry, without the login's password."""

    account: Account
    kind: str
    source: Source
    insecure: bool = False
    guarded: bool = False
    probe: str | None = None
    changed_by: str | None = None
    changed_at: datetime | None = None
    checked_at: datetime | None = None
    fault: str | None = None
    limit: RateLimit | None = None

    @property
    def host(self) -> str:
        """As it stands in front of an image's name."""
        return self.account.host


def host_named(text: str) -> str:
    """A registry's host as it stands in front of an image's name.

    Raises:
        InputsError: It cannot be one.
    """
    if "/" in text or not is_repository(f"{text}/x"):
        raise InputsError(
            f"{text[:100]!r} is no registry's host: give it as it stands in front of an image's "
            "name, like ghcr.io, docker.io or registry.example.com:5000"
        )
    return Repository.parse(f"{text}/x").host


def sealed(login: Login, vault: Vault, *, by: str, guarded: bool) -> NewRegistry:
    """A login ready to be stored.

    Raises:
        InputsError: It cannot be one of its kind.
        KindError: There is no such kind.
        VaultError: The key file cannot be used.
    """
    host = host_named(login.host)
    kind = kind_of(host, login.kind)
    account = account_of(login, host)
    fault = kind.fault(account)
    if fault is not None:
        raise InputsError(f"{kind.title} at {host}: {fault}")
    text = json.dumps({"username": login.username, "password": login.password})
    if len(text.encode()) > MOST or not (login.username + login.password).isprintable():
        raise InputsError("user and password are texts of one line: check what was given")
    if login.probe is not None and not is_repository(f"{host}/{login.probe}"):
        raise InputsError(
            f"{login.probe[:100]!r} is no repository: give its path without the host, like acme/web"
        )
    key, data = vault.seal(text)
    return NewRegistry(
        host=host,
        kind=kind.name,
        key=key,
        sealed=data,
        creates=login.creates,
        insecure=login.insecure,
        guarded=guarded,
        probe=login.probe,
        changed_by=by,
    )


def account_of(login: Login, host: str) -> Account:
    """The account that a login is about."""
    return Account(
        host=host, username=login.username, password=login.password, create=login.creates
    )


def stored(row: RegistryRow, vault: Vault) -> Place:
    """A stored registry, opened.

    Raises:
        VaultError: The key file does not open it.
    """
    told = json.loads(vault.open(row.key, row.sealed))
    return Place(
        account=Account(host=row.host, create=row.creates, **told),
        kind=row.kind,
        source=Source.STORED,
        **row.model_dump(
            include={
                "insecure", "guarded", "probe", "changed_by", "changed_at", "checked_at", "fault",
            }
        ),
    )  # fmt: skip


def configured(settings: Mapping[str, RegistrySettings]) -> dict[str, Place]:
    """The registries of the configuration, by host."""
    found = {}
    for name, one in settings.items():
        host = Repository.parse(f"{name}/x").host
        kind = kind_of(host)
        # A token of AWS that somebody else fetched, as it was written before keys were.
        as_it_is = kind.name == "ecr" and one.username == "AWS"
        found[host] = Place(
            account=Account(
                host=host,
                username=one.username,
                password=one.password.get_secret_value(),
                create=one.create_repositories,
            ),
            kind="oci" if as_it_is else kind.name,
            source=Source.CONFIG,
            insecure=one.insecure,
        )
    return found
