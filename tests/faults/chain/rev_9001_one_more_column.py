"""A small change that is whole before the large one begins."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from server.store.migrations import HEAD

revision = "9001"
down_revision = HEAD


def upgrade() -> None:
    op.add_column("tokens", sa.Column("note", sa.Text(), nullable=True))
