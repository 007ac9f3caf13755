"""The ledger as reports read it: one store bound to what they ask of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import Engine, func, select

from router.exchange import JsonObject
from router.reports.requests import BookingsPage
from router.reports.spend import SpendReport
from router.storage.sql import finance
from router.storage.sql.engine import reading
from router.storage.sql.finance_requests import Key, bookings
from router.storage.sql.ledger import entry_of
from router.storage.sql.tables import ledger_entries


class SqlFinance:
    """Reads the ledger of a SQL store; each call sees one state of it. SQL down: raises sqlalchemy.exc.DBAPIError."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def zone(self) -> ZoneInfo:
        """The time zone of the days in reports."""
        return finance.report_zone(self._engine)

    def spend(
        self, by: Sequence[str], since: datetime | None = None, until: datetime | None = None, where: finance.Where | None = None
    ) -> SpendReport:
        """As `router.storage.sql.finance.spend`."""
        return finance.spend(self._engine, by, since, until, where)

    def bookings(
        self, where: finance.Where, since: datetime | None, until: datetime | None, after: Key | None, limit: int
    ) -> BookingsPage:
        """As `router.storage.sql.finance_requests.bookings`."""
        return bookings(self._engine, where, since, until, after, limit)

    def upstream_medians(
        self, since: datetime | None = None, until: datetime | None = None
    ) -> dict[tuple[str, str, str], tuple[int, int]]:
        """Of each task, complexity and tier: how many requests were completed, and the (lower) median of their upstream time in
        microseconds."""
        entry = ledger_entries.c
        kind = (entry.task, entry.complexity, entry.tier)
        conditions = (*finance.between(entry.closed_at, since, until), entry.outcome == "completed", entry.upstream_us > 0)
        place = func.row_number().over(partition_by=kind, order_by=entry.upstream_us).label("place")
        count = func.count().over(partition_by=kind).label("count")
        timed = select(*kind, entry.upstream_us, place, count).where(*conditions).subquery().c
        query = select(timed.task, timed.complexity, timed.tier, timed.count, timed.upstream_us)
        with reading(self._engine) as connection:
            rows = connection.execute(query.where(2 * timed.place >= timed.count, 2 * timed.place < timed.count + 2))
            return {(task, complexity, tier): (int(counted), int(middle)) for task, complexity, tier, counted, middle in rows}

    def request(self, request_id: str) -> tuple[JsonObject, list[JsonObject]] | None:
        """A request's entry and its lines in order, by the names of their columns; None where there is none."""
        found = entry_of(self._engine, request_id)
        return None if found is None else (msgspec.structs.asdict(found[0]), [msgspec.structs.asdict(line) for line in found[1]])
