"""Every export of the ledger is worth what the ledger is, to the nano-dollar, in every format and on both databases."""

from __future__ import annotations

import csv
import io
import json
import os
import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from random_ledger import Truth, fill, traffic
from sql_records import NOON, admitted, outcome, raw
from sqlalchemy import Engine, select

from router.money import NANO_PER_USD, cost_nano
from router.reports.exports.plain import plain
from router.reports.exports.write import Form, Written, write, write_file
from router.reports.exports.xlsx_form import write_xlsx
from router.reports.spend import DIMENSIONS
from router.storage.sql import rollups
from router.storage.sql.finance import spend
from router.storage.sql.finance_lines import exporting
from router.storage.sql.records import SqlRecords
from router.storage.sql.tables import ledger_entries, ledger_lines
from router.usage import Basis, Line

FORMS = (
    Form("csv"),
    Form("json"),
    Form("parquet"),
    Form("xlsx"),
    *(Form(form, focus, grain) for form in ("csv", "parquet") for focus in ("1.2", "1.4") for grain in ("request", "day")),
)


def random_lines(rng: random.Random, how: str) -> tuple[Line, ...]:
    """Lines of an attempt or two, some of them without a price, some with a discount, some calls of a hosted tool."""
    found = []
    for attempt in range(1, rng.choice((2, 2, 3))):
        model = rng.choice(("fast-1", "reasoning-1"))
        for token_class in rng.sample(("input", "cached_input", "output", "reasoning", "web_search"), rng.randint(1, 4)):
            quantity = rng.choice((0, 1, 7, 999, 123_457))
            listed = rng.choice((None, 150_000, 2_500_001, 10_000_000_000, 333))
            price = None if listed is None else listed * rng.choice((100, 85, 0)) // 100
            found.append(
                Line(
                    attempt=attempt,
                    deployment=model,
                    provider="openai_compatible",
                    model=f"model of {model}",
                    token_class=token_class,
                    quantity=quantity,
                    unit_price=price,
                    cost_nano=0 if price is None else cost_nano(quantity, price),
                    basis=rng.choice(list(Basis)),
                    outcome=how,
                    unit="calls" if token_class == "web_search" else "tokens",
                    list_price=listed,
                    price_book="book-1",
                )
            )
    return tuple(found)


def booked(store: Engine, requests: int, seed: int = 1, zone: str = "UTC") -> None:
    """A ledger of random requests over three months, some corrected, some charged their hold, some never settled."""
    rng = random.Random(seed)
    rollups.ensure(store, zone)
    records = SqlRecords(store)
    for number in range(requests):
        name = f"r-{number}"
        at = NOON + timedelta(hours=rng.randint(-900, 900), seconds=rng.randint(0, 3_599), microseconds=rng.randint(0, 999_999))
        app = rng.choice(("desk", "bot", "=cmd|' /C calc'!A0", 'says "hi", twice\n'))
        batch = [raw(admitted(name, app=app, owner=rng.choice(("ana@example.com", "unknown")), at=at, session=f"s-{number % 5}"))]
        how = rng.choice(("completed", "cancelled", "failed"))
        if rng.random() < 0.9:
            made = random_lines(rng, how)
            cost = sum(one.cost_nano for one in made) + rng.choice((0, 0, 0, 4_321))
            batch.append(raw(outcome(name, made, how=how, cost=cost, at=at + timedelta(seconds=2))))
            if rng.random() < 0.2:
                late = at + timedelta(days=rng.choice((0, 1, 20, 40)), seconds=9)
                batch.append(raw(outcome(name, random_lines(rng, how), how=how, correction=True, at=late)))
        assert records.write([(number % 64, one) for one in batch]).quarantined == 0


def exported(store: Engine, form: Form, path: Path, **options: Any) -> Written:
    at = datetime(2026, 6, 1, tzinfo=UTC)
    where: Mapping[str, Sequence[str]] = options.get("where", {})
    with exporting(store, options.get("since"), options.get("until"), where, at, {"fast-1": "eu"}) as source:
        return write_file(source, form, path)


def rows_of(path: Path, form: Form) -> list[dict[str, Any]]:
    """What a reader finds in a file, money as decimals."""
    if form.format == "parquet":
        found: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        return found
    if form.format == "json":
        return [json.loads(text) for text in path.read_text().splitlines()]
    if form.format == "xlsx":
        book = openpyxl.load_workbook(io.BytesIO(path.read_bytes()))
        sheets = [book[name].iter_rows(values_only=True) for name in book.sheetnames[1:]]
        return [dict(zip(header, row, strict=True)) for sheet in sheets for header in [next(sheet)] for row in sheet]
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def total_of(rows: list[dict[str, Any]], form: Form) -> int:
    if form.focus:
        return int(sum(Decimal(row["BilledCost"]) for row in rows) * NANO_PER_USD)
    return sum(int(row["cost_nano"]) for row in rows)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(filter(None, (form.focus, form.grain, form.format))))
