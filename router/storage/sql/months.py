"""Months in SQL: closed with their totals frozen, opened again, and held against the lines that they were made from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Engine, Row, func, insert, select, update

from router.errors import Refused
from router.exchange import SHARDS, JsonObject
from router.governance.months import (
    CLOSED,
    DOCUMENT_FORMAT,
    MOST_NAMED,
    OPEN,
    Hindrance,
    Period,
    Standing,
    Version,
    canonical,
    closable,
    digest_of,
    next_month,
)
from router.storage.sql import rollups
from router.storage.sql.administration import AdminEvent, Administration, administering
from router.storage.sql.chain import lock_heads
from router.storage.sql.engine import reading
from router.storage.sql.tables import admin_events, finance_periods, ledger_entries, ledger_lines, spend_days, spend_groups
from router.usage import Basis

OF_ENTRIES = (
    "app",
    "owner",
    "team",
    "cost_center",
    "purpose",
    "task",
    "sensitivity",
    "complexity",
    "rule",
    "revision",
    "tier",
    "asked_model",
    "impact",
    "latency_class",
)
OF_LINES = ("deployment", "model", "provider", "token_class", "unit", "basis", "outcome")
FROZEN = (*OF_ENTRIES, *OF_LINES)
"""The dimensions whose totals are frozen. Sessions are not among them: there are as many as there are conversations."""

ASKED, REOPENED, CLOSED_ACT = "period.reopen_asked", "period.reopened", "period.closed"
DIGEST_FAULT, LINES_FAULT = "the document is not the one whose digest was taken", "the lines do not add up to what was frozen"


class SqlMonths:
    """The months of a SQL store. Every change is an administrative act. SQL down: sqlalchemy.exc.DBAPIError, and nothing is changed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def all(self) -> list[Period]:
        """Every month that was ever closed, oldest first."""
        with reading(self._engine) as connection:
            return all_months(connection)

    def standing(self, at: datetime) -> Standing:
        """Which month is next, and what holds it up at a moment."""
        with reading(self._engine) as connection:
            return _standing(connection, at)

    def versions(self, month: str) -> list[Version]:
        """Everything that was ever done about a month, oldest first, with each document that was frozen."""
        query = select(admin_events.c.record).where(admin_events.c.subject == subject(month)).order_by(admin_events.c.seq)
        with reading(self._engine) as connection:
            events = [msgspec.json.decode(text, type=AdminEvent) for text in connection.scalars(query)]
        return [_version(event) for event in events]

    def wrong(self) -> list[tuple[str, str]]:
        """The closed months that are not as they were frozen, with what is wrong: found from the lines themselves."""
        with reading(self._engine) as connection:
            return list(faults(connection))

    def close(self, month: str, *, by: str, at: datetime) -> Period:
        """Freeze a month. While it is added up nothing is booked, so that the totals are those of what lies in it.

        Raises Refused: see `router.governance.months.closable`; `month_held_up` too where the sums by day are not those of the lines.
        """
        with administering(self._engine, by, at) as acting:
            connection = acting.connection
            lock_heads(connection, range(SHARDS))  # whoever books holds one of these
            zone = rollups.zone_of(connection)
            if zone is None:
                raise Refused("month_held_up", "nobody knows the report zone before the drainer has started: start the service")
            period = closable(month, _standing(connection, at))
            document = document_of(connection, period, zone)
            _agrees_with_days(connection, period, document)
            text = canonical(document)
            closed = msgspec.structs.replace(
                period,
                state=CLOSED,
                total_nano=document["total"]["cost_nano"],
                digest=digest_of(text),
                document=text,
                version=period.version + 1,
                closed_by=by,
                closed_at=at,
                asked_by=None,
            )
            connection.execute(_removed(month))
            connection.execute(insert(finance_periods).values(**msgspec.structs.asdict(closed)))
            acting.note(CLOSED_ACT, subject(month), stored_state(closed))
            return closed

    def ask(self, month: str, *, by: str, at: datetime) -> Period:
        """Note that somebody wants the last closed month opened again. Raises Refused(`month_held_up`)."""
        with administering(self._engine, by, at) as acting:
            asked = msgspec.structs.replace(_last_closed(acting.connection, month), asked_by=by)
            return _changed(acting, asked, ASKED)

    def reopen(self, month: str, *, by: str, at: datetime) -> Period:
        """Open the last closed month again, which somebody else has asked for. Raises Refused: `month_held_up`, `role_required`."""
        with administering(self._engine, by, at) as acting:
            lock_heads(acting.connection, range(SHARDS))
            period = _last_closed(acting.connection, month)
            if period.asked_by is None or period.asked_by == by:
                raise Refused("role_required", f"two people open {month} again: one asks and another one confirms")
            opened = Period(month, period.begins, period.ends, OPEN, version=period.version)
            return _changed(acting, opened, REOPENED)


