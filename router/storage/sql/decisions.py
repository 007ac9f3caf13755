"""Decisions as people look for them: evidence with what the ledger knows of how each ended."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Engine, Select, and_, func, or_, select

from router.exchange import Admitted, Outcome, Turned
from router.storage.sql.engine import reading
from router.storage.sql.evidence import ADMITTED, REFUSED, account_of
from router.storage.sql.ledger import Entry, EntryLine, entry_of
from router.storage.sql.tables import evidence, ledger_entries

BY_EVIDENCE = ("app", "owner", "session", "sensitivity", "complexity", "task", "rule", "revision", "tier", "decision", "code")
BY_LEDGER = ("deployment", "model", "outcome")
MOST_LOOKED_AT = 5_000
"""Of an app's requests, to find out which of its keys are in use."""

FILTERS = (*BY_EVIDENCE, *BY_LEDGER, "tool", "request")


class Found(msgspec.Struct, frozen=True):
    """One decision in a list. Of one that was refused, nothing is known of an outcome; `cost_nano` is None until it is settled."""

    request_id: str
    at: datetime
    app: str | None
    owner: str | None
    session: str | None
    sensitivity: str | None
    complexity: str | None
    task: str | None
    rule: str | None
    tier: str | None
    decision: str | None
    code: str | None
    kind: str
    deployment: str | None
    outcome: str | None
    cost_nano: int | None


class Story(msgspec.Struct, frozen=True):
    """All that is known of one request: what was decided, how it ended, what it cost."""

    admitted: Admitted | None
    refused: Turned | None
    outcomes: tuple[Outcome, ...]
    entry: Entry | None
    lines: tuple[EntryLine, ...]


class SqlDecisions:
    """The decisions of a SQL store. SQL down: sqlalchemy.exc.DBAPIError."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def search(
        self,
        where: Mapping[str, str],
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        before: tuple[datetime, str] | None = None,
        limit: int = 50,
    ) -> list[Found]:
        """The latest decisions that match every filter, newest first; `before`: only what comes after that one in this order.

        `since` is inclusive, `until` exclusive. `tool` finds records that name a tool of exactly that name or id. Raises ValueError
        for a filter that there is not.
        """
        if unknown := set(where) - set(FILTERS):
            raise ValueError(f"decisions cannot be found by `{min(unknown)}`")
        columns = [
            ledger_entries.c[name] if name in ("deployment", "outcome", "cost_nano") else evidence.c[name]
            for name in Found.__struct_fields__
        ]
        joined = evidence.outerjoin(ledger_entries, ledger_entries.c.request_id == evidence.c.request_id)
        query = select(*columns).select_from(joined).where(evidence.c.kind.in_((ADMITTED, REFUSED)))
        for name, value in where.items():
            query = query.where(_matches(name, value))
        if since is not None:
            query = query.where(evidence.c.at >= since)
        if until is not None:
            query = query.where(evidence.c.at < until)
        if before is not None:
            at, request_id = before
            query = query.where(or_(evidence.c.at < at, and_(evidence.c.at == at, evidence.c.request_id < request_id)))
        ordered = query.order_by(evidence.c.at.desc(), evidence.c.request_id.desc()).limit(limit)
        return self._found(ordered)

    def story(self, request_id: str) -> Story | None:
        """Everything that is known of a request, or None."""
        account = account_of(self._engine, request_id)
        if account is None:
            return None
        entry, lines = entry_of(self._engine, request_id) or (None, [])
        return Story(account.admitted, account.refused, account.outcomes, entry, tuple(lines))

    def sessions(self, where: Mapping[str, str], *, limit: int = 50) -> list[Found]:
        """The latest decision of each session, newest first; of the latest two thousand decisions."""
        rows = self.search(where, limit=2_000)
        latest: dict[tuple[str | None, str | None], Found] = {}
        for row in rows:
            if row.session is not None:
                latest.setdefault((row.session, row.app), row)
        return list(latest.values())[:limit]

    def last_use(self, keys: Mapping[str, str]) -> dict[str, datetime]:
        """When each of these keys (id → app) was used last, among the latest requests of its app."""
        used: dict[str, datetime] = {}
        with reading(self._engine) as connection:
            for app in set(keys.values()):
                latest = (
                    select(evidence.c.at, evidence.c.record)
                    .where(evidence.c.app == app, evidence.c.kind.in_((ADMITTED, REFUSED)))
                    .order_by(evidence.c.at.desc())
                    .limit(MOST_LOOKED_AT)
                    .subquery()
                )
                for key in (key for key, of in keys.items() if of == app):
                    found = select(func.max(latest.c.at)).where(latest.c.record.contains(f'"key_id":"{key}"', autoescape=True))
                    if (at := connection.scalar(found)) is not None:
                        used[key] = at
        return used

    def _found(self, query: Select[*tuple[Any, ...]]) -> list[Found]:
        with reading(self._engine) as connection:
            return [Found(*row) for row in connection.execute(query)]


def _matches(name: str, value: str) -> ColumnElement[bool]:
    if name == "tool":  # names stand in the record only, as whole texts of its JSON
        return evidence.c.record.contains(msgspec.json.encode(value).decode(), autoescape=True)
    if name == "request":
        return evidence.c.request_id == value
    return ledger_entries.c[name] == value if name in BY_LEDGER else evidence.c[name] == value
