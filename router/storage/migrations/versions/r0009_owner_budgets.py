"""Raises of owners' budgets, and what was told of their thresholds."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "r0009"
down_revision = "r0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    moment = sa.String(32).with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
    op.create_table(
        "budget_raises",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("per", sa.String(16), nullable=False),
        sa.Column("amount_nano", sa.BigInteger),
        sa.Column("percent", sa.Integer),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("asked_by", sa.Text, nullable=False),
        sa.Column("asked_at", moment, nullable=False),
        sa.Column("ends", moment, nullable=False),
        sa.Column("approved_by", sa.Text),
        sa.Column("approved_at", moment),
        sa.Column("ended_by", sa.Text),
        sa.Column("ended_at", moment),
    )
    op.create_index("ix_budget_raises_ends", "budget_raises", ["ends"])
    op.create_table(
        "budget_notices",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("period", sa.String(32), nullable=False),
        sa.Column("threshold", sa.String(16), nullable=False),
        sa.Column("channel", sa.String(16), nullable=False),
        sa.Column("recipients", sa.Text, nullable=False),
        sa.Column("at", moment, nullable=False),
        sa.Column("reached_nano", sa.BigInteger, nullable=False),
        sa.Column("spent_nano", sa.BigInteger, nullable=False),
        sa.Column("limit_nano", sa.BigInteger),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_at", moment),
        sa.Column("delivered_at", moment),
        sa.Column("error", sa.String(64)),
    )
    op.create_index("ux_budget_notices_once", "budget_notices", ["owner", "period", "threshold", "channel"], unique=True)
    op.create_index("ix_budget_notices_next_at", "budget_notices", ["next_at"])
