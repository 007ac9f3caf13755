"""How people sign in to the console: passwords, second factors, recovery codes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "r0004"
down_revision = "r0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    moment = sa.String(32).with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
    op.create_table(
        "accounts",
        sa.Column("person", sa.String(40), sa.ForeignKey("people.id"), primary_key=True),
        sa.Column("password", sa.Text, nullable=False),
        sa.Column("changed", moment, nullable=False),
        sa.Column("secret", sa.Text),
        sa.Column("secret_since", moment),
        sa.Column("recovery", sa.JSON, nullable=False),
    )
