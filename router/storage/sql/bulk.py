"""Many rows at once, past the parts of SQLAlchemy that cost more than the database does."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from functools import cache
from typing import Any

from sqlalchemy import Connection, Dialect, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.dialects.sqlite.base import SQLiteDialect

from router.storage.sql.tables import UtcTime, stored_time


class Clash(Enum):
    """What becomes of a row whose primary key is there already."""

    FAILS = "fails"
    REPLACES = "replaces"
    IS_LEFT = "is left"
    ADDS = "adds"  # its other columns to those of the row that is there


def add(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]], clash: Clash = Clash.FAILS) -> None:
    """Insert rows that have a value for each of the table's columns, in order; times as datetimes.

    Raises ValueError for a time without a zone.
    """
    if not rows:
        return
    dialect = connection.dialect.name
    times = _time_columns(table)
    stored = [_with_times(row, times, dialect) for row in rows]
    connection.exec_driver_sql(_statement(dialect, table, clash), stored)


def _with_times(row: tuple[Any, ...], times: tuple[int, ...], dialect: str) -> tuple[Any, ...]:
    cells = list(row)
    last = stored = None
    for place in times:
        if (moment := cells[place]) is not None:
            if moment is not last:  # often a line is booked when its use was
                last, stored = moment, stored_time(moment, dialect)
            cells[place] = stored
    return tuple(cells)


@cache
def _time_columns(table: Table) -> tuple[int, ...]:
    return tuple(place for place, column in enumerate(table.columns) if isinstance(column.type, UtcTime))


@cache
def _statement(dialect: str, table: Table, clash: Clash) -> str:
    placeholders: Dialect
    if dialect == "sqlite":
        statement: Any = sqlite.insert(table)
        placeholders = SQLiteDialect(paramstyle="qmark")
    else:
        statement = postgresql.insert(table)
        placeholders = PGDialect(paramstyle="format")  # type: ignore[no-untyped-call]
    key = list(table.primary_key)
    rest = [column for column in table.columns if not column.primary_key]
    if clash is Clash.REPLACES:
        statement = statement.on_conflict_do_update(index_elements=key, set_={c.name: statement.excluded[c.name] for c in rest})
    elif clash is Clash.ADDS:
        sums = {c.name: c + statement.excluded[c.name] for c in rest}
        statement = statement.on_conflict_do_update(index_elements=key, set_=sums)
    elif clash is Clash.IS_LEFT:
        statement = statement.on_conflict_do_nothing(index_elements=key)
    return str(statement.compile(dialect=placeholders))
