"""What finance asks of the ledger: units, list prices and price books, when a use was, what an app wished for, months that close."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "r0008"
down_revision = "r0007"
branch_labels = None
depends_on = None

MOMENT = sa.String(32).with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
UNKNOWN = "unknown"
ROWS = 2_000


def upgrade() -> None:
    """Add the columns, fill them from the evidence, and have the sums by day made anew when the drainer starts."""
    for name, length in (("asked_model", None), ("impact", 32), ("latency_class", 32)):
        kind = sa.String(length) if length else sa.Text()
        op.add_column("ledger_entries", sa.Column(name, kind, nullable=False, server_default=UNKNOWN))
    for name in ("router_us", "upstream_us"):
        op.add_column("ledger_entries", sa.Column(name, sa.BigInteger, nullable=False, server_default="0"))
    _lines()
    _days()
    op.create_table(
        "finance_periods",
        sa.Column("month", sa.String(7), primary_key=True),
        sa.Column("begins", MOMENT, nullable=False),
        sa.Column("ends", MOMENT, nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("total_nano", sa.BigInteger),
        sa.Column("digest", sa.String(64)),
        sa.Column("document", sa.Text),
        sa.Column("version", sa.Integer, nullable=False, server_default="1"),
        sa.Column("closed_by", sa.Text),
        sa.Column("closed_at", MOMENT),
        sa.Column("asked_by", sa.Text),
    )
    _from_evidence(op.get_bind())


def _lines() -> None:
    """The lines are copied: SQLite can neither widen a column nor forbid NULL in one that is there."""
    kept = (
        ("request_id", sa.String(64)),
        ("line", sa.Integer),
        ("at", MOMENT),
        ("attempt", sa.Integer),
        ("deployment", sa.Text),
        ("provider", sa.Text),
        ("model", sa.Text),
        ("token_class", sa.String(32)),
        ("quantity", sa.BigInteger),
        ("unit_price", sa.BigInteger),
        ("cost_nano", sa.BigInteger),
        ("basis", sa.String(16)),
        ("outcome", sa.String(32)),
        ("price_source", sa.Text),
        ("correction", sa.Boolean),
    )
    op.rename_table("ledger_lines", "earlier_lines")
    if op.get_bind().dialect.name == "postgresql":  # where the names of constraints are those of the schema
        op.execute("ALTER TABLE earlier_lines DROP CONSTRAINT ledger_lines_pkey")
        op.execute("ALTER TABLE earlier_lines DROP CONSTRAINT ledger_lines_request_id_fkey")
    op.create_table(
        "ledger_lines",
        *(sa.Column(name, kind, nullable=name == "unit_price", autoincrement=False) for name, kind in kept),
        sa.Column("unit", sa.String(16), nullable=False, server_default="tokens"),
        sa.Column("list_price", sa.BigInteger),
        sa.Column("price_book", sa.String(64), nullable=False, server_default=""),
        sa.Column("corrects", sa.Integer),
        sa.Column("incurred_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("request_id", "line"),
        sa.ForeignKeyConstraint(["request_id"], ["ledger_entries.request_id"]),
    )
    names = ", ".join(name for name, _ in kept)
    op.execute(f"INSERT INTO ledger_lines ({names}, list_price, incurred_at) SELECT {names}, unit_price, at FROM earlier_lines")  # noqa: S608
    op.drop_table("earlier_lines")
    op.create_index("ix_ledger_lines_at", "ledger_lines", ["at"])
    unpriced = sa.text("unit_price IS NULL")
    op.create_index("unpriced_lines", "ledger_lines", ["request_id"], sqlite_where=unpriced, postgresql_where=unpriced)


def _days() -> None:
    """Numbers of groups are made of their columns, so that none can be kept."""
    for table in ("spend_groups", "spend_days", "request_days"):
        op.drop_table(table)
    words = ("app", "owner", "team", "cost_center", "purpose", "rule", "tier", "asked_model", "deployment", "model", "provider")
    short = {"task": 32, "sensitivity": 32, "complexity": 32, "revision": 128, "impact": 32, "latency_class": 32}
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
        sa.Column("token_class", sa.String(32), primary_key=True),
        sa.Column("basis", sa.String(16), primary_key=True),
        sa.Column("outcome", sa.String(32), primary_key=True),
        sa.Column("correction", sa.Boolean, primary_key=True),
        sa.Column("priced", sa.Boolean, primary_key=True),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("lines", "quantity", "cost_nano", "list_nano")),
    )
    op.create_table(
        "request_days",
        sa.Column("day", sa.String(10), primary_key=True),
        sa.Column("group_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("outcome", sa.String(32), primary_key=True),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("requests", "over_hold", "router_us", "upstream_us")),
    )
    # Without its zone nobody reads or keeps the sums; an empty ledger has them as they should be.
    op.execute("DELETE FROM store_facts WHERE name = 'report_zone' AND EXISTS (SELECT 1 FROM ledger_entries)")


def _from_evidence(connection: sa.Connection) -> None:
    """What the entries say anew follows from their records, so that an audit finds them as it would write them."""
    wished = sa.text("UPDATE ledger_entries SET asked_model = :wish WHERE request_id = :request")
    took = sa.text("UPDATE ledger_entries SET router_us = :router, upstream_us = :upstream WHERE request_id = :request")
    last = (-1, -1)
    records = sa.text(
        "SELECT request_id, kind, record, shard, seq FROM evidence WHERE kind IN ('admitted', 'outcome', 'correction') "
        "AND (shard > :shard OR (shard = :shard AND seq > :seq)) ORDER BY shard, seq LIMIT :rows"
    )
    while True:
        found = connection.execute(records, {"shard": last[0], "seq": last[1], "rows": ROWS}).all()
        if not found:
            return
        wishes, times = [], []
        for request_id, kind, text, shard, seq in found:
            last = (shard, seq)
            record = msgspec.json.decode(text)
            if kind == "admitted":
                wishes.append({"request": request_id, "wish": record["facts"]["wish"]})
            elif laps := record["timings_us"]:
                upstream = laps.get("forward", 0)
                times.append({"request": request_id, "router": sum(laps.values()) - upstream, "upstream": upstream})
        for statement, rows in ((wished, wishes), (took, times)):
            if rows:
                connection.execute(statement, rows)