def faults(connection: Connection) -> Iterable[tuple[str, str]]:
    """The closed months that are not as they were frozen, in a transaction of the caller's."""
    for period in all_months(connection):
        if period.state != CLOSED or period.document is None:
            continue
        if digest_of(period.document) != period.digest:
            yield period.month, DIGEST_FAULT
            continue
        frozen = msgspec.json.decode(period.document, type=JsonObject)
        again = document_of(connection, period, frozen["zone"], tuple(frozen["by"]))
        if canonical(again) != period.document or frozen["total"]["cost_nano"] != period.total_nano:
            yield period.month, f"{LINES_FAULT}: {_first_difference(frozen, again)}"


def document_of(connection: Connection, period: Period, zone: str, dimensions: Sequence[str] = FROZEN) -> JsonObject:
    """What is frozen of a month, from its lines: integers and words only, so that the same lines always make the same text."""
    entry, line = ledger_entries.c, ledger_lines.c
    keys: list[ColumnElement[Any]] = [line[name] if name in OF_LINES else entry[name] for name in dimensions]
    keys += [line.correction, line.unit_price.is_(None)]
    sums = [func.count(), func.sum(line.quantity), func.sum(line.cost_nano), func.sum(rollups.list_cost_column(connection))]
    query = select(*keys, *sums).select_from(ledger_lines.join(ledger_entries)).group_by(*keys)
    total = dict.fromkeys(("lines", "cost_nano", "list_nano", "estimated_nano", "corrected_nano", "unpriced_lines"), 0)
    by: dict[str, dict[str, dict[str, int]]] = {name: {} for name in dimensions}
    basis = tuple(dimensions).index("basis")
    for row in connection.execute(query.where(line.at >= period.begins, line.at < period.ends)):
        *values, correction, unpriced, lines, quantity, cost, listed = row
        amounts = {"lines": int(lines), "quantity": int(quantity), "cost_nano": int(cost), "list_nano": int(listed)}
        for name in ("lines", "cost_nano", "list_nano"):
            total[name] += amounts[name]
        total["estimated_nano"] += amounts["cost_nano"] if values[basis] == Basis.ESTIMATED.value else 0
        total["corrected_nano"] += amounts["cost_nano"] if correction else 0
        total["unpriced_lines"] += amounts["lines"] if unpriced else 0
        for name, value in zip(dimensions, values, strict=True):
            sums_of = by[name].setdefault(value, dict.fromkeys(amounts, 0))
            for what, amount in amounts.items():
                sums_of[what] += amount
    settled = select(func.count()).where(entry.closed_at >= period.begins, entry.closed_at < period.ends)
    return {
        "format": DOCUMENT_FORMAT,
        "month": period.month,
        "zone": zone,
        "begins": period.begins.isoformat(),
        "ends": period.ends.isoformat(),
        "currency": "USD",
        "requests": connection.scalar(settled) or 0,
        "total": total,
        "by": by,
    }


def subject(month: str) -> str:
    """What the administrative chain calls a month."""
    return f"period:{month}"


def period_of(row: Row[Any]) -> Period:
    """The month in a row of the table."""
    return Period(**{str(name): value for name, value in row._asdict().items()})


