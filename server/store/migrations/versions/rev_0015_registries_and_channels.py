"""Keep registries' logins, channels, and each move of one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from server.store.tables import Instant

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Make the change."""
    _registries()
    _channels()
    _moves()
    op.create_table(
        "image_contents",
        sa.Column("digest", sa.String(length=80), nullable=False),
        sa.Column("parts", sa.JSON(), nullable=False),
        sa.Column("seen_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_image_contents")),
    )
    op.create_table(
        "announcements",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("move", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("due_at", Instant(), nullable=True),
        sa.Column("told_at", Instant(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("name", "move", name=op.f("pk_announcements")),
    )


def _registries() -> None:
    op.create_table(
        "registries",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("kind", sa.String(length=30), nullable=False),
        sa.Column("key", sa.String(length=12), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("creates", sa.Boolean(), nullable=False),
        sa.Column("insecure", sa.Boolean(), nullable=False),
        sa.Column("guarded", sa.Boolean(), nullable=False),
        sa.Column("probe", sa.Text(), nullable=True),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("changed_at", Instant(), nullable=False),
        sa.Column("checked_at", Instant(), nullable=True),
        sa.Column("fault", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_registries")),
        sa.UniqueConstraint("host", name=op.f("uq_registries_host")),
    )
    op.create_table(
        "registry_limits",
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("most", sa.Integer(), nullable=False),
        sa.Column("remaining", sa.Integer(), nullable=False),
        sa.Column("window", sa.Integer(), nullable=True),
        sa.Column("seen_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("host", name=op.f("pk_registry_limits")),
    )


def _channels() -> None:
    op.create_table(
        "channels",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("image", sa.Text(), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("digest", sa.String(length=80), nullable=False),
        sa.Column("moved_at", Instant(), nullable=False),
        sa.Column("paused_at", Instant(), nullable=True),
        sa.Column("paused_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_channels")),
        sa.UniqueConstraint("image", "name", name=op.f("uq_channels_image_name")),
    )


def _moves() -> None:
    op.create_table(
        "channel_moves",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("image", sa.Text(), nullable=False),
        sa.Column("channel", sa.String(length=128), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("from_digest", sa.String(length=80), nullable=True),
        sa.Column("digest", sa.String(length=80), nullable=False),
        sa.Column("run", sa.Integer(), nullable=True),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("ended_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_channel_moves")),
    )
    op.create_index(
        op.f("ix_channel_moves_image_channel_id"), "channel_moves", ["image", "channel", "id"]
    )
    op.create_index(op.f("ix_channel_moves_digest"), "channel_moves", ["digest"])
    op.create_index(
        "uq_channel_moves_under_way",
        "channel_moves",
        ["image", "channel"],
        unique=True,
        sqlite_where=sa.text("state = 'moving'"),
        postgresql_where=sa.text("state = 'moving'"),
    )
