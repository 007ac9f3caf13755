"""Single requests read the same in each form, and nothing in them runs in a spreadsheet; a question is read or named."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from router.reports import question, requests
from router.reports.question import Misread, asked
from router.reports.requests import Booking, BookingsPage
from router.reports.spend import Figures, SpendReport, SpendRow, conditions, render

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
OPEN = Booking(NOON, "r2", 0, 0, False, True, 9_000, None, {"owner": "unallocated", "app": "=cmd()"})
PAGE = BookingsPage(
    (Booking(NOON, "r1", 1_500_000_000, 2, True, False, 9_000, None, {"owner": "ana", "app": "desk", "model": "m"}), OPEN),
    requests.cursor(NOON, "r2"),
)
ENTRY = {
    "request_id": "r1",
    "owner": "",
    "team": "t",
    "cost_center": "unknown",
    "purpose": "support",
    "cost_nano": 750,
    "code": None,
}
LINE: dict[str, Any] = {
    "line": 0, "at": NOON, "attempt": 1, "deployment": "+fast", "token_class": "input", "quantity": 5, "unit_price": None, "cost_nano": 750,
    "basis": "reported", "outcome": "completed", "correction": False,
}  # fmt: skip


def test_a_page_says_what_was_booked_and_where_it_goes_on() -> None:
    document = json.loads(requests.render(PAGE, "json"))
    assert [(each["request_id"], each["cost_usd"], each["open"]) for each in document["data"]] == [
        ("r1", "1.5", False),
        ("r2", "0", True),
    ]
    assert question.page(document["next"], "2") == ((NOON, "r2"), 2)
    table = requests.render(PAGE, "table").splitlines()
    assert table[-1] == f"more: --after '{document['next']}'"
    assert table[2].endswith("1.5")
    assert table[3].endswith("open")


def test_csv_has_nothing_that_a_spreadsheet_would_run() -> None:
    rows = list(csv.DictReader(io.StringIO(requests.render(BookingsPage((OPEN,), None), "csv"))))
    assert (rows[0]["app"], rows[0]["owner"], rows[0]["held_nano"]) == ("'=cmd()", "unallocated", "9000")
    (line,) = csv.DictReader(io.StringIO(requests.render_one(ENTRY, [LINE], "csv")))
    assert (line["deployment"], line["unit_price"], line["cost_usd"]) == ("'+fast", "", "0.00000075")


def test_one_request_has_its_lines_and_says_what_is_unallocated() -> None:
    document = json.loads(requests.render_one(ENTRY, [LINE], "json"))
    assert (document["request"]["owner"], document["request"]["cost_center"], document["request"]["team"]) == (
        "unallocated",
    ) * 2 + ("t",)
    assert document["request"]["cost_usd"] == document["lines"][0]["cost_usd"] == "0.00000075"
    table = requests.render_one(ENTRY, [LINE], "table")
    assert "unallocated" in table
    assert "unknown" in table.splitlines()[-1]  # its price


def test_an_empty_page_still_reads() -> None:
    empty = BookingsPage((), None)
    assert requests.render(empty, "csv") == ""
    assert json.loads(requests.render(empty, "json")) == {"currency": "USD", "data": [], "next": None}


def test_unpriced_use_is_told_below_the_table() -> None:
    rows = (SpendRow(("ana",), Figures(unpriced_tokens=77)), SpendRow(("bob",), Figures(unpriced_uses=2)))
    told = render(SpendReport(("owner",), None, None, rows), "table").splitlines()
    assert told[-2:] == ["unpriced: ana: 77 tokens in no cost above", "unpriced: bob: 0 tokens and 2 uses in no cost above"]


def test_days_are_those_of_the_reports_time_zone_and_moments_have_their_own() -> None:
    what = asked(NOON, BERLIN, since="2026-03-29", until="2026-03-30")  # 23 hours
    assert (what.since, what.until) == (datetime(2026, 3, 28, 23, tzinfo=UTC), datetime(2026, 3, 29, 22, tzinfo=UTC))
    assert asked(NOON, BERLIN, since="2026-03-29T02:00:00+02:00").since == datetime(2026, 3, 29, 0, tzinfo=UTC)
    assert asked(NOON, BERLIN).since is None


def test_values_of_one_dimension_are_any_of_them() -> None:
    assert conditions(["owner=ana", "model=a=b", "owner = bob"]) == {"owner": ("ana", "bob"), "model": ("a=b",)}


@pytest.mark.parametrize(
    ("parameter", "given"),
    [
        ("since", {"since": "2026-03-29T02:00:00"}),
        ("since", {"since": "yesterday"}),
        ("until", {"since": "2026-03-02", "until": "2026-03-01"}),
        ("period", {"period": "2027-02-29"}),
        ("by", {"by": "owner,owner"}),
        ("where", {"where": ["owner"]}),
    ],
)
def test_what_cannot_be_read_is_named(parameter: str, given: dict[str, Any]) -> None:
    with pytest.raises(Misread) as raised:
        asked(NOON, BERLIN, **given)
    assert raised.value.parameter == parameter
