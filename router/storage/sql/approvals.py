"""What became of approvals, for good: entered from Redis as often as needed, each change once, and each a link of the audit chain."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Column, Engine, Row, Select, func, insert, select, update

from router.exchange import ApprovalHistory
from router.storage.sql.administration import Administration, administering
from router.storage.sql.engine import reading
from router.storage.sql.tables import admin_events, approvals, evidence

Query = TypeVar("Query", bound=Select[Any])

ROUTER = "router"
"""Who is named where nobody decided: an approval that expired."""


LOST_AFTER = timedelta(hours=1)


class SqlApprovals:
    """The history of approvals in a SQL store. SQL down: sqlalchemy.exc.DBAPIError."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def enter(self, rows: Sequence[ApprovalHistory], at: datetime) -> int:
        """Bring the table up to what is known of these; how many had changed."""
        if not rows:
            return 0
        changed = 0
        with administering(self._engine, ROUTER, at) as administration:
            for row in rows:
                stored = administration.connection.execute(select(approvals).where(approvals.c.id == row.id)).one_or_none()
                before = approval_of(stored) if stored is not None else None
                if row == before or (before is not None and _STEPS[before.status] > _STEPS[row.status]):
                    continue  # another process was quicker, or has heard of more
                _enter(administration, before, row)
                changed += 1
        return changed

    def close_lost(self, at: datetime) -> int:
        """Close what should have been over long ago and of which nothing was heard: Redis has lost it. How many."""
        lost = select(approvals).where(approvals.c.status.in_(("pending", "approved")), approvals.c.expires < at - LOST_AFTER)
        with reading(self._engine) as connection:
            rows = [approval_of(row) for row in connection.execute(lost)]
        return self.enter([msgspec.structs.replace(row, status="expired", ended=row.expires) for row in rows], at)

    def history(
        self,
        *,
        session: str | None = None,
        app: str | None = None,
        status: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = 200,
    ) -> list[ApprovalHistory]:
        """Approvals asked for within [since, until), the newest first."""
        query = select(approvals).order_by(approvals.c.asked.desc(), approvals.c.id).limit(limit)
        for column, value in ((approvals.c.session, session), (approvals.c.app, app), (approvals.c.status, status)):
            if value is not None:
                query = query.where(column == value)
        query = _within(query, approvals.c.asked, since, until)
        with reading(self._engine) as connection:
            return [approval_of(row) for row in connection.execute(query)]

    def one(self, approval_id: str) -> ApprovalHistory | None:
        """The approval with this id, or None."""
        with reading(self._engine) as connection:
            row = connection.execute(select(approvals).where(approvals.c.id == approval_id)).one_or_none()
        return None if row is None else approval_of(row)

    def tasks(self, since: datetime | None, until: datetime | None) -> int:
        """How many tasks were let through or held within [since, until), each once: asking again for what is held is no new task, and
        neither is fetching what was approved."""
        admitted = _within(select(func.count()).where(evidence.c.kind == "admitted"), evidence.c.at, since, until)
        fetched = _within(select(func.count()).where(approvals.c.status == "used"), approvals.c.asked, since, until)
        held = _within(select(func.count()).where(approvals.c.kind == "task"), approvals.c.asked, since, until)
        with reading(self._engine) as connection:
            let_through, given, tasks = (int(connection.scalar(query) or 0) for query in (admitted, fetched, held))
        return max(let_through - given, 0) + tasks

    def maker_of(self, key_id: str) -> str | None:
        """Who made a key: the name in the record of that act; None where there is none."""
        query = select(admin_events.c.actor).where(admin_events.c.subject == f"key:{key_id}", admin_events.c.act == "key.created")
        with reading(self._engine) as connection:
            maker: str | None = connection.scalar(query.limit(1))
        return maker


def _enter(administration: Administration, before: ApprovalHistory | None, row: ApprovalHistory) -> None:
    values = msgspec.structs.asdict(row) | {"tools": list(row.tools), "reasons": list(row.reasons)}
    if before is None:
        administration.connection.execute(insert(approvals).values(**values))
        asked = msgspec.structs.replace(row, status="pending", decided=None, decided_by=None, via=None, note=None, ended=None)
        _note(administration, "asked", asked, row.app, row.asked)
    else:
        administration.connection.execute(update(approvals).where(approvals.c.id == row.id).values(**values))
    if row.decided is not None and (before is None or before.decided is None):
        decision = row.status if row.status == "denied" else "approved"
        _note(administration, decision, msgspec.structs.replace(row, status=decision, ended=None), row.decided_by, row.decided)
    if row.ended is not None and (before is None or before.ended is None):
        _note(administration, row.status, row, row.app if row.status == "used" else None, row.ended)


def _note(administration: Administration, act: str, row: ApprovalHistory, actor: str | None, at: datetime) -> None:
    administration.note(f"approval.{act}", f"approval:{row.id}", stored_state(row), actor=actor, at=at)


_STEPS = {"pending": 0, "approved": 1, "denied": 2, "used": 2, "expired": 2}


def _within(query: Query, column: Column[datetime], since: datetime | None, until: datetime | None) -> Query:
    if since is not None:
        query = query.where(column >= since)
    return query if until is None else query.where(column < until)


def stored_state(row: ApprovalHistory) -> dict[str, Any]:
    """An approval as plain JSON values, as the audit chain holds it."""
    state: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(row))
    return state


def approval_of(row: Row[Any]) -> ApprovalHistory:
    """The approval in a row of the table."""
    return msgspec.convert({str(name): value for name, value in row._asdict().items()}, ApprovalHistory)
