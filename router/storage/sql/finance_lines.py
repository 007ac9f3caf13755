"""Reads ledger lines with their entries, one batch after the other, for exports of any length."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    Engine,
    FromClause,
    Select,
    String,
    bindparam,
    func,
    or_,
    select,
    type_coerce,
)

from router.reports.exports.lines import BATCH, OF_REQUEST, FinanceLine, Month, Period, Source, month_of
from router.reports.spend import UNITEMISED
from router.storage.sql import rollups
from router.storage.sql.engine import reading
from router.storage.sql.finance import between, conditions_of, moments
from router.storage.sql.tables import UtcTime, finance_periods, ledger_entries, ledger_lines, spend_groups, store_facts

OPEN = "Open"
OWN = ("model", "deployment", "provider", "token_class", "basis", "outcome", "price_book")
"""Of these a line has its own."""


@contextmanager
def exporting(
    engine: Engine,
    since: datetime | None,
    until: datetime | None,
    where: Mapping[str, Sequence[str]],
    at: datetime,
    regions: Mapping[str, str] | None = None,
) -> Iterator[Source]:
    """The lines booked from `since` (inclusive) to `until` (exclusive) that have one of the values of each dimension in `where`, in the
    order of their booking, as one transaction sees them.

    `regions` says where deployments are, `at` is now. Holds a batch at a time.
    """
    with reading(engine) as connection:
        zone = rollups.zone_of(connection) or "UTC"
        columns = _dimensions(connection, zone)
        narrowed = conditions_of(columns, where)
        conditions = [*between(ledger_lines.c.at, since, until), *(narrowed or [])]
        source: FromClause = ledger_lines.join(ledger_entries) if where else ledger_lines
        totals = select(func.count(), func.sum(ledger_lines.c.cost_nano)).select_from(source).where(*conditions)
        count, total = connection.execute(totals).one()
        lines = select(*_LINE).select_from(source).where(*conditions)
        ordered = lines.order_by(ledger_lines.c.at, ledger_lines.c.request_id, ledger_lines.c.line)
        account = connection.scalar(select(store_facts.c.value).where(store_facts.c.name == "instance"))
        yield Source(
            zone=ZoneInfo(zone),
            since=since,
            until=until,
            where=where,
            count=int(count),
            total_nano=int(total or 0),
            account=account or "router",
            read_at=at,
            batches=partial(_batches, connection, ordered),
            periods=_periods(connection, ZoneInfo(zone), at),
            providers=sorted(connection.scalars(select(spend_groups.c.provider).distinct())),
            regions=regions or {},
        )


def _column(name: str) -> ColumnElement[Any]:
    column: ColumnElement[Any] = ledger_lines.c[name]
    # Times and flags come as the driver gives them: to have each converted takes longer than all the rest.
    return type_coerce(column, String) if isinstance(column.type, UtcTime | Boolean) else column


_LINE = [_column(name) for name in FinanceLine._fields[:OF_REQUEST]]
_REQUESTS = select(ledger_entries.c.request_id, *(ledger_entries.c[name] for name in FinanceLine._fields[OF_REQUEST:])).where(
    ledger_entries.c.request_id.in_(bindparam("requests", expanding=True))
)
REQUEST = FinanceLine._fields.index("request_id")


def _dimensions(connection: Connection, zone: str) -> dict[str, ColumnElement[Any] | str]:
    columns: dict[str, ColumnElement[Any] | str] = {name: ledger_entries.c[name] for name in (*rollups.GROUP_COLUMNS, "session")}
    columns |= {name: ledger_lines.c[name] for name in OWN}
    columns["priced"] = or_(ledger_lines.c.unit_price.is_not(None), ledger_lines.c.token_class == UNITEMISED)
    return columns | moments(connection, zone, ledger_lines.c.at)


def _batches(connection: Connection, query: Select[Any]) -> Iterator[list[FinanceLine]]:
    make, of = tuple.__new__, FinanceLine  # as `_make` does, without its own call for each line
    moment = _from_text if connection.dialect.name == "sqlite" else _from_driver
    with connection.execute(query, execution_options={"stream_results": True, "max_row_buffer": BATCH}) as result:
        for rows in result.partitions(BATCH):
            # Requests are read once for all of their lines, which come together.
            found = connection.execute(_REQUESTS, {"requests": list({row[REQUEST] for row in rows})})
            requests = {row[0]: row[1:] for row in found}
            yield [
                make(of, (moment(row[0]), moment(row[1]), bool(row[2]), *row[REQUEST:], *requests[row[REQUEST]])) for row in rows
            ]


def _from_text(text: Any) -> datetime:
    return datetime.fromisoformat(text)  # always with the offset of UTC, which reads as UTC


def _from_driver(moment: Any) -> datetime:
    found: datetime = moment.astimezone(UTC)
    return found


def _periods(connection: Connection, zone: ZoneInfo, now: datetime) -> list[Period]:
    """All months from the first booking to that of the last, or to now; those that nobody has touched are open."""
    first, last = connection.execute(select(func.min(ledger_lines.c.at), func.max(ledger_lines.c.at))).one()
    if first is None:
        return []
    kept = {row.month: row for row in connection.execute(select(finance_periods))}
    found: list[Period] = []
    month = month_of(first, zone)
    while month.begins <= max(last, now):
        row = kept.get(month.name)
        begins = month if row is None else Month(month.name, row.begins, row.ends)
        found.append(Period(begins, OPEN if row is None else row.state, None if row is None else row.closed_at))
        month = month_of(month.ends, zone)
    return found
