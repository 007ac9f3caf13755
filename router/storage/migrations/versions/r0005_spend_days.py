"""The ledger added up by day."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "r0005"
down_revision = "r0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables; the sums are made when the drainer starts."""
    words = ("app", "owner", "team", "cost_center", "purpose", "rule", "tier", "deployment", "model", "provider")
    short = {"task": 32, "sensitivity": 32, "complexity": 32, "revision": 128}
    op.create_table(
        "spend_groups",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in words),
        *(sa.Column(name, sa.String(length), nullable=False) for name, length in short.items()),
    )
    op.create_table(
        "spend_days",
        sa.Column("day", sa.String(10), primary_key=True),
        sa.Column("group_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("token_class", sa.String(16), primary_key=True),
        sa.Column("basis", sa.String(16), primary_key=True),
        sa.Column("outcome", sa.String(32), primary_key=True),
        sa.Column("correction", sa.Boolean, primary_key=True),
        sa.Column("priced", sa.Boolean, primary_key=True),
        sa.Column("lines", sa.BigInteger, nullable=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("cost_nano", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "request_days",
        sa.Column("day", sa.String(10), primary_key=True),
        sa.Column("group_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("outcome", sa.String(32), primary_key=True),
        sa.Column("requests", sa.BigInteger, nullable=False),
        sa.Column("over_hold", sa.BigInteger, nullable=False),
    )
    # A store without a ledger has its sums as they should be; for any other the drainer makes them.
    op.execute(
        "INSERT INTO store_facts (name, value) SELECT 'report_zone', 'UTC' WHERE NOT EXISTS (SELECT 1 FROM ledger_entries)"
    )
