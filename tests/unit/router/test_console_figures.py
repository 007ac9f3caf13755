"""Tables of the finance pages: as they are shown, as CSV, and as a workbook with real numbers and dates."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime

import openpyxl
from hypothesis import given, settings
from hypothesis import strategies as st

from router.console.figures import MOST_SHOWN, Column, Panel, Row, Table, as_csv
from router.console.sheets import workbook

COLUMNS = (Column("team"), Column("spend", "money"), Column("change", "percent"), Column("requests", "count"), Column("booked (UTC)", "moment"), Column("part", "money", aside=True))  # fmt: skip
AT = datetime(2026, 10, 31, 23, 59, 58, tzinfo=UTC)
TABLE = Table(
    "Spend by team",
    COLUMNS,
    (
        Row(("search", 12_345_678_901_234, 12.34, 1_200, AT, 7), "/finance?by=owner", "over budget"),
        Row(("=cmd|' /C calc'!A0", 4_000_000, None, 0, AT, 0)),
        Row(("taken back", -1_500_000_000, -100.0, 3, None, -1)),
    ),
    Row(("Total", 12_344_182_901_234, None, 1_203, None, 6)),
    (("period", "October 2026"),),
)


def panel(table: Table) -> Panel:
    return Panel("groups", "By team", "", table, "by=team")


def test_amounts_of_a_column_stand_below_one_another_and_what_is_aside_is_not_shown() -> None:
    shown = panel(TABLE)
    assert [row.cells for row in shown.rows] == [
        ("search", "$12,345.68", "12.3 %", "1,200", "2026-10-31 23:59:58"),
        ("=cmd|' /C calc'!A0", "<$0.01", "–", "0", "2026-10-31 23:59:58"),
        ("taken back", "−$1.50", "−100.0 %", "3", "–"),
    ]
    assert shown.total is not None
    assert shown.total.cells == ("Total", "$12,344.18", "–", "1,203", "–")
    assert [column.name for column in shown.columns] == ["team", "spend", "change", "requests", "booked (UTC)"]


def test_small_amounts_get_the_digits_that_show_them() -> None:
    for nano, told in ((50_000_000, "$0.0500"), (120_000, "$0.000120"), (1_234, "$0.000001234"), (0, "$0")):
        (row,) = panel(Table("", (Column("a"), Column("b", "money")), (Row(("x", nano)),))).rows
        assert row.cells[1] == told


def test_a_page_shows_the_first_rows_and_says_how_many_are_left() -> None:
    long = Table("", (Column("a"), Column("b", "money")), tuple(Row((f"{each}", each)) for each in range(MOST_SHOWN + 5)))
    assert (len(panel(long).rows), panel(long).left_out) == (MOST_SHOWN, 5)
    assert len(as_csv(long).splitlines()) == MOST_SHOWN + 6


def test_csv_has_exact_amounts_and_nothing_that_a_spreadsheet_runs() -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(TABLE).decode())))
    assert [row["spend (USD)"] for row in rows] == ["12345.678901234", "0.004", "-1.5"]
    assert rows[1]["team"].startswith("'=")
    assert rows[0]["part (USD)"] == "0.000000007"


def test_a_workbook_has_numbers_dates_filters_and_a_summary_and_no_formula() -> None:
    book = openpyxl.load_workbook(io.BytesIO(workbook(TABLE)))
    sheet = book["Table"]
    assert [cell.value for cell in sheet[1]] == ["team", "spend (USD)", "change", "requests", "booked (UTC)", "part (USD)"]
    assert [cell.data_type for cell in sheet[2]] == ["s", "n", "n", "n", "d", "n"]
    assert (sheet["B2"].value, sheet["E2"].value) == (12345.678901234, AT.replace(tzinfo=None))
    assert (sheet["A3"].value, sheet["A3"].data_type) == ("=cmd|' /C calc'!A0", "s")
    assert sheet.auto_filter.ref == "A1:F4"
    told = {row[0]: row[1] for row in book["Summary"].iter_rows(values_only=True) if row[0]}
    assert (told["period"], told["spend (USD)"]) == ("October 2026", 12344.182901234)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-(10**15), 10**15), min_size=1, max_size=20))
def test_amounts_of_a_workbook_are_those_of_the_ledger_to_the_nano_dollar(amounts: list[int]) -> None:
    table = Table("", (Column("a"), Column("b", "money")), tuple(Row((f"{place}", nano)) for place, nano in enumerate(amounts)))
    sheet = openpyxl.load_workbook(io.BytesIO(workbook(table)))["Table"]
    assert [round(row[1] * 10**9) for row in sheet.iter_rows(min_row=2, values_only=True)] == amounts