def test_an_export_adds_up_to_the_spend_report(store: Engine, tmp_path: Path, form: Form) -> None:
    booked(store, 60, seed=3, zone="America/New_York")
    written = exported(store, form, tmp_path / "file")
    total = spend(store, ()).total.cost_nano
    rows = rows_of(tmp_path / "file", form)
    assert total_of(rows, form) == written.total_nano == total
    assert len(rows) == written.rows
    assert list(tmp_path.glob("*.part")) == list(tmp_path.glob(".*")) == []


@pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(filter(None, (form.focus, form.grain, form.format))))
def test_an_export_is_worth_what_the_traffic_came_to(store: Engine, tmp_path: Path, form: Form) -> None:
    rollups.ensure(store, "Europe/Berlin")
    truth = Truth()
    fill(store, truth.all(traffic(11, 150)))
    written = exported(store, form, tmp_path / "file")
    assert total_of(rows_of(tmp_path / "file", form), form) == written.total_nano == truth.cost_nano


def test_an_export_is_narrowed_as_the_report_is(store: Engine, tmp_path: Path) -> None:
    booked(store, 60, seed=4)
    since, until = NOON - timedelta(days=10), NOON + timedelta(days=10)
    for where in (
        {"owner": ("unallocated",)},
        {"model": ("model of fast-1",), "app": ("desk", "bot")},
        {"priced": ("unpriced",)},
    ):
        written = exported(store, Form("csv"), tmp_path / "file", since=since, until=until, where=where)
        assert written.total_nano == spend(store, (), since, until, where).total.cost_nano, where
        assert 0 < written.rows < 200, where


def test_an_export_is_narrowed_by_every_dimension_that_spend_is_told_apart_by(store: Engine) -> None:
    booked(store, 40, seed=9)
    for dimension in DIMENSIONS:
        for row in spend(store, (dimension,)).rows:
            with exporting(store, None, None, {dimension: row.group}, NOON) as source:
                assert source.total_nano == row.figures.cost_nano, (dimension, row.group)


