"""Reads the ledger for reports: what was spent, by any dimension, from the sums by day where that is the same and else from the lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    FromClause,
    Select,
    String,
    Subquery,
    Table,
    and_,
    case,
    func,
    literal,
    not_,
    or_,
    select,
    type_coerce,
)

from router.reports.spans import day_begins
from router.reports.spend import (
    FIGURES_OF_CLASSES,
    OPEN,
    PRICED,
    TOKEN_CLASSES,
    UNALLOCATED,
    UNALLOCATED_DIMENSIONS,
    UNITEMISED,
    UNKNOWN,
    UNPRICED,
    WHOLE_REQUEST,
    Figures,
    SpendReport,
    SpendRow,
)
from router.storage.sql import rollups
from router.storage.sql.engine import reading
from router.storage.sql.tables import ledger_entries, ledger_lines, request_days, spend_days, spend_groups
from router.usage import Basis

Where = Mapping[str, Sequence[str]]
"""What a report is narrowed to: of each dimension named, any of these values."""

ONLY_IN_LINES = frozenset({"session", "hour", "price_book"})
"""What is not added up by day: a report by it, or narrowed to some of it, reads the lines themselves."""

OWN_OF_LINES = ("deployment", "model", "provider")
"""What each line has of its own, where a request has that of its last one."""

OF_LINES_ONLY = ("token_class", "basis", "priced", "price_book")
"""What a line has and a request as a whole has not."""


def report_zone(engine: Engine) -> ZoneInfo:
    """The time zone of the days in reports."""
    with engine.connect() as connection:
        return ZoneInfo(rollups.zone_of(connection) or "UTC")


def spend(
    engine: Engine,
    by: Sequence[str],
    since: datetime | None = None,
    until: datetime | None = None,
    where: Where | None = None,
) -> SpendReport:
    """Cost and use grouped by dimensions (`router.reports.spend.DIMENSIONS`), of what has one of the values in `where`.

    A cost counts when it was booked, a request when it was settled, an open one when it was opened. Where attempts of one
    request went to several deployments, each cost stands with its own, the request with the one that served it. Hours, days and
    longer are those of `report_zone`. Whole days are read from what is added up by day, unless hours or sessions are asked for.
    """
    narrowed = dict(where or {})
    groups: dict[tuple[str, ...], Figures] = {}
    with reading(engine) as connection:
        for part in parts(connection, by, since, until, narrowed):
            for row in connection.execute(part.query(by)):
                group = part.group(by, row)
                sums = row[len(row) - len(part.sums) :]
                figures = Figures(**{name: int(value) for name, value in zip(part.sums, sums, strict=True)})
                if figures != Figures():
                    groups[group] = groups.get(group, Figures()) + figures
    rows = [SpendRow(group, figures) for group, figures in groups.items()]
    rows.sort(key=lambda row: (-row.figures.cost_nano, row.group))
    return SpendReport(tuple(by), since, until, tuple(rows), {name: tuple(values) for name, values in narrowed.items()})


@dataclass(frozen=True, slots=True)
class Part:
    """One query of a report: what it sums, from where, under which conditions, and the column of each dimension, or its one word."""

    source: FromClause
    columns: Mapping[str, ColumnElement[Any] | str]
    sums: Mapping[str, ColumnElement[int]]
    conditions: tuple[ColumnElement[bool], ...]

    def query(self, by: Sequence[str]) -> Select[*tuple[Any, ...]]:
        """The sums of each group."""
        groups = [column for name in by if not isinstance(column := self.columns[name], str)]
        query: Select[*tuple[Any, ...]] = select(*groups, *self.sums.values()).select_from(self.source).where(*self.conditions)
        return query.group_by(*groups) if groups else query

    def group(self, by: Sequence[str], row: Sequence[Any]) -> tuple[str, ...]:
        """The group that a row of the query is of."""
        values = iter(row)
        return tuple(column if isinstance(column := self.columns[name], str) else shown(name, next(values)) for name in by)


def shown(dimension: str, value: Any) -> str:
    """A value of a column as reports say it."""
    if dimension == "priced":
        return PRICED if value else UNPRICED
    if dimension in UNALLOCATED_DIMENSIONS and value in ("", UNKNOWN):
        return UNALLOCATED
    return str(value) if value else UNKNOWN


def conditions_of(columns: Mapping[str, ColumnElement[Any] | str], where: Where) -> list[ColumnElement[bool]] | None:
    """What narrows a query to `where`; None where nothing of it can be meant."""
    found: list[ColumnElement[bool]] = []
    for name, values in where.items():
        column = columns[name]
        if isinstance(column, str):
            if column not in values:
                return None
        elif name == "priced":
            found.append(column.in_([value == PRICED for value in values if value in (PRICED, UNPRICED)]))
        else:
            stored = set(values)
            if name in UNALLOCATED_DIMENSIONS and UNALLOCATED in stored:
                stored |= {"", UNKNOWN}
            elif name in UNALLOCATED_DIMENSIONS:
                stored -= {"", UNKNOWN}
            elif UNKNOWN in stored:
                stored.add("")
            found.append(column.in_(sorted(stored)))
    return found


def parts(
    connection: Connection, by: Sequence[str], since: datetime | None, until: datetime | None, where: Where
) -> Iterator[Part]:
    """The queries that a report is the sum of."""
    zone = rollups.zone_of(connection)
    # What is narrowed to some groups is joined to them first, so that the days of the others are not added up.
    apart = bool({*by, *where} & CALENDAR or where.keys() & set(rollups.GROUP_COLUMNS))
    for part in _parts(connection, zone, {*by, *where}, since, until, apart=apart):
        narrowed = conditions_of(part.columns, where)
        if narrowed is not None:
            yield Part(part.source, part.columns, part.sums, (*part.conditions, *narrowed))


def _parts(
    connection: Connection, zone: str | None, named: set[str], since: datetime | None, until: datetime | None, *, apart: bool
) -> Iterator[Part]:
    yield waiting(connection, zone, since, until)
    spans = None if zone is None or named & ONLY_IN_LINES else _spans(zone, since, until)
    if spans is not None:
        first, behind, rest = spans
        for table in (spend_days, request_days):
            conditions = [table.c.lines != 0] if table is spend_days else [table.c.requests != 0]
            conditions += [table.c.day >= first] if first else []
            conditions += [table.c.day < behind] if behind else []
            sums_of = table if apart else _days_together(table, conditions, named)
            days: dict[str, ColumnElement[Any] | str] = {}
            if sums_of is table:
                days |= calendar(connection, table.c.day)
            columns = {name: spend_groups.c[name] for name in rollups.GROUP_COLUMNS} | days
            columns |= {"outcome": sums_of.c.outcome} if "outcome" in sums_of.c else {}
            columns |= _of_lines(sums_of.c, sums_of.c.priced.is_(True)) if table is spend_days else _WHOLE
            source = sums_of.join(spend_groups, sums_of.c.group_id == spend_groups.c.id)
            sums = _summed(sums_of.c) if table is spend_days else _counted(sums_of.c)
            yield Part(source, columns, sums, tuple(conditions) if sums_of is table else ())
        if rest is None:
            return
        since = rest
    yield settled(connection, zone, since, until)
    yield booked(connection, zone, since, until)


CALENDAR = frozenset({"day", "week", "month", "quarter", "year"})


def _days_together(table: Table, conditions: Sequence[ColumnElement[bool]], named: set[str]) -> Subquery:
    """The days of a report that does not tell them apart, added up by what else the sums have: what is then joined to groups and told
    apart by token class and basis is a thirtieth of a month."""
    keys = [column for column in table.primary_key if column.name != "day" and (column.name != "outcome" or "outcome" in named)]
    amounts = [column for column in table.columns if not column.primary_key]
    return (
        select(*keys, *(func.sum(column).label(column.name) for column in amounts)).where(*conditions).group_by(*keys).subquery()
    )


_WHOLE: dict[str, ColumnElement[Any] | str] = dict.fromkeys(OF_LINES_ONLY, WHOLE_REQUEST)
_ENTRY: dict[str, ColumnElement[Any] | str] = {name: ledger_entries.c[name] for name in (*rollups.GROUP_COLUMNS, "session")}


def waiting(connection: Connection, zone: str | None, since: datetime | None, until: datetime | None) -> Part:
    """Requests that are not settled yet, by when they were opened."""
    at = ledger_entries.c.opened_at
    columns = _ENTRY | _WHOLE | {"outcome": OPEN} | moments(connection, zone, at)
    return Part(ledger_entries, columns, _UNSETTLED, (ledger_entries.c.closed_at.is_(None), *between(at, since, until)))


def settled(connection: Connection, zone: str | None, since: datetime | None, until: datetime | None) -> Part:
    """Settled requests."""
    at = ledger_entries.c.closed_at
    columns = _ENTRY | _WHOLE | {"outcome": ledger_entries.c.outcome} | moments(connection, zone, at)
    return Part(ledger_entries, columns, _SETTLED, between(at, since, until))


def booked(connection: Connection, zone: str | None, since: datetime | None, until: datetime | None) -> Part:
    """Lines, by when they were booked."""
    line = ledger_lines.c
    own = {name: line[name] for name in (*OWN_OF_LINES, "outcome")} | _of_lines(line, line.unit_price.is_not(None))
    columns = _ENTRY | own | {"price_book": line.price_book} | moments(connection, zone, line.at)
    sums = _costs(line, line.unit_price.is_(None), rollups.list_cost_column(connection))
    return Part(ledger_lines.join(ledger_entries), columns, sums, between(line.at, since, until))


def _of_lines(columns: Any, priced: ColumnElement[bool]) -> dict[str, ColumnElement[Any] | str]:
    # A hold that was charged has a cost, though no price.
    known = or_(priced, columns["token_class"] == UNITEMISED)
    return {"token_class": columns["token_class"], "basis": columns["basis"], "priced": known}


def between(at: ColumnElement[datetime], since: datetime | None, until: datetime | None) -> tuple[ColumnElement[bool], ...]:
    """That a moment is known and lies within a span."""
    conditions: list[ColumnElement[bool]] = [at.is_not(None)]
    if since is not None:
        conditions.append(at >= since)
    if until is not None:
        conditions.append(at < until)
    return tuple(conditions)


def _spans(zone: str, since: datetime | None, until: datetime | None) -> tuple[str | None, str | None, datetime | None] | None:
    """The first whole day of a span, the day behind its last one, and the moment from which the rest is no whole day (None: there is
    none); None where it does not begin with a day, or has none."""
    if (days := rollups.whole_days(zone, since, until)) is not None:
        return (*days, None)
    if until is None or rollups.whole_days(zone, since, None) is None:
        return None
    local = until.astimezone(ZoneInfo(zone)).date()
    begin = day_begins(local, ZoneInfo(zone))
    if since is not None and since >= begin:
        return None
    first = None if since is None else since.astimezone(ZoneInfo(zone)).date().isoformat()
    return first, local.isoformat(), begin


def moments(connection: Connection, zone: str | None, at: ColumnElement[datetime]) -> dict[str, ColumnElement[str]]:
    """The hour, day and longer of the reports' time zone that a moment lies in."""
    where = zone or "UTC"
    return {"hour": _hour(connection, where, at), **calendar(connection, rollups.day_column(connection, where, at))}


