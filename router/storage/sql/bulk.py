"""Many rows at once, past the parts of SQLAlchemy that cost more than the database does."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Dialect, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.dialects.sqlite.base import SQLiteDialect

from router.storage.sql.tables import UtcTime, stored_time


def add(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]], *, replace: bool = False) -> None:
    """Insert rows that have a value for each of the table's columns, in order; times as datetimes.

    `replace` overwrites a row that has the same primary key. Raises ValueError for a time without a zone.
    """
    if not rows:
        return
    dialect = connection.dialect.name
    times = _time_columns(table)
    stored = [_with_times(row, times, dialect) for row in rows]
    connection.exec_driver_sql(_statement(dialect, table, replace), stored)


def _with_times(row: tuple[Any, ...], times: tuple[int, ...], dialect: str) -> tuple[Any, ...]:
    cells = list(row)
    for place in times:
        if cells[place] is not None:
            cells[place] = stored_time(cells[place], dialect)
    return tuple(cells)


@cache
def _time_columns(table: Table) -> tuple[int, ...]:
    return tuple(place for place, column in enumerate(table.columns) if isinstance(column.type, UtcTime))


@cache
def _statement(dialect: str, table: Table, replace: bool) -> str:
    placeholders: Dialect
    if dialect == "sqlite":
        statement: Any = sqlite.insert(table)
        placeholders = SQLiteDialect(paramstyle="qmark")
    else:
        statement = postgresql.insert(table)
        placeholders = PGDialect(paramstyle="format")  # type: ignore[no-untyped-call]
    if replace:
        rest = {column.name: statement.excluded[column.name] for column in table.columns if not column.primary_key}
        statement = statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=rest)
    return str(statement.compile(dialect=placeholders))
