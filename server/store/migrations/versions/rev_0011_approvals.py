"""Keep what people were asked to approve, and whose pull requests must be."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from server.store.tables import Instant

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Make the change."""
    op.add_column("runs", sa.Column("stranger", sa.Text(), nullable=True))
    op.create_table(
        "approvals",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("step", sa.String(length=200), nullable=True),
        sa.Column("repository", sa.Integer(), nullable=False),
        sa.Column("sha", sa.String(length=64), nullable=False),
        sa.Column("stranger", sa.Text(), nullable=True),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column("asked_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=True),
        sa.Column("verdict", sa.String(length=20), nullable=True),
        sa.Column("answered_by", sa.Text(), nullable=True),
        sa.Column("answered_at", Instant(), nullable=True),
        sa.ForeignKeyConstraint(
            ["repository"], ["repositories.id"], name=op.f("fk_approvals_repository")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approvals")),
    )
    op.create_index(op.f("ix_approvals_run_attempt"), "approvals", ["run", "attempt"])
    op.create_index(op.f("ix_approvals_repository_sha"), "approvals", ["repository", "sha"])
    op.create_index(op.f("ix_approvals_verdict_expires_at"), "approvals", ["verdict", "expires_at"])
