"""The ledger: one entry per admitted request, closed once, and the lines that add up to its cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import ColumnElement, Connection, Engine, FromClause, Select, case, func, literal, select

from router.exchange import Admitted, Outcome
from router.reports.spend import DIMENSIONS, Figures, SpendReport, SpendRow
from router.storage.sql import rollups
from router.storage.sql.engine import reading
from router.storage.sql.tables import ledger_entries, ledger_lines, request_days, spend_days, spend_groups
from router.usage import Basis
from routing_rules.decisions import Hold, Permit

UNKNOWN = "unknown"
"""What stands in an entry whose intent was never recorded."""

UNITEMISED = "unitemised"
"""The token class of a cost that no line of the outcome accounts for, as when a dead process is charged its hold."""


class Entry(msgspec.Struct, frozen=True):
    """One admitted request, as stored. Money in nano-USD. `cost_nano` is the sum of its lines."""

    request_id: str
    opened_at: datetime | None = None
    closed_at: datetime | None = None
    app: str = UNKNOWN
    owner: str = UNKNOWN
    team: str = UNKNOWN
    cost_center: str = UNKNOWN
    purpose: str = UNKNOWN
    session: str = UNKNOWN
    task: str = UNKNOWN
    sensitivity: str = UNKNOWN
    complexity: str = UNKNOWN
    rule: str = UNKNOWN
    revision: str = UNKNOWN
    tier: str = UNKNOWN
    deployment: str = UNKNOWN
    model: str = UNKNOWN
    provider: str = UNKNOWN
    outcome: str | None = None
    code: str | None = None
    basis: str | None = None
    held_nano: int = 0
    cost_nano: int = 0
    over_hold: bool = False
    line_count: int = 0
    corrections: int = 0


class EntryLine(msgspec.Struct, frozen=True):
    """One line of an entry, as stored: an attempt and a token class. A correction takes lines back with opposite signs."""

    request_id: str
    line: int
    at: datetime
    attempt: int
    deployment: str
    provider: str
    model: str
    token_class: str
    quantity: int
    unit_price: int | None
    cost_nano: int
    basis: str
    outcome: str
    price_source: str
    correction: bool


def opened(entry: Entry | None, record: Admitted) -> Entry:
    """The entry of an admitted request; one that its outcome had to make without it gets what was unknown."""
    facts, decision = record.facts, record.decision
    caller = facts.caller
    entry = entry or Entry(record.request_id, deployment=record.deployment)
    return msgspec.structs.replace(
        entry,
        opened_at=record.at,
        app=caller.app,
        owner=caller.owner,
        team=caller.team,
        cost_center=caller.cost_center,
        purpose=caller.purpose,
        session=record.session,
        task=facts.task.value,
        sensitivity=facts.labels.confidentiality.value,
        complexity=facts.complexity.value,
        rule=decision.rule,
        revision=decision.revision,
        tier=decision.tier if isinstance(decision, Permit) else decision.permit.tier if isinstance(decision, Hold) else UNKNOWN,
        held_nano=record.held_nano,
    )


def posted(entry: Entry | None, record: Outcome, previous: Outcome | None) -> tuple[Entry, list[EntryLine]]:
    """The entry closed by an outcome, or corrected by a later one, and the lines that this adds.

    `previous` is the outcome that a correction replaces: its lines are taken back first, so that the sum stays the cost.
    """
    entry = entry or Entry(record.request_id)
    before = [] if previous is None else _lines(entry, previous, entry.line_count)
    taken_back = [
        msgspec.structs.replace(line, at=record.at, quantity=-line.quantity, cost_nano=-line.cost_nano, correction=True)
        for line in before
    ]
    lines = taken_back + _lines(entry, record, entry.line_count + len(taken_back), correction=previous is not None)
    used = lines[-1] if lines else None
    return (
        msgspec.structs.replace(
            entry,
            closed_at=entry.closed_at or record.at,
            deployment=record.deployment or entry.deployment,
            model=used.model if used else entry.model,
            provider=used.provider if used else entry.provider,
            outcome=record.outcome,
            code=record.code,
            basis=record.basis.value,
            cost_nano=record.cost_nano,
            over_hold=record.over_hold,
            line_count=entry.line_count + len(lines),
            corrections=entry.corrections + (previous is not None),
        ),
        lines,
    )


def _lines(entry: Entry, record: Outcome, first: int, *, correction: bool = False) -> list[EntryLine]:
    lines = [
        EntryLine(
            request_id=record.request_id,
            line=first + place,
            at=record.at,
            attempt=line.attempt,
            deployment=line.deployment,
            provider=line.provider or entry.provider,
            model=line.model or entry.model,
            token_class=line.token_class,
            quantity=line.quantity,
            unit_price=line.unit_price,
            cost_nano=line.cost_nano,
            basis=line.basis.value,
            outcome=line.outcome,
            price_source=line.price_source,
            correction=correction,
        )
        for place, line in enumerate(record.lines)
    ]
    if rest := record.cost_nano - sum(line.cost_nano for line in lines):
        last = record.lines[-1] if record.lines else None
        lines.append(
            EntryLine(
                request_id=record.request_id,
                line=first + len(lines),
                at=record.at,
                attempt=last.attempt if last else 0,
                deployment=record.deployment or entry.deployment,
                provider=last.provider if last else entry.provider,
                model=last.model if last else entry.model,
                token_class=UNITEMISED,
                quantity=0,
                unit_price=None,
                cost_nano=rest,
                basis=record.basis.value,
                outcome=record.outcome,
                price_source="hold",
                correction=correction,
            )
        )
    return lines


def entry_of(engine: Engine, request_id: str) -> tuple[Entry, list[EntryLine]] | None:
    """A request's entry and its lines in order, or None."""
    with reading(engine) as connection:
        row = connection.execute(select(ledger_entries).where(ledger_entries.c.request_id == request_id)).one_or_none()
        if row is None:
            return None
        lines = connection.execute(
            select(ledger_lines).where(ledger_lines.c.request_id == request_id).order_by(ledger_lines.c.line)
        )
        return Entry(*row), [EntryLine(*line) for line in lines]


