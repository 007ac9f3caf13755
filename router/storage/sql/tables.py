"""Every table of the SQL store: keys and rules, evidence and ledger, the audit chains. Money is integer nano-USD."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    false,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeDecorator, TypeEngine


def stored_time(moment: datetime, dialect: str) -> datetime | str:
    """A moment as a database of this kind is given it. Raises ValueError where it has no zone."""
    if moment.tzinfo is not UTC:
        if moment.tzinfo is None:
            raise ValueError("a stored time needs its zone")
        moment = moment.astimezone(UTC)
    return moment if dialect == "postgresql" else moment.isoformat(timespec="microseconds")


class UtcTime(TypeDecorator[datetime]):
    """A moment in UTC: `timestamptz` in PostgreSQL, ISO text of fixed width in SQLite, so that it sorts as it should.

    Raises ValueError for a datetime without a zone.
    """

    impl = String(32)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[datetime] | TypeEngine[str]:
        """The column type of each database."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.TIMESTAMP(timezone=True))
        return dialect.type_descriptor(String(32))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | str | None:
        """To the database."""
        return None if value is None else stored_time(value, dialect.name)

    def process_result_value(self, value: datetime | str | None, _dialect: Dialect) -> datetime | None:
        """From the database."""
        if value is None:
            return None
        return (value if isinstance(value, datetime) else datetime.fromisoformat(value)).astimezone(UTC)


metadata = MetaData()

store_facts = Table(
    "store_facts",  # `instance` (for good) and `epoch` (new after a restore)
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)

keys = Table(
    "keys",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("prefix", String(16), nullable=False),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("app", Text, nullable=False, index=True),
    Column("created", UtcTime, nullable=False),
    Column("expires", UtcTime),
    Column("revoked", UtcTime),
    Column("clearance", String(32)),
    Column("ceiling", Text),
    Column("purposes", JSON, nullable=False),
    Column("admin", Boolean, nullable=False),
)

people = Table(
    "people",  # who may look, decide and change; the token itself is never stored
    metadata,
    Column("id", String(40), primary_key=True),
    Column("email", String(254), nullable=False),
    Column("roles", JSON, nullable=False),
    Column("prefix", String(16), nullable=False),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("created", UtcTime, nullable=False),
    Column("expires", UtcTime),
    Column("ended", UtcTime),
    Column("added_by", String(254), nullable=False, server_default=""),
    Column("waits", Boolean, nullable=False, server_default=false()),
    Column("confirmed_by", String(254), nullable=False, server_default=""),
)
_here = people.c.ended.is_(None)
Index("one_person_of_an_email", people.c.email, unique=True, sqlite_where=_here, postgresql_where=_here)

accounts = Table(
    "accounts",  # how people sign in to the console with a password; the password and recovery codes are hashes, the secret is sealed
    metadata,
    Column("person", String(40), ForeignKey("people.id"), primary_key=True),
    Column("password", Text, nullable=False),
    Column("changed", UtcTime, nullable=False),
    Column("secret", Text),  # of the second factor; None: there is none
    Column("secret_since", UtcTime),
    Column("recovery", JSON, nullable=False),
)

