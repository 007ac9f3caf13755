"""A table to export: columns with their kinds, and rows in batches; every format is written from one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from enum import Enum
from typing import NamedTuple

Cell = str | int | bool | datetime | None
Row = tuple[Cell, ...]
Batch = Sequence[Row]

NANO_DIGITS = 9
"""Digits behind the point of an amount in dollars that is exact to the nano-dollar."""


class Kind(Enum):
    """What the cells of a column hold."""

    TEXT = "text"
    TIME = "time"  # in UTC
    INTEGER = "integer"
    FLAG = "flag"
    DECIMAL = "decimal"  # an integer, `digits` of which stand behind the point
    JSON = "json"  # an object as text


class Column(NamedTuple):
    """One column; `digits` are those behind the point of a decimal. `empty`: whether a cell may be None."""

    name: str
    kind: Kind = Kind.TEXT
    digits: int = 0
    empty: bool = False


class Table(NamedTuple):
    """Columns, and how to come by the rows, once. `cost` is the place of the column whose sum is the cost in nano-USD (None: there is
    none), `time_text` how a moment reads where it is text."""

    columns: tuple[Column, ...]
    rows: Callable[[], Iterator[Batch]]
    cost: int | None
    time_text: Callable[[datetime], str] = datetime.isoformat


def decimal_text(value: int, digits: int) -> str:
    """A scaled integer in plain notation with all of its digits: -1_500 with 3 digits is `-1.500`."""
    if digits == 0:
        return str(value)
    sign = "-" if value < 0 else ""
    text = str(abs(value)).rjust(digits + 1, "0")
    return f"{sign}{text[:-digits]}.{text[-digits:]}"


def guarded(text: str) -> str:
    """A text that no spreadsheet takes for a formula: apps and owners choose their own words."""
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r", "\n"} else text