def open_entries(engine: Engine, before: datetime) -> list[Entry]:
    """Entries opened before a moment that no outcome has closed."""
    query = select(ledger_entries).where(ledger_entries.c.closed_at.is_(None), ledger_entries.c.opened_at < before)
    with reading(engine) as connection:
        return [Entry(*row) for row in connection.execute(query)]


def owner_spend(engine: Engine, month: date) -> dict[str, int]:
    """What each owner's requests cost that were admitted in the calendar month (UTC) of `month`, in nano-USD: the balances
    that budgets start from where Redis has lost them. Open entries cost nothing yet."""
    begin = datetime(month.year, month.month, 1, tzinfo=UTC)
    end = datetime(month.year + month.month // 12, month.month % 12 + 1, 1, tzinfo=UTC)
    admitted = func.coalesce(ledger_entries.c.opened_at, ledger_entries.c.closed_at)
    query = (
        select(ledger_entries.c.owner, func.sum(ledger_entries.c.cost_nano))
        .where(admitted >= begin, admitted < end)
        .group_by(ledger_entries.c.owner)
    )
    with reading(engine) as connection:
        return {owner: int(nano) for owner, nano in connection.execute(query)}


def report_zone(engine: Engine) -> ZoneInfo:
    """The time zone of the days in reports."""
    with engine.connect() as connection:
        return ZoneInfo(rollups.zone_of(connection) or "UTC")


def spend(engine: Engine, by: Sequence[str], since: datetime | None = None, until: datetime | None = None) -> SpendReport:
    """Cost and use grouped by dimensions (`router.reports.spend.DIMENSIONS`).

    A cost counts when it was booked, a request when it was settled, an open one when it was opened. Where attempts of one
    request went to several deployments, each cost stands with its own, the request with the one that served it. Days are those
    of `report_zone`. Whole days are read from what is added up by day, unless sessions are asked for.
    """
    groups: dict[tuple[str, ...], Figures] = {}
    with reading(engine) as connection:
        zone = rollups.zone_of(connection)
        for part in _parts(connection, zone, by, since, until):
            for row in connection.execute(part.query(by)):
                group = tuple(row[: len(by)])
                figures = Figures(**{name: int(value) for name, value in zip(part.sums, row[len(by) :], strict=True)})
                groups[group] = groups.get(group, Figures()) + figures
    rows = [SpendRow(group, figures) for group, figures in groups.items()]
    rows.sort(key=lambda row: (-row.figures.cost_nano, row.group))
    return SpendReport(tuple(by), since, until, tuple(rows))


def _sum(condition: ColumnElement[bool], value: ColumnElement[int]) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((condition, value), else_=0)), 0)


