"""Where the rows are."""

from __future__ import annotations

from server.config import Settings
from server.store.database import sqlite_url


def database_url(settings: Settings) -> str:
    """The SQLAlchemy URL of the configured database; by default SQLite in the data folder."""
    url = settings.database.url
    return url.get_secret_value() if url else sqlite_url(settings.server.data / "lading.db")
