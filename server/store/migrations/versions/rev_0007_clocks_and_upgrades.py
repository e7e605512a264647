"""Note when steps began on a clock that nobody sets, since when statuses wait, and who upgraded."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from server.store.tables import Instant

revision = "0007"
down_revision = "0005"


def upgrade() -> None:
    """Make the change."""
    op.add_column("steps", sa.Column("started_uptime", sa.JSON(), nullable=True))
    op.add_column("statuses", sa.Column("waits_since", Instant(), nullable=True))
    op.create_table(
        "upgrades",
        sa.Column("revision", sa.String(length=32), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("revision", name=op.f("pk_upgrades")),
    )
