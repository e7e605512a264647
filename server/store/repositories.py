"""Verbs on repositories."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Connection

from server.hosts.port import RepositoryRef
from server.store.rows import RepositoryRow
from server.store.tables import repositories


def remember_repository(
    conn: Connection, *, host: str, ref: RepositoryRef, at: datetime
) -> RepositoryRow:
    """The row of a repository, made or brought up to date from an authentic payload."""
    known = {
        "full_name": ref.full_name,
        "default_branch": ref.default_branch,
        "private": ref.private,
    }
    row = conn.execute(
        sqlite.insert(repositories)
        .values(host=host, external_id=ref.external_id, created_at=at, **known)
        .on_conflict_do_update(index_elements=["host", "external_id"], set_=known)
        .returning(*repositories.c)
    ).one()
    return RepositoryRow(**row._mapping)  # noqa: SLF001 - the documented name of a row's mapping


def repository_of(conn: Connection, *, host: str, external_id: str) -> RepositoryRow | None:
    """The repository of that id on its host."""
    query = sa.select(repositories).where(
        repositories.c.host == host, repositories.c.external_id == external_id
    )
    row = conn.execute(query).one_or_none()
    return None if row is None else RepositoryRow(**row._mapping)  # noqa: SLF001


def repository(conn: Connection, id: int) -> RepositoryRow | None:  # noqa: A002
    """One repository."""
    row = conn.execute(sa.select(repositories).where(repositories.c.id == id)).one_or_none()
    return None if row is None else RepositoryRow(**row._mapping)  # noqa: SLF001


def repositories_named(conn: Connection, full_name: str) -> Sequence[RepositoryRow]:
    """Repositories of that name, one for each host that has one."""
    query = sa.select(repositories).where(repositories.c.full_name == full_name)
    return [RepositoryRow(**row._mapping) for row in conn.execute(query)]  # noqa: SLF001


def all_repositories(conn: Connection) -> Sequence[RepositoryRow]:
    """Every repository, by name."""
    query = sa.select(repositories).order_by(repositories.c.full_name)
    return [RepositoryRow(**row._mapping) for row in conn.execute(query)]  # noqa: SLF001