def stored_state(period: Period) -> dict[str, Any]:
    """A month as plain JSON values, as the audit chain holds it."""
    state: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(period))
    return state


def _version(event: AdminEvent) -> Version:
    state = event.state
    act = event.act.removeprefix("period.").replace("_", " ")
    return Version(
        act, event.at, event.actor, state["version"], state.get("total_nano"), state.get("digest"), state.get("document")
    )


def all_months(connection: Connection) -> list[Period]:
    """Every month that was ever closed, oldest first."""
    return [period_of(row) for row in connection.execute(select(finance_periods).order_by(finance_periods.c.month))]


def _standing(connection: Connection, at: datetime) -> Standing:
    entry = ledger_entries.c
    period = next_of(connection)
    if period is None:
        return Standing(None, False, ())
    waiting = (entry.closed_at.is_(None), entry.opened_at < period.ends)
    count = connection.scalar(select(func.count()).where(*waiting)) or 0
    named = select(entry.request_id).where(*waiting).order_by(entry.opened_at, entry.request_id).limit(MOST_NAMED)
    hindrances = [Hindrance("open requests", count, tuple(connection.scalars(named)))] if count else []
    return Standing(period, period.ends <= at, tuple(hindrances))


def next_of(connection: Connection) -> Period | None:
    """The month that is to be closed next; None where nothing was ever booked."""
    periods = all_months(connection)
    first = None if any(period.state == CLOSED for period in periods) else _first_booking(connection)
    return next_month(periods, first, rollups.zone_of(connection) or "UTC")


def _first_booking(connection: Connection) -> datetime | None:
    entry, line = ledger_entries.c, ledger_lines.c
    opened = select(func.min(entry.opened_at)).where(entry.closed_at.is_(None))
    firsts = [connection.scalar(query) for query in (select(func.min(line.at)), select(func.min(entry.closed_at)), opened)]
    return min((moment for moment in firsts if moment is not None), default=None)


def _last_closed(connection: Connection, month: str) -> Period:
    closed = [period for period in all_months(connection) if period.state == CLOSED]
    last = closed[-1] if closed else None
    if last is None or last.month != month:
        told = "no month is closed" if last is None else f"the last closed one is {last.month}"
        raise Refused("month_held_up", f"{month} cannot be opened again: {told}")
    return last


def _removed(month: str) -> Any:
    return finance_periods.delete().where(finance_periods.c.month == month)


def _changed(acting: Administration, period: Period, act: str) -> Period:
    values = {name: value for name, value in msgspec.structs.asdict(period).items() if name != "month"}
    acting.connection.execute(update(finance_periods).where(finance_periods.c.month == period.month).values(**values))
    acting.note(act, subject(period.month), stored_state(period))
    return period


def _agrees_with_days(connection: Connection, period: Period, document: JsonObject) -> None:
    """Reports read the sums by day: a month is not frozen beside other figures than they show."""
    zone = rollups.zone_of(connection)
    days = None if zone is None else rollups.whole_days(zone, period.begins, period.ends)
    if days is None:
        return
    table = spend_days.c
    sums = (func.coalesce(func.sum(table.cost_nano), 0), func.coalesce(func.sum(table.lines), 0))
    query = select(*sums).select_from(spend_days.join(spend_groups, table.group_id == spend_groups.c.id))
    cost, lines = connection.execute(query.where(table.day >= days[0], table.day < days[1])).one()
    if (int(cost), int(lines)) != (document["total"]["cost_nano"], document["total"]["lines"]):
        raise Refused(
            "month_held_up", f"the sums by day of {period.month} are not those of its lines: `router audit verify` says more"
        )


def _first_difference(frozen: JsonObject, again: JsonObject) -> str:
    for name, amount in frozen["total"].items():
        if again["total"][name] != amount:
            return f"`{name}` was {amount} and is {again['total'][name]}"
    for dimension, values in frozen["by"].items():
        if again["by"][dimension] != values:
            return f"by `{dimension}`"
    return "requests"
