"""The decision table as a workbook: lossless there and back, with real choices, and no formula in either direction."""

from __future__ import annotations

import io
import re
import zipfile
from datetime import date, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openpyxl import Workbook, load_workbook

from router.governance.workbooks import files_of, made_from, workbook
from routing_rules.edit import put_route_first
from routing_rules.export_table import columns, tables
from routing_rules.faults import RuleFaults
from routing_rules.load import complete, load, shipped

TODAY = date(2026, 11, 23)
RULES = load(shipped(TODAY))
NEW = {"id": "new", "owner": "o", "then": {"tier": "fast", "set": "none", "budget": "default"}}


def opened(data: bytes) -> Any:
    return load_workbook(io.BytesIO(data))


def saved(book: Workbook) -> bytes:
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def column(sheet: Any, key: str) -> int:
    return int(next(cell.column for cell in sheet[1] if cell.value == key))


def told(book: Workbook) -> list[str]:
    with pytest.raises(RuleFaults) as faults:
        files_of(saved(book), RULES)
    return [str(fault) for fault in faults.value.faults]


def test_a_workbook_that_nobody_changed_leaves_the_files_to_the_letter() -> None:
    assert files_of(workbook(RULES), RULES) == RULES.files
    assert files_of(saved(opened(workbook(RULES))), RULES) == RULES.files


@pytest.mark.parametrize("said", [b"A1", b"A1:B3", b"A1:XFD1048576"])
def test_every_row_is_read_whatever_a_sheet_says_of_its_own_size(said: bytes) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(workbook(RULES))) as before, zipfile.ZipFile(out, "w") as after:
        for each in before.infolist():
            after.writestr(each.filename, re.sub(rb'(<dimension ref=")[^"]*', rb"\g<1>" + said, before.read(each)))
    assert files_of(out.getvalue(), RULES) == RULES.files


def test_a_workbook_names_the_revision_it_was_made_from() -> None:
    assert made_from(workbook(RULES)) == RULES.revision
    book = opened(workbook(RULES))
    del book["about"]
    assert made_from(saved(book)) == ""
    for wrong in (b"", b"no workbook"):
        with pytest.raises(RuleFaults):
            made_from(wrong)
    with pytest.raises(RuleFaults, match="at most"):
        made_from(workbook(RULES), most_unpacked=1000)


def test_a_workbook_carries_the_whole_table_to_other_files() -> None:
    other = load(
        complete(
            {"routes.yaml": "routes: [{id: a, owner: o, reason: r, then: {tier: fast, set: none, budget: default}}]\n"}, TODAY
        )
    )
    assert tables(load(files_of(workbook(RULES), other))) == tables(RULES)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=60).filter(str.strip))
def test_any_reason_survives_the_way_there_and_back(reason: str) -> None:
    rules = load(put_route_first(RULES.files, {**NEW, "reason": reason}))
    data = workbook(rules)
    assert files_of(data, rules) == rules.files
    after = load(files_of(data, RULES))
    assert next(rule for rule in after.rules if rule.id == "new").reason == reason


@pytest.mark.parametrize(
    "reason", ["=HYPERLINK(1)", "+1", "-1", "@sum", "1e5", "007", "TRUE", "#REF!", "2026-01-01", "_x0041_", " =1"]
)
def test_a_text_that_looks_like_something_else_stays_a_text(reason: str) -> None:
    rules = load(put_route_first(RULES.files, {**NEW, "reason": reason}))
    sheet = opened(workbook(rules))["routes"]
    cell = sheet.cell(2, column(sheet, "reason"))
    assert (cell.data_type, cell.number_format) == ("s", "@")
    assert next(rule for rule in load(files_of(workbook(rules), RULES)).rules if rule.id == "new").reason == reason


