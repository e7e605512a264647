"""Groups of runs that take turns; which repository a delivery speaks of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the change."""
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.add_column(sa.Column("repository", sa.String(length=255), nullable=True))
        batch_op.drop_index(batch_op.f("ix_deliveries_state_id"))
        batch_op.create_index(
            batch_op.f("ix_deliveries_state_host_repository_id"),
            ["state", "host", "repository", "id"],
        )
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("group_key", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("group_ref", sa.Text(), nullable=True))
        batch_op.create_index(
            batch_op.f("ix_runs_group_key_group_ref_id"), ["group_key", "group_ref", "id"]
        )
    with op.batch_alter_table("attempts", schema=None) as batch_op:
        batch_op.add_column(sa.Column("group_key", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("superseded_by", sa.Integer(), nullable=True))
        batch_op.drop_index(batch_op.f("ix_attempts_state_run"))
        batch_op.create_index(
            batch_op.f("ix_attempts_state_created_at_run_number_group_key"),
            ["state", "created_at", "run", "number", "group_key"],
        )
        batch_op.create_index(
            batch_op.f("ix_attempts_group_key_state_created_at_run"),
            ["group_key", "state", "created_at", "run"],
        )
