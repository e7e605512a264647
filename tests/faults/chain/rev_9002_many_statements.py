"""Many statements, and before one of them the process dies, when told to."""

from __future__ import annotations

import os
import signal

import sqlalchemy as sa
from alembic import op

revision = "9002"
down_revision = "9001"

TABLES = 6
STATEMENTS = 2 * TABLES + 3


def upgrade() -> None:
    statements = iter(range(STATEMENTS + 1))

    def reach() -> None:
        if os.environ.get("DIES_BEFORE") == str(next(statements)):
            os.kill(os.getpid(), signal.SIGKILL)

    for number in range(TABLES):
        reach()
        op.create_table(f"many_{number}", sa.Column("id", sa.Integer(), primary_key=True))
        reach()
        op.execute(f"INSERT INTO many_{number} VALUES (1), (2), (3)")
    reach()
    op.execute("UPDATE deliveries SET event_type = 'changed'")
    reach()
    with op.batch_alter_table("tokens") as tokens:  # copies the table, row by row
        tokens.alter_column("note", new_column_name="remark", server_default="none")
    reach()
    op.drop_column("repositories", "private")
    reach()
