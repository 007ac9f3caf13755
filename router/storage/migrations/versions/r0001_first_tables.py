"""First tables, the identity of the store and the beginning of each audit chain."""

from __future__ import annotations

import hashlib
import secrets

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "r0001"
down_revision = None
branch_labels = None
depends_on = None

CHAINS = 65


def upgrade() -> None:
    """Create everything."""
    # What a migration once did stays as it was: nothing here is imported from the program that grows on.
    moment = sa.String(32).with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
    facts = op.create_table(
        "store_facts",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    op.create_table(
        "keys",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("prefix", sa.String(16), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False, unique=True),
        sa.Column("app", sa.Text, nullable=False),
        sa.Column("created", moment, nullable=False),
        sa.Column("expires", moment),
        sa.Column("revoked", moment),
        sa.Column("clearance", sa.String(32)),
        sa.Column("ceiling", sa.Text),
        sa.Column("purposes", sa.JSON, nullable=False),
        sa.Column("admin", sa.Boolean, nullable=False),
    )
    op.create_index("ix_keys_app", "keys", ["app"])
    op.create_table(
        "revisions",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("revision", sa.String(128), nullable=False, unique=True),
        sa.Column("files", sa.JSON, nullable=False),
        sa.Column("base", sa.String(128)),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("created", moment, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("governance", sa.String(16), nullable=False),
        sa.Column("decided_by", sa.Text),
        sa.Column("decided", moment),
    )
    active = sa.text("status = 'active'")
    op.create_index("one_active_revision", "revisions", ["status"], unique=True, sqlite_where=active, postgresql_where=active)
    op.create_table(
        "evidence",
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("at", moment, nullable=False),
        sa.Column("app", sa.Text),
        sa.Column("owner", sa.Text),
        sa.Column("session", sa.Text),
        sa.Column("sensitivity", sa.String(32)),
        sa.Column("complexity", sa.String(32)),
        sa.Column("task", sa.String(32)),
        sa.Column("rule", sa.Text),
        sa.Column("revision", sa.String(128)),
        sa.Column("tier", sa.Text),
        sa.Column("decision", sa.String(16)),
        sa.Column("code", sa.String(64)),
        sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("record", sa.Text, nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
    )
    op.create_index("ix_evidence_at", "evidence", ["at"])
    op.create_index("ix_evidence_session", "evidence", ["session"])
    op.create_index("ix_evidence_request_id", "evidence", ["request_id"])
    op.create_table(
        "ledger_entries",
        sa.Column("request_id", sa.String(64), primary_key=True),
        sa.Column("opened_at", moment),
        sa.Column("closed_at", moment),
        sa.Column("app", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("team", sa.Text, nullable=False),
        sa.Column("cost_center", sa.Text, nullable=False),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("session", sa.Text, nullable=False),
        sa.Column("task", sa.String(32), nullable=False),
        sa.Column("sensitivity", sa.String(32), nullable=False),
        sa.Column("complexity", sa.String(32), nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("revision", sa.String(128), nullable=False),
        sa.Column("tier", sa.Text, nullable=False),
        sa.Column("deployment", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("outcome", sa.String(32)),
        sa.Column("code", sa.String(64)),
        sa.Column("basis", sa.String(16)),
        sa.Column("held_nano", sa.BigInteger, nullable=False),
        sa.Column("cost_nano", sa.BigInteger, nullable=False),
        sa.Column("over_hold", sa.Boolean, nullable=False),
        sa.Column("line_count", sa.Integer, nullable=False),
        sa.Column("corrections", sa.Integer, nullable=False),
    )
    op.create_index("ix_ledger_entries_closed_at", "ledger_entries", ["closed_at"])
    unsettled = sa.text("closed_at IS NULL")
    op.create_index("open_entries", "ledger_entries", ["opened_at"], sqlite_where=unsettled, postgresql_where=unsettled)
    op.create_table(
        "ledger_lines",
        sa.Column("request_id", sa.String(64), sa.ForeignKey("ledger_entries.request_id"), primary_key=True),
        sa.Column("line", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", moment, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("deployment", sa.Text, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("token_class", sa.String(16), nullable=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("unit_price", sa.BigInteger),
        sa.Column("cost_nano", sa.BigInteger, nullable=False),
        sa.Column("basis", sa.String(16), nullable=False),
        sa.Column("outcome", sa.String(32), nullable=False),
        sa.Column("price_source", sa.Text, nullable=False),
        sa.Column("correction", sa.Boolean, nullable=False),
    )
    op.create_index("ix_ledger_lines_at", "ledger_lines", ["at"])
    heads = op.create_table(
        "chain_heads",
        sa.Column("chain", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
    )
    op.create_table(
        "admin_events",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", moment, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("act", sa.String(64), nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
    )
    op.create_table(
        "quarantine",
        sa.Column("digest", sa.LargeBinary(32), primary_key=True),
        sa.Column("at", moment, nullable=False),
        sa.Column("shard", sa.Integer, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("record", sa.LargeBinary, nullable=False),
    )
    instance = secrets.token_hex(16)
    op.bulk_insert(
        facts,
        [
            {"name": "instance", "value": instance},
            {"name": "epoch", "value": secrets.token_hex(16)},
        ],
    )
    op.bulk_insert(
        heads,
        [{"chain": chain, "seq": 0, "hash": hashlib.sha256(f"{instance}/{chain}".encode()).digest()} for chain in range(CHAINS)],
    )
