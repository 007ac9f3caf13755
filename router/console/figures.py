"""Tables of the finance pages as values: what a page shows of them, and what is downloaded."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Literal

import msgspec

from router.console.charts import Chart
from router.console.shown import NANO
from router.money import usd

Value = str | int | float | date | datetime | None
Kind = Literal["text", "prose", "money", "count", "percent", "seconds", "moment"]

MOST_SHOWN = 200
"""Rows of a table on a page; the download has them all."""


class Column(msgspec.Struct, frozen=True):
    """A column. Money is nano-USD, a percentage a number of hundredths, seconds a number, a moment in UTC. `aside`: only in downloads."""

    name: str
    kind: Kind = "text"
    aside: bool = False

    @property
    def is_number(self) -> bool:
        """Whether it stands at the right."""
        return self.kind not in ("text", "prose", "moment")


class Row(msgspec.Struct, frozen=True):
    """A row; `href` is where its first cell leads, `mark` a word beside it."""

    values: tuple[Value, ...]
    href: str = ""
    mark: str = ""


class Table(msgspec.Struct, frozen=True):
    """A table. `total` is the sum below it, where there is one; `about` are (name, value) pairs that say what it is of."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    total: Row | None = None
    about: tuple[tuple[str, str], ...] = ()


class Shown(msgspec.Struct, frozen=True):
    """A row as a page shows it."""

    cells: tuple[str, ...]
    href: str = ""
    mark: str = ""


class Panel(msgspec.Struct, frozen=True):
    """A chart, if there is one, with its table. `query` is what both are asked for with; `name` theirs in the addresses of downloads."""

    name: str
    title: str
    told: str
    table: Table
    query: str
    chart: Chart | None = None
    empty: str = "Nothing was spent."

    @property
    def columns(self) -> tuple[Column, ...]:
        """Those that a page shows."""
        return tuple(column for column in self.table.columns if not column.aside)

    @property
    def rows(self) -> tuple[Shown, ...]:
        """The first rows, as text."""
        return tuple(_shown(self.table, self.table.rows[:MOST_SHOWN]))

    @property
    def total(self) -> Shown | None:
        """The sum, as text."""
        return next(iter(_shown(self.table, [self.table.total])), None) if self.table.total is not None else None

    @property
    def left_out(self) -> int:
        """How many rows only the download has."""
        return max(len(self.table.rows) - MOST_SHOWN, 0)


def dollars_of(nano: int) -> float:
    """Dollars, to be drawn or calculated with; exact to the nano-dollar below nine million."""
    return nano / NANO


def as_csv(table: Table) -> bytes:
    """A table as CSV with exact amounts. The total is no row of it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(f"{column.name} (USD)" if column.kind == "money" else column.name for column in table.columns)
    for row in table.rows:
        writer.writerow(_exact(value, column) for value, column in zip(row.values, table.columns, strict=True))
    return text.getvalue().encode()


def _exact(value: Value, column: Column) -> str:
    if value is None:
        return ""
    if column.kind == "money" and isinstance(value, int):
        return usd(value)
    if isinstance(value, str):  # a spreadsheet runs text that begins like a formula; apps choose the names of their sessions
        return f"'{value}" if value[:1] in {"=", "+", "-", "@", "\t", "\r"} else value
    return value.isoformat() if isinstance(value, date) else str(value)


def _shown(table: Table, rows: Sequence[Row]) -> Iterable[Shown]:
    everything = [*table.rows[:MOST_SHOWN], *([table.total] if table.total is not None else [])]
    digits = [_digits([row.values[place] for row in everything]) for place in range(len(table.columns))]
    for row in rows:
        cells = (
            _cell(value, column.kind, places)
            for value, column, places in zip(row.values, table.columns, digits, strict=True)
            if not column.aside
        )
        yield Shown(tuple(cells), row.href, row.mark)


def _digits(values: Sequence[Value]) -> int:
    """As many behind the point as show the largest amount of a column: all of it stand below one another."""
    most = max((abs(value) for value in values if isinstance(value, int)), default=0) / NANO
    return 2 if most >= 1 or most == 0 else 4 if most >= 0.01 else 6 if most >= 0.0001 else 9


def _cell(value: Value, kind: Kind, digits: int) -> str:
    if value is None:
        return "–"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str):
        return value.replace("_", " ") if kind not in ("text", "prose") else value
    if kind == "money" and value == 0:
        return "$0"
    if kind == "money":
        least = 10**-digits
        sign, amount = ("−", -value / NANO) if value < 0 else ("", value / NANO)
        return f"{sign}<${least:.{digits}f}" if 0 < amount < least / 2 else f"{sign}${amount:,.{digits}f}"
    if kind == "percent":
        return f"{value:,.1f} %".replace("-", "−")
    if kind == "seconds":
        return f"{value:,.1f}".replace("-", "−")
    return f"{value:,}".replace("-", "−")