def _costs(columns: Any, unpriced: ColumnElement[bool]) -> dict[str, ColumnElement[int]]:
    def tokens(token_class: str) -> ColumnElement[int]:
        return _sum(columns["token_class"] == token_class, columns["quantity"])

    return {
        "cost_nano": func.coalesce(func.sum(columns["cost_nano"]), 0),
        "estimated_nano": _sum(columns["basis"] == Basis.ESTIMATED.value, columns["cost_nano"]),
        "corrected_nano": _sum(columns["correction"].is_(True), columns["cost_nano"]),
        "unpriced_tokens": _sum(unpriced, columns["quantity"]),
        "input_tokens": tokens("input"),
        "cached_input_tokens": tokens("cached_input"),
        "cache_write_tokens": tokens("cache_write"),
        "output_tokens": tokens("output"),
        "reasoning_tokens": tokens("reasoning"),
    }


def _total(column: ColumnElement[int]) -> ColumnElement[int]:
    return func.coalesce(func.sum(column), 0)


_SETTLED: dict[str, ColumnElement[int]] = {
    "requests": func.count(),
    "over_hold": _sum(ledger_entries.c.over_hold.is_(True), literal(1)),
}
_COUNTED: dict[str, ColumnElement[int]] = {
    "requests": _total(request_days.c.requests),
    "over_hold": _total(request_days.c.over_hold),
}
_UNSETTLED: dict[str, ColumnElement[int]] = {
    "open_requests": func.count(),
    "open_held_nano": _total(ledger_entries.c.held_nano),
}


@dataclass(frozen=True, slots=True)
class _Part:
    """One query of the report: what it sums, from where, under which conditions, and the column of each dimension."""

    source: FromClause
    columns: Mapping[str, ColumnElement[str]]
    sums: Mapping[str, ColumnElement[int]]
    conditions: tuple[ColumnElement[bool], ...]

    def query(self, by: Sequence[str]) -> Select[*tuple[Any, ...]]:
        groups = [self.columns[name] for name in by]
        query: Select[*tuple[Any, ...]] = select(*groups, *self.sums.values()).select_from(self.source).where(*self.conditions)
        return query.group_by(*groups) if groups else query


def _parts(
    connection: Connection, zone: str | None, by: Sequence[str], since: datetime | None, until: datetime | None
) -> Iterator[_Part]:
    def dimensions(at: ColumnElement[datetime], own: Mapping[str, ColumnElement[str]]) -> dict[str, ColumnElement[str]]:
        columns = {name: own.get(name, ledger_entries.c[name]) for name in DIMENSIONS if name != "day"}
        return {**columns, "day": rollups.day_column(connection, zone or "UTC", at)}

    def between(at: ColumnElement[datetime]) -> tuple[ColumnElement[bool], ...]:
        conditions: list[ColumnElement[bool]] = [at.is_not(None)]
        if since is not None:
            conditions.append(at >= since)
        if until is not None:
            conditions.append(at < until)
        return tuple(conditions)

    entry, line = ledger_entries.c, ledger_lines.c
    waiting = (entry.closed_at.is_(None), *between(entry.opened_at))
    yield _Part(ledger_entries, dimensions(entry.opened_at, {}), _UNSETTLED, waiting)
    if zone is not None and "session" not in by and (days := rollups.whole_days(zone, since, until)) is not None:
        for table, sums in ((spend_days, _costs(spend_days.c, spend_days.c.priced.is_(False))), (request_days, _COUNTED)):
            conditions = [table.c.lines != 0] if table is spend_days else [table.c.requests != 0]
            conditions += [table.c.day >= days[0]] if days[0] else []
            conditions += [table.c.day < days[1]] if days[1] else []
            source = table.join(spend_groups, table.c.group_id == spend_groups.c.id)
            columns = {name: spend_groups.c[name] for name in rollups.GROUP_COLUMNS} | {"day": table.c.day}
            yield _Part(source, columns, sums, tuple(conditions))
        return
    billed = {name: line[name] for name in ("model", "deployment", "provider")}
    costs = _costs(line, line.unit_price.is_(None))
    yield _Part(ledger_lines.join(ledger_entries), dimensions(line.at, billed), costs, between(line.at))
    yield _Part(ledger_entries, dimensions(entry.closed_at, {}), _SETTLED, between(entry.closed_at))
