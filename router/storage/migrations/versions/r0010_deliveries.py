"""Deliveries of reports: which periods were delivered, and what became of the others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "r0010"
down_revision = "r0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    moment = sa.String(32).with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
    op.create_table(
        "report_deliveries",
        sa.Column("delivery", sa.String(64), primary_key=True),
        sa.Column("period", sa.String(16), primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_at", moment),
        sa.Column("finished_at", moment),
        sa.Column("rows", sa.BigInteger),
        sa.Column("total_nano", sa.BigInteger),
        sa.Column("sha256", sa.String(64)),
        sa.Column("error", sa.Text),
    )