def test_an_exported_file_has_the_mode_of_new_files(store: Engine, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        exported(store, Form("csv"), tmp_path / "file")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def test_lines_come_in_the_order_of_their_booking_with_what_is_known_of_their_requests(store: Engine, tmp_path: Path) -> None:
    booked(store, 40, seed=5)
    exported(store, Form("parquet"), tmp_path / "file")
    rows = rows_of(tmp_path / "file", Form("parquet"))
    with store.connect() as connection:
        source = ledger_lines.join(ledger_entries)
        stored = connection.execute(
            select(ledger_lines, ledger_entries.c.app, ledger_entries.c.rule).select_from(source)
        ).mappings()
        expected = sorted((dict(row) for row in stored), key=lambda row: (row["at"], row["request_id"], row["line"]))
    assert [(row["at"], row["request_id"], row["line"]) for row in rows] == [
        (row["at"], row["request_id"], row["line"]) for row in expected
    ]
    for row, there in zip(rows, expected, strict=True):
        for name in ("app", "rule", "quantity", "cost_nano", "correction", "corrects", "incurred_at", "unit"):
            assert row[name] == there[name], name
        assert row["cost_usd"] == Decimal(there["cost_nano"]) / NANO_PER_USD


def test_what_is_booked_while_an_export_runs_is_not_in_it(store: Engine) -> None:
    booked(store, 20, seed=6)
    before = spend(store, ()).total.cost_nano
    with exporting(store, None, None, {}, NOON) as source:
        batches = source.batches()
        SqlRecords(store).write([(1, raw(admitted("late"))), (1, raw(outcome("late")))])
        assert sum(line.cost_nano for batch in batches for line in batch) == before == source.total_nano
    assert spend(store, ()).total.cost_nano > before


def test_an_export_of_nothing_has_its_columns(store: Engine, tmp_path: Path) -> None:
    rollups.ensure(store)
    for form in FORMS:
        assert exported(store, form, tmp_path / "file").rows == 0
        if form.format == "csv":
            assert (tmp_path / "file").read_text().startswith(("at,", "BilledCost,"))
        elif form.format == "parquet":
            assert pq.read_schema(tmp_path / "file").names


def test_an_export_that_fails_half_way_leaves_the_earlier_file_alone(store: Engine, tmp_path: Path) -> None:
    booked(store, 10)
    path = tmp_path / "file.csv"
    path.write_text("earlier")

    def stops(rows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), exporting(store, None, None, {}, NOON) as source:
        write_file(source, Form("csv"), path, stops)
    assert path.read_text() == "earlier"
    assert list(tmp_path.glob(".*")) == []


def test_no_cell_of_a_spreadsheet_is_a_formula(store: Engine, tmp_path: Path) -> None:
    booked(store, 40, seed=7)
    for form in (Form("csv"), Form("xlsx"), Form("csv", "1.2")):
        exported(store, form, tmp_path / "file")
        texts = [value for row in rows_of(tmp_path / "file", form) for value in row.values() if isinstance(value, str)]
        assert any(text.startswith("'=cmd") for text in texts)
        risky = [text for text in texts if text[:1] in tuple("=+@\t\r")]
        assert risky == []


def test_a_workbook_has_numbers_dates_filters_and_a_summary_that_adds_up(store: Engine, tmp_path: Path) -> None:
    booked(store, 40, seed=8)
    written = exported(store, Form("xlsx"), tmp_path / "file.xlsx")
    book = openpyxl.load_workbook(tmp_path / "file.xlsx")
    assert book.sheetnames == ["Summary", "Lines"]
    lines = book["Lines"]
    assert (lines.freeze_panes, lines.auto_filter.ref) == ("A2", lines.dimensions)
    header = [cell.value for cell in lines[1]]
    first = dict(zip(header, lines[2], strict=True))
    assert isinstance(first["at"].value, datetime)
    assert first["at"].is_date
    assert isinstance(first["cost_usd"].value, float | int)
    assert first["cost_usd"].number_format == "#,##0.000000000"
    summary = {row[0].value: row[1].value for row in book["Summary"].iter_rows() if row[0].value}
    assert summary["total nano-USD"] == str(written.total_nano)
    assert summary["rows"] == written.rows
    assert summary["total USD"] == pytest.approx(written.total_nano / NANO_PER_USD)


def test_rows_beyond_a_sheet_go_to_the_next_one(store: Engine, tmp_path: Path) -> None:
    booked(store, 30, seed=9)
    sink = io.BytesIO()
    with exporting(store, None, None, {}, NOON) as source:
        write_xlsx(plain(source), sink, lambda batch: None, most_rows=11)
        count = source.count
    book = openpyxl.load_workbook(sink)
    sheets = [book[name] for name in book.sheetnames[1:]]
    assert book.sheetnames[1:3] == ["Lines", "Lines 2"]
    assert all(sheet.max_row == 11 for sheet in sheets[:-1])
    assert sum(sheet.max_row - 1 for sheet in sheets) == count
    assert {sheet.freeze_panes for sheet in sheets} == {"A2"}


@pytest.mark.parametrize(
    ("form", "word"),
    [
        (Form("pdf"), "pdf"),
        (Form("csv", "1.0"), "1.0"),
        (Form("xlsx", "1.2"), "xlsx"),
        (Form("csv", grain="day"), "by day"),
        (Form("csv", "1.2", dataset="BillingPeriod"), "1.4"),
        (Form("csv", "1.4", "week"), "week"),
    ],
)
def test_a_form_that_there_is_not_is_refused_in_words(store: Engine, form: Form, word: str) -> None:
    rollups.ensure(store)
    with pytest.raises(ValueError, match=word), exporting(store, None, None, {}, NOON) as source:
        write(source, form, io.BytesIO())


def test_parquet_has_types_that_other_tools_read(store: Engine, tmp_path: Path) -> None:
    booked(store, 10)
    exported(store, Form("parquet"), tmp_path / "file")
    schema = pq.read_schema(tmp_path / "file")
    assert str(schema.field("cost_nano").type) == "int64"
    assert str(schema.field("cost_usd").type) == "decimal128(38, 9)"
    assert str(schema.field("at").type) == "timestamp[us, tz=UTC]"
    assert not schema.field("cost_nano").nullable
    group = pq.ParquetFile(tmp_path / "file").metadata.row_group(0)
    columns = {group.column(place).path_in_schema: group.column(place) for place in range(group.num_columns)}
    assert "RLE_DICTIONARY" in columns["model"].encodings
    assert columns["at"].statistics.min.tzinfo is not None
