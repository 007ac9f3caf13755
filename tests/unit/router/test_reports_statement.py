"""What a chargeback statement says: cents that add up, corrections of earlier months by themselves, text that is never a formula."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import load_workbook

from router.reports.statement import FORMATS, NANO_PER_CENT, Booked, Close, Statement, as_csv, as_json, cents_of, statement
from router.reports.statement_files import TYPES, page, rendered, workbook

BEGINS, ENDS = datetime(2026, 9, 30, 22, tzinfo=UTC), datetime(2026, 10, 31, 23, tzinfo=UTC)
MADE = datetime(2026, 11, 2, 8, tzinfo=UTC)
CLOSE = Close(2, "ab" * 32, "ann@example.org", datetime(2026, 11, 2, 7, tzinfo=UTC))

USED = Booked("desk", "ana", "support", "gpt-4o", "input", False, False, True, "", 1_000, 150_000_000, 200_000_000)
BOOKED = (
    USED,
    msgspec.structs.replace(USED, token_class="output", quantity=300, cost_nano=3_333_333, list_nano=3_333_333),
    msgspec.structs.replace(
        USED, app="bench", owner="unknown", purpose="", cost_nano=7_777_777, list_nano=7_777_777, estimated=True
    ),
    msgspec.structs.replace(USED, model="=1+1", quantity=40, cost_nano=0, list_nano=0, priced=False),
    msgspec.structs.replace(USED, month="2026-08", quantity=-10, cost_nano=-1_000_001, list_nano=-1_000_001, correction=True),
    msgspec.structs.replace(USED, month="2026-09", quantity=5, cost_nano=44_000_000, list_nano=44_000_000),
)


def made(close: Close | None = CLOSE, booked: tuple[Booked, ...] = BOOKED) -> Statement:
    return statement(
        booked,
        cost_center="cc-<desk>",
        month="2026-10",
        zone="Europe/Berlin",
        begins=BEGINS,
        ends=ENDS,
        made_at=MADE,
        close=close,
    )


@given(st.lists(st.integers(-(10**13), 10**13), max_size=40))
def test_rounded_lines_sum_to_the_rounded_total_and_none_is_a_cent_away(amounts: list[int]) -> None:
    cents = cents_of(amounts)
    exact = Decimal(sum(amounts)) / NANO_PER_CENT
    assert abs(sum(cents) - exact) <= Decimal("0.5")
    assert all(abs(share * NANO_PER_CENT - amount) < NANO_PER_CENT for share, amount in zip(cents, amounts, strict=True))
    assert all(
        share * NANO_PER_CENT == amount for share, amount in zip(cents, amounts, strict=True) if amount % NANO_PER_CENT == 0
    )


@pytest.mark.parametrize(
    ("amounts", "cents"),
    [
        ([3_333_333, 3_333_333, 3_333_334], [0, 0, 1]),  # a cent in three parts
        ([5_000_000], [1]),  # half a cent is rounded up
        ([4_999_999], [0]),
        ([-5_000_000], [0]),
        ([-15_000_000, 5_000_000], [-1, 0]),
        ([6_000_000, 6_000_000, 6_000_000], [1, 1, 0]),
        ([], []),
    ],
)
def test_cents_go_to_the_largest_remainders_and_among_equals_to_the_first(amounts: list[int], cents: list[int]) -> None:
    assert cents_of(amounts) == cents


def test_lines_are_told_apart_by_app_owner_purpose_and_model_and_earlier_months_stand_by_themselves() -> None:
    one = made()
    assert [(line.app, line.owner, line.purpose, line.model) for line in one.lines] == [
        ("desk", "ana", "support", "gpt-4o"),
        ("bench", "unallocated", "unallocated", "gpt-4o"),
        ("desk", "ana", "support", "=1+1"),
    ]
    assert [(line.month, line.late, line.cost_nano) for line in one.earlier] == [
        ("2026-08", False, -1_000_001),
        ("2026-09", True, 44_000_000),
    ]
    assert one.total_nano == sum(each.cost_nano for each in BOOKED)
    assert one.total_cents == 20
    assert (one.estimated_nano, one.unallocated_nano) == (7_777_777, 7_777_777)
    assert one.discount_nano == -50_000_000
    assert one.unpriced == {"input": 40}
    assert one.columns == ("input", "output")
    assert one.status == "final"
    assert made(None).status == "preliminary"


def test_the_csv_adds_up_in_both_columns_and_runs_nothing() -> None:
    one = made()
    rows = list(csv.DictReader(io.StringIO(as_csv(one))))
    assert sum(int(row["cost_nano"]) for row in rows) == one.total_nano
    assert sum(Decimal(row["rounded_usd"]) for row in rows) == Decimal(one.total_cents) / 100
    assert all(Decimal(row["list_usd"]) + Decimal(row["discount_usd"]) == Decimal(row["cost_usd"]) for row in rows)
    assert "'=1+1" in {row["model"] for row in rows}
    assert [row["section"] for row in rows] == ["this month"] * 3 + ["correction", "late"]
    assert {row["digest"] for row in rows} == {CLOSE.digest}


def test_the_workbook_has_real_numbers_and_dates_and_its_text_is_no_formula() -> None:
    one = made()
    book = load_workbook(io.BytesIO(workbook(one)))
    summary = {row[0].value: row[1].value for row in book["summary"].iter_rows()}
    assert summary["First day"].date() == date(2026, 10, 1)
    assert summary["Last day"].date() == date(2026, 10, 31)
    assert summary["To pay, USD"] == pytest.approx(0.20)
    assert summary["SHA-256 of the close"] == CLOSE.digest
    lines = book["lines"]
    heads = [cell.value for cell in lines[1]]
    nano = heads.index("cost nano-USD") + 1
    rounded = heads.index("rounded USD") + 1
    assert sum(lines.cell(row, nano).value for row in range(2, lines.max_row + 1)) == one.total_nano
    assert round(sum(lines.cell(row, rounded).value for row in range(2, lines.max_row + 1)), 2) == 0.20
    formula = next(cell for row in lines.iter_rows() for cell in row if cell.value == "=1+1")
    assert formula.data_type != "f"
    assert lines.auto_filter.ref is not None
    assert lines.freeze_panes == "A2"


def test_the_page_needs_nothing_else_and_escapes_what_it_is_told() -> None:
    text = page(made())
    assert "cc-&lt;desk&gt;" in text
    assert "<desk>" not in text
    assert CLOSE.digest in text
    assert "Closed" in text
    assert "October 2026" in text
    assert "2026-10-01 to 2026-10-31" in text
    assert "0.20" in text
    assert "@media print" in text
    assert not any(word in text for word in ("http://", "https://", "<script", "<link", "<img", "url("))
    assert "Preliminary" in page(made(None))


def test_a_month_without_anything_is_a_statement_too() -> None:
    empty = made(None, ())
    assert empty.total_cents == 0
    for form in FORMATS:
        assert rendered(empty, form)
    assert set(TYPES) == set(FORMATS)


def test_the_json_holds_exact_and_rounded_amounts() -> None:
    document = json.loads(as_json(made()))
    assert document["rounded_usd"] == "0.20"
    assert document["total_nano"] == made().total_nano
    assert document["close"]["digest"] == CLOSE.digest
    assert sum(line["cost_nano"] for line in document["lines"] + document["earlier_months"]) == document["total_nano"]