def calendar(connection: Connection, day: ColumnElement[str]) -> dict[str, ColumnElement[str]]:
    """A day, given as ISO text, and the week, month, quarter and year that it lies in."""
    year, month = func.substr(day, 1, 4), func.substr(day, 6, 2)
    if connection.dialect.name == "postgresql":
        week: ColumnElement[str] = func.to_char(func.to_date(day, "YYYY-MM-DD"), 'IYYY-"W"IW')
    else:
        _define(connection, "iso_week", iso_week)
        week = func.iso_week(day)
    return {
        "day": day,
        "week": week,
        "month": func.substr(day, 1, 7),
        "quarter": year.concat(case((month < "04", "-Q1"), (month < "07", "-Q2"), (month < "10", "-Q3"), else_="-Q4")),
        "year": year,
    }


@lru_cache(maxsize=4096)
def iso_week(day: str) -> str:
    """The week of ISO 8601 that a day lies in; around new year it is of another year than the day."""
    year, week, _ = date.fromisoformat(day).isocalendar()
    return f"{year}-W{week:02}"


def _hour(connection: Connection, zone: str, at: ColumnElement[datetime]) -> ColumnElement[str]:
    """The hour as ISO text with its offset from UTC: where clocks are put back, one hour of the clock is two."""
    if connection.dialect.name == "postgresql":
        local = func.timezone(zone, at)
        offset = local - func.timezone("UTC", at)
        nothing = timedelta()
        sign = case((offset < nothing, "-"), else_="+")
        size = func.to_char(case((offset < nothing, -offset), else_=offset), "HH24:MI")
        return func.to_char(local, 'YYYY-MM-DD"T"HH24":00"').concat(sign).concat(size)
    if zone == "UTC":
        return func.substr(type_coerce(at, String), 1, 13).concat(":00+00:00")
    where = ZoneInfo(zone)

    @lru_cache(maxsize=4096)
    def hour(minute: str | None) -> str | None:
        if minute is None:
            return None
        return datetime.fromisoformat(f"{minute}+00:00").astimezone(where).replace(minute=0).isoformat(timespec="minutes")

    _define(connection, "local_hour", hour)
    return func.local_hour(func.substr(type_coerce(at, String), 1, 16))