approvals = Table(
    "approvals",  # what was asked of people and what became of it; no arguments, no answers
    metadata,
    Column("id", String(40), primary_key=True),
    Column("kind", String(8), nullable=False),  # call | task
    Column("app", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("session", Text, nullable=False, index=True),
    Column("request_id", String(64), nullable=False),
    Column("purpose", Text, nullable=False),
    Column("tools", JSON, nullable=False),
    Column("reasons", JSON, nullable=False),
    Column("rule", Text, nullable=False),
    Column("revision", String(128), nullable=False),
    Column("sensitivity", String(32), nullable=False),
    Column("asked", UtcTime, nullable=False, index=True),
    Column("expires", UtcTime, nullable=False),
    Column("status", String(16), nullable=False),  # pending | approved | denied | used | expired
    Column("decided", UtcTime),
    Column("decided_by", Text),
    Column("via", String(16)),  # cli | api | webhook
    Column("note", Text),
    Column("ended", UtcTime),  # when it was used, or found expired
)

revisions = Table(
    "revisions",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("revision", String(128), nullable=False, unique=True),
    Column("files", JSON, nullable=False),
    Column("base", String(128)),  # the revision that was in force when this one was proposed
    Column("author", Text, nullable=False),
    Column("created", UtcTime, nullable=False),
    Column("note", Text, nullable=False),
    Column("status", String(16), nullable=False),  # proposed | active | superseded | rejected
    Column("governance", String(16), nullable=False),  # how it was last moved: single | four_eyes
    Column("decided_by", Text),
    Column("decided", UtcTime),
)
_active = revisions.c.status == "active"
Index("one_active_revision", revisions.c.status, unique=True, sqlite_where=_active, postgresql_where=_active)

proposals = Table(
    "proposals",  # changes of the rules with all that happened to them, as one document each
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("id", String(40), nullable=False, unique=True),
    Column("revision", String(128), nullable=False, index=True),
    Column("status", String(16), nullable=False, index=True),
    Column("trial", String(16)),  # shadow | canary, while it is tried
    Column("document", Text, nullable=False),
)

shadow_differences = Table(
    "shadow_differences",  # what a revision that is only tried would have decided otherwise
    metadata,
    Column("request_id", String(64), primary_key=True),
    Column("proposal", String(40), primary_key=True, index=True),
    Column("at", UtcTime, nullable=False),
    Column("app", Text, nullable=False),
    Column("session", Text, nullable=False),
    Column("before", Text, nullable=False),
    Column("after", Text, nullable=False),
)

shadow_counts = Table(
    "shadow_counts",  # how many requests each worker has compared
    metadata,
    Column("proposal", String(40), primary_key=True),
    Column("worker", String(64), primary_key=True),
    Column("compared", BigInteger, nullable=False),
    Column("differing", BigInteger, nullable=False),
)

evidence = Table(
    "evidence",  # append-only; each row is a link of its shard's chain
    metadata,
    Column("request_id", String(64), nullable=False, index=True),
    Column("kind", String(16), nullable=False),  # admitted | refused | outcome | correction
    Column("at", UtcTime, nullable=False, index=True),
    Column("app", Text),
    Column("owner", Text),
    Column("session", Text, index=True),
    Column("sensitivity", String(32)),
    Column("complexity", String(32)),
    Column("task", String(32)),
    Column("rule", Text),
    Column("revision", String(128)),
    Column("tier", Text),
    Column("decision", String(16)),  # permit | hold | refuse
    Column("code", String(64)),
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("record", Text, nullable=False),  # the JSON bytes as they came, on which the digest rests
    Column("digest", LargeBinary(32), nullable=False),
    Column("hash", LargeBinary(32), nullable=False),
)

ledger_entries = Table(
    "ledger_entries",  # one per admitted request
    metadata,
    Column("request_id", String(64), primary_key=True),
    Column("opened_at", UtcTime),  # None: the outcome came, its intent never did
    Column("closed_at", UtcTime, index=True),  # None: not settled yet
    Column("app", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("team", Text, nullable=False),
    Column("cost_center", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("session", Text, nullable=False),
    Column("task", String(32), nullable=False),
    Column("sensitivity", String(32), nullable=False),
    Column("complexity", String(32), nullable=False),
    Column("rule", Text, nullable=False),
    Column("revision", String(128), nullable=False),
    Column("tier", Text, nullable=False),
    Column("deployment", Text, nullable=False),  # as planned, then as used
    Column("model", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("outcome", String(32)),
    Column("code", String(64)),
    Column("basis", String(16)),  # reported | estimated
    Column("held_nano", BigInteger, nullable=False),
    Column("cost_nano", BigInteger, nullable=False),
    Column("over_hold", Boolean, nullable=False),
    Column("line_count", Integer, nullable=False),
    Column("corrections", Integer, nullable=False),
    Column("asked_model", Text, nullable=False, server_default="unknown"),  # what the app wished for: a model's name, or `auto`
    Column("impact", String(32), nullable=False, server_default="unknown"),  # of the purpose, when it was admitted
    Column("latency_class", String(32), nullable=False, server_default="unknown"),
    Column("router_us", BigInteger, nullable=False, server_default="0"),  # what this program took
    Column("upstream_us", BigInteger, nullable=False, server_default="0"),  # what providers took
)
_open = ledger_entries.c.closed_at.is_(None)
Index("open_entries", ledger_entries.c.opened_at, sqlite_where=_open, postgresql_where=_open)

ledger_lines = Table(
    "ledger_lines",  # the sum of an entry's lines is its cost
    metadata,
    Column("request_id", String(64), ForeignKey("ledger_entries.request_id"), primary_key=True),
    Column("line", Integer, primary_key=True, autoincrement=False),
    Column("at", UtcTime, nullable=False, index=True),
    Column("attempt", Integer, nullable=False),
    Column("deployment", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("token_class", String(32), nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("unit_price", BigInteger),  # nano-USD per million units; None: no price known
    Column("cost_nano", BigInteger, nullable=False),
    Column("basis", String(16), nullable=False),
    Column("outcome", String(32), nullable=False),
    Column("price_source", Text, nullable=False),
    Column("correction", Boolean, nullable=False),
    Column("unit", String(16), nullable=False, server_default="tokens"),  # tokens | calls | seconds
    Column("list_price", BigInteger),  # as `unit_price`, before any discount
    Column("price_book", String(64), nullable=False, server_default=""),  # the version of the book that gave the price
    Column("corrects", Integer),  # the line of the same request that this one takes back or replaces
    Column("incurred_at", UtcTime, nullable=False),  # when the use was; `at` is when it was booked, which decides the month
)
_unpriced = ledger_lines.c.unit_price.is_(None)
Index("unpriced_lines", ledger_lines.c.request_id, sqlite_where=_unpriced, postgresql_where=_unpriced)

spend_groups = Table(
    "spend_groups",  # what entries and lines have in common that are added up together: one row for each way they occur
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),  # made of the rest, so that all writers find the same
    Column("app", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("team", Text, nullable=False),
    Column("cost_center", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("task", String(32), nullable=False),
    Column("sensitivity", String(32), nullable=False),
    Column("complexity", String(32), nullable=False),
    Column("rule", Text, nullable=False),
    Column("revision", String(128), nullable=False),
    Column("tier", Text, nullable=False),
    Column("asked_model", Text, nullable=False),
    Column("impact", String(32), nullable=False),
    Column("latency_class", String(32), nullable=False),
    Column("deployment", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("provider", Text, nullable=False),
)

spend_days = Table(
    "spend_days",  # the lines of each day of the store's time zone, added up
    metadata,
    Column("day", String(10), primary_key=True),
    Column("group_id", BigInteger, primary_key=True, autoincrement=False),
    Column("token_class", String(32), primary_key=True),
    Column("basis", String(16), primary_key=True),
    Column("outcome", String(32), primary_key=True),
    Column("correction", Boolean, primary_key=True),
    Column("priced", Boolean, primary_key=True),
    Column("lines", BigInteger, nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("cost_nano", BigInteger, nullable=False),
    Column("list_nano", BigInteger, nullable=False),  # the cost at list prices
)

request_days = Table(
    "request_days",  # the settled requests of each day of the store's time zone, counted
    metadata,
    Column("day", String(10), primary_key=True),
    Column("group_id", BigInteger, primary_key=True, autoincrement=False),
    Column("outcome", String(32), primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("over_hold", BigInteger, nullable=False),
    Column("router_us", BigInteger, nullable=False),
    Column("upstream_us", BigInteger, nullable=False),
)

finance_periods = Table(
    "finance_periods",  # months of the report zone, with what was frozen when they were closed
    metadata,
    Column("month", String(7), primary_key=True),
    Column("begins", UtcTime, nullable=False),
    Column("ends", UtcTime, nullable=False),  # the first moment of the next month
    Column("state", String(32), nullable=False),
    Column("total_nano", BigInteger),
    Column("digest", String(64)),
    Column("document", Text),
    Column("version", Integer, nullable=False, server_default="1"),
    Column("closed_by", Text),
    Column("closed_at", UtcTime),
    Column("asked_by", Text),  # who asked to reopen it
)

report_deliveries = Table(
    "report_deliveries",  # what became of the reports that are delivered by themselves
    metadata,
    Column("delivery", String(64), primary_key=True),
    Column("period", String(16), primary_key=True),  # 2026-03-10 | 2026-W11 | 2026-03
    Column("state", String(16), nullable=False),  # running | done | failed
    Column("attempts", Integer, nullable=False),
    Column("next_at", UtcTime),  # when it may be tried again
    Column("finished_at", UtcTime),
    Column("rows", BigInteger),
    Column("total_nano", BigInteger),
    Column("sha256", String(64)),
    Column("error", Text),
)

chain_heads = Table(
    "chain_heads",  # how long each audit chain is, and the hash of its last link
    metadata,
    Column("chain", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
    Column("hash", LargeBinary(32), nullable=False),
)

admin_events = Table(
    "admin_events",  # who did what, when; the administrative chain
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at", UtcTime, nullable=False),
    Column("actor", Text, nullable=False),
    Column("act", String(64), nullable=False),
    Column("subject", Text, nullable=False),
    Column("record", Text, nullable=False),
    Column("digest", LargeBinary(32), nullable=False),
    Column("hash", LargeBinary(32), nullable=False),
)

tool_registrations = Table(
    "tool_registrations",  # tools that somebody asked for and nobody had registered
    metadata,
    Column("id", String(40), primary_key=True),
    Column("kind", String(64), nullable=False),
    Column("name", Text, nullable=False),
    Column("server", Text, nullable=False),  # the label of the MCP server that has it, else empty
    Column("address", Text, nullable=False),  # of that server, where an owner has told it
    Column("digest", String(64), nullable=False),  # of its definition, where it was seen
    Column("suggestion", JSON, nullable=False),
    Column("apps", JSON, nullable=False),
    Column("first_seen", UtcTime, nullable=False),
    Column("last_seen", UtcTime, nullable=False),
    Column("status", String(16), nullable=False, index=True),  # pending | confirmed | rejected
    Column("decided_by", Text),
    Column("decided", UtcTime),
    Column("revision", String(128)),  # the revision of the rules that holds it
)

budget_raises = Table(
    "budget_raises",  # what an owner may spend more for a while: asked for by one person, approved by another
    metadata,
    Column("id", String(40), primary_key=True),
    Column("owner", Text, nullable=False),
    Column("per", String(16), nullable=False),
    Column("amount_nano", BigInteger),
    Column("percent", Integer),
    Column("reason", Text, nullable=False),
    Column("asked_by", Text, nullable=False),
    Column("asked_at", UtcTime, nullable=False),
    Column("ends", UtcTime, nullable=False, index=True),
    Column("approved_by", Text),
    Column("approved_at", UtcTime),
    Column("ended_by", Text),
    Column("ended_at", UtcTime),
)

budget_notices = Table(
    "budget_notices",  # what was told of an owner's spend, once for each period, threshold and way of telling
    metadata,
    Column("id", String(40), primary_key=True),
    Column("owner", Text, nullable=False),
    Column("period", String(32), nullable=False),
    Column("threshold", String(16), nullable=False),  # `soft`, or percents of the hard limit
    Column("channel", String(16), nullable=False),  # webhook | mail | log
    Column("recipients", Text, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("reached_nano", BigInteger, nullable=False),
    Column("spent_nano", BigInteger, nullable=False),
    Column("limit_nano", BigInteger),
    Column("attempts", Integer, nullable=False),
    Column("next_at", UtcTime, index=True),  # when it is to be tried (again); NULL: it is delivered, or given up
    Column("delivered_at", UtcTime),
    Column("error", String(64)),  # what the last attempt failed of, by the name of the error
    Index("ux_budget_notices_once", "owner", "period", "threshold", "channel", unique=True),
)

quarantine = Table(
    "quarantine",  # outbox records that could not be entered, so that they do not block the others
    metadata,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("at", UtcTime, nullable=False),
    Column("shard", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("record", LargeBinary, nullable=False),
)
