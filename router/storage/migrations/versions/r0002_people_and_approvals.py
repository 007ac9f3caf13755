"""People who act on the service, and what became of each approval."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "r0002"
down_revision = "r0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create both tables."""
    moment = sa.String(32).with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
    op.create_table(
        "people",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("roles", sa.JSON, nullable=False),
        sa.Column("prefix", sa.String(16), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False, unique=True),
        sa.Column("created", moment, nullable=False),
        sa.Column("expires", moment),
        sa.Column("ended", moment),
    )
    here = sa.text("ended IS NULL")
    op.create_index("one_person_of_an_email", "people", ["email"], unique=True, sqlite_where=here, postgresql_where=here)
    op.create_table(
        "approvals",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("app", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("session", sa.Text, nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("tools", sa.JSON, nullable=False),
        sa.Column("reasons", sa.JSON, nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("revision", sa.String(128), nullable=False),
        sa.Column("sensitivity", sa.String(32), nullable=False),
        sa.Column("asked", moment, nullable=False),
        sa.Column("expires", moment, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("decided", moment),
        sa.Column("decided_by", sa.Text),
        sa.Column("via", sa.String(16)),
        sa.Column("note", sa.Text),
        sa.Column("ended", moment),
    )
    op.create_index("ix_approvals_asked", "approvals", ["asked"])
    op.create_index("ix_approvals_session", "approvals", ["session"])