def _define(connection: Connection, name: str, function: Callable[[str], str | None]) -> None:
    driver: Any = connection.connection.driver_connection
    driver.create_function(name, 1, function, deterministic=True)


def _sum(condition: ColumnElement[bool], value: ColumnElement[int]) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((condition, value), else_=0)), 0)


def _total(column: ColumnElement[int]) -> ColumnElement[int]:
    return func.coalesce(func.sum(column), 0)


def _costs(columns: Any, unpriced: ColumnElement[bool], listed: ColumnElement[int]) -> dict[str, ColumnElement[int]]:
    quantity = columns["quantity"]
    tokens = columns["token_class"].in_(TOKEN_CLASSES)
    sums = {
        "cost_nano": _total(columns["cost_nano"]),
        "list_nano": _total(listed),
        "estimated_nano": _sum(columns["basis"] == Basis.ESTIMATED.value, columns["cost_nano"]),
        "corrected_nano": _sum(columns["correction"].is_(True), columns["cost_nano"]),
        "unpriced_tokens": _sum(and_(unpriced, tokens), quantity),
        "unpriced_uses": _sum(and_(unpriced, not_(tokens)), quantity),
        "tool_uses": _sum(not_(tokens), quantity),
    }
    return sums | {name: _sum(columns["token_class"].in_(classes), quantity) for name, classes in FIGURES_OF_CLASSES.items()}


def _summed(columns: Any) -> dict[str, ColumnElement[int]]:
    return _costs(columns, columns["priced"].is_(False), columns["list_nano"])


def _counted(columns: Any) -> dict[str, ColumnElement[int]]:
    return {name: _total(columns[name]) for name in ("requests", "over_hold", "router_us", "upstream_us")}


_SETTLED: dict[str, ColumnElement[int]] = {
    "requests": func.count(),
    "over_hold": _sum(ledger_entries.c.over_hold.is_(True), literal(1)),
    "router_us": _total(ledger_entries.c.router_us),
    "upstream_us": _total(ledger_entries.c.upstream_us),
}
_UNSETTLED: dict[str, ColumnElement[int]] = {
    "open_requests": func.count(),
    "open_held_nano": _total(ledger_entries.c.held_nano),
}
