"""What is read of the ledger for chargeback statements: the lines of a cost centre and a month, added up."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Engine, func, literal, select

from router.errors import Refused
from router.exchange import JsonObject
from router.governance.months import CLOSED, Period, named
from router.reports.spend import UNALLOCATED, UNKNOWN
from router.reports.statement import Booked, Close, Statement, statement
from router.storage.sql import rollups
from router.storage.sql.engine import reading
from router.storage.sql.months import all_months, next_of
from router.storage.sql.tables import ledger_entries, ledger_lines
from router.usage import Basis

_NOBODYS = ("", UNKNOWN)


class CostCenter(msgspec.Struct, frozen=True):
    """A cost centre with what is booked on it in a month, in nano-USD."""

    name: str
    lines: int
    cost_nano: int


class SqlStatements:
    """The statements of a SQL store. SQL down: sqlalchemy.exc.DBAPIError."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def cost_centers(self, month: str) -> list[CostCenter]:
        """The cost centres of a month, the dearest first. Raises Refused(`invalid_request`)."""
        entry, line = ledger_entries.c, ledger_lines.c
        query = select(entry.cost_center, func.count(), func.sum(line.cost_nano)).select_from(ledger_lines.join(ledger_entries))
        found: dict[str, CostCenter] = {}
        with reading(self._engine) as connection:
            period, _ = _period(connection, month)
            query = query.where(line.at >= period.begins, line.at < period.ends).group_by(entry.cost_center)
            for name, lines, cost in connection.execute(query):
                told = UNALLOCATED if name in _NOBODYS else name
                before = found.get(told, CostCenter(told, 0, 0))
                found[told] = CostCenter(told, before.lines + int(lines), before.cost_nano + int(cost))
        return sorted(found.values(), key=lambda one: (-one.cost_nano, one.name))

    def statement(self, cost_center: str, month: str, at: datetime) -> Statement:
        """The statement of a cost centre (or of `unallocated`) for a month, made at a moment. Raises Refused: `invalid_request`, and
        `not_found` where nothing is booked on it, so that a slip of the pen is not taken for a month without cost."""
        with reading(self._engine) as connection:
            period, zone = _period(connection, month)
            booked = _booked(connection, cost_center, period, zone)
        if not booked:
            raise Refused("not_found", f"nothing is booked on `{cost_center[:100]}` in {month}")
        close = None
        if period.state == CLOSED and period.digest and period.closed_by and period.closed_at:
            close = Close(period.version, period.digest, period.closed_by, period.closed_at)
        return statement(
            booked,
            cost_center=cost_center,
            month=month,
            zone=zone,
            begins=period.begins,
            ends=period.ends,
            made_at=at,
            close=close,
        )


def _period(connection: Connection, month: str) -> tuple[Period, str]:
    """The month and its time zone: as it was closed, else as it would be."""
    zone = rollups.zone_of(connection) or "UTC"
    asked = named(month, zone)
    for period in all_months(connection):
        if period.month == month and period.state == CLOSED and period.document is not None:
            frozen: JsonObject = msgspec.json.decode(period.document)
            return period, str(frozen["zone"])
    next_one = next_of(connection)
    return (next_one if next_one is not None and next_one.month == month else asked), zone


def _booked(connection: Connection, cost_center: str, period: Period, zone: str) -> list[Booked]:
    entry, line = ledger_entries.c, ledger_lines.c
    whose = entry.cost_center.in_(_NOBODYS) if cost_center == UNALLOCATED else entry.cost_center == cost_center
    earlier_month = func.substr(rollups.day_column(connection, zone, line.incurred_at), 1, 7)
    rows = []
    for month, when in ((literal(""), line.incurred_at >= period.begins), (earlier_month, line.incurred_at < period.begins)):
        keys: list[ColumnElement[Any]] = [entry.app, entry.owner, entry.purpose, line.model, line.token_class]
        keys += [line.basis, line.correction, line.unit_price.is_not(None)]
        grouped = keys if month is not earlier_month else [*keys, month]
        sums = [func.sum(line.quantity), func.sum(line.cost_nano), func.sum(rollups.list_cost_column(connection))]
        query = select(*keys, month, *sums).select_from(ledger_lines.join(ledger_entries))
        query = query.where(line.at >= period.begins, line.at < period.ends, whose, when).group_by(*grouped)
        for row in connection.execute(query):
            app, owner, purpose, model, token_class, basis, correction, priced, of, quantity, cost, listed = row
            estimated = basis == Basis.ESTIMATED.value
            amounts = (int(quantity), int(cost), int(listed))
            rows.append(Booked(app, owner, purpose, model, token_class, estimated, bool(correction), bool(priced), of, *amounts))
    return rows
