"""Proposals of rule changes, and what a revision that is only tried would have decided otherwise."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "r0006"
down_revision = "r0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    moment = sa.String(32).with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
    op.create_table(
        "proposals",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("id", sa.String(40), nullable=False, unique=True),
        sa.Column("revision", sa.String(128), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("trial", sa.String(16)),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_index("ix_proposals_revision", "proposals", ["revision"])
    op.create_index("ix_proposals_status", "proposals", ["status"])
    op.create_table(
        "shadow_differences",
        sa.Column("request_id", sa.String(64), primary_key=True),
        sa.Column("proposal", sa.String(40), primary_key=True),
        sa.Column("at", moment, nullable=False),
        sa.Column("app", sa.Text, nullable=False),
        sa.Column("session", sa.Text, nullable=False),
        sa.Column("before", sa.Text, nullable=False),
        sa.Column("after", sa.Text, nullable=False),
    )
    op.create_index("ix_shadow_differences_proposal", "shadow_differences", ["proposal"])
    op.create_table(
        "shadow_counts",
        sa.Column("proposal", sa.String(40), primary_key=True),
        sa.Column("worker", sa.String(64), primary_key=True),
        sa.Column("compared", sa.BigInteger, nullable=False),
        sa.Column("differing", sa.BigInteger, nullable=False),
    )
