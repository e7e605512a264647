"""The key that the database gave a new row."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import CursorResult


def new_key(inserted: CursorResult[Any]) -> int:
    """The integer key of the one row that an insert made."""
    key = inserted.inserted_primary_key
    if key is None:  # pragma: no cover - every table here has a key
        raise AssertionError("the insert gave no key")
    return int(key[0])
