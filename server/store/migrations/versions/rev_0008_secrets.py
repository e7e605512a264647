"""Keep secrets, and when schedules come next."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from server.store.tables import Instant

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Make the change."""
    op.create_table(
        "timetable",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("repository", sa.Integer(), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("pipeline", sa.String(length=100), nullable=False),
        sa.Column("cron", sa.Text(), nullable=False),
        sa.Column("timezone", sa.String(length=100), nullable=False),
        sa.Column("missed", sa.String(length=20), nullable=False),
        sa.Column("next_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["repository"], ["repositories.id"], name=op.f("fk_timetable_repository")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_timetable")),
        sa.UniqueConstraint(
            "repository",
            "file",
            "cron",
            "timezone",
            name=op.f("uq_timetable_repository_file_cron_timezone"),
        ),
    )
    op.create_index(op.f("ix_timetable_next_at"), "timetable", ["next_at"])
    op.create_table(
        "secrets",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("repository", sa.Integer(), nullable=True),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("key", sa.String(length=12), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("events", sa.JSON(), nullable=False),
        sa.Column("branches", sa.JSON(), nullable=False),
        sa.Column("steps", sa.JSON(), nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("changed_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["repository"], ["repositories.id"], name=op.f("fk_secrets_repository")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_secrets")),
        sa.UniqueConstraint("repository", "name", name=op.f("uq_secrets_repository_name")),
    )
    op.create_index(
        "uq_secrets_name_of_server",
        "secrets",
        ["name"],
        unique=True,
        sqlite_where=sa.text("repository IS NULL"),
        postgresql_where=sa.text("repository IS NULL"),
    )
