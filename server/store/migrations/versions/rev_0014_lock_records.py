"""Keep with each image version what it was made from, and how far it was made again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from server.store.tables import Instant

revision = "0014"
down_revision = "0011"


def upgrade() -> None:
    """Make the change."""
    op.add_column("image_versions", sa.Column("lock", sa.JSON(), nullable=True))
    op.add_column("image_versions", sa.Column("level", sa.String(length=2), nullable=True))
    op.add_column("image_versions", sa.Column("verified_at", Instant(), nullable=True))
