"""Tables of the finance pages as workbooks. Imported when the first one is asked for: openpyxl is no part of a worker."""

from __future__ import annotations

import io
from datetime import date, datetime
from typing import Any

from openpyxl import Workbook
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE, Cell
from openpyxl.styles import Alignment, Font
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet

from router.console.figures import Column, Table, Value, dollars_of

NUMBER_FORMATS = {
    "money": "#,##0.00#######",
    "count": "#,##0",
    "percent": "0.0%",
    "seconds": "#,##0.0",
    "moment": "yyyy-mm-dd hh:mm:ss",
}
LONGEST_CELL = 32_767
WIDEST = 48


def workbook(table: Table) -> bytes:
    """A sheet with the table, whose numbers, days and moments are such, and one that says what it is of. Amounts are dollars."""
    book = Workbook()
    summary = book.active
    summary.title = "Summary"
    _summarised(summary, table)
    sheet = book.create_sheet("Table")
    for number, column in enumerate(table.columns, 1):
        _put(sheet.cell(1, number), f"{column.name} (USD)" if column.kind == "money" else column.name)
        sheet.cell(1, number).font = Font(bold=True)
        sheet.cell(1, number).alignment = Alignment(horizontal="right" if column.is_number else "left")
    for place, row in enumerate(table.rows, 2):
        for number, (value, column) in enumerate(zip(row.values, table.columns, strict=True), 1):
            _fill(sheet.cell(place, number), value, column)
    for number, column in enumerate(table.columns, 1):
        longest = max((len(str(row.values[number - 1])) for row in table.rows if not column.is_number), default=0)
        sheet.column_dimensions[get_column_letter(number)].width = min(max(longest, len(column.name) + 8, 12) + 2, WIDEST)
    sheet.freeze_panes = "B2"
    sheet.auto_filter.ref = f"A1:{get_column_letter(len(table.columns))}{max(len(table.rows) + 1, 2)}"
    book.active = 1
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _summarised(sheet: Worksheet, table: Table) -> None:
    _put(sheet.cell(1, 1), table.title)
    sheet.cell(1, 1).font = Font(bold=True, size=14)
    place = 3
    for name, told in table.about:
        _put(sheet.cell(place, 1), name)
        _put(sheet.cell(place, 2), told)
        place += 1
    if table.total is not None:
        for value, column in zip(table.total.values, table.columns, strict=True):
            if column.is_number and value is not None:
                _put(sheet.cell(place, 1), f"{column.name} (USD)" if column.kind == "money" else column.name)
                _fill(sheet.cell(place, 2), value, column)
                place += 1
    for row in range(3, place):
        sheet.cell(row, 1).font = Font(bold=True)
        sheet.cell(row, 2).alignment = Alignment(horizontal="left")
    sheet.column_dimensions["A"].width = 34
    sheet.column_dimensions["B"].width = WIDEST


def _fill(cell: Cell, value: Value, column: Column) -> None:
    if isinstance(value, str) or value is None:
        _put(cell, value or "")
        return
    told: Any = value
    if column.kind == "money" and isinstance(value, int):
        told = dollars_of(value)
    elif column.kind == "percent" and isinstance(value, int | float):
        told = value / 100
    elif isinstance(value, datetime):
        told = value.replace(tzinfo=None)  # a sheet knows no zones; the column says UTC
    cell.value = told
    if isinstance(value, date) and not isinstance(value, datetime):
        cell.number_format = "yyyy-mm-dd"
    elif column.kind in NUMBER_FORMATS:
        cell.number_format = NUMBER_FORMATS[column.kind]


def _put(cell: Cell, text: str) -> None:
    """Text, which is never a formula."""
    if text:
        cell.value = ILLEGAL_CHARACTERS_RE.sub("�", text)[:LONGEST_CELL]
        cell.data_type = "s"
