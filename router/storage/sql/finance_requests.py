"""Reads the single requests behind a figure of a report, in the order of their bookings, a page at a time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, and_, or_, select

from router.reports.requests import Booking, BookingsPage, cursor, said
from router.storage.sql import rollups
from router.storage.sql.engine import reading
from router.storage.sql.finance import Part, Where, booked, conditions_of, settled, waiting
from router.storage.sql.tables import ledger_entries, ledger_lines

Key = tuple[datetime, str]
"""When something was booked, and for which request: what pages go by."""

LINES_OF_A_REQUEST = 8
"""How many lines are read at once for each booking of a page: most requests have fewer."""

SAID = (*rollups.GROUP_COLUMNS, "session", "outcome", "basis")


def bookings(
    engine: Engine, where: Where, since: datetime | None, until: datetime | None, after: Key | None = None, limit: int = 100
) -> BookingsPage:
    """What `router.storage.sql.finance.spend` adds up under the same conditions, request by request: its cost is the sum of theirs, its
    requests are those that are `settled`. `after` is the last booking of the page before."""
    with reading(engine) as connection:
        zone = rollups.zone_of(connection)
        lines, ends, opens = (_narrowed(make(connection, zone, since, until), where) for make in (booked, settled, waiting))
        sums = {} if lines is None else _sums(connection, lines, after, limit + 1)
        columns = ledger_entries.c
        closed = _keys(connection, ends, columns.closed_at, after, limit + 1)
        waits = _keys(connection, opens, columns.opened_at, after, limit + 1)
        keys = sorted({*sums, *closed, *waits})
        query = select(ledger_entries).where(columns.request_id.in_([request_id for _, request_id in keys[:limit]]))
        entries = {row.request_id: row for row in connection.execute(query)}
    found = []
    for at, request_id in keys[:limit]:
        entry = entries[request_id]
        cost, count = sums.get((at, request_id), (0, 0))
        found.append(
            Booking(
                at=at,
                request_id=request_id,
                cost_nano=cost,
                lines=count,
                settled=(at, request_id) in closed,
                open=(at, request_id) in waits,
                held_nano=entry.held_nano,
                code=entry.code,
                request=said({name: getattr(entry, name) for name in SAID}),
            )
        )
    return BookingsPage(tuple(found), cursor(*keys[limit - 1]) if len(keys) > limit else None)


def _narrowed(part: Part, where: Where) -> Part | None:
    conditions = conditions_of(part.columns, where)
    return None if conditions is None else Part(part.source, part.columns, part.sums, (*part.conditions, *conditions))


def _behind(at: ColumnElement[datetime], request_id: ColumnElement[str], after: Key | None) -> tuple[ColumnElement[bool], ...]:
    if after is None:
        return ()
    return (at >= after[0], or_(at > after[0], and_(at == after[0], request_id > after[1])))


def _keys(connection: Connection, part: Part | None, at: ColumnElement[datetime], after: Key | None, count: int) -> set[Key]:
    if part is None:
        return set()
    request_id = ledger_entries.c.request_id
    query = select(at, request_id).select_from(part.source).where(*part.conditions, *_behind(at, request_id, after))
    return {(row[0], row[1]) for row in connection.execute(query.order_by(at, request_id).limit(count))}


def _sums(connection: Connection, part: Part, after: Key | None, count: int) -> dict[Key, tuple[int, int]]:
    """Of the first so many bookings: the cost of their lines, and how many there are."""
    found: dict[Key, tuple[int, int]] = {}
    for at, request_id, cost in _lines(connection, part, after, count * LINES_OF_A_REQUEST):
        key = (at, request_id)
        if key not in found and len(found) == count:
            break
        total, lines = found.get(key, (0, 0))
        found[key] = (total + cost, lines + 1)
    return found


def _lines(connection: Connection, part: Part, after: Key | None, size: int) -> Iterator[tuple[datetime, str, int]]:
    """Lines in the order of their bookings. They are not added up in SQL: that would read all of them for one page."""
    line = ledger_lines.c
    query = select(line.at, line.request_id, line.line, line.cost_nano).select_from(part.source)
    query = query.order_by(line.at, line.request_id, line.line).limit(size)
    last: Any = None
    while True:
        behind = _behind(line.at, line.request_id, after) if last is None else _behind_line(last)
        rows = connection.execute(query.where(*part.conditions, *behind)).all()
        for row in rows:
            yield row.at, row.request_id, int(row.cost_nano)
        if len(rows) < size:
            return
        last = rows[-1]


def _behind_line(last: Any) -> tuple[ColumnElement[bool], ...]:
    line = ledger_lines.c
    same = and_(line.at == last.at, line.request_id == last.request_id, line.line > last.line)
    later = and_(line.at == last.at, line.request_id > last.request_id)
    return (line.at >= last.at, or_(line.at > last.at, later, same))
