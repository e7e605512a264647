"""Remember heads, redeliveries that were asked for, and hosts that want to be left alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from server.store.tables import Instant

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the change."""
    _heads()
    _asked_deliveries()
    _pauses()
    op.add_column("deliveries", sa.Column("found", sa.String(length=20), nullable=True))
    op.add_column("repositories", sa.Column("heads_at", Instant(), nullable=True))
    _happenings()


def _heads() -> None:
    op.create_table(
        "heads",
        sa.Column("repository", sa.Integer(), nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.Column("object", sa.String(length=64), nullable=False),
        sa.Column("seen_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["repository"], ["repositories.id"], name=op.f("fk_heads_repository")
        ),
        sa.PrimaryKeyConstraint("repository", "ref", name=op.f("pk_heads")),
    )


def _asked_deliveries() -> None:
    op.create_table(
        "asked_deliveries",
        sa.Column("host", sa.String(length=100), nullable=False),
        sa.Column("delivery_id", sa.String(length=255), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.Column("asked_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("host", "delivery_id", name=op.f("pk_asked_deliveries")),
    )


def _pauses() -> None:
    op.create_table(
        "pauses",
        sa.Column("host", sa.String(length=100), nullable=False),
        sa.Column("repository", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("since", Instant(), nullable=False),
        sa.Column("until", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("host", "repository", "kind", name=op.f("pk_pauses")),
    )


def _happenings() -> None:
    """What a decision is about, so that it is found by ref and commit."""
    op.add_column("decisions", sa.Column("ref", sa.Text(), nullable=True))
    op.add_column("decisions", sa.Column("sha", sa.String(length=64), nullable=True))
    op.execute(
        "UPDATE decisions SET ref = json_extract(event, '$.ref'), "
        "sha = json_extract(event, '$.sha') WHERE json_type(event) = 'object'"
    )
    op.create_index(op.f("ix_decisions_repository_ref"), "decisions", ["repository", "ref"])


def downgrade() -> None:
    """Take it back."""
    op.drop_index(op.f("ix_decisions_repository_ref"), "decisions")
    op.drop_column("decisions", "sha")
    op.drop_column("decisions", "ref")
    op.drop_column("repositories", "heads_at")
    op.drop_column("deliveries", "found")
    for table in ("pauses", "asked_deliveries", "heads"):
        op.drop_table(table)
