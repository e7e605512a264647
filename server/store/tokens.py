"""Verbs on API tokens."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from server.store.keys import new_key
from server.store.rows import TokenRow
from server.store.tables import tokens

_SHOWN = [column for column in tokens.c if column.name != "hash"]


def add_token(
    conn: Connection, *, name: str, token_hash: str, at: datetime, expires_at: datetime | None
) -> int:
    """Store a token's hash.

    Raises:
        sqlalchemy.exc.IntegrityError: The name is taken.
    """
    inserted = conn.execute(
        sa.insert(tokens).values(name=name, hash=token_hash, created_at=at, expires_at=expires_at)
    )
    return new_key(inserted)


def token_by_hash(conn: Connection, token_hash: str, *, now: datetime) -> TokenRow | None:
    """The token with that hash, if it has not expired."""
    query = sa.select(*_SHOWN).where(
        tokens.c.hash == token_hash,
        sa.or_(tokens.c.expires_at.is_(None), tokens.c.expires_at > now),
    )
    row = conn.execute(query).one_or_none()
    return None if row is None else TokenRow(**row._mapping)  # noqa: SLF001


def all_tokens(conn: Connection) -> list[TokenRow]:
    """Every token, by name."""
    return [
        TokenRow(**row._mapping)  # noqa: SLF001
        for row in conn.execute(sa.select(*_SHOWN).order_by(tokens.c.name))
    ]


def remove_token(conn: Connection, name: str) -> bool:
    """Revoke a token; False where there is none of that name."""
    return conn.execute(sa.delete(tokens).where(tokens.c.name == name)).rowcount > 0
