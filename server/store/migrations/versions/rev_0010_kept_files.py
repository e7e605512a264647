"""What steps leave: artifacts and test reports."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from server.store.tables import Instant

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Make the change."""
    op.create_table(
        "kept",
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("step", sa.String(length=200), nullable=False),
        sa.Column("files", sa.Integer(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("stored", sa.BigInteger(), nullable=False),
        sa.Column("notes", sa.JSON(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=True),
        sa.Column("failed", sa.Integer(), nullable=True),
        sa.Column("errors", sa.Integer(), nullable=True),
        sa.Column("skipped", sa.Integer(), nullable=True),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.Column("removed_at", Instant(), nullable=True),
        sa.ForeignKeyConstraint(
            ["run", "attempt"],
            ["attempts.run", "attempts.number"],
            name=op.f("fk_kept_run"),
        ),
        sa.PrimaryKeyConstraint("run", "attempt", "step", name=op.f("pk_kept")),
    )
    op.create_index(op.f("ix_kept_expires_at"), "kept", ["expires_at"])