def test_every_column_with_words_has_them_as_choices() -> None:
    book = opened(workbook(RULES))
    for name in ("prohibitions", "step_ups", "routes"):
        sheet = book[name]
        offered = {}
        for validation in sheet.data_validations.dataValidation:
            cells = validation.formula1.replace("$", "").split("!")[1]
            choices = tuple(cell.value for line in book["words"][cells] for cell in line)
            offered[sheet.cell(1, next(iter(validation.sqref.ranges)).min_col).value] = (choices, validation.showErrorMessage)
        for each in columns(RULES, name):
            if each.words:
                assert offered[each.key] == (tuple(map(str, each.words)), each.kind != "words")
            else:
                assert each.key not in offered


def test_an_edited_cell_and_a_typed_number_day_and_truth_are_taken() -> None:
    book = opened(workbook(RULES))
    sheet = book["routes"]
    line = next(cell.row for cell in sheet["A"] if cell.value == "trial")
    for key, value in (
        ("then.tier", "reasoning"),
        ("then.limits.request_seconds", 45),
        ("until", datetime(2026, 12, 31)),  # noqa: DTZ001 - a spreadsheet knows no zones
        ("then.hints", True),
    ):
        sheet.cell(line, column(sheet, key)).value = value
    rule = next(rule for rule in load(files_of(saved(book), RULES)).rules if rule.id == "trial")
    assert rule.then is not None
    assert (rule.then.tiers, rule.then.limits.request_seconds, rule.then.hints) == (("reasoning",), 45, True)
    assert rule.valid_until == date(2026, 12, 31)


def test_what_is_wrong_is_named_by_sheet_and_cell_with_the_nearest_word() -> None:
    book = opened(workbook(RULES))
    sheet = book["routes"]
    sheet.cell(3, column(sheet, "reason")).value = "=1+1"
    sheet.cell(4, column(sheet, "when.sensitivity")).value = "restrictd"
    sheet.cell(1, sheet.max_column + 1).value = "when.tsk"
    found = told(book)
    assert "routes!C3: error: a formula is not taken; expected a text; paste its value as text" in found
    assert any(
        line.startswith("routes!D4: error: unknown word `restrictd`") and "did you mean `restricted`?" in line for line in found
    )
    assert any("unknown column `when.tsk`; did you mean `when.task`?" in line for line in found)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda book: book["routes"].delete_cols(2), "routes!A1: error: the column `owner` is missing"),
        (lambda book: book.create_sheet("route"), "unknown sheet `route`; did you mean `routes`?"),
        (lambda book: book["routes"].cell(2, 60, "stray"), "routes!BH2: error: this cell has no column"),
        (lambda book: book["routes"].cell(1, 60, "owner"), "the column `owner` is there twice"),
        (lambda book: [book.remove(book[name]) for name in ("routes", "step_ups", "prohibitions")], "there is no table in it"),
    ],
)
def test_a_workbook_of_another_shape_is_refused_in_words(change: Any, said: str) -> None:
    book = opened(workbook(RULES))
    change(book)
    assert any(said in line for line in told(book))


def test_a_sheet_that_is_left_out_leaves_its_table_as_it_is() -> None:
    book = opened(workbook(RULES))
    book.remove(book["prohibitions"])
    assert files_of(saved(book), RULES) == RULES.files


def bomb() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", b" " * 60_000_000)
    return out.getvalue()


def without(part: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(workbook(RULES))) as whole, zipfile.ZipFile(out, "w") as archive:
        for name in whole.namelist():
            archive.writestr(name, b"<broken" if name == part else whole.read(name))
    return out.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04",
        b"id,owner\n",
        bomb(),
        without("xl/workbook.xml"),
        without("xl/worksheets/sheet3.xml"),
        without("[Content_Types].xml"),
    ],
    ids=["empty", "zip in name", "csv", "bomb", "broken book", "broken sheet", "broken types"],
)
def test_a_file_that_is_no_workbook_is_refused_with_the_reason(data: bytes) -> None:
    with pytest.raises(RuleFaults, match="workbook"):
        files_of(data, RULES)
