"""Count what operators ask for, and note what was removed for its age."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from server.store.tables import Instant

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the change."""
    op.create_table(
        "tallies",
        sa.Column("name", sa.String(length=50), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("last_at", Instant(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_tallies")),
    )
    op.add_column("deliveries", sa.Column("emptied_at", Instant(), nullable=True))
    # What is removed is looked for by these; without them each removal would read whole tables.
    op.create_index(op.f("ix_decisions_duplicate_of"), "decisions", ["duplicate_of"])
    op.create_index(op.f("ix_statuses_run"), "statuses", ["run"])
    op.add_column("attempts", sa.Column("output_removed_at", Instant(), nullable=True))
