"""A table as CSV, UTF-8, one row after the other."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import datetime
from typing import Any, BinaryIO

from router.reports.exports.table import Batch, Column, Kind, Table, decimal_text, guarded


def write_csv(table: Table, sink: BinaryIO, seen: Callable[[Batch], None]) -> None:
    """Write the table; what is missing is an empty field, numbers are plain decimals. `seen` is told of each batch."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column.name for column in table.columns])
    shown = [_shown(column, table.time_text) for column in table.columns]
    for batch in table.rows():
        writer.writerows([[show(cell) for show, cell in zip(shown, row, strict=True)] for row in batch])
        sink.write(text.getvalue().encode())
        text.seek(0)
        text.truncate()
        seen(batch)
    sink.write(text.getvalue().encode())


def _shown(column: Column, time_text: Callable[[datetime], str]) -> Callable[[Any], str | int]:
    if column.kind is Kind.DECIMAL:
        digits = column.digits
        return lambda cell: "" if cell is None else decimal_text(cell, digits)
    if column.kind is Kind.TIME:
        return lambda cell: "" if cell is None else time_text(cell)
    if column.kind is Kind.FLAG:
        return lambda cell: "" if cell is None else "true" if cell else "false"
    if column.kind is Kind.INTEGER:
        return lambda cell: "" if cell is None else cell
    return lambda cell: "" if cell is None else guarded(cell)
