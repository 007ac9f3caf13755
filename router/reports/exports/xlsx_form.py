"""A table as a workbook: a summary, then the rows with real numbers and dates, filters and a header that stays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
from openpyxl.styles import Font
from openpyxl.utils import get_column_letter

from router.reports.exports.table import Batch, Column, Kind, Table, guarded

MOST_ROWS = 1_048_576
"""Of one sheet, its header among them."""

MONEY = "#,##0.000000000"
COUNT = "#,##0"
MOMENT = "yyyy-mm-dd hh:mm:ss"
BOLD = Font(bold=True)
WIDTHS = {Kind.TIME: 20, Kind.DECIMAL: 18, Kind.INTEGER: 14}
USUAL_WIDTH = 18
NANO = 1_000_000_000

SUMMED = ("cost_center", "team", "owner", "app", "model", "provider", "tier", "sensitivity", "token_class", "outcome")
"""What the summary shows costs by."""

MOST_SHOWN = 100
"""Values of each of them, the dearest first; the rest is one row."""


def write_xlsx(
    table: Table,
    sink: BinaryIO,
    seen: Callable[[Batch], None],
    said: Sequence[tuple[str, str]] = (),
    most_rows: int = MOST_ROWS,
) -> None:
    """Write the table; rows beyond what a sheet can hold go to further ones. `said` stands at the top of the summary. Times are in UTC."""
    book = Workbook(write_only=True)
    summary = book.create_sheet("Summary")
    sums = [(place, column.name) for place, column in enumerate(table.columns) if column.name in SUMMED]
    costs: dict[str, Counter[str]] = {name: Counter() for _, name in sums}
    total = rows = 0
    sheets = [_Sheet(book, table.columns, 1)]
    for batch in table.rows():
        for row in batch:
            if sheets[-1].rows == most_rows:
                sheets.append(_Sheet(book, table.columns, len(sheets) + 1))
            sheets[-1].append(row)
            cost: Any = row[table.cost] if table.cost is not None else 0
            total += cost
            rows += 1
            for place, name in sums:
                costs[name][str(row[place])] += cost
        seen(batch)
    _summarise(summary, said, rows, total, costs)
    for sheet in sheets:
        sheet.end()
    book.save(sink)


class _Sheet:
    """One sheet of rows."""

    def __init__(self, book: Any, columns: Sequence[Column], number: int) -> None:
        self.rows = 1
        self._last = get_column_letter(len(columns))
        self._sheet = book.create_sheet("Lines" if number == 1 else f"Lines {number}")
        self._sheet.freeze_panes = "A2"
        for place, column in enumerate(columns, start=1):
            self._sheet.column_dimensions[get_column_letter(place)].width = WIDTHS.get(column.kind, USUAL_WIDTH)
        self._sheet.append([_bold(self._sheet, column.name) for column in columns])
        self._cells = [self._shown(column) for column in columns]

    def append(self, row: Sequence[Any]) -> None:
        """One more row."""
        self._sheet.append([None if value is None else show(value) for show, value in zip(self._cells, row, strict=True)])
        self.rows += 1

    def end(self) -> None:
        """Lay the filters over what is there."""
        self._sheet.auto_filter.ref = f"A1:{self._last}{self.rows}"

    def _shown(self, column: Column) -> Callable[[Any], Any]:
        # A cell is written when its row is appended: the next row can use it again.
        if column.kind is Kind.TIME:
            return _again(self._sheet, MOMENT, lambda value: value.replace(tzinfo=None))
        if column.kind is Kind.DECIMAL:
            unit = 10**column.digits
            return _again(self._sheet, MONEY, lambda value: value / unit)
        if column.kind in (Kind.INTEGER, Kind.FLAG):
            return lambda value: value
        return _word


def _again(sheet: Any, number_format: str, value_of: Callable[[Any], Any]) -> Callable[[Any], Any]:
    cell = WriteOnlyCell(sheet)
    cell.number_format = number_format

    def show(value: Any) -> Any:
        cell.value = value_of(value)
        cell.number_format = number_format  # a date brings a format of its own
        return cell

    return show


def _word(value: str) -> str:
    return guarded(ILLEGAL_CHARACTERS_RE.sub("�", value))


def _bold(sheet: Any, value: str) -> Any:
    cell = WriteOnlyCell(sheet, value)
    cell.font = BOLD
    return cell


def _number(sheet: Any, value: float, number_format: str) -> Any:
    cell = WriteOnlyCell(sheet, value)
    cell.number_format = number_format
    return cell


def _summarise(sheet: Any, said: Sequence[tuple[str, str]], rows: int, total: int, costs: dict[str, Counter[str]]) -> None:
    sheet.column_dimensions["A"].width = 28
    sheet.column_dimensions["B"].width = 40
    sheet.column_dimensions["C"].width = 20
    for name, value in said:
        sheet.append([_bold(sheet, name), _word(value)])
    sheet.append([_bold(sheet, "rows"), _number(sheet, rows, COUNT)])
    sheet.append([_bold(sheet, "total USD"), _number(sheet, total / NANO, MONEY)])
    sheet.append([_bold(sheet, "total nano-USD"), str(total)])  # a number of Excel holds 15 digits
    for name, by in costs.items():
        sheet.append([])
        sheet.append([_bold(sheet, name), _bold(sheet, "value"), _bold(sheet, "cost USD")])
        dearest = sorted(by.items(), key=lambda item: (-item[1], item[0]))
        for value, cost in dearest[:MOST_SHOWN]:
            sheet.append([None, _word(value), _number(sheet, cost / NANO, MONEY)])
        if rest := dearest[MOST_SHOWN:]:
            others = sum(cost for _, cost in rest)
            sheet.append([None, f"{len(rest)} others", _number(sheet, others / NANO, MONEY)])
