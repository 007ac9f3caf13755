"""The report on approvals counts each once, by what became of it, and says how long people took."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from router.exchange import ApprovalHistory
from router.reports.approvals import approvals_report, figures, render

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
ASKED = ApprovalHistory(
    id="apr_1",
    kind="call",
    app="desk",
    owner="ana@example.com",
    session="s1",
    request_id="req_1",
    purpose="support",
    tools=("mail",),
    reasons=("act_not_asked",),
    rule="r-1",
    revision="rev-1",
    sensitivity="internal",
    asked=NOON,
    expires=NOON + timedelta(hours=4),
)


def decided(after: float, status: str, by: str = "eve@example.org", *tools: str) -> ApprovalHistory:
    return msgspec.structs.replace(
        ASKED, status=status, decided=NOON + timedelta(seconds=after), decided_by=by, via="api", tools=tools or ASKED.tools
    )


ROWS = [
    ASKED,
    decided(2, "used"),
    decided(20, "approved", "otto@example.org", "mail", "files"),
    decided(60, "expired"),  # approved, and never collected
    decided(600, "denied"),
    msgspec.structs.replace(ASKED, status="expired", ended=NOON + timedelta(hours=4)),
]


def test_each_is_counted_by_what_became_of_it() -> None:
    total = figures(ROWS)
    assert (total.held, total.waiting, total.approved, total.denied, total.expired, total.unused) == (6, 1, 3, 1, 1, 1)
    assert total.held == total.waiting + total.approved + total.denied + total.expired
    assert total.approved_unchanged == 0.75
    assert total.at_a_glance == 1
    assert total.seconds_to_decision is not None
    assert (total.seconds_to_decision.median, total.seconds_to_decision.longest) == (40.0, 600.0)


def test_held_is_told_per_hundred_tasks_by_tool_and_by_who_decided() -> None:
    report = approvals_report(ROWS, 48)
    assert report.held_per_100_tasks == 12.5
    assert [(row.tool, row.figures.held) for row in report.by_tool] == [("mail", 6), ("files", 1)]
    assert [(row.decided_by, row.figures.approved) for row in report.by_decider] == [
        ("eve@example.org", 2),
        ("otto@example.org", 1),
    ]


def test_json_and_table_say_the_same() -> None:
    report = approvals_report(ROWS, 48)
    document = json.loads(render(report, "json"))
    assert document["total"]["approved_unchanged"] == 0.75
    assert document["by_tool"][0]["tool"] == "mail"
    assert document["by_tool"][0]["held"] == 6
    table = render(report, "table")
    assert "6 held in 48 tasks: 12.5 per 100 tasks" in table
    assert "75.0 %" in table.splitlines()[-1]
    with pytest.raises(ValueError, match="csv"):
        render(report, "csv")


def test_where_nothing_was_asked_nothing_is_divided() -> None:
    report = approvals_report([], 0)
    assert report.held_per_100_tasks is None
    assert report.total.approved_unchanged is None
    assert report.total.seconds_to_decision is None
    assert "-" in render(report, "table")


def test_a_held_task_has_no_tool_and_is_counted_all_the_same() -> None:
    report = approvals_report([msgspec.structs.replace(ASKED, kind="task", tools=())], 1)
    assert [row.tool for row in report.by_tool] == ["(the task itself)"]
