"""Verbs on secrets; what they hold is sealed (`server.vault`)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from server.store.keys import new_key
from server.store.rows import NewSecret, SealedSecret, SecretRow
from server.store.tables import repositories, secrets

_SHOWN = [column for column in secrets.c if column.name not in ("sealed", "key")]


def set_secret(conn: Connection, new: NewSecret, *, at: datetime) -> int:
    """Store a secret, in place of the one of that name and scope where there is one; its id."""
    same = sa.and_(_scope(new.repository), secrets.c.name == new.name)
    values = {**new.model_dump(), "changed_at": at}
    changed = conn.execute(
        sa.update(secrets).where(same).values(**values).returning(secrets.c.id)
    ).scalar()
    if changed is not None:
        return int(changed)
    return new_key(conn.execute(sa.insert(secrets).values(created_at=at, **values)))


def all_secrets(conn: Connection) -> list[SecretRow]:
    """Every secret without what it holds: the server's first, then by repository and name."""
    query = (
        sa.select(*_SHOWN, repositories.c.host, repositories.c.full_name)
        .join(repositories, repositories.c.id == secrets.c.repository, isouter=True)
        .order_by(repositories.c.full_name.is_not(None), repositories.c.full_name, secrets.c.name)
    )
    return [SecretRow(**row._mapping) for row in conn.execute(query)]  # noqa: SLF001


def sealed_secrets(conn: Connection, repository: int, names: Iterable[str]) -> list[SealedSecret]:
    """The secrets of those names that a repository may have: the server's, then its own."""
    query = (
        sa.select(secrets)
        .where(
            sa.or_(secrets.c.repository.is_(None), secrets.c.repository == repository),
            secrets.c.name.in_(list(names)),
        )
        .order_by(secrets.c.repository.is_not(None))
    )
    return [SealedSecret(**row._mapping) for row in conn.execute(query)]  # noqa: SLF001


def remove_secret(conn: Connection, *, name: str, repository: int | None) -> bool:
    """Remove a secret; False where there is none of that name and scope."""
    same = sa.and_(_scope(repository), secrets.c.name == name)
    return conn.execute(sa.delete(secrets).where(same)).rowcount > 0


def keys_in_use(conn: Connection) -> list[str]:
    """The ids of the keys that secrets are sealed with."""
    return [str(key) for key in conn.execute(sa.select(secrets.c.key).distinct()).scalars()]


def every_sealed(conn: Connection) -> list[SealedSecret]:
    """Every secret as it is sealed, for sealing it anew."""
    return [SealedSecret(**row._mapping) for row in conn.execute(sa.select(secrets))]  # noqa: SLF001


def reseal(conn: Connection, id: int, *, key: str, sealed: bytes) -> None:  # noqa: A002
    """The same secret, sealed with another key."""
    conn.execute(sa.update(secrets).where(secrets.c.id == id).values(key=key, sealed=sealed))


def _scope(repository: int | None) -> sa.ColumnElement[bool]:
    if repository is None:
        return secrets.c.repository.is_(None)
    return secrets.c.repository == repository
