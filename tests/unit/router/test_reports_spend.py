"""A spend report reads the same as a table, as CSV and as JSON."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime

import pytest

from router.reports.spend import DIMENSIONS, Figures, SpendReport, SpendRow, dimensions, render

REPORT = SpendReport(
    by=("owner", "model"),
    since=datetime(2026, 3, 1, tzinfo=UTC),
    until=None,
    rows=(
        SpendRow(("ana", "gpt-5"), Figures(requests=2, cost_nano=9_007_199_254_740_993, input_tokens=10)),
        SpendRow(("bob", "=cmd()"), Figures(requests=1, cost_nano=1, open_requests=3, open_held_nano=1_500_000)),
    ),
)


def test_the_total_is_the_sum_of_the_rows() -> None:
    assert REPORT.total == Figures(
        requests=3, cost_nano=9_007_199_254_740_994, input_tokens=10, open_requests=3, open_held_nano=1_500_000
    )


def test_json_is_one_document_with_exact_amounts() -> None:
    document = json.loads(render(REPORT, "json"))
    assert document["by"] == ["owner", "model"]
    assert document["rows"][0]["owner"] == "ana"
    assert document["rows"][0]["cost_nano"] == 9_007_199_254_740_993
    assert document["rows"][0]["cost_usd"] == "9007199.254740993"
    assert document["rows"][1]["cost_usd"] == "0.000000001"
    assert document["total"]["cost_usd"] == "9007199.254740994"
    assert (document["since"], document["until"]) == ("2026-03-01T00:00:00Z", None)


def test_csv_has_one_line_per_row_and_nothing_that_a_spreadsheet_would_run() -> None:
    rows = list(csv.DictReader(io.StringIO(render(REPORT, "csv"))))
    assert [row["owner"] for row in rows] == ["ana", "bob"]
    assert rows[0]["cost_nano"] == "9007199254740993"
    assert rows[1]["model"] == "'=cmd()"
    assert rows[1]["open_held_usd"] == "0.0015"


def test_the_table_lines_up_and_ends_in_the_total() -> None:
    lines = render(REPORT, "table").splitlines()
    assert lines[0].split()[:3] == ["owner", "model", "requests"]
    assert lines[-1].split()[:3] == ["total", "3", "9007199.254740994"]
    assert len({line.index("gpt-5") for line in lines if "gpt-5" in line} | {lines[0].index("model")}) == 1


def test_a_report_without_rows_still_renders() -> None:
    empty = SpendReport(("owner",), None, None, ())
    assert render(empty, "csv").count("\n") == 1
    assert json.loads(render(empty, "json"))["rows"] == []
    assert render(empty, "table").splitlines()[-1].startswith("total")


def test_dimensions_are_read_in_the_order_given() -> None:
    assert dimensions("model, owner") == ("model", "owner")
    assert dimensions(",".join(DIMENSIONS)) == DIMENSIONS


@pytest.mark.parametrize(("text", "said"), [("owner,colour", "`colour`"), ("", "``"), ("owner,owner", "twice")])
def test_a_dimension_that_is_unknown_or_repeated_is_named(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        dimensions(text)


def test_another_format_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="not `xml`"):
        render(REPORT, "xml")
