"""Verbs on registries; their logins are sealed (`server.vault`)."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from pydantic import AwareDatetime
from sqlalchemy.engine import Connection

from pipelines.registries.limits import RateLimit
from pipelines.values import Value
from server.store.keys import new_key
from server.store.tables import image_versions, registries, registry_limits


class NewRegistry(Value):
    """A registry to store, with its login sealed."""

    host: str
    """As it stands in front of an image's name: `ghcr.io`."""
    kind: str
    key: str
    """The id of the key that the login is sealed with."""
    sealed: bytes
    creates: bool = False
    """Whether repositories that are not there shall be made."""
    insecure: bool = False
    """Whether it may be spoken to without TLS, or without a certificate that holds."""
    guarded: bool = False
    """Whether only addresses that strangers may name may be connected to: it came by the API."""
    probe: str | None = None
    """A repository that the login may push to, without the host; its permission is tried there."""
    changed_by: str


class RegistryRow(NewRegistry):
    """A stored registry."""

    id: int
    changed_at: AwareDatetime
    checked_at: AwareDatetime | None
    """When its login was last tried."""
    fault: str | None
    """What came of that; None: it was taken."""


class SeenLimit(RateLimit):
    """The rate limit that a registry told last."""

    host: str
    seen_at: AwareDatetime


def set_registry(conn: Connection, new: NewRegistry, *, at: datetime, checked: bool) -> int:
    """Store a registry, in place of the one of that host where there is one; its id."""
    values = {
        **new.model_dump(),
        "changed_at": at,
        "checked_at": at if checked else None,
        "fault": None,
    }
    same = registries.c.host == new.host
    changed = conn.execute(
        sa.update(registries).where(same).values(**values).returning(registries.c.id)
    ).scalar()
    if changed is not None:
        return int(changed)
    return new_key(conn.execute(sa.insert(registries).values(**values)))


def all_registries(conn: Connection) -> list[RegistryRow]:
    """Every stored registry, by host."""
    query = sa.select(registries).order_by(registries.c.host)
    return [RegistryRow(**row._mapping) for row in conn.execute(query)]  # noqa: SLF001


def remove_registry(conn: Connection, host: str) -> bool:
    """Forget a registry; False where none of that host is stored."""
    return conn.execute(sa.delete(registries).where(registries.c.host == host)).rowcount > 0


def registry_checked(conn: Connection, host: str, *, fault: str | None, at: datetime) -> None:
    """Note what came of trying a registry's login."""
    conn.execute(
        sa.update(registries).where(registries.c.host == host).values(checked_at=at, fault=fault)
    )


def newest_image_at(conn: Connection, host: str) -> str | None:
    """The image that was pushed last to a registry: `ghcr.io/acme/web`."""
    query = (
        sa.select(image_versions.c.image)
        .where(image_versions.c.image.startswith(f"{host}/", autoescape=True))
        .order_by(image_versions.c.id.desc())
        .limit(1)
    )
    return conn.execute(query).scalar()


def limit_seen(conn: Connection, host: str, limit: RateLimit, *, at: datetime) -> None:
    """Keep what a registry told last of its rate limit."""
    conn.execute(sa.delete(registry_limits).where(registry_limits.c.host == host))
    conn.execute(
        sa.insert(registry_limits).values(
            host=host,
            most=limit.limit,
            remaining=limit.remaining,
            window=limit.window,
            seen_at=at,
        )
    )


def limits(conn: Connection) -> dict[str, SeenLimit]:
    """The rate limits that registries told last, by host."""
    return {
        row.host: SeenLimit(
            host=row.host,
            limit=row.most,
            remaining=row.remaining,
            window=row.window,
            seen_at=row.seen_at,
        )
        for row in conn.execute(sa.select(registry_limits))
    }


def registry_keys_in_use(conn: Connection) -> list[str]:
    """The ids of the keys that logins are sealed with."""
    return [str(key) for key in conn.execute(sa.select(registries.c.key).distinct()).scalars()]


def reseal_registry(conn: Connection, host: str, *, key: str, sealed: bytes) -> None:
    """The same login, sealed with another key."""
    conn.execute(
        sa.update(registries).where(registries.c.host == host).values(key=key, sealed=sealed)
    )
