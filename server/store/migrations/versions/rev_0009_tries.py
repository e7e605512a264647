"""Note which tries of a step failed and were followed by another."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Make the change."""
    op.add_column("steps", sa.Column("tries", sa.JSON(), nullable=True))
