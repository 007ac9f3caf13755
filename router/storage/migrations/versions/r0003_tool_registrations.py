"""Tools that somebody asked for and nobody had registered."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "r0003"
down_revision = "r0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    moment = sa.String(32).with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
    op.create_table(
        "tool_registrations",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("server", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("suggestion", sa.JSON, nullable=False),
        sa.Column("apps", sa.JSON, nullable=False),
        sa.Column("first_seen", moment, nullable=False),
        sa.Column("last_seen", moment, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("decided_by", sa.Text),
        sa.Column("decided", moment),
        sa.Column("revision", sa.String(128)),
    )
    op.create_index("ix_tool_registrations_status", "tool_registrations", ["status"])
