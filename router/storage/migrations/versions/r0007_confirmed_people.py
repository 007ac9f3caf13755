"""People who are confirmed by a second admin."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "r0007"
down_revision = "r0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; whoever was there before waits for nobody."""
    op.add_column("people", sa.Column("added_by", sa.String(254), nullable=False, server_default=""))
    op.add_column("people", sa.Column("waits", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("people", sa.Column("confirmed_by", sa.String(254), nullable=False, server_default=""))
