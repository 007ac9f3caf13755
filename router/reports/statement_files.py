"""A chargeback statement as a page to print and as a workbook.

Imported by whoever needs it, when it is needed: a worker at start has neither openpyxl nor templates of reports. Text is never a formula.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined
from openpyxl import Workbook
from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet

from router.money import LARGEST_NANO, NANO_PER_USD
from router.reports.statement import (
    ROUNDING,
    Statement,
    StatementLine,
    as_csv,
    as_json,
    cents_of,
    dollars,
    exact,
    in_order,
    section_of,
)

TYPES = {
    "html": "text/html; charset=utf-8",
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "json": "application/json",
}
"""The media type of each format."""

USD, EXACT, COUNT, DAY = "#,##0.00;[Red]-#,##0.00", "#,##0.00#######;[Red]-#,##0.00#######", "#,##0", "yyyy-mm-dd"
LONGEST_CELL = 32_767
HEAD = PatternFill("solid", fgColor="E3EDF8")

_pages = Environment(
    loader=PackageLoader("router.reports"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)


def rendered(one: Statement, form: str) -> bytes:
    """The statement in one of `router.reports.statement.FORMATS`."""
    make: dict[str, Callable[[Statement], bytes]] = {
        "html": lambda each: page(each).encode(),
        "csv": lambda each: as_csv(each).encode(),
        "json": lambda each: as_json(each).encode(),
        "xlsx": workbook,
    }
    return make[form](one)


def page(one: Statement) -> str:
    """The statement as one HTML page that needs nothing else and prints well."""
    where = ZoneInfo(one.zone)
    first = one.begins.astimezone(where)
    last = (one.ends - timedelta(microseconds=1)).astimezone(where)
    return _pages.get_template("statement.html").render(
        one=one,
        title=f"{first:%B %Y}",
        first_day=f"{first:%Y-%m-%d}",
        last_day=f"{last:%Y-%m-%d}",
        columns=one.columns,
        earlier_nano=sum(line.cost_nano for line in one.earlier),
        unpriced=sum(one.unpriced.values()),
        dollars=dollars,
        exact=exact,
        shown=lambda nano: dollars(cents_of([nano])[0]),
        grouped=lambda count: f"{count:,}",
        rounding=ROUNDING,
    )


def workbook(one: Statement) -> bytes:
    """The statement as an .xlsx file: a summary, all lines with filters, and what was used. Numbers and dates are real ones."""
    book = Workbook()
    book.remove(book.active)
    _summary(book.create_sheet("summary"), one)
    _lines(book.create_sheet("lines"), one)
    _used(book.create_sheet("used"), one)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def _summary(sheet: Worksheet, one: Statement) -> None:
    where = ZoneInfo(one.zone)
    first = one.begins.astimezone(where).date()
    last = (one.ends - timedelta(microseconds=1)).astimezone(where).date()
    close = one.close
    earlier = sum(line.cost_nano for line in one.earlier)
    rows: list[tuple[str, Any, str]] = [
        ("Cost centre", one.cost_center, "@"),
        ("Month", one.month, "@"),
        ("First day", first, DAY),
        ("Last day", last, DAY),
        ("Time zone", one.zone, "@"),
        ("Status", one.status, "@"),
        ("Version of the close", close.version if close else "", COUNT),
        ("Closed (UTC)", close.at.replace(tzinfo=None) if close else "", "yyyy-mm-dd hh:mm:ss"),
        ("Closed by", close.by if close else "", "@"),
        ("SHA-256 of the close", close.digest if close else "", "@"),
        ("To pay, USD", _cents(one.total_cents), USD),
        ("The same, exact", _dollars(one.total_nano), EXACT),
        ("At list prices", _dollars(one.list_nano), EXACT),
        ("Discounts", _dollars(one.discount_nano), EXACT),
        ("Of which estimated", _dollars(one.estimated_nano), EXACT),
        ("From earlier months", _dollars(earlier), EXACT),
        ("Unallocated", _dollars(one.unallocated_nano), EXACT),
        ("Quantity without a price yet", sum(one.unpriced.values()), COUNT),
        ("Rounding", ROUNDING, "@"),
        ("Made (UTC)", one.made_at.replace(tzinfo=None), "yyyy-mm-dd hh:mm:ss"),
    ]
    for number, (name, value, style) in enumerate(rows, 1):
        _put(sheet, number, 1, name).font = Font(bold=True)
        cell = _put(sheet, number, 2, value)
        cell.number_format = style
        cell.alignment = Alignment(horizontal="left", vertical="top", wrap_text=True)
    sheet.column_dimensions["A"].width, sheet.column_dimensions["B"].width = 30, 72


def _lines(sheet: Worksheet, one: Statement) -> None:
    classes = one.columns
    unpriced = in_order(one.unpriced)
    heads = [
        "section",
        "incurred month",
        "app",
        "owner",
        "purpose",
        "model",
        *classes,
        *(f"unpriced {name}" for name in unpriced),
    ]
    texts = 6
    amounts = ["list USD", "discount USD", "estimated USD", "cost USD", "rounded USD", "cost nano-USD"]

    def row(line: StatementLine) -> list[Any]:
        named = [section_of(line), line.month or one.month, line.app, line.owner, line.purpose, line.model]
        used = [line.quantities.get(name, 0) for name in classes] + [line.unpriced.get(name, 0) for name in unpriced]
        money = [_dollars(nano) for nano in (line.list_nano, line.discount_nano, line.estimated_nano, line.cost_nano)]
        return [*named, *used, *money, _cents(line.cents), _whole(line.cost_nano)]

    styles = ["@"] * texts + [COUNT] * (len(classes) + len(unpriced)) + [EXACT] * 4 + [USD, COUNT]
    _table(sheet, [*heads, *amounts], styles, [row(line) for line in one.all_lines])


def _used(sheet: Worksheet, one: Statement) -> None:
    rows = [[name, one.quantities[name], one.unpriced.get(name, 0)] for name in one.columns]
    _table(sheet, ["class", "quantity", "without a price yet"], ["@", COUNT, COUNT], rows)


def _table(sheet: Worksheet, heads: Sequence[str], styles: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    for column, (head, style) in enumerate(zip(heads, styles, strict=True), 1):
        cell = _put(sheet, 1, column, head)
        cell.font, cell.fill, cell.alignment = Font(bold=True), HEAD, Alignment(wrap_text=True, vertical="top")
        sheet.column_dimensions[get_column_letter(column)].width = 24 if style == "@" else 16
    for number, row in enumerate(rows, 2):
        for column, (value, style) in enumerate(zip(row, styles, strict=True), 1):
            _put(sheet, number, column, value).number_format = style
    sheet.freeze_panes = "A2"
    sheet.auto_filter.ref = f"A1:{get_column_letter(len(heads))}{len(rows) + 1}"


def _put(sheet: Worksheet, row: int, column: int, value: Any) -> Any:
    cell = sheet.cell(row, column)
    if isinstance(value, str):
        cell.value = "".join(letter for letter in value if letter.isprintable() or letter == "\n")[:LONGEST_CELL]
        cell.data_type = "s"  # what begins like a formula stays text
    else:
        cell.value = value
    return cell


def _dollars(nano: int) -> Decimal:
    return Decimal(nano) / NANO_PER_USD


def _cents(cents: int) -> Decimal:
    return Decimal(cents) / 100


def _whole(nano: int) -> int | str:
    return nano if abs(nano) <= LARGEST_NANO else str(nano)  # a spreadsheet's numbers are doubles
