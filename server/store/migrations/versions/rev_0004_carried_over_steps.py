"""Steps that an attempt carries over from an earlier one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the change."""
    op.add_column("steps", sa.Column("carried_from", sa.Integer(), nullable=True))
